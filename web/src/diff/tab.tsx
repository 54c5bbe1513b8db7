// The diff of a story with comments on its lines, and the decision about it.

import { useSignal, type Signal } from "@preact/signals";

import { useView } from "../live/view";
import { count } from "../parts/format";
import { NotRead } from "../parts/reading";
import type { DiffView, FileDiff, StoryCard } from "../wire";
import { CommentBox } from "./comment_box";
import { Counts, FileChanges, type LineParts } from "./file";
import { commentOn, lineKey, outdated, reviewOf, type Review } from "./review";
import { Verdict } from "./verdict";

/** Files are shown until this many lines are; the others open when asked for. */
const OPEN_LINES = 800;

export function DiffTab({ story, version }: { story: StoryCard; version: unknown }) {
  const reading = useView<DiffView>(`/api/story/${story.id}/diff`, version);
  const review = reviewOf(story.id);
  const view = reading.view;
  if (!view) return <NotRead reading={reading} />;
  const against = view.against === null ? "nothing" : view.against.slice(0, 10);
  if (view.files.length === 0) return <p class="empty">No changes yet.</p>;
  const lines = new Set(view.files.flatMap((file) => file.hunks.flatMap((hunk) => hunk.lines.map((line) => lineKey(file.path, line)))));
  const gone = outdated(review.value, lines);
  let shown = 0;
  return (
    <div class="diff" onKeyDown={stepThroughLines}>
      <p class="diff-summary">
        {count(view.files.length + view.more_files, "file")} <Counts added={view.added} removed={view.removed} />{" "}
        <span class="soft">against <code>{against}</code>. Tap a line's number to comment.</span>
      </p>
      {view.files.map((file) => {
        shown += linesOf(file);
        return <File key={file.path} file={file} review={review} isOpen={shown <= OPEN_LINES || shown === linesOf(file)} />;
      })}
      {view.more_files > 0 && <p class="soft">{count(view.more_files, "more file")} not shown: the diff is too long.</p>}
      {gone.length > 0 && (
        <section class="card" aria-labelledby="gone-comments">
          <h3 id="gone-comments">Your comments on lines that have changed since</h3>
          <ul>
            {gone.map((comment, at) => (
              <li key={at}>
                <code>
                  {comment.path}:{comment.line}
                </code>{" "}
                {comment.text}
              </li>
            ))}
          </ul>
        </section>
      )}
      <Verdict story={story} review={review} />
    </div>
  );
}

function File({ file, review, isOpen }: { file: FileDiff; review: Signal<Review>; isOpen: boolean }) {
  const isShown = useSignal(isOpen);
  const writing = useSignal<string | null>(null);
  const parts: LineParts = {
    button(line) {
      const key = lineKey(file.path, line);
      return (
        <button
          type="button"
          class="comment-button"
          // One stop for Tab in each hunk's first line would still be many: arrows move between lines.
          tabIndex={line === file.hunks[0]?.lines[0] ? 0 : -1}
          aria-label={`Comment on line ${line.new ?? line.old}${line.new === null ? ", removed" : ""} of ${file.path}`}
          onClick={() => (writing.value = writing.value === key ? null : key)}
        />
      );
    },
    below(line) {
      const key = lineKey(file.path, line);
      if (writing.value !== key && !commentOn(review.value, file.path, line)) return null;
      return (
        <CommentBox path={file.path} line={line} review={review} isWriting={writing.value === key} onWriting={(is) => (writing.value = is ? key : null)} />
      );
    },
  };
  if (isShown.value) return <FileChanges file={file} parts={parts} />;
  return (
    <button type="button" class="press quiet file-closed" onClick={() => (isShown.value = true)}>
      <code>{file.path}</code> <Counts added={file.added} removed={file.removed} /> Show
    </button>
  );
}

function linesOf(file: FileDiff): number {
  return file.hunks.reduce((sum, hunk) => sum + hunk.lines.length, 0);
}

/** Arrow keys go from line to line, so that Tab need not. */
function stepThroughLines(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
  if (by === 0 || !(event.target instanceof HTMLElement) || !event.target.matches(".comment-button")) return;
  const all = [...event.currentTarget.querySelectorAll<HTMLElement>(".comment-button")];
  all[all.indexOf(event.target) + by]?.focus();
  event.preventDefault();
}
