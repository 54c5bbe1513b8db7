// Measures the page on a slowed-down processor in front of a project in memory, for people who change what it costs: `node dev/figures.mjs`.
// `script/bench web` measures it in front of a real storkit.

import type { CDPSession, Page } from "playwright-core";

import { live, open, startChromium } from "../test/browser/chromium";
import { run } from "./make";
import { busy, firstPaint, longest, readable, searchToPaint, sizes, slowDown, type Busy } from "./measure";
import type { Project } from "./project";
import { scene } from "./scenes";

const SECONDS = 10;

/** `only` picks figures by a part of their address. */
export async function measure(only = ""): Promise<void> {
  const { first, later, requests } = sizes();
  console.log(`first route ${first} bytes gz in ${requests} requests, largest later part ${later} bytes gz`);
  const browser = await startChromium();
  const on = async (project: Project, path: string, act: (page: Page, cdp: CDPSession) => Promise<void>) => {
    if (!path.includes(only)) return;
    const opened = await open(browser, project, "/nowhere");
    await live(opened.page);
    const cdp = await slowDown(opened.context, opened.page);
    await opened.page.goto(opened.server.url + path);
    await live(opened.page);
    await act(opened.page, cdp);
    await opened.close();
  };

  await on(scene("thousand"), "/board", async (page) => {
    const [paint, shown] = [await firstPaint(page), await readable(page)];
    console.log(`board of 1,000: first paint ${ms(paint)}, readable ${ms(shown)}, longest task ${ms(await longest(page))}`);
    console.log(`board of 1,000: search key to paint ${ms(await searchToPaint(page, "Shelf 12"))}`);
  });

  const crowd = scene("shop");
  for (let at = 0; at < 100; at++) {
    const one = run(`crowd-${at}`, { ...[...crowd.stories.values()][0]!, id: 100 + at }, `coder-${at}`, "working");
    crowd.runs.set(one.id, one);
    crowd.logs.set(one.id, { story: one.story, lines: [], over: false });
  }
  await on(crowd, "/", async (page, cdp) => {
    const stop = printing(crowd, [...crowd.runs.keys()], 10);
    console.log(`100 agents x 10 lines/s on Now: ${words(await busy(page, cdp, SECONDS))}`);
    stop();
  });

  const long = scene("shop");
  long.logs.set("5-coder-1-2", { story: 5, lines: Array.from({ length: 10_000 }, (_, at) => `${at} ${"x".repeat(400)}`), over: false });
  await on(long, "/run/5-coder-1-2", async (page) => {
    await page.locator(".log-line").first().waitFor();
    await page.waitForTimeout(2000);
    console.log(`a log of 4 MB: longest task ${ms(await longest(page))}`);
  });

  const usual = scene("shop");
  usual.logs.set("5-coder-1-2", { story: 5, lines: Array.from({ length: 5000 }, (_, at) => `• Bash cargo test -p hinge ✓ ${at} passed`), over: false });
  await on(usual, "/run/5-coder-1-2", async (page, cdp) => {
    await page.locator(".log-line").first().waitFor();
    const stop = printing(usual, ["5-coder-1-2"], 10);
    console.log(`one run followed, 10 lines/s, 2,000 lines on screen: ${words(await busy(page, cdp, SECONDS))}`);
    stop();
  });
  await browser.close();
}

function printing(project: Project, runs: string[], perSecond: number): () => void {
  let at = 0;
  const timer = setInterval(() => {
    at += 1;
    for (const one of runs) project.print(one, `line ${at} of ${one}: cargo test … 41 passed`);
  }, 1000 / perSecond);
  return () => clearInterval(timer);
}

function words({ main, heap, longest: task }: Busy): string {
  return `${main.toFixed(3)} s/s, heap ${heap > 0 ? "+" : ""}${heap.toFixed(1)} MB, longest task ${ms(task)}`;
}

function ms(time: number): string {
  return `${Math.round(time)} ms`;
}
