// A real Chromium in front of a project in memory, for tests and for pictures.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

import type { Project } from "../../dev/project";
import { DevServer, type Options } from "../../dev/server";

export const DIST = fileURLToPath(new URL("../../dist/page", import.meta.url));

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export const SIZES = {
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  desktop: { viewport: { width: 1280, height: 800 } },
  enlarged: { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 },
  tiny: { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true },
} as const;
export type Size = keyof typeof SIZES;
export type Scheme = "light" | "dark";

export async function startChromium(): Promise<Browser> {
  const executablePath = process.env.STORKIT_CHROMIUM ?? PLACES.find((path) => existsSync(path));
  if (!executablePath) throw new Error("Install Chromium (apt-get install --no-install-recommends chromium) or set STORKIT_CHROMIUM.");
  return chromium.launch({ executablePath, args: FLAGS });
}

export type Opened = { page: Page; context: BrowserContext; server: DevServer; faults: string[]; close(): Promise<void> };

/** Opens a page that is signed in. `faults` collects errors of scripts and violations of the content security policy. */
export async function open(
  browser: Browser,
  project: Project,
  path = "/",
  { size = "phone", scheme = "light", role, isKnown = true, before, ...rest }: OpenOptions = {},
): Promise<Opened> {
  const server = new DevServer(project, { dist: DIST, ...(role ? { role } : {}) });
  await server.start();
  const context = await browser.newContext({ ...SIZES[size], colorScheme: scheme, bypassCSP: false, ...rest });
  if (isKnown) await context.addInitScript(() => localStorage.setItem("storkit.session", localStorage.getItem("storkit.session") ?? "known"));
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (line) => line.type() === "error" && !/ERR_CONNECTION|WebSocket connection|ERR_EMPTY|Failed to load resource/.test(line.text()) && faults.push(line.text()));
  await before?.(page);
  await page.goto(server.url + path);
  return {
    page,
    context,
    server,
    faults,
    async close() {
      await context.close();
      await server.stop();
    },
  };
}

export type OpenOptions = {
  size?: Size;
  scheme?: Scheme;
  role?: NonNullable<Options["role"]>;
  isKnown?: boolean;
  reducedMotion?: "reduce" | "no-preference";
  contrast?: "more" | "no-preference";
  bypassCSP?: boolean;
  javaScriptEnabled?: boolean;
  /** Before the page is loaded. */
  before?(page: Page): Promise<unknown>;
};

export async function live(page: Page): Promise<void> {
  await page.locator(".connection.live").first().waitFor();
}

/** Runs in a page before anything else. The greatest sum of a window of shifts, as the browser vendors define it, is at most this sum of all. */
export function watchShifts(): void {
  const sums = [0];
  Object.assign(window, { shifts: sums });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) sums[0] = (sums[0] ?? 0) + (entry as unknown as { value: number }).value;
  }).observe({ type: "layout-shift", buffered: true });
}

export function sumOfShifts(page: Page): Promise<number> {
  return page.evaluate(() => (window as unknown as { shifts: number[] }).shifts[0] ?? 0);
}
