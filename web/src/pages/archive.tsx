// Stories of the archive, newest first, with a search.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { get } from "../live/session";
import { usd } from "../parts/format";
import { Press } from "../parts/press";
import { Loading } from "../parts/reading";
import { storyPath } from "../address";
import type { ArchiveView, StoryCard } from "../wire";

/** After the last letter, before the server is asked. */
const PAUSE = 250;

export function ArchivePage() {
  const query = useSignal("");
  const found = useSignal<{ query: string; stories: readonly StoryCard[]; more: boolean } | null>(null);
  const failure = useSignal<string | null>(null);

  const read = async (text: string, before: number | null) => {
    const search = new URLSearchParams({ q: text, ...(before === null ? {} : { before: String(before) }) });
    try {
      const view = await get<ArchiveView>(`/api/archive?${search.toString()}`);
      if (text !== query.value) return;
      const earlier = before === null ? [] : (found.value?.stories ?? []);
      found.value = { query: text, stories: [...earlier, ...view.stories], more: view.more };
      failure.value = null;
    } catch (error) {
      failure.value = error instanceof Error ? error.message : String(error);
    }
  };
  useEffect(() => {
    const text = query.value;
    const timer = setTimeout(() => void read(text, null), found.value ? PAUSE : 0);
    return () => clearTimeout(timer);
  }, [query.value]);

  const last = found.value?.stories.at(-1);
  return (
    <div class="narrow">
      <h1>Archive</h1>
      <label class="find">
        <span class="hidden">Find in the archive</span>
        <input id="find" type="search" placeholder="Find…" value={query.value} onInput={(event) => (query.value = event.currentTarget.value)} />
      </label>
      {failure.value !== null && <p class="bar warn">{failure.value}</p>}
      {!found.value && failure.value === null && <Loading />}
      {found.value?.stories.length === 0 && <p class="empty">Nothing here.</p>}
      <ul class="cost-stories">
        {found.value?.stories.map((story) => (
          <li key={story.id}>
            <a href={storyPath(story.id)} data-stop>
              <span class="story-number">{story.id}</span> {story.title}
            </a>
            <span class="soft">{usd(story.cost_usd)}</span>
          </li>
        ))}
      </ul>
      {found.value?.more && last && (
        <Press onPress={() => void read(query.value, last.id)}>More</Press>
      )}
    </div>
  );
}
