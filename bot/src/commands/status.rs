//! `status`: what runs, what waits, and how the messengers are.

use std::{fmt::Write as _, time::SystemTime};

use adapters::{HealthSnapshot, markdown::inert};
use async_trait::async_trait;
use settings::duration::human;

use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply, RoomView},
    permission::Question,
    replies::shorten,
};

/// See the module.
pub struct StatusCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "status",
    aliases: &["st"],
    args: "",
    summary: "Show stories, what runs, what waits and how I am connected",
    details: "Shows the stories by stage with who works on them, what holds them and what they cost, this room's turn, its queue and session, every open permission question, the living agents, and each messenger's health.",
    examples: &["status"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for StatusCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        SPEC.no_args(cx.args)?;
        let now = cx.services.clock.now();
        let mut text = super::status_board::board(&cx.services.pipeline.snapshot(), now);
        text.push_str(&room(&cx.view));
        text.push_str(&questions(&cx.services.broker.open_questions(), now));
        text.push_str(&agents(&cx));
        text.push_str(&health(&cx.services.messengers.health(), now));
        Ok(Reply::notice(text.trim_end().to_owned()))
    }
}

fn room(view: &RoomView) -> String {
    let mut text = match &view.running {
        Some(turn) => {
            let waiting = turn.waiting.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
            format!(
                "**Here**: working for {} since {}{waiting}\n",
                inert(&turn.who),
                human(turn.since.elapsed())
            )
        }
        None => "**Here**: idle\n".to_owned(),
    };
    for (n, (who, what)) in view.queue.iter().enumerate() {
        let _ = writeln!(text, "{}. {}: {}", n + 1, inert(who), inert(&shorten(what, 60)));
    }
    text
}

fn questions(open: &[std::sync::Arc<Question>], now: SystemTime) -> String {
    if open.is_empty() {
        return String::new();
    }
    let mut text = format!("\n**Open questions**: {}\n", open.len());
    for question in open {
        let left = match question.deadline {
            Some(deadline) => {
                format!("denied in {}", human(deadline.duration_since(now).unwrap_or_default()))
            }
            None => "no deadline".into(),
        };
        let rooms: Vec<_> = question.rooms.iter().map(|room| format!("`{room}`")).collect();
        let (id, tool, whose) = (question.id, inert(&question.tool), inert(&question.asked_for));
        let _ = writeln!(text, "- {id}: {tool} for {whose} in {}, {left}", rooms.join(", "));
    }
    text
}

fn agents(cx: &CommandContext<'_>) -> String {
    let agents = cx.services.agents.all();
    let mut text = format!("\n**Agents alive**: {}\n", agents.len());
    for (_, agent) in agents {
        let _ =
            writeln!(text, "- `{}` for {}, ${:.2}", agent.name, human(agent.since.elapsed()), agent.cost_usd);
    }
    text
}

fn health(adapters: &[HealthSnapshot], now: SystemTime) -> String {
    let mut text = String::from("\n**Messengers**\n");
    let age = |time: SystemTime| human(now.duration_since(time).unwrap_or_default());
    for health in adapters {
        let state = if health.up { "up" } else { "down" };
        let _ = write!(text, "- {}: {state} for {}", health.name, age(health.since));
        if let Some(event) = health.last_event {
            let _ = write!(text, ", last message {} ago", age(event));
        }
        if health.reconnects > 0 {
            let _ = write!(text, ", {} reconnects", health.reconnects);
        }
        if let Some(error) = health.last_error.as_ref().filter(|_| !health.up) {
            let _ = write!(text, ": {}", inert(error));
        }
        if let Some(note) = health.note.as_ref().filter(|_| health.up) {
            let _ = write!(text, ". {}", inert(note));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_messenger_that_is_down_says_why() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let snapshot = HealthSnapshot {
            name: "matrix",
            up: false,
            since: now - Duration::from_secs(90),
            last_event: Some(now - Duration::from_secs(120)),
            reconnects: 2,
            last_error: Some("refused".into()),
            note: None,
        };
        insta::assert_snapshot!(health(&[snapshot], now), @r"

        **Messengers**
        - matrix: down for 1m 30s, last message 2m ago, 2 reconnects: refused
        ");
    }

    #[test]
    fn a_room_shows_its_queue_in_order() {
        let queue = vec![("Ann".into(), "fix\nthe build".into()), ("Bob".into(), "and test".into())];
        insta::assert_snapshot!(room(&RoomView { queue, ..RoomView::default() }), @r"
        **Here**: idle
        1. Ann: fix the build
        2. Bob: and test
        ");
    }
}
