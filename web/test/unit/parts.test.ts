import { describe, expect, test } from "vitest";

import { isSameLayout, layoutOf, movesBetween } from "../../src/board/layout";
import { commentOn, lineKey, outdated, reasonOf, withComment } from "../../src/diff/review";
import { admitted, FILE_MAX } from "../../src/files/chosen";
import { waitBefore } from "../../src/live/backoff";
import { countdown, count, size, span, usd } from "../../src/parts/format";
import { beginningOf, withoutTitle } from "../../src/parts/plain_text";
import { safeHtml } from "../../src/parts/safe_html";
import { hasHidden, visiblePieces } from "../../src/parts/visible";
import { actOf, answerInWords, messengersOf } from "../../src/question/choice";
import { addLines, earlier, noLines } from "../../src/run/log";
import { call, question, story } from "../../dev/make";

describe("connecting again", () => {
  test("waits from 0.3 s to 10 s, spread by chance", () => {
    expect([0, 1, 2, 5, 20].map((failures) => waitBefore(failures, 1))).toEqual([300, 600, 1200, 9600, 10_000]);
    expect([0, 5, 20].map((failures) => waitBefore(failures, 0))).toEqual([300, 300, 300]);
  });
});

describe("lines of a log", () => {
  const lines = (from: number, ...text: string[]) => ({ from, lines: text, over: false });

  test("the first lines begin wherever they do", () => {
    const added = addLines(noLines, lines(1205, "a", "b"));
    expect(added).toMatchObject({ lines: { first: 1205, next: 1207 }, fresh: ["a", "b"], from: 1205, gap: null });
  });

  test("what is on screen already is dropped, wholly or in part", () => {
    const now = { first: 1, next: 4, over: false };
    expect(addLines(now, lines(1, "a", "b", "c"))).toMatchObject({ lines: now, fresh: [], gap: null });
    expect(addLines(now, lines(3, "c", "d"))).toMatchObject({ fresh: ["d"], from: 4, lines: { next: 5 }, gap: null });
  });

  test("missing lines are known by their numbers", () => {
    expect(addLines({ first: 1, next: 4, over: false }, lines(8, "h")).gap).toEqual({ from: 4, to: 7 });
  });

  test("the end is known without a line", () => {
    expect(addLines({ first: 1, next: 4, over: false }, { from: 4, lines: [], over: true }).lines).toEqual({ first: 1, next: 4, over: true });
  });

  test("earlier lines stop at the first", () => {
    expect(earlier(1205, 500)).toEqual({ from: 705, count: 500 });
    expect(earlier(100, 500)).toEqual({ from: 1, count: 99 });
    expect(earlier(1, 500)).toEqual({ from: 1, count: 0 });
  });
});

describe("HTML of the server", () => {
  test("what Markdown becomes passes", () => {
    const html = '<p>a <strong>b</strong> &lt;i&gt;<br>c</p><ol start="3"><li>x</li></ol><pre><code>y</code></pre>';
    expect(safeHtml(html)).toBe(html);
  });

  test("everything else is shown as text", () => {
    expect(safeHtml("<script>alert(1)</script>")).toBe("&lt;script>alert(1)&lt;/script>");
    expect(safeHtml('<img src=x onerror="alert(1)">')).toBe('&lt;img src=x onerror="alert(1)">');
    expect(safeHtml("<button>Allow</button>")).toBe("&lt;button>Allow&lt;/button>");
    expect(safeHtml("<!-- x --><p")).toBe("&lt;!-- x -->&lt;p");
    expect(safeHtml("<p onclick=go()>")).toBe("&lt;p onclick=go()>");
  });

  test("of attributes only plain links, list starts and alignments stay", () => {
    expect(safeHtml('<p class="press primary" style="color:red">x</p>')).toBe("<p>x</p>");
    expect(safeHtml('<a href="https://e.org/a?b=1&amp;c" onclick="x()">y</a>')).toBe(
      '<a href="https://e.org/a?b=1&amp;c" rel="noreferrer" target="_blank">y</a>',
    );
    for (const address of ["javascript:alert(1)", " javascript:x", "java&#115;cript:x", "data:text/html,x", "//evil.example"]) {
      expect(safeHtml(`<a href="${address}">y</a>`), address).toBe("<a>y</a>");
    }
  });

  test("headings come below those of the page", () => {
    expect(safeHtml("<h1>a</h1><h2>b</h2><h6>c</h6>")).toBe("<h3>a</h3><h4>b</h4><h6>c</h6>");
    expect(safeHtml("<h2>a</h2><h3>b</h3>")).toBe("<h3>a</h3><h4>b</h4>");
  });
});

describe("characters that cannot be seen", () => {
  const shown = (text: string) => visiblePieces(text).map((piece) => (piece.isHidden ? `[${piece.text}]` : piece.text)).join("");

  test("are spelled out", () => {
    expect(shown("ls \u202efr- mr\u200b; \u001b[8mrm")).toBe("ls [U+202E]fr- mr[U+200B]; [U+001B][8mrm");
    expect(shown("a\u00a0b\u2066c\u2800d\ufeff\u{e0041}\u2028")).toBe("a[U+00A0]b[U+2066]c[U+2800]d[U+FEFF][U+E0041][U+2028]");
    expect(shown("a\r\nb")).toBe("a[U+000D]\nb");
  });

  test("marks that cover their neighbours are, too", () => {
    expect(shown("a\u0301\u0302\u0303b")).toBe("a\u0301\u0302[U+0303]b");
    expect(shown("rm -\u0338x")).toBe("rm -[U+0338]x");
  });

  test("plain text and code stay as they are", () => {
    for (const text of ["ls -l", "if x {\n\ty();\n}", "naïve café, Ελληνικά, 日本語, हिन्दी", "🦀 ok", "привет", "e\u0301"]) {
      expect(hasHidden(text), text).toBe(false);
    }
  });
});

