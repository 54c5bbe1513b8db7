//! Removes active parts from foreign text: controls, direction overrides, crowd pings.

use std::borrow::Cow;

// Invisible inside a ping, so that no messenger recognises it.
const BREAK: char = '\u{200B}';

// Typed pings of everybody: Matrix (`@room`), Slack and others.
const CROWDS: &[&str] = &["@room", "@here", "@channel", "@everyone"];
// Slack's coded pings of everybody or of a group, also in the form `<!here|here>`.
// <https://docs.slack.dev/messaging/formatting-message-text#special-mentions>
const CODED_CROWDS: &[&str] = &["<!channel", "<!here", "<!everyone", "<!group", "<!subteam"];

/// `text` without control characters other than line breaks and tabs (so without terminal escapes), without bidirectional
/// overrides, and with crowd pings such as `@room` and `<!channel>` broken by a zero-width space.
pub fn inert(text: &str) -> Cow<'_, str> {
    match strip_controls(text) {
        Cow::Borrowed(text) => break_pings(text),
        Cow::Owned(text) => Cow::Owned(break_pings(&text).into_owned()),
    }
}

/// The part of [`inert`] that a terminal needs.
pub(super) fn strip_controls(text: &str) -> Cow<'_, str> {
    if text.contains(is_active) {
        Cow::Owned(text.chars().filter(|c| !is_active(*c)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

// C0 and C1 controls, and characters by which text shows in another order than it is in: a person would approve another command
// than the one on the screen (CVE-2021-42574).
fn is_active(c: char) -> bool {
    let is_control = c.is_control() && c != '\n' && c != '\t';
    is_control || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn break_pings(text: &str) -> Cow<'_, str> {
    let mut broken = String::new();
    let mut copied = 0;
    for (at, sign) in text.match_indices(['@', '<']) {
        if is_ping(&text[at..]) {
            let after = at + sign.len();
            broken.push_str(&text[copied..after]);
            broken.push(BREAK);
            copied = after;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    broken.push_str(&text[copied..]);
    Cow::Owned(broken)
}

fn is_ping(text: &str) -> bool {
    CROWDS.iter().chain(CODED_CROWDS).any(|ping| {
        let start = text.get(..ping.len());
        let matches = start.is_some_and(|start| start.eq_ignore_ascii_case(ping));
        // `@hereford` is a name.
        matches && !text[ping.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_overrides_are_gone_and_text_stays() {
        assert_eq!(inert("a\x1b[31mred\x1b]0;title\x07\u{9b}2J\r\n\tb\u{7f}"), "a[31mred]0;title2J\n\tb");
        assert_eq!(inert("user\u{202E}txt.exe\u{2066}x\u{2069}"), "usertxt.exex");
        assert!(matches!(inert("Grüße 👨‍👩‍👧\n"), Cow::Borrowed("Grüße 👨‍👩‍👧\n")));
    }

    #[test]
    fn crowd_pings_are_broken_in_every_form() {
        for ping in CROWDS.iter().map(ToString::to_string).chain(
            ["<!channel>", "<!here|here>", "<!everyone>", "<!subteam^S1>", "@ROOM", "@room!", "(@here)"]
                .map(String::from),
        ) {
            let text = format!("hi {ping} there");
            let broken = inert(&text).into_owned();
            assert_eq!(broken.replace(BREAK, ""), text);
            assert!(!broken.contains(&ping), "{broken:?}");
        }
        assert_eq!(inert("@ro\u{202E}om"), "@\u{200B}room");
        assert_eq!(inert("@\x1broom"), "@\u{200B}room");
    }

    #[test]
    fn what_only_looks_like_a_ping_is_left_alone() {
        for text in ["@hereford", "@roommate", "@ann", "<!-- comment -->", "<!DOCTYPE html>", "at room"] {
            assert_eq!(inert(text), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left_and_a_second_pass_changes_nothing(
            text in "(\\x1b|\\u{9b}|\\u{202e}|\\r|@|room|<!|here|>|[a-z \\n]|\\PC){0,40}",
        ) {
            let once = inert(&text).into_owned();
            prop_assert!(!once.contains(is_active));
            prop_assert!(!once.to_lowercase().split(|c: char| c.is_whitespace()).any(|word| word == "@room"));
            prop_assert_eq!(inert(&once), once.as_str());
        }
    }
}
