//! The interactive front end: connects the stream to the line editor, which runs in a thread of its own.

use std::{
    io,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::{mpsc, oneshot},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    editor::{self, EditorInput},
    live::{LiveModel, PrintRequest},
    screen::Screen,
    wire::{FromTerminal, ToTerminal, receive, send},
};
use crate::ActivityState;

// Two interrupts on an empty line within this time leave, unless the first one stopped the turn.
const TWICE: Duration = Duration::from_secs(2);

// It looks at its own end every 50 ms.
const EDITOR_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// The settings of the interactive front end.
#[derive(Clone, Debug)]
pub struct TerminalOptions {
    /// The room to join; `None` for `main`.
    pub room: Option<String>,
    /// Where typed lines are remembered; `None` forgets them. Made, with its folder, when needed.
    pub history: Option<PathBuf>,
    /// The line that Ctrl-C sends, e.g. `!stop`.
    pub interrupt_line: String,
}

/// Chats in this process's terminal until the person leaves (0) or storkit goes away (1). Needs standard input, output and
/// error to be the terminal; nothing else may write to it meanwhile. Fails where the terminal or its
/// history file cannot be read.
pub async fn interactive(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    options: TerminalOptions,
) -> io::Result<i32> {
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Arc::new(Screen::new(color));
    let (typed, lines) = mpsc::unbounded_channel();
    let editor = editor::build(&screen, options.history.as_deref())?;
    // A thread that nobody waits for at the exit, unlike a blocking task of tokio: see below.
    let (ended, edited) = oneshot::channel();
    let shown = screen.clone();
    std::thread::spawn(move || ended.send(editor::edit(editor, &shown, &typed)));
    // A guard, since the caller may drop this future, and the editor must restore the terminal then as well.
    let closing = CloseScreen(screen.clone());
    let chat = TerminalChat {
        screen: screen.clone(),
        model: LiveModel::with_region(),
        options,
        interrupted: None,
        ticket: 0,
    };
    let code = chat.run(stream, lines, terminal_gone()).await;
    drop(closing);
    // At a terminal that is gone the editor reads nothing for ever, and sees no end.
    if let Ok(Ok(edited)) = tokio::time::timeout(EDITOR_ENDS_WITHIN, edited).await {
        edited?;
    }
    Ok(code)
}

/// Answers once nobody can type any more: the window or the connection is closed. A signal may say so, too, but only to the processes
/// that the terminal controls.
fn terminal_gone() -> impl Future<Output = ()> {
    let (gone, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let stdin = io::stdin();
        // Without any event that is asked for, only the end of the terminal wakes it.
        let mut terminal = [PollFd::new(&stdin, PollFlags::empty())];
        while poll(&mut terminal, None) == Err(Errno::INTR) {}
        let _ = gone.send(());
    });
    async { _ = answer.await }
}

/// The consequence of an act in the editor.
enum NextStep {
    Wait,
    Say(String),
    Leave,
}

struct CloseScreen(Arc<Screen>);

impl Drop for CloseScreen {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct TerminalChat {
    screen: Arc<Screen>,
    model: LiveModel,
    options: TerminalOptions,
    /// The last interrupt, and whether the room was at rest then.
    interrupted: Option<(Instant, bool)>,
    ticket: u64,
}

impl TerminalChat {
    async fn run(
        mut self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        mut lines: mpsc::UnboundedReceiver<EditorInput>,
        terminal_gone: impl Future<Output = ()>,
    ) -> i32 {
        let mut terminal_gone = pin!(terminal_gone);
        let (reader, mut writer) = tokio::io::split(stream);
        // Dropping the handle aborts the reader, so that the stream closes with this function.
        let (mut incoming, _reading) = incoming(reader);
        let hello = FromTerminal::Hello { room: self.options.room.clone(), user: None };
        let mut gone = send(&mut writer, &hello).await.err().map(|error| error.to_string());
        while gone.is_none() {
            tokio::select! {
                message = incoming.recv() => gone = self.handle_message(message),
                () = &mut terminal_gone => break,
                typed = lines.recv() => match typed.map_or(NextStep::Leave, |typed| self.typed(typed)) {
                    NextStep::Wait => {}
                    NextStep::Leave => break,
                    NextStep::Say(text) => {
                        self.ticket += 1;
                        let say = FromTerminal::Say { ticket: self.ticket, text };
                        gone = send(&mut writer, &say).await.err().map(|error| error.to_string());
                    }
                },
            }
        }
        let mut prints = self.model.finish();
        let left = gone.is_none();
        prints.extend(gone.filter(|reason| !reason.is_empty()).map(PrintRequest::Bye));
        self.show(prints);
        i32::from(!left)
    }

