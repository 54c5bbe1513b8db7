// Every page and state, in two sizes and two colour schemes, without a fault that axe finds; keyboard, narrow and enlarged.

import { createRequire } from "node:module";

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { call, question } from "../../dev/make";
import { scene, type SceneName } from "../../dev/scenes";
import { live, open, startChromium, type Opened, type OpenOptions, type Scheme, type Size } from "./chromium";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
type Axe = { run(where: Document, options: object): Promise<{ violations: Array<{ id: string; nodes: Array<{ target: string[]; failureSummary: string }> }> }> };

let browser: Browser;
beforeAll(async () => {
  browser = await startChromium();
});
afterAll(() => browser.close());

type State = { name: string; path: string; scene?: SceneName; known?: boolean; prepare?(opened: Opened): Promise<unknown> };

const OPTIONS = [
  { label: "Oil", about: "cheap" },
  { label: "New hinge", about: "lasts" },
];

const STATES: readonly State[] = [
  { name: "now", path: "/" },
  { name: "first use", path: "/", scene: "empty" },
  { name: "board", path: "/board" },
  { name: "new story", path: "/board", prepare: ({ page }) => page.getByRole("button", { name: "New story" }).click() },
  { name: "story", path: "/story/5" },
  { name: "story to edit", path: "/story/5", prepare: ({ page }) => page.getByRole("button", { name: "Edit" }).click() },
  { name: "more acts", path: "/story/5", prepare: ({ page }) => page.getByText("Move, assign, delete").click() },
  { name: "diff", path: "/story/7/diff", prepare: ({ page }) => page.getByRole("button", { name: "Comment on line 13 of src/auth.rs" }).click() },
  { name: "reject", path: "/story/7/diff", prepare: ({ page }) => page.getByRole("button", { name: "Reject…" }).click() },
  { name: "runs", path: "/story/5/runs" },
  { name: "merge", path: "/story/6/merge" },
  { name: "merged", path: "/story/2/merge" },
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

async function show(state: State, options: OpenOptions): Promise<Opened> {
  const opened = await open(browser, scene(state.scene ?? "shop"), state.path, { ...options, isKnown: state.known ?? true, reducedMotion: "reduce", bypassCSP: true });
  await (state.known === false ? opened.page.locator("h1").waitFor() : live(opened.page));
  await opened.page.waitForLoadState("networkidle");
  await state.prepare?.(opened);
  return opened;
}

describe.each(["phone", "desktop"] as Size[])("%s", (size) => {
  describe.each(["light", "dark"] as Scheme[])("%s", (scheme) => {
    test.each(STATES)("$name", async (state) => {
      const opened = await show(state, { size, scheme });
      // A fade that has not ended would be measured as poor contrast.
      await opened.page.evaluate(() => Promise.all(document.getAnimations().map((one) => one.finished.catch(() => null))));
      await opened.page.locator(".settling").first().waitFor({ state: "detached" });
      expect(await faults(opened.page)).toEqual([]);
      expect(await opened.page.locator("h1").count()).toBe(1);
      await opened.close();
    });
  });
});

describe("320 px wide, and 200 % of 640", () => {
  test.each(STATES)("$name fits without scrolling sideways", async (state) => {
    const opened = await show(state, { size: "tiny" });
    const wide = await opened.page.evaluate(() => {
      const width = document.documentElement.clientWidth;
      const box = (element: Element) => element.getBoundingClientRect();
      const isClipped = (element: Element) => element.closest(".tabs, .stage-tabs, .hidden, .skip, table, .run-link") !== null;
      const over = [...document.querySelectorAll("body *")].filter((one) => box(one).right > width + 1 && box(one).width > 0 && !isClipped(one));
      return [document.documentElement.scrollWidth > width ? "the page scrolls sideways" : "", ...over.slice(0, 3).map((one) => one.outerHTML.slice(0, 120))];
    });
    expect(wide.filter(Boolean)).toEqual([]);
    await opened.close();
  });
});

describe("keyboard", () => {
  test("keys lead to pages and cards, and none while somebody writes", async () => {
    const opened = await show({ name: "now", path: "/" }, { size: "desktop" });
    const { page } = opened;
    await page.keyboard.press("g");
    await page.keyboard.press("b");
    await expect.poll(() => new URL(page.url()).pathname).toBe("/board");
    await page.locator(".story-card").first().waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    expect(await page.evaluate(() => document.activeElement?.matches("[data-stop]"))).toBe(true);
    await page.keyboard.press("Enter");
    await expect.poll(() => new URL(page.url()).pathname).toMatch(/^\/story\/\d+$/);
    await page.keyboard.press("g");
    await page.keyboard.press("c");
    await page.getByRole("textbox").fill("");
    await page.keyboard.type("g b");
    expect(new URL(page.url()).pathname).toBe("/chat");
    expect(await page.getByRole("textbox").inputValue()).toBe("g b");
    await page.goBack();
    await expect.poll(() => new URL(page.url()).pathname).toMatch(/^\/story/);
    await opened.close();
  });

  test("the first stop leads past the navigation, and the focus can be seen", async () => {
    const opened = await show({ name: "now", path: "/" }, { size: "desktop" });
    const { page } = opened;
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent?.trim())).toBe("Skip to the page");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    const place = await page.evaluate(() => {
      const focused = document.activeElement;
      return { isInMain: focused?.closest("main") !== null, outline: focused ? getComputedStyle(focused).outlineStyle : "" };
    });
    expect(place).toEqual({ isInMain: true, outline: "solid" });
    await opened.close();
  });

  test("new questions are announced, and lines are not", async () => {
    const opened = await show({ name: "now", path: "/" }, { size: "desktop" });
    const { page, server } = opened;
    server.project.setQuestion(question(50, call("ls")));
    await page.locator("[aria-live=polite]", { hasText: "New question 50 for story 3 (coder-2)." }).waitFor({ state: "attached" });
    server.project.print("5-coder-1-2", "something new");
    await page.getByText("something new").waitFor();
    expect(await page.locator("[aria-live=polite]").allTextContents()).toEqual(["New question 50 for story 3 (coder-2)."]);
    await opened.close();
  });
});
