// Projects to play: a lively shop, an empty one, and one with a thousand stories.

import type { BoardState, StoryCard } from "../src/wire";
import { call, diff, file, message, question, run, story } from "./make";
import { Project } from "./project";

export type SceneName = "shop" | "empty" | "thousand";

const STATE: BoardState = {
  base: "main",
  protection: "bubblewrap",
  paused: null,
  problems: [],
  archived: 0,
  agents: [
    { name: "coder", role: "coder", workers: 2 },
    { name: "opus", role: "coder", workers: 1 },
    { name: "qa", role: "qa", workers: 1 },
    { name: "mergemaster", role: "mergemaster", workers: 1 },
  ],
  spent_today: 4.1,
  budget_today: 20,
};

export function scene(name: SceneName): Project {
  switch (name) {
    case "shop":
      return shop();
    case "empty":
      return new Project("shop", { ...STATE, spent_today: 0, problems: ["Agents have no key: set `ANTHROPIC_API_KEY`, or run `storkit init`."] });
    case "thousand":
      return thousand();
  }
}

function shop(): Project {
  const project = new Project("shop", { ...STATE, archived: 214 });
  const stories = [
    story(3, "Say in the README what the doors do", "current", { criteria: 2, ticked: 1, cost_usd: 0.12 }),
    story(4, "Hinges are oiled once a month", "merge", { criteria: 3, ticked: 3, cost_usd: 0.84 }),
    story(5, "The door squeaks when it is opened slowly", "current", { kind: "bug", criteria: 4, ticked: 2, cost_usd: 0.31 }),
    story(6, "The bell rings only once", "current", {
      kind: "bug",
      wanted: "retry",
      waits: "a gate failed 3 times",
      retries: 3,
      criteria: 2,
      ticked: 2,
      cost_usd: 2.05,
    }),
    story(7, "Let people sign in with a passkey", "qa", { wanted: "review", manual_qa: true, criteria: 4, ticked: 4, cost_usd: 1.2 }),
    story(8, "Knobs turn in both directions", "merge", { criteria: 1, ticked: 1, cost_usd: 0.4 }),
    story(9, "Locks can be opened from inside without a key", "qa", { criteria: 3, ticked: 2, cost_usd: 0.66 }),
    story(10, "Try a lighter material for the frame", "backlog", { kind: "spike" }),
    story(11, "Doors report their state to the panel over MQTT, with a retained message for each floor", "backlog", { criteria: 5 }),
    story(12, "Chimes for visitors", "backlog", { depends_on: [7], waits: "waits for story 7", criteria: 2 }),
    story(13, "Keys are counted", "backlog", { criteria: 1 }),
    story(14, "Rename the handle module", "backlog", { kind: "refactor", quarantine: "An agent wrote it after reading text by strangers." }),
    story(1, "Frames are square", "done", { criteria: 2, ticked: 2, cost_usd: 0.75 }),
    story(2, "Doors close by themselves", "done", { criteria: 3, ticked: 3, cost_usd: 1.1 }),
  ];
  for (const one of stories) addText(project, one);
  const of = (id: number) => project.stories.get(id) as StoryCard;
  for (const made of [
    run("5-coder-1-2", of(5), "coder-1", "gates"),
    run("3-coder-2-1", of(3), "coder-2", "working", { cost_usd: 0.12, since: Date.now() - 90_000 }),
    run("9-qa-1", of(9), "qa", "reviewing", { cost_usd: 0.2 }),
  ]) {
    project.runs.set(made.id, made);
    project.logs.set(made.id, { story: made.story, lines: firstLines(made.worker), over: false });
  }
  project.logs.set("7-coder-1-1", { story: 7, lines: firstLines("coder-1"), over: true });
  project.merges = [
    { story: 4, title: of(4).title, state: "running", ahead: 0, text: "gates: script/test (2 of 3), 1m 40s", lines: [] },
    { story: 8, title: of(8).title, state: "queued", ahead: 1, text: "", lines: [] },
    {
      story: 6,
      title: of(6).title,
      state: "gate_failed",
      ahead: 0,
      text: "script/test ended with 101 on the merged result.",
      lines: ["test bell::rings_twice ... FAILED", "assertion `left == right` failed", "  left: 1", " right: 2"],
    },
  ];
  const command = "printf '# Doors\\nA door opens, closes and says so.\\n' > README.md \\\n  && git add README.md \\\n  && git commit -qm 'say what we do'";
  project.questions.set(12, question(12, call(command, { always: "git commit *" })));
  project.diffs.set(7, passkeyDiff());
  project.diffs.set(4, diff(file("src/hinge.rs", 10, " fn oil(&mut self) {\n-    self.dry = true;\n+    self.dry = false;\n }")));
  talk(project);
  return project;
}

