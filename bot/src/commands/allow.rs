//! `allow`, `deny`, `always`, `try`, `keep`: answers to permission questions, as commands.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::access::UserRole,
    permission::{Person, PersonAnswer, QuestionId},
    replies,
};

/// One of these answers.
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

pub const TRY: AnswerCommand = AnswerCommand {
    spec: CommandSpec {
        name: "try",
        aliases: &["dry-run", "preview", "simulate"],
        args: "[NUMBER]",
        summary: "Show what the command of a question would do",
        details: "Runs the command in a copy of the agent's folder, without a network and without secrets, for at most 20 seconds, and shows \
                  what it did below the question. Nothing of it is in effect. The question stays open: `keep` makes these changes, `yes` runs \
                  the command for real.",
        examples: &["try", "try 12"],
        role: UserRole::Approver,
        begins: Some(is_number),
        ..CommandSpec::PLAIN
    },
    answer: |words| nothing_more(words).map(|()| PersonAnswer::Try),
};

pub const KEEP: AnswerCommand = AnswerCommand {
    spec: CommandSpec {
        name: "keep",
        aliases: &["apply"],
        args: "[NUMBER]",
        summary: "Keep what a trial of a command did",
        details: "Makes the changes of files that `try` showed, exactly those, if the files are still as they were. The command does not run \
                  again; the agent gets its output.",
        examples: &["keep", "keep 12"],
        role: UserRole::Approver,
        begins: Some(is_number),
        ..CommandSpec::PLAIN
    },
    // Which effect is meant, only the room knows.
    answer: |words| nothing_more(words).map(|()| PersonAnswer::Keep(None)),
};

/// "try again" is said to the agent.
fn is_number(words: &str) -> bool {
    words.trim_start_matches('#').parse::<i64>().is_ok()
}

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
        let by = Person::new(cx.sender.id.to_string(), cx.sender.name.to_string());
        match cx.services.broker.answer(id, cx.room, &by, answer) {
            // The question itself is edited to its outcome.
            Ok(()) => Ok(Reply::default()),
            Err(refused) => Err(CommandError::User(replies::answer_refused(&refused))),
        }
    }
}
