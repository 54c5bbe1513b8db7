// The figures of `script/bench web` that take a browser: a real storkit, the page that is built into it, and Chromium.

import type { Browser, BrowserContext, CDPSession, Page } from "playwright-core";

import { SIZES, live, startChromium, type Size } from "../test/browser/chromium";
import type { BoardView, FromServer, LogView } from "../src/wire";
import { cpu, resident } from "./machine";
import { busy, elements, firstPaint, layoutShift, longest, median, readable, searchToPaint, sizes, sleep, slowDown, slowNetwork, SLOWER } from "./measure";
import { LiveSocket, now, signIn, type Session } from "./socket";
import { startStaticPage } from "./static_page";

type Numbers = Record<string, number>;
type Opened = { page: Page; cdp: CDPSession; context: BrowserContext };
type Open = (path: string, how?: { size?: Size; slower?: number; isSlowNetwork?: boolean }) => Promise<Opened>;
type Scene = { session: Session; open: Open; pid: number; isQuick: boolean };

const BROWSERS = 100;

export async function measure(name: string, effort: string, origin: string, token: string, pid: number): Promise<Numbers> {
  if (name === "sizes") {
    const { first, later } = sizes();
    return { first: first / 1000, later: later / 1000 };
  }
  const measured = { board, crowd, run }[name];
  if (!measured) throw new Error(`there is no scene ${name}`);
  const session = await signIn(origin, token);
  const browser = await startChromium();
  const elsewhere = new Set<string>();
  const open: Open = async (path, how) => opened(browser, session, path, how ?? {}, elsewhere);
  const numbers = await measured({ session, open, pid, isQuick: effort === "quick" });
  await browser.close();
  if (elsewhere.size > 0) console.log(`elsewhere: ${[...elsewhere].join(" ")}`);
  return { ...numbers, elsewhere: elsewhere.size };
}

async function opened(
  browser: Browser,
  { origin, secret }: Session,
  path: string,
  { size = "phone", slower = SLOWER, isSlowNetwork = false }: NonNullable<Parameters<Open>[1]>,
  elsewhere: Set<string>,
): Promise<Opened> {
  const context = await browser.newContext({ ...SIZES[size], colorScheme: "light" });
  await context.addInitScript((held) => localStorage.setItem("storkit.session", held), secret);
  const page = await context.newPage();
  const url = new URL(path, origin);
  page.on("request", (request) => {
    const asked = new URL(request.url());
    if (asked.protocol !== "data:" && asked.host !== url.host) elsewhere.add(asked.host);
  });
  const cdp = await slowDown(context, page, slower);
  if (isSlowNetwork) await slowNetwork(cdp);
  await page.goto(url.href, { waitUntil: "commit" });
  return { page, cdp, context };
}

/** 1,000 open stories, nobody working. */
async function board(scene: Scene): Promise<Numbers> {
  let numbers: Numbers = {};
  // First what a storkit at rest takes: after moves it has things to commit.
  for (const part of [boardAnswer, manyBrowsers, boardStart, boardUse, eventToPixel, clickToAnswer, questionToPixel, moves]) {
    const measured = await part(scene);
    say(measured);
    numbers = { ...numbers, ...measured };
  }
  return numbers;
}

/** For people who wait: standard output is for the numbers at the end. */
function say(numbers: Numbers): void {
  console.error(Object.entries(numbers).map(([name, value]) => `${name} ${value.toPrecision(3)}`).join(", "));
}

async function boardAnswer({ session }: Scene): Promise<Numbers> {
  const headers = { Authorization: `Bearer ${session.secret}`, "Accept-Encoding": "gzip" };
  const answer = await fetch(`${session.origin}/api/board`, { headers });
  const { stories } = (await answer.json()) as BoardView;
  if (stories.length !== 1000) throw new Error(`${stories.length} stories are on the board`);
  return { board_gzip: Number(answer.headers.get("content-length")) / 1000 };
}

async function boardStart({ open, isQuick }: Scene): Promise<Numbers> {
  const page = await startStaticPage();
  const [still, paint, shown]: number[][] = [[], [], []];
  for (let round = 0; round <= (isQuick ? 2 : 5); round++) {
    const other = await open(`${page.url}/board`, { isSlowNetwork: true });
    const least = await firstPaint(other.page);
    await other.context.close();
    const ours = await open("/board", { isSlowNetwork: true });
    const [first, cards] = [await firstPaint(ours.page), await readable(ours.page)];
    await ours.context.close();
    if (round === 0) continue;
    still?.push(least);
    paint?.push(first);
    shown?.push(cards);
  }
  page.stop();
  return { static: median(still ?? []), paint: median(paint ?? []), readable: median(shown ?? []) };
}

