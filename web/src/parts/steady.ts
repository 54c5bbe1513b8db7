// Whether an element has stood still long enough that a tap on it is meant for it: nothing is approved by a tap on what slid under a thumb.

import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

/** The dead time after an element appears or moves. */
export const DEAD_TIME = 500;
const SAMPLE = 100;
/** Smaller moves take no target away from under a finger. */
const TOLERANCE = 2;

export type Steady = {
  /** For drawing: false during the dead time. */
  isSteady: boolean;
  /** For acting: looks at the element's place at this moment. */
  check(): boolean;
};

export function useSteady(ref: RefObject<HTMLElement>): Steady {
  const [isSteady, setSteady] = useState(false);
  const place = useRef<{ top: number; left: number } | null>(null);
  const movedAt = useRef(performance.now());

  const look = (): boolean => {
    const now = placeOf(ref.current);
    const before = place.current;
    place.current = now;
    const hasMoved =
      !now || !before || Math.abs(now.top - before.top) > TOLERANCE || Math.abs(now.left - before.left) > TOLERANCE;
    if (hasMoved) movedAt.current = performance.now();
    return performance.now() - movedAt.current >= DEAD_TIME;
  };

  useLayoutEffect(() => void look(), []);
  useEffect(() => {
    const timer = setInterval(() => setSteady(look()), SAMPLE);
    // What appeared in the background appears to the person now.
    const appears = () => {
      movedAt.current = performance.now();
      setSteady(false);
    };
    document.addEventListener("visibilitychange", appears);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", appears);
    };
  }, []);

  return { isSteady, check: look };
}

/** In the document, since scrolling is the person's own doing. */
function placeOf(element: HTMLElement | null): { top: number; left: number } | null {
  if (!element) return null;
  const { top, left } = element.getBoundingClientRect();
  return { top: top + scrollY, left: left + scrollX };
}
