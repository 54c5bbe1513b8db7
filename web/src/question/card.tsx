// One question to people, as a card: what is asked, who asks, how long there is, and the answer.

import { useSignal } from "@preact/signals";

import { Exact } from "../parts/exact";
import { Html } from "../parts/html";
import { Ago, At } from "../parts/time";
import { Press } from "../parts/press";
import { questionPath, storyPath } from "../address";
import { state } from "../store/store";
import { CLOSED, takeDismissed } from "../store/take";
import type { QuestionView } from "../wire";
import { Answer } from "./answer";
import { Body, Sentence } from "./body";
import { Countdown } from "./countdown";

/** `level` is that of its heading: 2 on a page of its own. */
export function QuestionCard({ question, level = 3 }: { question: QuestionView; level?: 2 | 3 }) {
  const isRead = useSignal(question.form.form === "options");
  const { outcome } = question;
  const Heading = `h${level}` as const;
  return (
    <article class={`card question ${outcome ? "settled" : ""}`} aria-label={`Question ${question.id}`}>
      <header class="question-head">
        <a class="question-number" href={questionPath(question.id)}>
          Question {question.id}
        </a>
        <span class="question-asker">
          for {question.story === null ? <Exact text={question.asked_for} /> : <a href={storyPath(question.story)}>{question.asked_for}</a>}
        </span>
        {!outcome && question.deadline !== null && <Countdown asked={question.asked} deadline={question.deadline} parks={question.parks} />}
        {!outcome && question.deadline === null && (
          <span class="soft" title={question.parked === null ? undefined : "Its agent has stopped until you answer"}>
            {question.parked === null ? <Ago at={question.asked} after=" ago" /> : <>parked since <At at={question.parked} /></>}
          </span>
        )}
      </header>
      <Heading class={outcome ? "hidden" : "question-sentence"}>
        <Sentence question={question} />
      </Heading>
      {/* How it ended names what it was about. */}
      {(!outcome || outcome.word === CLOSED) && <Body question={question} onRead={() => (isRead.value = true)} />}
      {outcome ? <Settled question={question} /> : <Answer question={question} isRead={isRead} />}
    </article>
  );
}

function Settled({ question }: { question: QuestionView }) {
  const { outcome } = question;
  if (!outcome) return null;
  return (
    <div class="settled-row">
      <Html html={outcome.sentence} />
      <Press kind="quiet" label={`Dismiss question ${question.id}`} onPress={() => (state.value = takeDismissed(state.value, question.id))}>
        Dismiss
      </Press>
    </div>
  );
}
