//! The state that the chat and the line editor share: text to print, the live region, and the prompt that shows it. The region
//! is the prompt's upper part, so the editor redraws it in place.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use reedline::{Color, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus};

use super::{
    live::{OpenMessage, PrintRequest},
    paint::{TerminalStyle, columns},
    wire::Completion,
};
use crate::ActivityState;

/// The prompt before the line being typed.
pub(super) const INDICATOR: &str = "> ";

/// The prompt before its further lines.
const CONTINUED: &str = ": ";

// Erases the rest of the line. The editor itself erases with spaces, which wrap when the window narrows.
const ERASE: &str = "\x1b[K";

// The columns that reedline 0.52 assumes for the prompt when it prints above it, in `print_external_message`.
const ASSUMED_PROMPT: usize = 3;

// Asks the editor to repaint. A closure, since reedline does not export the type of its signal.
type Repaint = Box<dyn Fn() + Send>;

/// Shared by the chat's task and the editor's thread.
pub(super) struct Screen {
    color: bool,
    state: Mutex<ScreenState>,
    repaint: Mutex<Option<Repaint>>,
    // Wakes the editor from its wait for keys, and closes it.
    pub(super) stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct ScreenState {
    prefixes: Vec<String>,
    completions: Vec<Completion>,
    prints: Vec<PrintRequest>,
    open: Vec<OpenMessage>,
    room: Option<ActivityState>,
    hint: Option<String>,
    closing: bool,
    printing: PrintProgress,
    /// The line being typed and the byte the cursor is at, as last painted.
    typed: (String, usize),
    /// The region as last painted, and the columns there were then.
    painted: Option<(String, usize)>,
}

// The editor prints where its cursor is, below the region, so the region must be off the screen while it does.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum PrintProgress {
    /// Nothing is being printed.
    #[default]
    No,
    /// Handed over; the region is hidden, and `asked` separates a repaint from the printer (see `right`).
    HandedOver { asked: bool },
}

impl Screen {
    pub(super) fn new(color: bool) -> Self {
        Self { color, state: Mutex::default(), repaint: Mutex::default(), stop: Arc::default() }
    }

    pub(super) fn color(&self) -> bool {
        self.color
    }

    pub(super) fn repaint_with(&self, repaint: impl Fn() + Send + 'static) {
        *self.repaint.lock() = Some(Box::new(repaint));
    }

    /// Prints `prints` for good and redraws the region.
    pub(super) fn show(&self, prints: &[PrintRequest], open: &[OpenMessage], room: Option<ActivityState>) {
        let mut state = self.state.lock();
        // A repaint can flicker, so unchanged content causes none.
        if prints.is_empty() && state.open == open && state.room == room {
            return;
        }
        state.prints.extend_from_slice(prints);
        state.open = open.to_vec();
        state.room = room;
        drop(state);
        self.redraw();
    }

    /// Shows a line above the prompt until the person sends or clears a line.
    pub(super) fn hint(&self, text: &str) {
        self.state.lock().hint = Some(text.into());
        self.redraw();
    }

    pub(super) fn forget_hint(&self) {
        self.state.lock().hint = None;
    }

    pub(super) fn complete(&self, prefixes: &[String], completions: &[Completion]) {
        let mut state = self.state.lock();
        state.prefixes = prefixes.to_vec();
        state.completions = completions.to_vec();
    }

    /// The commands that begin with `typed`, each as it is to be typed, with its help.
    pub(super) fn candidates(&self, typed: &str) -> Vec<Completion> {
        let state = self.state.lock();
        let prefix =
            state.prefixes.iter().find(|prefix| !prefix.is_empty() && typed.starts_with(prefix.as_str()));
        let prefix = prefix.map_or("", String::as_str);
        let rest = typed[prefix.len()..].to_lowercase();
        let fits = state.completions.iter().filter(|command| command.name.starts_with(&rest));
        fits.map(|command| Completion {
            name: format!("{prefix}{}", command.name),
            help: command.help.clone(),
        })
        .collect()
    }

