//! Natural words as an answer: which mean yes, no or always beyond doubt, and which only sound like an answer. Pure.
//!
//! Consent is never guessed: "yes but", "sure?" and "not yes" are unclear. A denial does no harm, so it may have a reason behind it.

/// What a person's words mean as an answer to "may I?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsentWords {
    Yes,
    Always,
    /// With what followed, as they wrote it.
    No(Option<String>),
    /// They sound like an answer, and nobody can tell which.
    Unclear,
    /// They are about something else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PhraseMeaning {
    Yes,
    /// Yes, as the whole of it. More words make a task of it ("go through the list").
    YesAlone,
    No,
    /// No, and a reason only behind a comma: "don't, use cp" and not "don't worry".
    NoAlone,
    Always,
    /// How often: nothing without a yes.
    Once,
    /// Neither for nor against.
    Filler,
    Unclear,
}

use PhraseMeaning::{Always, Filler, No, NoAlone, Once, Unclear, Yes, YesAlone};

const PHRASES: &[(PhraseMeaning, &[&str])] = &[
    (
        Yes,
        &[
            "yes",
            "y",
            "yep",
            "yeah",
            "yup",
            "yea",
            "aye",
            "ok",
            "okay",
            "okey",
            "k",
            "kk",
            "sure",
            "sure thing",
            "of course",
        ],
    ),
    (
        Yes,
        &[
            "certainly",
            "absolutely",
            "definitely",
            "agreed",
            "alright",
            "all right",
            "affirmative",
            "by all means",
            "+1",
            "lgtm",
        ],
    ),
    (
        YesAlone,
        &[
            "go",
            "go ahead",
            "go for it",
            "do it",
            "do that",
            "do so",
            "please do",
            "run it",
            "proceed",
            "make it so",
        ],
    ),
    (
        YesAlone,
        &[
            "allow",
            "allow it",
            "allow this",
            "allow that",
            "allowed",
            "approve",
            "approve it",
            "approve this",
            "approved",
        ],
    ),
    (
        YesAlone,
        &[
            "accept",
            "accepted",
            "permit",
            "permitted",
            "granted",
            "confirm",
            "confirmed",
            "fine",
            "fine by me",
            "that is fine",
        ],
    ),
    (
        YesAlone,
        &[
            "that's fine",
            "thats fine",
            "that's ok",
            "thats ok",
            "that is ok",
            "sounds good",
            "looks good",
            "ship it",
        ],
    ),
    (
        No,
        &[
            "no",
            "n",
            "nope",
            "nah",
            "nay",
            "no way",
            "no thanks",
            "no thank you",
            "deny",
            "denied",
            "reject",
            "rejected",
            "refuse",
        ],
    ),
    (
        No,
        &[
            "refused",
            "decline",
            "declined",
            "disallow",
            "negative",
            "absolutely not",
            "definitely not",
            "certainly not",
            "-1",
        ],
    ),
    (No, &["of course not", "not now", "not this time", "not ok", "not okay", "please no"]),
    (
        NoAlone,
        &[
            "don't",
            "dont",
            "do not",
            "don't do it",
            "dont do it",
            "do not do it",
            "don't do that",
            "dont do that",
        ],
    ),
    (
        NoAlone,
        &[
            "do not do that",
            "please don't",
            "please dont",
            "please do not",
            "don't run it",
            "dont run it",
            "do not run it",
        ],
    ),
    (
        NoAlone,
        &["don't allow it", "dont allow it", "do not allow it", "never", "cancel it", "abort", "rather not"],
    ),
    (Always, &["always", "always allow", "always allow it", "always allow this", "always yes", "always ok"]),
    (
        Once,
        &[
            "once",
            "just once",
            "only once",
            "this once",
            "just this once",
            "only this once",
            "this time",
            "just this time",
        ],
    ),
    (
        Filler,
        &[
            "please",
            "pls",
            "plz",
            "thanks",
            "thx",
            "ty",
            "thank you",
            "cheers",
            "then",
            "now",
            "well",
            "oh",
            "just",
        ],
    ),
    (
        Unclear,
        &[
            "no problem",
            "no problems",
            "no prob",
            "no worries",
            "no objection",
            "no objections",
            "no issue",
            "no issues",
            "np",
        ],
    ),
    (
        Unclear,
        &[
            "no doubt",
            "no concerns",
            "no idea",
            "no harm",
            "no matter",
            "no reason not to",
            "not a problem",
            "why not",
        ],
    ),
    (
        Unclear,
        &[
            "not sure",
            "not yet",
            "not really",
            "unsure",
            "maybe",
            "perhaps",
            "possibly",
            "probably",
            "hm",
            "hmm",
            "hmmm",
            "um",
            "uh",
        ],
    ),
    (
        Unclear,
        &[
            "idk",
            "dunno",
            "i don't know",
            "i dont know",
            "i guess",
            "depends",
            "it depends",
            "later",
            "wait",
            "hold on",
            "one moment",
        ],
    ),
    (
        Unclear,
        &[
            "let me think",
            "let me check",
            "never mind",
            "nevermind",
            "go on",
            "continue",
            "right",
            "good",
            "great",
            "cool",
            "nice",
        ],
    ),
    (Unclear, &["yes or no", "y/n", "yes/no", "reacted", "liked", "ja", "nein", "oui", "non", "si", "sí"]),
];

