// Which lines of a run's output are on screen, and what a frame of the server adds to them. Pure.

/** More are dropped at the other end. */
export const MOST_LINES = 2000;

export type Lines = {
  /** The number of the first line on screen, from 1. */
  first: number;
  /** The number of the line that comes next. */
  next: number;
  /** Whether the run has ended. */
  over: boolean;
};

export const noLines: Lines = { first: 1, next: 1, over: false };

export type Added = {
  lines: Lines;
  /** New lines, from number `from` on. */
  fresh: readonly string[];
  from: number;
  /** Lines before `from` that never came; null: none are missing. */
  gap: { from: number; to: number } | null;
};

/** Lines have absolute numbers: repeats are dropped, and a gap is known as one. */
export function addLines(now: Lines, frame: { from: number; lines: readonly string[]; over: boolean }): Added {
  const isEmpty = now.next === now.first;
  const first = isEmpty && frame.lines.length > 0 ? frame.from : now.first;
  const known = isEmpty && now.next === 1 ? frame.from : now.next;
  const fresh = frame.lines.slice(Math.max(0, known - frame.from));
  const from = frame.from + frame.lines.length - fresh.length;
  const gap = fresh.length > 0 && from > known ? { from: known, to: from - 1 } : null;
  const next = fresh.length > 0 ? from + fresh.length : now.next;
  return { lines: { first, next, over: now.over || frame.over }, fresh, from, gap };
}

/** The page of earlier lines to read: it ends before `first`. */
export function earlier(first: number, step: number): { from: number; count: number } {
  const from = Math.max(1, first - step);
  return { from, count: first - from };
}
