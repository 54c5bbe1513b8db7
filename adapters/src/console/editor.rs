//! The line editor: reedline with our prompt, keys, completion and history, in a thread of its own.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use reedline::{
    ColumnarMenu, Completer, CompletionResult, CompletionStatus, DefaultHinter, EditCommand, EditMode, Emacs,
    ExternalPrinter, FileBackedHistory, Highlighter, KeyCode, KeyModifiers, Keybindings, MenuBuilder,
    PromptEditMode, Reedline, ReedlineEvent, ReedlineMenu, ReedlineRawEvent, Signal, Span, StyledText,
    Suggestion, default_emacs_keybindings,
};
use settings::unlinked;
use tokio::sync::mpsc::UnboundedSender;

use super::screen::{LivePrompt, Screen, SentPrompt};

const HISTORY: usize = 2_000;

// The longest delay of a change on the screen. Typing is always shown at once.
const POLL: Duration = Duration::from_millis(50);

// The editor takes two waits for keys to print a text. So the greeting is printed before the first one; it is there sooner than this
// unless the machine is very busy. What is typed meanwhile waits in the terminal.
const GREETING_WITHIN: Duration = Duration::from_millis(250);

// The time that a stop may take on a busy machine. It passes while the process is stopped, too.
const STOPS_WITHIN: Duration = Duration::from_millis(500);

const COMPLETIONS: &str = "completions";
const INTERRUPT: &str = "interrupt";
const LEAVE: &str = "leave";
const SUSPEND: &str = "suspend";

/// A person's act in the editor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EditorInput {
    /// Sent a line, or several as one.
    Line(String),
    /// Pressed Ctrl-C, which has cleared the line; `empty` where there was nothing to clear.
    Interrupt { empty: bool },
    /// Pressed Ctrl-D on an empty line.
    Leave,
}

/// An editor that shows `screen`. Fails where the history file cannot be made or read.
pub(super) fn build(screen: &Arc<Screen>, history: Option<&Path>) -> io::Result<Reedline> {
    let printer = ExternalPrinter::new(1);
    let commands = CommandCompleter { screen: screen.clone(), printer: printer.sender() };
    let menu = ColumnarMenu::default().with_name(COMPLETIONS).with_columns(1);
    let mut editor = Reedline::create()
        .with_external_printer(printer)
        .with_completer(Box::new(commands))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_highlighter(Box::new(LineWatcher(screen.clone())))
        .with_edit_mode(Box::new(ResizeWatcher { keys: Emacs::new(keys()), screen: screen.clone() }))
        .with_transient_prompt(Box::new(SentPrompt))
        .with_ansi_colors(screen.color())
        .with_break_signal(screen.stop.clone())
        .with_poll_interval(POLL)
        .use_bracketed_paste(true);
    if screen.color() {
        editor = editor.with_hinter(Box::new(DefaultHinter::default()));
    }
    if let Some(path) = history {
        editor = editor.with_history(Box::new(history_at(path)?));
    }
    let signal = editor.repaint_signal();
    screen.repaint_with(move || signal.request_repaint());
    Ok(editor)
}

fn history_at(path: &Path) -> io::Result<FileBackedHistory> {
    if let Some(folder) = path.parent() {
        unlinked::create_dir_all(folder)?;
    }
    // Created here, since reedline would leave it readable, and prompts are nobody else's business.
    unlinked::open(fs::OpenOptions::new().create(true).append(true).mode(0o600), path)?;
    FileBackedHistory::with_file(HISTORY, path.to_owned()).map_err(io::Error::other)
}

/// Reads lines until the person leaves or the screen closes, then prints the rest. Fails where the terminal cannot be read.
pub(super) fn edit(
    mut editor: Reedline,
    screen: &Arc<Screen>,
    typed: &UnboundedSender<EditorInput>,
) -> io::Result<()> {
    let prompt = LivePrompt(screen.clone());
    write!(io::stderr(), "{}", screen.first_text(GREETING_WITHIN))?;
    let ended = loop {
        let signal = match editor.read_line(&prompt) {
            Ok(signal) => signal,
            Err(error) => break Err(error),
        };
        screen.forget_hint();
        if matches!(&signal, Signal::HostCommand(command) if command == SUSPEND) {
            if let Err(error) = suspend() {
                break Err(error);
            }
            continue;
        }
        match read_signal(&mut editor, signal) {
            Some(act) => drop(typed.send(act)),
            None if screen.is_closing() => break Ok(()),
            None => {}
        }
    };
    if ended.is_ok() {
        // The cursor is on the empty prompt, which must not remain on the screen.
        write!(io::stderr(), "\r\x1b[J{}", screen.unprinted())?;
    }
    ended
}

// The editor has given the terminal back. The whole process group stops, as when the terminal itself reads the key; without job
// control nothing happens.
fn suspend() -> io::Result<()> {
    write!(io::stderr(), "\r\x1b[J")?;
    rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
    // The call may return before the process stops. The editor would then ask the terminal for the cursor, and the shell would get
    // the answer.
    std::thread::sleep(STOPS_WITHIN);
    Ok(())
}