export function addText(project: Project, card: StoryCard): void {
  project.stories.set(card.id, card);
  const criteria = Array.from({ length: card.criteria }, (_, at) => ({
    text: CRITERIA[at % CRITERIA.length] ?? "",
    done: at < card.ticked,
  }));
  const list = criteria.map((one) => `- [${one.done ? "x" : " "}] ${one.text}`).join("\n");
  project.texts.set(card.id, {
    markdown: `${card.title}. People have asked for it twice.\n\nSee \`src/door.rs\`.\n\n## Acceptance criteria\n\n${list}`,
    criteria,
  });
}

const CRITERIA = [
  "A slow opening makes no sound at any angle",
  "The test covers the hinge at −10 °C",
  "The log says which hinge was oiled, and when",
  "No new dependency",
  "The panel shows it within a second",
];

function firstLines(worker: string): string[] {
  return [
    `I am ${worker}. I look at the hinge first.`,
    "• Read src/hinge.rs ✓",
    "• Bash cargo test -p hinge ✗ 1 failed",
    "The third test expects a dry hinge. I fix `oil` and run it again.",
    "• Edit src/hinge.rs ✓",
    "• Bash cargo test -p hinge ✓",
  ];
}

function passkeyDiff() {
  return diff(
    file(
      "src/auth.rs",
      9,
      [
        " use crate::store::Store;",
        " ",
        "-fn login(name: &str, password: &str) -> Option<Session> {",
        "-    Store::open()?.check(name, password)",
        "+fn login(name: &str, passkey: Key) -> Option<Session> {",
        "+    let store = Store::open().unwrap();",
        "+    store.check(name, &passkey)",
        " }",
        " ",
        "+/// The challenge is used once.",
        "+pub fn challenge(store: &mut Store) -> Challenge {",
        "+    store.new_challenge(Duration::from_secs(120))",
        "+}",
      ].join("\n"),
    ),
    file("tests/passkey.rs", 1, "+#[test]\n+fn a_passkey_opens_the_door() {\n+    assert!(login(\"ann\", key()).is_some());\n+}", { status: "added" }),
    file("assets/key.png", 1, " ", { status: "added", binary: true, hunks: [] }),
    file("src/password.rs", 1, "-pub fn check(_: &str) -> bool {\n-    true\n-}", { status: "removed" }),
  );
}

function talk(project: Project): void {
  const ann = "web:ann";
  const said = message(ann, "Ann", "<p>status</p>", { at: Date.now() - 600_000 });
  project.messages.set(ann, [
    message(ann, null, "<p>You are signed in. Say <code>help</code> for what I can do.</p>", { tone: "notice", at: Date.now() - 700_000 }),
    said,
    message(
      ann,
      null,
      "<p><strong>3 runs</strong>, 2 merges.</p><ul><li>5 The door squeaks: coder-1, gates</li><li>3 README: coder-2 asks question 12</li></ul>",
      { reply_to: said.id, at: Date.now() - 599_000 },
    ),
    message(ann, null, "<p>Question 12</p>", { tone: "question", question: 12, at: Date.now() - 20_000 }),
  ]);
  project.messages.set("web:team", [
    message("web:team", "Bob", "<p>Who takes the bell?</p>", { at: Date.now() - 5_000_000 }),
    message("web:team", null, "<p>Story 2 was merged: <em>Doors close by themselves</em>.</p>", { tone: "notice", at: Date.now() - 4_000_000 }),
  ]);
}

function thousand(): Project {
  const project = new Project("warehouse", { ...STATE, archived: 9000 });
  const stages = ["backlog", "current", "qa", "merge", "done"] as const;
  for (let id = 1; id <= 1000; id++) {
    const stage = stages[id % 5] ?? "backlog";
    addText(project, story(id, `Shelf ${id} is labelled on both sides`, stage, { criteria: 3, ticked: id % 4, cost_usd: (id % 7) / 3 }));
  }
  return project;
}
