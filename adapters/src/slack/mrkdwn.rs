//! Markdown as Slack's older mark-up, mrkdwn: <https://docs.slack.dev/messaging/formatting-message-text>.
//!
//! For notifications, and for the whole message where a Slack does not know the `markdown` block.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The text as mrkdwn. Everything that is not ours is escaped, so no mention and no link can be made up.
pub fn mrkdwn(markdown: &str) -> String {
    let mut writer = MrkdwnWriter::default();
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for event in Parser::new_ext(markdown, options) {
        writer.take(event);
    }
    writer.out.trim_end().to_owned()
}

/// `&`, `<` and `>` as Slack wants them: <https://docs.slack.dev/messaging/formatting-message-text#escaping>.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[derive(Default)]
struct MrkdwnWriter {
    out: String,
    /// For each open list its next number, or `None` for bullets.
    lists: Vec<Option<u64>>,
    quotes: usize,
    links: Vec<String>,
    /// In a table or a code block, where marks are plain characters.
    verbatim: bool,
    table: Vec<Vec<String>>,
    in_table: bool,
}

impl MrkdwnWriter {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(code) => self.code(&code),
            Event::SoftBreak | Event::HardBreak => self.line_end(),
            Event::Rule => {
                self.begin_block();
                self.out.push_str("———\n");
            }
            Event::TaskListMarker(done) => self.text(if done { "☑ " } else { "☐ " }),
            Event::FootnoteReference(name) => self.text(&format!("[{name}]")),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.text(&text),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph if self.lists.is_empty() => self.begin_block(),
            Tag::Heading { .. } => {
                self.begin_block();
                self.mark("*");
            }
            Tag::BlockQuote(_) => {
                self.begin_block();
                self.quotes += 1;
                self.out.push_str("> ");
            }
            Tag::CodeBlock(kind) => {
                // A block without a fence is one all the same.
                let _ = matches!(kind, CodeBlockKind::Indented);
                self.begin_block();
                self.out.push_str("```\n");
                self.verbatim = true;
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.begin_block();
                }
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Emphasis => self.mark("_"),
            Tag::Strong => self.mark("*"),
            Tag::Strikethrough => self.mark("~"),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.link(&dest_url),
            Tag::Table(_) => {
                self.begin_block();
                self.in_table = true;
            }
            Tag::TableHead | Tag::TableRow => self.table.push(Vec::new()),
            Tag::TableCell => {
                if let Some(row) = self.table.last_mut() {
                    row.push(String::new());
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Item => self.end_line(),
            TagEnd::Heading(_) => {
                self.mark("*");
                self.end_line();
            }
            TagEnd::BlockQuote(_) => {
                self.quotes = self.quotes.saturating_sub(1);
                let end = self.out.trim_end_matches(['\n', '>', ' ']).len();
                self.out.truncate(end);
                self.out.push('\n');
            }
            TagEnd::CodeBlock => {
                self.verbatim = false;
                self.end_line();
                self.out.push_str("```\n");
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.end_line();
            }
            TagEnd::Emphasis => self.mark("_"),
            TagEnd::Strong => self.mark("*"),
            TagEnd::Strikethrough => self.mark("~"),
            TagEnd::Link | TagEnd::Image => {
                if let Some(url) = self.links.pop().filter(|url| !url.is_empty()) {
                    self.push(&format!(" ({})", escape(&url)));
                }
            }
            TagEnd::Table => self.end_table(),
            _ => {}
        }
    }

    /// A link is its text and its address, readable: a label that hides its address is how people are lured.
    fn link(&mut self, url: &str) {
        self.links.push(url.to_owned());
    }

    fn text(&mut self, text: &str) {
        // An autolink's text is its address; once is enough.
        if self.links.last().is_some_and(|url| url == text || url.strip_prefix("mailto:") == Some(text)) {
            self.links.pop();
            self.links.push(String::new());
        }
        let text = escape(text);
        match self.quotes > 0 {
            true => self.push(&text.replace('\n', "\n> ")),
            false => self.push(&text),
        }
    }

    fn code(&mut self, code: &str) {
        let code = escape(code).replace('`', "'");
        self.push(&if self.in_table { code } else { format!("`{code}`") });
    }

    fn mark(&mut self, mark: &str) {
        if !self.verbatim && !self.in_table {
            self.out.push_str(mark);
        }
    }

    fn push(&mut self, text: &str) {
        match self.table.last_mut().and_then(|row| row.last_mut()).filter(|_| self.in_table) {
            Some(cell) => cell.push_str(text),
            None => self.out.push_str(text),
        }
    }

    fn line_end(&mut self) {
        let end = match (self.in_table, self.quotes) {
            (true, _) => " ",
            (false, 0) => "\n",
            (false, _) => "\n> ",
        };
        self.push(end);
    }

    fn item(&mut self) {
        self.end_line();
        let indent = "    ".repeat(self.lists.len().saturating_sub(1));
        let sign = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}.", *number - 1)
            }
            _ => "•".into(),
        };
        self.out.push_str(&format!("{indent}{sign} "));
    }

    fn end_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// An empty line between two blocks.
    fn begin_block(&mut self) {
        if self.quotes > 0 {
            if !self.out.ends_with("> ") {
                self.end_line();
                self.out.push_str("> ");
            }
            return;
        }
        self.end_line();
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// mrkdwn has no tables; aligned columns in a code block are the nearest.
    fn end_table(&mut self) {
        self.in_table = false;
        let rows = std::mem::take(&mut self.table);
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let shown = |cell: &str| -> usize {
            cell.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").chars().count()
        };
        let width = |column: usize| {
            rows.iter().filter_map(|row: &Vec<String>| row.get(column)).map(|cell| shown(cell)).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        self.out.push_str("```\n");
        for row in &rows {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell}{}", " ".repeat(width - shown(cell))));
            let line = cells.collect::<Vec<_>>().join(" | ");
            self.out.push_str(line.trim_end());
            self.out.push('\n');
        }
        self.out.push_str("```\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_markdown_has_its_own() {
        let sample = "# Result of `make`\n\nAll **good**, ~~bad~~ *fine*, see [the guide](https://e.org/g) or <https://e.org>.\n\n- one\n- two\n  1. inner\n  2. more\n\n> quoted\n> text\n\n```sh\necho  \"<!channel>\" & done\n```\n\n| Story | Cost |\n|---|---:|\n| 12 `x` | 1.20 |\n| a < b | 2 |\n\n---\n<b>raw</b> <@U123>";
        insta::assert_snapshot!(mrkdwn(sample), @r#"
        *Result of `make`*

        All *good*, ~bad~ _fine_, see the guide (https://e.org/g) or https://e.org.

        • one
        • two
            1. inner
            2. more

        > quoted
        > text

        ```
        echo  "&lt;!channel&gt;" &amp; done
        ```

        ```
        Story | Cost
        12 x  | 1.20
        a &lt; b | 2
        ```

        ———

        &lt;b&gt;raw&lt;/b&gt; &lt;@U123&gt;
        "#);
    }

    proptest! {
        #[test]
        fn nothing_foreign_acts(text in "(<|>|&|@|!|\\[|\\]|\\(|\\)|\\||`|\n|> |- |#|\\PC){0,60}") {
            let made = mrkdwn(&text);
            prop_assert!(!made.contains('<'), "{made}");
        }
    }
}