async function boardUse({ open, isQuick }: Scene): Promise<Numbers> {
  const { page, context } = await open("/board");
  await readable(page);
  await live(page);
  await sleep(1000);
  const nodes_phone = await elements(page);
  const keys: number[] = [];
  for (const words of ["export", "expor", "dark mode", "", "Guests", "41", ""].slice(0, isQuick ? 3 : 7)) {
    keys.push(await searchToPaint(page, words));
    await sleep(300);
  }
  await context.close();
  const desktop = await open("/board", { size: "desktop", slower: 1 });
  await readable(desktop.page);
  const nodes_desktop = await elements(desktop.page);
  await desktop.context.close();
  return { nodes_phone, nodes_desktop, search: median(keys) };
}

async function eventToPixel({ session, open, isQuick }: Scene): Promise<Numbers> {
  const socket = await LiveSocket.open(session);
  const { page, context } = await open("/board", { size: "desktop", slower: 1 });
  await readable(page);
  await live(page);
  const [raw, pixel]: number[][] = [[], []];
  for (let id = 1; id <= (isQuick ? 3 : 9); id++) {
    // The board shows moves once a second.
    await sleep(1500);
    const seen = painted(page, `[aria-labelledby="stage-current"] [data-card="${id}"]`);
    await sleep(100);
    const { at } = socket.say(`move ${id} current`);
    const told = await socket.until((frame) => isMoved(frame, id));
    raw?.push(told.at - at);
    pixel?.push((await seen) - at);
  }
  socket.close();
  await context.close();
  return { event_raw: median(raw ?? []), event: median(pixel ?? []) };
}

function isMoved(frame: FromServer, id: number): boolean {
  return frame.type === "changed" && frame.stories.some((story) => story.id === id);
}

/** When something that this selector finds is on screen. */
function painted(page: Page, selector: string): Promise<number> {
  return page.evaluate(
    (wanted) =>
      new Promise<number>((done) => {
        const look = () => {
          if (!document.querySelector(wanted)) return;
          observer.disconnect();
          requestAnimationFrame(() => setTimeout(() => done(performance.timeOrigin + performance.now())));
        };
        const observer = new MutationObserver(look);
        observer.observe(document, { subtree: true, childList: true, attributes: true });
        look();
      }),
    selector,
  );
}

async function clickToAnswer({ session, open, isQuick }: Scene): Promise<Numbers> {
  const socket = await LiveSocket.open(session);
  socket.send({ type: "open", room: socket.room, before: null });
  await socket.until((frame) => frame.type === "opened");
  const { page, context } = await open("/board", { size: "desktop", slower: 1 });
  await readable(page);
  await live(page);
  const [raw, click]: number[][] = [[], []];
  for (let at = 0; at < (isQuick ? 2 : 6); at++) {
    const { at: sent, ticket } = socket.say(`start ${13 + at}`);
    raw?.push((await socket.answer(ticket)) - sent);
    await sleep(1500);
    const seen = painted(page, ".toast .note:not(.sending)");
    const clicked = await page.evaluate((label) => {
      const start = performance.timeOrigin + performance.now();
      document.querySelector<HTMLElement>(`[aria-label="${label}"]`)?.click();
      return start;
    }, `Start story ${21 + at}`);
    click?.push((await seen) - clicked);
    await page.locator(".toast button").first().click();
    await sleep(500);
  }
  socket.close();
  await context.close();
  return { click_raw: median(raw ?? []), click: median(click ?? []) };
}

async function questionToPixel({ session, open, isQuick }: Scene): Promise<Numbers> {
  const socket = await LiveSocket.open(session);
  const { page, context } = await open("/", { size: "desktop", slower: 1 });
  await live(page);
  const times: number[] = [];
  for (let round = 0; round <= (isQuick ? 2 : 5); round++) {
    const { at } = socket.say(`bash true ${round}`);
    const asked = await socket.until((frame) => frame.type === "changed" && frame.questions.some((one) => one.outcome === null));
    const question = asked.frame.type === "changed" ? asked.frame.questions.find((one) => one.outcome === null) : undefined;
    const shown = await painted(page, `[aria-label="Question ${question?.id}"]:not(.settled)`);
    // At first the agent has to start.
    if (round > 0) times.push(shown - at);
    const key = question?.choices[0]?.key ?? "";
    socket.send({ type: "choose", ticket: 1_000_000 + round, room: socket.room, message: null, key });
    await socket.until((frame) => frame.type === "changed" && frame.questions.some((one) => one.id === question?.id && one.outcome !== null));
    await sleep(500);
  }
  socket.close();
  await context.close();
  return { question: median(times) };
}

/** Layout shifts while five stories a second move between the columns on screen. */
async function moves({ session, open, isQuick }: Scene): Promise<Numbers> {
  const socket = await LiveSocket.open(session);
  const desktop = await open("/board", { size: "desktop", slower: 1 });
  const phone = await open("/board");
  for (const { page } of [desktop, phone]) {
    await readable(page);
    await live(page);
  }
  for (let at = 0; at < (isQuick ? 15 : 60); at++) {
    const id = 1 + (at % 30);
    socket.say(`move ${id} ${(id > 18) === at < 30 ? "current" : "backlog"}`);
    await sleep(200);
  }
  await sleep(2000);
  const [cls, cls_phone] = [await layoutShift(desktop.page), await layoutShift(phone.page)];
  await desktop.context.close();
  await phone.context.close();
  socket.close();
  return { cls, cls_phone };
}

