//! The run of a review of a branch: one process, whose findings count. Nothing that it does to files or refs does.

use agents::turn::TurnOutcome;

use super::{RunJob, blocking, panicked};
use crate::{
    branch_review::{self, MAX_FINDING, MAX_FINDINGS, ReviewFindings, ReviewedBranch},
    event::RunPhase,
    run::{check::StateBefore, outcome::RunOutcome, turn::TurnResult},
    story::BlockReason,
    verdict::{RunFacts, StopReason},
};

impl RunJob {
    pub(super) async fn review(
        &mut self,
        branch: ReviewedBranch,
        before: &StateBefore,
    ) -> Result<RunOutcome, RunOutcome> {
        let launch = self.first_launch().await?;
        self.set_phase(RunPhase::Working).await;
        let turn = self.run_process(launch).await?;
        self.set_phase(RunPhase::Settling).await;
        let facts = self.facts(before, &turn, true).await?;
        if let Some(outcome) = self.cut_short(&turn, facts) {
            return Ok(outcome);
        }
        let text = match &turn.outcome {
            TurnOutcome::Answered(end) => end.text.clone(),
            _ => String::new(),
        };
        let reported = self.findings.lock().take();
        // One that only talks has found something as well.
        let mut found =
            reported.unwrap_or_else(|| ReviewFindings { summary: text, ..ReviewFindings::default() });
        found.findings.truncate(MAX_FINDINGS);
        found.summary = found.summary.chars().take(MAX_FINDING).collect();
        let project = self.context.project.clone();
        let checked =
            blocking(move || branch_review::check_places(&project, &branch, &mut found).map(|()| found));
        let found = checked.await.ok_or_else(panicked)?.map_err(RunOutcome::internal)?;
        for finding in &found.findings {
            let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
            self.log_line(&format!("== {}{line}: {}", finding.file, finding.problem));
        }
        Ok(RunOutcome::Reviewed(found))
    }

    /// The outcome where the process has no findings, or they do not count.
    fn cut_short(&self, turn: &TurnResult, facts: RunFacts) -> Option<RunOutcome> {
        if !facts.tampering.is_empty() {
            return Some(RunOutcome::Blocked(BlockReason::Tampering { found: facts.tampering }));
        }
        match facts.ended {
            Some(StopReason::Shutdown) => return Some(RunOutcome::Shutdown),
            Some(StopReason::Stopped | StopReason::Stalled) => return Some(RunOutcome::Stopped),
            None => {}
        }
        match turn.outcome {
            TurnOutcome::Busy { until, .. } => Some(RunOutcome::Busy { until }),
            TurnOutcome::Answered(_) => None,
            _ if self.spending.is_over_budget() => {
                Some(RunOutcome::Blocked(BlockReason::RunBudget { spent_usd: self.spending.total().usd }))
            }
            _ => facts.failure.map(|cause| self.failed(turn, cause)),
        }
    }
}
