// Signing in by link and by code, and out.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";

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

test("a link asks first, leaves no token in the address, and leads to the page that it named", async () => {
  opened = await open(browser, scene("shop"), "/q/12#l=demo", { isKnown: false });
  const { page, server } = opened;
  await page.getByRole("heading", { name: "Sign in on this device?" }).waitFor();
  expect(page.url()).toBe(`${server.url}/q/12`);
  expect(server.requests.filter((one) => one.startsWith("POST"))).toEqual([]);
  await page.getByRole("button", { name: "Sign in" }).tap();
  await page.getByRole("heading", { name: "Question 12" }).waitFor();
  await live(page);
});

test("a link that was used says so, and a code still works", async () => {
  opened = await open(browser, scene("shop"), "/#l=used", { isKnown: false });
  const { page } = opened;
  await page.getByRole("button", { name: "Sign in" }).tap();
  await page.getByText("This link or code has been used or is too old.").waitFor();
  await page.getByRole("button", { name: "Use a code" }).tap();
  await page.getByLabel("Code").fill("abcd");
  await page.getByRole("button", { name: "Sign in" }).tap();
  await page.getByText("A code has 8 letters.").waitFor();
  await page.getByLabel("Code").fill("abcd-efgh");
  await page.getByRole("button", { name: "Sign in" }).tap();
  await live(page);
});

test("a code at /login leads to Now", async () => {
  opened = await open(browser, scene("shop"), "/login", { isKnown: false });
  const { page, server } = opened;
  await page.getByLabel("Code").fill("ABCDEFGH");
  await page.keyboard.press("Enter");
  await live(page);
  expect(page.url()).toBe(`${server.url}/`);
});

test("a link in a browser that is signed in changes nothing if it is declined", async () => {
  opened = await open(browser, scene("shop"), "/#l=demo");
  const { page, server } = opened;
  await page.getByRole("button", { name: "Stay as I am" }).tap();
  await live(page);
  expect(server.requests).not.toContain("POST /login");
});

test("signing out forgets everything of the person", async () => {
  opened = await open(browser, scene("shop"), "/me");
  const { page, server } = opened;
  await live(page);
  await page.getByRole("button", { name: "Sign out here" }).tap();
  await page.getByLabel("Code").waitFor();
  expect(await page.evaluate(() => localStorage.getItem("storkit.session"))).toBeNull();
  await expect.poll(() => server.sessions.size).toBe(0);
  await expect.poll(() => server.browsers.size).toBe(0);
});
