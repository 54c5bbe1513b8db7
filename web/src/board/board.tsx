// The board: a column for each stage; on a phone one column, chosen by its tab.

import { signal, useComputed, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";

import { Icon } from "../parts/icon";
import { count } from "../parts/format";
import { Press } from "../parts/press";
import { isPhone } from "../shell/width";
import { board, merges, stories } from "../store/store";
import { NewStory } from "../story/new_story";
import { STAGES, STAGE_NAME } from "../story/words";
import { Column } from "./column";
import { useGlide } from "./glide";
import { useHeld } from "./hold";
import { isSameLayout, layoutOf, type Layout } from "./layout";
import "../styles/board.css";

// Kept while other pages are shown.
const query = signal("");
const stageTab = signal<keyof Layout>("current");

/** `open` is the story whose panel is beside the board. */
export function Board({ open }: { open: number | null }) {
  const area = useRef<HTMLDivElement>(null);
  const last = useRef<Layout | null>(null);
  const isWriting = useSignal(false);
  const live = useComputed(() => {
    const next = layoutOf(stories.value?.values() ?? [], merges.value ?? [], query.value);
    // The same layout keeps its identity, so that changed costs and phases draw their own cards only.
    if (last.current && isSameLayout(last.current, next)) return last.current;
    return (last.current = next);
  });
  const stages = isPhone.value ? [stageTab.value] : STAGES;
  const { shown, waiting, release } = useHeld(live.value, `${query.value}/${stages.join()}`, area);
  useGlide(area, shown);
  const archived = board.value?.archived ?? 0;
  return (
    <div class="board">
      <h1 class="hidden">Board</h1>
      <div class="board-tools">
        <label class="find">
          <Icon name="search" />
          <span class="hidden">Find a story</span>
          <input id="find" type="search" placeholder="Find…" value={query.value} onInput={(event) => (query.value = event.currentTarget.value)} />
        </label>
        <Press expanded={isWriting.value} onPress={() => (isWriting.value = !isWriting.value)}>
          New story
        </Press>
        <div class="held-bar" role="status">
          {waiting > 0 && (
            <Press kind="quiet" onPress={release}>
              ▲ {count(waiting, "change")} while you read. Show
            </Press>
          )}
        </div>
      </div>
      {isWriting.value && <NewStory onDone={() => (isWriting.value = false)} />}
      {isPhone.value && <StageTabs shown={shown} />}
      <div class={`columns ${isPhone.value ? "one" : ""}`} ref={area}>
        {stages.map((stage) => (
          <Column key={stage} stage={stage} ids={shown[stage]} open={open} />
        ))}
      </div>
      {archived > 0 && (
        <p>
          <a href="/archive">{count(archived, "archived story", "archived stories")}</a>
        </p>
      )}
    </div>
  );
}

function StageTabs({ shown }: { shown: Layout }) {
  return (
    <div class="stage-tabs" role="group" aria-label="Stages">
      {STAGES.map((stage) => (
        <button key={stage} type="button" aria-pressed={stage === stageTab.value} onClick={() => (stageTab.value = stage)}>
          {STAGE_NAME[stage]} <span class="number">{shown[stage].length}</span>
        </button>
      ))}
    </div>
  );
}
