//! Commands as data, the registry of all of them, and reading a text as one.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use adapters::{Addressed, Capabilities, Choice, MessageId, Room, Sender, Tone};
use agents::claude::BackgroundTask;
use async_trait::async_trait;
use futures::future::BoxFuture;
use pipeline::story::{StoryId, StoryKind};

use super::{
    services::CommandServices,
    slash_words::{self, SlashWord},
};
use crate::{
    config::access::UserRole,
    permission::Question,
    replies::{self, AgentOnly},
    sent_files::FileDelivery,
};

/// A command as data: help, completion, the reference page and each messenger's menu are made from it.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// The word people type.
    pub name: &'static str,
    /// Other words for it.
    pub aliases: &'static [&'static str],
    /// Arguments in the usual notation, e.g. `[on|off]`; empty for none.
    pub args: &'static str,
    /// One line, imperative, without a full stop.
    pub summary: &'static str,
    /// The full explanation, as Markdown sentences.
    pub details: &'static str,
    /// Whole lines to type.
    pub examples: &'static [&'static str],
    /// Who may call it.
    pub role: UserRole,
    /// Whether its arguments may be free text. If not, three words or more without a prefix are a prompt that
    /// merely begins with the command's name ("help me fix the build").
    pub takes_text: bool,
    /// How its arguments must begin for a text without a prefix to be this command, where its name is a common
    /// word ("start the server"). `None`: in any way.
    pub begins: Option<fn(&str) -> bool>,
    /// Whether files that come with its message belong to it.
    pub takes_files: bool,
    /// Whether it runs at once while the room is busy; else it waits its turn behind the prompts.
    pub immediate: bool,
}

impl CommandSpec {
    /// What most commands are: for every user, immediate, with plain arguments.
    pub const PLAIN: Self = Self {
        name: "",
        aliases: &[],
        args: "",
        summary: "",
        details: "",
        examples: &[],
        role: UserRole::User,
        takes_text: false,
        begins: None,
        takes_files: false,
        immediate: true,
    };

    /// For a command that takes no arguments.
    pub fn no_args(&self, args: &str) -> Result<(), CommandError> {
        match args {
            "" => Ok(()),
            _ => Err(CommandError::Usage(replies::no_arguments(self.name))),
        }
    }

    /// The usage line: the name and its arguments.
    pub fn usage(&self) -> String {
        format!("{} {}", self.name, self.args).trim_end().to_owned()
    }
}

/// The input of a command. It changes its room only through [`Reply::then`].
pub struct CommandContext<'a> {
    /// All that is shared between rooms.
    pub services: &'a Arc<CommandServices>,
    /// Where it was called.
    pub room: &'a Room,
    pub sender: &'a Sender,
    /// The message that called it, where one did.
    pub message: Option<&'a MessageId>,
    /// What came with that message.
    pub files: FileDelivery,
    /// What its messenger can do.
    pub capabilities: Capabilities,
    /// The room at this moment.
    pub view: RoomView,
    /// The text after the command's name, trimmed.
    pub args: &'a str,
}

/// A room at one moment.
#[derive(Clone, Debug, Default)]
pub struct RoomView {
    /// The turn under way.
    pub running: Option<RunningTurn>,
    /// Prompts that wait: who, and what.
    pub queue: Vec<(String, String)>,
    /// Open questions shown here, oldest first.
    pub questions: Vec<Arc<Question>>,
    /// The room's own choice of model.
    pub model: Option<String>,
    /// How much progress it shows.
    pub verbosity: u8,
    pub company: RoomCompany,
    pub session: Option<String>,
    /// Whether an htop ticks here.
    pub htop: bool,
    /// Whether the room works in a worktree of its own.
    pub worktree: bool,
    /// Where it works, as of its last turn.
    pub place: replies::RoomPlace,
    /// What people last asked for, in their words.
    pub last_request: Option<String>,
    /// What its session does beside its turns.
    pub background: BackgroundView,
}

/// Who else is in a room.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoomCompany {
    /// Whether every message counts as addressed.
    pub ambient: bool,
    /// Whether more than one person can read along.
    pub shared: bool,
}

