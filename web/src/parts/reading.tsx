// What stands in the place of a view that is not there yet.

import { isLive } from "../store/store";
import type { Reading } from "../live/view";
import { Press } from "./press";

export function NotRead({ reading }: { reading: Reading<unknown> }) {
  if (reading.failure === null) return <Loading />;
  return (
    <div class="empty">
      <p>{reading.failure}</p>
      <Press onPress={reading.again} why={isLive.value ? null : "Offline."}>
        Try again
      </Press>
    </div>
  );
}

/** Grey shapes, which the style sheet shows after 300 ms. */
export function Loading() {
  return (
    <div class="loading" role="status">
      <span class="hidden">Loading…</span>
      <span />
      <span />
      <span />
    </div>
  );
}
