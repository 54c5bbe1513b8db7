// Buttons that send commands to the person's own room, with the answer below them: the same words, roles and record as in chat.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";

import { useSender } from "../live/say";
import type { Sent } from "../store/state";
import { whyNot } from "../store/store";
import type { Role } from "../wire";
import { Confirm, type Ask } from "./dialog";
import { Outcome } from "./outcome";
import { Press, type Kind } from "./press";

export type Act = { label: string; say: string; role: Role; kind?: Kind; ask?: Ask };

type Props = { acts: readonly Act[]; children?: ComponentChildren; onAnswered?(sent: Sent): void };

export function Acts({ acts, children, onAnswered }: Props) {
  const sender = useSender(onAnswered);
  const asked = useSignal<Act | null>(null);
  const why = useSignal<string | null>(null);
  const say = (act: Act) => {
    why.value = null;
    sender.send({ say: act.say });
  };
  const ask = asked.value?.ask;
  return (
    <div class="acts">
      <div class="row">
        {acts.map((act) => (
          <Press
            key={act.label}
            kind={act.kind ?? "plain"}
            why={whyNot(act.role)}
            onRefused={(reason) => (why.value = reason)}
            onPress={() => (act.ask ? (asked.value = act) : say(act))}
          >
            {act.label}
          </Press>
        ))}
        {children}
      </div>
      <Outcome
        sender={sender}
        why={why.value}
        onDismiss={() => {
          why.value = null;
          sender.clear();
        }}
      />
      {ask && <Confirm ask={ask} onConfirm={() => asked.value && say(asked.value)} onClose={() => (asked.value = null)} />}
    </div>
  );
}
