//! Finds the messenger's own mentions of the bot in a person's text, and takes them off where they are only the address.
//!
//! A mention in a quotation, in code or in the text of a link is not the person's own word to the bot, so it does not count.

use std::ops::Range;

use super::address;

// Before a mention at the end of a text. A full stop or a question mark belongs to the sentence before it.
const BEFORE_LAST: &[char] = &[',', ':', ';', '-', '–', '—'];

/// A text and its mentions of the bot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MentionedText {
    /// The text without a mention at its start and at its end; trimmed.
    pub text: String,
    /// Whether the bot is mentioned, in words that are the person's own.
    pub mentioned: bool,
    /// Whether a mention at the start was taken off.
    pub at_start: bool,
    /// Whether the bot is mentioned in a quotation, in code or in a link's text.
    pub quoted: bool,
}

/// Looks for mentions in `text`, which is Markdown or Slack's text. `token` returns the length of a mention of the bot at the very start of
/// what it is given.
pub fn take(text: &str, token: impl Fn(&str) -> Option<usize>) -> MentionedText {
    let mut taken = MentionedText::default();
    let mut rest = text.trim();
    while let Some(after) = token(rest).and_then(|length| address::after_mention(&rest[length..])) {
        taken.at_start = true;
        rest = after;
    }
    let foreign = foreign_ranges(rest, &token);
    let is_foreign = |at: usize| foreign.iter().any(|range| range.contains(&at));
    let (quoted, mut own): (Vec<_>, Vec<_>) =
        tokens(rest, &token).into_iter().partition(|found| is_foreign(found.start));
    taken.quoted = !quoted.is_empty();
    taken.mentioned = taken.at_start || !own.is_empty();
    while let Some(last) = own.pop().filter(|last| last.end == rest.len()) {
        rest = rest[..last.start].trim_end().trim_end_matches(BEFORE_LAST).trim_end();
    }
    taken.text = rest.to_owned();
    taken
}

/// All mentions that stand apart from the word before them.
fn tokens(text: &str, token: impl Fn(&str) -> Option<usize>) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut before = None;
    for (at, c) in text.char_indices() {
        // `ann@timmy:example.org` and `https://elsewhere/@timmy:example.org` are something else.
        let apart = !before.is_some_and(|c: char| c.is_alphanumeric() || "/_-.+=%".contains(c));
        before = Some(c);
        if apart
            && found.last().is_none_or(|last| last.end <= at)
            && let Some(length) = token(&text[at..]).filter(|length| *length > 0)
        {
            found.push(at..at + length);
        }
    }
    found
}

/// Code, quotations and links, in which words are not the person's own to the bot.
fn foreign_ranges(text: &str, token: impl Fn(&str) -> Option<usize>) -> Vec<Range<usize>> {
    let mut ranges = code(text);
    let in_code = |ranges: &[Range<usize>], at: usize| ranges.iter().any(|range| range.contains(&at));
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim_start();
        if words.starts_with("&gt;&gt;&gt;") && !in_code(&ranges, start) {
            // Slack's quotation of everything that follows.
            ranges.push(start..text.len());
            break;
        }
        if (words.starts_with('>') || words.starts_with("&gt;")) && !in_code(&ranges, start) {
            ranges.push(start..start + line.len());
        }
        start += line.len();
    }
    for (at, _) in text.match_indices('[') {
        if !in_code(&ranges, at) && token(&text[at..]).is_none() {
            ranges.extend(link_at(text, at));
        }
    }
    ranges
}

fn code(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find('`').map(|found| at + found) {
        let ticks = text[start..].bytes().take_while(|byte| *byte == b'`').count();
        let inside = start + ticks;
        let end = end_of_code(text, inside, ticks);
        // An open fence lasts to the end; a single open tick is only a tick.
        let end = end.or((ticks >= 3).then_some(text.len()));
        ranges.extend(end.map(|end| start..end));
        at = end.unwrap_or(inside);
    }
    ranges
}

/// The end of the run of exactly so many ticks.
fn end_of_code(text: &str, from: usize, ticks: usize) -> Option<usize> {
    let mut at = from;
    while let Some(start) = text[at..].find('`').map(|found| at + found) {
        let run = text[start..].bytes().take_while(|byte| *byte == b'`').count();
        at = start + run;
        if run == ticks {
            return Some(at);
        }
    }
    None
}

/// `[text](target)`, on one line.
fn link_at(text: &str, at: usize) -> Option<Range<usize>> {
    let line = text[at..].lines().next()?;
    let middle = line.find("](")?;
    let end = line[middle..].find(')')?;
    Some(at..at + middle + end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(text: &str) -> Option<usize> {
        text.starts_with("<@B>").then_some(4)
    }

    fn taken(text: &str) -> (String, bool) {
        let taken = take(text, token);
        (taken.text, taken.mentioned)
    }

    #[test]
    fn a_mention_is_the_address_at_the_start_and_at_the_end_and_a_word_in_between() {
        for text in [
            "<@B> status",
            " <@B>: status",
            "<@B>, <@B> status",
            "status <@B>",
            "status, <@B>",
            "<@B> status <@B>",
        ] {
            assert_eq!(taken(text), ("status".into(), true), "{text}");
        }
        assert_eq!(taken("is <@B> here?"), ("is <@B> here?".into(), true));
        assert_eq!(taken("Done? <@B>"), ("Done?".into(), true));
        assert_eq!(taken("<@B>"), (String::new(), true));
        assert_eq!(taken("<@B>'s plan"), ("<@B>'s plan".into(), true));
        assert_eq!(taken("status"), ("status".into(), false));
        assert_eq!(taken("mail to x<@B>"), ("mail to x<@B>".into(), false));
    }

    #[test]
    fn a_mention_in_a_quotation_in_code_or_in_a_links_text_does_not_count() {
        for text in [
            "> <@B> status\nI agree",
            "&gt; <@B> status\nI agree",
            "I agree with\n  > what <@B> said",
            "&gt;&gt;&gt; he wrote\n<@B> status",
            "type `<@B> status`",
            "type ``a ` <@B>`` now",
            "```\n<@B> status\n```\nlike that",
            "```<@B> status",
            "see [what <@B> said](https://example.org/x)",
        ] {
            let taken = take(text, token);
            assert_eq!((taken.text.as_str(), taken.mentioned, taken.quoted), (text, false, true), "{text}");
        }
    }

    #[test]
    fn a_mention_beside_a_quotation_counts() {
        for text in [
            "> <@B> status\n<@B> what does that mean?",
            "`<@B>` is your name, <@B>!",
            "a ` tick and <@B> here",
            "[x](https://example.org) <@B> here",
        ] {
            assert!(take(text, token).mentioned, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_only_mentions_and_their_separators_are_taken_off(
            text in "(<@B>|`|```|> |&gt;|\\[|\\]\\(|\\)|\n|[,: ]|\\PC){0,40}",
        ) {
            let taken = take(&text, token);
            prop_assert!(text.contains(&taken.text));
            prop_assert_eq!(taken.text.trim(), &taken.text);
            prop_assert!(taken.mentioned || taken.text == text.trim());
        }
    }
}
