//! What people and agents decided about stories: who, when and why. An append-only file with one JSON line for each act. Runs are in the
//! ledger and merges in their commits, so neither is repeated here.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
};

use serde::{Deserialize, Serialize};
use settings::unlinked;
use tokio::sync::oneshot;

use crate::{
    Project,
    event::{Actor, MergeView, PipelineEvent},
    story::{StoryId, stage::Stage},
};

/// The newest acts of a story that are read.
const ACTS_MAX: usize = 500;

/// One act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub story: StoryId,
    /// In milliseconds since 1970.
    pub at: u64,
    #[serde(flatten)]
    pub act: StoryAct,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum StoryAct {
    Created {
        stage: Stage,
        by: Actor,
    },
    Moved {
        from: Stage,
        to: Stage,
        by: Actor,
        /// As a clause or sentence.
        why: Option<String>,
    },
    Deleted {
        by: Actor,
    },
    /// `None`: to nobody in particular.
    Assigned {
        agent: Option<String>,
        by: Actor,
    },
    /// Its text or its front matter was changed by a command or a tool.
    Edited {
        by: Actor,
    },
    /// `start` or `retry` without a move: what held it does not hold it any more.
    Continued {
        by: Actor,
    },
    /// `accept` of a story in quarantine, which is in the merge stage already.
    Accepted {
        by: Actor,
    },
    /// Its merge ended without a merge commit.
    NotMerged(MergeFault),
    Quarantined {
        /// As a clause.
        why: String,
    },
    Released {
        by: Actor,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum MergeFault {
    Conflict {
        files: Vec<PathBuf>,
    },
    GateFailed {
        /// Which, and how, as a clause.
        gate: String,
    },
    Failed {
        /// As a sentence.
        why: String,
    },
}

impl StoryAct {
    /// What an event adds to its story's history.
    pub(crate) fn of(event: &PipelineEvent) -> Option<(StoryId, Self)> {
        let (story, act) = match event {
            PipelineEvent::StoryCreated { story, stage, by, .. } => {
                (story, Self::Created { stage: *stage, by: by.clone() })
            }
            PipelineEvent::StoryMoved { story, from, to, by, why, .. } => {
                let (by, why) = (by.clone(), why.clone());
                (story, Self::Moved { from: *from, to: *to, by, why })
            }
            PipelineEvent::StoryDeleted { story, by, .. } => (story, Self::Deleted { by: by.clone() }),
            PipelineEvent::Merge { story, merge, .. } => (story, Self::NotMerged(MergeFault::of(merge)?)),
            PipelineEvent::Quarantined { story, why, .. } => (story, Self::Quarantined { why: why.clone() }),
            PipelineEvent::Released { story, by, .. } => (story, Self::Released { by: by.clone() }),
            PipelineEvent::StoryChanged { .. }
            | PipelineEvent::PlanProposed { .. }
            | PipelineEvent::ProblemFound { .. }
            | PipelineEvent::RunStarted { .. }
            | PipelineEvent::RunPhase { .. }
            | PipelineEvent::RunSaid { .. }
            | PipelineEvent::RunEnded { .. }
            | PipelineEvent::Evidence { .. }
            | PipelineEvent::NeedsPerson { .. }
            | PipelineEvent::Alarm { .. }
            | PipelineEvent::Landing { .. }
            | PipelineEvent::Paused { .. } => return None,
        };
        Some((*story, act))
    }
}

impl MergeFault {
    fn of(merge: &MergeView) -> Option<Self> {
        match merge {
            MergeView::Conflict { files } => Some(Self::Conflict { files: files.clone() }),
            MergeView::GateFailed { gate, .. } => Some(Self::GateFailed { gate: gate.clone() }),
            MergeView::Failed { why } => Some(Self::Failed { why: why.clone() }),
            MergeView::Queued { .. } | MergeView::Running { .. } | MergeView::Merged { .. } => None,
        }
    }
}

/// `.storkit/logs/stories.jsonl`. Cheap to clone. A line that a kill cut in two is skipped.
#[derive(Clone, Debug)]
pub struct StoryHistory(mpsc::Sender<HistoryJob>);

enum HistoryJob {
    Write(Vec<HistoryEntry>),
    Read(StoryId, oneshot::Sender<io::Result<Vec<HistoryEntry>>>),
    Flush(oneshot::Sender<()>),
}

impl StoryHistory {
    /// Opens the file, or makes it.
    pub fn open(project: &Project) -> io::Result<Self> {
        let path = project.dir().join("logs/stories.jsonl");
        unlinked::create_dir_all(path.parent().unwrap_or(&path))?;
        let mut file = unlinked::open(OpenOptions::new().create(true).read(true).append(true), &path)?;
        if is_torn(&mut file)? {
            file.write_all(b"\n")?;
        }
        let (jobs, waiting) = mpsc::channel();
        // A thread of its own: the orchestrator's loop never waits for a disk, and who reads finds what was written before.
        std::thread::Builder::new()
            .name("story-history".into())
            .spawn(move || work(&waiting, file, &path))?;
        Ok(Self(jobs))
    }

    /// Adds these acts.
    pub(crate) fn add(&self, entries: Vec<HistoryEntry>) {
        if !entries.is_empty() {
            // Fails where the thread has panicked; then it is only the history that is lost.
            let _ = self.0.send(HistoryJob::Write(entries));
        }
    }

    /// The newest acts of a story, oldest first.
    pub async fn of_story(&self, story: StoryId) -> io::Result<Vec<HistoryEntry>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send(HistoryJob::Read(story, answer));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the history's thread has ended")))
    }

    /// Waits until all that was added is written.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let _ = self.0.send(HistoryJob::Flush(done));
        let _ = wait.await;
    }
}

