//! What Meta calls, and what the bot hears of it.

use adapters::{Addressed, Choice, MessageId, Outgoing, PersonAct, Tone, Webhooks, webhook::BODY_MAX};
use bytes::Bytes;
use http::{Request, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use services::whatsapp::{Graph, VERIFY_TOKEN};

use super::{Place, hours, is_recent};

#[tokio::test]
async fn the_webhook_registers_with_the_right_word_only() {
    let place = Place::new().await;
    let bot = place.bot().await;
    place.graph.register_rightly().await;
    for word in ["", "wrong", &VERIFY_TOKEN[..VERIFY_TOKEN.len() - 1]] {
        assert_eq!(place.graph.register(word).await, Err(403), "{word:?}");
    }
    bot.close().await;
}

#[tokio::test]
async fn what_meta_did_not_sign_is_refused_counted_and_not_heard() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    let message =
        place.ann.message(json!({ "type": "text", "text": { "body": "forged" } }), place.graph.now());
    let forged = json!({ "entry": [{ "changes": [{ "field": "messages", "value": place.ann.value(vec![message]) }] }] });
    let forged = forged.to_string().into_bytes();
    let mut other = forged.clone();
    other.push(b' ');
    let right = Graph::signature(&forged);
    for (signature, status) in [
        (None, 401),
        (Some(""), 401),
        (Some("sha256=00"), 401),
        (Some("sha256=zz"), 401),
        (Some(&*Graph::signature(&other)), 401),
        (Some(&*right.replace("sha256=", "sha1=")), 401),
    ] {
        assert_eq!(place.graph.post(&forged, signature).await, status, "{signature:?}");
    }
    let note = bot.noted("without a signature (1)").await;
    assert!(note.contains("wrong signature (4)"), "1, 2 and 4 are told: {note}");
    place.ann.say("marker").await;
    assert_eq!(bot.hear_text().await, "marker");
    assert_eq!(place.graph.post(&forged, Some(&right)).await, 200);
    assert_eq!(bot.hear_text().await, "forged", "with the right signature the same body is heard");
    bot.close().await;
}

#[tokio::test]
async fn other_methods_are_refused_and_signed_nonsense_is_taken_and_dropped() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    let request = Request::builder().method("PUT").uri("/webhook/whatsapp").body(Bytes::new()).unwrap();
    assert_eq!(bot.adapter.handle(request).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    for nonsense in
        [&b""[..], b"null", b"[]", b"{\"entry\":7}", b"{", b"\xff\xfe", "[".repeat(100_000).as_bytes()]
    {
        let status = place.graph.post(nonsense, Some(&Graph::signature(nonsense))).await;
        assert_eq!(status, 200, "repeating it would make it no better");
    }
    const { assert!(BODY_MAX == 3 * 1024 * 1024, "the listener keeps longer ones away") };
    place.ann.say("marker").await;
    assert_eq!(bot.hear_text().await, "marker");
    bot.close().await;
}

#[tokio::test]
async fn several_messages_in_one_notification_are_each_heard_once() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    let ids = place.ann.say_at_once(&["one", "two", "three"]).await;
    for (id, text) in ids.iter().zip(["one", "two", "three"]) {
        let heard = bot.hear().await;
        assert_eq!((heard.id.as_str(), heard.act), (id.as_str(), PersonAct::Said { text: text.into() }));
        assert_eq!((heard.addressed, heard.shared), (Some(Addressed::Direct), false));
        assert!(is_recent(&place.graph, heard.sent_at));
    }
    bot.close().await;
}

#[tokio::test]
async fn a_person_without_a_number_is_heard_by_user_id_and_answered_there() {
    let graph = Graph::start().await;
    let ann = graph.person("Ann", None, Some("DE.13491208655302741918"));
    let place = Place::of(graph, ann).await;
    let mut bot = place.talking().await;
    place.ann.say("again").await;
    let heard = bot.hear().await;
    assert_eq!((&*heard.sender.id, &*heard.sender.name), ("DE.13491208655302741918", "Ann"));
    assert_eq!(heard.room, place.room());
    adapters::Adapter::send(&*bot.adapter, &heard.room, &Outgoing::text("for you")).await.unwrap();
    assert_eq!(place.ann.see("for you").await.to, "DE.13491208655302741918");
    let call = place.graph.called("the message", |call| call.body["text"]["body"] == "for you").await;
    assert_eq!(
        (&call.body["recipient"], &call.body["to"]),
        (&json!("DE.13491208655302741918"), &Value::Null)
    );
    bot.close().await;
}

