// Written by `cargo test` from `bot/src/http/web/view.rs`. Change the types there.
// All times are milliseconds since 1970, by the server's clock.

export type Stage = "backlog" | "current" | "qa" | "merge" | "done" | "archived";
export type Role = "user" | "approver" | "operator";

/** Answer of `POST /login`, and of `GET /api/me`. */
export type Login = {
    /** Sent as `Authorization: Bearer` and in the first frame of `/live`. */
    secret: string;
    me: Me;
};
export type Me = {
    /** `slack:U01`, `matrix:@ann:example.org`, `console:root`. */
    who: string;
    name: string;
    role: Role;
    /** The rooms that this person may open here, their own first. */
    rooms: Array<RoomView>;
    /** The person's sessions, newest first. */
    sessions: Array<SessionView>;
};
export type RoomView = { room: string; title: string };
export type SessionView = { number: number; browser: string; created: number; used: number; this_one: boolean };

/** `GET /api/board`: everything but archived stories. */
export type BoardView = {
    /** Names this life of the server. Another one: nothing of before counts. */
    boot: string;
    /** Everything up to this change is in it. */
    seq: number;
    at: number;
    project: string;
    base: string;
    /** The wall around agents, by its name; `none` and why. */
    protection: string;
    /** Why nothing new starts, as a sentence. */
    paused: string | null;
    /** Sentences about settings, files and other problems. */
    problems: Array<string>;
    stories: Array<StoryCard>;
    archived: number;
    runs: Array<RunView>;
    /** In the order of the queue. */
    merges: Array<MergeCard>;
    questions: Array<QuestionView>;
    /** The agents that a story can be given to. */
    agents: Array<AgentView>;
    /** US dollars today, and the day's budget. */
    spent_today: number;
    budget_today: number | null;
};
export type AgentView = { name: string; role: "coder" | "qa" | "mergemaster"; workers: number };
export type StoryCard = {
    id: number;
    title: string;
    kind: string;
    stage: Stage;
    /** When it came into its stage. */
    since: number | null;
    /** The preferred agent. */
    agent: string | null;
    manual_qa: boolean;
    depends_on: Array<number>;
    criteria: number;
    ticked: number;
    retries: number;
    /** Why it does not progress, as a clause. */
    waits: string | null;
    /** The decision that a person has to take. */
    wanted: "review" | "retry" | "clear_the_way" | "budget" | "start" | null;
    /** Why strangers may have written it. */
    quarantine: string | null;
    cost_usd: number;
    /** The stages that `move` allows from here. */
    moves: Array<Stage>;
};
export type RunView = {
    id: string;
    story: number;
    title: string;
    worker: string;
    agent: string;
    role: string;
    since: number;
    phase: string;
    cost_usd: number;
};
export type MergeCard = {
    story: number;
    title: string;
    state: "queued" | "running" | "conflict" | "gate_failed" | "failed";
    /** Others before it, from 0. */
    ahead: number;
    /** What runs now ("gates: npm test"), or why it failed, as a sentence. */
    text: string;
    /** Files in a conflict, or the last lines of the failed gate. */
    lines: Array<string>;
};

export type QuestionView = {
    id: number;
    story: number | null;
    /** "story 3, coder-2", or the room's name. */
    asker: string;
    asked_for: string;
    /** Needed to answer it. */
    role: Role;
    asked: number;
    /** Denied then, by the server's clock. */
    deadline: number | null;
    /** Each as a sentence: effects that the input does not show, and strangers' text that the agent has read. */
    warnings: Array<string>;
    form: QuestionForm;
    /** In which of this person's rooms it can be answered; null: it was asked elsewhere. */
    answer_in: string | null;
    /** "Slack", "Matrix", ...: everywhere it was asked. */
    asked_in: Array<string>;
    /** What a trial of the command did, as safe HTML; null: none ran. The choice "Keep" is about this effect. */
    trial: string | null;
    /** Buttons, in order. `key` (`q:12:yes`) goes back in `choose`. */
    choices: Array<ChoiceView>;
    /** How it ended; null while it is open. */
    outcome: OutcomeView | null;
};
export type ChoiceView = { key: string; label: string };
export type OutcomeView = {
    /** "allowed", "denied", "answered", "expired", "withdrawn" */
    word: string;
    /** As a sentence: "Bob denied it in Slack." */
    sentence: string;
    at: number;
};
export type QuestionForm =
    /** A tool call. `text` is the whole command or input, never cut. `diff` for edits of files. */
    | { form: "call"; tool: string; text: string; diff: FileDiff | null; always: string | null }
    /** A plan to approve; words are a wish. */
    | { form: "plan"; html: string }
    /** A question of the model: pick one, pick several, or write. */
    | { form: "options"; question: string; options: Array<{ label: string; about: string }>; several: boolean }
    /** Stories to create, or an act on the board. */
    | { form: "board"; html: string; entries: Array<string> };

