// The first page: what needs a person, what runs, and the merge queue.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";

import { watchTails } from "../live/link";
import { count, usd } from "../parts/format";
import { lazy } from "../parts/lazy";
import { memo } from "../parts/memo";
import { Ago } from "../parts/time";
import { QuestionCard } from "../question/card";
import { runPath, storyPath } from "../address";
import { board, merges, questionList, runs, stories, tails, waiting, wanted } from "../store/store";
import { MergeQueue } from "../story/merge_queue";
import { WantedCard } from "../story/wanted";
import type { RunView } from "../wire";

/** Runs that are drawn at once: a hundred would block a slow phone. */
const ROWS = 10;

const FirstUse = lazy(() => import("./first_use").then((module) => module.FirstUse));

export function NowPage() {
  useEffect(watchTails, []);
  const isFirst = useRef(false);
  if (stories.value?.size === 0 && board.value?.archived === 0) isFirst.current = true;
  // The answer to the first story stays until there is something to see here.
  if (runs.value?.size !== 0 || questionList.value.length > 0) isFirst.current = false;
  if (isFirst.current) return <FirstUse />;
  return (
    <div class="now">
      <h1 class="hidden">Now</h1>
      <NeedsYou />
      <div class="now-rest">
        <Running />
        <section aria-labelledby="queue">
          <h2 id="queue">
            Merge queue <span class="number">{merges.value?.length || ""}</span>
          </h2>
          <MergeQueue />
        </section>
      </div>
    </div>
  );
}

function NeedsYou() {
  return (
    <section aria-labelledby="needs-you" class="needs-you">
      <h2 id="needs-you">
        Needs you <span class="number">{waiting.value || ""}</span>
      </h2>
      {questionList.value.map((question) => (
        <QuestionCard key={question.id} question={question} />
      ))}
      {wanted.value.map((story) => (
        <WantedCard key={story.id} story={story} />
      ))}
      {waiting.value === 0 && questionList.value.length === 0 && <p class="empty">Nothing is waiting for a person.</p>}
    </section>
  );
}

function Running() {
  const all = [...(runs.value?.values() ?? [])];
  const [most, setMost] = useState(ROWS);
  useEffect(() => {
    if (most >= all.length) return;
    const timer = setTimeout(() => setMost(most + ROWS));
    return () => clearTimeout(timer);
  });
  const backlog = [...(stories.value?.values() ?? [])].filter((story) => story.stage === "backlog").length;
  return (
    <section aria-labelledby="running">
      <h2 id="running">
        Running <span class="number">{all.length || ""}</span>
      </h2>
      {all.length === 0 ? (
        <p class="empty">
          No agent is working.{backlog > 0 && <> <a href="/board">{count(backlog, "story waits", "stories wait")} in the backlog.</a></>}
        </p>
      ) : (
        <ul class="runs">
          {all.slice(0, most).map((run) => (
            <RunRow key={run.id} run={run} />
          ))}
        </ul>
      )}
    </section>
  );
}

const RunRow = memo(function RunRow({ run }: { run: RunView }) {
  const row = useRef<HTMLLIElement>(null);
  const isSeen = useSignal(true);
  useEffect(() => {
    const onChange = (event: Event) => (isSeen.value = !(event as ContentVisibilityAutoStateChangeEvent).skipped);
    row.current?.addEventListener("contentvisibilityautostatechange", onChange);
  }, []);
  // As a signal, only its own text changes when the line does, and none where nobody sees it.
  const tail = useComputed(() => (isSeen.value ? (tails.value[run.id] ?? "") : ""));
  const isAsking = run.story !== null && questionList.value.some((question) => question.story === run.story && !question.outcome);
  return (
    <li class="run-row" ref={row}>
      <a class="run-link" href={runPath(run.id)} data-stop>
        <span class="worker">{run.worker}</span> <span class="run-title">{run.title}</span>
      </a>
      <span class={`phase ${isAsking ? "asking" : ""}`}>{isAsking ? "asking" : run.phase}</span>
      <span class="tail">{tail}</span>
      <span class="run-meta soft">
        {run.story !== null && (
          <>
            <a href={storyPath(run.story)}>#{run.story}</a> ·{" "}
          </>
        )}
        <Ago at={run.since} /> · {usd(run.cost_usd)}
      </span>
    </li>
  );
});
