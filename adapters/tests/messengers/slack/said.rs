//! What people say and do: heard once, in its room, acknowledged whatever the bot is doing.

use adapters::{Adapter as _, Addressed, MessageId, Outgoing, PersonAct, Tone};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::Value;
use services::slack::{BOT, Fault};

use super::bench::{Bench, Way, room};

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_that_slack_tells_twice_is_heard_once_by_its_senders_name() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    let ts = bench.slack.say("C1", "U1", &format!("<@{BOT}> ask <@U2> if 1 &lt; 2"));
    bench.slack.acknowledged_at_least(2).await;
    bench.slack.say("C1", "U2", "!marker");
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Said { text: "ask @Bob if 1 < 2".into() });
    assert_eq!((heard.addressed, heard.shared), (Some(Addressed::Name), true));
    assert_eq!((&*heard.sender.id, &*heard.sender.name), ("U1", "Ann"));
    assert_eq!(heard.id.as_str(), ts);
    assert_eq!(bot.hear_text().await, "marker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_slack_does_not_tell_holds_up_nobody_else_and_its_own_message_not_for_long() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    bench.slack.fault("users.info", Fault::Hang);
    bench.slack.say("C1", "U1", "!one");
    bench.slack.called("users.info", 1).await;
    bench.slack.say("D2", "U2", "two");
    let heard = bot.hear().await;
    assert_eq!((&*heard.sender.name, heard.room), ("Bob", room("D2")));
    let heard = bot.hear().await;
    assert_eq!((heard.act, &*heard.sender.name), (PersonAct::Said { text: "one".into() }, "U1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_names_are_asked_for_at_once_and_not_all_at_once() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    let mentions: String = (10..40).map(|n| format!(" <@U{n}>")).collect();
    for _ in 0..31 {
        bench.slack.fault("users.info", Fault::Hang);
    }
    bench.slack.say("C1", "U1", &format!("!ask{mentions}"));
    assert!(bot.hear_text().await.starts_with("ask @U10 @U11"));
    assert_eq!(bench.slack.calls("users.info").len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_looked_up_for_a_message_that_is_not_handled() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    bench.slack.add_channel("C9");
    bench.slack.say("C1", "U3", "<@U2> and I talk");
    bench.slack.say("C9", "U1", "<@U2> elsewhere");
    bench.slack.say("D1", "U1", "marker");
    // A stranger's message is reported to the bot, which ignores it, by the stranger's id.
    assert_eq!(&*bot.hear().await.sender.name, "U3");
    assert_eq!(&*bot.hear().await.sender.name, "Ann");
    let asked: Vec<_> =
        bench.slack.calls("users.info").iter().map(|call| call.body["user"].clone()).collect();
    assert_eq!(asked, ["U1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_conversation_works_with_the_generated_manifest() {
    let bench = Bench::new(Way::Socket).await;
    bench.slack.install(&adapters::slack::manifest(&adapters::Identity::default(), None));
    let mut bot = bench.open().await;
    bench.slack.say("C7", "U2", "just talk");
    let ts = bench.slack.say("C7", "U1", &format!("<@{BOT}> hello"));
    let heard = bot.hear().await;
    assert_eq!((heard.addressed, heard.shared, heard.room), (None, true, room("C7")));
    let heard = bot.hear().await;
    assert_eq!((heard.addressed, heard.shared), (Some(Addressed::Name), true));
    assert_eq!((heard.id.as_str(), heard.act), (&*ts, PersonAct::Said { text: "hello".into() }));
    bot.adapter.send(&room("C7"), &Outgoing::text("hi")).await.expect("sent");
    bench.slack.slash("C7", "U1", "/storkit", "status");
    assert_eq!(bot.hear_text().await, "status");
    bench.slack.delete("C7", &ts);
    assert_eq!(bot.hear().await.act, PersonAct::Redacted { message: MessageId::new(ts) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_message_needs_no_address_and_talk_of_people_has_none() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    bench.slack.say("D1", "U1", "hello");
    let heard = bot.hear().await;
    assert_eq!((heard.addressed, heard.shared, heard.room), (Some(Addressed::Direct), false, room("D1")));
    bench.slack.say("C1", "U1", "hello all");
    let heard = bot.hear().await;
    assert_eq!((heard.addressed, heard.room), (None, room("C1")));
    bench.slack.add_channel("C9");
    bench.slack.say("C9", "U1", &format!("<@{BOT}> hello"));
    bench.slack.say("C1", "U1", "!marker");
    assert_eq!(bot.hear_text().await, "marker", "C9 is not served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_began_with_a_prompt_goes_on_without_address_also_after_a_restart() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    let root = bench.slack.say("C1", "U1", &format!("<@{BOT}> explain"));
    let heard = bot.hear().await;
    let thread = bot.adapter.open_thread(&heard.room, &heard.id).expect("a thread");
    assert_eq!(thread, room(&format!("C1/{root}")));
    bot.adapter.send(&thread, &Outgoing::text("an explanation")).await.expect("sent");
    assert_eq!(bench.slack.see("C1", "an explanation").await.thread.as_deref(), Some(root.as_str()));
    drop(bot);

    let mut bot = bench.open().await;
    bench.slack.say_in_thread("C1", "U2", &root, "and why?");
    let heard = bot.hear().await;
    assert_eq!((heard.addressed, &heard.room), (Some(Addressed::Reply), &thread));
    assert_eq!(bot.adapter.open_thread(&thread, &heard.id), None, "a thread has no threads");
    assert_eq!(bot.adapter.open_thread(&room("D1"), &heard.id), None);
    bench.slack.say_in_thread("C1", "U2", &root, "<@U1> what do you think?");
    assert_eq!(bot.hear().await.addressed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_the_thread_below_a_question_belongs_where_it_was_asked() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    let choices = vec![adapters::Choice { key: "k".into(), label: "Allow".into(), emoji: None }];
    let question = Outgoing { choices, ..Outgoing::text("May I?").with_tone(Tone::Question) };
    let id = bot.adapter.send(&room("C1"), &question).await.expect("sent");
    bench.slack.say_in_thread("C1", "U1", id.as_str(), "yes");
    let heard = bot.hear().await;
    assert_eq!(
        (heard.room, heard.reply_to, heard.addressed),
        (room("C1"), Some(id.clone()), Some(Addressed::Reply))
    );
    bot.adapter.edit(&room("C1"), &id, &Outgoing::text("Allowed.")).await.expect("edited");
    bench.slack.say_in_thread("C1", "U1", id.as_str(), "thanks");
    assert_eq!(bot.hear().await.room, room(&format!("C1/{id}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_message_is_changed_and_a_deleted_one_is_taken_back_and_neither_is_said_again() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    let ts = bench.slack.say("D1", "U1", "fix https://example.org");
    bot.hear().await;
    bench.slack.unfurl("D1", &ts);
    bench.slack.edit("D1", &ts, "fix it now");
    let heard = bot.hear().await;
    let message = MessageId::new(ts.as_str());
    assert_eq!(heard.act, PersonAct::Edited { message, text: "fix it now".into() });
    assert_eq!((heard.addressed, &*heard.sender.id), (Some(Addressed::Direct), "U1"));
    assert_ne!(heard.id.as_str(), ts, "a repeat of it is known as such");

    let talk = bench.slack.say("C1", "U1", "just talk");
    assert_eq!(bot.hear().await.addressed, None);
    bench.slack.edit("C1", &talk, &format!("<@{BOT}> status"));
    let heard = bot.hear().await;
    assert_eq!(heard.addressed, Some(Addressed::Name));
    assert_eq!(heard.act, PersonAct::Edited { message: MessageId::new(talk), text: "status".into() });
    bench.slack.delete("D1", &ts);
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Redacted { message: MessageId::new(ts) });
    assert_eq!(&*heard.sender.id, "U1");
}

/// The bot takes nothing, as if every room were busy; Slack is acknowledged all the same, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn all_is_acknowledged_while_the_bot_is_behind() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    for n in 0..100 {
        bench.slack.say("D1", "U1", &n.to_string());
    }
    bench.slack.acknowledged_at_least(100).await;
    for n in 0..100 {
        assert_eq!(bot.hear_text().await, n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_hand_when_the_connection_ends_is_not_lost() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    for n in 0..10 {
        bench.slack.say("D1", "U1", &n.to_string());
    }
    bench.slack.acknowledged_at_least(10).await;
    bench.slack.cut();
    bench.slack.connected(2).await;
    bench.slack.say("D1", "U1", "10");
    let mut heard = Vec::new();
    while heard.last().is_none_or(|text| text != "10") {
        heard.push(bot.hear_text().await);
    }
    // What was in hand may come twice, under its own id; the bot knows it.
    heard.dedup();
    assert_eq!(heard, (0..=10).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// JSON of the words that Slack uses, in any arrangement.
pub fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(C1|D1|U1|U3|5\\.1|message|app_mention|block_actions|message_deleted|<@U0BOT>|\\PC{0,8})"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let key = "(type|event|subtype|user|channel|channel_type|id|ts|thread_ts|text|files|container|message|actions|value\
                   |channel_id|user_id|command|trigger_id|deleted_ts|previous_message|response_url|attachments|is_share|author_id)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_of_any_kind_neither_stop_nor_block_it() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    let mut runner = TestRunner::deterministic();
    let mut odd = || odd().new_tree(&mut runner).expect("a value").current();
    for _ in 0..150 {
        bench.slack.tell_raw("events_api", odd());
        bench.slack.tell_raw("interactive", odd());
        bench.slack.tell_raw("slash_commands", odd());
        bench.slack.send_event(odd());
        bench.slack.tell_raw("of_a_new_kind", odd());
        bench.slack.send_frame(&odd());
    }
    bench.slack.say("C1", "U1", "!marker");
    loop {
        let heard = bot.hear().await;
        if heard.act == (PersonAct::Said { text: "marker".into() }) {
            break;
        }
    }
    bench.slack.acknowledged_at_least(751).await;
    assert_eq!((bot.health().reconnects, bench.slack.opened()), (0, 1));
}
