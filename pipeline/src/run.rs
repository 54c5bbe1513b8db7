//! One run of an agent on one story: worktree, process, its result, gates. It decides nothing about the story:
//! the result goes back to the orchestrator as a [`RunOutcome`].
//!
//! `job` is the sequence, `workspace` where the agent works and its sandbox, `turn` one process of the CLI,
//! `check` the comparison of before and after, `log` its log, `prompt` its prompts, `plan` and `outcome` what goes in and comes out.

mod check;
#[cfg(test)]
mod fixture;
pub(crate) mod job;
mod outcome;
mod plan;
mod prompt;
mod review_prompt;
mod turn;
mod workspace;

use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinHandle};

#[cfg(test)]
pub(crate) use self::plan::RunSignals;
pub(crate) use self::workspace::needs;
pub(crate) use self::{
    check::{BranchContent, branch_content},
    outcome::{RunEnd, RunFailure, RunOutcome},
    plan::{RunContext, RunControl, RunPlan, RunUpdate},
};
use crate::{
    board::{WorkError, WorkFolder},
    memory::{self, MemoryBackground},
    open_hosts::registries,
};

/// How many updates may wait for the receiver before the run waits; lines of output are dropped then.
const TOLD: usize = 256;

/// Starts a run on a story, whose text is read from `work`. Its channel closes when the run is over; then the
/// handle returns the outcome.
pub(crate) fn start(
    context: RunContext,
    work: Arc<WorkFolder>,
    plan: RunPlan,
) -> (RunControl, mpsc::Receiver<RunUpdate>, JoinHandle<RunEnd>) {
    let (told, hears) = mpsc::channel(TOLD);
    let (control, signals) = RunControl::pair();
    let control = control.planning(plan.plans);
    let handle = tokio::spawn(async move {
        let story = plan.run.story;
        let has_story = plan.review.is_none();
        let text = job::blocking(move || if has_story { work.text(story) } else { Ok(String::new()) }).await;
        let text = match text.unwrap_or(Err(WorkError::Unknown(story))) {
            Ok(text) => text,
            Err(error) => return RunEnd { outcome: RunOutcome::internal(error), usd: 0.0, diff: None },
        };
        let plan = remember(&context, RunPlan { text, ..plan }).await;
        let context = match plan.review.is_some() {
            // Nobody has looked at the branch yet: its files get nothing of the operator's additions to the wall.
            true => RunContext { settings: context.settings.restricted(), ..context },
            false => context,
        };
        let (context, plan) = match plan.in_quarantine {
            false => (context, plan),
            true => match job::blocking(move || restricted(context, plan)).await {
                Some(restricted) => restricted,
                None => {
                    let outcome = RunOutcome::internal("the quarantine's limits cannot be read");
                    return RunEnd { outcome, usd: 0.0, diff: None };
                }
            },
        };
        job::RunJob::new(context, plan, told, signals).run().await
    });
    (control, hears, handle)
}

/// The plan with what people asked to be remembered, for the project and for the conversation that the story came from. A stranger's
/// story names any conversation, so it gets that of none.
async fn remember(context: &RunContext, plan: RunPlan) -> RunPlan {
    let conversation = plan.story.front.conversation.as_ref().filter(|_| !plan.in_quarantine);
    let asked = plan.review.as_ref().and_then(|(_, room)| room.clone());
    let room = asked.or_else(|| conversation.map(|conversation| conversation.room.clone()));
    let project = context.project.clone();
    let background = job::blocking(move || memory::background(&project, room.as_deref())).await;
    let MemoryBackground { text, strangers, faults } = background.unwrap_or_default();
    faults.iter().for_each(|fault| tracing::warn!(fault, "what is remembered is not given to an agent"));
    plan.read.on_read(strangers);
    RunPlan { memory: text, ..plan }
}

/// A run on a stranger's story, with the limits of the quarantine. Blocks.
fn restricted(context: RunContext, plan: RunPlan) -> (RunContext, RunPlan) {
    let registries = registries(&context.project, &plan.base);
    let config = Arc::new(plan.config.registries_only(&registries));
    let mut agent = plan.agent;
    agent.network = agent.network.registries_only(&registries);
    let settings = context.settings.restricted();
    (RunContext { settings, ..context }, RunPlan { config, agent, ..plan })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::StoryId;

    #[tokio::test]
    async fn an_agent_reads_the_text_that_its_story_has_when_the_run_starts() {
        let fixture = fixture::RunFixture::coder("commit one; result");
        assert_eq!(fixture.plan.text, "");
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
        let prompt = fixture.arguments(1).unwrap();
        assert!(
            prompt.contains("<story id=\"7\">\n---\nname: Fix the door\n---\n# Fix the door\n</story>"),
            "{prompt}"
        );
    }

    #[tokio::test]
    async fn a_story_whose_file_is_gone_starts_no_process() {
        let mut fixture = fixture::RunFixture::coder("result");
        fixture.plan.run.story = StoryId(8);
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::internal(WorkError::Unknown(StoryId(8))));
        assert_eq!(fixture.arguments(1), None);
    }
}
