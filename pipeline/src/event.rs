//! The pipeline's events, in order, and the state that they change.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use agents::claude::SessionId;
use serde::{Deserialize, Serialize};

use crate::{
    board::Board,
    evidence::EvidenceSource,
    merge::{MergeStatus, MergeStep},
    run_log::LogLine,
    sentence::{plain_end, sentences},
    story::{
        StoryId,
        stage::{Role, Stage},
    },
    strangers::Quarantine,
    strangers::StrangerText,
    verdict::FailureCause,
};

/// Lines of a failed gate's output in an event.
const GATE_LINES: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "who", content = "name", rename_all = "lowercase")]
pub enum Actor {
    /// A person, as people call them.
    Person(String),
    /// A chat room's agent, with the consent of this person to exactly that act.
    Approved(String),
    /// A worker, by its slot's name.
    Agent(String),
    /// storkit, by its rules.
    Pipeline,
    /// Somebody who changed the file itself.
    Editor,
}

/// A run's name, unique in a project: `STORY-SLOT-NUMBER`, safe in paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RunId(pub Arc<str>);

impl RunId {
    /// Its story, worker and number; `None` for a name that storkit did not give.
    pub fn parts(&self) -> Option<(StoryId, &str, u64)> {
        let (story, rest) = self.0.split_once('-')?;
        let (slot, number) = rest.rsplit_once('-')?;
        let story = if story == "0" { StoryId::NONE } else { story.parse().ok()? };
        Some((story, slot, number.parse().ok()?))
    }
}

/// The phase of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// Worktree and components are made ready.
    Preparing,
    Working,
    /// It makes a plan, and changes nothing.
    Planning,
    /// The model's service is busy; the CLI tries again.
    ServiceBusy,
    /// It was resumed to commit its work.
    Reminded,
    /// The agent has ended; its work is looked at.
    Settling,
    /// The gates run in its worktree.
    Gates,
}

/// A run that lives, or has just ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunInfo {
    pub id: RunId,
    /// The story it works on; [`StoryId::NONE`] where it reviews a branch.
    pub story: StoryId,
    /// The person's branch that it reviews.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<Arc<str>>,
    pub title: String,
    pub slot: String,
    /// The configured agent that the worker is one of.
    pub agent: String,
    pub role: Role,
    /// When it was started; written in milliseconds since 1970, as [`NumberedEvent::at`] is.
    #[serde(serialize_with = "as_millis")]
    pub since: SystemTime,
    pub phase: RunPhase,
    /// The CLI's process while it lives.
    pub pid: Option<u32>,
    /// The CLI's session, once known.
    #[serde(skip)]
    pub session: Option<SessionId>,
    /// US dollars so far.
    pub cost_usd: f64,
}

impl RunInfo {
    pub fn on_story(&self) -> Option<StoryId> {
        self.branch.is_none().then_some(self.story)
    }

    /// What it works on, for people: `story 7`, ``branch `x` ``.
    pub fn subject(&self) -> String {
        match &self.branch {
            None => format!("story {}", self.story),
            Some(branch) => format!("branch `{}`", branch.replace('`', "'")),
        }
    }
}

/// A worker of the configuration, busy or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Worker {
    pub slot: String,
    pub agent: String,
    pub role: Role,
    /// The story it works on.
    pub busy_with: Option<StoryId>,
}

/// A story's merge in words and facts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum MergeView {
    /// Others are before it.
    Queued { ahead: usize },
    /// It is its turn.
    Running {
        /// The step that the running merge has reached.
        step: MergeStep,
    },
    /// These files wait for somebody to resolve them.
    Conflict { files: Vec<PathBuf> },
    /// It is on base.
    Merged { commit: String },
    /// A gate failed on the merged result.
    GateFailed {
        /// Which, and how, as a clause.
        gate: String,
        /// The last lines that it printed.
        output: Vec<String>,
    },
    /// It did not merge.
    Failed {
        /// Why, as a sentence.
        why: String,
    },
}

/// The state after the event `seq`. Cheap to clone; parts are shared with the pipeline.
#[derive(Clone, Debug, Default)]
pub struct PipelineSnapshot {
    /// The number of the last event that is in it.
    pub seq: u64,
    /// All stories, and problems with their files.
    pub board: Arc<Board>,
    /// Living runs, by worker.
    pub runs: Vec<RunInfo>,
    pub workers: Vec<Worker>,
    /// Merges that are queued, run, or wait in a conflict.
    pub merges: BTreeMap<StoryId, MergeView>,
    /// Why stories in work do not progress, as clauses ("blocked: ..."). Those that wait for a free worker, or are
    /// worked on, are not in here.
    pub holds: BTreeMap<StoryId, String>,
    /// What stops all new runs, as a sentence: a spent budget, a broken `project.toml`, a full disk.
    pub paused: Option<String>,
    /// What the runs of one day may cost, in US dollars, if that is limited.
    pub day_budget_usd: Option<f64>,
    /// Why the repository's settings wait while others are in force, as a sentence: an error, the operator's
    /// confirmation, or a commit.
    pub settings_notice: Option<String>,
    /// The branch that stories merge to.
    pub base: String,
    pub wall: WallState,
    pub quarantined: Arc<BTreeMap<StoryId, Quarantine>>,
    /// Text by strangers that the agents of a story have read since a person last spoke about it.
    pub strangers_read: BTreeMap<StoryId, BTreeSet<StrangerText>>,
}

