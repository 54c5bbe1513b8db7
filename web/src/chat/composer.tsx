// The field to write in a room. The draft stays until the message was taken.

import { useEffect } from "preact/hooks";

import { draft } from "../live/drafts";
import { useSender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { whyNot } from "../store/store";

export function Composer({ room, title }: { room: string; title: string }) {
  const text = draft(`room.${room}`, "");
  const sender = useSender();
  const sent = sender.sent.value;
  const isTaken = (sent?.message ?? null) !== null;
  useEffect(() => {
    if (!isTaken) return;
    text.value = "";
    // The answer comes as a message of the room.
    sender.clear();
  }, [isTaken]);
  const why = whyNot("user");
  const isSending = sent !== null && !isTaken && sent.refused === null;
  const submit = () => {
    if (text.value.trim() !== "" && !isSending && why === null) sender.send({ say: text.value.trim() }, room);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // On a phone Enter makes a line, and the button sends.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    submit();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <Outcome sender={sender} />
      <div class="row">
        <label class="grow">
          <span class="hidden">Message to {title}</span>
          <textarea
            data-kept
            rows={Math.min(6, text.value.split("\n").length)}
            placeholder="A command, or what to do"
            value={text.value}
            onInput={(event) => (text.value = event.currentTarget.value)}
            onKeyDown={onKeyDown}
          />
        </label>
        <button class="press primary" type="submit" aria-disabled={why !== null || isSending} title={why ?? undefined}>
          {isSending ? "Sending…" : "Send"}
        </button>
      </div>
    </form>
  );
}
