// Written by `cargo test` from `view.rs` and `frames.rs` in `bot/src/http/web`: change the types there, then run it with STORKIT_WRITE_WIRE=1.

export type Stage = "backlog" | "current" | "qa" | "merge" | "done" | "archived";

export type AgentRole = "coder" | "qa" | "mergemaster" | "supervisor";

export type Role = "user" | "approver" | "operator";

/**
 * The answer of `POST /login`.
 */
export type Login = { 
/**
 * Sent as `Authorization: Bearer`, and in the first frame of `/live`.
 */
secret: string, me: Me, };

/**
 * Who is signed in. Also the answer of `GET /api/me`.
 */
export type Me = { 
/**
 * `slack:U01`, `matrix:@ann:example.org`, `console:root`
 */
who: string, name: string, role: Role, 
/**
 * The rooms that this person may open here, their own first.
 */
rooms: Array<RoomView>, 
/**
 * Newest first.
 */
sessions: Array<SessionView>, };

export type RoomView = { 
/**
 * `web:team`
 */
room: string, title: string, };

export type SessionView = { number: number, browser: string, created: number, used: number, this_one: boolean, };

/**
 * The answer of `GET /api/board`: everything but archived stories.
 */
export type BoardView = { 
/**
 * Names this life of the server. Nothing of another one counts.
 */
boot: string, 
/**
 * The last change that is in it.
 */
seq: number, 
/**
 * When that change was told.
 */
at: number, 
/**
 * The project's folder, without its path.
 */
project: string, stories: Array<StoryCard>, runs: Array<RunView>, 
/**
 * In the order of the queue.
 */
merges: Array<MergeCard>, questions: Array<QuestionView>, 
/**
 * The branch that stories are merged to.
 */
base: string, 
/**
 * The wall around agents, by its name; `none` and why.
 */
protection: string, 
/**
 * Why nothing new starts, as a sentence.
 */
paused: string | null, 
/**
 * Sentences about settings and files that somebody has to look at.
 */
problems: Array<string>, 
/**
 * How many stories are archived.
 */
archived: number, 
/**
 * The agents that a story can be given to.
 */
agents: Array<AgentView>, 
/**
 * US dollars that runs have cost since midnight UTC, as the day's budget counts them.
 */
spent_today: number, 
/**
 * `budget.day_usd` of project.toml.
 */
budget_today: number | null, };

/**
 * The part of the board that is about no single story.
 */
export type BoardState = { 
/**
 * The branch that stories are merged to.
 */
base: string, 
/**
 * The wall around agents, by its name; `none` and why.
 */
protection: string, 
/**
 * Why nothing new starts, as a sentence.
 */
paused: string | null, 
/**
 * Sentences about settings and files that somebody has to look at.
 */
problems: Array<string>, 
/**
 * How many stories are archived.
 */
archived: number, 
/**
 * The agents that a story can be given to.
 */
agents: Array<AgentView>, 
/**
 * US dollars that runs have cost since midnight UTC, as the day's budget counts them.
 */
spent_today: number, 
/**
 * `budget.day_usd` of project.toml.
 */
budget_today: number | null, };

export type AgentView = { name: string, role: AgentRole, workers: number, };

export type StoryCard = { id: number, title: string, 
/**
 * `story`, `bug`, ...
 */
kind: string, stage: Stage, 
/**
 * When it came into its stage.
 */
since: number, 
/**
 * The preferred agent.
 */
agent: string | null, manual_qa: boolean, depends_on: Array<number>, 
/**
 * Acceptance criteria, and how many of them are ticked.
 */
criteria: number, ticked: number, 
/**
 * Failed runs in this stage.
 */
retries: number, 
/**
 * Why it does not progress, as a clause.
 */
waits: string | null, wanted: Wanted | null, 
/**
 * Why strangers may have written it, as a clause.
 */
quarantine: string | null, cost_usd: number, 
/**
 * The stages that `move` allows from here.
 */
moves: Array<Stage>, };

/**
 * The decision that a person has to take.
 */
export type Wanted = "review" | "retry" | "budget";

export type RunView = { id: string, 
/**
 * `None` for the review of a branch.
 */
story: number | null, title: string, 
/**
 * `coder-2`
 */
worker: string, agent: string, role: AgentRole, since: number, phase: string, cost_usd: number, };

export type MergeCard = { story: number, title: string, state: MergeState, 
/**
 * Others before it.
 */
ahead: number, 
/**
 * What goes on, or why it failed, in words.
 */
text: string, 
/**
 * Files in conflict, or the last lines of the gate that failed.
 */
lines: Array<string>, };

