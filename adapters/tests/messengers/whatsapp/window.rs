//! The 24-hour window: what happens to what the bot has to say when a person has not written for a day.

use adapters::{Adapter, AdapterError, Choice, Outgoing, Tone, deliver};

use super::{Place, hours};

#[tokio::test]
async fn outside_the_window_notices_are_held_told_and_delivered_when_it_opens() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    place.graph.move_clock(hours(24));
    let notice = |text: &str| Outgoing::text(text).with_tone(Tone::Notice);
    for text in ["Story 1 is done.", "Story 2 is done."] {
        let id = bot.adapter.send(&place.room(), &notice(text)).await.expect("taken into keeping");
        assert!(id.as_str().starts_with("held-"), "{id}");
    }
    bot.noted("2 messages for").await;
    assert!(place.ann.shown().is_empty());
    place.ann.say("good morning").await;
    assert_eq!(bot.hear_text().await, "good morning");
    bot.adapter.send(&place.room(), &Outgoing::text("good morning to you")).await.unwrap();
    let shown: Vec<_> = place.ann.shown().into_iter().map(|shown| shown.text).collect();
    assert_eq!(
        shown,
        ["Story 1 is done.", "Story 2 is done.", "good morning to you"],
        "in order, before anything new"
    );
    bot.until(|health| health.note.is_none().then_some(())).await;
    bot.close().await;
}

#[tokio::test]
async fn what_is_held_goes_out_although_the_bot_says_nothing_new_and_over_a_restart() {
    let place = Place::new().await;
    let bot = place.talking().await;
    place.graph.move_clock(hours(30));
    bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is done.")).await.unwrap();
    bot.close().await;
    let mut bot = place.bot().await;
    bot.noted("1 message for").await;
    place.ann.say("hello again").await;
    bot.hear().await;
    place.ann.see("Story 1 is done.").await;
    bot.close().await;
}

#[tokio::test]
async fn a_question_outside_the_window_is_refused_at_once_and_can_be_read_later() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    place.graph.move_clock(hours(25));
    let choices = vec![Choice { key: "cmd:retry 3".into(), label: "Retry".into(), emoji: None }];
    let question = Outgoing { choices, ..Outgoing::text("3 needs a person.").with_tone(Tone::Question) };
    let asked = deliver::deliver(&*bot.adapter, &place.room(), &question).await;
    assert!(
        matches!(&asked, Err(AdapterError::Rejected(why)) if why.contains("24-hour window")),
        "{asked:?}"
    );
    place.ann.say("here I am").await;
    bot.hear().await;
    assert_eq!(place.ann.see("3 needs a person.").await.titles(), ["Retry"]);
    bot.close().await;
}

#[tokio::test]
async fn outside_the_window_the_template_carries_the_notice() {
    let mut place = Place::new().await;
    place.config.window_template = "storkit_notice/de".into();
    place.graph.approve_template("storkit_notice", "de");
    let mut bot = place.talking().await;
    place.graph.move_clock(hours(25));
    bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is **done**.\n\nSee `log 1`.")).await.unwrap();
    let shown = place.ann.see("Story 1").await;
    assert_eq!((shown.kind.as_str(), shown.text.as_str()), ("template", "Story 1 is *done*. · See `log 1`."));
    assert_eq!(bot.supervised.health.snapshot().note, None);
    let long = format!("The report.\n\n{}", "More of it. ".repeat(200));
    bot.adapter.send(&place.room(), &Outgoing::text(long)).await.unwrap();
    assert!(place.ann.see("The report").await.text.ends_with("… (reply to see the rest)"));
    place.ann.say("show me").await;
    bot.hear().await;
    let whole = place.ann.see_after(2, "The report").await;
    assert_eq!((whole.kind.as_str(), whole.text.matches("More of it.").count()), ("text", 200));
    bot.close().await;
}

#[tokio::test]
async fn a_template_that_meta_does_not_know_is_told_and_the_notice_held() {
    let mut place = Place::new().await;
    place.config.window_template = "storkit_notice".into();
    let bot = place.talking().await;
    place.graph.move_clock(hours(25));
    bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is done.")).await.unwrap();
    let note = bot.noted("The template `storkit_notice` (en) cannot be used").await;
    assert!(note.contains("1 message for"), "{note}");
    bot.close().await;
}

#[tokio::test]
async fn a_message_that_meta_gives_back_late_is_held() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    // Meta's window closes earlier than ours says: it knows of a message that we do not.
    let id = bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is done.")).await.unwrap();
    let person = place.ann.user_id().unwrap();
    place.graph.fail_later(id.as_str(), &person, 131_047).await;
    bot.noted("1 message for").await;
    let seen = place.ann.shown().len();
    place.ann.say("what happened?").await;
    bot.hear().await;
    place.ann.see_after(seen, "Story 1 is done.").await;
    // Statuses are repeated like messages.
    place.graph.repeat_failure().await;
    bot.adapter.send(&place.room(), &Outgoing::text("a marker")).await.unwrap();
    place.ann.see("a marker").await;
    assert_eq!(place.ann.shown().len(), seen + 2, "the same failure holds nothing a second time");
    bot.close().await;
}

#[tokio::test]
async fn a_message_that_meta_refuses_at_once_for_the_window_is_held() {
    let place = Place::new().await;
    let bot = place.talking().await;
    place.graph.fail_next(131_047, 400);
    let id = bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is done.")).await.unwrap();
    assert!(id.as_str().starts_with("held-"));
    bot.noted("1 message for").await;
    bot.close().await;
}

#[tokio::test]
async fn who_never_wrote_is_not_written_to() {
    let place = Place::new().await;
    let bot = place.bot().await;
    bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is done.")).await.unwrap();
    bot.noted("1 message for").await;
    assert!(place.ann.shown().is_empty());
    bot.close().await;
}

#[tokio::test]
async fn what_is_held_goes_before_anything_new_also_where_its_first_try_failed() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    place.graph.move_clock(hours(24));
    bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is done.")).await.unwrap();
    place.graph.fail_next(131_000, 500);
    place.ann.say("good morning").await;
    bot.hear().await;
    place.graph.called("the first try", |call| call.status == 500).await;
    bot.adapter.send(&place.room(), &Outgoing::text("good morning to you")).await.unwrap();
    let shown: Vec<_> = place.ann.shown().into_iter().map(|shown| shown.text).collect();
    assert_eq!(shown, ["Story 1 is done.", "good morning to you"]);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_told_before_the_answer_to_the_call_is_of_that_message() {
    let place = Place::new().await;
    let bot = place.talking().await;
    place.graph.close_windows();
    bot.adapter.send(&place.room(), &Outgoing::text("Story 1 is done.")).await.unwrap();
    bot.noted("1 message for").await;
    bot.close().await;
}
