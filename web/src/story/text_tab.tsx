// What the story says: its text, its acceptance criteria, its files; and the form to edit it.

import { useSignal } from "@preact/signals";
import { render } from "preact";
import { useLayoutEffect } from "preact/hooks";

import { Html } from "../parts/html";
import { withoutTitle } from "../parts/plain_text";
import { Press } from "../parts/press";
import { useSender } from "../live/say";
import { Outcome } from "../parts/outcome";
import { whyNot } from "../store/store";
import type { StoryCard, StoryView } from "../wire";
import { takePlace } from "./criteria_place";
import { EditStory } from "./edit_story";

export function TextTab({ view, story }: { view: StoryView; story: StoryCard }) {
  const isEditing = useSignal(false);
  const place = useSignal<HTMLElement | null>(null);
  return (
    <>
      {isEditing.value ? (
        <EditStory story={story} markdown={view.markdown} onClose={() => (isEditing.value = false)} />
      ) : (
        <>
          <Html html={withoutTitle(view.html, story.title)} onDrawn={(text) => (place.value = takePlace(text, view.criteria.length))} />
          {view.criteria.length > 0 && <Criteria story={story} criteria={view.criteria} place={place.value} />}
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

type CriteriaProps = { story: StoryCard; criteria: StoryView["criteria"]; place: HTMLElement | null };

/** In their place in the text, or below it. */
function Criteria({ story, criteria, place }: CriteriaProps) {
  const list = <CriteriaList story={story} criteria={criteria} />;
  useLayoutEffect(() => {
    if (place) render(list, place);
  });
  useLayoutEffect(() => () => void (place && render(null, place)), [place]);
  if (place) return null;
  return (
    <section aria-labelledby="criteria">
      <h3 id="criteria">Acceptance criteria</h3>
      {list}
    </section>
  );
}

function CriteriaList({ story, criteria }: { story: StoryCard; criteria: StoryView["criteria"] }) {
  const sender = useSender();
  return (
    <div>
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
                  const why = whyNot("user");
                  if (why !== null) return sender.refuse(why);
                  sender.send({ say: `${criterion.done ? "untick" : "tick"} ${story.id} ${at + 1}` });
                }}
              />
              <span>{criterion.text}</span>
            </label>
          </li>
        ))}
      </ul>
      <Outcome sender={sender} />
    </div>
  );
}
