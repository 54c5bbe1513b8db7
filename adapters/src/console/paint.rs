//! Draws messages in an interactive terminal: text with or without colours, and the live region cut to the screen. Everything
//! relayed is made inert here.

use crossterm::style::{Attribute, Color, SetAttribute, SetForegroundColor};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr as _};

use super::{
    live::{OpenMessage, PrintRequest},
    wire::{SaidLine, ShownMessage, StoredFile},
};
use crate::{ActivityState, Tone, text::markdown};

// The rows that each older message retains when a newer one is long.
const LEFT_FOR_OLDER: usize = 2;

/// How this terminal can be written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct TerminalStyle {
    pub(super) color: bool,
    pub(super) columns: usize,
    pub(super) rows: usize,
}

#[derive(Clone, Copy)]
enum LineMark {
    Bold,
    Dim,
    Ask,
    Fail,
}

impl TerminalStyle {
    fn mark(self, mark: LineMark, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.into();
        }
        let (attribute, color) = match mark {
            LineMark::Bold => (Attribute::Bold, Color::Reset),
            LineMark::Dim => (Attribute::Dim, Color::Reset),
            LineMark::Ask => (Attribute::Bold, Color::Yellow),
            LineMark::Fail => (Attribute::Bold, Color::Red),
        };
        let (start, end) = (SetAttribute(attribute), SetAttribute(Attribute::Reset));
        format!("{start}{}{text}{end}", SetForegroundColor(color))
    }

    /// `indent` columns of the first line are taken.
    fn markdown(self, text: &str, indent: usize) -> String {
        let text = markdown::inert(text);
        let columns = self.columns.saturating_sub(indent);
        let rendered = if self.color { markdown::ansi(&text, columns) } else { markdown::plain(&text) };
        rendered.trim_end().to_owned()
    }

    /// The text of one print request, without a final line break.
    pub(super) fn print(self, print: &PrintRequest) -> String {
        match print {
            PrintRequest::Message(shown) => self.message(shown),
            PrintRequest::Said(said) => self.said(said),
            PrintRequest::File(file) => self.file(file),
            PrintRequest::Refused(why) => {
                format!("{} {}", self.mark(LineMark::Fail, "not taken:"), markdown::inert(why))
            }
            PrintRequest::Bye(reason) => self.mark(LineMark::Dim, &markdown::inert(reason)),
        }
    }

    fn message(self, shown: &ShownMessage) -> String {
        let (mark, sign) = match shown.tone {
            Tone::Answer | Tone::Notice => (LineMark::Dim, ""),
            Tone::Question => (LineMark::Ask, "? "),
            Tone::Failure => (LineMark::Fail, "✗ "),
        };
        let body = self.markdown(&shown.markdown, sign.width());
        let text = format!("{}{body}", self.mark(mark, sign));
        let choices = if shown.lists_choices() { Vec::new() } else { self.choices(shown) };
        std::iter::once(text).chain(choices).collect::<Vec<_>>().join("\n")
    }

    fn choices(self, shown: &ShownMessage) -> Vec<String> {
        let line = |(number, choice): (usize, &crate::Choice)| {
            let number = self.mark(LineMark::Ask, &format!("{number})"));
            format!("  {number} {}", markdown::inert(&choice.label))
        };
        (1..).zip(&shown.choices).map(line).collect()
    }

    fn said(self, said: &SaidLine) -> String {
        let name = self.mark(LineMark::Bold, &format!("{}:", markdown::inert(&said.from)));
        format!("{name} {}", markdown::inert(&said.text))
    }

    fn file(self, file: &StoredFile) -> String {
        let path = file.path.to_string_lossy();
        let path = self.mark(LineMark::Bold, &markdown::inert(&path));
        match markdown::inert(&file.caption) {
            caption if caption.is_empty() => path,
            caption => format!("{caption}: {path}"),
        }
    }

    // At most half the screen, so that the scrollback stays visible. Questions are shown whole, since a person must read them
    // before answering; of other messages the last lines.
    pub(super) fn region(self, open: &[OpenMessage], room: Option<ActivityState>) -> Vec<String> {
        let mut budget = (self.rows / 2).max(3);
        let mut blocks = Vec::new();
        for (older, open) in open.iter().enumerate().rev() {
            let block = self.block(open, budget.saturating_sub(older * LEFT_FOR_OLDER).max(LEFT_FOR_OLDER));
            budget = budget.saturating_sub(block.iter().map(|line| self.height(line)).sum());
            blocks.push(block);
        }
        let mut lines: Vec<String> = blocks.into_iter().rev().flatten().collect();
        lines.extend(self.status(room));
        lines
    }

    fn block(self, open: &OpenMessage, budget: usize) -> Vec<String> {
        if open.shown.is_open_question() {
            let text = if open.printed { self.reminder(&open.shown) } else { self.message(&open.shown) };
            return text.lines().map(str::to_owned).collect();
        }
        let text = self.message(&open.shown);
        let lines: Vec<&str> = text.lines().collect();
        self.tail(&lines, budget)
    }

    // The scrollback holds the whole question already.
    fn reminder(self, shown: &ShownMessage) -> String {
        let head = self.mark(LineMark::Ask, "? the question above waits:");
        format!("{head}\n{}", self.choices(shown).join("\n"))
    }

    fn tail(self, lines: &[&str], budget: usize) -> Vec<String> {
        let mut rows = 0;
        let fits = |line: &&&str| {
            rows += self.height(line);
            rows <= budget
        };
        let shown = lines.iter().rev().take_while(fits).count();
        if shown == lines.len() {
            return lines.iter().map(|line| (*line).to_owned()).collect();
        }
        // One row goes to the line that reports the hidden ones.
        let hidden = lines.len() - shown.saturating_sub(1);
        let mark = self.mark(
            LineMark::Dim,
            &format!("… {hidden} of {} lines not shown until it is complete", lines.len()),
        );
        let rest = lines[hidden..].iter().map(|line| (*line).to_owned());
        std::iter::once(mark).chain(rest).collect()
    }

    fn status(self, room: Option<ActivityState>) -> Option<String> {
        let text = match room? {
            ActivityState::Idle => return None,
            ActivityState::Working => "… working; Ctrl-C stops it",
            ActivityState::Asking => "… waiting for your answer; Ctrl-C stops it",
        };
        Some(self.mark(LineMark::Dim, text))
    }

    fn height(self, line: &str) -> usize {
        columns(line).div_ceil(self.columns.max(1)).max(1)
    }
}

