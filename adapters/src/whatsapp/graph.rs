//! The Graph API: calls with the token, and what its errors mean. <https://developers.facebook.com/docs/whatsapp/cloud-api/reference>

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use reqwest::{Method, RequestBuilder, Response, multipart};
use serde_json::{Value, json};
use url::Url;

use super::notification::DeliveryFailure;
use crate::{Attachment, CommandInfo, Secret};

const CONNECT: Duration = Duration::from_secs(10);
const CALL: Duration = Duration::from_secs(30);
// Messages queue behind a read mark, and a mark is not worth their waiting longer.
const MARK: Duration = Duration::from_secs(5);
// Meta's answers are small. The limit bounds the memory that a wrong server behind `api_url` can take.
const ANSWER_MAX: u64 = 1024 * 1024;
/// Commands in the menu, and their names' and descriptions' lengths.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/phone-numbers/conversational-components#commands>
const COMMANDS_MAX: usize = 30;
const COMMAND_NAME_MAX: usize = 32;
const COMMAND_DESCRIPTION_MAX: usize = 256;
// Meta's hosts for files, besides the API's own. The token goes nowhere else, whatever a webhook names.
const MEDIA_HOSTS: [&str; 3] = ["fbsbx.com", "facebook.com", "whatsapp.net"];

#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    #[error("Meta answered {failure}")]
    Refused {
        status: StatusCode,
        failure: DeliveryFailure,
        /// The wait that the header `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    #[error("{0}")]
    Unreachable(String),
    #[error("an answer that is not understood: {0}")]
    Garbled(String),
    /// The size in bytes of a file beyond the limit.
    #[error("a file of {0} bytes")]
    TooLarge(u64),
}

impl GraphError {
    /// Whether the same call may succeed a moment later.
    pub fn passes(&self) -> bool {
        match self {
            Self::Refused { status, failure, .. } => matches!(
                ErrorMeaning::of(failure.code, *status),
                ErrorMeaning::Passing | ErrorMeaning::Throughput | ErrorMeaning::Pair
            ),
            Self::Unreachable(_) => true,
            Self::Garbled(_) | Self::TooLarge(_) => false,
        }
    }
}

/// The meaning of a refusal. <https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMeaning {
    /// Meta refuses the access token.
    Token,
    /// Too many messages to this person.
    Pair,
    /// Too many calls for the bot's number.
    Throughput,
    /// The person's window is closed.
    Window,
    /// This person cannot be reached at all.
    Person,
    /// The template cannot be used.
    Template,
    /// The account is limited or lacks a right.
    Account,
    /// A trouble of Meta's that passes.
    Passing,
    /// A mistake in our own call.
    Ours,
}

impl ErrorMeaning {
    pub fn of(code: i64, status: StatusCode) -> Self {
        match code {
            190 => Self::Token,
            131056 => Self::Pair,
            4 | 80007 | 130429 | 131057 => Self::Throughput,
            131047 => Self::Window,
            131021 | 131026 | 131030 | 131045 => Self::Person,
            132000..=132999 => Self::Template,
            3 | 10 | 200..=299 | 368 | 131005 | 131031 | 131042 | 133010 => Self::Account,
            1 | 2 | 131000 | 131016 | 133004 => Self::Passing,
            // For codes that this list does not know, the status decides.
            _ if status == StatusCode::UNAUTHORIZED => Self::Token,
            _ if status == StatusCode::TOO_MANY_REQUESTS => Self::Throughput,
            _ if status.is_server_error() => Self::Passing,
            _ => Self::Ours,
        }
    }
}

pub struct GraphApi {
    http: reqwest::Client,
    base: String,
    number: String,
    token: Secret,
}

