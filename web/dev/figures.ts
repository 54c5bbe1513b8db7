// Measures the page on a slowed-down processor and network, for people who change what it costs: `node dev/figures.mjs`.

import { readdirSync, readFileSync } from "node:fs";

import type { CDPSession, Page } from "playwright-core";

import { DIST, live, open, startChromium } from "../test/browser/chromium";
import { run } from "./make";
import type { Project } from "./project";
import { scene } from "./scenes";

const SLOWER = 4;
const SECONDS = 10;

/** `only` picks figures by a part of their name. */
export async function measure(only = ""): Promise<void> {
  sizes();
  const browser = await startChromium();
  const on = async (project: Project, path: string, act: (page: Page, cdp: CDPSession) => Promise<void>) => {
    if (!path.includes(only)) return;
    const opened = await open(browser, project, "/nowhere");
    await live(opened.page);
    const cdp = await opened.context.newCDPSession(opened.page);
    await cdp.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
    await cdp.send("Performance.enable");
    await opened.page.addInitScript(() => {
      const tasks: number[] = [];
      Object.assign(window, { tasks });
      new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => one.duration))).observe({ type: "longtask", buffered: true });
    });
    await opened.page.goto(opened.server.url + path);
    await live(opened.page);
    await act(opened.page, cdp);
    await opened.close();
  };

  await on(scene("thousand"), "/board", async (page) => {
    await page.locator(".story-card").first().waitFor();
    const readable = await page.evaluate(() => performance.now());
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0);
    console.log(`board of 1,000: first paint ${ms(paint)}, readable ${ms(readable)}, longest task ${ms(await longest(page))}`);
    const search = await page.evaluate(async () => {
      const field = document.querySelector<HTMLInputElement>("#find");
      const start = performance.now();
      if (field) field.value = "Shelf 12";
      field?.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      return performance.now() - start;
    });
    console.log(`board of 1,000: search key to paint ${ms(search)}`);
  });

  const crowd = scene("shop");
  for (let at = 0; at < 100; at++) {
    const one = run(`crowd-${at}`, { ...[...crowd.stories.values()][0]!, id: 100 + at }, `coder-${at}`, "working");
    crowd.runs.set(one.id, one);
    crowd.logs.set(one.id, { story: one.story, lines: [], over: false });
  }
  await on(crowd, "/", async (page, cdp) => {
    const stop = printing(crowd, [...crowd.runs.keys()], 10);
    console.log(`100 agents x 10 lines/s on Now: ${await busy(page, cdp)}`);
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
    console.log(`one run followed, 10 lines/s, 2,000 lines on screen: ${await busy(page, cdp)}`);
    stop();
  });
  await browser.close();
}

function sizes(): void {
  const html = readFileSync(`${DIST}/index.html`, "utf8");
  const first = [...html.matchAll(/"\/(assets\/[^"]+\.(?:js|css))"/g)].map((match) => match[1] ?? "");
  const gz = (file: string) => readFileSync(`${DIST}/${file}.gz`).length;
  const route = [...first, "index.html"].reduce((sum, file) => sum + gz(file), 0);
  const later = readdirSync(`${DIST}/assets`).filter((name) => name.endsWith(".js") && !first.includes(`assets/${name}`));
  const most = Math.max(...later.map((name) => gz(`assets/${name}`)));
  console.log(`first route ${route} bytes gz in ${first.length + 1} requests, largest later part ${most} bytes gz`);
}

function printing(project: Project, runs: string[], perSecond: number): () => void {
  let at = 0;
  const timer = setInterval(() => {
    at += 1;
    for (const one of runs) project.print(one, `line ${at} of ${one}: cargo test … 41 passed`);
  }, 1000 / perSecond);
  return () => clearInterval(timer);
}

/** Seconds of the main thread for each second, as at full speed times the slowdown. */
async function busy(page: Page, cdp: CDPSession): Promise<string> {
  await page.waitForTimeout(2000);
  const read = async () => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    const value = (name: string) => metrics.find((one) => one.name === name)?.value ?? 0;
    return { task: value("TaskDuration"), heap: value("JSHeapUsedSize"), at: value("Timestamp") };
  };
  const before = await read();
  await page.waitForTimeout(SECONDS * 1000);
  const after = await read();
  const share = (after.task - before.task) / (after.at - before.at);
  const heap = (bytes: number) => (bytes / 1e6).toFixed(1);
  return `${share.toFixed(3)} s/s, heap ${heap(before.heap)} to ${heap(after.heap)} MB, longest task ${ms(await longest(page))}`;
}

function longest(page: Page): Promise<number> {
  return page.evaluate(() => Math.max(0, ...(window as unknown as { tasks: number[] }).tasks));
}

function ms(time: number): string {
  return `${Math.round(time)} ms`;
}
