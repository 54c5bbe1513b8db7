// What the page says when there is nothing, not yet, not any more, or too much. Cuts and their ends are in `connection.test.ts`.

import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { call, message, question } from "../../dev/make";
import type { Project } from "../../dev/project";
import { scene } from "../../dev/scenes";
import { live, open, startChromium, sumOfShifts, watchShifts, type Opened, type OpenOptions } from "./chromium";

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

async function show(project: Project, path = "/", options: OpenOptions = {}): Promise<Page> {
  opened = await open(browser, project, path, options);
  await live(opened.page);
  return opened.page;
}

/** One story in the backlog, and nothing else. */
function quiet(): Project {
  const project = scene("shop");
  for (const id of [...project.stories.keys()]) if (id !== 13) project.stories.delete(id);
  project.runs.clear();
  project.questions.clear();
  project.merges = [];
  return project;
}

describe("empty", () => {
  test("a project where nothing happens says so in each place", async () => {
    const page = await show(quiet());
    await page.getByText("Nothing is waiting for a person.").waitFor();
    await page.getByText("No agent is working.").waitFor();
    await page.goto(`${opened.server.url}/board`);
    await page.getByRole("button", { name: /^QA/ }).tap();
    await page.getByText("Nothing here.").waitFor();
  });

  test("a story that nobody has worked on says so on each tab", async () => {
    const page = await show(quiet(), "/story/13/runs");
    await page.getByText("No agent has worked on it yet.").waitFor();
    await page.getByRole("link", { name: "Merge", exact: true }).tap();
    await page.getByText("It has no branch yet.").waitFor();
    await page.getByRole("link", { name: "History", exact: true }).tap();
    await page.getByText("Ann added it to the backlog.").waitFor();
  });
});

describe("loading", () => {
  test("the page says so before any script has run", async () => {
    opened = await open(browser, scene("shop"), "/", { javaScriptEnabled: false });
    await opened.page.getByText("Connecting to storkit…").waitFor();
  });

  test("while the board is on its way there are words and grey shapes, and no old board", async () => {
    let answer = () => {};
    const asked = new Promise<void>((resolve) => (answer = resolve));
    opened = await open(browser, scene("shop"), "/board", {
      before: (page) => page.route("**/api/board", async (route) => (await asked, route.continue())),
    });
    const { page } = opened;
    await page.getByText("Connecting to storkit…").waitFor();
    await page.locator(".loading span:not(.hidden)").first().waitFor();
    expect(await page.locator(".story-card").count()).toBe(0);
    answer();
    await page.locator(".story-card").first().waitFor();
    expect(await page.locator(".loading").count()).toBe(0);
  });

  test("a page that connects is not offline, and no bar pushes the board down and goes again", async () => {
    let answer = () => {};
    const asked = new Promise<void>((resolve) => (answer = resolve));
    opened = await open(browser, scene("shop"), "/board", {
      before: (page) => page.routeWebSocket("**/live", async (socket) => (await asked, void socket.connectToServer())),
    });
    const { page } = opened;
    await page.locator(".story-card").first().waitFor();
    await page.locator(".connection.connecting").waitFor();
    expect(await page.locator(".bar.warn").count()).toBe(0);
    answer();
    await live(page);
  });

  test.each(["/", "/board", "/story/5", "/story/7/diff", "/run/5-coder-1-2", "/q/12", "/chat"])("nothing on %s moves when it is there", async (path) => {
    const page = await show(scene("shop"), path, { before: (page) => page.addInitScript(watchShifts) });
    await page.locator(".loading").first().waitFor({ state: "detached" });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
    expect(await sumOfShifts(page)).toBeLessThanOrEqual(0.03);
  });

  test("a view that cannot be read says why, and is read again when asked", async () => {
    opened = await open(browser, scene("shop"), "/cost", {
      before: (page) => page.route("**/api/cost", (route) => route.fulfill({ status: 500, body: "That did not work. storkit's log says why." }), { times: 1 }),
    });
    const { page } = opened;
    await live(page);
    await page.getByText("That did not work. storkit's log says why.").waitFor();
    await page.getByRole("button", { name: "Try again" }).tap();
    await page.getByRole("heading", { name: "By day" }).waitFor();
  });
});

test("a newer page is not loaded over what somebody writes", async () => {
  const project = scene("shop");
  project.questions.set(20, question(20, call("ls")));
  const page = await show(project, "/q/20");
  await page.getByRole("button", { name: "Deny with a reason…" }).tap();
  const field = page.getByRole("textbox");
  await field.fill("not this one");
  await opened.server.stop();
  opened.server.build = "2";
  await opened.server.start();
  await page.getByText("A new version of this page is available.").waitFor();
  expect(await page.getByRole("button", { name: "Reload" }).getAttribute("aria-disabled")).toBe("true");
});

describe("rights", () => {
  test("who is taken off the lists is shown out with the reason", async () => {
    const page = await show(scene("shop"));
    opened.server.end("You are on no list of people in bot.toml any more, so this page shows you nothing. Ask whoever runs this storkit.");
    await page.getByText("You are on no list of people").waitFor();
    expect(await page.getByText("Let people sign in with a passkey").count()).toBe(0);
  });

  test("who has a smaller role reads at each button why it does not work", async () => {
    const page = await show(scene("shop"), "/story/7/diff", { role: "user" });
    await page.getByRole("button", { name: "Accept", exact: true }).tap({ force: true });
    await page.getByText("Only approvers can do this. Your role is user.").waitFor();
    expect([...opened.server.browsers].flatMap((one) => one.heard.filter((frame) => frame.type === "say"))).toEqual([]);
  });
});