impl GraphApi {
    /// A client for this address, number id and token; it sends nothing yet.
    pub fn new(base: &str, number: &str, token: Secret) -> Result<Self, String> {
        let base = base.trim_end_matches('/').to_owned();
        let url = Url::parse(&base).map_err(|error| error.to_string())?;
        // Redirects are not followed: the token must not travel to an address that nobody has checked.
        let mut http = reqwest::Client::builder()
            // Meta's servers for files refuse requests without one.
            .user_agent(concat!("storkit/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(CALL)
            .redirect(reqwest::redirect::Policy::none());
        if url.scheme() == "http" {
            // HTTP is only for this machine, and a proxy could not reach that.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| error.to_string())?;
        Ok(Self { http, base, number: number.to_owned(), token })
    }

    /// Sends a message and returns Meta's id of it: Meta has accepted it, but not yet delivered it.
    pub async fn send(&self, message: &Value) -> Result<String, GraphError> {
        let answer = self.post("messages", message).await?;
        let id = answer["messages"][0]["id"].as_str().filter(|id| !id.is_empty());
        id.map(str::to_owned).ok_or_else(|| GraphError::Garbled("a message without an id".into()))
    }

    /// Marks a person's message as read, and shows that we are typing for up to 25 s.
    /// <https://developers.facebook.com/docs/whatsapp/cloud-api/typing-indicators>
    pub async fn read(&self, message: &str, typing: bool) -> Result<(), GraphError> {
        let mut body = json!({ "messaging_product": "whatsapp", "status": "read", "message_id": message });
        if typing {
            body["typing_indicator"] = json!({ "type": "text" });
        }
        self.call(self.request(Method::POST, &self.path("messages")).timeout(MARK).json(&body))
            .await
            .map(drop)
    }

    /// Uploads a file; returns its id, which is good for 30 days.
    pub async fn upload(&self, file: &Attachment, mime: &str) -> Result<String, GraphError> {
        let part = multipart::Part::bytes(file.bytes.clone()).file_name(file.name.clone());
        let part = part.mime_str(mime).map_err(unreachable)?;
        let form = multipart::Form::new()
            .text("messaging_product", "whatsapp")
            .text("type", mime.to_owned())
            .part("file", part);
        let answer = self.call(self.request(Method::POST, &self.path("media")).multipart(form)).await?;
        let id = answer["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| GraphError::Garbled("a file without an id".into()))
    }

    pub async fn download(&self, id: &str, max: u64) -> Result<Vec<u8>, GraphError> {
        // The id comes from a webhook and becomes part of a path: no `..` and no query.
        if !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return Err(GraphError::Garbled("a file's id with signs in it".into()));
        }
        let about = self.call(self.request(Method::GET, &format!("{}/{id}", self.base))).await?;
        let size = about["file_size"].as_u64().or_else(|| about["file_size"].as_str()?.parse().ok());
        if let Some(size) = size.filter(|size| *size > max) {
            return Err(GraphError::TooLarge(size));
        }
        let url = about["url"].as_str().unwrap_or_default();
        if !self.is_metas(url) {
            return Err(GraphError::Garbled("a file's address that is not Meta's".into()));
        }
        let response = self.request(Method::GET, url).send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(refusal(response.status(), None, &Value::Null));
        }
        body(response, max).await
    }

    /// The number's display data. A success proves token and number id.
    pub async fn number(&self) -> Result<Value, GraphError> {
        let url = format!("{}/{}?fields=id,display_phone_number,verified_name", self.base, self.number);
        self.call(self.request(Method::GET, &url)).await
    }

    /// Sets the menu of commands that people see when they type a slash.
    pub async fn set_menu(&self, commands: &[CommandInfo]) -> Result<(), GraphError> {
        self.post("conversational_automation", &menu(commands)).await.map(drop)
    }

    async fn post(&self, what: &str, body: &Value) -> Result<Value, GraphError> {
        self.call(self.request(Method::POST, &self.path(what)).json(body)).await
    }

    fn path(&self, what: &str) -> String {
        format!("{}/{}/{what}", self.base, self.number)
    }

    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let bearer = format!("Bearer {}", self.token.reveal());
        // A token that fits no header cannot be valid. Meta then answers 190, like for any other wrong token.
        let mut bearer = HeaderValue::from_str(&bearer).unwrap_or(HeaderValue::from_static("Bearer"));
        bearer.set_sensitive(true);
        self.http.request(method, url).header(header::AUTHORIZATION, bearer)
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value, GraphError> {
        let response = request.send().await.map_err(unreachable)?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let bytes = body(response, ANSWER_MAX).await?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match status.is_success() {
            true if answer.is_object() && answer["error"].is_null() => Ok(answer),
            true if answer["error"].is_null() => Err(GraphError::Garbled("no JSON object".into())),
            _ => Err(refusal(status, retry_after, &answer["error"])),
        }
    }

    fn is_metas(&self, url: &str) -> bool {
        let (Ok(url), Ok(base)) = (Url::parse(url), Url::parse(&self.base)) else { return false };
        let Some(host) = url.host_str() else { return false };
        let same = url.origin() == base.origin();
        let metas = MEDIA_HOSTS.iter().any(|known| host == *known || host.ends_with(&format!(".{known}")));
        same || url.scheme() == "https" && metas
    }
}

fn menu(commands: &[CommandInfo]) -> Value {
    let cut = |text: &str, max: usize| -> String { super::compose::shortened(text, max) };
    let fits = |command: &&CommandInfo| (1..=COMMAND_NAME_MAX).contains(&command.name.chars().count());
    let entry = |command: &CommandInfo| {
        let usage = if command.args.is_empty() { String::new() } else { format!("{}: ", command.args) };
        let description = cut(&format!("{usage}{}", command.summary), COMMAND_DESCRIPTION_MAX);
        json!({ "command_name": command.name, "command_description": description })
    };
    let shown: Vec<Value> = commands.iter().filter(fits).take(COMMANDS_MAX).map(entry).collect();
    if shown.len() < commands.len() {
        tracing::info!(
            shown = shown.len(),
            of = commands.len(),
            "WhatsApp's menu has no room for every command"
        );
    }
    // A welcome message would call the bot with an event whenever somebody opens the chat for the first time.
    json!({ "enable_welcome_message": false, "commands": shown })
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, error: &Value) -> GraphError {
    let mut failure = DeliveryFailure::read(error);
    if failure.text.is_empty() {
        failure.text = format!("HTTP {}", status.as_u16());
    }
    GraphError::Refused { status, failure, retry_after }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    // At most an hour: a wrong header must not silence the bot for days.
    value.parse().ok().map(|seconds: u32| Duration::from_secs(u64::from(seconds.min(3600))))
}

async fn body(mut response: Response, max: u64) -> Result<Vec<u8>, GraphError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > max {
            return Err(GraphError::TooLarge(bytes.len() as u64));
        }
    }
    Ok(bytes)
}

