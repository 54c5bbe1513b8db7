// The buttons and fields that answer a question. A stray tap approves nothing: no button has the focus or a key of its own, none works
// before the whole text was on screen, nor within half a second after it appeared or moved.

import { useSignal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { useSender, type Sender } from "../live/say";
import { Confirm, type Ask } from "../parts/dialog";
import { lazy } from "../parts/lazy";
import { Outcome } from "../parts/outcome";
import { Press } from "../parts/press";
import { me, whyNot } from "../store/store";
import type { ChoiceView, QuestionView } from "../wire";
import { noteAnswered } from "./answered";
import { actOf, answerInWords, messengersOf } from "./choice";
import { useGuard } from "./guard";
import { Words } from "./words";

// The rarest form, and one that approves nothing by a single tap.
const OptionsForm = lazy(() => import("./options").then((module) => module.OptionsForm));

const UNREAD = "Show all of it first and scroll to its end.";

type Props = { question: QuestionView; isRead: ReadonlySignal<boolean> };

export function Answer({ question, isRead }: Props) {
  const person = me.value;
  const mine = new Set(person?.rooms.map((one) => one.room));
  // Until it is known whose page this is, the buttons are there and say why they wait: most people may answer.
  const room = person ? question.rooms.find((one) => mine.has(one)) : question.rooms[0];
  if (room === undefined) return <AskedElsewhere question={question} />;
  return <AnswerHere question={question} isRead={isRead} room={room} />;
}

function AskedElsewhere({ question }: { question: QuestionView }) {
  const where = messengersOf(question).join(" and ");
  return <p class="elsewhere">{where ? `Asked in ${where}. It can be answered there.` : "It can be answered where it was asked."}</p>;
}

function AnswerHere({ question, isRead, room }: Props & { room: string }) {
  const controls = useRef<HTMLDivElement>(null);
  const sender = useSender();
  const guard = useGuard(controls, sender.refuse);
  useEffect(() => {
    if (isRead.value && sender.failure.value === UNREAD) sender.clear();
  }, [isRead.value]);
  // A trial and its like change the question and leave it open.
  useEffect(sender.clear, [question.trial, question.choices.length]);

  const answer = (word: { choose: string; message: null } | { say: string }) => {
    if (sender.send(word, room)) noteAnswered(question.id);
  };
  const choose = (choice: ChoiceView) => answer({ choose: choice.key, message: null });
  const say = (words: string) => answer({ say: answerInWords(question, words) });
  const whyNotNow = whyNot(question.role) ?? (isOnItsWay(sender) ? "Your answer is on its way." : null);

  return (
    <div class={`answer ${guard.isSteady ? "" : "settling"}`} ref={controls} {...guard.attributes}>
      {question.form.form === "options" ? (
        <OptionsForm
          question={question}
          form={question.form}
          why={whyNotNow}
          onRefused={sender.refuse}
          onChoose={(choice) => guard.ifSteady(() => choose(choice))}
          onSay={(words) => guard.ifSteady(() => say(words))}
        />
      ) : (
        <Choices
          question={question}
          why={whyNotNow}
          unread={isRead.value ? null : UNREAD}
          onRefused={sender.refuse}
          onChoose={choose}
          ifSteady={guard.ifSteady}
          onSay={say}
        />
      )}
      <Outcome sender={sender} />
    </div>
  );
}

type ChoicesProps = {
  question: QuestionView;
  /** Why nothing can be chosen now. */
  why: string | null;
  /** Why nothing can be approved now. */
  unread: string | null;
  onRefused(why: string): void;
  onChoose(choice: ChoiceView): void;
  onSay(words: string): void;
  ifSteady(act: () => unknown): void;
};

function Choices({ question, why, unread, onRefused, onChoose, onSay, ifSteady }: ChoicesProps) {
  const asked = useSignal<ChoiceView | null>(null);
  const isWriting = useSignal(false);
  const rule = question.form.form === "call" ? question.form.always : null;
  const button = (choice: ChoiceView) => {
    const act = actOf(choice.key);
    return (
      <Press
        key={choice.key}
        kind={act === "yes" ? "primary" : act === "no" ? "plain" : "quiet"}
        why={why ?? (act === "no" || act === "try" ? null : unread)}
        onRefused={onRefused}
        onPress={() => ifSteady(() => (act === "always" ? (asked.value = choice) : onChoose(choice)))}
      >
        {act === "always" ? `${choice.label}…` : choice.label}
      </Press>
    );
  };
  return (
    <>
      <div class="row choices">{question.choices.filter(isMain).map(button)}</div>
      <div class="row more-choices">
        {question.choices.filter((choice) => !isMain(choice)).map(button)}
        <Press kind="quiet" expanded={isWriting.value} why={why} onRefused={onRefused} onPress={() => (isWriting.value = !isWriting.value)}>
          {question.form.form === "call" ? "Deny with a reason…" : "Ask for a change…"}
        </Press>
      </div>
      {/* In view before anybody presses. */}
      {rule !== null && <p class="soft">Always: {rule}</p>}
      {isWriting.value && <Words question={question} onSay={onSay} />}
      {asked.value && (
        <Confirm
          ask={alwaysAsk(rule)}
          onConfirm={() => asked.value && onChoose(asked.value)}
          onClose={() => (asked.value = null)}
        />
      )}
    </>
  );
}

function isOnItsWay({ sent }: Sender): boolean {
  return sent.value !== null && sent.value.refused === null && sent.value.answer === null;
}

function isMain(choice: ChoiceView): boolean {
  const act = actOf(choice.key);
  return act === "yes" || act === "no";
}

function alwaysAsk(rule: string | null): Ask {
  return {
    title: "Allow this from now on?",
    text: (
      <>
        <p>Nobody is asked again before:</p>
        <p class="card">{rule ?? "The rule is not known."}</p>
        <p class="soft">
          <code>rules</code> lists it, and <code>rules revoke</code> ends it.
        </p>
      </>
    ),
    confirm: "Always allow",
    kind: "primary",
  };
}
