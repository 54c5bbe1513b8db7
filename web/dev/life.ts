// Lets a project live: agents print, cost money, ask and finish.

import { call, movesFrom, question } from "./make";
import type { Project } from "./project";

const WORDS = [
  "• Bash cargo test -p hinge ✓ 41 passed",
  "I look at the other callers of `oil` as well.",
  "• Read src/door.rs ✓",
  "• Grep fn squeak ✓ 3 matches",
  "The log shows the angle. I add it to the test.",
  "• Edit tests/squeak.rs ✓",
];

/** The returned function ends it. */
export function live(project: Project): () => void {
  let step = 0;
  let nextQuestion = 13;
  const timer = setInterval(() => {
    step += 1;
    for (const one of project.runs.values()) project.print(one.id, WORDS[(step + (one.story ?? 0)) % WORDS.length] ?? "");
    if (step % 5 === 0) {
      for (const one of project.runs.values()) project.setRun({ ...one, cost_usd: one.cost_usd + 0.01 });
      project.setState({ spent_today: project.state.spent_today + 0.03 });
    }
    if (step % 45 === 0) project.setQuestion(question(nextQuestion++, call("npm install left-pad", { always: "npm install *" }), { asked: Date.now(), deadline: Date.now() + 300_000 }));
    if (step % 20 === 0) moveOne(project, step);
  }, 1000);
  return () => clearInterval(timer);
}

function moveOne(project: Project, step: number): void {
  const from = step % 40 === 0 ? "merge" : "backlog";
  const card = [...project.stories.values()].find((one) => one.stage === from && one.quarantine === null);
  const to = from === "merge" ? "done" : "current";
  if (card) project.changeStory(card.id, { stage: to, since: Date.now(), moves: movesFrom(to), waits: null });
}
