//! A story's text as it lies on disk. An edit changes the lines it is about; every other byte stays.

use std::ops::Range;

use serde_json::Value as Json;

use super::{
    BlockReason, FrontError, FrontMatter, KeyValue, criteria::checkboxes, front::all_keys, heading, lines,
    lines::lines, title,
};

const BOM: &str = "\u{feff}";

/// Longest front matter that is read, in bytes.
const LONGEST_FRONT: usize = 64 * 1024;

/// A story's text whose front matter has been understood.
#[derive(Clone, Debug, PartialEq)]
pub struct StoryDocument {
    text: String,
    /// The range of the YAML, without the two `---` lines.
    yaml: Option<Range<usize>>,
    body: usize,
    front: FrontMatter,
}

/// Why a document was left as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// No key is written like this.
    #[error("`{0}` is no key of a story; a key is made of `a-z`, `0-9` and `_`")]
    Key(String),
    /// The key's lines could not be separated from its neighbours'.
    #[error(
        "`{key}` cannot be changed in this front matter without touching its other lines; change it by hand"
    )]
    Entangled { key: String },
    /// The value does not fit the key, or the edited text cannot be read.
    #[error("the story could not be read after this change: {0}")]
    Unreadable(#[from] FrontError),
    #[error("a story needs a title")]
    NoTitle,
    /// There are not so many criteria.
    #[error("there is no criterion {asked}; {}", numbered(*.found))]
    NoCriterion {
        /// Which was asked for, counted from 1.
        asked: usize,
        /// How many there are.
        found: usize,
    },
}

impl StoryDocument {
    /// Parses a story's text. A text that does not begin with a `---` line has no front matter; its first
    /// heading is then its name.
    pub fn parse(text: impl Into<String>) -> Result<Self, FrontError> {
        let text = text.into();
        let (yaml, body) = outline(&text)?;
        let mut front = match yaml.clone() {
            Some(yaml) => FrontMatter::parse(&text[yaml])?,
            None => FrontMatter::default(),
        };
        if front.name.is_empty() {
            front.name = heading::heading(&text[body..]).unwrap_or_default();
        }
        Ok(Self { text, yaml, body, front })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parsed front matter.
    pub fn front(&self) -> &FrontMatter {
        &self.front
    }

    /// The front matter alone; the text is given up.
    pub(super) fn into_front(self) -> FrontMatter {
        self.front
    }

    /// What follows the front matter.
    pub fn body(&self) -> &str {
        &self.text[self.body..]
    }

    /// Sets one top-level key. A comment behind a one-line value stays; so does everything else. A document without
    /// front matter gets one.
    pub fn set(&mut self, key: &str, value: impl Into<KeyValue>) -> Result<(), EditError> {
        let value = value.into();
        let key = checked(key)?;
        let edited = match &self.yaml {
            None => self.with_front_matter(key, &value),
            Some(yaml) => match lines::entry(&self.text, yaml.clone(), key) {
                Some(entry) => {
                    spliced(&self.text, entry.clone(), &lines::replaced(&self.text[entry], &value))
                }
                None => {
                    let line = format!("{key}: {}{}", value.yaml(), self.ending());
                    spliced(&self.text, yaml.end..yaml.end, &line)
                }
            },
        };
        self.accept(edited, key, Some(value.json()))
    }

    /// Removes one top-level key; that it is not there is no error.
    pub fn remove(&mut self, key: &str) -> Result<(), EditError> {
        let key = checked(key)?;
        let Some(yaml) = self.yaml.clone() else { return Ok(()) };
        let edited = match lines::entry(&self.text, yaml, key) {
            Some(entry) => spliced(&self.text, entry, ""),
            None => self.text.clone(),
        };
        self.accept(edited, key, None)
    }

    /// Blocks the story: the sentence for people, and the cause that decides.
    pub fn block(&mut self, reason: &BlockReason) -> Result<(), EditError> {
        self.set("blocked", reason.to_string())?;
        match reason {
            BlockReason::Person(_) => self.remove("blocked_cause"),
            reason => {
                let cause = serde_json::to_value(reason).unwrap_or_default();
                self.set("blocked_cause", KeyValue::Data(cause))
            }
        }
    }

    /// Takes a block away.
    pub fn unblock(&mut self) -> Result<(), EditError> {
        self.remove("blocked")?;
        self.remove("blocked_cause")
    }

    /// Criteria (`- [ ] text`) outside code blocks, and whether each is ticked.
    pub fn criteria(&self) -> Vec<(String, bool)> {
        checkboxes(&self.text, self.body)
            .into_iter()
            .map(|found| (found.text.to_owned(), found.ticked))
            .collect()
    }

    /// Ticks a criterion, or takes its tick away. Counted from 1, as people do.
    pub fn tick(&mut self, criterion: usize, done: bool) -> Result<(), EditError> {
        let boxes = checkboxes(&self.text, self.body);
        let found = boxes.len();
        let Some(at) = criterion.checked_sub(1).and_then(|index| boxes.get(index)).map(|found| found.at)
        else {
            return Err(EditError::NoCriterion { asked: criterion, found });
        };
        self.text.replace_range(at..=at, if done { "x" } else { " " });
        Ok(())
    }

    /// The text below the title, without the heading that repeats it.
    pub fn text_below_title(&self) -> &str {
        heading::below_title(self.body(), &self.front.name)
    }

    /// Gives the story another title, also in the heading that repeats it.
    pub fn set_title(&mut self, new: &str) -> Result<(), EditError> {
        let new = title(new).ok_or(EditError::NoTitle)?;
        let old = self.front.name.clone();
        self.set("name", new.as_str())?;
        match heading::retitled(self.body(), &old, &new) {
            Some(body) => self.set_body(&body),
            None => Ok(()),
        }
    }

    /// Puts another text below the title. One that begins with a heading of its own takes the place of the whole body.
    pub fn set_text_below_title(&mut self, text: &str) -> Result<(), EditError> {
        let title = title(&self.front.name).unwrap_or_default();
        self.set_body(&heading::with_title(&title, text))
    }

    /// Puts another body in place of the one there is; the front matter stays.
    pub fn set_body(&mut self, body: &str) -> Result<(), EditError> {
        let edited = spliced(&self.text, self.body..self.text.len(), body);
        *self = Self::parse(edited)?;
        Ok(())
    }

    /// The line ending of the first line, taken for the whole file.
    fn ending(&self) -> &'static str {
        match self.text.split_inclusive('\n').next() {
            Some(line) if line.ends_with("\r\n") => "\r\n",
            _ => "\n",
        }
    }