/** A hundred sockets: what each takes in storkit, and what it takes to tell them a change. */
async function manyBrowsers({ session, pid, isQuick }: Scene): Promise<Numbers> {
  // storkit looks at all files every 30 s: each watch has one such look.
  const watch = isQuick ? 5 : 30;
  const idle = async () => {
    await rests(pid);
    const before = cpu(pid);
    await sleep(watch * 1000);
    return (cpu(pid) - before) / watch;
  };
  const alone = await idle();
  const before = resident(pid);
  const sockets: LiveSocket[] = [];
  for (let at = 0; at < BROWSERS; at++) sockets.push(await LiveSocket.open(session));
  const together = await idle();
  const browser_memory = (resident(pid) - before) / BROWSERS;
  const [first] = sockets;
  if (!first) throw new Error("no socket");
  const change_100 = await perMove(first, pid);
  for (const socket of sockets) socket.close();
  const one = await LiveSocket.open(session);
  const change_1 = await perMove(one, pid);
  one.close();
  return { browser_memory, browsers_idle: Math.max(0, together - alone), change_1, change_100 };
}

/** Waits until storkit has nothing of its own to do, or for a minute. */
async function rests(pid: number): Promise<void> {
  for (let at = 0; at < 30; at++) {
    const before = cpu(pid);
    await sleep(2000);
    if (cpu(pid) - before < 10) return;
  }
}

/** CPU of storkit for one story's move, in ms. */
async function perMove(socket: LiveSocket, pid: number): Promise<number> {
  const times: number[] = [];
  for (let at = 0; at < 10; at++) {
    await sleep(500);
    const before = cpu(pid);
    socket.say(`move 30 ${at % 2 === 0 ? "current" : "backlog"}`);
    await socket.until((frame) => isMoved(frame, 30));
    await sleep(300);
    times.push(cpu(pid) - before);
  }
  return median(times);
}

/** A hundred agents that print ten lines a second. */
async function crowd({ session, open, pid, isQuick }: Scene): Promise<Numbers> {
  await until("100 runs", async () => (await read<BoardView>(session, "/api/board")).runs.length === BROWSERS);
  const seconds = isQuick ? 5 : 10;
  const socket = await LiveSocket.open(session);
  socket.send({ type: "tails", on: true });
  await sleep(3000);
  const [bytes, before, start] = [socket.bytes, cpu(pid), now()];
  await sleep(seconds * 1000);
  const elapsed = (now() - start) / 1000;
  const [told, server] = [(socket.bytes - bytes) / elapsed / 1000, (cpu(pid) - before) / elapsed / 1000];
  socket.close();
  const { page, cdp, context } = await open("/");
  await page.locator(".run-row").nth(BROWSERS - 1).waitFor();
  await live(page);
  const { main, heap, longest: task } = await busy(page, cdp, isQuick ? 10 : 40);
  await context.close();
  const numbers = { bytes: told, server, main, heap, longest: task };
  say(numbers);
  return numbers;
}

/** One agent that has printed 4 MB, and prints ten lines a second, on a board of 100 stories. */
async function run({ session, open, isQuick }: Scene): Promise<Numbers> {
  let id = "";
  await until("4 MB of log", async () => {
    id = (await read<BoardView>(session, "/api/board")).runs[0]?.id ?? "";
    return id !== "" && (await read<LogView>(session, `/api/run/${id}/log`)).next > 10_000;
  });
  const { page, cdp, context } = await open(`/run/${id}`);
  await page.locator(".log-line").first().waitFor();
  await live(page);
  await sleep(4000);
  const log_longest = await longest(page);
  const { main } = await busy(page, cdp, isQuick ? 10 : 30);
  const lines = await page.evaluate(() => document.querySelectorAll(".log-line, .log-remark").length);
  await context.close();
  const board = await open("/board");
  await readable(board.page);
  await live(board.page);
  await sleep(3000);
  const board_longest = await longest(board.page);
  await board.context.close();
  const numbers = { main, lines, log_longest, board_longest };
  say(numbers);
  return numbers;
}

async function read<View>({ origin, secret }: Session, path: string): Promise<View> {
  const answer = await fetch(origin + path, { headers: { Authorization: `Bearer ${secret}` } });
  if (!answer.ok) return { runs: [], next: 0 } as View;
  return (await answer.json()) as View;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = now() + 300_000;
  while (!(await holds())) {
    if (now() > end) throw new Error(`${what}: not within five minutes`);
    await sleep(1000);
  }
}
