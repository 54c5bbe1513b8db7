//! The real Claude Code CLI (2.1.330) on a scripted model: conversations, and permission questions in the chat.

use std::time::Duration;

use e2e::{Bot, PidPost, Setup, ended, runs};
use needs::needs;
use scripted_model::{AnswerGate, ModelConversation, ModelScript, SeenRequest};
use serde_json::{Value, json};

/// A Bash call as the model makes it.
pub fn bash(command: &str) -> Value {
    json!({ "command": command, "description": "Run it" })
}

/// The conversation as the model saw it last.
pub fn last_request(bot: &Bot) -> SeenRequest {
    let mut requests = bot.model_requests();
    requests.retain(|seen| !seen.is_side_request());
    requests.pop().expect("the model was asked")
}

/// What the model read as the result of its last tool call.
pub fn last_tool_result(bot: &Bot) -> String {
    last_request(bot).conversation.last_tool_result().to_owned()
}

fn two_files() -> ModelScript {
    ModelScript::new()
        .on("make a file")
        .calls("Bash", bash("touch made"))
        .then_says("I was told: {last_tool_result}")
        .on("make another")
        .calls("Bash", bash("touch made"))
        .then_says("Again.")
        .on("remove it")
        .calls("Bash", bash("rm made"))
        .then_says("I was told: {last_tool_result}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_seen_while_it_is_written_and_the_next_prompt_knows_it() {
    needs!(Claude);
    let gate = AnswerGate::new();
    let script = ModelScript::new()
        .on("hello")
        .says("The first half")
        .waits_for(&gate)
        .says(" and the second.")
        .on("again")
        .says("Before that: {history}");
    let bot = Setup::real(script).start().await;
    let room = bot.room("a");
    room.say("hello").await;
    let half = room.see("The first half").await;
    assert!(!half.text.contains("second"), "{half:?}");
    gate.open();
    let whole = room.see_edit("and the second.").await;
    assert_eq!(whole.id, half.id, "the same message grows");
    assert!(whole.text.contains("The first half"), "{whole:?}");
    room.settled().await;

    room.say("again").await;
    room.see("Before that: hello").await;
    let seen = last_request(&bot);
    assert_eq!((seen.conversation.history.as_slice(), seen.messages >= 3), (&["hello".to_owned()][..], true));
    assert_eq!(bot.sessions(), 1, "one process for both turns");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_tried_and_kept_and_the_model_reads_its_output() {
    needs!(Claude, Bubblewrap);
    let script = ModelScript::new()
        .on("make a file")
        .calls("Bash", bash("echo $PWD-$CLAUDECODE > made; echo printed"))
        .then_says("I was told: {last_tool_result}");
    let bot = Setup::real(script).start().await;
    let room = bot.room("a");
    room.say("make a file").await;
    let question = room.see("may I use **Bash**").await;
    assert!(question.text.contains("`try`"), "{question:?}");
    room.say("try").await;
    let tried = room.see_edit("**Tried** by ann: exit 0").await;
    assert!(tried.text.contains("added `made`") && tried.text.contains("printed"), "{tried:?}");
    assert!(!bot.file("made").exists());
    room.say("keep").await;
    room.see_edit("ann kept what a trial of").await;
    room.see("the command has already been run once").await;
    let made = std::fs::read_to_string(bot.file("made")).expect("a file");
    assert_eq!(made, format!("{}-1\n", bot.file("").canonicalize().expect("a path").display()));
    assert!(
        last_tool_result(&bot).trim_end().ends_with("Its output:\nprinted"),
        "{}",
        last_tool_result(&bot)
    );
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_only_after_yes_and_no_reaches_the_model_with_its_reason() {
    needs!(Claude);
    let bot = Setup::real(two_files()).start().await;
    let room = bot.room("a");
    room.say("make a file").await;
    room.see("touch made").await;
    room.settled().await;
    assert!(!bot.file("made").exists(), "nothing runs while the question is open");
    room.say("yes").await;
    room.see("I was told:").await;
    assert!(bot.file("made").exists());
    room.settled().await;

    room.say("remove it").await;
    room.see("rm made").await;
    room.say("no keep it for the tests").await;
    room.see("I was told: ann denied this: keep it for the tests").await;
    assert!(bot.file("made").exists(), "what was refused did not run");
    assert!(last_tool_result(&bot).contains("keep it for the tests"));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn always_covers_the_like_call_and_no_other() {
    needs!(Claude);
    let bot = Setup::real(two_files()).start().await;
    let room = bot.room("a");
    room.say("make a file").await;
    room.see("`always`").await;
    room.say("always").await;
    room.see("from now on").await;
    room.see("I was told:").await;
    room.settled().await;

    room.say("make another").await;
    room.see("Again.").await;
    let asked = room.transcript().matches("Question 2").count();
    assert_eq!(asked, 0, "the like call is not asked: {room:?}");
    room.settled().await;

    room.say("remove it").await;
    room.see("rm made").await;
    room.say("no").await;
    room.see("I was told: ann denied").await;
    assert!(bot.file("made").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_an_answer_is_denied_and_said() {
    needs!(Claude);
    let bot = Setup::real(two_files()).config("[claude]\npermission_timeout = \"1s\"").start().await;
    let room = bot.room("a");
    room.say("make a file").await;
    room.see_edit("nobody answered in time").await;
    room.see("Nobody answered the permission question in time").await;
    assert!(!bot.file("made").exists());
    room.settled().await;
    room.say("yes").await;
    room.settled().await;
    assert!(!bot.file("made").exists(), "a late yes changes nothing");
    bot.app.shutdown().await;
}

fn plans_and_questions() -> ModelScript {
    let options = json!([
        { "label": "Tea", "description": "green" },
        { "label": "Coffee", "description": "black" },
    ]);
    let question = json!({ "question": "What shall we drink?", "header": "Drink", "multiSelect": false, "options": options });
    let planned = |conversation: &ModelConversation| conversation.last_line() == "plan it";
    ModelScript::new()
        .on("ask me")
        .calls("AskUserQuestion", json!({ "questions": [question] }))
        .then_says("I was told: {last_tool_result}")
        .when(planned)
        .calls("EnterPlanMode", json!({}))
        .then_calls("Write", json!({ "file_path": "{plan_file}", "content": "# Plan\n\n1. Boil water\n" }))
        .then_calls("ExitPlanMode", json!({}))
        .then_says("After the plan: {last_tool_result}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_question_is_answered_from_the_chat() {
    needs!(Claude);
    let bot = Setup::real(plans_and_questions()).start().await;
    let room = bot.room("a");
    room.say("ask me").await;
    let question = room.see("What shall we drink?").await;
    assert!(question.text.contains("1. Tea") && question.text.contains("2. Coffee"), "{question:?}");
    room.say("2").await;
    room.see("I was told:").await;
    assert!(last_tool_result(&bot).contains("Coffee"), "{}", last_tool_result(&bot));
    room.settled().await;

    room.say("ask me").await;
    room.see("**Question 2**").await;
    room.say("water from the tap").await;
    room.see("I was told:").await;
    assert!(last_tool_result(&bot).contains("water from the tap"), "{}", last_tool_result(&bot));
    room.settled().await;

    room.say("ask me").await;
    room.see("**Question 3**").await;
    room.choose("Tea").await;
    room.see("I was told:").await;
    assert!(last_tool_result(&bot).contains("Tea"), "{}", last_tool_result(&bot));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_approved_or_sent_back_with_words() {
    needs!(Claude);
    let bot = Setup::real(plans_and_questions()).start().await;
    let room = bot.room("a");
    room.say("plan it").await;
    room.see("Boil water").await;
    room.say("use the kettle").await;
    room.see("After the plan:").await;
    assert!(last_tool_result(&bot).contains("use the kettle"), "{}", last_tool_result(&bot));
    room.settled().await;

    room.say("plan it").await;
    room.see("Boil water").await;
    room.say("yes").await;
    room.see_edit("approved the plan").await;
    room.see("After the plan:").await;
    let result = last_request(&bot).conversation.tool_results.pop().expect("a result");
    assert!(!result.is_error, "{result:?}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_in_the_middle_of_a_tool_leaves_no_process_and_a_usable_room() {
    needs!(Claude);
    let script = ModelScript::new()
        .on("wait")
        .calls("Bash", bash("echo $$ > pid; exec tail -f /dev/null"))
        .then_says("never")
        .on("hello")
        .says("Still here. Before: {history}");
    let bot = Setup::real(script).start().await;
    let post = PidPost::at(&bot.file("pid"));
    let room = bot.room("a");
    room.say("wait").await;
    room.see("tail -f").await;
    room.say("yes").await;
    let pid = post.pid().await;
    assert!(runs(pid));
    room.say("stop").await;
    room.see("Stopped.").await;
    room.settled().await;
    ended(pid).await;

    room.say("hello").await;
    room.see("Still here. Before: wait").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_while_a_question_is_open_closes_it() {
    needs!(Claude);
    let bot = Setup::real(two_files()).start().await;
    let room = bot.room("a");
    room.say("make a file").await;
    room.see("touch made").await;
    room.say("stop").await;
    room.see("is closed: the turn was stopped").await;
    room.see("Stopped.").await;
    room.say("make a file").await;
    room.see("touch made").await;
    room.say("yes").await;
    room.see("I was told:").await;
    assert!(bot.file("made").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_looks_like_a_command_or_an_option_reaches_the_model() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new()).start().await;
    let room = bot.room("a");
    for text in ["/skill now", "-p --help", "# heading", "@file and $(touch made)"] {
        room.say(text).await;
        room.see(text).await;
        room.settled().await;
        assert!(last_request(&bot).conversation.prompt.contains(text), "{text}");
    }
    assert!(!bot.file("made").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_200_000_characters_arrives_whole() {
    needs!(Claude);
    let whole = |conversation: &ModelConversation| conversation.prompt.chars().count() == 200_000;
    let bot =
        Setup::real(ModelScript::new().says("It was cut.").when(whole).says("All of it.")).start().await;
    let room = bot.room("a");
    room.say(&"ä".repeat(200_000)).await;
    room.see("All of it.").await;
    room.say("short").await;
    room.see("It was cut.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chosen_model_is_the_one_that_is_asked() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new().says("Yes: {prompt}")).start().await;
    let room = bot.room("a");
    room.say("one").await;
    room.see("Yes: one").await;
    let default = last_request(&bot).model;
    room.settled().await;
    room.say("model claude-test-9").await;
    room.see("claude-test-9").await;
    room.say("two").await;
    room.see("Yes: two").await;
    assert_eq!(last_request(&bot).model, "claude-test-9");
    room.settled().await;

    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("three").await;
    room.see("Yes: three").await;
    assert_eq!(last_request(&bot).model, "claude-test-9", "a restart keeps it");
    assert_eq!(last_request(&bot).conversation.history, ["one", "two"], "and the session");
    room.settled().await;
    room.say("model default").await;
    room.see("default").await;
    room.say("four").await;
    room.see("Yes: four").await;
    assert_eq!(last_request(&bot).model, default);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_is_closed_and_comes_back_with_its_history() {
    needs!(Claude);
    let script = ModelScript::new().says("Before: {history}.");
    let bot = Setup::real(script).config("[claude]\nidle_timeout = \"1s\"").start().await;
    let room = bot.room("a");
    room.say("first").await;
    room.see("Before: .").await;
    let pid = bot.agent_pid();
    tokio::time::timeout(Duration::from_secs(60), ended(pid)).await.expect("closed when idle");
    room.say("second").await;
    room.see("Before: first.").await;
    bot.app.shutdown().await;
}
