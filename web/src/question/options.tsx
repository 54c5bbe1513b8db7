// The model's own question: pick one, pick several, or write.

import { useSignal } from "@preact/signals";

import { Exact } from "../parts/exact";
import { Press } from "../parts/press";
import type { ChoiceView, QuestionForm, QuestionView } from "../wire";
import { wordsLabel } from "./choice";

type Props = {
  question: QuestionView;
  form: Extract<QuestionForm, { form: "options" }>;
  why: string | null;
  onRefused(why: string): void;
  onChoose(choice: ChoiceView): void;
  onSay(words: string): void;
};

export function OptionsForm({ question, form, why, onRefused, onChoose, onSay }: Props) {
  const picked = useSignal<ReadonlySet<number>>(new Set());
  const words = useSignal("");
  const send = () => {
    // Positions, since a label may have a comma in it.
    const numbers = [...picked.value].toSorted((a, b) => a - b).map((position) => String(position + 1));
    const answer = [...numbers, words.value.trim()].filter(Boolean).join(", ");
    if (!answer) return onRefused(form.several ? "Pick something or write an answer." : "Pick an option or write an answer.");
    onSay(answer);
  };
  const toggle = (position: number, isOn: boolean) => {
    if (!form.several) words.value = "";
    const next = new Set(form.several ? picked.value : []);
    if (isOn) next.add(position);
    else next.delete(position);
    picked.value = next;
  };
  const choice = form.several ? undefined : question.choices[[...picked.value][0] ?? -1];
  return (
    <fieldset class="options">
      <legend class="soft">{form.several ? "Pick one or more" : "Pick one"}</legend>
      {form.options.map((option, position) => (
        <label key={position} class="option">
          <input
            type={form.several ? "checkbox" : "radio"}
            name={`question-${question.id}`}
            checked={picked.value.has(position)}
            onChange={(event) => toggle(position, event.currentTarget.checked)}
          />
          <span>
            <strong>
              <Exact text={option.label} />
            </strong>
            {option.about && (
              <span class="soft">
                <Exact text={option.about} />
              </span>
            )}
          </span>
        </label>
      ))}
      <label class="words-label">
        {wordsLabel.options}
        <textarea
          rows={1}
          value={words.value}
          onInput={(event) => {
            words.value = event.currentTarget.value;
            // One answer only: words take the place of the option.
            if (!form.several && words.value) picked.value = new Set();
          }}
        />
      </label>
      <div class="row">
        <Press kind="primary" why={why} onRefused={onRefused} onPress={() => (choice ? onChoose(choice) : send())}>
          Answer
        </Press>
      </div>
    </fieldset>
  );
}
