//! Work of the room's session beside its turns: commands and sub-agents in the background, and turns that their ends begin. Pure.

use agents::claude::{AgentEvent, BackgroundTask, TaskEnd};
use tokio::time::Instant;

use crate::commands::command::BackgroundView;

/// What goes on in the background.
#[derive(Default)]
pub(super) struct BackgroundWork {
    tasks: Vec<RunningTask>,
    is_awake: bool,
}

struct RunningTask {
    task: BackgroundTask,
    since: Instant,
    /// Somebody ended it, and the room was told.
    is_stopped: bool,
}

/// A task that ended by itself; `None` where the agent program does not tell how.
pub(super) type EndedTask = (BackgroundTask, Option<TaskEnd>);

impl BackgroundWork {
    /// Follows the agent program; returns the tasks of whose end the room is to hear. `has_turn`: whether a prompt is under way.
    pub(super) fn on_event(&mut self, event: &AgentEvent, has_turn: bool, now: Instant) -> Vec<EndedTask> {
        match event {
            AgentEvent::Started { .. } => self.is_awake = !has_turn,
            AgentEvent::TurnEnded(_) => self.is_awake = false,
            AgentEvent::TaskEnded { id, end } => {
                let at = self.tasks.iter().position(|running| running.task.id == *id);
                let ended = at.map(|at| self.tasks.remove(at)).filter(|ended| !ended.is_stopped);
                return ended.map(|ended| (ended.task, Some(*end))).into_iter().collect();
            }
            AgentEvent::BackgroundTasks(tasks) => return self.set_tasks(tasks, now),
            _ => {}
        }
        Vec::new()
    }

    fn set_tasks(&mut self, tasks: &[BackgroundTask], now: Instant) -> Vec<EndedTask> {
        let is_listed = |running: &RunningTask| tasks.iter().any(|task| task.id == running.task.id);
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tasks).into_iter().partition(is_listed);
        self.tasks = kept;
        for task in tasks {
            if !self.tasks.iter().any(|running| running.task.id == task.id) {
                self.tasks.push(RunningTask { task: task.clone(), since: now, is_stopped: false });
            }
        }
        gone.into_iter().filter(|gone| !gone.is_stopped).map(|gone| (gone.task, None)).collect()
    }

    /// Whether no task runs.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The process is gone; returns the tasks that ended with it and that the room has not heard of.
    pub(super) fn take(&mut self) -> Vec<BackgroundTask> {
        self.is_awake = false;
        let ended = std::mem::take(&mut self.tasks).into_iter();
        ended.filter(|ended| !ended.is_stopped).map(|ended| ended.task).collect()
    }

    /// Somebody ends all of it; returns what the room is to be told of.
    pub(super) fn stop(&mut self) -> Vec<BackgroundTask> {
        let running = self.tasks.iter_mut().filter(|running| !running.is_stopped);
        running
            .map(|running| {
                running.is_stopped = true;
                running.task.clone()
            })
            .collect()
    }

    /// The tasks that run.
    pub(super) fn running(&self) -> Vec<BackgroundTask> {
        self.tasks.iter().filter(|running| !running.is_stopped).map(|running| running.task.clone()).collect()
    }

    pub(super) fn view(&self, now: Instant) -> BackgroundView {
        let tasks = self.tasks.iter().map(|it| (it.task.clone(), now.saturating_duration_since(it.since)));
        BackgroundView { tasks: tasks.collect(), is_awake: self.is_awake }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agents::claude::{BackgroundKind, SessionId};

    use super::*;

    fn task(id: &str) -> BackgroundTask {
        BackgroundTask { id: id.into(), kind: BackgroundKind::Command, description: "count".into() }
    }

    fn listed(ids: &[&str]) -> AgentEvent {
        AgentEvent::BackgroundTasks(ids.iter().map(|id| task(id)).collect())
    }

    fn ended(id: &str, end: TaskEnd) -> AgentEvent {
        AgentEvent::TaskEnded { id: id.into(), end }
    }

    #[test]
    fn the_end_of_a_task_is_told_once_and_a_foreground_task_is_none() {
        let (mut work, now) = (BackgroundWork::default(), Instant::now());
        assert!(work.on_event(&listed(&["a", "b"]), true, now).is_empty());
        assert!(work.on_event(&ended("in the foreground", TaskEnd::Completed), true, now).is_empty());
        let told = work.on_event(&ended("a", TaskEnd::Failed), false, now);
        assert_eq!(told, [(task("a"), Some(TaskEnd::Failed))]);
        assert!(work.on_event(&listed(&["b"]), false, now).is_empty());
        assert_eq!(
            work.on_event(&listed(&[]), false, now),
            [(task("b"), None)],
            "it vanished without a word"
        );
        assert!(work.is_empty());
    }

    #[test]
    fn what_somebody_ends_is_told_then_and_not_again() {
        let (mut work, now) = (BackgroundWork::default(), Instant::now());
        work.on_event(&listed(&["a", "b"]), false, now);
        assert_eq!(work.stop(), [task("a"), task("b")]);
        assert!(work.stop().is_empty());
        assert!(work.on_event(&ended("a", TaskEnd::Stopped), false, now).is_empty());
        assert!(!work.is_empty(), "until it is gone");
        assert!(work.take().is_empty());
    }

    #[test]
    fn what_ends_with_its_process_is_told() {
        let (mut work, now) = (BackgroundWork::default(), Instant::now());
        work.on_event(&listed(&["a"]), false, now);
        assert_eq!(work.view(now + Duration::from_secs(5)).tasks, [(task("a"), Duration::from_secs(5))]);
        assert_eq!(work.take(), [task("a")]);
        assert!(work.is_empty());
    }

    #[test]
    fn a_turn_without_a_prompt_lasts_from_its_start_to_its_end() {
        let (mut work, now) = (BackgroundWork::default(), Instant::now());
        let started =
            AgentEvent::Started { session: SessionId::new("s"), model: "m".into(), mcp_servers: vec![] };
        work.on_event(&started, true, now);
        assert!(!work.view(now).is_awake, "a prompt is under way");
        work.on_event(&started, false, now);
        assert!(work.view(now).is_awake);
        work.on_event(&AgentEvent::TurnEnded(Box::default()), false, now);
        assert!(!work.view(now).is_awake);
    }
}
