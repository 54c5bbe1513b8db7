// The board, and on a wide screen a story's panel beside it.

import { Board } from "../board/board";
import { isWide } from "../shell/width";
import type { Tab } from "../address";
import { lazy } from "../parts/lazy";

const Story = lazy(() => import("../story/story").then((module) => module.Story));

export function BoardPage({ story, tab = "text" }: { story: number | null; tab?: Tab }) {
  if (story !== null && !isWide.value) return <Story key={story} id={story} tab={tab} place="page" />;
  return (
    <div class={story === null ? "beside" : "beside with-panel"}>
      <Board open={story} />
      {story !== null && <Story key={story} id={story} tab={tab} place="panel" />}
    </div>
  );
}
