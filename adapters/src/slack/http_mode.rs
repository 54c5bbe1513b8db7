//! The HTTP mode: signed requests from Slack.
//!
//! <https://docs.slack.dev/apis/events-api/using-http-request-urls>,
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::Value;
use slack_morphism::signature_verifier::SlackEventSignatureVerifier;

use super::{
    adapter::Slack,
    event::{self, SlackEvent, text},
};
use crate::{Webhooks, delivery::webhook::respond};

const EVENTS: &str = "/webhook/slack";
const COMMAND: &str = "/webhook/slack/command";
const INTERACTIVE: &str = "/webhook/slack/interactive";

#[async_trait]
impl Webhooks for Slack {
    fn paths(&self) -> &'static [&'static str] {
        &[EVENTS, COMMAND, INTERACTIVE]
    }

    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        if request.method() != http::Method::POST {
            return respond(StatusCode::METHOD_NOT_ALLOWED, "Slack posts here.");
        }
        // Before anything in the request is read: its text may come from anybody.
        let Some(body) = self.verified(&request) else {
            return respond(StatusCode::UNAUTHORIZED, "The signature is missing, wrong or too old.");
        };
        if let Some(number) = header(&request, "x-slack-retry-num") {
            let reason = header(&request, "x-slack-retry-reason").unwrap_or_default();
            tracing::info!(number, reason, "Slack tells something again");
        }
        match request.uri().path() {
            COMMAND => self.take_in(event::from_slash(&form(body))),
            INTERACTIVE => {
                let payload = serde_json::from_str(text(&form(body), "payload")).unwrap_or_default();
                self.take_in(event::from_interaction(&payload))
            }
            _ => self.event(body),
        }
    }
}

impl Slack {
    // slack-morphism compares in constant time and refuses requests that are older than five minutes.
    fn verified<'r>(&self, request: &'r Request<Bytes>) -> Option<&'r str> {
        let body = std::str::from_utf8(request.body()).ok()?;
        let signature = header(request, SlackEventSignatureVerifier::SLACK_SIGNED_HASH_HEADER)?;
        let timestamp = header(request, SlackEventSignatureVerifier::SLACK_SIGNED_TIMESTAMP)?;
        let verified = self.verifier()?.verify(signature, body, timestamp);
        if let Err(error) = &verified {
            tracing::warn!(%error, "a request that is not Slack's, or came too late");
        }
        verified.ok().map(|()| body)
    }

    fn event(&self, body: &str) -> Response<Bytes> {
        let Ok(payload) = serde_json::from_str::<Value>(body) else {
            return respond(StatusCode::BAD_REQUEST, "The body is no JSON.");
        };
        match text(&payload, "type") {
            "url_verification" => respond(StatusCode::OK, text(&payload, "challenge").to_owned()),
            _ => self.take_in(event::from_event(&payload)),
        }
    }

    // Slack wants an answer within three seconds, so events are only queued here. After an error it sends them again.
    fn take_in(&self, heard: impl IntoIterator<Item = SlackEvent>) -> Response<Bytes> {
        let heard: Vec<SlackEvent> = heard.into_iter().collect();
        if heard.contains(&SlackEvent::Uninstalled) {
            self.token_may_be_gone();
        }
        match self.receiver().enqueue(heard) {
            true => respond(StatusCode::OK, ""),
            false => respond(StatusCode::SERVICE_UNAVAILABLE, "Too much waits here; again later."),
        }
    }
}

fn header<'r>(request: &'r Request<Bytes>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

fn form(body: &str) -> Value {
    let fields = form_urlencoded::parse(body.as_bytes());
    fields
        .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
