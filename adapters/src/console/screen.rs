//! The state that the chat and the line editor share: text to print, the live region, and the prompt that shows it. The region
//! is the prompt's upper part, so the editor redraws it in place.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
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
    // There is text to print, or the chat is over.
    has_news: Condvar,
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
    painted: PaintedRegion,
    /// Columns and rows, as the editor knows them; `None` before the first change.
    size: Option<(usize, usize)>,
}

/// The region as it is on the screen.
#[derive(Default)]
struct PaintedRegion {
    region: String,
    /// Lines of an earlier region right above it that the terminal pushed out of the screen when the window became narrower. They
    /// come back when it becomes wider.
    lost: String,
    /// All of it as the terminal has wrapped it anew, after a change of the window.
    moved: Option<String>,
}

impl PaintedRegion {
    fn text(&self) -> String {
        format!("{}{}", self.lost, self.region)
    }

    /// The window has changed, and so many of the first rows are out of the screen now.
    fn move_to(&mut self, mut rows: usize, columns_now: usize) {
        let text = self.text();
        self.lost = text
            .split_inclusive('\n')
            .take_while(|line| {
                let is_lost = rows > 0;
                rows = rows.saturating_sub(rows_of(line.trim_end_matches('\n'), columns_now));
                is_lost
            })
            .collect();
        self.moved = Some(text);
    }
}

impl ScreenState {
    /// How many rows of painted text and typed line are above the cursor in a window of so many columns.
    fn rows_above_cursor(&self, columns_now: usize) -> usize {
        let (line, cursor) = &self.typed;
        let typed = line.get(..*cursor).unwrap_or(line);
        let prompt =
            self.painted.text().split_inclusive('\n').map(|line| rows_of(line, columns_now)).sum::<usize>();
        prompt + rows_of(&format!("{INDICATOR}{typed}"), columns_now) - 1
    }
}

