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
            // Nothing of a review waits for another process.
            Some(StopReason::Stopped | StopReason::Stalled | StopReason::Parked) => {
                return Some(RunOutcome::Stopped);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{branch_review::ReviewFinding, run::fixture::RunFixture};

    fn reviewer(script: &str) -> RunFixture {
        let mut fixture = RunFixture::coder(script);
        let git = &fixture.git;
        git.git(&["switch", "-q", "-c", "x", "main"]);
        git.write("x.txt", "one\ntwo\n");
        git.git(&["add", "x.txt"]);
        git.git(&["commit", "-q", "-m", "x"]);
        git.git(&["switch", "-q", "main"]);
        let branch = branch_review::resolve(&git.project, "main", "x").unwrap();
        fixture.settings().trust_project_settings = true;
        fixture.plan.review = Some((branch, None));
        fixture
    }

    #[tokio::test]
    async fn findings_count_with_the_lines_that_the_branch_has_and_no_settings_of_it_do() {
        let fixture = reviewer("result");
        let refs = fixture.git.git(&["for-each-ref"]);
        let run = fixture.begin();
        let finding =
            |line| ReviewFinding { file: "x.txt".into(), line: Some(line), problem: "wrong".into() };
        run.control.report(ReviewFindings { findings: vec![finding(2), finding(9)], summary: "No.".into() });
        let run = run.end().await;
        let RunOutcome::Reviewed(found) = run.outcome() else { panic!("{:?}", run.outcome()) };
        assert_eq!(found.findings.iter().map(|found| found.line).collect::<Vec<_>>(), [Some(2), None]);
        assert!(run.said().contains(&"== x.txt:2: wrong"), "{:?}", run.said());
        let told = fixture.git.root().join(".storkit/worktrees/review/stand-in/arguments-1");
        let told = std::fs::read_to_string(told).unwrap();
        for part in ["--setting-sources\nuser\n", "--permission-mode\ndefault\n", "+two", "report_findings"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(fixture.git.git(&["for-each-ref"]), refs);
    }

    #[tokio::test]
    async fn a_reviewer_that_only_talks_has_found_what_it_says_and_one_that_fails_nothing() {
        let run = reviewer("result").run().await;
        let RunOutcome::Reviewed(found) = run.outcome() else { panic!("{:?}", run.outcome()) };
        assert!(found.findings.is_empty() && !found.summary.is_empty(), "{found:?}");
        let run = reviewer("exit 3").run().await;
        assert!(matches!(run.outcome(), RunOutcome::Failed(_)), "{:?}", run.outcome());
    }
}
