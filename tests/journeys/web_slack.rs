//! Questions that are shown in Slack and on the page: one answer counts, and both say whose it was.

use std::{fs, os::unix::fs::PermissionsExt as _};

use e2e::{
    Program, Serving,
    page::{Browser, Link, Live},
};
use serde_json::{Value, json};
use services::slack::{BOT, Message, Slack};

/// Questions that are answered in both places at the same moment.
const ROUNDS: usize = 24;

const TEAM: &str = "gates = [\"true\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n";

/// A Slack with Ann and Bob, who both may answer questions, and the page.
pub async fn start(agent: Option<&str>) -> (Slack, Program, Serving) {
    let slack = Slack::start().await;
    let mut program = Program::with_stand_in();
    if let Some(script) = agent {
        let file = program.project().with_file_name("agent");
        fs::write(&file, script).expect("the agent");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it can run");
        program.set_guarded_claude(file.to_str().expect("text"));
        program.write_settings(TEAM);
    }
    program.write_config(&format!(
        "[slack]\nbot_token = \"${{SLACK_BOT_TOKEN}}\"\napp_token = \"${{SLACK_APP_TOKEN}}\"\nchannel_ids = [\"C1\"]\n\
         allowed_users = [\"U1\", \"U2\"]\napprovers = [\"U1\", \"U2\"]\napi_url = \"{}\"\n\
         [pipeline]\nrooms = [\"slack:C1\", \"web:team\"]\n[web]\nlisten = \"127.0.0.1:0\"\n[wall]\nconfine = \"none\"",
        slack.api_url()
    ));
    let serving = program.serve();
    slack.connected(1).await;
    (slack, program, serving)
}

pub async fn sign_in(slack: &Slack, channel: &str, user: &str) -> Browser {
    slack.say(channel, user, "web");
    Browser::open(&Link::in_text(&slack.see(channel, "It works once").await.shown())).await
}

/// A socket of the page that has this room open.
pub async fn opened(browser: &Browser, room: &str) -> Live {
    let mut live = browser.live(Value::Null).await;
    live.until_type("anew").await;
    live.say(json!({ "type": "open", "room": room, "before": null })).await;
    live.until_type("opened").await;
    live
}

/// All that a socket of the page has shown: what belongs together may come in any order.
struct Shown {
    live: Live,
    frames: Vec<Value>,
}

impl Shown {
    fn of(live: Live) -> Self {
        Self { live, frames: Vec::new() }
    }

    async fn until<T>(&mut self, find: impl Fn(&Value) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.frames.iter().find_map(&find) {
                return found;
            }
            self.frames.push(self.live.next().await);
        }
    }

    /// A state of this question.
    async fn question(&mut self, id: usize, is_over: bool) -> Value {
        let is_it = |it: &&Value| it["id"] == id && it["outcome"].is_object() == is_over;
        self.until(|frame| frame["questions"].as_array()?.iter().find(is_it).cloned()).await
    }

    async fn see(&mut self, text: &str) {
        self.until(|frame| frame["message"]["html"].as_str()?.contains(text).then_some(())).await;
    }
}

fn key(question: &Value, label: &str) -> Value {
    let choices = question["choices"].as_array().expect("choices");
    let choice = choices.iter().find(|choice| choice["label"].as_str().is_some_and(|it| it.contains(label)));
    choice.unwrap_or_else(|| panic!("no {label} in {question}"))["key"].clone()
}

/// One round: who presses what, and who of them is first.
struct Race {
    slack_allows: bool,
    order: usize,
}

impl Race {
    fn of(number: usize) -> Self {
        Self { slack_allows: number.is_multiple_of(2), order: number % 3 }
    }

    fn labels(&self) -> (&'static str, &'static str) {
        if self.slack_allows { ("Allow", "Deny") } else { ("Deny", "Allow") }
    }

