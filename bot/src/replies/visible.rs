//! Text of agents as people can judge it: whatever the eye would miss is spelled out.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{DefaultIgnorableCodePoint, GeneralCategory},
};

/// Blanks in a row, in columns, that are shown as their number: more of them push what follows out of sight.
const BLANKS: usize = 8;

/// The same at the beginning of a line, where code has them.
const INDENT: usize = 40;

/// Blank lines in a row that are shown as their number.
const BLANK_LINES: usize = 3;

/// Marks on one letter; more of them cover the lines around.
const MARKS: usize = 2;

/// The text with every character spelled out that shows nothing, looks like a blank, or changes the order of others; and with long
/// runs of blanks and blank lines shown as their number. Line breaks stay.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut blank_lines = 0;
    let lines: Vec<&str> = text.split('\n').collect();
    for (n, line) in lines.iter().enumerate() {
        let is_last = n + 1 == lines.len();
        if is_blank(line) && !is_last {
            blank_lines += 1;
            continue;
        }
        push_blank_lines(&mut shown, std::mem::take(&mut blank_lines));
        push_line(&mut shown, line);
        if !is_last {
            shown.push('\n');
        }
    }
    push_blank_lines(&mut shown, blank_lines);
    shown
}

/// The same on one line of about `max` characters: its beginning and its end, since a command may do its harm at either.
pub fn visible_line(text: &str, max: usize) -> String {
    let text = visible(text.trim());
    let line = text.split(['\n', '\t']).map(str::trim).filter(|line| !line.is_empty());
    head_and_tail(&line.collect::<Vec<_>>().join(" ⏎ "), max)
}

/// At most about `max` characters: the first two thirds and the last third of them.
pub fn head_and_tail(text: &str, max: usize) -> String {
    let length = text.chars().count();
    if length <= max {
        return text.to_owned();
    }
    let tail = max / 3;
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let (head_end, tail_start) = (at(max - tail), at(length - tail));
    format!("{} … {}", &text[..head_end], &text[tail_start..])
}

fn is_blank(line: &str) -> bool {
    line.chars().all(|c| c == ' ' || c == '\t')
}

fn push_blank_lines(shown: &mut String, count: usize) {
    match count {
        0..BLANK_LINES => shown.extend(std::iter::repeat_n('\n', count)),
        _ => shown.push_str(&format!("⟨{count} blank lines⟩\n")),
    }
}

fn push_line(shown: &mut String, line: &str) {
    let mut rest = line;
    let mut is_start = true;
    while !rest.is_empty() {
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let (run, after) = rest.split_at(blanks);
        push_blanks(shown, run, if is_start { INDENT } else { BLANKS });
        let words = after.find([' ', '\t']).unwrap_or(after.len());
        push_word(shown, &after[..words]);
        rest = &after[words..];
        is_start = false;
    }
}

fn push_blanks(shown: &mut String, run: &str, most: usize) {
    let columns: usize = run.chars().map(|c| if c == '\t' { 8 } else { 1 }).sum();
    match columns > most {
        true => shown.push_str(&format!("⟨{} blanks⟩", run.chars().count())),
        false => shown.push_str(run),
    }
}

fn push_word(shown: &mut String, word: &str) {
    // `None` where a mark would sit on something that carries none, and so on the character before it.
    let mut marks: Option<usize> = None;
    for c in word.chars() {
        let is_mark = is_mark(c);
        if !is_mark {
            marks = c.is_alphanumeric().then_some(0);
        } else if let Some(marks) = &mut marks {
            *marks += 1;
        }
        let is_fitting = !is_mark || marks.is_some_and(|marks| marks <= MARKS);
        match c {
            _ if is_fitting && !is_hidden(c) => shown.push(c),
            '\r' => shown.push_str("\\r"),
            _ => shown.extend(c.escape_unicode()),
        }
    }
}