// Without the address: anybody can fetch a file with it, and the text goes to the log.
fn unreachable(error: reqwest::Error) -> GraphError {
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let last = causes.last().map(|cause| format!(": {cause}")).unwrap_or_default();
    GraphError::Unreachable(format!("{error}{last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(base: &str) -> GraphApi {
        GraphApi::new(base, "77", Secret::new("EAAB")).unwrap()
    }

    #[test]
    fn the_token_goes_to_metas_hosts_and_nowhere_else() {
        let graph = graph("https://graph.facebook.com/v23.0");
        assert!(graph.is_metas("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1"));
        assert!(graph.is_metas("https://graph.facebook.com/x"));
        for url in [
            "http://lookaside.fbsbx.com/x",
            "https://evilfbsbx.com/x",
            "https://fbsbx.com.evil.org/x",
            "https://lookaside.fbsbx.com@evil.org/x",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!graph.is_metas(url), "{url}");
        }
        let local = self::graph("http://127.0.0.1:9/v23.0");
        assert!(local.is_metas("http://127.0.0.1:9/files/1"));
        assert!(!local.is_metas("http://127.0.0.1:10/files/1"), "another program on this machine");
    }

    #[test]
    fn codes_mean_what_metas_list_says() {
        let meaning = |code| ErrorMeaning::of(code, StatusCode::BAD_REQUEST);
        for (code, means) in [
            (190, ErrorMeaning::Token),
            (131056, ErrorMeaning::Pair),
            (130429, ErrorMeaning::Throughput),
            (131047, ErrorMeaning::Window),
            (131026, ErrorMeaning::Person),
            (132001, ErrorMeaning::Template),
            (131031, ErrorMeaning::Account),
            (131000, ErrorMeaning::Passing),
            (100, ErrorMeaning::Ours),
            (131009, ErrorMeaning::Ours),
        ] {
            assert_eq!(meaning(code), means, "{code}");
        }
        // A proxy's page has no code at all.
        assert_eq!(ErrorMeaning::of(0, StatusCode::BAD_GATEWAY), ErrorMeaning::Passing);
        assert_eq!(ErrorMeaning::of(0, StatusCode::UNAUTHORIZED), ErrorMeaning::Token);
        assert_eq!(ErrorMeaning::of(99, StatusCode::TOO_MANY_REQUESTS), ErrorMeaning::Throughput);
    }

    #[test]
    fn the_menu_keeps_to_its_limits() {
        let command = |n: usize| CommandInfo {
            name: format!("c{n}"),
            args: "[X]".into(),
            summary: "Do it ".repeat(100),
        };
        let commands: Vec<_> = (0..40).map(command).collect();
        let menu = menu(&commands);
        let shown = menu["commands"].as_array().unwrap();
        assert_eq!(shown.len(), 30);
        assert!(
            shown[0]["command_description"]
                .as_str()
                .is_some_and(|it| it.starts_with("[X]: Do it") && it.chars().count() <= 256)
        );
        let long = CommandInfo { name: "n".repeat(33), ..command(1) };
        assert!(super::menu(&[long])["commands"].as_array().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nothing_that_is_said_of_a_failure_has_the_token_in_it() {
        let graph = graph("http://127.0.0.1:9/v23.0");
        let error = graph.number().await.expect_err("nobody listens there");
        assert!(matches!(error, GraphError::Unreachable(_)));
        assert!(!format!("{error} {error:?}").contains("EAAB"));
        let request = graph.request(Method::GET, "http://127.0.0.1:9/x");
        assert!(!format!("{request:?}").contains("EAAB"), "{request:?}");
    }
}
