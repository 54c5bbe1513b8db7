// Files with a new story and with a message: nothing of what a person wrote or chose is lost when one cannot be sent.

import type { Browser, Page } from "playwright-core";
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

const picture = (name: string) => ({ name, mimeType: "image/png", buffer: Buffer.from("picture") });
const chosen = () => opened.page.locator(".file-name").allTextContents();
const uploads = () => opened.server.requests.filter((one) => one === "POST /api/upload").length;
const said = () => [...opened.server.browsers].flatMap((one) => one.heard.filter((frame) => frame.type === "say"));

async function newStory(): Promise<Page> {
  opened = await open(browser, scene("shop"), "/board", { size: "desktop" });
  const { page } = opened;
  await live(page);
  await page.getByRole("button", { name: "New story" }).click();
  await page.getByLabel("Title").fill("The lock sticks");
  return page;
}

test("a new story brings the files that were chosen, and then none is left", async () => {
  const page = await newStory();
  await page.getByLabel("Add pictures or files").setInputFiles([picture("lock.png"), picture("wrong.png"), picture("key.png")]);
  await page.getByRole("button", { name: "Remove wrong.png" }).click();
  await page.getByRole("button", { name: "Add to the backlog" }).click();
  await page.getByText("It has lock.png, key.png beside it now.").waitFor();
  expect(said()).toEqual([expect.objectContaining({ text: "new story The lock sticks", files: ["upload-1", "upload-2"] })]);
  expect([...opened.server.uploads.values()]).toEqual(["lock.png", "key.png"]);
  expect(await chosen()).toEqual([]);
  expect(await page.getByLabel("Title").inputValue()).toBe("");
});

test("an upload that fails says why, sends nothing, and keeps words and files for the next try", async () => {
  const page = await newStory();
  await page.getByLabel("Add pictures or files").setInputFiles([picture("lock.png"), picture("key.png")]);
  opened.server.refusesUploads = "“lock.png” was not uploaded: 20 of your files wait here already, which is the limit.";
  await page.getByRole("button", { name: "Add to the backlog" }).click();
  await page.getByText("20 of your files wait here already").waitFor();
  expect(said()).toEqual([]);
  expect(await page.getByLabel("Title").inputValue()).toBe("The lock sticks");
  expect(await chosen()).toEqual(["lock.png", "key.png"]);
  opened.server.refusesUploads = null;
  await page.getByRole("button", { name: "Add to the backlog" }).click();
  await page.getByText("It has lock.png, key.png beside it now.").waitFor();
});

test("without storkit nothing is sent, words and files stay, also on another page", async () => {
  const page = await newStory();
  await page.getByLabel("Add pictures or files").setInputFiles([picture("lock.png")]);
  await page.route("**/api/upload*", (route) => route.abort());
  await page.getByRole("button", { name: "Add to the backlog" }).click();
  await page.getByText("storkit cannot be reached.").waitFor();
  expect(said()).toEqual([]);
  await page.getByRole("link", { name: "Cost" }).click();
  await page.getByRole("heading", { name: "By day" }).waitFor();
  await page.goBack();
  await page.getByRole("button", { name: "New story" }).click();
  expect(await chosen()).toEqual(["lock.png"]);
  expect(await page.getByLabel("Title").inputValue()).toBe("The lock sticks");
});

test("a file that the server has lost is sent to it again, and one that it has is not", async () => {
  const page = await newStory();
  await page.getByLabel("Add pictures or files").setInputFiles([picture("lock.png"), picture("key.png")]);
  await page.route("**/api/upload?name=key.png", (route) => route.abort(), { times: 1 });
  const add = page.getByRole("button", { name: "Add to the backlog" });
  await add.click();
  await page.getByText("storkit cannot be reached.").waitFor();
  // The first one is there already. Then storkit is restarted and has none.
  const { uploads: kept } = opened.server;
  kept.set = () => (kept.clear(), kept);
  await add.click();
  await page.getByText("storkit does not have these files any more. Send them again.").waitFor();
  expect(uploads()).toBe(2);
  expect(await chosen()).toEqual(["lock.png", "key.png"]);
  kept.set = Map.prototype.set;
  await add.click();
  await page.getByText("It has lock.png, key.png beside it now.").waitFor();
  expect(uploads()).toBe(4);
});

test("a message of the chat brings files, also without a word, and a picture from the clipboard", async () => {
  opened = await open(browser, scene("shop"), "/chat", { size: "phone" });
  const { page } = opened;
  await live(page);
  const field = page.getByRole("textbox");
  await field.fill("look at this");
  await field.evaluate((element) => {
    const data = new DataTransfer();
    data.items.add(new File(["picture"], "pasted.png", { type: "image/png" }));
    element.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
  expect(await chosen()).toEqual(["pasted.png"]);
  await page.getByRole("button", { name: "Send" }).tap();
  await page.locator(".message.mine").filter({ hasText: "📎 pasted.png" }).waitFor();
  await expect.poll(chosen).toEqual([]);
  expect(await field.inputValue()).toBe("");
  await page.getByLabel("Add pictures or files").setInputFiles([picture("door.png")]);
  await page.getByRole("button", { name: "Send" }).tap();
  await page.locator(".message.mine").filter({ hasText: "📎 door.png" }).waitFor();
  expect(said().map((frame) => frame.type === "say" && [frame.text, frame.files])).toEqual([
    ["look at this", ["upload-1"]],
    ["", ["upload-2"]],
  ]);
});

test("too many and too large files are left out with the reason, before anything is sent", async () => {
  const page = await newStory();
  const field = page.getByLabel("Add pictures or files");
  await field.setInputFiles(Array.from({ length: 11 }, (_, at) => picture(`${at}.png`)));
  await page.getByText("At most 10 files go with one message.").waitFor();
  expect((await chosen()).length).toBe(10);
  for (let at = 0; at < 10; at++) await page.getByRole("button", { name: `Remove ${at}.png` }).click();
  await field.evaluate((input: HTMLInputElement) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(32 * 1024 * 1024 + 1)], "film.mp4"));
    input.files = data.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  await page.getByText("“film.mp4” is larger than 32 MB.").waitFor();
  expect(await chosen()).toEqual([]);
  expect(uploads()).toBe(0);
});
