//! Work in the background: commands and sub-agents that go on beside the conversation.

use std::time::Duration;

use adapters::markdown::code_span;
use agents::claude::{BackgroundKind, BackgroundTask, TaskEnd};
use settings::duration::human;

use super::visible::visible_line;

/// Characters of a task's description.
const NAME_MAX: usize = 80;

fn name(task: &BackgroundTask) -> String {
    let (kind, name) = parts(task);
    format!("{kind} {}", code_span(&name))
}

/// Where no Markdown is shown.
pub(super) fn plain_background_name(task: &BackgroundTask) -> String {
    let (kind, name) = parts(task);
    format!("{kind} \"{name}\"")
}

/// What kind of work it is, and its description.
fn parts(task: &BackgroundTask) -> (&'static str, String) {
    let kind = match task.kind {
        BackgroundKind::Command => "command",
        BackgroundKind::SubAgent => "sub-agent",
        BackgroundKind::Other => "task",
    };
    let description = task.description.trim();
    (kind, visible_line(if description.is_empty() { &task.id } else { description }, NAME_MAX))
}

fn names(tasks: &[BackgroundTask]) -> String {
    tasks.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A task ended by itself.
pub fn background_ended(task: &BackgroundTask, end: Option<TaskEnd>) -> String {
    let how = match end {
        Some(TaskEnd::Completed) => "is done",
        Some(TaskEnd::Failed) => "failed",
        Some(TaskEnd::Stopped) => "was stopped",
        None => "has ended",
    };
    format!("The {}, which ran in the background, {how}.", name(task))
}

/// A person ended these.
pub fn background_stopped(tasks: &[BackgroundTask]) -> String {
    format!("Stopped in the background: {}.", names(tasks))
}

/// They ended with their session. `idle`: it was closed because nothing happened for so long.
pub fn background_closed(tasks: &[BackgroundTask], idle: Option<Duration>) -> String {
    let names = names(tasks);
    match idle {
        Some(limit) => format!(
            "Nothing happened here for {}, so I closed the session. That ended in the background: {names}. `background_timeout` below \
             `[claude]` in `bot.toml` sets how long I wait.",
            human(limit)
        ),
        None => format!("The session is closed. That ended in the background: {names}."),
    }
}

/// They ended with an earlier process of the bot.
pub fn background_cut(tasks: &[BackgroundTask]) -> String {
    format!("I was restarted. That ended in the background: {}.", names(tasks))
}

/// The line of `status`; empty where nothing goes on.
pub fn background_list(tasks: &[(BackgroundTask, Duration)], is_awake: bool) -> String {
    let mut parts: Vec<_> =
        tasks.iter().map(|(task, age)| format!("{} ({})", name(task), human(*age))).collect();
    if is_awake {
        parts.push("the agent works on what a background task came to".into());
    }
    if parts.is_empty() { String::new() } else { format!("In the background: {}\n", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: BackgroundKind, description: &str) -> BackgroundTask {
        BackgroundTask { id: "b1".into(), kind, description: description.into() }
    }

    #[test]
    fn background_work_is_named() {
        let tasks = [task(BackgroundKind::Command, "run `all` tests"), task(BackgroundKind::SubAgent, "")];
        insta::assert_snapshot!(background_ended(&tasks[0], Some(TaskEnd::Completed)), @"The command ``run `all` tests``, which ran in the background, is done.");
        insta::assert_snapshot!(background_stopped(&tasks), @"Stopped in the background: command ``run `all` tests``, sub-agent `b1`.");
        insta::assert_snapshot!(background_closed(&tasks[1..], None), @"The session is closed. That ended in the background: sub-agent `b1`.");
        let minute = Duration::from_secs(60);
        insta::assert_snapshot!(background_list(&[(tasks[1].clone(), minute)], true), @"In the background: sub-agent `b1` (1m), the agent works on what a background task came to");
        assert_eq!(background_list(&[], false), "");
    }
}
