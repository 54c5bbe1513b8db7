//! Parked runs: the process ends while a question of it waits for a person, and a later one goes on with exactly that call.
//!
//! Claude Code keeps a call for later only where a hook defers it *before* anybody is asked (2.1.330). So a call that people may be
//! asked about is deferred at once, and a new process on the session goes on with it without a request to the model: it asks as
//! always. From then on the process may end at any time, and the next one meets the same call.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agents::{claude::SessionId, event::AgentEvent};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    event::{RunId, RunInfo, RunPhase},
    story::{StoryId, stage::Role},
};

/// So long the report of a call may lag behind the hook's call.
const REPORT_DELAY: Duration = Duration::from_secs(5);

/// A run whose process has ended at a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRun {
    pub story: StoryId,
    pub role: Role,
    /// The worker and the configured agent that had it.
    pub slot: String,
    pub agent: String,
    pub run: String,
    pub session: SessionId,
    /// The call that waits, by the agent program's id.
    pub call: String,
    pub since: SystemTime,
    /// Whether people have decided, so that it can go on.
    pub is_answered: bool,
}

impl ParkedRun {
    /// The run as it was; its worker is free.
    pub fn info(&self, title: &str) -> RunInfo {
        RunInfo {
            id: RunId(self.run.as_str().into()),
            story: self.story,
            title: title.to_owned(),
            slot: self.slot.clone(),
            agent: self.agent.clone(),
            role: self.role,
            since: self.since,
            phase: RunPhase::Settling,
            pid: None,
            session: None,
            cost_usd: 0.0,
            branch: None,
        }
    }
}

/// The commit of a story's branch, if it has one. Blocks.
pub fn branch_tip(root: &Path, story: StoryId) -> Option<String> {
    let repository = git2::Repository::open(root).ok()?;
    let references = repository.references_glob(&format!("refs/heads/feature/story-{story}_*")).ok()?;
    let tips = references.flatten().filter_map(|reference| reference.target());
    tips.map(|tip| tip.to_string()).max()
}

/// Why a call cannot wait without its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoParking {
    /// The settings say so.
    TurnedOff,
    /// The agent made more calls at once: Claude Code would lose those behind it.
    ParallelCalls,
    /// The agent has work in the background, which would end with the process.
    Background,
    /// A sub-agent's call, or one that was not deferred before it was asked about.
    NotDeferred,
}

/// What the host and a run tell each other. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RunParking(Arc<SharedParking>);

#[derive(Debug)]
struct SharedParking {
    is_allowed: bool,
    calls: watch::Sender<CallsOfRun>,
    parked: watch::Sender<bool>,
}

impl Default for SharedParking {
    fn default() -> Self {
        Self {
            is_allowed: false,
            calls: watch::Sender::new(CallsOfRun::default()),
            parked: watch::Sender::new(false),
        }
    }
}

/// The calls that its process has reported.
#[derive(Debug, Default)]
struct CallsOfRun {
    /// Those of the last message.
    last: Vec<String>,
    is_complete: bool,
    /// The call that the last process deferred, until it has a result.
    deferred: Option<String>,
    has_background: bool,
}

impl RunParking {
    /// For a run that may be parked.
    pub fn allowed() -> Self {
        Self(Arc::new(SharedParking { is_allowed: true, ..SharedParking::default() }))
    }

    pub fn is_allowed(&self) -> bool {
        self.0.is_allowed
    }

    /// Whether a call can be deferred; waits until the message that it belongs to is complete.
    ///
    /// # Errors
    /// Why not.
    pub async fn may_defer(&self, call: &str) -> Result<(), NoParking> {
        if !self.0.is_allowed {
            return Err(NoParking::TurnedOff);
        }
        let mut calls = self.0.calls.subscribe();
        let reported = calls.wait_for(|calls| calls.is_complete && calls.last.iter().any(|id| id == call));
        match tokio::time::timeout(REPORT_DELAY, reported).await {
            Ok(Ok(calls)) if calls.has_background => Err(NoParking::Background),
            // The earlier ones of a message are done when the hook is asked about the last.
            Ok(Ok(calls)) if calls.last.last().is_some_and(|last| last == call) => Ok(()),
            Ok(Ok(_)) => Err(NoParking::ParallelCalls),
            Ok(Err(_)) | Err(_) => Err(NoParking::NotDeferred),
        }
    }

    /// Whether the process may end while this call waits.
    ///
    /// # Errors
    /// Why not.
    pub fn may_park(&self, call: Option<&str>) -> Result<(), NoParking> {
        if !self.0.is_allowed {
            return Err(NoParking::TurnedOff);
        }
        let calls = self.0.calls.borrow();
        match call {
            Some(call) if calls.deferred.as_deref() == Some(call) => Ok(()),
            Some(call) if calls.last.len() > 1 && calls.last.iter().any(|id| id == call) => {
                Err(NoParking::ParallelCalls)
            }
            _ if calls.has_background => Err(NoParking::Background),
            _ => Err(NoParking::NotDeferred),
        }
    }

