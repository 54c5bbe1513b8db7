//! The web page's server, with a client of another make in the place of a browser: signing in, the board, the chat, questions.

use e2e::{Bot, Cli, Setup};
use futures::{SinkExt as _, StreamExt as _};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, handshake::client::Request},
};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

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

/// A browser in which somebody is signed in.
struct Browser {
    address: String,
    secret: String,
    http: Client,
}

/// What a link holds.
struct Link {
    address: String,
    token: String,
}

async fn link(bot: &Bot, person: &str) -> Link {
    let room = bot.room(&format!("with-{person}"));
    room.say_as(person, "web").await;
    let text = room.see("It works once").await.text;
    let (_, rest) = text.split_once('<').expect("an address");
    let (address, rest) = rest.split_once("/#l=").expect("a token");
    let (token, _) = rest.split_once('>').expect("its end");
    Link { address: address.into(), token: token.into() }
}

async fn login(link: &Link, body: &Value) -> (StatusCode, String) {
    let http = Client::new();
    let sent = http.post(format!("{}/login", link.address)).header("origin", &link.address).json(body);
    let answer = sent.send().await.expect("an answer");
    (answer.status(), answer.text().await.expect("a body"))
}

impl Browser {
    async fn sign_in(bot: &Bot, person: &str) -> Self {
        let link = link(bot, person).await;
        let (status, body) = login(&link, &json!({ "token": link.token })).await;
        assert_eq!(status, 200, "{body}");
        let signed_in: Value = serde_json::from_str(&body).expect("JSON");
        let secret = signed_in["secret"].as_str().expect("a secret").to_owned();
        Self { address: link.address, secret, http: Client::new() }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let sent = self.http.get(format!("{}{path}", self.address)).bearer_auth(&self.secret);
        let answer = sent.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    async fn read(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    fn upgrade(&self, origin: Option<&str>) -> Request {
        let address = format!("{}/live", self.address.replace("http://", "ws://"));
        let mut request = address.into_client_request().expect("a request");
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("a value"));
        }
        request
    }

    /// Connects; `after` is the last change that the page has seen.
    async fn live(&self, after: Value) -> Live {
        let socket = connect_async(self.upgrade(Some(&self.address))).await.expect("it connects").0;
        let mut live = Live(socket);
        live.say(json!({ "type": "hello", "secret": self.secret, "after": after })).await;
        live
    }
}

struct Live(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Live {
    async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.expect("it is taken");
    }

    /// The next frame but those that only say that the connection lives.
    async fn next(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.frame()).await.expect("nothing comes")
    }

    async fn frame(&mut self) -> Value {
        loop {
            match self.0.next().await.expect("it is open").expect("a message") {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    if frame["type"] != "beat" {
                        return frame;
                    }
                }
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame for which this holds.
    async fn until(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let found = async {
            loop {
                let frame = self.frame().await;
                if holds(&frame) {
                    return frame;
                }
                seen.push(frame);
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await.ok();
        found.unwrap_or_else(|| panic!("it does not come, but {seen:#?}"))
    }

    async fn until_type(&mut self, kind: &str) -> Value {
        self.until(|frame| frame["type"] == kind).await
    }

    /// The next message of the bot with this text.
    async fn see(&mut self, text: &str) -> Value {
        let shows = |frame: &Value| frame["message"]["html"].as_str().is_some_and(|html| html.contains(text));
        self.until(|frame| frame["type"] == "message" && frame["message"]["by"].is_null() && shows(frame))
            .await
    }
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
    let link = link(&bot, "ann").await;
    let wrong = login(&link, &json!({ "token": "0".repeat(64) })).await;
    assert_eq!(wrong.0, 403, "{}", wrong.1);
    let right = json!({ "token": link.token });
    let (status, body) = login(&link, &right).await;
    assert_eq!(status, 200, "{body}");
    let me: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((me["me"]["who"].as_str(), me["me"]["role"].as_str()), (Some("fake:ann"), Some("approver")));
    let (status, sentence) = login(&link, &right).await;
    assert_eq!(status, 403);
    assert!(sentence.contains("was used already"), "{sentence}");
    for body in [json!({}), json!([]), json!({ "token": 1 }), json!({ "code": "x", "token": {} })] {
        assert!(login(&link, &body).await.0.is_client_error(), "{body}");
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
    let bye = live.until_type("bye").await;
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
