//! Removes a story's worktree, after its components are torn down in the sandbox of its gates.

use std::{collections::BTreeMap, sync::Arc};

use agents::confine::{Confined, Confinement};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Orchestrator, TaskEvent, housekeeping, lane::blocking};
use crate::{
    config::ProjectConfig,
    gates::GateRunner,
    host::AgentSettings,
    open_hosts::CommandHosts,
    sentence::sentence,
    story::{StoryId, stage::Role},
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
    /// As many worktrees are left to later stories; 0 where one must not be.
    spare: usize,
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
            spare: 0,
        }
    }

    /// As [`Orchestrator::remover`], for a story that is merged: its worktree is left to the next one, with its build products.
    pub(super) fn releaser(&self, story: StoryId) -> WorktreeRemover {
        WorktreeRemover { spare: self.spare_slots(story), ..self.remover() }
    }

    fn spare_slots(&self, story: StoryId) -> usize {
        let can_pass = self.context.settings.confinement().is_ok_and(|wall| can_pass_on(&wall));
        let is_trusted = !self.stories.started.quarantined().contains_key(&story);
        match can_pass && is_trusted {
            true => spare_slots(&self.config.in_force),
            false => 0,
        }
    }

    /// Removes a story's worktree in the background. Meanwhile nobody is given the story.
    pub(super) fn remove_worktree(&mut self, name: WorktreeName, branch: BranchFate) {
        self.remove_with(self.remover(), name, branch);
    }

    /// As [`Orchestrator::remove_worktree`], for a story that is merged.
    pub(super) fn release_worktree(&mut self, name: WorktreeName) {
        self.remove_with(self.releaser(name.id()), name, BranchFate::Delete);
    }

    fn remove_with(&mut self, remover: WorktreeRemover, name: WorktreeName, branch: BranchFate) {
        let story = name.id();
        if !self.holds.begin_removal(story) {
            return;
        }
        let what = name.to_string();
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
        let (base, spare) = (self.base.clone(), self.spare);
        let remove = move || match spare {
            0 => worktrees.remove(&name, branch),
            spare => worktrees.release(&name, branch, (&base, spare)),
        };
        blocking(move || remove().map_err(|error| error.to_string())).await?
    }

    async fn take_down(&self, name: &WorktreeName) -> Result<(), String> {
        if self.config.components.iter().all(|component| component.teardown.is_empty()) {
            return Ok(());
        }
        let (worktrees, base, wanted) = (self.worktrees.clone(), self.base.clone(), name.clone());
        let Some(worktree) = blocking(move || worktrees.find(&wanted, &base)).await? else { return Ok(()) };
        worktree.forget_setups().map_err(|error| error.to_string())?;
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

/// Behind Landlock a process of the story can outlive it, with the right to write in its worktree. Without any wall it could write
/// anywhere, so that an own worktree would not help.
fn can_pass_on(wall: &Confinement) -> bool {
    match wall {
        Confinement::Bwrap(_) | Confinement::None => true,
        Confinement::Landlock(_) | Confinement::Prefix(_) => false,
    }
}

/// One slot for each coder, so that each has a warm one for its next story.
pub(super) fn spare_slots(config: &ProjectConfig) -> usize {
    let coders = config.agents.iter().filter(|agent| agent.role == Role::Coder);
    coders.map(|agent| agent.count as usize).sum::<usize>().max(1)
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

#[cfg(test)]
mod tests {
    use agents::confine::Bwrap;

    use super::*;
    use crate::worktree::confined::landlock;

    #[test]
    fn a_slot_is_passed_on_only_where_no_process_outlives_its_story() {
        assert!(can_pass_on(&Confinement::Bwrap(Bwrap::for_home("/nonexistent".as_ref()))));
        assert!(can_pass_on(&Confinement::None));
        assert!(!can_pass_on(&Confinement::Prefix(vec!["podman".into()])));
        if let Some(wall) = landlock("/nonexistent".as_ref()) {
            assert!(!can_pass_on(&Confinement::Landlock(wall)));
        }
    }

    #[test]
    fn each_coder_has_a_warm_worktree_for_its_next_story() {
        let config = ProjectConfig::default();
        assert_eq!(spare_slots(&config), 2);
        assert_eq!(spare_slots(&ProjectConfig { agents: Vec::new(), ..config }), 1);
    }
}
