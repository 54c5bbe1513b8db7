// Words to the agent at work. They go to it between two of its steps; the log shows them, and when it has them.

import { draft } from "../live/drafts";
import { useSender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { whyNot } from "../store/store";
import "../styles/composer.css";

export function TellAgent({ story, worker }: { story: number; worker: string }) {
  const text = draft(`tell.${story}`, "");
  const sender = useSender({ onTaken: () => (text.value = "") });
  const sent = sender.sent.value;
  const why = whyNot("approver");
  const isSending = sent !== null && sent.message === null && sent.refused === null;
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.value.trim() !== "" && !isSending && why === null) sender.send({ say: `tell ${story} ${text.value.trim()}` });
      }}
    >
      <Outcome sender={sender} />
      <div class="row">
        <label class="grow">
          <span class="hidden">Say something to {worker}</span>
          <textarea
            data-kept
            rows={Math.min(4, text.value.split("\n").length)}
            placeholder={`Say something to ${worker}`}
            value={text.value}
            onInput={(event) => (text.value = event.currentTarget.value)}
          />
        </label>
        <button class="press" type="submit" aria-disabled={why !== null || isSending} title={why ?? undefined}>
          {isSending ? "Sending…" : "Send"}
        </button>
      </div>
    </form>
  );
}
