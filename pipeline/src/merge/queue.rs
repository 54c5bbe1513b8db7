//! The merge queue: one merge at a time, each a job on disk until it is settled. Starting returns at once, the
//! status is asked for, and a job whose storkit was killed is taken up by the next.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    job::{self, MergeJob},
    resolution, run,
};
use crate::{
    Project,
    evidence::{EvidenceFolder, TakenEvidence},
    merge::{
        outcome::{MergeError, MergeOutcome, MergeRequest, MergeSettings},
        paths::MergePaths,
    },
    story::StoryId,
};

/// How many results are remembered for [`MergeQueue::status`].
const REMEMBERED: usize = 1_000;

/// How many results may wait for the receiver before the queue pauses.
const UNHEARD: usize = 64;

/// The step of a running merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeStep {
    /// A person's git is in the middle of something in which base must not move.
    Waiting {
        /// What that is, as a clause.
        why: String,
    },
    /// The merged tree is made and checked out.
    Squash,
    Gates,
    /// Base moves. Too late to call it off.
    Landing,
}

/// Where a story's merge is.
#[derive(Clone, Debug)]
pub enum MergeStatus {
    /// Others are before it.
    Queued {
        /// How many, the running one counted.
        ahead: usize,
    },
    /// It is its turn.
    Running {
        step: MergeStep,
        /// Since when the merge runs.
        since: SystemTime,
    },
    /// It has ended. [`MergeOutcome::Conflict`] waits for a resolution.
    Ended(Arc<MergeEnded>),
}

/// A merge that ended.
#[derive(Debug)]
pub struct MergeEnded {
    pub story: StoryId,
    pub result: Result<MergeOutcome, MergeError>,
    /// How long it took, gates included.
    pub took: Duration,
    /// What its gates left for people.
    pub evidence: TakenEvidence,
}

/// Why a merge was not queued.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// One start is enough.
    #[error("The merge of story `{0}` is queued or running already. Ask for its status.")]
    AlreadyQueued(StoryId),
    /// There is nothing to go on with.
    #[error("Story `{0}` has no conflict that waits to be resolved. Start its merge instead.")]
    NoConflict(StoryId),
    /// The job cannot be written.
    #[error(transparent)]
    Job(#[from] MergeError),
}

/// The queue of a project. Its worker stops when it is dropped; a merge that is landing then is finished.
#[derive(Debug)]
pub struct MergeQueue {
    shared: Arc<QueueShared>,
    stop: CancellationToken,
}

#[derive(Debug)]
pub(super) struct QueueShared {
    pub project: Project,
    pub place: MergePaths,
    settings: Mutex<Arc<MergeSettings>>,
    // Never held while a file is written: the orchestrator's loop asks for the status.
    state: Mutex<MergeQueueState>,
    /// Held by whoever changes a job's file and the state that belongs to it.
    changing: Mutex<()>,
    wake: Notify,
    /// Whether gates may have left files in the standing worktree.
    pub untidy: AtomicBool,
}

#[derive(Debug, Default)]
struct MergeQueueState {
    waiting: VecDeque<(StoryId, MergeJob)>,
    running: Option<RunningMerge>,
    conflicts: BTreeMap<StoryId, MergeJob>,
    ended: VecDeque<Arc<MergeEnded>>,
}

#[derive(Debug)]
struct RunningMerge {
    story: StoryId,
    step: MergeStep,
    since: SystemTime,
    cancel: CancellationToken,
}

impl MergeQueue {
    /// Starts the worker, with the jobs that an earlier storkit left. Call it after [`super::recover()`], inside a
    /// tokio runtime. The receiver gets the result of every merge, once; the queue pauses while 64 wait there.
    pub fn open(
        project: &Project,
        settings: MergeSettings,
    ) -> Result<(Self, mpsc::Receiver<Arc<MergeEnded>>), MergeError> {
        let place = MergePaths::of(project)?;
        fs::create_dir_all(place.jobs()).map_err(MergeError::io(place.jobs()))?;
        let state = MergeQueueState::of(job::left_over(&place));
        let shared = Arc::new(QueueShared {
            project: project.clone(),
            place,
            settings: Mutex::new(Arc::new(settings)),
            state: Mutex::new(state),
            changing: Mutex::new(()),
            wake: Notify::new(),
            // An earlier storkit may have been killed while its gates ran.
            untidy: AtomicBool::new(true),
        });
        let stop = CancellationToken::new();
        let (told, ends) = mpsc::channel(UNHEARD);
        tokio::spawn(work(Arc::clone(&shared), stop.clone(), told));
        Ok((Self { shared, stop }, ends))
    }

