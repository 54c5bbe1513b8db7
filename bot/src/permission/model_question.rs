//! The model's own questions, as `AskUserQuestion` asks them: their options, and what people's words pick.

use serde_json::{Map, Value};

use super::{ConsentWords, ExpectedAnswer};

/// One question of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelQuestion {
    /// The question; the key of the CLI's `answers`.
    pub question: String,
    /// Labels and their descriptions.
    pub options: Vec<(String, String)>,
    /// Whether several may be picked.
    pub several: bool,
}

/// How closely a label is compared with what a person wrote, the closest first.
#[derive(Clone, Copy)]
enum LabelForm {
    AnyCase,
    WithoutMarksAround,
    WordsOnly,
}

pub(super) fn questions(input: &Value) -> Option<Vec<ModelQuestion>> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = input.get("questions")?.as_array()?;
    let questions: Option<Vec<_>> = list
        .iter()
        .map(|item| {
            let options =
                item.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Some(ModelQuestion {
                question: text(item, "question")?,
                options: options
                    .iter()
                    .filter_map(|option| {
                        Some((text(option, "label")?, text(option, "description").unwrap_or_default()))
                    })
                    .collect(),
                several: item.get("multiSelect").and_then(Value::as_bool).unwrap_or(false),
            })
        })
        .collect();
    questions.filter(|questions| !questions.is_empty())
}

impl ModelQuestion {
    /// The answer that a person's words are: an option by its label, else by its position; all else is an answer in their own words.
    /// The CLI knows labels alone.
    pub(super) fn answer(&self, text: &str) -> Result<String, ExpectedAnswer> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ExpectedAnswer::Option(self.clone()));
        }
        if let Some(label) = self.labelled(text) {
            return Ok(label.to_owned());
        }
        if self.several {
            return Ok(self.several_of(text));
        }
        match self.listed(text).as_deref() {
            Some([label]) => Ok((*label).to_owned()),
            // All of them are positions here, and only one can be picked.
            Some([_, _, ..]) => Err(ExpectedAnswer::OneOption(self.options.len())),
            Some([]) | None => self.agreed_to(text),
        }
    }

    /// The option at a position, from 1 on.
    pub(super) fn at(&self, position: usize) -> Option<&str> {
        self.options.get(position.checked_sub(1)?).map(|(label, _)| label.as_str())
    }

    /// Whether these words are one of the labels, or its number.
    pub fn names_an_option(&self, text: &str) -> bool {
        self.labelled(text).is_some() || self.listed(text).is_some()
    }

    /// The options whose positions the text lists: all of them are there, and it has no other words.
    fn listed(&self, text: &str) -> Option<Vec<&str>> {
        positions(text)?.into_iter().map(|position| self.at(position)).collect()
    }

    /// The option of this label. Two labels that differ only in what is not compared are no match.
    pub fn labelled(&self, text: &str) -> Option<&str> {
        [LabelForm::AnyCase, LabelForm::WithoutMarksAround, LabelForm::WordsOnly].into_iter().find_map(
            |form| {
                let said = form.of(text);
                let mut same =
                    self.options.iter().map(|(label, _)| label).filter(|label| form.of(label) == said);
                same.next()
                    .filter(|label| !said.is_empty() && same.all(|other| other == *label))
                    .map(String::as_str)
            },
        )
    }

    /// "yep" and a thumb pick the only option that begins with "Yes". Of several such options none is picked.
    fn agreed_to(&self, text: &str) -> Result<String, ExpectedAnswer> {
        let word = match ConsentWords::of(text) {
            ConsentWords::Yes => "yes",
            ConsentWords::No(None) => "no",
            ConsentWords::No(Some(_))
            | ConsentWords::Always
            | ConsentWords::Unclear
            | ConsentWords::Other => {
                return Ok(text.to_owned());
            }
        };
        let begins =
            |(label, _): &&(String, String)| LabelForm::WordsOnly.of(label).split(' ').next() == Some(word);
        let fitting: Vec<_> = self.options.iter().filter(begins).collect();
        match fitting.as_slice() {
            [] => Ok(text.to_owned()),
            [(label, _)] => Ok(label.clone()),
            _ => Err(ExpectedAnswer::Option(self.clone())),
        }
    }

    /// Labels, positions and words of their own, as the person lists them.
    fn several_of(&self, text: &str) -> String {
        let all = ["all", "all of them", "everything", if self.options.len() == 2 { "both" } else { "all" }];
        if all.contains(&LabelForm::WordsOnly.of(text).as_str()) {
            return self.options.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(", ");
        }
        let parts = list_parts(text);
        let mut picked: Vec<&str> = Vec::new();
        let (mut at, mut names_any) = (0, false);
        while at < parts.len() {
            // A label may have a comma in it, so the longest one counts.
            let longest = (at + 1..=parts.len()).rev().find_map(|end| {
                let written = &text[parts[at].start..parts[end - 1].end];
                Some((self.labelled(written)?, end))
            });
            let written = &text[parts[at].clone()];
            let (labels, end) = match (longest, self.listed(written)) {
                (Some((label, end)), _) => (vec![label], end),
                (None, Some(labels)) => (labels, at + 1),
                (None, None) => (vec![written], at + 1),
            };
            names_any |= longest.is_some() || labels != [written];
            picked.extend(labels);
            at = end;
        }
        let mut seen = std::collections::HashSet::new();
        picked.retain(|label| seen.insert(*label));
        if names_any { picked.join(", ") } else { text.to_owned() }
    }
}