#[tokio::test]
async fn a_person_with_a_number_only_is_heard_by_it_and_stays_known_when_it_is_withheld() {
    let graph = Graph::start().await;
    let ann = graph.person("Ann", Some("491701234567"), None);
    let place = Place::of(graph, ann).await;
    let mut bot = place.talking().await;
    adapters::Adapter::send(&*bot.adapter, &place.room(), &Outgoing::text("for you")).await.unwrap();
    assert_eq!(place.ann.see("for you").await.to, "491701234567");
    let both = place.graph.person("Ann", Some("491701234567"), Some("DE.77"));
    both.say("now with an id").await;
    assert_eq!(bot.hear().await.room, place.room());
    both.without_number().say("without the number").await;
    let heard = bot.hear().await;
    assert_eq!((heard.room, &*heard.sender.id), (place.room(), "+491701234567"));
    bot.close().await;
}

#[tokio::test]
async fn a_stranger_is_not_heard_not_answered_counted_and_told_once() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    let eve = place.graph.person("Eve", Some("4915555555"), Some("DE.666"));
    let mallory = place.graph.person("Mallory", Some("4915555556"), None);
    eve.say("!delete 12").await;
    eve.say("let me in").await;
    mallory.say("me too").await;
    let names = "not in `whatsapp.allowed_users` (messages: 3): DE.666 (Eve), +4915555556 (Mallory)";
    let note = bot.noted(names).await;
    place.ann.say("marker").await;
    assert_eq!(bot.hear_text().await, "marker");
    assert_eq!(bot.supervised.health.snapshot().note, Some(note), "told once");
    assert!(eve.shown().is_empty());
    let read = |call: &services::whatsapp::Call| call.body["status"] == "read";
    assert!(!place.graph.calls().iter().any(read), "not even a read mark");
    bot.close().await;
}

#[tokio::test]
async fn who_comes_onto_the_list_while_the_bot_runs_is_heard() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    let bob = place.graph.somebody("Bob");
    bob.say("too early").await;
    bot.noted("not in `whatsapp.allowed_users`").await;
    let mut people = place.config.people.clone();
    people.approvers.push(bob.user_id().unwrap());
    adapters::Adapter::set_allowed_people(&*bot.adapter, &people);
    bob.say("now").await;
    assert_eq!(bot.hear_text().await, "now");
    bot.close().await;
}

#[tokio::test]
async fn a_slash_before_a_command_is_a_command_and_before_a_path_is_not() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    for (said, addressed, text) in [
        ("/status", Addressed::Slash, "status"),
        ("/STATUS now", Addressed::Slash, "STATUS now"),
        ("/home/x is full", Addressed::Direct, "/home/x is full"),
        ("!status", Addressed::Prefix, "status"),
        ("Timmy, status", Addressed::Name, "status"),
        ("status", Addressed::Direct, "status"),
    ] {
        place.ann.say(said).await;
        let heard = bot.hear().await;
        assert_eq!(
            (heard.addressed, heard.act),
            (Some(addressed), PersonAct::Said { text: text.into() }),
            "{said}"
        );
    }
    bot.close().await;
}

#[tokio::test]
async fn reactions_edits_and_statuses_run_nothing_and_a_revoked_message_is_taken_back() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    let id = place.ann.say("!first").await;
    assert_eq!(bot.hear_text().await, "first");
    place.ann.react(&id, "👍").await;
    place.ann.edit(&id, "!delete 12").await;
    place.ann.send(json!({ "type": "system", "system": { "body": "!delete 12" } })).await;
    place.ann.send(json!({ "type": "text", "group_id": "g1", "text": { "body": "!delete 12" } })).await;
    place.ann.revoke(&id).await;
    assert_eq!(bot.hear().await.act, PersonAct::Redacted { message: MessageId::new(id) });
    bot.close().await;
}

