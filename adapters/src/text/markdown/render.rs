//! Walks through Markdown and writes its blocks as lines.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::{
    layout::{StyledLine, Target, TextStyle},
    table::TableReader,
};

// Deeper nesting shows no further indentation, or a few kilobytes of `>` would become gigabytes.
const DEEPEST: usize = 16;
// The columns for text in a narrow terminal, whatever the indentation.
const NARROWEST: usize = 10;

pub(super) fn render(markdown: &str, look: Target) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut writer = LayoutWriter::new(look);
    for event in Parser::new_ext(markdown, options) {
        writer.write_event(event);
    }
    writer.end_inline();
    writer.out.truncate(writer.out.trim_end_matches('\n').len());
    writer.out
}

/// The prefix of the lines of a list item or quote.
struct LineIndent {
    /// Before its first line, until that is written.
    first: Option<StyledLine>,
    rest: StyledLine,
    is_item: bool,
}

struct ListLevel {
    next_number: Option<u64>,
    is_loose: bool,
}

/// A link or image whose text is being read.
struct LinkText {
    url: String,
    text: String,
}

struct LayoutWriter {
    look: Target,
    out: String,
    indents: Vec<LineIndent>,
    lists: Vec<ListLevel>,
    links: Vec<LinkText>,
    inline: StyledLine,
    // Counters, because emphasis can be nested in itself: bold, italic, struck.
    open: [usize; 3],
    style: TextStyle,
    code: Option<String>,
    table: Option<TableReader>,
    // A block was written, so the next one needs an empty line before it.
    wants_gap: bool,
}

impl LayoutWriter {
    fn new(look: Target) -> Self {
        Self {
            look,
            out: String::new(),
            indents: Vec::new(),
            lists: Vec::new(),
            links: Vec::new(),
            inline: StyledLine::default(),
            open: [0; 3],
            style: TextStyle::default(),
            code: None,
            table: None,
            wants_gap: false,
        }
    }

