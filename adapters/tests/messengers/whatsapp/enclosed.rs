//! What comes along with a text: files, and messages that are quoted or forwarded.

use std::sync::{Arc, Mutex};

use adapters::{
    Adapter as _, AdapterError, Addressed, Enclosed, Incoming, Outgoing, PersonAct, Quotation, QuotedAuthor,
    SentFile,
};
use serde_json::json;

use super::{Bot, Place};

const MAX: u64 = 1024;

async fn talking() -> (Place, Bot) {
    let place = Place::new().await;
    let bot = place.talking().await;
    (place, bot)
}

fn only_file(heard: Incoming) -> SentFile {
    let Enclosed { mut files, quotes } = heard.enclosed;
    assert_eq!((files.len(), quotes.len()), (1, 0), "{files:?} {quotes:?}");
    files.remove(0)
}

#[tokio::test]
async fn a_file_comes_with_its_words_or_alone_and_its_content_is_there() {
    let (place, mut bot) = talking().await;
    place.ann.send_image(b"\xff\xd8 an image", "what is this?").await;
    let heard = bot.hear().await;
    assert_eq!(
        (&heard.act, heard.addressed),
        (&PersonAct::Said { text: "what is this?".into() }, Some(Addressed::Direct))
    );
    let file = only_file(heard);
    assert_eq!(file.name, "image.jpg");
    assert_eq!(bot.adapter.fetch_file(&file, MAX).await.expect("there"), b"\xff\xd8 an image");

    place.ann.send_document("../../.bashrc", b"a log", None).await;
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Said { text: String::new() });
    assert_eq!(only_file(heard).name, "../../.bashrc", "the bot makes the name safe");
    place.ann.send_voice(b"OggS").await;
    let voice = only_file(bot.hear().await);
    assert_eq!(voice.name, "voice message.ogg");
    assert_eq!(bot.adapter.fetch_file(&voice, MAX).await.expect("there"), b"OggS");

    place.ann.send_image(b"x", "!status").await;
    let heard = bot.hear().await;
    assert_eq!(
        (heard.act, heard.addressed),
        (PersonAct::Said { text: "status".into() }, Some(Addressed::Prefix))
    );
    bot.close().await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_and_one_that_cannot_be_had_may_be_sent_again() {
    let (place, mut bot) = talking().await;
    place.ann.send_document("huge.log", b"short", Some(40 << 20)).await;
    place.ann.send_document("lying.log", &[b'x'; 2_000], Some(5)).await;
    for _ in 0..2 {
        let file = only_file(bot.hear().await);
        match bot.adapter.fetch_file(&file, MAX).await {
            Err(AdapterError::Rejected(why)) => assert!(why.contains("larger than"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    for id in ["../106540352242922", "999"] {
        place.ann.send(json!({ "type": "image", "image": { "id": id, "caption": "what is it?" } })).await;
        let file = only_file(bot.hear().await);
        let calls = place.graph.calls().len();
        let failed = bot.adapter.fetch_file(&file, MAX).await;
        assert_eq!(place.graph.calls().len() == calls, id.contains('/'), "an id is no path");
        assert!(matches!(failed, Err(AdapterError::Unreachable(_))), "{id}: {failed:?}");
    }
    place.graph.fail_next_file();
    place.ann.send_image(b"an image", "").await;
    let file = only_file(bot.hear().await);
    assert_eq!(bot.adapter.fetch_file(&file, MAX).await.expect("at the second attempt"), b"an image");
    bot.close().await;
}

#[tokio::test]
async fn the_token_is_not_carried_to_where_a_redirect_leads() {
    let (place, mut bot) = talking().await;
    let asked: Arc<Mutex<u32>> = Arc::default();
    let log = asked.clone();
    let other = services::whatsapp::listen(move |_| {
        *log.lock().expect("no panic") += 1;
        async { http::Response::new(bytes::Bytes::from_static(b"from elsewhere")) }
    })
    .await;
    place.graph.move_files(&format!("{other}/a.jpg"));
    place.ann.send_image(b"an image", "").await;
    let file = only_file(bot.hear().await);
    bot.adapter.fetch_file(&file, MAX).await.expect_err("it is elsewhere");
    assert_eq!(*asked.lock().expect("no panic"), 0, "the other host was asked");
    bot.close().await;
}

#[tokio::test]
async fn forwarded_words_are_quoted_and_neither_a_command_nor_an_answer() {
    let (place, mut bot) = talking().await;
    let unknown = |text: &str| vec![Quotation { author: QuotedAuthor::Unknown, text: text.into() }];
    for text in ["the gate is broken", "!status", "yes"] {
        place.ann.forward(text).await;
        let heard = bot.hear().await;
        assert_eq!(
            (heard.act, heard.addressed),
            (PersonAct::Said { text: String::new() }, Some(Addressed::Direct))
        );
        assert_eq!(heard.enclosed.quotes, unknown(text));
    }
    let image = json!({ "id": "7", "caption": "!status" });
    place
        .ann
        .send(json!({ "type": "image", "image": image, "context": { "frequently_forwarded": true } }))
        .await;
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Said { text: String::new() });
    assert_eq!((heard.enclosed.files.len(), heard.enclosed.quotes), (1, unknown("!status")));
    bot.close().await;
}

#[tokio::test]
async fn a_reply_quotes_the_bots_own_message_and_none_that_nobody_kept() {
    let (place, mut bot) = talking().await;
    let sent = bot.adapter.send(&place.room(), &Outgoing::text("It is **done**.")).await.expect("sent");
    place.ann.reply(sent.as_str(), "really?").await;
    let heard = bot.hear().await;
    assert_eq!(heard.reply_to, Some(sent));
    assert_eq!(
        heard.enclosed.quotes,
        [Quotation { author: QuotedAuthor::Bot, text: "It is **done**.".into() }]
    );
    place.ann.reply("wamid.of-their-own", "and this?").await;
    assert_eq!(bot.hear().await.enclosed, Enclosed::default());
    bot.close().await;
}

#[tokio::test]
async fn a_reply_that_comes_before_meta_answers_our_call_is_still_a_reply() {
    let (place, mut bot) = talking().await;
    let held = place.graph.hold_answers().await;
    let (adapter, room) = (bot.adapter.clone(), place.room());
    let sending = tokio::spawn(async move { adapter.send(&room, &Outgoing::text("It is done.")).await });
    let shown = place.ann.see("It is done.").await;
    place.ann.reply(&shown.id, "really?").await;
    drop(held);
    let heard = bot.hear().await;
    assert_eq!(heard.enclosed.quotes.len(), 1, "{heard:?}");
    assert_eq!(heard.reply_to, Some(sending.await.expect("it ends").expect("sent")));
    bot.close().await;
}

#[tokio::test]
async fn files_that_an_older_version_kept_are_removed() {
    let place = Place::new().await;
    std::fs::create_dir_all(place.file("files")).expect("made");
    std::fs::write(place.file("files/da2f7f8d6171-image.jpg"), "an image").expect("written");
    let bot = place.bot().await;
    assert!(!place.file("files").exists());
    bot.close().await;
}
