//! Matrix through the whole program: `storkit serve` with bot.toml, a Synapse, and people with matrix-nio.

use std::time::Duration;

use e2e::{Program, Serving};
use needs::needs;
use scripted_model::{AnswerGate, ModelScript, ScriptedModel};
use services::matrix::{Account, Limits, Message, Person, Seen, Synapse};
use tokio::sync::OnceCell;

use crate::{plan, real::bash};

static SYNAPSE: OnceCell<Synapse> = OnceCell::const_new();

pub async fn synapse() -> &'static Synapse {
    SYNAPSE.get_or_init(|| Synapse::start(Limits::Off)).await
}

/// A project with a bot, and Ann and Bob in an encrypted room with it. Ann may approve, Bob may only ask.
pub struct Team {
    pub program: Program,
    pub account: Account,
    pub ann: Person,
    pub bob: Person,
    pub room: String,
    pub more_rooms: Vec<String>,
}

impl Team {
    async fn on(synapse: &Synapse) -> Self {
        Self::with(synapse, Program::with_stand_in()).await
    }

    pub async fn with(synapse: &Synapse, program: Program) -> Self {
        let (ann, bob) = tokio::join!(Person::new(synapse, "ann"), Person::new(synapse, "bob"));
        let account = synapse.register("timmy").await;
        let room = ann.create_room(true, &[&account.id, bob.id()]).await;
        bob.join(&room).await;
        let team = Self { program, account, ann, bob, room, more_rooms: Vec::new() };
        team.configure(&synapse.url(), "");
        team
    }

    /// `more` are further keys of `[matrix]`, and sections.
    pub fn configure(&self, homeserver: &str, more: &str) {
        let Account { name, password, .. } = &self.account;
        self.program.write_config(&format!(
            "verbosity = 0\n[matrix]\nhomeserver = \"{homeserver}\"\nusername = \"{name}\"\npassword = \"{password}\"\n\
             room_ids = {:?}\nallowed_users = [\"{}\", \"{}\"]\napprovers = [\"{}\"]\n{more}",
            std::iter::once(&self.room).chain(&self.more_rooms).collect::<Vec<_>>(),
            self.ann.id(),
            self.bob.id(),
            self.ann.id(),
        ));
    }

    pub fn serve(&self) -> Serving {
        let mut serving = self.program.serve();
        serving.logs("\"adapter\":\"matrix\"");
        serving
    }

