// The lines of a log as elements. They are added to the page directly: as a list of components, 2,000 lines would cost as much as all the
// rest of the page.

import { MOST_LINES } from "./log";

/** Lines that are laid out in one frame: long ones take a slow phone most of a tenth of a second. */
const SLICE = 150;
/** Lines of one part: a part that is whole is not laid out again when others come, and parts go as a whole. */
const PART = 100;
/** Every drawing moves all that is on screen, so that lines which come one by one are drawn a few times a second. */
const PAUSE = 250;
/** Closer to the end than this counts as at the end. */
const NEAR_END = 48;

export class LogWindow {
  private isDrawing = false;
  private drawnAt = -PAUSE;
  /** Lines and remarks in the box. */
  private count = 0;
  private isFollowing = false;
  private pending: HTMLElement[] = [];

  constructor(private readonly box: HTMLElement) {}

  /** Lines from number `from` on, at the end. */
  append(from: number, lines: readonly string[], isFollowing: boolean): void {
    for (const [at, text] of lines.entries()) this.pending.push(lineOf(from + at, text));
    this.draw(isFollowing);
  }

  /** A remark between lines: a cut, or a gap. */
  remark(text: string, isFollowing: boolean): HTMLElement {
    const remark = document.createElement("div");
    remark.className = "log-remark";
    remark.textContent = text;
    this.pending.push(remark);
    this.draw(isFollowing);
    return remark;
  }

  /** Earlier lines; what is on screen stays where it is, and as many go at the end as are too many. */
  prepend(from: number, lines: readonly string[]): void {
    this.flush();
    const height = this.box.scrollHeight;
    const top = this.box.scrollTop;
    const all = lines.map((text, at) => lineOf(from + at, text));
    const parts: HTMLElement[] = [];
    while (all.length > 0) parts.push(partOf(all.splice(0, PART)));
    this.count += lines.length;
    this.box.prepend(...parts);
    this.box.scrollTop = top + this.box.scrollHeight - height;
    this.trim("end");
  }

  clear(): void {
    this.pending = [];
    this.count = 0;
    this.box.replaceChildren();
  }

  scrollToEnd(): void {
    this.box.scrollTop = this.box.scrollHeight;
  }

  isAtEnd(): boolean {
    return this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_END;
  }

  /** The number of the first line on screen. */
  first(): number | null {
    return numberOf(this.box.querySelector(".log-line"));
  }

  /** A few times a second, however often lines come; where there are many, some of them in each frame. */
  private draw(isFollowing: boolean): void {
    this.isFollowing = isFollowing;
    if (this.isDrawing) return;
    this.isDrawing = true;
    const pause = Math.max(0, this.drawnAt + PAUSE - performance.now());
    if (pause > 0) setTimeout(() => this.drawNext(), pause);
    else this.drawNext();
  }

  private drawNext(): void {
    requestAnimationFrame(() => {
      this.flush(SLICE);
      if (this.isFollowing) this.box.scrollTop = this.box.scrollHeight;
      this.drawnAt = performance.now();
      this.isDrawing = this.pending.length > 0;
      if (this.isDrawing) this.drawNext();
    });
  }

  private flush(most = Infinity): void {
    if (this.pending.length === 0) return;
    // What would be dropped at once is not laid out first.
    this.pending.splice(0, Math.max(0, this.pending.length - MOST_LINES));
    const next = this.pending.splice(0, most);
    this.count += next.length;
    const last = this.box.lastElementChild;
    if (last) last.append(...next.splice(0, Math.max(0, PART - last.childElementCount)));
    while (next.length > 0) this.box.append(partOf(next.splice(0, PART)));
    this.trim("start");
  }

  private trim(end: "start" | "end"): void {
    while (this.count > MOST_LINES) {
      const part = end === "start" ? this.box.firstElementChild : this.box.lastElementChild;
      if (!part) return;
      const over = this.count - MOST_LINES;
      // What goes at the start moves all the rest, which is dear, so a whole part goes at once.
      const isWhole = end === "start" || part.childElementCount <= over;
      this.count -= isWhole ? part.childElementCount : over;
      if (isWhole) part.remove();
      else for (let at = 0; at < over; at++) part.lastElementChild?.remove();
    }
  }

  /** The number of the last line on screen. */
  last(): number | null {
    for (let part = this.box.lastElementChild; part; part = part.previousElementSibling) {
      const line = [...part.children].findLast((one) => one.className === "log-line");
      if (line) return numberOf(line);
    }
    return null;
  }
}

function partOf(lines: readonly HTMLElement[]): HTMLElement {
  const part = document.createElement("div");
  part.className = "log-part";
  part.append(...lines);
  return part;
}

function lineOf(number: number, text: string): HTMLElement {
  const line = document.createElement("div");
  line.className = "log-line";
  // Drawn by the style sheet, so that it is not copied with the text.
  line.dataset.number = String(number);
  line.textContent = text;
  return line;
}

function numberOf(line: Element | null | undefined): number | null {
  return line instanceof HTMLElement ? Number(line.dataset.number) : null;
}
