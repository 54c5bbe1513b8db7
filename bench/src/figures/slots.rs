//! Figure 15: a story in the slot of an earlier one, compared with one in a new worktree; and how long a slot takes to be ready.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use agents::{
    claude::PermissionRoute,
    confine::{ConfineChoice, WallSettings},
};
use anyhow::{Context as _, anyhow, ensure};
use futures::FutureExt as _;
use pipeline::{
    AttackedRun, AttackedSetting, Project,
    config::{Agent, Component, ProjectConfig},
    event::RunInfo,
    host::{AgentSettings, PipelineHost, RunAccess},
    mailbox::RunMailbox,
    stage::Role,
    strangers::StrangersRead,
    trust::TrustStore,
    worktree::{BranchFate, SizeLimits, WorktreeName, Worktrees},
};

use super::Figure;
use crate::{
    Effort,
    numbers::{median, millis},
    report::{Outcome, Row},
};

pub const FIGURE: Figure = Figure {
    number: 15,
    name: "slots",
    title: "A second story in a warm worktree",
    method: "Preparing: a repository of 10,000 files of 200 bytes whose base moves by one commit between two stories; `Worktrees::prepare` in a \
             slot that an earlier story left (its `release`, which runs when that story is merged, is shown too) beside `git worktree add -b`. \
             Start to first gate green: a project whose setup copies 500 MB of build products in 5,000 files and whose gate looks for the last \
             of them; worktree, setup and gate as a run has them, without an agent and without a wall. Alternately, on the same repository.",
    measure: |effort| measure(effort).boxed(),
};

/// The story that `AttackedRun` works on.
const STORY: &str = "1_attack";

struct BenchHost;

impl PipelineHost for BenchHost {
    fn open(&self, _run: &RunInfo, _read: &StrangersRead, _mailbox: &RunMailbox) -> RunAccess {
        RunAccess {
            route: PermissionRoute::Control,
            waiting: Arc::new(AtomicUsize::new(0)),
            trials: Default::default(),
            guard: Box::new(()),
        }
    }

    fn has_secret(&self, _content: &[u8]) -> bool {
        false
    }
}

fn git(root: &Path, args: &[&str]) -> anyhow::Result<()> {
    let identity = ["-c", "user.name=b", "-c", "user.email=b@example.org", "-c", "gc.auto=0"];
    let output = Command::new("git").arg("-C").arg(root).args(identity).args(args).output()?;
    ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A repository of so many files, below its own folder.
fn repository(files: u32) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("project");
    for number in 0..files {
        let folder = root.join(format!("d{}", number / 100));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{number}.txt")), format!("{number} ").repeat(40))?;
    }
    fs::write(root.join(".gitignore"), "/target\n")?;
    git(folder.path(), &["init", "-q", "-b", "main", "project"])?;
    git(&root, &["add", "-A"])?;
    git(&root, &["commit", "-q", "-m", "files"])?;
    Ok((folder, root))
}

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let files = effort.pick(10_000, 2_000);
    let (ours, theirs, release) = tokio::task::block_in_place(|| prepare(effort, files))?;
    let megabytes = effort.pick(500, 50);
    let (warm, cold) = first_gate(effort, megabytes).await?;
    let what = format!("preparing a warm worktree, {files} files");
    let gate = format!("start to first gate green, {megabytes} MB of build products");
    Ok(Outcome {
        rows: vec![
            Row::at_most(&what, (ours, theirs), 0.1, "ms", "`git worktree add`"),
            Row::alone("leaving it, when its story is merged", release, "ms"),
            Row::at_most(&gate, (warm, cold), 0.2, "ms", "new worktree"),
        ],
        remarks: Vec::new(),
    })
}