    /// Closes the editor once everything is printed.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.redraw();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    fn redraw(&self) {
        if let Some(repaint) = &*self.repaint.lock() {
            repaint();
        }
    }

    /// Called by the editor before each wait for keys: text for its printer, which must be handed over
    /// before this is called again. Closes the editor when the chat is over and all is printed.
    pub(super) fn next_print(&self) -> Option<String> {
        let mut state = self.state.lock();
        if state.printing != PrintProgress::No {
            // The printer has run since, whether or not it was recognised.
            state.printing = PrintProgress::No;
            self.redraw();
        }
        if state.prints.is_empty() {
            if state.closing {
                self.stop.store(true, Ordering::Relaxed);
            }
            return None;
        }
        let style = self.style();
        let prints = std::mem::take(&mut state.prints);
        state.printing = PrintProgress::HandedOver { asked: false };
        drop(state);
        self.redraw();
        let text = prints.iter().map(|print| style.print(print)).collect::<Vec<_>>().join("\n");
        Some(text.lines().map(|line| format!("{ERASE}{line}\n")).collect())
    }

    /// The text that the editor has not printed.
    pub(super) fn unprinted(&self) -> String {
        let style = self.style();
        let prints = std::mem::take(&mut self.state.lock().prints);
        prints.iter().map(|print| style.print(print) + "\n").collect()
    }

    pub(super) fn typing(&self, line: &str, cursor: usize) {
        self.state.lock().typed = (line.into(), cursor);
    }

    fn style(&self) -> TerminalStyle {
        let (columns, rows) = crossterm::terminal::size().unwrap_or((80, 24));
        TerminalStyle { color: self.color, columns: columns.max(1).into(), rows: rows.into() }
    }

    fn left(&self) -> String {
        self.left_at(self.style())
    }

    fn left_at(&self, style: TerminalStyle) -> String {
        let mut state = self.state.lock();
        let before = state.painted.take().filter(|(_, columns)| *columns != style.columns);
        let (text, again) = match before {
            // After a resize reedline derives the prompt's first row from the rows that this text takes now. It must be the text
            // on the screen, which the terminal has wrapped anew; any other would leave rows of it behind or erase rows above it.
            Some((text, _)) if state.printing == PrintProgress::No => (text, true),
            _ => (Self::next_left(&mut state, style), false),
        };
        state.painted = Some((text.clone(), style.columns));
        drop(state);
        if again {
            self.redraw();
        }
        text
    }

    fn next_left(state: &mut ScreenState, style: TerminalStyle) -> String {
        if let PrintProgress::HandedOver { .. } = state.printing {
            state.printing = PrintProgress::HandedOver { asked: true };
            return "\n".repeat(misjudged_rows(state, style));
        }
        if state.closing {
            return String::new();
        }
        let mut lines = style.region(&state.open, state.room);
        lines.extend(state.hint.clone());
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    // reedline 0.52 asks for the right prompt after the left one when it repaints, and alone when it is about to print. After
    // that the region may be shown again.
    fn right(&self) {
        let mut state = self.state.lock();
        state.printing = match state.printing {
            PrintProgress::HandedOver { asked: true } => PrintProgress::HandedOver { asked: false },
            PrintProgress::HandedOver { asked: false } | PrintProgress::No => PrintProgress::No,
        };
    }
}

// reedline counts bytes as columns and assumes the cursor at the last column of the line, so before printing it goes up by too
// many rows. This many empty rows between scrollback and prompt make up for it.
fn misjudged_rows(state: &ScreenState, style: TerminalStyle) -> usize {
    let (line, cursor) = &state.typed;
    let rows = |line: &str, before: usize| (line.len() + before) / style.columns + 1;
    let assumed: usize = line
        .lines()
        .enumerate()
        .map(|(number, line)| rows(line, if number == 0 { ASSUMED_PROMPT } else { 0 }))
        .sum();
    let above = line.get(..*cursor).unwrap_or(line);
    let real: usize =
        above.split('\n').map(|line| (columns(line) + INDICATOR.len()) / style.columns + 1).sum();
    assumed.max(1).saturating_sub(real)
}

/// The prompt with the live region.
pub(super) struct LivePrompt(pub(super) Arc<Screen>);

/// The prompt as it stays in the scrollback once a line is sent: without the region.
pub(super) struct SentPrompt;

impl Prompt for LivePrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        self.0.left().into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        self.0.right();
        "".into()
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        INDICATOR.into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        CONTINUED.into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "nothing for ",
        };
        format!("(search: {failing}{}) ", search.term).into()
    }

    fn get_prompt_color(&self) -> Color {
        Color::Default
    }
}

