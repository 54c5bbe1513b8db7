// `node dev/pictures.mjs FOLDER [PAGE...]`

import { fileURLToPath } from "node:url";

import { runnerImport } from "vite";

const [folder = "shots", ...only] = process.argv.slice(2);
const { module } = await runnerImport(fileURLToPath(new URL("./pictures.ts", import.meta.url)), { configFile: false });
await module.takePictures(folder, only);
