//! Slack through the whole program: `storkit serve` with a `[slack]` section, against the stand-in Slack.

use std::{net::TcpListener, process::Stdio};

use e2e::{Program, Serving};
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel};
use serde_json::json;
use services::slack::{BOT, BOT_TOKEN, Fault, Message, Slack};

use crate::plan;

/// Ann may everything, Bob may talk, and nobody else is heard.
pub fn section(slack: &Slack) -> String {
    format!(
        "display_name = \"Timmy\"\n[slack]\nbot_token = \"${{SLACK_BOT_TOKEN}}\"\napp_token = \"${{SLACK_APP_TOKEN}}\"\n\
         channel_ids = [\"C1\", \"C11\", \"C12\", \"C13\", \"C14\", \"C15\"]\nallowed_users = [\"U1\", \"U2\"]\n\
         approvers = [\"U1\"]\napi_url = \"{}\"\n",
        slack.api_url()
    )
}

async fn start() -> (Slack, Program, Serving) {
    let slack = Slack::start().await;
    let program = Program::with_stand_in();
    program.write_config(&section(&slack));
    let serving = program.serve();
    slack.connected(1).await;
    (slack, program, serving)
}

/// In the thread below this message.
fn in_thread<'t>(root: &'t str, text: &'t str) -> impl Fn(&Message) -> bool + 't {
    move |message| message.thread.as_deref() == Some(root) && message.shown().contains(text)
}

