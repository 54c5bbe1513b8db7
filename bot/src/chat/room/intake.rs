//! What people write in the room: a command, the answer to a question, or a prompt for the queue.

use std::time::SystemTime;

use adapters::{Addressed, Incoming, PersonAct, Room, Tone};

use super::{
    QUEUE_LIMIT, RoomTask,
    answer_text::{self, SaidText},
    answers,
    prompt_queue::CommandCall,
};
use crate::{
    chat::{prompt, rooms::RoomInput},
    commands::command::{Command, CommandSpec, ParsedText},
    permission::Question,
    replies,
    store::{OverheardTalk, QueuedPrompt},
};

impl RoomTask {
    pub(super) async fn on_message(&mut self, incoming: Incoming) {
        self.activity.last_message = Some(incoming.id.clone());
        if incoming.room != self.room {
            self.outbox.set_thread(incoming.id.clone(), incoming.room.clone());
        }
        self.activity.shared = incoming.shared;
        match &incoming.act {
            PersonAct::Said { text } => self.on_text(&incoming, text).await,
            PersonAct::Chose { key, .. } => self.on_choice(&incoming, key).await,
            PersonAct::Edited { message, text } => self.on_edit(&incoming, message, text).await,
            PersonAct::Redacted { message } => self.on_redaction(&incoming, message),
        }
    }

    /// Stores talk among people as context for the next prompt.
    pub(super) fn on_unaddressed(&mut self, incoming: &Incoming) {
        let PersonAct::Said { text } = &incoming.act else { return };
        let talk = OverheardTalk {
            who: prompt::author(&incoming.sender.name, &incoming.sender.id),
            text: prompt::overheard_text(text, &incoming.enclosed),
        };
        self.log_store_error(self.services.store.overhear(
            &self.room,
            &talk,
            self.services.config().history_size,
        ));
    }

    /// A reply that was put off: by now it is known which question it replies to, if any.
    pub(super) async fn recheck_early_reply(&mut self, incoming: Incoming) {
        if let PersonAct::Said { text } = &incoming.act {
            self.on_text(&incoming, text).await;
        }
    }

    /// Whether these words are a prompt, and no command.
    pub(super) fn is_prompt(&self, text: &str, addressed: Option<Addressed>) -> bool {
        match self.services.commands.registry.parse(text, addressed) {
            ParsedText::Command(command, args) => {
                let form = form_of(text, addressed);
                !is_meant(command.spec(), (text, args), form, !self.questions.is_empty())
            }
            ParsedText::Unknown(..) | ParsedText::AgentOnly(..) => false,
            ParsedText::Prompt => !text.trim().is_empty(),
        }
    }

    pub(super) async fn on_text(&mut self, incoming: &Incoming, text: &str) {
        let call = CommandCall {
            sender: incoming.sender.clone(),
            message: Some(incoming.id.clone()),
            addressed: incoming.addressed,
            files: incoming.enclosed.files.clone(),
            number: None,
        };
        let sent_at = self.activity.sent_times.sent(incoming.sent_at, self.services.clock.now());
        if self.is_early(incoming, text) {
            let (sender, incoming) = (self.sender.clone(), incoming.clone());
            // The outbox learns the question's message id before it gets here, so the second look decides. If the
            // task is gone by then, so are its questions.
            return self.outbox.then(move || _ = sender.send(RoomInput::EarlyReply(incoming)));
        }
        let said = SaidText { text, reply_to: incoming.reply_to.as_ref(), sent_at };
        if self.answers_question(&call, &said) {
            self.tell_unused_files(&call);
            return self.mark_acted_on(&incoming.id);
        }
        if self.take_plan_reply(incoming, text, &call).await {
            return;
        }
        let services = self.services.clone();
        let form = form_of(text, incoming.addressed);
        let question_open = !self.questions.is_empty();
        let is_meant =
            |command: &dyn Command, args| is_meant(command.spec(), (text, args), form, question_open);
        match services.commands.registry.parse(text, incoming.addressed) {
            ParsedText::AgentOnly(word, why) => {
                self.say(replies::only_in_the_cli(word, why), Tone::Failure, call.message);
            }
            ParsedText::Command(command, args)
                if is_meant(&*command, args)
                    && answers::is_answer(command.spec())
                    && self.may_answer_in_thread(&call, text) => {}
            ParsedText::Command(command, args) if is_meant(&*command, args) => {
                self.mark_acted_on(&incoming.id);
                let unused = (!command.spec().takes_files).then(|| call.clone());
                self.call_command(command, args.to_owned(), call).await;
                if let Some(call) = unused {
                    self.tell_unused_files(&call);
                }
            }
            // Not acted on: an edit that mends the word runs it.
            ParsedText::Unknown(word, near) => {
                self.say(replies::unknown_command(word, near), Tone::Failure, call.message);
            }
            ParsedText::Prompt if text.trim().is_empty() && incoming.enclosed.is_empty() => {
                self.say(replies::greeting(&services.config().display_name), Tone::Answer, call.message);
            }
            ParsedText::Prompt | ParsedText::Command(..) if self.take_awaited(&call, text) => {
                self.mark_acted_on(&incoming.id);
            }
            ParsedText::Prompt | ParsedText::Command(..) if self.may_answer_in_thread(&call, text) => {}
            ParsedText::Prompt if self.tells_run(&call, incoming, text).await => {
                self.mark_acted_on(&incoming.id);
            }
            ParsedText::Prompt | ParsedText::Command(..) => {
                self.mark_acted_on(&incoming.id);
                self.prompt_or_move(incoming, text, sent_at);
            }
        }
    }