test("a pause, problems and a missing wall are said on every page", async () => {
  const project = scene("shop");
  project.state = { ...project.state, paused: "Today's budget is spent.", problems: ["`4_x.md` cannot be read.", "Two."], protection: "none: bubblewrap is missing" };
  const page = await show(project);
  for (const path of ["/", "/board", "/story/7", "/run/5-coder-1-2", "/chat", "/cost", "/me", "/archive", "/q/12", "/nowhere"]) {
    await page.goto(opened.server.url + path);
    await page.getByText("Today's budget is spent.").waitFor();
    await page.getByText("2 problems").waitFor();
    await page.getByText("Agents run without a wall: none: bubblewrap is missing.").waitFor();
  }
  project.setState({ paused: null, problems: [], protection: "bubblewrap" });
  await expect.poll(() => page.locator(".bars").innerText()).toBe("");
});

test("the day's budget stands in the header and on the page of costs, and without one only what was spent", async () => {
  const page = await show(scene("shop"), "/cost", { size: "desktop" });
  await page.locator(".top").getByText("$4.10 of $20 today").waitFor();
  await page.getByText("of $20.00").waitFor();
  expect(await page.getByRole("meter", { name: "Share of today's budget" }).getAttribute("value")).toBe("4.1");
  opened.server.project.setState({ spent_today: 20 });
  await page.getByText("The day's budget is spent").waitFor();
  opened.server.project.setState({ spent_today: 0.4, budget_today: null });
  await page.locator(".top").getByText("$0.40").waitFor();
  await expect.poll(() => page.getByRole("meter").count()).toBe(0);
});

describe("a story's history", () => {
  test("has who did what, why, and a way to each run's output, newest first", async () => {
    const page = await show(scene("shop"), "/story/7");
    await page.getByRole("link", { name: "History", exact: true }).tap();
    const entries = page.locator(".history-entry");
    await entries.first().waitFor();
    expect(await entries.first().innerText()).toContain("A gate failed on the merged result.");
    expect(await entries.last().innerText()).toContain("A room's agent, with the consent of Ann, added it to the backlog.");
    await page.getByText("sent back: src/auth.rs:12").waitFor();
    await page.getByRole("link", { name: "Output of run 7-coder-1-1" }).first().tap();
    await expect.poll(() => new URL(page.url()).pathname).toBe("/run/7-coder-1-1");
  });

  test("is read again when the story has changed, and says where its record begins", async () => {
    const project = scene("shop");
    const page = await show(project, "/story/8/history");
    await page.getByText("What happened before that is not recorded.").waitFor();
    const asked = () => opened.server.requests.filter((one) => one === "GET /api/story/8/history").length;
    expect(asked()).toBe(1);
    project.changeStory(8, { stage: "done" });
    await page.getByText("Merged as 3f2a9c11d0.").waitFor();
    expect(asked()).toBe(2);
  });
});

describe("movement", () => {
  const moving = (page: Page) => page.evaluate(() => document.getAnimations().filter((one) => one.playState === "running" && one.effect?.getComputedTiming().iterations === Infinity).length);

  for (const reducedMotion of ["no-preference", "reduce"] as const) {
    test(`a sign that something goes on moves, unless less motion is wanted (${reducedMotion})`, async () => {
      const project = scene("shop");
      project.messages.set("web:ann", [message("web:ann", null, "<p>I look</p>", { live: true })]);
      const page = await show(project, "/chat", { reducedMotion });
      await page.getByText("still changing").waitFor();
      await expect.poll(() => moving(page)).toBe(reducedMotion === "reduce" ? 0 : 1);
    });
  }
});

test("more contrast: soft text is as dark as any, and lines are strong", async () => {
  const colours = async (contrast: "more" | "no-preference") => {
    const page = await show(scene("shop"), "/", { contrast });
    const found = await page.evaluate(() => {
      const soft = document.querySelector(".soft");
      return soft ? getComputedStyle(soft).color === getComputedStyle(document.body).color : null;
    });
    if (contrast === "no-preference") await opened.close();
    return found;
  };
  expect([await colours("no-preference"), await colours("more")]).toEqual([false, true]);
});

test("by keyboard alone a story is opened, edited and saved", async () => {
  const page = await show(scene("shop"), "/board", { size: "desktop" });
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim() ?? "");
  const tabTo = async (name: string) => {
    for (let step = 0; step < 60 && (await focused()) !== name; step++) await page.keyboard.press("Tab");
    expect(await focused()).toBe(name);
  };
  await page.locator("#find").waitFor();
  // Keys work once their part of the page is there.
  await expect.poll(async () => (await page.keyboard.press("/"), page.evaluate(() => document.activeElement?.id))).toBe("find");
  // A second `/`, if it came to that, is text by then.
  await page.keyboard.press("Control+a");
  await page.keyboard.type("keys are");
  await expect.poll(() => page.locator(".story-card").count()).toBe(1);
  await tabTo("13 Keys are counted");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Keys are counted" }).waitFor();
  await tabTo("Edit");
  await page.keyboard.press("Enter");
  await page.getByLabel("Title").waitFor();
  await page.getByLabel("Title").focus();
  await page.keyboard.press("End");
  await page.keyboard.type(" twice");
  await tabTo("Save");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Keys are counted twice" }).waitFor();
});
