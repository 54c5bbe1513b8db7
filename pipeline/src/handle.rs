//! [`Pipeline`]: the handle with all verbs. Each is an order to the orchestrator, the single task that acts.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use agents::model_proxy::ModelAccess;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{
    Project,
    board::{AttachedFile, FileToAttach, WorkError},
    branch_review::{ReviewFindings, StartedReview},
    event::{Actor, MergeView, NumberedEvent, PipelineSnapshot, RunId, RunInfo},
    history::StoryHistory,
    host::AgentSettings,
    ledger::RunLedger,
    mailbox::PersonMessage,
    memory::{MemoryChange, MemoryFault, MemoryNote, MemoryScope},
    rooms::{EnterRequest, LandRequest, LandedStory, RoomReadiness},
    specs::ProjectSpecs,
    story::{Story, StoryConversation, StoryId, StoryKind, stage::Stage, templates},
    strangers::StrangerText,
    verdict::ReviewDecision,
    worktree::RoomName,
};

/// The pipeline of one project. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) project: Project,
    pub(crate) orders: mpsc::Sender<PipelineOrder>,
    pub(crate) events: broadcast::Sender<Arc<NumberedEvent>>,
    pub(crate) snapshot: watch::Receiver<Arc<PipelineSnapshot>>,
    pub(crate) ledger: RunLedger,
    pub(crate) history: StoryHistory,
    pub(crate) settings: Arc<AgentSettings>,
}

/// Why a verb did nothing. Each is a sentence for the person or agent who asked.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The story's file does not allow it.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// Not possible in the current state; the text is the sentence.
    #[error("{0}")]
    Refused(String),
    /// The pipeline has ended with storkit.
    #[error("storkit is shutting down.")]
    Gone,
}

#[derive(Clone, Debug)]
pub enum StartResult {
    /// This run was started.
    Running(RunInfo),
    /// It is started as soon as possible; the clause names the reason for the wait.
    Waiting(String),
}

/// What [`Pipeline::delete`] took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedStory {
    pub name: String,
    pub stage: Stage,
    /// The worker that was stopped.
    pub stopped: Option<String>,
    /// Whether a worktree was removed.
    pub worktree: bool,
    /// How many files were beside it.
    pub files: usize,
    /// The branch that was removed.
    pub branch: Option<String>,
}

/// Changes of a story's file; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoryChange {
    pub title: Option<String>,
    /// The text below the title. One that begins with a heading of its own replaces the title's as well.
    pub body: Option<String>,
    /// `agent`; empty for nobody.
    pub agent: Option<String>,
    pub manual_qa: Option<bool>,
    /// Whether a person accepts a plan first.
    pub plan: Option<bool>,
    pub depends_on: Option<Vec<StoryId>>,
    /// In the place of those that its text has.
    pub criteria: Option<Vec<String>>,
}

/// Who writes or changes a story, and the strangers' text that may be in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    pub by: Actor,
    /// Text by strangers that the agent whose words they are has read since a person last spoke to it.
    pub read: BTreeSet<StrangerText>,
}

impl From<Actor> for Author {
    fn from(by: Actor) -> Self {
        Self { by, read: BTreeSet::new() }
    }
}

/// A story to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStory {
    pub kind: StoryKind,
    pub title: String,
    /// Its text; `None` for its kind's template.
    pub body: Option<String>,
    /// In the place of those that its text has, if there are any.
    pub criteria: Vec<String>,
    pub depends_on: Vec<StoryId>,
    /// Where it was asked for.
    pub conversation: Option<StoryConversation>,
}

impl NewStory {
    /// One from its kind's template.
    pub fn titled(kind: StoryKind, title: impl Into<String>) -> Self {
        let (title, body, conversation) = (title.into(), None, None);
        Self { kind, title, body, criteria: Vec::new(), depends_on: Vec::new(), conversation }
    }

    /// The text of its file behind the title; `None` for the template as it is.
    pub(crate) fn text(&self) -> Option<String> {
        match (&self.body, self.criteria.as_slice()) {
            (body, []) => body.clone(),
            (Some(body), criteria) => Some(templates::with_criteria(body, criteria)),
            (None, criteria) => Some(templates::filled(self.kind, &[], criteria)),
        }
    }
}

/// Which runs are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopTarget {
    /// That of a story.
    Story(StoryId),
    /// That of a worker, or all of an agent's.
    Agent(String),
}

