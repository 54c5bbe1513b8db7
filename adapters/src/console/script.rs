//! The front end for scripts: sends a line, waits until the room is idle or asks, sends the next.

use std::{collections::HashSet, io};

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf,
};

use super::{
    live::{LiveModel, PrintRequest},
    wire::{FromTerminal, ShownMessage, StoredFile, ToTerminal, receive, send},
};
use crate::{ActivityState, MessageId, Tone, text::markdown};

/// Plays `input` line by line to the storkit at the far side of `stream` and writes the room's messages to `out` as plain text:
/// each once, in its final state or in the one after the last line of `input`, a question as it opens. Skips blank lines.
/// Complaints go to standard error.
///
/// Returns the exit code: 0, or 1 where a line was refused, a message reported a failure, or storkit went away. Fails only
/// where `input` or `out` does.
pub async fn script(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    input: impl AsyncBufRead + Unpin,
    out: impl AsyncWrite + Unpin,
) -> io::Result<i32> {
    play(stream, input, out, tokio::io::stderr()).await
}

async fn play(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    input: impl AsyncBufRead + Unpin,
    out: impl AsyncWrite + Unpin,
    complaints: impl AsyncWrite + Unpin,
) -> io::Result<i32> {
    let (reader, writer) = tokio::io::split(stream);
    let mut play =
        ScriptPlayer { reader: BufReader::new(reader), writer, page: RoomOutput::new(), out, complaints };
    let gone = play.all(input).await?;
    play.end(gone).await
}

/// The reason why a line could not be played: the peer is gone.
struct PeerGone(String);

struct ScriptPlayer<S, O, E> {
    reader: BufReader<ReadHalf<S>>,
    writer: WriteHalf<S>,
    page: RoomOutput,
    out: O,
    complaints: E,
}

impl<S, O, E> ScriptPlayer<S, O, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    async fn all(&mut self, mut input: impl AsyncBufRead + Unpin) -> io::Result<Option<PeerGone>> {
        let hello = FromTerminal::Hello { room: None, user: None };
        if let Err(error) = send(&mut self.writer, &hello).await {
            return Ok(Some(PeerGone(error.to_string())));
        }
        let (mut ticket, mut number) = (0, 0);
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).await? > 0 {
            number += 1;
            let line = std::mem::take(&mut line);
            let Ok(text) = std::str::from_utf8(&line) else {
                self.page.failed = true;
                self.print_error(&format!("not taken: line {number} is not UTF-8")).await?;
                continue;
            };
            if text.trim().is_empty() {
                continue;
            }
            ticket += 1;
            if let Some(gone) = self.line(ticket, text.trim().to_owned()).await? {
                return Ok(Some(gone));
            }
        }
        Ok(None)
    }

    /// Sends one line and waits until the room has handled it.
    async fn line(&mut self, ticket: u64, text: String) -> io::Result<Option<PeerGone>> {
        if let Err(error) = send(&mut self.writer, &FromTerminal::Say { ticket, text }).await {
            return Ok(Some(PeerGone(error.to_string())));
        }
        let mut turn = ScriptLine { ticket, id: None, taken: false };
        loop {
            let message = match receive(&mut self.reader).await {
                Ok(Some(ToTerminal::Bye { reason })) => return Ok(Some(PeerGone(reason))),
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Some(PeerGone("it closed the connection".into()))),
                Err(error) => return Ok(Some(PeerGone(error.to_string()))),
            };
            let over = turn.is_over_with(&message);
            if let ToTerminal::Refused { why, .. } = &message {
                self.print_error(&format!("not taken: {}", markdown::inert(why))).await?;
            }
            let text = self.page.handle_message(message);
            self.print(&text).await?;
            if over {
                return Ok(None);
            }
        }
    }

    async fn end(mut self, gone: Option<PeerGone>) -> io::Result<i32> {
        let text = self.page.end();
        self.print(&text).await?;
        if let Some(PeerGone(reason)) = gone {
            self.print_error(&format!("storkit went away: {}", markdown::inert(&reason))).await?;
            return Ok(1);
        }
        if self.page.model.room_is() == Some(ActivityState::Asking) {
            self.print_error("a question was left open").await?;
        }
        Ok(i32::from(self.page.failed))
    }

    async fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes()).await?;
        self.out.flush().await
    }

    async fn print_error(&mut self, sentence: &str) -> io::Result<()> {
        self.complaints.write_all(format!("storkit: {sentence}\n").as_bytes()).await?;
        self.complaints.flush().await
    }
}

