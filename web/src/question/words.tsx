// An answer in words: the reason of a denial, or what should change.

import { useSignal } from "@preact/signals";

import type { QuestionView } from "../wire";
import { wordsLabel } from "./choice";

type Props = { question: QuestionView; onSay(words: string): void };

export function Words({ question, onSay }: Props) {
  const words = useSignal("");
  const { form } = question.form;
  return (
    <form
      class="words"
      onSubmit={(event) => {
        event.preventDefault();
        if (words.value.trim()) onSay(words.value.trim());
      }}
    >
      <label>
        {wordsLabel[form]}
        <textarea rows={2} value={words.value} onInput={(event) => (words.value = event.currentTarget.value)} />
      </label>
      <button class="press plain" type="submit">
        {form === "call" ? "Deny" : "Send"}
      </button>
    </form>
  );
}