/// Words that make a short text sound like an answer wherever they stand in it.
const TELLING: &[&str] =
    &["yes", "no", "ok", "okay", "yep", "nope", "sure", "allow", "deny", "approve", "reject", "+1", "-1"];

/// In so few words, one that tells makes it sound like an answer.
const SHORT: usize = 4;

/// A task has more words than these behind "go" or "don't".
const SHORT_REST: usize = 3;

/// Signs and their names in chats, and the word for each.
const SIGNS: &[(&str, &[&str])] = &[
    ("+1", &["👍", "✅", "✔", "☑", "👌", "🆗", "🙆"]),
    (
        "+1",
        &[
            ":+1:",
            ":thumbsup:",
            ":thumbs_up:",
            ":white_check_mark:",
            ":heavy_check_mark:",
            ":ballot_box_with_check:",
        ],
    ),
    ("+1", &[":ok_hand:", ":ok:", "(y)"]),
    ("-1", &["👎", "❌", "✖", "❎", "🚫", "⛔", "🙅", "🛑"]),
    (
        "-1",
        &[
            ":-1:",
            ":thumbsdown:",
            ":thumbs_down:",
            ":x:",
            ":heavy_multiplication_x:",
            ":no_entry:",
            ":no_entry_sign:",
            "(n)",
        ],
    ),
    ("always", &["♾", ":infinity:"]),
];

struct Word<'a> {
    /// In lower case, without punctuation around it.
    word: String,
    /// From here on in the text.
    rest: &'a str,
    asks: bool,
    /// A comma, a full stop or a line break follows.
    ends_clause: bool,
}

impl ConsentWords {
    pub fn of(text: &str) -> Self {
        let text = plain(text);
        let words = words(&text);
        let mut phrases = Vec::new();
        let mut at = 0;
        while let Some((meaning, length)) = phrase_at(&words[at..]) {
            phrases.push((meaning, &words[at..at + length]));
            at += length;
        }
        match words.get(at) {
            None => whole(&phrases),
            Some(next) => with_rest(&phrases, &words[at..], next.rest),
        }
    }
}

