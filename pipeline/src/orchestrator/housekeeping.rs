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
    config::ProjectConfig,
    event::{Actor, PipelineEvent},
    gates::GateRunner,
    host::AgentSettings,
    merge::{MergeProof, MergeSettings},
    sentence::sentence,
    story::{
        Story, StoryId,
        stage::{Mover, Role, Stage},
    },
    trust::{ProjectTrust, check_state_files},
    worktree::{BranchFate, WorktreeName, WorktreeRemains, Worktrees},
};

/// Done stories are looked at every so many ticks: once a minute.
const ARCHIVE_EVERY: u64 = 12;

/// Worktrees are looked at every so many ticks: once an hour.
const REAP_EVERY: u64 = 720;

/// At most so many stories are archived at a time, so that orders do not wait for it.
const ARCHIVED_AT_ONCE: usize = 50;

/// Follows the error of a `project.toml` where there was no good one yet.
const NOTHING_STARTS: &str = "Nothing is started until then.";

/// A time limit where there is none.
pub(super) const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The settings in force, and facts found at the start.
pub(super) struct PipelineConfig {
    pub in_force: Arc<ProjectConfig>,
    /// Why the settings that the repository has now are not in force: an error in them, or nobody confirmed them.
    pub trouble: Option<String>,
    /// Whether any are in force. Until then nothing is started: neither gates nor budgets are known.
    pub is_known: bool,
    /// A difference that takes effect only once it is committed; people are told once.
    pub edited: bool,
    /// What decides about the settings, as it was when they were read last.
    pub stamp: ConfigStamp,
    /// The branch that stories merge to.
    pub base: String,
    /// What agents run in, as a clause.
    pub protection: String,
}

impl Orchestrator {
    pub(super) fn tick(&mut self, ticks: u64) {
        self.commit_if_due();
        self.reload_if_due();
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

    /// Reads the settings again where base, what is checked out or the operator's confirmation is another. No watcher
    /// sees them all: base moves without a file in the checkout, and confirmations are outside of it.
    fn reload_if_due(&mut self) {
        let (project, settings) = (self.context.project.clone(), Arc::clone(&self.context.settings));
        let base = self.config.base.clone();
        let read = move || ConfigStamp::read(&project, &base, &settings);
        self.spawn(blocking(read), |this, stamp| {
            if stamp.is_ok_and(|stamp| stamp != this.config.stamp) {
                this.reload();
            }
        });
    }

    /// Reads the settings again. What is wrong with them or not confirmed changes nothing, and is reported.
    pub(super) fn reload(&mut self) {
        let (project, settings) = (self.context.project.clone(), Arc::clone(&self.context.settings));
        let base = self.config.base.clone();
        let read = move || (ConfigStamp::read(&project, &base, &settings), SettingsReading::read(&project, &settings));
        self.stories.lane.run(None, read, |this, read| {
            let Ok((stamp, reading)) = read else { return };
            this.config.stamp = stamp;
            this.take_reading(reading);
        });
    }

    fn take_reading(&mut self, reading: SettingsReading) {
        let SettingsReading { in_force, trouble, edited, .. } = reading;
        if let Some(config) = in_force {
            self.take_config(config, trouble.is_none());
        }
        if let Some(why) = trouble {
            self.refuse_config(&why);
        }
        if edited && !self.config.edited {
            self.publisher.alarm(None, edit_without_effect(&self.config.base));
        }
        self.config.edited = edited;
    }

    fn take_config(&mut self, config: ProjectConfig, is_current: bool) {
        let was_wrong = self.config.trouble.is_some();
        if is_current {
            self.config.trouble = None;
        }
        if *self.config.in_force == config && self.config.is_known && (!was_wrong || !is_current) {
            return;
        }
        if config.base_branch.as_deref().is_some_and(|base| base != self.config.base) {
            // Runs and merges under way refer to the base that was found at the start.
            let text = "`base_branch` in `project.toml` takes effect when storkit restarts.";
            self.publisher.alarm(None, text.to_owned());
        }
        self.config.in_force = Arc::new(config);
        self.config.is_known = true;
        self.merges.configure(merge_settings(
            &self.config.base,
            &self.config.in_force,
            &self.context.settings,
        ));
        if was_wrong {
            self.publisher.tell(PipelineEvent::Paused { why: None });
        }
    }

    fn refuse_config(&mut self, why: &str) {
        let why = with_consequence(why, self.config.is_known);
        if self.config.trouble.as_ref() != Some(&why) {
            self.publisher.alarm(None, why.clone());
            self.config.trouble = Some(why);
        }
    }
}

/// What follows from settings that are not in force.
pub(super) fn with_consequence(why: &str, others_are_in_force: bool) -> String {
    let until_then = match others_are_in_force {
        true => "The previous settings stay in effect until then.",
        false => NOTHING_STARTS,
    };
    format!("{} {until_then}", sentence(why))
}

/// An edit that nobody would otherwise notice to be without effect.
pub(super) fn edit_without_effect(base: &str) -> String {
    format!(
        "`.storkit/project.toml` in the checkout differs from the one on `{base}`, which is the one that counts. The \
         difference takes effect once it is committed on `{base}` and confirmed with `storkit trust`."
    )
}

/// The facts that decide about the settings, cheap enough to be looked at every few seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConfigStamp {
    base: Option<git2::Oid>,
    head: Option<git2::Oid>,
    confirmed: i128,
}

