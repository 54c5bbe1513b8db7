//! People's text as an agent gets it: nothing in it is hidden, and quoted lines stay quoted.

use std::fmt::Write as _;

/// The text with line breaks of one kind only, and with characters that nobody sees shown by their numbers: they reorder
/// what is read, or hide text that only a model reads.
pub fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '\r' if letters.peek() == Some(&'\n') => {}
            '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => visible.push('\n'),
            '\n' | '\t' => visible.push(c),
            c if c.is_control() || is_hidden(c) => _ = write!(visible, "<U+{:04X}>", u32::from(c)),
            c => visible.push(c),
        }
    }
    visible
}

/// Lines that all begin with `>`, so that none of them can pose as another's.
pub fn quoted(head: &str, text: &str) -> String {
    let text = visible(text);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut quoted = format!("> {head}{first}").trim_end().to_owned();
    lines.for_each(|line| _ = write!(quoted, "\n{}", format!(">   {line}").trim_end()));
    quoted
}

// The two joiners and the sign for a coloured emoji stay: scripts and emoji need them.
fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180E}'
            | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0E}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E01EF}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_sees_is_shown_by_its_number() {
        assert_eq!(
            visible("a\u{202e}b\u{e0041}c\u{fe01}\u{1b}[1m"),
            "a<U+202E>b<U+E0041>c<U+FE01><U+001B>[1m"
        );
        assert_eq!(visible("a\r\nb\u{2028}c\rd"), "a\nb\nc\nd");
        assert_eq!(visible("👩\u{200d}🔧 ❤\u{fe0f}"), "👩\u{200d}🔧 ❤\u{fe0f}");
    }

    proptest! {
        #[test]
        fn no_line_of_a_quotation_is_outside_of_it(text in "(\\PC|[>\\[\\]\r\n\u{b}\u{c}\u{85}\u{2028}\u{2029}\u{0}]){0,200}") {
            let quoted = quoted("1: ", &text);
            let breaks = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
            let is_whole = quoted.split(breaks).all(|line| line.starts_with('>'));
            prop_assert!(is_whole, "{}", quoted);
        }
    }
}
