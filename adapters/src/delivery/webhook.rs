//! The interface between messengers that receive webhooks and the public listener: plain HTTP requests, no framework.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// The longest body a webhook takes, in bytes; the listener refuses longer ones with 413 before the messenger sees them.
/// Meta sends at most 3 MB, Slack far less: <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>
pub const BODY_MAX: usize = 3 * 1024 * 1024;

/// A messenger's webhooks. The public listener serves exactly these paths and nothing else.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// The paths it answers on, e.g. `/webhook/whatsapp`; constant.
    fn paths(&self) -> &'static [&'static str];

    /// Answers one request, whose body is whole and as it came over the wire. Must be quick: take the message in, answer,
    /// work later. Nothing in it is trusted before its signature is checked.
    async fn handle(&self, request: http::Request<Bytes>) -> http::Response<Bytes>;
}

/// An answer with a status and a short text.
pub fn respond(status: http::StatusCode, text: impl Into<Bytes>) -> http::Response<Bytes> {
    let mut response = http::Response::new(text.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The webhooks that answer on `path`.
pub fn find<'a>(webhooks: &'a [Arc<dyn Webhooks>], path: &str) -> Option<&'a Arc<dyn Webhooks>> {
    webhooks.iter().find(|webhooks| webhooks.paths().contains(&path))
}
