//! `model`: which model this room talks to.

use async_trait::async_trait;

use crate::{
    commands::command::{
        Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply, RoomAction,
    },
    replies,
};

pub struct ModelCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "model",
    args: "[NAME|default]",
    summary: "Show or choose this room's model",
    details: "Without a name: shows which model this room uses. With one (`opus`, `sonnet`, `haiku` or a full name): uses it from the next \
              turn on, also after a restart. `model default` returns to the configured one.",
    examples: &["model", "model sonnet", "model default"],
    immediate: false,
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for ModelCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let config = cx.services.config();
        let configured = &config.claude.model;
        match cx.args {
            "" => Ok(Reply::text(replies::model_now(cx.view.model.as_deref(), configured))),
            "default" => Ok(Reply::text(replies::model_reset(configured)).then(RoomAction::SetModel(None))),
            name if is_name(name) => {
                Ok(Reply::text(replies::model_chosen(name)).then(RoomAction::SetModel(Some(name.to_owned()))))
            }
            other => Err(CommandError::Usage(replies::not_a_model(other))),
        }
    }
}

// The name becomes an argument of the CLI, so above all it must not look like an option.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:/[]@".contains(c);
    text.len() <= 100 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_models_name_can_never_be_an_option() {
        assert!(is_name("claude-opus-5-5"));
        assert!(is_name("opus[1m]"));
        assert!(is_name("us.anthropic.claude:0"));
        assert!(!is_name("--dangerously-skip-permissions"));
        assert!(!is_name("a b"));
        assert!(!is_name(""));
    }
}
