// The decision about a story's changes: accept them, or send them back with the comments.

import { useSignal, type Signal } from "@preact/signals";

import { useSender } from "../live/say";
import { Confirm } from "../parts/dialog";
import { count } from "../parts/format";
import { Outcome } from "../parts/outcome";
import { Press } from "../parts/press";
import { whyNot } from "../store/store";
import type { StoryCard } from "../wire";
import { reasonOf, type Review } from "./review";

export function Verdict({ story, review }: { story: StoryCard; review: Signal<Review> }) {
  const why = useSignal<string | null>(null);
  const asked = useSignal<"accept" | "reject" | null>(null);
  const isRejecting = useSignal(false);
  const sender = useSender((sent) => {
    if (isRejecting.value && sent.answer && sent.answer.tone !== "failure") review.value = { comments: [], summary: "" };
  });
  const { comments, summary } = review.value;
  const canReject = story.stage === "qa" || story.stage === "merge";
  const wrongStage = canReject ? null : `A story can be sent back from QA and merge. This one is in ${story.stage}.`;
  const refuse = (reason: string) => (why.value = reason);
  const say = (text: string, isReject: boolean) => {
    why.value = null;
    isRejecting.value = isReject;
    sender.send({ say: text });
  };
  const reason = reasonOf(review.value);
  return (
    <section class="verdict" aria-label="Decision">
      <label>
        {comments.length > 0 ? `Your ${count(comments.length, "comment")} and, in general` : "What should change"}
        <textarea
          data-kept
          rows={1}
          value={summary}
          onInput={(event) => (review.value = { ...review.value, summary: event.currentTarget.value })}
        />
      </label>
      <div class="row">
        <Press
          kind="primary"
          why={whyNot("approver") ?? (story.stage === "qa" ? null : `A story is accepted in QA. This one is in ${story.stage}.`)}
          onRefused={refuse}
          onPress={() => (reason === "" ? say(`accept ${story.id}`, false) : (asked.value = "accept"))}
        >
          Accept
        </Press>
        <Press
          kind="danger"
          why={whyNot("approver") ?? wrongStage ?? (reason === "" ? "Comment on a line or say what should change first." : null)}
          onRefused={refuse}
          onPress={() => (asked.value = "reject")}
        >
          {comments.length > 0 ? `Reject with ${count(comments.length, "comment")}…` : "Reject…"}
        </Press>
      </div>
      <Outcome
        sender={sender}
        why={why.value}
        onDismiss={() => {
          why.value = null;
          sender.clear();
        }}
      />
      {asked.value === "reject" && (
        <Confirm
          ask={{ title: `Send story ${story.id} back?`, text: <pre class="exact">{reason}</pre>, confirm: "Send it back" }}
          onConfirm={() => say(`reject ${story.id} ${reason}`, true)}
          onClose={() => (asked.value = null)}
        />
      )}
      {asked.value === "accept" && (
        <Confirm
          ask={{
            title: "Accept it without your comments?",
            text: <p>{`The coder will not see what you wrote. It stays here as a draft.`}</p>,
            confirm: "Accept it",
            kind: "primary",
          }}
          onConfirm={() => say(`accept ${story.id}`, false)}
          onClose={() => (asked.value = null)}
        />
      )}
    </section>
  );
}
