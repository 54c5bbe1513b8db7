//! One attached terminal, seen from the adapter: its greeting, its lines, and the lines written to it.

use std::{io, sync::Arc, time::SystemTime};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
};

use super::{
    ConsoleShared, named_files,
    room::{LineReceiver, LineSender, line_channel},
    wire::{FromTerminal, MAX_FROM_TERMINAL, SaidLine, ToTerminal, WireLine, read_line},
};
use crate::{Addressed, Enclosed, Identity, Incoming, PersonAct, Room, Sender, text::address};

const DEFAULT_ROOM: &str = "main";

/// The longest name of a room, in bytes.
const LONGEST_ROOM: usize = 64;

/// The longest name a person gives, in characters.
const LONGEST_NAME: usize = 64;

pub(super) type Acts = mpsc::Sender<Incoming>;

/// Serves one terminal until it or the adapter closes the stream.
pub(super) async fn serve(
    shared: Arc<ConsoleShared>,
    acts: Acts,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (outlet, outflow) = line_channel();
    let gone = outlet.gone.clone();
    let closed = shared.closed.clone();
    let number = shared.ids.number();
    let terminal = AttachedTerminal { shared, acts, outlet, number, seat: None };
    // The terminal and its room hold the only outlets: when both drop theirs, the writer has written everything and returns.
    let reading = async move {
        tokio::select! {
            ended = terminal.read(BufReader::new(reader)) => ended,
            () = closed.cancelled() => Ok(()),
        }
    };
    let ended = tokio::select! {
        (read, written) = async { tokio::join!(reading, write(writer, outflow)) } => read.and(written),
        // At once, without the waiting lines: this terminal does not read them.
        () = gone.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a console terminal went away");
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut outflow: LineReceiver) -> io::Result<()> {
    while let Some(line) = outflow.next().await {
        writer.write_all(line.as_bytes()).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

struct TerminalSeat {
    room: Arc<str>,
    name: Arc<str>,
}

struct AttachedTerminal {
    shared: Arc<ConsoleShared>,
    acts: Acts,
    outlet: LineSender,
    number: u64,
    seat: Option<TerminalSeat>,
}

impl Drop for AttachedTerminal {
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            self.shared.leave(&seat.room, self.number);
        }
    }
}

impl AttachedTerminal {
    async fn read(mut self, mut reader: BufReader<impl AsyncRead + Unpin>) -> io::Result<()> {
        loop {
            match read_line(&mut reader, MAX_FROM_TERMINAL).await {
                Ok(WireLine::End) => return Ok(()),
                Ok(WireLine::TooLong) => {
                    self.refuse(None, "That is longer than 1 MiB; send it as a file in the project.")
                }
                Ok(WireLine::Whole(line)) => self.handle_line(&line).await,
                Err(error) => {
                    // A vanished peer must not leave the writer waiting for its outlet.
                    self.outlet.gone.cancel();
                    return Err(error);
                }
            }
        }
    }

    async fn handle_line(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(FromTerminal::Hello { room, user }) => self.sit_down(room.as_deref(), user.as_deref()),
            Ok(FromTerminal::Say { ticket, text }) => {
                if self.seat.is_none() {
                    // A hand-written client need not greet first.
                    self.sit_down(None, None);
                }
                self.say(ticket, text.trim()).await;
            }
            Ok(FromTerminal::AskMcpConfig) => match self.shared.mcp_config.lock().clone() {
                Some(config) => _ = self.outlet.send(&ToTerminal::McpConfig { config }),
                None => self.refuse(None, "storkit is still starting; ask again."),
            },
            Err(error) => self.refuse(None, &format!("That line is not of the console's protocol: {error}.")),
        }
    }

    fn refuse(&self, ticket: Option<u64>, why: &str) {
        self.outlet.send(&ToTerminal::Refused { ticket, why: why.into() });
    }

    fn sit_down(&mut self, room: Option<&str>, user: Option<&str>) {
        let room = room.unwrap_or(DEFAULT_ROOM);
        if room.is_empty()
            || room.len() > LONGEST_ROOM
            || room.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return self.refuse(None, "A room's name is 1 to 64 bytes without spaces.");
        }
        if self.seat.is_some() {
            return self
                .refuse(None, "This terminal is in a room already; open another one for another room.");
        }
        // Only for display. The sender's id is the system user's name, which a terminal cannot choose.
        let user = user.filter(|name| !name.trim().is_empty()).unwrap_or(&self.shared.config.user);
        let name: String = crate::text::markdown::inert(user).chars().take(LONGEST_NAME).collect();
        let room: Arc<str> = room.into();
        self.shared.join(&room, self.number, self.outlet.clone());
        self.seat = Some(TerminalSeat { room, name: name.into() });
    }

    async fn say(&self, ticket: u64, text: &str) {
        let Some(seat) = &self.seat else { return };
        if text.is_empty() {
            return self.refuse(Some(ticket), "An empty line says nothing.");
        }
        let incoming = self.incoming(seat, text);
        let said = SaidLine {
            id: incoming.id.clone(),
            from: seat.name.to_string(),
            text: text.into(),
            replay: false,
        };
        self.shared.in_room(&seat.room, |room| room.show_line(said, self.number));
        self.outlet.send(&ToTerminal::Delivered { ticket, id: incoming.id.clone() });
        // After `Delivered`: the terminal must know the line's id before any activity mentions it.
        if self.acts.send(incoming).await.is_err() {
            self.refuse(Some(ticket), "storkit is stopping and did not take that.");
        }
    }

    fn incoming(&self, seat: &TerminalSeat, text: &str) -> Incoming {
        let chosen = self.shared.in_room(&seat.room, |room| room.chosen(text));
        let (act, addressed) = match chosen {
            Some((on, key)) => (PersonAct::Chose { on, key }, Addressed::Direct),
            None => act_of(text, &self.shared.identity),
        };
        let files = match &act {
            PersonAct::Said { text } => named_files::named_in(text),
            PersonAct::Edited { .. } | PersonAct::Chose { .. } | PersonAct::Redacted { .. } => Vec::new(),
        };
        Incoming {
            id: self.shared.ids.next(),
            room: Room::new(super::NAME, seat.room.clone()),
            sender: Sender {
                id: self.shared.config.user.as_str().into(),
                name: seat.name.clone(),
                is_bot: false,
            },
            act,
            addressed: Some(addressed),
            shared: false,
            reply_to: None,
            sent_at: SystemTime::now(),
            enclosed: Enclosed { files, quotes: Vec::new() },
        }
    }
}

/// A console is a conversation of two, so everything is meant for the bot, addressed or not.
fn act_of(text: &str, identity: &Identity) -> (PersonAct, Addressed) {
    let (addressed, text) =
        address::strip(text, identity, &[]).unwrap_or_else(|| (Addressed::Direct, text.to_owned()));
    (PersonAct::Said { text }, addressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_for_the_bot_and_an_address_is_stripped() {
        let identity =
            Identity { display_name: "Timmy".into(), prefixes: vec!["!".into()], ..Identity::default() };
        let text = |text: &str| PersonAct::Said { text: text.into() };
        assert_eq!(act_of("!status", &identity), (text("status"), Addressed::Prefix));
        assert_eq!(act_of("Timmy, status", &identity), (text("status"), Addressed::Name));
        assert_eq!(act_of("!", &identity), (text("!"), Addressed::Direct));
        assert_eq!(act_of("hi!", &identity), (text("hi!"), Addressed::Direct));
    }
}