/// One line of the script on its way through the room.
struct ScriptLine {
    ticket: u64,
    id: Option<MessageId>,
    taken: bool,
}

impl ScriptLine {
    // Another terminal may write in between. So once the room has accepted this line, its next rest counts,
    // whatever line that is after.
    fn is_over_with(&mut self, message: &ToTerminal) -> bool {
        match message {
            ToTerminal::Delivered { ticket, id } if *ticket == self.ticket => self.id = Some(id.clone()),
            ToTerminal::Refused { ticket, .. } => return ticket.is_none_or(|ticket| ticket == self.ticket),
            ToTerminal::Activity(activity) => {
                self.taken = self.taken || self.id.as_ref() == Some(&activity.after);
                return self.taken && activity.state != ActivityState::Working;
            }
            _ => {}
        }
        false
    }
}

/// The room's output since the script attached, and how much of it is printed.
struct RoomOutput {
    model: LiveModel,
    // Messages from before the script: neither they nor their edits belong in its output.
    earlier: HashSet<MessageId>,
    failed: bool,
}

impl RoomOutput {
    fn new() -> Self {
        Self { model: LiveModel::without_region(), earlier: HashSet::new(), failed: false }
    }

    /// Handles one message of the adapter and returns what to print at once.
    fn handle_message(&mut self, message: ToTerminal) -> String {
        match &message {
            ToTerminal::Message(shown) if shown.replay => {
                self.earlier.insert(shown.id.clone());
                return String::new();
            }
            ToTerminal::Edited(shown) if self.earlier.contains(&shown.id) => return String::new(),
            ToTerminal::File(file) if file.replay => return String::new(),
            _ => {}
        }
        let prints = self.model.handle_message(message);
        self.text(prints)
    }

    fn end(&mut self) -> String {
        let prints = self.model.finish();
        self.text(prints)
    }

    fn text(&mut self, prints: Vec<PrintRequest>) -> String {
        prints.into_iter().map(|print| self.print(print)).collect()
    }

    fn print(&mut self, print: PrintRequest) -> String {
        match print {
            PrintRequest::Message(shown) => {
                self.failed = self.failed || shown.tone == Tone::Failure;
                message_lines(&shown)
            }
            PrintRequest::File(file) => file_line(&file),
            PrintRequest::Refused(_) => {
                self.failed = true;
                String::new()
            }
            PrintRequest::Said(_) | PrintRequest::Bye(_) => String::new(),
        }
    }
}

fn message_lines(shown: &ShownMessage) -> String {
    let mut text = markdown::plain(&markdown::inert(&shown.markdown)).trim_end().to_owned();
    let choices = if shown.lists_choices() { &[][..] } else { &shown.choices };
    for (number, choice) in (1..).zip(choices) {
        text.push_str(&format!("\n  {number}) {}", markdown::inert(&choice.label)));
    }
    text.push('\n');
    text
}

