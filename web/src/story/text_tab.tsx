// What the story says: its text, its acceptance criteria, its files; and the form to edit it.

import { useSignal } from "@preact/signals";

import { Html } from "../parts/html";
import { Press } from "../parts/press";
import { useSender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { whyNot } from "../store/store";
import type { StoryCard, StoryView } from "../wire";
import { EditStory } from "./edit_story";

export function TextTab({ view, story }: { view: StoryView; story: StoryCard }) {
  const isEditing = useSignal(false);
  return (
    <>
      {isEditing.value ? (
        <EditStory story={story} markdown={view.markdown} onClose={() => (isEditing.value = false)} />
      ) : (
        <>
          <Html html={view.html} />
          {view.criteria.length > 0 && <Criteria story={story} criteria={view.criteria} />}
          {story.stage !== "done" && story.stage !== "archived" && (
            <p>
              <Press onPress={() => (isEditing.value = true)}>Edit</Press>
            </p>
          )}
        </>
      )}
    </>
  );
}

function Criteria({ story, criteria }: { story: StoryCard; criteria: StoryView["criteria"] }) {
  const sender = useSender();
  const why = useSignal<string | null>(null);
  return (
    <section aria-labelledby="criteria">
      <h3 id="criteria">
        Acceptance criteria <span class="number">{criteria.filter((one) => one.done).length}/{criteria.length}</span>
      </h3>
      <ul class="criteria">
        {criteria.map((criterion, at) => (
          <li key={at}>
            <label>
              <input
                type="checkbox"
                checked={criterion.done}
                onClick={(event) => {
                  // It changes once the story's file has.
                  event.preventDefault();
                  why.value = whyNot("user");
                  if (why.value === null) sender.send({ say: `${criterion.done ? "untick" : "tick"} ${story.id} ${at + 1}` });
                }}
              />
              <span>{criterion.text}</span>
            </label>
          </li>
        ))}
      </ul>
      <Outcome
        sender={sender}
        why={why.value}
        onDismiss={() => {
          why.value = null;
          sender.clear();
        }}
      />
    </section>
  );
}
