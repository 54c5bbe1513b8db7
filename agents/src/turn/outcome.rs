//! The limits of a turn, and its outcome.

use std::time::{Duration, SystemTime};

use crate::event::{BusyService, ProcessExit, TurnEnd, TurnFailure};

/// How long anything in a turn may take.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// A turn without any event for so long is ended. Waiting for a person or for a busy service does not count. `None`: never.
    pub silence: Option<Duration>,
    /// How long the turn may take to obey an interrupt before its process is killed. The CLI takes about 0.3 s.
    pub interrupt_grace: Duration,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self { silence: None, interrupt_grace: Duration::from_secs(3) }
    }
}

/// The outcome of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnOutcome {
    Answered(Box<TurnEnd>),
    /// The model's service takes no requests for now.
    Busy {
        service: BusyService,
        /// When the limit is lifted, if the service names a time.
        until: Option<SystemTime>,
    },
    /// The session to resume does not exist any more.
    SessionLost,
    /// No event for [`TurnLimits::silence`]; the process was killed.
    Silent,
    /// The turn failed in another way.
    Failed {
        cause: TurnFailure,
        /// The agent program's own words, maybe empty.
        text: String,
    },
    /// The process ended without a result.
    Died(ProcessExit),
    /// [`super::AgentSession::stop`] or [`super::AgentSession::kill`] ended it.
    Stopped,
}
