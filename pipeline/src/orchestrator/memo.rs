//! What the pipeline remembers of a story between runs. Losing it costs context and counts, never correctness.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use settings::atomic;

use crate::{Project, story::StoryId, verdict::FailureCause};

/// Where the notes are: `.storkit/run/memo/ID.json`.
pub(super) struct MemoFiles(PathBuf);

/// One story's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoryMemo {
    /// What the next run of the coder is told: a reviewer's reasons, the end of a gate's output. Decides nothing.
    pub feedback: Option<String>,
    /// Why the last run failed.
    pub failure: Option<FailureCause>,
    /// The coder's session, to be resumed.
    pub session: Option<String>,
    /// Times that a review or the merge's gates sent it back.
    pub sent_back: u32,
    /// Times that a mergemaster tried.
    pub merge_attempts: u32,
    /// Waits for a busy service in a row.
    pub busy: u32,
    /// US dollars that people let it spend beyond its budget.
    pub granted_usd: f64,
}

impl MemoFiles {
    pub(super) fn of(project: &Project) -> Self {
        Self(project.run_dir().join("memo"))
    }

    fn path(&self, story: StoryId) -> PathBuf {
        self.0.join(format!("{story}.json"))
    }

    pub(super) fn read(&self, story: StoryId) -> StoryMemo {
        let text = fs::read(self.path(story)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn change(&self, story: StoryId, change: impl FnOnce(&mut StoryMemo)) -> StoryMemo {
        let mut memo = self.read(story);
        change(&mut memo);
        let written = fs::create_dir_all(&self.0)
            .and_then(|()| serde_json::to_vec(&memo).map_err(Into::into))
            .and_then(|bytes| atomic::write(&self.path(story), &bytes));
        if let Err(error) = written {
            tracing::warn!(%story, %error, "a note of the pipeline cannot be written");
        }
        memo
    }

    pub(super) fn forget(&self, story: StoryId) {
        let _ = fs::remove_file(self.path(story));
    }
}