    /// Both press.
    async fn run(&self, slack: &Slack, message: &Message, chat: &mut Shown, question: &Value) {
        let (in_slack, on_page) = self.labels();
        let button = message.buttons().into_iter().find(|it| it.contains(in_slack)).expect("a button");
        let press = || slack.press("C1", &message.ts, "U1", &button);
        let chosen = json!({ "type": "choose", "ticket": 1, "room": "web:team", "message": null, "key": key(question, on_page) });
        match self.order {
            0 => {
                press();
                chat.live.say(chosen).await;
            }
            1 => {
                chat.live.say(chosen).await;
                press();
            }
            _ => drop(tokio::join!(chat.live.say(chosen), async { press() })),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_answered_in_slack_and_on_the_page_at_once_is_answered_once() {
    let (slack, program, serving) = start(Some(include_str!("web_slack/asker.py"))).await;
    let bob = sign_in(&slack, "D2", "U2").await;
    let mut board = bob.live(Value::Null).await;
    board.until_type("anew").await;
    let (mut board, mut chat) = (Shown::of(board), Shown::of(opened(&bob, "web:team").await));
    slack.say("D1", "U1", &format!("new story Ask\nrounds: {ROUNDS}\n- [ ] It asks"));
    slack.see("D1", "is in the backlog").await;
    slack.say("D1", "U1", "start 1");
    let mut decided = Vec::new();
    for number in 1..=ROUNDS {
        let race = Race::of(number);
        let question = board.question(number, false).await;
        let asked =
            |it: &Message| it.shown().contains(&format!("Question {number}*")) && !it.buttons().is_empty();
        let message = slack.see_which("C1", "the question", asked).await;
        // It is shown on the page, too, and so may be answered there.
        chat.see(&format!("Question {number}<")).await;
        race.run(&slack, &message, &mut chat, &question).await;
        let ended = board.question(number, true).await;
        let (word, sentence) =
            (&ended["outcome"]["word"], ended["outcome"]["sentence"].as_str().expect("text"));
        let by_slack = (word == "allow") == race.slack_allows;
        let act = if word == "allow" { "allowed" } else { "denied" };
        let who = if by_slack { "Ann (in Slack)" } else { "Bob (on the page)" };
        let told = format!("Question {number}: {who} {act}");
        assert!(sentence.contains(&told), "{sentence}");
        // The same in both places, and the one that came too late reads that.
        slack.see_which("C1", &told, |it| it.ts == message.ts && it.shown().contains(&told)).await;
        chat.see(&told).await;
        let late = format!("Question {number} is not open");
        match by_slack {
            true => chat.see(&late).await,
            false => drop(slack.see_which("C1", &late, |it| it.shown().contains(&late)).await),
        }
        decided.push((format!("round {number}: {}", word.as_str().expect("a word")), by_slack));
    }
    slack.see("C1", "needs a person").await;
    let log = bob.read("/api/run/1-coder-1/log").await;
    let lines: Vec<&str> = log["lines"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    for (line, _) in &decided {
        assert!(lines.contains(&line.as_str()), "{line} is not what its agent was told: {lines:#?}");
    }
    let by_slack = decided.iter().filter(|(_, by_slack)| *by_slack).count();
    assert!((1..ROUNDS).contains(&by_slack), "no race: {by_slack} of {ROUNDS} in Slack");
    drop(program);
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_a_slack_channel_is_shown_on_the_page_and_answered_in_slack_alone() {
    let (slack, program, serving) = start(None).await;
    let ann = sign_in(&slack, "D1", "U1").await;
    let mut board = ann.live(Value::Null).await;
    board.until_type("anew").await;
    let root = slack.say("C1", "U2", &format!("<@{BOT}> bash touch made.txt"));
    let question = board.until_question(|it| it["outcome"].is_null()).await;
    assert_eq!(question["rooms"], json!([format!("slack:C1/{root}")]), "the page can say where");
    assert_eq!(question["form"]["text"], "touch made.txt", "it shows what is asked");
    for room in ["web:slack:U1", "web:team"] {
        let mut live = opened(&ann, room).await;
        let choose = json!({ "type": "choose", "ticket": 1, "room": room, "message": null, "key": key(&question, "Allow") });
        live.say(choose).await;
        live.see("Question 1 was not asked here. Nothing was changed.").await;
        live.say(json!({ "type": "say", "ticket": 2, "room": room, "text": "allow 1" })).await;
        live.see("Question 1 was not asked here. Nothing was changed.").await;
    }
    let mut theirs = opened(&ann, "web:team").await;
    let room = format!("slack:C1/{root}");
    let choose = json!({ "type": "choose", "ticket": 3, "room": room, "message": null, "key": key(&question, "Allow") });
    theirs.say(choose).await;
    assert_eq!(theirs.until_type("refused").await["why"], "That room is not yours.");
    assert_eq!(ann.read("/api/board").await["questions"][0]["outcome"], Value::Null);
    assert!(!program.file("made.txt").exists());
    let is_it = |it: &Message| it.thread.as_deref() == Some(&root) && !it.buttons().is_empty();
    let message = slack.see_which("C1", "the question", is_it).await;
    let allow = message.buttons().into_iter().find(|it| it.contains("Allow")).expect("a button");
    slack.press("C1", &message.ts, "U1", &allow);
    let ended = board.until_question(|it| it["outcome"].is_object()).await;
    let sentence = ended["outcome"]["sentence"].as_str().expect("text");
    assert!(ended["outcome"]["word"] == "allow" && sentence.contains("Ann allowed"), "{ended}");
    slack
        .see_which("C1", "its end", |it| {
            it.thread.as_deref() == Some(&root) && it.shown().contains("no output")
        })
        .await;
    assert!(program.file("made.txt").exists());
    assert_eq!(serving.end().0, Some(0));
}
