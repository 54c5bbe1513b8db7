// Views that a page reads when it opens, and again when what they are about changes.

import { useEffect, useState } from "preact/hooks";

import { get, secret } from "./session";

/** The newest of what was read, so that "back" shows something at once. */
const KEPT = 30;
const cache = new Map<string, unknown>();

export type Reading<View> = { view: View | null; failure: string | null; again(): void };

/** Reads `path`, and again whenever `version` differs; what was there before stays until then. null reads nothing. */
export function useView<View>(path: string | null, version: unknown = null): Reading<View> {
  const [, redraw] = useState(0);
  const [failure, setFailure] = useState<string | null>(null);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (path === null) return;
    let isCurrent = true;
    get<View>(path).then(
      (view) => {
        keep(path, view);
        if (!isCurrent) return;
        setFailure(null);
        redraw((n) => n + 1);
      },
      (error: unknown) => isCurrent && setFailure(error instanceof Error ? error.message : String(error)),
    );
    return () => {
      isCurrent = false;
    };
  }, [path, version, tries]);
  return {
    view: path === null ? null : ((cache.get(path) as View | undefined) ?? null),
    failure,
    again: () => setTries((n) => n + 1),
  };
}

// Nothing of one person's is shown to the next.
secret.subscribe(() => cache.clear());

function keep(path: string, view: unknown): void {
  cache.delete(path);
  cache.set(path, view);
  for (const oldest of cache.keys()) {
    if (cache.size <= KEPT) break;
    cache.delete(oldest);
  }
}
