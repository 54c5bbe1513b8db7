// Sending commands and answers. What became of one is in `state.sent` under its ticket.

import { useComputed, useSignal, type ReadonlySignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import type { Sent } from "../store/state";
import { me, state } from "../store/store";
import { takeSent } from "../store/take";
import type { ToServer } from "../wire";
import { openRoom, send } from "./link";

/** How long a room is kept open for the answer of a command. */
const ANSWER_WAIT = 60_000;

let lastTicket = 0;

type Word = { say: string } | { choose: string; message: string | null };

/** The ticket, or null if it could not be sent. */
export function sendTo(room: string, word: Word): number | null {
  const ticket = ++lastTicket;
  const close = openRoom(room);
  setTimeout(close, ANSWER_WAIT);
  state.value = takeSent(state.value, ticket, room);
  const frame: ToServer =
    "say" in word
      ? { type: "say", ticket, room, text: word.say }
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
  /** Why nothing could be sent. */
  failure: ReadonlySignal<string | null>;
  /** In the person's own room unless another one is given. */
  send(word: Word, room?: string | null): boolean;
  clear(): void;
};

/** Sends one thing at a time for a part of the page, and follows what becomes of it. */
export function useSender(onAnswered?: (sent: Sent) => void): Sender {
  const ticket = useSignal<number | null>(null);
  const failure = useSignal<string | null>(null);
  const sent = useComputed(() => (ticket.value === null ? null : (state.value.sent.get(ticket.value) ?? null)));
  const answered = sent.value?.answer?.id ?? null;
  useEffect(() => {
    if (sent.value?.answer) onAnswered?.(sent.value);
  }, [answered]);
  return {
    sent,
    failure,
    send(word, room = ownRoom()) {
      ticket.value = room === null ? null : sendTo(room, word);
      failure.value = ticket.value === null ? "Not sent: storkit cannot be reached. Try again when the page is live." : null;
      return ticket.value !== null;
    },
    clear() {
      ticket.value = null;
      failure.value = null;
    },
  };
}
