// What a question asks, by its form: a tool call, a plan, the model's options, or an act on the board.

import { Exact } from "../parts/exact";
import { count } from "../parts/format";
import { Html } from "../parts/html";
import { Inline } from "../parts/inline";
import type { QuestionView } from "../wire";
import { Code } from "./code";
import { Fold } from "./fold";

export function Sentence({ question: { form, id } }: { question: QuestionView }) {
  switch (form.form) {
    case "call":
      return (
        <>
          May I use <strong>{form.tool}</strong>?
        </>
      );
    case "plan":
      return <>Is this plan right?</>;
    case "options":
      return <Exact text={form.question} />;
    case "board":
      return <>{form.entries.length > 0 ? `Shall I add ${count(form.entries.length, "story", "stories")}?` : `May I change the board? (${id})`}</>;
  }
}

/** Whole, wrapped and never cut. */
export function Body({ question, onRead }: { question: QuestionView; onRead(): void }) {
  const { form } = question;
  return (
    <>
      {form.form === "call" && (
        <Fold label="What would run" onRead={onRead}>
          <Code text={form.text} language={form.language} />
        </Fold>
      )}
      {(form.form === "plan" || form.form === "board") && (
        <Fold label={form.form === "plan" ? "The plan" : "What would change"} onRead={onRead}>
          <Html html={form.html} />
        </Fold>
      )}
      {question.warnings.length > 0 && (
        <ul class="warnings">
          {question.warnings.map((warning) => (
            <li key={warning}>
              <Inline markdown={warning} />
            </li>
          ))}
        </ul>
      )}
      {question.trial !== null && (
        <div class="trial">
          <p class="label">What a trial did</p>
          <Html html={question.trial} />
        </div>
      )}
    </>
  );
}
