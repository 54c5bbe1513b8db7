import { describe, expect, test } from "vitest";

import type { State } from "../../src/store/state";
import { takeDismissed, takeLost, takeOpening, takeSent } from "../../src/store/take";
import type { BoardState } from "../../src/wire";
import { run, story } from "../../dev/make";
import { after, ask, board, changed, from, hello, moved, said, stageOf } from "./frames";

describe("changes of the board", () => {
  test("a change replaces whole entries and leaves the others as they are", () => {
    const before = after(board(), hello());
    const state = from(before, moved(11, 1, "current"));
    expect(stageOf(state, 1)).toBe("current");
    expect(state.project?.stories.get(2)).toBe(before.project?.stories.get(2));
    expect(state.project?.runs).toBe(before.project?.runs);
  });

  test("a repeated or older change is dropped", () => {
    const state = from(after(board(), hello()), moved(12, 1, "qa"), moved(12, 1, "done"), moved(11, 1, "merge"), moved(10, 1, "done"));
    expect(stageOf(state, 1)).toBe("qa");
    expect(state.project?.seq).toBe(12);
  });

  test("numbers may be left out: the server sends some changes together", () => {
    const state = from(after(board(), hello()), moved(40, 1, "qa"), moved(57, 2, "done"));
    expect([stageOf(state, 1), stageOf(state, 2), state.project?.seq]).toEqual(["qa", "done", 57]);
  });

  test("stories and runs go, and the tail of a run goes with it", () => {
    const one = story(2, "Two", "current");
    const state = from(
      after(board({ runs: [run("r", one, "coder-1", "working")] }), hello()),
      { type: "tails", lines: { r: "hello", s: "still there" } },
      changed(11, { gone_stories: [1], gone_runs: ["r"] }),
    );
    expect([...(state.project?.stories.keys() ?? [])]).toEqual([2]);
    expect(state.project?.runs.size).toBe(0);
    expect(state.tails).toEqual({ s: "still there" });
  });

  test("queue and state are replaced only if the change has them", () => {
    const merges = [{ story: 1, title: "One", state: "queued" as const, ahead: 0, text: "", lines: [] }];
    const paused: BoardState = { base: "main", protection: "bubblewrap", paused: "The budget is spent.", problems: [], archived: 0, agents: [], spent_today: 20, budget_today: 20 };
    const state = from(after(board({ merges }), hello()), changed(11, { state: paused }), changed(12));
    expect(state.project?.merges).toBe(merges);
    expect(state.project?.state.paused).toBe("The budget is spent.");
  });

  test("without a board a change is dropped: the board that comes has it", () => {
    expect(after(hello(), moved(11, 1, "qa")).project).toBeNull();
  });
});

describe("a fresh board", () => {
  test("after `anew`, later changes wait for it, and those that it has are dropped", () => {
    const waiting = from(after(board(), hello()), { type: "anew" }, moved(21, 1, "current"), moved(23, 1, "qa"));
    expect(stageOf(waiting, 1), "the last known state stays on screen").toBe("backlog");
    const state = from(waiting, board({ seq: 22, stories: [story(1, "One", "merge")] }));
    expect(stageOf(state, 1)).toBe("qa");
    expect([state.held, state.project?.seq]).toEqual([null, 23]);
  });

  test("changes before a second `anew` are not kept", () => {
    const state = from(after(board(), hello()), { type: "anew" }, moved(21, 1, "current"), { type: "anew" }, board({ seq: 30 }));
    expect(stageOf(state, 1)).toBe("backlog");
  });
});

describe("a restart of the server", () => {
  test("is noticed by its boot id, and counts of before mean nothing", () => {
    const old = after(board({ seq: 900 }), hello());
    const noticed = from(old, hello({ boot: "b", seq: 3, at: 77 }));
    expect(noticed.restarted).toBe(77);
    expect(noticed.project?.seq, "what was known stays on screen").toBe(900);
    const state = from(noticed, { type: "anew" }, moved(4, 1, "qa"), board({ boot: "b", seq: 3 }));
    expect([stageOf(state, 1), state.project?.seq, state.project?.boot]).toEqual(["qa", 4, "b"]);
  });

  test("closes the questions of before, and says why", () => {
    const state = from(after(board({ questions: [ask(12)] }), hello()), hello({ boot: "b" }), board({ boot: "b", seq: 1 }));
    expect(state.project?.questions.get(12)?.outcome?.sentence).toMatch(/^storkit was restarted/);
  });

  test("the first connection is none", () => {
    expect(after(board(), hello()).restarted).toBeNull();
  });
});