/// A story's work, read from git.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkDone {
    /// Its branch, if there is one.
    pub branch: Option<String>,
    /// Commits that base does not have.
    pub commits: usize,
    /// `3 files, +20 -4` against base.
    pub diff: Option<String>,
    /// The end of what the gates of its last merge printed, if they failed.
    pub failed_merge: Vec<String>,
}

/// What became of a story, read from its merge commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryOverview {
    pub commit: String,
    pub message: String,
    /// Its author's date, seconds since 1970.
    pub time: i64,
    /// Files with added and removed lines.
    pub files: Vec<(PathBuf, usize, usize)>,
    /// The gates that passed, from the proof's trailers.
    pub gates: Vec<(String, i32)>,
}

/// An order with the place for its answer.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, PipelineError>>;

/// An order to the orchestrator.
#[derive(Debug)]
pub(crate) enum PipelineOrder {
    Create(NewStory, Author, Answer<Story>),
    Update(StoryId, StoryChange, Author, Answer<Story>),
    Attach(StoryId, Vec<FileToAttach>, Answer<Vec<AttachedFile>>),
    Detach(StoryId, String, Answer<()>),
    Tick(StoryId, usize, bool, Answer<()>),
    Start(StoryId, Option<String>, Actor, Answer<StartResult>),
    Stop(StopTarget, Actor, Answer<Vec<RunInfo>>),
    Tell(StoryId, PersonMessage, Answer<RunInfo>),
    Prefer(StoryId, String, Actor, Answer<()>),
    Move(StoryId, Stage, Actor, Answer<Story>),
    Retry(StoryId, Actor, Answer<StartResult>),
    Review(StoryId, ReviewDecision, Actor, Answer<()>),
    Delete(StoryId, Actor, Answer<DeletedStory>),
    Merge(StoryId, Actor, Answer<MergeView>),
    MergeFailed(StoryId, String, Actor, Answer<()>),
    Release(StoryId, Actor, Answer<()>),
    EnterRoom(EnterRequest, Answer<RoomReadiness>),
    Land(LandRequest, Actor, Answer<LandedStory>),
    WriteSpecs(ProjectSpecs, Answer<()>),
    Memory(MemoryScope, MemoryChange, Answer<Result<MemoryNote, MemoryFault>>),
    ReviewBranch(String, Option<String>, Actor, Answer<StartedReview>),
    Findings(RunId, ReviewFindings, Answer<()>),
    Plan(RunId, String, Answer<bool>),
    ReadParked(StoryId, Answer<()>),
    Rescan(Answer<()>),
    Shutdown(Answer<()>),
}

impl PipelineOrder {
    /// The story that is meant, where it is a single one whose files may be worked on.
    pub(crate) fn story(&self) -> Option<StoryId> {
        match self {
            Self::Update(id, ..)
            | Self::Attach(id, ..)
            | Self::Detach(id, ..)
            | Self::Tick(id, ..)
            | Self::Start(id, ..)
            | Self::Prefer(id, ..)
            | Self::Move(id, ..)
            | Self::Retry(id, ..)
            | Self::Review(id, ..)
            | Self::Delete(id, ..)
            | Self::Merge(id, ..)
            | Self::MergeFailed(id, ..)
            | Self::Release(id, ..)
            | Self::Tell(id, ..)
            | Self::Stop(StopTarget::Story(id), ..) => Some(*id),
            Self::Create(..)
            | Self::Stop(StopTarget::Agent(_), ..)
            | Self::EnterRoom(..)
            | Self::Land(..)
            | Self::WriteSpecs(..)
            | Self::Memory(..)
            | Self::ReviewBranch(..)
            | Self::Findings(..)
            | Self::Plan(..)
            | Self::ReadParked(..)
            | Self::Rescan(_)
            | Self::Shutdown(_) => None,
        }
    }
}

impl Pipeline {
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// How agents reach their model.
    pub fn model_access(&self) -> ModelAccess {
        self.settings.model_access.clone()
    }

    /// The current state. Cheap: it is computed already.
    pub fn snapshot(&self) -> Arc<PipelineSnapshot> {
        self.snapshot.borrow().clone()
    }

    /// Waits until the first snapshot with the project's stories, or with why there is none, is there.
    pub async fn started(&self) {
        // The receiver has never looked, so a snapshot that is there already counts as well.
        let _ = self.snapshot.clone().changed().await;
    }

