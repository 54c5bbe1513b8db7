//! What the page reads, as JSON. `web/src/wire.ts` is written from these types and those of `frames.rs`: `cargo test` fails while they
//! differ.
//!
//! Times are milliseconds since 1970 by this machine's clock. Nothing here decides anything: the page sends commands.

use pipeline::stage::{Role, Stage};
use serde::Serialize;

use crate::config::access::UserRole;

/// The answer of `POST /login`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Login {
    /// Sent as `Authorization: Bearer`, and in the first frame of `/live`.
    pub secret: String,
    pub me: Me,
}

/// Who is signed in. Also the answer of `GET /api/me`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Me {
    /// `slack:U01`, `matrix:@ann:example.org`, `console:root`
    pub who: String,
    pub name: String,
    #[cfg_attr(test, ts(type = "Role"))]
    pub role: UserRole,
    /// The rooms that this person may open here, their own first.
    pub rooms: Vec<PageRoom>,
    /// Newest first.
    pub sessions: Vec<SessionView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "RoomView"))]
pub struct PageRoom {
    /// `web:team`
    pub room: String,
    pub title: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SessionView {
    #[cfg_attr(test, ts(type = "number"))]
    pub number: i64,
    pub browser: String,
    #[cfg_attr(test, ts(type = "number"))]
    pub created: u64,
    #[cfg_attr(test, ts(type = "number"))]
    pub used: u64,
    pub this_one: bool,
}

/// The answer of `GET /api/board`: everything but archived stories.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct BoardView {
    /// Names this life of the server. Nothing of another one counts.
    pub boot: String,
    /// The last change that is in it.
    #[cfg_attr(test, ts(type = "number"))]
    pub seq: u64,
    /// When that change was told.
    #[cfg_attr(test, ts(type = "number"))]
    pub at: u64,
    /// The project's folder, without its path.
    pub project: String,
    #[serde(flatten)]
    #[cfg_attr(test, ts(flatten))]
    pub state: BoardState,
    pub stories: Vec<StoryCard>,
    pub runs: Vec<RunCard>,
    /// In the order of the queue.
    pub merges: Vec<MergeCard>,
    pub questions: Vec<QuestionCard>,
}

/// The part of the board that is about no single story.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct BoardState {
    /// The branch that stories are merged to.
    pub base: String,
    /// The wall around agents, by its name; `none` and why.
    pub protection: String,
    /// Why nothing new starts, as a sentence.
    pub paused: Option<String>,
    /// Sentences about settings and files that somebody has to look at.
    pub problems: Vec<String>,
    /// How many stories are archived.
    pub archived: usize,
    /// The agents that a story can be given to.
    pub agents: Vec<AgentView>,
    /// US dollars that runs have cost since midnight UTC, as the day's budget counts them.
    pub spent_today: f64,
    /// `budget.day_usd` of project.toml.
    pub budget_today: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AgentView {
    pub name: String,
    #[cfg_attr(test, ts(type = "AgentRole"))]
    pub role: Role,
    pub workers: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StoryCard {
    pub id: u32,
    pub title: String,
    /// `story`, `bug`, ...
    pub kind: String,
    #[cfg_attr(test, ts(type = "Stage"))]
    pub stage: Stage,
    /// When it came into its stage.
    #[cfg_attr(test, ts(type = "number"))]
    pub since: u64,
    /// The preferred agent.
    pub agent: Option<String>,
    pub manual_qa: bool,
    pub depends_on: Vec<u32>,
    /// Acceptance criteria, and how many of them are ticked.
    pub criteria: usize,
    pub ticked: usize,
    /// Failed runs in this stage.
    pub retries: u32,
    /// Why it does not progress, as a clause.
    pub waits: Option<String>,
    pub wanted: Option<Wanted>,
    /// Why strangers may have written it, as a clause.
    pub quarantine: Option<String>,
    pub cost_usd: f64,
    /// The stages that `move` allows from here.
    #[cfg_attr(test, ts(type = "Array<Stage>"))]
    pub moves: Vec<Stage>,
}

/// The decision that a person has to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Wanted {
    /// `accept` or `reject`.
    Review,
    /// Look, fix, then `retry`.
    Retry,
    /// Let it spend more (`retry`), or leave it.
    Budget,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "RunView"))]
pub struct RunCard {
    pub id: String,
    /// `None` for the review of a branch.
    pub story: Option<u32>,
    pub title: String,
    /// `coder-2`
    pub worker: String,
    pub agent: String,
    #[cfg_attr(test, ts(type = "AgentRole"))]
    pub role: Role,
    #[cfg_attr(test, ts(type = "number"))]
    pub since: u64,
    pub phase: String,
    pub cost_usd: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MergeCard {
    pub story: u32,
    pub title: String,
    pub state: MergeState,
    /// Others before it.
    pub ahead: usize,
    /// What goes on, or why it failed, in words.
    pub text: String,
    /// Files in conflict, or the last lines of the gate that failed.
    pub lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum MergeState {
    Queued,
    Running,
    Conflict,
    GateFailed,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "QuestionView"))]
