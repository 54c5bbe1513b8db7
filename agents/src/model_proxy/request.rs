//! The requests that an agent may send to the model's service: three paths of its API, with the run's own key, and nothing that makes the
//! service fetch an address. Pure.

use hyper::{
    Method, StatusCode, Version,
    body::Bytes,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::request,
};
use serde::Deserialize;

/// Headers that are passed on, in addition to those that begin like [`PASSED_PREFIXES`]. A list of what passes: a key in a
/// header that some gateway reads must not pass because nobody thought of it.
const PASSED: [&str; 4] = ["accept", "content-type", "user-agent", "x-app"];
const PASSED_PREFIXES: [&str; 4] = ["anthropic-", "x-stainless-", "x-claude-", "x-client-"];

/// Tools that the service runs itself and that reach an address of the caller's choice. `web_search` is none of them: it asks a
/// search engine, and the CLI's own tool of that name needs it.
const FETCHING_TOOLS: [&str; 3] = ["web_fetch", "code_execution", "mcp_toolset"];

/// A path of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiPath {
    Messages,
    CountTokens,
    /// The list of models, or one of them.
    Models,
}

/// A refusal for the agent: a status and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub StatusCode, pub String);

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self(status, text.into())
    }

    /// The type of error by which the Messages API names such a status.
    pub(super) fn kind(&self) -> &'static str {
        match self.0 {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            status if status.is_server_error() => "api_error",
            _ => "invalid_request_error",
        }
    }
}

/// Checks the head of a request. `key` is the run's own.
pub(super) fn admit(head: &request::Parts, key: &str) -> Result<ApiPath, Refusal> {
    let bad = |text: &str| Refusal::new(StatusCode::BAD_REQUEST, text);
    if head.method == Method::CONNECT || head.uri.authority().is_some() || head.uri.scheme().is_some() {
        return Err(bad("This is the model's API and no proxy: ask for a path."));
    }
    if !matches!(head.version, Version::HTTP_11 | Version::HTTP_10) {
        return Err(bad("Only HTTP/1.1 is spoken here."));
    }
    let count = |name: HeaderName| head.headers.get_all(name).iter().count();
    if count(header::HOST) > 1 || count(header::CONTENT_LENGTH) > 1 || count(header::TRANSFER_ENCODING) > 1 {
        return Err(bad("A header that frames the request is there twice."));
    }
    if count(header::CONTENT_LENGTH) > 0 && count(header::TRANSFER_ENCODING) > 0 {
        return Err(bad("A request has either a length or chunks."));
    }
    if !has_key(&head.headers, key) {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "storkit's way to the model takes only the key of its own run.",
        ));
    }
    let path = head.uri.path();
    let api = match (&head.method, path) {
        (&Method::POST, "/v1/messages") => ApiPath::Messages,
        (&Method::POST, "/v1/messages/count_tokens") => ApiPath::CountTokens,
        (&Method::GET, "/v1/models") => ApiPath::Models,
        (&Method::GET, path) if path.strip_prefix("/v1/models/").is_some_and(is_model_name) => {
            ApiPath::Models
        }
        // Batches are paid for and never metered here; files and everything else store an agent's data.
        _ => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "An agent reaches only messages, token counts and models of the model's API.",
            ));
        }
    };
    Ok(api)
}

fn is_model_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:".contains(&b))
}

/// The run's key, as either of the two headers that the CLI sends.
fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let sent = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let bearer = sent(header::AUTHORIZATION).and_then(|value| value.strip_prefix(b"Bearer "));
    let api_key = sent(HeaderName::from_static("x-api-key"));
    [bearer, api_key].into_iter().flatten().any(|sent| is_same(sent, key.as_bytes()))
}

