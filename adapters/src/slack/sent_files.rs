//! Files in people's messages: what Slack says of them, and the way to their content.
//!
//! <https://docs.slack.dev/reference/objects/file-object>, <https://docs.slack.dev/messaging/working-with-files>.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{event::text, web::WebApi};
use crate::{
    AdapterError, SentFile,
    delivery::backoff::Backoff,
    slack::{call_failure::CallFailure, notices},
};

// Slack takes ten files in one message. The bot passes on fewer, and says so of the others.
const FILES_MAX: usize = 20;
const NAME_MAX: usize = 200;
const SCOPE: &str = "files:read";
const ATTEMPTS: u32 = 3;
const AGAIN: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(4));

/// What a [`SentFile::reference`] holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum SlackFile {
    Hosted {
        url: String,
        /// Whether its content is a web page, as that of a canvas is.
        is_page: bool,
    },
    /// A file of another organisation: events say only its id. <https://docs.slack.dev/apis/slack-connect#files>
    Unknown {
        id: String,
    },
    Absent(AbsentFile),
}

/// Why Slack has no content of a file for the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbsentFile {
    Deleted,
    /// Free workspaces hide what is old.
    HiddenByLimit,
    /// A link to a file elsewhere.
    External,
    AccessDenied,
}

/// The files of a message, and those of the messages that it shares.
pub fn sent_files(message: &Value) -> Vec<SentFile> {
    let list = |value: &Value| value["files"].as_array().cloned().unwrap_or_default();
    let shared = super::shared_messages::shares(message).flat_map(list);
    let mut sent: Vec<SentFile> = Vec::new();
    for file in list(message).iter().chain(&shared.collect::<Vec<_>>()) {
        let Some(file) = sent_file(file, text(message, "text")) else { continue };
        if sent.len() < FILES_MAX && !sent.contains(&file) {
            sent.push(file);
        }
    }
    sent
}

/// `None` for a link that the message shows anyway.
fn sent_file(file: &Value, message_text: &str) -> Option<SentFile> {
    let source = SlackFile::read(file)?;
    let link = text(file, "url_private").replace('&', "&amp;");
    if source == SlackFile::Absent(AbsentFile::External) && !link.is_empty() && message_text.contains(&link) {
        return None;
    }
    let name = ["name", "title"].into_iter().map(|key| text(file, key)).find(|name| !name.is_empty());
    Some(SentFile {
        name: name.unwrap_or_default().chars().take(NAME_MAX).collect(),
        size: file["size"].as_u64().filter(|_| matches!(source, SlackFile::Hosted { .. })),
        reference: serde_json::to_string(&source).ok()?,
    })
}

impl SlackFile {
    fn read(file: &Value) -> Option<Self> {
        let absent = match (text(file, "mode"), text(file, "file_access")) {
            ("tombstone", _) | (_, "file_not_found") => Some(AbsentFile::Deleted),
            ("hidden_by_limit", _) => Some(AbsentFile::HiddenByLimit),
            (_, "access_denied") => Some(AbsentFile::AccessDenied),
            ("external", _) => Some(AbsentFile::External),
            _ => (file["is_external"] == true).then_some(AbsentFile::External),
        };
        if let Some(absent) = absent {
            return Some(Self::Absent(absent));
        }
        let url = ["url_private_download", "url_private"].into_iter().map(|key| text(file, key));
        match url.into_iter().find(|url| !url.is_empty()) {
            Some(url) if text(file, "file_access") != "check_file_info" => {
                let is_page = matches!(text(file, "mimetype"), "text/html" | "application/vnd.slack-docs");
                Some(Self::Hosted { url: url.to_owned(), is_page })
            }
            _ => Some(text(file, "id")).filter(|id| !id.is_empty()).map(|id| Self::Unknown { id: id.into() }),
        }
    }
}

/// The content of a file, at most `max` bytes.
pub async fn fetch(web: &WebApi, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
    let may_pass = |error: &AdapterError| matches!(error, AdapterError::Unreachable(_));
    AGAIN.retry(ATTEMPTS, may_pass, || fetch_once(web, &file.reference, max)).await
}