export type MergeState = "queued" | "running" | "conflict" | "gate_failed" | "failed";

export type QuestionView = { id: number, 
/**
 * The story that the agent works on; `null` for a room's agent.
 */
story: number | null, 
/**
 * For whom the agent works, in words.
 */
asked_for: string, 
/**
 * The role that it takes to answer.
 */
role: Role, asked: number, 
/**
 * When its agent stops waiting for the answer.
 */
deadline: number | null, 
/**
 * Whether it waits on then; else it is denied.
 */
parks: boolean, 
/**
 * Since when it waits without its agent.
 */
parked: number | null, 
/**
 * Effects that the input does not show, and strangers' text that the agent has read: Markdown, a line each.
 */
warnings: Array<string>, form: QuestionForm, 
/**
 * Every room that shows it, as `messenger:id`. It can be answered here in those that are this page's.
 */
rooms: Array<string>, 
/**
 * What `try` did, as safe HTML, once it ran.
 */
trial: string | null, 
/**
 * Buttons, in order. The key comes back in a `choose` frame.
 */
choices: Array<ChoiceView>, 
/**
 * How it ended; `null` while it is open.
 */
outcome: OutcomeView | null, };

export type ChoiceView = { key: string, label: string, };

export type OutcomeView = { 
/**
 * `allow`, `deny`, `timeout`, ..., as in the audit.
 */
word: string, 
/**
 * What became of it, and by whom, as safe HTML.
 */
sentence: string, at: number, };

export type QuestionForm = { "form": "call", tool: string, text: string, 
/**
 * `sh`, `diff`, `json` or empty.
 */
language: string, 
/**
 * What `always` would allow from now on.
 */
always: string | null, } | { "form": "plan", html: string, } | { "form": "options", question: string, options: Array<OptionView>, several: boolean, } | { "form": "board", html: string, 
/**
 * The titles of stories of which some may be picked.
 */
entries: Array<string>, };

export type OptionView = { label: string, about: string, };

/**
 * The answer of `GET /api/story/ID`.
 */
export type StoryView = { card: StoryCard, 
/**
 * Safe HTML of its text behind the front matter.
 */
html: string, 
/**
 * The same as Markdown, to be edited.
 */
markdown: string, criteria: Array<CriterionView>, 
/**
 * Its branch, as long as there is one.
 */
branch: string | null, 
/**
 * Commits that base does not have.
 */
commits: number, 
/**
 * `3 files, +20 -4`
 */
diffstat: string | null, 
/**
 * Oldest first.
 */
runs: Array<PastRun>, 
/**
 * The end of what the gates of its last merge printed, if they failed.
 */
merge_output: Array<string>, 
/**
 * Once it is merged.
 */
merged: MergedView | null, };

export type CriterionView = { text: string, done: boolean, };

export type PastRun = { id: string, worker: string, started: number, 
/**
 * `null` while it lives.
 */
ended: number | null, 
/**
 * What came of it, as a clause.
 */
outcome: string, failed: boolean, cost_usd: number, };

export type MergedView = { commit: string, message: string, at: number, gates: Array<GateView>, };

export type GateView = { command: string, code: number, };

/**
 * The answer of `GET /api/story/ID/diff`: its branch against the base that it began from, or its merge commit.
 */
export type DiffView = { 
/**
 * The commit that it is compared with.
 */
against: string | null, files: Array<FileDiff>, 
/**
 * Files that did not fit.
 */
more_files: number, added: number, removed: number, };

export type FileDiff = { path: string, 
/**
 * Where it was, if it was renamed.
 */
from: string | null, status: FileStatus, binary: boolean, added: number, removed: number, hunks: Array<Hunk>, 
/**
 * Lines that did not fit.
 */
more_lines: number, };

export type FileStatus = "added" | "changed" | "removed" | "renamed" | "mode";

export type Hunk = { 
/**
 * `@@ -1,4 +1,5 @@ fn main()`
 */
head: string, lines: Array<DiffLine>, };

/**
 * A line with its number on each side; only one of them where it was removed or added.
 */
export type DiffLine = { old: number | null, new: number | null, text: string, };

/**
 * The answer of `GET /api/story/ID/history`: who did what with it, and when.
 */
export type HistoryView = { 
/**
 * Newest first.
 */
entries: Array<HistoryEntry>, 
/**
 * Whether it goes back to the story's beginning.
 */
whole: boolean, };

