//! `status`: what runs, what waits, and how the messengers are.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct StatusCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "status",
    aliases: &["st"],
    args: "",
    summary: "Show stories, current work, the queue and connections",
    details: "Shows the stories by stage with who works on them, what blocks them and what they cost; this room's turn, queue and session; \
              all open permission questions; running sessions; and each messenger's health.",
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
        let snapshot = cx.services.pipeline.snapshot();
        let mut text = replies::board(&snapshot, now);
        text.push_str(&replies::reviews(&snapshot, now));
        let turn = cx.view.running.as_ref();
        let turn = turn.map(|turn| (turn.who.as_str(), turn.since.elapsed(), turn.waiting.as_deref()));
        text.push_str(&replies::room_status(turn, &cx.view.queue));
        let background = &cx.view.background;
        text.push_str(&replies::background_list(&background.tasks, background.is_awake));
        text.push_str(&replies::room_place(&cx.view.place, cx.view.worktree));
        text.push_str(&replies::open_questions(&cx.services.broker.open_questions(), now));
        text.push_str(&replies::sessions(&cx.services.agents.all()));
        text.push_str(&replies::messenger_health(&cx.services.messengers.health(), now));
        Ok(Reply::notice(text.trim_end().to_owned()))
    }
}
