// The lines of a log as elements. They are added to the page directly: as a list of components, 2,000 lines would cost as much as all the
// rest of the page.

import { MOST_LINES } from "./log";

/** Lines that are laid out in one frame: long ones take a slow phone most of a tenth of a second. */
const SLICE = 150;
const DROPPED_TOGETHER = 200;
/** Closer to the end than this counts as at the end. */
const NEAR_END = 48;

export class LogWindow {
  private isDrawing = false;
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
    const fragment = document.createDocumentFragment();
    for (const [at, text] of lines.entries()) fragment.append(lineOf(from + at, text));
    this.box.prepend(fragment);
    this.box.scrollTop = top + this.box.scrollHeight - height;
    this.trim("end");
  }

  clear(): void {
    this.pending = [];
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

  /** Once a frame, however often lines come, and a part of them if there are many. */
  private draw(isFollowing: boolean): void {
    this.isFollowing = isFollowing;
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.flush(SLICE);
      if (this.isFollowing) this.box.scrollTop = this.box.scrollHeight;
      if (this.pending.length > 0) this.draw(this.isFollowing);
    });
  }

  private flush(most = Infinity): void {
    if (this.pending.length === 0) return;
    // What would be dropped at once is not laid out first.
    this.pending.splice(0, Math.max(0, this.pending.length - MOST_LINES));
    this.box.append(...this.pending.splice(0, most));
    this.trim("start");
  }

  private trim(end: "start" | "end"): void {
    const over = this.box.childElementCount - MOST_LINES;
    if (over <= 0) return;
    // Each line that goes at the start moves all others, which is dear, so many go at once.
    const drop = end === "start" ? over + DROPPED_TOGETHER : over;
    for (let at = 0; at < drop; at++) (end === "start" ? this.box.firstElementChild : this.box.lastElementChild)?.remove();
  }

  /** The number of the last line on screen. */
  last(): number | null {
    return numberOf([...this.box.children].findLast((one) => one.className === "log-line"));
  }
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
