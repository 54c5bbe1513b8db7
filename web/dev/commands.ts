// Answers what people say, roughly as storkit does: enough of each command that the page can be tried.

import type { QuestionView, Stage } from "../src/wire";
import { escaped, message, movesFrom, run, story } from "./make";
import type { Project } from "./project";
import { addText } from "./scenes";

const STAGES: readonly string[] = ["backlog", "current", "qa", "merge", "done", "archived"];

/** Takes a person's text in a room; `said` is the message that it became. */
export function obey(project: Project, room: string, by: string, text: string, said: string, files: string[] = []): void {
  const answer = reply(project, by, text) + beside(files);
  const tone = answer.startsWith("!") ? "failure" : "answer";
  project.post(message(room, null, `<p>${answer.replace(/^!/, "")}</p>`, { reply_to: said, tone }));
}

/** What became of files that came along with a new story. */
function beside(files: string[]): string {
  return files.length === 0 ? "" : `<br />It has ${files.map((name) => `<code>${escaped(name)}</code>`).join(", ")} beside it now.`;
}

/** A button of a question. Returns the refusal. */
export function choose(project: Project, by: string, key: string): string | null {
  const [, id = "", word = ""] = /^q:(\d+):(\w+)$/.exec(key) ?? [];
  const question = project.questions.get(Number(id));
  if (!question || question.outcome) return `Question ${id} is not open.`;
  const option = question.form.form === "options" ? question.form.options[Number(word) - 1] : undefined;
  if (word === "try") {
    const trial = "<p>It changed 1 file: <code>README.md</code> (+2).</p>";
    project.setQuestion({ ...question, trial, choices: [...question.choices.filter((one) => !one.key.includes("keep")), { key: `q:${id}:keep1`, label: "Keep" }] });
    return null;
  }
  settle(project, question, by, option ? `answered “${option.label}”` : word === "no" ? "denied it" : word === "always" ? "allowed it from now on" : "allowed it");
  return null;
}

export function settle(project: Project, question: QuestionView, by: string, what: string, where = "the page"): void {
  const word = what.startsWith("denied") ? "deny" : "allow";
  project.setQuestion({ ...question, outcome: { word, sentence: `<p>Question ${question.id}: ${by} ${what} in ${where}.</p>`, at: Date.now() } });
}

function reply(project: Project, by: string, text: string): string {
  const [first = "", ...rest] = text.split("\n");
  const [word = "", idText = "", ...args] = first.trim().split(/\s+/);
  const id = Number(idText);
  const card = project.stories.get(id);
  switch (word.toLowerCase()) {
    case "new":
      return create(project, idText, args.join(" "), rest);
    case "yes":
    case "no":
      return answerQuestion(project, by, id, word === "no" ? `denied it (${[...args, ...rest].join(" ")})` : "allowed it");
    case "web":
      return "Session revoked.";
    case "status":
      return `${project.runs.size} runs, ${project.merges.length} merges.`;
    case "doctor":
      return "Everything I need is here.";
    default:
  }
  if (word.startsWith("#")) return answerQuestion(project, by, Number(word.slice(1)), `answered “${first.slice(word.length + 1)}”`);
  if (!card) return /^\d+$/.test(idText) ? `!There is no story ${escaped(idText)}.` : `You said: ${escaped(text)}`;
  switch (word.toLowerCase()) {
    case "start":
      project.changeStory(id, { stage: "current", wanted: null, waits: null, moves: movesFrom("current"), since: Date.now() });
      begin(project, id);
      return `Story <code>${id}</code> is in current.`;
    case "stop":
      for (const one of project.runs.values()) if (one.story === id) project.endRun(one.id);
      project.changeStory(id, { waits: `stopped by ${by}`, wanted: "retry" });
      return `Stopped. Story <code>${id}</code> waits.`;
    case "tell": {
      const run = [...project.runs.values()].find((one) => one.story === id);
      if (!run) return `!Nobody works on story ${id} now, so nobody would read it.`;
      project.print(run.id, `(${by} says: ${[...args, ...rest].join(" ")})`);
      return `<code>${run.worker}</code> (story ${id}) gets it between two of its steps.`;
    }
    case "retry":
      project.changeStory(id, { waits: null, wanted: null, retries: 0 });
      begin(project, id);
      return `Story <code>${id}</code> continues.`;
    case "accept":
      return card.stage === "qa" ? moved(project, id, "merge", "It goes to the merge queue.") : "!Only stories in QA can be accepted.";
    case "reject":
      return moved(project, id, "current", `Sent back: ${escaped([...args, ...rest].join(" "))}`);
    case "move": {
      const stage = args[0] ?? "";
      return STAGES.includes(stage) ? moved(project, id, stage as Stage, `Moved to ${stage}.`) : "!There is no such stage.";
    }
    case "assign":
      project.changeStory(id, { agent: args[0] ?? null });
      return `Story <code>${id}</code> goes to ${escaped(args[0] ?? "")}.`;
    case "delete":
      project.removeStory(id);
      return `Deleted story <code>${id}</code>.`;
    case "release":
      project.changeStory(id, { quarantine: null });
      return "The quarantine is lifted.";
    case "tick":
    case "untick":
      return tick(project, id, Number(args[0]), word === "tick");
    case "edit":
      return edit(project, id, args, rest);
    default:
      return `You said: ${escaped(text)}`;
  }
}

function create(project: Project, kind: string, title: string, criteria: string[]): string {
  const id = Math.max(0, ...project.stories.keys()) + 1;
  const made = story(id, title, "backlog", { kind, criteria: criteria.length, since: Date.now() });
  addText(project, made);
  project.addStory(made);
  return `Story <code>${id}</code> is in the backlog. <code>start ${id}</code> starts it.`;
}

function answerQuestion(project: Project, by: string, id: number, what: string): string {
  const question = project.questions.get(id);
  if (!question || question.outcome) return `!Question ${id} is not open.`;
  settle(project, question, by, what);
  return "Noted.";
}

function begin(project: Project, id: number): void {
  const card = project.stories.get(id);
  if (!card) return;
  const made = run(`${id}-opus-1`, card, "opus", "working", { since: Date.now(), cost_usd: 0 });
  project.logs.set(made.id, { story: id, lines: ["I read the story first."], over: false });
  project.setRun(made);
}

function moved(project: Project, id: number, stage: Stage, answer: string): string {
  project.changeStory(id, { stage, wanted: null, waits: null, since: Date.now(), moves: movesFrom(stage) });
  return answer;
}

function tick(project: Project, id: number, at: number, isDone: boolean): string {
  const text = project.texts.get(id);
  const criterion = text?.criteria[at - 1];
  if (!text || !criterion) return "!There is no such criterion.";
  criterion.done = isDone;
  text.markdown = text.markdown.replace(new RegExp(`- \\[.\\] (?=${criterion.text.slice(0, 12)})`), `- [${isDone ? "x" : " "}] `);
  project.changeStory(id, { ticked: text.criteria.filter((one) => one.done).length });
  return `Changed criterion ${at}.`;
}

function edit(project: Project, id: number, args: string[], body: string[]): string {
  const text = project.texts.get(id);
  const [what, ...words] = args;
  if (what === "title") project.changeStory(id, { title: words.join(" ") });
  if (what === "qa") project.changeStory(id, { manual_qa: words[0] === "on" });
  if (what === "after") project.changeStory(id, { depends_on: words.join(" ").match(/\d+/g)?.map(Number) ?? [] });
  if (text && body.length > 0) {
    text.markdown = body.join("\n");
    project.changeStory(id, { since: Date.now() });
  }
  return `Changed story <code>${id}</code>.`;
}
