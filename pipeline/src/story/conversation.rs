//! The conversation that a story came from, as its file shows it to people. Where notices go is decided by storkit's own record, never
//! by this text: files come from anywhere.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Characters of the message that a story keeps.
const EXCERPT: usize = 160;

/// Where a story was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryConversation {
    /// `messenger:id`
    pub room: String,
    /// The address of the message, where the messenger has such addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The beginning of the message, on one line.
    #[serde(default)]
    pub excerpt: String,
}

impl StoryConversation {
    pub fn new(room: impl Into<String>, link: Option<String>, message: &str) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let line: String = message.chars().take(EXCERPT * 8).map(clean).collect();
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let excerpt = match line.char_indices().nth(EXCERPT) {
            None => line,
            Some(_) => line.chars().take(EXCERPT - 1).chain(['…']).collect(),
        };
        Self { room: room.into(), link, excerpt }
    }

    /// As front matter has it.
    pub(crate) fn data(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_bounded_line() {
        let of = |text: &str| StoryConversation::new("fake:a", None, text).excerpt;
        assert_eq!(of(" we need\r\n  a door\u{1b}[31m "), "we need a door [31m");
        let long = of(&"é".repeat(10_000));
        assert!(long.chars().count() == EXCERPT && long.ends_with('…'), "{long}");
    }
}
