//! How each messenger's connection is, for `status`, `/health` and the log.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The state of one adapter's connection: written by the adapter and its supervisor, read by `status` and `/health`.
pub struct AdapterHealth {
    name: &'static str,
    state: Mutex<HealthState>,
}

struct HealthState {
    up: bool,
    since: SystemTime,
    last_event: Option<SystemTime>,
    connections: u32,
    last_error: Option<String>,
    note: Option<String>,
    // Besides `since`, which is for people and may jump with the wall clock.
    connected_at: Option<Instant>,
}

/// [`AdapterHealth`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSnapshot {
    pub name: &'static str,
    pub up: bool,
    pub since: SystemTime,
    /// When the last act of a person came in.
    pub last_event: Option<SystemTime>,
    /// How often it connected again after the first time.
    pub reconnects: u32,
    /// The reason of the last failure, also after the next connection.
    pub last_error: Option<String>,
    /// A note for the operator although it is up.
    pub note: Option<String>,
}

impl AdapterHealth {
    /// The health of an adapter that has not connected yet.
    pub fn new(name: &'static str) -> Self {
        let state = HealthState {
            up: false,
            since: SystemTime::now(),
            last_event: None,
            connections: 0,
            last_error: None,
            note: None,
            connected_at: None,
        };
        Self { name, state: Mutex::new(state) }
    }

    /// Records that the connection is up. A second call while it is up has no effect.
    pub fn set_connected(&self) {
        let mut state = self.state.lock();
        if !state.up {
            state.up = true;
            state.since = SystemTime::now();
            state.connections = state.connections.saturating_add(1);
            state.connected_at = Some(Instant::now());
            tracing::info!(adapter = self.name, "connected");
        }
    }

    pub fn note_event(&self) {
        self.state.lock().last_event = Some(SystemTime::now());
    }

    /// Sets a note for the operator about a problem despite the connection; `None` clears it. A new note is logged.
    pub fn set_note(&self, note: Option<String>) {
        let mut state = self.state.lock();
        // Adapters set the same note at every check; the log shows it only once.
        if let Some(note) = note.as_ref().filter(|note| state.note.as_ref() != Some(note)) {
            tracing::warn!(adapter = self.name, "{note}");
        }
        state.note = note;
    }

    /// Records that the connection ended or could not be made.
    pub fn set_down(&self, error: &str) {
        let mut state = self.state.lock();
        state.last_error = Some(error.to_owned());
        state.set_down();
    }

    pub fn snapshot(&self) -> HealthSnapshot {
        let state = self.state.lock();
        HealthSnapshot {
            name: self.name,
            up: state.up,
            since: state.since,
            last_event: state.last_event,
            reconnects: state.connections.saturating_sub(1),
            last_error: state.last_error.clone(),
            note: state.note.clone(),
        }
    }

    pub(crate) fn ended(&self) {
        self.state.lock().set_down();
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.state.lock().connected_at.map_or(Duration::ZERO, |at| at.elapsed())
    }
}

impl HealthState {
    fn set_down(&mut self) {
        self.connected_at = None;
        if self.up {
            self.up = false;
            self.since = SystemTime::now();
        }
    }
}

impl fmt::Debug for AdapterHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}