fn work(jobs: &mpsc::Receiver<HistoryJob>, mut file: File, path: &Path) {
    while let Ok(job) = jobs.recv() {
        match job {
            HistoryJob::Write(entries) => {
                if let Err(error) = write(&mut file, &entries) {
                    tracing::error!(%error, path = %path.display(), "the stories' history cannot be written");
                }
            }
            // Fails where nobody waits any more.
            HistoryJob::Read(story, answer) => drop(answer.send(read(path, story))),
            HistoryJob::Flush(done) => drop(done.send(())),
        }
    }
}

/// Whether a kill has cut the last line in two.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn write(file: &mut File, entries: &[HistoryEntry]) -> io::Result<()> {
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry)?;
        lines.push(b'\n');
    }
    file.write_all(&lines)
}

fn read(path: &Path, story: StoryId) -> io::Result<Vec<HistoryEntry>> {
    #[derive(Deserialize)]
    struct OfStory {
        story: StoryId,
    }
    let mut found = VecDeque::new();
    for line in BufReader::new(unlinked::open(OpenOptions::new().read(true), path)?).split(b'\n') {
        let line = line?;
        // Most lines are about other stories.
        if !serde_json::from_slice::<OfStory>(&line).is_ok_and(|of| of.story == story) {
            continue;
        }
        if let Ok(entry) = serde_json::from_slice(&line) {
            found.push_back(entry);
            if found.len() > ACTS_MAX {
                found.pop_front();
            }
        }
    }
    Ok(found.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().unwrap();
        git2::Repository::init(folder.path()).unwrap();
        let project = Project::open(folder.path()).unwrap();
        (folder, project)
    }

    fn entry(story: u32, at: u64, act: StoryAct) -> HistoryEntry {
        HistoryEntry { story: StoryId(story), at, act }
    }

    fn ann() -> Actor {
        Actor::Person("Ann".into())
    }

    #[tokio::test]
    async fn every_kind_of_act_is_read_back_for_its_story_alone_also_after_a_torn_line() {
        let (_folder, project) = project();
        let acts = [
            StoryAct::Created { stage: Stage::Backlog, by: ann() },
            StoryAct::Moved {
                from: Stage::Qa,
                to: Stage::Current,
                by: Actor::Agent("qa".into()),
                why: Some("sent back: it squeaks".into()),
            },
            StoryAct::Deleted { by: Actor::Editor },
            StoryAct::Assigned { agent: Some("opus".into()), by: Actor::Approved("Ann".into()) },
            StoryAct::Assigned { agent: None, by: ann() },
            StoryAct::Edited { by: ann() },
            StoryAct::Continued { by: Actor::Pipeline },
            StoryAct::Accepted { by: ann() },
            StoryAct::NotMerged(MergeFault::Conflict { files: vec!["a.txt".into()] }),
            StoryAct::NotMerged(MergeFault::GateFailed { gate: "`make` failed with code 1".into() }),
            StoryAct::NotMerged(MergeFault::Failed { why: "It did not merge.".into() }),
            StoryAct::Quarantined { why: "an agent wrote it".into() },
            StoryAct::Released { by: ann() },
        ];
        let all: Vec<HistoryEntry> = (1..).zip(acts).map(|(at, act)| entry(7, at, act)).collect();
        let history = StoryHistory::open(&project).unwrap();
        history.add(all.clone());
        history.add(vec![entry(8, 1, StoryAct::Edited { by: ann() })]);
        assert_eq!(history.of_story(StoryId(7)).await.unwrap(), all);
        let path = project.dir().join("logs/stories.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"story\":8,\"at").unwrap();
        let again = StoryHistory::open(&project).unwrap();
        let after = entry(8, 2, StoryAct::Edited { by: ann() });
        again.add(vec![after.clone()]);
        assert_eq!(again.of_story(StoryId(8)).await.unwrap().last(), Some(&after));
        assert_eq!(again.of_story(StoryId(8)).await.unwrap().len(), 2);
        assert_eq!(again.of_story(StoryId(9)).await.unwrap(), []);
    }

    #[tokio::test]
    async fn only_the_newest_acts_are_read() {
        let (_folder, project) = project();
        let history = StoryHistory::open(&project).unwrap();
        let acts = (0..ACTS_MAX as u64 + 3).map(|at| entry(1, at, StoryAct::Edited { by: ann() }));
        history.add(acts.collect());
        let read = history.of_story(StoryId(1)).await.unwrap();
        assert_eq!((read.len(), read[0].at), (ACTS_MAX, 3));
    }

    #[test]
    fn of_a_merge_only_its_failures_are_acts() {
        let event = |merge| PipelineEvent::Merge { story: StoryId(1), title: "x".into(), merge, diff: None };
        let act = |merge| StoryAct::of(&event(merge));
        assert_eq!(act(MergeView::Queued { ahead: 1 }), None);
        assert_eq!(act(MergeView::Merged { commit: "a".into() }), None);
        let gate = MergeView::GateFailed { gate: "`make` failed".into(), output: vec!["x".into()] };
        let expected = MergeFault::GateFailed { gate: "`make` failed".into() };
        assert_eq!(act(gate), Some((StoryId(1), StoryAct::NotMerged(expected))));
    }
}
