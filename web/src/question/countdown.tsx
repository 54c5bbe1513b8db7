// The time that is left to answer, by the server's clock.

import { useEffect, useState } from "preact/hooks";

import { countdown } from "../parts/format";
import { serverNow } from "../store/store";

/** Less than this is shown as urgent. */
const URGENT = 60_000;

export function Countdown({ asked, deadline, parks }: { asked: number; deadline: number; parks: boolean }) {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), 1000);
    return () => clearInterval(timer);
  }, []);
  const left = Math.max(0, deadline - now);
  const what = parks ? "Parked" : "Denied";
  const share = Math.min(1, left / Math.max(1, deadline - asked));
  return (
    <span class={`countdown ${left < URGENT && !parks ? "urgent" : ""}`} title={`${what} at ${new Date(deadline).toLocaleTimeString("en-GB")} without an answer`}>
      <span class="countdown-time" role="timer">
        <span class="hidden">{what} without an answer in </span>
        {countdown(left)}
      </span>
      <span class="countdown-bar" aria-hidden="true">
        <span style={{ transform: `scaleX(${share})` }} />
      </span>
    </span>
  );
}
