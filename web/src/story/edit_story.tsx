// Changes a story's title and text, each by a command of its own.

import { useSignal } from "@preact/signals";

import { draft } from "../live/drafts";
import { useSender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { Press } from "../parts/press";
import { whyNot } from "../store/store";
import type { StoryCard } from "../wire";

type Draft = { title: string; body: string; of: string };

/** The draft stays until it is saved. `of` is the text that it began with: if the story has changed since, the person is told. */
export function EditStory({ story, markdown, onClose }: { story: StoryCard; markdown: string; onClose(): void }) {
  const begun = draft<Draft | null>(`edit.${story.id}`, null);
  const { title, body, of } = begun.value ?? { title: story.title, body: markdown, of: markdown };
  const why = useSignal<string | null>(null);
  const titleSender = useSender();
  const bodySender = useSender();
  const change = (part: Partial<Draft>) => (begun.value = { title, body, of, ...part });
  const save = () => {
    why.value = whyNot("user");
    if (why.value !== null) return;
    const newTitle = title.replace(/\s+/g, " ").trim();
    if (newTitle !== "" && newTitle !== story.title) titleSender.send({ say: `edit ${story.id} title ${newTitle}` });
    if (body.trim() !== markdown.trim()) bodySender.send({ say: `edit ${story.id}\n${body.trim()}` });
  };
  const close = () => {
    begun.value = null;
    onClose();
  };
  const isSaved = title.trim() === story.title && body.trim() === markdown.trim();
  return (
    <form class="form" aria-label={`Edit story ${story.id}`} onSubmit={(event) => event.preventDefault()}>
      {of !== markdown && !isSaved && (
        <p class="bar warn">
          The story has changed since you began. Saving replaces its text.{" "}
          <Press kind="quiet" onPress={() => change({ body: markdown, of: markdown })}>
            Take the new text
          </Press>
        </p>
      )}
      <label>
        Title
        <input type="text" data-kept value={title} onInput={(event) => change({ title: event.currentTarget.value })} />
      </label>
      <label>
        Text, as Markdown
        <textarea data-kept class="mono" rows={14} value={body} onInput={(event) => change({ body: event.currentTarget.value })} />
      </label>
      <div class="row">
        <Press kind="primary" why={whyNot("user")} onRefused={(reason) => (why.value = reason)} onPress={save}>
          Save
        </Press>
        <Press kind="quiet" onPress={close}>
          {isSaved ? "Close" : "Discard my changes"}
        </Press>
      </div>
      <Outcome sender={titleSender} why={why.value} onDismiss={() => {
        why.value = null;
        titleSender.clear();
      }} />
      <Outcome sender={bodySender} />
    </form>
  );
}
