// Keeps the board still under a pointer or finger: moves wait behind a bar until it is gone for two seconds, or until the person asks.

import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { isSameLayout, movesBetween, type Layout } from "./layout";

const AFTER_POINTER = 2000;
/** Moves come in batches, so that a busy board does not flicker, and with more than a second between them: what shifts in closer sequence counts together. */
const BATCH = 1200;
/** Without animation a batch is a jump, so there are fewer. */
const BATCH_WITHOUT_MOTION = 5000;

export type Held = {
  shown: Layout;
  /** Moves that wait because of a pointer, a finger or the focus. */
  waiting: number;
  release(): void;
};

/** `key` names what the person has asked to see: another one is shown at once. */
export function useHeld(live: Layout, key: string, ref: RefObject<HTMLElement>): Held {
  const shown = useRef(live);
  const shownKey = useRef(key);
  const shownAt = useRef(0);
  const [isHeld, setHeld] = useState(false);
  const [, redraw] = useState(0);

  useEffect(() => {
    const board = ref.current;
    return board ? watchTouch(board, setHeld) : undefined;
  }, []);

  const isCurrent = isSameLayout(shown.current, live);
  const show = () => {
    shown.current = live;
    shownKey.current = key;
    shownAt.current = performance.now();
  };
  if (shownKey.current !== key) show();

  const pause = matchMedia("(prefers-reduced-motion: reduce)").matches ? BATCH_WITHOUT_MOTION : BATCH;
  useEffect(() => {
    if (isHeld || isCurrent) return;
    const wait = Math.max(0, shownAt.current + pause - performance.now());
    const timer = setTimeout(() => {
      show();
      redraw((n) => n + 1);
    }, wait);
    return () => clearTimeout(timer);
  }, [isHeld, live, isCurrent]);

  return {
    shown: shown.current,
    waiting: isHeld && !isCurrent ? Math.max(1, movesBetween(shown.current, live)) : 0,
    release() {
      show();
      redraw((n) => n + 1);
    },
  };
}

/** Reports whether a pointer, a finger or the focus is on the board, or was just now. */
function watchTouch(board: HTMLElement, report: (isTouched: boolean) => void): () => void {
  const on = new Set<"pointer" | "finger" | "focus">();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const set = (what: "pointer" | "finger" | "focus", isOn: boolean) => {
    clearTimeout(timer);
    if (isOn) on.add(what);
    else on.delete(what);
    if (on.size > 0) report(true);
    else timer = setTimeout(() => report(false), AFTER_POINTER);
  };
  const stop = new AbortController();
  const listen = <Name extends keyof HTMLElementEventMap>(name: Name, act: (event: HTMLElementEventMap[Name]) => void) =>
    board.addEventListener(name, act, { signal: stop.signal, passive: true });
  listen("pointerenter", (event) => event.pointerType !== "touch" && set("pointer", true));
  // Also finds a pointer that lay here before the board was drawn.
  listen("pointermove", (event) => event.pointerType !== "touch" && set("pointer", true));
  listen("pointerleave", (event) => event.pointerType !== "touch" && set("pointer", false));
  listen("touchstart", () => set("finger", true));
  listen("touchend", () => set("finger", false));
  listen("touchcancel", () => set("finger", false));
  listen("focusin", (event) => set("focus", event.target instanceof Element && event.target.matches(":focus-visible")));
  listen("focusout", () => set("focus", false));
  return () => {
    clearTimeout(timer);
    stop.abort();
  };
}
