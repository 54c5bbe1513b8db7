//! Recognises the bot's address at the start of a person's text: a prefix, or one of its names.

use std::{collections::VecDeque, iter::Peekable, str::CharIndices};

use crate::{Addressed, Identity};

// Asks for a coloured emoji. Some keyboards add it and some do not, so a comparison must ignore it.
const VARIATION_SELECTOR: char = '\u{FE0F}';
// Between a name and the text, the full-width forms of East Asian keyboards included.
const SEPARATORS: &[char] =
    &[':', ',', ';', '!', '?', '.', '…', '-', '–', '—', '：', '，', '、', '！', '？', '。'];

/// Finds the address at the start of `text` and returns the rest, trimmed; `None` if the text is not for the bot.
///
/// `names` are further names of the bot on this messenger: user name, full id. Names are compared without
/// regard to case, leading `@` and emoji variation selectors, and only as whole words: neither `Timmyx` nor
/// `timmy's` is an address. The emoji of a display name may be left out. A prefix counts only where a letter
/// follows. A name alone gives an empty text.
pub fn strip(text: &str, identity: &Identity, names: &[&str]) -> Option<(Addressed, String)> {
    let text = text.trim();
    if let Some(rest) = strip_prefix(text, &identity.prefixes) {
        return Some((Addressed::Prefix, rest.to_owned()));
    }
    let display_name = identity.display_name.as_str();
    let without_emoji = display_name.trim_matches(|c: char| !c.is_alphanumeric());
    let all = [display_name, without_emoji].into_iter().chain(names.iter().copied());
    // The longest that fits: of `@timmy:example.org` the user name `timmy` is only a part.
    let rest = all.filter_map(|name| strip_name(text, name)).min_by_key(|rest| rest.len())?;
    // `Timmy !status` means the command.
    match strip_prefix(rest, &identity.prefixes) {
        Some(command) => Some((Addressed::Prefix, command.to_owned())),
        None => Some((Addressed::Name, rest.to_owned())),
    }
}

/// The text behind a prefix at its start, where the bot's name is off already.
pub fn strip_prefix_of<'t>(text: &'t str, identity: &Identity) -> Option<&'t str> {
    strip_prefix(text, &identity.prefixes)
}

/// The text behind a mention and its separator; `None` where the mention is part of a longer word.
pub(crate) fn after_mention(rest: &str) -> Option<&str> {
    strip_separator(rest, false, true)
}

fn strip_prefix<'t>(text: &'t str, prefixes: &[String]) -> Option<&'t str> {
    let prefixes = prefixes.iter().filter(|prefix| !prefix.trim().is_empty());
    prefixes.filter_map(|prefix| strip_one_prefix(text, prefix)).min_by_key(|rest| rest.len())
}

fn strip_one_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let rest = text.strip_prefix(prefix)?;
    // A prefix that is a word, such as `bot`, must not match `bottle`.
    let is_word = prefix.ends_with(char::is_alphanumeric);
    let command = if is_word { rest.trim_start() } else { rest };
    let apart = !is_word || command.len() < rest.len();
    (apart && command.starts_with(char::is_alphabetic)).then_some(command)
}

fn strip_name<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (text, mentioned) = match text.strip_prefix('@') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let name = name.trim();
    let name = name.strip_prefix('@').unwrap_or(name);
    let rest = strip_folded(text, name)?;
    let ends_in_word = name.ends_with(char::is_alphanumeric);
    strip_separator(rest, ends_in_word, mentioned)
}

/// What follows `name` at the start of the text, in any case and with or without emoji selectors.
pub(crate) fn strip_folded<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut text_chars = FoldedText::new(text);
    let mut name_chars = FoldedText::new(name);
    name_chars.peek()?;
    for expected in name_chars {
        if text_chars.next()? != expected {
            return None;
        }
    }
    let end = text_chars.end()?;
    Some(&text[end..])
}

