import { expect, test } from "vitest";

import { pageOf, questionPath, roomPath, runPath, storyPath, TABS } from "../../src/address";

test("every page has an address", () => {
  expect(pageOf("/")).toEqual({ page: "now" });
  for (const page of ["board", "cost", "me", "login", "archive"]) expect(pageOf(`/${page}`)).toEqual({ page });
  for (const tab of TABS) expect(pageOf(storyPath(7, tab))).toEqual({ page: "story", id: 7, tab });
  expect(pageOf(questionPath(12))).toEqual({ page: "question", id: 12 });
  expect(pageOf(runPath("5/a b"))).toEqual({ page: "run", id: "5/a b" });
  expect(pageOf(roomPath("web:ann/2"))).toEqual({ page: "chat", room: "web:ann/2" });
  expect(pageOf("/chat")).toEqual({ page: "chat", room: null });
});

test("any other address leads nowhere", () => {
  for (const path of ["/x", "/story", "/story/x", "/story/7/x", "/story/7/text/x", "/q/", "/q/1x", "/run", "/run/", "/board/x", "/story/99999999999", "/%"]) {
    expect(pageOf(path), path).toEqual({ page: "nothing" });
  }
});
