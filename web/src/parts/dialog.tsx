// A modal dialog: the browser keeps the focus inside, Escape closes it, and the focus returns to where it was.

import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

import { Press, type Kind } from "./press";

export function Dialog({ title, onClose, children }: { title: string; onClose(): void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useLayoutEffect(() => {
    ref.current?.showModal();
  }, []);
  return (
    <dialog ref={ref} aria-labelledby={heading} onClose={onClose} onClick={(event) => event.target === ref.current && onClose()}>
      <div class="dialog-body">
        <h2 id={heading}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

export type Ask = { title: string; text: ComponentChildren; confirm: string; kind?: Kind };

/** Asks once more. "Cancel" comes first, so that it has the focus. */
export function Confirm({ ask, onConfirm, onClose }: { ask: Ask; onConfirm(): void; onClose(): void }) {
  return (
    <Dialog title={ask.title} onClose={onClose}>
      <div class="ask-text">{ask.text}</div>
      <div class="row end">
        <Press onPress={onClose}>Cancel</Press>
        <Press
          kind={ask.kind ?? "danger"}
          onPress={() => {
            onConfirm();
            onClose();
          }}
        >
          {ask.confirm}
        </Press>
      </div>
    </Dialog>
  );
}
