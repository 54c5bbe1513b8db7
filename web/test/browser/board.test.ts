// The board: it stays still under a hand, it is small in the document however many stories there are, and its buttons are commands.

import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { movesFrom, story } from "../../dev/make";
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

async function show(project: Project, path = "/board", options: OpenOptions = { size: "desktop" }): Promise<Page> {
  opened = await open(browser, project, path, options);
  await live(opened.page);
  return opened.page;
}

const column = (name: string) => opened.page.getByRole("region", { name: new RegExp(`^${name}`) });
const said = () => [...opened.server.browsers].flatMap((one) => one.heard.flatMap((frame) => (frame.type === "say" ? [frame.text] : [])));

describe("a thousand stories", () => {
  test("are at most 1,500 elements, and more cards come when asked for", async () => {
    const page = await show(scene("thousand"));
    await column("Backlog").waitFor();
    const elements = () => page.evaluate(() => document.querySelectorAll("*").length);
    expect(await elements()).toBeLessThanOrEqual(1500);
    expect(await column("Backlog").getByRole("listitem").count()).toBe(40);
    await column("Backlog").getByRole("button", { name: "Show 40 more of 200" }).click();
    expect(await column("Backlog").getByRole("listitem").count()).toBe(80);
  });

  test("are searched by words and numbers", async () => {
    const page = await show(scene("thousand"));
    await page.locator("#find").waitFor();
    // Keys work once their part of the page is there.
    await expect.poll(async () => (await page.keyboard.press("/"), page.evaluate(() => document.activeElement?.id))).toBe("find");
    // A second `/`, if it came to that, is text by then.
    await page.keyboard.press("Control+a");
    await page.keyboard.type("#321");
    await expect.poll(() => page.locator(".story-card").count()).toBe(1);
    await page.getByText("Shelf 321 is labelled").waitFor();
    await page.getByRole("searchbox").fill("no such thing");
    await expect.poll(() => page.getByText("Nothing here.").count()).toBe(5);
  });
});

describe("moves", () => {
  const start = (project: Project, id: number) => project.changeStory(id, { stage: "current", moves: movesFrom("current") });

  test("wait behind a bar while a pointer is on the board, and come when it asks or leaves", async () => {
    const project = scene("shop");
    const page = await show(project);
    await column("Backlog").getByText("Keys are counted").hover();
    start(project, 13);
    start(project, 10);
    project.addStory(story(40, "A new one", "backlog"));
    await page.getByRole("button", { name: /3 changes while you read/ }).waitFor();
    await column("Backlog").getByText("Keys are counted").waitFor();
    await page.getByRole("button", { name: /3 changes/ }).click();
    await column("Current").getByText("Keys are counted").waitFor();
    await column("Backlog").getByText("A new one").waitFor();
    await column("Current").getByText("Keys are counted").hover();
    start(project, 11);
    await page.getByRole("button", { name: /1 change while/ }).waitFor();
    await page.mouse.move(700, 5);
    await column("Current").getByText("Doors report their state").waitFor();
  });

  test("wait for a finger, too", async () => {
    const project = scene("shop");
    const page = await show(project, "/board", { size: "phone" });
    await page.getByRole("button", { name: /^Backlog/ }).tap();
    const touch = (type: string) => page.locator(".columns").evaluate((board, name) => board.dispatchEvent(new Event(name)), type);
    await touch("touchstart");
    start(project, 13);
    await page.getByRole("button", { name: /1 change while/ }).waitFor();
    await touch("touchend");
    await page.getByText("Keys are counted").waitFor({ state: "detached" });
  });

  for (const size of ["phone", "desktop"] as const) {
    test(`five a second shift the layout by at most 0.1 (${size})`, async () => {
      const project = scene("thousand");
      const page = await show(project, "/board", { size, before: (page) => page.addInitScript(watchShifts) });
      await page.locator(".story-card").first().waitFor();
      const ids = [...project.stories.values()].filter((one) => one.stage === "backlog").map((one) => one.id);
      for (let at = 0; at < 40; at++) {
        const id = ids[at] ?? 0;
        if (at % 2 === 0) project.changeStory(id, { stage: "current", moves: movesFrom("current") });
        else project.changeStory(id, { title: `Shelf ${id} has a new title`, cost_usd: at });
        await page.waitForTimeout(200);
      }
      const sum = await sumOfShifts(page);
      console.log(`CLS ${size}: ${sum.toFixed(4)}`);
      expect(sum).toBeLessThanOrEqual(0.1);
    });
  }
});