impl LabelForm {
    fn of(self, text: &str) -> String {
        let text =
            text.replace(['\u{fe0e}', '\u{fe0f}'], "").replace(['\u{2019}', '\u{2018}'], "'").to_lowercase();
        let marks = |c: char| {
            c.is_ascii_punctuation() && !matches!(c, '+' | '#' | '-') || matches!(c, '…' | '“' | '”')
        };
        let text = match self {
            Self::AnyCase => text,
            Self::WithoutMarksAround => text.trim_matches(|c: char| marks(c) || c.is_whitespace()).to_owned(),
            Self::WordsOnly => {
                let kept = text.replace('\'', "");
                kept.split(|c: char| !c.is_alphanumeric())
                    .filter(|word| !word.is_empty())
                    .collect::<Vec<_>>()
                    .join(" ")
            }
        };
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Where the parts of a list are: between commas, line breaks and "and".
fn list_parts(text: &str) -> Vec<std::ops::Range<usize>> {
    let is_break = |c: char| matches!(c, ',' | ';' | '\n' | '&');
    let mut parts = Vec::new();
    let mut from = 0;
    let ends = text.match_indices(is_break).map(|(at, found)| (at, at + found.len()));
    let ands = text.match_indices(" and ").map(|(at, found)| (at, at + found.len()));
    let mut breaks: Vec<_> = ends.chain(ands).chain([(text.len(), text.len())]).collect();
    breaks.sort_unstable();
    for (end, next) in breaks {
        if end >= from {
            let part = &text[from..end];
            let start = from + part.len() - part.trim_start().len();
            if !part.trim().is_empty() {
                parts.push(start..start + part.trim().len());
            }
            from = next;
        }
    }
    parts
}

/// Numbers and nothing else: `2`, `2.`, `option 2`, `1, 3`, `1 3`, a keycap.
fn positions(text: &str) -> Option<Vec<usize>> {
    let text = text.replace(['\u{fe0f}', '\u{20e3}'], "").to_lowercase();
    let text = text.trim();
    let text = text.strip_prefix("option ").or_else(|| text.strip_prefix("number ")).unwrap_or(text);
    let parts =
        text.split(|c: char| matches!(c, ',' | ';') || c.is_whitespace()).filter(|part| !part.is_empty());
    let number = |part: &str| {
        let digits = part.trim_start_matches('(').trim_end_matches(['.', ')', '!']);
        // "+1" is a yes.
        if digits.starts_with('+') { None } else { digits.parse().ok() }
    };
    parts.map(number).collect::<Option<Vec<usize>>>().filter(|numbers| !numbers.is_empty())
}

pub(super) fn with_answers(input: Value, answers: Vec<(String, String)>) -> Value {
    let mut input = match input {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let answers = answers.into_iter().map(|(question, answer)| (question, Value::String(answer))).collect();
    input.insert("answers".into(), Value::Object(answers));
    Value::Object(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(labels: &[&str], several: bool) -> ModelQuestion {
        let options = labels.iter().map(|label| ((*label).to_owned(), String::new())).collect();
        ModelQuestion { question: "Which?".into(), options, several }
    }

    fn answers(labels: &[&str], expected: &[(&str, &str)]) {
        for (said, answer) in expected {
            assert_eq!(asked(labels, false).answer(said).as_deref(), Ok(*answer), "{said:?} of {labels:?}");
        }
    }

    #[test]
    fn the_label_goes_before_the_position_and_both_before_own_words() {
        answers(
            &["2", "4", "8"],
            &[
                ("2", "2"),
                ("4", "4"),
                ("8", "8"),
                ("1", "2"),
                ("3", "8"),
                ("16", "16"),
                ("2.", "2"),
                ("0", "0"),
            ],
        );
        answers(
            &["Red", "Blue"],
            &[
                ("2", "Blue"),
                ("2.", "Blue"),
                ("(2)", "Blue"),
                ("option 2", "Blue"),
                ("2️⃣", "Blue"),
                ("7", "7"),
                ("-1", "-1"),
            ],
        );
        answers(
            &["Red", "Blue"],
            &[
                ("RED", "Red"),
                (" red. ", "Red"),
                ("“red”", "Red"),
                ("a warm green", "a warm green"),
                ("redder", "redder"),
            ],
        );
        answers(
            &["Don't know", "Yes, please!"],
            &[("dont know", "Don't know"), ("don’t know", "Don't know"), ("yes please", "Yes, please!")],
        );
        answers(&["C", "C++", "C#"], &[("c++", "C++"), ("c", "C"), ("C#", "C#"), ("c.", "C")]);
    }

    #[test]
    fn yes_and_no_are_the_options_of_that_name() {
        answers(
            &["Yes", "No"],
            &[
                ("no", "No"),
                ("No.", "No"),
                ("yes", "Yes"),
                ("yep", "Yes"),
                ("👍🏽", "Yes"),
                ("nope", "No"),
                ("y", "Yes"),
            ],
        );
        answers(
            &["Yes, delete it", "No, keep it"],
            &[("yes", "Yes, delete it"), ("no", "No, keep it"), ("no, ask Ann", "no, ask Ann")],
        );
        answers(&["No, keep it", "Yes, delete it"], &[("+1", "Yes, delete it"), ("-1", "No, keep it")]);
        answers(&["Red", "Blue"], &[("no", "no"), ("yes", "yes"), ("sure?", "sure?")]);
        answers(&["Yes", "Yes, always", "No"], &[("yes", "Yes"), ("yes always", "Yes, always")]);
        let unclear = asked(&["Yes, once", "Yes, always", "No"], false);
        assert_eq!(unclear.answer("yes"), Err(ExpectedAnswer::Option(unclear.clone())), "two begin with it");
    }

    #[test]
    fn labels_that_differ_in_their_marks_alone_are_told_apart_by_these() {
        let marked = ["Red!", "Red?"];
        answers(&marked, &[("red?", "Red?"), ("red", "red"), ("2", "Red?")]);
        assert!(!asked(&marked, false).names_an_option("red"));
        assert!(!asked(&["?", "Red"], false).names_an_option("!"), "no words are no label");
        answers(&["Red", "Red"], &[("RED", "Red")]);
    }

    #[test]
    fn one_of_several_positions_is_asked_for_again() {
        assert_eq!(asked(&["Red", "Blue"], false).answer("1 2"), Err(ExpectedAnswer::OneOption(2)));
        assert_eq!(
            asked(&["Red", "Blue"], false).answer("1, 3").as_deref(),
            Ok("1, 3"),
            "no list of positions"
        );
        assert!(asked(&["Red"], false).answer("  ").is_err());
    }

    #[test]
    fn several_are_picked_in_any_form() {
        let sizes = asked(&["S", "M", "L, tall"], true);
        for (said, answer) in [
            ("1, 2", "S, M"),
            ("1 2", "S, M"),
            ("s and m", "S, M"),
            ("s, m and l tall", "S, M, L, tall"),
            ("S\nL, tall", "S, L, tall"),
            ("l tall", "L, tall"),
            ("1, 3", "S, L, tall"),
            ("m, XL", "M, XL"),
            ("1, 1", "S"),
            ("All.", "S, M, L, tall"),
            ("whatever fits", "whatever fits"),
            ("9", "9"),
        ] {
            assert_eq!(sizes.answer(said).as_deref(), Ok(answer), "{said:?}");
        }
        assert_eq!(
            asked(&["2", "4", "8"], true).answer("2, 1").as_deref(),
            Ok("2"),
            "a label, and a position"
        );
        assert_eq!(asked(&["A", "B"], true).answer("both").as_deref(), Ok("A, B"));
    }
}