/// Background work as commands see it.
#[derive(Clone, Debug, Default)]
pub struct BackgroundView {
    /// Each task, and for how long it runs.
    pub tasks: Vec<(BackgroundTask, Duration)>,
    /// The agent program works in a turn that nobody prompted.
    pub is_awake: bool,
}

impl BackgroundView {
    /// Whether anything goes on.
    pub fn is_at_work(&self) -> bool {
        self.is_awake || !self.tasks.is_empty()
    }
}

/// A turn under way.
#[derive(Clone, Debug)]
pub struct RunningTurn {
    pub who: String,
    pub since: Instant,
    /// The reason for a wait besides the model, e.g. a rate limit.
    pub waiting: Option<String>,
}

#[derive(Default)]
pub struct Reply {
    /// Markdown. Empty only where what follows shows itself (an answered question, htop).
    pub text: String,
    /// What kind of message it is.
    pub tone: Tone,
    /// What can be picked next.
    pub choices: Vec<Choice>,
    /// An action for the room.
    pub then: Option<RoomAction>,
    /// [`Outgoing::is_secret`](adapters::Outgoing::is_secret).
    pub is_secret: bool,
}

/// An action of the room that a command asks for.
pub enum RoomAction {
    StopTurn,
    /// Drop the waiting prompts.
    ClearQueue,
    ResetSession,
    /// Have the agent program replace the session's older part by a summary that keeps this.
    Compact(String),
    /// Another model from the next turn on; `None` for the configured one.
    SetModel(Option<String>),
    /// Another amount of progress.
    SetVerbosity(u8),
    /// Turn ambient mode on or off.
    SetAmbient(bool),
    /// Show htop for so long.
    Htop(std::time::Duration),
    StopHtop,
    Restart,
    /// Make a story of this title of the room's changes.
    Land(String),
    /// Give the room's agent this task, on behalf of the person who called.
    Prompt(String),
    /// Take that person's next words, if they are no command, for this.
    Await(AwaitedText),
    /// Throw the room's changes away.
    Discard {
        /// Whether a branch keeps them.
        keeps_copy: bool,
    },
    /// Answer later: the room continues meanwhile.
    Later(BoxFuture<'static, CommandResult>),
}

/// What somebody's next words are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitedText {
    /// Title and criteria of a new story.
    Story(StoryKind),
    /// The criteria of this story.
    Criteria(StoryId),
}

pub type CommandResult = Result<Reply, CommandError>;

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// The arguments do not fit; the usage line is added.
    Usage(String),
    /// It is not possible; the sentence gives the reason and the remedy.
    User(String),
    /// Our fault: logged with a number, and the person gets the number.
    Internal(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::Internal(error.into())
    }
}

impl Reply {
    /// An answer with nothing but text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Status nobody need be called for.
    pub fn notice(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Notice, ..Self::default() }
    }

    /// The same answer, after which the room acts.
    #[must_use]
    pub fn then(mut self, action: RoomAction) -> Self {
        self.then = Some(action);
        self
    }
}

/// A command. It sees its [`CommandContext`] and returns text.
#[async_trait]
pub trait Command: Send + Sync + 'static {
    fn spec(&self) -> &CommandSpec;

    /// Runs it. Quick: what takes longer than a moment goes into [`RoomAction::Later`].
    async fn run(&self, cx: CommandContext<'_>) -> CommandResult;
}

