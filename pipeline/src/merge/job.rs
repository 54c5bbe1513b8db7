//! A merge's job: a file that stays until the merge is settled, so that the next storkit finds what this one owes.

use std::fs;

use serde::{Deserialize, Serialize};
use settings::atomic;

use super::{paths::remove_durably, resolution::WaitingConflict};
use crate::{
    merge::{
        outcome::{MergeError, MergeRequest},
        paths::MergePaths,
    },
    story::{StoryId, stage::Stage},
};

/// A merge to be done, as it lies on disk until it is settled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MergeJob {
    /// Nanoseconds since 1970: the order.
    pub at: u64,
    pub file: String,
    pub title: String,
    pub branch: String,
    #[serde(default)]
    pub in_quarantine: bool,
    /// A conflict that came up.
    #[serde(default)]
    pub conflict: Option<WaitingConflict>,
    /// Whether somebody reported it as resolved.
    #[serde(default)]
    pub resolved: bool,
}

impl MergeJob {
    pub(crate) fn save(&self, place: &MergePaths, story: StoryId) -> Result<(), MergeError> {
        let path = place.job(story);
        let bytes = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        bytes.and_then(|bytes| atomic::write(&path, &bytes)).map_err(MergeError::io(path))
    }

    pub(crate) fn read(place: &MergePaths, story: StoryId) -> Option<Self> {
        serde_json::from_slice(&fs::read(place.job(story)).ok()?).ok()
    }

    pub(crate) fn forget(place: &MergePaths, story: StoryId) -> Result<(), MergeError> {
        let path = place.job(story);
        remove_durably(&path).map_err(MergeError::io(path))
    }

    /// Whether somebody has to resolve its conflict.
    pub(crate) fn waits(&self) -> bool {
        self.conflict.is_some() && !self.resolved
    }

    /// The request that it came from.
    pub(crate) fn request(&self) -> Result<MergeRequest, MergeError> {
        let file = self.file.parse().map_err(|_| MergeError::NoStory(self.file.clone()))?;
        let (title, branch) = (self.title.clone(), self.branch.clone());
        Ok(MergeRequest { file, title, branch, in_quarantine: self.in_quarantine })
    }
}

/// The jobs on disk, oldest first. Those whose story has left the merge stage are settled; a conflict waits on
/// where its worktree still is.
pub(crate) fn left_over(place: &MergePaths) -> Vec<(StoryId, MergeJob)> {
    let mut jobs = Vec::new();
    let visible = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    for entry in fs::read_dir(place.jobs()).into_iter().flatten().flatten().filter(visible) {
        match fs::read(entry.path()).map_err(anyhow::Error::from).and_then(|bytes| read(&bytes)) {
            Ok((request, job)) if place.story(Stage::Merge, &request.file).is_file() => {
                jobs.push((request.file.id, job));
            }
            Ok(_) => drop(fs::remove_file(entry.path())),
            Err(error) => {
                tracing::warn!(path = %entry.path().display(), %error, "a merge job cannot be read");
            }
        }
    }
    for (story, job) in &mut jobs {
        if !place.conflict(*story).is_dir() {
            // The worktree is gone, e.g. removed by hand: merging again lays the conflict out again.
            (job.conflict, job.resolved) = (None, false);
        }
    }
    jobs.sort_by_key(|(story, job)| (job.at, *story));
    jobs
}

fn read(bytes: &[u8]) -> anyhow::Result<(MergeRequest, MergeJob)> {
    let job: MergeJob = serde_json::from_slice(bytes)?;
    Ok((job.request()?, job))
}