    fn with_front_matter(&self, key: &str, value: &KeyValue) -> String {
        let ending = self.ending();
        let (bom, rest) = self.text.split_at(bom(&self.text));
        let gap = if rest.is_empty() || rest.starts_with(['\r', '\n']) { "" } else { ending };
        format!("{bom}---{ending}{key}: {}{ending}---{ending}{gap}{rest}", value.yaml())
    }

    /// Takes the edited text if the key has its value and every other key the one it had.
    fn accept(&mut self, edited: String, key: &str, value: Option<Json>) -> Result<(), EditError> {
        // Edits work on lines, so the result is parsed again: an anchor or a multi-line value may tie keys
        // together.
        let mut wanted = self.keys()?;
        match value {
            Some(value) => wanted.insert(key.to_owned(), value),
            None => wanted.remove(key),
        };
        let entangled = |_| EditError::Entangled { key: key.to_owned() };
        let (yaml, _) = outline(&edited).map_err(entangled)?;
        if all_keys(&edited[yaml.unwrap_or_default()]).map_err(entangled)? != wanted {
            return Err(EditError::Entangled { key: key.to_owned() });
        }
        *self = Self::parse(edited)?;
        Ok(())
    }

    fn keys(&self) -> Result<serde_json::Map<String, Json>, FrontError> {
        all_keys(&self.text[self.yaml.clone().unwrap_or_default()])
    }
}

fn checked(key: &str) -> Result<&str, EditError> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let fits =
        key.starts_with(|c: char| c.is_ascii_lowercase()) && key.len() <= 64 && key.bytes().all(letters);
    fits.then_some(key).ok_or_else(|| EditError::Key(key.chars().take(64).collect()))
}

fn bom(text: &str) -> usize {
    if text.starts_with(BOM) { BOM.len() } else { 0 }
}

/// The range of the YAML, if there is any, and where the body begins.
fn outline(text: &str) -> Result<(Option<Range<usize>>, usize), FrontError> {
    let mut lines = lines(text, bom(text)..text.len());
    let start = match lines.next() {
        Some((_, line)) if line.trim_end() == "---" => bom(text) + line.len(),
        _ => return Ok((None, bom(text))),
    };
    let closing = lines.find(|(_, line)| matches!(line.trim_end(), "---" | "..."));
    let Some((end, line)) = closing else {
        return Err(FrontError {
            line: 1,
            why: "the front matter that begins here has no closing `---`".into(),
        });
    };
    if end - start > LONGEST_FRONT {
        return Err(FrontError {
            line: 1,
            why: format!("the front matter is longer than {LONGEST_FRONT} bytes"),
        });
    }
    Ok((Some(start..end), end + line.len()))
}