    /// Other settings, for merges from now on.
    pub fn configure(&self, settings: MergeSettings) {
        *self.shared.settings.lock() = Arc::new(settings);
    }

    /// Queues a story's merge and returns. A conflict of it that waited is forgotten.
    pub fn start(&self, request: &MergeRequest) -> Result<(), QueueError> {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let job = MergeJob {
            at: nanos.try_into().unwrap_or(u64::MAX),
            file: request.file.to_string(),
            title: request.title.clone(),
            branch: request.branch.clone(),
            in_quarantine: request.in_quarantine,
            conflict: None,
            resolved: false,
        };
        self.enqueue(request.file.id, job)
    }

    /// Queues a merge whose conflict somebody has resolved in [`super::conflict_worktree`]. It ends in the conflict
    /// again if a path has no decision or markers are left, or if base has moved on in the same place.
    pub fn continue_merge(&self, story: StoryId) -> Result<(), QueueError> {
        let waiting = self.shared.state.lock().conflicts.get(&story).cloned();
        let job = waiting.ok_or(QueueError::NoConflict(story))?;
        self.enqueue(story, MergeJob { resolved: true, ..job })
    }

    fn enqueue(&self, story: StoryId, job: MergeJob) -> Result<(), QueueError> {
        let _changing = self.shared.changing.lock();
        if self.shared.state.lock().has(story) {
            return Err(QueueError::AlreadyQueued(story));
        }
        // On disk first: the job must survive a kill right after the answer.
        job.save(&self.shared.place, story)?;
        let mut state = self.shared.state.lock();
        state.conflicts.remove(&story);
        state.ended.retain(|ended| ended.story != story);
        state.waiting.push_back((story, job));
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Where a story's merge is; `None` if there was none, or long ago.
    pub fn status(&self, story: StoryId) -> Option<MergeStatus> {
        let state = self.shared.state.lock();
        if let Some(running) = state.running.as_ref().filter(|running| running.story == story) {
            return Some(MergeStatus::Running { step: running.step.clone(), since: running.since });
        }
        if let Some(position) = state.waiting.iter().position(|(other, _)| *other == story) {
            return Some(MergeStatus::Queued { ahead: position + usize::from(state.running.is_some()) });
        }
        let ended = state.ended.iter().rev().find(|ended| ended.story == story);
        ended.map(|ended| MergeStatus::Ended(Arc::clone(ended)))
    }

    /// The stories that wait for somebody to resolve their conflict.
    pub fn conflicts(&self) -> Vec<StoryId> {
        self.shared.state.lock().conflicts.keys().copied().collect()
    }

    /// Cancels a merge: a waiting one leaves the queue, the gates of a running one are stopped, one whose
    /// base is moving finishes. Returns whether there was one to cancel.
    pub fn cancel(&self, story: StoryId) -> Result<bool, MergeError> {
        let _changing = self.shared.changing.lock();
        let job = {
            let mut state = self.shared.state.lock();
            if let Some(running) = state.running.as_ref().filter(|running| running.story == story) {
                running.cancel.cancel();
                // A merge that lands finishes: it has passed its last check of the token.
                return Ok(running.step != MergeStep::Landing);
            }
            let position = state.waiting.iter().position(|(other, _)| *other == story);
            match position.and_then(|position| state.waiting.remove(position)) {
                Some((_, job)) => job,
                None => return Ok(false),
            }
        };
        // The resolved files are somebody's work, so the conflict waits instead of being dropped.
        if job.conflict.is_some() {
            let job = MergeJob { resolved: false, ..job };
            job.save(&self.shared.place, story)?;
            self.shared.state.lock().conflicts.insert(story, job);
        } else {
            MergeJob::forget(&self.shared.place, story)?;
        }
        Ok(true)
    }

    /// Gives up on a conflict: its worktree is removed, and the story can be merged again or sent back.
    /// Blocks during the removal.
    pub fn abort(&self, story: StoryId) -> Result<(), MergeError> {
        let _changing = self.shared.changing.lock();
        if self.shared.state.lock().conflicts.remove(&story).is_none() {
            return Err(MergeError::NoConflict(story));
        }
        // The job first: one that outlived its worktree would be merged again by the next start.
        MergeJob::forget(&self.shared.place, story)?;
        resolution::clear(&self.shared.place, story)
    }
}

impl Drop for MergeQueue {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl MergeQueueState {
    fn of(jobs: Vec<(StoryId, MergeJob)>) -> Self {
        let mut state = Self::default();
        for (story, job) in jobs {
            match &job.conflict {
                Some(waiting) if job.waits() => {
                    // As if it had just ended, so that `status` shows the conflict after a restart.
                    let result = Ok(MergeOutcome::Conflict(waiting.paths.clone()));
                    state.ended.push_back(Arc::new(MergeEnded {
                        story,
                        result,
                        took: Duration::ZERO,
                        evidence: TakenEvidence::default(),
                    }));
                    state.conflicts.insert(story, job);
                }
                _ => state.waiting.push_back((story, job)),
            }
        }
        state
    }

