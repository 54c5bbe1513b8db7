// The read-only part of the contract.

import type { ArchiveView, CostView, HistoryEntry, HistoryView, LogView, StoryView } from "../src/wire";
import { diff, escaped, story } from "./make";
import type { Project } from "./project";

const LOG_PAGE = 2000;

/** The view of an address; null: there is none. */
export function answer(project: Project, url: URL): unknown {
  const [, , kind, id = "", part] = url.pathname.split("/").map(decodeURIComponent);
  switch (kind) {
    case "board":
      return project.board();
    case "story":
      if (part === "history") return history(project, Number(id));
      return part === "diff" ? (project.diffs.get(Number(id)) ?? diff()) : storyView(project, Number(id));
    case "run":
      return logView(project, id, url.searchParams.get("from"));
    case "archive":
      return archive(project, url.searchParams);
    case "cost":
      return cost(project);
    default:
      return null;
  }
}

function storyView(project: Project, id: number): StoryView | null {
  const card = project.stories.get(id);
  const text = project.texts.get(id);
  if (!card || !text) return null;
  const merged =
    card.stage === "done"
      ? {
          commit: "3f2a9c11d0b7e4",
          message: `story ${id}: ${card.title}`,
          at: Date.now() - 7_200_000,
          gates: [
            { command: "script/check", code: 0 },
            { command: "script/test", code: 0 },
          ],
        }
      : null;
  return {
    card,
    html: html(text.markdown),
    markdown: text.markdown,
    criteria: text.criteria,
    branch: card.stage === "backlog" ? null : `story-${id}`,
    commits: card.stage === "backlog" ? 0 : 3,
    diffstat: card.stage === "backlog" ? null : "4 files, +12 -5",
    runs:
      card.stage === "backlog"
        ? []
        : [
            { id: "5-coder-1-2", worker: "coder-1", started: Date.now() - 360_000, ended: null, outcome: "runs", failed: false, cost_usd: 0.31 },
            { id: "7-coder-1-1", worker: "coder-1", started: Date.now() - 4_000_000, ended: Date.now() - 3_600_000, outcome: "a gate failed", failed: true, cost_usd: 0.5 },
            { id: "old", worker: "coder-2", started: Date.now() - 90_000_000, ended: Date.now() - 89_000_000, outcome: "done", failed: false, cost_usd: 0.4 },
          ],
    merge_output: id === 6 ? ["test bell::rings_twice ... FAILED", "  left: 1", " right: 2"] : [],
    merged,
  };
}

function history(project: Project, id: number): HistoryView | null {
  const card = project.stories.get(id);
  if (!card) return null;
  const at = (minutes: number) => Date.now() - minutes * 60_000;
  const entry = (minutes: number, kind: HistoryEntry["kind"], text: string, more: Partial<HistoryEntry> = {}): HistoryEntry => ({
    at: at(minutes),
    kind,
    text,
    details: [],
    run: null,
    failed: false,
    ...more,
  });
  if (card.stage === "backlog") return { entries: [entry(9000, "act", "Ann added it to the backlog.")], whole: true };
  const entries = [
    ...(card.stage === "done" ? [entry(3, "merge", "Merged as `3f2a9c11d0`.", { details: [`story ${id}: ${card.title}`] })] : []),
    entry(5, "merge", "A gate failed on the merged result.", { failed: true, details: ["`script/test` ended with 101"] }),
    entry(9, "act", "Bob moved it from QA to merge.", { details: ["accepted by Bob"] }),
    entry(30, "question", "@bob:example.org said yes to question 11 (`Bash`).", { details: ["Asked in `slack:C012345`, `web:team`."] }),
    entry(61, "run", "The run of `coder-1` ended.", { run: "7-coder-1-1", details: ["gates passed"] }),
    entry(80, "run", "`coder-1` started a run.", { run: "7-coder-1-1" }),
    entry(82, "act", "Bob moved it from QA to current.", { details: ["sent back: src/auth.rs:12 > let store = Store::open().unwrap(); no unwrap here, it runs at the start of every request"] }),
    entry(140, "run", "The run of `coder-2` ended.", { run: "old", failed: true, details: ["the gate failed: `script/test` ended with 101"] }),
    entry(150, "run", "`coder-2` started a run.", { run: "old" }),
    entry(151, "act", "Ann moved it from the backlog to current."),
    entry(152, "act", "Ann assigned it to `coder`."),
    entry(9000, "act", "A room's agent, with the consent of Ann, added it to the backlog."),
  ];
  return { entries, whole: id !== 8 };
}

/** Enough Markdown for the stories here; a list of tasks stays as it was typed, as in the real server. */
function html(markdown: string): string {
  return markdown
    .split("\n\n")
    .map((part) => {
      const text = escaped(part).replace(/`([^`]*)`/g, "<code>$1</code>");
      if (part.startsWith("## ")) return `<h2>${text.slice(3)}</h2>`;
      if (part.startsWith("- ")) return `<ul>${text.split("\n").map((line) => `<li>${line.slice(2)}</li>`).join("")}</ul>`;
      return `<p>${text}</p>`;
    })
    .join("");
}

function logView(project: Project, id: string, from: string | null): LogView | null {
  const log = project.logs.get(id);
  if (!log) return null;
  const start = from === null ? Math.max(1, log.lines.length - LOG_PAGE + 1) : Math.max(1, Number(from));
  const lines = log.lines.slice(start - 1, start - 1 + LOG_PAGE);
  return { run: id, story: log.story, from: start, lines, next: log.lines.length + 1, over: log.over };
}

function archive(project: Project, search: URLSearchParams): ArchiveView {
  const before = Number(search.get("before") ?? project.state.archived + 1);
  const words = (search.get("q") ?? "").toLowerCase();
  const stories = [];
  for (let id = before - 1; id > 0 && stories.length < 50; id--) {
    const one = story(id, `Archived door ${id}`, "archived", { cost_usd: (id % 5) / 4 });
    if (one.title.toLowerCase().includes(words)) stories.push(one);
  }
  return { stories, more: (stories.at(-1)?.id ?? 1) > 1 };
}

function cost(project: Project): CostView {
  const days = Array.from({ length: 7 }, (_, at) => ({ day: `2026-11-${30 - at}`, usd: [4.1, 11.3, 7.25, 0, 2.4, 15.2, 9.9][at] ?? 0, runs: 3 + at }));
  const stories = [...project.stories.values()]
    .filter((one) => one.cost_usd > 0)
    .sort((a, b) => b.cost_usd - a.cost_usd)
    .slice(0, 50)
    .map((one) => ({ id: one.id, title: one.title, usd: one.cost_usd, runs: one.retries + 1 }));
  return { days, stories, today: project.state.spent_today, budget_today: project.state.budget_today };
}
