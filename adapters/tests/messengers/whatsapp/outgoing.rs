//! What the bot says, as people see it on their phones.

use adapters::{
    Activity, ActivityState, Adapter, AdapterError, Attachment, Choice, MessageId, Outgoing, Tone, deliver,
};
use serde_json::json;
use services::whatsapp::Call;

use super::Place;

fn question(text: &str, labels: &[&str]) -> Outgoing {
    let choice =
        |(n, label): (usize, &&str)| Choice { key: format!("q:1:{n}"), label: (*label).into(), emoji: None };
    let choices = labels.iter().enumerate().map(choice).collect();
    Outgoing { choices, ..Outgoing::text(text).with_tone(Tone::Question) }
}

#[tokio::test]
async fn text_has_whatsapps_marks_and_answers_what_it_answers() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    place.ann.say("question").await;
    let asked = bot.hear().await.id;
    let message = Outgoing::text("# Done\n\n**Story 1** is *merged*.").replying_to(Some(asked.clone()));
    bot.adapter.send(&place.room(), &message).await.unwrap();
    let shown = place.ann.see("Done").await;
    assert_eq!(
        (shown.text.as_str(), shown.reply_to.as_deref()),
        ("*Done*\n\n*Story 1* is _merged_.", Some(asked.as_str()))
    );
    bot.close().await;
}

#[tokio::test]
async fn three_choices_are_buttons_and_more_are_a_list() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    let id =
        bot.adapter.send(&place.room(), &question("May I?", &["Allow", "Deny", "Always"])).await.unwrap();
    assert_eq!(place.ann.see("May I?").await.titles(), ["Allow", "Deny", "Always"]);
    place.ann.press(id.as_str(), "Always").await;
    assert_eq!(bot.hear().await.act, adapters::PersonAct::Chose { on: id, key: "q:1:2".into() });
    let options: Vec<String> = (0..10).map(|n| format!("Option {n}")).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let id = bot.adapter.send(&place.room(), &question("Which?", &options)).await.unwrap();
    place.ann.press(id.as_str(), "Option 9").await;
    assert_eq!(bot.hear().await.act, adapters::PersonAct::Chose { on: id, key: "q:1:9".into() });
    bot.close().await;
}

#[tokio::test]
async fn a_long_question_is_whole_and_a_reply_to_either_part_is_to_it() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    let text = format!("**Question 3**: may I?\n\n```\n{}\n```", "rm -r x\n".repeat(200));
    let id = bot.adapter.send(&place.room(), &question(&text, &["Allow", "Deny"])).await.unwrap();
    let whole = place.ann.shown().into_iter().find(|shown| shown.kind == "text").expect("the question");
    assert_eq!(whole.text.matches("rm -r x").count(), 200);
    place.ann.reply(&whole.id, "no, use mv").await;
    assert_eq!(bot.hear().await.reply_to, Some(id.clone()));
    place.ann.reply(id.as_str(), "yes").await;
    assert_eq!(bot.hear().await.reply_to, Some(id));
    bot.close().await;
}

#[tokio::test]
async fn long_output_is_a_document() {
    let place = Place::new().await;
    let bot = place.talking().await;
    let text = format!("The beginning.\n\n{}", "A line of it all.\n\n".repeat(2_000));
    deliver::deliver(&*bot.adapter, &place.room(), &Outgoing::text(text.clone())).await.unwrap();
    let document = place.ann.shown().into_iter().find(|shown| shown.kind == "document").expect("a document");
    let (name, bytes) = document.file.expect("its file");
    assert_eq!((name.as_str(), bytes.as_ref()), ("answer.md", text.as_bytes()));
    assert!(place.ann.see("The beginning.").await.text.contains("answer.md"));
    bot.close().await;
}

#[tokio::test]
async fn files_that_whatsapp_does_not_take_are_refused_and_not_passed_over() {
    let place = Place::new().await;
    let bot = place.talking().await;
    let file =
        |bytes: &[u8]| Attachment { name: "a.bin".into(), bytes: bytes.to_vec(), caption: String::new() };
    for bytes in [&b""[..], b"\xff\xfe\x00"] {
        let sent = bot.adapter.upload(&place.room(), &file(bytes)).await;
        assert!(matches!(sent, Err(AdapterError::Rejected(_))), "{sent:?}");
    }
    bot.close().await;
}

