// The smaller tabs of a story: its runs and its merge.

import { count, span, usd } from "../parts/format";
import { At } from "../parts/time";
import { runPath } from "../address";
import type { MergeCard, PastRun, StoryView } from "../wire";
import { MergeRow } from "./merge_queue";

export function RunsTab({ view }: { view: StoryView }) {
  if (view.runs.length === 0) return <p class="empty">No agent has worked on it yet.</p>;
  return (
    <ul class="past-runs">
      {view.runs.toReversed().map((run) => (
        <PastRunRow key={run.id} run={run} />
      ))}
    </ul>
  );
}

function PastRunRow({ run }: { run: PastRun }) {
  return (
    <li class={`past-run ${run.failed ? "failed" : ""}`}>
      <a href={runPath(run.id)}>{run.worker}</a>
      <span>{run.ended === null ? "running" : run.outcome}</span>
      <span class="soft">
        <At at={run.started} />
        {run.ended !== null && ` · ${span(run.ended - run.started)}`} · {usd(run.cost_usd)}
      </span>
    </li>
  );
}

export function MergeTab({ view, merge }: { view: StoryView; merge: MergeCard | undefined }) {
  const { merged, branch } = view;
  return (
    <>
      {merge && (
        <ol class="merges">
          <MergeRow merge={merge} />
        </ol>
      )}
      {merged && (
        <>
          <p>
            Merged <At at={merged.at} /> as <code>{merged.commit.slice(0, 10)}</code>.
          </p>
          <pre class="exact">{merged.message}</pre>
          <ul class="gates">
            {merged.gates.map((gate) => (
              <li key={gate.command} class={gate.code === 0 ? "ok" : "failed"}>
                <span aria-hidden="true">{gate.code === 0 ? "✓" : "✕"}</span> {gate.command}{" "}
                <span class="soft">{gate.code === 0 ? "passed" : `ended with ${gate.code}`}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      {view.merge_output.length > 0 && (
        <>
          <h3>What the failed gate printed last</h3>
          <pre class="exact">{view.merge_output.join("\n")}</pre>
        </>
      )}
      {!merged && (
        <p class="soft">
          {branch === null ? "It has no branch yet." : (
            <>
              Branch <code>{branch}</code>: {count(view.commits, "commit")}
              {view.diffstat !== null && `, ${view.diffstat}`}
            </>
          )}
        </p>
      )}
    </>
  );
}