fn only_for<'t>(user: &'t str, text: &'t str) -> impl Fn(&Message) -> bool + 't {
    move |message| message.only_for.as_deref() == Some(user) && message.shown().contains(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_answered_in_its_thread_where_the_session_goes_on_and_commands_where_asked() {
    let (slack, _program, serving) = start().await;
    slack.say("C1", "U2", "we were talking about birds");
    let root = slack.say("C1", "U1", &format!("<@{BOT}> echo one"));
    slack.see_which("C1", "the answer in the thread", in_thread(&root, "echo: one")).await;
    slack.say_in_thread("C1", "U2", &root, "history");
    let history = slack.see_which("C1", "the session's history", in_thread(&root, "echo one")).await;
    assert!(history.shown().contains("talking about birds"), "the talk goes along: {}", history.shown());
    slack.say("C1", "U1", "!whoami");
    slack
        .see_which("C1", "who, at the top level", |it| it.thread.is_none() && it.shown().contains("U1"))
        .await;
    slack.say_in_thread("C1", "U1", &root, "!version");
    slack.see_which("C1", "the version in the thread", in_thread(&root, "storkit")).await;
    slack.say("D1", "U1", "echo direct");
    assert_eq!(slack.see("D1", "echo: direct").await.thread, None);
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_what_waits_calls_the_bot_and_comes_too_late() {
    let (slack, program, serving) = start().await;
    slack.say("D1", "U1", "wait go");
    slack.see("D1", "waiting").await;
    let queued = slack.say("D1", "U1", "echo one");
    slack.see("D1", "Queued, number 1").await;
    slack.edit("D1", &queued, "echo two");
    slack.see("D1", "Changed").await;
    std::fs::write(program.file("go"), "").expect("written");
    slack.see("D1", "echo: two").await;
    for text in ["echo three", "echo four"] {
        slack.edit("D1", &queued, text);
    }
    let root = slack.say("C1", "U1", "echo five");
    slack.edit("C1", &root, &format!("<@{BOT}> echo five"));
    slack.see_which("C1", "the answer in the thread", in_thread(&root, "echo: five")).await;
    slack.edit("C1", &root, &format!("<@{BOT}> echo six"));
    slack.see_which("C1", "that it is done", in_thread(&root, "already done")).await;
    slack.say("D1", "U1", "echo last");
    slack.see("D1", "echo: last").await;
    let shown = [slack.transcript("D1"), slack.transcript("C1")].concat();
    assert_eq!(slack.transcript("D1").matches("already done").count(), 1, "{shown}");
    for never in ["echo: one", "echo: three", "echo: four", "echo: six"] {
        assert!(!shown.contains(never), "{never}: {shown}");
    }
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_counts_in_every_form_and_not_in_a_quotation() {
    let (slack, _program, serving) = start().await;
    for quoted in ["&gt; <@BOT> echo quoted\nI agree", "type `<@BOT> echo quoted`"] {
        slack.say("C1", "U2", &quoted.replace("BOT", BOT));
    }
    for (form, words) in [
        ("<@BOT> echo before", "echo: before"),
        ("echo behind <@BOT>", "echo: behind"),
        ("<@BOT|timmy>: echo labelled", "echo: labelled"),
        ("Timmy, echo by name", "echo: by name"),
    ] {
        let root = slack.say("C1", "U2", &form.replace("BOT", BOT));
        slack.see_which("C1", form, in_thread(&root, words)).await;
    }
    assert!(!slack.transcript("C1").contains("echo: quoted"), "{}", slack.transcript("C1"));
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_beside_the_thread_of_its_question_is_no_prompt() {
    let (slack, program, serving) = start().await;
    let root = slack.say("C1", "U2", &format!("<@{BOT}> bash touch made.txt"));
    slack.see_which("C1", "the question", in_thread(&root, "Question 1")).await;
    slack.say("C1", "U1", &format!("<@{BOT}> yes, go ahead"));
    slack
        .see_which("C1", "where it waits", |it| it.shown().contains("Question 1 still waits, in a thread"))
        .await;
    assert!(!program.file("made.txt").exists(), "it may have been meant for something else");
    // Only behind an answer of the bot, the question is known to be there.
    slack.say_in_thread("C1", "U1", &root, "!whoami");
    slack.see_which("C1", "an answer behind the question", in_thread(&root, "You are Ann")).await;
    slack.say_in_thread("C1", "U1", &root, "yes, go ahead");
    slack.see_which("C1", "the answer", in_thread(&root, "no output")).await;
    assert!(program.file("made.txt").exists());
    assert!(!slack.transcript("C1").contains("You said"), "{}", slack.transcript("C1"));
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_does_not_get_its_messages_is_told_in_status_in_health_and_at_the_terminal() {
    let (slack, program, serving) = start().await;
    let mut terminal = program.terminal();
    slack.archive("C1", true);
    slack.say("C1", "U1", "!version");
    let told = terminal.see("do not reach the room");
    assert!(told.contains("slack:C1") && told.contains("unarchive it"), "{told}");
    slack.say("D1", "U1", "!status");
    let status = slack.see("D1", "not delivered").await.shown();
    assert!(
        status.contains("1 message not delivered in `C1`") && status.contains("unarchive it"),
        "{status}"
    );
    let health = async || {
        let health =
            reqwest::get(format!("http://127.0.0.1:{}/health", serving.port)).await.expect("an answer");
        let health: serde_json::Value = health.json().await.expect("JSON");
        let adapters = health["adapters"].as_array().cloned().unwrap_or_default();
        let slack = adapters.into_iter().find(|it| it["name"] == "slack").expect("Slack");
        slack["undelivered"].clone()
    };
    let unreached = health().await;
    assert_eq!((&unreached[0]["room"], &unreached[0]["messages"]), (&"C1".into(), &1.into()), "{unreached}");
    assert!(unreached[0]["why"].as_str().is_some_and(|why| why.contains("archived")), "{unreached}");
    slack.archive("C1", false);
    slack.say("C1", "U1", "!whoami");
    slack.see("C1", "You are Ann").await;
    // Slack shows the message before the bot knows that it has arrived.
    let recovers = async {
        while health().await != serde_json::json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), recovers).await.expect("it arrived");
    slack.say("D1", "U1", "!status");
    slack
        .until("D1", "a second status", |shown| {
            let of_bot: Vec<_> =
                shown.iter().filter(|it| it.user == BOT && it.shown().contains("slack: up")).collect();
            of_bot.len() == 2 && !of_bot[1].shown().contains("not delivered")
        })
        .await;
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn slash_commands_in_both_forms_are_answered_to_their_caller_alone() {
    let (slack, _program, _serving) = start().await;
    slack.slash("C1", "U1", "/storkit", "status");
    slack.see_which("C1", "status", only_for("U1", "slack: up")).await;
    slack.slash("C1", "U2", "/storkit-whoami", "");
    slack.see_which("C1", "who", only_for("U2", "U2")).await;
    slack.slash("C1", "U2", "/storkit", "statsu");
    slack.see_which("C1", "the nearest", only_for("U2", "status")).await;
    slack.slash("C1", "U2", "/storkit", "");
    slack.see_which("C1", "a greeting", only_for("U2", "Timmy")).await;
    slack.slash("C1", "U3", "/storkit", "status");
    slack.see_which("C1", "a refusal", only_for("U3", "slack.allowed_users")).await;
    let all = slack.messages("C1");
    assert!(all.iter().all(|message| message.only_for.is_some()), "{}", slack.transcript("C1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_by_who_may_and_nobody_else_and_only_once() {
    let (slack, program, _serving) = start().await;
    let root = slack.say("C1", "U2", &format!("<@{BOT}> bash echo made > made.txt"));
    let question = slack.see_which("C1", "the question", in_thread(&root, "made.txt")).await;
    let question =
        slack.see_which("C1", "buttons", |it| it.ts == question.ts && !it.buttons().is_empty()).await;
    let allow = question.buttons().into_iter().find(|label| label.contains("Allow")).expect("a way to allow");
    let stale = slack.button("C1", &question.ts, &allow).expect("a button");
    slack.press("C1", &question.ts, "U3", &allow);
    slack.see_which("C1", "a refusal", only_for("U3", "slack.allowed_users")).await;
    slack.press("C1", &question.ts, "U2", &allow);
    let refusal = slack.see_which("C1", "a refusal", only_for("U2", "Bob")).await;
    assert_eq!(refusal.thread.as_deref(), Some(root.as_str()));
    assert!(!program.file("made.txt").exists(), "neither of them decides");
    slack.press("C1", &question.ts, "U1", &allow);
    slack
        .see_which("C1", "the outcome", |it| it.ts == question.ts && it.shown().contains("Ann allowed"))
        .await;
    slack.see_which("C1", "the answer", in_thread(&root, "no output")).await;
    assert!(program.file("made.txt").exists());
    let settled = slack.see_which("C1", "the question", |it| it.ts == question.ts).await;
    assert!(settled.buttons().is_empty());
    slack.press_stale("C1", &question.ts, "U1", &stale);
    slack.see_which("C1", "that it is late", |it| it.only_for.as_deref() == Some("U1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn htop_ticks_in_place_and_its_last_frame_says_so() {
    let (slack, _program, _serving) = start().await;
    slack.say("C1", "U1", "!htop 1m");
    let first = slack.see("C1", "**htop**").await;
    assert_eq!(first.thread, None);
    let ticked = |message: &Message| message.ts == first.ts && message.edits >= 2;
    slack.see_which("C1", "two frames", ticked).await;
    slack.fault("chat.update", Fault::Limited(1));
    slack.say("C1", "U1", "!htop stop");
    let ended = |message: &Message| message.ts == first.ts && message.shown().contains("ended");
    slack.see_which("C1", "the end", ended).await;
    assert_eq!(slack.messages("C1").iter().filter(|it| it.shown().contains("**htop**")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_rooms_stream_at_once_and_each_gets_its_whole_answer() {
    let (slack, _program, _serving) = start().await;
    let channels = ["C1", "C11", "C12", "C13", "C14", "C15"];
    for channel in &channels[1..] {
        slack.add_channel(channel);
    }
    for channel in channels {
        slack.say(channel, "U1", &format!("<@{BOT}> lines 400"));
    }
    for channel in channels {
        slack
            .until(channel, "whole", |messages| {
                let all: String = messages.iter().map(Message::shown).collect::<Vec<_>>().join("\n");
                (1..=400).all(|n| all.contains(&format!("line {n}")))
            })
            .await;
    }
    assert!(slack.calls("chat.update").iter().all(|call| call.ok), "Slack had to refuse an edit");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_acknowledged_while_a_turn_runs_and_repeats_run_nothing_twice() {
    let (slack, program, serving) = start().await;
    let root = slack.say("D1", "U1", "slow");
    slack.until("D1", "marked", |messages| messages.iter().any(|it| it.reactions.contains("eyes"))).await;
    let before = slack.acknowledged().len();
    for n in 0..10 {
        slack.say("D1", "U2", &format!("talk {n}"));
    }
    slack.acknowledged_at_least(before + 10).await;
    slack.redeliver("D1", &root);
    slack.say("D1", "U1", "stop");
    slack.see("D1", "Stopped").await;
    let once = slack.say("D1", "U1", "echo once");
    slack.see("D1", "echo: once").await;
    serving.kill_9();
    slack.redeliver("D1", &once);
    let opened = slack.opened();
    let serving = program.serve();
    slack.connected(opened + 1).await;
    slack.say("D1", "U1", "echo marker");
    slack.see("D1", "echo: marker").await;
    let times = slack.messages("D1").iter().filter(|message| message.shown().contains("echo: once")).count();
    assert_eq!(times, 1, "{}", slack.transcript("D1"));
    slack.slash("C1", "U1", "/storkit", "version");
    slack.see("C1", "storkit").await;
    let (code, log) = serving.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("slack"), "it logs something");
    for secret in ["ticket=", "/response/"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_tried_and_its_effect_kept_by_buttons() {
    needs::needs!(Bubblewrap);
    let (slack, program, _serving) = start().await;
    let root = slack.say("C1", "U1", &format!("<@{BOT}> bash echo made > made.txt; echo printed"));
    let is_asked = |it: &_| in_thread(&root, "made.txt")(it) && !it.buttons().is_empty();
    let question = slack.see_which("C1", "the question", is_asked).await;
    let press = |label: &str| {
        let shown = slack.messages("C1").into_iter().find(|it| it.ts == question.ts).expect("the question");
        let label = shown.buttons().into_iter().find(|shown| shown.contains(label)).expect("a button");
        slack.press("C1", &question.ts, "U1", &label);
    };
    press("Try");
    let tried =
        slack.see_which("C1", "the effect", |it| it.ts == question.ts && it.shown().contains("exit 0")).await;
    assert!(
        tried.shown().contains("1 file, +1 −0") && tried.shown().contains("printed"),
        "{}",
        tried.shown()
    );
    assert!(!program.file("made.txt").exists());
    press("Keep");
    slack
        .see_which("C1", "the outcome", |it| it.ts == question.ts && it.shown().contains("Ann kept what"))
        .await;
    slack.see_which("C1", "the answer", in_thread(&root, "has already been run once")).await;
    assert_eq!(std::fs::read_to_string(program.file("made.txt")).expect("a file"), "made\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambient_channel_is_answered_in_itself() {
    let (slack, _program, _serving) = start().await;
    slack.say("C1", "U1", "!ambient on");
    slack.see("C1", "mbient").await;
    slack.say("C1", "U2", "echo for everybody");
    assert_eq!(slack.see("C1", "echo: for everybody").await.thread, None);
    slack.say("C1", "U1", "!ambient off");
    slack.see_which("C1", "off", |message| message.shown().contains("off")).await;
    slack.say("C1", "U2", "echo unheard");
    slack.say("C1", "U1", "!whoami");
    slack.see("C1", "U1").await;
    assert!(!slack.transcript("C1").contains("echo: unheard"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_told_in_status_and_over_when_it_is_good_again() {
    let (slack, program, _serving) = start().await;
    slack.uninstall();
    let mut terminal = program.terminal();
    let down = loop {
        terminal.say("status");
        let status = terminal.see("slack: ");
        // At first it is not up yet, for no reason.
        if status.contains("account_inactive") {
            break status;
        }
    };
    assert!(down.contains("slack: down") && down.contains("slack.bot_token"), "{down}");
    slack.refuse_token(BOT_TOKEN, None);
    slack.connected(2).await;
    slack.say("D1", "U1", "echo back");
    slack.see("D1", "echo: back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_pipeline_is_told_in_the_channel() {
    let slack = Slack::start().await;
    let program = Program::with_stand_in();
    program.write_config(&format!("{}[pipeline]\nrooms = [\"slack:C1\"]\n", section(&slack)));
    program.write_settings("[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n");
    let _serving = program.serve();
    slack.connected(1).await;
    slack.say("D1", "U1", "new story Ping <!channel>");
    slack.see("D1", "is in the backlog").await;
    slack.say("D1", "U1", "move 1 current");
    let told = slack.see("C1", "Ping").await;
    assert!(told.thread.is_none() && !told.shown().contains("<!channel>"), "{}", told.shown());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_end_the_start_with_a_sentence_that_names_the_key() {
    let slack = Slack::start().await;
    let program = Program::with_stand_in();
    let refused = |toml: String| {
        program.write_config(&toml);
        let output = program.run(&["serve", "--port", "0"], "");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let good = section(&slack);
    for (from, to, key, why) in [
        ("${SLACK_BOT_TOKEN}", "xoxb-wrong", "slack.bot_token", "Slack refuses it (`invalid_auth`)"),
        ("${SLACK_BOT_TOKEN}", "xapp-mixed-up", "slack.bot_token", "begins with xoxb-"),
        ("${SLACK_APP_TOKEN}", "xapp-wrong", "slack.app_token", "Slack refuses it (`invalid_auth`)"),
        (
            "[\"U1\", \"U2\"]\napprovers = [\"U1\"]",
            "[]",
            "slack.allowed_users",
            "nobody could talk to the bot",
        ),
        ("\"C1\"", "\"general\"", "slack.channel_ids", "`general` is not a Slack id"),
    ] {
        let said = refused(good.replace(from, to));
        assert!(said.contains(&format!("`{key}` in ")) && said.contains(why), "{key}: {said}");
    }
    slack.remove_scope("reactions:write");
    let said = refused(good);
    assert!(said.contains("it lacks `reactions:write`") && said.contains("Reinstall"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_it_is_the_same_bot() {
    let slack = Slack::start().await;
    let program = Program::with_stand_in();
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let section = section(&slack)
        .replace("app_token = \"${SLACK_APP_TOKEN}\"\n", "mode = \"http\"\n")
        .replace("channel_ids", "signing_secret = \"${SLACK_SIGNING_SECRET}\"\nchannel_ids");
    program.write_config(&format!("{section}[http]\nwebhook_listen = \"127.0.0.1:{port}\"\n"));
    let _serving = program.serve();
    let at = |path: &str| format!("http://127.0.0.1:{port}/webhook/slack{path}");
    slack.call_app_at(&at(""), &at("/command"), &at("/interactive"));
    let root = slack.say("C1", "U1", &format!("<@{BOT}> bash true"));
    let question = slack
        .see_which("C1", "the question", |it| in_thread(&root, "true")(it) && !it.buttons().is_empty())
        .await;
    let allow = question.buttons().into_iter().find(|label| label.contains("Allow")).expect("a way to allow");
    slack.press("C1", &question.ts, "U1", &allow);
    slack
        .see_which("C1", "the outcome", |it| it.ts == question.ts && it.shown().contains("Ann allowed"))
        .await;
    slack.slash("C1", "U1", "/storkit-status", "");
    slack.see_which("C1", "status", only_for("U1", "slack: up")).await;
}

#[test]
fn the_manifest_holds_every_command_and_needs_neither_section_nor_project() {
    let program = Program::with_stand_in();
    let manifest = |command: &mut std::process::Command| -> serde_json::Value {
        let output = command.stderr(Stdio::inherit()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let printed = manifest(&mut program.command(&["slack", "manifest"]));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let outside = manifest(
        program.command(&["slack", "manifest"]).current_dir(elsewhere.path()).env_remove("STORKIT_PROJECT"),
    );
    assert_eq!(printed["features"]["slash_commands"], outside["features"]["slash_commands"]);
    let commands = printed["features"]["slash_commands"].as_array().expect("commands");
    let names: Vec<&str> = commands.iter().filter_map(|command| command["command"].as_str()).collect();
    let registry = bot::commands::all();
    for spec in registry.specs() {
        assert!(names.contains(&format!("/storkit-{}", spec.name).as_str()), "{}", spec.name);
    }
    assert_eq!(names.len(), registry.specs().count() + 1);
    assert!(names.len() <= 50, "Slack takes no more of them");
    assert!(commands.iter().all(|command| command["description"].as_str().is_some_and(|it| !it.is_empty())));
    let mut scopes: Vec<&str> = printed["oauth_config"]["scopes"]["bot"]
        .as_array()
        .expect("scopes")
        .iter()
        .filter_map(|it| it.as_str())
        .collect();
    scopes.sort_unstable();
    assert_eq!(scopes, adapters::slack::SCOPES);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_send_reaches_the_agent_or_is_named_to_both() {
    needs!(Claude);
    let slack = Slack::start().await;
    let script = ModelScript::new().on("what is this").says("A door.").on("really").says("So it seems.");
    let model = ScriptedModel::start(script.on("again").says("Once more.")).expect("a port");
    let program = Program::with_real_cli(&model);
    program.write_config(&section(&slack));
    let serving = program.serve();
    slack.connected(1).await;
    let prompts = || {
        let mut requests = model.requests();
        requests.retain(|seen| !seen.is_side_request());
        requests
    };
    let last_prompt = || prompts().pop().expect("the model was asked");
    let image = slack.file("door.png", "image/png", crate::enclosed::PNG);
    let mut film = slack.file("film.mp4", "video/mp4", b"");
    film["size"] = (40_u64 << 20).into();
    slack.send_files("D1", "U1", "what is this?", &[image.clone(), film.clone()]);
    slack.see("D1", "I did not get `film.mp4`: it is larger than 32 MB.").await;
    slack.see("D1", "A door.").await;
    let seen = last_prompt();
    assert_eq!(seen.images, ["image/png"]);
    assert!(seen.conversation.prompt.contains("\"film.mp4\" did not arrive"), "{}", seen.conversation.prompt);

    slack.forward("D1", "U1", "really?", json!({ "author_id": "U3", "text": "the <@U2> gate is broken" }));
    slack.see("D1", "So it seems.").await;
    let prompt = last_prompt().conversation.prompt;
    assert!(prompt.contains("by Cleo (U3)") && prompt.contains("\n> the @Bob gate is broken"), "{prompt}");

    let asked = prompts().len();
    slack.send_files("D1", "U1", "!whoami", &[image]);
    slack.see("D1", "I did not pass on `door.png`").await;
    slack.send_files("D1", "U1", "", &[film]);
    let lost = |it: &&Message| it.shown().contains("I did not get `film.mp4`");
    slack.until("D1", "that it is lost", |all| all.iter().filter(lost).count() == 2).await;
    assert_eq!(prompts().len(), asked, "a message of nothing but lost files costs nothing");

    let root = slack.say("C1", "U3", "the hinge is rusty");
    slack.say_in_thread("C1", "U1", &root, &format!("<@{BOT}> again?"));
    slack.see_which("C1", "an answer in the thread", in_thread(&root, "Once more.")).await;
    let prompt = last_prompt().conversation.prompt;
    assert!(prompt.contains("> Cleo (U3): the hinge is rusty"), "{prompt}");
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_in_plain_words_becomes_two_merged_stories_in_its_thread() {
    needs!(Claude);
    let slack = Slack::start().await;
    slack.add_channel("C11");
    let model = ScriptedModel::start(plan::house()).expect("a port");
    let program = Program::with_real_cli(&model);
    program.write_config(&format!("{}[pipeline]\nrooms = [\"slack:C11\"]\n", section(&slack)));
    program.write_settings(plan::TEAM);
    let serving = program.serve();
    slack.connected(1).await;
    let press = async |channel: &str, ts: &str, user: &str, label: &str| {
        let offers = |it: &Message| it.ts == ts && it.buttons().iter().any(|button| button.contains(label));
        let question = slack.see_which(channel, label, offers).await;
        let button = question.buttons().into_iter().find(|button| button.contains(label)).expect("a button");
        slack.press(channel, ts, user, &button);
    };
    let root = slack.say("C1", "U1", &format!("<@{BOT}> {}", plan::WISH));
    slack.see_which("C1", "the list", in_thread(&root, "Roof")).await;
    // Faster than anybody reads, an answer is a prompt: storkit must know first that the list is there.
    slack.say_in_thread("C1", "U1", &root, "!whoami");
    slack.see_which("C1", "an answer behind the list", in_thread(&root, "You are")).await;
    slack.say_in_thread("C1", "U1", &root, "yes, but without the roof");
    let list = slack.see_which("C1", "the next list", in_thread(&root, "Question 2")).await;
    assert!(!list.shown().contains("Roof"), "{}", list.shown());
    press("C1", &list.ts, "U1", "Create all").await;
    slack.see_which("C1", "both", in_thread(&root, "Number 1 is story 2 (starts after story 1).")).await;
    let bell = std::fs::read_to_string(program.file(".storkit/work/1_backlog/2_story_door_bell.md"));
    let bell = bell.expect("the story");
    assert!(bell.contains("\ndepends_on: [1]\n") && bell.contains("- [ ] It rings at the door"), "{bell}");
    let link = format!("https://stand-in.slack.com/archives/C1/p{}", root.replace('.', ""));
    assert!(bell.contains(&link), "{link} in {bell}");

    slack.say_in_thread("C1", "U2", &root, "delete the door");
    slack
        .see_which("C1", "a denial", in_thread(&root, "I was told: Only approvers can have this done"))
        .await;
    slack.say_in_thread("C1", "U1", &root, "start them");
    let question = slack.see_which("C1", "a question", in_thread(&root, "may I start")).await;
    press("C1", &question.ts, "U1", "Allow").await;
    for (number, title) in [(4, "Door"), (5, "Door bell")] {
        let question = slack.see("C11", &format!("Question {number}")).await;
        // It is the coder's, so it outlives what is stopped in this room.
        slack.say("C11", "U1", "!stop");
        slack.see("C11", "Nothing runs here").await;
        press("C11", &question.ts, "U1", "Allow").await;
        let merged = format!("{} {title}", number - 3);
        let told = |it: &Message| in_thread(&root, &merged)(it) && it.shown().contains("merged as");
        slack.see_which("C1", "its merge, in the thread", told).await;
    }
    assert!(program.file("door.txt").exists() && program.file("bell.txt").exists());
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_come_with_a_new_story_lie_beside_it() {
    let (slack, program, serving) = start().await;
    let image = slack.file("door.png", "image/png", crate::enclosed::PNG);
    let mut film = slack.file("film.mp4", "video/mp4", b"");
    film["size"] = json!(40 << 20);
    slack.send_files(
        "D1",
        "U1",
        "new story Door squeaks\nSee the picture.\n- [ ] It is silent",
        &[image, film],
    );
    let told = slack.see("D1", "is in the backlog").await;
    let told = told.shown();
    assert!(told.contains("beside it now") && told.contains("film.mp4"), "{told}");
    let picture = std::fs::read(program.file(".storkit/work/files/1/door.png")).expect("the picture");
    assert_eq!(picture, crate::enclosed::PNG);
    let text = std::fs::read_to_string(program.file(".storkit/work/1_backlog/1_story_door_squeaks.md"));
    let text = text.expect("the story");
    assert!(
        text.contains(
            "See the picture.\n- [ ] It is silent\n\n## Files\n\n- ![door.png](../files/1/door.png)\n"
        ),
        "{text}"
    );
    assert_eq!(serving.end().0, Some(0));
}
