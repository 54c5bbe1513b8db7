// Keys for those who have a keyboard. No key decides anything.

import { go } from "../route";
import { isHelpOpen } from "./help";

const PLACES: Record<string, string> = { n: "/", b: "/board", c: "/chat" };
/** How long `g` waits for the second key. */
const SEQUENCE = 1200;

/** The returned function ends it. */
export function startKeys(): () => void {
  let goneAt = 0;
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target) || document.querySelector("dialog[open]")) return;
    const isSecond = performance.now() - goneAt < SEQUENCE;
    goneAt = 0;
    const place = PLACES[event.key];
    if (isSecond && place) go(place);
    else if (event.key === "g") goneAt = performance.now();
    else if (event.key === "/") find();
    else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
    else if (event.key === "?") isHelpOpen.value = true;
    else return;
    event.preventDefault();
  };
  document.addEventListener("keydown", onKey);
  return () => document.removeEventListener("keydown", onKey);
}

function find(): void {
  if (!document.querySelector("#find")) go("/board");
  requestAnimationFrame(() => document.querySelector<HTMLInputElement>("#find")?.focus());
}

/** Moves the focus among links to cards; answering still takes Tab and Enter. */
function step(by: number): void {
  const stops = [...document.querySelectorAll<HTMLElement>("[data-stop]")].filter((one) => one.offsetParent !== null);
  const at = stops.findIndex((one) => one === document.activeElement);
  stops[at < 0 ? 0 : Math.min(stops.length - 1, Math.max(0, at + by))]?.focus();
}

function isWriting(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
