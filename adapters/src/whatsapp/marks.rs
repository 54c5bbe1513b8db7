//! Markdown as WhatsApp shows it: `*bold*`, `_italic_`, `~struck~`, code in backticks, lists and quotes by their first signs.
//! <https://faq.whatsapp.com/539178204879377>

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::text::markdown;

/// The longest text message, in characters.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/messages/text-messages>
pub const TEXT_MAX: usize = 4096;

/// Stands unseen where three backticks would end a block too early.
const BREAK: &str = "\u{200B}";

/// How long WhatsApp takes a text for: UTF-16 units, the largest of the ways to count.
pub fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The text with WhatsApp's marks, and nothing in it that acts instead of being read.
pub fn render(markdown: &str) -> String {
    let source = markdown::inert(markdown);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut writer = MarkWriter::default();
    let mut table_ends = None;
    for (event, range) in Parser::new_ext(&source, options).into_offset_iter() {
        match event {
            _ if table_ends.is_some_and(|end| range.start < end) => {}
            Event::Start(Tag::Table(_)) => {
                table_ends = Some(range.end);
                writer.block();
                writer.code(&markdown::plain(&source[range]));
            }
            event => writer.take(event),
        }
    }
    writer.out.trim_end().to_owned()
}

#[derive(Default)]
struct MarkWriter {
    out: String,
    /// What stands before each line: quotes and the indentation of lists.
    prefixes: Vec<LinePrefix>,
    lists: Vec<Option<u64>>,
    /// Marks that are open, in their order.
    marks: Vec<char>,
    links: Vec<(String, usize)>,
    code: Option<String>,
    /// A block was written, so that the next one stands apart.
    apart: bool,
    /// The line has only its prefix so far.
    fresh: bool,
}

#[derive(Clone)]
struct LinePrefix {
    first: Option<String>,
    rest: String,
}

impl MarkWriter {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Code(code) => self.span(&code),
            Event::SoftBreak | Event::HardBreak => self.new_line(),
            Event::Rule => {
                self.block();
                self.text("———");
                self.apart = true;
            }
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.text(&text),
            },
            Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => {
                self.text(&text)
            }
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.block(),
            Tag::Heading { .. } => {
                self.block();
                self.open('*');
            }
            Tag::BlockQuote(_) => {
                self.block();
                self.prefixes.push(LinePrefix { first: None, rest: "> ".into() });
                self.fresh = true;
            }
            Tag::CodeBlock(_) => {
                self.block();
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.block();
                }
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Strong => self.open('*'),
            Tag::Emphasis => self.open('_'),
            Tag::Strikethrough => self.open('~'),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push((dest_url.to_string(), self.out.len()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.apart = true,
            TagEnd::Heading(_) => {
                self.close('*');
                self.apart = true;
            }
            TagEnd::BlockQuote(_) => {
                self.prefixes.pop();
                self.apart = true;
            }
            TagEnd::Item => {
                self.prefixes.pop();
                self.apart = false;
            }
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                self.code(&code);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.apart = true;
            }
            TagEnd::Strong => self.close('*'),
            TagEnd::Emphasis => self.close('_'),
            TagEnd::Strikethrough => self.close('~'),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => {}
        }
    }

    fn item(&mut self) {
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => "- ".to_owned(),
        };
        self.apart = false;
        self.end_line();
        // A block inside the item stands below its first word; deeper than eight nothing is told by more spaces.
        let rest = if self.prefixes.len() < 8 { " ".repeat(marker.len()) } else { String::new() };
        self.prefixes.push(LinePrefix { first: Some(marker), rest });
        self.fresh = true;
    }

    /// A block begins: on a line of its own, and apart from the one before.
    fn block(&mut self) {
        if self.prefixes.last().is_some_and(|prefix| prefix.first.is_some()) {
            self.apart = false;
            return;
        }
        self.end_line();
        if std::mem::take(&mut self.apart) && !self.out.is_empty() {
            let quotes: String =
                self.prefixes.iter().filter(|it| it.rest == "> ").map(|it| it.rest.as_str()).collect();
            self.out.push_str(quotes.trim_end());
            self.out.push('\n');
        }
        self.fresh = true;
    }

    fn end_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.fresh = true;
    }

    /// A line end inside a paragraph: marks do not reach over it, so they are closed and opened again.
    fn new_line(&mut self) {
        let marks = self.marks.clone();
        self.out.extend(marks.iter().rev());
        self.out.push('\n');
        self.fresh = true;
        self.begin_line();
        self.out.extend(marks.iter());
    }

    fn begin_line(&mut self) {
        if std::mem::take(&mut self.fresh) {
            for prefix in &mut self.prefixes {
                let text = prefix.first.take().unwrap_or_else(|| prefix.rest.clone());
                self.out.push_str(&text);
            }
        }
    }

    fn text(&mut self, text: &str) {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.new_line();
            }
            if !line.is_empty() {
                self.begin_line();
                self.out.push_str(line);
            }
        }
    }

    fn span(&mut self, code: &str) {
        self.begin_line();
        let quotes = if code.contains('`') { "```" } else { "`" };
        self.out.extend([quotes, &guarded(code), quotes]);
    }

    fn open(&mut self, mark: char) {
        self.begin_line();
        // The same mark twice would close itself.
        if !self.marks.contains(&mark) {
            self.out.push(mark);
        }
        self.marks.push(mark);
    }

    fn close(&mut self, mark: char) {
        if let Some(at) = self.marks.iter().rposition(|open| *open == mark) {
            self.marks.remove(at);
        }
        if !self.marks.contains(&mark) {
            self.out.push(mark);
        }
    }

    /// A block of code; WhatsApp knows no language and no indentation before the fence.
    fn code(&mut self, code: &str) {
        let begins_item = self.prefixes.last().is_some_and(|prefix| prefix.first.is_some());
        self.begin_line();
        if begins_item {
            self.out.truncate(self.out.trim_end_matches(' ').len());
            self.end_line();
        }
        self.out.extend(["```\n", guarded(code).trim_end_matches('\n'), "\n```"]);
        self.apart = true;
        self.fresh = false;
    }

    fn end_link(&mut self) {
        let Some((url, start)) = self.links.pop() else { return };
        let shown = self.out.get(start..).unwrap_or_default().trim();
        let is_shown = shown == url || url.strip_prefix("mailto:") == Some(shown) || url.is_empty();
        if !is_shown {
            let space = if shown.is_empty() { "" } else { " " };
            let link = format!("{space}({})", url.replace('\n', ""));
            self.begin_line();
            self.out.push_str(&link);
        }
    }
}

