// One question: the address that questions in Slack, Matrix and WhatsApp link to.

import { QuestionCard } from "../question/card";
import { questionList, questions } from "../store/store";

export function QuestionPage({ id }: { id: number }) {
  const question = questions.value?.get(id);
  const others = questionList.value.filter((one) => one.id !== id && !one.outcome).length;
  return (
    <div class="narrow">
      <h1>Question {id}</h1>
      {question ? (
        <QuestionCard key={id} question={question} level={2} />
      ) : (
        <p class="empty">This question is not open: it has been answered or closed, or it is not for you.</p>
      )}
      <p>
        <a href="/">{others > 0 ? `${others} more ${others === 1 ? "question waits" : "questions wait"}` : "To what needs you now"}</a>
      </p>
    </div>
  );
}
