//! WhatsApp through the whole program: `storkit serve` with its public listener, and the stand-in Graph API with its phones.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use e2e::{Program, Serving};
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel};
use services::whatsapp::{APP_SECRET, Call, Graph, NUMBER_ID, Person, Shown, TOKEN, VERIFY_TOKEN};

use crate::plan;

/// A storkit that serves, and the people who write to it.
pub struct World {
    pub program: Program,
    serving: Serving,
    pub graph: Graph,
    /// Known by user id and number, and may approve.
    pub ann: Person,
    /// Known by user id alone, and may not.
    bob: Person,
    /// The public listener.
    public: String,
}

impl World {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines in `[whatsapp]`.
    async fn with(lines: &str) -> Self {
        Self::logging("debug", lines).await
    }

    /// With this much in the log.
    async fn logging(level: &str, lines: &str) -> Self {
        Self::of(Program::with_stand_in(), level, lines).await
    }

    async fn of(program: Program, level: &str, lines: &str) -> Self {
        Self::with_keys(program, level, ("", lines)).await
    }

    /// With these keys of bot.toml, and more lines in `[whatsapp]`.
    pub async fn with_keys(mut program: Program, level: &str, (keys, lines): (&str, &str)) -> Self {
        let graph = Graph::start().await;
        let ann = graph.person("Ann", Some("491701234567"), Some("DE.1001"));
        let bob = graph.person("Bob", None, Some("DE.1002"));
        let public = free_address();
        graph.call_back(&format!("http://{public}/webhook/whatsapp"));
        program.set_env("RUST_LOG", level);
        program.write_config(&format!("{keys}\n{}", settings(&graph, &public, TOKEN, lines)));
        let serving = served(&program);
        graph.register_rightly().await;
        Self { program, serving, graph, ann, bob, public }
    }

