//! What comes along with a text: files and forwarded messages.

use std::sync::{Arc, Mutex};

use adapters::{
    Adapter as _, AdapterError, Addressed, Enclosed, Incoming, PersonAct, Quotation, QuotedAuthor, SentFile,
};
use serde_json::{Value, json};
use services::slack::{BOT, Fault, HookServer, only_its_id};

use super::bench::{Bench, Running, Way, room};

const MAX: u64 = 1024;

async fn open() -> (Bench, Running) {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    (bench, bot)
}

fn text(heard: &Incoming) -> &str {
    match &heard.act {
        PersonAct::Said { text } => text,
        other => panic!("not words but {other:?}"),
    }
}

/// Ann sends this file to the bot; it as the bot heard of it.
async fn sent(bench: &Bench, bot: &mut Running, file: &Value) -> SentFile {
    bench.slack.send_files("D1", "U1", "", std::slice::from_ref(file));
    let mut files = bot.hear().await.enclosed.files;
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

/// Why the bot does not get a file, as people and agent are told.
#[track_caller]
fn refused(fetched: Result<Vec<u8>, AdapterError>) -> String {
    match fetched {
        Err(AdapterError::Rejected(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// An address that is not Slack's, and the requests that came there.
async fn another_host() -> (HookServer, Arc<Mutex<Vec<http::HeaderMap>>>) {
    let asked: Arc<Mutex<Vec<http::HeaderMap>>> = Arc::default();
    let log = asked.clone();
    let server = HookServer::start(Arc::new(move |request| {
        log.lock().expect("no panic").push(request.headers().clone());
        Box::pin(async { http::Response::new(bytes::Bytes::from_static(b"from elsewhere")) })
    }));
    (server.await, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_with_its_words_or_alone_and_its_content_is_there() {
    let (bench, mut bot) = open().await;
    let image = bench.slack.file("../../a door.png", "image/png", b"\x89PNG an image");
    bench.slack.send_files("C1", "U1", &format!("<@{BOT}> what is this?"), std::slice::from_ref(&image));
    let heard = bot.hear().await;
    assert_eq!((text(&heard), heard.addressed), ("what is this?", Some(Addressed::Name)));
    let [file] = &heard.enclosed.files[..] else { panic!("{:?}", heard.enclosed) };
    assert_eq!(
        (file.name.as_str(), file.size),
        ("../../a door.png", Some(13)),
        "the bot makes the name safe"
    );
    assert_eq!(bot.adapter.fetch_file(file, MAX).await.expect("there"), b"\x89PNG an image");

    let voice = bench.slack.file("audio_message.m4a", "audio/mp4", b"spoken");
    bench.slack.send_files("D1", "U1", "", &[voice, image]);
    let heard = bot.hear().await;
    assert_eq!((text(&heard), heard.addressed), ("", Some(Addressed::Direct)));
    let names: Vec<_> = heard.enclosed.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["audio_message.m4a", "../../a door.png"]);
    assert_eq!(bot.adapter.fetch_file(&heard.enclosed.files[0], MAX).await.expect("there"), b"spoken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_slack_describes_only_when_asked_or_has_no_more_is_asked_for_and_told() {
    let (bench, mut bot) = open().await;
    let file = bench.slack.file("plan.pdf", "application/pdf", b"%PDF");
    let foreign = sent(&bench, &mut bot, &only_its_id(&file)).await;
    assert_eq!(bot.adapter.fetch_file(&foreign, MAX).await.expect("there"), b"%PDF");
    bench.slack.fault("file", Fault::Status(503));
    assert_eq!(bot.adapter.fetch_file(&foreign, MAX).await.expect("at the second attempt"), b"%PDF");
    let known = sent(&bench, &mut bot, &file).await;
    bench.slack.delete_file(&file);
    for gone in [&foreign, &known] {
        assert!(refused(bot.adapter.fetch_file(gone, MAX).await).contains("not in Slack any more"));
    }
    for (state, why) in [
        (json!({ "id": "F8", "mode": "tombstone" }), "not in Slack any more"),
        (json!({ "id": "F8", "mode": "hidden_by_limit" }), "Slack hides it"),
        (
            json!({ "id": "F8", "mode": "external", "url_private": "https://drive.example/x" }),
            "another service",
        ),
        (json!({ "id": "F8", "file_access": "access_denied" }), "does not let me see it"),
    ] {
        let file = sent(&bench, &mut bot, &state).await;
        let told = refused(bot.adapter.fetch_file(&file, MAX).await);
        assert!(told.contains(why), "{told}");
    }
    let made_up = SentFile { name: String::new(), size: None, reference: "../../etc/passwd".into() };
    refused(bot.adapter.fetch_file(&made_up, MAX).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_end_is_not_read_to_its_end() {
    let (bench, mut bot) = open().await;
    let mut file = bench.slack.file("big.log", "text/plain", &[b'x'; 100_000]);
    file["size"] = 3.into();
    let file = sent(&bench, &mut bot, &file).await;
    assert!(refused(bot.adapter.fetch_file(&file, MAX).await).contains("larger than"));
    assert_eq!(bot.adapter.fetch_file(&file, 100_000).await.expect("it fits").len(), 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_no_other_host_neither_by_a_redirect_nor_by_an_event() {
    let (bench, mut bot) = open().await;
    let (host, asked) = another_host().await;
    let moved = bench.slack.file("a.txt", "text/plain", b"text");
    bench.slack.move_file(&moved, &format!("{}/a.txt", host.url));
    let file = sent(&bench, &mut bot, &moved).await;
    assert!(refused(bot.adapter.fetch_file(&file, MAX).await).contains("not Slack's"));
    for url in [
        format!("{}/a.txt", host.url),
        host.url.replace("http://", "http://files.slack.com@"),
        format!("{}/?files.slack.com", host.url.replace("127.0.0.1", "localhost")),
        "http://files.slack.com/a".into(),
        "https://files.slack.com.evil.example/a".into(),
        "file:///etc/passwd".into(),
    ] {
        let named = json!({ "id": "F9", "name": "a.txt", "mode": "hosted", "url_private_download": url });
        let file = sent(&bench, &mut bot, &named).await;
        assert!(refused(bot.adapter.fetch_file(&file, MAX).await).contains("not Slack's"), "{url}");
    }
    assert!(asked.lock().expect("no panic").is_empty(), "the other host was asked");
    let there = bench.slack.file("b.txt", "text/plain", b"here");
    let within = bench.slack.file("c.txt", "text/plain", b"");
    bench.slack.move_file(&within, there["url_private"].as_str().expect("an address"));
    let file = sent(&bench, &mut bot, &within).await;
    assert_eq!(bot.adapter.fetch_file(&file, MAX).await.expect("sent on within Slack"), b"here");
    bench.slack.move_file(&within, within["url_private"].as_str().expect("an address"));
    assert!(refused(bot.adapter.fetch_file(&file, MAX).await).contains("in a circle"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slacks_login_page_is_no_file_and_a_page_that_somebody_sent_is_one() {
    let (bench, mut bot) = open().await;
    let page = bench.slack.file("page.html", "text/html", b"<!DOCTYPE html><p>theirs");
    let image = bench.slack.file("door.png", "image/png", b"\x89PNG");
    let (page_file, image_file) = (sent(&bench, &mut bot, &page).await, sent(&bench, &mut bot, &image).await);
    let fetched = bot.adapter.fetch_file(&page_file, MAX).await.expect("there");
    assert_eq!(fetched, b"<!DOCTYPE html><p>theirs");
    bench.slack.move_file(&image, "/login");
    assert!(refused(bot.adapter.fetch_file(&image_file, MAX).await).contains("does not let me see it"));

    bench.slack.remove_scope("files:read");
    let unknown = sent(&bench, &mut bot, &only_its_id(&page)).await;
    for file in [&page_file, &image_file, &unknown] {
        let why = refused(bot.adapter.fetch_file(file, MAX).await);
        assert!(why.contains("`files:read`") && why.contains("Reinstall"), "{why}");
    }
    drop(bot);
    bench.make().prepare().await.expect("an app of an older manifest starts");
    let bot = bench.open().await;
    bot.healthy("noted", |health| health.note.as_deref().is_some_and(|note| note.contains("`files:read`")))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_message_is_quoted_with_its_author_and_its_files_and_addresses_nobody() {
    let (bench, mut bot) = open().await;
    let person = |id: &str, name: &str| QuotedAuthor::Person { id: id.into(), name: name.into() };
    let quote = |author, text: &str| vec![Quotation { author, text: text.into() }];
    let theirs = json!({ "author_id": "U2", "author_name": "forged", "text": "ask <@U1> if 1 &lt; 2" });
    bench.slack.forward("D1", "U1", "really?", theirs.clone());
    let heard = bot.hear().await;
    assert_eq!((text(&heard), heard.addressed), ("really?", Some(Addressed::Direct)));
    assert_eq!(heard.enclosed.quotes, quote(person("U2", "Bob"), "ask @Ann if 1 < 2"));

    let command = json!({ "author_id": "U2", "text": format!("<@{BOT}> !status") });
    bench.slack.forward("C1", "U1", "", command.clone());
    let heard = bot.hear().await;
    assert_eq!((text(&heard), heard.addressed), ("", None), "a mention in a quotation does not count");
    bench.slack.forward("D1", "U1", "", command);
    let heard = bot.hear().await;
    assert_eq!((text(&heard), heard.enclosed.quotes.len()), ("", 1), "quoted words are no command");

    bench.slack.forward("D1", "U1", "", json!({ "author_id": BOT, "text": "I am done." }));
    assert_eq!(bot.hear().await.enclosed.quotes, quote(QuotedAuthor::Bot, "I am done."));
    bench.slack.forward("D1", "U1", "", json!({ "author_name": "Ann", "text": "nobody vouches" }));
    assert_eq!(bot.hear().await.enclosed.quotes, quote(QuotedAuthor::Unknown, "nobody vouches"));
    bench.slack.forward(
        "D1",
        "U1",
        "",
        json!({ "author_id": "U404", "author_name": "Elsewhere", "text": "x" }),
    );
    assert_eq!(bot.hear().await.enclosed.quotes, quote(person("U404", "Elsewhere"), "x"));

    let file = bench.slack.file("log.txt", "text/plain", b"a log");
    bench.slack.forward("D1", "U1", "", json!({ "author_id": "U2", "text": "", "files": [file] }));
    let heard = bot.hear().await;
    assert_eq!((heard.enclosed.quotes.len(), heard.enclosed.files.len()), (0, 1), "{:?}", heard.enclosed);
    assert_eq!(bot.adapter.fetch_file(&heard.enclosed.files[0], MAX).await.expect("there"), b"a log");

    bench.slack.forward("D1", "U1", "", json!({ "author_id": "U2", "text": "x".repeat(30_000) }));
    let cut = &bot.hear().await.enclosed.quotes[0].text;
    assert!(cut.ends_with(" […]") && cut.len() < 10_000, "{} bytes", cut.len());
    let preview =
        json!({ "is_share": false, "is_msg_unfurl": false, "title": "A page", "text": "its beginning" });
    bench.slack.forward("D1", "U1", "see https://example.org", preview);
    assert_eq!(bot.hear().await.enclosed, Enclosed::default());
}

/// What was said in a thread, as the agent reads it.
async fn thread(bot: &Running, root: &str, before: &str, max: usize) -> Result<Vec<String>, AdapterError> {
    let before = adapters::MessageId::new(before);
    let said = bot.adapter.read_thread(&room(&format!("C1/{root}")), &before, max).await?;
    let line = |said: Quotation| match said.author {
        QuotedAuthor::Bot => format!("bot: {}", said.text),
        QuotedAuthor::Person { id, name } => format!("{name} ({id}): {}", said.text),
        QuotedAuthor::Unknown => format!("?: {}", said.text),
    };
    Ok(said.into_iter().map(line).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_is_read_up_to_the_prompt_with_the_generated_manifest() {
    let (bench, mut bot) = open().await;
    bench.slack.install(&adapters::slack::manifest(&adapters::Identity::default(), None));
    let root = bench.slack.say("C1", "U2", "the door is stuck, <@U3> &amp; all");
    bench.slack.say_in_thread("C1", "U3", &root, "since when?");
    let place = room(&format!("C1/{root}"));
    bot.adapter.send(&place, &adapters::Outgoing::text("I **looked**.")).await.expect("sent");
    let prompt = bench.slack.say_in_thread("C1", "U1", &root, &format!("<@{BOT}> and?"));
    bench.slack.say_in_thread("C1", "U1", &root, "too late");
    while bot.hear().await.id.as_str() != prompt {}
    let first = "Bob (U2): the door is stuck, @Cleo & all".to_owned();
    let (second, third) = ("Cleo (U3): since when?".to_owned(), "bot: I **looked**.".to_owned());
    let whole = [first.clone(), second.clone(), third.clone()];
    assert_eq!(thread(&bot, &root, &prompt, 20).await.expect("read"), whole);
    assert_eq!(thread(&bot, &root, &prompt, 2).await.expect("read"), [first, third]);
    assert_eq!(bench.slack.calls("conversations.replies").len(), 2);
    bench.slack.limit_replies(2);
    assert_eq!(thread(&bot, &root, &prompt, 20).await.expect("read"), whole, "page by page");

    let calls = bench.slack.calls("conversations.replies").len();
    assert!(thread(&bot, &root, &root, 20).await.expect("nothing was said before").is_empty());
    let whole_room = bot.adapter.read_thread(&room("C1"), &adapters::MessageId::new(prompt), 20).await;
    assert_eq!(whole_room.expect("no thread"), []);
    assert_eq!(bench.slack.calls("conversations.replies").len(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threads_forwarded_words_are_their_authors() {
    let (bench, bot) = open().await;
    let root = bench.slack.say("C1", "U1", "root");
    let words = json!({ "author_id": "U404", "author_name": "Eve", "text": "run this" });
    bench.slack.forward_in_thread("C1", "U1", &root, words);
    let prompt = bench.slack.say_in_thread("C1", "U1", &root, "prompt");
    let read = thread(&bot, &root, &prompt, 20).await.expect("read");
    assert_eq!(read, ["Ann (U1): root", "Ann (U1): look at this", "Eve (U404): [Forwarded: run this]"]);
    let newest = thread(&bot, &root, &prompt, 2).await.expect("read");
    assert_eq!(newest, ["Ann (U1): root", "Eve (U404): [Forwarded: run this]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_threads_is_kept_to_and_a_long_thread_costs_few_calls() {
    let (bench, bot) = open().await;
    let root = bench.slack.say("C1", "U1", "root");
    for n in 0..30 {
        bench.slack.say_in_thread("C1", "U1", &root, &n.to_string());
    }
    let prompt = bench.slack.say_in_thread("C1", "U1", &root, "prompt");
    bench.slack.limit_replies(5);
    let read = thread(&bot, &root, &prompt, 20).await.expect("read");
    assert_eq!((read[0].as_str(), read.len()), ("Ann (U1): root", 20));
    assert_eq!(bench.slack.calls("conversations.replies").len(), 4);
    let replies = || bench.slack.calls("conversations.replies").len();
    bench.slack.fault("conversations.replies", Fault::Limited(60));
    for _ in 0..2 {
        let limited = thread(&bot, &root, &prompt, 20).await;
        assert!(matches!(limited, Err(AdapterError::RateLimited { .. })), "{limited:?}");
    }
    assert_eq!(replies(), 5, "Slack is not asked before the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_cannot_be_read_is_an_error_and_its_files_and_forwards_are_named() {
    let (bench, bot) = open().await;
    let file = bench.slack.file("door.png", "image/png", b"x");
    let root = bench.slack.send_files("C1", "U2", "look", &[file]);
    let share = json!({ "attachments": [{ "is_share": true, "author_id": "U3", "text": "it squeaks" }] });
    bench.slack.say_in_thread("C1", "U2", &root, "and this");
    bench.slack.add_fields("C1", "and this", share);
    let read = thread(&bot, &root, "9999999999.000000", 20).await.expect("read");
    assert_eq!(
        read,
        [
            "Bob (U2): look\n[With a file that is not passed on: door.png]",
            "Bob (U2): and this\n[Forwarded: Cleo: it squeaks]"
        ]
    );
    for fault in [Fault::Status(500), Fault::Garbage, Fault::Code("thread_not_found".into())] {
        bench.slack.fault("conversations.replies", fault);
        thread(&bot, &root, "9999999999.000000", 20).await.expect_err("it fails");
    }
    bench.slack.kick_bot("C1");
    thread(&bot, &root, "9999999999.000000", 20).await.expect_err("it is no member");
}
