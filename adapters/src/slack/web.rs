//! Calls of the Web API: slack-morphism's client on a connector of our own.
//!
//! Three settings differ from its defaults. Every call has a deadline, since the client knows none and a hanging call would
//! hang for ever. HTTP/1.1 only: on HTTP/2 all calls share one connection, and when that is half open, giving one call up
//! leaves the dead connection to the next one. No rate control of its own (see `pace.rs`).

use std::time::Duration;

use http::HeaderValue;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
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
use crate::{
    AdapterError,
    slack::{
        call_failure::{CallFailure, error_chain},
        notices,
        sent_files::AbsentFile,
    },
};

// How long a call may take. Slack itself expects answers to its own calls within 3 s.
const DEADLINE: Duration = Duration::from_secs(10);
const FILE_DEADLINE: Duration = Duration::from_secs(60);
// Files are at `files.slack.com`. The others are its networks for content, and that of the United States' government.
const SLACK_HOSTS: [&str; 4] = ["slack.com", "slack-edge.com", "slack-files.com", "slack-gov.com"];
const REDIRECTS_MAX: usize = 3;
// Lists the token's scopes: <https://docs.slack.dev/authentication/installing-with-oauth>
const SCOPES_HEADER: &str = "x-oauth-scopes";

type Https = HttpsConnector<HttpConnector>;

pub struct DownloadedFile {
    pub bytes: Vec<u8>,
    /// Whether Slack calls it a web page.
    pub is_html: bool,
}

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

    /// Fetches a file from an address that Slack gave. The token goes to Slack's own hosts alone, also where one
    /// of them sends the bot elsewhere.
    pub async fn download(&self, url: &str, max: u64) -> Result<DownloadedFile, AdapterError> {
        match tokio::time::timeout(FILE_DEADLINE, self.follow(url, max)).await {
            Ok(downloaded) => downloaded,
            Err(_) => {
                let why = format!("it did not arrive within {} s", FILE_DEADLINE.as_secs());
                Err(AdapterError::Unreachable(why))
            }
        }
    }

    async fn follow(&self, url: &str, max: u64) -> Result<DownloadedFile, AdapterError> {
        let foreign = || AdapterError::Rejected(notices::FOREIGN_ADDRESS.into());
        let mut url = Url::parse(url).map_err(|_| foreign())?;
        for _ in 0..=REDIRECTS_MAX {
            if !self.is_slacks(&url) {
                return Err(foreign());
            }
            let request = http::Request::get(url.as_str())
                .header(http::header::AUTHORIZATION, self.bearer())
                .body(String::new());
            let answer = self.plain.request(request.map_err(|_| foreign())?).await;
            let answer = answer.map_err(|error| AdapterError::Unreachable(error_chain(&error)))?;
            if !answer.status().is_redirection() {
                return content(answer, max).await;
            }
            let location = header_text(&answer, http::header::LOCATION);
            url = url.join(location).map_err(|_| foreign())?;
        }
        Err(AdapterError::Rejected(notices::ENDLESS_REDIRECTS.into()))
    }

    fn bearer(&self) -> HeaderValue {
        let bearer = format!("Bearer {}", self.bot.token_value.0);
        // A token that fits no header cannot be valid, and Slack refuses it like any other.
        let mut bearer = HeaderValue::from_str(&bearer).unwrap_or(HeaderValue::from_static("Bearer"));
        bearer.set_sensitive(true);
        bearer
    }

    fn is_slacks(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let is_known = SLACK_HOSTS
            .iter()
            .any(|known| host.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
        // The stand-ins of tests are neither of Slack's names nor served over TLS.
        let is_api = Url::parse(&self.url).is_ok_and(|api| api.origin() == url.origin());
        is_api || url.scheme() == "https" && is_known
    }

    pub async fn scopes(&self) -> Option<Vec<String>> {
        let request = http::Request::post(format!("{}/auth.test", self.url))
            .header(http::header::AUTHORIZATION, self.bearer())
            .body(String::new())
            .ok()?;
        let answer = tokio::time::timeout(DEADLINE, self.plain.request(request)).await.ok()?.ok()?;
        let scopes = answer.headers().get(SCOPES_HEADER)?.to_str().ok()?;
        Some(scopes.split(',').map(|scope| scope.trim().to_owned()).collect())
    }
}

fn header_text<B>(answer: &http::Response<B>, name: http::HeaderName) -> &str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn content(answer: http::Response<Incoming>, max: u64) -> Result<DownloadedFile, AdapterError> {
    let status = answer.status();
    if status == http::StatusCode::TOO_MANY_REQUESTS {
        let seconds = header_text(&answer, http::header::RETRY_AFTER).parse().unwrap_or(5);
        return Err(AdapterError::RateLimited { retry_after: Duration::from_secs(seconds) });
    }
    if status.is_server_error() {
        return Err(AdapterError::Unreachable(format!("Slack answers {status}")));
    }
    let refused = match status {
        http::StatusCode::NOT_FOUND | http::StatusCode::GONE => Some(AbsentFile::Deleted),
        status => (!status.is_success()).then_some(AbsentFile::AccessDenied),
    };
    if let Some(refused) = refused {
        return Err(AdapterError::Rejected(notices::absent_file(refused).into()));
    }
    let is_html = header_text(&answer, http::header::CONTENT_TYPE).starts_with("text/html");
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    match Limited::new(answer.into_body(), limit).collect().await {
        Ok(body) => Ok(DownloadedFile { bytes: body.to_bytes().into(), is_html }),
        Err(error) if error.is::<LengthLimitError>() => Err(AdapterError::Rejected(notices::too_large(max))),
        Err(error) => Err(AdapterError::Unreachable(error_chain(&*error))),
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
