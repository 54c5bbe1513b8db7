//! `rules`: what `always` made, and how to take it back.

use std::fmt::Write as _;

use adapters::markdown::{code_span, inert};
use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
};

/// See the module.
pub struct RulesCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "rules",
    args: "[revoke NUMBER]",
    summary: "List or revoke what is allowed by rule",
    details: "Lists the standing rules that `always` made, with who made them. `rules revoke NUMBER` takes one back, from the next call on.",
    examples: &["rules", "rules revoke 3"],
    role: UserRole::Approver,
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for RulesCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let mut words = cx.args.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None, ..) => list(&cx),
            (Some("revoke"), Some(number), None) => revoke(&cx, number),
            _ => Err(CommandError::Usage(format!("{} is no argument of `rules`.", code_span(cx.args)))),
        }
    }
}

fn list(cx: &CommandContext<'_>) -> CommandResult {
    let rules = cx.services.broker.rules()?;
    if rules.is_empty() {
        return Ok(Reply::text("There are no rules. Answer a question with `always` to make one."));
    }
    let mut text = String::new();
    for rule in rules {
        let _ = writeln!(
            text,
            "- {}: {} (by {})",
            rule.id,
            code_span(&rule.scope.describe()),
            inert(&rule.made_by)
        );
    }
    text.push_str("\n`rules revoke NUMBER` takes one back.");
    Ok(Reply::text(text))
}

fn revoke(cx: &CommandContext<'_>, number: &str) -> CommandResult {
    let id = number
        .parse()
        .map_err(|_| CommandError::Usage(format!("{} is no rule's number.", code_span(number))))?;
    match cx.services.broker.revoke(id)? {
        true => Ok(Reply::text(format!("Rule {id} is revoked. Such calls are asked again."))),
        false => Err(CommandError::User(format!("There is no rule {id}. `rules` lists them."))),
    }
}
