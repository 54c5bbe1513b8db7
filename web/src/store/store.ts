// The one state of the page as a signal, and the views of it that several pages draw.

import { computed, effect, signal } from "@preact/signals";

import type { Role } from "../wire";
import { firstState, type State } from "./state";

export const state = signal<State>(firstState());

/** `since` is by this device's clock. */
export type Connection = { word: "connecting" | "live" | "offline"; since: number };
export const connection = signal<Connection>({ word: "connecting", since: Date.now() });

/** This device's clock, for times such as "2 min ago". */
export const minute = signal(Date.now());
setInterval(() => (minute.value = Date.now()), 20_000);

export const project = computed(() => state.value.project);
export const board = computed(() => project.value?.state ?? null);
export const me = computed(() => state.value.me);
export const stories = computed(() => project.value?.stories ?? null);
export const runs = computed(() => project.value?.runs ?? null);
export const merges = computed(() => project.value?.merges ?? null);
export const tails = computed(() => state.value.tails);
export const questions = computed(() => project.value?.questions ?? null);
/** The server's clock minus this device's. Of its own, so that times on screen are not drawn again at every frame. */
export const skew = computed(() => state.value.skew);
export const isLive = computed(() => connection.value.word === "live");

/** Those to show, oldest first, since the oldest is closest to its deadline. */
export const questionList = computed(() =>
  [...(questions.value?.values() ?? [])].filter((one) => !project.value?.dismissed.has(one.id)).toSorted((a, b) => a.asked - b.asked || a.id - b.id),
);
export const wanted = computed(() =>
  [...(stories.value?.values() ?? [])].filter((story) => story.wanted !== null || story.quarantine !== null),
);
/** How many things wait for a person. */
export const waiting = computed(
  () => questionList.value.filter((question) => !question.outcome).length + wanted.value.length,
);

const RANK: Record<Role, number> = { user: 0, approver: 1, operator: 2 };
const PLURAL: Record<Role, string> = { user: "people on the list", approver: "approvers", operator: "operators" };

/** Why this person cannot do something now, as a sentence; null: they can. */
export function whyNot(role: Role): string | null {
  if (connection.value.word === "connecting") return "Not connected yet.";
  if (connection.value.word === "offline") return "Offline. Nothing is sent until storkit can be reached again.";
  const mine = me.value?.role ?? "user";
  return RANK[mine] < RANK[role] ? `Only ${PLURAL[role]} can do this. Your role is ${mine}.` : null;
}

/** The server's clock. */
export function serverNow(): number {
  return Date.now() + skew.value;
}

/** Keeps the title's count current, which is what a tab in the background shows. */
export function showCountInTitle(title: () => string): void {
  effect(() => {
    const count = waiting.value;
    const name = project.value?.name;
    document.title = `${count > 0 ? `(${count}) ` : ""}${title()}${name ? ` · ${name}` : ""} · storkit`;
  });
}
