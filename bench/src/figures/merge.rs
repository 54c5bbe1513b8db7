//! Figure 8: a merge without gates, and a worktree, compared with the same git commands by hand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use agents::confine::Confinement;
use anyhow::{Context as _, ensure};
use futures::FutureExt as _;
use pipeline::{
    Project,
    board::WorkFolder,
    gates::GateRunner,
    merge::{MergeOutcome, MergeQueue, MergeRequest, MergeSettings},
    stage::{Mover, Stage},
    story::StoryKind,
    worktree::{BranchFate, SizeLimits, WorktreeName, Worktrees},
};

use super::Figure;
use crate::{
    Effort,
    numbers::{median, millis},
    report::{Outcome, Row},
};

pub const FIGURE: Figure = Figure {
    number: 8,
    name: "merge",
    title: "A merge and a worktree",
    method: "Repositories of 1,000 and 10,000 files of 200 bytes. Merge: from `MergeQueue::start` to the end it tells, without gates: squash, \
             empty check, commit with the story's file, base moved, main checkout refreshed, proof written; by hand: `git worktree add \
             --detach`, `git merge --squash`, `git diff --cached --quiet`, `git commit`, `git merge --ff-only` in the main checkout, `git \
             worktree remove`. Worktree: `Worktrees::prepare` beside `git worktree add -b`. Alternately, on the same repository.",
    measure: |effort| measure(effort).boxed(),
};

/// A repository with files.
struct Place {
    _folder: tempfile::TempDir,
    root: PathBuf,
    project: Project,
}

fn git(root: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        // Automatic garbage collection would hit one side at random.
        .args(["-c", "user.name=b", "-c", "user.email=b@example.org", "-c", "gc.auto=0"])
        .args(args)
        .output()?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Place {
    fn new(files: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("project");
        for number in 0..files {
            let folder = root.join(format!("d{}", number / 100));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("{number}.txt")), format!("{number} ").repeat(40))?;
        }
        git(folder.path(), &["init", "-q", "-b", "main", "project"])?;
        git(&root, &["config", "user.name", "b"])?;
        git(&root, &["config", "user.email", "b@example.org"])?;
        git(&root, &["add", "-A"])?;
        git(&root, &["commit", "-q", "-m", "files"])?;
        let project = Project::open(&root)?;
        Ok(Self { _folder: folder, root, project })
    }

    /// Makes a branch that changes one file.
    fn branch(&self, branch: &str, round: usize) -> anyhow::Result<()> {
        let place = self.root.with_file_name("work");
        let at = place.to_str().context("a path")?;
        git(&self.root, &["worktree", "add", "-q", "-b", branch, at, "main"])?;
        fs::write(place.join("d0").join(format!("new-{round}.txt")), branch)?;
        git(&place, &["add", "-A"])?;
        git(&place, &["commit", "-q", "-m", "work"])?;
        git(&self.root, &["worktree", "remove", "--force", at])
    }

    fn by_hand(&self, branch: &str) -> anyhow::Result<f64> {
        let place = self.root.with_file_name("by-hand");
        let at = place.to_str().context("a path")?;
        let start = Instant::now();
        git(&self.root, &["worktree", "add", "-q", "--detach", at, "main"])?;
        git(&place, &["merge", "-q", "--squash", branch])?;
        // `git diff --quiet` fails if there is a difference.
        ensure!(git(&place, &["diff", "--cached", "--quiet"]).is_err(), "the merge is empty");
        git(&place, &["commit", "-q", "-m", "merge"])?;
        let head = Command::new("git").arg("-C").arg(&place).args(["rev-parse", "HEAD"]).output()?;
        git(&self.root, &["merge", "-q", "--ff-only", String::from_utf8(head.stdout)?.trim()])?;
        git(&self.root, &["worktree", "remove", "--force", at])?;
        Ok(millis(start.elapsed()))
    }
}

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let mut rows = Vec::new();
    for files in [1_000, effort.pick(10_000, 2_000)] {
        let place = Place::new(files)?;
        let (ours, theirs) = merges(effort, &place).await?;
        rows.push(Row::at_most(&format!("merge, {files} files"), (ours, theirs), 1.3, "ms", "git by hand"));
        let (ours, theirs) = tokio::task::block_in_place(|| worktrees(effort, &place))?;
        let what = format!("worktree, {files} files");
        rows.push(Row::at_most(&what, (ours, theirs), 1.2, "ms", "`git worktree add`"));
    }
    Ok(Outcome { rows, remarks: Vec::new() })
}

async fn merges(effort: Effort, place: &Place) -> anyhow::Result<(f64, f64)> {
    let work = WorkFolder::open(&place.project)?;
    let settings = MergeSettings {
        base: "main".into(),
        gates: GateRunner::default(),
        components: Vec::new(),
        hosts: Default::default(),
        network: agents::confine::NetworkAccess::All,
        confinement: Ok(Confinement::None),
        variables: Vec::new(),
    };
    let (queue, mut ends) = MergeQueue::open(&place.project, settings)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=effort.rounds() {
        let title = format!("Round {round}");
        let story = work.create(StoryKind::Story, &title, None)?;
        for stage in [Stage::Current, Stage::Qa, Stage::Merge] {
            work.move_story(story.id(), stage, Mover::Pipeline)?;
        }
        let branch = format!("feature/story-{}_round/work", story.id());
        place.branch(&branch, round)?;
        let start = Instant::now();
        queue.start(&MergeRequest { file: story.file.clone(), title, branch, in_quarantine: false })?;
        let end = tokio::time::timeout(Duration::from_secs(120), ends.recv()).await?.context("an end")?;
        let took = millis(start.elapsed());
        ensure!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "it did not merge: {:?}", end.result);
        let by_hand = format!("by-hand-{round}");
        place.branch(&by_hand, 1_000 + round)?;
        let hand = place.by_hand(&by_hand)?;
        if round > 0 {
            ours.push(took);
            theirs.push(hand);
        }
    }
    Ok((median(&ours), median(&theirs)))
}

fn worktrees(effort: Effort, place: &Place) -> anyhow::Result<(f64, f64)> {
    let worktrees = Worktrees::open(&place.project, SizeLimits { free: 0, ..SizeLimits::default() })?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=effort.rounds() {
        let name = WorktreeName::parse(&format!("{}_bench", 9_000 + round)).context("a name")?;
        let start = Instant::now();
        worktrees.prepare(&name, "main", "coder")?;
        let took = millis(start.elapsed());
        worktrees.remove(&name, BranchFate::Delete)?;
        let at = place.root.with_file_name(format!("hand-{round}"));
        let at = at.to_str().context("a path")?;
        let start = Instant::now();
        git(&place.root, &["worktree", "add", "-q", "-b", &format!("hand-{round}"), at, "main"])?;
        let hand = millis(start.elapsed());
        git(&place.root, &["worktree", "remove", "--force", at])?;
        if round > 0 {
            ours.push(took);
            theirs.push(hand);
        }
    }
    Ok((median(&ours), median(&theirs)))
}
