// Takes a picture of each page, for people who change its looks and for the documentation.

import { mkdir } from "node:fs/promises";

import { scene } from "./scenes";
import { live, open, startChromium, type Scheme, type Size } from "../test/browser/chromium";

const PAGES: ReadonlyArray<[name: string, path: string]> = [
  ["now", "/"],
  ["board", "/board"],
  ["story", "/story/7"],
  ["diff", "/story/7/diff"],
  ["runs", "/story/5/runs"],
  ["merge", "/story/6/merge"],
  ["history", "/story/7/history"],
  ["run", "/run/5-coder-1-2"],
  ["chat", "/chat"],
  ["question", "/q/12"],
  ["cost", "/cost"],
  ["me", "/me"],
  ["nothing", "/nowhere"],
];

export async function takePictures(folder: string, only: string[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  const browser = await startChromium();
  const wanted = PAGES.filter(([name]) => only.length === 0 || only.includes(name));
  for (const size of ["phone", "desktop"] as Size[]) {
    for (const scheme of ["light", "dark"] as Scheme[]) {
      const { page, server, faults, close } = await open(browser, scene("shop"), "/", { size, scheme });
      await live(page);
      for (const [name, path] of wanted) {
        await page.goto(server.url + path);
        await live(page);
        await page.waitForLoadState("networkidle");
        await page.waitForTimeout(700);
        await page.screenshot({ path: `${folder}/${name}-${size}-${scheme}.png` });
      }
      if (faults.length > 0) console.error(size, scheme, faults);
      await close();
    }
  }
  const { page, close } = await open(browser, scene("shop"), "/#l=demo", { isKnown: false });
  await page.getByText("Sign in on this device?").waitFor();
  await page.screenshot({ path: `${folder}/login-phone-light.png` });
  await close();
  await browser.close();
}
