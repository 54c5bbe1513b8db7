// A relative time; the absolute one is in its title.

import { minute, state } from "../store/store";
import { moment, span } from "./format";

/** `at` is by the server's clock. */
export function Ago({ at, after = "" }: { at: number; after?: string }) {
  const now = minute.value + state.value.skew;
  const date = new Date(at);
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString("en-GB")}>
      {now - at < 60_000 ? "just now" : `${span(now - at)}${after}`}
    </time>
  );
}

export function At({ at }: { at: number }) {
  const date = new Date(at);
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString("en-GB")}>
      {moment(at, minute.value + state.value.skew)}
    </time>
  );
}
