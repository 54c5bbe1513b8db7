//! The memory of a story between runs. Losing it costs context and counts, never correctness.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use settings::{atomic, unlinked};

use super::lane::WorkLane;
use crate::{Project, story::StoryId, strangers::StrangerText, verdict::FailureCause};

/// All memos. They are read once; changes are written in the lane of the stories' files, and so before what follows
/// from them is written there.
pub(super) struct Memos {
    folder: PathBuf,
    memos: BTreeMap<StoryId, StoryMemo>,
    lane: WorkLane,
}

/// The memo of one story: `.storkit/run/memo/ID.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StoryMemo {
    /// For the coder's next run: a reviewer's reasons or the tail of a gate's output. It decides nothing.
    pub feedback: Option<String>,
    /// Why the last run failed.
    pub failure: Option<FailureCause>,
    /// The coder's session, to be resumed.
    pub session: Option<String>,
    /// Whether somebody has changed its text since the session began or was last resumed.
    pub is_edited: bool,
    /// Times that a review or the merge's gates sent it back.
    pub sent_back: u32,
    /// Times that a mergemaster tried.
    pub merge_attempts: u32,
    /// Waits for a busy service in a row.
    pub busy: u32,
    /// US dollars that people let it spend beyond its budget.
    pub granted_usd: f64,
    /// What its agents have read by strangers since a person last spoke about the story.
    pub read: BTreeSet<StrangerText>,
}

impl StoryMemo {
    /// Why its last run came back, on one line for people.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.failure.as_ref().map(ToString::to_string).or_else(|| self.feedback.clone())
    }
}

/// Reads all memos of a project. Blocks.
pub(super) fn read(project: &Project) -> BTreeMap<StoryId, StoryMemo> {
    let entries = fs::read_dir(folder(project)).into_iter().flatten().flatten();
    let memo = |path: PathBuf| {
        let id = path.file_stem()?.to_str()?.parse().ok()?;
        // One that cannot be read is left out: a lost memo costs context, never correctness.
        Some((id, serde_json::from_slice(&fs::read(path).ok()?).ok()?))
    };
    entries.filter_map(|entry| memo(entry.path())).collect()
}

fn folder(project: &Project) -> PathBuf {
    project.run_dir().join("memo")
}

impl Memos {
    pub(super) fn new(project: &Project, memos: BTreeMap<StoryId, StoryMemo>, lane: WorkLane) -> Self {
        Self { folder: folder(project), memos, lane }
    }

    /// Stories whose agents have read text by strangers.
    pub(super) fn strangers_read(&self) -> BTreeMap<StoryId, BTreeSet<StrangerText>> {
        let memos = self.memos.iter().filter(|(_, memo)| !memo.read.is_empty());
        memos.map(|(id, memo)| (*id, memo.read.clone())).collect()
    }

    pub(super) fn read(&self, story: StoryId) -> StoryMemo {
        self.memos.get(&story).cloned().unwrap_or_default()
    }

    pub(super) fn change(&mut self, story: StoryId, change: impl FnOnce(&mut StoryMemo)) -> StoryMemo {
        let memo = self.memos.entry(story).or_default();
        let before = memo.clone();
        change(memo);
        let memo = memo.clone();
        if memo != before {
            let (path, written) = (self.path(story), memo.clone());
            self.lane.push(move || {
                if let Err(error) = write(&path, &written) {
                    tracing::warn!(%story, %error, "a story's memo cannot be written");
                }
            });
        }
        memo
    }

    pub(super) fn forget(&mut self, story: StoryId) {
        if self.memos.remove(&story).is_some() {
            let path = self.path(story);
            self.lane.push(move || drop(fs::remove_file(path)));
        }
    }

    fn path(&self, story: StoryId) -> PathBuf {
        self.folder.join(format!("{story}.json"))
    }
}

fn write(path: &std::path::Path, memo: &StoryMemo) -> std::io::Result<()> {
    unlinked::create_dir_all(path.parent().unwrap_or(path))?;
    atomic::write(path, &serde_json::to_vec(memo)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_memo_is_there_at_once_and_on_disk_for_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        git2::Repository::init(folder.path()).unwrap();
        let project = Project::open(folder.path()).unwrap();
        let lane = WorkLane::open();
        let mut memos = Memos::new(&project, read(&project), lane.clone());
        let failed = FailureCause::GatesFailed { gate: "`make` failed with code 1".into() };
        memos.change(StoryId(1), |memo| memo.failure = Some(failed.clone()));
        memos.change(StoryId(2), |memo| memo.granted_usd = 1.5);
        assert_eq!(memos.read(StoryId(1)).failure, Some(failed.clone()));
        assert_eq!(memos.read(StoryId(9)), StoryMemo::default());
        lane.flush().await;
        let again = read(&project);
        assert_eq!((again[&StoryId(1)].failure.clone(), again[&StoryId(2)].granted_usd), (Some(failed), 1.5));
        memos.forget(StoryId(1));
        lane.flush().await;
        assert_eq!(read(&project).into_keys().collect::<Vec<_>>(), [StoryId(2)]);
    }

    #[test]
    fn a_memo_of_an_older_storkit_has_feedback_and_no_cause() {
        let memo: StoryMemo =
            serde_json::from_str(r#"{"feedback":"the gate failed\nx","sent_back":1}"#).unwrap();
        assert_eq!((memo.failure.clone(), memo.sent_back), (None, 1));
        assert_eq!(memo.last_failure().as_deref(), Some("the gate failed\nx"));
        let memo = StoryMemo { failure: Some(FailureCause::Stalled), ..memo };
        assert_eq!(memo.last_failure().as_deref(), Some("no progress for too long"));
    }
}