    /// Only a prompt brings its files to the agent, and only some commands take any.
    pub(super) fn tell_unused_files(&self, call: &CommandCall) {
        let names = call.files.iter().map(|file| file.name.as_str());
        if let Some(told) = replies::files_not_passed_on(names) {
            self.say(told, Tone::Notice, call.message.clone());
        }
    }

    /// Queues a prompt here, or in its thread.
    pub(super) fn prompt_or_move(&mut self, incoming: &Incoming, text: &str, sent_at: SystemTime) {
        match self.thread_for(incoming) {
            Some(thread) => self.move_to(thread, incoming),
            None => self.enqueue_prompt(incoming, text, sent_at),
        }
    }

    /// Whether this may be meant for a question that is just being sent: it is read once that is known.
    fn is_early(&self, incoming: &Incoming, text: &str) -> bool {
        let is_command = matches!(incoming.addressed, Some(Addressed::Prefix | Addressed::Slash));
        let reply_to = incoming.reply_to.as_ref().filter(|_| !is_command);
        self.questions.may_answer_early(reply_to, text)
    }

    /// Where the messenger has threads, a prompt opens one. In an ambient room and between two the room itself is the conversation.
    fn thread_for(&self, incoming: &Incoming) -> Option<Room> {
        match self.services.ambient.is_on(&self.room) || !incoming.shared {
            true => None,
            false => self.adapter.open_thread(&self.room, &incoming.id),
        }
    }

    /// Hands the prompt to its thread, with the talk before it.
    fn move_to(&self, thread: Room, incoming: &Incoming) {
        let history = self.services.config().history_size;
        // The thread is a room of its own with an empty history: the agent needs this talk to understand the prompt.
        for talk in self.log_store_error(self.services.store.take_talk(&self.room)).unwrap_or_default() {
            self.log_store_error(self.services.store.overhear(&thread, &talk, history));
        }
        self.mark_moved(&incoming.id);
        if !self.services.rooms.offer(&thread, Incoming { room: thread.clone(), ..incoming.clone() }, true) {
            self.say(replies::queue_full(QUEUE_LIMIT), Tone::Failure, Some(incoming.id.clone()));
        }
    }