describe("answers", () => {
  test("a choice's key tells what it does, and an unknown one is no denial", () => {
    expect(["q:12:yes", "q:12:no", "q:12:always", "q:12:try", "q:12:keep3", "q:12:2", "cmd:stop", "no"].map(actOf)).toEqual([
      "yes",
      "no",
      "always",
      "try",
      "keep",
      "option",
      "other",
      "other",
    ]);
  });

  test("words name the question, so that no other one takes them", () => {
    expect(answerInWords(question(12, call("ls")), "use cp")).toBe("no 12 use cp");
    expect(answerInWords(question(13, { form: "plan", html: "" }), "smaller")).toBe("no 13 smaller");
    const options = question(14, { form: "options", question: "?", options: [], several: true });
    expect(answerInWords(options, "1, 3")).toBe("#14 1, 3");
  });
});

test("a question says in which messengers it was asked", () => {
  expect(messengersOf(question(1, call("ls"), { rooms: ["slack:C1", "web:ann", "slack:C2", "matrix:!a:b"] }))).toEqual(["Slack", "Matrix"]);
});

describe("a review", () => {
  const line = { old: null, new: 13, text: "    passkey: Key) {" };
  const removed = { old: 20, new: null, text: "old();" };
  const review = withComment(withComment({ comments: [], summary: "" }, "src/b.rs", removed, "why?"), "src/auth.rs", line, "no unwrap here");

  test("becomes a reason with place, line and words, in the order of the files", () => {
    expect(reasonOf({ ...review, summary: "Nearly there." })).toBe(
      "Nearly there.\n\nsrc/auth.rs:13\n> passkey: Key) {\nno unwrap here\n\nsrc/b.rs:20 (removed)\n> old();\nwhy?",
    );
  });

  test("a second comment on a line replaces the first, and an empty one removes it", () => {
    const changed = withComment(review, "src/auth.rs", line, "later");
    expect(commentOn(changed, "src/auth.rs", line)?.text).toBe("later");
    expect(withComment(changed, "src/auth.rs", line, " ").comments).toHaveLength(1);
  });

  test("comments on lines that have changed since are known", () => {
    expect(outdated(review, new Set([lineKey("src/b.rs", removed)])).map((one) => one.path)).toEqual(["src/auth.rs"]);
  });
});

describe("the board's layout", () => {
  const stories = [story(3, "Doors", "current"), story(1, "Bell", "backlog", { kind: "bug" }), story(2, "Frames", "merge"), story(4, "Locks", "merge")];
  const merges = [4, 2].map((id, ahead) => ({ story: id, title: "", state: "queued" as const, ahead, text: "", lines: [] }));

  test("columns are in order, and merge is in the order of the queue", () => {
    expect(layoutOf(stories, merges, "")).toEqual({ backlog: [1], current: [3], qa: [], merge: [4, 2], done: [] });
  });

  test("a search finds words of title, kind and number", () => {
    const found = (query: string) => Object.values(layoutOf(stories, merges, query)).flat();
    expect([found("bell"), found("BUG bell"), found("#3"), found("bell doors")]).toEqual([[1], [1], [3], []]);
  });

  test("moves are counted by story", () => {
    const before = layoutOf(stories, merges, "");
    const after = layoutOf([story(3, "Doors", "qa"), story(1, "Bell", "backlog"), story(2, "Frames", "merge"), story(5, "New", "backlog")], merges, "");
    expect(movesBetween(before, after)).toBe(3);
    expect(isSameLayout(before, layoutOf([...stories], merges, ""))).toBe(true);
  });
});

test("of chosen files those go that fit, and the reason for the others is said", () => {
  const file = (name: string, size = 1) => ({ name, size });
  const ten = Array.from({ length: 10 }, (_, at) => file(`${at}`));
  expect(admitted(0, ten)).toEqual({ taken: ten, why: null });
  expect(admitted(3, ten)).toEqual({ taken: ten.slice(0, 7), why: "At most 10 files go with one message." });
  expect(admitted(10, [])).toEqual({ taken: [], why: null });
  expect(admitted(0, [file("a"), file("film", FILE_MAX + 1), file("b", FILE_MAX)])).toEqual({
    taken: [file("a"), file("b", FILE_MAX)],
    why: "“film” is larger than 32 MB.",
  });
  expect([size(900), size(12_345), size(3_400_000)]).toEqual(["900 B", "12 kB", "3.4 MB"]);
});

test("times, amounts and counts are as people say them", () => {
  expect([span(0), span(59_999), span(60_000), span(3_600_000), span(3 * 86_400_000)]).toEqual(["0 s", "59 s", "1 min", "1 h", "3 d"]);
  expect([countdown(252_000), countdown(900), countdown(-5), countdown(3_700_000)]).toEqual(["4:12", "0:01", "0:00", "1 h 1 min"]);
  expect([usd(0), usd(0.001), usd(4.1)]).toEqual(["$0.00", "<$0.01", "$4.10"]);
  expect([count(1, "story", "stories"), count(1200, "line")]).toEqual(["1 story", "1,200 lines"]);
  expect(beginningOf("<p>a &lt;b&gt; <strong>c</strong></p>")).toBe("a <b> c");
  expect(withoutTitle("<h1>A &amp; B</h1>\n<p>c</p>", "A & B")).toBe("\n<p>c</p>");
  expect(withoutTitle("<h1>A</h1><p>c</p>", "B")).toBe("<h1>A</h1><p>c</p>");
});
