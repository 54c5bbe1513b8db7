// Lets a press count only if it was meant: what it is on stood still before the finger came down, and still does.

import type { RefObject } from "preact";
import { useRef } from "preact/hooks";

import { useSteady } from "../parts/steady";

export type Guard = {
  /** For the element around the buttons. */
  attributes: { onPointerDown(): void; onKeyDown(): void };
  isSteady: boolean;
  /** Does it, or reports that the buttons have moved. */
  ifSteady(act: () => unknown): void;
};

export function useGuard(element: RefObject<HTMLElement>, report: (why: string) => void): Guard {
  const steady = useSteady(element);
  const wasSteady = useRef(true);
  return {
    attributes: {
      onPointerDown: () => (wasSteady.current = steady.check()),
      onKeyDown: () => (wasSteady.current = true),
    },
    isSteady: steady.isSteady,
    ifSteady(act) {
      const isMeant = steady.check() && wasSteady.current;
      wasSteady.current = true;
      if (isMeant) act();
      else report("It has just moved. Tap again.");
    },
  };
}
