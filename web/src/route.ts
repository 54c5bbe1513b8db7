// Addresses of the page, in both directions. Every page has one, and "back" works.

import { computed, signal } from "@preact/signals";

export const TABS = ["text", "diff", "runs", "merge", "history"] as const;
export type Tab = (typeof TABS)[number];

export type Page =
  | { page: "now" | "board" | "cost" | "me" | "login" | "archive" | "nothing" }
  | { page: "story"; id: number; tab: Tab }
  | { page: "question"; id: number }
  | { page: "run"; id: string }
  | { page: "chat"; room: string | null };

const path = signal(location.pathname);
export const page = computed(() => pageOf(path.value));

export function pageOf(address: string): Page {
  const [first = "", second, third, ...rest] = address.split("/").slice(1).map(decoded);
  if (rest.length > 0) return { page: "nothing" };
  switch (first) {
    case "":
      return second === undefined ? { page: "now" } : { page: "nothing" };
    case "board":
    case "cost":
    case "me":
    case "login":
    case "archive":
      return second === undefined ? { page: first } : { page: "nothing" };
    case "story": {
      const id = number(second);
      const tab = TABS.find((one) => one === (third ?? "text"));
      return id !== null && tab ? { page: "story", id, tab } : { page: "nothing" };
    }
    case "q": {
      const id = number(second);
      return id !== null && third === undefined ? { page: "question", id } : { page: "nothing" };
    }
    case "run":
      return second && third === undefined ? { page: "run", id: second } : { page: "nothing" };
    case "chat":
      return third === undefined ? { page: "chat", room: second || null } : { page: "nothing" };
    default:
      return { page: "nothing" };
  }
}

export const storyPath = (id: number, tab: Tab = "text") => (tab === "text" ? `/story/${id}` : `/story/${id}/${tab}`);
export const runPath = (id: string) => `/run/${encodeURIComponent(id)}`;
export const roomPath = (room: string) => `/chat/${encodeURIComponent(room)}`;
export const questionPath = (id: number) => `/q/${id}`;

/** Goes to an address of this page. `replace` leaves no step for "back". */
export function go(to: string, how: "push" | "replace" = "push"): void {
  if (to === path.value) return;
  if (how === "push") history.pushState(null, "", to);
  else history.replaceState(null, "", to);
  const isTabChange = withoutTab(to) === withoutTab(path.value);
  path.value = to;
  if (!isTabChange) {
    scrollTo(0, 0);
    // Screen readers and keys go on from the new page, not from a link that is gone.
    queueMicrotask(() => document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true }));
  }
}

/** Makes plain links to this page change the address without loading anything. */
export function startRouting(): void {
  addEventListener("popstate", () => (path.value = location.pathname));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin || link.hash) return;
    event.preventDefault();
    go(link.pathname);
  });
}

function withoutTab(address: string): string {
  return address.split("/").slice(0, 3).join("/");
}

function number(text: string | undefined): number | null {
  return text && /^\d{1,9}$/.test(text) ? Number(text) : null;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
