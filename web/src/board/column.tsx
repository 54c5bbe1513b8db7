// One stage of the board: at most 40 cards until more are asked for.

import { useSignal } from "@preact/signals";

import { Press } from "../parts/press";
import { questionList, runs, stories } from "../store/store";
import { STAGE_NAME } from "../story/words";
import type { StoryCard } from "../wire";
import { Card } from "./card";
import type { Layout } from "./layout";

const STEP = 40;

type Props = { stage: keyof Layout; ids: readonly number[]; open: number | null };

export function Column({ stage, ids, open }: Props) {
  const most = useSignal(STEP);
  const byStory = new Map([...(runs.value?.values() ?? [])].map((run) => [run.story, run]));
  const asking = new Set(questionList.value.filter((one) => !one.outcome).map((one) => one.story));
  const more = ids.length - most.value;
  return (
    <section class="column" aria-labelledby={`stage-${stage}`}>
      <h2 id={`stage-${stage}`}>
        {STAGE_NAME[stage]} <span class="number">{ids.length}</span>
      </h2>
      {ids.length === 0 && <p class="empty">Nothing here.</p>}
      <ul class="cards">
        {ids.slice(0, most.value).map((id) => {
          const story = stories.value?.get(id);
          // Gone since the board was held: its place stays empty until the move is shown.
          if (!story) return <li key={id} class="story-card gone" data-card={id} />;
          return (
            <Card
              key={id}
              story={story}
              run={byStory.get(id)}
              isAsking={asking.has(id)}
              isOpen={id === open}
              after={dependencies(story)}
            />
          );
        })}
      </ul>
      {more > 0 && (
        <Press kind="quiet" onPress={() => (most.value += STEP)}>
          Show {Math.min(STEP, more)} more of {ids.length}
        </Press>
      )}
    </section>
  );
}

/** "after 7, 9": those that it depends on and that are not merged. */
function dependencies(story: StoryCard): string {
  const open = story.depends_on.filter((id) => {
    const other = stories.value?.get(id);
    return other && other.stage !== "done";
  });
  return open.length > 0 ? `after ${open.join(", ")}` : "";
}