async fn fetch_once(web: &WebApi, reference: &str, max: u64) -> Result<Vec<u8>, AdapterError> {
    let absent = |why| Err(AdapterError::Rejected(notices::absent_file(why).into()));
    let file = match serde_json::from_str(reference) {
        Ok(SlackFile::Unknown { id }) => look_up(web, &id).await?,
        Ok(file) => file,
        Err(_) => return absent(AbsentFile::Deleted),
    };
    let (url, is_page) = match file {
        SlackFile::Hosted { url, is_page } => (url, is_page),
        SlackFile::Unknown { .. } => return absent(AbsentFile::AccessDenied),
        SlackFile::Absent(why) => return absent(why),
    };
    let content = web.download(&url, max).await?;
    if !content.is_html {
        return Ok(content.bytes);
    }
    // Without the scope Slack answers every such request with its login page, and with status 200.
    let scopes = web.scopes().await.unwrap_or_default();
    match scopes.iter().any(|scope| scope == SCOPE) {
        false => Err(AdapterError::Rejected(notices::FILES_NEED_SCOPE.into())),
        true if is_page => Ok(content.bytes),
        true => absent(AbsentFile::AccessDenied),
    }
}

/// <https://docs.slack.dev/reference/methods/files.info>
async fn look_up(web: &WebApi, id: &str) -> Result<SlackFile, AdapterError> {
    match web.call_with("files.info", &[("file", id)]).await {
        Ok(answer) => Ok(SlackFile::read(&answer["file"]).unwrap_or(SlackFile::Absent(AbsentFile::Deleted))),
        Err(CallFailure::Scope(_)) => Err(AdapterError::Rejected(notices::FILES_NEED_SCOPE.into())),
        Err(CallFailure::Refused(code)) => Ok(SlackFile::Absent(match code.as_str() {
            "file_not_found" | "file_deleted" => AbsentFile::Deleted,
            _ => AbsentFile::AccessDenied,
        })),
        Err(failure) => Err(failure.in_channel("a file")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(file: Value) -> Option<SlackFile> {
        SlackFile::read(&file)
    }

    #[test]
    fn each_state_of_a_file_is_told_from_the_others() {
        let absent = |why| Some(SlackFile::Absent(why));
        let hosted = |is_page| Some(SlackFile::Hosted { url: "https://files.slack.com/d/a".into(), is_page });
        let with = |more: Value| {
            let mut file = json!({
                "id": "F1", "mode": "hosted", "file_access": "visible", "url_private": "https://files.slack.com/a",
                "url_private_download": "https://files.slack.com/d/a",
            });
            more.as_object().unwrap().iter().for_each(|(key, value)| file[key] = value.clone());
            read(file)
        };
        assert_eq!(
            (with(json!({})), with(json!({ "mimetype": "text/html" }))),
            (hosted(false), hosted(true))
        );
        assert_eq!(with(json!({ "mode": "tombstone" })), absent(AbsentFile::Deleted));
        assert_eq!(with(json!({ "mode": "hidden_by_limit" })), absent(AbsentFile::HiddenByLimit));
        assert_eq!(with(json!({ "mode": "external" })), absent(AbsentFile::External));
        assert_eq!(with(json!({ "is_external": true })), absent(AbsentFile::External));
        assert_eq!(with(json!({ "file_access": "access_denied" })), absent(AbsentFile::AccessDenied));
        let unknown = Some(SlackFile::Unknown { id: "F1".into() });
        assert_eq!(with(json!({ "file_access": "check_file_info" })), unknown);
        assert_eq!(read(json!({ "id": "F1" })), unknown);
        assert_eq!((read(json!({})), read(json!(7))), (None, None));
    }

    #[test]
    fn a_message_has_a_bounded_number_of_files_each_once_and_those_of_what_it_shares() {
        let file = |n: usize| json!({ "id": format!("F{n}"), "name": format!("{n}.png"), "size": 3, "url_private": format!("https://x/{n}") });
        let names = |message: Value| -> Vec<String> {
            sent_files(&message).into_iter().map(|file| file.name).collect()
        };
        let shared = json!([{ "is_share": true, "files": [file(1), file(2)] }, { "files": [file(3)] }]);
        assert_eq!(names(json!({ "files": [file(1)], "attachments": shared })), ["1.png", "2.png"]);
        let many: Vec<Value> = (0..100).map(file).collect();
        assert_eq!(names(json!({ "files": many })).len(), FILES_MAX);
        let long = json!({ "files": [{ "id": "F1", "title": "x".repeat(10_000) }] });
        assert_eq!(names(long)[0].len(), NAME_MAX);
    }

    #[test]
    fn a_link_that_the_text_shows_is_no_lost_file() {
        let link = json!({ "id": "F1", "mode": "external", "name": "Plan", "url_private": "https://docs.example/d?a=1&b=2" });
        let shown = json!({ "text": "see <https://docs.example/d?a=1&amp;b=2>", "files": [link] });
        assert_eq!(sent_files(&shown), []);
        assert_eq!(sent_files(&json!({ "text": "see", "files": [link] })).len(), 1);
    }
}