    async fn on_choice(&mut self, incoming: &Incoming, key: &str) {
        // Where only that person sees the reply to a pick, the reply names the pick; elsewhere there is
        // no message to reply to.
        let private = self.adapter.capabilities().private_replies;
        let message = private.then(|| incoming.id.clone());
        let call = CommandCall {
            sender: incoming.sender.clone(),
            message,
            // A button is as explicit as a prefix: it must never be taken for a prompt.
            addressed: Some(Addressed::Prefix),
            files: Vec::new(),
            number: None,
        };
        if let Some((id, answer)) = Question::parse_key(key) {
            let sent_at = self.activity.sent_times.sent(incoming.sent_at, self.services.clock.now());
            self.answer_by_pick(&call, id, answer, sent_at);
            return;
        }
        let services = self.services.clone();
        let parse = |line| services.commands.registry.parse(line, Some(Addressed::Prefix));
        match key.strip_prefix("cmd:").map(parse) {
            Some(ParsedText::Command(command, args)) => {
                self.call_command(command, args.to_owned(), call).await;
            }
            _ => {
                tracing::warn!(key, room = %self.room, "a choice that nobody offered");
                self.say(replies::UNKNOWN_BUTTON.to_owned(), Tone::Failure, call.message);
            }
        }
    }

    fn enqueue_prompt(&mut self, incoming: &Incoming, text: &str, sent_at: SystemTime) {
        if self.queue.is_full() {
            // In an ambient room people talk among themselves: their words become context, without
            // a remark about the queue.
            return match incoming.addressed {
                None => self.on_unaddressed(incoming),
                Some(_) => {
                    self.say(replies::queue_full(QUEUE_LIMIT), Tone::Failure, Some(incoming.id.clone()));
                }
            };
        }
        let prompt = QueuedPrompt {
            message: Some(incoming.id.clone()),
            sender_id: incoming.sender.id.to_string(),
            sender_name: incoming.sender.name.to_string(),
            text: text.to_owned(),
            addressed: incoming.addressed,
            shared: incoming.shared,
            sent_at,
            is_command: false,
            enclosed: incoming.enclosed.clone(),
            continues: false,
            thread: self.outbox.thread_of(&incoming.id).map(ToString::to_string),
        };
        // Before the push, which makes the room busy. Only a prompt that waits behind another is worth a notice.
        let busy = self.is_busy();
        self.queue.push_prompt(prompt);
        if busy {
            self.announce_queued(incoming);
        }
        self.next_in_queue();
    }

    /// A prompt that waits is announced; talk of people in an ambient room only once for each question that keeps it waiting.
    fn announce_queued(&mut self, incoming: &Incoming) {
        let unreminded = self.questions.take_unreminded(&self.turn.asker);
        let asked: Vec<_> = match incoming.addressed {
            Some(_) => self.questions.of(&self.turn.asker).collect(),
            None => unreminded,
        };
        let position = self.queue.len();
        let sentence = match incoming.addressed {
            _ if !asked.is_empty() => replies::queued_behind_questions(&asked, position),
            Some(_) => replies::queued(position),
            None => return,
        };
        self.say(sentence, Tone::Notice, Some(incoming.id.clone()));
    }
}

// Nobody begins a sentence with `/clear`.
fn form_of(text: &str, addressed: Option<Addressed>) -> Option<Addressed> {
    if text.trim_start().starts_with('/') { Some(Addressed::Slash) } else { addressed }
}

/// Whether a text that begins with a command's name is that command. With a prefix it always is.
pub(super) fn is_meant(
    spec: &CommandSpec,
    (text, args): (&str, &str),
    addressed: Option<Addressed>,
    question_open: bool,
) -> bool {
    if matches!(addressed, Some(Addressed::Prefix | Addressed::Slash)) {
        return true;
    }
    let answers_nothing =
        !question_open && answer_text::is_answer_word(text) && !answer_text::names_a_question(text);
    if let Some(begins) = spec.begins {
        return if args.is_empty() { !answers_nothing } else { begins(args) };
    }
    let prose = !spec.takes_text && reads_as_prose(args);
    !answers_nothing && !prose
}

// "help me fix the failing build" begins with a command's name and is none. No command without free text takes three
// arguments, and a prefix still forces the command.
fn reads_as_prose(args: &str) -> bool {
    args.split_whitespace().count() >= 3
}

#[cfg(test)]
mod tests {
    use adapters::{Enclosed, SentFile};

    use super::*;
    use crate::{
        chat::room::fixture::RoomFixture,
        commands,
        permission::{PermissionDecision, QuestionId},
    };

    fn meant(text: &str, addressed: Option<Addressed>, question_open: bool) -> bool {
        let (name, args) = text.split_once(' ').unwrap_or((text, ""));
        let registry = commands::all();
        let command = registry.get(name).expect("a command");
        is_meant(command.spec(), (text, args), addressed, question_open)
    }

