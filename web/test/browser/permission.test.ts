// A permission card: nothing is approved by accident, and nothing of what is approved is out of sight.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { settle } from "../../dev/commands";
import { call, question } from "../../dev/make";
import type { Project } from "../../dev/project";
import { scene } from "../../dev/scenes";
import type { QuestionForm } from "../../src/wire";
import { DEAD_TIME } from "../../src/parts/steady";
import { live, open, startChromium, type Opened, type OpenOptions } from "./chromium";

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

/** A project in which only these questions wait. */
function asking(...forms: QuestionForm[]): Project {
  const project = scene("shop");
  project.questions.clear();
  forms.forEach((form, at) => project.questions.set(20 + at, question(20 + at, form, { asked: Date.now() - 60_000 + at })));
  return project;
}

async function show(project: Project, options: OpenOptions = {}, path = "/"): Promise<Opened["page"]> {
  opened = await open(browser, project, path, options);
  await live(opened.page);
  return opened.page;
}

/** What the page sent as answers. */
function answers(): string[] {
  const frames = [...opened.server.browsers].flatMap((one) => one.heard);
  return frames.flatMap((frame) => (frame.type === "choose" ? [frame.key] : frame.type === "say" ? [frame.text] : []));
}

const card = (id: number) => opened.page.getByRole("article", { name: `Question ${id}` });
const button = (id: number, name: string) => card(id).getByRole("button", { name, exact: true });
/** The dead time is a rule about time, so there is no event to wait for after a move that was not sampled yet. */
async function isSteady(id: number): Promise<void> {
  await card(id).locator(".answer").waitFor();
  await opened.page.waitForTimeout(DEAD_TIME + 200);
  await card(id).locator(".answer:not(.settling)").waitFor();
}

test("Allow is never focused by itself, and no key presses it", async () => {
  const page = await show(asking(call("ls")), { size: "desktop" }, "/q/20");
  await isSteady(20);
  expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("BODY");
  for (const key of ["Enter", "y", "a", " ", "j", "Enter"]) await page.keyboard.press(key);
  expect(answers()).toEqual([]);
  // With Tab a person can reach it, and then it works.
  await button(20, "Allow").focus();
  await page.keyboard.press("Enter");
  await expect.poll(answers).toEqual(["q:20:yes"]);
  await card(20).getByText("Ann allowed it in the page.").waitFor();
});

describe("dead time", () => {
  test("a tap on a card that has just appeared does nothing, and a second one works", async () => {
    const project = asking();
    const page = await show(project);
    // Clicks in the moment in which the button appears.
    await page.evaluate(() =>
      new MutationObserver((_, observer) => {
        const allow = [...document.querySelectorAll("button")].find((one) => one.textContent === "Allow");
        if (!allow) return;
        observer.disconnect();
        allow.click();
      }).observe(document.body, { subtree: true, childList: true }),
    );
    project.setQuestion(question(30, call("rm -r build")));
    await card(30).getByText("It has just moved. Tap again.").waitFor();
    expect(answers()).toEqual([]);
    await isSteady(30);
    await button(30, "Allow").tap();
    await expect.poll(answers).toEqual(["q:30:yes"]);
  });

  test("a tap on a card that has just moved does nothing, whatever moved it", async () => {
    const project = asking(call("ls"), call("rm -r build"));
    const page = await show(project);
    await isSteady(21);
    await page.evaluate(() => {
      const allow = [...document.querySelectorAll("button")].filter((one) => one.textContent === "Allow")[1];
      const top = allow?.getBoundingClientRect().top;
      const look = () => {
        if (allow?.getBoundingClientRect().top === top) requestAnimationFrame(look);
        else allow?.click();
      };
      look();
    });
    // A bar appears above everything.
    project.setState({ paused: "The day's budget is spent." });
    await card(21).getByText("It has just moved. Tap again.").waitFor();
    expect(answers()).toEqual([]);
  });

  test("a finger that came down before the move does not count", async () => {
    const project = asking(call("ls"));
    const page = await show(project, { size: "desktop" });
    await isSteady(20);
    const box = await button(20, "Allow").boundingBox();
    if (!box) throw new Error("no button");
    await page.mouse.move(box.x + 20, box.y + 10);
    await page.mouse.down();
    project.setQuestion(question(19, call("rm -r build"), { asked: Date.now() - 900_000 }));
    await card(19).waitFor();
    await page.mouse.up();
    expect(answers()).toEqual([]);
  });
});