fn numbered(criteria: usize) -> String {
    match criteria {
        0 => "the story has none".into(),
        1 => "the story has only criterion 1".into(),
        last => format!("the story's criteria are numbered 1 to {last}"),
    }
}

fn spliced(text: &str, range: Range<usize>, with: &str) -> String {
    [&text[..range.start], with, &text[range.end..]].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::story::StoryId;

    const STORY: &str = "---\nname: \"A: b\"   # shown in rooms\n# why: nobody knows\nagent: coder-1\nowner: {x: [1, 2]}\n\
        depends_on:\n- 3\n- 4 # soon\n\nnote: >\n  agent: not a key\n  blocked: neither\n---\n\n# A\n\n- [ ] one\n";

    fn document(text: &str) -> StoryDocument {
        StoryDocument::parse(text).unwrap()
    }

    #[test]
    fn an_edit_changes_its_own_line_and_keeps_the_comment_behind_it() {
        let mut story = document(STORY);
        story.set("name", "Another: one").unwrap();
        story.set("depends_on", &[StoryId(9)][..]).unwrap();
        story.set("retry_count", 2).unwrap();
        story.remove("agent").unwrap();
        story.remove("blocked").unwrap();
        insta::assert_snapshot!(story.text(), @r#"
        ---
        name: "Another: one"   # shown in rooms
        # why: nobody knows
        owner: {x: [1, 2]}
        depends_on: [9]

        note: >
          agent: not a key
          blocked: neither
        retry_count: 2
        ---

        # A

        - [ ] one
        "#);
        assert_eq!(story.front().depends_on, [StoryId(9)]);
    }

    #[test]
    fn windows_line_endings_and_a_byte_order_mark_survive() {
        let text = "\u{feff}---\r\nname: x\r\nowner: bob\r\n---\r\nbody\r\n";
        let mut story = document(text);
        story.set("name", "other").unwrap();
        story.set("blocked", true).unwrap();
        assert_eq!(
            story.text(),
            "\u{feff}---\r\nname: other\r\nowner: bob\r\nblocked: true\r\n---\r\nbody\r\n"
        );
        story.remove("blocked").unwrap();
        story.set("name", "x").unwrap();
        assert_eq!(story.text(), text);
    }

    #[test]
    fn values_over_several_lines_are_replaced_whole() {
        for old in [
            "|\n  a\n\n  b\n",
            "\"a\n  b\"\n",
            "[1,\n  2\n]\n",
            "\n  - 1\n  # not 2\n  - 3\n",
            "plain\n  goes on\n",
        ] {
            let mut story = document(&format!("---\nblocked_by: {old}# kept\nz: 1\n---\nbody\n"));
            story.set("blocked_by", "x").unwrap();
            assert_eq!(story.text(), "---\nblocked_by: x\n# kept\nz: 1\n---\nbody\n", "{old:?}");
        }
    }

    #[test]
    fn a_file_without_front_matter_gets_one_when_a_key_is_set() {
        let mut story = document("# The title\n\ntext\n");
        assert_eq!((story.front().name.as_str(), story.body()), ("The title", "# The title\n\ntext\n"));
        story.set("agent", "coder-2").unwrap();
        assert_eq!(story.text(), "---\nagent: coder-2\n---\n\n# The title\n\ntext\n");
        assert_eq!(story.front().name, "The title");
        let mut empty = document("");
        empty.set("manual_qa", true).unwrap();
        assert_eq!(empty.text(), "---\nmanual_qa: true\n---\n");
    }

    #[test]
    fn what_cannot_be_changed_alone_is_left_as_it_was() {
        for text in [
            "---\n{name: x, agent: y}\n---\n",
            "---\nagent: &a x\nowner: *a\n---\n",
            "---\nnote: \"a\nagent: b\"\n---\n",
        ] {
            let mut story = document(text);
            assert!(matches!(story.set("agent", "z"), Err(EditError::Entangled { .. })), "{text:?}");
            assert_eq!(story.text(), text);
        }
        let mut story = document(STORY);
        assert!(matches!(story.set("retry_count", "many"), Err(EditError::Unreadable(_))));
        for key in ["", "Name", "a b", "a:", "x\ny", "-"] {
            assert!(matches!(story.set(key, true), Err(EditError::Key(_))), "{key:?}");
        }
        assert_eq!(story.text(), STORY);
    }

    #[test]
    fn broken_front_matter_is_named_by_its_line() {
        let why = [
            "---\nname: x\n",
            "---\nname: x\nagent: [\n---\n",
            &format!("---\n{}---\n", "# x\n".repeat(20_000)),
        ]
        .map(|text| StoryDocument::parse(text).unwrap_err().to_string());
        insta::assert_snapshot!(why.join("\n"), @"
        line 1: the front matter that begins here has no closing `---`
        line 3: text is expected here; put it between double quotes
        line 1: the front matter is longer than 65536 bytes
        ");
    }

    #[test]
    fn ticking_a_criterion_changes_one_byte() {
        let text = "# T\n- [ ] one\n* [x] two\n```\n- [ ] code\n```\n  + [X]  three \n- [y] no\n-[ ] no\n- [ ]no\n- [é] no\n";
        let mut story = document(text);
        let read = story.criteria();
        assert_eq!(read, [("one".into(), false), ("two".into(), true), ("three".into(), true)]);
        story.tick(1, true).unwrap();
        story.tick(2, false).unwrap();
        assert_eq!(story.text(), text.replace("[ ] one", "[x] one").replace("[x] two", "[ ] two"));
        for absent in [0, 4] {
            assert_eq!(story.tick(absent, true), Err(EditError::NoCriterion { asked: absent, found: 3 }));
        }
    }

    #[test]
    fn another_title_is_in_the_heading_too_and_another_text_keeps_it() {
        let mut story = document("---\nname: Old\nowner: bob\n---\n\n# Old\n\nOld text\n");
        story.set_title(" New\nand\tbetter ").unwrap();
        story.set_text_below_title("\nNew text\n\n- [ ] one\n").unwrap();
        assert_eq!(
            story.text(),
            "---\nname: New and better\nowner: bob\n---\n\n# New and better\n\nNew text\n\n- [ ] one\n"
        );
        assert_eq!(story.text_below_title(), "New text\n\n- [ ] one");
        assert_eq!(story.set_title(" \n"), Err(EditError::NoTitle));
        let mut without_front = document("# Old\n\ntext\n");
        without_front.set_title("New").unwrap();
        assert_eq!(without_front.text(), "---\nname: New\n---\n\n# New\n\ntext\n");
    }

    #[test]
    fn another_body_leaves_the_front_matter() {
        let mut story = document(STORY);
        story.set_body("---\nname: no\n---\n").unwrap();
        assert_eq!(story.front().name, "A: b");
        assert!(story.text().ends_with("neither\n---\n---\nname: no\n---\n"));
    }

    fn front_line() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{2,6}: [a-z]{0,5}( # [a-z:]{0,5})?",
            "[a-z]{2,6}:( #c)?\n(  ?- [a-z]{1,4}\n){0,2}  - x",
            "[a-z]{2,6}: [|>]\n  [a-z:# ]{0,6}\n\n  agent: x",
            "[a-z]{2,6}: \"[a-z:#' ]{0,6}\"",
            "# [a-z:]{0,8}",
            "",
            "(name|agent|blocked|k): ('it''s'|\"a \\\\\" # b\"|\\[1, 2\\]|x # y|) *( # c)?",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]
        #[test]
        fn a_key_that_is_set_reads_back_and_every_other_line_stays(
            lines in prop::collection::vec(front_line(), 0..5),
            key in "name|agent|k",
            value in any::<String>(),
            ending in "\n|\r\n",
            body in "(\n#? ?[a-z]{0,3}){0,3}",
        ) {
            let text = format!("---\n{}\n---{body}", lines.join("\n")).replace('\n', &ending);
            let Ok(before) = StoryDocument::parse(text.clone()) else { return Ok(()) };
            let mut story = before.clone();
            story.set(&key, value.as_str()).unwrap();
            let mut keys = story.keys().unwrap();
            prop_assert_eq!(keys.remove(&key), Some(Json::from(value)));
            let mut others = before.keys().unwrap();
            others.remove(&key);
            prop_assert_eq!(keys, others);
            prop_assert_eq!(story.body(), before.body());
            story.remove(&key).unwrap();
            let mut rest = text.split_inclusive('\n');
            for line in story.text().split_inclusive('\n') {
                prop_assert!(rest.any(|old| old == line), "{:?} is new", line);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text: String, front: String, value: String) {
            for text in [text.clone(), format!("---\n{front}\n---\n{text}"), format!("---\nname:{front}\nz: 1\n---\n")] {
                if let Ok(mut story) = StoryDocument::parse(text) {
                    let _ = story.set("name", value.as_str());
                    let _ = story.tick(1, true);
                    let _ = story.remove("name");
                }
            }
        }
    }
}
