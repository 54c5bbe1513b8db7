//! Who calls storkit's tools.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use adapters::Room;
use pipeline::{event::RunInfo, mailbox::RunMailbox, parking::RunParking};

use super::ProbedCalls;
use crate::{
    messengers::RequestOrigin,
    permission::{Asker, Person},
};

/// A run of an agent: where its questions go, and which tools it sees.
#[derive(Clone, Debug, Default)]
pub struct McpRun {
    /// The rooms that are asked where `agent` is `None`; with none the answer is no. An agent asks the rooms that follow the
    /// pipeline when it asks.
    pub rooms: Vec<Room>,
    /// For whom it works, in words.
    pub asked_for: String,
    /// How long a question waits; `None` for ever.
    pub timeout: Option<Duration>,
    /// The pipeline's run; `None` for one that may only ask.
    pub agent: Option<RunInfo>,
    /// What people say to it while it works.
    pub mailbox: RunMailbox,
    /// Whether it is the operator's own way in, with all tools.
    pub operator: bool,
    /// A turn of a room's agent, which has no token.
    pub room: Option<RoomTurnCaller>,
    /// How many of its calls are under way.
    pub calls: Arc<AtomicUsize>,
    /// How many of its questions wait for a person now.
    pub waiting: Arc<AtomicUsize>,
    /// Whether and how its process can end while a question waits.
    pub parking: RunParking,
    /// What it has learned about calls that nobody is asked about.
    pub probed: Arc<ProbedCalls>,
    /// Who it is to the people it asks.
    pub asker: Asker,
    /// How many stories it has written.
    pub created: Arc<AtomicUsize>,
}

/// The turn of a room's agent that calls: the person whose prompt it answers, and the message.
#[derive(Clone, Debug)]
pub struct RoomTurnCaller {
    pub person: Person,
    pub origin: RequestOrigin,
}

impl McpRun {
    /// Whether it works for itself, and may write only so many stories.
    pub(super) fn is_counted(&self) -> bool {
        self.agent.is_some() || self.room.is_some()
    }
}
