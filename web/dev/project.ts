// A small project that exists only in memory: the state behind the contract, and its changes with their sequence numbers.

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";

import type {
  BoardState,
  BoardView,
  Changes,
  FromServer,
  MergeCard,
  MessageView,
  QuestionView,
  RunView,
  StoryCard,
  StoryView,
  DiffView,
} from "../src/wire";

export type Changed = Extract<FromServer, { type: "changed" }>;
type Events = {
  changed: [Changed];
  line: [run: string, from: number, line: string];
  over: [run: string];
  message: [MessageView];
  activity: [room: string, state: "idle" | "working" | "asking"];
};

/** As many as the real server keeps. */
const KEPT = 4096;

export class Project {
  boot = randomBytes(6).toString("hex");
  seq = 100;
  readonly events = new EventEmitter<Events>();
  readonly stories = new Map<number, StoryCard>();
  readonly runs = new Map<string, RunView>();
  readonly questions = new Map<number, QuestionView>();
  merges: MergeCard[] = [];
  readonly texts = new Map<number, Pick<StoryView, "markdown" | "criteria">>();
  readonly diffs = new Map<number, DiffView>();
  readonly logs = new Map<string, { story: number | null; lines: string[]; over: boolean }>();
  readonly messages = new Map<string, MessageView[]>();
  private kept: Changed[] = [];

  constructor(
    readonly name: string,
    public state: BoardState,
  ) {}

  board(): BoardView {
    const stories = [...this.stories.values()].filter((story) => story.stage !== "archived");
    return {
      boot: this.boot,
      seq: this.seq,
      at: Date.now(),
      project: this.name,
      ...this.state,
      stories,
      runs: [...this.runs.values()],
      merges: this.merges,
      questions: [...this.questions.values()].filter((question) => question.outcome === null),
    };
  }

  /** Changes after this number; null: they are no longer kept. */
  since(boot: string, seq: number): Changed[] | null {
    const oldest = this.kept[0]?.seq ?? this.seq + 1;
    if (boot !== this.boot || seq > this.seq || seq + 1 < oldest) return null;
    return this.kept.filter((change) => change.seq > seq);
  }

  changeStory(id: number, change: Partial<StoryCard>): void {
    const story = this.stories.get(id);
    if (!story) return;
    const next = { ...story, ...change };
    this.stories.set(id, next);
    this.emit(next.stage === "archived" ? { gone_stories: [id] } : { stories: [next] });
  }

  addStory(story: StoryCard): void {
    this.stories.set(story.id, story);
    this.emit({ stories: [story] });
  }

  removeStory(id: number): void {
    this.stories.delete(id);
    this.emit({ gone_stories: [id] });
  }

  setRun(run: RunView): void {
    this.runs.set(run.id, run);
    this.emit({ runs: [run] });
  }

  endRun(id: string): void {
    this.runs.delete(id);
    this.emit({ gone_runs: [id] });
    const log = this.logs.get(id);
    if (log) log.over = true;
    this.events.emit("over", id);
  }

  setMerges(merges: MergeCard[]): void {
    this.merges = merges;
    this.emit({ merges });
  }

  setQuestion(question: QuestionView): void {
    this.questions.set(question.id, question);
    this.emit({ questions: [question] });
  }

  setState(change: Partial<BoardState>): void {
    this.state = { ...this.state, ...change };
    this.emit({ state: this.state });
  }

  print(run: string, ...lines: string[]): void {
    const log = this.logs.get(run);
    if (!log) return;
    for (const line of lines) {
      log.lines.push(line);
      this.events.emit("line", run, log.lines.length, line);
    }
  }

  post(message: MessageView): void {
    const room = this.messages.get(message.room) ?? [];
    const known = room.findIndex((one) => one.id === message.id);
    if (known >= 0) room[known] = message;
    else room.push(message);
    this.messages.set(message.room, room);
    this.events.emit("message", message);
  }

  /** A new life of the server: what was asked is closed, and numbers begin anew. */
  restart(): void {
    this.boot = randomBytes(6).toString("hex");
    this.seq = 1;
    this.kept = [];
    this.questions.clear();
  }

  /** As if it had gone so far that a browser's place is no longer known. */
  forget(): void {
    this.kept = [];
    this.seq += 1;
  }

  private emit(part: Partial<Changes>): void {
    this.seq += 1;
    const change: Changed = {
      type: "changed",
      seq: this.seq,
      at: Date.now(),
      stories: [],
      gone_stories: [],
      runs: [],
      gone_runs: [],
      merges: null,
      questions: [],
      state: null,
      ...part,
    };
    this.kept.push(change);
    if (this.kept.length > KEPT) this.kept.shift();
    this.events.emit("changed", change);
  }
}
