//! Removes a story's worktree, after its components are torn down in the sandbox of its gates.

use std::{collections::BTreeMap, sync::Arc};

use agents::confine::Confined;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Orchestrator, TaskEvent, housekeeping, lane::blocking};
use crate::{
    config::ProjectConfig,
    gates::GateRunner,
    host::AgentSettings,
    open_hosts::CommandHosts,
    sentence::sentence,
    story::StoryId,
    strangers::{self, Quarantine},
    worktree::{BranchFate, ComponentPhase, Worktree, WorktreeName, Worktrees, run_components},
};

/// What removing a worktree needs, away from the task.
#[derive(Clone)]
pub(super) struct WorktreeRemover {
    worktrees: Worktrees,
    config: Arc<ProjectConfig>,
    settings: Arc<AgentSettings>,
    hosts: CommandHosts,
    quarantined: Arc<BTreeMap<StoryId, Quarantine>>,
    base: String,
    events: mpsc::Sender<TaskEvent>,
}

impl Orchestrator {
    pub(super) fn remover(&self) -> WorktreeRemover {
        WorktreeRemover {
            worktrees: self.context.worktrees.clone(),
            config: Arc::clone(&self.config.in_force),
            settings: Arc::clone(&self.context.settings),
            hosts: self.command_hosts(),
            quarantined: Arc::clone(self.stories.started.quarantined()),
            base: self.config.base.clone(),
            events: self.events.clone(),
        }
    }

    /// Removes a story's worktree in the background. Meanwhile nobody is given the story.
    pub(super) fn remove_worktree(&mut self, name: WorktreeName, branch: BranchFate) {
        let story = name.id();
        if !self.holds.begin_removal(story) {
            return;
        }
        let (remover, what) = (self.remover(), name.to_string());
        self.spawn(async move { remover.remove(&name, branch).await }, move |this, removed| {
            this.holds.end_removal(story);
            if let Err(why) = removed {
                let text = format!("The worktree `{what}` could not be removed: {}", sentence(&why));
                this.publisher.alarm(None, text);
            }
        });
    }
}

impl WorktreeRemover {
    /// Tears the components down, then removes the worktree. A failed teardown is reported and stops nothing.
    pub(super) async fn remove(&self, name: &WorktreeName, branch: BranchFate) -> Result<(), String> {
        if let Err(why) = self.take_down(name).await {
            let text = format!("The teardown in the worktree `{name}`, which is removed, failed: {why}");
            let _ = self.events.send(TaskEvent::Alarm(text)).await;
        }
        let (worktrees, name) = (self.worktrees.clone(), name.clone());
        blocking(move || worktrees.remove(&name, branch).map_err(|error| error.to_string())).await?
    }

    async fn take_down(&self, name: &WorktreeName) -> Result<(), String> {
        if self.config.components.iter().all(|component| component.teardown.is_empty()) {
            return Ok(());
        }
        let (worktrees, base, wanted) = (self.worktrees.clone(), self.base.clone(), name.clone());
        let Some(worktree) = blocking(move || worktrees.find(&wanted, &base)).await? else { return Ok(()) };
        let path = worktree.path().to_owned();
        let (remover, story) = (self.clone(), name.id());
        let (gates, confined, config) = blocking(move || kept_in(&worktree, story, remover)).await??;
        // A teardown stops the services that the setup started, so nothing cancels it; the gates' time limit still holds.
        let never = CancellationToken::new();
        let done = run_components(
            &path,
            &config.components,
            ComponentPhase::Teardown,
            &gates,
            Some(&confined),
            &never,
            |_| (),
        );
        done.await.map_err(|error| error.to_string())
    }
}

fn kept_in(
    worktree: &Worktree,
    story: StoryId,
    remover: WorktreeRemover,
) -> Result<(GateRunner, Confined, Arc<ProjectConfig>), String> {
    let WorktreeRemover { mut config, mut settings, hosts, quarantined, .. } = remover;
    let open_hosts = hosts.of(story);
    let in_quarantine = quarantined.contains_key(&story);
    if in_quarantine {
        config = Arc::new(config.registries_only(&open_hosts.registries));
        settings = settings.restricted();
    }
    // In the sandbox, too: a teardown runs files that an agent may have written.
    let confinement = settings.confinement()?;
    if in_quarantine {
        strangers::check_wall(&confinement, story)?;
    }
    let place = match confinement.encloses() {
        true => worktree.enclose().map_err(|error| error.to_string())?,
        false => worktree.place(),
    };
    let gates = GateRunner {
        timeout: config.gate_timeout.limit().unwrap_or(housekeeping::FOR_EVER),
        open_hosts,
        ..GateRunner::default()
    };
    Ok((gates, settings.confined(confinement, place), config))
}
