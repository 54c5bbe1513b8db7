// A story from new to merged in a real Chromium, on a phone-sized screen, against a real storkit: node story.mjs LINK [PICTURES]
// Ends with 0 when all of it was seen. With a folder as second argument it leaves pictures there.

import { existsSync } from "node:fs";

import { chromium } from "playwright-core";

const [link, pictures] = process.argv.slice(2);
const origin = new URL(link).origin;
const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = process.env.STORKIT_CHROMIUM ?? places.find((path) => existsSync(path));
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const context = await browser.newContext({ ...phone, colorScheme: "light" });
const page = await context.newPage();
page.setDefaultTimeout(30_000);

const faults = [];
page.on("pageerror", (error) => faults.push(String(error)));
page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
const requests = new Set();
page.on("request", (request) => requests.add(new URL(request.url()).origin));

async function picture(name) {
  if (!pictures) return;
  await page.screenshot({ path: `${pictures}/${name}.png` });
}

function button(name) {
  return page.getByRole("button", { name });
}

function step(words) {
  console.log(words);
}

/** Writes in the person's own chat, and waits for the bot's words. */
async function say(text, answer) {
  await page.getByRole("link", { name: "Chat", exact: true }).click();
  await page.getByRole("textbox", { name: /message|command/i }).fill(text);
  await button("Send").click();
  await page.getByText(answer).last().waitFor();
}

/** Allows the call that the story's agent asks for, once it has been read. */
async function allow() {
  await page.getByRole("link", { name: /^Now/ }).click();
  const allowed = button("Allow").first();
  await allowed.waitFor();
  const focused = await page.evaluate(() => document.activeElement?.closest("button")?.textContent ?? "");
  if (/allow/i.test(focused)) throw new Error("Allow has the focus: a stray key could approve");
  await page.getByText(/git add story-1\.md/).first().waitFor();
  // Nothing counts that is tapped while the card has only just come, or moves.
  await page.locator(".answer:not(.settling)").first().waitFor();
  return allowed;
}

try {
  step("signs in by the link");
  await page.goto(link);
  await button(/sign in/i).click();
  await page.getByText("No stories yet").waitFor();
  if (page.url().includes("#l=")) throw new Error("the link's token stays in the address");

  step("writes a story, with a file");
  await page.getByLabel("Title").fill("Say what we do");
  await page.getByLabel(/Acceptance criteria/).fill("The page says it");
  await page.getByLabel("Add pictures or files").setInputFiles({ name: "draft.txt", mimeType: "text/plain", buffer: Buffer.from("We open doors.") });
  await button("Add to the backlog").click();
  await page.getByText("is in the backlog").first().waitFor();
  await page.getByText("beside it now").first().waitFor();
  await say("edit 1 qa on", "review by a person off");
  await picture("chat-phone");

  step("starts it");
  await page.goto(`${origin}/story/1`);
  await button("Start").click();

  step("allows the coder's call");
  const first = await allow();
  await picture("question-phone");
  await first.click();

  step("reads the diff, comments on a line, and sends the story back");
  await page.goto(`${origin}/story/1`);
  await page.getByText("waits for a person to accept or reject it").waitFor();
  await page.getByRole("link", { name: "Diff", exact: true }).click();
  await page.getByText("Written by the demo for story 1.").waitFor();
  await button(/Comment on line 1 of story-1\.md/).click();
  await page.getByRole("textbox", { name: /Comment on line 1/ }).fill("Say it in two lines.");
  await picture("diff-phone");
  await button(/Reject with 1 comment/).click();
  await button(/^Send (it )?back/).click();

  step("allows the second run's call");
  const second = await allow();
  await second.click();

  step("sees it come back, with the comment as the reason, and accepts it");
  await page.goto(`${origin}/story/1`);
  await page.getByRole("link", { name: "Diff", exact: true }).click();
  await page.getByText(/\+2/).first().waitFor();
  await button("Accept").click();
  await page.getByRole("link", { name: "Merge", exact: true }).click();
  await page.getByText(/Merged/).first().waitFor();
  await picture("merged-phone");

  step("reads who did what");
  await page.getByRole("link", { name: "History", exact: true }).click();
  for (const text of ["added it to the backlog", "moved it from QA to current", "Say it in two lines.", "said yes to question", "moved it from QA to merge", "Merged as"]) {
    await page.locator(".history").getByText(text).first().waitFor();
  }
  await picture("history-phone");

  step("signs out");
  await page.goto(`${origin}/me`);
  await page.getByText("console:operator").first().waitFor();
  await button("Sign out").first().click();
  await page.getByText(/signed out|session has ended|storkit web/i).first().waitFor();

  const others = [...requests].filter((other) => other !== origin && !other.startsWith("data:"));
  if (others.length > 0) throw new Error(`requests to elsewhere: ${others}`);
  if (faults.length > 0) throw new Error(`faults in the page: ${faults.join("; ")}`);
  step("all seen");
} catch (error) {
  console.log(`at ${page.url()}: ${error}`);
  console.log(await page.locator("body").innerText().catch(() => "no text"));
  if (pictures) await page.screenshot({ path: `${pictures}/fault.png` });
  process.exitCode = 1;
} finally {
  await browser.close();
}
