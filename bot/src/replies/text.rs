//! Small forms that the replies share: lengths, times, plurals.

use std::time::SystemTime;

use adapters::markdown::inert;

/// `HH:MM` in the machine's time zone.
pub fn clock_time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string())
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
