//! Markdown to text for terminals and pipes, Markdown around foreign text, and making foreign text harmless.

mod inert;
mod layout;
mod render;
mod table;

pub use inert::inert;
use layout::Target;

/// Text without colours or wrapping: lists with dashes, code blocks indented and otherwise unchanged, tables aligned, links as
/// `text (url)`. Contains no terminal escapes whatever `markdown` holds.
pub fn plain(markdown: &str) -> String {
    render::render(markdown, Target::Plain)
}

/// Text for a terminal of `width` columns: bold headings, coloured code, bullets, aligned tables. Wraps everything but code
/// blocks. Contains no escapes but its own colours, and resets them before every line break.
pub fn ansi(markdown: &str, width: usize) -> String {
    render::render(markdown, Target::Ansi { width })
}

/// A fenced code block of `text`, whatever backticks it holds. `language` may be empty.
pub fn code_block(text: &str, language: &str) -> String {
    // A fence longer than any run of backticks inside: foreign text cannot close the block.
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    let language: String = language.chars().filter(|c| *c != '`' && !c.is_control()).collect();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{fence}{}\n{text}{end}{fence}", language.trim())
}

/// Inline code of `text`, whatever backticks it holds. Line breaks become spaces, as inline code has none.
pub fn code_span(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    let fence = "`".repeat(if text.contains('`') { longest_run(&text) + 1 } else { 1 });
    let is_blank = text.trim_matches(' ').is_empty();
    let at_edge = |c: char| text.starts_with(c) || text.ends_with(c);
    // A Markdown reader strips one space at each side, and a span without content does not exist.
    let pad = if text.is_empty() || !is_blank && (at_edge('`') || at_edge(' ')) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Parser};
    use unicode_width::UnicodeWidthStr;

    use super::*;

    const SAMPLE: &str = "\
# Result of `make`

