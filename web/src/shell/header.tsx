// The top line: the project, whether the page is live, and the person.

import { page } from "../route";
import { usd } from "../parts/format";
import { Ago } from "../parts/time";
import { board, connection, me, project, state } from "../store/store";

export function Header() {
  return (
    <header class="top">
      <a class="brand" href="/">
        <Stork />
        <strong>storkit</strong>
        {project.value && <span class="project-name">{project.value.name}</span>}
      </a>
      <Spent />
      <ConnectionState />
      <a class="person" href="/me" aria-current={page.value.page === "me" ? "page" : undefined}>
        {me.value?.name ?? "Me"}
      </a>
    </header>
  );
}

function Spent() {
  if (!board.value) return null;
  const { spent_today: spent, budget_today: budget } = board.value;
  const share = budget ? spent / budget : 0;
  return (
    <a class={`spent ${share >= 0.9 ? "high" : ""}`} href="/cost" title="Spent today">
      {usd(spent)}
      {budget !== null && <span class="spent-of"> of ${budget} today</span>}
    </a>
  );
}

/** Never by colour alone: a dot and a word. */
function ConnectionState() {
  const { word, since } = connection.value;
  return (
    <span class={`connection ${word}`} role="status">
      <span class="dot" aria-hidden="true" />
      {word === "live" && "Live"}
      {word === "connecting" && "Connecting…"}
      {word === "offline" && (
        <span>
          Offline
          <span class="offline-since">
            : last updated <Ago at={since + state.value.skew} after=" ago" />
          </span>
        </span>
      )}
    </span>
  );
}

function Stork() {
  return (
    <svg class="stork" viewBox="0 0 32 32" aria-hidden="true">
      <path class="stork-body" d="M6 24c0-8 3-13 10-14l7 2-6 3c-1 7-5 10-11 9z" />
      <path class="stork-beak" d="m18 10 12-1-12 5z" />
      <circle class="stork-eye" cx="16" cy="12.700" r="1.300" />
    </svg>
  );
}
