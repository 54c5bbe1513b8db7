// Where each story is on the board. Pure.

import type { MergeCard, Stage, StoryCard } from "../wire";
import { STAGES } from "../story/words";

/** Ids in order, for each column. */
export type Layout = Readonly<Record<(typeof STAGES)[number], readonly number[]>>;

export function layoutOf(stories: Iterable<StoryCard>, merges: readonly MergeCard[], query: string): Layout {
  const columns: Record<Stage, StoryCard[]> = { backlog: [], current: [], qa: [], merge: [], done: [], archived: [] };
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  for (const story of stories) {
    if (matches(story, words)) columns[story.stage].push(story);
  }
  const place = new Map(merges.map((merge, at) => [merge.story, at]));
  const byPlace = (story: StoryCard) => place.get(story.id) ?? Infinity;
  columns.merge.sort((a, b) => (byPlace(a) < byPlace(b) ? -1 : byPlace(a) > byPlace(b) ? 1 : a.id - b.id));
  columns.done.sort((a, b) => b.since - a.since || b.id - a.id);
  for (const stage of ["backlog", "current", "qa"] as const) columns[stage].sort((a, b) => a.id - b.id);
  const ids = (stage: Stage) => columns[stage].map((story) => story.id);
  return { backlog: ids("backlog"), current: ids("current"), qa: ids("qa"), merge: ids("merge"), done: ids("done") };
}

/** How many stories are in another column, came or went. */
export function movesBetween(shown: Layout, now: Layout): number {
  const before = columnOf(shown);
  const after = columnOf(now);
  let moves = 0;
  for (const [id, stage] of after) if (before.get(id) !== stage) moves++;
  for (const id of before.keys()) if (!after.has(id)) moves++;
  return moves;
}

export function isSameLayout(one: Layout, other: Layout): boolean {
  return STAGES.every((stage) => one[stage].length === other[stage].length && one[stage].every((id, at) => id === other[stage][at]));
}

function columnOf(layout: Layout): Map<number, string> {
  return new Map(STAGES.flatMap((stage) => layout[stage].map((id) => [id, stage] as const)));
}

/** `12` and `#12` find the story of that number, among others. */
function matches(story: StoryCard, words: readonly string[]): boolean {
  if (words.length === 0) return true;
  const text = `#${story.id} ${story.title} ${story.kind} ${story.agent ?? ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