/** The questions that people see, open or with their end. */
function shown(state: State): number[] {
  const { questions, dismissed } = state.project ?? { questions: new Map<number, unknown>(), dismissed: new Set<number>() };
  return [...questions.keys()].filter((id) => !dismissed.has(id));
}

describe("questions", () => {
  test("one that is settled elsewhere stays with its outcome until it is dismissed", () => {
    const outcome = { word: "denied", sentence: "Bob denied it in Slack.", at: 5 };
    const state = from(after(board({ questions: [ask(12)] }), hello()), changed(11, { questions: [ask(12, { outcome })] }));
    expect(state.project?.questions.get(12)?.outcome).toEqual(outcome);
    expect(shown(state)).toEqual([12]);
    expect(shown(takeDismissed(state, 12))).toEqual([]);
  });

  test("one that ended before the page was opened, or while nobody saw it, is no news", () => {
    const outcome = { word: "deny", sentence: "<p>Bob denied it.</p>", at: 5 };
    const state = from(after(board({ questions: [ask(11, { outcome }), ask(12)] }), hello()), changed(11, { questions: [ask(13, { outcome })] }));
    expect(shown(state)).toEqual([12]);
    expect(state.project?.questions.get(11)?.outcome, "its own address still shows it").toEqual(outcome);
  });

  test("one that was dismissed does not come back with a fresh board", () => {
    const outcome = { word: "deny", sentence: "<p>Bob denied it.</p>", at: 5 };
    const settled = from(after(board({ questions: [ask(12)] }), hello()), changed(11, { questions: [ask(12, { outcome })] }));
    const state = from(takeDismissed(settled, 12), { type: "anew" }, board({ seq: 50, questions: [ask(12, { outcome })] }));
    expect(shown(state)).toEqual([]);
    expect(shown(from(settled, { type: "anew" }, board({ seq: 50, questions: [ask(12, { outcome })] })))).toEqual([12]);
  });

  test("an open one cannot be dismissed", () => {
    const state = after(board({ questions: [ask(12)] }), hello());
    expect(takeDismissed(state, 12)).toBe(state);
  });

  test("one that was closed while the page was away says so, and a settled one keeps its outcome", () => {
    const outcome = { word: "denied", sentence: "Bob denied it in Slack.", at: 5 };
    const before = from(after(board({ questions: [ask(12), ask(13)] }), hello()), changed(11, { questions: [ask(13, { outcome })] }));
    const state = from(before, { type: "anew" }, board({ seq: 50, questions: [ask(14)] }));
    const sentences = [...(state.project?.questions.values() ?? [])].map((one) => [one.id, one.outcome?.sentence ?? null]);
    expect(sentences).toEqual([
      [14, null],
      [12, "It was closed while this page was not connected."],
      [13, "Bob denied it in Slack."],
    ]);
  });
});

describe("messages", () => {
  test("are in order of time, and an edit takes the place of its message", () => {
    const state = after(said("a", { at: 1 }), said("c", { at: 3 }), said("b", { at: 2 }), said("a", { at: 1, html: "edited", live: true }));
    const room = state.rooms.get("web:ann");
    expect(room?.messages.map((one) => one.id)).toEqual(["a", "b", "c"]);
    expect(room?.messages[0]?.html).toBe("edited");
  });

  test("messages of the same moment stay in the order in which they came", () => {
    const state = after(said("a", { at: 1 }), said("b", { at: 1 }), said("c", { at: 1 }));
    expect(state.rooms.get("web:ann")?.messages.map((one) => one.id)).toEqual(["a", "b", "c"]);
  });

  test("earlier ones go before those that are there, and the start is known", () => {
    const opened = after(said("m8", { at: 8 }), said("m9", { at: 9 }), { type: "opened", room: "web:ann", more: true });
    const state = from(opened, said("m6", { at: 6 }), said("m7", { at: 7 }), { type: "opened", room: "web:ann", more: false });
    const room = state.rooms.get("web:ann");
    expect([room?.messages.map((one) => one.id), room?.more, room?.opened]).toEqual([["m6", "m7", "m8", "m9"], false, true]);
  });

  test("after a short cut nothing is doubled, and what was paged back stays", () => {
    const before = after(said("a", { at: 1 }), said("b", { at: 2 }), { type: "opened", room: "web:ann", more: false });
    const state = from(takeOpening(before, "web:ann"), said("b", { at: 2 }), said("c", { at: 3 }), { type: "opened", room: "web:ann", more: true });
    const room = state.rooms.get("web:ann");
    expect([room?.messages.map((one) => one.id), room?.more]).toEqual([["a", "b", "c"], false]);
  });

  test("after a long cut the new page stands alone: a gap between would not show", () => {
    const before = after(said("a", { at: 1 }), { type: "opened", room: "web:ann", more: false });
    const state = from(takeOpening(before, "web:ann"), said("x", { at: 90 }), said("y", { at: 91 }), { type: "opened", room: "web:ann", more: true });
    const room = state.rooms.get("web:ann");
    expect([room?.messages.map((one) => one.id), room?.more]).toEqual([["x", "y"], true]);
  });
});

