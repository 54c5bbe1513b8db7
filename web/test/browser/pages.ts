// Every page and state, and how faults of accessibility are looked for in them.

import { createRequire } from "node:module";

import type { Browser, Page } from "playwright-core";
import { expect, test } from "vitest";

import { call, question } from "../../dev/make";
import { scene, type SceneName } from "../../dev/scenes";
import { live, open, type Opened, type OpenOptions } from "./chromium";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
type Axe = { run(where: Document, options: object): Promise<{ violations: Array<{ id: string; nodes: Array<{ target: string[]; failureSummary: string }> }> }> };

export type State = { name: string; path: string; scene?: SceneName; known?: boolean; prepare?(opened: Opened): Promise<unknown> };

const OPTIONS = [
  { label: "Oil", about: "cheap" },
  { label: "New hinge", about: "lasts" },
];

async function quiet(server: Opened["server"], page: Page): Promise<void> {
  for (const id of [...server.project.stories.keys()]) if (id !== 13) server.project.removeStory(id);
  for (const id of [...server.project.runs.keys()]) server.project.endRun(id);
  server.project.restart();
  await page.goto(server.url);
  await page.getByText("Nothing is waiting for a person.").waitFor();
}

async function chooseFiles(page: Page): Promise<void> {
  await page.getByRole("button", { name: "New story" }).click();
  const files = Array.from({ length: 11 }, (_, at) => ({ name: `the door from outside, picture ${at + 1}.png`, mimeType: "image/png", buffer: Buffer.from("x") }));
  await page.getByLabel("Add pictures or files").setInputFiles(files);
  await page.getByText("At most 10 files go with one message.").waitFor();
}

export const STATES: readonly State[] = [
  { name: "now", path: "/" },
  { name: "first use", path: "/", scene: "empty" },
  { name: "nothing waits", path: "/", prepare: ({ server, page }) => quiet(server, page) },
  { name: "board", path: "/board" },
  { name: "new story", path: "/board", prepare: ({ page }) => page.getByRole("button", { name: "New story" }).click() },
  { name: "new story with files", path: "/board", prepare: ({ page }) => chooseFiles(page) },
  { name: "story", path: "/story/5" },
  { name: "story to edit", path: "/story/5", prepare: ({ page }) => page.getByRole("button", { name: "Edit" }).click() },
  { name: "more acts", path: "/story/5", prepare: ({ page }) => page.getByText("Move, assign, delete").click() },
  { name: "diff", path: "/story/7/diff", prepare: ({ page }) => page.getByRole("button", { name: "Comment on line 13 of src/auth.rs" }).click() },
  { name: "reject", path: "/story/7/diff", prepare: ({ page }) => page.getByRole("button", { name: "Reject…" }).click() },
  { name: "runs", path: "/story/5/runs" },
  { name: "merge", path: "/story/6/merge" },
  { name: "merged", path: "/story/2/merge" },
  { name: "history", path: "/story/7/history" },
  { name: "run", path: "/run/5-coder-1-2" },
  { name: "run that has ended", path: "/run/7-coder-1-1" },
  { name: "chat", path: "/chat" },
  { name: "question", path: "/q/12" },
  { name: "question that is closed", path: "/q/1" },
  { name: "cost", path: "/cost" },
  { name: "me", path: "/me" },
  { name: "archive", path: "/archive" },
  { name: "nothing", path: "/nowhere" },
  { name: "keys", path: "/", prepare: ({ page }) => page.keyboard.press("?") },
  { name: "login by code", path: "/login", known: false },
  { name: "login by link", path: "/#l=demo", known: false },
  {
    name: "all forms of questions",
    path: "/",
    async prepare({ server, page }) {
      const { project } = server;
      project.setQuestion(question(20, { form: "plan", html: "<h1>Plan</h1><p>Oil it.</p>" }));
      project.setQuestion(question(21, { form: "options", question: "Which?", options: OPTIONS, several: true }));
      project.setQuestion(question(22, { form: "options", question: "Which one?", options: OPTIONS, several: false }));
      project.setQuestion(question(23, call("x\n".repeat(90)), { warnings: ["⚠ It writes outside: `~/x`."] }));
      project.setQuestion(question(24, call("@@ -1 +1 @@\n-a\n+b", { language: "diff" }), { rooms: ["slack:C1"], trial: "<p>1 file</p>" }));
      await page.getByText("Asked in Slack.").waitFor();
    },
  },
  {
    name: "bars",
    path: "/",
    async prepare({ server, page }) {
      server.project.setState({ paused: "The day's budget is spent.", problems: ["One.", "Two."], protection: "none: bubblewrap is missing" });
      await page.getByText("2 problems").click();
    },
  },
  {
    name: "offline",
    path: "/",
    async prepare({ server, page }) {
      await server.stop();
      await page.getByText("Offline. This is the last known state.").waitFor();
    },
  },
  {
    name: "session ended",
    path: "/",
    async prepare({ server, page }) {
      server.end("Your session has ended (revoked by Bob).");
      await page.getByText("revoked by Bob").waitFor();
    },
  },
];

async function faults(page: Page): Promise<string[]> {
  await page.addScriptTag({ path: AXE });
  return page.evaluate(async () => {
    const axe = (window as unknown as { axe: Axe }).axe;
    const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const { violations } = await axe.run(document, { runOnly: { type: "tag", values: rules } });
    return violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target.join(" ")}: ${node.failureSummary}`));
  });
}

export async function show(browser: Browser, state: State, options: OpenOptions): Promise<Opened> {
  const opened = await open(browser, scene(state.scene ?? "shop"), state.path, { ...options, isKnown: state.known ?? true, reducedMotion: "reduce", bypassCSP: true });
  await (state.known === false ? opened.page.locator("h1").waitFor() : live(opened.page));
  await opened.page.waitForLoadState("networkidle");
  await state.prepare?.(opened);
  return opened;
}

/** A test for each state: axe finds nothing in it, it has one `h1`, and no script failed. */
export function testEachState(browser: () => Browser, options: OpenOptions): void {
  test.each(STATES)("$name", async (state) => {
    const opened = await show(browser(), state, options);
    // A fade that has not ended would be measured as poor contrast.
    await opened.page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => null))));
    await opened.page.locator(".settling").first().waitFor({ state: "detached" });
    expect(await faults(opened.page)).toEqual([]);
    expect(await opened.page.locator("h1").count()).toBe(1);
    expect(opened.faults).toEqual([]);
    await opened.close();
  });
}

/** What is wider than the window, as HTML. Some parts scroll sideways by themselves. */
export async function tooWide(page: Page): Promise<string[]> {
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const box = (element: Element) => element.getBoundingClientRect();
    const isClipped = (element: Element) => element.closest(".tabs, .stage-tabs, .hidden, .skip, table, .run-link") !== null;
    const over = [...document.querySelectorAll("body *")].filter((one) => box(one).right > width + 1 && box(one).width > 0 && !isClipped(one));
    return [document.documentElement.scrollWidth > width ? "the page scrolls sideways" : "", ...over.slice(0, 3).map((one) => one.outerHTML.slice(0, 120))];
  });
  return wide.filter(Boolean);
}
