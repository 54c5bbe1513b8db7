//! A run with an attacker in the place of the agent, the gates and the components' commands: for `storkit doctor --attack`, which has to see
//! the walls of real runs.

use std::{io, sync::Arc, time::SystemTime};

use agents::confine::Confinement;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{RunJob, blocking};
use crate::{
    Project,
    config::{Agent, ProjectConfig},
    event::{RunInfo, RunPhase},
    git::program::GitProgram,
    guard::OwnCommits,
    host::{AgentSettings, PipelineHost},
    ledger::RunLedger,
    merge::conflict_worktree,
    run::{
        outcome::RunOutcome,
        plan::{RunContext, RunControl, RunPlan, RunUpdate},
    },
    story::{
        Story, StoryDocument, StoryId,
        stage::{Role, Stage},
    },
    strangers::StrangersRead,
    worktree::{SizeLimits, Worktrees},
};

const STORY: StoryId = StoryId(1);
const FILE: &str = "1_story_attack.md";
const TEXT: &str = "---\nname: Attack\n---\n";

/// Updates that nobody reads.
const UPDATES: usize = 1_000;

/// Where such runs take place, and how processes are started.
#[derive(Clone)]
pub struct AttackedSetting {
    /// A project that was made for this, with a commit on `main`.
    pub project: Project,
    /// The attacker is the CLI.
    pub settings: AgentSettings,
    pub host: Arc<dyn PipelineHost>,
    /// The attacker is the gate, and the components' command.
    pub config: ProjectConfig,
}

pub struct AttackedRun {
    job: RunJob,
    // Both end the run when they are dropped.
    _control: RunControl,
    _updates: mpsc::Receiver<RunUpdate>,
}

impl AttackedRun {
    /// A run of this agent. A mergemaster gets the worktree of a conflict.
    ///
    /// # Errors
    /// If the project cannot be used.
    pub fn new(setting: AttackedSetting, agent: Agent) -> io::Result<Self> {
        let AttackedSetting { project, settings, host, config } = setting;
        let ledger = RunLedger::open(&project)?;
        let worktrees = Worktrees::open(&project, SizeLimits { free: 0, ..SizeLimits::default() });
        let worktrees = worktrees.map_err(io::Error::other)?;
        if agent.role == Role::Mergemaster {
            let folder = conflict_worktree(&project, STORY);
            let add = ["worktree", "add", "--quiet", "--detach"].map(std::ffi::OsStr::new);
            let add = add.into_iter().chain([folder.as_os_str()]);
            GitProgram::at(project.root()).run(add).map_err(io::Error::other)?;
        }
        let run = RunInfo {
            id: ledger.next(STORY, &agent.name),
            branch: None,
            story: STORY,
            title: "Attack".into(),
            slot: agent.name.clone(),
            agent: agent.name.clone(),
            role: agent.role,
            since: SystemTime::now(),
            phase: RunPhase::Preparing,
            pid: None,
            session: None,
            cost_usd: 0.0,
        };
        let stage = if agent.role == Role::Mergemaster { Stage::Merge } else { Stage::Current };
        let document = StoryDocument::parse(TEXT).map_err(io::Error::other)?;
        let file = FILE.parse().map_err(io::Error::other)?;
        let plan = RunPlan {
            run,
            story: Arc::new(Story::new(file, stage, SystemTime::now(), document)),
            text: TEXT.into(),
            agent,
            config: Arc::new(config),
            base: "main".into(),
            feedback: None,
            resume: None,
            parked_call: None,
            budget_usd: None,
            review: None,
            memory: String::new(),
            plans: false,
            read: StrangersRead::default(),
            in_quarantine: false,
            is_edited: false,
        };
        let (settings, own) = (Arc::new(settings), OwnCommits::default());
        let context = RunContext { project, settings, host, own, ledger, worktrees };
        let (told, updates) = mpsc::channel(UPDATES);
        let (control, signals) = RunControl::pair();
        let job = RunJob::new(context, plan, told, signals);
        Ok(Self { job, _control: control, _updates: updates })
    }

    /// Makes the worktree, and runs the components' setup there.
    ///
    /// # Errors
    /// Why nothing was started, as a clause.
    pub async fn set_up(&mut self) -> Result<(), String> {
        self.job.prepare().await.map_err(clause)
    }

    /// Runs the agent's process to its end, and returns its wall.
    ///
    /// # Errors
    /// As [`AttackedRun::set_up`].
    pub async fn run_agent(&mut self) -> Result<Confinement, String> {
        let launch = self.job.first_launch().await.map_err(clause)?;
        let confinement = launch.confine.as_ref().map_or(Confinement::None, |wall| wall.confinement.clone());
        self.job.run_process(launch).await.map_err(clause)?;
        Ok(confinement)
    }

    /// Runs the gates.
    ///
    /// # Errors
    /// As [`AttackedRun::set_up`].
    pub async fn run_gates(&mut self) -> Result<(), String> {
        let gates = self.job.confined_gates().await.map_err(clause)?;
        let report = gates.run(&self.job.path(), "", &CancellationToken::new()).await;
        match report.map(|report| report.failure().cloned()) {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(format!("{failure}: {}", failure.tail.trim())),
            Err(cancelled) => Err(cancelled.to_string()),
        }
    }

    /// Takes away what served this run alone.
    pub async fn close(mut self) {
        if let Some(workspace) = self.job.workspace.take() {
            blocking(move || workspace.close()).await;
        }
    }
}

fn clause(outcome: RunOutcome) -> String {
    outcome.summary().outcome
}