fn has(phrases: &[(PhraseMeaning, &[Word<'_>])], meanings: &[PhraseMeaning]) -> bool {
    phrases.iter().any(|(meaning, _)| meanings.contains(meaning))
}

fn whole(phrases: &[(PhraseMeaning, &[Word<'_>])]) -> ConsentWords {
    let asks = phrases.iter().flat_map(|(_, words)| *words).any(|word| word.asks);
    let (yes, no) = (has(phrases, &[Yes, YesAlone]), has(phrases, &[No, NoAlone]));
    let (always, once) = (has(phrases, &[Always]), has(phrases, &[Once]));
    match (yes, no, always) {
        _ if phrases.is_empty() => ConsentWords::Other,
        _ if asks || has(phrases, &[Unclear]) => ConsentWords::Unclear,
        (true, false, false) => ConsentWords::Yes,
        (_, false, true) if !once => ConsentWords::Always,
        (false, true, false) => ConsentWords::No(second_no(phrases)),
        _ => ConsentWords::Unclear,
    }
}

/// "no not now": behind a no, another one of several words is its reason.
fn second_no(phrases: &[(PhraseMeaning, &[Word<'_>])]) -> Option<String> {
    let refuses = |(meaning, _): &&(PhraseMeaning, &[Word<'_>])| matches!(meaning, No | NoAlone);
    let mut refusals = phrases.iter().filter(refuses).skip(1);
    let (_, words) = refusals.find(|(_, words)| words.len() > 1)?;
    Some(words.first()?.rest.trim().to_owned())
}

/// Phrases, and then words that are none.
fn with_rest(phrases: &[(PhraseMeaning, &[Word<'_>])], others: &[Word<'_>], rest: &str) -> ConsentWords {
    let leading: Vec<&Word<'_>> = phrases.iter().flat_map(|(_, words)| *words).collect();
    let asks = leading.iter().any(|word| word.asks);
    if has(phrases, &[Yes, Always, Once]) || asks || yes_and_no(phrases) {
        return ConsentWords::Unclear;
    }
    if has(phrases, &[No]) && !has(phrases, &[Unclear]) {
        return ConsentWords::No(Some(rest.trim().to_owned()));
    }
    let is_apart = leading.last().is_some_and(|word| word.ends_clause);
    match phrases.iter().find(|(meaning, _)| *meaning != Filler).map(|(meaning, _)| *meaning) {
        Some(NoAlone) if is_apart => ConsentWords::No(Some(rest.trim().to_owned())),
        Some(NoAlone | YesAlone | Unclear) if others.len() <= SHORT_REST => ConsentWords::Unclear,
        _ if leading.len() + others.len() <= SHORT && tells(&leading, others) => ConsentWords::Unclear,
        _ => ConsentWords::Other,
    }
}

fn yes_and_no(phrases: &[(PhraseMeaning, &[Word<'_>])]) -> bool {
    has(phrases, &[YesAlone]) && has(phrases, &[No, NoAlone])
}

fn tells(leading: &[&Word<'_>], others: &[Word<'_>]) -> bool {
    leading.iter().copied().chain(others).any(|word| TELLING.contains(&word.word.as_str()))
}

/// The longest phrase at the beginning, and how many words it has.
fn phrase_at(words: &[Word<'_>]) -> Option<(PhraseMeaning, usize)> {
    let all =
        PHRASES.iter().flat_map(|(meaning, phrases)| phrases.iter().map(move |phrase| (*meaning, *phrase)));
    let fits = |phrase: &str| {
        let length = phrase.split(' ').count();
        let said = words.get(..length)?;
        // "no. way" and "do. it" are two things.
        let is_one = said[..length - 1].iter().all(|word| !word.ends_clause && !word.asks);
        (is_one && said.iter().map(|word| word.word.as_str()).eq(phrase.split(' '))).then_some(length)
    };
    all.filter_map(|(meaning, phrase)| Some((meaning, fits(phrase)?))).max_by_key(|(_, length)| *length)
}

/// The text with each sign as a word, without what keyboards add to it.
fn plain(text: &str) -> String {
    // Slack writes the tone of a skin as a sign of its own.
    let mut plain = text.replace(['\u{2019}', '\u{2018}', '\u{02bc}'], "'");
    for tone in 2..=6 {
        plain = plain.replace(&format!(":skin-tone-{tone}:"), "");
    }
    for tone in 1..=5 {
        plain = plain.replace(&format!("_tone{tone}:"), ":");
    }
    // Variation selectors, skin tones, joiners and signs of a gender behind them.
    let is_part = |c: char| {
        matches!(
            c,
            '\u{fe0e}' | '\u{fe0f}' | '\u{200d}' | '\u{2640}' | '\u{2642}' | '\u{1f3fb}'..='\u{1f3ff}'
        )
    };
    plain.retain(|c| !is_part(c));
    for (word, signs) in SIGNS {
        for sign in *signs {
            plain = plain.replace(sign, &format!(" {word} "));
        }
    }
    plain
}

fn words(text: &str) -> Vec<Word<'_>> {
    let starts = text.char_indices().scan(true, |after_space, (at, c)| {
        let is_start = *after_space && !c.is_whitespace();
        *after_space = c.is_whitespace();
        Some(is_start.then_some(at))
    });
    let mut words: Vec<Word<'_>> = Vec::new();
    for at in starts.flatten() {
        let rest = &text[at..];
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (written, breaks) = (&rest[..end], rest[end..].trim_start_matches([' ', '\t']).starts_with('\n'));
        let marks = |c: char| {
            c.is_ascii_punctuation() && !matches!(c, '+' | '-')
                || matches!(c, '…' | '¿' | '¡' | '“' | '”' | '–' | '—')
        };
        let bare = match written {
            "+1" | "-1" | "y/n" => written,
            written => written.trim_matches(|c| marks(c) || matches!(c, '+' | '-')),
        };
        let tail = written.rsplit_once(bare).map_or("", |(_, tail)| tail);
        let (asks, ends) =
            (tail.contains('?'), breaks || tail.contains([',', '.', ';', ':', '!', '–', '—', '-', '…']));
        match (bare, words.last_mut()) {
            // Punctuation of its own belongs to the word before it.
            ("", Some(before)) => {
                before.asks |= written.contains('?');
                before.ends_clause = true;
            }
            ("", None) => {}
            (bare, _) => words.push(Word { word: bare.to_lowercase(), rest, asks, ends_clause: ends }),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_are(meaning: &ConsentWords, texts: &[&str]) {
        for text in texts {
            assert_eq!(ConsentWords::of(text), *meaning, "{text:?}");
        }
    }

    #[test]
    fn people_say_yes_in_many_ways() {
        all_are(
            &ConsentWords::Yes,
            &[
                "yes",
                "Yes.",
                "YES!!",
                "y",
                "yep",
                "yeah",
                "sure",
                "Sure!",
                "ok",
                "okay",
                "OK, go ahead",
                "go ahead",
                "do it",
                "yes please",
                "Yes, please!",
                "please do",
                "allow once",
                "allow it",
                "yes, allow it",
                "yes yes",
                "yes, do it",
                "of course",
                "sure thing, go ahead",
                "ok thanks",
                "yes, thank you",
                "approve",
                "approved",
                "that's fine",
                "that’s fine",
                "sounds good",
                "go",
                "ok then",
                "yes, just this once",
                "ok ok",
                "well, yes",
                "“yes”",
                "*yes*",
                "`yes`",
                "lgtm",
                "yes.\n",
            ],
        );
    }

    #[test]
    fn signs_are_words_in_every_skin_and_spelling() {
        all_are(
            &ConsentWords::Yes,
            &[
                "👍",
                "👍🏽",
                "👍🏿👍🏿",
                "✅",
                "✔️",
                "☑️",
                "👌🏻",
                "👍 go ahead",
                "ok 👍",
                "👍️",
                ":+1:",
                ":thumbsup:",
                ":+1::skin-tone-3:",
                ":thumbsup_tone2:",
                ":white_check_mark:",
                "+1",
                "(y)",
                "🙆‍♀️",
                "yes ✅",
            ],
        );
        all_are(&ConsentWords::No(None), &["👎", "👎🏾", "❌", "🚫", ":-1:", ":x:", "-1", "🙅🏽‍♂️", "no 👎"]);
        all_are(&ConsentWords::Always, &["♾️", "♾"]);
    }

    #[test]
    fn people_say_no_in_many_ways_and_may_say_why() {
        all_are(
            &ConsentWords::No(None),
            &[
                "no",
                "No.",
                "n",
                "nope",
                "nah",
                "don't",
                "don’t",
                "dont",
                "do not",
                "please don't",
                "don't do it",
                "no thanks",
                "no way",
                "never",
                "no, thank you",
                "deny",
                "reject",
                "absolutely not",
                "not now",
                "no no no",
                "cancel it",
            ],
        );
        for (text, reason) in [
            ("no, use cp", "use cp"),
            ("nope, too risky!", "too risky!"),
            ("no too risky", "too risky"),
            ("no not now", "not now"),
            ("don't, use cp", "use cp"),
            ("No. Why do you need that?", "Why do you need that?"),
            ("👎 too slow", "too slow"),
            ("no. way too risky", "way too risky"),
            ("no it is not what I want\nuse cp", "it is not what I want\nuse cp"),
        ] {
            assert_eq!(ConsentWords::of(text), ConsentWords::No(Some(reason.into())), "{text:?}");
        }
    }

    #[test]
    fn always_is_said_as_such() {
        all_are(
            &ConsentWords::Always,
            &["always", "Always!", "always allow", "yes, always", "always please"],
        );
        all_are(&ConsentWords::Unclear, &["always once", "no, always", "always ask me", "always?"]);
    }

    #[test]
    fn what_is_not_beyond_doubt_is_no_consent() {
        all_are(
            &ConsentWords::Unclear,
            &[
                "yes but only in /tmp",
                "yes, but",
                "sure?",
                "ok?",
                "yes?",
                "ok ?",
                "yes!?",
                "👍?",
                "not yes",
                "yes or no?",
                "yes/no",
                "no problem",
                "no problem, go ahead",
                "No worries!",
                "no objections",
                "yes no",
                "no yes",
                "no, wait, yes",
                "yes... no",
                "do it, no, use cp",
                "no? I thought it was safe",
                "👍👎",
                "hm",
                "maybe",
                "not sure",
                "I don't know",
                "is that a yes?",
                "yes and no",
                "yes if it is safe",
                "ok so what does it do?",
                "once",
                "go on",
                "don't worry",
                "don't stop",
                "do it with sudo",
                "allow what?",
                "why not",
                "not ok?",
                "yes 2 files",
                "thanks",
                "please",
                "wait",
                "never mind",
                "ja",
                "sure, when the tests pass",
                "yes to both",
                "y/n",
                "good",
                "no?",
                "don't?",
                "I said yes",
                "Reacted 👍 to your message",
            ],
        );
    }

    #[test]
    fn other_talk_is_no_answer() {
        all_are(
            &ConsentWords::Other,
            &[
                "yesterday I saw it fail",
                "what does it do?",
                "fix the tests afterwards",
                "nothing works here",
                "note that it rains",
                "okra",
                "surely you know the answer to that one",
                "tell me what happens after a yes",
                "go through the README and fix typos",
                "known bugs",
                "list go files",
                "",
                "don't forget to update the changelog",
                "🎉",
                "know",
                "norway",
                "status",
                "and then?",
                "use another color",
            ],
        );
    }
}
