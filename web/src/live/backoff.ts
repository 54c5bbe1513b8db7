// How long to wait before the next try to connect. Pure.

const FIRST = 300;
const LONGEST = 10_000;

/** Milliseconds before try `failures` + 1. `random` from 0 to 1 spreads the browsers that a restart cut off together. */
export function waitBefore(failures: number, random: number): number {
  const most = Math.min(LONGEST, FIRST * 2 ** Math.min(failures, 10));
  return Math.round(FIRST + random * (most - FIRST));
}
