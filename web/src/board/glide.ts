// Lets cards glide from their old place to the new one, so that the eye can follow a move. Only `transform` changes: nothing jumps.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

const DURATION = 260;

type Places = ReadonlyMap<string, { card: HTMLElement; top: number; left: number }>;

/** Called while the board is drawn with a layout: the elements are still those of the layout before. */
export function useGlide(board: RefObject<HTMLElement>, layout: unknown): void {
  const drawn = useRef(layout);
  const isMove = drawn.current !== layout && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const before = isMove && board.current ? placesOf(board.current) : null;
  drawn.current = layout;
  useLayoutEffect(() => {
    if (!before || !board.current) return;
    for (const [id, { card, top, left }] of placesOf(board.current)) {
      const old = before.get(id);
      if (!old) card.animate({ opacity: [0, 1] }, DURATION);
      else if (old.left !== left || old.top !== top) {
        const from = `translate(${old.left - left}px, ${old.top - top}px)`;
        card.animate({ transform: [from, "none"] }, { duration: DURATION, easing: "ease-out" });
      }
    }
  });
}

function placesOf(board: HTMLElement): Places {
  const cards = [...board.querySelectorAll<HTMLElement>("[data-card]")];
  return new Map(cards.map((card) => [card.dataset.card ?? "", { card, top: card.offsetTop, left: card.offsetLeft }]));
}
