// The output of a run, live.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { download } from "../live/download";
import { Acts } from "../parts/acts";
import { usd } from "../parts/format";
import { Icon } from "../parts/icon";
import { Press } from "../parts/press";
import { Loading } from "../parts/reading";
import { Ago } from "../parts/time";
import { questionPath, storyPath } from "../address";
import { LogFollower } from "../run/follow";
import { TellAgent } from "../run/tell";
import { isLive, questionList, runs, stories } from "../store/store";
import "../styles/run.css";

export function RunPage({ id }: { id: string }) {
  const box = useRef<HTMLDivElement>(null);
  const log = useSignal<LogFollower | null>(null);
  const run = runs.value?.get(id);
  const story = run?.story ?? log.value?.story.value ?? null;
  const title = run?.title ?? (story === null ? undefined : stories.value?.get(story)?.title);
  useEffect(() => {
    if (!box.current) return;
    const follower = new LogFollower(id, box.current);
    log.value = follower;
    void follower.load();
    return () => follower.close();
  }, [id]);
  return (
    <div class="run">
      <header class="run-head">
        <div class="row">
          <a class="back" href={story === null ? "/" : storyPath(story, "runs")} aria-label={story === null ? "To Now" : `To story ${story}`}>
            <Icon name="back" />
          </a>
          <h1>{story === null ? (title ?? `Run ${id}`) : `${story} ${title ?? ""}`}</h1>
        </div>
        <p class="soft">
          run {id}
          {run && (
            <>
              {" · "}
              {run.worker} · {run.phase} · <Ago at={run.since} /> · {usd(run.cost_usd)}
            </>
          )}
        </p>
        <div class="row run-tools">
          {log.value && <LogTools log={log.value} id={id} story={story} worker={run?.worker} />}
        </div>
        {story !== null && <Asking story={story} />}
      </header>
      <div class="log-frame">
        <LogState log={log.value} />
        <div ref={box} class="log" role="log" aria-live="off" aria-label="Output" tabIndex={0} />
        {log.value?.mode.value === "paused" && (
          <div class="to-live">
            <Press kind="primary" onPress={() => log.value?.resume()}>
              ↓ Live
            </Press>
          </div>
        )}
      </div>
      {run && run.story !== null && <TellAgent story={run.story} worker={run.worker} />}
    </div>
  );
}

function Asking({ story }: { story: number }) {
  const question = questionList.value.find((one) => one.story === story && !one.outcome);
  if (!question) return null;
  return (
    <p class="bar warn">
      It waits for an answer: <a href={questionPath(question.id)}>question {question.id}</a>
    </p>
  );
}

function LogTools({ log, id, story, worker }: { log: LogFollower; id: string; story: number | null; worker: string | undefined }) {
  const mode = log.mode.value;
  // Computed, so that it is not drawn again with every line.
  const isOver = useComputed(() => log.lines.value.over).value;
  const word = isOver ? "ended" : mode === "paused" ? "paused" : isLive.value ? "following" : "offline";
  return (
    <>
      <span class={`connection ${word === "following" ? "live" : word === "paused" ? "connecting" : word}`}>
        <span class="dot" aria-hidden="true" />
        {word}
      </span>
      {!isOver && mode === "following" && <Press onPress={() => log.pause()}>Pause</Press>}
      {worker !== undefined && (
        <Acts
          acts={[
            {
              label: "Stop…",
              say: `stop ${story ?? worker}`,
              role: "user",
              ask: { title: `Stop run ${id}?`, text: <p>{story === null ? "Nothing of it is kept." : "The story waits until somebody starts or retries it."}</p>, confirm: "Stop it" },
            },
          ]}
        />
      )}
      <Download log={log} id={id} />
    </>
  );
}

function Download({ log, id }: { log: LogFollower; id: string }) {
  const state = useSignal<string | null>(null);
  const save = async () => {
    state.value = "Reading…";
    try {
      download(await log.whole(), `${id}.log`);
      state.value = null;
    } catch (failure) {
      state.value = failure instanceof Error ? failure.message : String(failure);
    }
  };
  return (
    <>
      <Press kind="quiet" onPress={() => void save()}>
        Whole log
      </Press>
      <span role="status" class="soft">
        {state.value}
      </span>
    </>
  );
}

function LogState({ log }: { log: LogFollower | null }) {
  if (!log || log.mode.value === "loading") return <Loading />;
  if (log.failure.value !== null) {
    return (
      <div class="empty">
        <p>{log.failure.value}</p>
        <Press onPress={() => void log.load()}>Try again</Press>
      </div>
    );
  }
  return <Earlier log={log} />;
}

function Earlier({ log }: { log: LogFollower }) {
  const isEmpty = useComputed(() => log.lines.value.next === 1).value;
  const first = useComputed(() => log.lines.value.first).value;
  if (isEmpty) return <p class="empty">Nothing has been printed yet.</p>;
  if (first <= 1) return null;
  return (
    <div class="earlier">
      <Press kind="quiet" onPress={() => void log.showEarlier()}>
        ⋯ {(first - 1).toLocaleString("en")} earlier lines. Show
      </Press>
    </div>
  );
}
