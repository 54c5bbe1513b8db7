//! Small forms that the replies share: lengths, times, plurals.

use std::time::SystemTime;

use adapters::markdown::inert;

/// `HH:MM` in the machine's time zone.
pub fn clock_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string())
        .unwrap_or_else(|_| "a later time".into())
}

/// `Mon 2 Jan HH:MM`, likewise: for a time that is not today.
pub fn date_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%a %-d %b %H:%M").to_string())
        .unwrap_or_else(|_| "a later time".into())
}

/// At most `max` characters, on one line.
pub fn shorten(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

pub fn last_chars(text: &str, max: usize) -> &str {
    match text.char_indices().rev().nth(max.saturating_sub(1)) {
        Some((start, _)) => &text[start..],
        None => text,
    }
}

pub fn spaced(word: &str) -> String {
    inert(&word.replace('_', " ")).into_owned()
}

/// `1 gate`, `2 gates`; `1 story`, `2 stories`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The text as a sentence: with a period, unless its last character is a mark already.
pub fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?', '…', ':']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_singular_and_all_else_plural() {
        let counted = [0, 1, 2].map(|number| count(number, "story", "stories"));
        assert_eq!(counted, ["0 stories", "1 story", "2 stories"]);
    }

    #[test]
    fn a_sentence_has_one_period() {
        assert_eq!(
            sentence("Remove /usr/share/doc/README.Debian.gz.\n"),
            "Remove /usr/share/doc/README.Debian.gz."
        );
        assert_eq!((sentence("Wait"), sentence("Why?")), ("Wait.".into(), "Why?".into()));
    }
}
