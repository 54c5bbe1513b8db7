//! `help`: the commands a person may run here, or one of them in full.

use std::fmt::Write as _;

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct HelpCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "help",
    aliases: &["commands", "?"],
    args: "[COMMAND]",
    summary: "List the commands, or explain one",
    details: "Lists the commands you may use here, one line each. With a command's name: its usage, what it does, and examples.",
    examples: &["help", "help htop"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for HelpCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let registry = &cx.services.registry;
        if cx.args.is_empty() {
            return Ok(Reply::text(list(&cx)));
        }
        match registry.get(cx.args.trim_start_matches('!')) {
            Some(command) => Ok(Reply::text(explain(command.spec()))),
            None => Err(CommandError::Usage(replies::no_help_for(cx.args, registry.nearest(cx.args)))),
        }
    }
}

fn list(cx: &CommandContext<'_>) -> String {
    let role = cx.services.access().role(cx.room, &cx.sender.id);
    let mut text = String::new();
    for spec in cx.services.registry.specs().filter(|spec| role >= Some(spec.role)) {
        let _ = writeln!(text, "- `{}`: {}", spec.usage(), spec.summary);
    }
    let config = cx.services.config();
    let prefix = config.prefixes.first().map(String::as_str).unwrap_or_default();
    text.push_str(&replies::how_to_address(prefix, &config.display_name));
    text
}

/// One command in full.
pub fn explain(spec: &CommandSpec) -> String {
    let mut text = format!("`{}`\n\n{}", spec.usage(), spec.details);
    if !spec.aliases.is_empty() {
        let aliases: Vec<_> = spec.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let _ = write!(text, " Also: {}.", aliases.join(", "));
    }
    text.push_str("\n\nExamples:\n");
    for example in spec.examples {
        let _ = write!(text, "\n- `{example}`");
    }
    text
}