    /// Whether the last process deferred this call.
    pub fn is_deferred(&self, call: &str) -> bool {
        self.0.calls.borrow().deferred.as_deref() == Some(call)
    }

    /// Ends the run's process: its question waits without it.
    pub fn park(&self) {
        self.0.parked.send_replace(true);
    }

    /// Waits until the run is to be parked.
    pub(crate) async fn parked(&self) {
        let mut parked = self.0.parked.subscribe();
        if parked.wait_for(|parked| *parked).await.is_err() {
            std::future::pending().await
        }
    }

    /// The call that a process of the session deferred.
    pub(crate) fn set_deferred(&self, call: Option<String>) {
        self.0.calls.send_modify(|calls| calls.deferred = call);
    }

    pub(crate) fn deferred(&self) -> Option<String> {
        self.0.calls.borrow().deferred.clone()
    }

    /// Follows what its process reports.
    pub fn follow(&self, event: &AgentEvent) {
        if !self.0.is_allowed {
            return;
        }
        match event {
            AgentEvent::ToolUse(call) => self.0.calls.send_modify(|calls| {
                if std::mem::take(&mut calls.is_complete) {
                    calls.last.clear();
                }
                calls.last.push(call.id.clone());
            }),
            AgentEvent::MessageEnded => self.0.calls.send_modify(|calls| calls.is_complete = true),
            AgentEvent::ToolResult { id, .. } => self.0.calls.send_modify(|calls| {
                calls.deferred.take_if(|call| call == id);
            }),
            AgentEvent::BackgroundTasks(tasks) => {
                self.0.calls.send_modify(|calls| calls.has_background = !tasks.is_empty());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use agents::event::ToolUse;
    use futures::FutureExt as _;

    use super::*;

    fn call(id: &str) -> AgentEvent {
        AgentEvent::ToolUse(ToolUse { id: id.into(), name: "Bash".into(), input: serde_json::Value::Null })
    }

    fn result(id: &str) -> AgentEvent {
        AgentEvent::ToolResult { id: id.into(), is_error: false }
    }

    #[tokio::test]
    async fn only_the_last_call_of_a_complete_message_can_be_deferred() {
        let parking = RunParking::allowed();
        parking.follow(&call("a"));
        let early = parking.clone();
        let mut asked = Box::pin(early.may_defer("a"));
        assert_eq!((&mut asked).now_or_never(), None, "another one may follow in the same message");
        parking.follow(&call("b"));
        parking.follow(&AgentEvent::MessageEnded);
        assert_eq!(asked.await, Err(NoParking::ParallelCalls));
        assert_eq!(parking.may_park(Some("a")), Err(NoParking::ParallelCalls));
        assert_eq!(parking.may_defer("b").await, Ok(()));
        parking.follow(&call("c"));
        parking.follow(&AgentEvent::MessageEnded);
        assert_eq!(parking.may_defer("c").await, Ok(()), "those of an earlier message do not count");
        assert_eq!(RunParking::default().may_defer("c").await, Err(NoParking::TurnedOff));
    }

    #[tokio::test]
    async fn a_call_can_wait_without_its_process_once_it_is_deferred_and_until_it_has_a_result() {
        let parking = RunParking::allowed();
        parking.follow(&call("a"));
        parking.follow(&AgentEvent::MessageEnded);
        assert_eq!(parking.may_park(Some("a")), Err(NoParking::NotDeferred));
        parking.set_deferred(Some("a".into()));
        assert_eq!((parking.may_park(Some("a")), parking.is_deferred("a")), (Ok(()), true));
        assert_eq!(parking.may_park(Some("b")), Err(NoParking::NotDeferred));
        assert_eq!(parking.may_park(None), Err(NoParking::NotDeferred));
        parking.follow(&result("b"));
        assert!(parking.is_deferred("a"));
        parking.follow(&result("a"));
        assert_eq!(parking.deferred(), None);
    }

    #[tokio::test]
    async fn work_in_the_background_would_end_with_the_process() {
        use agents::event::{BackgroundKind, BackgroundTask};
        let parking = RunParking::allowed();
        let task =
            BackgroundTask { id: "1".into(), kind: BackgroundKind::Command, description: String::new() };
        parking.follow(&AgentEvent::BackgroundTasks(vec![task]));
        parking.follow(&call("a"));
        parking.follow(&AgentEvent::MessageEnded);
        assert_eq!(parking.may_defer("a").await, Err(NoParking::Background));
        parking.follow(&AgentEvent::BackgroundTasks(Vec::new()));
        assert_eq!(parking.may_defer("a").await, Ok(()));
    }

    #[tokio::test]
    async fn who_parks_a_run_ends_its_process() {
        let parking = RunParking::allowed();
        let mut parked = Box::pin(parking.parked());
        assert_eq!((&mut parked).now_or_never(), None);
        parking.clone().park();
        parked.await;
    }
}
