//! `rules`: what `always` made, and how to take it back.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    replies,
};

pub struct RulesCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "rules",
    args: "[revoke NUMBER]",
    summary: "List or revoke standing rules",
    details: "Lists the standing rules that `always` made, with who made them. `rules revoke NUMBER` revokes one; the next such call is \
              asked again.",
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
            _ => Err(CommandError::Usage(replies::not_rules_argument(cx.args))),
        }
    }
}

fn list(cx: &CommandContext<'_>) -> CommandResult {
    let rules = cx.services.broker.rules()?;
    Ok(Reply::text(replies::rule_list(&rules)))
}

fn revoke(cx: &CommandContext<'_>, number: &str) -> CommandResult {
    let id = number.parse().map_err(|_| CommandError::Usage(replies::not_a_rule_number(number)))?;
    match cx.services.broker.revoke(id)? {
        true => Ok(Reply::text(replies::rule_revoked(id))),
        false => Err(CommandError::User(replies::no_such_rule(id))),
    }
}
