//! The run of a coder that only plans: its plan counts, or why there is none.

use super::RunJob;
use crate::{
    run::{outcome::RunOutcome, turn::TurnResult},
    story::BlockReason,
    verdict::{FailureCause, RunFacts, StopReason},
};

impl RunJob {
    pub(super) fn planned(&self, turn: &TurnResult, facts: RunFacts) -> RunOutcome {
        if !facts.tampering.is_empty() {
            return RunOutcome::Blocked(BlockReason::Tampering { found: facts.tampering });
        }
        match facts.ended {
            Some(StopReason::Shutdown) => return RunOutcome::Shutdown,
            Some(StopReason::Stopped) => return RunOutcome::Stopped,
            Some(StopReason::Parked) => return RunOutcome::Parked,
            Some(StopReason::Stalled) => return RunOutcome::failed(FailureCause::Stalled),
            None => {}
        }
        let plan = self.proposal.lock().take();
        match plan.filter(|plan| !plan.trim().is_empty()) {
            // Handed over before its process ended, however that ended.
            Some(plan) => RunOutcome::Planned(plan),
            None => self.failed(turn, facts.failure.unwrap_or(FailureCause::NoPlan)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::fixture::RunFixture;

    #[tokio::test]
    async fn a_coder_that_plans_works_in_plan_mode_and_its_plan_is_the_outcome() {
        let mut fixture = RunFixture::coder("result");
        fixture.plan.plans = true;
        let run = fixture.begin();
        assert!(run.control.propose("1. Paint".into()));
        assert_eq!(*run.end().await.outcome(), RunOutcome::Planned("1. Paint".into()));
        assert_eq!(fixture.option(1, "--permission-mode").as_deref(), Some("plan"));
        assert!(fixture.arguments(1).unwrap().contains("Plan first: change nothing"));
    }

    #[tokio::test]
    async fn without_a_plan_it_has_failed_and_who_does_not_plan_proposes_none() {
        let mut fixture = RunFixture::coder("result");
        fixture.plan.plans = true;
        let run = fixture.begin();
        assert!(run.control.propose(" \n".into()));
        let run = run.end().await;
        let RunOutcome::Failed(failure) = run.outcome() else { panic!("{:?}", run.outcome()) };
        assert_eq!(failure.cause, FailureCause::NoPlan);
        let fixture = RunFixture::coder("commit one; result");
        let run = fixture.begin();
        assert!(!run.control.propose("1. Paint".into()));
        assert_eq!(*run.end().await.outcome(), RunOutcome::Passed);
        assert_eq!(fixture.option(1, "--permission-mode").as_deref(), Some("acceptEdits"));
    }
}
