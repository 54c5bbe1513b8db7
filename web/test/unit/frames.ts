// Short ways to write what a server sends.

import type { BoardView, FromServer, Me, MessageView, QuestionView, StoryCard } from "../../src/wire";
import { call, message, question, story } from "../../dev/make";
import type { Changed, State } from "../../src/store/state";
import { firstState } from "../../src/store/state";
import { take, takeBoard } from "../../src/store/take";

export const NOW = 1_000_000;
/** The server's clock is ahead. */
export const SERVER_NOW = NOW + 5_000;

export const ME: Me = { who: "slack:U01", name: "Ann", role: "approver", rooms: [{ room: "web:ann", title: "Ann" }], sessions: [] };

export function board(more: Partial<BoardView> = {}): BoardView {
  return {
    boot: "a",
    seq: 10,
    at: SERVER_NOW,
    project: "shop",
    base: "main",
    protection: "bubblewrap",
    paused: null,
    problems: [],
    stories: [story(1, "One", "backlog"), story(2, "Two", "current")],
    archived: 0,
    runs: [],
    merges: [],
    questions: [],
    agents: [],
    spent_today: 1,
    budget_today: null,
    ...more,
  };
}

export function hello(more: Partial<Extract<FromServer, { type: "hello" }>> = {}): FromServer {
  return { type: "hello", boot: "a", seq: 10, build: "1", at: SERVER_NOW, me: ME, ...more };
}

export function changed(seq: number, more: Partial<Changed> = {}): Changed {
  return { type: "changed", seq, at: SERVER_NOW, stories: [], gone_stories: [], runs: [], gone_runs: [], merges: null, questions: [], state: null, ...more };
}

export function moved(seq: number, id: number, stage: StoryCard["stage"]): Changed {
  return changed(seq, { stories: [story(id, "moved", stage)] });
}

export function said(id: string, more: Partial<MessageView> = {}): FromServer {
  return { type: "message", message: { ...message("web:ann", null, `<p>${id}</p>`, { at: NOW }), id, ...more } };
}

export function ask(id: number, more: Partial<QuestionView> = {}): QuestionView {
  return question(id, call("ls"), more);
}

/** What is known after these, in order. */
export function after(...steps: Array<FromServer | BoardView>): State {
  return from(firstState(), ...steps);
}

export function from(state: State, ...steps: Array<FromServer | BoardView>): State {
  return steps.reduce((known, step) => ("type" in step ? take(known, step, NOW) : takeBoard(known, step, NOW)), state);
}

export function stageOf(state: State, id: number): string | undefined {
  return state.project?.stories.get(id)?.stage;
}