fn file_line(file: &StoredFile) -> String {
    let (caption, path) = (markdown::inert(&file.caption), file.path.display());
    if caption.is_empty() { format!("{path}\n") } else { format!("{caption}: {path}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activity, Choice, Outgoing};

    /// The storkit of the scripted scenes: one list of answers per line of the script.
    struct Server {
        scenes: Vec<Vec<ToTerminal>>,
        /// Whether it says goodbye after the last scene instead of waiting.
        leaves: bool,
    }

    fn id(text: &str) -> MessageId {
        MessageId::new(text)
    }

    fn shows(name: &str, text: &str, tone: Tone) -> ToTerminal {
        ToTerminal::Message(ShownMessage::new(id(name), &Outgoing::text(text).with_tone(tone)))
    }

    fn starts(name: &str, text: &str) -> ToTerminal {
        ToTerminal::Message(ShownMessage::new(id(name), &Outgoing { live: true, ..Outgoing::text(text) }))
    }

    fn goes_on(name: &str, text: &str) -> ToTerminal {
        ToTerminal::Edited(ShownMessage::new(id(name), &Outgoing { live: true, ..Outgoing::text(text) }))
    }

    fn ends(name: &str, text: &str) -> ToTerminal {
        ToTerminal::Edited(ShownMessage::new(id(name), &Outgoing::text(text)))
    }

    fn asks(name: &str, text: &str) -> ToTerminal {
        let choice = |label: &str| Choice { key: label.into(), label: label.into(), emoji: None };
        let choices = vec![choice("Allow"), choice("Deny")];
        let message = Outgoing { choices, tone: Tone::Question, ..Outgoing::text(text) };
        ToTerminal::Message(ShownMessage::new(id(name), &message))
    }

    fn delivered(ticket: u64) -> ToTerminal {
        ToTerminal::Delivered { ticket, id: id(&format!("line {ticket}")) }
    }

    fn is(state: ActivityState, ticket: u64) -> ToTerminal {
        ToTerminal::Activity(Activity { state, after: id(&format!("line {ticket}")) })
    }

    impl Server {
        async fn serve(self, stream: tokio::io::DuplexStream) -> Vec<String> {
            let (reader, mut writer) = tokio::io::split(stream);
            let mut lines = BufReader::new(reader).lines();
            let mut said = Vec::new();
            let mut scenes = self.scenes.into_iter();
            while let Some(line) = lines.next_line().await.unwrap() {
                let FromTerminal::Say { text, .. } = serde_json::from_str(&line).unwrap() else { continue };
                said.push(text);
                for message in scenes.next().unwrap_or_default() {
                    let line = serde_json::to_string(&message).unwrap() + "\n";
                    writer.write_all(line.as_bytes()).await.unwrap();
                }
                if self.leaves && scenes.len() == 0 {
                    break;
                }
            }
            said
        }

        /// Plays `input` and returns its exit code, what was said, printed and complained.
        async fn play(self, input: impl AsRef<[u8]>) -> (i32, Vec<String>, String, String) {
            let (terminal, server) = tokio::io::duplex(1 << 16);
            let serving = tokio::spawn(self.serve(server));
            let (mut out, mut complaints) = (Vec::new(), Vec::new());
            let playing = play(terminal, input.as_ref(), &mut out, &mut complaints);
            let playing = tokio::time::timeout(std::time::Duration::from_secs(20), playing);
            let code = playing.await.expect("the script waits for something that never comes").unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (code, serving.await.unwrap(), text(out), text(complaints))
        }
    }

    fn scenes(scenes: Vec<Vec<ToTerminal>>) -> Server {
        Server { scenes, leaves: false }
    }

    #[tokio::test]
    async fn a_line_waits_for_the_answer_to_the_one_before() {
        use ActivityState::{Idle, Working};
        let server = scenes(vec![
            vec![
                shows("n", "An earlier notice.", Tone::Notice),
                delivered(1),
                is(Idle, 0),
                is(Working, 1),
                starts("a", "thin"),
                goes_on("a", "thinking"),
                ends("a", "Thought."),
                starts("h", "load 1"),
                is(Idle, 1),
            ],
            vec![delivered(2), goes_on("h", "load 2"), shows("b", "Second.", Tone::Answer), is(Idle, 2)],
        ]);
        let (code, said, out, complaints) = server.play("first\n\n   \nsecond\n").await;
        assert_eq!((code, complaints.as_str()), (0, ""));
        assert_eq!(said, ["first", "second"]);
        assert_eq!(out, "An earlier notice.\nThought.\nSecond.\nload 2\n");
    }

    #[tokio::test]
    async fn what_was_shown_before_the_script_came_stays_out_of_it() {
        let replayed = |message| match message {
            ToTerminal::Message(shown) => ToTerminal::Message(ShownMessage { replay: true, ..shown }),
            other => other,
        };
        let server = scenes(vec![vec![
            replayed(starts("h", "load 1")),
            replayed(shows("n", "No such story.", Tone::Failure)),
            delivered(1),
            goes_on("h", "load 2"),
            shows("a", "Fine.", Tone::Answer),
            ends("h", "load 3"),
            is(ActivityState::Idle, 1),
        ]]);
        let (code, _, out, _) = server.play("x\n").await;
        assert_eq!((code, out.as_str()), (0, "Fine.\n"));
    }

    #[tokio::test]
    async fn a_question_is_printed_as_it_opens_and_the_next_line_answers_it() {
        use ActivityState::{Asking, Idle, Working};
        let server = scenes(vec![
            vec![
                delivered(1),
                is(Working, 1),
                starts("a", "Let me"),
                ends("a", "Let me see."),
                asks("q", "May I?"),
                is(Asking, 1),
            ],
            vec![
                delivered(2),
                ends("q", "Allowed."),
                is(Working, 2),
                starts("b", "Did"),
                ends("b", "Did it."),
                is(Idle, 2),
            ],
        ]);
        let (code, said, out, _) = server.play("do it\n1\n").await;
        assert_eq!((code, said.len()), (0, 2));
        assert_eq!(out, "Let me see.\nMay I?\n  1) Allow\n  2) Deny\nAllowed.\nDid it.\n");
    }

    #[tokio::test]
    async fn a_question_left_open_at_the_end_is_said_and_is_no_failure() {
        let server = scenes(vec![vec![delivered(1), asks("q", "May I?"), is(ActivityState::Asking, 1)]]);
        let (code, _, out, complaints) = server.play("do it").await;
        assert_eq!(code, 0);
        assert_eq!(out, "May I?\n  1) Allow\n  2) Deny\n");
        assert_eq!(complaints, "storkit: a question was left open\n");
    }

    #[tokio::test]
    async fn a_failure_or_a_refused_line_makes_the_exit_code_1_and_the_rest_is_still_played() {
        let idle = |ticket| is(ActivityState::Idle, ticket);
        let server = scenes(vec![
            vec![ToTerminal::Refused { ticket: Some(1), why: "Too long.".into() }],
            vec![delivered(2), shows("a", "Fine.", Tone::Answer), idle(2)],
        ]);
        let (code, _, out, complaints) = server.play("x\ny\n").await;
        assert_eq!(
            (code, out.as_str(), complaints.as_str()),
            (1, "Fine.\n", "storkit: not taken: Too long.\n")
        );

        let server = scenes(vec![
            vec![delivered(1), shows("a", "No such story.", Tone::Failure), idle(1)],
            vec![delivered(2), shows("b", "Fine.", Tone::Answer), idle(2)],
        ]);
        let (code, _, out, _) = server.play("x\ny\n").await;
        assert_eq!((code, out.as_str()), (1, "No such story.\nFine.\n"));
    }

    #[tokio::test]
    async fn a_line_that_is_not_utf_8_is_one_line_that_is_not_taken() {
        let scene = |ticket| vec![delivered(ticket), is(ActivityState::Idle, ticket)];
        let server = scenes(vec![scene(1), scene(2)]);
        let (code, said, _, complaints) = server.play(b"one\n\xff\xfe two\nthree\n").await;
        assert_eq!((code, said), (1, vec!["one".to_owned(), "three".to_owned()]));
        assert_eq!(complaints, "storkit: not taken: line 2 is not UTF-8\n");
    }

    #[tokio::test]
    async fn a_line_of_another_terminal_in_between_does_not_leave_the_script_waiting() {
        use ActivityState::{Idle, Working};
        let other = |state| ToTerminal::Activity(Activity { state, after: id("another's") });
        let server =
            scenes(vec![vec![delivered(1), other(Idle), is(Working, 1), other(Working), other(Idle)]]);
        assert_eq!(server.play("x\n").await.0, 0);
    }

    #[tokio::test]
    async fn a_storkit_that_goes_away_is_said_with_what_it_showed_until_then() {
        let scene = vec![delivered(1), starts("a", "Half")];
        let server = Server { scenes: vec![scene.clone()], leaves: true };
        let (code, _, out, complaints) = server.play("x\ny\n").await;
        assert_eq!((code, out.as_str()), (1, "Half\n"));
        assert_eq!(complaints, "storkit: storkit went away: it closed the connection\n");

        let bye = ToTerminal::Bye { reason: "It is being restarted.".into() };
        let server = Server { scenes: vec![[scene, vec![bye]].concat()], leaves: false };
        let (code, _, _, complaints) = server.play("x\ny\n").await;
        assert_eq!((code, complaints.as_str()), (1, "storkit: storkit went away: It is being restarted.\n"));
    }
}
