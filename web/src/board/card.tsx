// A story on the board. Its height is fixed and it has few elements, since there may be hundreds of them.

import { memo } from "../parts/memo";

import { usd } from "../parts/format";
import { storyPath } from "../address";
import { sayWithToast, showInToast } from "../shell/toast";
import { whyNot } from "../store/store";
import { waitsText } from "../story/words";
import type { Role, RunView, StoryCard } from "../wire";

type Props = { story: StoryCard; run: RunView | undefined; isAsking: boolean; isOpen: boolean; after: string };

/** `after` names the unfinished stories that it depends on. */
export const Card = memo(function Card({ story, run, isAsking, isOpen, after }: Props) {
  const waits = waitsText(story);
  const state = isAsking ? "asking" : story.wanted || story.quarantine !== null ? "wanted" : waits !== null ? "blocked" : run ? "running" : "quiet";
  const act = actOf(story, run);
  return (
    <li class={`story-card ${state} ${isOpen ? "open" : ""}`} data-card={story.id}>
      <a href={storyPath(story.id)} data-stop aria-current={isOpen ? "true" : undefined} title={story.title}>
        <b>{story.id}</b> {story.title}
      </a>
      <span class="card-state">{run ? `${run.worker} · ${isAsking ? "asks" : run.phase}` : (waits ?? after ?? "")}</span>
      <span class="card-meta">{metaOf(story, run ? after : waits !== null ? after : "")}</span>
      {act && (
        <button
          type="button"
          class="press small"
          aria-label={`${act.label} story ${story.id}`}
          onClick={() => {
            const why = whyNot(act.role);
            if (why) showInToast(why);
            else sayWithToast(act.say);
          }}
        >
          {act.label}
        </button>
      )}
    </li>
  );
});

function metaOf(story: StoryCard, after: string): string {
  const parts = [
    story.kind === "story" ? "" : story.kind,
    story.criteria > 0 ? `${story.ticked}/${story.criteria} ✓` : "",
    story.cost_usd > 0 ? usd(story.cost_usd) : "",
    story.retries > 0 ? `try ${story.retries + 1}` : "",
    after,
  ];
  return parts.filter(Boolean).join(" · ");
}

function actOf(story: StoryCard, run: RunView | undefined): { label: string; say: string; role: Role } | null {
  if (run || story.quarantine !== null) return null;
  if (story.wanted === "retry") return { label: "Retry", say: `retry ${story.id}`, role: "approver" };
  if (story.stage === "backlog" && story.waits === null)
    return { label: "Start", say: `start ${story.id}`, role: "user" };
  return null;
}
