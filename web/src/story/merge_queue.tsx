// The merge queue: the place of each story, what is tested now, and why something left it.

import { count } from "../parts/format";
import { storyPath } from "../address";
import { merges } from "../store/store";
import type { MergeCard } from "../wire";

const STATE: Record<MergeCard["state"], string> = {
  queued: "waits",
  running: "running",
  conflict: "conflict",
  gate_failed: "gate failed",
  failed: "failed",
};

export function MergeQueue() {
  const all = merges.value ?? [];
  if (all.length === 0) return <p class="empty">Nothing is in the merge queue.</p>;
  const waits = (merge: MergeCard) => merge.state === "queued" || merge.state === "running";
  return (
    <ol class="merges">
      {/* What failed comes last, since it holds nobody up. */}
      {[...all.filter(waits), ...all.filter((merge) => !waits(merge))].map((merge) => (
        <MergeRow key={merge.story} merge={merge} />
      ))}
    </ol>
  );
}

export function MergeRow({ merge }: { merge: MergeCard }) {
  const hasLeft = merge.state !== "queued" && merge.state !== "running";
  return (
    <li class={`merge ${merge.state}`}>
      <span class="merge-place">{hasLeft ? "!" : `${merge.ahead + 1}.`}</span>
      <a href={storyPath(merge.story, "merge")} data-stop>
        <span class="story-number">{merge.story}</span> {merge.title}
      </a>
      <span class="phase">{STATE[merge.state]}</span>
      <span class="merge-text soft">
        {merge.text || (merge.ahead > 0 ? `behind ${count(merge.ahead, "other")}` : "next")}
      </span>
      {merge.lines.length > 0 && (
        <details class="merge-lines">
          <summary>{merge.state === "conflict" ? count(merge.lines.length, "file") : "The gate's last lines"}</summary>
          <pre class="exact">{merge.lines.join("\n")}</pre>
        </details>
      )}
    </li>
  );
}
