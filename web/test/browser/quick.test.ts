// Each page and state on a phone, in a minute and a half: what `script/test` runs. The rest is in the other files.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe } from "vitest";

import { startChromium } from "./chromium";
import { testEachState } from "./pages";

let browser: Browser;
beforeAll(async () => {
  browser = await startChromium();
});
afterAll(() => browser.close());

describe("phone, light", () => testEachState(() => browser, { size: "phone" }));