fn read_signal(editor: &mut Reedline, signal: Signal) -> Option<EditorInput> {
    let empty = editor.current_buffer_contents().is_empty();
    match signal {
        Signal::Success(text) => Some(EditorInput::Line(text)),
        Signal::CtrlC => Some(EditorInput::Interrupt { empty }),
        Signal::CtrlD => Some(EditorInput::Leave),
        Signal::HostCommand(command) if command == INTERRUPT => {
            editor.run_edit_commands(&[EditCommand::Clear]);
            Some(EditorInput::Interrupt { empty })
        }
        Signal::HostCommand(command) if command == LEAVE && empty => Some(EditorInput::Leave),
        Signal::HostCommand(_) => {
            editor.run_edit_commands(&[EditCommand::Delete]);
            None
        }
        _ => None,
    }
}

fn keys() -> Keybindings {
    let mut keys = default_emacs_keybindings();
    let menu = vec![ReedlineEvent::Menu(COMPLETIONS.into()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(menu));
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    let newline = || ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
    keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, newline());
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::Enter, newline());
    // As host commands these leave the prompt where it is; as signals they would leave the live region
    // behind in the scrollback.
    let host = |command: &str| {
        let command = ReedlineEvent::ExecuteHostCommand(command.into());
        let out_of_menu = ReedlineEvent::Multiple(vec![ReedlineEvent::Esc, command]);
        // In a search of the history the first does not apply: there the key leaves the search.
        ReedlineEvent::UntilFound(vec![out_of_menu, ReedlineEvent::Esc])
    };
    keys.add_binding(KeyModifiers::CONTROL, KeyCode::Char('c'), host(INTERRUPT));
    keys.add_binding(KeyModifiers::CONTROL, KeyCode::Char('d'), host(LEAVE));
    keys.add_binding(KeyModifiers::CONTROL, KeyCode::Char('z'), host(SUSPEND));
    keys
}

// reedline asks a completer before every wait for keys. That is the only regular call into our code, so it also hands
// over the text to print.
struct CommandCompleter {
    screen: Arc<Screen>,
    printer: SyncSender<String>,
}

impl Completer for CommandCompleter {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let typed = line.get(..pos).unwrap_or(line);
        let suggest = |found: super::Completion| Suggestion {
            value: found.name,
            description: Some(found.help),
            span: Span::new(0, typed.len()),
            append_whitespace: true,
            ..Suggestion::default()
        };
        let found: Vec<Suggestion> = self.screen.candidates(typed).into_iter().map(suggest).collect();
        CompletionResult::fresh(found)
    }

    fn poll_completion(&mut self) -> CompletionStatus {
        if let Some(text) = self.screen.next_print() {
            // Room for one, and the last one was taken before this is called again.
            let _ = self.printer.try_send(text);
        }
        CompletionStatus::Idle
    }
}

// An edit mode sees every event just before the editor handles it.
struct ResizeWatcher {
    keys: Emacs,
    screen: Arc<Screen>,
}

impl EditMode for ResizeWatcher {
    fn parse_event(&mut self, event: ReedlineRawEvent) -> ReedlineEvent {
        let event = self.keys.parse_event(event);
        if let ReedlineEvent::Resize(columns, rows) = event {
            self.screen.resized(columns, rows);
        }
        event
    }

    fn edit_mode(&self) -> PromptEditMode {
        self.keys.edit_mode()
    }
}

// A highlighter sees every change of the line. This one leaves the line alone and records it for `Screen`.
struct LineWatcher(Arc<Screen>);

impl Highlighter for LineWatcher {
    fn highlight(&self, line: &str, cursor: usize) -> StyledText {
        self.0.typing(line, cursor);
        let mut text = StyledText::new();
        text.push((Default::default(), line.to_owned()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editor(typed: &str) -> Reedline {
        let mut editor = build(&Arc::new(Screen::new(false)), None).unwrap();
        editor.run_edit_commands(&[EditCommand::InsertString(typed.into())]);
        editor
    }

    #[test]
    fn ctrl_c_clears_the_line_and_ctrl_d_leaves_only_an_empty_one() {
        let key = |name: &str| Signal::HostCommand(name.into());
        let mut typing = editor("half a line");
        assert_eq!(read_signal(&mut typing, key(LEAVE)), None);
        assert_eq!(read_signal(&mut typing, key(INTERRUPT)), Some(EditorInput::Interrupt { empty: false }));
        assert_eq!(typing.current_buffer_contents(), "");
        assert_eq!(read_signal(&mut typing, key(INTERRUPT)), Some(EditorInput::Interrupt { empty: true }));
        assert_eq!(read_signal(&mut typing, key(LEAVE)), Some(EditorInput::Leave));
        assert_eq!(
            read_signal(&mut typing, Signal::Success("a\nb".into())),
            Some(EditorInput::Line("a\nb".into()))
        );
    }

    #[test]
    fn a_completion_replaces_what_was_typed_and_says_what_the_command_does() {
        let screen = Arc::new(Screen::new(false));
        let command = super::super::Completion { name: "status".into(), help: "what runs".into() };
        screen.complete(&["!".into()], &[command]);
        let mut commands = CommandCompleter { screen, printer: ExternalPrinter::new(1).sender() };
        let found = commands.complete("!st and more", 3);
        let [suggestion] = found.suggestions() else { panic!("{found:?}") };
        assert_eq!(
            (suggestion.value.as_str(), suggestion.description.as_deref()),
            ("!status", Some("what runs"))
        );
        assert_eq!(suggestion.span, Span::new(0, 3));
    }

    #[test]
    fn the_history_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/history");
        history_at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
