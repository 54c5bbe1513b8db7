// Announces new questions to screen readers, and nothing else: lines and moves would never let them finish.

import { useEffect, useRef, useState } from "preact/hooks";

import { questionList } from "../store/store";

export function NewQuestions() {
  const known = useRef<Set<number> | null>(null);
  const [text, setText] = useState("");
  const open = questionList.value.filter((question) => !question.outcome);
  const ids = open.map((question) => question.id).join(" ");
  useEffect(() => {
    const fresh = known.current ? open.filter((question) => !known.current?.has(question.id)) : [];
    known.current = new Set(open.map((question) => question.id));
    if (fresh.length > 0) setText(fresh.map((question) => `New question ${question.id} for ${question.asked_for}.`).join(" "));
  }, [ids]);
  return (
    <p class="hidden" aria-live="polite">
      {text}
    </p>
  );
}
