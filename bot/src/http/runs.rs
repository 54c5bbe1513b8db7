//! Which agent runs may call in, each by a token of its own.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use pipeline::event::RunId;

use crate::{permission::Asker, tools::McpRun};

/// The runs under way, by token. Cheap to clone.
#[derive(Clone, Default)]
pub struct McpRuns(Arc<Mutex<HashMap<String, Arc<McpRun>>>>);

/// Revokes the token when dropped.
pub struct RunGuard {
    runs: McpRuns,
    token: String,
}

impl McpRuns {
    /// Makes a token for a run: 122 random bits, valid as long as the guard lives.
    pub fn open(&self, run: McpRun) -> RunGuard {
        let token = uuid::Uuid::new_v4().simple().to_string();
        self.lock().insert(token.clone(), Arc::new(run));
        RunGuard { runs: self.clone(), token }
    }

    /// The run of a token. Looked up by hash, so that timing reveals nothing about other tokens.
    pub fn find(&self, token: &str) -> Option<Arc<McpRun>> {
        self.lock().get(token).cloned()
    }

    /// The asker of an agent's run, if that lives.
    pub fn asker_of(&self, run: &RunId) -> Option<Asker> {
        let runs = self.lock();
        let found = runs.values().find(|other| other.agent.as_ref().is_some_and(|agent| agent.id == *run));
        found.map(|run| run.asker.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<McpRun>>> {
        self.0.lock()
    }
}

impl RunGuard {
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_as_long_as_its_run_lives() {
        let runs = McpRuns::default();
        let guard = runs.open(McpRun { asked_for: "story 1".into(), ..McpRun::default() });
        let token = guard.token().to_owned();
        assert_eq!(runs.find(&token).unwrap().asked_for, "story 1");
        assert!(runs.find("other").is_none());
        drop(guard);
        assert!(runs.find(&token).is_none());
    }
}
