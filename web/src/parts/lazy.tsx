// Pages that are loaded after the first one. All are fetched as soon as the browser has time, so that they are there when it is offline.

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

import { Press } from "./press";
import { Loading } from "./reading";

type Load<Props> = () => Promise<ComponentType<Props>>;

/** `fetch` begins before it is drawn. */
export type LazyComponent<Props> = ComponentType<Props> & { fetch(): Promise<unknown> };

const waiting: Array<() => Promise<unknown>> = [];

export function lazy<Props extends object>(load: Load<Props>): LazyComponent<Props> {
  let Loaded: ComponentType<Props> | null = null;
  const fetch = async () => (Loaded ??= await load());
  waiting.push(fetch);
  function Lazy(props: Props) {
    const [failed, setFailed] = useState(false);
    const [, redraw] = useState(0);
    useEffect(() => {
      // Also when it came between the first drawing and now.
      fetch().then(
        () => redraw((n) => n + 1),
        () => setFailed(true),
      );
    }, []);
    if (Loaded) return <Loaded {...props} />;
    return failed ? <NotLoaded /> : <Loading />;
  }
  return Object.assign(Lazy, { fetch });
}

/** One after the other, so that a slow phone is never busy for long. A failure shows when the page is opened. */
export function loadTheRest(): void {
  const load = waiting.shift();
  if (!load) return;
  const idle = globalThis.requestIdleCallback ?? ((act: () => void) => setTimeout(act, 500));
  idle(() => void load().catch(() => {}).then(loadTheRest));
}

function NotLoaded() {
  return (
    <div class="empty">
      <h1>This part of the page could not be loaded</h1>
      <p>storkit cannot be reached, or carries a newer page by now.</p>
      <Press onPress={() => location.reload()}>Reload</Press>
    </div>
  );
}
