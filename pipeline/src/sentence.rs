//! Pieces of sentences for people.

/// Most characters of quoted text in a sentence.
const LONGEST: usize = 300;

/// Most characters of one line of a program's output.
pub(crate) const LINE: usize = 500;

/// The first line of a text that is not blank, short enough for front matter and messages.
pub(crate) fn one_line(text: &str) -> String {
    short(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default())
}

/// All words of a text in one line, as short as [`one_line`].
pub(crate) fn in_one_line(text: &str) -> String {
    short(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn short(line: &str) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// Several findings as one text.
pub(crate) fn sentences(findings: &[impl std::fmt::Display]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Most names in one list.
const NAMED: usize = 5;

/// Names in a sentence: the first few, and how many there are beyond.
pub(crate) fn listed(names: &[String]) -> String {
    let mut list: Vec<String> =
        names.iter().take(NAMED).map(|name| format!("`{}`", one_line(name))).collect();
    if names.len() > NAMED {
        list.push(format!("and {} more", names.len() - NAMED));
    }
    list.join(", ")
}

/// A clause as a sentence: with exactly one full stop.
pub(crate) fn sentence(clause: &str) -> String {
    format!("{}.", clause.trim_end().trim_end_matches('.'))
}

/// `1 file`, `2 files`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `3 files, +20 -4`.
pub(crate) fn diff(files: usize, insertions: usize, deletions: usize) -> String {
    format!("{}, +{insertions} -{deletions}", plural(files, "file"))
}

/// One line without control characters.
pub(crate) fn plain(line: &str) -> String {
    let mut clean = String::with_capacity(line.len().min(LINE * 4));
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\t' => clean.push(' '),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    match clean.char_indices().nth(LINE) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean,
    }
}

// CSI is closed by a letter or `~`, OSC by BEL or another escape; all others have one more character.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => {
            for c in rest.by_ref() {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    return;
                }
            }
        }
        Some(']') => {
            while let Some(c) = rest.next_if(|c| *c != '\u{1b}') {
                if c == '\u{7}' {
                    return;
                }
            }
        }
        Some(_) | None => {}
    }
}

/// The last lines of a text that are not blank, without control characters.
pub(crate) fn plain_end(text: &str, lines: usize) -> Vec<String> {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| plain(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_the_first_that_is_not_blank_without_controls_and_short() {
        assert_eq!(one_line(" \n  a\u{1b}b \nc"), "a b");
        assert_eq!(one_line(" \n"), "");
        assert_eq!(in_one_line(" \n a\tb \n\nc"), "a b c");
        assert_eq!(one_line(&"é".repeat(LONGEST)).chars().count(), LONGEST);
        assert!(one_line(&"é".repeat(LONGEST + 1)).ends_with("é…"));
    }

    #[test]
    fn numbers_and_full_stops_are_right() {
        assert_eq!(sentence("it failed"), "it failed.");
        assert_eq!(sentence("it failed.. "), "it failed.");
        assert_eq!(
            (plural(0, "gate"), plural(1, "gate"), plural(2, "gate")),
            ("0 gates".into(), "1 gate".into(), "2 gates".into())
        );
        assert_eq!(diff(1, 2, 3), "1 file, +2 -3");
    }
}
