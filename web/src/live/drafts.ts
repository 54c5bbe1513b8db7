// Texts that a person has begun to write. They survive a reload, a cut and the end of the session.

import { signal, type Signal } from "@preact/signals";

import { readJson, write } from "./storage";

const PREFIX = "storkit.draft.";
const open = new Map<string, Signal<unknown>>();

/** The draft under `key`, shared by all who use it, stored at each change. `empty` is not stored. */
export function draft<Value>(key: string, empty: Value): Signal<Value> {
  const known = open.get(key) as Signal<Value> | undefined;
  if (known) return known;
  const made = signal(readJson(PREFIX + key, empty));
  const none = JSON.stringify(empty);
  made.subscribe((value) => {
    const text = JSON.stringify(value);
    write(PREFIX + key, text === none ? null : text);
  });
  open.set(key, made as Signal<unknown>);
  return made;
}
