//! The lines of a Markdown text and which of them lie in code blocks; renders a stretch of it as a part.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

use super::SourceSpan;

const DEEPEST_QUOTE: usize = 16;
// No indentation that a person writes is longer.
const FURTHEST: usize = 256;

pub(super) struct SourceOutline<'t> {
    pub text: &'t str,
    pub lines: Vec<SourceLine>,
    fences: Vec<CodeFence>,
}

/// A line of the source with its line ending.
pub(super) struct SourceLine {
    pub start: usize,
    pub end: usize,
    place: LinePlace,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LinePlace {
    Text,
    /// Content or closing line of this fenced block.
    Fenced(usize),
    /// Code by indentation, which must therefore stay.
    Indented,
}

/// A fenced code block.
pub(super) struct CodeFence {
    opener: usize,
    last: usize,
    is_closed: bool,
    /// The prefix of the marker and of each line: indentation or quote marks.
    prefix: String,
    marker: String,
    info: String,
}

impl<'t> SourceOutline<'t> {
    /// Reads `text`. A code block whose fence would take over half of `max` is cut like text.
    pub fn of(text: &'t str, max: usize) -> Self {
        let mut outline = Self { text, lines: lines(text), fences: Vec::new() };
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    outline.add_fence(range, &info, max);
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => outline.mark_indented(range),
                _ => {}
            }
        }
        outline
    }

    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|line| line.end <= at)
    }

    fn mark_indented(&mut self, range: Range<usize>) {
        let (first, last) = (self.line_of(range.start), self.line_of(range.end.saturating_sub(1)));
        for line in self.lines.iter_mut().take(last + 1).skip(first) {
            line.place = LinePlace::Indented;
        }
    }

    fn add_fence(&mut self, range: Range<usize>, info: &str, max: usize) {
        let opener = self.line_of(range.start);
        let block = self.text[range.clone()].trim_end();
        let last = self.line_of(range.start + block.len().saturating_sub(1));
        let Some(sign) = block.chars().next() else { return };
        let length = block.len() - block.trim_start_matches(sign).len();
        let before = &self.text[self.lines[opener].start..range.start];
        let prefix: String = before.chars().map(|c| if c == '>' || c == '\t' { c } else { ' ' }).collect();
        // Every part repeats the fence and its info string, which foreign text can make longer than a message.
        let fits = |info: &str| 2 * (prefix.len() + length + 1) + info.len() <= max / 2;
        if !fits("") {
            return;
        }
        let closing = self.text[self.lines[last].start..self.lines[last].end].trim_end();
        let run = closing.len() - closing.trim_end_matches(sign).len();
        let unquoted = closing.trim_end_matches(sign).trim_matches([' ', '\t', '>']);
        let fence = CodeFence {
            opener,
            last,
            is_closed: last > opener && run >= length && unquoted.is_empty(),
            marker: sign.to_string().repeat(length),
            info: if fits(info) { info.to_owned() } else { String::new() },
            prefix,
        };
        for line in self.lines.iter_mut().take(last + 1).skip(opener + 1) {
            line.place = LinePlace::Fenced(self.fences.len());
        }
        self.fences.push(fence);
    }

    fn content(&self, line: usize) -> &'t str {
        &self.text[self.lines[line].start..self.lines[line].end]
    }

    /// The offset of the line's break, or of the text's end.
    pub fn content_end(&self, line: usize) -> usize {
        self.lines[line].start + self.content(line).trim_end_matches(['\n', '\r']).len()
    }

    fn fence(&self, line: usize) -> Option<&CodeFence> {
        match self.lines.get(line)?.place {
            LinePlace::Fenced(fence) => self.fences.get(fence),
            LinePlace::Text | LinePlace::Indented => None,
        }
    }

    /// The fence that stays open when a part stops at `at`, which lies in or right behind line `line`.
    fn open_at(&self, at: usize) -> Option<&CodeFence> {
        if at == self.text.len() {
            let to_the_end = |fence: &&CodeFence| self.text[self.lines[fence.last].end..].trim().is_empty();
            return self.fences.last().filter(|fence| !fence.is_closed).filter(to_the_end);
        }
        self.fence(self.line_of(at))
    }

    fn is_closer(&self, line: usize) -> bool {
        self.fence(line).is_some_and(|fence| fence.is_closed && fence.last == line)
    }

    /// Whether a cut before `line` leaves no code block open and no empty one.
    pub fn is_outside(&self, line: usize) -> bool {
        self.fence(line).is_none()
    }

    /// Whether `line` continues a code block of which at least one line comes before it.
    pub fn is_inside(&self, line: usize) -> bool {
        self.fence(line).is_some_and(|fence| line > fence.opener + 1)
    }

    pub fn may_end_before(&self, line: usize) -> bool {
        self.is_outside(line) || self.is_inside(line)
    }

    /// Whether a paragraph begins here, not counting one that would be torn from its heading.
    pub fn begins_paragraph(&self, line: usize) -> bool {
        let is_blank = |line: usize| self.content(line).trim().is_empty();
        if line == 0 || is_blank(line) || !is_blank(line - 1) || !self.is_outside(line) {
            return false;
        }
        let previous = (0..line).rev().find(|line| !is_blank(*line)).map(|line| self.content(line));
        !previous.is_some_and(|text| text.starts_with('#'))
    }

    /// First and last line of the code block that `line` is the inside of.
    pub fn block_around(&self, line: usize) -> Option<(usize, usize)> {
        self.fence(line).map(|fence| (fence.opener, fence.last))
    }

    /// Skips white space that nobody would miss at the start of a part.
    pub fn skip_blank(&self, mut start: usize, mut line: usize) -> (usize, usize) {
        while let Some(current) = self.lines.get(line) {
            if self.fence(line).is_some() || !self.text[start..current.end].trim().is_empty() {
                break;
            }
            start = current.end;
            line += 1;
        }
        (start, line)
    }

    /// The start of the part after a cut at `end`.
    pub fn after(&self, end: usize, from: usize) -> (usize, usize) {
        let line = from + self.lines[from..].partition_point(|line| line.end <= end);
        let Some(current) = self.lines.get(line) else { return (end, line) };
        // The part before has closed the block already.
        if self.is_closer(line) {
            return (current.end, line + 1);
        }
        if end == current.start || self.fence(line).is_some() {
            return (end, line);
        }
        let spaces = self.text[end..current.end].len() - self.text[end..current.end].trim_start().len();
        (end + spaces, line)
    }

    /// The text of a part: the stretch with its code blocks opened and closed.
    pub fn render(&self, span: SourceSpan) -> String {
        let opened = self.fence(span.line);
        let closing = self.open_at(span.end);
        let mid_line = span.start > self.lines[span.line].start;
        let mut dedent = ListDedent::new(self, span, opened);
        let mut part = String::with_capacity(span.end - span.start + 64);
        if let Some(fence) = opened {
            part.extend([dedent.strip(&fence.prefix), &fence.marker, &fence.info, "\n"]);
        }
        let mut body = self.text[span.start..span.end].split_inclusive('\n');
        if mid_line && let Some(rest) = body.next() {
            let quote = opened.map_or_else(|| quote_marks(self.content(span.line)), CodeFence::quote_marks);
            let escape = if opened.is_none() && begins_block(rest) { "\\" } else { "" };
            part.extend([quote, escape, rest]);
        }
        body.for_each(|line| part.push_str(dedent.next(line)));
        match closing {
            Some(fence) => {
                part.push_str(if part.ends_with('\n') { "" } else { "\n" });
                part.extend([dedent.strip(&fence.prefix), &fence.marker]);
            }
            None => part.truncate(part.trim_end().len()),
        }
        part
    }
}

