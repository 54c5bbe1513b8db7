//! The HTTP mode: what is not Slack's is refused, what is comes once.

use std::time::{Duration, SystemTime};

use adapters::{Addressed, PersonAct, Webhooks as _};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use services::slack::{Slack, reqwest, signature};

use super::bench::{Bench, Way};

const EVENT: &str = r#"{"type":"event_callback","event":{"type":"message","channel":"D1","channel_type":"im","user":"U1","text":"hello","ts":"5.1"}}"#;

async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_slack_signed_within_five_minutes_is_taken() {
    let bench = Bench::new(Way::Http).await;
    let mut bot = bench.open().await;
    let url = bench.hook("/webhook/slack");
    let at = |time| Slack::signed_request(&url, EVENT, "application/json", time);
    let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
    assert_eq!(status(at(now - 6 * minute)).await, 401);
    assert_eq!(status(at(now + 6 * minute)).await, 401);
    let client = reqwest::Client::new();
    assert_eq!(status(client.post(&url).body(EVENT)).await, 401, "no signature");
    assert_eq!(status(at(now).body(EVENT.replace("hello", "delete 12"))).await, 401, "another body");
    for signature in ["", "v0=", "v0=00", "v1=abc", "é"] {
        let forged = client.post(&url).header("x-slack-request-timestamp", "1700000000").body(EVENT);
        let forged = forged.header(
            "x-slack-signature",
            reqwest::header::HeaderValue::from_bytes(signature.as_bytes()).expect("a header"),
        );
        assert_eq!(status(forged).await, 401, "{signature}");
    }
    assert_eq!(status(client.get(&url)).await, 405);
    assert_eq!(status(at(now - 4 * minute)).await, 200);
    assert_eq!(bot.hear_text().await, "hello");
    bench.slack.say("D1", "U1", "!marker");
    assert_eq!(bot.hear_text().await, "marker", "nothing of the refused came through");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_verified_and_oddities_are_answered() {
    let bench = Bench::new(Way::Http).await;
    let mut bot = bench.open().await;
    let post = |path: &str, body: &str, kind: &str| {
        Slack::signed_request(&bench.hook(path), body, kind, SystemTime::now())
    };
    let challenge = r#"{"type":"url_verification","token":"x","challenge":"3eZbrw1aB"}"#;
    let answer = post("/webhook/slack", challenge, "application/json").send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.text().await.expect("text").as_str()), (200, "3eZbrw1aB"));
    assert_eq!(status(post("/webhook/slack", "no json", "application/json")).await, 400);
    assert_eq!(status(post("/webhook/slack", "[1, null]", "application/json")).await, 200);
    let form = "application/x-www-form-urlencoded";
    for body in ["", "payload=", "payload=%7B", "payload=%7B%22type%22%3A%22block_actions%22%7D", "=&&%"] {
        assert_eq!(status(post("/webhook/slack/interactive", body, form)).await, 200, "{body}");
        assert_eq!(status(post("/webhook/slack/command", body, form)).await, 200, "{body}");
    }
    bench.slack.say("D1", "U1", "!marker");
    assert_eq!(bot.hear_text().await, "marker");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_presses_come_as_forms_and_repeats_only_once() {
    let bench = Bench::new(Way::Http).await;
    let mut bot = bench.open().await;
    bench.slack.slash("C1", "U1", "/storkit-status", "now &amp; then");
    let heard = bot.hear().await;
    assert_eq!(heard.act, PersonAct::Said { text: "status now & then".into() });
    assert_eq!(heard.addressed, Some(Addressed::Slash));
    bench.slack.doubt_next();
    bench.slack.say("D1", "U1", "told twice");
    bench.slack.say("D1", "U1", "marker");
    assert_eq!(bot.hear_text().await, "told twice");
    assert_eq!(bot.hear_text().await, "marker");
}

/// Bodies with a good signature, as if Slack itself went mad.
#[tokio::test(flavor = "multi_thread")]
async fn no_signed_body_is_too_odd() {
    let bench = Bench::new(Way::Http).await;
    let mut bot = bench.open().await;
    let seconds =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs().to_string();
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        "(payload=|command=|text=|&|%7B|%22|user_id=U1|channel_id=C1|\\PC){0,12}"
            .prop_map(String::into_bytes),
        super::said::odd().prop_map(|value| value.to_string().into_bytes()),
    ];
    let mut runner = TestRunner::deterministic();
    for path in ["", "/command", "/interactive"] {
        for _ in 0..1_500 * services::times() {
            let body = body.new_tree(&mut runner).expect("a body").current();
            let signature = signature(&seconds, &String::from_utf8_lossy(&body));
            let request = http::Request::post(format!("/webhook/slack{path}"))
                .header("x-slack-request-timestamp", &seconds)
                .header("x-slack-signature", signature)
                .body(bytes::Bytes::from(body.clone()))
                .expect("a request");
            let status = bot.adapter.handle(request).await.status().as_u16();
            assert!(
                matches!(status, 200 | 400 | 401 | 503),
                "{status} for {}",
                String::from_utf8_lossy(&body)
            );
        }
    }
    bench.slack.say("C1", "U1", "!marker");
    while bot.hear().await.act != (PersonAct::Said { text: "marker".into() }) {}
}
