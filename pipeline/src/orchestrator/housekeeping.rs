//! What time brings: `project.toml` read again, done stories archived, worktrees that nobody needs removed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agents::confine::Confinement;

use super::{Orchestrator, TaskEvent, blocking};
use crate::{
    Project,
    board::Board,
    config::{LoadedProjectConfig, ProjectConfig},
    event::{Actor, PipelineEvent},
    gates::GateRunner,
    host::AgentSettings,
    merge::{MergeProof, MergeSettings},
    sentence::sentence,
    stage::{Role, Stage},
    story::StoryId,
    worktree::{BranchFate, WorktreeName, WorktreeRemains, Worktrees},
};

/// Done stories are looked at every so many ticks: once a minute.
const ARCHIVE_EVERY: u64 = 12;

/// Worktrees are looked at every so many ticks: once an hour.
const REAP_EVERY: u64 = 720;

/// At most so many stories are archived at a time, so that orders do not wait for it.
const ARCHIVED_AT_ONCE: usize = 50;

/// A time limit where there is none.
pub(super) const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Orchestrator {
    pub(super) async fn tick(&mut self) {
        self.ticks += 1;
        self.commit();
        if self.ticks % ARCHIVE_EVERY == 1 {
            self.archive().await;
        }
        if self.ticks.is_multiple_of(REAP_EVERY) {
            self.reap();
        }
    }

    /// Stories that have been done long enough.
    async fn archive(&mut self) {
        let Some(after) = self.config.sweep_after.limit() else { return };
        let now = SystemTime::now();
        let due = |since: SystemTime| now.duration_since(since).is_ok_and(|age| age >= after);
        let due: Vec<StoryId> = self
            .board
            .in_stage(Stage::Done)
            .filter(|story| due(story.since) && !self.unproven.contains(&story.id()))
            .map(|story| story.id())
            .take(ARCHIVED_AT_ONCE)
            .collect();
        for id in due {
            if let Err(error) = self.move_story(id, Stage::Archived, Actor::Pipeline, None).await {
                tracing::warn!(story = %id, %error, "a done story could not be archived");
            }
        }
    }

    /// Looks in the background for worktrees that belong to no story in work.
    pub(super) fn reap(&self) {
        let (worktrees, inner) = (self.shop.worktrees.clone(), self.inner.clone());
        let (project, board) = (self.project.clone(), Arc::clone(&self.board));
        tokio::spawn(async move {
            let found = blocking(move || stale(&worktrees, &project, &board)).await;
            let _ = inner.send(TaskEvent::Stale(found.and_then(|found| found))).await;
        });
    }

    /// Removes what was found, unless its story has come to work meanwhile.
    pub(super) async fn stale(&mut self, found: Result<Vec<WorktreeName>, String>) {
        let names = match found {
            Ok(names) => names,
            Err(why) => return self.teller.alarm(None, format!("The worktrees cannot be listed: {why}")),
        };
        for name in names.into_iter().filter(|name| !self.runs.contains_key(&name.id())).collect::<Vec<_>>() {
            if let Some(branch) = fate(&name, &self.project, &self.board) {
                tracing::info!(worktree = %name, "a worktree that no story in work needs is removed");
                self.remove_worktree(name, branch);
            }
        }
    }

    /// Reads `project.toml` again. A bad edit changes nothing, and is told.
    pub(super) async fn reload(&mut self) {
        let (project, settings) = (self.project.clone(), Arc::clone(&self.settings));
        let loaded = blocking(move || load(&project, &settings)).await.and_then(|loaded| loaded);
        let was_wrong = self.config_trouble.is_some();
        match loaded {
            Ok(loaded) if *self.config != loaded.config || was_wrong => {
                if loaded.config.base_branch.as_deref().is_some_and(|base| base != self.base) {
                    let text = "`base_branch` in `project.toml` counts from the next start of storkit on."
                        .to_owned();
                    self.teller.alarm(None, text);
                }
                self.config = Arc::new(loaded.config);
                (self.config_trouble, self.configured) = (None, true);
                self.merges.configure(merge_settings(&self.base, &self.config, &self.settings));
                if was_wrong {
                    self.teller.tell(PipelineEvent::Paused { why: None });
                }
            }
            Ok(_) => {}
            Err(why) => {
                let until_then = match self.configured {
                    true => "The last good one counts until then.",
                    false => "Until that is mended nothing is started.",
                };
                let why = format!("{} {until_then}", sentence(&why));
                if self.config_trouble.as_ref() != Some(&why) {
                    self.teller.alarm(None, why.clone());
                    self.config_trouble = Some(why);
                }
            }
        }
    }
}

/// Reads `project.toml`. It belongs to the repository, so `${VAR}` cannot name storkit's own secrets there.
pub(super) fn load(project: &Project, settings: &AgentSettings) -> Result<LoadedProjectConfig, String> {
    let secret = |name: &str| settings.secret_env.iter().any(|secret| secret == name);
    let lookup = |name: &str| if secret(name) { None } else { std::env::var(name).ok() };
    ProjectConfig::load(&project.dir().join("project.toml"), lookup).map_err(|error| error.to_string())
}

/// What holds for merges. Their gates run without storkit's secrets.
pub(super) fn merge_settings(base: &str, config: &ProjectConfig, settings: &AgentSettings) -> MergeSettings {
    let gates = GateRunner {
        commands: config.gates.clone(),
        timeout: config.gate_timeout.limit().unwrap_or(FOR_EVER),
        env_remove: settings.secret_env.clone(),
        ..GateRunner::default()
    };
    MergeSettings {
        base: base.to_owned(),
        gates,
        network: config.gate_network.clone(),
        components: config.components.clone(),
        confinement: confinement(config, settings),
    }
}

/// What the project's commands are kept in outside of a run: what its first coder is, whose commits they try.
pub(super) fn confinement(config: &ProjectConfig, settings: &AgentSettings) -> Result<Confinement, String> {
    let coder = config.agents.iter().find(|agent| agent.role == Role::Coder);
    Confinement::chosen(coder.and_then(|coder| coder.sandbox.as_ref()), &settings.home)
}

/// Worktrees that are to go, as far as the board knows.
fn stale(worktrees: &Worktrees, project: &Project, board: &Board) -> Result<Vec<WorktreeName>, String> {
    let found = worktrees.list().map_err(|error| error.to_string())?;
    let goes = |(name, found): (WorktreeName, WorktreeRemains)| match fate(&name, project, board)? {
        // Of one whose branch stays there must be something else to remove.
        BranchFate::Keep => (found.folder || found.admin || found.private).then_some(name),
        BranchFate::Delete => Some(name),
    };
    Ok(found.into_iter().filter_map(goes).collect())
}

/// What becomes of a worktree; `None`: it stays. What is merged goes with its branch; of the rest the branch stays.
fn fate(name: &WorktreeName, project: &Project, board: &Board) -> Option<BranchFate> {
    let own = board.story(name.id()).filter(|story| super::name_of(story).as_ref() == Some(name));
    match own.map(|story| story.stage) {
        Some(Stage::Current | Stage::Qa | Stage::Merge) => None,
        // Its file cannot be read now; it may be in work.
        None if board.problem(name.id()).is_some() => None,
        Some(Stage::Done | Stage::Archived)
            if matches!(MergeProof::read(project.root(), name.id()), Ok(Some(_))) =>
        {
            Some(BranchFate::Delete)
        }
        Some(Stage::Backlog | Stage::Done | Stage::Archived) | None => Some(BranchFate::Keep),
    }
}
