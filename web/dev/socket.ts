// A socket of `/live` without a page: what the page is compared with, and a hundred browsers.

import WebSocket from "ws";

import type { FromServer, Login, Me, ToServer } from "../src/wire";

export type Session = { origin: string; secret: string; me: Me };
type Heard = { frame: FromServer; at: number };

const PATIENCE = 60_000;

export async function signIn(origin: string, token: string): Promise<Session> {
  const answer = await fetch(`${origin}/login`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Origin: origin },
    body: JSON.stringify({ token }),
  });
  if (!answer.ok) throw new Error(`no session: ${await answer.text()}`);
  const { secret, me } = (await answer.json()) as Login;
  return { origin, secret, me };
}

export class LiveSocket {
  /** Bytes of frames so far. */
  bytes = 0;
  private heard: Heard[] = [];
  private wake: () => void = () => undefined;
  private ticket = 0;

  private constructor(
    private readonly socket: WebSocket,
    private readonly session: Session,
  ) {
    socket.on("message", (data) => {
      const text = String(data);
      this.bytes += text.length;
      this.heard.push({ frame: JSON.parse(text) as FromServer, at: now() });
      this.wake();
    });
  }

  static async open(session: Session): Promise<LiveSocket> {
    const socket = new WebSocket(`${session.origin.replace(/^http/, "ws")}/live`, { headers: { Origin: session.origin } });
    const live = new LiveSocket(socket, session);
    await new Promise<void>((done, failed) => socket.once("open", done).once("error", failed));
    live.send({ type: "hello", secret: session.secret, after: null });
    await live.until((frame) => frame.type === "anew");
    return live;
  }

  send(frame: ToServer): void {
    this.socket.send(JSON.stringify(frame));
  }

  /** Says it in the person's own room. The answer is when it was sent, and its ticket. */
  say(text: string): { at: number; ticket: number } {
    this.ticket += 1;
    const at = now();
    this.send({ type: "say", ticket: this.ticket, room: this.room, text });
    return { at, ticket: this.ticket };
  }

  /** When the answer to it has come. */
  async answer(ticket: number): Promise<number> {
    const taken = await this.until((frame) => frame.type === "taken" && frame.ticket === ticket);
    const id = taken.frame.type === "taken" ? taken.frame.message : "";
    return (await this.until((frame) => frame.type === "message" && frame.message.reply_to === id)).at;
  }

  /** The next frame for which this holds; those before it are forgotten. */
  async until(holds: (frame: FromServer) => boolean): Promise<Heard> {
    const end = now() + PATIENCE;
    for (;;) {
      const found = this.heard.findIndex((one) => holds(one.frame));
      const [one] = found < 0 ? [] : this.heard.splice(0, found + 1).slice(-1);
      if (one) return one;
      if (now() > end) throw new Error(`it does not come, but ${JSON.stringify(this.heard.slice(-5))}`);
      await new Promise<void>((done) => {
        const timer = setTimeout(done, 1000);
        this.wake = () => {
          clearTimeout(timer);
          done();
        };
      });
    }
  }

  close(): void {
    this.socket.close();
  }

  get room(): string {
    return this.session.me.rooms[0]?.room ?? "";
  }
}

/** By the clock that pages have, too. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}
