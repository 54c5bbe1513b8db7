// What happened to a story: who did what, when and why. The server has the words.

import { useView } from "../live/view";
import { Inline } from "../parts/inline";
import { NotRead } from "../parts/reading";
import { At } from "../parts/time";
import { runPath } from "../address";
import type { HistoryEntry, HistoryView } from "../wire";

export function HistoryTab({ id, version }: { id: number; version: string }) {
  const reading = useView<HistoryView>(`/api/story/${id}/history`, version);
  const view = reading.view;
  if (!view) return <NotRead reading={reading} />;
  return (
    <>
      {view.entries.length === 0 && <p class="empty">Nothing is recorded yet.</p>}
      <ol class="history">
        {view.entries.map((entry, at) => (
          <Entry key={view.entries.length - at} entry={entry} />
        ))}
      </ol>
      {!view.whole && view.entries.length > 0 && <p class="soft">What happened before that is not recorded.</p>}
    </>
  );
}

function Entry({ entry }: { entry: HistoryEntry }) {
  return (
    <li class={`history-entry of-${entry.kind} ${entry.failed ? "failed" : ""}`}>
      <p class="soft">
        <At at={entry.at} />
      </p>
      <div>
        <p>
          <Inline markdown={entry.text} />{" "}
          {entry.run !== null && (
            <a href={runPath(entry.run)} aria-label={`Output of run ${entry.run}`}>
              Output
            </a>
          )}
        </p>
        {entry.details.map((line, at) => (
          <p key={at} class="history-detail">
            <Inline markdown={line} />
          </p>
        ))}
      </div>
    </li>
  );
}