#[tokio::test]
async fn an_answer_is_read_mark_typing_and_the_final_text() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    place.ann.say("a prompt").await;
    let heard = bot.hear().await;
    let working = Activity { state: ActivityState::Working, after: heard.id.clone() };
    bot.adapter.activity(&heard.room, &working).await.unwrap();
    bot.adapter.send(&heard.room, &Outgoing::text("the answer")).await.unwrap();
    let idle = Activity { state: ActivityState::Idle, after: heard.id.clone() };
    bot.adapter.activity(&heard.room, &idle).await.unwrap();
    let posts: Vec<_> =
        place.graph.calls().into_iter().filter(|call| call.path.ends_with("/messages")).collect();
    let read = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": heard.id.as_str() });
    let mut typing = read.clone();
    typing["typing_indicator"] = json!({ "type": "text" });
    assert_eq!(posts[0].body, typing);
    assert_eq!(posts[1].body["text"]["body"], "the answer");
    assert_eq!((&posts[2].body, posts.len()), (&read, 3));
    assert_eq!(place.ann.shown().len(), 1, "marks are no messages");
    bot.close().await;
}

#[tokio::test]
async fn typing_is_renewed_while_it_works_and_no_longer() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    place.ann.say("a prompt").await;
    let heard = bot.hear().await;
    let typing = |call: &&Call| !call.body["typing_indicator"].is_null();
    let count = || place.graph.calls().iter().filter(typing).count();
    let tell = async |state| {
        bot.adapter.activity(&heard.room, &Activity { state, after: heard.id.clone() }).await.unwrap()
    };
    tell(ActivityState::Working).await;
    assert_eq!(count(), 1);
    // The clock stands still but for what is waited for: three renewals are over a minute of work.
    tokio::time::pause();
    for n in 2..=4 {
        while count() < n {
            tokio::time::advance(std::time::Duration::from_secs(5)).await;
            tokio::time::resume();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            tokio::time::pause();
        }
    }
    tokio::time::resume();
    tell(ActivityState::Asking).await;
    let renewed = count();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(300)).await;
    tokio::time::resume();
    tell(ActivityState::Idle).await;
    assert_eq!(count(), renewed, "nobody types while a question waits");
    bot.close().await;
}

#[tokio::test]
async fn nothing_can_be_edited_and_that_is_said() {
    let place = Place::new().await;
    let bot = place.talking().await;
    assert!(bot.adapter.capabilities().edit.is_none());
    let edited = bot.adapter.edit(&place.room(), &MessageId::new("x"), &Outgoing::text("y")).await;
    assert!(matches!(edited, Err(AdapterError::Unsupported(_))));
    bot.close().await;
}

#[tokio::test]
async fn a_flood_keeps_to_the_pair_limit_and_arrives() {
    let place = Place::new().await;
    let bot = place.talking().await;
    let mut sent = 0;
    let wait = loop {
        match bot.adapter.send(&place.room(), &Outgoing::text(format!("number {sent}"))).await {
            Ok(_) => sent += 1,
            Err(AdapterError::RateLimited { retry_after }) => break retry_after,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((sent, place.ann.shown().len()), (20, 20), "a burst, and then no more");
    assert!(wait <= std::time::Duration::from_secs(6), "{wait:?}");
    let live = Outgoing { live: true, ..Outgoing::text("a frame") };
    assert!(matches!(bot.adapter.send(&place.room(), &live).await, Err(AdapterError::RateLimited { .. })));
    bot.close().await;
}

#[tokio::test]
async fn a_room_that_names_nobody_is_refused() {
    let place = Place::new().await;
    let bot = place.bot().await;
    let room = adapters::Room::new("whatsapp", "general");
    let sent = bot.adapter.send(&room, &Outgoing::text("x")).await;
    assert!(matches!(sent, Err(AdapterError::Rejected(_))), "{sent:?}");
    bot.close().await;
}