impl ConfigStamp {
    pub(super) fn read(project: &Project, base: &str, settings: &AgentSettings) -> Self {
        let repository = git2::Repository::open(project.root()).ok();
        let tip = |name: &str| repository.as_ref()?.refname_to_id(name).ok();
        Self {
            base: tip(&format!("refs/heads/{base}")),
            head: tip("HEAD"),
            confirmed: settings.trust.changed_at(project),
        }
    }
}

/// The settings as they are on disk, in git and in the operator's confirmation.
pub(super) struct SettingsReading {
    /// Those that are in force; `None` where nobody has confirmed any, or they are wrong.
    pub in_force: Option<ProjectConfig>,
    /// Why those that the repository has now are not.
    pub trouble: Option<String>,
    pub edited: bool,
    /// The branch that stories merge to. An error stops the whole pipeline.
    pub base: Result<String, String>,
}

impl SettingsReading {
    /// Reads `project.toml` on base and what was confirmed of it. Blocks.
    pub(super) fn read(project: &Project, settings: &AgentSettings) -> Self {
        let failed = |why: String| Self { in_force: None, trouble: Some(why.clone()), edited: false, base: Err(why) };
        if let Err(error) = check_state_files(project.root()) {
            return failed(error.to_string());
        }
        let trust = match ProjectTrust::read(project, &settings.trust) {
            Ok(trust) => trust,
            Err(error) => return failed(error.to_string()),
        };
        if trust.has_unconfirmed_programs() {
            return failed(trust.programs_sentence());
        }
        // The file belongs to the repository, so `${VAR}` cannot name storkit's own secrets there.
        let secret = |name: &str| settings.secret_env.iter().any(|secret| secret == name);
        let lookup = |name: &str| if secret(name) { None } else { std::env::var(name).ok() };
        let (in_force, wrong) = match trust.in_force(lookup) {
            Ok(loaded) => (loaded.map(|loaded| loaded.config), None),
            Err(why) => (None, Some(why)),
        };
        let unconfirmed = || match trust.proposed_config(lookup) {
            // One that is wrong cannot be confirmed either.
            Err(why) => Some(why),
            Ok(_) => (!trust.is_confirmed()).then(|| trust.unconfirmed_sentence()),
        };
        let trouble = wrong.or_else(unconfirmed);
        Self { in_force, trouble, edited: trust.edited, base: Ok(trust.base) }
    }
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