// Only our own escape sequences are left in the text, and all of them finish with a letter.
pub(super) fn columns(line: &str) -> usize {
    let mut escape = false;
    let mut columns = 0;
    for c in line.chars() {
        match c {
            '\x1b' => escape = true,
            _ if escape => escape = !c.is_ascii_alphabetic(),
            _ => columns += c.width().unwrap_or(0),
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Choice, MessageId, Outgoing,
        console::{live::LiveModel, wire::ToTerminal},
    };

    const PLAIN: TerminalStyle = TerminalStyle { color: false, columns: 40, rows: 12 };

    fn shown(text: &str, tone: Tone) -> ShownMessage {
        ShownMessage::new(MessageId::new(text), &Outgoing::text(text).with_tone(tone))
    }

    fn question(text: &str) -> ShownMessage {
        let choice = |label: &str| Choice { key: label.into(), label: label.into(), emoji: None };
        ShownMessage { choices: vec![choice("Allow"), choice("Deny")], ..shown(text, Tone::Question) }
    }

    fn region_of(messages: Vec<ShownMessage>) -> String {
        let mut model = LiveModel::with_region();
        for message in messages {
            model.handle_message(ToTerminal::Message(ShownMessage { live: true, ..message }));
        }
        PLAIN.region(model.region(), Some(ActivityState::Asking)).join("\n")
    }

    #[test]
    fn a_question_stands_whole_above_the_prompt_with_numbered_choices() {
        insta::assert_snapshot!(region_of(vec![shown("reading files", Tone::Answer), question("May I?")]), @r"
        reading files
        ? May I?
          1) Allow
          2) Deny
        … waiting for your answer; Ctrl-C stops it
        ");
    }

    #[test]
    fn choices_that_the_text_numbers_are_not_listed_again() {
        let listed = question("Which?\n\n1. Allow: it runs\n2. Deny");
        insta::assert_snapshot!(PLAIN.print(&PrintRequest::Message(listed)), @r"
        ? Which?

        1. Allow: it runs
        2. Deny
        ");
    }

    #[test]
    fn a_long_answer_shows_its_end_and_says_so() {
        let long: Vec<String> = (1..=30).map(|number| format!("line {number}\n")).collect();
        let region = region_of(vec![shown(&long.join("\n"), Tone::Notice)]);
        assert!(region.lines().count() <= PLAIN.rows / 2 + 1, "{region}");
        assert!(region.starts_with("… ") && region.contains("lines not shown"), "{region}");
        assert!(region.contains("line 30") && !region.contains("line 20"), "{region}");
    }

    #[test]
    fn relayed_text_carries_no_escapes_and_colours_are_ours() {
        let evil = "\x1b]0;owned\x07\x1b[2J";
        let said = SaidLine { id: MessageId::new("1"), from: evil.into(), text: evil.into(), replay: false };
        let choice = Choice { key: "x".into(), label: evil.into(), emoji: None };
        let message = ShownMessage { choices: vec![choice], ..shown(evil, Tone::Question) };
        let file = StoredFile {
            id: MessageId::new("2"),
            name: evil.into(),
            path: evil.into(),
            caption: evil.into(),
            replay: false,
        };
        let prints = [
            PrintRequest::Said(said),
            PrintRequest::Message(message),
            PrintRequest::File(file),
            PrintRequest::Refused(evil.into()),
            PrintRequest::Bye(evil.into()),
        ];
        for print in &prints {
            assert!(!PLAIN.print(print).contains(['\x1b', '\x07']), "{print:?}");
            let colored = TerminalStyle { color: true, ..PLAIN }.print(print);
            assert!(
                colored.contains('\x1b') && !colored.contains("\x1b]") && !colored.contains("\x1b[2J"),
                "{print:?}"
            );
        }
    }

    #[test]
    fn the_sign_before_a_question_takes_columns_of_its_lines() {
        let narrow = TerminalStyle { color: true, columns: 12, rows: 20 };
        for text in ["ten signs; two", "0123456789; two", "one two three four five"] {
            let printed = narrow.print(&PrintRequest::Message(shown(text, Tone::Question)));
            assert!(printed.lines().all(|line| columns(line) <= 12), "{printed}");
        }
    }

    #[test]
    fn columns_are_those_of_the_screen() {
        assert_eq!(columns("abc"), 3);
        assert_eq!(columns("\x1b[1;33mé漢🙂\x1b[0m"), 5);
    }
}