    /// The current state, and every event after it. A receiver that lags more than 16,384 events behind gets an error
    /// from the channel, and starts over.
    pub fn follow(&self) -> (Arc<PipelineSnapshot>, broadcast::Receiver<Arc<NumberedEvent>>) {
        // First the events: one that comes between is in the snapshot too, and known by its number.
        let events = self.events.subscribe();
        (self.snapshot(), events)
    }

    /// What runs have cost and how they ended.
    pub fn ledger(&self) -> &RunLedger {
        &self.ledger
    }

    /// What people and agents decided about stories.
    pub fn history(&self) -> &StoryHistory {
        &self.history
    }

    /// Writes a new story to the backlog, from its kind's template or with this body.
    pub async fn create(
        &self,
        kind: StoryKind,
        title: &str,
        body: Option<String>,
        by: impl Into<Author>,
    ) -> Result<Story, PipelineError> {
        self.create_story(NewStory { body, ..NewStory::titled(kind, title) }, by).await
    }

    /// Writes this story to the backlog.
    pub async fn create_story(&self, new: NewStory, by: impl Into<Author>) -> Result<Story, PipelineError> {
        let author = by.into();
        self.order(|answer| PipelineOrder::Create(new, author, answer)).await
    }

    /// Changes a story's file.
    pub async fn update(
        &self,
        story: StoryId,
        change: StoryChange,
        by: impl Into<Author>,
    ) -> Result<Story, PipelineError> {
        let author = by.into();
        self.order(|answer| PipelineOrder::Update(story, change, author, answer)).await
    }

    /// Puts files of a person's beside a story and names them in its text. What does not fit is left out, with the reason.
    pub async fn attach(
        &self,
        story: StoryId,
        files: Vec<FileToAttach>,
    ) -> Result<Vec<AttachedFile>, PipelineError> {
        self.order(|answer| PipelineOrder::Attach(story, files, answer)).await
    }