    #[test]
    fn short_arguments_are_a_command_and_a_sentence_is_not() {
        assert!(!reads_as_prose("on"));
        assert!(!reads_as_prose("revoke 3"));
        assert!(reads_as_prose("me fix the failing build"));
    }

    #[test]
    fn a_sentence_that_begins_with_a_commands_name_is_a_prompt_unless_it_has_a_prefix() {
        let sentence = "help me fix the failing build";
        assert!(!meant(sentence, None, false));
        assert!(
            meant(sentence, Some(Addressed::Prefix), false) && meant(sentence, Some(Addressed::Slash), false)
        );
        assert!(meant("help status", None, false) && meant("status", None, false));
    }

    #[test]
    fn a_command_that_takes_text_may_be_followed_by_a_sentence() {
        assert!(meant("new story Fix the door of the shed", None, false));
    }

    #[test]
    fn a_bare_yes_without_a_question_is_no_command() {
        assert!(!meant("yes", None, false), "it is said to the agent");
        assert!(meant("yes", None, true) && meant("yes 3", None, false));
        for sentence in ["try again", "apply the patch", "keep 3 copies"] {
            assert!(!meant(sentence, None, true) && !meant(sentence, None, false), "{sentence}");
        }
        assert!(!meant("try", None, false) && meant("try", None, true) && meant("keep 3", None, false));
        assert!(meant("reject 1 take both", None, false), "also the name of a command");
    }

    #[tokio::test]
    async fn a_text_is_a_command_a_mistyped_one_a_greeting_or_a_prompt() {
        let mut fixture = RoomFixture::new().await;
        fixture.says("ann", "!whoami").await;
        fixture.says("ann", "!whoamy").await;
        fixture.says("ann", "Timmy").await;
        let shown = fixture.transcript().await;
        assert!(shown.contains("role: approver)"), "{shown}");
        assert!(shown.contains(&replies::unknown_command("whoamy", Some("whoami"))), "{shown}");
        assert!(shown.ends_with(&format!("bot: {}\n", replies::greeting("Timmy"))), "{shown}");
        assert!(!fixture.task.is_busy());
        fixture.says("ann", "whoami is a program, explain it").await;
        assert!(fixture.task.turn.is_running());
    }

    #[tokio::test]
    async fn files_beside_a_command_or_an_answer_are_said_not_to_be_passed_on() {
        let mut fixture = RoomFixture::new().await;
        let with_file = |fixture: &RoomFixture, text: &str| {
            let file = SentFile { name: "door.png".into(), size: None, reference: String::new() };
            let enclosed = Enclosed { files: vec![file], quotes: Vec::new() };
            Incoming { enclosed, ..fixture.room().incoming("ann", text) }
        };
        let told = "bot (notice): I did not pass on `door.png`: commands and answers take no files.\n";
        let command = with_file(&fixture, "!whoami");
        fixture.gets(command).await;
        assert!(fixture.transcript().await.ends_with(told));
        let (_, decision) = fixture.asks_for_bash().await;
        let answer = with_file(&fixture, "no, look at this");
        fixture.gets(answer).await;
        assert!(matches!(decision.await, Ok(PermissionDecision::Denied(_))));
        fixture.says("ann", "!new story A door").await;
        fixture.handles_answer().await;
        let criteria = with_file(&fixture, "- It looks like this");
        fixture.gets(criteria).await;
        fixture.handles_answer().await;
        let prompt = with_file(&fixture, "paint it like this");
        fixture.gets(prompt).await;
        assert!(fixture.task.turn.is_running());
        let shown = fixture.transcript().await;
        assert_eq!(shown.matches(told).count(), 2, "none for the criteria and the prompt: {shown}");
        assert!(shown.contains("I did not get `door.png`: it is gone."), "the story would have it: {shown}");
    }

