// Keys for those who have a keyboard. No key decides anything.

import { signal } from "@preact/signals";

import { Dialog } from "../parts/dialog";
import { go } from "../route";

const isHelpOpen = signal(false);
const PLACES: Record<string, string> = { n: "/", b: "/board", c: "/chat" };
/** How long `g` waits for the second key. */
const SEQUENCE = 1200;

const HELP: ReadonlyArray<[string, string]> = [
  ["g n", "Now"],
  ["g b", "Board"],
  ["g c", "Chat"],
  ["/", "Find a story"],
  ["j  k", "Next and previous card"],
  ["?", "These keys"],
];

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

export function KeysHelp() {
  if (!isHelpOpen.value) return null;
  return (
    <Dialog title="Keys" onClose={() => (isHelpOpen.value = false)}>
      <dl class="keys">
        {HELP.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p class="soft">No key allows, denies or moves anything.</p>
    </Dialog>
  );
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
