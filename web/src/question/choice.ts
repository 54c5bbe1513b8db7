// What a choice of a question does, from its key (`q:12:yes`). Pure.

import type { QuestionView } from "../wire";

export type ChoiceAct = "yes" | "no" | "always" | "try" | "keep" | "option" | "other";

/** Unknown keys are guarded like an approval. */
export function actOf(key: string): ChoiceAct {
  const word = /^q:\d+:([a-z]*)\d*$/.exec(key)?.[1];
  switch (word) {
    case "yes":
    case "no":
    case "always":
    case "try":
    case "keep":
      return word;
    case "":
      return "option";
    default:
      return "other";
  }
}

/** The text that answers a question in words. A plan or a list is sent back with a wish; options take numbers or words. */
export function answerInWords(question: QuestionView, words: string): string {
  return question.form.form === "options" ? `#${question.id} ${words}` : `no ${question.id} ${words}`;
}

export const wordsLabel: Record<QuestionView["form"]["form"], string> = {
  call: "Why not? The agent reads it.",
  plan: "What should change?",
  options: "Or answer in your own words",
  board: "What should change?",
};

/** "Slack", "Matrix": where it was asked, apart from this page. */
export function messengersOf(question: QuestionView): string[] {
  const names = question.rooms.map((room) => room.split(":")[0] ?? "").filter((name) => name !== "" && name !== "web");
  return [...new Set(names)].map((name) => name.charAt(0).toUpperCase() + name.slice(1));
}
