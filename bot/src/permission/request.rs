//! A request of an agent's session, which the session can take back before anybody has decided.

use std::sync::Arc;

use tokio::sync::watch;

use super::{AtDeadline, CallChange, WithdrawReason};

/// Cheap to clone: all clones are the same request.
#[derive(Clone, Debug)]
pub struct AgentRequest {
    taken_back: Arc<watch::Sender<Option<WithdrawReason>>>,
    at_deadline: AtDeadline,
    changed: Vec<CallChange>,
}

impl Default for AgentRequest {
    /// A request that nobody has taken back.
    fn default() -> Self {
        Self {
            taken_back: Arc::new(watch::Sender::new(None)),
            at_deadline: AtDeadline::default(),
            changed: Vec::new(),
        }
    }
}

impl AgentRequest {
    /// The same, with what becomes of its question at its deadline.
    #[must_use]
    pub fn with_deadline(self, at_deadline: AtDeadline) -> Self {
        Self { at_deadline, ..self }
    }

    /// The same, with what has changed since its call was allowed before.
    #[must_use]
    pub fn with_changes(self, changed: Vec<CallChange>) -> Self {
        Self { changed, ..self }
    }

    pub(super) fn at_deadline(&self) -> &AtDeadline {
        &self.at_deadline
    }

    pub(super) fn changed(&self) -> &[CallChange] {
        &self.changed
    }

    /// Takes it back. The first reason counts.
    pub(super) fn withdraw(&self, why: WithdrawReason) {
        self.taken_back.send_if_modified(|withdrawn| withdrawn.replace(withdrawn.unwrap_or(why)).is_none());
    }

    /// Waits until it is taken back.
    pub(super) async fn withdrawn(&self) -> WithdrawReason {
        let mut changes = self.taken_back.subscribe();
        match changes.wait_for(Option::is_some).await.map(|withdrawn| *withdrawn) {
            Ok(Some(why)) => why,
            // The sender lives as long as this request.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.taken_back, &other.taken_back)
    }
}
