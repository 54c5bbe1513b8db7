// Follows a run's output: reads its end, subscribes from there, resumes after a cut, and pauses while the person reads further up.

import { signal } from "@preact/signals";

import { follow } from "../live/link";
import { get } from "../live/session";
import { clock } from "../parts/format";
import type { LogView } from "../wire";
import { addLines, earlier, noLines, type Lines } from "./log";
import { LogWindow } from "./log_window";

const EARLIER_STEP = 500;

export class LogFollower {
  /** Lines on screen; `first` is what the button for earlier lines counts by. */
  readonly lines = signal<Lines>(noLines);
  readonly mode = signal<"loading" | "following" | "paused" | "failed">("loading");
  readonly story = signal<number | null>(null);
  readonly failure = signal<string | null>(null);
  private readonly window: LogWindow;
  private stop: (() => void) | null = null;
  private cutAt: number | null = null;
  private isOpen = true;

  constructor(
    private readonly run: string,
    box: HTMLElement,
  ) {
    this.window = new LogWindow(box);
    box.addEventListener("scroll", () => this.onScroll(), { passive: true });
  }

  async load(): Promise<void> {
    this.failure.value = null;
    try {
      const view = await get<LogView>(this.path());
      if (!this.isOpen) return;
      this.story.value = view.story;
      this.window.clear();
      this.lines.value = { first: view.from, next: view.from + view.lines.length, over: view.over };
      this.window.append(view.from, view.lines, true);
      this.resume();
    } catch (failure) {
      this.mode.value = "failed";
      this.failure.value = failure instanceof Error ? failure.message : String(failure);
    }
  }

  /** Goes on from the last line on screen, and stays at the end. */
  resume(): void {
    this.mode.value = "following";
    this.window.scrollToEnd();
    this.stop?.();
    this.stop = this.lines.value.over
      ? null
      : follow(this.run, {
          next: () => this.lines.value.next,
          take: (frame) => this.take(frame),
          cut: () => (this.cutAt ??= Date.now()),
        });
  }

  /** Nothing more is fetched, and nothing is lost: the lines keep their numbers. */
  pause(): void {
    if (this.mode.value !== "following") return;
    this.mode.value = "paused";
    this.stop?.();
    this.stop = null;
  }

  async showEarlier(): Promise<void> {
    const first = this.window.first() ?? this.lines.value.first;
    const page = earlier(first, EARLIER_STEP);
    if (page.count === 0) return;
    this.pause();
    const view = await get<LogView>(`${this.path()}?from=${page.from}`);
    const lines = view.lines.slice(0, Math.max(0, first - view.from));
    this.window.prepend(view.from, lines);
    const last = this.window.last();
    this.lines.value = {
      ...this.lines.value,
      first: lines.length > 0 ? view.from : 1,
      next: last === null ? this.lines.value.next : last + 1,
    };
  }

  /** The whole output as a file, read page by page. */
  async whole(): Promise<Blob> {
    const parts: string[] = [];
    for (let from = 1; ; ) {
      const view = await get<LogView>(`${this.path()}?from=${from}`);
      parts.push(...view.lines.map((line) => `${line}\n`));
      const next = view.from + view.lines.length;
      if (view.lines.length === 0 || next >= view.next) return new Blob(parts, { type: "text/plain" });
      from = next;
    }
  }

  close(): void {
    this.isOpen = false;
    this.stop?.();
  }

  private take(frame: { from: number; lines: string[]; over: boolean }): void {
    const added = addLines(this.lines.value, frame);
    this.noteCut(added.gap !== null);
    if (added.gap) this.remark(`lines ${added.gap.from} to ${added.gap.to} are missing here, and in the whole log`);
    if (added.fresh.length > 0) this.window.append(added.from, added.fresh, true);
    this.lines.value = { ...added.lines, first: this.window.first() ?? added.lines.first };
    if (added.lines.over) this.remark("the run has ended");
  }

  private noteCut(hasGap: boolean): void {
    if (this.cutAt === null) return;
    const end = hasGap ? "" : ", nothing missed";
    this.remark(`connection lost ${clock(this.cutAt)}, back ${clock(Date.now())}${end}`);
    this.cutAt = null;
  }

  private remark(text: string): void {
    this.window.remark(text, this.mode.value === "following");
  }

  private onScroll(): void {
    const isAtEnd = this.window.isAtEnd();
    if (this.mode.value === "following" && !isAtEnd) this.pause();
    else if (this.mode.value === "paused" && isAtEnd) this.resume();
  }

  private path(): string {
    return `/api/run/${encodeURIComponent(this.run)}/log`;
  }
}
