// The answer to a command from a place that has no room for it, such as a card of the board.

import { signal, useComputed } from "@preact/signals";

import { useEffect } from "preact/hooks";

import { ownRoom, sendTo } from "../live/say";
import { page } from "../route";
import { state } from "../store/store";
import { SHOWN } from "../parts/acts";
import { Outcome } from "../parts/outcome";

const ticket = signal<number | null>(null);
const failure = signal<string | null>(null);

/** Sends a command, and shows its answer at the foot of the page. */
export function sayWithToast(text: string): void {
  const room = ownRoom();
  ticket.value = room === null ? null : sendTo(room, { say: text });
  failure.value = ticket.value === null ? "Not sent: storkit cannot be reached." : null;
}

export function showInToast(why: string): void {
  ticket.value = null;
  failure.value = why;
}

export function Toast() {
  const sent = useComputed(() => (ticket.value === null ? null : (state.value.sent.get(ticket.value) ?? null)));
  const clear = () => {
    ticket.value = null;
    failure.value = null;
  };
  const answer = sent.value?.answer;
  const here = page.value;
  useEffect(clear, [here]);
  useEffect(() => {
    if (!answer || answer.tone === "failure") return;
    const timer = setTimeout(clear, SHOWN);
    return () => clearTimeout(timer);
  }, [answer?.id]);
  return (
    <div class="toast">
      <Outcome sender={{ sent, failure, clear }} />
    </div>
  );
}