#[tokio::test]
async fn a_reaction_answers_a_question_that_offered_it_to_this_person() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    let choice = |key: &str, label: &str, emoji: &str| Choice {
        key: key.into(),
        label: label.into(),
        emoji: Some(emoji.into()),
    };
    let choices = vec![choice("q:1:yes", "Allow", "✅"), choice("q:1:no", "Deny", "❌")];
    let question = Outgoing { choices, ..Outgoing::text("May I?").with_tone(Tone::Question) };
    let id = adapters::Adapter::send(&*bot.adapter, &place.room(), &question).await.unwrap();
    place.ann.react(id.as_str(), "").await;
    place.ann.react(id.as_str(), "🎉").await;
    place.ann.react(id.as_str(), "❌").await;
    assert_eq!(bot.hear().await.act, PersonAct::Chose { on: id, key: "q:1:no".into() });
    bot.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_what_can() {
    let place = Place::new().await;
    let mut bot = place.talking().await;
    for content in [
        json!({ "type": "location", "location": { "latitude": 1.0, "longitude": 2.0 } }),
        json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "Bob" } }] }),
        json!({ "type": "unsupported", "errors": [{ "code": 131_051 }] }),
        json!({ "type": "of_a_new_kind" }),
    ] {
        let seen = place.ann.shown().len();
        let id = place.ann.send(content).await;
        assert_eq!(place.ann.see_after(seen, "I can read text").await.reply_to, Some(id));
    }
    place.ann.say("marker").await;
    assert_eq!(bot.hear_text().await, "marker");
    bot.close().await;
}

#[tokio::test]
async fn requests_say_who_sends_them() {
    let place = Place::new().await;
    let bot = place.bot().await;
    let calls = place.graph.calls();
    assert!(
        !calls.is_empty() && calls.iter().all(|call| call.user_agent.starts_with("storkit/")),
        "{calls:?}"
    );
    bot.close().await;
}

#[tokio::test]
async fn a_number_that_meta_writes_in_another_way_is_known() {
    for (listed, sent) in [
        ("+55 11 98765-4321", "551187654321"),
        ("+55 11 8765-4321", "5511987654321"),
        ("+52 55 1234 5678", "5215512345678"),
        ("+54 11 15 2345-6789", "5491123456789"),
    ] {
        let graph = Graph::start().await;
        let ann = graph.person("Ann", Some(sent), None);
        let mut place = Place::of(graph, ann).await;
        place.config.people.allowed_users = vec![listed.into()];
        let mut bot = place.talking().await;
        adapters::Adapter::send(&*bot.adapter, &place.room(), &Outgoing::text("for you")).await.unwrap();
        place.ann.see("for you").await;
        place.ann.say("again").await;
        assert_eq!(&*bot.hear().await.sender.id, listed);
        bot.close().await;
    }
}

#[tokio::test]
async fn a_parent_id_on_the_list_is_known_in_this_portfolio() {
    let graph = Graph::start().await;
    let ann = graph.person("Ann", None, Some("US.1")).with_parent_id("US.ENT.118");
    let mut place = Place::of(graph, ann).await;
    place.config.people.allowed_users = vec!["US.ENT.118".into()];
    let mut bot = place.talking().await;
    adapters::Adapter::send(&*bot.adapter, &place.room(), &Outgoing::text("for you")).await.unwrap();
    assert_eq!(place.ann.see("for you").await.to, "US.1");
    place.ann.say("again").await;
    assert_eq!(&*bot.hear().await.sender.id, "US.ENT.118");
    bot.close().await;
}

#[tokio::test]
async fn a_pick_without_a_key_is_answered() {
    let place = Place::new().await;
    let bot = place.talking().await;
    let odd = json!({ "type": "button_reply", "button_reply": { "title": "Go" } });
    place.ann.send(json!({ "type": "interactive", "interactive": odd })).await;
    place.ann.see("I can read text").await;
    bot.close().await;
}