/// Compares in a time that does not depend on where they differ.
fn is_same(sent: &[u8], key: &[u8]) -> bool {
    sent.len() == key.len() && sent.iter().zip(key).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// The headers for the service: what passes, and `key` over it.
pub(super) fn passed_headers(sent: &HeaderMap, key: &HeaderMap) -> HeaderMap {
    let passes = |name: &HeaderName| {
        let name = name.as_str();
        PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    // Headers that `Connection` names are meant for this proxy alone.
    let named = |name: &HeaderName| {
        let listed = sent.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        listed
            .flat_map(|value| value.split(','))
            .any(|other| other.trim().eq_ignore_ascii_case(name.as_str()))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in sent.iter().filter(|(name, _)| passes(name) && !named(name)) {
        headers.append(name, value.clone());
    }
    // Uncompressed: the usage is read from it.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in key {
        headers.insert(name, value.clone());
    }
    headers
}

/// The parts of a request to the model that matter here. All else passes unread; a key that is there twice is an error, since
/// the service could read the other one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelRequest {
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    system: Option<Content>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    mcp_servers: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// Text, or blocks. Nothing else: content of an unknown form could hide an address.
#[derive(Debug)]
enum Content {
    Text,
    Blocks(Vec<Block>),
}

/// A block; `source` of images and documents, `content` of tool results and of documents.
#[derive(Debug, Deserialize)]
struct Block {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    content: Option<Content>,
}

/// Text (a search result's address, which nobody fetches), or an object.
#[derive(Debug)]
enum Source {
    Text,
    Object(SourceObject),
}

#[derive(Debug, Deserialize)]
struct SourceObject {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    content: Option<Content>,
}

/// Reads either a string or what `$object` reads. Not `untagged`, which takes an error in one form for the other form.
macro_rules! text_or {
    ($type:ty, $text:expr, $visit:ident, $access:ident, $inner:ident, $made:expr, $what:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Reader;
                impl<'de> serde::de::Visitor<'de> for Reader {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                        Ok($text)
                    }

                    fn $visit<A: serde::de::$access<'de>>(self, found: A) -> Result<Self::Value, A::Error> {
                        Deserialize::deserialize(serde::de::value::$inner::new(found)).map($made)
                    }
                }
                from.deserialize_any(Reader)
            }
        }
    };
}

text_or!(
    Content,
    Content::Text,
    visit_seq,
    SeqAccess,
    SeqAccessDeserializer,
    Content::Blocks,
    "text or a list of blocks"
);
text_or!(
    Source,
    Source::Text,
    visit_map,
    MapAccess,
    MapAccessDeserializer,
    Source::Object,
    "text or a source"
);

/// Reads the body of a request to the model, and refuses one that makes the service fetch something.
pub(super) fn read_messages(body: &Bytes) -> Result<ModelRequest, Refusal> {
    let request: ModelRequest = serde_json::from_slice(body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("The request is no Messages API request: {error}."))
    })?;
    // The service would go to any address for whoever is in the sandbox, past storkit's own rules for hosts.
    let refused = |what: &str| {
        let text = format!(
            "{what} would make the model's service fetch an address; storkit passes no such request."
        );
        Err(Refusal::new(StatusCode::FORBIDDEN, text))
    };
    if request.mcp_servers.as_ref().is_some_and(|servers| !servers.is_empty()) {
        return refused("`mcp_servers`");
    }
    let fetching = |tool: &Tool| {
        let kind = tool.kind.as_deref().unwrap_or_default();
        FETCHING_TOOLS.iter().any(|tool| kind.starts_with(tool))
    };
    if request.tools.iter().any(fetching) {
        return refused("That tool");
    }
    let contents = request.messages.iter().filter_map(|message| message.content.as_ref());
    if contents.chain(&request.system).any(names_address) {
        return refused("An image or document by its URL");
    }
    Ok(request)
}

fn names_address(content: &Content) -> bool {
    let Content::Blocks(blocks) = content else { return false };
    blocks.iter().any(|block| {
        // A result of a tool that the service itself ran; its parts are the service's own.
        let own = block.kind.as_deref().is_some_and(|kind| kind.ends_with("_tool_result"));
        let from_source = match &block.source {
            Some(Source::Object(source)) => {
                source.kind.as_deref() == Some("url") || source.content.as_ref().is_some_and(names_address)
            }
            Some(Source::Text) | None => false,
        };
        from_source || (!own && block.content.as_ref().is_some_and(names_address))
    })
}