/// The wall around agents, gates and components' commands, as it was at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WallState {
    Built(BuiltWall),
    /// The operator turned it off.
    TurnedOff,
    /// It cannot be built, for this reason, a sentence: nothing starts.
    Missing(String),
}

/// A wall, and its gaps on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltWall {
    pub name: String,
    /// Whether it can keep `.git` and `.storkit` from an agent in the main checkout.
    pub protects_checkout: bool,
    /// The part of the network that it leaves open where people are to be asked, as a sentence.
    pub network_gap: Option<String>,
}

impl WallState {
    /// The part of the network that is open though people are to be asked, as a sentence.
    pub fn network_gap(&self) -> Option<&str> {
        match self {
            Self::Built(wall) => wall.network_gap.as_deref(),
            Self::TurnedOff | Self::Missing(_) => None,
        }
    }

    /// Whether agents of chat rooms can work in the main checkout. Not known to be otherwise where nothing is built.
    pub fn protects_checkout(&self) -> bool {
        match self {
            Self::Built(wall) => wall.protects_checkout,
            Self::TurnedOff | Self::Missing(_) => true,
        }
    }
}

impl Default for WallState {
    fn default() -> Self {
        Self::Built(BuiltWall { name: String::new(), protects_checkout: true, network_gap: None })
    }
}

impl fmt::Display for WallState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built(wall) => f.write_str(&wall.name),
            Self::TurnedOff => f.write_str("none"),
            Self::Missing(why) => write!(f, "none ({why})"),
        }
    }
}

/// An event with its number. Numbers begin at 1 with each start and have no gaps.
#[derive(Clone, Debug, Serialize)]
pub struct NumberedEvent {
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    #[serde(flatten)]
    pub event: PipelineEvent,
}

/// The decision that a story needs from a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WantedDecision {
    Review,
    /// Look, fix, then `retry`.
    Retry,
    /// Move files of theirs out of the way of a merge, then `retry`.
    ClearTheWay,
    /// Let it spend more (`retry`), or leave it.
    Budget,
    /// End what is under way in git; the merge goes on by itself.
    FinishInGit,
    /// Start a story that the repository brought in work (`start`).
    Start,
}

/// What became of a story that a room landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LandingNews {
    /// A landing that an earlier storkit began is finished.
    Begun,
    Merged {
        commit: String,
    },
    /// A coder works on its branch from here on.
    SentBack {
        /// Why, as a clause.
        why: String,
    },
    /// The changes are the room's alone again.
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PipelineEvent {
    /// A coder proposes a plan; a person decides about it.
    PlanProposed { story: StoryId, title: String, plan: String },
    /// A story is there that was not.
    StoryCreated { story: StoryId, title: String, stage: Stage, by: Actor },
    /// A story's text or front matter is another.
    StoryChanged { story: StoryId, title: String },
    /// A story is in another stage.
    StoryMoved {
        story: StoryId,
        title: String,
        from: Stage,
        to: Stage,
        by: Actor,
        /// Why, as a sentence.
        why: Option<String>,
    },
    /// A story is gone.
    StoryDeleted { story: StoryId, title: String, stage: Stage, by: Actor },
    /// Something is wrong with a file in `.storkit/work/`, as a sentence.
    ProblemFound { problem: String },
    /// An agent was started.
    RunStarted { run: RunInfo },
    /// A run does something else now.
    RunPhase { run: RunId, story: StoryId, phase: RunPhase },
    /// A line of an agent's output, or a tool it uses.
    RunSaid {
        run: RunId,
        #[serde(flatten)]
        line: LogLine,
    },
    /// A run is over.
    RunEnded {
        run: RunInfo,
        /// What came of it, as a clause ("gates passed", "no commit was made").
        outcome: String,
        /// Whether it counts as a failure.
        failed: bool,
        /// Why it failed, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<FailureCause>,
        /// `3 files, +20 -4` against base.
        diff: Option<String>,
    },
    /// A merge was queued, took a step, or ended.
    Merge {
        story: StoryId,
        title: String,
        merge: MergeView,
        /// `3 files, +20 -4`, once merged.
        diff: Option<String>,
    },
    /// A run or a merge left files for people; they are with the story's.
    Evidence {
        story: StoryId,
        title: String,
        from: EvidenceSource,
        /// Their names among the story's files.
        files: Vec<String>,
        /// What was not kept, as clauses.
        left_out: Vec<String>,
    },
    /// A story waits for a person.
    NeedsPerson {
        story: StoryId,
        title: String,
        /// Why, as a sentence.
        why: String,
        /// The decision that is needed.
        wanted: WantedDecision,
    },
    /// Something that people must know: base was touched, work rescued, a worktree lost.
    Alarm {
        /// About which story, if any.
        story: Option<StoryId>,
        text: String,
    },
    /// News of a story for the room that landed it.
    Landing {
        story: StoryId,
        title: String,
        /// `messenger:id`. For that room alone.
        #[serde(skip)]
        room: String,
        news: LandingNews,
    },
    /// Strangers may have written this story, for this reason, a clause.
    Quarantined { story: StoryId, title: String, why: String },
    /// A person has released it from quarantine.
    Released { story: StoryId, title: String, by: Actor },
    /// No new runs, or again: the reason, as in [`PipelineSnapshot::paused`].
    Paused {
        /// Why; `None` when the pause is over.
        why: Option<String>,
    },
}