    #[tokio::test]
    async fn a_prompt_that_waits_is_announced_and_may_be_taken_back() {
        let mut fixture = RoomFixture::new().await;
        let first = fixture.says("ann", "one").await;
        assert_eq!(fixture.transcript().await, "", "nobody waits");
        let second = fixture.says("ann", "two").await;
        let announced = format!("bot (notice): {}\n", replies::queued(1));
        assert_eq!(fixture.transcript().await, announced);
        for message in [second.clone(), second, first] {
            let act = PersonAct::Redacted { message };
            let redaction = Incoming { act, ..fixture.room().incoming("ann", "") };
            fixture.gets(redaction).await;
        }
        let taken_back = format!("bot (notice): {}\n", replies::TAKEN_BACK);
        assert_eq!(
            fixture.transcript().await,
            format!("{announced}{taken_back}"),
            "once, and not the running one"
        );
        assert_eq!(fixture.left(), [("one".into(), true)]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_prompts_and_takes_talk_as_context() {
        let mut fixture = RoomFixture::new().await;
        for number in 0..=QUEUE_LIMIT {
            fixture.says("ann", &format!("prompt {number}")).await;
        }
        assert!(fixture.task.queue.is_full());
        fixture.says("ann", "one more").await;
        let refused = format!("bot (failure): {}\n", replies::queue_full(QUEUE_LIMIT));
        assert!(fixture.transcript().await.ends_with(&refused));
        let before = fixture.room().shown().len();
        let talk = Incoming { addressed: None, ..fixture.room().incoming("bob", "nice weather") };
        fixture.gets(talk).await;
        fixture.task.outbox.flush().await;
        assert_eq!(fixture.room().shown().len(), before, "nobody waits for an answer to that");
        let talk = fixture.services.store.take_talk(&fixture.task.room).unwrap();
        assert_eq!(talk, [OverheardTalk { who: "bob".into(), text: "nice weather".into() }]);
        assert_eq!(fixture.task.queue.len(), QUEUE_LIMIT);
    }

    #[tokio::test]
    async fn a_pick_answers_a_question_or_runs_a_command_and_is_never_a_prompt() {
        let mut fixture = RoomFixture::new().await;
        let (id, decision) = fixture.asks_for_bash().await;
        let key = |fixture: &RoomFixture, id: QuestionId| {
            let question = fixture.task.questions.iter().find(|question| question.id == id).cloned();
            question.unwrap().choices(None)[0].key.clone()
        };
        let yes = key(&fixture, id);
        fixture.picks("bob", &yes).await;
        assert!(!decision.is_finished() && fixture.services.broker.is_open(id), "bob may not");
        fixture.picks("ann", &yes).await;
        assert!(matches!(decision.await, Ok(PermissionDecision::Allowed { .. })));
        fixture.picks("ann", "cmd:whoami").await;
        assert!(fixture.transcript().await.ends_with("in `bot.toml`.\n"));
        for nonsense in ["cmd:fix it", "fix it"] {
            fixture.picks("ann", nonsense).await;
            let answered = format!("bot (failure): {}\n", replies::UNKNOWN_BUTTON);
            assert!(fixture.transcript().await.ends_with(&answered));
        }
        assert!(!fixture.task.is_busy());
        assert_eq!(fixture.left(), []);
    }

    #[tokio::test]
    async fn a_reply_to_a_question_that_is_just_being_sent_waits_until_it_is_known() {
        let mut fixture = RoomFixture::new().await;
        fixture.fake.hold_next_answer();
        let room = fixture.task.room.clone();
        let ask = crate::permission::PermissionAsk {
            rooms: vec![room.clone()],
            asker: crate::permission::Asker::room(room),
            folder: None,
            request: Default::default(),
            call: None,
            blocked_path: None,
            asked_for: "Ann".into(),
            tool: "Bash".into(),
            input: serde_json::json!({"command": "ls"}),
            timeout: None,
        };
        let broker = fixture.services.broker.clone();
        let decision = tokio::spawn(async move { broker.ask(ask).await });
        fixture.handles_next().await;
        fixture.room().see("Question").await;
        let reply_to = Some(fixture.question_message());
        let reply = Incoming { reply_to, ..fixture.room().incoming("ann", "yes") };
        fixture.gets(reply).await;
        assert!(!fixture.task.is_busy() && !decision.is_finished());
        fixture.fake.release_answer();
        fixture.handles_next().await;
        assert!(matches!(decision.await, Ok(PermissionDecision::Allowed { .. })));
    }
}
