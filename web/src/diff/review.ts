// A review in progress: comments on lines of a diff, kept in this browser until they are sent as the reason of `reject`. Pure but for the draft.

import type { Signal } from "@preact/signals";

import { draft } from "../live/drafts";
import type { DiffLine } from "../wire";

export type Comment = {
  path: string;
  /** In the new file, or in the old one for a removed line. */
  line: number;
  isRemoved: boolean;
  /** The code of the line, so that the coder finds it after lines have moved. */
  code: string;
  text: string;
};
export type Review = { comments: readonly Comment[]; summary: string };

const EMPTY: Review = { comments: [], summary: "" };

export function reviewOf(story: number): Signal<Review> {
  return draft<Review>(`review.${story}`, EMPTY);
}

export function commentOn(review: Review, path: string, line: DiffLine): Comment | undefined {
  return review.comments.find((one) => isOn(one, path, line));
}

/** An empty text removes the comment. */
export function withComment(review: Review, path: string, line: DiffLine, text: string): Review {
  const others = review.comments.filter((one) => !isOn(one, path, line));
  const number = line.new ?? line.old ?? 0;
  const made = { path, line: number, isRemoved: line.new === null, code: line.text, text };
  return { ...review, comments: text.trim() === "" ? others : [...others, made] };
}

/** Comments on lines that the diff no longer has: the branch has moved on. */
export function outdated(review: Review, lines: ReadonlySet<string>): readonly Comment[] {
  return review.comments.filter((one) => !lines.has(keyOf(one.path, one.line, one.isRemoved, one.code)));
}

export function lineKey(path: string, line: DiffLine): string {
  return keyOf(path, line.new ?? line.old ?? 0, line.new === null, line.text);
}

/** What the coder reads: for each comment where it is, the line, and the words. */
export function reasonOf(review: Review): string {
  const places = review.comments.toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.line - b.line));
  const parts = places.map(
    (one) => `${one.path}:${one.line}${one.isRemoved ? " (removed)" : ""}\n> ${one.code.trim()}\n${one.text.trim()}`,
  );
  return [review.summary.trim(), ...parts].filter(Boolean).join("\n\n");
}

function isOn(comment: Comment, path: string, line: DiffLine): boolean {
  return keyOf(comment.path, comment.line, comment.isRemoved, comment.code) === lineKey(path, line);
}

function keyOf(path: string, line: number, isRemoved: boolean, code: string): string {
  return JSON.stringify([path, line, isRemoved, code]);
}
