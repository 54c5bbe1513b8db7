//! What people send on Matrix and where they go, through the whole program with the real CLI.

use e2e::Program;
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel, SeenRequest};
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
async fn an_upgraded_room_goes_on_with_its_session_its_rules_and_its_settings_also_after_a_restart() {
    needs!(Claude, Synapse);
    let script = ModelScript::new()
        .on("remember")
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
    ann.say(old, "remember the door").await;
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
    assert!(history.iter().any(|prompt| prompt.contains("remember the door")), "{history:?}");
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
    assert!(history.iter().any(|prompt| prompt.contains("remember the door")), "{history:?}");
    let asked = ann.look(&new).await.messages.into_iter().filter(|it| it.text.contains("Question")).count();
    assert_eq!(asked, 0, "the rule holds");
    assert_eq!(serving.end().0, Some(0));
}
