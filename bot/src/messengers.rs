//! The messengers this bot is connected to, with their health.

use std::sync::Arc;

use adapters::{Adapter, AdapterHealth, HealthSnapshot, MessageId, Room};
use pipeline::story::StoryConversation;

use crate::config::PipelineSection;

/// Every messenger of one bot. Cheap to clone.
#[derive(Clone)]
pub struct ConnectedMessengers(Arc<[ConnectedMessenger]>);

pub type ConnectedMessenger = (Arc<dyn Adapter>, Arc<AdapterHealth>);

/// The message in which a person asked for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestOrigin {
    pub room: Room,
    pub message: Option<MessageId>,
    /// The same, as a story's file shows it.
    pub conversation: StoryConversation,
}

impl ConnectedMessengers {
    pub fn new(messengers: impl IntoIterator<Item = ConnectedMessenger>) -> Self {
        Self(messengers.into_iter().collect())
    }

    /// The messenger of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Adapter>> {
        self.0.iter().map(|(adapter, _)| adapter).find(|adapter| adapter.name() == name).cloned()
    }

    /// The rooms that follow the pipeline now: those that `bot.toml` names, and those in which somebody is at a terminal.
    pub fn followers(&self, pipeline: &PipelineSection) -> Vec<Room> {
        let attended = self.0.iter().flat_map(|(adapter, _)| adapter.attended_rooms());
        let named = pipeline.rooms().into_iter().map(|room| self.known_as(room));
        let mut rooms: Vec<Room> = named.chain(attended).collect();
        rooms.sort();
        rooms.dedup();
        rooms
    }

    /// The room by which the bot knows one that `bot.toml` names.
    pub fn known_as(&self, room: Room) -> Room {
        self.get(room.adapter()).map_or_else(|| room.clone(), |adapter| adapter.known_as(&room))
    }

    /// The same for names as `bot.toml` has them.
    pub fn known_names(&self, rooms: &[String]) -> Vec<String> {
        let name = |text: &String| Room::parse(text).map(|room| self.known_as(room).to_string());
        rooms.iter().map(|text| name(text).unwrap_or_else(|| text.clone())).collect()
    }

    /// What a story remembers of the message with this text that asked for it.
    pub fn origin(&self, room: &Room, message: Option<&MessageId>, text: &str) -> RequestOrigin {
        let adapter = self.get(room.adapter());
        let link = adapter.zip(message).and_then(|(adapter, message)| adapter.permalink(room, message));
        let conversation = StoryConversation::new(room.to_string(), link, text);
        RequestOrigin { room: room.clone(), message: message.cloned(), conversation }
    }

    /// The health of the messenger of this name.
    pub fn health_of(&self, name: &str) -> Option<Arc<AdapterHealth>> {
        self.0.iter().find(|(adapter, _)| adapter.name() == name).map(|(_, health)| health.clone())
    }

    /// Each messenger's own record, to wait for its news.
    pub fn records(&self) -> Vec<Arc<AdapterHealth>> {
        self.0.iter().map(|(_, health)| health.clone()).collect()
    }

    /// The health of each.
    pub fn health(&self) -> Vec<HealthSnapshot> {
        self.0.iter().map(|(_, health)| health.snapshot()).collect()
    }
}

#[cfg(test)]
mod tests {
    use adapters::{
        Identity,
        console::{
            Console, ConsoleConfig,
            wire::{FromTerminal, ToTerminal, receive, send},
        },
    };
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn a_terminal_follows_the_pipeline_as_long_as_it_is_attached() {
        let config =
            ConsoleConfig { socket: None, user: "ann".into(), files: "files".into(), admits: |_| Ok(()) };
        let console = Console::new(config, Identity::default());
        let health = Arc::new(AdapterHealth::new("console"));
        let messengers = ConnectedMessengers::new([(console.clone() as Arc<dyn Adapter>, health)]);
        let named = PipelineSection {
            rooms: vec!["fake:a".into(), "console:main".into()],
            ..PipelineSection::default()
        };
        let none = PipelineSection::default();
        assert!(messengers.followers(&none).is_empty());
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        console.attach(theirs);
        let (reader, mut writer) = tokio::io::split(ours);
        let mut reader = BufReader::new(reader);
        send(&mut writer, &FromTerminal::Hello { room: None, user: None }).await.unwrap();
        assert!(matches!(receive(&mut reader).await.unwrap(), Some(ToTerminal::Hello { .. })));
        let main = Room::new("console", "main");
        assert_eq!(messengers.followers(&none), std::slice::from_ref(&main));
        assert_eq!(
            messengers.followers(&named),
            [main, Room::new("fake", "a")],
            "named and attended is one room"
        );
        drop((reader, writer));
        console.close("The test is over.").await;
        assert!(messengers.followers(&none).is_empty());
    }
}
