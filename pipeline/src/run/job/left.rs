//! Inspects the result of a process: commits, files, changes outside its worktree; and runs the gates on it.

use git2::Repository;

use super::{RunJob, blocking, panicked};
use crate::{
    event::RunPhase,
    gates::head_tree,
    run::{
        check::{self, BranchContent, StateBefore},
        outcome::{RunFailure, RunOutcome},
        plan::RunUpdate,
        turn::TurnResult,
    },
    sentence::sentences,
    story::{BlockReason, stage::Role},
    verdict::{FailureCause, RunFacts},
    worktree::{self, GitOperation, ImportResult, Worktree},
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
                "`{}` ({}) touched what is not its own: {}. {rescued}",
                self.plan.run.slot,
                self.plan.run.subject(),
                found.agents.join("; ")
            );
            self.send_update(RunUpdate::Alarm(text)).await;
        }
        if !found.unclear.is_empty() {
            let text = format!(
                "While `{}` worked on {} without a sandbox, this changed outside its worktree, by it or by a \
                 person: {}.",
                self.plan.run.slot,
                self.plan.run.subject(),
                found.unclear.join("; ")
            );
            self.send_update(RunUpdate::Alarm(text)).await;
        }
        facts.tampering = found.agents;
        Ok(facts)
    }

    /// Whether the branch is as a room landed it: then nobody has to work on it before its gates.
    pub(super) fn is_landed(&self, before: &StateBefore) -> bool {
        let tip = before.tip().map(|tip| tip.to_string());
        self.plan.run.role == Role::Coder && tip.is_some() && tip == self.plan.story.front.landed
    }

    /// Looks at a room's changes as at a coder's, and runs the gates on them.
    pub(super) async fn check_landed(&mut self) -> Result<RunOutcome, RunOutcome> {
        self.set_phase(RunPhase::Settling).await;
        self.log_line("(the changes of a chat room: their gates run before an agent works on them)");
        let worktree = self.worktree().ok_or_else(panicked)?;
        let mut facts = RunFacts { reminded: true, ..RunFacts::default() };
        self.take_in(&worktree, &mut facts).await?;
        match facts.commits {
            0 => Ok(RunOutcome::failed(FailureCause::GhostRun { why: None })),
            _ => self.gates().await,
        }
    }

    /// Reads the branch: its commits, uncommitted files, and its diff.
    async fn take_in(&mut self, worktree: &Worktree, facts: &mut RunFacts) -> Result<(), RunOutcome> {
        let settling = worktree.clone();
        let (base, root) = (self.plan.base.clone(), self.context.project.root().to_owned());
        let settled = blocking(move || {
            let imported = settling.settle()?;
            let brings =
                Repository::open(&root).and_then(|found| check::branch_content(&found, &base, imported.tip));
            // Base itself may be gone.
            let brings =
                brings.unwrap_or(BranchContent { commits: imported.ahead, ..BranchContent::default() });
            let faults = check::faults(&root, &brings);
            Ok::<_, worktree::ImportError>((imported, brings, faults))
        });
        match settled.await.ok_or_else(panicked)? {
            Ok((ImportResult { rewritten, .. }, content, faults)) => {
                let BranchContent { commits, diff, pipelines, .. } = content;
                facts.commits = commits;
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
                match faults {
                    Ok(faults) if faults.is_empty() || self.plan.run.role != Role::Coder => {}
                    Ok(faults) => {
                        let why = sentences(&faults);
                        if facts.reminded {
                            return Err(RunOutcome::failed(FailureCause::Refused { why }));
                        }
                        self.branch.refused = Some(why);
                    }
                    // The merge asks again.
                    Err(error) => self.log_line(&format!("({error})")),
                }
            }
            // The comparison finds that, too, and says where the branch was.
            Err(worktree::ImportError::Gone(_)) => {}
            Err(error) => {
                self.branch.refused = Some(error.to_string());
                if facts.reminded || facts.ended.is_some() {
                    return Err(RunOutcome::failed(FailureCause::Refused { why: error.to_string() }));
                }
            }
        }
        // The agent is reminded once, with the reason, and can fix it.
        facts.refused = self.branch.refused.is_some();
        facts.uncommitted = self.uncommitted().await?;
        facts.operation = self.operation().await;
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
        let is_confined = self.workspace.as_ref().is_some_and(|workspace| workspace.confinement.encloses());
        let found = blocking(move || before.compare(&context, is_confined)).await.ok_or_else(panicked)?;
        found.map_err(|why| RunOutcome::internal(format_args!("the repository cannot be compared: {why}")))
    }

    pub(super) async fn uncommitted(&self) -> Result<Vec<String>, RunOutcome> {
        let Some(worktree) = self.worktree() else { return Ok(Vec::new()) };
        let files = blocking(move || worktree.uncommitted()).await.ok_or_else(panicked)?;
        files.map_err(RunOutcome::internal)
    }

    /// The operation of git that the agent left in progress.
    pub(super) async fn operation(&self) -> Option<GitOperation> {
        let worktree = self.worktree()?;
        let enclosed = self.workspace.as_ref().is_some_and(|workspace| workspace.confinement.encloses());
        blocking(move || worktree.operation(enclosed)).await.flatten()
    }

    /// Decides what the run's build products are good for. Nobody has looked at them as at its commits, so nothing is left to another story
    /// that strangers or a misbehaving agent could have prepared, and what an earlier story left is not trusted once a run fails with it.
    pub(super) async fn watch_over_products(&self, outcome: &RunOutcome) {
        let Some(worktree) = self.worktree() else { return };
        let is_tampering = matches!(outcome, RunOutcome::Blocked(BlockReason::Tampering { .. }));
        let is_suspect = is_tampering || self.plan.in_quarantine || !self.plan.read.is_empty();
        let has_failed = matches!(outcome, RunOutcome::Failed(_));
        let done = blocking(move || {
            if is_suspect {
                worktree.taint()?;
            }
            match (is_tampering, has_failed) {
                (true, _) => worktree.discard_products().map(|()| true),
                (false, true) => worktree.discard_inherited(),
                (false, false) => Ok(false),
            }
        });
        if let Some(Err(error)) = done.await {
            tracing::warn!(%error, run = %self.plan.run.id, "build products of a run cannot be judged");
        }
    }

    pub(super) async fn gates(&mut self) -> Result<RunOutcome, RunOutcome> {
        self.set_phase(RunPhase::Gates).await;
        // The agent is done, and code that it wrote must not call storkit's tools in its name.
        self.access = None;
        if let Some(workspace) = self.workspace.clone() {
            blocking(move || workspace.close()).await;
        }
        // Now, since the agent may have added dependencies.
        self.set_up().await?;
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
        let failure = report.failure();
        let printed: Vec<&str> = failure.iter().flat_map(|failure| failure.tail.lines()).collect();
        let printed = &printed[printed.len().saturating_sub(GATE_LINES)..];
        for result in &report.results {
            if !result.passed() {
                // Where people look for it.
                printed.iter().for_each(|line| self.log_line(line));
            }
            self.log_line(&result.to_string());
        }
        let Some(failure) = failure else { return Ok(RunOutcome::Passed) };
        let details = Some(format!("The end of what it printed:\n{}", printed.join("\n")));
        let cause = FailureCause::GatesFailed { gate: failure.to_string() };
        Ok(RunOutcome::Failed(RunFailure { cause, details }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use agents::{
        confine::{Bwrap, Confinement},
        turn::TurnOutcome,
    };

    use super::*;
    use crate::{
        config::Component,
        run::{
            fixture::{BRANCH, RunFixture},
            workspace::Workspace,
        },
        strangers::StrangerText,
        verdict::{ReviewDecision, StopReason},
        worktree::BranchFate,
    };

    fn found(outcome: &RunOutcome) -> &[String] {
        match outcome {
            RunOutcome::Blocked(BlockReason::Tampering { found }) => found,
            other => panic!("{other:?}"),
        }
    }

    fn refused(outcome: &RunOutcome) -> &str {
        match outcome {
            RunOutcome::Failed(RunFailure { cause: FailureCause::Refused { why }, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    /// A coder for whom this is the largest file that is accepted, in bytes.
    fn limited(script: &str, bytes: u64) -> RunFixture {
        let mut fixture = RunFixture::coder(script);
        fixture.git.limits.file = bytes;
        fixture.context.worktrees = fixture.git.worktrees();
        fixture
    }

    #[tokio::test]
    async fn a_moved_base_is_put_back_people_hear_of_it_and_the_story_is_blocked() {
        let fixture = RunFixture::coder("commit one; unguarded commit -q --allow-empty -m evil; result");
        let before = fixture.tip("main");
        let run = fixture.run().await;
        assert!(found(run.outcome())[0].starts_with("the agent moved the base branch"), "{:?}", run.end);
        assert_eq!(fixture.tip("main"), before);
        let [alarm] = run.alarms()[..] else { panic!("{:?}", run.alarms()) };
        let expected = "`agent` (story 7) touched what is not its own: the agent moved the base branch";
        assert!(alarm.starts_with(expected), "{alarm}");
        assert!(
            alarm.contains(". `main` is back where it was. The commits it was moved to are saved on"),
            "{alarm}"
        );
    }

    #[tokio::test]
    async fn without_a_sandbox_a_change_outside_the_worktree_is_reported_and_blocks_nothing() {
        let run = RunFixture::coder("echo x > ../../../evil.txt; commit one; result").run().await;
        assert_eq!(*run.outcome(), RunOutcome::Passed);
        let expected = "While `agent` worked on story 7 without a sandbox, this changed outside its worktree, by it or by a \
                        person: uncommitted files of the main checkout changed: `evil.txt`.";
        assert_eq!(run.alarms(), [expected]);
    }

    #[tokio::test]
    async fn in_a_sandbox_such_a_change_is_a_persons_and_nobody_is_alarmed() {
        let fixture = RunFixture::coder("result");
        let (mut job, _control, mut updates) = fixture.job();
        job.prepare().await.unwrap();
        let before = job.before().await.unwrap();
        job.workspace.as_mut().unwrap().confinement =
            Confinement::Bwrap(Bwrap::for_home("/nonexistent".as_ref()));
        fixture.git.write("note.txt", "a person's");
        let answered = TurnResult { outcome: TurnOutcome::Answered(Box::default()), ended: None };
        let facts = job.facts(&before, &answered, false).await.unwrap();
        assert_eq!(facts, RunFacts::default());
        assert!(updates.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_facts_have_the_commits_the_files_the_review_and_how_it_ended() {
        let fixture = RunFixture::coder("result");
        let (mut job, control, _updates) = fixture.job();
        job.prepare().await.unwrap();
        let before = job.before().await.unwrap();
        control.review(ReviewDecision::Approved);
        let worktree = fixture.worktree();
        fixture.git.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
        for name in ["a", "b"] {
            fs::write(worktree.path().join(name), "").unwrap();
        }
        let turn = TurnResult { outcome: TurnOutcome::SessionLost, ended: Some(StopReason::Stalled) };
        let facts = job.facts(&before, &turn, true).await.unwrap();
        let expected = RunFacts {
            commits: 1,
            uncommitted: vec!["a".into(), "b".into()],
            refused: false,
            operation: None,
            reminded: true,
            review: Some(ReviewDecision::Approved),
            ended: Some(StopReason::Stalled),
            failure: turn.failure(),
            tampering: Vec::new(),
        };
        assert_eq!(facts, expected);
    }

    #[tokio::test]
    async fn a_coder_may_not_change_what_is_the_pipelines() {
        let gates =
            "mkdir -p .storkit; echo x > .storkit/project.toml; git add -f .storkit; commit one; result";
        let run = RunFixture::coder(gates).run().await;
        let expected = "the branch changes `.storkit/project.toml`; what is below `.storkit/` belongs to the pipeline and to no \
                        story. Take it out of the branch.";
        assert_eq!(refused(run.outcome()), expected);
        let fixture = RunFixture::reviewer(gates);
        let run = fixture.begin();
        run.control.review(ReviewDecision::Approved);
        assert_eq!(
            *run.end().await.outcome(),
            RunOutcome::Approved,
            "a reviewer's changes are undone anyway"
        );
    }

    #[tokio::test]
    async fn rewritten_history_is_accepted_and_noted_in_the_log() {
        let fixture = RunFixture::coder(
            "case $turn in 1) commit one ;; *) git commit -q --amend -m two ;; esac; result",
        );
        assert_eq!(fixture.run().await.said(), Vec::<&str>::new());
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::Passed);
        assert_eq!(run.said(), ["(it rewrote the history of its branch)"]);
    }

    #[tokio::test]
    async fn refused_commits_can_be_put_right_once() {
        let large = "commit a large file";
        let fixes = "git reset -q --soft HEAD~1; echo > a.txt; commit b";
        let fixture = limited(&format!("case $turn in 1) {large} ;; *) {fixes} ;; esac; result"), 10);
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
        let reminder = fixture.arguments(2).unwrap();
        assert!(
            reminder.contains("Your last commits were not accepted: `a.txt` on the branch has"),
            "{reminder}"
        );
        let fixture = limited(&format!("[ $turn = 2 ] || {large}; result"), 10);
        let run = fixture.run().await;
        assert!(refused(run.outcome()).starts_with("`a.txt` on the branch has"), "{:?}", run.end);
        assert_eq!(fixture.arguments(3), None);
    }

    #[tokio::test]
    async fn a_rebase_that_was_left_in_progress_is_named_in_the_reminder() {
        let begins = "echo mine > a.txt; git commit -qam mine; git rebase -q main";
        for (ends, outcome) in [
            ("git rebase --abort", RunOutcome::Passed),
            ("true", RunOutcome::failed(FailureCause::OperationLeft { operation: GitOperation::Rebase })),
        ] {
            let fixture =
                RunFixture::coder(&format!("case $turn in 1) {begins} ;; *) {ends} ;; esac; result"));
            fixture.worktree();
            fixture.git.write("a.txt", "theirs\n");
            fixture.git.git(&["commit", "-qam", "theirs"]);
            let run = fixture.run().await;
            let reminder = fixture.arguments(2).unwrap();
            assert!(reminder.contains("A `git rebase` was in progress when you ended"), "{reminder}");
            assert!(
                reminder.contains("`git rebase --continue`, or drop it with `git rebase --abort`"),
                "{reminder}"
            );
            match (run.outcome(), outcome) {
                (RunOutcome::Failed(failure), RunOutcome::Failed(expected)) => {
                    assert_eq!(failure.cause, expected.cause);
                }
                (found, expected) => assert_eq!(*found, expected),
            }
            assert_eq!(fixture.arguments(3), None);
        }
    }

    #[tokio::test]
    async fn committed_conflict_markers_are_refused_and_can_be_put_right_once() {
        let marked = "printf '<<<<<<< HEAD\\nours\\n=======\\ntheirs\\n>>>>>>> main\\n' > a.txt; git commit -qam marked";
        let fixture = RunFixture::coder(&format!(
            "case $turn in 1) {marked} ;; *) echo both > a.txt; git commit -qam both ;; esac; result"
        ));
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
        let reminder = fixture.arguments(2).unwrap();
        assert!(
            reminder.contains("Your last commits were not accepted: `a.txt` has conflict markers"),
            "{reminder}"
        );
        let fixture = RunFixture::coder(&format!("[ $turn = 2 ] || {{ {marked}; }}; result"));
        let run = fixture.run().await;
        assert!(refused(run.outcome()).starts_with("`a.txt` has conflict markers"), "{:?}", run.end);
    }

    #[tokio::test]
    async fn a_nested_repository_is_refused_before_anybody_reviews_it() {
        let nests = "mkdir -p tool; (cd tool; git init -q; git -c user.name=x -c user.email=x@y commit -q --allow-empty -m x); git add tool 2>/dev/null; git commit -qm tool";
        let fixture = RunFixture::coder(&format!("[ $turn = 2 ] || {{ {nests}; }}; result"));
        let run = fixture.run().await;
        assert!(refused(run.outcome()).starts_with("`tool` is a git repository of its own"), "{:?}", run.end);
    }

    #[tokio::test]
    async fn refused_commits_of_a_run_that_was_ended_are_its_failure() {
        let fixture = limited("result", 10);
        let (mut job, _control, _updates) = fixture.job();
        job.prepare().await.unwrap();
        let before = job.before().await.unwrap();
        let worktree = fixture.worktree();
        fs::write(worktree.path().join("a.txt"), "more than ten bytes").unwrap();
        fixture.git.git_in(worktree.path(), &["add", "a.txt"]);
        fixture.git.git_in(worktree.path(), &["commit", "-q", "-m", "large"]);
        let ended = |ended| TurnResult { outcome: TurnOutcome::Stopped, ended };
        let facts = job.facts(&before, &ended(None), false).await.unwrap();
        assert_eq!((facts.commits, facts.uncommitted.len(), facts.refused), (0, 0, true));
        let stopped = job.facts(&before, &ended(Some(StopReason::Stopped)), false).await.unwrap_err();
        assert!(refused(&stopped).starts_with("`a.txt` on the branch has"));
    }

    #[tokio::test]
    async fn a_branch_that_its_agent_deleted_is_tampering_also_after_a_reminder() {
        let deletes = format!("unguarded update-ref -d refs/heads/{BRANCH}");
        let fixture =
            RunFixture::coder(&format!("case $turn in 1) echo x > one.txt ;; *) {deletes} ;; esac; result"));
        let run = fixture.run().await;
        assert!(
            found(run.outcome())[0].starts_with("the story's branch is gone; it was at"),
            "{:?}",
            run.end
        );
    }

    #[tokio::test]
    async fn a_gate_that_fails_sends_the_end_of_its_output_back() {
        let mut fixture = RunFixture::coder("commit one; result");
        fixture.config().gates =
            vec!["true".into(), "seq 1 50; exit 3".into(), "touch ../../../third".into()];
        let run = fixture.run().await;
        let lines: Vec<String> = (11..=50).map(|line| line.to_string()).collect();
        let details = Some(format!("The end of what it printed:\n{}", lines.join("\n")));
        let cause = FailureCause::GatesFailed { gate: "`seq 1 50; exit 3` failed with code 3".into() };
        assert_eq!(*run.outcome(), RunOutcome::Failed(RunFailure { cause, details }));
        let [passed, ref printed @ .., failed] = run.said()[..] else { panic!("{:?}", run.said()) };
        assert!(passed.starts_with("`true` passed in"), "{passed}");
        assert_eq!(printed, lines, "its output is in the log");
        assert_eq!(failed, "`seq 1 50; exit 3` failed with code 3");
        assert!(!fixture.git.root().join("third").exists());
    }

    #[tokio::test]
    async fn gates_can_be_stopped() {
        for (reason, outcome) in
            [(StopReason::Stopped, RunOutcome::Stopped), (StopReason::Shutdown, RunOutcome::Shutdown)]
        {
            let mut fixture = RunFixture::coder("commit one; result");
            fixture.config().gates = vec!["touch ../../../begun; exec sleep 600".into()];
            let run = fixture.begin();
            let begun = fixture.git.root().join("begun");
            run.until(|| begun.exists()).await;
            run.control.end(reason);
            assert_eq!(*run.end().await.outcome(), outcome);
        }
    }

    /// A repository whose component copies a lock file to `installed`, which git ignores; the gate compares them.
    fn with_dependencies(script: &str) -> RunFixture {
        let mut fixture = RunFixture::coder(script);
        fixture.git.write(".gitignore", "/installed\n/target\n");
        fixture.git.write("deps.lock", "one\n");
        fixture.git.git(&["add", "."]);
        fixture.git.git(&["commit", "-q", "-m", "dependencies"]);
        let component = Component {
            name: "app".into(),
            setup: vec!["cp deps.lock installed".into()],
            inputs: Some(vec!["deps.lock".into()]),
            ..Component::default()
        };
        let config = fixture.config();
        (config.components, config.gates) = (vec![component], vec!["cmp deps.lock installed".into()]);
        fixture
    }

    fn release(fixture: &RunFixture) {
        let owner = fixture.worktree().owner().clone();
        fixture.context.worktrees.release(owner, BranchFate::Delete, ("main", 1)).unwrap();
    }

    #[tokio::test]
    async fn dependencies_that_a_story_adds_are_set_up_before_its_gates_and_only_then() {
        let fixture =
            with_dependencies("test -e installed || exit 1; echo two > deps.lock; commit two; result");
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::Passed, "{:?}", run.said());
        let setup = "setup app: cp deps.lock installed";
        assert_eq!(run.said().iter().filter(|line| **line == setup).count(), 2, "{:?}", run.said());
        let fixture = with_dependencies("commit nothing; result");
        let run = fixture.run().await;
        assert_eq!(run.said().iter().filter(|line| **line == setup).count(), 1, "{:?}", run.said());
    }

    #[tokio::test]
    async fn the_next_story_in_a_slot_needs_no_setup_unless_an_input_has_changed() {
        let mut fixture = with_dependencies("commit x; result");
        fixture.run().await;
        release(&fixture);
        fixture.next();
        let run = fixture.run().await;
        assert_eq!(*run.outcome(), RunOutcome::Passed);
        assert!(!run.said().iter().any(|line| line.starts_with("setup")), "{:?}", run.said());
        release(&fixture);
        fixture.git.write("deps.lock", "new\n");
        fixture.git.git(&["commit", "-q", "-a", "-m", "new"]);
        fixture.next();
        assert!(fixture.run().await.said().contains(&"setup app: cp deps.lock installed"));
    }

    #[tokio::test]
    async fn what_a_suspect_run_left_goes_to_nobody() {
        let works = "mkdir -p target; echo evil > target/x; commit x; result";
        let fixture = with_dependencies(works);
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
        let path = fixture.worktree().path().to_owned();
        release(&fixture);
        assert!(path.join("target/x").exists(), "without suspicion it stays");
        let fixture = with_dependencies(works);
        fixture.plan.read.on_read([StrangerText::SearchResults]);
        assert_eq!(*fixture.run().await.outcome(), RunOutcome::Passed);
        release(&fixture);
        assert!(!fixture.git.root().join(".storkit/worktrees/slot-1").exists());
        let fixture = with_dependencies(&format!("unguarded commit -q --allow-empty -m evil; {works}"));
        found(fixture.run().await.outcome());
        assert!(!fixture.worktree().path().join("target").exists(), "at once");
        release(&fixture);
        assert!(!fixture.git.root().join(".storkit/worktrees/slot-1").exists());
    }

    #[tokio::test]
    async fn an_earlier_storys_products_are_discarded_once_a_run_fails_with_them() {
        let mut fixture = with_dependencies("mkdir -p target; echo built > target/x; commit x; result");
        fixture.run().await;
        release(&fixture);
        fixture.next();
        fixture.config().gates = vec!["test -e target/x && exit 1".into()];
        let run = fixture.run().await;
        assert!(matches!(run.outcome(), RunOutcome::Failed(_)), "{:?}", run.end);
        let path = fixture.worktree().path().to_owned();
        assert!(!path.join("target").exists() && !path.join("installed").exists());
        fs::create_dir(path.join("target")).unwrap();
        fixture.next();
        fixture.config().gates = vec!["false".into()];
        fixture.run().await;
        assert!(path.join("target").exists(), "a story's own products stay for its next run");
    }

    #[tokio::test]
    async fn a_rooms_branch_that_brings_no_commit_is_a_failed_run() {
        let fixture = RunFixture::coder("");
        let (mut job, _control, _updates) = fixture.job();
        job.workspace = Some(Workspace::prepare(&fixture.context, &fixture.plan).unwrap());
        let outcome = job.check_landed().await.unwrap();
        assert!(
            matches!(
                &outcome,
                RunOutcome::Failed(RunFailure { cause: FailureCause::GhostRun { why: None }, .. })
            ),
            "{outcome:?}"
        );
    }
}