impl Prompt for SentPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        INDICATOR.into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        CONTINUED.into()
    }

    fn render_prompt_history_search_indicator(&self, _search: PromptHistorySearch) -> Cow<'_, str> {
        INDICATOR.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MessageId, Outgoing,
        console::{
            live::LiveModel,
            wire::{ShownMessage, ToTerminal},
        },
    };

    fn ticking() -> LiveModel {
        let mut model = LiveModel::with_region();
        let shown =
            ShownMessage::new(MessageId::new("h"), &Outgoing { live: true, ..Outgoing::text("load 1") });
        model.handle_message(ToTerminal::Message(shown));
        model
    }

    #[test]
    fn the_region_is_off_the_screen_while_the_editor_prints_and_back_right_after() {
        let screen = Screen::new(false);
        let model = ticking();
        screen.show(&[PrintRequest::Bye("printed".into())], model.region(), None);
        assert_eq!(screen.next_print().as_deref(), Some("\x1b[Kprinted\n"));

        // The editor's order: repaint (left, right), print (right), repaint (left, right).
        assert_eq!(screen.left(), "");
        screen.right();
        assert_eq!(screen.left(), "", "a key may repaint before the printer runs");
        screen.right();
        screen.right();
        assert_eq!(screen.left(), "load 1\n");
        screen.right();
        assert_eq!(screen.next_print(), None);
    }

    #[test]
    fn an_editor_that_prints_in_another_order_does_not_lose_the_region() {
        let screen = Screen::new(false);
        screen.show(&[PrintRequest::Bye("printed".into())], ticking().region(), None);
        screen.next_print();
        assert_eq!(screen.left(), "");
        assert_eq!(screen.next_print(), None);
        assert_eq!(screen.left(), "load 1\n");
    }

    #[test]
    fn after_a_resize_the_region_is_painted_as_it_was_and_then_anew() {
        let screen = Screen::new(false);
        let repaints = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = repaints.clone();
        screen.repaint_with(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        let style = |columns| TerminalStyle { color: false, columns, rows: 24 };
        screen.show(&[], ticking().region(), None);
        assert_eq!(screen.left_at(style(80)), "load 1\n");
        let mut model = ticking();
        let shown =
            ShownMessage::new(MessageId::new("h"), &Outgoing { live: true, ..Outgoing::text("load 2") });
        model.handle_message(ToTerminal::Edited(shown));
        screen.show(&[], model.region(), None);
        let before = repaints.load(Ordering::Relaxed);
        assert_eq!(screen.left_at(style(40)), "load 1\n");
        assert_eq!(repaints.load(Ordering::Relaxed), before + 1);
        assert_eq!(screen.left_at(style(40)), "load 2\n");
    }

    #[test]
    fn closing_prints_what_waits_and_then_stops_the_editor() {
        let screen = Screen::new(false);
        screen.show(&[PrintRequest::Bye("last words".into())], &[], None);
        screen.close();
        assert!(screen.next_print().is_some());
        assert!(!screen.stop.load(Ordering::Relaxed));
        assert_eq!(screen.next_print(), None);
        assert!(screen.stop.load(Ordering::Relaxed));
    }

    #[test]
    fn commands_complete_with_and_without_a_prefix() {
        let screen = Screen::new(false);
        let command = |name: &str| Completion { name: name.into(), help: "h".into() };
        screen.complete(&["!".into()], &[command("status"), command("start"), command("new story")]);
        let names =
            |typed: &str| screen.candidates(typed).into_iter().map(|found| found.name).collect::<Vec<_>>();
        assert_eq!(names("st"), ["status", "start"]);
        assert_eq!(names("!STAT"), ["!status"]);
        assert_eq!(names("new "), ["new story"]);
        assert_eq!(names("hello"), [""; 0]);
    }

    #[test]
    fn the_editors_miscount_of_rows_is_made_up_for() {
        let style = TerminalStyle { color: false, columns: 20, rows: 24 };
        let misjudged = |line: &str, cursor: usize| {
            misjudged_rows(&ScreenState { typed: (line.into(), cursor), ..ScreenState::default() }, style)
        };
        assert_eq!(misjudged("", 0), 0);
        assert_eq!(misjudged("short", 5), 0);
        assert_eq!(misjudged(&"x".repeat(30), 30), 0);
        assert_eq!(misjudged(&"x".repeat(30), 0), 1, "the cursor is in the first of two rows");
        assert_eq!(misjudged("ёёёёёёёёёё", 20), 1, "20 bytes, 10 columns");
        assert_eq!(misjudged("one\ntwo\nthree", 1), 2);
    }
}
