// A story: what it is about, what was done for it, and what a person can do with it. A page of its own, or a panel beside the board.

import { Icon } from "../parts/icon";
import { usd } from "../parts/format";
import { NotRead } from "../parts/reading";
import { Ago } from "../parts/time";
import { useView } from "../live/view";
import { TABS, runPath, storyPath, type Tab } from "../address";
import { merges, questionList, runs, stories } from "../store/store";
import type { RunView, StoryCard, StoryView } from "../wire";
import { QuestionCard } from "../question/card";
import { DiffTab } from "../diff/tab";
import { HistoryTab } from "./history_tab";
import { StoryActs } from "./story_acts";
import { MergeTab, RunsTab } from "./tabs";
import { TextTab } from "./text_tab";
import { STAGE_NAME, waitsText } from "./words";
import "../styles/later.css";
import "../styles/story.css";
import "../styles/diff.css";
import "../styles/review.css";

const TAB_NAME: Record<Tab, string> = { text: "Text", diff: "Diff", runs: "Runs", merge: "Merge", history: "History" };

export function Story({ id, tab, place }: { id: number; tab: Tab; place: "page" | "panel" }) {
  const card = stories.value?.get(id);
  const run = [...(runs.value?.values() ?? [])].find((one) => one.story === id);
  const merge = merges.value?.find((one) => one.story === id);
  const reading = useView<StoryView>(`/api/story/${id}`, versionOf(card, run));
  const shown = card ?? reading.view?.card;
  const Title = place === "page" ? "h1" : "h2";
  const open = questionList.value.filter((question) => question.story === id);
  if (!shown) return <Missing id={id} isFailed={reading.failure !== null} Title={Title} reading={reading} />;
  const waits = waitsText(shown);
  return (
    <article class={`story ${place}`} aria-labelledby="story-title">
      <header class="story-head">
        <div class="row">
          <a class="back" href="/board" aria-label={place === "page" ? "Back to the board" : "Close the panel"}>
            <Icon name={place === "page" ? "back" : "close"} />
          </a>
          <p class="soft story-kicker">
            <span class={`stage-chip ${shown.stage}`}>{STAGE_NAME[shown.stage]}</span> {shown.kind} {id}
            {" · "}
            <Ago at={shown.since} />
            {shown.cost_usd > 0 && ` · ${usd(shown.cost_usd)}`}
          </p>
        </div>
        <Title id="story-title">{shown.title}</Title>
        {run && (
          <p>
            <a href={runPath(run.id)}>{run.worker}</a>: {run.phase}
          </p>
        )}
        {waits !== null && !run && <p class="waits">{shown.quarantine ?? waits}</p>}
        {shown.depends_on.length > 0 && <Dependencies ids={shown.depends_on} />}
      </header>
      {open.map((question) => (
        <QuestionCard key={question.id} question={question} level={place === "page" ? 2 : 3} />
      ))}
      <StoryActs story={shown} run={run} tab={tab} />
      <nav class="tabs" aria-label={`Story ${id}`}>
        {TABS.map((one) => (
          <a key={one} href={storyPath(id, one)} aria-current={one === tab ? "page" : undefined}>
            {TAB_NAME[one]}
          </a>
        ))}
      </nav>
      <div class="tab">
        {/* What is below has headings of the third level in both places. */}
        {place === "page" && <h2 class="hidden">{TAB_NAME[tab]}</h2>}
        {tab === "diff" ? (
          <DiffTab story={shown} version={`${shown.stage} ${shown.since} ${run?.phase}`} />
        ) : tab === "history" ? (
          <HistoryTab id={id} version={`${versionOf(card, run)} ${merge?.state} ${open.filter((question) => !question.outcome).length}`} />
        ) : reading.view ? (
          <>
            {tab === "text" && <TextTab view={reading.view} story={shown} />}
            {tab === "runs" && <RunsTab view={reading.view} />}
            {tab === "merge" && <MergeTab view={reading.view} merge={merge} />}
          </>
        ) : (
          <NotRead reading={reading} />
        )}
      </div>
    </article>
  );
}

/** Differs when something that the server tells about a story has changed; cost alone, which changes all the time, does not. */
function versionOf(card: StoryCard | undefined, run: RunView | undefined): string {
  return JSON.stringify([card && { ...card, cost_usd: 0 }, run?.id, run?.phase]);
}

type MissingProps = { id: number; isFailed: boolean; Title: "h1" | "h2"; reading: Parameters<typeof NotRead>[0]["reading"] };

function Missing({ id, isFailed, Title, reading }: MissingProps) {
  return (
    <article class="story">
      <Title>{isFailed ? `Story ${id} cannot be shown` : `Story ${id}`}</Title>
      <NotRead reading={reading} />
      <p>
        <a href="/board">To the board</a>
      </p>
    </article>
  );
}

function Dependencies({ ids }: { ids: readonly number[] }) {
  return (
    <p class="soft">
      After{" "}
      {ids.map((id, at) => {
        const other = stories.value?.get(id);
        return (
          <span key={id}>
            {at > 0 && ", "}
            <a href={storyPath(id)}>
              {id} {other?.title}
            </a>
            {(!other || other.stage === "done") && " (done)"}
          </span>
        );
      })}
    </p>
  );
}