    /// Removes one of a story's files.
    pub async fn detach(&self, story: StoryId, name: String) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::Detach(story, name, answer)).await
    }

    /// Lifts a story's quarantine: a person has read it and vouches for it.
    pub async fn release(&self, story: StoryId, by: Actor) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::Release(story, by, answer)).await
    }

    /// Ticks a criterion, counted from 1, or takes the tick away.
    pub async fn tick(&self, story: StoryId, criterion: usize, done: bool) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::Tick(story, criterion, done, answer)).await
    }

    /// Brings a story from the backlog into work, or lets a stopped one go on; `agent` becomes its preferred one.
    pub async fn start(
        &self,
        story: StoryId,
        agent: Option<String>,
        by: Actor,
    ) -> Result<StartResult, PipelineError> {
        self.order(|answer| PipelineOrder::Start(story, agent, by, answer)).await
    }

    /// The host has news of a story's parked run: its question was answered, or is another one.
    pub async fn read_parked(&self, story: StoryId) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::ReadParked(story, answer)).await
    }

    /// Stops runs. Their stories are blocked until somebody uses `start` or `retry`. Returns once the processes are
    /// gone, with the runs that were ended.
    pub async fn stop(&self, target: StopTarget, by: Actor) -> Result<Vec<RunInfo>, PipelineError> {
        self.order(|answer| PipelineOrder::Stop(target, by, answer)).await
    }

    /// Says something to the agent that works on a story: it gets the words between two of its tool calls. Returns its run.
    pub async fn tell(&self, story: StoryId, message: PersonMessage) -> Result<RunInfo, PipelineError> {
        self.order(|answer| PipelineOrder::Tell(story, message, answer)).await
    }

    /// Sets the preferred agent. Refused where there is none of this name.
    pub async fn prefer(&self, story: StoryId, agent: &str, by: Actor) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::Prefer(story, agent.to_owned(), by, answer)).await
    }

    /// Moves a story, where that is legal for who asks and nobody works on it.
    pub async fn move_story(&self, story: StoryId, to: Stage, by: Actor) -> Result<Story, PipelineError> {
        self.order(|answer| PipelineOrder::Move(story, to, by, answer)).await
    }

    /// Clears failure, block and used retries, so that the story continues in its stage.
    pub async fn retry(&self, story: StoryId, by: Actor) -> Result<StartResult, PipelineError> {
        self.order(|answer| PipelineOrder::Retry(story, by, answer)).await
    }

    /// Decides about a story in QA. A person's decision moves it at once; an agent's counts once
    /// its run is over.
    pub async fn review(
        &self,
        story: StoryId,
        review: ReviewDecision,
        by: Actor,
    ) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::Review(story, review, by, answer)).await
    }

    /// Deletes a story in whatever stage with all that belongs to it. Whoever asks has confirmed it.
    pub async fn delete(&self, story: StoryId, by: Actor) -> Result<DeletedStory, PipelineError> {
        self.order(|answer| PipelineOrder::Delete(story, by, answer)).await
    }

    /// Queues a story's merge, or continues one whose conflict is resolved; returns when it is queued.
    pub async fn merge(&self, story: StoryId, by: Actor) -> Result<MergeView, PipelineError> {
        self.order(|answer| PipelineOrder::Merge(story, by, answer)).await
    }

    /// Gives up on a merge, for this reason: nobody tries again until a person uses `retry`.
    pub async fn report_merge_failure(
        &self,
        story: StoryId,
        why: String,
        by: Actor,
    ) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::MergeFailed(story, why, by, answer)).await
    }

    /// Makes the worktree of the room `messenger:id` ready for a turn, and lets it follow base. `living`: a process of the room
    /// works there now. Dropping the future ends the setup of components.
    pub async fn enter_room(&self, room: &str, living: bool) -> Result<RoomReadiness, PipelineError> {
        let request = EnterRequest { name: RoomName::of(room), living };
        self.order(|answer| PipelineOrder::EnterRoom(request, answer)).await
    }

    /// Makes a story of the changes in the room's worktree, and starts it. The author is the person who asks for it, with what the
    /// room's agent has read by strangers. No process may live there. Returns when the story is
    /// started; what follows comes as [`crate::event::PipelineEvent::Landing`].
    pub async fn land(
        &self,
        room: &str,
        title: &str,
        by: impl Into<Author>,
    ) -> Result<LandedStory, PipelineError> {
        let Author { by, read } = by.into();
        let (name, room, title) = (RoomName::of(room), room.to_owned(), title.to_owned());
        let request = LandRequest { name, room, title, read };
        self.order(|answer| PipelineOrder::Land(request, by, answer)).await
    }

    /// Writes what agents should know of the project, and commits it to base. People have agreed to exactly these texts.
    pub async fn write_specs(&self, specs: ProjectSpecs) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::WriteSpecs(specs, answer)).await
    }

    /// Remembers or forgets something, for a room or for the project. Returns the note that came or went.
    pub async fn change_memory(
        &self,
        scope: MemoryScope,
        change: MemoryChange,
    ) -> Result<Result<MemoryNote, MemoryFault>, PipelineError> {
        self.order(|answer| PipelineOrder::Memory(scope, change, answer)).await
    }

    /// Has the reviewer look at a branch, in a worktree that is removed afterwards: no story, no merge. `room` (`messenger:id`) is where
    /// people ask for it.
    pub async fn review_branch(
        &self,
        branch: &str,
        room: Option<String>,
        by: Actor,
    ) -> Result<StartedReview, PipelineError> {
        self.order(|answer| PipelineOrder::ReviewBranch(branch.to_owned(), room, by, answer)).await
    }

    /// What the reviewer of a branch has found; it counts once its run is over.
    pub async fn report_findings(&self, run: RunId, found: ReviewFindings) -> Result<(), PipelineError> {
        self.order(|answer| PipelineOrder::Findings(run, found, answer)).await
    }

    /// Takes the plan of an agent that is to plan first. Returns `false` for any other, whose plan people are asked about at once.
    pub async fn propose_plan(&self, run: RunId, plan: String) -> Result<bool, PipelineError> {
        self.order(|answer| PipelineOrder::Plan(run, plan, answer)).await
    }

    /// Looks at all files now, as it does by itself every half minute.
    pub async fn rescan(&self) -> Result<(), PipelineError> {
        self.order(PipelineOrder::Rescan).await
    }

    /// Stops all agents and the pipeline. Stories stay where they are; the next start continues with them.
    pub async fn shutdown(&self) {
        let _ = self.order(PipelineOrder::Shutdown).await;
    }

    async fn order<T>(&self, order: impl FnOnce(Answer<T>) -> PipelineOrder) -> Result<T, PipelineError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| PipelineError::Gone)?;
        answered.await.unwrap_or(Err(PipelineError::Gone))
    }
}
