// Plays a project at http://127.0.0.1:3003 (or $STORKIT_WEB_PORT): `npm run build && npm run play [shop|empty|thousand]`, or with `npm run dev`
// beside it. The one-time link is printed.

import { fileURLToPath } from "node:url";

import { runnerImport } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const load = async (path) => (await runnerImport(here(path), { configFile: false })).module;

const { DevServer } = await load("./server.ts");
const { scene } = await load("./scenes.ts");
const { live } = await load("./life.ts");

const project = scene(process.argv[2] ?? "shop");
const server = new DevServer(project, { dist: here("../dist/page"), port: Number(process.env.STORKIT_WEB_PORT ?? 3003) });
await server.start();
live(project);
console.log(`${server.url}/#l=demo`);