describe("what this page sent", () => {
  const sent = (state = after(board(), hello())) => takeSent(state, 7, "web:ann");

  test("becomes a message and gets the answer to it, with later edits of the answer", () => {
    const state = from(sent(), { type: "taken", ticket: 7, message: "m1" }, said("m2", { reply_to: "m1" }), said("m2", { reply_to: "m1", html: "edited" }));
    expect(state.sent.get(7)).toMatchObject({ message: "m1", refused: null, answer: { html: "edited" } });
  });

  test("finds an answer that came before the ticket", () => {
    const state = from(sent(), said("m2", { reply_to: "m1" }), { type: "taken", ticket: 7, message: "m1" });
    expect(state.sent.get(7)?.answer?.id).toBe("m2");
  });

  test("an answer to somebody else's message is none", () => {
    const state = from(sent(), { type: "taken", ticket: 7, message: "m1" }, said("m3", { reply_to: "m0" }));
    expect(state.sent.get(7)?.answer).toBeNull();
  });

  test("a refusal has its reason", () => {
    expect(from(sent(), { type: "refused", ticket: 7, why: "Too long." }).sent.get(7)?.refused).toBe("Too long.");
  });

  test("a cut leaves it open whether it arrived, and says so; what was answered stays", () => {
    const answered = from(sent(), { type: "taken", ticket: 7, message: "m1" }, said("m2", { reply_to: "m1" }));
    const state = takeLost(takeSent(answered, 8, "web:ann"));
    expect(state.sent.get(7)?.refused).toBeNull();
    expect(state.sent.get(8)?.refused).toMatch(/^The connection broke/);
  });

  test("is forgotten after many others", () => {
    let state = after();
    for (let ticket = 1; ticket <= 100; ticket++) state = takeSent(state, ticket, "web:ann");
    expect([state.sent.size, state.sent.has(100), state.sent.has(1)]).toEqual([60, true, false]);
  });

  test("an unknown ticket changes nothing", () => {
    const state = after(board(), hello());
    expect(from(state, { type: "taken", ticket: 99, message: "m" }).sent).toBe(state.sent);
  });
});

describe("the connection", () => {
  test("tells the server's clock, and each beat corrects it", () => {
    expect(after(board(), hello()).skew).toBe(5_000);
    expect(after(board(), hello(), { type: "beat", at: 1_000_900 }).skew).toBe(900);
  });

  test("a newer page is one that differs from the first", () => {
    const first = after(hello({ build: "1" }));
    expect(first.newer).toBe(false);
    expect(from(first, hello({ build: "1" })).newer).toBe(false);
    expect(from(first, hello({ build: "2" })).newer).toBe(true);
  });

  test("a last frame that allows no other connection ends the session", () => {
    expect(after({ type: "bye", why: "Revoked by Bob.", again: false }).ended).toBe("Revoked by Bob.");
    expect(after({ type: "bye", why: "Too slow.", again: true }).ended).toBeNull();
  });

  test("activity and tails are the newest", () => {
    const state = after({ type: "activity", room: "r", state: "working" }, { type: "tails", lines: { a: "1", b: "1" } }, { type: "tails", lines: { a: "2" } });
    expect(state.rooms.get("r")?.activity).toBe("working");
    expect(state.tails).toEqual({ a: "2", b: "1" });
  });

  test("output of runs is not kept in the state", () => {
    const state = after(board());
    expect(from(state, { type: "lines", run: "r", from: 1, lines: ["x"], over: false })).toBe(state);
  });
});
