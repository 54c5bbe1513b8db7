//! `remember` and `memory`: what agents are told as background, because people asked for it.

use async_trait::async_trait;
use pipeline::memory::{self, MemoryChange, MemoryFault, MemoryNote, MemoryScope, NoteNumber};

use super::{
    services::CommandServices,
    story::{caller, later, refusal},
};
use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::{access::UserRole, redact::Redactor},
    replies,
};

pub struct RememberCommand;

pub struct MemoryCommand;

const REMEMBER: CommandSpec = CommandSpec {
    name: "remember",
    args: "[project] TEXT",
    summary: "Remember something for this conversation or the project",
    details: "The agent of this conversation, in all its threads, and the agents of the stories that were asked for here know it from their next turn or run \
              on; with `project`, every agent of the project does. They get it as background, never as an order. Nothing is remembered \
              by itself. At most 500 characters each, and 40 notes for a conversation and 40 for the project. The notes are committed to \
              `storkit/board`, so whoever can read the repository can read them; what looks like a password or a key is refused.",
    examples: &[
        "remember the staging server is down on Fridays",
        "remember project we write British English",
    ],
    takes_text: true,
    begins: Some(is_no_question),
    ..CommandSpec::PLAIN
};

const MEMORY: CommandSpec = CommandSpec {
    name: "memory",
    args: "[forget N]",
    summary: "Show what is remembered, or forget a note",
    details: "Shows what is remembered for this conversation and for the project (`p1`, `p2`, …), with who asked for it. `memory forget N` \
              removes a note, and takes an approver. A number is never given twice, so it never means another note. Notes are kept below \
              `.storkit/work/memory`; those that were written there by hand, or came with the repository, count as text by strangers.",
    examples: &["memory", "memory forget 3", "memory forget p1"],
    begins: Some(begins_memory),
    ..CommandSpec::PLAIN
};

/// "remember what we said?" is a prompt.
fn is_no_question(args: &str) -> bool {
    !args.ends_with('?')
}

/// "memory leak in main.c" is a prompt.
fn begins_memory(args: &str) -> bool {
    args.is_empty() || args.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("forget"))
}

#[async_trait]
impl Command for RememberCommand {
    fn spec(&self) -> &CommandSpec {
        &REMEMBER
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (scope, text) = read(&cx);
        if text.is_empty() {
            return Err(CommandError::Usage(replies::REMEMBER_WHAT.into()));
        }
        if knows_secret(cx.services, text) {
            return Err(fault(&MemoryFault::Secret("a secret of this bot")));
        }
        let change = MemoryChange::Remember { text: text.to_owned(), by: caller(&cx).to_string() };
        let pipeline = cx.services.pipeline.clone();
        later(async move {
            let note = pipeline.change_memory(scope.clone(), change).await.map_err(refusal)?;
            Ok(Reply::notice(replies::remembered(&scope, &note.map_err(|error| fault(&error))?)))
        })
    }
}

/// For whom, and what.
fn read<'a>(cx: &CommandContext<'a>) -> (MemoryScope, &'a str) {
    let (word, rest) = cx.args.split_once(char::is_whitespace).unwrap_or((cx.args, ""));
    match word.trim_end_matches(':').eq_ignore_ascii_case("project") {
        true => (MemoryScope::Project, rest.trim()),
        false => (MemoryScope::of_room(&cx.room.to_string()), cx.args),
    }
}

/// The bot's own secrets have no form by which they are known.
fn knows_secret(services: &CommandServices, text: &str) -> bool {
    Redactor::new(&services.settings.loaded(), settings::environment::var).clean(text).is_some()
}

fn fault(fault: &MemoryFault) -> CommandError {
    CommandError::User(replies::memory_fault(fault))
}

#[async_trait]
impl Command for MemoryCommand {
    fn spec(&self) -> &CommandSpec {
        &MEMORY
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let mut words = cx.args.split_whitespace();
        let verb = words.next().map(str::to_lowercase);
        match (verb.as_deref(), words.next(), words.next()) {
            (None, ..) => list(&cx),
            (Some("forget"), Some(number), None) => forget(&cx, number),
            (Some("forget"), None, _) => Err(CommandError::Usage(replies::FORGET_WHICH.into())),
            _ => Err(CommandError::Usage(replies::not_memory_argument(cx.args))),
        }
    }
}

fn list(cx: &CommandContext<'_>) -> CommandResult {
    let (project, room) = (cx.services.project.clone(), MemoryScope::of_room(&cx.room.to_string()));
    later(async move {
        let read = move || {
            [room, MemoryScope::Project].map(|scope| {
                let notes: Result<Vec<MemoryNote>, MemoryFault> = memory::notes(&project, &scope);
                (scope, notes)
            })
        };
        let lists = tokio::task::spawn_blocking(read).await?;
        Ok(Reply::text(replies::memory_list(&lists)))
    })
}

fn forget(cx: &CommandContext<'_>, word: &str) -> CommandResult {
    let number = NoteNumber::parse(word).ok_or_else(|| CommandError::Usage(replies::not_a_note(word)))?;
    let role = cx.services.access().role(cx.room, &cx.sender.id);
    if role.is_none_or(|role| role < UserRole::Approver) {
        return Err(CommandError::User(replies::not_allowed("memory forget", UserRole::Approver)));
    }
    let scope = match number.is_projects {
        true => MemoryScope::Project,
        false => MemoryScope::of_room(&cx.room.to_string()),
    };
    let pipeline = cx.services.pipeline.clone();
    later(async move {
        let change = MemoryChange::Forget(number.number);
        let note = pipeline.change_memory(scope.clone(), change).await.map_err(refusal)?;
        Ok(Reply::notice(replies::forgotten(&scope, &note.map_err(|error| fault(&error))?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_other_talk_of_memory_are_prompts() {
        assert!(is_no_question("the door is blue") && !is_no_question("what we said yesterday?"));
        assert!(begins_memory("") && begins_memory("Forget 3"));
        assert!(!begins_memory("leak in main.c"));
    }
}
