//! The protocol between a terminal and the console adapter: one JSON object a line, both ways.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};

use crate::{Activity, Choice, MessageId, Outgoing, Tone, text::markdown};

/// The longest line taken from a terminal, in bytes; longer ones are refused with a sentence.
pub const MAX_FROM_TERMINAL: usize = 1024 * 1024;

/// The longest line a terminal takes from the adapter: a message of the largest size, escaped.
pub const MAX_TO_TERMINAL: usize = 16 * 1024 * 1024;

/// One command the terminal completes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The command as it is typed, without a prefix; may hold spaces (`new story`).
    pub name: String,
    /// One line of help.
    pub help: String,
}

/// A message of the bot in its present state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownMessage {
    /// Its id; an edit carries the id of the message that it replaces.
    pub id: MessageId,
    /// CommonMark, not yet made inert.
    pub markdown: String,
    pub tone: Tone,
    /// The choices to pick by number, from 1; empty when nothing is open.
    pub choices: Vec<Choice>,
    /// Whether edits will follow; false on its last state.
    pub live: bool,
    /// Whether it was sent before this terminal attached.
    pub replay: bool,
}

impl ShownMessage {
    /// `message` as it is sent under `id`.
    pub fn new(id: MessageId, message: &Outgoing) -> Self {
        let Outgoing { markdown, tone, choices, live, .. } = message.clone();
        Self { id, markdown, tone, choices, live, replay: false }
    }

    /// Whether a later state is to come: it moves, or it waits for a choice.
    pub fn is_open(&self) -> bool {
        self.live || self.is_open_question()
    }

    /// Whether it waits for a person's choice.
    pub fn is_open_question(&self) -> bool {
        !self.choices.is_empty()
    }

    /// Whether the text numbers the very choices there are, so that nobody need list them again.
    pub fn lists_choices(&self) -> bool {
        let listed = |(number, choice): (usize, &Choice)| {
            let item = format!("{number}. {}", markdown::inert(&choice.label));
            let ends = |rest: &str| rest.is_empty() || rest.starts_with(':');
            self.markdown.lines().any(|line| line.strip_prefix(&item).is_some_and(ends))
        };
        self.is_open_question() && (1..).zip(&self.choices).all(listed)
    }
}

/// A line a person wrote, from another terminal or before this one attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidLine {
    pub id: MessageId,
    pub from: String,
    /// The text as typed.
    pub text: String,
    /// Whether it was typed before this terminal attached.
    pub replay: bool,
}

/// A file that was put on disk for the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// The id of the message that showed it.
    pub id: MessageId,
    /// Its name with its ending.
    pub name: String,
    pub path: PathBuf,
    /// A caption of one line.
    pub caption: String,
    /// Whether it was shown before this terminal attached.
    pub replay: bool,
}

/// One line from the adapter to a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTerminal {
    /// The first line: whom one talks to. Sent again when the completions change.
    Hello {
        /// How people call the bot.
        name: String,
        /// The signs that a command may begin with.
        prefixes: Vec<String>,
        /// The room that was joined.
        room: String,
        /// The commands there are.
        completions: Vec<Completion>,
        /// The first words to a person, once storkit serves; a script does not show them.
        #[serde(default)]
        greeting: Option<String>,
    },
    /// A message of the bot.
    Message(ShownMessage),
    /// The bot replaced an earlier message.
    Edited(ShownMessage),
    /// A line that a person typed at another terminal, or earlier.
    Said(SaidLine),
    /// A file was shown.
    File(StoredFile),
    /// A change of the room's activity.
    Activity(Activity),
    /// The line `ticket` is message `id`; comes before any activity that mentions it.
    Delivered {
        /// The ticket of the [`FromTerminal::Say`].
        ticket: u64,
        /// The id the line got.
        id: MessageId,
    },
    /// A line was not taken.
    Refused {
        /// The ticket, where one could be read.
        ticket: Option<u64>,
        /// The fault, as a sentence.
        why: String,
    },
    /// The answer to [`FromTerminal::AskMcpConfig`]. It holds a token.
    McpConfig {
        /// A configuration for `claude --mcp-config`.
        config: serde_json::Value,
    },
    /// The last line: nothing follows.
    Bye {
        /// Why, as a sentence.
        reason: String,
    },
}

