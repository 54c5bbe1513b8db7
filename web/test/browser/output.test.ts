// A run's output: bounded on screen, numbered, resumed without loss, and at rest while somebody reads.

import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import type { Project } from "../../dev/project";
import { scene } from "../../dev/scenes";
import { live, open, startChromium, type Opened } from "./chromium";

const RUN = "5-coder-1-2";
let browser: Browser;
let opened: Opened;
beforeAll(async () => {
  browser = await startChromium();
});
afterAll(() => browser.close());
afterEach(async () => {
  expect(opened.faults).toEqual([]);
  await opened.close();
});

function printed(count: number): Project {
  const project = scene("shop");
  project.logs.set(RUN, { story: 5, lines: Array.from({ length: count }, (_, at) => `line ${at + 1}`), over: false });
  return project;
}

async function show(project: Project): Promise<Page> {
  opened = await open(browser, project, `/run/${RUN}`);
  await live(opened.page);
  await opened.page.locator(".log-line").first().waitFor();
  return opened.page;
}

/** The numbers and texts of the lines on screen agree: nothing lost, nothing doubled. */
async function range(page: Page): Promise<{ first: number; last: number; count: number; isWhole: boolean }> {
  return page.evaluate(() => {
    const lines = [...document.querySelectorAll<HTMLElement>(".log-line")];
    const numbers = lines.map((line) => Number(line.dataset.number));
    const isWhole = numbers.every((number, at) => number === (numbers[0] ?? 0) + at && lines[at]?.textContent === `line ${number}`);
    return { first: numbers[0] ?? 0, last: numbers.at(-1) ?? 0, count: numbers.length, isWhole };
  });
}

test("10,000 lines: the last 2,000 are in the document, with their numbers, at the end", async () => {
  const page = await show(printed(10_000));
  await expect.poll(() => range(page)).toEqual({ first: 8001, last: 10_000, count: 2000, isWhole: true });
  const isAtEnd = await page.locator(".log").evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 2);
  expect(isAtEnd).toBe(true);
  await page.getByRole("button", { name: "8,000 earlier lines" }).waitFor();
});

test("lines that come are added at the end, and the first ones go", async () => {
  const project = printed(1990);
  const page = await show(project);
  project.print(RUN, ...Array.from({ length: 30 }, (_, at) => `line ${1991 + at}`));
  await expect.poll(async () => (await range(page)).last).toBe(2020);
  const shown = await range(page);
  expect(shown.isWhole).toBe(true);
  expect(shown.count).toBeLessThanOrEqual(2000);
  expect(shown.count).toBeGreaterThan(1700);
});

test("a cut loses and doubles nothing, and says so", async () => {
  const project = printed(50);
  const page = await show(project);
  for (let cut = 0; cut < 5; cut++) {
    opened.server.cut();
    project.print(RUN, ...Array.from({ length: 7 }, (_, at) => `line ${51 + cut * 7 + at}`));
    await expect.poll(async () => (await range(page)).last).toBe(57 + cut * 7);
  }
  expect(await range(page)).toEqual({ first: 1, last: 85, count: 85, isWhole: true });
  expect(await page.getByText(/connection lost .* nothing missed/).count()).toBe(5);
});

test("who scrolls up reads in peace: it pauses, and Live goes on where it was", async () => {
  const project = printed(500);
  const page = await show(project);
  await page.locator(".log").evaluate((log) => (log.scrollTop = 1000));
  await page.getByText("paused", { exact: true }).waitFor();
  const before = await page.locator(".log").evaluate((log) => log.scrollTop);
  project.print(RUN, "line 501", "line 502");
  // What the server sends until then is not shown: a paused page has unsubscribed.
  await expect.poll(() => [...opened.server.browsers].some((one) => one.heard.some((frame) => frame.type === "unfollow"))).toBe(true);
  expect(await page.locator(".log").evaluate((log) => log.scrollTop)).toBe(before);
  await page.getByRole("button", { name: "↓ Live" }).tap();
  await expect.poll(() => range(page)).toEqual({ first: 1, last: 502, count: 502, isWhole: true });
});

test("earlier lines come above, what is read stays in its place, and no more than 2,000 are there", async () => {
  const project = printed(4000);
  const page = await show(project);
  await page.getByRole("button", { name: "2,000 earlier lines" }).tap();
  await expect.poll(() => range(page)).toEqual({ first: 1501, last: 3500, count: 2000, isWhole: true });
  await page.getByRole("button", { name: "1,500 earlier lines" }).tap();
  await expect.poll(async () => (await range(page)).first).toBe(1001);
  await page.getByRole("button", { name: "↓ Live" }).tap();
  await expect.poll(() => range(page)).toEqual({ first: 2001, last: 4000, count: 2000, isWhole: true });
});

test("the whole output is saved as a file", async () => {
  const page = await show(printed(5000));
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Whole log" }).tap();
  const stream = await (await saved).createReadStream();
  let text = "";
  for await (const chunk of stream) text += String(chunk);
  expect(text.split("\n").length).toBe(5001);
  expect(text.endsWith("line 5000\n")).toBe(true);
});

test("the end of a run is told", async () => {
  const project = printed(3);
  const page = await show(project);
  project.print(RUN, "line 4");
  project.endRun(RUN);
  await page.getByText("the run has ended").waitFor();
  expect(await range(page)).toEqual({ first: 1, last: 4, count: 4, isWhole: true });
});

test("words to the agent at work are a command, and its output shows them", async () => {
  const page = await show(printed(3));
  const field = page.getByRole("textbox", { name: "Say something to coder-1" });
  await field.fill("use the blue one");
  await page.getByRole("button", { name: "Send", exact: true }).tap();
  await page.getByText("(Ann says: use the blue one)").waitFor();
  await page.getByText("gets it between two of its steps").first().waitFor();
  expect(await field.inputValue()).toBe("");
  await field.fill("too late");
  opened.server.project.endRun(RUN);
  await page.getByText("the run has ended").waitFor();
  expect(await field.count()).toBe(0);
});
