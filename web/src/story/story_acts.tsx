// The commands for a story that fit its state. Those that a person may not use say so when they are pressed.

import { useSignal } from "@preact/signals";

import { Acts, type Act } from "../parts/acts";
import { go } from "../route";
import { board } from "../store/store";
import type { RunView, Stage, StoryCard } from "../wire";
import { STAGE_NAME } from "./words";

export function StoryActs({ story, run }: { story: StoryCard; run: RunView | undefined }) {
  const target = useSignal<Stage | "">("");
  const agent = useSignal(story.agent ?? "");
  const agents = (board.value?.agents ?? []).map((one) => one.name);
  return (
    <div class="story-acts">
      <Acts acts={mainActs(story, run)} />
      <details class="more-acts">
        <summary>Move, assign, delete</summary>
        <div class="more-acts-rows">
          {story.moves.length > 0 && (
            <div class="row">
              <label>
                Move to
                <select value={target.value} onChange={(event) => (target.value = event.currentTarget.value as Stage | "")}>
                  <option value="">choose…</option>
                  {story.moves.map((stage) => (
                    <option key={stage} value={stage}>
                      {STAGE_NAME[stage]}
                    </option>
                  ))}
                </select>
              </label>
              {target.value !== "" && <Acts acts={[moveAct(story, run, target.value)]} />}
            </div>
          )}
          <div class="row">
            <label>
              Agent
              <select value={agent.value} onChange={(event) => (agent.value = event.currentTarget.value)}>
                <option value="">any</option>
                {agents.map((name) => (
                  <option key={name}>{name}</option>
                ))}
              </select>
            </label>
            {agent.value !== "" && agent.value !== story.agent && (
              <Acts acts={[{ label: "Assign", say: `assign ${story.id} ${agent.value}`, role: "user" }]} />
            )}
          </div>
          <Acts acts={[deleteAct(story)]} onAnswered={(sent) => sent.answer?.tone !== "failure" && go("/board")} />
        </div>
      </details>
    </div>
  );
}

function mainActs(story: StoryCard, run: RunView | undefined): Act[] {
  const acts: Act[] = [];
  if (story.quarantine !== null) acts.push(releaseAct(story));
  if (run) acts.push(stopAct(story, run));
  else if (story.wanted === "retry" || story.wanted === "budget")
    acts.push({ label: "Retry", say: `retry ${story.id}`, role: "approver", kind: "primary" });
  else if (story.stage === "backlog")
    acts.push({ label: "Start", say: `start ${story.id}`, role: "user", kind: "primary" });
  if (story.stage === "backlog") acts.push({ label: "Draft criteria", say: `draft ${story.id}`, role: "user" });
  return acts;
}

function stopAct(story: StoryCard, run: RunView): Act {
  return {
    label: "Stop…",
    say: `stop ${story.id}`,
    role: "user",
    ask: {
      title: `Stop ${run.worker}?`,
      text: <p>Its run on story {story.id} is interrupted. The story waits until somebody starts or retries it.</p>,
      confirm: "Stop it",
    },
  };
}

function releaseAct(story: StoryCard): Act {
  return {
    label: "Release…",
    say: `release ${story.id}`,
    role: "approver",
    ask: {
      title: `Lift the quarantine of story ${story.id}?`,
      text: <p>{story.quarantine} Read its text first: agents will follow it with everything they may use.</p>,
      confirm: "Release it",
    },
  };
}

function moveAct(story: StoryCard, run: RunView | undefined, stage: Stage): Act {
  const act: Act = { label: `Move to ${STAGE_NAME[stage]}`, say: `move ${story.id} ${stage}`, role: "approver" };
  if (!run) return act;
  const text = <p>{run.worker} works on it, and is stopped first.</p>;
  return { ...act, ask: { title: `Move story ${story.id} to ${STAGE_NAME[stage]}?`, text, confirm: "Stop and move" } };
}

function deleteAct(story: StoryCard): Act {
  return {
    label: "Delete…",
    say: `delete ${story.id} yes`,
    role: "approver",
    kind: "danger",
    ask: {
      title: `Delete story ${story.id}?`,
      text: (
        <>
          <p>
            <strong>{story.title}</strong>
          </p>
          <p>Its file, its worktree, its branch and a running agent go. This cannot be undone, and the number is not used again.</p>
        </>
      ),
      confirm: "Delete it",
    },
  };
}
