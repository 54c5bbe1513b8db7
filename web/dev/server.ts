// Serves the built page and the contract for a project in memory: for people who work on the page, and for its tests.

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

import { WebSocketServer, type WebSocket } from "ws";

import type { Login, Me, UploadView } from "../src/wire";
import { answer } from "./api";
import { Browser } from "./browser";
import type { Project } from "./project";

/** As the real server sends it. */
export const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "require-trusted-types-for 'script'",
  "trusted-types storkit",
].join("; ");

const TYPES: Record<string, string> = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

export type Options = { dist: string; port?: number; role?: Me["role"] };

export class DevServer {
  port = 0;
  /** One-time links and codes. */
  readonly tokens = new Set(["demo", "ABCDEFGH"]);
  readonly sessions = new Set<string>(["known"]);
  readonly browsers = new Set<Browser>();
  build = "1";
  /** Names of uploaded files by their ids. */
  readonly uploads = new Map<string, string>();
  /** Why the next uploads fail, as a sentence. */
  refusesUploads: string | null = null;
  /** Requests so far, for tests of what the page fetches. */
  readonly requests: string[] = [];
  private server: Server | null = null;
  private sockets = new WebSocketServer({ noServer: true });

  constructor(
    readonly project: Project,
    private readonly options: Options,
  ) {
    this.port = options.port ?? 0;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => void this.serve(request, response));
    server.on("upgrade", (request, socket, head) => {
      if (request.url !== "/live") return void socket.destroy();
      this.sockets.handleUpgrade(request, socket, head, (accepted) => this.accept(accepted));
    });
    await new Promise<void>((resolve) => server.listen(this.port, "127.0.0.1", resolve));
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
  }

  /** The server is gone: connections are reset and nothing listens. */
  async stop(): Promise<void> {
    const { server } = this;
    this.server = null;
    this.cut();
    server?.closeAllConnections();
    await new Promise<void>((resolve) => (server ? server.close(() => resolve()) : resolve()));
  }

  /** Cuts the sockets as a sleeping phone or a dead network does. */
  cut(): void {
    for (const browser of this.browsers) browser.cut();
  }

  end(why: string): void {
    this.sessions.clear();
    for (const browser of this.browsers) browser.send({ type: "bye", why, again: false });
    this.cut();
  }

  me(): Me {
    const now = Date.now();
    return {
      who: "slack:U01",
      name: "Ann",
      role: this.options.role ?? "operator",
      rooms: [...this.chats(), { room: "web:team", title: "Everybody" }],
      sessions: [
        { number: 2, browser: "Chromium on Linux", created: now - 60_000, used: now, this_one: true },
        { number: 1, browser: "Safari on iPhone", created: now - 86_400_000 * 3, used: now - 7_200_000, this_one: false },
      ],
    };
  }

  /** Ann's chats, then one that is new. */
  private chats(): Me["rooms"] {
    const chats = [{ room: "web:ann", title: "Me and the bot" }];
    for (let number = 2; ; number += 1) {
      const room = `web:ann#${number}`;
      if (!this.project.messages.has(room)) return [...chats, { room, title: "New chat" }];
      chats.push({ room, title: `Chat ${number}` });
    }
  }

  private accept(socket: WebSocket): void {
    const browser = new Browser(socket, this);
    this.browsers.add(browser);
    socket.on("close", () => this.browsers.delete(browser));
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    this.requests.push(`${request.method} ${url.pathname}`);
    response.setHeader("Content-Security-Policy", POLICY);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Referrer-Policy", "no-referrer");
    if (request.method === "POST" && url.pathname === "/login") return this.login(request, response);
    if (url.pathname.startsWith("/api/") || url.pathname === "/logout") {
      const secret = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
      if (!this.sessions.has(secret)) return void response.writeHead(401).end("Your session has ended.");
      if (url.pathname === "/logout") {
        this.sessions.delete(secret);
        return void response.writeHead(204).end();
      }
      if (request.method === "POST" && url.pathname === "/api/upload") return this.upload(request, response, url.searchParams.get("name") ?? "");
      const view = url.pathname === "/api/me" ? this.me() : answer(this.project, url);
      if (view === null) return void response.writeHead(404).end("There is no such thing here.");
      return void response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(view));
    }
    await this.file(url.pathname, request, response);
  }

  private async upload(request: IncomingMessage, response: ServerResponse, name: string): Promise<void> {
    // Read to its end, as a browser sends it.
    for await (const _ of request);
    if (this.refusesUploads !== null) return void response.writeHead(429).end(this.refusesUploads);
    const id = `upload-${this.uploads.size + 1}`;
    this.uploads.set(id, name);
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ id } satisfies UploadView));
  }

  private async login(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    const proof = JSON.parse(body) as { token?: string; code?: string };
    const token = proof.token ?? proof.code ?? "";
    if (!this.tokens.has(token)) {
      return void response.writeHead(403).end("This link or code has been used or is too old. Ask for a new one.");
    }
    if (token !== "demo") this.tokens.delete(token);
    const secret = `session-${this.sessions.size + 1}`;
    this.sessions.add(secret);
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ secret, me: this.me() } satisfies Login));
  }

  private async file(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const isAsset = path.startsWith("/assets/");
    // Every other address is a page: which one, the script decides.
    const name = join(this.options.dist, normalize(isAsset ? path : "/index.html"));
    const accepts = String(request.headers["accept-encoding"] ?? "");
    const [ending, encoding] = accepts.includes("br") ? [".br", "br"] : accepts.includes("gzip") ? [".gz", "gzip"] : ["", ""];
    try {
      const bytes = await readFile(name + ending);
      response.writeHead(200, {
        "Content-Type": TYPES[extname(name)] ?? "application/octet-stream",
        "Cache-Control": isAsset ? "public, max-age=31536000, immutable" : "no-cache",
        ...(encoding ? { "Content-Encoding": encoding } : {}),
      });
      response.end(bytes);
    } catch {
      response.writeHead(404).end("There is nothing here.");
    }
  }
}