pub struct QuestionCard {
    #[cfg_attr(test, ts(type = "number"))]
    pub id: i64,
    /// The story that the agent works on; `null` for a room's agent.
    pub story: Option<u32>,
    /// For whom the agent works, in words.
    pub asked_for: String,
    /// The role that it takes to answer.
    #[cfg_attr(test, ts(type = "Role"))]
    pub role: UserRole,
    #[cfg_attr(test, ts(type = "number"))]
    pub asked: u64,
    /// When its agent stops waiting for the answer.
    #[cfg_attr(test, ts(type = "number | null"))]
    pub deadline: Option<u64>,
    /// Whether it waits on then; else it is denied.
    pub parks: bool,
    /// Since when it waits without its agent.
    #[cfg_attr(test, ts(type = "number | null"))]
    pub parked: Option<u64>,
    /// Effects that the input does not show, and strangers' text that the agent has read: Markdown, a line each.
    pub warnings: Vec<String>,
    pub form: QuestionForm,
    /// Every room that shows it, as `messenger:id`. It can be answered here in those that are this page's.
    pub rooms: Vec<String>,
    /// What `try` did, as safe HTML, once it ran.
    pub trial: Option<String>,
    /// Buttons, in order. The key comes back in a `choose` frame.
    pub choices: Vec<ChoiceView>,
    /// How it ended; `null` while it is open.
    pub outcome: Option<OutcomeView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChoiceView {
    pub key: String,
    pub label: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OutcomeView {
    /// `allow`, `deny`, `timeout`, ..., as in the audit.
    pub word: String,
    /// What became of it, and by whom, as safe HTML.
    pub sentence: String,
    #[cfg_attr(test, ts(type = "number"))]
    pub at: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "form", rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum QuestionForm {
    /// A tool call. The text is the whole of it, with marks in the place of characters that nobody sees.
    Call {
        tool: String,
        text: String,
        /// `sh`, `diff`, `json` or empty.
        language: String,
        /// What `always` would allow from now on.
        always: Option<String>,
    },
    /// A plan to approve. Words are a wish.
    Plan { html: String },
    /// A question of the model: pick one, pick several, or write.
    Options { question: String, options: Vec<OptionView>, several: bool },
    /// Stories to create, or an act on the board.
    Board {
        html: String,
        /// The titles of stories of which some may be picked.
        entries: Vec<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OptionView {
    pub label: String,
    pub about: String,
}

/// The answer of `GET /api/story/ID`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "StoryView"))]
pub struct StoryPage {
    pub card: StoryCard,
    /// Safe HTML of its text behind the front matter.
    pub html: String,
    /// The same as Markdown, to be edited.
    pub markdown: String,
    pub criteria: Vec<CriterionView>,
    /// Its branch, as long as there is one.
    pub branch: Option<String>,
    /// Commits that base does not have.
    pub commits: usize,
    /// `3 files, +20 -4`
    pub diffstat: Option<String>,
    /// Oldest first.
    pub runs: Vec<PastRun>,
    /// The end of what the gates of its last merge printed, if they failed.
    pub merge_output: Vec<String>,
    /// Once it is merged.
    pub merged: Option<MergedView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CriterionView {
    pub text: String,
    pub done: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PastRun {
    pub id: String,
    pub worker: String,
    #[cfg_attr(test, ts(type = "number"))]
    pub started: u64,
    /// `null` while it lives.
    #[cfg_attr(test, ts(type = "number | null"))]
    pub ended: Option<u64>,
    /// What came of it, as a clause.
    pub outcome: String,
    pub failed: bool,
    pub cost_usd: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MergedView {
    pub commit: String,
    pub message: String,
    #[cfg_attr(test, ts(type = "number"))]
    pub at: u64,
    pub gates: Vec<GateView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct GateView {
    pub command: String,
    pub code: i32,
}

/// The answer of `GET /api/story/ID/diff`: its branch against the base that it began from, or its merge commit.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "DiffView"))]
pub struct DiffPage {
    /// The commit that it is compared with.
    pub against: Option<String>,
    pub files: Vec<FileDiffView>,
    /// Files that did not fit.
    pub more_files: usize,
    pub added: usize,
    pub removed: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "FileDiff"))]
pub struct FileDiffView {
    pub path: String,
    /// Where it was, if it was renamed.
    pub from: Option<String>,
    pub status: FileStatus,
    pub binary: bool,
    pub added: usize,
    pub removed: usize,
    pub hunks: Vec<HunkView>,
    /// Lines that did not fit.
    pub more_lines: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum FileStatus {
    Added,
    Changed,
    Removed,
    Renamed,
    /// It can be executed now, or not any more; or it is something else than a file now.
    Mode,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "Hunk"))]
pub struct HunkView {
    /// `@@ -1,4 +1,5 @@ fn main()`
    pub head: String,
    pub lines: Vec<HunkLine>,
}

/// A line with its number on each side; only one of them where it was removed or added.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "DiffLine"))]
pub struct HunkLine {
    pub old: Option<u32>,
    pub new: Option<u32>,
    pub text: String,
}

/// The answer of `GET /api/story/ID/history`: who did what with it, and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "HistoryView"))]
pub struct HistoryPage {
    /// Newest first.
    pub entries: Vec<HistoryLine>,
    /// Whether it goes back to the story's beginning.
    pub whole: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "HistoryEntry"))]
pub struct HistoryLine {
    #[cfg_attr(test, ts(type = "number"))]
    pub at: u64,
    pub kind: HistoryKind,
    /// A sentence; of Markdown only code and emphasis.
    pub text: String,
    /// Reasons, results and files, in lines of the same kind.
    pub details: Vec<String>,
    /// The run that it is about.
    pub run: Option<String>,
    pub failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum HistoryKind {
    /// What somebody did with the story.
    Act,
    Run,
    Question,
    Merge,
}

/// The answer of `GET /api/run/ID/log?from=LINE`; without `from` the last lines. Lines are counted from 1 and keep their number.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "LogView"))]
pub struct RunLogPage {
    pub run: String,
    pub story: Option<u32>,
    /// The number of the first line.
    #[cfg_attr(test, ts(type = "number"))]
    pub from: u64,
    pub lines: Vec<String>,
    /// The number of the line after these.
    #[cfg_attr(test, ts(type = "number"))]
    pub next: u64,
    /// Whether the run is over.
    pub over: bool,
}

/// The answer of `GET /api/archive?before=ID&q=TEXT`, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "ArchiveView"))]
pub struct ArchivePage {
    pub stories: Vec<StoryCard>,
    pub more: bool,
}

/// The answer of `POST /api/upload?name=NAME`, whose body is the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "UploadView"))]
pub struct UploadedView {
    /// Goes into `files` of a `say` frame, within the hour.
    pub id: String,
}

/// The answer of `GET /api/cost`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "CostView"))]
pub struct CostPage {
    /// Newest first; days on which something ran.
    pub days: Vec<DayCost>,
    /// Dearest first.
    pub stories: Vec<StoryCost>,
    /// As in [`BoardState`].
    pub today: f64,
    pub budget_today: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DayCost {
    /// `2026-11-30`, by UTC, as the day's budget.
    pub day: String,
    pub usd: f64,
    pub runs: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StoryCost {
    pub id: u32,
    pub title: String,
    pub usd: f64,
    pub runs: usize,
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use ts_rs::{Config, TS};

    use super::{
        super::frames::{ActivityView, BoardChange, FromServer, MessageView, SeenUntil, ToServer, ToneView},
        *,
    };

    /// One declaration with its comments.
    fn declaration<T: TS>(config: &Config) -> String {
        format!("{}export {}\n", T::docs().unwrap_or_default(), T::decl(config))
    }

    macro_rules! declarations {
        ($config:expr; $($name:ty),* $(,)?) => { [$(declaration::<$name>($config)),*].join("\n") };
    }

    #[test]
    fn the_page_knows_these_very_types() {
        let config = Config::new().with_large_int("number");
        let head = "// Written by `cargo test` from `view.rs` and `frames.rs` in `bot/src/http/web`: change the types there, then run it with STORKIT_WRITE_WIRE=1.\n\n\
             export type Stage = \"backlog\" | \"current\" | \"qa\" | \"merge\" | \"done\" | \"archived\";\n\n\
             export type AgentRole = \"coder\" | \"qa\" | \"mergemaster\" | \"supervisor\";\n\n\
             export type Role = \"user\" | \"approver\" | \"operator\";\n\n";
        let types = declarations!(&config;
            Login, Me, PageRoom, SessionView, BoardView, BoardState, AgentView, StoryCard, Wanted, RunCard, MergeCard,
            MergeState, QuestionCard, ChoiceView, OutcomeView, QuestionForm, OptionView, StoryPage, CriterionView, PastRun,
            MergedView, GateView, DiffPage, FileDiffView, FileStatus, HunkView, HunkLine, HistoryPage, HistoryLine, HistoryKind, RunLogPage, ArchivePage, UploadedView, CostPage,
            DayCost, StoryCost, MessageView, ToneView, ToServer, SeenUntil, FromServer, ActivityView, BoardChange,
        );
        let wanted = format!("{head}{types}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/src/wire.ts");
        if std::env::var_os("STORKIT_WRITE_WIRE").is_some() {
            fs::write(&path, &wanted).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "web/src/wire.ts differs; run this test with STORKIT_WRITE_WIRE=1 and look at the difference"
        );
    }
}
