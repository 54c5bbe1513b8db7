// A button that, while it cannot be used, says why instead of doing nothing.

import type { ComponentChildren } from "preact";

export type Kind = "primary" | "plain" | "danger" | "quiet";

type Props = {
  children: ComponentChildren;
  onPress(): void;
  /** Why it cannot be used now, as a sentence. */
  why?: string | null;
  onRefused?(why: string): void;
  kind?: Kind;
  /** Read aloud in place of what it shows. */
  label?: string;
  pressed?: boolean;
  expanded?: boolean;
};

export function Press({ children, onPress, why = null, onRefused, kind = "plain", label, pressed, expanded }: Props) {
  return (
    <button
      type="button"
      class={`press ${kind}`}
      // Not `disabled`: it stays in the tab order and explains itself.
      aria-disabled={why !== null}
      title={why ?? undefined}
      aria-label={label}
      aria-pressed={pressed}
      aria-expanded={expanded}
      onClick={() => (why === null ? onPress() : onRefused?.(why))}
    >
      {children}
    </button>
  );
}
