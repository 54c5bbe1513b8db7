// Bars above every page: what is wrong with the project or the page as a whole.

import { useComputed } from "@preact/signals";

import { Acts } from "../parts/acts";
import { clock } from "../parts/format";
import { Press } from "../parts/press";
import { board, connection, state } from "../store/store";
import { isEditing } from "./editing";

export function Bars() {
  const known = board.value;
  const restarted = useComputed(() => state.value.restarted).value;
  const newer = useComputed(() => state.value.newer).value;
  return (
    <div class="bars">
      {newer && (
        <Bar tone="info">
          A new version of this page is available.
          <Press kind="plain" onPress={() => location.reload()} why={isEditing() ? "Send or clear what you are writing, or the files that you chose. Drafts of comments and chat are kept." : null}>
            Reload
          </Press>
        </Bar>
      )}
      {restarted !== null && (
        <Bar tone="info">
          storkit was restarted at {clock(restarted)}.
          <Press kind="quiet" label="Dismiss" onPress={() => (state.value = { ...state.value, restarted: null })}>
            ✕
          </Press>
        </Bar>
      )}
      {connection.value.word === "offline" && (
        <Bar tone="warn">Offline. This is the last known state. Drafts are kept, and nothing is sent until storkit can be reached.</Bar>
      )}
      {known?.paused && <Bar tone="warn">{known.paused}</Bar>}
      {known && known.protection.startsWith("none") && (
        <Bar tone="danger">Agents run without a wall: {known.protection}.</Bar>
      )}
      {known && known.problems.length > 0 && <Problems problems={known.problems} />}
    </div>
  );
}

function Problems({ problems }: { problems: readonly string[] }) {
  if (problems.length === 1) return <Bar tone="danger">{problems[0]}</Bar>;
  return (
    <details class="bar danger">
      <summary>{problems.length} problems</summary>
      <ul>
        {problems.map((problem) => (
          <li key={problem}>{problem}</li>
        ))}
      </ul>
      <Acts acts={[{ label: "Run doctor", say: "doctor", role: "operator" }]} />
    </details>
  );
}

function Bar({ tone, children }: { tone: "info" | "warn" | "danger"; children: preact.ComponentChildren }) {
  return <div class={`bar ${tone}`}>{children}</div>;
}
