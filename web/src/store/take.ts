// How each frame and each answer of the server changes what the page knows. Pure: the clock is an argument.

import type { BoardView, FromServer, MessageView, QuestionView } from "../wire";
import { emptyRoom, type Changed, type Project, type RoomState, type Sent, type State } from "./state";

/** The word of an outcome that this page does not know; the server has others. */
export const CLOSED = "closed";

/** Tickets beyond these are forgotten, the oldest first. */
const SENT_KEPT = 60;

/** The state after a frame that arrived at `now`, by this device's clock. */
export function take(state: State, frame: FromServer, now: number): State {
  switch (frame.type) {
    case "hello": {
      const isRestart = state.project !== null && state.project.boot !== frame.boot;
      return {
        ...state,
        me: frame.me,
        skew: frame.at - now,
        build: state.build ?? frame.build,
        newer: state.build !== null && state.build !== frame.build,
        restarted: isRestart ? frame.at : state.restarted,
        // What was known stays on screen until the fresh board is there.
        held: isRestart ? (state.held ?? []) : state.held,
        ended: null,
      };
    }
    case "anew":
      return { ...state, held: [] };
    case "me":
      return { ...state, me: frame.me };
    case "changed":
      return takeChanged(state, frame);
    case "tails":
      return { ...state, tails: { ...state.tails, ...frame.lines } };
    case "message":
      return takeMessage(state, frame.message);
    case "opened":
      return changeRoom(state, frame.room, (room) => takeOpened(room, frame.more));
    case "activity":
      return changeRoom(state, frame.room, (room) => ({ ...room, activity: frame.state }));
    case "taken":
      return changeSent(state, frame.ticket, (sent) => ({
        ...sent,
        message: frame.message,
        // The answer may have come first.
        answer: findAnswer(state.rooms.get(sent.room), frame.message) ?? sent.answer,
      }));
    case "refused":
      return changeSent(state, frame.ticket, (sent) => ({ ...sent, refused: frame.why }));
    case "bye":
      return frame.again ? state : { ...state, ended: frame.why };
    case "beat":
      return { ...state, skew: frame.at - now };
    case "lines":
      // Output goes straight to the log on screen: see `live/follow.ts`.
      return state;
  }
}

/** The state with a fresh board, which may be older than its answer, and with the changes that came while it was fetched. */
export function takeBoard(state: State, board: BoardView, now: number): State {
  const { boot, seq, at, project: name, stories, runs, merges, questions, ...rest } = board;
  const open = new Map(questions.map((question) => [question.id, question]));
  const isRestart = state.project !== null && state.project.boot !== boot;
  const project: Project = {
    boot,
    seq,
    at,
    name,
    state: rest,
    stories: byId(stories),
    runs: byId(runs),
    merges,
    questions: withClosed(state.project, open, now + state.skew, isRestart),
    dismissed: stillDismissed(state.project, questions, isRestart),
  };
  const fresh: State = {
    ...state,
    project,
    held: null,
    restarted: isRestart ? (state.restarted ?? at) : state.restarted,
    tails: isRestart ? {} : state.tails,
  };
  return (state.held ?? []).reduce(takeChanged, fresh);
}

/** The state after the connection broke: whatever was sent and not answered may or may not have arrived. */
export function takeLost(state: State): State {
  const sent = new Map(state.sent);
  for (const [ticket, one] of sent) {
    if (one.answer === null && one.refused === null) {
      sent.set(ticket, { ...one, refused: "The connection broke before the answer came. Look before you try again." });
    }
  }
  return { ...state, sent };
}

/** The state after this page sent something to a room. */
export function takeSent(state: State, ticket: number, room: string): State {
  const sent = new Map(state.sent).set(ticket, { room, message: null, refused: null, answer: null });
  for (const old of sent.keys()) {
    if (sent.size <= SENT_KEPT) break;
    sent.delete(old);
  }
  return { ...state, sent };
}

/** The state when the newest messages of a room are asked for. */
export function takeOpening(state: State, name: string): State {
  return changeRoom(state, name, (room) => ({ ...room, reopening: { before: room.messages, came: [] } }));
}

/** The state after a person has read how a question ended. Open ones stay. */
export function takeDismissed(state: State, question: number): State {
  const { project } = state;
  if (!project?.questions.get(question)?.outcome) return state;
  return { ...state, project: { ...project, dismissed: new Set(project.dismissed).add(question) } };
}

function takeChanged(state: State, frame: Changed): State {
  // A fresh board is on its way: it may or may not have this change in it.
  if (state.held) return { ...state, held: [...state.held, frame] };
  const { project } = state;
  if (!project || frame.seq <= project.seq) return state;
  return {
    ...state,
    project: {
      ...project,
      seq: frame.seq,
      at: frame.at,
      state: frame.state ?? project.state,
      stories: replaced(project.stories, frame.stories, frame.gone_stories),
      runs: replaced(project.runs, frame.runs, frame.gone_runs),
      merges: frame.merges ?? project.merges,
      questions: replaced(project.questions, frame.questions, []),
      dismissed: withSettledUnseen(project, frame.questions),
    },
    tails: withoutKeys(state.tails, frame.gone_runs),
  };
}

