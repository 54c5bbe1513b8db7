// Buttons that send commands to the person's own room, with the answer below them: the same words, roles and record as in chat.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";

import { useSender } from "../live/say";
import type { Sent } from "../store/state";
import { whyNot } from "../store/store";
import type { Role } from "../wire";
import { Confirm, type Ask } from "./dialog";
import { Outcome } from "./outcome";
import { Press, type Kind } from "./press";

export type Act = { label: string; say: string; role: Role; kind?: Kind; ask?: Ask };

type Props = { acts: readonly Act[]; children?: ComponentChildren; onAnswered?: ((sent: Sent) => void) | undefined };

/** An answer that is no failure goes by itself; it stays in the chat. */
export const SHOWN = 15_000;

export function Acts({ acts, children, onAnswered }: Props) {
  const sender = useSender({ onAnswered });
  const asked = useSignal<Act | null>(null);
  const say = (act: Act) => void sender.send({ say: act.say });
  const ask = asked.value?.ask;
  const answer = sender.sent.value?.answer;
  useEffect(() => {
    if (!answer || answer.tone === "failure") return;
    const timer = setTimeout(sender.clear, SHOWN);
    return () => clearTimeout(timer);
  }, [answer?.id]);
  return (
    <div class="acts">
      <div class="row">
        {acts.map((act) => (
          <Press
            key={act.label}
            kind={act.kind ?? "plain"}
            why={whyNot(act.role)}
            onRefused={sender.refuse}
            onPress={() => (act.ask ? (asked.value = act) : say(act))}
          >
            {act.label}
          </Press>
        ))}
        {children}
      </div>
      <Outcome sender={sender} />
      {ask && <Confirm ask={ask} onConfirm={() => asked.value && say(asked.value)} onClose={() => (asked.value = null)} />}
    </div>
  );
}
