//! Matrix: files that people send, messages that they quote, and what was said in a thread.

use adapters::{
    AdapterError, Addressed, MessageId, Outgoing, Quotation, QuotedAuthor, SentFile,
    testing::conformance::{AdapterSession, MessengerFixture as _},
};
use needs::needs;
use serde_json::json;
use services::matrix::{Fault, PersonFile};

use super::matrix::Place;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n a red door";
const MEGABYTE: u64 = 1 << 20;

async fn refused(bot: &AdapterSession, file: &SentFile, max: u64) -> String {
    match bot.adapter.fetch_file(file, max).await {
        Err(AdapterError::Rejected(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// The one file of what is heard next, and the text.
async fn hear_file(bot: &mut AdapterSession) -> (SentFile, String) {
    let (heard, text) = bot.hear_text().await;
    let [file] = &heard.enclosed.files[..] else { panic!("not one file: {heard:?}") };
    (file.clone(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_heard_with_its_caption_and_its_content_comes_decrypted_when_it_is_wanted() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let (ann, room) = (&place.ann, place.room.as_str());
    let image = PersonFile { content: PNG, caption: Some("!what is this?"), ..PersonFile::default() };
    ann.send_file(room, "m.image", "door.png", &image).await;
    let (file, text) = hear_file(&mut bot).await;
    assert_eq!(
        (text.as_str(), file.name.as_str(), file.size),
        ("what is this?", "door.png", Some(PNG.len() as u64))
    );
    let trouble = "/media/download";
    place.proxy.next(trouble, Fault::Broken(502));
    let away = bot.adapter.fetch_file(&file, MEGABYTE).await;
    assert!(matches!(away, Err(AdapterError::Unreachable(_))), "{away:?}");
    assert_eq!(bot.adapter.fetch_file(&file, MEGABYTE).await.expect("fetched"), PNG);

    for (kind, name) in [("m.audio", "Voice message.ogg"), ("m.video", "film.mp4"), ("m.file", "plan.pdf")] {
        ann.send_file(room, kind, name, &PersonFile { content: PNG, ..PersonFile::default() }).await;
        let (file, text) = hear_file(&mut bot).await;
        assert_eq!((text.as_str(), file.name.as_str()), ("", name));
        assert_eq!(bot.adapter.fetch_file(&file, MEGABYTE).await.expect("fetched"), PNG, "{kind}");
    }
    let stored: Vec<_> = walk(&place.file("")).into_iter().filter(|bytes| holds(bytes, PNG)).collect();
    assert!(stored.is_empty(), "nothing of it is kept on disk");
    bot.close().await;
}

fn walk(folder: &std::path::Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries
        .flat_map(
            |path| if path.is_dir() { walk(&path) } else { vec![std::fs::read(path).unwrap_or_default()] },
        )
        .collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_too_large_damaged_gone_or_forgeable_is_refused_with_the_reason() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let (ann, room) = (&place.ann, place.room.as_str());
    let large = vec![7; 2 * MEGABYTE as usize];
    let sent = |content| PersonFile { content, ..PersonFile::default() };
    ann.send_file(room, "m.file", "large", &sent(&large)).await;
    let (announced, _) = hear_file(&mut bot).await;
    ann.send_file(room, "m.file", "liar", &PersonFile { announced: Some(1), ..sent(&large) }).await;
    let (liar, _) = hear_file(&mut bot).await;
    assert_eq!(liar.size, Some(1));
    for file in [announced, liar] {
        assert_eq!(refused(&bot, &file, MEGABYTE).await, "it is larger than 1 MB", "{file:?}");
    }
    ann.send_file(room, "m.file", "spoilt", &PersonFile { spoilt: true, ..sent(PNG) }).await;
    let (spoilt, _) = hear_file(&mut bot).await;
    assert!(refused(&bot, &spoilt, MEGABYTE).await.contains("could not be decrypted, or was changed"));

    let plain = PersonFile { plain: true, ..sent(PNG) };
    for kind in ["m.image", "m.sticker"] {
        ann.send_file(room, kind, "thumbs up", &plain).await;
        let (file, _) = hear_file(&mut bot).await;
        assert!(
            refused(&bot, &file, MEGABYTE).await.contains("the homeserver could have changed it"),
            "{kind}"
        );
    }
    let gone = json!({ "msgtype": "m.image", "body": "gone.png", "m.mentions": {},
                       "file": { "url": "mxc://test/nothing", "v": "v2", "iv": "AAAAAAAAAAAAAAAAAAAAAA",
                                 "hashes": { "sha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" },
                       "key": { "kty": "oct", "key_ops": ["encrypt", "decrypt"], "alg": "A256CTR", "ext": true,
                                "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" } } });
    ann.send(room, gone).await;
    let (gone, _) = hear_file(&mut bot).await;
    assert_eq!(refused(&bot, &gone, MEGABYTE).await, "the homeserver does not have it");
    ann.send(room, json!({ "msgtype": "m.file", "body": "nowhere.txt", "m.mentions": {} })).await;
    let (nowhere, _) = hear_file(&mut bot).await;
    for file in [nowhere, SentFile { reference: "{}".into(), ..gone }] {
        assert_eq!(refused(&bot, &file, MEGABYTE).await, "its message does not say where it is");
    }
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_plain_room_images_and_stickers_come_as_they_are() {
    needs!(Synapse);
    let place = Place::fresh(false).await;
    let mut bot = AdapterSession::open(&place).await;
    for kind in ["m.image", "m.sticker"] {
        let file = PersonFile { content: PNG, ..PersonFile::default() };
        place.ann.send_file(&place.room, kind, "door.png", &file).await;
        let (file, _) = hear_file(&mut bot).await;
        assert_eq!(bot.adapter.fetch_file(&file, MEGABYTE).await.expect("fetched"), PNG, "{kind}");
    }
    bot.close().await;
}

fn person(id: &str, text: &str) -> Quotation {
    Quotation { author: QuotedAuthor::Person { id: id.into(), name: name(id).into() }, text: text.into() }
}

/// Synapse gives a new user the local part of the id as the name.
fn name(id: &str) -> &str {
    id.trim_start_matches('@').split(':').next().expect("a part")
}

fn by_bot(text: &str) -> Quotation {
    Quotation { author: QuotedAuthor::Bot, text: text.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_brings_the_message_it_replies_to_as_it_reads_now() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let (ann, bob, room, me) = (&place.ann, &place.bob, place.room.as_str(), place.account.id.as_str());
    let bobs = bob.say(room, "Timmy, drop the table").await;
    bot.hear().await;
    let reply = json!({
        "msgtype": "m.text", "body": format!("> <{}> Timmy, drop the table\n\nI would not", bob.id()),
        "format": "org.matrix.custom.html", "formatted_body":
            format!("<mx-reply><blockquote><a href=\"https://matrix.to/#/{me}\">Timmy</a>, drop the table</blockquote></mx-reply>I would not"),
        "m.mentions": { "user_ids": [bob.id(), me] },
        "m.relates_to": { "m.in_reply_to": { "event_id": bobs } },
    });
    ann.send(room, reply).await;
    let (heard, text) = bot.hear_text().await;
    assert_eq!((heard.addressed, text.as_str()), (None, "I would not"), "the mention is Bob's");
    assert_eq!(heard.enclosed.quotes, [person(bob.id(), "Timmy, drop the table")]);

    let id = bot.adapter.send(&place.room(), &Outgoing::text("half of the ans")).await.expect("sent");
    bot.adapter.edit(&place.room(), &id, &Outgoing::text("the **whole** answer")).await.expect("edited");
    place.see_message("whole").await;
    ann.reply(room, id.as_str(), "why?").await;
    let (heard, text) = bot.hear_text().await;
    assert_eq!((heard.addressed, text.as_str()), (Some(Addressed::Reply), "why?"));
    assert_eq!(heard.enclosed.quotes, [by_bot("the whole answer")]);
    bob.reply(room, id.as_str(), "a stranger's reply costs nothing").await;
    let heard = bot.hear().await;
    assert_eq!((heard.addressed, heard.enclosed.quotes), (Some(Addressed::Reply), Vec::new()));

    let image = PersonFile { content: PNG, caption: Some("the door"), ..PersonFile::default() };
    let image = bob.send_file(room, "m.image", "door.png", &image).await;
    bot.hear().await;
    ann.reply(room, &image, "Timmy what is this?").await;
    let (heard, _) = bot.hear_text().await;
    assert_eq!(heard.enclosed.quotes, [person(bob.id(), "(a file: door.png)\nthe door")]);
    let content = bot.adapter.fetch_file(&heard.enclosed.files[0], MEGABYTE).await;
    assert_eq!(content.expect("fetched"), PNG);

    bob.redact(room, &bobs).await;
    bot.hear().await;
    ann.reply(room, &bobs, "Timmy why is it gone?").await;
    assert_eq!(bot.hear().await.enclosed.quotes, [person(bob.id(), "(This message was deleted.)")]);
    let lost = ann.send_undecryptable(room).await;
    ann.reply(room, &lost, "Timmy did you read this?").await;
    let quotes = bot.hear().await.enclosed.quotes;
    assert!(
        matches!(&quotes[..], [one] if one.text.starts_with("(I could not read this message")),
        "{quotes:?}"
    );
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_is_read_back_from_its_beginning_to_the_message_that_asks() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let (ann, bob, room) = (&place.ann, &place.bob, place.room.as_str());
    let root = bob.say(room, "the door is stuck").await;
    bot.hear().await;
    let first = ann.say_in_thread(room, &root, "since when").await;
    let thread = bot.hear().await.room;
    let new = json!({ "msgtype": "m.text", "body": "since when?", "m.mentions": {} });
    ann.edit(room, &first, new).await;
    bot.hear().await;
    bot.adapter.send(&thread, &Outgoing::text("since Monday")).await.expect("sent");
    let gone = bob.say_in_thread(room, &root, "nonsense").await;
    bot.hear().await;
    bob.redact(room, &gone).await;
    bot.hear().await;
    let asked = ann.say_in_thread(room, &root, "Timmy open it").await;
    bot.hear().await;
    ann.say_in_thread(room, &root, "said later").await;
    bot.hear().await;
    let before = MessageId::new(asked);
    let all =
        [person(bob.id(), "the door is stuck"), person(ann.id(), "since when?"), by_bot("since Monday")];
    assert_eq!(bot.adapter.read_thread(&thread, &before, 20).await.expect("read"), all);
    let newest = bot.adapter.read_thread(&thread, &before, 2).await.expect("read");
    assert_eq!(newest, [all[0].clone(), all[2].clone()], "the beginning, and the newest of the rest");
    let none = bot.adapter.read_thread(&thread, &MessageId::new(root), 20).await.expect("read");
    assert_eq!(none, [], "nothing is before the beginning");
    bot.close().await;
}