    /// Handles one message of the adapter; returns why nothing follows, empty where that was shown already.
    fn handle_message(&mut self, message: Option<io::Result<ToTerminal>>) -> Option<String> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Some(format!("storkit went away: {error}")),
            None => return Some("storkit went away.".into()),
        };
        let bye = matches!(message, ToTerminal::Bye { .. });
        if let ToTerminal::Hello { prefixes, completions, .. } = &message {
            self.screen.complete(prefixes, completions);
        }
        let prints = self.model.handle_message(message);
        self.show(prints);
        bye.then(String::new)
    }

    fn typed(&mut self, typed: EditorInput) -> NextStep {
        match typed {
            EditorInput::Line(text) if text.trim().is_empty() => NextStep::Wait,
            EditorInput::Line(text) => {
                self.interrupted = None;
                NextStep::Say(text)
            }
            EditorInput::Leave => NextStep::Leave,
            EditorInput::Interrupt { empty } => self.interrupt(empty),
        }
    }

    fn interrupt(&mut self, empty: bool) -> NextStep {
        let rests = matches!(self.model.room_is(), None | Some(ActivityState::Idle));
        // Somebody who presses twice to stop a turn does not want to leave because the first press worked at once.
        let again = |(before, rested): (Instant, bool)| before.elapsed() < TWICE && rested == rests;
        let again = self.interrupted.replace((Instant::now(), rests)).is_some_and(again);
        match (again && empty, rests) {
            (true, _) => NextStep::Leave,
            (false, false) => NextStep::Say(self.options.interrupt_line.clone()),
            (false, true) => {
                if empty {
                    self.screen.hint("Ctrl-C once more, or Ctrl-D, leaves.");
                }
                NextStep::Wait
            }
        }
    }

    fn show(&self, prints: Vec<PrintRequest>) {
        self.screen.show(&prints, self.model.region(), self.model.room_is());
    }
}

