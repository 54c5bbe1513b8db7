// Sending commands and answers. What became of one is in `state.sent` under its ticket.

import { effect, untracked, useComputed, useSignal, type ReadonlySignal } from "@preact/signals";

import type { Sent } from "../store/state";
import { me, state } from "../store/store";
import { takeSent } from "../store/take";
import type { ToServer } from "../wire";
import { openRoom, send } from "./link";

/** How long a room is kept open for the answer of a command. */
const ANSWER_WAIT = 60_000;

let lastTicket = 0;

type Word = { say: string; files?: string[] } | { choose: string; message: string | null };

/** The ticket, or null if it could not be sent. */
export function sendTo(room: string, word: Word): number | null {
  const ticket = ++lastTicket;
  const close = openRoom(room);
  setTimeout(close, ANSWER_WAIT);
  state.value = takeSent(state.value, ticket, room);
  const frame: ToServer =
    "say" in word
      ? { type: "say", ticket, room, text: word.say, ...(word.files ? { files: word.files } : {}) }
      : { type: "choose", ticket, room, message: word.message, key: word.choose };
  if (send(frame)) return ticket;
  close();
  return null;
}

/** The room in which this person's own commands are said. */
export function ownRoom(): string | null {
  return me.value?.rooms[0]?.room ?? null;
}

export type Sender = {
  sent: ReadonlySignal<Sent | null>;
  /** Why nothing could be sent, or why it was not even tried. */
  failure: ReadonlySignal<string | null>;
  /** In the person's own room unless another one is given. */
  send(word: Word, room?: string | null): boolean;
  /** Shows why something was not tried, as a sentence. */
  refuse(why: string): void;
  clear(): void;
};

/** What the sender does about what it sent, also when it is not on screen any more. */
type Reactions = {
  /** It has become a message of the room. */
  onTaken?: (() => void) | undefined;
  onAnswered?: ((sent: Sent) => void) | undefined;
  onRefused?: (() => void) | undefined;
};

/** Sends one thing at a time for a part of the page, and follows what becomes of it. */
export function useSender(reactions: Reactions = {}): Sender {
  const ticket = useSignal<number | null>(null);
  const failure = useSignal<string | null>(null);
  const sent = useComputed(() => (ticket.value === null ? null : (state.value.sent.get(ticket.value) ?? null)));
  return {
    sent,
    failure,
    send(word, room = ownRoom()) {
      ticket.value = room === null ? null : sendTo(room, word);
      failure.value = ticket.value === null ? "Not sent: storkit cannot be reached. Try again when the page is live." : null;
      if (ticket.value !== null) react(ticket.value, reactions);
      return ticket.value !== null;
    },
    refuse(why) {
      failure.value = why;
    },
    clear() {
      ticket.value = null;
      failure.value = null;
    },
  };
}

function react(ticket: number, { onTaken, onAnswered, onRefused }: Reactions): void {
  let isTaken = false;
  const stop = effect(() => {
    const sent = state.value.sent.get(ticket);
    if (sent && sent.message !== null && !isTaken) {
      isTaken = true;
      untracked(() => onTaken?.());
    }
    if (sent?.answer) untracked(() => onAnswered?.(sent));
    if (sent && sent.refused !== null) untracked(() => onRefused?.());
    // The first run is over before `stop` is there.
    if (!sent || sent.answer || sent.refused !== null) queueMicrotask(() => stop());
  });
}
