//! Splits Markdown into parts that fit a messenger: at paragraphs, else lines, else sentences and words.

mod cut;
mod outline;

use cut::{ceil_boundary, cut_line, floor_boundary};
use outline::SourceOutline;

// A part holds at most this many bytes of source for each unit of measure: the search then costs no more than the part's own
// length. Four bytes is the longest character.
const BYTES_PER_UNIT: usize = 4;

/// Cuts `markdown` into parts whose `measure` is at most `max`, in linear time.
///
/// `measure` is the length as the messenger counts it (bytes, characters, rendered bytes) and must not shrink
/// when text is added. Cuts at paragraphs where these are not too far apart, else at lines, sentences, words, and at last
/// between graphemes. A fenced code block that must be cut is closed and opened again with its info string. White space around
/// parts and the indentation of list items that begin a part are dropped, nothing else. Text of only white space gives no
/// parts. Below a `max` of 64 a part may be longer.
pub fn split(markdown: &str, max: usize, measure: impl Fn(&str) -> usize) -> Vec<String> {
    // The common case needs no parser. An unclosed fence must be closed even in a short text.
    if !markdown.contains("```") && !markdown.contains("~~~") && measure(markdown) <= max {
        let whole = trim_blank(markdown);
        return if whole.is_empty() { Vec::new() } else { vec![whole.to_owned()] };
    }
    TextSplitter { outline: SourceOutline::of(markdown, max), max, measure }.run()
}

struct TextSplitter<'t, M> {
    outline: SourceOutline<'t>,
    max: usize,
    measure: M,
}

/// A stretch of the source, as byte offsets, and the line that `start` lies in.
#[derive(Clone, Copy)]
struct SourceSpan {
    start: usize,
    end: usize,
    line: usize,
}

impl<M: Fn(&str) -> usize> TextSplitter<'_, M> {
    fn run(&self) -> Vec<String> {
        let mut parts = Vec::new();
        let mut start = 0;
        let mut line = 0;
        while start < self.outline.text.len() {
            (start, line) = self.outline.skip_blank(start, line);
            if start == self.outline.text.len() {
                break;
            }
            let end = self.find_end(start, line);
            let part = self.outline.render(SourceSpan { start, end, line });
            if !part.is_empty() {
                parts.push(part);
            }
            (start, line) = self.outline.after(end, line);
        }
        parts
    }

    fn fits(&self, span: SourceSpan) -> bool {
        (self.measure)(&self.outline.render(span)) <= self.max
    }

    fn find_end(&self, start: usize, first: usize) -> usize {
        let limit = start.saturating_add(self.max.saturating_mul(BYTES_PER_UNIT));
        // `full` is the first line that does not fit whole any more.
        let full = self.first_line_beyond(start, first, limit);
        if full == self.outline.lines.len() {
            return self.outline.text.len();
        }
        self.best_line_end(start, first, full).unwrap_or_else(|| self.end_in_line(start, first, full, limit))
    }

    fn first_line_beyond(&self, start: usize, first: usize, limit: usize) -> usize {
        let lines = &self.outline.lines;
        let possible = lines[first..].partition_point(|line| line.end <= limit);
        let (mut fitting, mut beyond) = (first, first + possible + 1);
        while fitting + 1 < beyond {
            let middle = fitting + (beyond - fitting) / 2;
            if self.fits(SourceSpan { start, end: lines[middle - 1].end, line: first }) {
                fitting = middle;
            } else {
                beyond = middle;
            }
        }
        fitting
    }

    /// The best cut at a line's start, from after `first` up to `full`; `None` if it leaves the part too empty.
    fn best_line_end(&self, start: usize, first: usize, full: usize) -> Option<usize> {
        let outline = &self.outline;
        let end_of = |line: usize| SourceSpan { start, end: outline.lines[line].start, line: first };
        let fits = |line: &usize| self.fits(end_of(*line));
        // A part less than a quarter full would tear a message into many small ones.
        let enough = self.first_line_with_quarter(start, first, full);
        let candidates = || (enough..=full).rev();
        let paragraph = candidates().find(|line| outline.begins_paragraph(*line) && fits(line));
        let line = paragraph
            .or_else(|| self.before_block_that_fits(first, full))
            .or_else(|| candidates().find(|line| outline.is_outside(*line) && fits(line)))
            .or_else(|| candidates().find(|line| outline.is_inside(*line) && fits(line)))
            .or_else(|| self.before_line_that_fits(first, full).filter(fits));
        line.map(|line| outline.lines[line].start)
    }

    /// The first line before which a part is a quarter full; behind `full` if there is none.
    fn first_line_with_quarter(&self, start: usize, first: usize, full: usize) -> usize {
        let (mut under, mut enough) = (first, full + 1);
        while under + 1 < enough {
            let middle = under + (enough - under) / 2;
            let end = self.outline.lines[middle].start;
            let measure = (self.measure)(&self.outline.render(SourceSpan { start, end, line: first }));
            if measure < self.max / 4 { under = middle } else { enough = middle }
        }
        enough
    }

    /// The first line of the code block that `full` lies in, if a part of its own can hold that block.
    fn before_block_that_fits(&self, first: usize, full: usize) -> Option<usize> {
        let (opener, last) = self.outline.block_around(full)?;
        let (start, end) = (self.outline.lines[opener].start, self.outline.lines[last].end);
        let small = end - start <= self.max.saturating_mul(BYTES_PER_UNIT);
        (opener > first && small && self.fits(SourceSpan { start, end, line: opener })).then_some(opener)
    }

    /// The line `full`, if a part of its own can hold it.
    fn before_line_that_fits(&self, first: usize, full: usize) -> Option<usize> {
        let (start, end) = (self.outline.lines[full].start, self.outline.lines[full].end);
        let small = end - start <= self.max.saturating_mul(BYTES_PER_UNIT);
        let may_end = full > first && self.outline.may_end_before(full);
        (may_end && small && self.fits(SourceSpan { start, end, line: full })).then_some(full)
    }

    /// The best cut inside the line `full`, which does not fit whole.
    fn end_in_line(&self, start: usize, first: usize, full: usize, limit: usize) -> usize {
        let text = self.outline.text;
        let from = start.max(self.outline.lines[full].start);
        let to = floor_boundary(text, self.outline.content_end(full).min(limit)).max(from);
        let (mut fitting, mut beyond) = (from, to + 1);
        while fitting + 1 < beyond {
            let middle = fitting + (beyond - fitting) / 2;
            if self.fits(SourceSpan { start, end: floor_boundary(text, middle), line: first }) {
                fitting = middle;
            } else {
                beyond = middle;
            }
        }
        let fitting = floor_boundary(text, fitting);
        let end = from + cut_line(&text[from..fitting], &text[fitting..]);
        // The loop must advance: with a tiny `max`, one character goes whatever it measures.
        if end > start { end } else { ceil_boundary(text, start + 1) }
    }
}