fn prepare(effort: Effort, files: u32) -> anyhow::Result<(f64, f64, f64)> {
    let (_folder, root) = repository(files)?;
    let worktrees = Worktrees::open(&Project::open(&root)?, SizeLimits { free: 0, ..SizeLimits::default() })?;
    let name = |round: usize| WorktreeName::parse(&format!("{}_bench", round + 1)).context("a name");
    worktrees.prepare(&name(0)?, "main", "coder")?;
    let (mut ours, mut theirs, mut releases) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=effort.rounds() {
        let start = Instant::now();
        worktrees.release(&name(round)?, BranchFate::Delete, ("main", 1))?;
        let released = millis(start.elapsed());
        fs::write(root.join("d0/0.txt"), format!("round {round}"))?;
        git(&root, &["commit", "-q", "-a", "-m", "later"])?;
        let start = Instant::now();
        worktrees.prepare(&name(round + 1)?, "main", "coder")?;
        let took = millis(start.elapsed());
        let at = root.with_file_name(format!("hand-{round}"));
        let at = at.to_str().context("a path")?;
        let start = Instant::now();
        git(&root, &["worktree", "add", "-q", "-b", &format!("hand-{round}"), at, "main"])?;
        let hand = millis(start.elapsed());
        git(&root, &["worktree", "remove", "--force", at])?;
        if round > 0 {
            ours.push(took);
            theirs.push(hand);
            releases.push(released);
        }
    }
    Ok((median(&ours), median(&theirs), median(&releases)))
}

async fn first_gate(effort: Effort, megabytes: usize) -> anyhow::Result<(f64, f64)> {
    let (folder, root) = repository(1_000)?;
    let products = folder.path().join("products");
    fs::create_dir(&products)?;
    let piece: Vec<u8> =
        (0..100_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for number in 0..megabytes * 10 {
        fs::write(products.join(format!("{number}.o")), &piece)?;
    }
    let component = Component {
        name: "app".into(),
        setup: vec![format!("cp -r '{}' target", products.display())],
        inputs: Some(vec!["d0/1.txt".into()]),
        ..Component::default()
    };
    let config = ProjectConfig {
        gates: vec![format!("test -s target/{}.o", megabytes * 10 - 1)],
        components: vec![component],
        ..ProjectConfig::default()
    };
    let project = Project::open(&root)?;
    let worktrees = Worktrees::open(&project, SizeLimits { free: 0, ..SizeLimits::default() })?;
    let name = WorktreeName::parse(STORY).context("a name")?;
    let setting = || AttackedSetting {
        project: project.clone(),
        settings: settings(&root),
        host: Arc::new(BenchHost),
        config: config.clone(),
    };
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for round in 0..=effort.rounds() {
        worktrees.reap_slots(0)?;
        let first = story(setting()).await?;
        worktrees.release(&name, BranchFate::Delete, ("main", 1))?;
        let second = story(setting()).await?;
        worktrees.remove(&name, BranchFate::Delete)?;
        if round > 0 {
            cold.push(first);
            warm.push(second);
        }
    }
    Ok((median(&warm), median(&cold)))
}

/// From the start of a run to its first green gate.
async fn story(setting: AttackedSetting) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut run = AttackedRun::new(setting, Agent::new("coder", Role::Coder))?;
    run.set_up().await.map_err(|why| anyhow!(why))?;
    run.run_gates().await.map_err(|why| anyhow!(why))?;
    let took = millis(start.elapsed());
    run.close().await;
    Ok(took)
}

fn settings(root: &Path) -> AgentSettings {
    AgentSettings {
        model_access: Default::default(),
        command: vec!["true".into()],
        model: String::new(),
        env: Default::default(),
        secret_env: Vec::new(),
        home: root.with_file_name("home"),
        wall: WallSettings { confine: ConfineChoice::None, ..WallSettings::default() },
        stall: Duration::ZERO,
        trust_project_settings: false,
        busy_wait: Duration::ZERO,
        settle: Duration::ZERO,
        trust: TrustStore::at(root.with_file_name("trust")),
    }
}
