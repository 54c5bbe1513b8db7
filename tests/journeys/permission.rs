//! Permission questions about tool calls: asked, answered, refused, ruled, timed out, and always recorded.

use std::time::Duration;

use adapters::{AdapterError, Addressed, Incoming, MessageId, Tone, testing::fake::FakeRoom};
use bot::permission::{Asker, PermissionAsk};
use e2e::{Bot, Cli, Setup};
use pipeline::stage::Role;
use serde_json::json;

/// The audit in the order of the decisions: outcome and who or what decided.
fn audit(bot: &Bot) -> Vec<String> {
    let entries = bot.app.services().store.audit_tail(100).expect("the audit is readable");
    entries.into_iter().rev().map(|(_, entry)| format!("{} by {}", entry.outcome, entry.by)).collect()
}

async fn start() -> Bot {
    Setup::new(Cli::StandIn).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn yes_runs_exactly_what_was_shown_and_the_question_shows_who_allowed_it() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("bash touch yes.txt; echo made it").await;
    let question = room.see("Question 1").await;
    assert!(question.text.contains("touch yes.txt; echo made it") && question.text.contains("for ann"));
    assert!(question.text.contains("in 5m"), "the deadline is shown: {}", question.text);
    assert_eq!(question.tone, Tone::Question);
    assert!(!bot.file("yes.txt").exists(), "nothing runs before the answer");
    room.say("status").await;
    room.see("Open questions**: 1").await;
    room.say("yes").await;
    let settled = room.see_edit("ann allowed").await;
    assert_eq!((settled.id, settled.choices.len()), (question.id, 0));
    room.see("made it").await;
    assert!(bot.file("yes.txt").exists());
    assert_eq!(audit(&bot), ["allow by ann"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_keeps_the_tool_from_running_and_the_model_reads_the_reason() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("bash touch no.txt").await;
    room.see("Question 1").await;
    room.say("no use the test folder instead").await;
    room.see_edit("ann denied").await;
    room.see("ann denied this: use the test folder instead").await;
    room.say("bash touch no.txt").await;
    room.see("Question 2").await;
    room.say("n").await;
    room.see("Do not try it again in another way").await;
    assert!(!bot.file("no.txt").exists());
    assert_eq!(audit(&bot), ["deny by ann", "deny by ann"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn always_covers_like_calls_only_and_until_it_is_revoked() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("bash touch one.txt").await;
    let offer =
        "`always` (from now on: `touch` with any files of its folder, except hidden ones, in this room)";
    assert!(room.see("Question 1").await.text.contains(offer));
    room.say("always").await;
    room.see("from now on: `touch` with any files").await;
    room.settled().await;
    room.say("bash touch two.txt").await;
    room.settled().await;
    assert!(bot.file("two.txt").exists(), "a like call is not asked");
    room.say("bash touch three.txt; touch four.txt").await;
    room.see("Question 2").await;
    room.say("no").await;
    room.see("ann denied this").await;
    room.say("rules").await;
    room.see("1: `touch` with any files of its folder, except hidden ones, in the room `fake:a` (by ann)")
        .await;
    room.say("rules revoke 1").await;
    room.see("Rule 1 is revoked").await;
    room.say("bash touch five.txt").await;
    room.see("Question 3").await;
    room.say("deny").await;
    room.see("ann denied this").await;
    assert!(!bot.file("three.txt").exists() && !bot.file("five.txt").exists());
    assert_eq!(audit(&bot), ["always by ann", "rule by rule 1", "deny by ann", "deny by ann"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_survives_a_restart_and_is_for_its_room_only() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("bash touch one.txt").await;
    room.see("Question 1").await;
    room.choose("Always").await;
    room.see("no output").await;
    let bot = bot.restart().await;
    let (room, other) = (bot.room("a"), bot.room("b"));
    room.say_as("bob", "bash touch two.txt").await;
    room.see("no output").await;
    assert!(bot.file("two.txt").exists());
    other.say_as("bob", "bash touch three.txt").await;
    other.see("Question 2").await;
    other.say_as("bob", "no").await;
    other.see("bob denied this").await;
    other.say_as("bob", "rules").await;
    other.see("in the room `fake:a` (by ann)").await;
    assert!(!bot.file("three.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_no_and_the_room_and_the_model_are_told() {
    let bot = Setup::new(Cli::StandIn).config("[claude]\npermission_timeout = \"1s\"").start().await;
    let room = bot.room("a");
    room.say("bash touch late.txt").await;
    room.see("Without an answer in 1s it is denied").await;
    let closed = room.see_edit("nobody answered in time").await;
    assert!(closed.choices.is_empty());
    room.see("Nobody answered the permission question in time").await;
    room.say("!yes 1").await;
    room.see("Question 1 is not open").await;
    room.say("echo usable").await;
    room.see("echo: usable").await;
    assert!(!bot.file("late.txt").exists());
    assert_eq!(audit(&bot), ["timeout by deadline"]);
    bot.app.shutdown().await;
}

/// A question of an agent that is not the room's own session, as the pipeline will ask.
fn ask_from_elsewhere(bot: &Bot, command: &str) -> Asked {
    let (broker, room) = (bot.app.services().broker.clone(), bot.room("a").room().clone());
    let input = json!({"command": command});
    let ask = PermissionAsk {
        asker: Asker::role(Role::Coder),
        folder: None,
        request: Default::default(),
        call: None,
        blocked_path: None,
        rooms: vec![room],
        asked_for: "coder-1".into(),
        tool: "Bash".into(),
        input,
        timeout: None,
    };
    tokio::spawn(async move {
        serde_json::to_value(bot::permission_answer(broker.ask(ask).await)).expect("plain data")
    })
}

/// What bob says in reply to a message.
fn reply(room: &FakeRoom, to: &MessageId, text: &str) -> Incoming {
    let reply_to = Some(to.clone());
    Incoming { reply_to, addressed: Some(Addressed::Reply), ..room.incoming("bob", text) }
}

type Asked = tokio::task::JoinHandle<serde_json::Value>;

/// Two questions, of which the bot does not know yet that the second stands in the room.
async fn ask_two(bot: &Bot, room: &FakeRoom) -> (Asked, Asked, MessageId) {
    let first = ask_from_elsewhere(bot, "make one");
    room.see("Question 1").await;
    bot.fake.hold_next_answer();
    let second = ask_from_elsewhere(bot, "make two");
    (first, second, room.see("Question 2").await.id)
}

/// Returns when this was read: what comes behind it in the same mailbox denies the first question.
async fn say_ok_to(room: &FakeRoom, message: &MessageId, first: Asked) {
    room.send_incoming(reply(room, message, "ok")).await;
    room.say("no 1").await;
    assert_eq!(first.await.expect("answered")["behavior"], "deny");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_open_a_bare_yes_changes_nothing_and_a_number_decides() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("bash touch mine.txt").await;
    room.see("Question 1").await;
    let other = ask_from_elsewhere(&bot, "make release");
    assert!(room.see("Question 2").await.text.contains("for coder-1"));
    room.say("yes").await;
    room.see("Several questions are open: 1, 2. Say which, e.g. `yes 1`.").await;
    assert!(!bot.file("mine.txt").exists() && !other.is_finished());
    room.say("no 2 not today").await;
    room.see("ann denied Bash `make release`").await;
    assert_eq!(
        other.await.expect("answered"),
        json!({"behavior": "deny", "message": "ann denied this: not today"})
    );
    room.say("yes").await;
    room.see("no output").await;
    assert!(bot.file("mine.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_the_questions_message_names_it() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("bash touch mine.txt").await;
    let mine = room.see("Question 1").await;
    let other = ask_from_elsewhere(&bot, "make release");
    let theirs = room.see("Question 2").await;
    room.send_incoming(reply(&room, &theirs.id, "ok")).await;
    room.see("bob allowed Bash `make release`").await;
    assert_eq!(
        other.await.expect("answered"),
        json!({"behavior": "allow", "updatedInput": {"command": "make release"}})
    );
    assert!(!bot.file("mine.txt").exists());
    room.send_incoming(reply(&room, &mine.id, "no wrong folder")).await;
    room.see("bob denied this: wrong folder").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_faster_than_the_messengers_own_answer_names_its_question_too() {
    let bot = start().await;
    let room = bot.room("a");
    let (first, second, question) = ask_two(&bot, &room).await;
    say_ok_to(&room, &question, first).await;
    assert!(!second.is_finished());
    bot.fake.release_answer();
    room.see("bob allowed Bash `make two`").await;
    assert_eq!(second.await.expect("answered")["behavior"], "allow");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_a_question_that_ended_while_it_was_sent_answers_no_other() {
    let bot = start().await;
    let room = bot.room("a");
    let (first, second, question) = ask_two(&bot, &room).await;
    second.abort();
    let _ = second.await;
    say_ok_to(&room, &question, first).await;
    bot.fake.release_answer();
    room.see("Question 2 is not open").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_ends_leaves_the_question_of_a_story_open() {
    let bot = start().await;
    let room = bot.room("a");
    let asked = ask_from_elsewhere(&bot, "make release");
    room.see("Question 1").await;
    room.say("echo hello").await;
    room.see("echo: hello").await;
    room.settled().await;
    room.say("!yes 1").await;
    room.see_edit("allowed").await;
    assert_eq!(asked.await.expect("answered")["behavior"], "allow");
    assert_eq!(audit(&bot), ["allow by ann"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_where_a_question_could_not_be_shown_is_read_all_the_same() {
    let bot = start().await;
    let (shown, failed) = (bot.room("a"), bot.room("b"));
    bot.fake.fail_next_send(AdapterError::Rejected("the window is closed".into()));
    let broker = bot.app.services().broker.clone();
    let rooms = vec![failed.room().clone(), shown.room().clone()];
    let input = json!({"command": "make release"});
    let ask = PermissionAsk {
        asker: Asker::role(Role::Coder),
        folder: None,
        request: Default::default(),
        call: None,
        blocked_path: None,
        rooms,
        asked_for: "coder-1".into(),
        tool: "Bash".into(),
        input,
        timeout: None,
    };
    let asked = tokio::spawn(async move { broker.ask(ask).await });
    // One of the two was not sent; whichever, an answer comes through from both.
    let either =
        futures::future::select(Box::pin(shown.see("Question 1")), Box::pin(failed.see("Question 1")));
    let there = matches!(either.await, futures::future::Either::Left(_));
    let room = if there { &failed } else { &shown };
    room.send_incoming(reply(room, &MessageId::new("an older message"), "yes")).await;
    room.see("Nothing was changed. If you mean that one, say `yes 1`.").await;
    room.send_incoming(reply(room, &MessageId::new("an older message"), "yes 1")).await;
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the reply is read").expect("answered");
    assert_eq!(audit(&bot), ["allow by bob"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_wins_and_later_ones_are_told_so() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("bash touch first.txt").await;
    let question = room.see("Question 1").await;
    let click = |person: &str| Incoming {
        act: adapters::PersonAct::Chose { on: question.id.clone(), key: question.choices[1].key.clone() },
        ..room.incoming(person, "")
    };
    let first = click("ann");
    room.send_incoming(first.clone()).await;
    room.see("ann denied Bash").await;
    room.send_incoming(first).await;
    room.send_incoming(click("bob")).await;
    room.see("Question 1 is not open").await;
    room.say("yes 1").await;
    room.see("Question 1 is not open").await;
    room.send_incoming(reply(&room, &question.id, "no, too late")).await;
    room.see("Question 1 is not open").await;
    let other = ask_from_elsewhere(&bot, "make release");
    room.see("Question 2").await;
    room.send_incoming(reply(&room, &question.id, "no 2")).await;
    assert_eq!(other.await.expect("answered")["behavior"], "deny");
    room.settled().await;
    let refusals = room.shown().iter().filter(|shown| shown.text.contains("is not open")).count();
    assert_eq!(refusals, 3, "a click that is delivered twice is one click\n{}", room.transcript());
    assert!(!bot.file("first.txt").exists());
    assert_eq!(audit(&bot), ["deny by ann", "deny by bob"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_approve_changes_nothing_by_word_button_or_command() {
    let bot = Setup::new(Cli::StandIn).approvers(&["bob"]).start().await;
    let room = bot.room("a");
    room.say("bash touch guarded.txt").await;
    room.see("Question 1").await;
    room.say("yes").await;
    room.see("ann, you may not answer").await;
    room.choose_as("ann", "Always").await;
    room.see("ann, you may not answer").await;
    room.say("!allow 1").await;
    room.see("may not answer").await;
    room.say("rules").await;
    room.see("Only approvers can use `rules`").await;
    assert!(!bot.file("guarded.txt").exists() && audit(&bot).is_empty());
    room.say_as("bob", "yes").await;
    room.see("bob allowed").await;
    room.see("no output").await;
    assert!(bot.file("guarded.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_for_a_group_is_answered_by_whom_it_is_addressed_from_and_not_by_small_talk() {
    let bot = start().await;
    let room = bot.room("team");
    room.say_in_group("ann", "Timmy, bash touch group.txt").await;
    room.see("for ann").await;
    room.say_in_group("bob", "yes").await;
    room.say_in_group("bob", "!status").await;
    room.see("Open questions**: 1").await;
    assert!(!bot.file("group.txt").exists(), "a yes among people is none");
    room.say_in_group("bob", "Timmy: yes").await;
    room.see("bob allowed").await;
    room.see("no output").await;
    assert!(bot.file("group.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_cannot_be_reached_denies_with_that_reason() {
    let bot = Setup::new(Cli::StandIn).config("verbosity = 0").start().await;
    let room = bot.room("a");
    bot.fake.fail_next_send(AdapterError::Rejected("the room is gone".into()));
    room.say("bash touch unseen.txt").await;
    room.see("nobody could be reached").await;
    room.see("No person could be reached").await;
    room.say("echo still here").await;
    room.see("echo: still here").await;
    assert!(!bot.file("unseen.txt").exists());
    assert_eq!(audit(&bot), ["unreachable by nobody reachable"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_of_one_turn_are_asked_and_answered_one_by_one() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("twice touch one.txt ;; touch two.txt").await;
    room.see("touch one.txt").await;
    room.say("no").await;
    room.see("touch two.txt").await;
    room.say("approve 2").await;
    room.see("no output").await;
    assert!(!bot.file("one.txt").exists() && bot.file("two.txt").exists());
    assert_eq!(audit(&bot), ["deny by ann", "allow by ann"]);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_command_is_shown_whole_as_a_file() {
    let bot = start().await;
    let room = bot.room("a");
    let command = format!("echo {}end-of-it > long.txt", "x".repeat(5_000));
    room.say(&format!("bash {command}")).await;
    let file = room.see_file("question-1.sh").await;
    assert_eq!(String::from_utf8_lossy(&file.bytes), command);
    room.see("all of it is in question-1.sh").await;
    room.say("yes").await;
    room.see("no output").await;
    let written = std::fs::read_to_string(bot.file("long.txt")).expect("it ran");
    assert!(written.ends_with("end-of-it\n"));
    bot.app.shutdown().await;
}
