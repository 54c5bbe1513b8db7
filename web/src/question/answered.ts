// Questions that this person has answered here: how they ended is no news to them, so they go when another page is shown.

import { effect } from "@preact/signals";

import { page } from "../route";
import { state } from "../store/store";
import { takeDismissed } from "../store/take";

const answered = new Set<number>();

export function noteAnswered(question: number): void {
  answered.add(question);
}

export function dismissAnsweredOnLeaving(): void {
  effect(() => {
    page.value;
    // Without a subscription: only another page counts.
    const left = [...answered];
    answered.clear();
    if (left.length > 0) state.value = left.reduce(takeDismissed, state.peek());
  });
}