/** `GET /api/story/ID` */
export type StoryView = {
    card: StoryCard;
    /** Safe HTML of its text. */
    html: string;
    /** The same as Markdown, for editing. */
    markdown: string;
    criteria: Array<{ text: string; done: boolean }>;
    /** Pictures and files beside it. */
    files: Array<string>;
    branch: string | null;
    commits: number;
    /** "3 files, +20 -4" */
    diffstat: string | null;
    runs: Array<PastRun>;
    /** The end of what the gates of its last merge printed, if they failed. */
    merge_output: Array<string>;
    /** Once merged. */
    merged: { commit: string; message: string; at: number; gates: Array<{ name: string; code: number }> } | null;
    history: Array<{ at: number; text: string }>;
};
export type PastRun = {
    id: string;
    worker: string;
    started: number;
    ended: number | null;
    outcome: string | null;
    failed: boolean;
    cost_usd: number;
    has_log: boolean;
};

/** `GET /api/story/ID/diff`: its branch against base, or its merge commit. */
export type DiffView = {
    against: string;
    files: Array<FileDiff>;
    /** Files and lines that did not fit. */
    more_files: number;
    added: number;
    removed: number;
};
export type FileDiff = {
    path: string;
    /** Where it was, if it was renamed. */
    from: string | null;
    status: "added" | "changed" | "removed" | "renamed" | "mode";
    binary: boolean;
    added: number;
    removed: number;
    hunks: Array<Hunk>;
    /** Lines that did not fit. */
    more_lines: number;
};
export type Hunk = { head: string; lines: Array<DiffLine> };
/** `old` and `new` are line numbers, null where the line is not on that side. */
export type DiffLine = { old: number | null; new: number | null; text: string };

/** `GET /api/run/ID/log?from=LINE` (default: the last 2,000 lines). Lines are counted from 1 and keep their number. */
export type LogView = { run: string; story: number | null; from: number; lines: Array<string>; next: number; over: boolean };

/** `GET /api/archive?before=ID&q=TEXT` */
export type ArchiveView = { stories: Array<StoryCard>; more: boolean };

/** `GET /api/cost` */
export type CostView = {
    days: Array<{ day: string; usd: number; runs: number }>;
    stories: Array<{ id: number; title: string; usd: number; runs: number }>;
    today: number;
    budget_today: number | null;
};

/** A message in a room. An edit has the same id. */
export type MessageView = {
    room: string;
    id: string;
    at: number;
    /** A person's name; null: storkit. */
    by: string | null;
    html: string;
    tone: "answer" | "notice" | "question" | "failure";
    choices: Array<ChoiceView>;
    /** More edits will follow. */
    live: boolean;
    reply_to: string | null;
    /** The question that this message asks. The page shows its card instead of `choices`. */
    question: number | null;
};

/** Frames from the browser. The first one is `hello`, within 5 s. */
export type ToServer =
    | { type: "hello"; secret: string; after: { boot: string; seq: number } | null }
    /** The lines of a run from this one on. */
    | { type: "follow"; run: string; from: number }
    | { type: "unfollow"; run: string }
    /** The last line of each run, once a second. */
    | { type: "tails"; on: boolean }
    /** The messages of a room; `before` reads on backwards. */
    | { type: "open"; room: string; before: string | null }
    | { type: "close"; room: string }
    /** Text for the bot. `ticket` is the page's own number. */
    | { type: "say"; ticket: number; room: string; text: string }
    /** A button of a message, or of a question (`message` null). */
    | { type: "choose"; ticket: number; room: string; message: string | null; key: string }
    /** Whether somebody looks at the page. A hidden one gets changes and questions only. */
    | { type: "visible"; on: boolean };

/** Frames to the browser. */
export type FromServer =
    | { type: "hello"; boot: string; seq: number; build: string; at: number; me: Me }
    /** What was missed is not kept: fetch the board again. */
    | { type: "anew" }
    /** Whole entries in the place of those with the same id. */
    | ({ type: "changed"; seq: number; at: number } & Changes)
    | { type: "lines"; run: string; from: number; lines: Array<string>; over: boolean }
    /** Lines that this browser was too slow for. */
    | { type: "skipped"; run: string; from: number; to: number }
    | { type: "tails"; lines: { [run: string]: string } }
    | { type: "message"; message: MessageView }
    /** The start of what `open` asked for is reached, or is not. */
    | { type: "opened"; room: string; more: boolean }
    | { type: "activity"; room: string; state: "idle" | "working" | "asking" }
    /** The frame with this ticket became this message; answers to it have it in `reply_to`. */
    | { type: "taken"; ticket: number; message: string }
    | { type: "refused"; ticket: number; why: string }
    /** Every 20 s: a browser does not see the socket's own pings, and so could not tell a dead connection from a quiet one. */
    | { type: "beat"; at: number }
    /** The last frame. `again`: connect again; otherwise sign in again. */
    | { type: "bye"; why: string; again: boolean };

export type Changes = {
    stories: Array<StoryCard>;
    gone_stories: Array<number>;
    runs: Array<RunView>;
    gone_runs: Array<string>;
    /** The whole queue, if it changed. */
    merges: Array<MergeCard> | null;
    questions: Array<QuestionView>;
    /** The rest of the board, if it changed. */
    state: BoardState | null;
};
export type BoardState = {
    base: string;
    protection: string;
    paused: string | null;
    problems: Array<string>;
    archived: number;
    agents: Array<AgentView>;
    spent_today: number;
    budget_today: number | null;
};
