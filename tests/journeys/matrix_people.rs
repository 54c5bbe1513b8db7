//! What people send on Matrix and where they go, through the whole program with the real CLI.

use e2e::Program;
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel, SeenRequest};
use serde_json::{Value, json};
use services::matrix::PersonFile;

use crate::{
    enclosed::PNG,
    matrix::{Team, synapse},
    real::bash,
};

fn last_request(model: &ScriptedModel) -> SeenRequest {
    let mut requests = model.requests();
    requests.retain(|seen| !seen.is_side_request());
    requests.pop().expect("the model was asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_a_voice_message_and_a_quotation_reach_the_agent_and_what_is_too_large_is_told() {
    needs!(Claude, Synapse);
    let script = ModelScript::new()
        .on("what is this")
        .says("A red door.")
        .on("what about that")
        .says("Bob is right.")
        .on("and this")
        .says("It needs oil.")
        .on("read it")
        .says("There is nothing to read.")
        .on("Voice message")
        .says("It hums.");
    let model = ScriptedModel::start(script).expect("a port");
    let team = Team::with(synapse().await, Program::with_real_cli(&model)).await;
    let serving = team.serve();
    team.joined(&team.room).await;
    let (ann, room) = (&team.ann, team.room.as_str());
    let file = |caption| PersonFile { content: PNG, caption, ..PersonFile::default() };
    ann.send_file(room, "m.image", "door.png", &file(Some("Timmy what is this?"))).await;
    team.see("A red door.").await;
    let seen = last_request(&model);
    assert_eq!(seen.images, ["image/png"]);
    assert!(seen.conversation.prompt.contains("\"door.png\": "), "{}", seen.conversation.prompt);

    let bobs = team.bob.say(room, "the bell is broken").await;
    ann.reply(room, &bobs, "Timmy what about that?").await;
    team.see("Bob is right.").await;
    let prompt = last_request(&model).conversation.prompt;
    let whose = format!("refers to this one by {} ({})", team.bob.account.name, team.bob.id());
    assert!(prompt.contains(&whose) && prompt.contains("\n> the bell is broken"), "{whose} in {prompt}");

    let root = team.bob.say(room, "the hinge is rusty").await;
    ann.say_in_thread(room, &root, "Timmy and this?").await;
    assert_eq!(team.see("It needs oil.").await.thread.as_deref(), Some(root.as_str()));
    let prompt = last_request(&model).conversation.prompt;
    let said = format!("> {} ({}): the hinge is rusty", team.bob.account.name, team.bob.id());
    assert!(prompt.contains(&said), "{said} in {prompt}");

    ann.send_file(room, "m.image", "door.png", &file(Some("!whoami"))).await;
    team.see("I did not pass on `door.png`").await;

    let large = PersonFile { announced: Some(40 << 20), ..file(Some("Timmy read it")) };
    ann.send_file(room, "m.file", "big.bin", &large).await;
    team.see("I did not get `big.bin`: it is larger than 32 MB.").await;
    team.see("There is nothing to read.").await;

    ann.say(room, "!ambient on").await;
    team.see("Ambient is on").await;
    ann.send_file(room, "m.audio", "Voice message.ogg", &file(None)).await;
    team.see("It hums.").await;
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_what_waits_mentions_the_bot_and_comes_too_late() {
    needs!(Synapse);
    let team = Team::with(synapse().await, Program::with_stand_in()).await;
    let serving = team.serve();
    let (ann, room) = (&team.ann, team.room.as_str());
    let words = |body: &str| json!({ "msgtype": "m.text", "body": body, "m.mentions": {} });
    ann.say(room, "Timmy wait go").await;
    team.see("waiting").await;
    let queued = ann.say(room, "Timmy echo one").await;
    team.see("Queued, number 1").await;
    // Bob's app sends what it likes; an edit is its author's.
    team.bob.edit(room, &queued, words("Timmy echo of Bob")).await;
    ann.edit(room, &queued, words("Timmy echo two")).await;
    team.see("Changed: when its turn comes").await;
    std::fs::write(team.program.file("go"), "").expect("written");
    team.see("echo: two").await;

    let talk = ann.say(room, "echo three").await;
    ann.edit(room, &talk, words("> Timmy echo quoted\n\necho three")).await;
    // As FluffyChat writes a mention.
    ann.edit(room, &talk, words("@[Timmy] echo three")).await;
    team.see("echo: three").await;
    for late in ["Timmy echo four", "Timmy echo five"] {
        ann.edit(room, &talk, words(late)).await;
    }
    team.see("already done").await;
    ann.say(room, "Timmy echo last").await;
    team.see("echo: last").await;
    let seen = ann.look(room).await.messages;
    let of_bot = seen.iter().filter(|it| it.sender == team.account.id);
    let shown: String = of_bot.map(|it| format!("{}\n", it.text)).collect();
    assert_eq!(shown.matches("already done").count(), 1, "{shown}");
    for never in ["echo: one", "echo: of Bob", "echo: quoted", "echo: four", "echo: five"] {
        assert!(!shown.contains(never), "{never}: {shown}");
    }
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_does_not_get_its_messages_is_told_in_status_in_health_and_at_the_terminal() {
    needs!(Synapse);
    let team = Team::with(synapse().await, Program::with_stand_in()).await;
    let serving = team.serve();
    let (ann, room) = (&team.ann, team.room.as_str());
    let mut terminal = team.program.terminal();
    ann.say(room, "Timmy echo hello").await;
    team.see("echo: hello").await;
    ann.messages_need(room, 50).await;
    ann.say(room, "!version").await;
    let told = tokio::task::block_in_place(|| terminal.see("do not reach the room"));
    assert!(told.contains(room) && told.contains("power level"), "{told}");
    let status = tokio::task::block_in_place(|| {
        terminal.say("status");
        terminal.see("not delivered")
    });
    assert!(status.contains(room) && status.contains("power level"), "{status}");
    let health = async || {
        let health =
            reqwest::get(format!("http://127.0.0.1:{}/health", serving.port)).await.expect("an answer");
        let health: Value = health.json().await.expect("JSON");
        let adapters = health["adapters"].as_array().cloned().unwrap_or_default();
        let matrix = adapters.into_iter().find(|it| it["name"] == "matrix").expect("Matrix");
        matrix["undelivered"].clone()
    };
    let unreached = health().await;
    assert_eq!(unreached[0]["room"], room, "{unreached}");
    assert!(unreached[0]["why"].as_str().is_some_and(|why| why.contains("power level")), "{unreached}");

    ann.messages_need(room, 0).await;
    ann.say(room, "!whoami").await;
    team.see("role: approver").await;
    // The homeserver shows the message before the bot knows that it has arrived.
    let recovers = async {
        while health().await != json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), recovers).await.expect("it arrived");
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_room_goes_on_with_its_session_its_rules_and_its_settings_also_after_a_restart() {
    needs!(Claude, Synapse);
    let script = ModelScript::new()
        .on("mind the door")
        .says("I remember it.")
        .on("make one")
        .calls("Bash", bash("touch one.txt"))
        .then_says("One is made.")
        .on("go on")
        .says("On it goes.");
    let model = ScriptedModel::start(script).expect("a port");
    let team = Team::with(synapse().await, Program::with_real_cli(&model)).await;
    let (ann, old, bot) = (&team.ann, team.room.as_str(), team.account.id.as_str());
    team.configure(&synapse().await.url(), &format!("[pipeline]\nrooms = [\"matrix:{old}\"]\n"));
    let serving = team.serve();
    ann.say(old, "!ambient on").await;
    team.see("Ambient is on").await;
    ann.say(old, "mind the door").await;
    team.see("I remember it.").await;
    ann.say(old, "make one").await;
    let question = team.see("Question 1").await;
    ann.reply(old, &question.id, "always").await;
    team.see("One is made.").await;

    let new = ann.upgrade(old).await;
    ann.invite(&new, bot).await;
    let told = ann.see(&new, bot, "and I go on here as there").await;
    for carried in ["the session", "1 standing rule", "ambient mode", "the news of the pipeline"] {
        assert!(told.text.contains(carried), "{told:?}");
    }
    ann.say(&new, "make one").await;
    ann.see(&new, bot, "One is made.").await;
    let history = last_request(&model).conversation.history;
    assert!(history.iter().any(|prompt| prompt.contains("mind the door")), "{history:?}");
    ann.say(&new, "!rules").await;
    ann.see(&new, bot, "`touch` with any files").await;
    ann.say(&new, "!status").await;
    ann.see(&new, bot, "write the new id there").await;
    assert_eq!(serving.end().0, Some(0));

    // As the bot has asked for. The other entries keep the old id.
    let toml = team.program.file(".storkit/bot.toml");
    let text = std::fs::read_to_string(&toml).expect("bot.toml");
    std::fs::write(&toml, text.replacen(old, &new, 1)).expect("written");
    let serving = team.serve();
    ann.say(&new, "go on").await;
    ann.see(&new, bot, "On it goes.").await;
    let history = last_request(&model).conversation.history;
    assert!(history.iter().any(|prompt| prompt.contains("mind the door")), "{history:?}");
    let asked = ann.look(&new).await.messages.into_iter().filter(|it| it.text.contains("Question")).count();
    assert_eq!(asked, 0, "the rule holds");
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_whose_caption_is_a_new_story_lies_beside_it() {
    needs!(Synapse);
    let team = Team::with(synapse().await, Program::with_stand_in()).await;
    let serving = team.serve();
    team.joined(&team.room).await;
    let caption = "Timmy new story Door squeaks\nSee the picture.\n- [ ] It is silent";
    let file = PersonFile { content: PNG, caption: Some(caption), ..PersonFile::default() };
    team.ann.send_file(&team.room, "m.image", "door.png", &file).await;
    let told = team.see("is in the backlog").await.text;
    assert!(told.contains("door.png") && told.contains("beside it now"), "{told}");
    let picture = std::fs::read(team.program.file(".storkit/work/files/1/door.png")).expect("the picture");
    assert_eq!(picture, PNG);
    let text = std::fs::read_to_string(team.program.file(".storkit/work/1_backlog/1_story_door_squeaks.md"));
    let text = text.expect("the story");
    assert!(
        text.contains("See the picture.\n- [ ] It is silent\n") && text.contains("(../files/1/door.png)"),
        "{text}"
    );
    assert_eq!(serving.end().0, Some(0));
}
