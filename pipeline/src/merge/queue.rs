//! The merge queue: one merge at a time, each a job on disk until it is settled. Starting returns at once, the
//! status is asked for, and a job whose storkit was killed is taken up by the next.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use git2::Oid;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Journal, MergeError, MergeOutcome, MergeRequest, MergeSettings, Place, Proof,
    land::{self, Landing},
    place::remove_durably,
    proof::{GateProof, gate_proofs},
    resolution::{self, Waiting},
    squash::{self, Candidate, Squash},
    standing::Standing,
};
use crate::{Project, atomic, gates::GateReport, guard::BaseGuard, stage::Stage, story::StoryId};

/// How often a merge is done again because a person moved base meanwhile.
const ATTEMPTS: usize = 5;

/// How many ends are remembered for [`MergeQueue::status`].
const REMEMBERED: usize = 1_000;

/// How many ends may wait for the receiver before the queue pauses.
const UNHEARD: usize = 64;

/// What a running merge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The merged tree is made and checked out.
    Squash,
    /// The gates run.
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
        /// What is done now.
        step: Step,
        /// Since when the merge runs.
        since: SystemTime,
    },
    /// It has ended. [`MergeOutcome::Conflict`] waits for a resolution.
    Ended(Arc<Ended>),
}

/// A merge that ended.
#[derive(Debug)]
pub struct Ended {
    /// The story.
    pub story: StoryId,
    /// How.
    pub result: Result<MergeOutcome, MergeError>,
    /// How long it took, gates included.
    pub took: Duration,
}

/// Why a merge was not queued.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
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

/// A merge to be done, as it lies on disk until it is settled.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    /// Nanoseconds since 1970: the order.
    at: u64,
    file: String,
    title: String,
    branch: String,
    /// A conflict that came up.
    #[serde(default)]
    conflict: Option<Waiting>,
    /// Whether somebody says that it is resolved.
    #[serde(default)]
    resolved: bool,
}

/// The queue of a project. Its worker ends when it is dropped; a merge that is landing then is brought to its end.
#[derive(Debug)]
pub struct MergeQueue {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    project: Project,
    place: Place,
    settings: Mutex<Arc<MergeSettings>>,
    state: Mutex<State>,
    wake: Notify,
    /// Whether gates may have left files in the standing worktree.
    untidy: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(StoryId, Job)>,
    running: Option<Running>,
    conflicts: BTreeMap<StoryId, Job>,
    ended: VecDeque<Arc<Ended>>,
}

