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
          {view.files.length > 0 && (
            <>
              <h3>Files</h3>
              <ul class="files">
                {view.files.map((file) => (
                  <li key={file}>
                    <code>{file}</code>
                  </li>
                ))}
              </ul>
            </>
          )}
          {story.stage !== "archived" && (
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
            {criterion.done ? (
              <p>
                <span class="ticked">
                  ✓<span class="hidden"> Done:</span>
                </span>
                <span>{criterion.text}</span>
              </p>
            ) : (
              <label>
                <input
                  type="checkbox"
                  checked={false}
                  onClick={(event) => {
                    // It is ticked once the story's file is.
                    event.preventDefault();
                    why.value = whyNot("user");
                    if (why.value === null) sender.send({ say: `tick ${story.id} ${at + 1}` });
                  }}
                />
                <span>{criterion.text}</span>
              </label>
            )}
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