// A task of its own, since `select!` would drop a half-read line.
fn incoming(
    reader: impl AsyncRead + Send + Unpin + 'static,
) -> (mpsc::Receiver<io::Result<ToTerminal>>, AbortOnDropHandle<()>) {
    let (sender, receiver) = mpsc::channel(64);
    let reading = tokio::spawn(async move {
        let mut reader = BufReader::new(reader);
        while let Some(message) = receive(&mut reader).await.transpose() {
            let failed = message.is_err();
            if sender.send(message).await.is_err() || failed {
                return;
            }
        }
    });
    (receiver, AbortOnDropHandle::new(reading))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, Lines, ReadHalf, WriteHalf};

    use super::*;
    use crate::{Activity, MessageId, Outgoing, console::wire::ShownMessage};

    /// A chat without an editor: its keys, its screen, and the adapter's end of its stream.
    struct Bench {
        keys: mpsc::UnboundedSender<EditorInput>,
        screen: Arc<Screen>,
        said: Lines<BufReader<ReadHalf<DuplexStream>>>,
        writer: WriteHalf<DuplexStream>,
        running: tokio::task::JoinHandle<i32>,
    }

    impl Bench {
        fn new() -> Self {
            let (near, far) = tokio::io::duplex(1 << 16);
            let (keys, lines) = mpsc::unbounded_channel();
            let screen = Arc::new(Screen::new(false));
            let options = TerminalOptions { room: None, history: None, interrupt_line: "!stop".into() };
            let model = LiveModel::with_region();
            let chat = TerminalChat { screen: screen.clone(), model, options, interrupted: None, ticket: 0 };
            let running = tokio::spawn(chat.run(near, lines, std::future::pending()));
            let (reader, writer) = tokio::io::split(far);
            let said = tokio::io::AsyncBufReadExt::lines(BufReader::new(reader));
            Self { keys, screen, said, writer, running }
        }

        async fn hear(&mut self, message: ToTerminal) {
            let line = serde_json::to_string(&message).unwrap() + "\n";
            self.writer.write_all(line.as_bytes()).await.unwrap();
        }

        /// Waits until the screen shows `text` for good.
        async fn printed(&self, text: &str) {
            let mut all = String::new();
            let waiting = async {
                while !all.contains(text) {
                    tokio::task::yield_now().await;
                    all += self.screen.unprinted().as_str();
                }
            };
            tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it was never printed");
        }

        /// Tells what the room is doing and waits until the terminal knows.
        async fn room_is(&mut self, state: ActivityState) {
            self.hear(ToTerminal::Activity(Activity { state, after: MessageId::new("1") })).await;
            self.hear(ToTerminal::Refused { ticket: None, why: "seen".into() }).await;
            self.printed("seen").await;
        }

        async fn says(&mut self) -> FromTerminal {
            let line = tokio::time::timeout(Duration::from_secs(20), self.said.next_line()).await;
            serde_json::from_str(&line.expect("nothing was said").unwrap().unwrap()).unwrap()
        }

        async fn ends(self) -> (i32, String) {
            let code = tokio::time::timeout(Duration::from_secs(20), self.running).await;
            (code.expect("the chat goes on").unwrap(), self.screen.unprinted())
        }
    }

    fn live(text: &str) -> ToTerminal {
        let message = Outgoing { live: true, ..Outgoing::text(text) };
        ToTerminal::Message(ShownMessage::new(MessageId::new("1"), &message))
    }

    fn say(ticket: u64, text: &str) -> FromTerminal {
        FromTerminal::Say { ticket, text: text.into() }
    }

    #[tokio::test]
    async fn lines_are_said_and_what_is_open_is_printed_on_leaving() {
        let mut bench = Bench::new();
        assert_eq!(bench.says().await, FromTerminal::Hello { room: None, user: None });
        bench.hear(live("half an answer")).await;
        bench.hear(ToTerminal::Refused { ticket: None, why: "Too long.".into() }).await;
        bench.printed("Too long.").await;
        for text in ["  ", "first\nand second"] {
            bench.keys.send(EditorInput::Line(text.into())).unwrap();
        }
        assert_eq!(bench.says().await, say(1, "first\nand second"));
        bench.keys.send(EditorInput::Leave).unwrap();
        assert!(bench.said.next_line().await.unwrap().is_none(), "the stream stays open");
        assert_eq!(bench.ends().await, (0, "half an answer\n".to_owned()));
    }

    #[tokio::test]
    async fn an_interrupt_stops_what_runs_and_twice_on_an_empty_line_leaves() {
        let mut bench = Bench::new();
        bench.says().await;
        bench.room_is(ActivityState::Working).await;
        bench.keys.send(EditorInput::Interrupt { empty: false }).unwrap();
        assert_eq!(bench.says().await, say(1, "!stop"));
        bench.keys.send(EditorInput::Line("wait".into())).unwrap();
        assert_eq!(bench.says().await, say(2, "wait"));
        bench.keys.send(EditorInput::Interrupt { empty: true }).unwrap();
        assert_eq!(bench.says().await, say(3, "!stop"));
        bench.keys.send(EditorInput::Interrupt { empty: true }).unwrap();
        assert_eq!(bench.ends().await.0, 0);
    }

    #[tokio::test]
    async fn a_second_interrupt_leaves_a_room_at_rest_but_not_just_after_it_stopped_a_turn() {
        let mut bench = Bench::new();
        bench.says().await;
        bench.room_is(ActivityState::Working).await;
        bench.keys.send(EditorInput::Interrupt { empty: true }).unwrap();
        assert_eq!(bench.says().await, say(1, "!stop"));
        bench.room_is(ActivityState::Idle).await;
        bench.keys.send(EditorInput::Interrupt { empty: true }).unwrap();
        bench.keys.send(EditorInput::Line("still here".into())).unwrap();
        assert_eq!(bench.says().await, say(2, "still here"));
        for _ in 0..2 {
            bench.keys.send(EditorInput::Interrupt { empty: true }).unwrap();
        }
        assert_eq!(bench.ends().await.0, 0);
    }

    #[tokio::test]
    async fn a_storkit_that_goes_away_ends_the_chat_with_1_and_says_so() {
        let mut bench = Bench::new();
        bench.says().await;
        bench.hear(live("half an answer")).await;
        bench.writer.shutdown().await.unwrap();
        assert_eq!(bench.ends().await, (1, "half an answer\nstorkit went away.\n".to_owned()));

        let mut bench = Bench::new();
        bench.says().await;
        bench.hear(ToTerminal::Bye { reason: "It restarts.".into() }).await;
        assert_eq!(bench.ends().await, (1, "It restarts.\n".to_owned()));
    }
}
