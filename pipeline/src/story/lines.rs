//! Which lines of the front matter a top-level key owns, and what its line is with another value.

use std::ops::Range;

use super::KeyValue;

/// The lines of a part of the text, each with its place and its ending.
pub(super) fn lines(text: &str, part: Range<usize>) -> impl Iterator<Item = (usize, &str)> {
    let mut at = part.start;
    text[part].split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line)
    })
}

/// The lines of one top-level key: its own and those that continue it, without blanks and comments behind them.
pub(super) fn entry(text: &str, yaml: Range<usize>, key: &str) -> Option<Range<usize>> {
    let mut found: Option<Range<usize>> = None;
    for (at, line) in lines(text, yaml) {
        match &mut found {
            None if key_of(line).is_some_and(|found| found == key) => found = Some(at..at + line.len()),
            None => {}
            Some(_) if line.trim().is_empty() || line.starts_with('#') => {}
            Some(found) if continues(line) => found.end = at + line.len(),
            Some(_) => break,
        }
    }
    found
}

/// Whether a line that is neither blank nor a comment belongs to the key above it.
fn continues(line: &str) -> bool {
    // YAML allows the items of a list at the indentation of their key.
    let item = line.strip_prefix('-').is_some_and(|rest| rest.starts_with([' ', '\t', '\r', '\n']));
    item || line.starts_with([' ', '\t', ']', '}'])
}

/// The key that a line at the left margin sets.
fn key_of(line: &str) -> Option<&str> {
    let colon = key_end(line)?;
    let key = line[..colon].trim_end();
    let bare = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let bare = bare.or_else(|| key.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
    Some(bare.unwrap_or(key))
}

/// The colon behind the key.
fn key_end(line: &str) -> Option<usize> {
    if line.starts_with([' ', '\t', '#', '-']) {
        return None;
    }
    line.match_indices(':').map(|(at, _)| at).find(|at| {
        let rest = &line[at + 1..];
        rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])
    })
}

/// The key's line with another value; its continuation, which belonged to the old one, is gone.
pub(super) fn replaced(entry: &str, value: &KeyValue) -> String {
    let line = entry.split_inclusive('\n').next().unwrap_or(entry);
    let (content, ending) = line.split_at(line.trim_end_matches(['\r', '\n']).len());
    let (key, rest) = content.split_at(key_end(line).map_or(content.len(), |colon| colon + 1));
    let gap = &rest[..rest.len() - rest.trim_start_matches([' ', '\t']).len()];
    let comment = comment(rest);
    let gap = if gap.is_empty() || gap.len() + comment.len() > rest.len() { " " } else { gap };
    format!("{key}{gap}{}{comment}{ending}", value.yaml())
}

/// The comment behind a value on its line, with the blanks before it.
fn comment(rest: &str) -> &str {
    let mut quote = None;
    let mut previous = ' ';
    let nested = rest.trim_start().starts_with(['[', '{', '"', '\'']);
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (Some('"'), '"') if previous == '\\' => {}
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if nested => quote = Some(c),
            (None, '#') if previous.is_whitespace() => return &rest[rest[..at].trim_end().len()..],
            (None, _) => {}
        }
        previous = if previous == '\\' && c == '\\' { ' ' } else { c };
    }
    ""
}
