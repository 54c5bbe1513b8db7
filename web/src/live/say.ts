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
  /** The file on its way, in words. */
  uploading: ReadonlySignal<string | null>;
  /** In the person's own room unless another one is given. */
  send(word: Word, room?: string | null): boolean;
  /** Uploads the files first. Where one fails, nothing is sent, and the reason is in `failure`. */
  sendWith(files: Files, text: string, room?: string | null): Promise<void>;
  /** Shows why something was not tried, as a sentence. */
  refuse(why: string): void;
  clear(): void;
};

/** Files that go along with a text. */
type Files = {
  /** The ids under which the server has them. */
  upload(onFile: (words: string) => void): Promise<string[]>;
  /** The server has none of them any more. */
  forgetUploads(): void;
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
  const uploading = useSignal<string | null>(null);
  const sent = useComputed(() => (ticket.value === null ? null : (state.value.sent.get(ticket.value) ?? null)));
  const send = (word: Word, room = ownRoom(), more: Reactions = {}) => {
    ticket.value = room === null ? null : sendTo(room, word);
    failure.value = ticket.value === null ? "Not sent: storkit cannot be reached. Try again when the page is live." : null;
    if (ticket.value !== null) react(ticket.value, { ...reactions, ...more });
    return ticket.value !== null;
  };
  return {
    sent,
    failure,
    uploading,
    send: (word, room) => send(word, room),
    async sendWith(files, text, room) {
      if (uploading.value !== null) return;
      failure.value = null;
      uploading.value = "Uploading…";
      try {
        const ids = await files.upload((words) => (uploading.value = words));
        send(ids.length > 0 ? { say: text, files: ids } : { say: text }, room, { onRefused: files.forgetUploads });
      } catch (error) {
        failure.value = error instanceof Error ? error.message : String(error);
      } finally {
        uploading.value = null;
      }
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