    fn write_event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Code(text) => self.push_code(&text),
            Event::SoftBreak | Event::HardBreak => self.push_text("\n"),
            Event::Rule => self.rule(),
            // Some of these cannot occur without their extensions, but text must never be dropped.
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.push_text(&text),
            Event::TaskListMarker(done) => self.push_text(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => {
                let in_item = self.indents.last().is_some_and(|indent| indent.is_item);
                if let Some(list) = self.lists.last_mut().filter(|_| in_item) {
                    list.is_loose = true;
                }
                self.begin_block();
            }
            Tag::Heading { level, .. } => {
                self.begin_block();
                self.mark(0, true);
                self.style.title = level == HeadingLevel::H1;
            }
            Tag::BlockQuote(_) => {
                self.begin_block();
                let bar = self.quote_bar();
                self.indent(bar.clone(), bar, false);
            }
            Tag::CodeBlock(_) => {
                self.begin_block();
                self.code = Some(String::new());
            }
            Tag::List(first) => self.begin_list(first),
            Tag::Item => self.begin_item(),
            Tag::Table(alignments) => {
                self.begin_block();
                self.table = Some(TableReader { alignments, rows: Vec::new() });
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
            Tag::Strong => self.mark(0, true),
            Tag::Emphasis => self.mark(1, true),
            Tag::Strikethrough => self.mark(2, true),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.begin_link(&dest_url),
            Tag::HtmlBlock => self.begin_block(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.end_block(),
            TagEnd::Heading(_) => {
                self.end_block();
                self.mark(0, false);
                self.style.title = false;
            }
            TagEnd::BlockQuote(_) => {
                self.end_container();
                self.wants_gap = true;
            }
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::List(_) => {
                self.lists.pop();
                self.wants_gap = true;
            }
            TagEnd::Item => {
                self.end_container();
                self.wants_gap = self.lists.last().is_some_and(|list| list.is_loose);
            }
            TagEnd::TableCell => self.end_cell(),
            TagEnd::Table => self.end_table(),
            TagEnd::Strong => self.mark(0, false),
            TagEnd::Emphasis => self.mark(1, false),
            TagEnd::Strikethrough => self.mark(2, false),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => {}
        }
    }

    fn push_text(&mut self, text: &str) {
        if let Some(code) = &mut self.code {
            code.push_str(text);
            return;
        }
        if let Some(link) = self.links.last_mut() {
            link.text.push_str(text);
        }
        self.inline.push(text, self.style);
    }

    // In plain text the backticks remain, since they mark the bounds of a command to type.
    fn push_code(&mut self, text: &str) {
        if let Some(link) = self.links.last_mut() {
            link.text.push_str(text);
        }
        match self.look {
            Target::Plain => self.inline.push(&format!("`{text}`"), self.style),
            Target::Ansi { .. } => self.inline.push(text, TextStyle { code: true, ..self.style }),
        }
    }

    fn mark(&mut self, which: usize, begins: bool) {
        let open = &mut self.open[which];
        *open = if begins { *open + 1 } else { open.saturating_sub(1) };
        let is_open = *open > 0;
        match which {
            0 => self.style.bold = is_open,
            1 => self.style.italic = is_open,
            _ => self.style.strike = is_open,
        }
        // Without colours, struck text would mean its opposite.
        if which == 2 && self.look == Target::Plain {
            self.inline.push("~~", self.style);
        }
    }

    fn begin_link(&mut self, url: &str) {
        self.links.push(LinkText { url: url.to_owned(), text: String::new() });
        self.style.link = true;
    }

    fn end_link(&mut self) {
        let Some(link) = self.links.pop() else { return };
        self.style.link = !self.links.is_empty();
        if let Some(outer) = self.links.last_mut() {
            outer.text.push_str(&link.text);
        }
        let is_shown = link.url == link.text || link.url.strip_prefix("mailto:") == Some(&link.text);
        if !is_shown && !link.url.is_empty() {
            let separator = if link.text.is_empty() { "" } else { " " };
            let style = TextStyle { dim: true, ..TextStyle::default() };
            self.inline.push(&format!("{separator}({})", link.url.replace('\n', "")), style);
        }
    }

    fn quote_bar(&self) -> StyledLine {
        match self.look {
            Target::Plain => StyledLine::of("> ", TextStyle::default()),
            Target::Ansi { .. } => StyledLine::of("│ ", TextStyle { dim: true, ..TextStyle::default() }),
        }
    }

    fn indent(&mut self, first: StyledLine, rest: StyledLine, is_item: bool) {
        let rest = if self.indents.len() < DEEPEST { rest } else { StyledLine::default() };
        self.indents.push(LineIndent { first: Some(first), rest, is_item });
    }

    fn begin_list(&mut self, first: Option<u64>) {
        self.end_inline();
        self.lists.push(ListLevel { next_number: first, is_loose: false });
    }

    fn begin_item(&mut self) {
        let Some(list) = self.lists.last_mut() else { return };
        let bullet = if self.look == Target::Plain { "- " } else { "• " };
        let marker = match &mut list.next_number {
            Some(number) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            None => bullet.to_owned(),
        };
        if self.wants_gap {
            self.write_gap();
        }
        let marker = StyledLine::of(&marker, TextStyle::default());
        let rest = StyledLine::of(&" ".repeat(marker.width), TextStyle::default());
        self.indent(marker, rest, true);
    }

    fn end_container(&mut self) {
        self.end_inline();
        // An empty item still shows its marker.
        if self.indents.last().is_some_and(|indent| indent.first.is_some()) {
            self.write_line(StyledLine::default());
        }
        self.indents.pop();
    }

    fn end_code(&mut self) {
        let Some(code) = self.code.take() else { return };
        let style = TextStyle { code: true, ..TextStyle::default() };
        for line in code.trim_end_matches('\n').split('\n') {
            let mut indented =
                StyledLine::of(if line.is_empty() { "" } else { "    " }, TextStyle::default());
            indented.push(line, style);
            self.write_line(indented);
        }
        self.wants_gap = true;
    }

    fn end_cell(&mut self) {
        let cell = std::mem::take(&mut self.inline);
        if let Some(row) = self.table.as_mut().and_then(|table| table.rows.last_mut()) {
            row.push(cell);
        }
    }

    fn end_table(&mut self) {
        let Some(table) = self.table.take() else { return };
        for line in table.lines(self.look, self.room()) {
            self.write_line(line);
        }
        self.wants_gap = true;
    }

    fn rule(&mut self) {
        self.begin_block();
        let rule = match self.look {
            Target::Plain => "---".to_owned(),
            Target::Ansi { .. } => "─".repeat(self.room().min(40)),
        };
        self.write_line(StyledLine::of(&rule, TextStyle { dim: true, ..TextStyle::default() }));
        self.wants_gap = true;
    }

    /// The columns that remain after the indentation.
    fn room(&self) -> usize {
        let indentation: usize = self.indents.iter().map(|indent| indent.rest.width).sum();
        self.look.width().saturating_sub(indentation).max(NARROWEST)
    }

    fn begin_block(&mut self) {
        self.end_inline();
        if self.wants_gap {
            self.write_gap();
        }
    }

    fn end_block(&mut self) {
        self.end_inline();
        self.wants_gap = true;
    }

    /// Writes the inline text read so far: a paragraph, or the text of a tight list item.
    fn end_inline(&mut self) {
        let text = std::mem::take(&mut self.inline);
        if text == StyledLine::default() {
            return;
        }
        for line in text.wrap(self.room()) {
            self.write_line(line);
        }
        self.wants_gap = false;
    }

    fn write_gap(&mut self) {
        self.wants_gap = false;
        if !self.out.is_empty() {
            let mut line = StyledLine::default();
            let begun = self.indents.iter().filter(|indent| indent.first.is_none());
            begun.for_each(|indent| line.append(indent.rest.clone()));
            self.finish_line(&line);
        }
    }

    fn write_line(&mut self, content: StyledLine) {
        let mut line = StyledLine::default();
        for indent in &mut self.indents {
            line.append(indent.first.take().unwrap_or_else(|| indent.rest.clone()));
        }
        line.append(content);
        self.finish_line(&line);
    }

    fn finish_line(&mut self, line: &StyledLine) {
        line.paint(self.look, &mut self.out);
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.out.push('\n');
    }
}
