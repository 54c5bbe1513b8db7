// The address that is shown. Every page has one, and "back" works.

import { computed, signal } from "@preact/signals";

import { pageOf } from "./address";

const path = signal(location.pathname);
export const page = computed(() => pageOf(path.value));

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