fn guarded(code: &str) -> String {
    code.replace("```", &format!("`{BREAK}`{BREAK}`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_becomes_whatsapps_own_marks() {
        insta::assert_snapshot!(render("\
# Result of `make`

All **good**, ~~bad~~ *fine*, see [the guide](https://example.org/guide) or <https://example.org>.

- one
- two
  1. inner **bold**
  2. inner
- three

```sh
echo  hi

done
```

> quoted
> text
>
> more

| Story | Stage |
|:------|------:|
| 12 | qa |

---
<b>raw</b> html &lt;i&gt;"), @r"
        *Result of `make`*

        All *good*, ~bad~ _fine_, see the guide (https://example.org/guide) or https://example.org.

        - one
        - two
          1. inner *bold*
          2. inner
        - three

        ```
        echo  hi

        done
        ```

        > quoted
        > text
        >
        > more

        ```
        Story | Stage
        ------|------
        12    |    qa
        ```

        ———

        <b>raw</b> html <i>
        ");
    }

    #[test]
    fn marks_do_not_reach_over_a_line_and_never_close_themselves() {
        assert_eq!(render("**two\nlines**"), "*two*\n*lines*");
        assert_eq!(render("# a **b** c"), "*a b c*");
        assert_eq!(render("***both***"), "_*both*_");
    }

    #[test]
    fn a_block_of_code_cannot_be_left_early() {
        let shown = render(&markdown::code_block("a\n```\n*b*", ""));
        assert_eq!(shown.matches("```").count(), 2, "{shown}");
        assert_eq!(shown.replace(BREAK, ""), "```\na\n```\n*b*\n```");
        assert_eq!(render("- ```\n  x\n  ```"), "-\n```\nx\n```");
    }

    #[test]
    fn what_acts_is_taken_out() {
        assert_eq!(render("a\u{1b}[31m\u{202e}b"), "a[31mb");
    }

    proptest! {
        #[test]
        fn any_text_renders_and_every_word_is_kept(text in "([#>`*_|\\[\\]()~\n -]|[a-z ]|\\PC){0,80}") {
            let shown = render(&text);
            let words = |text: &str| text.chars().filter(char::is_ascii_lowercase).count();
            // A fence's language, a link's title and entities are Markdown's, not words.
            if !text.contains(['`', '~', '[', '&', '<', '|']) {
                prop_assert_eq!(words(&shown), words(&text), "{}", shown);
            }
        }
    }
}
