// A text that has to be read before it is approved: over 40 lines it is folded, and it counts as read once its end was on screen.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { Press } from "../parts/press";

/** As the text is wrapped on this screen: one endless line is as hard to read as many. */
const LINES = 40;
/** At the foot of a phone the navigation covers this much. */
const COVERED = "0px 0px -72px 0px";

type Props = { children: ComponentChildren; label: string; onRead(): void };

export function Fold({ children, label, onRead }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const end = useRef<HTMLSpanElement>(null);
  const [lines, setLines] = useState(0);
  const [isOpen, setOpen] = useState(false);
  const isLong = lines > LINES;

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => {
      // The box around the text is less than a line.
      const wrapped = Math.floor(element.scrollHeight / Number.parseFloat(getComputedStyle(element).lineHeight));
      setLines(wrapped);
      if (wrapped <= LINES) onRead();
    };
    measure();
    // A narrower window wraps it to more lines; what was read stays read.
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    if (!isLong || !isOpen || !end.current) return;
    const observer = new IntersectionObserver((entries) => entries.some((one) => one.isIntersecting) && onRead(), {
      rootMargin: COVERED,
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [isLong, isOpen]);

  return (
    <div class="fold" role="group" aria-label={label}>
      <div ref={box} class={`fold-text ${isLong && !isOpen ? "folded" : ""}`}>
        {children}
      </div>
      {isLong && !isOpen && (
        <Press kind="quiet" expanded={false} onPress={() => setOpen(true)}>
          Show all {lines} lines
        </Press>
      )}
      <span ref={end} class="fold-end" />
    </div>
  );
}