#[tokio::test]
async fn when_the_bot_is_behind_meta_keeps_the_message_and_nothing_is_lost() {
    let place = Place::new().await;
    let mut bot = place.bot_with_room_for(1).await;
    let message = |n: usize| {
        let text = json!({ "type": "text", "text": { "body": format!("number {n}") } });
        place.ann.value(vec![place.ann.message(text, place.graph.now())])
    };
    let mut taken = 0;
    // A hundred in each notification: the queue holds a thousand, the inbox one.
    let refused = loop {
        let values: Vec<Value> = (taken..taken + 100).map(message).collect();
        match place.graph.notify_once(values.clone()).await {
            200 => taken += 100,
            503 => break values,
            other => panic!("answered {other}"),
        }
        assert!(taken < 10_000, "it has no end");
    };
    for n in 0..taken {
        assert_eq!(bot.hear_text().await, format!("number {n}"));
    }
    place.graph.notify(refused).await;
    assert_eq!(bot.hear_text().await, format!("number {taken}"), "all of it or nothing was taken");
    bot.close().await;
}

#[tokio::test]
async fn what_came_before_the_bot_ran_is_heard_when_it_runs() {
    let place = Place::new().await;
    let adapter = place.adapter();
    place.ann.say("early").await;
    let (sender, mut inbox) = tokio::sync::mpsc::channel(4);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = adapters::supervise::supervise(adapter, sender, stop.clone());
    let heard = inbox.recv().await.expect("it runs");
    assert_eq!(heard.act, PersonAct::Said { text: "early".into() });
    stop.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn an_old_message_carries_its_own_time() {
    let place = Place::new().await;
    let mut bot = place.bot().await;
    place.ann.said("!delete 12", hours(2)).await;
    let heard = bot.hear().await;
    let age = place.graph.now().duration_since(heard.sent_at).unwrap();
    assert!(age >= hours(2) && age < hours(3), "{age:?}: the bot drops it by this");
    bot.close().await;
}

fn hostile() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "(text|image|document|interactive|reaction|edit|revoke|\\PC{0,20}|[\\x00-\\x1f]{0,4}|DE\\.1|\\.\\./x)".prop_map(Value::from),
    ];
    let key = "(id|from|from_user_id|timestamp|type|text|body|image|document|caption|filename|mime_type|interactive|button_reply|\
               list_reply|title|reaction|message_id|emoji|context|errors|code|group_id)";
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let object = prop::collection::btree_map(key, inner.clone(), 0..8);
        prop_oneof![
            object.prop_map(|map| Value::Object(map.into_iter().collect())),
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

/// 2,000 generated notifications (more with `STORKIT_TEST_TIMES`), signed, some with the sender's true ids so that they come all the way through.
#[test]
fn hostile_notifications_never_panic_and_never_stop_the_bot() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (place, bot) = runtime.block_on(async {
        let place = Place::new().await;
        let bot = place.bot_with_room_for(100_000).await;
        (place, bot)
    });
    let user_id = place.ann.user_id().unwrap();
    let cases = 2_000 * u32::try_from(services::times()).unwrap();
    let config = ProptestConfig { cases, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let cases = (hostile(), hostile(), any::<bool>(), "[a-z0-9]{1,8}");
    let result = runner.run(&cases, |(mut message, status, theirs, id)| {
        if let (Some(object), true) = (message.as_object_mut(), theirs) {
            object.insert("from_user_id".into(), json!(user_id));
            object.insert("id".into(), json!(id));
        }
        let value = json!({
            "metadata": { "phone_number_id": services::whatsapp::NUMBER_ID },
            "contacts": status,
            "messages": [message],
            "statuses": [status],
            "errors": status,
        });
        let body = json!({ "entry": [{ "changes": [{ "field": "messages", "value": value }] }] }).to_string();
        let request = Request::builder()
            .method("POST")
            .uri("/webhook/whatsapp")
            .header("x-hub-signature-256", Graph::signature(body.as_bytes()))
            .body(Bytes::from(body))
            .unwrap();
        let status = runtime.block_on(bot.adapter.handle(request)).status();
        prop_assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        Ok(())
    });
    result.unwrap();
    runtime.block_on(async {
        place.ann.say("still here").await;
        let mut bot = bot;
        loop {
            if let PersonAct::Said { text } = bot.hear().await.act
                && text == "still here"
            {
                break;
            }
        }
        bot.close().await;
    });
}
