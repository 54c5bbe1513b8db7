// The page without work: the same bytes in the same files, whose script does nothing. What a browser needs at least.

import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { brotliCompressSync } from "node:zlib";

import { DIST } from "../test/browser/chromium";

const TYPES: Record<string, string> = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

export async function startStaticPage(): Promise<{ url: string; stop(): void }> {
  const server: Server = createServer((request, response) => {
    const path = request.url?.startsWith("/assets/") ? request.url : "/index.html";
    const ending = path.split(".").at(-1) ?? "";
    response.writeHead(200, { "Content-Type": TYPES[ending] ?? "application/octet-stream", "Content-Encoding": "br" });
    response.end(ending === "js" ? idle(path) : readFileSync(`${DIST}${path}.br`));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** The script as a text that nobody reads. */
function idle(path: string): Buffer {
  return brotliCompressSync(`export const text = ${JSON.stringify(readFileSync(`${DIST}${path}`, "utf8"))};`);
}