    /// Ends it in good order; its log.
    pub fn end(self) -> String {
        let (code, log) = self.serving.end();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// SIGKILL, and another start on the same project.
    fn restart(self) -> Self {
        let Self { program, serving, graph, ann, bob, public } = self;
        serving.kill_9();
        let serving = served(&program);
        Self { program, serving, graph, ann, bob, public }
    }
}

/// Blocking, beside the tasks that serve the stand-in.
fn served(program: &Program) -> Serving {
    tokio::task::block_in_place(|| {
        let mut serving = program.serve();
        serving.logs("WhatsApp's number answers");
        serving
    })
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

fn settings(graph: &Graph, public: &str, token: &str, lines: &str) -> String {
    format!(
        "[http]\nwebhook_listen = \"{public}\"\n[whatsapp]\nphone_number_id = \"{NUMBER_ID}\"\naccess_token = \"{token}\"\n\
         app_secret = \"{APP_SECRET}\"\nverify_token = \"{VERIFY_TOKEN}\"\nallowed_users = [\"+49 170 1234567\", \"DE.1002\"]\n\
         approvers = [\"+49 170 1234567\"]\noperators = []\napi_url = \"{}\"\n{lines}\n",
        graph.url()
    )
}

fn kinds(graph: &Graph) -> Vec<String> {
    let posts = graph.calls().into_iter().filter(|call| call.path.ends_with("/messages"));
    let kind = |call: Call| match (&call.body["status"], &call.body["typing_indicator"]) {
        (status, typing) if status == "read" && typing.is_object() => "typing".to_owned(),
        (status, _) if status == "read" => "read".to_owned(),
        _ => "message".to_owned(),
    };
    posts.map(kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_is_a_mark_while_it_works_and_then_one_message() {
    let world = World::new().await;
    let id = world.ann.say("echo good morning").await;
    let answer = world.ann.see("echo: good morning").await;
    assert_eq!(answer.reply_to, Some(id.clone()));
    world
        .graph
        .called("the mark of the end", |call| {
            call.body["status"] == "read" && call.body["typing_indicator"].is_null()
        })
        .await;
    let kinds = kinds(&world.graph);
    assert_eq!(kinds[0], "typing", "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "message").count(), 1, "{kinds:?}");
    world.ann.say("/whoami").await;
    world.ann.see("approver). This room has the id `whatsapp:+49 170 1234567`").await;
    world.bob.say("whoami").await;
    world.bob.see("You are Bob (`DE.1002`, role: user).").await;
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn questions_are_answered_by_button_and_by_text_and_plans_by_choice() {
    let world = World::new().await;
    let (ann, made) = (&world.ann, |name: &str| world.program.file(name).exists());
    ann.say("bash touch button.txt").await;
    let question = ann.see("may I use *Bash*?").await;
    assert_eq!(question.titles()[..2], ["Allow", "Deny"]);
    assert!(!made("button.txt"), "nothing runs before the answer");
    ann.press(&question.id, "Allow").await;
    ann.see("Ann allowed").await;
    ann.see("no output").await;
    assert!(made("button.txt"));

    ann.say("bash touch text.txt").await;
    ann.see("Question 2").await;
    ann.say("no, use mv").await;
    ann.see("Ann denied this: use mv").await;
    assert!(!made("text.txt"));

    ann.say("plan").await;
    let plan = ann.see("is this plan right?").await;
    ann.press(&plan.id, "Approve plan").await;
    ann.see("Ann approved the plan").await;

    ann.say("ask").await;
    let asked = ann.see("Which colour?").await;
    ann.press(&asked.id, "Blue").await;
    ann.see("Ann answered `Blue`").await;
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_old_button_and_another_persons_press_are_answered_and_change_nothing() {
    let world = World::new().await;
    let (ann, bob) = (&world.ann, &world.bob);
    ann.say("bash touch a.txt").await;
    let question = ann.see("Question 1").await;
    let (key, title) = question.choices[0].clone();
    bob.press_key(&question.id, &key, &title).await;
    bob.see("Bob").await;
    assert!(
        !world.program.file("a.txt").exists() && !ann.shown().iter().any(|shown| shown.text.contains("Bob"))
    );
    ann.press(&question.id, "Deny").await;
    ann.see("Ann denied").await;
    let seen = ann.shown().len();
    ann.press(&question.id, "Allow").await;
    ann.see_after(seen, "Question 1").await;
    assert!(!world.program.file("a.txt").exists(), "a late yes is no yes");
    ann.say("htop").await;
    let snapshot = ann.see("load").await;
    let seen = ann.shown().len();
    ann.press(&snapshot.id, "Stop").await;
    ann.see_after(seen, "single snapshot").await;
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn htop_is_one_snapshot_with_its_buttons_and_no_timer() {
    let world = World::new().await;
    let ann = &world.ann;
    ann.say("htop 5m").await;
    let first = ann.see("load").await;
    assert_eq!(
        (first.kind.as_str(), first.titles()),
        ("interactive", vec!["Refresh".to_owned(), "Stop".to_owned()])
    );
    ann.press(&first.id, "Refresh").await;
    let second = ann.see_after(1, "load").await;
    assert_ne!(first.id, second.id);
    // If a timer ran, `htop stop` would have something to end.
    ann.say("htop stop").await;
    ann.see("single snapshot").await;
    assert_eq!(ann.shown().len(), 3, "{:#?}", ann.shown());
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_old_or_repeated_is_not_run_also_after_a_kill() {
    let world = World::new().await;
    let id = world.ann.say("bash true").await;
    let question = world.ann.see("Question 1").await;
    let press = world.ann.press(&question.id, "Allow").await;
    world.ann.see("no output").await;
    world.ann.redeliver(&id).await;
    world.ann.redeliver(&press).await;
    world.ann.say("echo marker").await;
    world.ann.see("echo: marker").await;
    assert!(!world.ann.shown().iter().any(|shown| shown.text.contains("Question 2")));
    let world = world.restart();
    world.ann.redeliver(&id).await;
    world.ann.said("!new story from before", Duration::from_secs(2 * 3600)).await;
    world.ann.see("is 2h old and was not run").await;
    world.ann.say("echo once more").await;
    world.ann.see("echo: once more").await;
    assert!(!world.ann.shown().iter().any(|shown| shown.text.contains("Question 2")));
    assert!(
        !world.program.file(".storkit/work/1_backlog").read_dir().is_ok_and(|mut it| it.next().is_some())
    );
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_messages_in_one_notification_are_each_answered() {
    let world = World::new().await;
    world.ann.say_at_once(&["!version", "echo the second", "!whoami"]).await;
    world.ann.see("storkit").await;
    world.ann.see("echo: the second").await;
    world.ann.see("You are Ann").await;
    world.ann.edit("wamid.x", "!new story by edit").await;
    world.ann.react(&world.ann.shown()[0].id, "👍").await;
    let seen = world.ann.shown().len();
    world.ann.say("echo marker").await;
    world.ann.see("echo: marker").await;
    assert_eq!(world.ann.shown().len(), seen + 1, "edits and reactions run nothing");
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn status_tells_of_strangers_held_notices_and_failures() {
    let mut world = World::with("[pipeline]\nrooms = [\"whatsapp:DE.1002\"]").await;
    let eve = world.graph.person("Eve", Some("4915555555"), Some("DE.666"));
    eve.say("!status").await;
    let lost = world.ann.say("echo hello").await;
    let answer = world.ann.see("echo: hello").await;
    assert_eq!(answer.reply_to, Some(lost));
    world.graph.fail_later(&answer.id, "DE.1001", 131_053).await;
    // Bob follows the pipeline and has not written: what happens to stories waits for him.
    assert!(world.bob.shown().is_empty());
    tokio::task::block_in_place(|| {
        let mut terminal = world.program.terminal();
        terminal.say("new story A first one");
        terminal.see("**A first one** is in the backlog");
        terminal.say("move 1 current");
        world.serving.logs("until they write again");
        world.serving.logs("Not delivered to");
        terminal.say("status");
        let status = terminal.see("**Messengers**");
        for part in ["DE.666 (Eve)", "Not delivered to +49 170 1234567: (131053)", "until they write again"] {
            assert!(status.contains(part), "{part} is missing:\n{status}");
        }
    });
    let health = reqwest::get(format!("http://127.0.0.1:{}/health", world.serving.port)).await;
    let health = health.expect("an answer").text().await.expect("its text");
    assert!(health.contains("Not delivered to +49 170 1234567: (131053)"), "{health}");
    assert!(eve.shown().is_empty(), "a stranger is not answered");
    world.bob.say("hello").await;
    world.bob.see("A first one").await;
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_public_listener_serves_the_webhook_and_nothing_else() {
    let world = World::new().await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let ask = async |method: &str, address: &str, path: &str| {
        let request = http.request(method.parse().expect("a method"), format!("http://{address}{path}"));
        let request = request
            .header("Host", "localhost")
            .header("X-Forwarded-For", "127.0.0.1")
            .header("X-Forwarded-Host", "localhost");
        request.send().await.expect("it answers").status().as_u16()
    };
    let local = format!("127.0.0.1:{}", world.serving.port);
    for (path, status) in [("/health", 200), ("/metrics", 401), ("/nothing", 404)] {
        assert_eq!(ask("GET", &local, path).await, status, "{path} of the other listener");
    }
    for path in [
        "/",
        "/health",
        "/metrics",
        "/mcp",
        "/ws",
        "/webhook",
        "/webhook/",
        "/webhook/slack",
        "/webhook/whatsapp/",
        "/WEBHOOK/whatsapp",
        "/webhook//whatsapp",
        "/webhook/whatsapp/../../mcp",
        "/%77ebhook/whatsapp",
        "/slack/events",
        "/.storkit/bot.toml",
        "/favicon.ico",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            assert_eq!(ask(method, &world.public, path).await, 404, "{method} {path}");
        }
    }
    assert_eq!(ask("GET", &world.public, "/webhook/whatsapp").await, 403);
    assert_eq!(
        ask("POST", &world.public, "/webhook/whatsapp").await,
        401,
        "what a proxy says of the sender is not believed"
    );
    assert_eq!(ask("DELETE", &world.public, "/webhook/whatsapp").await, 405);
    let challenge =
        format!("/webhook/whatsapp?hub.mode=subscribe&hub.challenge=7&hub.verify_token={VERIFY_TOKEN}");
    assert_eq!(ask("GET", &world.public, &challenge).await, 200);
    assert_ne!(ask("GET", &local, &challenge).await, 200, "the webhook is on its own listener only");
    // By its announced length, before any of it is read.
    let announced = format!(
        "POST /webhook/whatsapp HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        3 * 1024 * 1024 + 1
    );
    let answer = tokio::task::block_in_place(|| {
        let mut stream = TcpStream::connect(&world.public).expect("it listens");
        stream.write_all(announced.as_bytes()).expect("it reads");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("it answers");
        line
    });
    assert_eq!(answer.trim(), "HTTP/1.1 413 Payload Too Large");
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_menu_is_the_registry() {
    let world = World::new().await;
    let menu: Vec<_> = world.graph.menu().into_iter().map(|(name, _)| name).collect();
    let registry = bot::commands::all();
    let names: Vec<_> = registry.specs().map(|spec| spec.name.to_owned()).take(30).collect();
    assert_eq!(menu, names);
    for name in ["/help", "/status", "/htop", "/git", "/cost", "/rules", "/queue", "/version"] {
        let seen = world.ann.shown().len();
        world.ann.say(name).await;
        let answer = world.ann.see_after(seen, "").await;
        assert!(!answer.text.contains("There is no command"), "{name}: {}", answer.text);
    }
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_settings_end_the_start_with_one_sentence() {
    let graph = Graph::start().await;
    let program = Program::with_stand_in();
    let refused = |toml: &str| {
        program.write_config(toml);
        let output = tokio::task::block_in_place(|| program.run(&["serve", "--port", "0"], ""));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains(APP_SECRET), "{said}");
        said
    };
    let public = free_address();
    let dead = refused(&settings(&graph, &public, "EAAJm4rked-5ecretOther", ""));
    assert!(dead.contains("`whatsapp.access_token` in bot.toml: Meta refuses it"), "{dead}");
    let whole = settings(&graph, &public, TOKEN, "");
    let unsigned = refused(&whole.replace(APP_SECRET, ""));
    assert!(unsigned.contains("whatsapp.app_secret") && unsigned.contains("it is missing"), "{unsigned}");
    let closed = refused(&whole.replace(&public, ""));
    assert!(closed.contains("http.webhook_listen"), "{closed}");
    let nobody = refused(&whole.replace("\"DE.1002\"", "\"bob\""));
    assert!(nobody.contains("whatsapp.allowed_users") && nobody.contains("bob"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_people_send_reaches_the_agent_or_is_named_and_a_lost_file_is_no_prompt() {
    needs!(Claude);
    let script = ModelScript::new().on("what is this").says("A door.").on("really").says("So it seems.");
    let script = script.on("gate is broken").says("I see.").on("again").says("Once more.");
    let model = ScriptedModel::start(script).expect("a port");
    let world = World::of(Program::with_real_cli(&model), "debug", "").await;
    let prompts = || {
        let mut requests = model.requests();
        requests.retain(|seen| !seen.is_side_request());
        requests
    };
    let last_prompt = || prompts().pop().expect("the model was asked");
    let ann = &world.ann;
    ann.send_image(crate::enclosed::PNG, "what is this?").await;
    let answer = ann.see("A door.").await;
    assert_eq!(last_prompt().images, ["image/png"]);
    ann.reply(&answer.id, "really?").await;
    ann.see("So it seems.").await;
    let prompt = last_prompt().conversation.prompt;
    assert!(prompt.contains("this one of yours") && prompt.contains("\n> A door."), "{prompt}");
    ann.forward("the gate is broken").await;
    ann.see("I see.").await;
    let prompt = last_prompt().conversation.prompt;
    assert!(prompt.contains("Forwarded") && prompt.contains("\n> the gate is broken"), "{prompt}");

    let asked = prompts().len();
    ann.send_image(crate::enclosed::PNG, "/whoami").await;
    ann.see("I did not pass on `image").await;
    ann.send_document("film.mp4", b"short", Some(40 << 20)).await;
    ann.see("I did not get `film.mp4`: it is larger than 32 MB.").await;
    let gone = serde_json::json!({ "id": "999", "mime_type": "image/jpeg", "caption": "what is this?" });
    ann.send(serde_json::json!({ "type": "image", "image": gone })).await;
    ann.see("I did not get `image.jpg`").await;
    assert_eq!(prompts().len(), asked, "a lost file is no paid prompt");
    ann.say("again").await;
    ann.see("Once more.").await;
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wish_in_plain_words_becomes_two_merged_stories() {
    needs!(Claude);
    let model = ScriptedModel::start(plan::house()).expect("a port");
    let program = Program::with_real_cli(&model);
    program.write_settings(plan::TEAM);
    let world = World::of(program, "debug", "[pipeline]\nrooms = [\"whatsapp:+49 170 1234567\"]").await;
    let (ann, bob) = (&world.ann, &world.bob);
    ann.say(plan::WISH).await;
    let list = ann.see("Roof").await;
    ann.reply(&list.id, "yes, but without the roof").await;
    let list = ann.see("*Question 2*").await;
    assert!(!list.text.contains("Roof"), "{list:?}");
    ann.press(&list.id, "Create all").await;
    ann.see("Number 1 is story 2 (starts after story 1).").await;
    bob.say("delete the door").await;
    bob.see("I was told: Only approvers can have this done").await;

    ann.say("start them").await;
    let question = ann.see("may I start").await;
    let allowed = ann.press(&question.id, "Allow").await;
    ann.see("works on story 1 now").await;
    world.graph.marked_read(&allowed).await;
    for (number, title) in [(4, "Door"), (5, "Door bell")] {
        let question = ann.see(&format!("*Question {number}*")).await;
        // It is the coder's, so it outlives what is stopped in this room.
        ann.say("stop").await;
        ann.see("Nothing runs here").await;
        ann.press(&question.id, "Allow").await;
        let story = format!("{} {title}", number - 3);
        ann.until("its merge", |shown| {
            let is_told = |it: &&Shown| it.text.contains(&story) && it.text.contains("merged as");
            shown.iter().find(is_told).cloned()
        })
        .await;
    }
    assert!(world.program.file("door.txt").exists() && world.program.file("bell.txt").exists());
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_secret_is_logged_even_where_everything_is() {
    let mut world = World::logging("trace", "").await;
    assert_eq!(world.graph.register("wrong").await, Err(403));
    for body in [&b"{"[..], b"null", b"{\"entry\":[{\"changes\":7}]}"] {
        assert_eq!(world.graph.post(body, None).await, 401);
        assert_eq!(world.graph.post(body, Some(&Graph::signature(body))).await, 200);
    }
    world.ann.send_image(b"an image", "echo look").await;
    world.ann.see("echo: look").await;
    world.graph.fail_next(131_000, 500);
    world.ann.say("echo again").await;
    world.ann.see("echo: again").await;
    world.graph.kill_token(true);
    world.ann.say("echo into the void").await;
    let log = tokio::task::block_in_place(|| world.serving.logs("Meta refuses the access token"));
    assert!(log.contains("TRACE"), "everything is logged");
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_picture_whose_caption_is_a_new_story_lies_beside_it() {
    let world = World::new().await;
    let ann = &world.ann;
    ann.send_image(crate::enclosed::PNG, "new story Door squeaks\nSee the picture.\n- [ ] It is silent")
        .await;
    let told = ann.see("is in the backlog").await;
    assert!(told.text.contains("beside it now") && told.text.contains("image."), "{}", told.text);
    let folder = world.program.file(".storkit/work/files/1");
    let mut files = std::fs::read_dir(folder).expect("its files").flatten();
    let picture = files.next().expect("the picture").path();
    assert_eq!(std::fs::read(&picture).expect("the picture"), crate::enclosed::PNG);
    let text = std::fs::read_to_string(world.program.file(".storkit/work/1_backlog/1_story_door_squeaks.md"))
        .expect("the story");
    assert!(
        text.contains("See the picture.\n- [ ] It is silent\n") && text.contains("](../files/1/image."),
        "{text}"
    );
    ann.send_document("film.mp4", b"short", Some(40 << 20)).await;
    ann.see("I did not get `film.mp4`").await;
    world.end();
}
