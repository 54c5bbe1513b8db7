//! Plans and questions of the model: asked in the room, answered by number, button or words.

use bot::permission::{Asker, PermissionAsk};
use e2e::{Bot, Cli, Setup};
use pipeline::stage::Role;
use serde_json::{Value, json};

async fn start() -> Bot {
    Setup::new(Cli::StandIn).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_and_approved_by_word_or_button() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("plan").await;
    let question = room.see("is this plan right?").await;
    assert!(question.text.contains("1. do it"));
    room.say("yes").await;
    room.see("ann approved the plan").await;
    room.see("User has approved your plan").await;
    room.say("plan").await;
    room.see("Question 2").await;
    room.choose("Approve plan").await;
    room.see("User has approved your plan").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_to_a_plan_are_the_wish_for_a_change() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("plan").await;
    room.see("is this plan right?").await;
    room.say("test it before you do it").await;
    room.see("ann wants the plan changed: test it before you do it").await;
    room.say("plan").await;
    room.see("Question 2").await;
    room.say("no too short").await;
    room.see("ann wants the plan changed: too short").await;
    room.say("plan").await;
    room.see("Question 3").await;
    room.say("always").await;
    room.see("There is no `always`").await;
    room.choose("Keep planning").await;
    room.see("ann does not approve the plan yet").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_by_number_by_button_and_in_own_words() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("ask").await;
    assert!(room.see("Which colour?").await.text.contains("2. Blue: cold"));
    room.say("2").await;
    room.see("ann answered `Blue`").await;
    room.see(r#""Which colour?"="Blue""#).await;
    room.say("ask").await;
    room.see("Question 2").await;
    room.choose("Red").await;
    room.see(r#""Which colour?"="Red""#).await;
    room.say("ask").await;
    room.see("Question 3").await;
    room.say("a warm green, please").await;
    room.see(r#""Which colour?"="a warm green, please""#).await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_fits_no_choice_is_refused_and_the_question_stays() {
    let bot = start().await;
    let room = bot.room("a");
    room.say("ask").await;
    room.see("Which colour?").await;
    room.say("1 2").await;
    room.see("Answer with one number from 1 to 2").await;
    room.say("status").await;
    room.see("Open questions**: 1").await;
    room.say("deny I do not care").await;
    room.see("ann denied this: I do not care").await;
    bot.app.shutdown().await;
}

/// Asks the model's questions as a pipeline agent would, of room `a`.
fn asked(bot: &Bot, questions: Value) -> tokio::task::JoinHandle<Value> {
    let (broker, room) = (bot.app.services().broker.clone(), bot.room("a").room().clone());
    let ask = PermissionAsk {
        asker: Asker::role(Role::Coder),
        folder: None,
        request: Default::default(),
        call: None,
        blocked_path: None,
        rooms: vec![room],
        asked_for: "coder-1".into(),
        tool: "AskUserQuestion".into(),
        input: json!({"questions": questions}),
        timeout: None,
    };
    tokio::spawn(async move {
        serde_json::to_value(bot::permission_answer(broker.ask(ask).await)).expect("plain data")
    })
}

fn question(text: &str, several: bool) -> Value {
    let option = |label: &str| json!({"label": label, "description": ""});
    json!({"question": text, "header": "h", "multiSelect": several, "options": [option("A"), option("B"), option("C")]})
}

#[tokio::test(flavor = "multi_thread")]
async fn several_picks_and_several_questions_go_back_as_the_cli_expects() {
    let bot = start().await;
    let room = bot.room("a");
    let which = asked(&bot, json!([question("Which ones?", true)]));
    room.see("one or more numbers").await;
    room.say("1, 3").await;
    let answer = which.await.expect("answered");
    assert_eq!(answer["behavior"], "allow");
    assert_eq!(answer["updatedInput"]["answers"], json!({"Which ones?": "A, C"}));
    assert_eq!(answer["updatedInput"]["questions"], json!([question("Which ones?", true)]));

    let both = asked(&bot, json!([question("First?", false), question("Second?", true)]));
    let first = room.see("First?").await;
    assert!(first.text.contains("(1 of 2)") && !first.text.contains("Second?"), "{first:?}");
    room.say("2").await;
    room.see("Question 1 is closed; question 2 has options").await;
    room.say_as("bob", "#2 2").await;
    room.see("bob answered `B`").await;
    room.see("(2 of 2)").await;
    room.say_as("bob", "1 2").await;
    let answer = both.await.expect("answered");
    assert_eq!(answer["updatedInput"]["answers"], json!({"First?": "B", "Second?": "A, B"}));
    bot.app.shutdown().await;
}
