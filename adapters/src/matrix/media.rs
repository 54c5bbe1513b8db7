//! Files that people send: what the bot remembers of one, and its content once that is wanted.
//!
//! Not by matrix-sdk's `Media`, which has no limit of size or time and writes what it gets into its store.

use std::{io::Read as _, time::Duration};

use matrix_sdk::{
    Client,
    deserialized_responses::TimelineEventKind,
    ruma::{MxcUri, events::room::MediaSource},
};
use matrix_sdk_base::crypto::{AttachmentDecryptor, MediaEncryptionInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use super::{bot::MatrixBot, errors::error_chain, event::MediaContent, notices};
use crate::{AdapterError, SentFile};

// Longer than the 20 s that a homeserver waits for another one.
// <https://spec.matrix.org/v1.15/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid>
const ANSWER: Duration = Duration::from_secs(60);
const STALL: Duration = Duration::from_secs(30);
// Where a homeserver names no time.
const LIMITED_FOR: Duration = Duration::from_secs(5);
// The second is that of homeservers before version 1.11 of the specification.
const PATHS: [&str; 2] = ["_matrix/client/v1/media/download", "_matrix/media/v3/download"];

/// [`SentFile::reference`].
#[derive(Debug, Serialize, Deserialize)]
struct MediaReference {
    /// A [`MediaSource`], as the event has it.
    source: Value,
    /// Whether the message that brought it was encrypted.
    encrypted: bool,
}

/// The file of a message.
pub(super) fn sent_file(file: &MediaContent, kind: &TimelineEventKind) -> SentFile {
    let encrypted = matches!(kind, TimelineEventKind::Decrypted(_));
    let reference = MediaReference { source: file.source.clone(), encrypted };
    let reference = serde_json::to_string(&reference).unwrap_or_default();
    SentFile { name: file.name.clone(), size: file.size, reference }
}

/// The content of a file, decrypted: at most `max` bytes, whatever its message and the homeserver announce.
pub(super) async fn fetch(bot: &MatrixBot, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
    let refused = |why: String| Err(AdapterError::Rejected(why));
    let reference = serde_json::from_str(&file.reference)
        .and_then(|MediaReference { source, encrypted }| Ok((serde_json::from_value(source)?, encrypted)));
    let (source, encrypted): (MediaSource, bool) = match reference {
        Ok(reference) => reference,
        Err(error) => {
            tracing::info!(%error, "a file without a usable address");
            return refused(notices::FILE_WITHOUT_ADDRESS.into());
        }
    };
    if file.size.is_some_and(|size| size > max) {
        return refused(notices::file_too_large(max));
    }
    let Some(client) = bot.client() else {
        return Err(AdapterError::Unreachable("not connected to the homeserver".into()));
    };
    match source {
        // The homeserver could put anything in its place, although it cannot write messages here.
        MediaSource::Plain(_) if encrypted && bot.config.require_verified => {
            refused(notices::FILE_NOT_ENCRYPTED.into())
        }
        MediaSource::Plain(uri) => download(&client, &uri, max).await,
        MediaSource::Encrypted(file) => {
            let content = download(&client, &file.url, max).await?;
            decrypt(content, MediaEncryptionInfo::from(*file)).await
        }
    }
}

async fn decrypt(content: Vec<u8>, key: MediaEncryptionInfo) -> Result<Vec<u8>, AdapterError> {
    let work = move || {
        let mut decrypted = Vec::with_capacity(content.len());
        let mut content = content.as_slice();
        // Reading to the end also compares the hash.
        let read = AttachmentDecryptor::new(&mut content, key)
            .map_err(std::io::Error::other)
            .and_then(|mut reader| reader.read_to_end(&mut decrypted));
        read.map(|_| decrypted)
    };
    let decrypted = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other).flatten();
    decrypted.map_err(|error| {
        tracing::warn!(%error, "a file could not be decrypted");
        AdapterError::Rejected(notices::FILE_DAMAGED.into())
    })
}

async fn download(client: &Client, uri: &MxcUri, max: u64) -> Result<Vec<u8>, AdapterError> {
    let (server, id) =
        uri.parts().map_err(|_| AdapterError::Rejected(notices::FILE_WITHOUT_ADDRESS.into()))?;
    let homeserver = client.homeserver();
    let mut last = AdapterError::Rejected(notices::FILE_GONE.into());
    for path in PATHS {
        let url = format!("{}/{path}/{server}/{id}", homeserver.as_str().trim_end_matches('/'));
        match download_from(client, &url, max).await? {
            Downloaded::Content(content) => return Ok(content),
            Downloaded::Refused(error) => last = error,
            // Maybe the homeserver does not know the path.
            Downloaded::NotFound => {}
        }
    }
    Err(last)
}

enum Downloaded {
    Content(Vec<u8>),
    NotFound,
    Refused(AdapterError),
}

async fn download_from(client: &Client, url: &str, max: u64) -> Result<Downloaded, AdapterError> {
    let unreachable = |error: &dyn std::error::Error| AdapterError::Unreachable(error_chain(error));
    let late = |_| AdapterError::Unreachable("the homeserver does not answer in time".into());
    let mut request = client.http_client().get(url);
    if let Some(token) = client.access_token() {
        request = request.bearer_auth(token);
    }
    let answer = timeout(ANSWER, request.send()).await.map_err(late)?;
    let mut answer = answer.map_err(|error| unreachable(&error.without_url()))?;
    let status = answer.status();
    match status.as_u16() {
        200 => {}
        404 => return Ok(Downloaded::NotFound),
        429 => return Err(AdapterError::RateLimited { retry_after: LIMITED_FOR }),
        400..500 => {
            return Ok(Downloaded::Refused(AdapterError::Rejected(notices::file_refused(status.as_u16()))));
        }
        _ => return Err(AdapterError::Unreachable(format!("the homeserver answers {status}"))),
    }
    let too_large = || AdapterError::Rejected(notices::file_too_large(max));
    if answer.content_length().is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let mut content = Vec::new();
    while let Some(chunk) = timeout(STALL, answer.chunk())
        .await
        .map_err(late)?
        .map_err(|error| unreachable(&error.without_url()))?
    {
        if (content.len() + chunk.len()) as u64 > max {
            return Err(too_large());
        }
        content.extend_from_slice(&chunk);
    }
    Ok(Downloaded::Content(content))
}