    /// Waits until the bot has followed its invitation.
    pub async fn joined(&self, room: &str) {
        let joins = async {
            while self.ann.members(room).await.get(&self.account.id).is_none_or(|is| is != "join") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), joins).await.expect("joined");
    }

    pub async fn see(&self, words: &str) -> Message {
        self.ann.see(&self.room, &self.account.id, words).await
    }

    /// Ann's view of the bot's message with this id, once it is so.
    async fn see_of(&self, id: &str, what: &str, is_so: impl Fn(&Message) -> bool) -> Message {
        self.see_in(&self.room, id, what, is_so).await
    }

    async fn see_in(&self, room: &str, id: &str, what: &str, is_so: impl Fn(&Message) -> bool) -> Message {
        let find = |seen: &Seen| seen.messages.iter().find(|it| it.id == id && is_so(it)).cloned();
        self.ann.until(room, what, find).await
    }

    fn offered(&self, message: &Message) -> usize {
        message.reactions.iter().filter(|it| it.sender == self.account.id).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_answered_by_reply_and_a_question_by_reaction_only_of_who_may() {
    needs!(Synapse);
    let team = Team::on(synapse().await).await;
    let serving = team.serve();
    let asked = team.bob.say(&team.room, "Timmy echo hello").await;
    let answer = team.see("echo: hello").await;
    assert_eq!((answer.reply_to.as_deref(), answer.encrypted), (Some(asked.as_str()), true));
    team.bob.say(&team.room, "Timmy bash touch made.txt").await;
    let question = team.see("Question 1").await;
    assert_eq!(question.mentions, Some(serde_json::json!({ "user_ids": [team.bob.id()] })));
    team.see_of(&question.id, "offered", |it| team.offered(it) >= 2).await;
    team.bob.react(&team.room, &question.id, "✅").await;
    team.see("you may not answer permission questions here").await;
    assert!(!team.program.file("made.txt").exists());
    team.ann.react(&team.room, &question.id, "✅").await;
    team.see_of(&question.id, "settled", |it| it.text.contains("allowed") && team.offered(it) == 0).await;
    team.see("no output").await;
    assert!(team.program.file("made.txt").exists());
    team.ann.say(&team.room, "Timmy bash touch second.txt").await;
    let question = team.see("Question 2").await;
    team.ann.reply(&team.room, &question.id, "no, not this one").await;
    team.see_of(&question.id, "settled", |it| it.text.contains("denied")).await;
    assert!(!team.program.file("second.txt").exists());
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn htop_is_one_message_that_changes_until_it_is_stopped() {
    needs!(Synapse);
    let team = Team::on(synapse().await).await;
    let serving = team.serve();
    team.ann.say(&team.room, "!htop 2m").await;
    let htop = team.see("load").await;
    assert_eq!(htop.kind.as_deref(), Some("m.notice"));
    team.see_of(&htop.id, "edited twice", |it| it.edits >= 2).await;
    team.ann.say(&team.room, "!htop stop").await;
    team.see_of(&htop.id, "ended", |it| it.text.contains("ended")).await;
    let seen = team.ann.look(&team.room).await;
    let mine = seen.messages.iter().filter(|it| it.sender == team.account.id).count();
    assert_eq!(mine, 1, "{seen:?}");
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_ambient_talk_and_a_prompt_taken_back() {
    needs!(Synapse);
    let team = Team::on(synapse().await).await;
    let serving = team.serve();
    let (ann, room) = (&team.ann, team.room.as_str());
    let root = ann.say(room, "let us talk in a thread").await;
    ann.say_in_thread(room, &root, "Timmy echo inside").await;
    assert_eq!(team.see("echo: inside").await.thread.as_deref(), Some(root.as_str()));
    ann.say(room, "!ambient on").await;
    team.see("Ambient is on").await;
    ann.say(room, "echo without a name").await;
    team.see("echo: without a name").await;
    ann.say(room, "wait go").await;
    team.see("waiting").await;
    let queued = ann.say(room, "Timmy echo never").await;
    team.see("Queued, number 1").await;
    ann.redact(room, &queued).await;
    let notice = team.see("Taken back").await;
    assert!(!notice.redacted);
    std::fs::write(team.program.file("go"), "").expect("written");
    team.see("waited").await;
    ann.say(room, "echo last").await;
    team.see("echo: last").await;
    assert!(!ann.look(room).await.messages.iter().any(|it| it.text.contains("echo: never")));
    assert_eq!(serving.end().0, Some(0));
}

/// Each prompt is answered, or the bot says that a kill has cut it; none is answered twice.
#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_in_mid_traffic_lose_nothing_and_double_nothing() {
    needs!(Synapse);
    let mut team = Team::on(synapse().await).await;
    // Shown when the test fails.
    team.program.set_env("RUST_LOG", "info,adapters=debug,matrix_sdk_crypto=debug");
    let mut prompts = Vec::new();
    // Ann's app and the bot meet first: matrix-sdk-crypto 0.18 keeps a new channel before the room key that came through
    // it (`Account::decrypt_olm_message`), and a kill between the two loses that key, which the bot then says.
    let serving = team.serve();
    team.ann.say(&team.room, "Timmy echo hello").await;
    team.see("echo: hello").await;
    assert_eq!(serving.end().0, Some(0));
    for round in 0..10 {
        let serving = team.serve();
        for n in 0..3 {
            prompts.push(format!("prompt-{round}-{n}"));
            team.ann.say(&team.room, &format!("Timmy echo prompt-{round}-{n}")).await;
        }
        // Killed at another point each time: before, while and after the first is answered.
        match round % 3 {
            0 => {}
            1 => drop(team.see(&format!("prompt-{round}-0")).await),
            _ => tokio::time::sleep(Duration::from_millis(60 * round)).await,
        }
        serving.kill_9();
    }
    let serving = team.serve();
    for prompt in &prompts {
        team.see(prompt).await;
    }
    let seen = team.ann.look(&team.room).await;
    for prompt in &prompts {
        let answers = seen
            .messages
            .iter()
            .filter(|it| it.sender == team.account.id && it.text.contains(&format!("echo: {prompt}")))
            .count();
        assert!(answers <= 1, "{prompt} was answered {answers} times");
    }
    assert_eq!(seen.unreadable, 0);
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_end_the_start_with_a_sentence_and_an_absent_homeserver_does_not() {
    needs!(Synapse);
    let team = Team::on(synapse().await).await;
    let url = synapse().await.url();
    let good = std::fs::read_to_string(team.program.file(".storkit/bot.toml")).expect("bot.toml");
    let cases = [
        (good.replace("password = \"", "password = \"not "), "`matrix.password`"),
        (good.replace(&url, &format!("{url}/nothing/here")), "`matrix.homeserver`"),
        (
            good.replace("allowed_users = [", "allowed_users = []\n# [").replace("approvers = [", "# ["),
            "`matrix.allowed_users`",
        ),
        (good.replace("password = ", "access_token = \"expired\"\n# "), "`matrix.access_token`"),
    ];
    for (toml, key) in cases {
        std::fs::write(team.program.file(".storkit/bot.toml"), toml).expect("written");
        let output = team.program.run(&["serve", "--port", "0"], "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{key}: {said}");
        assert!(said.contains(key), "{key}: {said}");
    }
    team.configure("http://127.0.0.1:9", "");
    let serving = team.program.serve();
    let health = reqwest::get(format!("http://127.0.0.1:{}/health", serving.port)).await.expect("an answer");
    let health = health.text().await.expect("its text");
    assert!(health.contains("matrix"), "{health}");
    assert_eq!(serving.end().0, Some(0));
}

/// Reactions are not encrypted: an operator may want words.
#[tokio::test(flavor = "multi_thread")]
async fn with_approvals_by_reply_a_reaction_does_not_answer_and_that_is_said_once() {
    needs!(Synapse);
    let team = Team::on(synapse().await).await;
    team.configure(&synapse().await.url(), "approvals = \"replies\"\n");
    let serving = team.serve();
    let (ann, room) = (&team.ann, team.room.as_str());
    ann.say(room, "Timmy bash touch made.txt").await;
    let question = team.see("Question 1").await;
    ann.react(room, &question.id, "✅").await;
    let told = team.see("A reaction does not answer this question").await;
    assert_eq!((told.reply_to.as_deref(), told.encrypted), (Some(question.id.as_str()), true));
    ann.react(room, &question.id, "👍").await;
    ann.say(room, "Timmy echo queued behind").await;
    team.see("is queued, number 1").await;
    assert!(!team.program.file("made.txt").exists());
    ann.reply(room, &question.id, "yes").await;
    team.see_of(&question.id, "settled", |it| it.text.contains("allowed")).await;
    team.see("echo: queued behind").await;
    assert!(team.program.file("made.txt").exists());
    let seen = ann.look(room).await;
    let said = seen.messages.iter().filter(|it| it.text.contains("A reaction does not answer")).count();
    assert_eq!(said, 1, "{seen:?}");
    assert!(seen.messages.iter().all(|it| team.offered(it) == 0), "nothing to pick is offered: {seen:?}");
    assert_eq!(serving.end().0, Some(0));
}

/// One event in five seconds after the first ten, for all rooms together.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_default_limits_a_question_is_seen_beside_htop_and_an_answer_and_all_of_them_end() {
    needs!(Claude, Synapse);
    let synapse = Synapse::start(Limits::Default).await;
    let gate = AnswerGate::new();
    let story = (1..=60).map(|n| format!("word{n} ")).collect::<String>();
    let script = ModelScript::new()
        .on("tell me")
        .drips(story, Duration::from_millis(50))
        .waits_for(&gate)
        .says("and the end.")
        .on("make it")
        .calls("Bash", bash("touch made.txt"))
        .then_says("It is made.");
    let model = ScriptedModel::start(script).expect("a port");
    let mut team = Team::with(&synapse, Program::with_real_cli(&model)).await;
    let second = team.ann.create_room(true, &[&team.account.id]).await;
    team.more_rooms.push(second.clone());
    team.configure(&synapse.url(), "");
    let serving = team.serve();
    let (ann, bot) = (&team.ann, team.account.id.as_str());
    team.joined(&second).await;
    ann.say(&second, "htop 10m").await;
    let htop = ann.see(&second, bot, "load").await;
    ann.say(&team.room, "Timmy tell me").await;
    let answer = team.see("word").await;
    ann.say(&second, "make it").await;
    let question = ann.see(&second, bot, "Question 1").await;
    let so_far = ann.look(&team.room).await;
    assert!(!so_far.messages.iter().any(|it| it.text.contains("and the end")), "it is still written");
    gate.open();
    ann.reply(&second, &question.id, "yes").await;
    team.see_in(&second, &question.id, "settled", |it| it.text.contains("allowed")).await;
    team.see_of(&answer.id, "whole", |it| it.text.contains("word60") && it.text.contains("and the end."))
        .await;
    ann.see(&second, bot, "It is made.").await;
    ann.say(&second, "htop stop").await;
    team.see_in(&second, &htop.id, "ended", |it| it.text.contains("ended")).await;
    assert!(team.program.file("made.txt").exists());
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_an_agent_that_stands_in_two_rooms_ends_with_its_outcome_in_both() {
    needs!(Claude, Synapse);
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls("Bash", bash("touch door.txt && git add door.txt && git commit -qm 'open the door'"))
        .then_says("The door is open.");
    let model = ScriptedModel::start(script).expect("a port");
    let mut team = Team::with(synapse().await, Program::with_real_cli(&model)).await;
    let second = team.ann.create_room(true, &[&team.account.id]).await;
    team.more_rooms.push(second.clone());
    let (ann, bot) = (&team.ann, team.account.id.as_str());
    let rooms = format!("[pipeline]\nrooms = [\"matrix:{}\", \"matrix:{second}\"]\n", team.room);
    team.configure(&synapse().await.url(), &rooms);
    let agents = "[[agent]]\nname = \"coder\"\nstage = \"coder\"\n";
    team.program.write_settings(agents);
    let serving = team.serve();
    team.joined(&second).await;
    ann.say(&team.room, "!new story Fix the door").await;
    team.see("is in the backlog").await;
    ann.say(&team.room, "!start 1").await;
    let first = team.see("Question 1").await;
    let copy = ann.see(&second, bot, "Question 1").await;
    assert!(first.text.contains("story 1 (coder)") && copy.text.contains("story 1 (coder)"), "{first:?}");
    for (room, question) in [(&team.room, &first), (&second, &copy)] {
        team.see_in(room, &question.id, "offered", |it| team.offered(it) >= 2).await;
    }
    // It is the coder's, so it outlives what is stopped in this room.
    ann.say(&team.room, "!stop").await;
    team.see("Nothing runs here").await;
    ann.react(&second, &copy.id, "✅").await;
    for (room, question) in [(&team.room, &first), (&second, &copy)] {
        let settled = |it: &Message| it.text.contains("allowed") && team.offered(it) == 0;
        team.see_in(room, &question.id, "settled", settled).await;
    }
    ann.say(&team.room, "Timmy no 1").await;
    team.see("Question 1 is not open").await;
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_in_plain_words_becomes_two_merged_stories() {
    needs!(Claude, Synapse);
    let model = ScriptedModel::start(plan::house()).expect("a port");
    let mut team = Team::with(synapse().await, Program::with_real_cli(&model)).await;
    let ops = team.ann.create_room(true, &[&team.account.id]).await;
    team.more_rooms.push(ops.clone());
    team.configure(&synapse().await.url(), &format!("[pipeline]\nrooms = [\"matrix:{ops}\"]\n"));
    team.program.write_settings(plan::TEAM);
    let serving = team.serve();
    team.joined(&ops).await;
    let (ann, bob, room, bot) = (&team.ann, &team.bob, team.room.as_str(), team.account.id.as_str());
    let wish = ann.say(room, &format!("Timmy {}", plan::WISH)).await;
    let list = team.see("Roof").await;
    ann.reply(room, &list.id, "yes, but without the roof").await;
    let list = team.see("Question 2").await;
    assert!(!list.text.contains("Roof"), "{list:?}");
    team.see_of(&list.id, "offered", |it| team.offered(it) >= 2).await;
    ann.react(room, &list.id, "✅").await;
    team.see("Number 1 is story 2 (starts after story 1).").await;
    let bell = team.program.file(".storkit/work/1_backlog/2_story_door_bell.md");
    let bell = std::fs::read_to_string(bell).expect("the story");
    assert!(bell.contains("\ndepends_on: [1]\n") && bell.contains("- [ ] It rings at the door"), "{bell}");
    assert!(bell.contains("https://matrix.to/#/") && bell.contains(&wish), "{wish} in {bell}");

    bob.say(room, "Timmy delete the door").await;
    team.see("I was told: Only approvers can have this done").await;
    ann.say(room, "Timmy start them").await;
    let question = team.see("may I start").await;
    ann.reply(room, &question.id, "yes").await;
    for (number, title) in [(4, "Door"), (5, "Door bell")] {
        let question = ann.see(&ops, bot, &format!("Question {number}")).await;
        ann.reply(&ops, &question.id, "yes").await;
        let merged = team.see(&format!("{} {title}: merged as", number - 3)).await;
        assert_eq!(merged.reply_to.as_deref(), Some(wish.as_str()), "in the conversation that asked for it");
    }
    assert!(team.program.file("door.txt").exists() && team.program.file("bell.txt").exists());
    assert_eq!(serving.end().0, Some(0));
}