/// What follows the separator after a name, or `None` if the name was only a part of a longer word.
fn strip_separator(rest: &str, ends_in_word: bool, mentioned: bool) -> Option<&str> {
    let after = rest.trim_start_matches(SEPARATORS);
    let separator = &rest[..rest.len() - after.len()];
    let spaced = after.is_empty() || after.starts_with(char::is_whitespace);
    // People in a hurry write `timmy:status`, but `@timmy:elsewhere.org` is somebody else's Matrix id.
    let joined = matches!(separator, ":" | ",") && !mentioned || matches!(separator, "：" | "，" | "、");
    let hasty = joined && after.starts_with(char::is_alphabetic);
    let after_emoji = !ends_in_word && separator.is_empty() && after.starts_with(char::is_alphanumeric);
    (spaced || hasty || after_emoji).then(|| strip_spaced_separator(after, separator))
}

// `Timmy : status` is French typography, and some people write `Timmy - status`. A dash on the next line begins a list.
fn strip_spaced_separator<'t>(after: &'t str, separator: &str) -> &'t str {
    let text = after.trim_start();
    let gap = &after[..after.len() - text.len()];
    let rest = text.trim_start_matches(SEPARATORS);
    let is_separator = separator.is_empty() && !gap.contains('\n') && rest.len() < text.len();
    if is_separator && (rest.is_empty() || rest.starts_with([' ', '\u{A0}', '\u{202F}'])) {
        rest.trim_start()
    } else {
        text
    }
}

/// The characters of a text for comparing: case folded, white space as single spaces, no variation selectors.
struct FoldedText<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
    pending: VecDeque<char>,
}

impl<'t> FoldedText<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, chars: text.char_indices().peekable(), pending: VecDeque::new() }
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_selectors();
        self.chars.peek().map(|(_, c)| *c)
    }

    fn skip_selectors(&mut self) {
        while self.chars.next_if(|(_, c)| *c == VARIATION_SELECTOR).is_some() {}
    }

    /// The byte offset after the characters read so far, or `None` in the middle of one such as `ß`.
    fn end(&mut self) -> Option<usize> {
        self.skip_selectors();
        let end = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        self.pending.is_empty().then_some(end)
    }
}

