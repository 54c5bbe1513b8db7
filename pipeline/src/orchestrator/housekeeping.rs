//! Regular work: reads `project.toml` again, archives done stories, removes worktrees that nobody needs.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agents::confine::Confinement;

use super::{
    Orchestrator, blocking,
    stories::{StoryStep, StoryWork},
};
use crate::{
    Project,
    board::Board,
    config::{LoadedProjectConfig, ProjectConfig},
    event::{Actor, PipelineEvent},
    gates::GateRunner,
    host::AgentSettings,
    merge::{MergeProof, MergeSettings},
    open_hosts::CommandHosts,
    sentence::sentence,
    story::{
        Story, StoryId,
        stage::{Mover, Role, Stage},
    },
    worktree::{BranchFate, WorktreeName, WorktreeRemains, Worktrees},
};

/// Done stories are looked at every so many ticks: once a minute.
const ARCHIVE_EVERY: u64 = 12;

/// Worktrees are looked at every so many ticks: once an hour.
const REAP_EVERY: u64 = 720;

/// At most so many stories are archived at a time, so that orders do not wait for it.
const ARCHIVED_AT_ONCE: usize = 50;

/// Follows the error of a `project.toml` where there was no good one yet.
pub(super) const NOTHING_STARTS: &str = "Nothing is started until this is fixed.";

/// A time limit where there is none.
pub(super) const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The settings in force, and facts found at the start.
pub(super) struct PipelineConfig {
    pub in_force: Arc<ProjectConfig>,
    /// The current error of the file; the last good settings stay in force.
    pub trouble: Option<String>,
    /// Whether there was a good one yet. Until then nothing is started: neither gates nor budgets are known.
    pub is_known: bool,
    /// The branch that stories merge to.
    pub base: String,
    /// What agents run in, as a clause.
    pub protection: String,
}

impl Orchestrator {
    pub(super) fn tick(&mut self, ticks: u64) {
        self.commit_if_due();
        // 1 and not 0: stories that became due while storkit was down go with the first tick.
        if ticks % ARCHIVE_EVERY == 1 {
            self.archive();
        }
        if ticks.is_multiple_of(REAP_EVERY) {
            self.reap();
        }
    }

    /// Stories that have been done long enough.
    fn archive(&mut self) {
        let Some(after) = self.config.in_force.sweep_after.limit() else { return };
        let now = SystemTime::now();
        let due = |since: SystemTime| now.duration_since(since).is_ok_and(|age| age >= after);
        let done = self.stories.board.in_stage(Stage::Done);
        let due: Vec<StoryId> = done
            .filter(|story| due(story.since))
            .map(|story| story.id())
            // The archive must not hide a story that was never merged.
            .filter(|id| !self.holds.is_unproven(*id) && !self.pending.is_pending(*id))
            .take(ARCHIVED_AT_ONCE)
            .collect();
        for id in due {
            let about = StoryWork::on(id).by(Actor::Pipeline, None);
            let archive = vec![StoryStep::Move(Stage::Archived, Mover::Pipeline)];
            self.take_steps(about, id, archive, move |_, done| {
                if let Err(error) = done {
                    tracing::warn!(story = %id, %error, "a done story could not be archived");
                }
            });
        }
    }

    /// Removes worktrees that belong to no story in work.
    pub(super) fn reap(&self) {
        let (worktrees, project) = (self.context.worktrees.clone(), self.context.project.clone());
        let board = Arc::clone(&self.stories.board);
        let find = blocking(move || stale(&worktrees, &project, &board));
        self.spawn(async { find.await.and_then(|found| found) }, |this, found| match found {
            Ok(found) => found.into_iter().for_each(|(name, branch)| this.remove_stale(name, branch)),
            Err(why) => {
                let text = format!("The worktrees cannot be listed: {}", sentence(&why));
                this.publisher.alarm(None, text);
            }
        });
    }

    /// Unless its story has come to work meanwhile.
    fn remove_stale(&mut self, name: WorktreeName, branch: BranchFate) {
        let in_use = self.runs.of(name.id()).is_some()
            || self.pending.is_pending(name.id())
            || may_be_in_work(&name, &self.stories.board);
        if !in_use {
            tracing::info!(worktree = %name, "a worktree that no story in work needs is removed");
            self.remove_worktree(name, branch);
        }
    }