function takeMessage(state: State, message: MessageView): State {
  const next = changeRoom(state, message.room, (room) => ({
    ...room,
    messages: withMessage(room.messages, message),
    reopening: room.reopening && { ...room.reopening, came: [...room.reopening.came, message] },
  }));
  if (message.reply_to === null) return next;
  for (const [ticket, sent] of next.sent) {
    // News of the same matter may follow for hours: the first reply is the answer.
    if (sent.message === message.reply_to && (sent.answer === null || sent.answer.id === message.id)) {
      return changeSent(next, ticket, (one) => ({ ...one, answer: message }));
    }
  }
  return next;
}

/** More messages than fit on a page may have been missed: then only the new page counts, since a gap would not show. */
function takeOpened(room: RoomState, more: boolean): RoomState {
  const { reopening } = room;
  const opened = { ...room, opened: true, reopening: null };
  if (!reopening || reopening.before.length === 0) return { ...opened, more };
  const known = new Set(reopening.before.map((message) => message.id));
  if (reopening.came.length === 0 || reopening.came.some((message) => known.has(message.id))) return opened;
  return { ...opened, more, messages: reopening.came.reduce<readonly MessageView[]>(withMessage, []) };
}

/** The messages with this one at its place by time; an edit replaces the message of the same id. */
function withMessage(messages: readonly MessageView[], message: MessageView): readonly MessageView[] {
  const known = messages.findLastIndex((one) => one.id === message.id);
  if (known >= 0) return messages.with(known, message);
  const after = messages.findLastIndex((one) => one.at <= message.at);
  return messages.toSpliced(after + 1, 0, message);
}

function findAnswer(room: RoomState | undefined, message: string): MessageView | undefined {
  return room?.messages.find((one) => one.reply_to === message);
}

/** Questions that are gone from a fresh board have been closed: they stay, and say so, until they are dismissed. */
function withClosed(
  before: Project | null,
  open: Map<number, QuestionView>,
  at: number,
  isRestart: boolean,
): ReadonlyMap<number, QuestionView> {
  const sentence = isRestart
    ? "storkit was restarted, so this question is closed. If it still matters, it is asked again."
    : "It was closed while this page was not connected.";
  for (const [id, question] of before?.questions ?? []) {
    if (open.has(id) || before?.dismissed.has(id)) continue;
    open.set(id, { ...question, outcome: question.outcome ?? { word: CLOSED, sentence: `<p>${sentence}</p>`, at } });
  }
  return open;
}

/** One that ended before this page heard of it is no news. */
function withSettledUnseen({ questions, dismissed }: Project, changed: readonly QuestionView[]): ReadonlySet<number> {
  const unseen = changed.filter((one) => one.outcome !== null && !questions.has(one.id));
  return unseen.length > 0 ? new Set([...dismissed, ...unseen.map((one) => one.id)]) : dismissed;
}

/** Of those that have ended, only the ones that this page has shown open are news. */
function stillDismissed(before: Project | null, questions: readonly QuestionView[], isRestart: boolean): ReadonlySet<number> {
  const known = isRestart ? null : before;
  const shown = (id: number) => known !== null && known.questions.has(id) && !known.dismissed.has(id);
  return new Set(questions.filter((one) => one.outcome !== null && !shown(one.id)).map((one) => one.id));
}

function changeRoom(state: State, name: string, change: (room: RoomState) => RoomState): State {
  return { ...state, rooms: new Map(state.rooms).set(name, change(state.rooms.get(name) ?? emptyRoom)) };
}

function changeSent(state: State, ticket: number, change: (sent: Sent) => Sent): State {
  const sent = state.sent.get(ticket);
  return sent ? { ...state, sent: new Map(state.sent).set(ticket, change(sent)) } : state;
}

function byId<Id, Entry extends { id: Id }>(entries: readonly Entry[]): ReadonlyMap<Id, Entry> {
  return new Map(entries.map((entry) => [entry.id, entry]));
}

/** The same map where nothing changed, so that what is drawn from it is left alone. */
function replaced<Id, Entry extends { id: Id }>(
  entries: ReadonlyMap<Id, Entry>,
  changed: readonly Entry[],
  gone: readonly Id[],
): ReadonlyMap<Id, Entry> {
  if (changed.length === 0 && gone.length === 0) return entries;
  const next = new Map(entries);
  for (const entry of changed) next.set(entry.id, entry);
  for (const id of gone) next.delete(id);
  return next;
}

function withoutKeys<Value>(record: Readonly<Record<string, Value>>, keys: readonly string[]): Readonly<Record<string, Value>> {
  if (!keys.some((key) => key in record)) return record;
  return Object.fromEntries(Object.entries(record).filter(([key]) => !keys.includes(key)));
}