// Removes blank lines at the start but not the first line's indentation, which may mean code.
fn trim_blank(text: &str) -> &str {
    let text = text.trim_end();
    let content = text.len() - text.trim_start().len();
    let line = text[..content].rfind('\n').map_or(0, |at| at + 1);
    &text[line..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Parser, Tag, TagEnd};

    use super::*;

    fn by_bytes(markdown: &str, max: usize) -> Vec<String> {
        split(markdown, max, str::len)
    }

    fn shown(parts: &[String]) -> String {
        parts.join("\n=====\n")
    }

    /// All text of the code blocks and all other text, without the white space, as a reader of Markdown sees it.
    fn contents(parts: &[String]) -> (String, String) {
        let (mut code, mut text) = (String::new(), String::new());
        for part in parts {
            let mut in_code = false;
            for event in Parser::new(part) {
                match event {
                    Event::Start(Tag::CodeBlock(_)) => in_code = true,
                    Event::End(TagEnd::CodeBlock) => in_code = false,
                    Event::Text(content) | Event::Code(content) => {
                        let target = if in_code { &mut code } else { &mut text };
                        target.extend(content.split_whitespace());
                    }
                    _ => {}
                }
            }
        }
        (code, text)
    }

    #[test]
    fn what_fits_stays_whole() {
        assert_eq!(by_bytes("one\n\ntwo\n", 64), ["one\n\ntwo"]);
        assert_eq!(by_bytes("```\ncode\n```\n", 64), ["```\ncode\n```"]);
        assert_eq!(by_bytes("\n\n    code", 64), ["    code"]);
        assert!(by_bytes(" \n\n ", 64).is_empty());
    }

    #[test]
    fn paragraphs_stay_together_and_a_heading_stays_with_its_text() {
        let text = "The first paragraph is here.\nIt has two lines.\n\n# Heading\n\nThe second paragraph is here, too.";
        insta::assert_snapshot!(shown(&by_bytes(text, 64)), @r"
        The first paragraph is here.
        It has two lines.
        =====
        # Heading

        The second paragraph is here, too.
        ");
    }

    #[test]
    fn a_long_line_is_cut_at_a_sentence_then_a_word_but_not_in_inline_code() {
        let text = "This is the first sentence of it. This is the second one, and it goes on with `some inline code` to the end";
        insta::assert_snapshot!(shown(&by_bytes(text, 64)), @r"
        This is the first sentence of it.
        =====
        This is the second one, and it goes on with `some inline code`
        =====
        to the end
        ");
    }

    #[test]
    fn a_short_line_before_a_giant_one_does_not_make_a_part_of_its_own() {
        let text = format!("Intro.\n\n{}", "words ".repeat(20));
        assert!(by_bytes(&text, 64)[0].starts_with("Intro.\n\nwords words"));
        let text = format!("Intro.\n\n{}", "x".repeat(60));
        assert_eq!(by_bytes(&text, 64), ["Intro.".to_owned(), "x".repeat(60)]);
    }

    #[test]
    fn a_code_block_is_closed_and_reopened_with_its_info_string() {
        let text = "Look:\n\n```rust,ignore\nlet first = 1;\nlet second = 2;\n\nlet third = 3;\nlet fourth = 4;\n```\nDone.";
        insta::assert_snapshot!(shown(&by_bytes(text, 64)), @r"
        Look:

        ```rust,ignore
        let first = 1;
        let second = 2;

        ```
        =====
        ```rust,ignore
        let third = 3;
        let fourth = 4;
        ```
        Done.
        ");
    }

    #[test]
    fn a_code_block_that_fits_one_part_is_not_cut() {
        let text = "Some words first, on two lines,\nso that it is cut.\n```\nthis block\nfits into one\nof the parts\n```";
        insta::assert_snapshot!(shown(&by_bytes(text, 64)), @r"
        Some words first, on two lines,
        so that it is cut.
        =====
        ```
        this block
        fits into one
        of the parts
        ```
        ");
    }

    #[test]
    fn code_in_lists_and_quotes_stays_code_in_every_part() {
        let code = "line one of it\nline two of it\nline three of it\nline four of it\nline five of it";
        let indented = code.replace('\n', "\n      ");
        let list =
            format!("1. Step\n   - inner\n      ```sh\n      {indented}\n      ```\n   - next one\n2. End");
        insta::assert_snapshot!(shown(&by_bytes(&list, 72)), @r"
        1. Step
           - inner
        =====
        ```sh
        line one of it
        line two of it
        line three of it
        line four of it
        ```
        =====
        ```sh
        line five of it
        ```
        - next one
        2. End
        ");
        let quoted = format!("> ```sh\n> {}\n> ```\n> said", code.replace('\n', "\n> "));
        insta::assert_snapshot!(shown(&by_bytes(&quoted, 64)), @r"
        > ```sh
        > line one of it
        > line two of it
        > ```
        =====
        > ```sh
        > line three of it
        > line four of it
        > ```
        =====
        > ```sh
        > line five of it
        > ```
        > said
        ");
    }

    #[test]
    fn an_unclosed_code_block_is_closed_in_every_part() {
        let parts = by_bytes(&format!("```\n{}", "some line\n".repeat(20)), 64);
        assert!(parts.len() > 3);
        assert!(parts.iter().all(|part| part.starts_with("```\n") && part.ends_with("\n```")), "{parts:#?}");
        assert_eq!(by_bytes("```\nstill being writ", 64), ["```\nstill being writ\n```"]);
    }

    #[test]
    fn nested_list_items_do_not_become_code_at_the_start_of_a_part() {
        let text = format!("- top\n{}- last", "    - an item that is nested\n".repeat(4));
        insta::assert_snapshot!(shown(&by_bytes(&text, 64)), @r"
        - top
            - an item that is nested
            - an item that is nested
        =====
        - an item that is nested
        - an item that is nested
        - last
        ");
    }

    #[test]
    fn what_is_nested_under_a_later_item_stays_nested() {
        let text = format!("- {}\n    - first\n- top\n    - second", "words ".repeat(10).trim_end());
        assert_eq!(by_bytes(&text, 64)[1], "- first\n- top\n    - second");
    }

    #[test]
    fn a_code_block_cut_before_its_closing_line_leaves_no_empty_block_behind() {
        let text = format!("```\n{}\n{}\nend", "x".repeat(50), "`".repeat(20));
        assert_eq!(by_bytes(&text, 64), [format!("```\n{}\n```", "x".repeat(50)), "end".to_owned()]);
    }

    #[test]
    fn no_grapheme_is_cut() {
        let family = "👨‍👩‍👧‍👦";
        let parts = by_bytes(&family.repeat(10), 64);
        assert_eq!(parts, vec![family.repeat(2); 5]);
    }

    #[test]
    fn the_rest_of_a_line_does_not_turn_into_a_block() {
        let text = "A sentence of some forty characters so far, and then - by chance - ``` # it goes on.";
        for part in by_bytes(text, 64) {
            let block = Parser::new(&part).next();
            assert!(matches!(block, Some(Event::Start(Tag::Paragraph))), "{part:?} {block:?}");
        }
    }

    #[test]
    fn a_part_is_measured_as_the_messenger_counts() {
        let text = "äöü äöü äöü äöü ".repeat(20);
        let parts = split(&text, 64, |text| text.chars().count());
        assert!(parts.iter().all(|part| part.chars().count() <= 64));
        assert!(parts.iter().any(|part| part.len() > 64));
    }

    #[test]
    fn time_is_linear_in_the_text() {
        use std::cell::Cell;
        let texts = ["word ", "x", "a\n", "\n\n- b", ">", " ", "```\n```\n", "> ```\n"];
        for text in texts.map(|piece| format!("{}x", piece.repeat(300_000 / piece.len()))) {
            let measured = Cell::new(0_usize);
            let measure = |text: &str| {
                measured.set(measured.get() + text.len());
                text.len()
            };
            let parts = split(&text, 4096, measure);
            assert!(parts.last().is_some_and(|last| last.contains('x')));
            assert!(parts.iter().all(|part| !part.trim().is_empty()));
            // Each part is found by a binary search over at most four times its length.
            assert!(measured.get() < 60 * text.len(), "{} bytes measured", measured.get());
        }
    }

    #[test]
    fn a_tiny_limit_ends_all_the_same() {
        for max in 0..64 {
            let parts = by_bytes("# A\n\nwords 👨‍👩‍👧‍👦 here\n```rust\nlet x = 1;\n\n```\n> q\n", max);
            assert!(parts.concat().contains("# A") || max < 4);
        }
    }

    fn block() -> impl Strategy<Value = String> {
        let words = || prop::collection::vec("[a-zäß🤖]{1,12}|[a-z]{70}|`[a-z ]{1,9}[a-z]`", 1..30);
        let line = || words().prop_map(|words| words.join(" "));
        let code = || {
            prop::collection::vec(prop_oneof!["[a-z(){};= ]{0,40}", "[a-z]{90}", Just(String::new())], 1..12)
        };
        let fence = || (code(), "(```|````|~~~)", "(rust|sh,x)?");
        let fenced = |indent: &str, (code, fence, info): (Vec<String>, String, String)| {
            let lines = [vec![format!("{fence}{info}")], code, vec![fence]].concat();
            lines.iter().map(|line| format!("{indent}{line}\n")).collect::<String>()
        };
        prop_oneof![
            line(),
            line().prop_map(|line| format!("## {line}")),
            prop::collection::vec(line(), 1..5).prop_map(|lines| lines.join("\n")),
            prop::collection::vec(line(), 1..5).prop_map(|lines| format!("- {}", lines.join("\n  - "))),
            fence().prop_map(move |fence| fenced("", fence)),
            fence().prop_map(move |fence| format!("1. item\n\n{}", fenced("   ", fence))),
            fence().prop_map(move |fence| fenced("> ", fence)),
        ]
    }

    proptest! {
        #[test]
        fn every_part_fits_and_nothing_is_lost_or_changes_between_code_and_text(
            blocks in prop::collection::vec(block(), 1..8),
            max in 64..400_usize,
        ) {
            let text = blocks.join("\n\n");
            let parts = by_bytes(&text, max);
            for part in &parts {
                prop_assert!(part.len() <= max, "{} > {max}: {part:?}", part.len());
                prop_assert!(!part.trim().is_empty());
            }
            prop_assert_eq!(contents(&parts), contents(&[text]));
        }

        #[test]
        fn any_text_is_split_within_the_limit(text in "(\\PC|[`~\n #>*-]){0,600}", max in 64..200_usize) {
            let parts = by_bytes(&text, max);
            prop_assert!(parts.iter().all(|part| part.len() <= max), "{parts:#?}");
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
            let kept: usize = parts.iter().map(|part| letters(part)).sum();
            prop_assert!(kept >= letters(&text), "lost: {parts:#?}");
        }
    }
}
