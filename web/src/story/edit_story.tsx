// Changes a story's title and text, who reviews it, and what it waits for, by the command `edit`.

import { draft } from "../live/drafts";
import { useSender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { Press } from "../parts/press";
import { whyNot } from "../store/store";
import type { StoryCard } from "../wire";

type Draft = {
  title: string;
  body: string;
  isReviewed: boolean;
  after: string;
  /** The text that it began with: if the story has changed since, the person is told. */
  of: string;
};

/** The draft stays until it is saved or discarded. */
export function EditStory({ story, markdown, onClose }: { story: StoryCard; markdown: string; onClose(): void }) {
  const begun = draft<Draft | null>(`edit.${story.id}`, null);
  const now: Draft = { title: story.title, body: markdown, isReviewed: story.manual_qa, after: story.depends_on.join(", "), of: markdown };
  const text = begun.value ? onNewText(begun.value, markdown) : now;
  const senders = [useSender(), useSender(), useSender()] as const;
  const change = (part: Partial<Draft>) => (begun.value = { ...text, ...part });
  const commands = commandsFor(story.id, now, text);
  // From the backlog on, agents rely on what it says.
  const role = story.stage === "backlog" ? "user" : "approver";
  const save = () => {
    if (commands.length === 0) return senders[0].refuse("Nothing has changed.");
    commands.forEach((command, at) => senders[at]?.send({ say: command }));
  };
  const close = () => {
    begun.value = null;
    onClose();
  };
  return (
    <form class="form" aria-label={`Edit story ${story.id}`} onSubmit={(event) => event.preventDefault()}>
      {text.of !== markdown && text.body.trim() !== markdown.trim() && (
        <p class="bar warn">
          The story has changed since you began. Saving replaces its text.
          <Press kind="quiet" onPress={() => change({ body: markdown, of: markdown })}>
            Take the new text
          </Press>
        </p>
      )}
      <label>
        Title
        <input type="text" data-kept value={text.title} onInput={(event) => change({ title: event.currentTarget.value })} />
      </label>
      <label>
        Text, as Markdown
        <textarea data-kept class="mono" rows={14} value={text.body} onInput={(event) => change({ body: event.currentTarget.value })} />
      </label>
      <label>
        After the stories (numbers)
        <input type="text" data-kept inputMode="numeric" value={text.after} onInput={(event) => change({ after: event.currentTarget.value })} />
      </label>
      <label class="check">
        <input type="checkbox" checked={text.isReviewed} onChange={(event) => change({ isReviewed: event.currentTarget.checked })} />
        <span>A person reviews it</span>
      </label>
      <div class="row">
        <Press kind="primary" why={whyNot(role)} onRefused={senders[0].refuse} onPress={save}>
          Save
        </Press>
        <Press kind="quiet" onPress={close}>
          {commands.length === 0 ? "Close" : "Discard my changes"}
        </Press>
      </div>
      {senders.map((sender, at) => (
        <Outcome key={at} sender={sender} />
      ))}
    </form>
  );
}

/** A text that the person has not touched follows the story's. */
function onNewText(begun: Draft, markdown: string): Draft {
  return begun.body === begun.of ? { ...begun, body: markdown, of: markdown } : begun;
}

/** At most three: text and title together, the review, the dependencies. */
function commandsFor(id: number, before: Draft, after: Draft): string[] {
  const title = after.title.replace(/\s+/g, " ").trim();
  const newTitle = title !== "" && title !== before.title ? ` title ${title}` : "";
  const newBody = after.body.trim() !== before.body.trim() ? `\n${after.body.trim()}` : "";
  const numbers = (text: string) => text.match(/\d+/g)?.join(", ") ?? "none";
  return [
    newTitle || newBody ? `edit ${id}${newTitle}${newBody}` : "",
    after.isReviewed !== before.isReviewed ? `edit ${id} qa ${after.isReviewed ? "on" : "off"}` : "",
    numbers(after.after) !== numbers(before.after) ? `edit ${id} after ${numbers(after.after)}` : "",
  ].filter(Boolean);
}
