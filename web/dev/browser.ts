// One connection to `/live`: what the server owes a browser by the contract.

import type { WebSocket } from "ws";

import type { FromServer, MessageView, ToServer } from "../src/wire";
import { choose, obey } from "./commands";
import { message } from "./make";
import type { DevServer } from "./server";

const BEAT = 20_000;
const FLUSH = 100;
const TAILS = 1000;
const PAGE = 30;

export class Browser {
  /** Frames from this browser, for tests of what the page asks for. */
  readonly heard: ToServer[] = [];
  private isKnown = false;
  private isVisible = true;
  private readonly rooms = new Set<string>();
  private readonly follows = new Map<string, number>();
  private wantsTails = false;
  private readonly changedTails = new Set<string>();
  private readonly timers: NodeJS.Timeout[];

  constructor(
    private readonly socket: WebSocket,
    private readonly server: DevServer,
  ) {
    const { events } = server.project;
    const listeners = {
      changed: (frame: FromServer) => this.isKnown && this.send(frame),
      line: (run: string) => void this.changedTails.add(run),
      over: (run: string) => void this.changedTails.add(run),
      message: (one: MessageView) => this.isVisible && this.rooms.has(one.room) && this.send({ type: "message", message: one }),
      activity: (room: string, state: "idle" | "working" | "asking") => this.isVisible && this.rooms.has(room) && this.send({ type: "activity", room, state }),
    };
    for (const [name, act] of Object.entries(listeners)) events.on(name as "changed", act as () => void);
    this.timers = [
      setInterval(() => this.isKnown && this.send({ type: "beat", at: Date.now() }), BEAT),
      setInterval(() => this.sendLines(), FLUSH),
      setInterval(() => this.sendTails(), TAILS),
    ];
    socket.on("message", (data) => this.take(JSON.parse(String(data)) as ToServer));
    socket.on("close", () => {
      for (const timer of this.timers) clearInterval(timer);
      for (const [name, act] of Object.entries(listeners)) events.off(name as "changed", act as () => void);
    });
  }

  send(frame: FromServer): void {
    if (this.socket.readyState === this.socket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  /** Without a closing frame. */
  cut(): void {
    this.socket.terminate();
  }

  private take(frame: ToServer): void {
    this.heard.push(frame);
    const { project } = this.server;
    switch (frame.type) {
      case "hello":
        return this.greet(frame);
      case "follow":
        return void this.follows.set(frame.run, frame.from);
      case "unfollow":
        return void this.follows.delete(frame.run);
      case "tails":
        this.wantsTails = frame.on;
        for (const run of project.runs.keys()) this.changedTails.add(run);
        return this.sendTails();
      case "open":
        return this.open(frame.room, frame.before);
      case "close":
        return void this.rooms.delete(frame.room);
      case "say": {
        const files = (frame.files ?? []).map((id) => this.server.uploads.get(id));
        if (files.includes(undefined)) return this.send({ type: "refused", ticket: frame.ticket, why: "storkit does not have these files any more. Send them again." });
        const text = [frame.text, ...files.map((name) => `📎 ${name}`)].filter(Boolean).join("\n");
        const said = message(frame.room, "Ann", `<p>${text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/\n/g, "<br />")}</p>`);
        const begins = !project.messages.has(frame.room);
        project.post(said);
        this.send({ type: "taken", ticket: frame.ticket, message: said.id });
        if (begins) this.send({ type: "me", me: this.server.me() });
        return obey(project, frame.room, "Ann", frame.text, said.id, files.map(String));
      }
      case "choose": {
        const why = choose(project, "Ann", frame.key);
        return this.send(why === null ? { type: "taken", ticket: frame.ticket, message: `c${frame.ticket}` } : { type: "refused", ticket: frame.ticket, why });
      }
      case "visible":
        this.isVisible = frame.on;
        if (!frame.on) this.follows.clear();
        return;
    }
  }

  private greet(frame: Extract<ToServer, { type: "hello" }>): void {
    const { project } = this.server;
    if (!this.server.sessions.has(frame.secret)) {
      this.send({ type: "bye", why: "Your session has ended.", again: false });
      return this.socket.close();
    }
    this.send({ type: "hello", boot: project.boot, seq: project.seq, build: this.server.build, at: Date.now(), me: this.server.me() });
    this.isKnown = true;
    const missed = frame.after && project.since(frame.after.boot, frame.after.seq);
    if (!missed) return this.send({ type: "anew" });
    for (const change of missed) this.send(change);
  }

  private open(room: string, before: string | null): void {
    this.rooms.add(room);
    const all = this.server.project.messages.get(room) ?? [];
    const end = before === null ? all.length : all.findIndex((one) => one.id === before);
    const start = Math.max(0, end - PAGE);
    for (const one of all.slice(start, end)) this.send({ type: "message", message: one });
    this.send({ type: "opened", room, more: start > 0 });
  }

  private sendLines(): void {
    for (const [run, from] of this.follows) {
      const log = this.server.project.logs.get(run);
      if (!log) continue;
      const lines = log.lines.slice(from - 1, from - 1 + 500);
      if (lines.length === 0 && !log.over) continue;
      this.follows.set(run, from + lines.length);
      const isOver = log.over && from + lines.length > log.lines.length;
      this.send({ type: "lines", run, from, lines, over: isOver });
      if (isOver) this.follows.delete(run);
    }
  }

  private sendTails(): void {
    if (!this.isVisible || !this.wantsTails || this.changedTails.size === 0) return;
    const lines: Record<string, string> = {};
    for (const run of this.changedTails) lines[run] = this.server.project.logs.get(run)?.lines.at(-1) ?? "";
    this.changedTails.clear();
    this.send({ type: "tails", lines });
  }
}
