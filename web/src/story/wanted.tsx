// A story that waits for a person's decision, with the decision's button.

import { Acts, type Act } from "../parts/acts";
import { usd } from "../parts/format";
import { Ago } from "../parts/time";
import { storyPath } from "../address";
import type { StoryCard } from "../wire";
import { STAGE_NAME, waitsText } from "./words";

export function WantedCard({ story }: { story: StoryCard }) {
  return (
    <article class="card wanted" aria-labelledby={`wanted-${story.id}`}>
      <h3 id={`wanted-${story.id}`}>
        <a href={storyPath(story.id)} data-stop>
          <span class="story-number">{story.id}</span> {story.title}
        </a>
      </h3>
      <p class="wanted-what">{capitalised(waitsText(story) ?? "")}</p>
      <p class="soft wanted-meta">
        {STAGE_NAME[story.stage]}
        {story.criteria > 0 && ` · ${story.ticked}/${story.criteria} criteria`}
        {story.cost_usd > 0 && ` · ${usd(story.cost_usd)}`}
        {" · "}
        <Ago at={story.since} />
      </p>
      <Acts acts={actsFor(story)}>
        {story.wanted === "review" && (
          <a class="press primary" href={storyPath(story.id, "diff")}>
            See the diff
          </a>
        )}
        {story.quarantine !== null && (
          <a class="press plain" href={storyPath(story.id)}>
            Read the story
          </a>
        )}
      </Acts>
    </article>
  );
}

function actsFor(story: StoryCard): Act[] {
  switch (story.wanted) {
    case "retry":
      return [{ label: "Retry", say: `retry ${story.id}`, role: "approver" }];
    case "budget":
      return [
        {
          label: "Grant it again…",
          say: `retry ${story.id}`,
          role: "approver",
          ask: {
            title: `Grant the budget of story ${story.id} once more?`,
            text: <p>It has cost {usd(story.cost_usd)} so far, and continues in its stage.</p>,
            confirm: "Grant it",
            kind: "primary",
          },
        },
      ];
    case "review":
    case null:
      return [];
  }
}

function capitalised(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
