// The buttons and fields that answer a question. A stray tap approves nothing: no button has the focus or a key of its own, none works
// before the whole text was on screen, nor within half a second after it appeared or moved.

import { useSignal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { useSender } from "../live/say";
import { Confirm, type Ask } from "../parts/dialog";
import { Outcome } from "../parts/outcome";
import { Press } from "../parts/press";
import { useSteady } from "../parts/steady";
import { me, whyNot } from "../store/store";
import type { ChoiceView, QuestionView } from "../wire";
import { actOf, answerInWords, messengersOf, wordsLabel } from "./choice";
import { OptionsForm } from "./options";

const UNREAD = "Show all of it first and scroll to its end.";

type Props = { question: QuestionView; isRead: ReadonlySignal<boolean> };

export function Answer({ question, isRead }: Props) {
  const mine = new Set(me.value?.rooms.map((one) => one.room));
  const room = question.rooms.find((one) => mine.has(one));
  if (room === undefined) return <AskedElsewhere question={question} />;
  return <AnswerHere question={question} isRead={isRead} room={room} />;
}

function AskedElsewhere({ question }: { question: QuestionView }) {
  const where = messengersOf(question).join(" and ");
  return <p class="elsewhere">{where ? `Asked in ${where}. It can be answered there.` : "It can be answered where it was asked."}</p>;
}

function AnswerHere({ question, isRead, room }: Props & { room: string }) {
  const controls = useRef<HTMLDivElement>(null);
  const steady = useSteady(controls);
  const sender = useSender();
  const why = useSignal<string | null>(null);
  const asked = useSignal<ChoiceView | null>(null);
  const isWriting = useSignal(false);
  const words = useSignal("");

  const notAllowed = whyNot(question.role);
  const isSending = sender.sent.value !== null && sender.sent.value.refused === null && sender.sent.value.answer === null;
  const busy = isSending ? "Your answer is on its way." : null;
  const unread = isRead.value ? null : UNREAD;
  useEffect(() => {
    if (isRead.value && why.value === UNREAD) why.value = null;
  }, [isRead.value]);

  // A trial and its like change the question and leave it open.
  useEffect(sender.clear, [question.trial, question.choices.length]);

  const choose = (choice: ChoiceView) => {
    why.value = null;
    sender.send({ choose: choice.key, message: null }, room);
  };
  /** A tap counts if the buttons stood still before the finger came down, and still do. */
  const ifSteady = (act: () => void) => {
    const isMeant = steady.check() && wasSteady.current;
    wasSteady.current = true;
    if (isMeant) act();
    else why.value = "It has just moved. Tap again.";
  };
  const wasSteady = useRef(true);
  const sayWords = () => {
    const text = words.value.trim();
    if (text && sender.send({ say: answerInWords(question, text) }, room)) isWriting.value = false;
  };

  const button = (choice: ChoiceView) => {
    const act = actOf(choice.key);
    return (
      <Press
        key={choice.key}
        kind={act === "yes" ? "primary" : act === "no" ? "plain" : "quiet"}
        why={notAllowed ?? busy ?? (act === "no" || act === "try" ? null : unread)}
        onRefused={(reason) => (why.value = reason)}
        onPress={() => ifSteady(() => (act === "always" ? (asked.value = choice) : choose(choice)))}
      >
        {act === "always" ? <Always label={choice.label} rule={ruleOf(question)} /> : choice.label}
      </Press>
    );
  };

  return (
    <div
      class={`answer ${steady.isSteady ? "" : "settling"}`}
      ref={controls}
      onPointerDown={() => (wasSteady.current = steady.check())}
      onKeyDown={() => (wasSteady.current = true)}
    >
      {question.form.form === "options" ? (
        <OptionsForm
          question={question}
          form={question.form}
          why={notAllowed ?? busy}
          onRefused={(reason) => (why.value = reason)}
          onChoose={(choice) => ifSteady(() => choose(choice))}
          onSay={(text) => ifSteady(() => sender.send({ say: answerInWords(question, text) }, room))}
        />
      ) : (
        <>
          <div class="row choices">{question.choices.filter(isMain).map(button)}</div>
          <div class="row more-choices">
            {question.choices.filter((choice) => !isMain(choice)).map(button)}
            <Press
              kind="quiet"
              expanded={isWriting.value}
              why={notAllowed ?? busy}
              onRefused={(reason) => (why.value = reason)}
              onPress={() => (isWriting.value = !isWriting.value)}
            >
              {question.form.form === "call" ? "Deny with a reason…" : "Ask for a change…"}
            </Press>
          </div>
        </>
      )}
      {isWriting.value && (
        <form
          class="words"
          onSubmit={(event) => {
            event.preventDefault();
            sayWords();
          }}
        >
          <label>
            {wordsLabel[question.form.form]}
            <textarea rows={2} value={words.value} onInput={(event) => (words.value = event.currentTarget.value)} />
          </label>
          <button class="press plain" type="submit">
            {question.form.form === "call" ? "Deny" : "Send"}
          </button>
        </form>
      )}
      <Outcome
        sender={sender}
        why={why.value}
        onDismiss={() => {
          why.value = null;
          sender.clear();
        }}
      />
      {asked.value && (
        <Confirm
          ask={alwaysAsk(question)}
          onConfirm={() => asked.value && choose(asked.value)}
          onClose={() => (asked.value = null)}
        />
      )}
    </div>
  );
}

function isMain(choice: ChoiceView): boolean {
  return actOf(choice.key) === "yes" || actOf(choice.key) === "no";
}

function ruleOf({ form }: QuestionView): string | null {
  return form.form === "call" ? form.always : null;
}

/** The rule is in view before anybody presses. */
function Always({ label, rule }: { label: string; rule: string | null }) {
  if (rule === null) return <>{label}…</>;
  return (
    <span>
      {label}: <code>{rule}</code>…
    </span>
  );
}

function alwaysAsk(question: QuestionView): Ask {
  return {
    title: "Allow this from now on?",
    text: (
      <>
        <p>Nobody is asked again before such a call:</p>
        <pre class="exact">{ruleOf(question) ?? "(the rule is not known)"}</pre>
        <p class="soft">`rules` lists it, and `rules revoke` ends it.</p>
      </>
    ),
    confirm: "Always allow",
    kind: "primary",
  };
}

