//! Markdown for messengers that format by marks around the text, like `*bold*`: one writer, and a [`MarkStyle`] per messenger.

use std::borrow::Cow;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::markdown;

// Invisible, where three backticks would close a block too early.
const BREAK: &str = "\u{200B}";

/// How one messenger wants its marks. Bold is `*`, italic `_` and struck `~` everywhere.
pub(crate) struct MarkStyle {
    /// Before an entry of a list without numbers, with its space.
    pub bullet: &'static str,
    /// Before a task that is open, and one that is done.
    pub tasks: [&'static str; 2],
    /// Makes text harmless that the messenger would act on.
    pub escape: for<'a> fn(&'a str) -> Cow<'a, str>,
}

/// The text of `source` with the messenger's marks.
pub(crate) fn render(source: &str, style: &MarkStyle) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = MarkWriter::new(style);
    let mut table_end = None;
    for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
        match event {
            _ if table_end.is_some_and(|end| range.start < end) => {}
            // No messenger of this kind has tables: aligned columns in a code block are the nearest.
            Event::Start(Tag::Table(_)) => {
                table_end = Some(range.end);
                writer.begin_block();
                writer.write_code_block(&markdown::plain(&source[range]));
            }
            event => writer.write(event),
        }
    }
    writer.out.trim_end().to_owned()
}

struct MarkWriter<'s> {
    style: &'s MarkStyle,
    out: String,
    /// The prefix of each line: quote marks and the indentation of lists.
    prefixes: Vec<LinePrefix>,
    /// For each open list its next number, or `None` for bullets.
    lists: Vec<Option<u64>>,
    /// The open marks, in their order.
    marks: Vec<char>,
    // The address of each open link, and the start of its text in `out`.
    links: Vec<(String, usize)>,
    code: Option<String>,
    /// A block was written, so the next one needs an empty line before it.
    needs_gap: bool,
    /// The line has only its prefix so far.
    at_line_start: bool,
}

#[derive(Clone)]
struct LinePrefix {
    first: Option<String>,
    rest: String,
}

impl<'s> MarkWriter<'s> {
    fn new(style: &'s MarkStyle) -> Self {
        Self {
            style,
            out: String::new(),
            prefixes: Vec::new(),
            lists: Vec::new(),
            marks: Vec::new(),
            links: Vec::new(),
            code: None,
            needs_gap: false,
            at_line_start: false,
        }
    }

    fn write(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Code(code) => self.write_code(&code),
            Event::SoftBreak | Event::HardBreak => self.new_line(),
            Event::Rule => {
                self.begin_block();
                self.write_text("———");
                self.needs_gap = true;
            }
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.write_text(&text),
            },
            Event::Html(text) | Event::InlineHtml(text) => self.write_text(&text),
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => {
                self.write_text(&text)
            }
            Event::TaskListMarker(done) => self.write_text(self.style.tasks[usize::from(done)]),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.begin_block(),
            Tag::Heading { .. } => {
                self.begin_block();
                self.open_mark('*');
            }
            Tag::BlockQuote(_) => {
                self.begin_block();
                self.prefixes.push(LinePrefix { first: None, rest: "> ".into() });
                self.at_line_start = true;
            }
            Tag::CodeBlock(_) => {
                self.begin_block();
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.begin_block();
                }
                self.lists.push(first);
            }
            Tag::Item => self.begin_item(),
            Tag::Strong => self.open_mark('*'),
            Tag::Emphasis => self.open_mark('_'),
            Tag::Strikethrough => self.open_mark('~'),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push((dest_url.to_string(), self.out.len()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.needs_gap = true,
            TagEnd::Heading(_) => {
                self.close_mark('*');
                self.needs_gap = true;
            }
            TagEnd::BlockQuote(_) => {
                self.prefixes.pop();
                self.needs_gap = true;
            }
            TagEnd::Item => {
                self.prefixes.pop();
                self.needs_gap = false;
            }
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                self.write_code_block(&code);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.needs_gap = true;
            }
            TagEnd::Strong => self.close_mark('*'),
            TagEnd::Emphasis => self.close_mark('_'),
            TagEnd::Strikethrough => self.close_mark('~'),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => {}
        }
    }

    fn begin_item(&mut self) {
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => self.style.bullet.to_owned(),
        };
        self.needs_gap = false;
        self.end_line();
        // A block inside the item is aligned with its first word; deeper than eight levels more spaces help nobody.
        let rest = if self.prefixes.len() < 8 { " ".repeat(marker.chars().count()) } else { String::new() };
        self.prefixes.push(LinePrefix { first: Some(marker), rest });
        self.at_line_start = true;
    }

    fn begin_block(&mut self) {
        if self.prefixes.last().is_some_and(|prefix| prefix.first.is_some()) {
            self.needs_gap = false;
            return;
        }
        self.end_line();
        if std::mem::take(&mut self.needs_gap) && !self.out.is_empty() {
            let quotes: String =
                self.prefixes.iter().filter(|it| it.rest == "> ").map(|it| it.rest.as_str()).collect();
            self.out.push_str(quotes.trim_end());
            self.out.push('\n');
        }
        self.at_line_start = true;
    }

    fn end_line(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.at_line_start = true;
    }

    // Slack and WhatsApp do not continue a mark on the next line, so it is closed and opened again.
    fn new_line(&mut self) {
        let marks = self.marks.clone();
        self.out.extend(marks.iter().rev());
        self.out.push('\n');
        self.at_line_start = true;
        self.begin_line();
        self.out.extend(marks.iter());
    }

    fn begin_line(&mut self) {
        if std::mem::take(&mut self.at_line_start) {
            for prefix in &mut self.prefixes {
                let text = prefix.first.take().unwrap_or_else(|| prefix.rest.clone());
                self.out.push_str(&text);
            }
        }
    }

    fn write_text(&mut self, text: &str) {
        for (index, line) in text.split('\n').enumerate() {
            if index > 0 {
                self.new_line();
            }
            if !line.is_empty() {
                self.begin_line();
                self.out.push_str(&(self.style.escape)(line));
            }
        }
    }

    fn write_code(&mut self, code: &str) {
        self.begin_line();
        let quotes = if code.contains('`') { "```" } else { "`" };
        let code = guarded(&(self.style.escape)(code));
        self.out.extend([quotes, &code, quotes]);
    }

    fn open_mark(&mut self, mark: char) {
        self.begin_line();
        // A second mark of the same kind would close the first.
        if !self.marks.contains(&mark) {
            self.out.push(mark);
        }
        self.marks.push(mark);
    }

    fn close_mark(&mut self, mark: char) {
        if let Some(at) = self.marks.iter().rposition(|open| *open == mark) {
            self.marks.remove(at);
        }
        if !self.marks.contains(&mark) {
            self.out.push(mark);
        }
    }

    // WhatsApp knows no language and no indentation before the fence.
    fn write_code_block(&mut self, code: &str) {
        let begins_item = self.prefixes.last().is_some_and(|prefix| prefix.first.is_some());
        self.begin_line();
        if begins_item {
            self.out.truncate(self.out.trim_end_matches(' ').len());
            self.end_line();
        }
        let code = guarded(&(self.style.escape)(code));
        self.out.extend(["```\n", code.trim_end_matches('\n'), "\n```"]);
        self.needs_gap = true;
        self.at_line_start = false;
    }

    // A label can hide a malicious address, so the address is always shown.
    fn end_link(&mut self) {
        let Some((url, start)) = self.links.pop() else { return };
        let url = (self.style.escape)(&url);
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