impl Iterator for FoldedText<'_> {
    type Item = char;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_selectors();
        if let Some(c) = self.pending.pop_front() {
            return Some(c);
        }
        let (_, c) = self.chars.next()?;
        if c.is_whitespace() {
            while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
            return Some(' ');
        }
        // First upper and then lower case, so that `ß` equals `SS` and the two small sigmas are equal.
        self.pending.extend(c.to_uppercase().flat_map(char::to_lowercase));
        self.pending.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(display_name: &str) -> Identity {
        Identity { display_name: display_name.into(), prefixes: vec!["!".into()], ..Identity::default() }
    }

    fn as_timmy(text: &str) -> Option<(Addressed, String)> {
        strip(text, &identity("Timmy"), &["timmy_bot", "@timmy:example.org"])
    }

    fn by_name(text: &str) -> Option<(Addressed, String)> {
        Some((Addressed::Name, text.to_owned()))
    }

    fn by_prefix(text: &str) -> Option<(Addressed, String)> {
        Some((Addressed::Prefix, text.to_owned()))
    }

    #[test]
    fn every_usual_way_to_call_by_name_is_seen() {
        for text in [
            "Timmy status",
            "timmy: status",
            "@timmy, status",
            "TIMMY - status",
            "Timmy : status",
            "timmy:status",
            "timmy\nstatus",
            "  Timmy!  status ",
            "timmy_bot status",
            "@timmy:example.org: status",
            "timmy:example.org status",
            "Timmy、status",
        ] {
            assert_eq!(as_timmy(text), by_name("status"), "{text:?}");
        }
    }

    #[test]
    fn a_name_alone_is_an_empty_text() {
        for text in ["Timmy", "timmy?", "@Timmy: ", "Timmy !"] {
            assert_eq!(as_timmy(text), by_name(""), "{text:?}");
        }
    }

    #[test]
    fn talk_about_the_bot_is_not_for_the_bot() {
        for text in [
            "Timmyx status",
            "timmy's answer",
            "timmy’s answer",
            "timmy-bot status",
            "timmy.rs is a file",
            "timmy_ status",
            "ask Timmy",
            "@timmy:elsewhere.org hello",
            "Timm",
            "@",
            "",
        ] {
            assert_eq!(as_timmy(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_command_only_before_a_letter() {
        assert_eq!(as_timmy("!status now"), by_prefix("status now"));
        assert_eq!(as_timmy(" !Älter"), by_prefix("Älter"));
        assert_eq!(as_timmy("Timmy !status"), by_prefix("status"));
        for text in ["!", "!!!", "!=", "! status", "!1", "!?"] {
            assert_eq!(as_timmy(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_word_as_prefix_must_stand_apart_and_an_empty_one_is_ignored() {
        let prefixes = ["bot", "/sk ", "", " "].map(String::from).to_vec();
        let identity = Identity { display_name: "Timmy".into(), prefixes, ..Identity::default() };
        assert_eq!(strip("bot status", &identity, &[]), by_prefix("status"));
        assert_eq!(strip("/sk status", &identity, &[]), by_prefix("status"));
        assert_eq!(strip("bottle", &identity, &[]), None);
        assert_eq!(strip("hello", &identity, &[]), None);
    }

    #[test]
    fn a_name_with_an_emoji_is_seen_with_without_and_in_either_form() {
        for name in ["Timmy 🤖", "Timmy 🤖\u{FE0F}"] {
            for text in [
                "Timmy 🤖 status",
                "timmy 🤖\u{FE0F}: status",
                "@Timmy  🤖, status",
                "Timmy 🤖status",
                "timmy status",
            ] {
                assert_eq!(strip(text, &identity(name), &[]), by_name("status"), "{name:?} {text:?}");
            }
        }
        assert_eq!(strip("❤ status", &identity("❤\u{FE0F}"), &[]), by_name("status"));
        assert_eq!(strip("status", &identity("🤖"), &[]), None);
    }

    #[test]
    fn a_name_with_a_space_or_beyond_ascii_is_seen_in_any_case() {
        assert_eq!(strip("storkit BOT: status", &identity("Storkit Bot"), &[]), by_name("status"));
        assert_eq!(strip("Storkit\u{A0}bot status", &identity("Storkit Bot"), &[]), by_name("status"));
        assert_eq!(strip("Storkit status", &identity("Storkit Bot"), &[]), None);
        assert_eq!(strip("JÖRG status", &identity("Jörg"), &[]), by_name("status"));
        assert_eq!(strip("STRASSE status", &identity("Straße"), &[]), by_name("status"));
        assert_eq!(strip("ΟΔΥΣΣΕΥΣ status", &identity("Οδυσσευς"), &[]), by_name("status"));
        assert_eq!(strip("<@U1> status", &identity("x"), &["<@U1>"]), by_name("status"));
    }

    #[test]
    fn a_list_of_tasks_keeps_its_first_dash() {
        assert_eq!(as_timmy("Timmy\n- one\n- two"), by_name("- one\n- two"));
        assert_eq!(as_timmy("Timmy:\n- one\n- two"), by_name("- one\n- two"));
    }

    proptest! {
        #[test]
        fn the_rest_is_the_end_of_what_was_written(
            lead in "(!|@|Timmy|TIMMY 🤖|straße|ss|ß)?",
            text in "\\PC{0,20}",
            name in "(Timmy|Timmy 🤖|straße|ß|s|\\PC{0,3})",
        ) {
            let text = format!("{lead}{text}");
            if let Some((_, rest)) = strip(&text, &identity(&name), &[]) {
                prop_assert!(text.trim().ends_with(&rest));
                prop_assert_eq!(rest.trim(), &rest);
                prop_assert!(rest.len() < text.len());
            }
        }
    }
}
