//! Meta's refusals, each with what the bot and the operator hear of it.

use adapters::{Adapter, AdapterError, Outgoing, deliver};
use services::whatsapp::TOKEN;

use super::Place;

#[tokio::test]
async fn too_fast_for_the_pair_waits_four_times_longer_each_time() {
    let place = Place::new().await;
    let bot = place.talking().await;
    place.graph.fail_next(131_056, 400);
    let first = bot.adapter.send(&place.room(), &Outgoing::text("x")).await;
    let Err(AdapterError::RateLimited { retry_after }) = first else { panic!("{first:?}") };
    assert_eq!(retry_after.as_secs(), 1);
    let early = bot.adapter.send(&place.room(), &Outgoing::text("x")).await;
    assert!(
        matches!(early, Err(AdapterError::RateLimited { .. })),
        "Meta is not asked while it is too early"
    );
    let asked =
        |text: &str| place.graph.calls().iter().filter(|call| call.body["text"]["body"] == text).count();
    assert_eq!(asked("x"), 1);
    deliver::deliver(&*bot.adapter, &place.room(), &Outgoing::text("then")).await.unwrap();
    place.ann.see("then").await;
    bot.close().await;
}

#[tokio::test]
async fn too_fast_for_the_number_is_waited_out() {
    let place = Place::new().await;
    let bot = place.talking().await;
    place.graph.fail_next(130_429, 429);
    let first = bot.adapter.send(&place.room(), &Outgoing::text("x")).await;
    assert!(matches!(first, Err(AdapterError::RateLimited { .. })), "{first:?}");
    deliver::deliver(&*bot.adapter, &place.room(), &Outgoing::text("then")).await.unwrap();
    assert_eq!(place.ann.shown().len(), 1);
    bot.close().await;
}

#[tokio::test]
async fn passing_trouble_is_tried_again() {
    let place = Place::new().await;
    let bot = place.talking().await;
    place.graph.fail_next(131_000, 500);
    place.graph.fail_next(131_016, 503);
    deliver::deliver(&*bot.adapter, &place.room(), &Outgoing::text("after the trouble")).await.unwrap();
    assert_eq!(place.ann.shown().len(), 1);
    bot.close().await;
}

#[tokio::test]
async fn a_dead_token_ends_the_connection_says_what_to_do_and_loses_nothing() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    place.graph.kill_token(true);
    let sent = bot.adapter.send(&place.room(), &Outgoing::text("x")).await;
    let Err(AdapterError::Rejected(why)) = sent else { panic!("{sent:?}") };
    assert!(why.contains("190") && why.contains("whatsapp.access_token"), "{why}");
    let error = bot.until(|health| health.last_error.clone().filter(|_| !health.up)).await;
    assert!(error.contains("Make a new one"), "{error}");
    place.ann.say("meanwhile").await;
    place.graph.kill_token(false);
    bot.until(|health| health.up.then_some(())).await;
    assert_eq!(bot.hear_text().await, "meanwhile");
    for text in [why, error, format!("{:?}", place.config)] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    bot.close().await;
}

#[tokio::test]
async fn a_failed_delivery_is_told_until_one_arrives() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    let id = bot.adapter.send(&place.room(), &Outgoing::text("x")).await.unwrap();
    let person = place.ann.user_id().unwrap();
    place.graph.fail_later(id.as_str(), &person, 131_053).await;
    let note = bot.noted("Not delivered").await;
    assert!(note.contains(&person) && note.contains("(131053) Message undeliverable"), "{note}");
    place.ann.say("are you there?").await;
    bot.hear().await;
    bot.until(|health| health.note.is_none().then_some(())).await;
    bot.close().await;
}

#[tokio::test]
async fn whom_meta_cannot_reach_is_left_alone_until_they_write() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    let id = bot.adapter.send(&place.room(), &Outgoing::text("x")).await.unwrap();
    place.graph.fail_later(id.as_str(), &place.ann.user_id().unwrap(), 131_026).await;
    bot.noted("131026").await;
    let sent = bot.adapter.send(&place.room(), &Outgoing::text("y")).await;
    assert!(matches!(sent, Err(AdapterError::Rejected(_))), "{sent:?}");
    assert!(!place.graph.calls().iter().any(|call| call.body["text"]["body"] == "y"), "Meta is not asked");
    place.ann.say("back again").await;
    bot.hear().await;
    bot.adapter.send(&place.room(), &Outgoing::text("z")).await.unwrap();
    bot.close().await;
}

#[tokio::test]
async fn a_limited_account_is_told() {
    let place = Place::new().await;
    let bot = place.talking().await;
    place.graph.fail_next(131_031, 403);
    let sent = bot.adapter.send(&place.room(), &Outgoing::text("x")).await;
    assert!(matches!(sent, Err(AdapterError::Rejected(_))), "{sent:?}");
    bot.noted("Meta limits this account").await;
    bot.adapter.send(&place.room(), &Outgoing::text("y")).await.unwrap();
    assert_eq!(bot.supervised.health.snapshot().note, None, "it is over when a message is taken");
    bot.close().await;
}
