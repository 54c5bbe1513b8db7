// The lines of a log as elements. They are added to the page directly: as a list of components, 2,000 lines would cost as much as all the
// rest of the page.

import { MOST_LINES } from "./log";

/** Closer to the end than this counts as at the end. */
const NEAR_END = 48;

export class LogWindow {
  private isDrawing = false;
  private pending = document.createDocumentFragment();

  constructor(private readonly box: HTMLElement) {}

  /** Lines from number `from` on, at the end. */
  append(from: number, lines: readonly string[], isFollowing: boolean): void {
    for (const [at, text] of lines.entries()) this.pending.append(lineOf(from + at, text));
    this.draw(isFollowing);
  }

  /** A remark between lines: a cut, or a gap. */
  remark(text: string, isFollowing: boolean): HTMLElement {
    const remark = document.createElement("div");
    remark.className = "log-remark";
    remark.textContent = text;
    this.pending.append(remark);
    this.draw(isFollowing);
    return remark;
  }

  /** Earlier lines; what is on screen stays where it is. Returns how many lines were dropped at the end. */
  prepend(from: number, lines: readonly string[]): number {
    this.flush();
    const height = this.box.scrollHeight;
    const top = this.box.scrollTop;
    const fragment = document.createDocumentFragment();
    for (const [at, text] of lines.entries()) fragment.append(lineOf(from + at, text));
    this.box.prepend(fragment);
    this.box.scrollTop = top + this.box.scrollHeight - height;
    return this.trim("end");
  }

  clear(): void {
    this.pending.replaceChildren();
    this.box.replaceChildren();
  }

  scrollToEnd(): void {
    this.flush();
    this.box.scrollTop = this.box.scrollHeight;
  }

  isAtEnd(): boolean {
    return this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_END;
  }

  /** The number of the first line on screen. */
  first(): number | null {
    return numberOf(this.box.querySelector(".log-line"));
  }

  /** Once a frame, however often lines come. */
  private draw(isFollowing: boolean): void {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.flush();
      if (isFollowing) this.box.scrollTop = this.box.scrollHeight;
    });
  }

  private flush(): void {
    if (!this.pending.hasChildNodes()) return;
    // What would be dropped at once is not laid out first.
    while (this.pending.childElementCount > MOST_LINES) this.pending.firstElementChild?.remove();
    this.box.append(this.pending);
    this.trim("start");
  }

  private trim(end: "start" | "end"): number {
    let dropped = 0;
    while (this.box.childElementCount > MOST_LINES) {
      (end === "start" ? this.box.firstElementChild : this.box.lastElementChild)?.remove();
      dropped++;
    }
    return dropped;
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
