// The changes of one file, from hunks that the server has made.

import type { ComponentChildren } from "preact";

import { Exact } from "../parts/exact";
import { count } from "../parts/format";
import type { DiffLine, FileDiff } from "../wire";

/** Draws what belongs below a line, and the button in front of it. */
export type LineParts = { button(line: DiffLine): ComponentChildren; below(line: DiffLine): ComponentChildren };

const STATUS: Record<FileDiff["status"], string> = {
  added: "new file",
  changed: "",
  removed: "deleted",
  renamed: "renamed",
  mode: "mode changed",
};

export function FileChanges({ file, parts }: { file: FileDiff; parts?: LineParts }) {
  return (
    <div class="diff-file">
      <div class="diff-head">
        <span class="path">
          {file.from !== null && file.from !== file.path && (
            <>
              <Exact text={file.from} /> →{" "}
            </>
          )}
          <Exact text={file.path} />
        </span>
        {STATUS[file.status] && <span class="soft">{STATUS[file.status]}</span>}
        <Counts added={file.added} removed={file.removed} />
      </div>
      {file.binary && <p class="diff-note soft">A binary file.</p>}
      {file.hunks.map((hunk, index) => (
        <div class="hunk" key={index}>
          <div class="hunk-head">{hunk.head}</div>
          {hunk.lines.map((line, at) => (
            <Line key={at} line={line} parts={parts} />
          ))}
        </div>
      ))}
      {file.more_lines > 0 && <p class="diff-note soft">{count(file.more_lines, "more line")} not shown: the file's changes are too long.</p>}
    </div>
  );
}

export function Counts({ added, removed }: { added: number; removed: number }) {
  return (
    <span class="counts">
      <span class="added">+{added}</span> <span class="removed">−{removed}</span>
    </span>
  );
}

function Line({ line, parts }: { line: DiffLine; parts: LineParts | undefined }) {
  const kind = line.old === null ? "added" : line.new === null ? "removed" : "same";
  return (
    <>
      <div class={`line ${kind}`}>
        {parts?.button(line)}
        {/* The number and the sign are not part of what people copy. */}
        <span class="line-number" data-number={line.new ?? line.old} data-sign={kind === "added" ? "+" : kind === "removed" ? "−" : " "} />
        <code>
          <Exact text={line.text || " "} />
        </code>
      </div>
      {parts?.below(line)}
    </>
  );
}
