//! What was said in a thread: <https://docs.slack.dev/reference/methods/conversations.replies>.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    event::{WORDS, text},
    shared_messages::{blocks_text, shared_messages, shares},
    web::WebApi,
};
use crate::{
    AdapterError, MessageId, Quotation, QuotedAuthor,
    slack::{
        call_failure::CallFailure,
        conversation::{ConversationAddress, is_ts, ts_order},
        incoming::EventReceiver,
        notices, unescape,
    },
    text::excerpt::excerpt,
};

// As many as Slack recommends. An app that is distributed outside of the Marketplace gets 15, and one call a minute.
// <https://docs.slack.dev/apis/web-api/rate-limits#rate-limits-non-marketplace>
const PAGE: &str = "200";
// Slack begins with the oldest, so the newest of a long thread are on its last page.
const PAGES_MAX: usize = 4;
// The prompt waits for it.
const DEADLINE: Duration = Duration::from_secs(10);
// In characters, for each message.
const TEXT_MAX: usize = 4_000;

/// Reads threads, at the pace that Slack allows.
pub struct ThreadHistory {
    web: Arc<WebApi>,
    receiver: Arc<EventReceiver>,
    paused: Mutex<Option<Instant>>,
}

impl ThreadHistory {
    pub fn new(web: Arc<WebApi>, receiver: Arc<EventReceiver>) -> Self {
        Self { web, receiver, paused: Mutex::default() }
    }

    /// The thread's first message and the newest others before `before`, `max` in all, oldest first.
    pub async fn read(
        &self,
        place: &ConversationAddress,
        before: &MessageId,
        max: usize,
    ) -> Result<Vec<Quotation>, AdapterError> {
        let Some(thread) = &place.thread else { return Ok(Vec::new()) };
        let before = Some(before.as_str()).filter(|before| is_ts(before));
        // The message itself is the first one.
        if max == 0 || before == Some(thread.as_str()) {
            return Ok(Vec::new());
        }
        let messages = tokio::time::timeout(DEADLINE, self.pages(place, thread, before, max)).await;
        let messages =
            messages.map_err(|_| AdapterError::Unreachable("a thread takes too long".into()))??;
        // Authors before all who are mentioned: only so many get names.
        let authors = messages.iter().map(|message| text(message, "user"));
        let shared = messages.iter().flat_map(shares).map(|share| text(share, "author_id"));
        let mentioned = messages.iter().flat_map(|message| unescape::people(text(message, "text")));
        let people = authors.chain(shared).chain(mentioned).filter(|user| !user.is_empty());
        let people: Vec<String> = people.map(str::to_owned).collect();
        self.receiver.learn_names(&people).await;
        let mut said: Vec<Quotation> = messages.iter().flat_map(|message| self.quoted(message)).collect();
        if said.len() > max {
            said.drain(1..=said.len() - max);
        }
        Ok(said)
    }

    async fn pages(
        &self,
        place: &ConversationAddress,
        thread: &str,
        before: Option<&str>,
        max: usize,
    ) -> Result<Vec<Value>, AdapterError> {
        let (mut root, mut newest) = (None, VecDeque::new());
        let mut cursor = String::new();
        for page in 0..PAGES_MAX {
            let answer = match self.page(&place.channel, thread, before, &cursor).await {
                Ok(answer) => answer,
                // The beginning of a thread says more than nothing.
                Err(error) if page > 0 => {
                    tracing::debug!(%error, "the newest messages of a thread are missing");
                    break;
                }
                Err(error) => return Err(error),
            };
            for message in answer["messages"].as_array().into_iter().flatten() {
                let ts = text(message, "ts");
                if ts == thread {
                    root = Some(message.clone());
                } else if is_ts(ts) && before.is_none_or(|before| ts_order(ts) < ts_order(before)) {
                    newest.push_back(message.clone());
                }
                while newest.len() > max - 1 {
                    newest.pop_front();
                }
            }
            cursor = text(&answer["response_metadata"], "next_cursor").to_owned();
            // The first message is on the first page.
            if cursor.is_empty() || max == 1 {
                break;
            }
        }
        let mut newest = Vec::from(newest);
        newest.sort_by_key(|message| ts_order(text(message, "ts")));
        Ok(root.into_iter().chain(newest).collect())
    }

    async fn page(
        &self,
        channel: &str,
        thread: &str,
        before: Option<&str>,
        cursor: &str,
    ) -> Result<Value, AdapterError> {
        let now = Instant::now();
        if let Some(until) = self.paused.lock().filter(|until| *until > now) {
            return Err(AdapterError::RateLimited { retry_after: until - now });
        }
        let mut parameters = vec![("channel", channel), ("ts", thread), ("limit", PAGE)];
        parameters.extend(before.map(|before| ("latest", before)));
        if !cursor.is_empty() {
            parameters.push(("cursor", cursor));
        }
        let answer = self.web.call_with("conversations.replies", &parameters).await;
        if let Err(CallFailure::Limited(retry_after)) = &answer {
            *self.paused.lock() = Some(now + *retry_after);
        }
        answer.map_err(|failure| failure.in_channel(channel))
    }

    /// A message, and those that it forwards: whose words they are decides what an agent may do that has read them. Nothing for notices
    /// such as "joined the channel".
    fn quoted(&self, message: &Value) -> Vec<Quotation> {
        let subtype = text(message, "subtype");
        if !matches!(subtype, "" | "bot_message") && !WORDS.contains(&subtype) {
            return Vec::new();
        }
        let author = match text(message, "user") {
            "" => text(message, "bot_id"),
            user => user,
        };
        let called = [text(message, "username"), text(&message["bot_profile"], "name")];
        let called = called.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let author = self.receiver.quoted_author(Some(author).filter(|id| !id.is_empty()), called);
        let forwarded = shared_messages(message).into_iter().map(|shared| {
            let author = self.receiver.quoted_author(shared.author.as_deref(), &shared.author_name);
            (author, notices::forwarded(&self.receiver.decode(&shared.text)))
        });
        let all = std::iter::once((author, self.words(message))).chain(forwarded);
        let quotations = all.map(|(author, text)| Quotation { author, text: excerpt(&text, TEXT_MAX) });
        quotations.filter(|quotation| !quotation.text.is_empty()).collect()
    }

    fn words(&self, message: &Value) -> String {
        let blocks;
        let raw = match text(message, "text") {
            "" => {
                blocks = blocks_text(&message["blocks"]);
                &blocks
            }
            text => text,
        };
        let files = super::sent_files::sent_files(message).into_iter();
        let files = files.map(|file| notices::file_in_thread(&file.name));
        let parts = std::iter::once(self.receiver.decode(raw)).chain(files);
        parts.filter(|part| !part.trim().is_empty()).collect::<Vec<_>>().join("\n")
    }
}
