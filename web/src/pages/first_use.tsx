// The page Now of a project without stories.

import { NewStory } from "../story/new_story";

export function FirstUse() {
  return (
    <div class="first-use">
      <h1>No stories yet. Say what to build.</h1>
      <NewStory isOpen />
      <p class="soft">
        A story is one change: agents write it, its gates check it, somebody reviews it, and it is merged. In the chat you can also let the
        agent draft the criteria with <code>draft ID</code>.
      </p>
    </div>
  );
}
