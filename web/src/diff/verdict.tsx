// The decision about a story's changes: accept them, or send them back with the comments.

import { useSignal, type Signal } from "@preact/signals";

import { useSender } from "../live/say";
import { Confirm, Dialog } from "../parts/dialog";
import { count } from "../parts/format";
import { Outcome } from "../parts/outcome";
import { Press } from "../parts/press";
import { whyNot } from "../store/store";
import type { StoryCard } from "../wire";
import { reasonOf, type Review } from "./review";

export function Verdict({ story, review }: { story: StoryCard; review: Signal<Review> }) {
  const asked = useSignal<"accept" | "reject" | null>(null);
  const isRejecting = useSignal(false);
  const sender = useSender({
    onAnswered({ answer }) {
      if (isRejecting.value && answer?.tone !== "failure") review.value = { comments: [], summary: "" };
    },
  });
  const { comments } = review.value;
  const canReject = story.stage === "qa" || story.stage === "merge";
  const wrongStage = canReject ? null : `A story can be sent back from QA and merge. This one is in ${story.stage}.`;
  const say = (text: string, isReject: boolean) => {
    isRejecting.value = isReject;
    sender.send({ say: text });
  };
  const reason = reasonOf(review.value);
  return (
    <section class="verdict" aria-label="Decision">
      <div class="row">
        <Press
          kind="primary"
          why={whyNot("approver") ?? (story.stage === "qa" ? null : `A story is accepted in QA. This one is in ${story.stage}.`)}
          onRefused={sender.refuse}
          onPress={() => (reason === "" ? say(`accept ${story.id}`, false) : (asked.value = "accept"))}
        >
          Accept
        </Press>
        <Press
          kind="danger"
          why={whyNot("approver") ?? wrongStage}
          onRefused={sender.refuse}
          onPress={() => (asked.value = "reject")}
        >
          {comments.length > 0 ? `Reject with ${count(comments.length, "comment")}…` : "Reject…"}
        </Press>
      </div>
      <Outcome sender={sender} />
      {asked.value === "reject" && (
        <RejectDialog story={story.id} review={review} onSend={() => say(`reject ${story.id} ${reason}`, true)} onClose={() => (asked.value = null)} />
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

function RejectDialog({ story, review, onSend, onClose }: { story: number; review: Signal<Review>; onSend(): void; onClose(): void }) {
  const { comments, summary } = review.value;
  const why = reasonOf(review.value) === "" ? "Say what should change, or comment on lines of the diff." : null;
  const refused = useSignal<string | null>(null);
  return (
    <Dialog title={`Send story ${story} back?`} onClose={onClose}>
      <div class="form">
        <label>
          What should change{comments.length > 0 && ", beside your comments"}
          <textarea
            data-kept
            rows={3}
            value={summary}
            onInput={(event) => (review.value = { ...review.value, summary: event.currentTarget.value })}
          />
        </label>
        {comments.length > 0 && (
          <>
            <p class="label">The coder also reads</p>
            <pre class="exact">{reasonOf({ comments, summary: "" })}</pre>
          </>
        )}
        <p class="failure" role="status">
          {refused.value}
        </p>
        <div class="row end">
          <Press onPress={onClose}>Cancel</Press>
          <Press
            kind="danger"
            why={why}
            onRefused={(reason) => (refused.value = reason)}
            onPress={() => {
              onClose();
              onSend();
            }}
          >
            Send it back
          </Press>
        </div>
      </div>
    </Dialog>
  );
}
