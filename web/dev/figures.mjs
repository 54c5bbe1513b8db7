// `node dev/figures.mjs [ADDRESS]`: only those of the page at this address

import { fileURLToPath } from "node:url";

import { runnerImport } from "vite";

const { module } = await runnerImport(fileURLToPath(new URL("./figures.ts", import.meta.url)), { configFile: false });
await module.measure(process.argv[2]);
