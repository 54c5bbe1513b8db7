//! Inspects the result of a process: commits, files, changes outside its worktree; and runs the gates on it.

use git2::Repository;

use super::{RunJob, blocking, panicked};
use crate::{
    event::RunPhase,
    gates::head_tree,
    run::{
        RunFailure, RunOutcome, RunUpdate,
        check::{self, BranchContent, StateBefore},
        turn::TurnResult,
    },
    story::stage::Role,
    verdict::{FailureCause, RunFacts},
    worktree::{self, ImportResult, Worktree},
};

/// How much of a failed gate's output goes back to the coder.
const GATE_LINES: usize = 40;

impl RunJob {
    pub(super) async fn before(&self) -> Result<StateBefore, RunOutcome> {
        let (context, base, story) = (self.context.clone(), self.plan.base.clone(), self.plan.run.story);
        let own = self.worktree().map_or_else(|| "storkit/none".to_owned(), |worktree| worktree.branch());
        let taken = blocking(move || StateBefore::take(&context, &base, &own, story)).await;
        taken
            .ok_or_else(panicked)?
            .map_err(|error| RunOutcome::internal(format_args!("the repository cannot be read: {error}")))
    }

    /// Collects the facts about a process that exited, and reacts where that cannot wait.
    pub(super) async fn facts(
        &mut self,
        before: &StateBefore,
        turn: &TurnResult,
        reminded: bool,
    ) -> Result<RunFacts, RunOutcome> {
        let reviewed = before.tip();
        let mut facts = RunFacts {
            reminded,
            review: self.review.lock().clone(),
            ended: turn.ended,
            failure: turn.failure(),
            ..RunFacts::default()
        };
        if let Some(worktree) = self.worktree() {
            self.take_in(&worktree, &mut facts).await?;
            // Only its decision counts: a reviewer's commits would pass its own review.
            if self.plan.run.role == Role::Qa {
                self.undo_review(worktree, reviewed).await;
            }
        }
        let found = self.compare(before).await?;
        if let Some(rescued) = &found.rescued {
            let text = format!(
                "`{}` (story {}) touched what is not its own: {}. {rescued}",
                self.plan.run.slot,
                self.plan.run.story,
                found.agents.join("; ")
            );
            self.send_update(RunUpdate::Alarm(text)).await;
        }
        // In a sandbox it cannot have been the agent.
        let confined = self.workspace.as_ref().is_some_and(|workspace| workspace.confinement.encloses());
        if !found.unclear.is_empty() && !confined {
            let text = format!(
                "While `{}` worked on story {} without a sandbox, this changed outside its worktree, by it or by a \
                 person: {}.",
                self.plan.run.slot,
                self.plan.run.story,
                found.unclear.join("; ")
            );
            self.send_update(RunUpdate::Alarm(text)).await;
        }
        facts.tampering = found.agents;
        Ok(facts)
    }

    /// Reads the branch: its commits, uncommitted files, and its diff.
    async fn take_in(&mut self, worktree: &Worktree, facts: &mut RunFacts) -> Result<(), RunOutcome> {
        let settling = worktree.clone();
        let (base, root) = (self.plan.base.clone(), self.context.project.root().to_owned());
        let settled = blocking(move || {
            let imported = settling.settle()?;
            let brings =
                Repository::open(root).and_then(|found| check::branch_content(&found, &base, imported.tip));
            Ok::<_, worktree::ImportError>((imported, brings.unwrap_or_default()))
        });
        match settled.await.ok_or_else(panicked)? {
            Ok((ImportResult { ahead, rewritten, .. }, BranchContent { diff, pipelines })) => {
                facts.commits = ahead;
                self.branch.diff = diff;
                self.branch.refused = None;
                if rewritten {
                    self.log_line("(it rewrote the history of its branch)");
                }
                if !pipelines.is_empty() && self.plan.run.role == Role::Coder {
                    let files = pipelines.join("`, `");
                    let why = format!(
                        "the branch changes `{files}`; what is below `.storkit/` belongs to the pipeline and to no \
                         story. Take it out of the branch."
                    );
                    return Err(RunOutcome::failed(FailureCause::Refused { why }));
                }
            }
            Err(worktree::ImportError::Gone(_)) => facts.tampering.push("the story's branch is gone".into()),
            Err(error) => {
                self.branch.refused = Some(error.to_string());
                if facts.reminded || facts.ended.is_some() {
                    return Err(RunOutcome::failed(FailureCause::Refused { why: error.to_string() }));
                }
            }
        }
        // A refused import counts as uncommitted work: the agent is reminded once, with the reason, and can
        // fix it.
        facts.uncommitted = self.uncommitted().await?.len().max(usize::from(self.branch.refused.is_some()));
        Ok(())
    }

    async fn undo_review(&mut self, worktree: Worktree, reviewed: Option<git2::Oid>) {
        let Some(tip) = reviewed else { return };
        match blocking(move || worktree.put_back(tip)).await {
            Some(Ok(true)) => self.log_line("(the reviewer's changes were undone)"),
            Some(Ok(false)) => {}
            Some(Err(error)) => tracing::warn!(%error, "a reviewer's changes could not be undone"),
            None => {}
        }
    }

    async fn compare(&self, before: &StateBefore) -> Result<check::ComparisonResult, RunOutcome> {
        let (before, context) = (before.clone(), self.context.clone());
        let found = blocking(move || before.compare(&context)).await.ok_or_else(panicked)?;
        found.map_err(|why| RunOutcome::internal(format_args!("the repository cannot be compared: {why}")))
    }

    pub(super) async fn uncommitted(&self) -> Result<Vec<String>, RunOutcome> {
        let Some(worktree) = self.worktree() else { return Ok(Vec::new()) };
        let files = blocking(move || worktree.uncommitted()).await.ok_or_else(panicked)?;
        files.map_err(RunOutcome::internal)
    }

    pub(super) async fn gates(&mut self) -> Result<RunOutcome, RunOutcome> {
        self.set_phase(RunPhase::Gates).await;
        // The agent is done, and code that it wrote must not call storkit's tools in its name.
        self.access = None;
        if let Some(workspace) = self.workspace.clone() {
            blocking(move || workspace.close()).await;
        }
        let gates = self.confined_gates().await?;
        let path = self.path();
        let root = path.clone();
        let tree = blocking(move || head_tree(&root)).await.ok_or_else(panicked)?;
        let tree =
            tree.map_err(|error| RunOutcome::internal(format_args!("the worktree cannot be read: {error}")))?;
        let Ok(report) = gates.run(&path, &tree, &self.stop_token()).await else {
            self.check_stopped()?;
            return Ok(RunOutcome::Stopped);
        };
        for result in &report.results {
            self.log_line(&result.to_string());
        }
        let Some(failure) = report.failure() else { return Ok(RunOutcome::Passed) };
        let lines: Vec<&str> = failure.tail.lines().collect();
        let tail = lines[lines.len().saturating_sub(GATE_LINES)..].join("\n");
        let details = Some(format!("The end of what it printed:\n{tail}"));
        let cause = FailureCause::GatesFailed { gate: failure.to_string() };
        Ok(RunOutcome::Failed(RunFailure { cause, details }))
    }
}