/// One line from a terminal to the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTerminal {
    /// The first line: joins a room and asks for its recent messages.
    Hello {
        /// The room's name, `main` where absent.
        #[serde(default)]
        room: Option<String>,
        /// How the person is called; the id in allow-lists stays the system user's name.
        #[serde(default)]
        user: Option<String>,
    },
    /// The person wrote something.
    Say {
        /// Comes back in [`ToTerminal::Delivered`] or [`ToTerminal::Refused`].
        ticket: u64,
        /// The text; several lines are one message.
        text: String,
    },
    /// Asks for the configuration by which the operator's own Claude Code reaches the bot's tools. Needs no greeting.
    AskMcpConfig,
}

#[derive(Debug, PartialEq, Eq)]
pub enum WireLine {
    /// A line without its line break.
    Whole(Vec<u8>),
    /// A line longer than the limit; it was read past and dropped.
    TooLong,
    /// The peer closed the stream; an unfinished line is dropped.
    End,
}

/// Reads up to the next newline; holds at most `limit` bytes in memory.
pub async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), limit: usize) -> io::Result<WireLine> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(WireLine::End);
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        too_long = too_long || line.len() + part.len() > limit;
        // Reads on to the newline, so that the next line is understood again.
        if too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(if too_long { WireLine::TooLong } else { WireLine::Whole(line) });
        }
    }
}

/// Reads the adapter's next message; `None` when it closed the stream. A line that is not of this protocol is `InvalidData`.
pub async fn receive(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<ToTerminal>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    match read_line(reader, MAX_TO_TERMINAL).await? {
        WireLine::Whole(line) => serde_json::from_slice(&line)
            .map(Some)
            .map_err(|error| invalid(format!("storkit sent a line this terminal does not know: {error}"))),
        WireLine::TooLong => Err(invalid("storkit sent a line of more than 16 MiB".into())),
        WireLine::End => Ok(None),
    }
}

/// Tells a peer that was not let in why, if the socket takes the line at once.
pub fn turn_away(stream: &UnixStream, reason: String) {
    let line = serde_json::to_string(&ToTerminal::Bye { reason }).unwrap_or_default();
    let _ = stream.try_write(format!("{line}\n").as_bytes());
}

/// Sends one line to the adapter.
pub async fn send(writer: &mut (impl AsyncWrite + Unpin), message: &FromTerminal) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_over_the_limit_is_dropped_and_the_next_one_is_read() {
        let mut input: &[u8] = b"12345\n123456\n\nrest";
        let mut found = Vec::new();
        for _ in 0..4 {
            found.push(read_line(&mut input, 5).await.unwrap());
        }
        let whole = |text: &str| WireLine::Whole(text.into());
        assert_eq!(found, [whole("12345"), WireLine::TooLong, whole(""), WireLine::End]);
    }

    #[test]
    fn every_line_has_its_type_in_it() {
        let id = MessageId::new("1-1");
        let shown = ShownMessage::new(id.clone(), &Outgoing::text("hi"));
        insta::assert_snapshot!(serde_json::to_string(&ToTerminal::Message(shown)).unwrap(), @r#"{"type":"message","id":"1-1","markdown":"hi","tone":"Answer","choices":[],"live":false,"replay":false}"#);
        let activity = Activity { state: crate::ActivityState::Idle, after: id };
        insta::assert_snapshot!(serde_json::to_string(&ToTerminal::Activity(activity)).unwrap(), @r#"{"type":"activity","state":"Idle","after":"1-1"}"#);
        let hello: FromTerminal = serde_json::from_str(r#"{"type":"hello"}"#).unwrap();
        assert_eq!(hello, FromTerminal::Hello { room: None, user: None });
    }

    #[test]
    fn choices_are_listed_where_the_text_numbers_the_very_same() {
        let lists = |text: &str| {
            let choice = |label: &str| Choice { key: label.into(), label: label.into(), emoji: None };
            let choices = vec![choice("Red"), choice("Blue")];
            ShownMessage::new(MessageId::new("1"), &Outgoing { choices, ..Outgoing::text(text) })
                .lists_choices()
        };
        assert!(lists("Which?\n1. Red\n2. Blue: like the sky\n\nSay it."));
        for other in ["Which?", "1. Red", "1. Redder\n2. Blue", "1. Blue\n2. Red", "2. Red\n1. Blue"] {
            assert!(!lists(other), "{other}");
        }
        assert!(!ShownMessage::new(MessageId::new("1"), &Outgoing::text("1. Red")).lists_choices());
    }

    #[tokio::test]
    async fn a_line_of_another_protocol_is_an_error_not_a_silence() {
        let mut input: &[u8] = b"{\"type\":\"dance\"}\n";
        let error = receive(&mut input).await.unwrap_err();
        assert!(error.to_string().contains("does not know"), "{error}");
    }
}
