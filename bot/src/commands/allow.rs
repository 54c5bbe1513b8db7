//! `allow`, `deny`, `always`: answers to permission questions, as commands.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    permission::{Person, PersonAnswer, QuestionId},
    replies,
};

/// One of the three answers.
pub struct AnswerCommand {
    spec: CommandSpec,
    /// Makes the answer of the words behind the number.
    answer: fn(&str) -> Result<PersonAnswer, CommandError>,
}

pub const ALLOW: AnswerCommand = AnswerCommand {
    spec: CommandSpec {
        name: "allow",
        aliases: &["yes", "y", "ok", "approve"],
        args: "[NUMBER]",
        summary: "Allow what a question asks, this once",
        details: "Allows the open question, or the one with this number if several are open. Exactly what was shown runs.",
        examples: &["allow", "yes 12"],
        role: UserRole::Approver,
        ..CommandSpec::PLAIN
    },
    answer: |words| nothing_more(words).map(|()| PersonAnswer::Yes),
};

pub const DENY: AnswerCommand = AnswerCommand {
    spec: CommandSpec {
        name: "deny",
        aliases: &["no", "n"],
        args: "[NUMBER] [REASON]",
        summary: "Deny what a question asks, with a reason for the agent",
        details: "Denies the open question, or the one with this number. The agent reads the reason and continues without it.",
        examples: &["deny", "no 12 use the test database"],
        role: UserRole::Approver,
        takes_text: true,
        ..CommandSpec::PLAIN
    },
    answer: |words| Ok(PersonAnswer::No((!words.is_empty()).then(|| words.to_owned()))),
};

pub const ALWAYS: AnswerCommand = AnswerCommand {
    spec: CommandSpec {
        name: "always",
        args: "[NUMBER]",
        summary: "Allow what a question asks, now and from now on",
        details: "Allows the open question and makes a rule for similar calls; the question shows what the rule covers. `rules` lists and \
                  revokes rules. No rule covers everything.",
        examples: &["always", "always 12"],
        role: UserRole::Approver,
        ..CommandSpec::PLAIN
    },
    answer: |words| nothing_more(words).map(|()| PersonAnswer::Always),
};

fn nothing_more(words: &str) -> Result<(), CommandError> {
    match words {
        "" => Ok(()),
        more => Err(CommandError::Usage(replies::not_a_question_number(more))),
    }
}

#[async_trait]
impl Command for AnswerCommand {
    fn spec(&self) -> &CommandSpec {
        &self.spec
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (word, rest) = cx.args.split_once(char::is_whitespace).unwrap_or((cx.args, ""));
        let (named, words) = match word.trim_start_matches('#').parse() {
            Ok(number) => (Some(QuestionId(number)), rest.trim()),
            Err(_) => (None, cx.args),
        };
        let answer = (self.answer)(words)?;
        let id = match (named, cx.view.questions.as_slice()) {
            (Some(id), _) => id,
            (None, []) => return Err(CommandError::User(replies::NO_QUESTION.into())),
            // Also where one is open: a bare answer is read by the room, which knows whether its sender can have seen the question.
            (None, many) => {
                return Err(CommandError::User(replies::which_question(
                    many.iter().map(|question| question.id),
                )));
            }
        };
        let by = Person { id: cx.sender.id.to_string(), name: cx.sender.name.to_string() };
        match cx.services.broker.answer(id, cx.room, &by, answer) {
            // The question itself is edited to its outcome.
            Ok(()) => Ok(Reply::default()),
            Err(refused) => Err(CommandError::User(replies::answer_refused(&refused))),
        }
    }
}
