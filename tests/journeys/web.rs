//! The web page's server, with a client of another make in the place of a browser: signing in, the board, the chat, questions.

use std::fs;

use e2e::{
    Bot, Cli, Setup,
    page::{Browser, Link, Live},
};
use needs::needs;
use reqwest::Client;
use scripted_model::ModelScript;
use serde_json::{Value, json};
use tokio_tungstenite::{connect_async, tungstenite::Error};

use crate::real::bash;

const ANN: &str = "web:fake:ann";

/// Only a supervisor, who is never started by itself.
const NOBODY: &str = "[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n";

async fn start() -> Bot {
    let bot = Setup::new(Cli::StandIn)
        .page()
        .approvers(&["ann"])
        .file(".storkit/project.toml", NOBODY)
        .start()
        .await;
    bot.started().await;
    bot
}

fn titles(stories: &Value) -> Vec<&str> {
    stories.as_array().expect("a list").iter().filter_map(|story| story["title"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_signs_in_once_and_only_one_who_asks_alone() {
    let bot = start().await;
    let group = bot.room("g");
    group.say_in_group("ann", "!web").await;
    group.see("here others read along").await;
    let link = Link::for_person(&bot, "ann").await;
    let wrong = link.login(&json!({ "token": "0".repeat(64) })).await;
    assert_eq!(wrong.0, 403, "{}", wrong.1);
    let right = link.by_token();
    let (status, body) = link.login(&right).await;
    assert_eq!(status, 200, "{body}");
    let me: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((me["me"]["who"].as_str(), me["me"]["role"].as_str()), (Some("fake:ann"), Some("approver")));
    let (status, sentence) = link.login(&right).await;
    assert_eq!(status, 403);
    assert!(sentence.contains("was used already"), "{sentence}");
    for body in [json!({}), json!([]), json!({ "token": 1 }), json!({ "code": "x", "token": {} })] {
        assert!(link.login(&body).await.0.is_client_error(), "{body}");
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_board_and_moves_it_by_commands_in_its_persons_room() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let mut live = ann.live(Value::Null).await;
    assert_eq!(live.next().await["me"]["rooms"][0]["room"], ANN);
    assert_eq!(live.next().await["type"], "anew");
    let board = ann.read("/api/board").await;
    assert_eq!((board["base"].as_str(), titles(&board["stories"]).len()), (Some("main"), 0));
    live.say(json!({ "type": "open", "room": ANN, "before": null })).await;
    live.until_type("opened").await;
    let text = "new story A door\nIt **squeaks**.\n\n- [ ] It is silent";
    live.say(json!({ "type": "say", "ticket": 7, "room": ANN, "text": text })).await;
    let taken = live.until_type("taken").await;
    assert_eq!(taken["ticket"], 7);
    let answer = live.see("<strong>A door</strong> is in the backlog").await;
    assert_eq!(answer["message"]["reply_to"], taken["message"]);
    let changed = live.until(|frame| titles_of(frame).contains(&"A door".to_owned())).await;
    assert_eq!(
        (changed["stories"][0]["criteria"].as_u64(), changed["stories"][0]["moves"][0].as_str()),
        (Some(1), Some("current"))
    );
    let story = ann.read("/api/story/1").await;
    assert!(story["html"].as_str().expect("text").contains("<strong>squeaks</strong>"), "{story}");
    assert_eq!(story["criteria"][0]["text"], "It is silent");
    live.say(json!({ "type": "say", "ticket": 8, "room": ANN, "text": "delete 1 yes" })).await;
    let gone = live.until(|frame| frame["gone_stories"] == json!([1])).await;
    assert!(gone["seq"].as_u64() > changed["seq"].as_u64());
    for (path, sentence) in [
        ("/api/story/9", "There is no such story."),
        ("/api/run/1-coder-1/log", "no log of this run"),
        ("/api/run/1-..%2F..%2Fx-1/log", "no log of this run"),
    ] {
        let (status, body) = ann.get(path).await;
        assert!(status == 404 && body.contains(sentence), "{path}: {status} {body}");
    }
    bot.app.shutdown().await;
}

fn titles_of(frame: &Value) -> Vec<String> {
    let stories = frame["stories"].as_array().map(Vec::as_slice).unwrap_or_default();
    stories.iter().filter_map(|story| story["title"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_shown_whole_and_answered_by_who_may() {
    let bot = start().await;
    let (ann, bob) = (Browser::sign_in(&bot, "ann").await, Browser::sign_in(&bot, "bob").await);
    let (mut live, mut bobs) = (ann.live(Value::Null).await, bob.live(Value::Null).await);
    let own = "web:fake:bob";
    bobs.say(json!({ "type": "open", "room": own, "before": null })).await;
    let call = format!("echo {} && touch made.txt", "x".repeat(5_000));
    bobs.say(json!({ "type": "say", "ticket": 1, "room": own, "text": format!("bash {call}") })).await;
    let asked = live
        .until(|frame| frame["questions"][0]["outcome"].is_null() && frame["questions"][0].is_object())
        .await;
    let question = asked["questions"][0].clone();
    assert_eq!(question["form"]["text"], Value::from(call), "nothing is cut");
    assert_eq!((question["role"].as_str(), &question["rooms"]), (Some("approver"), &json!([own])));
    let key = question["choices"][0]["key"].clone();
    bobs.say(json!({ "type": "choose", "ticket": 2, "room": own, "message": null, "key": key })).await;
    bobs.see("may not answer").await;
    // Ann may answer, but was not asked: it is Bob's room, which she cannot open.
    live.say(json!({ "type": "choose", "ticket": 3, "room": own, "message": null, "key": key })).await;
    assert_eq!(live.until_type("refused").await["why"], "That room is not yours.");
    bobs.say(json!({ "type": "say", "ticket": 4, "room": own, "text": "stop" })).await;
    let closed = live.until(|frame| frame["questions"][0]["outcome"].is_object()).await;
    assert!(
        closed["questions"][0]["outcome"]["sentence"].as_str().expect("a sentence").contains("is closed"),
        "{closed}"
    );
    live.say(json!({ "type": "open", "room": ANN, "before": null })).await;
    live.say(json!({ "type": "say", "ticket": 5, "room": ANN, "text": "bash touch made.txt; echo made it" }))
        .await;
    let asked = live.until(|frame| frame["questions"][0]["rooms"] == json!([ANN])).await;
    let key = asked["questions"][0]["choices"][0]["key"].clone();
    live.say(json!({ "type": "choose", "ticket": 6, "room": ANN, "message": null, "key": key })).await;
    live.see("made it").await;
    // What the board has comes after what the room shows.
    let board = ann.read("/api/board").await;
    let outcome = &board["questions"].as_array().and_then(|all| all.last()).expect("a question")["outcome"];
    let sentence = outcome["sentence"].as_str().expect("a sentence");
    assert!(outcome["word"] == "allow" && sentence.contains("ann allowed"), "{board}");
    assert!(bot.file("made.txt").exists());
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_slept_gets_what_it_missed_and_nothing_twice() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let room = bot.room("a");
    room.say("new story Before\n- one").await;
    room.see("**Before** is in the backlog").await;
    let board = ann.read("/api/board").await;
    let seen = json!({ "boot": board["boot"], "seq": board["seq"] });
    for title in ["One", "Two"] {
        room.say(&format!("new story {title}\n- one")).await;
        room.see(&format!("**{title}** is in the backlog")).await;
    }
    let mut live = ann.live(seen.clone()).await;
    let hello = live.next().await;
    let (mut missed, mut seq) = (Vec::new(), seen["seq"].as_u64().expect("a number"));
    while seq < hello["seq"].as_u64().expect("a number") {
        let changed = live.next().await;
        assert_eq!((changed["type"].as_str(), changed["seq"].as_u64()), (Some("changed"), Some(seq + 1)));
        missed.extend(titles_of(&changed));
        seq += 1;
    }
    assert_eq!(missed, ["One", "Two"]);
    room.say("new story Three\n- one").await;
    let next = live.next().await;
    assert_eq!((titles_of(&next), next["seq"].as_u64()), (vec!["Three".to_owned()], Some(seq + 1)));
    for unknown in [json!({ "boot": "another", "seq": seq }), json!({ "boot": board["boot"], "seq": 999 })] {
        let mut live = ann.live(unknown).await;
        live.next().await;
        assert_eq!(live.next().await["type"], "anew");
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_out_sees_nothing_more() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let mut live = ann.live(Value::Null).await;
    live.until_type("anew").await;
    let room = bot.room("with-ann");
    room.say("web sessions").await;
    room.see("Signed in as you").await;
    room.say_as("bob", "web revoke 1").await;
    room.see("You have no session 1.").await;
    assert_eq!(ann.get("/api/me").await.0, 200, "another person's session");
    room.say("web revoke all").await;
    let bye = live.until_end_at_once().await.pop().expect("a last word");
    assert_eq!(
        (bye["again"].as_bool(), bye["why"].as_str().map(|why| why.contains("has ended"))),
        (Some(false), Some(true))
    );
    let (status, sentence) = ann.get("/api/board").await;
    assert!(status == 401 && sentence.contains("Your session has ended"), "{status} {sentence}");
    let mut live = ann.live(Value::Null).await;
    assert_eq!(live.next().await["type"], "bye");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_to_another_page_another_name_or_a_stranger() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    for origin in [None, Some("http://localhost:5173"), Some("null"), Some("https://evil.example")] {
        match connect_async(ann.upgrade(origin)).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "{origin:?}"),
            other => panic!("{origin:?}: {other:?}"),
        }
    }
    let socket = connect_async(ann.upgrade(Some(&ann.address))).await.expect("it connects").0;
    let mut stranger = Live(socket);
    stranger.say(json!({ "type": "hello", "secret": "x", "after": null })).await;
    assert_eq!(stranger.next().await["type"], "bye");
    let socket = connect_async(ann.upgrade(Some(&ann.address))).await.expect("it connects").0;
    let mut rude = Live(socket);
    rude.say(json!({ "type": "say", "ticket": 1, "room": ANN, "text": "delete 1 yes" })).await;
    assert_eq!(rude.next().await["type"], "bye", "before the greeting");
    let rebound = Client::new().get(format!("{}/api/board", ann.address)).header("host", "evil.example");
    assert_eq!(rebound.send().await.expect("an answer").status(), 403);
    let without = Client::new().get(format!("{}/api/board", ann.address)).send().await.expect("an answer");
    assert_eq!(without.status(), 401);
    let page = Client::new().get(&ann.address).send().await.expect("an answer");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_elsewhere_has_its_address_on_the_page_where_people_can_reach_it() {
    let setup = Setup::new(Cli::StandIn).config("[web]\norigin = [\"https://farm.example.org\"]");
    let bot = setup.page().start().await;
    let room = bot.room("a");
    room.say("bash true").await;
    let question = room.see("Question 1").await;
    assert!(question.text.ends_with("On the page: <https://farm.example.org/q/1>"), "{}", question.text);
    bot.app.shutdown().await;
    let bot = Setup::new(Cli::StandIn).page().start().await;
    let room = bot.room("a");
    room.say("bash true").await;
    let question = room.see("Question 1").await;
    assert!(!question.text.contains("/q/1"), "nobody elsewhere reaches this machine: {}", question.text);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_there_after_a_restart_and_a_second_one_has_a_session_of_its_own() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let mut live = ann.live(Value::Null).await;
    let titles = |frame: &Value| -> Vec<String> {
        let rooms = frame["me"]["rooms"].as_array().map(Vec::as_slice).unwrap_or_default();
        rooms.iter().filter_map(|room| room["title"].as_str().map(str::to_owned)).collect()
    };
    let hello = live.next().await;
    assert_eq!(titles(&hello), ["Me and the bot", "New chat", "Everybody"]);
    let second = hello["me"]["rooms"][1]["room"].as_str().expect("a room").to_owned();
    for (ticket, room) in [(1, ANN), (2, &*second)] {
        live.say(json!({ "type": "open", "room": room, "before": null })).await;
        live.say(
            json!({ "type": "say", "ticket": ticket, "room": room, "text": format!("echo I am {room}") }),
        )
        .await;
        live.see(&format!("echo: I am {room}")).await;
    }
    assert_eq!(bot.sessions(), 2);
    live.say(json!({ "type": "say", "ticket": 4, "room": second, "text": "web" })).await;
    live.see("It works once").await;
    live.say(json!({ "type": "open", "room": "web:fake:bob", "before": null })).await;
    live.say(json!({ "type": "say", "ticket": 3, "room": "web:fake:bob#2", "text": "status" })).await;
    assert_eq!(live.until_type("refused").await["why"], "That room is not yours.");
    let bot = bot.restart().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let mut live = ann.live(Value::Null).await;
    assert_eq!(titles(&live.next().await), ["Me and the bot", "Chat 2", "New chat", "Everybody"]);
    live.say(json!({ "type": "open", "room": second, "before": null })).await;
    let asked = live.until_type("message").await;
    assert_eq!(
        (asked["message"]["by"].as_str(), asked["message"]["room"].as_str()),
        (Some("ann"), Some(&*second))
    );
    live.see(&format!("echo: I am {second}")).await;
    let last = live.until_type("message").await;
    assert_eq!(
        (last["message"]["by"].as_str(), last["message"]["html"].as_str()),
        (Some("ann"), Some("<p>web</p>"))
    );
    assert_eq!(live.until_type("opened").await["more"], false, "the link is on no disk");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_chosen_on_the_page_lie_beside_the_new_story() {
    let bot = start().await;
    let (ann, bob) = (Browser::sign_in(&bot, "ann").await, Browser::sign_in(&bot, "bob").await);
    let mut live = ann.live(Value::Null).await;
    live.say(json!({ "type": "open", "room": ANN, "before": null })).await;
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let (door, plan) = (ann.uploaded("door.png", picture).await, ann.uploaded("plan.txt", b"a plan").await);
    let text = "new story A door\n- [ ] It is silent";
    let say = |ticket: u32, files: Value| json!({ "type": "say", "ticket": ticket, "room": ANN, "text": text, "files": files });
    live.say(say(1, json!([door, plan]))).await;
    let answer = live.see("Story <code>1</code> has").await;
    let html = answer["message"]["html"].as_str().expect("text").to_owned();
    assert!(
        html.contains("door.png") && html.contains("plan.txt") && html.contains("beside it now"),
        "{html}"
    );
    assert_eq!(fs::read(bot.file(".storkit/work/files/1/door.png")).expect("the picture"), picture);
    assert_eq!(fs::read(bot.file(".storkit/work/files/1/plan.txt")).expect("the plan"), b"a plan");
    // Files are their person's alone, and none is made up.
    let bobs = bob.uploaded("bobs.txt", b"x").await;
    for (ticket, files) in [(2, json!([bobs])), (3, json!([door, "0"]))] {
        live.say(say(ticket, files)).await;
        let refused = live.until_type("refused").await;
        assert_eq!(
            (refused["ticket"].as_u64(), refused["why"].as_str()),
            (Some(ticket.into()), Some("storkit does not have these files any more. Send them again."))
        );
    }
    live.say(say(4, json!(vec![door; 11]))).await;
    assert_eq!(live.until_type("refused").await["why"], "I take at most 10 files with one message.");
    let board = ann.read("/api/board").await;
    assert_eq!(titles(&board["stories"]), ["A door"], "what was refused did nothing");
    let refused = ann.announced("film.mp4", (32 << 20) + 1).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert!(refused.ends_with("“film.mp4” was not uploaded: it is larger than 32 MB."), "{refused}");
    assert_eq!(ann.upload("x", b"x".to_vec(), "http://localhost:5173").await.0, 403, "another page");
    assert_eq!(ann.with_secret("x").upload("x", b"x".to_vec(), &ann.address).await.0, 401);
    let mut refused = None;
    for _ in 0..20 {
        let (status, sentence) = bob.upload("x", b"x".to_vec(), &bob.address).await;
        if status != 200 {
            refused = Some((status.as_u16(), sentence));
        }
    }
    let why = "“x” was not uploaded: 20 of your files wait here already, which is the limit.";
    assert_eq!(refused, Some((429, why.to_owned())));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_word_is_a_message_to_the_agent() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let mut live = ann.live(Value::Null).await;
    live.say(json!({ "type": "open", "room": ANN, "before": null })).await;
    let id = ann.uploaded("door.txt", b"it squeaks").await;
    live.say(json!({ "type": "say", "ticket": 1, "room": ANN, "text": "", "files": [id] })).await;
    live.until_type("taken").await;
    let own = live.until(|frame| frame["message"]["by"] == "ann").await;
    assert!(own["message"]["html"].as_str().expect("text").contains("📎 door.txt"), "{own}");
    live.say(json!({ "type": "say", "ticket": 2, "room": ANN, "text": " " })).await;
    assert_eq!(live.until_type("refused").await["why"], "There is nothing in it.");
    live.until(|frame| frame["message"]["by"].is_null() && frame["message"]["tone"] == "answer").await;
    bot.app.shutdown().await;
}

/// A coder, and a gate that its work meets. A person reviews it.
const TEAM: &str = "gates = [\"test -e base.txt\"]\n[budget]\nday_usd = 20\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_storys_history_says_who_did_what_with_it_and_when_to_its_merge() {
    needs!(Claude);
    let work =
        |text: &str| bash(&format!("echo {text} > door.txt && git add door.txt && git commit -qm {text}"));
    let script = ModelScript::new()
        .on("it is not oiled")
        .calls("Bash", work("two"))
        .then_says("Done.")
        .on_start("Do story 1")
        .calls("Bash", work("one"))
        .then_says("Done.");
    let setup = Setup::real(script).page().approvers(&["ann"]).file(".storkit/project.toml", TEAM);
    let bot =
        setup.config("[pipeline]\nrooms = [\"fake:ops\"]").committed("base.txt", "base\n").start().await;
    bot.started().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    assert_eq!(ann.read("/api/board").await["budget_today"], 20.0);
    assert_eq!(ann.read("/api/cost").await["budget_today"], 20.0);
    let room = bot.room("ops");
    room.say("new story A door\n- [ ] It is silent").await;
    room.see("**A door** is in the backlog").await;
    for (said, seen) in [
        ("edit 1 qa on", "review by a person"),
        ("assign 1 coder", "`coder`"),
        ("start 1", "works on story `1` now"),
    ] {
        room.say(said).await;
        room.see(seen).await;
    }
    room.see("git commit -qm").await;
    room.say("yes 1").await;
    room.see("`accept 1`").await;
    room.say("reject 1 it is not oiled").await;
    room.see("git commit -qm").await;
    room.say("yes 2").await;
    room.see("`accept 1`").await;
    room.say("accept 1").await;
    room.see("**1 A door**: merged as").await;
    let history = ann.read("/api/story/1/history").await;
    let entries = history["entries"].as_array().expect("a list");
    let line = |entry: &Value| {
        let details = entry["details"].as_array().expect("a list").iter().filter_map(Value::as_str);
        let text = entry["text"].as_str().expect("text");
        std::iter::once(text).chain(details).collect::<Vec<_>>().join(" | ")
    };
    let of_kind = |wanted: &str| -> Vec<String> {
        entries.iter().rev().filter(|entry| entry["kind"] == wanted).map(line).collect()
    };
    let acts = [
        "ann added it to the backlog.",
        "ann edited it.",
        "ann assigned it to `coder`.",
        "ann moved it from the backlog to current.",
        "storkit moved it from current to QA.",
        "ann moved it from QA to current. | sent back: it is not oiled",
        "storkit moved it from current to QA.",
        "ann moved it from QA to merge. | accepted by ann",
        "storkit moved it from merge to done.",
    ];
    assert_eq!(of_kind("act"), acts);
    let run = ["`coder` started a run.", "The run of `coder` ended. | committed, and the gates passed"];
    assert_eq!(of_kind("run"), [run, run].concat());
    assert_eq!(
        of_kind("question"),
        [1, 2].map(|number| format!(
            "ann said yes to question {number} (`Bash`). | Asked in `fake:ops`, `web:team`."
        ))
    );
    let merges = of_kind("merge");
    let [merged] = &merges[..] else { panic!("{history}") };
    assert!(
        merged.starts_with("Merged as `") && merged.ends_with("`. | storkit: merge 1 A door"),
        "{merged}"
    );
    assert_eq!((entries.len(), &history["whole"]), (16, &Value::from(true)));
    let (status, sentence) = ann.get("/api/story/9/history").await;
    assert!(status == 404 && sentence == "There is no such story.", "{status} {sentence}");
    // It outlives the bot.
    let bot = bot.restart().await;
    bot.started().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    assert_eq!(ann.read("/api/story/1/history").await, history);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_looks_at_is_told_of_the_board_alone() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let (mut shown, mut hidden) = (ann.live(Value::Null).await, ann.live(Value::Null).await);
    for live in [&mut shown, &mut hidden] {
        live.say(json!({ "type": "open", "room": ANN, "before": null })).await;
        live.until_type("opened").await;
    }
    hidden.say(json!({ "type": "visible", "on": false })).await;
    // The answer to this says that the frame before it was heard.
    hidden.say(json!({ "type": "say", "ticket": 1, "room": ANN, "text": "" })).await;
    hidden.until_type("refused").await;
    shown.say(json!({ "type": "say", "ticket": 2, "room": ANN, "text": "new story A door\n- one" })).await;
    shown.see("<strong>A door</strong> is in the backlog").await;
    let mut told = hidden.next().await;
    while !titles_of(&told).contains(&"A door".to_owned()) {
        assert_eq!(told["type"], "changed", "{told}");
        told = hidden.next().await;
    }
    hidden.say(json!({ "type": "visible", "on": true })).await;
    hidden.say(json!({ "type": "open", "room": ANN, "before": null })).await;
    hidden.see("<strong>A door</strong> is in the backlog").await;
    bot.app.shutdown().await;
}
