// What can be read off a page in Chromium, on a slowed-down processor and network. Used with the project in memory (`figures.ts`) and with
// a real storkit (`real.ts`).

import { readdirSync, readFileSync } from "node:fs";

import type { BrowserContext, CDPSession, Page } from "playwright-core";

import { DIST } from "../test/browser/chromium";

/** A phone of the middle class, beside this machine. */
export const SLOWER = 4;

/** 150 ms and 1.6 Mbit/s. */
const SLOW_4G = { offline: false, latency: 150, downloadThroughput: 200_000, uploadThroughput: 94_000 };

type Watched = { tasks: number[]; shifts: { at: number; value: number }[]; readable: number | null };

export type Busy = {
  /** Seconds of the main thread for each second. */
  main: number;
  /** What the heap has grown by, in MB, garbage apart. */
  heap: number;
  /** The longest task since the page was opened, in ms. */
  longest: number;
};

/** Slows the page down and counts its tasks from the next load on. */
export async function slowDown(context: BrowserContext, page: Page, slower = SLOWER): Promise<CDPSession> {
  const cdp = await context.newCDPSession(page);
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: slower });
  // CPU of the thread: others on this machine do not count.
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  await page.addInitScript(() => {
    const watched: Watched = { tasks: [], shifts: [], readable: null };
    Object.assign(window, { watched });
    new PerformanceObserver((list) => watched.tasks.push(...list.getEntries().map((one) => one.duration))).observe({ type: "longtask", buffered: true });
    new PerformanceObserver((list) => {
      for (const one of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[]) {
        if (!one.hadRecentInput) watched.shifts.push({ at: one.startTime, value: one.value });
      }
    }).observe({ type: "layout-shift", buffered: true });
    const look = () => {
      if (!document.querySelector(".story-card")) return void requestAnimationFrame(look);
      // The next frame comes after the card is on screen.
      requestAnimationFrame(() => (watched.readable = performance.now()));
    };
    requestAnimationFrame(look);
  });
  return cdp;
}

export async function slowNetwork(cdp: CDPSession): Promise<void> {
  await cdp.send("Network.enable");
  await cdp.send("Network.emulateNetworkConditions", SLOW_4G);
}

export async function firstPaint(page: Page): Promise<number> {
  await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
  return page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN);
}

/** When the first card of the board was on screen. */
export async function readable(page: Page): Promise<number> {
  const handle = await page.waitForFunction(() => (window as unknown as { watched: Watched }).watched.readable);
  return Number(await handle.jsonValue());
}

export function longest(page: Page): Promise<number> {
  return page.evaluate(() => Math.max(0, ...(window as unknown as { watched: Watched }).watched.tasks));
}

/** The largest window of shifts, as the Layout Instability API's authors count: gaps below 1 s, 5 s at most. */
export async function layoutShift(page: Page): Promise<number> {
  const shifts = await page.evaluate(() => (window as unknown as { watched: Watched }).watched.shifts);
  let [most, sum, first, last] = [0, 0, -Infinity, -Infinity];
  for (const { at, value } of shifts) {
    const isSame = at - last < 1000 && at - first < 5000;
    sum = isSame ? sum + value : value;
    first = isSame ? first : at;
    last = at;
    most = Math.max(most, sum);
  }
  return most;
}

/** From a key in the search field until what it finds is painted. */
export function searchToPaint(page: Page, words: string): Promise<number> {
  return page.evaluate(async (value) => {
    const field = document.querySelector<HTMLInputElement>("#find");
    if (!field) throw new Error("no field to search");
    const start = performance.now();
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start;
  }, words);
}

export function elements(page: Page): Promise<number> {
  return page.evaluate(() => document.querySelectorAll("*").length);
}

/** Watches the page for some seconds. */
export async function busy(page: Page, cdp: CDPSession, seconds: number): Promise<Busy> {
  await page.waitForTimeout(2000);
  const read = async () => {
    await cdp.send("HeapProfiler.collectGarbage");
    const { usedSize } = await cdp.send("Runtime.getHeapUsage");
    return { heap: usedSize, task: await taskTime(cdp), at: performance.now() };
  };
  const before = await read();
  await page.waitForTimeout(seconds * 1000);
  // Before the garbage is collected for the heap's sake.
  const [task, at] = [await taskTime(cdp), performance.now()];
  const after = await read();
  return { main: (task - before.task) / ((at - before.at) / 1000), heap: (after.heap - before.heap) / 1e6, longest: await longest(page) };
}

async function taskTime(cdp: CDPSession): Promise<number> {
  const { metrics } = await cdp.send("Performance.getMetrics");
  return metrics.find((one) => one.name === "TaskDuration")?.value ?? NaN;
}

/** What is fetched before the first page is drawn, and the largest part of what comes later, in bytes of gzip. */
export function sizes(): { first: number; later: number; requests: number } {
  const html = readFileSync(`${DIST}/index.html`, "utf8");
  const files = [...html.matchAll(/"\/(assets\/[^"]+\.(?:js|css))"/g)].map((match) => match[1] ?? "");
  const gz = (file: string) => readFileSync(`${DIST}/${file}.gz`).length;
  const first = [...files, "index.html"].reduce((sum, file) => sum + gz(file), 0);
  const later = readdirSync(`${DIST}/assets`).filter((name) => /\.(js|css)$/.test(name) && !files.includes(`assets/${name}`));
  return { first, later: Math.max(...later.map((name) => gz(`assets/${name}`))), requests: files.length + 1 };
}

export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error("nothing was measured");
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? NaN;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
