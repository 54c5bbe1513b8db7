//! A request of an agent's session, which the session can take back before anybody has decided.

use std::sync::Arc;

use tokio::sync::watch;

use super::WithdrawReason;

/// Cheap to clone: all clones are the same request.
#[derive(Clone, Debug)]
pub struct AgentRequest(Arc<watch::Sender<Option<WithdrawReason>>>);

impl Default for AgentRequest {
    /// A request that nobody has taken back.
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl AgentRequest {
    /// Takes it back. The first reason counts.
    pub(super) fn withdraw(&self, why: WithdrawReason) {
        self.0.send_if_modified(|withdrawn| withdrawn.replace(withdrawn.unwrap_or(why)).is_none());
    }

    /// Waits until it is taken back.
    pub(super) async fn withdrawn(&self) -> WithdrawReason {
        let mut changes = self.0.subscribe();
        match changes.wait_for(Option::is_some).await.map(|withdrawn| *withdrawn) {
            Ok(Some(why)) => why,
            // The sender lives as long as this request.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
