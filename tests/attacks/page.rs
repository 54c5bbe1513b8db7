//! The web page: signing in as somebody else, going on after the end, and what an agent does that finds the page's port, a link or a
//! session's secret.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use adapters::web::{WebSpeaker, WebText};
use bot::{
    Clock,
    config::access::{AccessTable, MessengerPeople},
};
use e2e::{
    Bot, Cli, Program, Serving, Setup,
    page::{Browser, Link},
};
use needs::{Need, needs, walls};
use reqwest::{Client, Method};
use serde_json::{Value, json};
#[cfg(feature = "slack")]
use services::slack::Slack;
use tokio_tungstenite::{connect_async, tungstenite::Error};

use crate::wall::AttackedProject;

const ATTACKER: &str = include_str!("data/attacker.py");

/// The page on a port of its own.
const PAGE: &str = "[web]\nlisten = \"127.0.0.1:0\"\n";

async fn start() -> Bot {
    let bot = Setup::new(Cli::StandIn).page().approvers(&["ann"]).start().await;
    bot.started().await;
    bot
}

/// Asks at a terminal, in a room that has no other link.
fn link_at(program: &Program) -> Link {
    static ROOMS: AtomicU64 = AtomicU64::new(0);
    let mut terminal = program.terminal_in(&format!("link-{}", ROOMS.fetch_add(1, Ordering::Relaxed)));
    terminal.say("web");
    Link::in_text(&terminal.see("It works once"))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_signs_in_reads_or_follows() {
    let bot = start().await;
    let (ann, link) = (Browser::sign_in(&bot, "ann").await, Link::for_person(&bot, "ann").await);
    let port = ann.address.rsplit(':').next().expect("a port").to_owned();
    let others = [
        "http://localhost:5173".to_owned(),
        "http://127.0.0.1".into(),
        format!("https://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}.evil.example"),
        "https://evil.example".into(),
        "null".into(),
    ];
    for origin in others.iter().map(|origin| Some(origin.as_str())).chain([None]) {
        match connect_async(ann.upgrade(origin)).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "/live from {origin:?}"),
            other => panic!("/live from {origin:?}: {other:?}"),
        }
        for (method, path) in
            [(Method::POST, "/login"), (Method::POST, "/logout"), (Method::GET, "/api/board")]
        {
            // With all that it could ever have found.
            let sent =
                Client::new().request(method, format!("{}{path}", ann.address)).bearer_auth(&ann.secret);
            let sent = if path == "/login" { sent.json(&link.by_token()) } else { sent };
            let sent = origin.iter().fold(sent, |sent, origin| sent.header("origin", *origin));
            let status = sent.send().await.expect("an answer").status();
            let is_read = origin.is_none() && path == "/api/board";
            assert_eq!(status, if is_read { 200 } else { 403 }, "{path} from {origin:?}");
        }
    }
    assert_eq!(ann.get("/api/me").await.0, 200, "it was signed out by another page");
    assert_eq!(link.login(&link.by_token()).await.0, 200, "it was used by another page");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_rebound_to_the_page() {
    let bot = start().await;
    let (ann, link) = (Browser::sign_in(&bot, "ann").await, Link::for_person(&bot, "ann").await);
    let port = ann.address.rsplit(':').next().expect("a port").to_owned();
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0", "[::1]"] {
        let named = format!("{host}:{port}");
        // The rebound page is of one origin with what it asks.
        let origin = format!("http://{named}");
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, "/api/board"),
            (Method::GET, "/live"),
            (Method::POST, "/login"),
            (Method::GET, "/nothing"),
        ] {
            for origin in [&origin, &ann.address] {
                let sent = Client::new().request(method.clone(), format!("{}{path}", ann.address));
                let sent = sent.header("host", &named).header("origin", origin).bearer_auth(&ann.secret);
                let answer = sent.json(&link.by_token()).send().await.expect("an answer");
                assert_eq!(answer.status(), 403, "{method} {path} as {named} from {origin}");
            }
        }
    }
    assert_eq!(link.login(&link.by_token()).await.0, 200);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_link_is_used_twice() {
    let bot = start().await;
    for _ in 0..8 {
        let link = Link::for_person(&bot, "ann").await;
        let (token, code) = (link.by_token(), json!({ "code": link.code }));
        // The thief and the person at the same moment, by the two forms of the link.
        let tries = (0..16).map(|number| {
            let (link, body) = (link.clone(), if number % 2 == 0 { token.clone() } else { code.clone() });
            async move { link.login(&body).await.0.as_u16() }
        });
        let mut answers = futures::future::join_all(tries).await;
        answers.sort_unstable();
        assert_eq!((answers[0], &answers[1..]), (200, &[403; 15][..]));
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_codes_signs_in_or_locks_a_person_out() {
    let bot = start().await;
    let link = Link::for_person(&bot, "ann").await;
    let letters = "BCDFGHJKLMNPQRSTVWXZ".as_bytes();
    let guess = |number: usize| {
        let letter = |place: u32| char::from(letters[number / 20_usize.pow(place) % 20]);
        json!({ "code": format!("BBBB{}{}{}{}", letter(3), letter(2), letter(1), letter(0)) })
    };
    let guesses = (0..400).map(|number| {
        let link = link.clone();
        async move { link.login(&guess(number)).await }
    });
    for (status, sentence) in futures::future::join_all(guesses).await {
        assert_eq!(status, 403, "{sentence}");
    }
    let (status, body) = link.login(&json!({ "code": link.code.to_lowercase() })).await;
    assert_eq!(status, 200, "who types the code of the moment gets in: {body}");
    bot.app.shutdown().await;
}

/// A clock that a test puts forward.
fn clock() -> (Clock, Arc<AtomicU64>) {
    let ahead = Arc::new(AtomicU64::new(0));
    let seconds = ahead.clone();
    let now = move || SystemTime::now() + Duration::from_secs(seconds.load(Ordering::SeqCst));
    (Clock::from_fn(now), ahead)
}

const DAY: u64 = 24 * 3600;

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_goes_on() {
    let (clock, ahead) = clock();
    let bot = Setup::new(Cli::StandIn).page().clock(clock).start().await;
    let room = json!({ "type": "open", "room": "web:team", "before": null });
    let follow = json!({ "type": "follow", "run": "1-coder-1", "from": 1 });
    let (one, other) = (Browser::sign_in(&bot, "ann").await, Browser::sign_in(&bot, "ann").await);
    let (mut opens, mut follows) = (one.live(Value::Null).await, other.live(Value::Null).await);
    opens.until_type("anew").await;
    follows.until_type("anew").await;
    ahead.fetch_add(31 * DAY, Ordering::SeqCst);
    for (live, frame) in [(&mut opens, &room), (&mut follows, &follow)] {
        live.say(frame.clone()).await;
        let last = live.until_end().await;
        assert_eq!(last.len(), 1, "{frame}: {last:#?}");
        assert_eq!((&last[0]["type"], &last[0]["again"]), (&"bye".into(), &false.into()));
    }
    for path in ["/api/board", "/api/me", "/api/cost"] {
        assert_eq!(one.get(path).await.0, 401, "{path}");
    }
    assert_eq!(one.live(Value::Null).await.next().await["type"], "bye");
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_used_every_day_never_ends() {
    let (clock, ahead) = clock();
    let bot = Setup::new(Cli::StandIn).page().clock(clock).start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    for day in 0..93 {
        let status = ann.get("/api/me").await.0.as_u16();
        assert_eq!(status, if day < 90 { 200 } else { 401 }, "day {day}");
        ahead.fetch_add(DAY, Ordering::SeqCst);
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_goes_on() {
    let bot = start().await;
    let (phone, laptop) = (Browser::sign_in(&bot, "ann").await, Browser::sign_in(&bot, "ann").await);
    let (mut one, mut two) = (phone.live(Value::Null).await, phone.live(Value::Null).await);
    let mut other = laptop.live(Value::Null).await;
    for live in [&mut one, &mut two, &mut other] {
        live.until_type("anew").await;
    }
    two.say(json!({ "type": "open", "room": "web:team", "before": null })).await;
    two.until_type("opened").await;
    let room = bot.room("with-ann");
    room.say("web revoke 1").await;
    room.see("That browser is signed out.").await;
    for live in [&mut one, &mut two] {
        let frames = live.until_end_at_once().await;
        assert_eq!(frames.last().map(|last| &last["type"]), Some(&"bye".into()), "{frames:#?}");
    }
    for path in ["/api/board", "/api/me", "/api/archive", "/api/cost", "/api/file?room=web:team&message=1"] {
        assert_eq!(phone.get(path).await.0, 401, "{path}");
    }
    let logout = Client::new().post(format!("{}/logout", phone.address)).header("origin", &phone.address);
    assert_eq!(logout.bearer_auth(&phone.secret).send().await.expect("an answer").status(), 401);
    // The laptop is still signed in, until it signs out itself.
    other.say(json!({ "type": "open", "room": "web:team", "before": null })).await;
    other.until_type("opened").await;
    let logout = Client::new().post(format!("{}/logout", laptop.address)).header("origin", &laptop.address);
    assert_eq!(logout.bearer_auth(&laptop.secret).send().await.expect("an answer").status(), 204);
    assert_eq!(other.until_end().await.last().map(|last| &last["type"]), Some(&"bye".into()));
    bot.app.shutdown().await;
}

#[cfg(feature = "slack")]
/// With a Slack on which Ann and these people are allowed, and may answer questions.
fn slack_section(slack: &Slack, people: &str) -> String {
    format!(
        "[slack]\nbot_token = \"${{SLACK_BOT_TOKEN}}\"\napp_token = \"${{SLACK_APP_TOKEN}}\"\nchannel_ids = [\"C1\"]\n\
         allowed_users = [{people}]\napprovers = [{people}]\napi_url = \"{}\"\n{PAGE}",
        slack.api_url()
    )
}

#[cfg(feature = "slack")]
async fn link_in_slack(slack: &Slack, channel: &str, user: &str) -> Link {
    slack.say(channel, user, "web");
    Link::in_text(&slack.see(channel, "It works once").await.shown())
}

#[cfg(feature = "slack")]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_taken_off_the_list_stays_connected() {
    let slack = Slack::start().await;
    let program = Program::with_stand_in();
    program.write_config(&slack_section(&slack, "\"U1\", \"U2\""));
    let serving = program.serve();
    slack.connected(1).await;
    let ann = Browser::open(&link_in_slack(&slack, "D1", "U1").await).await;
    let bob = Browser::open(&link_in_slack(&slack, "D2", "U2").await).await;
    let (mut live, mut hers) = (bob.live(Value::Null).await, ann.live(Value::Null).await);
    let own = "web:slack:U2";
    live.say(json!({ "type": "open", "room": own, "before": null })).await;
    live.say(json!({ "type": "say", "ticket": 1, "room": own, "text": "bash touch made.txt" })).await;
    let question = live.until_question(|question| question["outcome"].is_null()).await;
    program.write_config(&slack_section(&slack, "\"U1\""));
    let bye = live.until_end_at_once().await.pop().expect("a last word");
    assert_eq!((&bye["type"], &bye["again"]), (&"bye".into(), &false.into()), "{bye}");
    assert!(bye["why"].as_str().is_some_and(|why| why.contains("on no list")), "{bye}");
    for path in ["/api/board", "/api/me", "/api/story/1", "/api/cost"] {
        assert_eq!(bob.get(path).await.0, 401, "{path}");
    }
    // The answer that comes with the next connection, and the one from the messenger.
    let mut again = bob.live(Value::Null).await;
    let key = &question["choices"][0]["key"];
    again.say(json!({ "type": "choose", "ticket": 2, "room": own, "message": null, "key": key })).await;
    assert_eq!(again.until_end().await.len(), 1, "it is turned away");
    slack.say("D2", "U2", "yes 1");
    // Ann is heard after that.
    slack.say("D1", "U1", "status");
    slack.see("D1", "Open questions**: 1").await;
    assert!(!program.file("made.txt").exists());
    hers.say(json!({ "type": "open", "room": "web:team", "before": null })).await;
    hers.until_type("opened").await;
    assert_eq!(ann.read("/api/board").await["questions"][0]["outcome"], Value::Null);
    assert_eq!(serving.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_pressed_last_counts_after_they_were_taken_off_the_list() {
    let bot = start().await;
    let ann = Browser::sign_in(&bot, "ann").await;
    let mut live = ann.live(Value::Null).await;
    let own = "web:fake:ann";
    live.say(json!({ "type": "say", "ticket": 1, "room": own, "text": "bash touch made.txt" })).await;
    let question = live.until_question(|question| question["outcome"].is_null()).await;
    let settings = &bot.app.services().settings;
    let people = |users: &[&str]| {
        let lists = adapters::AllowedPeople {
            allowed_users: users.iter().map(|user| (*user).to_owned()).collect(),
            ..adapters::AllowedPeople::default()
        };
        let others = MessengerPeople { of_others: true, ..MessengerPeople::default() };
        AccessTable::default().with("fake", lists.into()).with(adapters::web::NAME, others)
    };
    settings.replace(settings.loaded().as_ref().clone(), people(&["bob"]));
    // It was on its way to the bot while the list changed.
    let speaker = WebSpeaker { id: "fake:ann".into(), name: "Ann".into() };
    let key = question["choices"][0]["key"].as_str().expect("a key").to_owned();
    let page = bot.page.as_ref().expect("a page");
    let room = adapters::web::Web::room_of("fake:ann");
    page.choose(&speaker, &room, adapters::MessageId::new(""), key).await.expect("it is taken");
    page.say(&speaker, &room, WebText { text: "yes 1".into(), ..WebText::default() })
        .await
        .expect("it is taken");
    // Bob is heard after that.
    let others = bot.room("b");
    others.say_as("bob", "status").await;
    others.see("Open questions**: 1").await;
    assert!(!bot.file("made.txt").exists());
    bot.app.shutdown().await;
}

/// What an agent on a story finds, one word for each thing that it tries.
struct Found(String);

impl Found {
    #[track_caller]
    fn is(&self, what: &str, expected: &str) {
        let found = self.0.split(", ").find_map(|found| found.strip_prefix(what)?.strip_prefix(' '));
        assert_eq!(found, Some(expected), "{what}: {}", self.0);
    }
}

struct AttackedPage {
    project: AttackedProject,
    _serving: Serving,
    browser: Browser,
}

impl AttackedPage {
    fn served(wall: &str, network: bool) -> (AttackedProject, Serving) {
        let team = format!(
            "gates = [\"true\"]\n[[agent]]\nname = \"coder\"\nstage = \"coder\"\nnetwork = {network}\n\
             [[agent]]\nname = \"qa\"\nstage = \"qa\"\n"
        );
        let project = AttackedProject::with_team(&team, "true");
        project.write("attacker.py", ATTACKER);
        e2e::commit_as_person(&project.0.project(), "attacker.py");
        let pipeline = "[pipeline]\nrooms = [\"console:main\"]\n";
        project.0.write_config(&format!("{pipeline}{PAGE}[wall]\nconfine = \"{wall}\""));
        let serving = project.0.serve();
        (project, serving)
    }

    async fn start(wall: &str, network: bool) -> Self {
        let (project, serving) = Self::served(wall, network);
        let browser = Browser::open(&link_at(&project.0)).await;
        Self { project, _serving: serving, browser }
    }

    /// A coder runs the attacker, to which somebody gave a link and the person's own secret.
    fn attack(&self, escaped: &str, link: &Link) -> Found {
        let state = self.project.0.file(".storkit");
        let console = state.join("run/console.sock").display().to_string();
        let store = files(&state).into_iter().find(|path| path.ends_with("state.db")).expect("a store");
        let port = self.browser.address.rsplit(':').next().expect("a port");
        let (token, secret) = (&link.token, &self.browser.secret);
        let line = format!(
            "do: python3 attacker.py {escaped} page {port} {token} {secret} {console} {}",
            store.display()
        );
        let mut terminal = self.project.start(&line);
        terminal.see("**1 Attack**: merged as");
        let logs = self.project.0.file(".storkit/logs/agents");
        let text: String = files(&logs).iter().filter_map(|log| fs::read_to_string(log).ok()).collect();
        let found = text.split_once("result: ").and_then(|(_, rest)| rest.split_once(" (over)"));
        Found(found.unwrap_or_else(|| panic!("the attacker said nothing: {text}")).0.to_owned())
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.map(|entry| entry.path()).flat_map(below).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_behind_a_wall_uses_the_page() {
    needs!(Wall);
    for wall in walls() {
        // Landlock limits connections by their port only, so storkit starts no agent there without the whole network.
        let networks: &[bool] = if wall == "landlock" { &[true] } else { &[false, true] };
        for &network in networks {
            let page = AttackedPage::start(wall, network).await;
            let link = link_at(&page.project.0);
            let found = page.attack("", &link);
            let reached = |status| if network { status } else { "nobody" };
            found.is("page", reached("200"));
            found.is("board", reached("401"));
            found.is("guesses", reached("403"));
            found.is("link", reached("403"));
            found.is("live", reached("403"));
            found.is("console", "nothing");
            found.is("store", "nothing");
            assert!(!found.0.contains("by proxy 200"), "{}", found.0);
            // What it was given was good.
            assert_eq!(link.login(&link.by_token()).await.0, 200, "{wall}, network {network}");
            assert_eq!(page.browser.get("/api/me").await.0, 200, "{wall}, network {network}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_wall_uses_what_it_found_of_the_page() {
    for escaped in ["", "escaped"] {
        let page = AttackedPage::start("none", true).await;
        let link = link_at(&page.project.0);
        let found = page.attack(escaped, &link);
        for (what, answer) in [("guesses", "403"), ("link", "403"), ("live", "403"), ("console", "nothing")] {
            found.is(what, answer);
        }
        // The port is there, and it is the same user: only hashes are in the store.
        found.is("page", "200");
        found.is("store", "bytes");
        assert_eq!(link.login(&link.by_token()).await.0, 200, "{escaped}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_a_code_or_a_sessions_secret_is_on_the_disk() {
    let program = Program::with_stand_in();
    program.write_config(PAGE);
    let serving = program.serve();
    let (used, waits) = (link_at(&program), link_at(&program));
    let browser = Browser::open(&used).await;
    let mut live = browser.live(Value::Null).await;
    live.until_type("anew").await;
    // Also what the page itself shows.
    let own = browser.read("/api/me").await["rooms"][0]["room"].clone();
    live.say(json!({ "type": "open", "room": own, "before": null })).await;
    live.say(json!({ "type": "say", "ticket": 1, "room": own, "text": "web" })).await;
    let shown = live.see("It works once").await["message"]["html"].as_str().expect("text").to_owned();
    let on_page = shown.split_once("/#l=").and_then(|(_, rest)| rest.get(..64)).expect("a token").to_owned();
    let (code, log) = serving.end();
    assert_eq!(code, Some(0));
    let code_letters = waits.code.replace('-', "");
    let secrets =
        [&used.token, &used.code, &waits.token, &waits.code, &code_letters, &browser.secret, &on_page];
    for path in files(&program.file(".storkit")).into_iter().chain(files(&program.home())) {
        let bytes = fs::read(&path).unwrap_or_default();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    }
    assert!(secrets.iter().all(|secret| !log.contains(secret.as_str())), "{log}");
}

/// The person's browser, in which the page is signed in, also shows what an agent serves on another port.
#[tokio::test(flavor = "multi_thread")]
async fn an_agents_dev_server_acts_as_the_person_in_their_browser() {
    needs!(Browser);
    let program = Program::with_stand_in();
    program.write_config(PAGE);
    let serving = program.serve();
    let (own, found) = (link_at(&program), link_at(&program));
    let folder = Need::Browser.path().expect("it is there");
    let mut node = Command::new("node");
    node.arg(folder.join("test/attack/dev_server.mjs")).arg(format!("{}/#l={}", own.address, own.token));
    let seen = node.arg(&found.token).output().expect("node starts");
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(
        seen.status.success() && text.ends_with("all denied\n"),
        "{text}\n{}",
        String::from_utf8_lossy(&seen.stderr)
    );
    assert_eq!(found.login(&found.by_token()).await.0, 200, "the agent's page used it");
    assert_eq!(serving.end().0, Some(0));
}