describe("a long input", () => {
  const long = Array.from({ length: 83 }, (_, at) => `echo step ${at + 1}`).join("\n");

  for (const size of ["phone", "desktop"] as const) {
    test(`is folded, and can be allowed only after its end was on screen (${size})`, async () => {
      const page = await show(asking(call(long)), { size });
      await isSteady(20);
      // Playwright takes `aria-disabled` for not clickable; a person can press it and reads why.
      await button(20, "Allow").click({ force: true });
      await card(20).getByText("Show all of it first and scroll to its end.").waitFor();
      expect(answers()).toEqual([]);
      await card(20).getByRole("button", { name: /Show all 8\d lines/ }).click();
      await isSteady(20);
      // Open is not read: its end is below the window.
      await page.evaluate(() => [...document.querySelectorAll("button")].find((one) => one.textContent === "Allow")?.click());
      expect(answers()).toEqual([]);
      await page.evaluate(() => document.querySelector(".fold-end")?.scrollIntoView({ block: "center" }));
      await card(20).locator("button.primary[aria-disabled=false]").waitFor();
      await isSteady(20);
      await button(20, "Allow").click();
      await expect.poll(answers).toEqual(["q:20:yes"]);
    });
  }

  test("can be denied at once", async () => {
    await show(asking(call(long)));
    await isSteady(20);
    await button(20, "Deny").tap();
    await expect.poll(answers).toEqual(["q:20:no"]);
  });

  test("of one endless line is as long as it is wrapped", async () => {
    await show(asking(call("x".repeat(4000))));
    await card(20).getByRole("button", { name: /Show all \d+ lines/ }).waitFor();
  });

  test("of 40 lines is whole, wrapped and not cut", async () => {
    const page = await show(asking(call(Array.from({ length: 40 }, (_, at) => `line ${at}`).join("\n"))));
    expect(await card(20).getByRole("button", { name: /Show all/ }).count()).toBe(0);
    const isCut = await page.evaluate(() => {
      const box = document.querySelector(".question .exact");
      return !box || box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight + 1;
    });
    expect(isCut).toBe(false);
  });
});

test("hidden characters are marks, and the order is that of the program", async () => {
  await show(asking(call("rm \u202efr- tmp\u200b/x")));
  const marks = await card(20).locator("mark").allTextContents();
  expect(marks).toEqual(["U+202E", "U+200B"]);
  expect(await card(20).locator("bdo[dir=ltr]").count()).toBeGreaterThan(0);
});

test("an edit is shown as a diff", async () => {
  const form = call("src/door.rs\n@@ -1,2 +1,2 @@\n fn a() {}\n-fn b() {}\n+fn c() {}", { tool: "Edit", language: "diff" });
  await show(asking(form));
  expect(await card(20).locator(".line.added").textContent()).toBe("+fn c() {}");
  expect(await card(20).locator(".line.removed").textContent()).toBe("-fn b() {}");
});

