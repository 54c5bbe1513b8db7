// Entries of a project with everything filled in, so that scenes say only what is special about them.

import type { DiffLine, DiffView, FileDiff, MessageView, QuestionView, RunView, Stage, StoryCard } from "../src/wire";

const MOVES: Record<Stage, Stage[]> = {
  backlog: ["current"],
  current: ["backlog", "qa"],
  qa: ["backlog", "current", "merge"],
  merge: ["backlog", "current"],
  done: ["archived"],
  archived: [],
};

export function story(id: number, title: string, stage: Stage, more: Partial<StoryCard> = {}): StoryCard {
  return {
    id,
    title,
    kind: "story",
    stage,
    since: Date.now() - id * 7 * 60_000,
    agent: null,
    manual_qa: false,
    depends_on: [],
    criteria: 0,
    ticked: 0,
    retries: 0,
    waits: null,
    wanted: null,
    quarantine: null,
    cost_usd: 0,
    moves: MOVES[stage],
    ...more,
  };
}

export function movesFrom(stage: Stage): Stage[] {
  return MOVES[stage];
}

export function run(id: string, of: StoryCard, worker: string, phase: string, more: Partial<RunView> = {}): RunView {
  return {
    id,
    story: of.id,
    title: of.title,
    worker,
    agent: worker.replace(/-\d+$/, ""),
    role: worker.startsWith("qa") ? "qa" : "coder",
    since: Date.now() - 6 * 60_000,
    phase,
    cost_usd: 0.31,
    ...more,
  };
}

export function question(id: number, form: QuestionView["form"], more: Partial<QuestionView> = {}): QuestionView {
  const choice = (word: string, label: string) => ({ key: `q:${id}:${word}`, label });
  const choices: Record<QuestionView["form"]["form"], QuestionView["choices"]> = {
    call: [choice("yes", "Allow"), choice("no", "Deny"), choice("always", "Always")],
    plan: [choice("yes", "Approve plan"), choice("no", "Keep planning")],
    options: form.form === "options" && !form.several ? form.options.map((one, at) => choice(String(at + 1), one.label)) : [],
    board: [choice("yes", "Create all"), choice("no", "None of them")],
  };
  return {
    id,
    story: 3,
    asked_for: "story 3 (coder-2)",
    role: "approver",
    asked: Date.now() - 20_000,
    deadline: Date.now() + 252_000,
    parks: false,
    parked: null,
    warnings: [],
    form,
    rooms: ["web:ann"],
    trial: null,
    choices: choices[form.form],
    outcome: null,
    ...more,
  };
}

export function call(text: string, more: Partial<Extract<QuestionView["form"], { form: "call" }>> = {}): QuestionView["form"] {
  return { form: "call", tool: "Bash", text, language: "sh", always: null, ...more };
}

/** A hunk's lines from text: `+new`, `-old`, ` same`. */
export function file(path: string, start: number, text: string, more: Partial<FileDiff> = {}): FileDiff {
  let [before, after] = [start, start];
  const lines: DiffLine[] = text.split("\n").map((line) => {
    const content = line.slice(1);
    if (line.startsWith("+")) return { old: null, new: after++, text: content };
    if (line.startsWith("-")) return { old: before++, new: null, text: content };
    return { old: before++, new: after++, text: content };
  });
  const added = lines.filter((line) => line.old === null).length;
  const removed = lines.filter((line) => line.new === null).length;
  const head = `@@ -${start},${before - start} +${start},${after - start} @@`;
  return { path, from: null, status: "changed", binary: false, added, removed, hunks: [{ head, lines }], more_lines: 0, ...more };
}

export function diff(...files: FileDiff[]): DiffView {
  const sum = (key: "added" | "removed") => files.reduce((total, one) => total + one[key], 0);
  return { against: "3f2a9c11d0b7e4", files, more_files: 0, added: sum("added"), removed: sum("removed") };
}

let lastMessage = 0;

export function message(room: string, by: string | null, html: string, more: Partial<MessageView> = {}): MessageView {
  lastMessage += 1;
  return {
    room,
    id: `m${lastMessage}`,
    at: Date.now(),
    by,
    html,
    tone: "answer",
    choices: [],
    live: false,
    reply_to: null,
    question: null,
    file: null,
    ...more,
  };
}

export function escaped(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
