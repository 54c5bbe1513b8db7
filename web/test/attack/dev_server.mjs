// What an agent's dev server can do in the browser of a person who is signed in at the page: node dev_server.mjs LINK FOUND
// LINK signs the person in; FOUND is the token of another link, which the agent has found. Ends with 0 when all of it was denied.

import { existsSync } from "node:fs";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const [link, found] = process.argv.slice(2);
const page = new URL(link).origin;
const port = new URL(link).port;
const faults = [];

/** Notes a fault where something else than this was seen. */
function expect(what, seen, wanted) {
  const text = JSON.stringify(seen);
  console.log(`${what}: ${text}`);
  if (text !== JSON.stringify(wanted)) faults.push(`${what}: ${text} and not ${JSON.stringify(wanted)}`);
}

// The agent's server: a page, and a note of what browsers send to it.
const sent = [];
const server = createServer((request, response) => {
  sent.push(request.headers);
  response.setHeader("content-type", "text/html");
  response.end(`<!doctype html><title>dev</title><button id="open">Open</button><iframe name="sink"></iframe>
    <form method="post" target="sink" enctype="text/plain"><input type="hidden"></form>`);
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const own = server.address().port;

const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = process.env.STORKIT_CHROMIUM ?? places.find((path) => existsSync(path));
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
// A name of the agent's that leads to this machine.
const browser = await chromium.launch({ executablePath, args: [...args, "--host-resolver-rules=MAP rebound.example 127.0.0.1"] });
const context = await browser.newContext();
const posts = [];
context.on("response", (answer) => {
  if (answer.request().method() === "POST") posts.push([new URL(answer.url()).pathname, answer.status()]);
});

/** In the agent's page: what it reads of the other origin, or the kind of error. */
function reading({ page, found }) {
  const kind = (work) => work().then((seen) => `read ${seen}`, (error) => error.name);
  const asked = (path, options) => kind(async () => {
    const answer = await fetch(page + path, options);
    return answer.type === "opaque" ? `nothing of an opaque answer, ${(await answer.text()).length} characters` : await answer.text();
  });
  const opened = () => new Promise((done) => {
    const socket = new WebSocket(`${page.replace("http", "ws")}/live`);
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  });
  const loaded = (tag, path) => new Promise((done) => {
    const element = document.createElement(tag);
    element.onload = () => done("loaded");
    element.onerror = () => done("refused");
    element.src = page + path;
    document.body.append(element);
  });
  const json = { "content-type": "application/json" };
  const all = {
    storage: kind(async () => Object.keys(localStorage).length + Object.keys(sessionStorage).length + document.cookie.length),
    board: asked("/api/board", { credentials: "include" }),
    "board, opaque": asked("/api/board", { mode: "no-cors", credentials: "include" }),
    "board, with a secret": asked("/api/board", { headers: { authorization: "Bearer x" } }),
    "sign-in": asked("/login", { method: "POST", headers: json, body: JSON.stringify({ token: found }) }),
    "sign-in, simple": asked("/login", { method: "POST", mode: "no-cors", body: JSON.stringify({ token: found }) }),
    "sign-out": asked("/logout", { method: "POST", mode: "no-cors" }),
    live: opened(),
    picture: loaded("img", "/icon.svg"),
    script: loaded("script", "/"),
  };
  return Promise.all(Object.entries(all).map(async ([what, seen]) => [what, await seen])).then(Object.fromEntries);
}

function openWindow({ page }) {
  globalThis.opened = window.open(page);
}

try {
  const person = await context.newPage();
  await person.goto(link);
  await person.getByRole("button", { name: /sign in/i }).click();
  await person.locator(".connection.live").first().waitFor();
  const secrets = await person.evaluate(() => Object.values(localStorage).join(" "));
  if (secrets.length < 64) throw new Error("nobody is signed in");
  posts.length = 0;

  for (const host of ["localhost", "127.0.0.1"]) {
    const dev = `http://${host}:${own}`;
    const agents = await context.newPage();
    await agents.goto(dev);
    // Also under the page's other name.
    for (const target of [`http://127.0.0.1:${port}`, `http://localhost:${port}`]) {
      const seen = await agents.evaluate(reading, { page: target, found });
      const nothing = "read nothing of an opaque answer, 0 characters";
      const { "board, opaque": board, "sign-in, simple": login, "sign-out": logout, ...rest } = seen;
      expect(`${dev} on ${target}`, rest, {
        storage: "read 0", board: "TypeError", "board, with a secret": "TypeError", "sign-in": "TypeError", live: "refused",
        picture: "refused", script: "refused",
      });
      // The browser does not even show that there was an answer.
      for (const opaque of [board, login, logout]) if (opaque !== "TypeError") expect(`${dev} opaque`, opaque, nothing);

      const frame = await agents.evaluate(async (address) => {
        const frame = document.createElement("iframe");
        frame.name = "framed";
        frame.src = address;
        const loaded = new Promise((done) => (frame.onload = done));
        document.body.append(frame);
        await loaded;
        const inside = frame.contentDocument?.body.innerText ?? "nothing";
        return inside;
      }, target);
      const framed = agents.frames().filter((one) => one.url().startsWith(target));
      expect(`${target} in a frame of ${dev}`, [frame, framed.length], ["nothing", 0]);
      await agents.reload();

      await agents.evaluate(({ target, found }) => {
        const form = document.forms[0];
        form.action = `${target}/login`;
        // As JSON in the text of a form.
        form.elements[0].name = `{"token":"${found}","a":"`;
        form.elements[0].value = `"}`;
        form.submit();
      }, { target, found });
      await agents.waitForResponse((answer) => answer.url() === `${target}/login` && answer.request().method() === "POST");

      const popup = context.waitForEvent("page");
      await agents.evaluate(openWindow, { page: target });
      const window = await popup;
      await window.waitForURL((address) => address.href.startsWith(target));
      // The page is there before its opener learns that their windows are apart.
      await agents.waitForFunction(() => globalThis.opened.closed).catch(() => {});
      const after = await agents.evaluate(() => {
        const { opened } = globalThis;
        const tried = (use) => {
          try {
            return String(use());
          } catch (error) {
            return error.name;
          }
        };
        return { closed: opened.closed, storage: tried(() => opened.localStorage.length), script: tried(() => opened.eval("1")) };
      });
      const back = await window.evaluate(() => window.opener);
      const harmless = (word) => ["SecurityError", "TypeError"].includes(word) || word === "undefined";
      console.log(`a window of ${dev}: ${JSON.stringify([after, back])}`);
      // The policy of the page's opener cuts the two apart: to the agent's page the window is closed.
      if (!after.closed || back !== null) faults.push(`the page and ${dev} know each other's windows`);
      if (![after.storage, after.script].every(harmless)) faults.push(`${dev} reads in the page's window: ${JSON.stringify(after)}`);
      await window.close();
    }
    await agents.close();
  }
  const refused = posts.filter(([path]) => path === "/login" || path === "/logout");
  expect("answers to what it sent", [...new Set(refused.map(([, status]) => status))], [403]);
  if (refused.length < 4) faults.push(`only ${refused.length} of its requests were answered`);

  // A page whose name the agent's name server then leads to this machine.
  const rebound = await context.newPage();
  const answer = await rebound.goto(`http://rebound.example:${port}/api/board`);
  expect("the page under another name", answer.status(), 403);
  await rebound.close();

  // The person only opened a link of the agent's: nothing happens that they do not confirm.
  const lured = await context.newPage();
  await lured.goto(`${page}/#l=${found}`);
  await lured.getByRole("button", { name: "Stay as I am" }).waitFor();
  await lured.close();

  const given = sent.flatMap((headers) => [headers.cookie, headers.authorization]).filter(Boolean);
  expect("what the browser gave to the agent's server", given, []);
  await person.bringToFront();
  await person.reload();
  await person.locator(".connection.live").first().waitFor();
  if (faults.length > 0) throw new Error(faults.join("\n"));
  console.log("all denied");
} catch (error) {
  console.log(String(error.stack ?? error));
  process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
}