    fn has(&self, story: StoryId) -> bool {
        self.running.as_ref().is_some_and(|running| running.story == story)
            || self.waiting.iter().any(|(other, _)| *other == story)
    }
}

impl QueueShared {
    pub(super) fn settings(&self) -> Arc<MergeSettings> {
        Arc::clone(&*self.settings.lock())
    }

    pub(super) fn step(&self, step: MergeStep) {
        if let Some(running) = &mut self.state.lock().running {
            running.step = step;
        }
    }

    /// Runs what blocks, away from the runtime's threads.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, MergeError> + Send + 'static,
    ) -> Result<T, MergeError> {
        let shared = Arc::clone(self);
        let joined = tokio::task::spawn_blocking(move || work(&shared)).await;
        joined.unwrap_or_else(|error| {
            Err(MergeError::Unfinished(format!(
                "The merge failed inside storkit: {error}. It can be started again."
            )))
        })
    }
}

async fn work(shared: Arc<QueueShared>, stop: CancellationToken, told: mpsc::Sender<Arc<MergeEnded>>) {
    loop {
        let Some((story, job, cancel)) = next(&shared, &stop) else {
            tokio::select! {
                () = stop.cancelled() => return,
                () = shared.wake.notified() => continue,
            }
        };
        let start = Instant::now();
        let result = run::one(&shared, job, &cancel).await;
        if stop.is_cancelled() && matches!(result, Err(MergeError::Cancelled)) {
            // The job stays on disk, for the next storkit.
            return;
        }
        let taken =
            shared.blocking(|shared| Ok(EvidenceFolder::of(&shared.place.standing_private()).take())).await;
        let ended = Arc::new(MergeEnded {
            story,
            result,
            took: start.elapsed(),
            evidence: taken.unwrap_or_default(),
        });
        let (about, place) = (Arc::clone(&ended), shared.place.clone());
        let conflict = shared.blocking(move |_| settle(&place, &about)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what a settled merge leaves cannot be removed");
            None
        });
        note(&shared, conflict, &ended);
        // Fails where nobody listens any more: the result is in `status`.
        let _ = told.send(ended).await;
        // After the result is out: nobody has to wait for the cleaning.
        if shared.untidy.load(Ordering::SeqCst)
            && let Err(error) = shared.blocking(run::tidy).await
        {
            tracing::warn!(%error, "what gates left in the merge worktree cannot be removed");
        }
    }
}

fn next(shared: &QueueShared, stop: &CancellationToken) -> Option<(StoryId, MergeJob, CancellationToken)> {
    let mut state = shared.state.lock();
    if stop.is_cancelled() {
        return None;
    }
    let (story, job) = state.waiting.pop_front()?;
    // Dropping the queue cancels the running merge, but cancelling a merge does not stop the queue.
    let cancel = stop.child_token();
    let (since, step) = (SystemTime::now(), MergeStep::Squash);
    state.running = Some(RunningMerge { story, step, since, cancel: cancel.clone() });
    Some((story, job, cancel))
}

/// Updates the disk to the result: removes the job and the conflict's worktree. A conflict that is not merged
/// stays with its resolved files, to be continued; it is returned.
fn settle(place: &MergePaths, ended: &MergeEnded) -> Result<Option<MergeJob>, MergeError> {
    let story = ended.story;
    let over = matches!(ended.result, Ok(MergeOutcome::Merged(_) | MergeOutcome::Empty));
    if let Some(mut job) = MergeJob::read(place, story).filter(|job| job.conflict.is_some() && !over) {
        job.resolved = false;
        job.save(place, story)?;
        return Ok(Some(job));
    }
    MergeJob::forget(place, story)?;
    if place.conflict(story).exists() {
        resolution::clear(place, story)?;
    }
    Ok(None)
}

fn note(shared: &QueueShared, conflict: Option<MergeJob>, ended: &Arc<MergeEnded>) {
    let mut state = shared.state.lock();
    state.running = None;
    state.conflicts.extend(conflict.map(|job| (ended.story, job)));
    state.ended.push_back(Arc::clone(ended));
    if state.ended.len() > REMEMBERED {
        state.ended.pop_front();
    }
}