#[derive(Debug)]
struct Running {
    story: StoryId,
    step: Step,
    since: SystemTime,
    cancel: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MergeQueue {
    /// Starts the worker, with the jobs that an earlier storkit left. Call it after [`super::recover()`], inside a
    /// tokio runtime. The receiver gets the end of every merge, once; the queue pauses while 64 wait there.
    pub fn open(
        project: &Project,
        settings: MergeSettings,
    ) -> Result<(Self, mpsc::Receiver<Arc<Ended>>), MergeError> {
        let place = Place::of(project)?;
        fs::create_dir_all(place.jobs()).map_err(MergeError::io(place.jobs()))?;
        let state = left_jobs(&place);
        let shared = Arc::new(Shared {
            project: project.clone(),
            place,
            settings: Mutex::new(Arc::new(settings)),
            state: Mutex::new(state),
            wake: Notify::new(),
            untidy: AtomicBool::new(true),
        });
        let stop = CancellationToken::new();
        let (told, ends) = mpsc::channel(UNHEARD);
        tokio::spawn(work(Arc::clone(&shared), stop.clone(), told));
        Ok((Self { shared, stop }, ends))
    }

    /// Other settings, for merges from now on.
    pub fn configure(&self, settings: MergeSettings) {
        *lock(&self.shared.settings) = Arc::new(settings);
    }

    /// Queues a story's merge and returns. A conflict of it that waited is forgotten.
    pub fn start(&self, request: &MergeRequest) -> Result<(), StartError> {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let job = Job {
            at: nanos.try_into().unwrap_or(u64::MAX),
            file: request.file.to_string(),
            title: request.title.clone(),
            branch: request.branch.clone(),
            conflict: None,
            resolved: false,
        };
        self.enqueue(request.file.id, job)
    }

    /// Queues a merge whose conflict somebody has resolved in [`super::conflict_worktree`]. It ends in the conflict
    /// again if markers are left, or if base has moved on in the same place.
    pub fn continue_merge(&self, story: StoryId) -> Result<(), StartError> {
        let waiting = lock(&self.shared.state).conflicts.get(&story).cloned();
        let job = waiting.ok_or(StartError::NoConflict(story))?;
        self.enqueue(story, Job { resolved: true, ..job })
    }

    fn enqueue(&self, story: StoryId, job: Job) -> Result<(), StartError> {
        let mut state = lock(&self.shared.state);
        if state.has(story) {
            return Err(StartError::AlreadyQueued(story));
        }
        self.shared.save(story, &job)?;
        state.conflicts.remove(&story);
        state.ended.retain(|ended| ended.story != story);
        state.waiting.push_back((story, job));
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Where a story's merge is; `None` if there was none, or long ago.
    pub fn status(&self, story: StoryId) -> Option<MergeStatus> {
        let state = lock(&self.shared.state);
        if let Some(running) = state.running.as_ref().filter(|running| running.story == story) {
            return Some(MergeStatus::Running { step: running.step, since: running.since });
        }
        if let Some(position) = state.waiting.iter().position(|(other, _)| *other == story) {
            return Some(MergeStatus::Queued { ahead: position + usize::from(state.running.is_some()) });
        }
        let ended = state.ended.iter().rev().find(|ended| ended.story == story);
        ended.map(|ended| MergeStatus::Ended(Arc::clone(ended)))
    }

    /// The stories that wait for somebody to resolve their conflict.
    pub fn conflicts(&self) -> Vec<StoryId> {
        lock(&self.shared.state).conflicts.keys().copied().collect()
    }

    /// Calls a merge off: one that waits is taken out, a running one's gates are ended, one whose base is moving
    /// goes on. Returns whether there was one to call off.
    pub fn cancel(&self, story: StoryId) -> Result<bool, MergeError> {
        let mut state = lock(&self.shared.state);
        if let Some(running) = state.running.as_ref().filter(|running| running.story == story) {
            running.cancel.cancel();
            return Ok(running.step != Step::Landing);
        }
        let before = state.waiting.len();
        state.waiting.retain(|(other, _)| *other != story);
        if state.waiting.len() == before {
            return Ok(false);
        }
        self.shared.forget(story)?;
        Ok(true)
    }

    /// Gives a conflict up: its worktree goes, and the story may be merged anew or sent back. Blocks while the
    /// worktree is removed.
    pub fn abort(&self, story: StoryId) -> Result<(), MergeError> {
        if lock(&self.shared.state).conflicts.remove(&story).is_none() {
            return Err(MergeError::NoConflict(story));
        }
        self.shared.forget(story)?;
        resolution::clear(&self.shared.place, story)
    }
}

impl Drop for MergeQueue {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl State {
    fn has(&self, story: StoryId) -> bool {
        self.running.as_ref().is_some_and(|running| running.story == story)
            || self.waiting.iter().any(|(other, _)| *other == story)
    }
}

impl Shared {
    fn save(&self, story: StoryId, job: &Job) -> Result<(), MergeError> {
        let path = self.place.job(story);
        let bytes = serde_json::to_vec_pretty(job).map_err(std::io::Error::from);
        bytes.and_then(|bytes| atomic::write(&path, &bytes)).map_err(MergeError::io(path))
    }

    fn forget(&self, story: StoryId) -> Result<(), MergeError> {
        let path = self.place.job(story);
        remove_durably(&path).map_err(MergeError::io(path))
    }

    fn step(&self, step: Step) {
        if let Some(running) = &mut lock(&self.state).running {
            running.step = step;
        }
    }

    /// Runs what blocks, away from the runtime's threads.
    async fn blocking<T: Send + 'static>(
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

/// The jobs on disk, oldest first. Those whose story has left the merge stage are settled; a conflict waits on
/// where its worktree still is.
fn left_jobs(place: &Place) -> State {
    let mut jobs = Vec::new();
    let visible = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    for entry in fs::read_dir(place.jobs()).into_iter().flatten().flatten().filter(visible) {
        match fs::read(entry.path()).map_err(anyhow::Error::from).and_then(|bytes| read_job(&bytes)) {
            Ok((request, job)) if place.story(Stage::Merge, &request.file).is_file() => {
                jobs.push((request.file.id, job));
            }
            Ok(_) => drop(fs::remove_file(entry.path())),
            Err(error) => {
                tracing::warn!(path = %entry.path().display(), %error, "a merge job cannot be read")
            }
        }
    }
    jobs.sort_by_key(|(story, job)| (job.at, *story));
    let mut state = State::default();
    for (story, mut job) in jobs {
        if !place.conflict(story).is_dir() {
            (job.conflict, job.resolved) = (None, false);
        }
        match &job.conflict {
            Some(waiting) if !job.resolved => {
                let result = Ok(MergeOutcome::Conflict(waiting.paths.clone()));
                state.ended.push_back(Arc::new(Ended { story, result, took: Duration::ZERO }));
                state.conflicts.insert(story, job);
            }
            _ => state.waiting.push_back((story, job)),
        }
    }
    state
}

fn read_job(bytes: &[u8]) -> anyhow::Result<(MergeRequest, Job)> {
    let job: Job = serde_json::from_slice(bytes)?;
    let request =
        MergeRequest { file: job.file.parse()?, title: job.title.clone(), branch: job.branch.clone() };
    Ok((request, job))
}

async fn work(shared: Arc<Shared>, stop: CancellationToken, told: mpsc::Sender<Arc<Ended>>) {
    loop {
        let Some((story, job, cancel)) = next(&shared, &stop) else {
            tokio::select! {
                () = stop.cancelled() => return,
                () = shared.wake.notified() => continue,
            }
        };
        let start = Instant::now();
        let result = one(&shared, job.clone(), &cancel).await;
        if stop.is_cancelled() && matches!(result, Err(MergeError::Cancelled)) {
            // The job stays on disk, for the next storkit.
            return;
        }
        let ended = Arc::new(Ended { story, result, took: start.elapsed() });
        settle(&shared, &job, &ended);
        // Fails where nobody listens any more: the end stands in `status`.
        let _ = told.send(ended).await;
        if shared.untidy.load(Ordering::SeqCst)
            && let Err(error) = shared.blocking(tidy).await
        {
            tracing::warn!(%error, "what gates left in the merge worktree cannot be removed");
        }
    }
}

fn next(shared: &Shared, stop: &CancellationToken) -> Option<(StoryId, Job, CancellationToken)> {
    let mut state = lock(&shared.state);
    if stop.is_cancelled() {
        return None;
    }
    let (story, job) = state.waiting.pop_front()?;
    let cancel = stop.child_token();
    let (since, step) = (SystemTime::now(), Step::Squash);
    state.running = Some(Running { story, step, since, cancel: cancel.clone() });
    Some((story, job, cancel))
}

/// Notes the end. The job goes from the disk, but for a conflict, which `one` has written there.
fn settle(shared: &Shared, job: &Job, ended: &Arc<Ended>) {
    let conflict = matches!(ended.result, Ok(MergeOutcome::Conflict(_)));
    let saved = conflict.then(|| fs::read(shared.place.job(ended.story)).ok()).flatten();
    if !conflict && let Err(error) = shared.forget(ended.story) {
        tracing::warn!(%error, "a settled merge job cannot be removed");
    }
    let mut state = lock(&shared.state);
    state.running = None;
    if conflict {
        let job = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(|| job.clone());
        state.conflicts.insert(ended.story, job);
    }
    state.ended.push_back(Arc::clone(ended));
    if state.ended.len() > REMEMBERED {
        state.ended.pop_front();
    }
}

/// One merge from its squash to its end, again where base moved meanwhile.
async fn one(shared: &Arc<Shared>, job: Job, cancel: &CancellationToken) -> Result<MergeOutcome, MergeError> {
    let settings = Arc::clone(&*lock(&shared.settings));
    let file = job.file.parse().map_err(|_| MergeError::NoStory(job.file.clone()))?;
    let request = Arc::new(MergeRequest { file, title: job.title.clone(), branch: job.branch.clone() });
    let had_conflict = job.conflict.is_some();
    for _ in 0..ATTEMPTS {
        shared.step(Step::Squash);
        let (base, asked, job) = (settings.base.clone(), Arc::clone(&request), job.clone());
        let squashed = shared.blocking(move |shared| prepare(shared, &base, &asked, job)).await?;
        let (candidate, commit) = match squashed {
            Prepared::Ended(outcome) => return Ok(outcome),
            Prepared::Ready(candidate, commit) => (candidate, commit),
        };
        let report = gate(shared, &settings, &candidate, commit, cancel).await?;
        if !report.passed() {
            return Ok(MergeOutcome::GateFailed(report));
        }
        if cancel.is_cancelled() {
            return Err(MergeError::Cancelled);
        }
        shared.step(Step::Landing);
        let (base, asked) = (settings.base.clone(), Arc::clone(&request));
        match shared.blocking(move |shared| land(shared, &base, &asked, &candidate, &report)).await? {
            Landing::Landed(proof) => {
                if had_conflict {
                    let story = proof.story;
                    shared.blocking(move |shared| resolution::clear(&shared.place, story)).await?;
                }
                return Ok(MergeOutcome::Merged(proof));
            }
            Landing::InTheWay(paths) => return Ok(MergeOutcome::CheckoutInTheWay(paths)),
            Landing::BaseMoved => {}
        }
    }
    Ok(MergeOutcome::BaseMoved)
}

enum Prepared {
    Ended(MergeOutcome),
    /// With a commit of the tree on base, for the gates' worktree.
    Ready(Candidate, Oid),
}

fn prepare(
    shared: &Shared,
    base: &str,
    request: &MergeRequest,
    mut job: Job,
) -> Result<Prepared, MergeError> {
    let (place, story) = (&shared.place, request.file.id);
    let tip = match job.conflict.as_ref().filter(|_| job.resolved) {
        None => None,
        Some(waiting) => match resolution::resolved(place, story, waiting)? {
            Ok(commit) => Some(commit),
            Err(open) => {
                job.resolved = false;
                shared.save(story, &job)?;
                return Ok(Prepared::Ended(MergeOutcome::Conflict(open)));
            }
        },
    };
    match squash::squash(place, request, base, tip)? {
        Squash::Empty => Ok(Prepared::Ended(MergeOutcome::Empty)),
        Squash::Ready(candidate) => {
            let commit = squash::commit(place, request, &candidate, &[])?;
            Ok(Prepared::Ready(candidate, commit))
        }
        Squash::Conflict { before, tip, paths } => {
            resolution::lay_out(place, story, before, tip)?;
            let waiting = Waiting { before: before.to_string(), tip: tip.to_string(), paths: paths.clone() };
            (job.conflict, job.resolved) = (Some(waiting), false);
            shared.save(story, &job)?;
            Ok(Prepared::Ended(MergeOutcome::Conflict(paths)))
        }
    }
}

/// The gates on the merged result, in the standing worktree; none, if the project has none.
async fn gate(
    shared: &Arc<Shared>,
    settings: &MergeSettings,
    candidate: &Candidate,
    commit: Oid,
    cancel: &CancellationToken,
) -> Result<GateReport, MergeError> {
    let tree = candidate.tree.to_string();
    if settings.gates.commands.is_empty() {
        return Ok(GateReport { results: Vec::new(), tree });
    }
    let open = move |shared: &Shared| {
        if shared.untidy.load(Ordering::SeqCst) {
            tidy(shared)?;
        }
        Standing::open(&shared.place, shared.place.standing(), commit)?.check_out(commit)
    };
    shared.blocking(open).await?;
    shared.step(Step::Gates);
    shared.untidy.store(true, Ordering::SeqCst);
    let owner = shared.place.root.to_string_lossy();
    let report = settings.gates.run_marked(&shared.place.standing(), &tree, &owner, cancel).await;
    report.map_err(|_| MergeError::Cancelled)
}

/// Removes what gates left in the standing worktree, which no merge has to wait for.
fn tidy(shared: &Shared) -> Result<(), MergeError> {
    if let Some(standing) = Standing::find(&shared.place, shared.place.standing()) {
        standing.tidy()?;
    }
    shared.untidy.store(false, Ordering::SeqCst);
    Ok(())
}

fn land(
    shared: &Shared,
    base: &str,
    request: &MergeRequest,
    candidate: &Candidate,
    report: &GateReport,
) -> Result<Landing, MergeError> {
    let gates: Vec<GateProof> = gate_proofs(report);
    let commit = squash::commit(&shared.place, request, candidate, &gates)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let proof = Proof {
        story: request.file.id,
        file: request.file.to_string(),
        base: base.to_owned(),
        before: candidate.before.to_string(),
        commit: commit.to_string(),
        tree: candidate.tree.to_string(),
        diff: candidate.diff,
        gates,
        at: now.as_secs().try_into().unwrap_or(i64::MAX),
    };
    let journal = Journal { proof, story_blob: candidate.story_blob.to_string() };
    let guard = BaseGuard::lock(&shared.project)?;
    land::land(&shared.place, &journal, &guard)
}