All **good**, ~~bad~~ *fine*.
Second line, see [the guide](https://example.org/guide) or <https://example.org>.

- one
- two
  1. inner **bold**
  2. inner

     ```sh
     echo  hi

     done
     ```
- three

| Story | Stage | Cost |
|:------|:-----:|-----:|
| 12 日本 | qa | 1.20 |
| 7 | current, `x` | 10.00 |

> quoted
> text
>
> more

---
<b>raw</b> html &lt;i&gt;
";

    #[test]
    fn plain_text_reads_like_a_text_somebody_typed() {
        insta::assert_snapshot!(plain(SAMPLE), @r"
        Result of `make`

        All good, ~~bad~~ fine.
        Second line, see the guide (https://example.org/guide) or https://example.org.

        - one
        - two
          1. inner bold

          2. inner

                 echo  hi

                 done
        - three

        Story   |    Stage     |  Cost
        --------|--------------|------
        12 日本 |      qa      |  1.20
        7       | current, `x` | 10.00

        > quoted
        > text
        >
        > more

        ---

        <b>raw</b> html <i>
        ");
    }

    #[test]
    fn a_terminal_gets_colours_bullets_and_lines_that_fit() {
        let shown = ansi(SAMPLE, 40).replace('\x1b', "^");
        insta::assert_snapshot!(shown, @r"
        ^[1;4mResult of ^[0m^[1;4;36mmake^[0m

        All ^[1mgood^[0m, ^[9mbad^[0m ^[3mfine^[0m.
        Second line, see ^[4;34mthe guide^[0m
        ^[2m(https://example.org/guide)^[0m or
        ^[4;34mhttps://example.org^[0m.

        • one
        • two
          1. inner ^[1mbold^[0m

          2. inner

                 ^[36mecho  hi^[0m

                 ^[36mdone^[0m
        • three

        ^[1mStory^[0m  ^[2m │ ^[0m  ^[1mStage^[0m   ^[2m │ ^[0m ^[1mCost^[0m
        ^[2m────────┼────────────┼──────^[0m
        12 日本^[2m │ ^[0m    qa    ^[2m │ ^[0m 1.20
        7      ^[2m │ ^[0mcurrent, ^[36mx^[0m^[2m │ ^[0m10.00

        ^[2m│ ^[0mquoted
        ^[2m│ ^[0mtext
        ^[2m│ ^[0m
        ^[2m│ ^[0mmore

        ^[2m────────────────────────────────────────^[0m

        <b>raw</b> html <i>
        ");
    }

    #[test]
    fn loose_lists_keep_their_blank_lines_and_tight_ones_have_none() {
        insta::assert_snapshot!(plain("- a\n\n- b\n\n  more\n- > q\n\nend"), @r"
        - a

        - b

          more

        - > q

        end
        ");
        insta::assert_snapshot!(plain("1. a\n   - > q\n   - b\n2.\n3. c\n\nend"), @r"
        1. a
           - > q
           - b
        2.
        3. c

        end
        ");
    }

    #[test]
    fn a_wide_table_is_wrapped_into_its_columns() {
        let table = "|a|b|\n|-|-|\n|one two three four|short|\n|x|a rather long sentence in a cell|";
        insta::assert_snapshot!(ansi(table, 30).replace('\x1b', "^"), @r"
        ^[1ma^[0m            ^[2m │ ^[0m^[1mb^[0m
        ^[2m──────────────┼──────────────^[0m
        one two three^[2m │ ^[0mshort
        four         ^[2m │ ^[0m
        x            ^[2m │ ^[0ma rather long
                     ^[2m │ ^[0msentence in a
                     ^[2m │ ^[0mcell
        ");
    }

    #[test]
    fn a_long_cell_does_not_widen_every_row() {
        let rows = "|x|y|\n".repeat(1000);
        let table = format!("|a|b|\n|-|-|\n{rows}|{}|y|\n", "long".repeat(10_000));
        assert!(plain(&table).len() < 40_000 + 1003 * 70);
    }

    #[test]
    fn deep_nesting_costs_no_more_than_its_length() {
        let deep = format!("{}text\n{}", ">".repeat(5000), "lazy line\n".repeat(5000));
        assert!(plain(&deep).len() < 10_000_000);
        assert!(plain(&"- ".repeat(2000)).len() < 100_000);
    }

    #[test]
    fn escapes_in_the_text_do_not_reach_the_terminal_even_as_entities() {
        let attack = "a\x1b[2J &#27;[31m &#x9b;1m `\x1b]0;t\x07` [x](http://e/\x1b[1m)\n\n```\n\x1b[1mcode\n```\n<i \x1b>";
        assert!(!plain(attack).contains(|c: char| c.is_control() && c != '\n'), "{:?}", plain(attack));
        let coloured = ansi(attack, 80);
        assert!(
            !coloured.contains("[2J\x1b") && !coloured.contains("\x1b[2J") && !coloured.contains('\u{9b}')
        );
        assert!(!coloured.contains("\x1b[31m") && !coloured.contains("\x1b]"));
    }

    #[test]
    fn code_blocks_and_spans_hold_any_backticks() {
        assert_eq!(code_block("a", "rust"), "```rust\na\n```");
        assert_eq!(code_block("```\nx\n```\n", ""), "````\n```\nx\n```\n````");
        assert_eq!(code_span("ls -l"), "`ls -l`");
        assert_eq!(code_span("`a``"), "``` `a`` ```");
    }

    proptest! {
        #[test]
        fn what_goes_into_code_comes_out_of_it(text in "(`|[a-z *_<&\\\\]|\n){0,40}") {
            let block = code_block(&text, "x`y");
            let shown: String = texts(&block, |event| matches!(event, Event::Text(_))).concat();
            prop_assert_eq!(shown.trim_end_matches('\n'), text.trim_end_matches('\n'));

            let span = format!("a{}b", code_span(&text));
            let expected = if text.is_empty() { "  ".to_owned() } else { text.replace('\n', " ") };
            prop_assert_eq!(texts(&span, |event| matches!(event, Event::Code(_))), vec![expected]);
        }

        #[test]
        fn any_text_renders_and_nothing_but_code_is_wider_than_the_terminal(
            text in "(\\PC|[#>`*_|\\[\\]()~\n -]|[a-z ]){0,80}",
            width in 20..60_usize,
        ) {
            plain(&text);
            let plain_colours = without_colours(&ansi(&text, width));
            let is_code = text.contains("```") || text.contains("    ") || text.contains("~~~") || text.contains('|');
            prop_assert!(is_code || plain_colours.lines().all(|line| line.width() <= width.max(48)), "{plain_colours}");
        }
    }

    fn texts(markdown: &str, wanted: impl Fn(&Event<'_>) -> bool) -> Vec<String> {
        let text = |event| match event {
            Event::Text(text) | Event::Code(text) => text.to_string(),
            _ => String::new(),
        };
        Parser::new(markdown).filter(wanted).map(text).collect()
    }

    fn without_colours(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
    }
}