/// Milliseconds since 1970.
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn as_millis<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(millis(*time))
}

impl PipelineEvent {
    /// The story that it is about, if it is about one.
    pub fn story(&self) -> Option<StoryId> {
        match self {
            Self::StoryCreated { story, .. }
            | Self::StoryChanged { story, .. }
            | Self::StoryMoved { story, .. }
            | Self::StoryDeleted { story, .. }
            | Self::RunPhase { story, .. }
            | Self::Merge { story, .. }
            | Self::Evidence { story, .. }
            | Self::NeedsPerson { story, .. }
            | Self::Landing { story, .. }
            | Self::PlanProposed { story, .. }
            | Self::Quarantined { story, .. }
            | Self::Released { story, .. } => Some(*story),
            Self::RunStarted { run } | Self::RunEnded { run, .. } => run.on_story(),
            Self::Alarm { story, .. } => *story,
            Self::ProblemFound { .. } | Self::RunSaid { .. } | Self::Paused { .. } => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) | Self::Agent(name) => f.write_str(name),
            Self::Approved(name) => write!(f, "{name}'s answer to the room's agent"),
            Self::Pipeline => f.write_str("the pipeline"),
            Self::Editor => f.write_str("an editor"),
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RunPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing => "preparing",
            Self::Working => "working",
            Self::Planning => "planning",
            Self::ServiceBusy => "waiting for the model's service",
            Self::Reminded => "asked to commit",
            Self::Settling => "settling",
            Self::Gates => "gates",
        })
    }
}

impl MergeView {
    /// A merge's status for people.
    pub fn of(status: &MergeStatus) -> Self {
        match status {
            MergeStatus::Queued { ahead } => Self::Queued { ahead: *ahead },
            MergeStatus::Running { step, .. } => Self::Running { step: step.clone() },
            MergeStatus::Ended(ended) => Self::ended(&ended.result),
        }
    }

    /// A merge's result for people.
    pub fn ended(result: &Result<crate::merge::MergeOutcome, crate::merge::MergeError>) -> Self {
        use crate::merge::MergeOutcome::{
            BaseMoved, CheckoutInTheWay, Conflict, Empty, GateFailed, Merged, Refused,
        };
        let failed = |why: String| Self::Failed { why };
        match result {
            Ok(Merged(proof)) => Self::Merged { commit: proof.commit.clone() },
            Ok(Conflict(files)) => Self::Conflict { files: files.clone() },
            Ok(Empty) => {
                failed("The branch brings nothing that base does not have, so nothing was merged.".into())
            }
            Ok(Refused(faults)) => failed(sentences(faults)),
            Ok(GateFailed { report, .. }) => {
                let gate = report.failure().map_or_else(|| "a gate failed".into(), ToString::to_string);
                let output = report.failure().map_or_else(Vec::new, |gate| plain_end(&gate.tail, GATE_LINES));
                Self::GateFailed { gate, output }
            }
            Ok(CheckoutInTheWay(files)) => {
                let files: Vec<String> = files.iter().map(|file| format!("`{}`", file.display())).collect();
                failed(format!(
                    "Files with uncommitted changes are in the way in the main checkout: {}. Commit or move them.",
                    files.join(", ")
                ))
            }
            Ok(BaseMoved) => failed("People moved base several times while the gates ran.".into()),
            Err(error) => failed(error.to_string()),
        }
    }
}
