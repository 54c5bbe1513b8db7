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
