// How stages and what a story waits for are called on the page. Pure.

import type { StoryCard, Stage } from "../wire";

export const STAGES = ["backlog", "current", "qa", "merge", "done"] as const;

export const STAGE_NAME: Record<Stage, string> = {
  backlog: "Backlog",
  current: "Current",
  qa: "QA",
  merge: "Merge",
  done: "Done",
  archived: "Archived",
};

/** The decision that a story waits for, as a few words. */
export const WANTED: Record<NonNullable<StoryCard["wanted"]>, string> = {
  review: "waits for your review",
  retry: "is stuck: continue it?",
  budget: "has spent its budget",
};

export function waitsText(story: StoryCard): string | null {
  if (story.quarantine !== null) return "in quarantine";
  return story.waits ?? (story.wanted ? WANTED[story.wanted] : null);
}