    /// Reads `project.toml` again. A bad edit changes nothing, and is reported.
    pub(super) fn reload(&mut self) {
        let (project, settings) = (self.context.project.clone(), Arc::clone(&self.context.settings));
        let load = move || load(&project, &settings);
        self.stories.lane.run(None, load, |this, loaded| match loaded.and_then(|loaded| loaded) {
            Ok(loaded) => this.take_config(loaded.config),
            Err(why) => this.refuse_config(&why),
        });
    }

    fn take_config(&mut self, config: ProjectConfig) {
        let was_wrong = self.config.trouble.is_some();
        if *self.config.in_force == config && !was_wrong {
            return;
        }
        if config.base_branch.as_deref().is_some_and(|base| base != self.config.base) {
            // Runs and merges under way refer to the base that was found at the start.
            let text = "`base_branch` in `project.toml` takes effect when storkit restarts.";
            self.publisher.alarm(None, text.to_owned());
        }
        self.config.in_force = Arc::new(config);
        (self.config.trouble, self.config.is_known) = (None, true);
        let hosts = self.command_hosts();
        self.merges.configure(merge_settings(
            &self.config.base,
            &self.config.in_force,
            &self.context.settings,
            hosts,
        ));
        if was_wrong {
            self.publisher.tell(PipelineEvent::Paused { why: None });
        }
    }

    /// Opens hosts to the project's commands.
    pub(super) fn command_hosts(&self) -> CommandHosts {
        CommandHosts::new(&self.context.project, &self.config.base, &self.context.host)
    }

    fn refuse_config(&mut self, why: &str) {
        let until_then = match self.config.is_known {
            true => "The previous settings stay in effect until this is fixed.",
            false => NOTHING_STARTS,
        };
        let why = format!("{} {until_then}", sentence(why));
        if self.config.trouble.as_ref() != Some(&why) {
            self.publisher.alarm(None, why.clone());
            self.config.trouble = Some(why);
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
pub(super) fn merge_settings(
    base: &str,
    config: &ProjectConfig,
    settings: &AgentSettings,
    hosts: CommandHosts,
) -> MergeSettings {
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
        hosts,
        components: config.components.clone(),
        confinement: confinement(config, settings),
    }
}

/// The sandbox of the project's commands outside a run: that of the first coder, whose commits they check.
pub(super) fn confinement(config: &ProjectConfig, settings: &AgentSettings) -> Result<Confinement, String> {
    let coder = config.agents.iter().find(|agent| agent.role == Role::Coder);
    Confinement::chosen(coder.and_then(|coder| coder.sandbox.as_ref()), &settings.home)
}

/// Worktrees that are to go, with what becomes of their branches. Blocks.
fn stale(
    worktrees: &Worktrees,
    project: &Project,
    board: &Board,
) -> Result<Vec<(WorktreeName, BranchFate)>, String> {
    let found = worktrees.list().map_err(|error| error.to_string())?;
    let goes = |(name, found): (WorktreeName, WorktreeRemains)| match fate(&name, project, board)? {
        // Of one whose branch stays there must be something else to remove.
        BranchFate::Keep => {
            (found.folder || found.admin || found.private).then_some((name, BranchFate::Keep))
        }
        BranchFate::Delete => Some((name, BranchFate::Delete)),
    };
    Ok(found.into_iter().filter_map(goes).collect())
}

/// Decides about a worktree; `None`: it stays. A merged one is removed with its branch; others leave their branch.
fn fate(name: &WorktreeName, project: &Project, board: &Board) -> Option<BranchFate> {
    if may_be_in_work(name, board) {
        return None;
    }
    let own = own_story(name, board).map(|story| story.stage);
    let is_done = matches!(own, Some(Stage::Done | Stage::Archived));
    let merged = is_done && matches!(MergeProof::read(project.root(), name.id()), Ok(Some(_)));
    // An unmerged branch may be the only copy of somebody's work.
    Some(if merged { BranchFate::Delete } else { BranchFate::Keep })
}

/// Whether its story is in work, or cannot be read now.
fn may_be_in_work(name: &WorktreeName, board: &Board) -> bool {
    match own_story(name, board) {
        Some(story) => matches!(story.stage, Stage::Current | Stage::Qa | Stage::Merge),
        None => board.problem(name.id()).is_some(),
    }
}

fn own_story<'a>(name: &WorktreeName, board: &'a Board) -> Option<&'a Arc<Story>> {
    board.story(name.id()).filter(|story| super::name_of(story).as_ref() == Some(name))
}
