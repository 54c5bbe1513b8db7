//! A value of a front matter key, and how YAML spells it on one line.

use serde_json::Value as Json;

use super::StoryId;

/// A value for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValue {
    Flag(bool),
    Number(u32),
    /// Any text; quoted where YAML asks for it.
    Text(String),
    /// A list of stories.
    Stories(Vec<StoryId>),
    /// Nested data, written as JSON on one line: YAML 1.2 reads that as itself.
    Data(Json),
}

impl KeyValue {
    /// As it is written behind `key: `.
    pub(crate) fn yaml(&self) -> String {
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) if is_plain(text) => text.clone(),
            Self::Text(text) => quoted(text),
            Self::Stories(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                format!("[{}]", ids.join(", "))
            }
            Self::Data(data) => data.to_string().chars().map(escaped).collect(),
        }
    }

    /// As it is read back.
    pub(super) fn json(&self) -> Json {
        match self {
            Self::Flag(flag) => Json::from(*flag),
            Self::Number(number) => Json::from(*number),
            Self::Text(text) => Json::from(text.as_str()),
            Self::Stories(ids) => ids.iter().map(|id| id.0).collect(),
            Self::Data(data) => data.clone(),
        }
    }
}

impl From<bool> for KeyValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u32> for KeyValue {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for KeyValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for KeyValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[StoryId]> for KeyValue {
    fn from(ids: &[StoryId]) -> Self {
        Self::Stories(ids.to_vec())
    }
}

/// Text that YAML reads as that very text, without quotes.
fn is_plain(text: &str) -> bool {
    // Booleans and nulls of YAML 1.1, by which other tools may read the file.
    const OTHER: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let letters = |c: char| c.is_alphanumeric() || " _-.,()/!?+'".contains(c);
    text.starts_with(|c: char| c.is_alphabetic())
        && !text.ends_with(' ')
        && text.chars().all(letters)
        && !OTHER.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// A double-quoted scalar on one line (YAML 1.2, 5.7 and 7.3.1).
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push_str(&escaped(c)),
        }
    }
    out.push('"');
    out
}

/// A character between double quotes. Those that YAML could take for a line break, or does
/// not allow, by number.
fn escaped(c: char) -> String {
    match c {
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => format!("\\u{:04x}", c as u32),
        c if c.is_control() => format!("\\u{:04x}", c as u32),
        c => c.to_string(),
    }
}
