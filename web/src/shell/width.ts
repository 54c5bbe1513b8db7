// How much room the window has, where the style sheet alone cannot decide.

import { signal, type ReadonlySignal } from "@preact/signals";

function matches(query: string): ReadonlySignal<boolean> {
  const list = matchMedia(query);
  const is = signal(list.matches);
  list.addEventListener("change", () => (is.value = list.matches));
  return is;
}

/** One column of the board. */
export const isPhone = matches("(max-width: 47.99rem)");
/** Room for a story's panel beside the board. */
export const isWide = matches("(min-width: 68rem)");
