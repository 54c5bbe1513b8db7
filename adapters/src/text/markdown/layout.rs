//! Styled text and how it becomes lines: wrapping by columns, colours.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::inert::strip_controls;

/// Where the text is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Plain,
    Ansi { width: usize },
}

impl Target {
    /// The columns for everything but code, which is never wrapped.
    pub fn width(self) -> usize {
        match self {
            Self::Plain => usize::MAX,
            Self::Ansi { width } => width,
        }
    }
}

/// The looks of a stretch of text; several may apply at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TextStyle {
    pub bold: bool,
    pub italic: bool,
    pub strike: bool,
    pub code: bool,
    pub link: bool,
    pub title: bool,
    pub dim: bool,
}

impl TextStyle {
    /// The parameters of the escape sequence "select graphic rendition" (ECMA-48, 8.3.117).
    fn codes(self) -> String {
        let codes = [
            (self.bold || self.title, "1"),
            (self.dim, "2"),
            (self.italic, "3"),
            (self.link || self.title, "4"),
            (self.strike, "9"),
            (self.code, "36"),
            (self.link, "34"),
        ];
        let codes: Vec<_> = codes.iter().filter(|(on, _)| *on).map(|(_, code)| *code).collect();
        codes.join(";")
    }
}

/// Text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StyledSpan {
    text: String,
    style: TextStyle,
}

/// Styled text that knows its width in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StyledLine {
    spans: Vec<StyledSpan>,
    pub width: usize,
}

impl StyledLine {
    pub fn of(text: &str, style: TextStyle) -> Self {
        let mut line = Self::default();
        line.push(text, style);
        line
    }

    /// Adds text, line breaks included. Removes controls and expands tabs, or `width` would be wrong.
    pub fn push(&mut self, text: &str, style: TextStyle) {
        let text = expand_tabs(strip_controls(text));
        self.push_clean(&text, text.width(), style);
    }

    fn push_clean(&mut self, text: &str, width: usize, style: TextStyle) {
        self.width += width;
        match self.spans.last_mut() {
            _ if text.is_empty() => {}
            Some(last) if last.style == style => last.text.push_str(text),
            _ => self.spans.push(StyledSpan { text: text.to_owned(), style }),
        }
    }

    pub fn append(&mut self, other: Self) {
        self.width += other.width;
        other.spans.iter().for_each(|span| self.push_clean(&span.text, 0, span.style));
    }

    pub fn pad(&mut self, columns: usize) {
        if columns > 0 {
            self.push(&" ".repeat(columns), TextStyle::default());
        }
    }

    /// The same text with every style changed by `change`.
    pub fn restyle(&mut self, change: impl Fn(&mut TextStyle)) {
        self.spans.iter_mut().for_each(|span| change(&mut span.style));
    }

    /// Writes the line without a line break. Each stretch resets its own colour, so none leaks.
    pub fn paint(&self, look: Target, out: &mut String) {
        for span in &self.spans {
            let codes = if look == Target::Plain { String::new() } else { span.style.codes() };
            if codes.is_empty() {
                out.push_str(&span.text);
            } else {
                out.extend(["\x1b[", &codes, "m", &span.text, "\x1b[0m"]);
            }
        }
    }

    /// Wraps into lines of at most `width` columns: at spaces, and inside words that are longer than a line.
    pub fn wrap(self, width: usize) -> Vec<Self> {
        let mut wrapper = LineWrapper { width: width.max(1), ..LineWrapper::default() };
        for span in self.spans {
            for grapheme in span.text.graphemes(true) {
                wrapper.take(grapheme, span.style);
            }
        }
        wrapper.finish()
    }
}

fn expand_tabs(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\t') { Cow::Owned(text.replace('\t', "    ")) } else { text }
}

#[derive(Default)]
struct LineWrapper {
    width: usize,
    done: Vec<StyledLine>,
    line: StyledLine,
    spaces: StyledLine,
    word: StyledLine,
}

impl LineWrapper {
    fn take(&mut self, grapheme: &str, style: TextStyle) {
        if grapheme.contains('\n') {
            self.end_word();
            // Otherwise the spaces before the break would indent the next line.
            self.spaces = StyledLine::default();
            self.done.push(std::mem::take(&mut self.line));
        } else if grapheme == " " {
            self.end_word();
            self.spaces.push_clean(grapheme, 1, style);
        } else {
            self.word.push_clean(grapheme, grapheme.width(), style);
        }
    }

    fn end_word(&mut self) {
        if self.word.spans.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        let spaces = std::mem::take(&mut self.spaces);
        let together = self.line.width.saturating_add(spaces.width).saturating_add(word.width);
        if together <= self.width {
            self.line.append(spaces);
            self.line.append(word);
        } else if word.width <= self.width {
            self.done.push(std::mem::replace(&mut self.line, word));
        } else {
            self.break_word(spaces, &word);
        }
    }

    fn break_word(&mut self, spaces: StyledLine, word: &StyledLine) {
        if self.line.width.saturating_add(spaces.width) < self.width {
            self.line.append(spaces);
        } else {
            self.done.push(std::mem::take(&mut self.line));
        }
        for span in &word.spans {
            for grapheme in span.text.graphemes(true) {
                let width = grapheme.width();
                if self.line.width > 0 && self.line.width + width > self.width {
                    self.done.push(std::mem::take(&mut self.line));
                }
                self.line.push_clean(grapheme, width, span.style);
            }
        }
    }

    fn finish(mut self) -> Vec<StyledLine> {
        self.end_word();
        // A final line break begins no further line.
        if self.done.is_empty() || !self.line.spans.is_empty() {
            self.done.push(self.line);
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped(text: &str, width: usize) -> Vec<String> {
        let lines = StyledLine::of(text, TextStyle::default()).wrap(width);
        let text = |line: &StyledLine| line.spans.iter().map(|span| span.text.as_str()).collect();
        lines.iter().map(text).collect()
    }

    #[test]
    fn words_stay_whole_unless_longer_than_a_line() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a b\nc", 80), ["a b", "c"]);
        assert_eq!(wrapped("ab abcdefgh", 5), ["ab ab", "cdefg", "h"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("a\n\nb\n", 5), ["a", "", "b"]);
    }

    #[test]
    fn wide_characters_count_two_columns() {
        assert_eq!(wrapped("日本語です", 4), ["日本", "語で", "す"]);
        assert_eq!(StyledLine::of("👨‍👩‍👧", TextStyle::default()).width, 2);
    }

    #[test]
    fn a_word_of_several_styles_is_one_word() {
        let bold = TextStyle { bold: true, ..TextStyle::default() };
        let mut line = StyledLine::of("x ab", TextStyle::default());
        line.push("cd", bold);
        let mut out = String::new();
        for line in line.wrap(4) {
            line.paint(Target::Ansi { width: 4 }, &mut out);
            out.push('|');
        }
        assert_eq!(out, "x|ab\x1b[1mcd\x1b[0m|");
    }

    proptest! {
        #[test]
        fn every_line_fits_and_every_word_is_kept(text in "([a-z]{1,9}|[日本]{1,4}| |\n){0,40}", width in 2..20_usize) {
            let lines = wrapped(&text, width);
            prop_assert!(lines.iter().all(|line| line.width() <= width), "{lines:?}");
            let ink = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(ink(&lines.concat()), ink(&text));
        }
    }
}