/// A text as the registry reads it.
pub enum ParsedText<'a> {
    /// A command with its arguments.
    Command(Arc<dyn Command>, &'a str),
    /// `!word` with a word that is none: the nearest one, if any is near.
    Unknown(&'a str, Option<&'static str>),
    /// A command of the agent program that does nothing in a room.
    AgentOnly(&'a str, AgentOnly),
    /// Anything else, for the relay.
    Prompt,
}

/// All commands by name and alias.
pub struct CommandRegistry {
    commands: Vec<Arc<dyn Command>>,
    by_word: HashMap<&'static str, usize>,
}

impl CommandRegistry {
    /// A registry of these commands.
    ///
    /// Panics if a name or alias is taken twice: a mistake in the program, met by the first test.
    pub fn new(commands: Vec<Arc<dyn Command>>) -> Self {
        let mut by_word = HashMap::new();
        for (index, command) in commands.iter().enumerate() {
            let spec = command.spec();
            for word in std::iter::once(&spec.name).chain(spec.aliases) {
                assert!(by_word.insert(*word, index).is_none(), "two commands are called `{word}`");
            }
        }
        Self { commands, by_word }
    }

    /// Every command, in the order of the help.
    pub fn specs(&self) -> impl Iterator<Item = &CommandSpec> {
        self.commands.iter().map(|command| command.spec())
    }

    /// The command of this name or alias, in any case.
    pub fn get(&self, word: &str) -> Option<&Arc<dyn Command>> {
        let index = match self.by_word.get(word) {
            Some(index) => index,
            None => self.by_word.get(word.to_lowercase().as_str())?,
        };
        self.commands.get(*index)
    }

    /// Reads a text whose address is already stripped.
    pub fn parse<'a>(&self, text: &'a str, addressed: Option<Addressed>) -> ParsedText<'a> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if let Some(word) = word.strip_prefix('/') {
            return self.parse_slash(word, rest.trim());
        }
        match self.get(word) {
            Some(command) => ParsedText::Command(command.clone(), rest.trim()),
            // Only with a prefix: without one an unknown word is how most prompts begin.
            None if matches!(addressed, Some(Addressed::Prefix | Addressed::Slash)) && !word.is_empty() => {
                ParsedText::Unknown(word, self.nearest(word))
            }
            None => ParsedText::Prompt,
        }
    }

    /// Reads `/word`, as people type commands in the CLI of an agent.
    fn parse_slash<'a>(&self, word: &'a str, args: &'a str) -> ParsedText<'a> {
        match slash_words::meaning(word) {
            Some(SlashWord::Command(name)) => match self.get(name) {
                Some(command) => ParsedText::Command(command.clone(), args),
                None => ParsedText::Prompt,
            },
            Some(SlashWord::AgentOnly(why)) => ParsedText::AgentOnly(word, why),
            None => match self.get(word) {
                Some(command) => ParsedText::Command(command.clone(), args),
                // A path or a sentence, or a command of the agent program that begins a turn.
                None => ParsedText::Prompt,
            },
        }
    }

    /// The name or alias that is most like `word`.
    pub fn nearest(&self, word: &str) -> Option<&'static str> {
        let word = word.to_lowercase();
        self.by_word
            .keys()
            .map(|known| (strsim::normalized_damerau_levenshtein(&word, known), *known))
            .filter(|(score, _)| *score >= 0.5)
            // Equal scores are decided by the word: the order of a hash map would give another hint each time.
            .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
            .map(|(_, known)| known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    fn parse(text: &str, addressed: Addressed) -> String {
        match commands::all().parse(text, Some(addressed)) {
            ParsedText::Command(command, args) => format!("{}({args})", command.spec().name),
            ParsedText::Unknown(word, nearest) => format!("unknown {word}, near {nearest:?}"),
            ParsedText::AgentOnly(word, _) => format!("of the agent: {word}"),
            ParsedText::Prompt => "prompt".into(),
        }
    }

    #[test]
    fn the_first_word_makes_a_command_in_any_case() {
        assert_eq!(parse("status", Addressed::Direct), "status()");
        assert_eq!(parse("  HTOP   5m ", Addressed::Name), "htop(5m)");
        assert_eq!(parse("statuses are odd", Addressed::Name), "prompt");
        assert_eq!(parse("", Addressed::Name), "prompt");
    }

    #[test]
    fn a_prefixed_word_that_is_no_command_gets_the_nearest_one() {
        assert_eq!(parse("statsu", Addressed::Prefix), "unknown statsu, near Some(\"status\")");
        assert_eq!(parse("zzzzzz", Addressed::Prefix), "unknown zzzzzz, near None");
        assert_eq!(parse("statsu", Addressed::Direct), "prompt");
    }
}
