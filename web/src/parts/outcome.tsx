// What became of something that was sent, at the place where it was sent from.

import type { Sender } from "../live/say";
import { roomPath } from "../address";
import { Html } from "./html";
import { Press } from "./press";

/** What it shows of a sender. */
type Shown = Pick<Sender, "sent" | "failure" | "clear">;

/** The region is always there, so that screen readers announce what comes into it. */
export function Outcome({ sender }: { sender: Shown }) {
  return (
    <div class="outcome" role="status">
      <OutcomeText sender={sender} />
    </div>
  );
}

function OutcomeText({ sender }: { sender: Shown }) {
  const sent = sender.sent.value;
  const failure = sender.failure.value ?? sent?.refused ?? null;
  if (failure !== null) return <Note tone="failure" onDismiss={sender.clear}>{failure}</Note>;
  if (!sent) return null;
  if (!sent.answer) {
    return (
      <p class="note sending">
        {sent.message === null ? "Sending…" : "Sent. Waiting for the answer…"}
        {sent.message !== null && <a href={roomPath(sent.room)}>In the chat</a>}
      </p>
    );
  }
  return (
    <Note tone={sent.answer.tone === "failure" ? "failure" : "answer"} onDismiss={sender.clear}>
      <Html html={sent.answer.html} />
      <a href={roomPath(sent.room)}>In the chat</a>
    </Note>
  );
}

function Note({ tone, onDismiss, children }: { tone: string; onDismiss(): void; children: preact.ComponentChildren }) {
  return (
    <div class={`note tone-${tone}`}>
      <div>{children}</div>
      <Press kind="quiet" label="Dismiss" onPress={onDismiss}>
        ✕
      </Press>
    </div>
  );
}
