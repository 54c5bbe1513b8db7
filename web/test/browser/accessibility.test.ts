// Every page and state in the sizes and colours that `quick.test.ts` leaves out; narrow, enlarged, with more contrast, by keyboard.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { call, question } from "../../dev/make";
import { startChromium } from "./chromium";
import { show, STATES, testEachState, tooWide } from "./pages";

let browser: Browser;
beforeAll(async () => {
  browser = await startChromium();
});
afterAll(() => browser.close());

describe("phone, dark", () => testEachState(() => browser, { size: "phone", scheme: "dark" }));
describe("desktop, light", () => testEachState(() => browser, { size: "desktop", scheme: "light" }));
describe("desktop, dark", () => testEachState(() => browser, { size: "desktop", scheme: "dark" }));
describe("more contrast", () => testEachState(() => browser, { size: "phone", contrast: "more" }));

describe("320 px wide", () => {
  test.each(STATES)("$name fits without scrolling sideways", async (state) => {
    const opened = await show(browser, state, { size: "tiny" });
    expect(await tooWide(opened.page)).toEqual([]);
    await opened.close();
  });
});

// A browser that enlarges has half the pixels in each direction, twice as large ones.
describe("200 % of a desktop", () => {
  test.each(STATES)("$name fits without scrolling sideways", async (state) => {
    const opened = await show(browser, state, { size: "enlarged" });
    expect(await tooWide(opened.page)).toEqual([]);
    await opened.close();
  });
});

describe("keyboard", () => {
  test("keys lead to pages and cards, and none while somebody writes", async () => {
    const opened = await show(browser, { name: "now", path: "/" }, { size: "desktop" });
    const { page } = opened;
    await page.keyboard.press("g");
    await page.keyboard.press("b");
    await expect.poll(() => new URL(page.url()).pathname).toBe("/board");
    await page.locator(".story-card").first().waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    expect(await page.evaluate(() => document.activeElement?.matches("[data-stop]"))).toBe(true);
    await page.keyboard.press("Enter");
    await expect.poll(() => new URL(page.url()).pathname).toMatch(/^\/story\/\d+$/);
    await page.keyboard.press("g");
    await page.keyboard.press("c");
    await page.getByRole("textbox").fill("");
    await page.keyboard.type("g b");
    expect(new URL(page.url()).pathname).toBe("/chat");
    expect(await page.getByRole("textbox").inputValue()).toBe("g b");
    await page.goBack();
    await expect.poll(() => new URL(page.url()).pathname).toMatch(/^\/story/);
    await opened.close();
  });

  test("the first stop leads past the navigation, and the focus can be seen", async () => {
    const opened = await show(browser, { name: "now", path: "/" }, { size: "desktop" });
    const { page } = opened;
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement?.textContent?.trim())).toBe("Skip to the page");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    const place = await page.evaluate(() => {
      const focused = document.activeElement;
      return { isInMain: focused?.closest("main") !== null, outline: focused ? getComputedStyle(focused).outlineStyle : "" };
    });
    expect(place).toEqual({ isInMain: true, outline: "solid" });
    await opened.close();
  });

  test("new questions are announced, and lines are not", async () => {
    const opened = await show(browser, { name: "now", path: "/" }, { size: "desktop" });
    const { page, server } = opened;
    server.project.setQuestion(question(50, call("ls")));
    await page.locator("[aria-live=polite]", { hasText: "New question 50 for story 3 (coder-2)." }).waitFor({ state: "attached" });
    server.project.print("5-coder-1-2", "something new");
    await page.getByText("something new").waitFor();
    expect(await page.locator("[aria-live=polite]").allTextContents()).toEqual(["New question 50 for story 3 (coder-2)."]);
    await opened.close();
  });
});
