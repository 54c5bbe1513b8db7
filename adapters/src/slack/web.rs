//! Calls of the Web API: slack-morphism's client on a connector of our own.
//!
//! Three settings differ from its defaults. Every call has a deadline, since the client knows none and a hanging call would
//! hang for ever. HTTP/1.1 only: on HTTP/2 all calls share one connection, and when that is half open, giving one call up
//! leaves the dead connection to the next one. No rate control of its own (see `pace.rs`).

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use slack_morphism::{
    SlackApiToken, SlackApiTokenValue, SlackClient, SlackClientApiCallContext, SlackClientHttpConnector as _,
    errors::SlackClientError, hyper_tokio::SlackClientHyperConnector,
};
use tracing::Span;
use url::Url;

use super::SlackConfig;
use crate::{AdapterError, slack::call_failure::CallFailure};

// How long a call may take. Slack itself expects answers to its own calls within 3 s.
const DEADLINE: Duration = Duration::from_secs(10);
const FILE_DEADLINE: Duration = Duration::from_secs(60);
// Lists the token's scopes: <https://docs.slack.dev/authentication/installing-with-oauth>
const SCOPES_HEADER: &str = "x-oauth-scopes";

type Https = HttpsConnector<HttpConnector>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Bot,
    /// The app's, for Socket Mode.
    App,
}

pub struct WebApi {
    client: SlackClient<SlackClientHyperConnector<Https>>,
    // For the headers of an answer, which slack-morphism does not return.
    plain: Client<Https, String>,
    bot: SlackApiToken,
    app: SlackApiToken,
    url: String,
}

impl WebApi {
    pub fn new(config: &SlackConfig) -> Result<Self, AdapterError> {
        let https = HttpsConnectorBuilder::new().with_native_roots().map_err(|error| AdapterError::Config {
            key: "slack.api_url",
            why: format!("TLS needs this machine's CA certificates, and they cannot be read ({error}); install `ca-certificates`."),
        })?;
        let https = https.https_or_http().enable_http1().build();
        let url = config.api_url.trim_end_matches('/').to_owned();
        let token =
            |token: &crate::Secret| SlackApiToken::new(SlackApiTokenValue::new(token.reveal().to_owned()));
        Ok(Self {
            client: SlackClient::new(
                SlackClientHyperConnector::with_connector(https.clone()).with_slack_api_url(&url),
            ),
            plain: Client::builder(TokioExecutor::new()).build(https),
            bot: token(&config.bot_token),
            app: token(&config.app_token),
            url,
        })
    }

    pub async fn call(&self, method: &str, body: &Value) -> Result<Value, CallFailure> {
        self.call_as(TokenKind::Bot, method, body).await
    }

    pub async fn call_as(&self, token: TokenKind, method: &str, body: &Value) -> Result<Value, CallFailure> {
        let token = match token {
            TokenKind::Bot => &self.bot,
            TokenKind::App => &self.app,
        };
        let session = self.client.open_session(token);
        let call = session.http_session_api.http_post::<_, Value>(method, body, None);
        let answer = within(DEADLINE, call).await;
        if let Err(trouble) = &answer {
            tracing::debug!(method, ?trouble, "a call to Slack failed");
        }
        answer
    }

    /// Calls a method that takes no JSON, but parameters in its address.
    pub async fn call_with(&self, method: &str, parameters: &[(&str, &str)]) -> Result<Value, CallFailure> {
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, Some(*value))).collect();
        let session = self.client.open_session(&self.bot);
        within(DEADLINE, session.http_session_api.http_get::<Value, _, _>(method, &parameters, None)).await
    }

    // A response URL is as good as a key, so it must not reach the log.
    pub async fn respond(&self, url: &str, body: &Value) -> Result<(), CallFailure> {
        let url = parse(url)?;
        let span = Span::none();
        let context = context(&span);
        within(DEADLINE, self.client.http_api.connector.http_post_uri::<_, Value>(url, body, context))
            .await
            .map(drop)
    }

    /// Puts a file's bytes at the address that Slack gave.
    pub async fn put_file(&self, url: &str, bytes: &[u8]) -> Result<(), CallFailure> {
        let url = parse(url)?;
        let span = Span::none();
        let kind = "application/octet-stream".to_owned();
        let connector = &self.client.http_api.connector;
        within(FILE_DEADLINE, connector.http_post_uri_binary::<Value>(url, kind, bytes, context(&span)))
            .await
            .map(drop)
    }

    pub async fn scopes(&self) -> Option<Vec<String>> {
        let request = http::Request::post(format!("{}/auth.test", self.url))
            .header(http::header::AUTHORIZATION, format!("Bearer {}", self.bot.token_value.0))
            .body(String::new())
            .ok()?;
        let answer = tokio::time::timeout(DEADLINE, self.plain.request(request)).await.ok()?.ok()?;
        let scopes = answer.headers().get(SCOPES_HEADER)?.to_str().ok()?;
        Some(scopes.split(',').map(|scope| scope.trim().to_owned()).collect())
    }
}

fn context(span: &Span) -> SlackClientApiCallContext<'_> {
    SlackClientApiCallContext {
        rate_control_params: None,
        token: None,
        tracing_span: span,
        // Without this slack-morphism logs the URL, which lets anybody post or upload who has it.
        is_sensitive_url: true,
    }
}

fn parse(url: &str) -> Result<Url, CallFailure> {
    Url::parse(url).map_err(|_| CallFailure::Refused("no address".into()))
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, SlackClientError>>,
) -> Result<T, CallFailure> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(CallFailure::of),
        Err(_) => Err(CallFailure::Unreachable(format!("no answer within {} s", deadline.as_secs()))),
    }
}
