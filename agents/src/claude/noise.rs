//! Output of the CLI that is no event: how it is shown, and its last lines.

use std::collections::VecDeque;

/// At most this many characters of a line that is no JSON are shown.
pub(super) const SHOWN: usize = 500;

/// Limit of [`super::ProcessExit::tail`], in characters.
const TAIL: usize = 2_000;

/// A line without escape sequences and control characters, at most [`SHOWN`] characters.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    // A garbage line may be megabytes long: this reads a few times more than can be shown.
    for _ in 0..4 * SHOWN {
        rest = without_leading_escapes(rest);
        let Some(character) = rest.chars().next() else { break };
        rest = &rest[character.len_utf8()..];
        if !character.is_control() || character == '\t' {
            shown.push(character);
        }
    }
    shown.trim().chars().take(SHOWN).collect()
}

/// Cuts leading terminal escapes (CSI, OSC and two-character ones), as the CLI writes them when it exits.
pub(super) fn without_leading_escapes(mut text: &str) -> &str {
    while let Some(rest) = text.strip_prefix('\u{1b}') {
        let length = match rest.chars().next() {
            // `[` opens the sequence, although it is also in the range of its final bytes.
            Some('[') => rest.find(|c: char| ('@'..='~').contains(&c) && c != '[').map(|at| at + 1),
            Some(']') => rest.find('\u{7}').map(|at| at + 1),
            Some(other) => Some(other.len_utf8()),
            None => Some(0),
        };
        text = length.map_or("", |length| &rest[length..]);
    }
    text
}

/// The last lines of a stream, at most [`TAIL`] characters.
#[derive(Debug, Default)]
pub(super) struct OutputTail {
    lines: VecDeque<String>,
    characters: usize,
}

impl OutputTail {
    /// Adds a line of at most [`SHOWN`] characters.
    pub(super) fn push(&mut self, line: &str) {
        self.characters += line.chars().count() + 1;
        self.lines.push_back(line.to_owned());
        // A line itself is at most a quarter of that, so there is always more than one to drop.
        while self.characters > TAIL + 1 {
            let Some(first) = self.lines.pop_front() else { break };
            self.characters -= first.chars().count() + 1;
        }
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_within_its_limit() {
        let mut tail = OutputTail::default();
        (0..100).for_each(|number| tail.push(&format!("{number:0>99}")));
        let text = tail.text();
        assert!(text.len() <= TAIL && text.len() > TAIL - 101, "{}", text.len());
        assert!(text.ends_with("99") && !text.contains("079\n"));
    }

    #[test]
    fn escapes_are_cut_wherever_they_stand() {
        assert_eq!(
            printable("\u{1b}[2K\u{1b}]0;title\u{7}Error \u{1b}[1;31mhere\u{1b}[0m\u{1b}"),
            "Error here"
        );
        assert_eq!(without_leading_escapes("\u{1b}7\u{1b}[?25h{}\u{1b}[K"), "{}\u{1b}[K");
        assert_eq!(without_leading_escapes("\u{1b}]an escape without an end"), "");
    }
}
