// What the page knows: one value that only `take.ts` replaces, whole entries of which keep their identity until they change.

import type {
  BoardState,
  FromServer,
  Me,
  MergeCard,
  MessageView,
  QuestionView,
  RunView,
  StoryCard,
} from "../wire";

export type Changed = Extract<FromServer, { type: "changed" }>;
export type Activity = Extract<FromServer, { type: "activity" }>["state"];

/** The project as of `seq`, without archived stories. */
export type Project = {
  boot: string;
  seq: number;
  /** When the newest change happened, by the server's clock. */
  at: number;
  name: string;
  state: BoardState;
  stories: ReadonlyMap<number, StoryCard>;
  runs: ReadonlyMap<string, RunView>;
  /** In the order of the queue. */
  merges: readonly MergeCard[];
  /** Open questions, and those that ended not long ago. */
  questions: ReadonlyMap<number, QuestionView>;
  /** Ended ones that are not shown any more: the person has read how they ended, or they had ended before the page was opened. */
  dismissed: ReadonlySet<number>;
};

/** The part of a room's messages that this page has read. */
export type RoomState = {
  /** Oldest first. */
  messages: readonly MessageView[];
  /** Whether older messages exist. */
  more: boolean;
  /** Whether the server has sent the newest messages. */
  opened: boolean;
  /** While the newest messages are asked for again: what was there before, and what has come since. */
  reopening: { before: readonly MessageView[]; came: readonly MessageView[] } | null;
  activity: Activity;
};

/** Something that this page sent, and what came of it. */
export type Sent = {
  room: string;
  /** The message that it became. */
  message: string | null;
  /** Why it was refused, as a sentence. */
  refused: string | null;
  answer: MessageView | null;
};

export type State = {
  project: Project | null;
  /** Changes that came after `anew`, kept until the fresh board is there; null: the board is current. */
  held: readonly Changed[] | null;
  me: Me | null;
  /** The page that the server carries, as of the first connection. */
  build: string | null;
  /** Whether the server carries another page since. */
  newer: boolean;
  /** When a restart of the server was noticed, by its clock. */
  restarted: number | null;
  rooms: ReadonlyMap<string, RoomState>;
  /** The last line of each run. */
  tails: Readonly<Record<string, string>>;
  sent: ReadonlyMap<number, Sent>;
  /** Why the session has ended, as a sentence. */
  ended: string | null;
  /** The server's clock minus this device's, in ms. */
  skew: number;
};

export const emptyRoom: RoomState = { messages: [], more: false, opened: false, reopening: null, activity: "idle" };

export function firstState(): State {
  return {
    project: null,
    held: null,
    me: null,
    build: null,
    newer: false,
    restarted: null,
    rooms: new Map(),
    tails: {},
    sent: new Map(),
    ended: null,
    skew: 0,
  };
}
