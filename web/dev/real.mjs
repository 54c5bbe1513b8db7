// `node dev/real.mjs SCENE EFFORT ORIGIN TOKEN PID`, for `script/bench web`: the last line that it prints has the numbers, as JSON.

import { fileURLToPath } from "node:url";

import { runnerImport } from "vite";

const { module } = await runnerImport(fileURLToPath(new URL("./real.ts", import.meta.url)), { configFile: false });
const [scene, effort, origin, token, pid] = process.argv.slice(2);
console.log(JSON.stringify(await module.measure(scene, effort, origin, token, Number(pid))));
process.exit(0);
