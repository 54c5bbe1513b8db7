//! What one person alone sees: replies to slash commands and to pressed buttons, refusals to strangers.

use adapters::{Adapter as _, AdapterError, Choice, Outgoing, PersonAct, deliver};
use services::slack::Message;

use super::bench::{Bench, Way, room};

fn question() -> Outgoing {
    let choice = |key: &str, label: &str| Choice { key: key.into(), label: label.into(), emoji: None };
    Outgoing {
        choices: vec![choice("question:1:yes", "Allow"), choice("question:1:no", "Deny")],
        ..Outgoing::text("May I?")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_command_is_answered_to_its_caller_alone_however_often_and_long() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    bench.slack.slash("C1", "U2", "/storkit", "status");
    let heard = bot.hear().await;
    assert_eq!((heard.act, &heard.room), (PersonAct::Said { text: "status".into() }, &room("C1")));
    let long: String = (0..2_000).map(|n| format!("line {n}\n")).collect();
    let replies = ["one", "two", "three", "four", &long, "six"];
    for reply in replies {
        let reply = Outgoing::text(reply).replying_to(Some(heard.id.clone()));
        deliver::deliver(&*bot.adapter, &heard.room, &reply).await.expect("delivered");
    }
    bench.slack.see("C1", "six").await;
    let shown: Vec<Message> = bench.slack.messages("C1");
    assert!(
        shown.len() > replies.len() && shown.iter().all(|message| message.only_for.as_deref() == Some("U2"))
    );
    assert_eq!(bench.slack.calls("response_url").iter().filter(|call| call.ok).count(), 5);
    assert!(!bench.slack.calls("chat.postEphemeral").is_empty(), "after five uses another way");
    let id =
        bot.adapter.send(&heard.room, &Outgoing::text("x").replying_to(Some(heard.id))).await.expect("sent");
    let edited = bot.adapter.edit(&heard.room, &id, &Outgoing::text("y")).await;
    assert!(matches!(edited, Err(AdapterError::Unsupported(_))), "{edited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_reply_stays_private_after_a_restart() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    bench.slack.slash("C1", "U2", "/storkit-status", "");
    let heard = bot.hear().await;
    drop(bot);
    let bot = bench.open().await;
    bot.adapter.send(&heard.room, &Outgoing::text("late").replying_to(Some(heard.id))).await.expect("sent");
    assert_eq!(bench.slack.see("C1", "late").await.only_for.as_deref(), Some("U2"));
    assert!(bench.slack.calls("response_url").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_in_vain_is_told_alone_where_the_button_stands() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    let root = bench.slack.say("C1", "U1", "!root");
    bot.hear().await;
    let thread = room(&format!("C1/{root}"));
    let id = bot.adapter.send(&thread, &question()).await.expect("sent");
    bench.slack.press("C1", id.as_str(), "U2", "Deny");
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Chose { on: id.clone(), key: "question:1:no".into() });
    assert_eq!((&*heard.sender.id, &*heard.sender.name, &heard.room), ("U2", "Bob", &thread));
    let refusal = Outgoing::text("You may not.").replying_to(Some(heard.id));
    bot.adapter.send(&heard.room, &refusal).await.expect("sent");
    let shown = bench.slack.see("C1", "You may not.").await;
    assert_eq!((shown.only_for.as_deref(), shown.thread), (Some("U2"), Some(root)));
    let stale = bench.slack.button("C1", id.as_str(), "Allow").expect("a button");
    bot.adapter.edit(&thread, &id, &Outgoing::text("Denied by Bob.")).await.expect("edited");
    assert!(bench.slack.see("C1", "Denied by Bob.").await.buttons().is_empty());
    bench.slack.press_stale("C1", id.as_str(), "U1", &stale);
    assert_eq!(
        bot.hear().await.act,
        PersonAct::Chose { on: id, key: "question:1:yes".into() },
        "the bot says that it is late"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_alone_and_not_heard() {
    let bench = Bench::new(Way::Socket).await;
    let config = adapters::slack::SlackConfig {
        people: adapters::AllowedPeople { allowed_users: vec!["U1".into()], ..Default::default() },
        ..bench.config()
    };
    let mut bot = super::bench::Running::start(bench.with(config));
    bot.up().await;
    let id = bot.adapter.send(&room("C1"), &question()).await.expect("sent");
    bench.slack.press("C1", id.as_str(), "U2", "Allow");
    let told = |message: &Message| {
        message.only_for.as_deref() == Some("U2")
            && message.shown().contains("add `U2` to `slack.allowed_users`")
    };
    bench.slack.see_which("C1", "a refusal", told).await;
    bench.slack.slash("C2", "U2", "/storkit", "status");
    bench.slack.see_which("C2", "a refusal", told).await;
    bench.slack.slash("C2", "U1", "/storkit", "status");
    bench.slack.see("C2", "I do not serve this channel").await;
    bench.slack.say("C1", "U1", "!marker");
    assert_eq!(bot.hear_text().await, "marker");
    assert_eq!(bench.slack.see("C1", "May I?").await.buttons(), ["Allow", "Deny"], "nothing was decided");

    // Who is added to bot.toml while the bot runs is heard.
    bot.adapter.set_allowed_people(&adapters::AllowedPeople {
        allowed_users: vec!["U2".into()],
        ..Default::default()
    });
    bench.slack.press("C1", id.as_str(), "U2", "Allow");
    assert_eq!(&*bot.hear().await.sender.id, "U2");
}
