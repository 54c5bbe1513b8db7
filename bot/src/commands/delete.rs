//! `delete`: a story with all that belongs to it, after a second word.

use std::fmt::Write as _;

use adapters::{
    Choice,
    markdown::{code_span, inert},
};
use async_trait::async_trait;
use pipeline::{event::PipelineSnapshot, handle::DeletedStory, story::StoryId};

use super::story::{begins_with_number, caller, later, number, refusal, unknown};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
};

/// See the module.
pub struct DeleteCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "delete",
    aliases: &["rm"],
    args: "ID [yes]",
    summary: "Delete a story with its worktree and branch, after asking",
    details: "Says what would go: the file in whatever stage, the agent at work, worktree and branch. `delete ID yes` does it and commits. Its \
              number is not given again.",
    examples: &["delete 12", "delete 12 yes"],
    role: UserRole::Approver,
    begins: Some(begins_with_number),
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for DeleteCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (id, word) = number(cx.args)?;
        match word.to_lowercase().as_str() {
            "" => question(id, &cx.services.pipeline.snapshot()),
            "yes" => {
                let (pipeline, by) = (cx.services.pipeline.clone(), caller(&cx));
                later(async move {
                    let deleted = pipeline.delete(id, by).await.map_err(refusal)?;
                    Ok(Reply::notice(told(id, &deleted)))
                })
            }
            other => Err(CommandError::Usage(format!("{} is not `yes`.", code_span(other)))),
        }
    }
}

fn question(id: StoryId, snapshot: &PipelineSnapshot) -> CommandResult {
    let what = match (snapshot.board.story(id), snapshot.board.problem(id)) {
        (Some(story), _) => format!("story `{id}` **{}**, in {}", inert(&story.front.name), story.stage),
        (None, Some(problem)) => format!("`{}`, which cannot be read", problem.path().display()),
        (None, None) => return Err(unknown(id)),
    };
    let mut text = format!("Delete {what}? Its worktree and branch go too, with all that is not merged.");
    if let Some(run) = snapshot.runs.iter().find(|run| run.story == id) {
        let _ = write!(text, " `{}` works on it and is stopped.", run.slot);
    }
    let _ = write!(text, " `delete {id} yes` does it.");
    let choice = Choice { key: format!("cmd:delete {id} yes"), label: "Delete it".into(), emoji: None };
    Ok(Reply { text, choices: vec![choice], ..Reply::default() })
}

fn told(id: StoryId, deleted: &DeletedStory) -> String {
    let mut gone = vec![format!("its file in {}", deleted.stage)];
    gone.extend(deleted.stopped.iter().map(|slot| format!("the run of `{slot}`")));
    gone.extend(deleted.worktree.then(|| "its worktree".to_owned()));
    gone.extend(deleted.branch.iter().map(|branch| format!("branch `{branch}`")));
    format!("Story `{id}` is deleted: {}.", gone.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::status_board::fixture;

    #[test]
    fn the_question_names_what_would_go_and_deletes_nothing() {
        let reply = question(StoryId(2), &fixture::snapshot()).unwrap();
        insta::assert_snapshot!(reply.text, @"Delete story `2` **Second**, in current? Its worktree and branch go too, with all that is not merged. `coder` works on it and is stopped. `delete 2 yes` does it.");
        assert_eq!(reply.choices[0].key, "cmd:delete 2 yes");
        assert!(question(StoryId(99), &fixture::snapshot()).is_err());
    }
}