describe("buttons", () => {
  test("are commands in the person's own room, and the answer shows where it was asked", async () => {
    const page = await show(scene("shop"));
    await page.getByRole("button", { name: "Start story 13" }).click();
    await page.getByText("Story 13 is in current.").waitFor();
    expect(said()).toEqual(["start 13"]);
    await page.getByRole("button", { name: "Dismiss" }).click();
  });

  test("a new story has kind, title and criteria", async () => {
    const page = await show(scene("shop"));
    await page.getByRole("button", { name: "New story" }).click();
    await page.getByLabel("Kind").selectOption("bug");
    await page.getByLabel("Title").fill("The lock\nsticks");
    await page.getByLabel("Acceptance criteria, one a line").fill("It turns\nIt turns when cold");
    await page.getByRole("button", { name: "Add to the backlog" }).click();
    await page.getByText(/Story \d+ is in the backlog/).waitFor();
    expect(said()).toEqual(["new bug The lock sticks\n\n- [ ] It turns\n- [ ] It turns when cold"]);
    expect(await page.getByLabel("Title").inputValue()).toBe("");
  });

  test("a refused command shows the bot's own sentence", async () => {
    const project = scene("shop");
    const page = await show(project, "/story/13");
    project.stories.delete(13);
    await page.getByRole("article").getByRole("button", { name: "Start" }).click();
    await page.getByText("There is no story 13.").waitFor();
  });

  test("moves are those that the server allows; a worker is stopped only after asking", async () => {
    const page = await show(scene("shop"), "/story/5");
    await page.getByText("Move, assign, delete").click();
    const options = await page.getByLabel("Move to").locator("option").allTextContents();
    expect(options).toEqual(["choose…", "Backlog", "QA"]);
    await page.getByLabel("Move to").selectOption("backlog");
    await page.getByRole("button", { name: "Move to Backlog" }).click();
    await page.getByRole("dialog").getByText("coder-1 works on it, and is stopped first.").waitFor();
    await page.getByRole("button", { name: "Stop and move" }).click();
    await expect.poll(said).toEqual(["move 5 backlog"]);
  });

  test("delete asks again, and Cancel deletes nothing", async () => {
    const page = await show(scene("shop"), "/story/13");
    await page.getByText("Move, assign, delete").click();
    await page.getByRole("button", { name: "Delete…" }).click();
    await page.keyboard.press("Enter");
    expect(said()).toEqual([]);
    await page.getByRole("button", { name: "Delete…" }).click();
    await page.getByRole("button", { name: "Delete it" }).click();
    await expect.poll(said).toEqual(["delete 13 yes"]);
  });

  test("criteria are ticked by the command, and the box follows the file", async () => {
    const page = await show(scene("shop"), "/story/5");
    const box = page.getByRole("checkbox").nth(2);
    expect(await box.isChecked()).toBe(false);
    await box.click();
    await expect.poll(() => box.isChecked()).toBe(true);
    expect(said()).toEqual(["tick 5 3"]);
  });

  test("an edit sends what has changed, and a draft survives a reload", async () => {
    const page = await show(scene("shop"), "/story/13");
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("Title").fill("Keys are counted twice");
    await page.getByLabel("A person reviews it").check();
    await page.reload();
    await page.getByRole("button", { name: "Edit" }).click();
    expect(await page.getByLabel("Title").inputValue()).toBe("Keys are counted twice");
    await page.getByRole("button", { name: "Save" }).click();
    await expect.poll(said).toEqual(["edit 13 title Keys are counted twice", "edit 13 qa on"]);
    await page.getByRole("heading", { name: "Keys are counted twice" }).waitFor();
  });
});

