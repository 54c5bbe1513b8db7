// The form for a new story: kind, title, acceptance criteria, and what else there is to say.

import { chosenFiles } from "../files/chosen";
import { FilePicker } from "../files/picker";
import { draft } from "../live/drafts";
import { useSender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { Press } from "../parts/press";
import { whyNot } from "../store/store";

const KINDS = ["story", "bug", "spike", "refactor"] as const;
type Draft = { kind: string; title: string; criteria: string; about: string };
const EMPTY: Draft = { kind: "story", title: "", criteria: "", about: "" };

export function NewStory({ isOpen = false, onDone }: { isOpen?: boolean; onDone?(): void }) {
  const text = draft<Draft>("new-story", EMPTY);
  const files = chosenFiles("new-story");
  const sender = useSender({
    onAnswered({ answer }) {
      if (answer?.tone === "failure") return;
      text.value = EMPTY;
      files.clear();
    },
    onRefused: files.forgetUploads,
  });
  const { kind, title, criteria, about } = text.value;
  const submit = () => {
    const why = whyNot("user") ?? (title.trim() ? null : "It needs a title.");
    if (why !== null) return sender.refuse(why);
    const words = [`new ${kind} ${oneLine(title)}`, about.trim(), listed(criteria)].filter(Boolean).join("\n\n");
    void files.sendWith(sender, words);
  };
  return (
    <form
      class="card form"
      aria-label="New story"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <div class="row">
        <label>
          Kind
          <select value={kind} onChange={(event) => (text.value = { ...text.value, kind: event.currentTarget.value })}>
            {KINDS.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <label class="grow">
          Title
          <input
            type="text"
            data-kept
            value={title}
            placeholder="Let people sign in with a passkey"
            onInput={(event) => (text.value = { ...text.value, title: event.currentTarget.value })}
          />
        </label>
      </div>
      <label>
        Acceptance criteria, one a line
        <textarea
          data-kept
          rows={isOpen ? 4 : 3}
          value={criteria}
          onInput={(event) => (text.value = { ...text.value, criteria: event.currentTarget.value })}
        />
      </label>
      <label>
        More about it, if there is more to say
        <textarea data-kept rows={2} value={about} onInput={(event) => (text.value = { ...text.value, about: event.currentTarget.value })} />
      </label>
      <FilePicker files={files} />
      <div class="row">
        <Press kind="primary" onPress={submit} why={whyNot("user")} onRefused={sender.refuse}>
          Add to the backlog
        </Press>
        {onDone && (
          <Press kind="quiet" onPress={onDone}>
            Close
          </Press>
        )}
      </div>
      <Outcome sender={sender} />
    </form>
  );
}

/** A command ends at its line: a title must not smuggle in a second one. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** Criteria as the story's file has them, whatever marks they were typed with. */
function listed(criteria: string): string {
  const lines = criteria.split("\n").map((line) => line.replace(/^\s*(?:[-*]|\d+[.)])?\s*(?:\[[ xX]?\])?\s*/, "").trim());
  return lines
    .filter(Boolean)
    .map((line) => `- [ ] ${line}`)
    .join("\n");
}