impl CodeFence {
    fn quote_marks(&self) -> &str {
        if self.prefix.contains('>') { &self.prefix } else { "" }
    }
}

// Removes a list's indentation from a part that begins in its middle: alone it would mean code.
struct ListDedent {
    by: usize,
}

impl ListDedent {
    fn new(outline: &SourceOutline<'_>, span: SourceSpan, opened: Option<&CodeFence>) -> Self {
        let by = match opened {
            Some(fence) if fence.prefix.contains('>') => 0,
            Some(fence) => fence.prefix.len(),
            None if outline.lines[span.line].place == LinePlace::Indented || span.start == 0 => 0,
            None => indentation(outline.content(span.line)),
        };
        Self { by }
    }

    /// The line without the indentation. A line that has less is of an outer level: from there on, less is taken.
    fn next<'l>(&mut self, line: &'l str) -> &'l str {
        if !line.trim().is_empty() {
            self.by = self.by.min(indentation(line));
        }
        self.strip(line)
    }

    fn strip<'l>(&self, line: &'l str) -> &'l str {
        &line[indentation(line).min(self.by)..]
    }
}

// Deeper quotes than a person writes would take the room of the text.
fn quote_marks(line: &str) -> &str {
    let marks = leading(line, b" >");
    if marks.contains('>') && marks.len() <= DEEPEST_QUOTE { marks } else { "" }
}

fn indentation(line: &str) -> usize {
    leading(line, b" \t").len()
}

// Looks no further than any indentation goes, since a line of a megabyte is looked at once for each of its parts.
fn leading<'l>(line: &'l str, bytes: &[u8]) -> &'l str {
    let is_other = |byte: &u8| !bytes.contains(byte);
    let end = line.bytes().take(FURTHEST).position(|byte| is_other(&byte));
    &line[..end.unwrap_or(line.len().min(FURTHEST))]
}

// The rest of a cut line must not become a heading, a list or a quotation only because it now begins a line.
fn begins_block(text: &str) -> bool {
    ["#", ">", "```", "~~~", "---", "- ", "+ ", "* "].iter().any(|mark| text.starts_with(mark))
}

fn lines(text: &str) -> Vec<SourceLine> {
    let mut end = 0;
    let line = |content: &str| {
        let start = end;
        end += content.len();
        SourceLine { start, end, place: LinePlace::Text }
    };
    text.split_inclusive('\n').map(line).collect()
}