test("Always shows its rule and asks once more; Cancel has the focus", async () => {
  const page = await show(asking(call("git commit -m x", { always: "git commit *" })), { size: "desktop" });
  await isSteady(20);
  await card(20).getByRole("button", { name: /^Always: git commit \*/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("git commit *").waitFor();
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Cancel");
  await page.keyboard.press("Escape");
  expect(await page.getByRole("dialog").count()).toBe(0);
  expect(answers()).toEqual([]);
  await card(20).getByRole("button", { name: /^Always/ }).click();
  await dialog.getByRole("button", { name: "Always allow" }).click();
  await expect.poll(answers).toEqual(["q:20:always"]);
});

test("a denial can have a reason, which names the question", async () => {
  await show(asking(call("ls"), call("pwd")));
  await isSteady(21);
  await card(21).getByRole("button", { name: "Deny with a reason…" }).tap();
  await card(21).getByRole("textbox").fill("use the test database");
  await card(21).getByRole("button", { name: "Deny", exact: true }).last().tap();
  await expect.poll(answers).toEqual(["no 21 use the test database"]);
});

test("a plan is approved, or sent back with a wish", async () => {
  await show(asking({ form: "plan", html: "<h2>Plan</h2><ol><li>Oil</li><li>Test</li></ol>" }));
  await isSteady(20);
  await card(20).getByRole("button", { name: "Ask for a change…" }).tap();
  await card(20).getByRole("textbox").fill("test first");
  await card(20).getByRole("button", { name: "Send" }).tap();
  await expect.poll(answers).toEqual(["no 20 test first"]);
});

test("options: one by its button, several by their numbers, or words", async () => {
  const options = [
    { label: "Oil", about: "cheap" },
    { label: "New hinge", about: "lasts" },
    { label: "Leave it", about: "" },
  ];
  await show(asking({ form: "options", question: "What shall I do?", options, several: false }, { form: "options", question: "Which doors?", options, several: true }));
  await isSteady(21);
  await card(20).getByLabel("New hinge").check();
  await button(20, "Answer").tap();
  await expect.poll(answers).toEqual(["q:20:2"]);
  await card(20).getByText("Ann answered “New hinge” in the page.").waitFor();
  await isSteady(21);
  await card(21).getByLabel("Leave it").check();
  await card(21).getByLabel("Oil").check();
  await button(21, "Answer").tap();
  await expect.poll(answers).toEqual(["q:20:2", "#21 1, 3"]);
});

test("what a trial did is shown before it can be kept", async () => {
  const project = asking(call("npm test"));
  const asked = project.questions.get(20);
  if (asked) project.questions.set(20, { ...asked, choices: [...asked.choices, { key: "q:20:try", label: "Try" }] });
  await show(project);
  await isSteady(20);
  await button(20, "Try").tap();
  await card(20).getByText("What a trial did").waitFor();
  await isSteady(20);
  await button(20, "Keep").tap();
  await expect.poll(answers).toEqual(["q:20:try", "q:20:keep1"]);
});

test("one that is answered elsewhere changes and stays until it is dismissed", async () => {
  const project = asking(call("ls"));
  await show(project);
  const asked = project.questions.get(20);
  if (asked) settle(project, asked, "Bob", "denied it", "Slack");
  await card(20).getByText("Bob denied it in Slack.").waitFor();
  expect(await button(20, "Allow").count()).toBe(0);
  await card(20).getByRole("button", { name: "Dismiss question 20" }).tap();
  await card(20).waitFor({ state: "detached" });
});

test("one that was asked elsewhere has no buttons, and says where", async () => {
  const project = asking(call("ls"));
  const asked = project.questions.get(20);
  if (asked) project.questions.set(20, { ...asked, rooms: ["slack:C01", "matrix:!x:example.org"] });
  await show(project);
  await card(20).getByText("Asked in Slack and Matrix.").waitFor();
  expect(await card(20).getByRole("button").count()).toBe(0);
});

test("who may not answer reads why", async () => {
  await show(asking(call("ls")), { role: "user" });
  await isSteady(20);
  await button(20, "Allow").tap({ force: true });
  await card(20).getByText("Only approvers can do this. Your role is user.").waitFor();
  expect(answers()).toEqual([]);
});

test("a refusal is shown at the buttons, and the question stays open", async () => {
  const project = asking(call("ls"));
  await show(project);
  await isSteady(20);
  // Settled on the server while the page has not heard of it yet.
  project.questions.delete(20);
  await button(20, "Allow").tap();
  await card(20).getByText("Question 20 is not open.").waitFor();
});

test("the chat shows the same card with the same rules", async () => {
  await show(scene("shop"), {}, "/chat");
  await isSteady(12);
  await button(12, "Deny").tap();
  await expect.poll(answers).toEqual(["q:12:no"]);
});