describe("a review", () => {
  test("comments on lines become the reason, with place and code, and are drafts until then", async () => {
    const page = await show(scene("shop"), "/story/7/diff", { size: "phone" });
    await page.getByRole("button", { name: "Comment on line 12 of src/auth.rs", exact: true }).tap();
    await page.getByLabel("Comment on line 12 of src/auth.rs", { exact: true }).last().fill("no unwrap here");
    await page.reload();
    await page.getByText("no unwrap here").waitFor();
    await page.getByRole("button", { name: "Reject with 1 comment…" }).tap();
    await page.getByLabel("What should change, beside your comments").fill("Nearly there.");
    await page.getByRole("button", { name: "Send it back" }).tap();
    await page.getByText("Sent back:").waitFor();
    expect(said()).toEqual(["reject 7 Nearly there.\n\nsrc/auth.rs:12\n> let store = Store::open().unwrap();\nno unwrap here"]);
    await page.getByText("no unwrap here", { exact: true }).waitFor({ state: "detached" });
  });

  test("the comments are gone once they were sent, also when another page is shown before the answer", async () => {
    const page = await show(scene("shop"), "/story/7/diff", { size: "phone" });
    await page.getByRole("button", { name: "Comment on line 12 of src/auth.rs", exact: true }).tap();
    await page.getByLabel("Comment on line 12 of src/auth.rs", { exact: true }).last().fill("no unwrap here");
    await page.getByRole("button", { name: "Reject with 1 comment…" }).tap();
    // In one task, so that the answer cannot come between.
    await page.evaluate(() => {
      [...document.querySelectorAll("button")].find((one) => one.textContent === "Send it back")?.click();
      document.querySelector<HTMLElement>("nav.places a")?.click();
    });
    await page.getByText("Needs you").waitFor();
    await expect.poll(() => page.evaluate(() => localStorage.getItem("storkit.draft.review.7"))).toBeNull();
  });

  test("accepting with comments asks first; a story that is not in QA says why it cannot be accepted", async () => {
    const project = scene("shop");
    const page = await show(project, "/story/7/diff");
    await page.getByRole("button", { name: "Comment on line 13 of src/auth.rs" }).click();
    await page.getByLabel("Comment on line 13 of src/auth.rs").last().fill("nice");
    await page.getByRole("button", { name: "Accept", exact: true }).click();
    await page.getByRole("dialog").getByText("The coder will not see what you wrote.").waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    project.changeStory(7, { stage: "merge", wanted: null });
    await page.locator("button[aria-disabled=true]", { hasText: "Accept" }).waitFor();
    await page.getByRole("button", { name: "Accept", exact: true }).click({ force: true });
    await page.getByText("A story is accepted in QA. This one is in merge.").waitFor();
    expect(said()).toEqual([]);
  });
});

test("first use: says what to do", async () => {
  const page = await show(scene("empty"), "/", { size: "phone" });
  await page.getByRole("heading", { name: "No stories yet. Say what to build." }).waitFor();
  await page.getByText("Agents have no key").waitFor();
  await page.getByLabel("Title").fill("A door");
  await page.getByRole("button", { name: "Add to the backlog" }).tap();
  await page.getByText("is in the backlog").waitFor();
  await page.getByRole("link", { name: "Board" }).tap();
  await page.getByRole("link", { name: /^Now/ }).tap();
  await page.getByText("1 story waits in the backlog.").waitFor();
});

test("the archive is paged and searched", async () => {
  const page = await show(scene("shop"), "/archive", { size: "phone" });
  await page.getByText("Archived door 214").waitFor();
  await page.getByRole("button", { name: "More" }).tap();
  await page.getByText("Archived door 150", { exact: false }).first().waitFor();
  await page.getByRole("searchbox").fill("door 77");
  await expect.poll(() => page.locator(".cost-stories li").count()).toBe(1);
});
