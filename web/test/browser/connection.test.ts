// Cuts, sleep, restarts and the end of a session: nothing is missed, nothing is doubled, nothing is sent late.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

import { movesFrom } from "../../dev/make";
import { scene } from "../../dev/scenes";
import { live, open, startChromium, type Opened } from "./chromium";

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

const offline = () => opened.page.locator(".top .connection.offline").waitFor();
const boards = () => opened.server.requests.filter((one) => one === "GET /api/board").length;

test("offline: what is known stays, buttons say why, drafts stay, nothing is sent later; then it is live again", async () => {
  opened = await open(browser, scene("shop"), "/chat");
  const { page, server } = opened;
  await live(page);
  await page.getByRole("textbox").fill("deploy the shop");
  await server.stop();
  await offline();
  await page.getByText("Offline. This is the last known state.").waitFor();
  await page.getByRole("button", { name: "Send" }).tap({ force: true });
  await page.getByRole("link", { name: /^Now/ }).tap();
  await page.getByText("Let people sign in with a passkey").waitFor();
  const card = page.getByRole("article", { name: "Question 12" });
  await card.locator(".answer:not(.settling)").waitFor();
  await card.getByRole("button", { name: "Allow", exact: true }).tap({ force: true });
  await card.getByText("Offline. Nothing is sent until storkit can be reached again.").waitFor();
  await server.start();
  await live(page);
  await page.getByRole("link", { name: "Chat" }).tap();
  expect(await page.getByRole("textbox").inputValue()).toBe("deploy the shop");
  const frames = [...server.browsers].flatMap((one) => one.heard.map((frame) => frame.type));
  expect(frames).not.toContain("say");
  expect(frames).not.toContain("choose");
});

test("a cut is resumed from where it was: nothing is missed or doubled, and the board is not fetched again", async () => {
  const project = scene("shop");
  opened = await open(browser, project, "/board", { size: "desktop" });
  const { page, server } = opened;
  await live(page);
  await page.getByText("Keys are counted").waitFor();
  server.cut();
  project.changeStory(13, { stage: "current", title: "Keys are counted twice", moves: movesFrom("current") });
  project.changeStory(10, { stage: "current", moves: movesFrom("current") });
  await page.getByRole("region", { name: /^Current/ }).getByText("Keys are counted twice").waitFor();
  await live(page);
  expect(await page.locator("[data-card='13']").count()).toBe(1);
  expect(await page.locator("[data-card='10']").count()).toBe(1);
  expect(boards()).toBe(1);
});

test("a phone that slept connects again at once when it wakes", async () => {
  const project = scene("shop");
  opened = await open(browser, project, "/");
  const { page, server } = opened;
  await live(page);
  const before = server.browsers.size;
  // The system says so only by the page's visibility: the socket still looks open.
  await page.evaluate(() => {
    const hide = (isHidden: boolean) => {
      Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    };
    const now = Date.now;
    hide(true);
    Date.now = () => now() + 60_000;
    hide(false);
    Date.now = now;
  });
  await expect.poll(() => [...server.browsers].some((one) => one.heard.some((frame) => frame.type === "hello" && frame.after !== null))).toBe(true);
  await live(page);
  await expect.poll(() => server.browsers.size).toBe(before);
  expect(boards()).toBe(1);
});

test("a connection that is silent for 45 s is dead, and is opened again", async () => {
  opened = await open(browser, scene("shop"), "/");
  const { page, server } = opened;
  await live(page);
  const [first] = server.browsers;
  await page.clock.install();
  first?.send({ type: "beat", at: Date.now() });
  // The beat has come once a later frame has.
  server.project.changeStory(7, { title: "After the beat" });
  await page.getByText("After the beat").waitFor();
  await page.clock.runFor(60_000);
  await expect.poll(() => server.browsers.has(first as never)).toBe(false);
  await live(page);
  expect(boards()).toBe(1);
});

test("a hidden page gets no output and no last lines, and goes on where it was", async () => {
  const project = scene("shop");
  opened = await open(browser, project, "/run/5-coder-1-2");
  const { page, server } = opened;
  await live(page);
  await page.getByText("I look at the hinge first").waitFor();
  const hide = (isHidden: boolean) =>
    page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  const heard = () => [...server.browsers].flatMap((one) => one.heard.map((frame) => frame.type));
  await hide(true);
  await expect.poll(() => heard().filter((type) => type === "visible").length).toBe(2);
  project.print("5-coder-1-2", "printed while nobody looked");
  await hide(false);
  await page.getByText("printed while nobody looked").waitFor();
  expect(await page.locator(".log-line").count()).toBe(7);
});

test("messages of a cut room come once", async () => {
  const project = scene("shop");
  opened = await open(browser, project, "/chat");
  const { page, server } = opened;
  await live(page);
  await page.getByText("3 runs").waitFor();
  server.cut();
  await live(page);
  await expect.poll(() => [...server.browsers].flatMap((one) => one.heard).some((frame) => frame.type === "open")).toBe(true);
  await page.getByRole("textbox").fill("status");
  await page.getByRole("button", { name: "Send" }).tap();
  await page.getByText("3 runs, 3 merges.").waitFor();
  expect(await page.locator(".message").count()).toBe(6);
  expect(await page.getByRole("textbox").inputValue()).toBe("");
});

test("what is too old to be resumed is fetched again", async () => {
  const project = scene("shop");
  opened = await open(browser, project, "/board", { size: "desktop" });
  const { page, server } = opened;
  await live(page);
  server.cut();
  project.changeStory(13, { title: "Keys are counted twice" });
  project.forget();
  await page.getByText("Keys are counted twice").waitFor();
  expect(boards()).toBe(2);
});

test("a restart is told, closes questions with the reason, and the page goes on", async () => {
  const project = scene("shop");
  opened = await open(browser, project, "/");
  const { page, server } = opened;
  await live(page);
  await server.stop();
  await offline();
  project.restart();
  await server.start();
  await page.getByText(/^storkit was restarted at \d\d:\d\d:\d\d/).waitFor();
  await page.getByText("storkit was restarted, so this question is closed.").waitFor();
  project.changeStory(7, { title: "After the restart" });
  await page.getByText("After the restart").waitFor();
});

test("another build asks for a reload, and never by itself", async () => {
  opened = await open(browser, scene("shop"), "/");
  const { page, server } = opened;
  await live(page);
  await server.stop();
  server.build = "2";
  await server.start();
  await page.getByText("A new version of this page is available.").waitFor();
});

test("a session that ends says why, and how to get in again", async () => {
  opened = await open(browser, scene("shop"), "/");
  const { page, server } = opened;
  await live(page);
  server.end("Your session has ended (revoked by Bob).");
  await page.getByText("Your session has ended (revoked by Bob).").waitFor();
  await page.getByText("to storkit in a direct message").waitFor();
  expect(await page.evaluate(() => localStorage.getItem("storkit.session"))).toBeNull();
});

test("a session that ended while the page was closed says so", async () => {
  opened = await open(browser, scene("shop"), "/nowhere");
  await live(opened.page);
  opened.server.sessions.clear();
  await opened.page.goto(`${opened.server.url}/board`);
  await opened.page.getByText("Your session has ended.").waitFor();
});