fn is_mark(c: char) -> bool {
    matches!(category(c), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// Whether a character shows nothing, or a blank that is none, or nobody knows what.
fn is_hidden(c: char) -> bool {
    // Braille without dots is a symbol by its category, and looks like a blank.
    let is_empty_symbol = c == '\u{2800}';
    let is_hidden = match category(c) {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::PrivateUse
        | GeneralCategory::Surrogate
        | GeneralCategory::Unassigned => true,
        GeneralCategory::SpaceSeparator => c != ' ',
        _ => false,
    };
    is_hidden || is_empty_symbol || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_and_code_stay_as_they_are() {
        for text in [
            "",
            "ls -l",
            "fn main() {\n    if x {\n        y();\n    }\n}\n",
            "a\tb\n\n\nc",
            "naïve café, Ελληνικά, 日本語, हिन्दी",
            "e\u{301}",
            "\tindent",
            "x = 1     # aligned",
            "🦀 ok",
            "\n",
            "a\n",
            "привет",
        ] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn what_the_eye_would_miss_is_spelled_out() {
        for hidden in [
            '\u{0}',
            '\u{7}',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{2029}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2061}',
            '\u{2064}',
            '\u{2066}',
            '\u{2069}',
            '\u{206f}',
            '\u{3164}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff0}',
            '\u{fff9}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{e000}',
            '\u{f0000}',
            '\u{378}',
            '\u{fffe}',
            '\u{10ffff}',
            // Look like blanks.
            '\u{a0}',
            '\u{1680}',
            '\u{2000}',
            '\u{2003}',
            '\u{2007}',
            '\u{2009}',
            '\u{200a}',
            '\u{202f}',
            '\u{205f}',
            '\u{2800}',
            '\u{3000}',
            '\u{b}',
            '\u{c}',
        ] {
            let shown = visible(&format!("a{hidden}b"));
            assert_eq!(shown, format!("a{}b", hidden.escape_unicode()));
        }
        assert_eq!(visible("a\r\nb\r"), "a\\r\nb\\r");
        assert_eq!(
            visible("ls \u{202e}fr- mr\u{200b}; \u{1b}[8mrm x"),
            "ls \\u{202e}fr- mr\\u{200b}; \\u{1b}[8mrm x"
        );
    }

    #[test]
    fn marks_that_cover_other_text_are_spelled_out() {
        assert_eq!(visible("a\u{301}\u{302}"), "a\u{301}\u{302}");
        assert_eq!(visible("a\u{301}\u{302}\u{303}b"), "a\u{301}\u{302}\\u{303}b");
        assert_eq!(visible("rm -\u{338}x \u{20dd}"), "rm -\\u{338}x \\u{20dd}");
    }

    #[test]
    fn runs_of_blanks_are_counted() {
        assert_eq!(visible(&format!("ls{}; rm x", " ".repeat(8))), format!("ls{}; rm x", " ".repeat(8)));
        assert_eq!(visible(&format!("ls{}; rm x", " ".repeat(9))), "ls⟨9 blanks⟩; rm x");
        assert_eq!(visible("ls\t\t; rm x"), "ls⟨2 blanks⟩; rm x");
        assert_eq!(visible(&format!("{}x", " ".repeat(40))), format!("{}x", " ".repeat(40)));
        assert_eq!(visible(&format!("a\n{}rm x", " ".repeat(41))), "a\n⟨41 blanks⟩rm x");
        assert_eq!(visible(&format!("{}rm x", "\t".repeat(6))), "⟨6 blanks⟩rm x");
        assert_eq!(visible(&format!("a{}", " ".repeat(500))), "a⟨500 blanks⟩");
    }

    #[test]
    fn runs_of_blank_lines_are_counted() {
        assert_eq!(visible("a\n\n\nb"), "a\n\n\nb");
        assert_eq!(visible("a\n\n\n\nb"), "a\n⟨3 blank lines⟩\nb");
        assert_eq!(visible(&format!("a{}rm x", "\n".repeat(201))), "a\n⟨200 blank lines⟩\nrm x");
        assert_eq!(visible("a\n \n\t\n  \nb"), "a\n⟨3 blank lines⟩\nb");
        assert_eq!(visible(&format!("a{}", "\n".repeat(50))), "a\n⟨49 blank lines⟩\n");
    }

    #[test]
    fn a_line_keeps_both_ends() {
        assert_eq!(visible_line("  ls\n\n  rm x\n", 80), "ls ⏎ rm x");
        assert_eq!(visible_line("a\tb\u{200b}", 80), "a ⏎ b\\u{200b}");
        let line = visible_line(&format!("begin {} end", "x".repeat(500)), 30);
        assert!(
            line.starts_with("begin xxx") && line.ends_with("xxxxxx end") && line.chars().count() == 33,
            "{line}"
        );
        assert_eq!(head_and_tail("äöüäöü", 6), "äöüäöü");
        assert_eq!(head_and_tail("äöüäöüä", 6), "äöüä … üä");
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text in any::<String>()) {
            let shown = visible(&text);
            prop_assert!(shown.chars().all(|c| c == '\n' || c == '\t' || !is_hidden(c)), "{shown:?}");
        }

        #[test]
        fn every_word_is_still_there(text in "[a-z \t\n]{0,200}") {
            let shown = visible(&text);
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let counted = |word: &String| !word.contains('⟨') && !word.contains('⟩') && word != "lines⟩" && word != "blank";
            let left: Vec<String> = words(&shown.replace('⟩', "⟩ ").replace('⟨', " ⟨")).into_iter().filter(counted).collect();
            let meant: Vec<String> = words(&text).into_iter().filter(counted).collect();
            prop_assert_eq!(left, meant);
        }
    }
}
