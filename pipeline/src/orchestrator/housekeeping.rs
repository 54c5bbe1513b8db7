//! What time brings: `project.toml` read again, done stories archived, worktrees that nobody needs removed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Inner, Orchestrator, blocking};
use crate::{
    Project,
    board::Board,
    config::{Loaded, ProjectConfig},
    event::{Actor, Event},
    gates::Gates,
    host::Settings,
    merge::{MergeSettings, Proof},
    stage::Stage,
    story::StoryId,
    worktree::{Branch, Found, Name, Worktrees},
};

/// Done stories are looked at every so many ticks: once a minute.
const ARCHIVE_EVERY: u64 = 12;

/// Worktrees are looked at every so many ticks: once an hour.
const REAP_EVERY: u64 = 720;

/// At most so many stories are archived at a time, so that orders do not wait for it.
const ARCHIVED_AT_ONCE: usize = 50;

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
            if let Err(error) = self.put(id, Stage::Archived, Actor::Pipeline, None).await {
                tracing::warn!(story = %id, %error, "a done story could not be archived");
            }
        }
    }

    /// Removes in the background what belongs to no story in work.
    pub(super) fn reap(&self) {
        let (worktrees, project, inner) =
            (self.shop.worktrees.clone(), self.project.clone(), self.inner.clone());
        let board = Arc::clone(&self.board);
        let busy: Vec<StoryId> = self.runs.keys().copied().collect();
        tokio::spawn(async move {
            let reaped = blocking(move || reap(&worktrees, &project, &board, &busy)).await;
            if let Err(why) = reaped.and_then(|reaped| reaped) {
                let _ = inner.send(Inner::Removed("worktrees".into(), Err(why))).await;
            }
        });
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
                self.config_trouble = None;
                self.merges.configure(merge_settings(&self.base, &self.config, &self.settings));
                if was_wrong {
                    self.teller.tell(Event::Paused { why: None });
                }
            }
            Ok(_) => {}
            Err(why) => {
                let why = format!("{} The last good one counts until then.", ended(&why));
                if self.config_trouble.as_ref() != Some(&why) {
                    self.teller.alarm(None, why.clone());
                    self.config_trouble = Some(why);
                }
            }
        }
    }
}

fn ended(why: &str) -> String {
    if why.trim_end().ends_with('.') { why.trim_end().to_owned() } else { format!("{}.", why.trim_end()) }
}

/// Reads `project.toml`. It belongs to the repository, so `${VAR}` cannot name storkit's own secrets there.
pub(super) fn load(project: &Project, settings: &Settings) -> Result<Loaded, String> {
    let secret = |name: &str| settings.secret_env.iter().any(|secret| secret == name);
    let lookup = |name: &str| if secret(name) { None } else { std::env::var(name).ok() };
    ProjectConfig::load(&project.dir().join("project.toml"), lookup).map_err(|error| error.to_string())
}

/// What holds for merges. Their gates run without storkit's secrets.
pub(super) fn merge_settings(base: &str, config: &ProjectConfig, settings: &Settings) -> MergeSettings {
    const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    let gates = Gates {
        commands: config.gates.clone(),
        timeout: config.gate_timeout.limit().unwrap_or(FOR_EVER),
        env_remove: settings.secret_env.clone(),
        ..Gates::default()
    };
    MergeSettings { base: base.to_owned(), gates }
}

/// Keeps the worktrees of stories in work. What is merged goes with its branch; of the rest the branch stays.
pub(super) fn reap(
    worktrees: &Worktrees,
    project: &Project,
    board: &Board,
    busy: &[StoryId],
) -> Result<(), String> {
    for (name, found) in worktrees.list().map_err(|error| error.to_string())? {
        if busy.contains(&name.id()) {
            continue;
        }
        match fate(&name, &found, project, board) {
            Some(branch) => worktrees.remove(&name, branch).map_err(|error| error.to_string())?,
            None => continue,
        }
        tracing::info!(worktree = %name, "a worktree that no story in work needs is removed");
    }
    Ok(())
}

/// What becomes of a worktree; `None`: it stays.
fn fate(name: &Name, found: &Found, project: &Project, board: &Board) -> Option<Branch> {
    let own = board.story(name.id()).filter(|story| super::name_of(story).as_ref() == Some(name));
    match own.map(|story| story.stage) {
        Some(Stage::Current | Stage::Qa | Stage::Merge) => None,
        // Its file cannot be read now; it may be in work.
        None if board.problem(name.id()).is_some() => None,
        Some(Stage::Done | Stage::Archived)
            if matches!(Proof::read(project.root(), name.id()), Ok(Some(_))) =>
        {
            Some(Branch::Delete)
        }
        Some(Stage::Backlog | Stage::Done | Stage::Archived) | None => {
            (found.folder || found.admin || found.private).then_some(Branch::Keep)
        }
    }
}