fn rows_of(line: &str, columns_now: usize) -> usize {
    columns(line.trim_end_matches('\n')).max(1).div_ceil(columns_now.max(1))
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
        Self {
            color,
            state: Mutex::default(),
            repaint: Mutex::default(),
            has_news: Condvar::new(),
            stop: Arc::default(),
        }
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

    /// The prompt is done with: what it showed for the moment goes.
    pub(super) fn forget_hint(&self) {
        let mut state = self.state.lock();
        state.hint = None;
        state.painted.lost.clear();
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
        self.has_news.notify_one();
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
        let style = self.style_of(&state);
        let prints = std::mem::take(&mut state.prints);
        state.printing = PrintProgress::HandedOver { asked: false };
        drop(state);
        self.redraw();
        let text = prints.iter().map(|print| style.print(print)).collect::<Vec<_>>().join("\n");
        Some(text.lines().map(|line| format!("{ERASE}{line}\n")).collect())
    }

    /// The first text, once it is there or the chat is over, or after `at_most`: for before the editor shows its prompt.
    pub(super) fn first_text(&self, at_most: Duration) -> String {
        let mut state = self.state.lock();
        self.has_news.wait_while_for(&mut state, |state| state.prints.is_empty() && !state.closing, at_most);
        drop(state);
        self.unprinted()
    }

    /// The text that the editor has not printed.
    pub(super) fn unprinted(&self) -> String {
        let mut state = self.state.lock();
        let style = self.style_of(&state);
        let prints = std::mem::take(&mut state.prints);
        drop(state);
        prints.iter().map(|print| style.print(print) + "\n").collect()
    }

    pub(super) fn typing(&self, line: &str, cursor: usize) {
        self.state.lock().typed = (line.into(), cursor);
    }

    // Of the size that the editor knows: until it has learned of a new one, it puts the region where the old one was.
    fn style_of(&self, state: &ScreenState) -> TerminalStyle {
        let (columns, rows) = state.size.unwrap_or_else(|| {
            let (columns, rows) = crossterm::terminal::size().unwrap_or((80, 24));
            (columns.max(1).into(), rows.into())
        });
        TerminalStyle { color: self.color, columns, rows }
    }

    /// The editor has learned of another size of the window, and paints next.
    pub(super) fn resized(&self, columns: u16, rows: u16) {
        let cursor = crossterm::cursor::position().map_or(usize::MAX, |(_, row)| row.into());
        self.resized_to((columns.max(1).into(), rows.into()), cursor);
    }

    fn resized_to(&self, size: (usize, usize), cursor_row: usize) {
        let mut state = self.state.lock();
        state.size = Some(size);
        let above = state.rows_above_cursor(size.0);
        state.painted.move_to(above.saturating_sub(cursor_row), size.0);
    }

    fn left(&self) -> String {
        let mut state = self.state.lock();
        if let Some(text) = state.painted.moved.take() {
            // reedline derives the prompt's first row from the rows that this text takes now. It must be the text on the screen, which
            // the terminal has wrapped anew; any other would leave rows of it behind or erase rows above it.
            if let PrintProgress::HandedOver { .. } = state.printing {
                state.printing = PrintProgress::HandedOver { asked: true };
            }
            drop(state);
            self.redraw();
            return text;
        }
        let style = self.style_of(&state);
        let text = Self::next_left(&mut state, style);
        if state.printing != PrintProgress::No {
            // What is printed now comes between the region and its lost lines.
            state.painted.lost.clear();
        }
        state.painted.region.clone_from(&text);
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

    fn showing(text: &str) -> LiveModel {
        let mut model = LiveModel::with_region();
        let shown = ShownMessage::new(MessageId::new("h"), &Outgoing { live: true, ..Outgoing::text(text) });
        model.handle_message(ToTerminal::Message(shown));
        model
    }

    #[test]
    fn after_a_resize_the_region_is_painted_as_it_was_and_then_anew() {
        let screen = Screen::new(false);
        let repaints = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = repaints.clone();
        screen.repaint_with(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        screen.resized_to((80, 24), 1);
        screen.left();
        screen.show(&[], showing("load 1").region(), None);
        assert_eq!(screen.left(), "load 1\n");
        screen.show(&[], showing("load 2").region(), None);
        screen.resized_to((40, 24), 1);
        let before = repaints.load(Ordering::Relaxed);
        assert_eq!(screen.left(), "load 1\n");
        assert_eq!(repaints.load(Ordering::Relaxed), before + 1);
        assert_eq!(screen.left(), "load 2\n");
    }

    #[test]
    fn a_resize_between_handing_over_and_printing_first_finds_the_region() {
        let screen = Screen::new(false);
        screen.show(&[], showing("load 1").region(), None);
        assert_eq!(screen.left(), "load 1\n");
        screen.right();
        screen.show(&[PrintRequest::Bye("printed".into())], showing("load 2").region(), None);
        assert!(screen.next_print().is_some());
        screen.resized_to((40, 24), 1);
        for expected in ["load 1\n", ""] {
            assert_eq!(screen.left(), expected);
            screen.right();
        }
        screen.right();
        assert_eq!(screen.left(), "load 2\n");
    }

    #[test]
    fn lines_that_a_narrow_window_pushed_out_are_painted_over_when_they_come_back() {
        let screen = Screen::new(false);
        let region = |screen: &Screen, columns, cursor_row| {
            screen.resized_to((columns, 24), cursor_row);
            (screen.left(), screen.left())
        };
        let text = "a line of 24 characters.\n\nshort";
        screen.show(&[], showing(text).region(), None);
        let painted = "a line of 24 characters.\n\nshort\n";
        assert_eq!(screen.left(), painted);
        // Of the first line's three rows, two are out of the screen: the cursor is in the fourth row.
        assert_eq!(region(&screen, 10, 3), (painted.into(), painted.into()));
        let lost = format!("a line of 24 characters.\n{painted}");
        assert_eq!(region(&screen, 30, 4), (lost, painted.into()));
        assert_eq!(region(&screen, 40, 3), (painted.into(), painted.into()), "they are gone");
    }

    #[test]
    fn the_first_text_is_awaited_until_the_chat_is_over() {
        let screen = Screen::new(false);
        std::thread::scope(|threads| {
            let first = threads.spawn(|| screen.first_text(Duration::from_secs(60)));
            screen.show(&[PrintRequest::Bye("hello".into())], &[], None);
            assert_eq!(first.join().unwrap(), "hello\n");
            let none = threads.spawn(|| screen.first_text(Duration::from_secs(60)));
            screen.close();
            assert_eq!(none.join().unwrap(), "");
        });
        assert_eq!(screen.next_print(), None, "printed once");
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
