//! When the files of stories are committed: one commit at a time, again after a while where git refused.

use std::time::{Duration, SystemTime};

use super::{committer::CommitResult, story_blobs::StoryBlobCache};

/// A commit that was refused is tried again after so long.
const COMMIT_AGAIN: Duration = Duration::from_secs(30);

/// Whether there is something to commit, and whether now is the time.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// What the files have, as far as the last commits have read them.
    pub(super) blobs: StoryBlobCache,
    wanted: bool,
    running: bool,
    /// Why the last one was refused; reported once.
    refused: Option<String>,
    not_before: Option<SystemTime>,
}

impl Commits {
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether one is to be started now. It counts as running from here on.
    pub(super) fn begin(&mut self, now: SystemTime) -> bool {
        let waits = self.not_before.is_some_and(|at| at > now);
        if !self.wanted || self.running || waits {
            return false;
        }
        // Cleared before the commit reads the files: whoever changes one meanwhile sets it again.
        (self.wanted, self.running) = (false, true);
        true
    }

    /// Returns an alarm for people, if there is news.
    pub(super) fn end(&mut self, result: Result<CommitResult, String>, now: SystemTime) -> Option<String> {
        self.running = false;
        let why = match result {
            Ok(CommitResult::NotNow(why)) | Err(why) => why,
            Ok(CommitResult::Restored(news)) => {
                self.wanted = true;
                return Some(news);
            }
            Ok(done) => {
                (self.not_before, self.refused) = (None, None);
                // There may be more than fits into one.
                self.wanted |= matches!(done, CommitResult::Commit(_));
                return None;
            }
        };
        self.wanted = true;
        // Tried again by the clock: no event shows that a person has finished a rebase.
        self.not_before = Some(now + COMMIT_AGAIN);
        let news = self.refused.as_ref() != Some(&why);
        self.refused = Some(why.clone());
        news.then(|| format!("Stories' files are not committed for now: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn one_commit_runs_at_a_time_and_only_when_something_is_wanted() {
        let mut commits = Commits::default();
        assert!(!commits.begin(NOW));
        commits.want();
        assert!(commits.begin(NOW));
        commits.want();
        assert!(!commits.begin(NOW), "one runs");
        assert_eq!(commits.end(Ok(CommitResult::Nothing), NOW), None);
        assert!(commits.begin(NOW), "what came meanwhile");
        assert_eq!(commits.end(Ok(CommitResult::Commit("1".into())), NOW), None);
        assert!(commits.begin(NOW), "there may be more than fits into one");
        assert_eq!(commits.end(Ok(CommitResult::Nothing), NOW), None);
        assert!(!commits.begin(NOW));
    }

    #[test]
    fn a_refusal_is_reported_once_and_tried_again_after_a_while() {
        let mut commits = Commits::default();
        let refuse = |commits: &mut Commits, why: &str, at| {
            commits.want();
            assert!(commits.begin(at));
            commits.end(Ok(CommitResult::NotNow(why.into())), at)
        };
        assert!(refuse(&mut commits, "a rebase", NOW).is_some_and(|text| text.contains("a rebase")));
        assert!(!commits.begin(NOW + COMMIT_AGAIN - Duration::from_secs(1)));
        let later = NOW + COMMIT_AGAIN;
        assert_eq!(refuse(&mut commits, "a rebase", later), None);
        let later = later + COMMIT_AGAIN;
        assert!(refuse(&mut commits, "another branch", later).is_some());
        let later = later + COMMIT_AGAIN;
        assert!(commits.begin(later), "still wanted");
        assert_eq!(commits.end(Ok(CommitResult::Nothing), later), None);
        assert!(refuse(&mut commits, "another branch", later).is_some(), "it had worked in between");
        let later = later + COMMIT_AGAIN;
        assert!(commits.begin(later));
        assert!(commits.end(Err("git is gone".into()), later).is_some());
    }
}