export type HistoryEntry = { at: number, kind: HistoryKind, 
/**
 * A sentence; of Markdown only code and emphasis.
 */
text: string, 
/**
 * Reasons, results and files, in lines of the same kind.
 */
details: Array<string>, 
/**
 * The run that it is about.
 */
run: string | null, failed: boolean, };

export type HistoryKind = "act" | "run" | "question" | "merge";

/**
 * The answer of `GET /api/run/ID/log?from=LINE`; without `from` the last lines. Lines are counted from 1 and keep their number.
 */
export type LogView = { run: string, story: number | null, 
/**
 * The number of the first line.
 */
from: number, lines: Array<string>, 
/**
 * The number of the line after these.
 */
next: number, 
/**
 * Whether the run is over.
 */
over: boolean, };

/**
 * The answer of `GET /api/archive?before=ID&q=TEXT`, newest first.
 */
export type ArchiveView = { stories: Array<StoryCard>, more: boolean, };

/**
 * The answer of `POST /api/upload?name=NAME`, whose body is the file.
 */
export type UploadView = { 
/**
 * Goes into `files` of a `say` frame, within the hour.
 */
id: string, };

/**
 * The answer of `GET /api/cost`.
 */
export type CostView = { 
/**
 * Newest first; days on which something ran.
 */
days: Array<DayCost>, 
/**
 * Dearest first.
 */
stories: Array<StoryCost>, 
/**
 * As in [`BoardState`].
 */
today: number, budget_today: number | null, };

export type DayCost = { 
/**
 * `2026-11-30`, by UTC, as the day's budget.
 */
day: string, usd: number, runs: number, };

export type StoryCost = { id: number, title: string, usd: number, runs: number, };

/**
 * A message of a room in its present state: a later one of the same id takes its place.
 */
export type MessageView = { room: string, id: string, at: number, 
/**
 * The person who wrote it; `null` for the bot.
 */
by: string | null, 
/**
 * Safe HTML.
 */
html: string, tone: ToneView, choices: Array<ChoiceView>, 
/**
 * Whether edits will follow.
 */
live: boolean, reply_to: string | null, 
/**
 * The question that it asks.
 */
question: number | null, 
/**
 * The name of a file that it shows: `GET /api/file?room=ROOM&message=ID`.
 */
file: string | null, };

export type ToneView = "answer" | "notice" | "question" | "failure";

/**
 * A frame of the browser on `/live`. The first one is `hello`, within 5 s.
 */
export type ToServer = { "type": "hello", secret: string, after: SeenUntil | null, } | { "type": "follow", run: string, from: number, } | { "type": "unfollow", run: string, } | { "type": "tails", on: boolean, } | { "type": "open", room: string, before: string | null, } | { "type": "close", room: string, } | { "type": "say", ticket: number, room: string, text: string, reply_to?: string, 
/**
 * Ids of `POST /api/upload`.
 */
files?: Array<string>, } | { "type": "choose", ticket: number, room: string, message: string | null, key: string, } | { "type": "visible", on: boolean, };

/**
 * The last change that a page has seen.
 */
export type SeenUntil = { boot: string, seq: number, };

/**
 * A frame to the browser on `/live`.
 */
export type FromServer = { "type": "hello", boot: string, seq: number, 
/**
 * The version of the page that this server has.
 */
build: string, at: number, me: Me, } | { "type": "anew" } | { "type": "me", me: Me, } | { "type": "changed" } & Changes | { "type": "lines", run: string, 
/**
 * The number of the first of them.
 */
from: number, lines: Array<string>, 
/**
 * Whether the run is over and these are its last ones.
 */
over: boolean, } | { "type": "tails", lines: { [key in string]: string }, } | { "type": "beat", at: number, } | { "type": "message", message: MessageView, } | { "type": "opened", room: string, more: boolean, } | { "type": "activity", room: string, state: ActivityView, } | { "type": "taken", ticket: number, message: string, } | { "type": "refused", ticket: number, why: string, } | { "type": "bye", why: string, again: boolean, };

export type ActivityView = "idle" | "working" | "asking";

/**
 * A change of the board: whole entries, each in the place of the one with the same id.
 */
export type Changes = { seq: number, at: number, stories: Array<StoryCard>, 
/**
 * Deleted, or archived.
 */
gone_stories: Array<number>, runs: Array<RunView>, gone_runs: Array<string>, 
/**
 * The whole queue, if it is another.
 */
merges: Array<MergeCard> | null, questions: Array<QuestionView>, state: BoardState | null, };
