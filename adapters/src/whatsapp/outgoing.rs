//! Sends to a person: within their 24-hour window and the rate limit, in order; otherwise held, or as the template.

use std::{
    sync::{Arc, atomic::Ordering},
    time::UNIX_EPOCH,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    adapter::WhatsApp,
    compose, config,
    graph::{ErrorMeaning, GraphError},
    sent::SentMessage,
};
use crate::{AdapterError, Attachment, MessageId, Outgoing, Room, Tone, whatsapp::notices};

// Meta's limit for documents.
// <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media#supported-media-types>
const FILE_MAX: usize = 100 * 1024 * 1024;
// For messages that must follow one already sent, such as the buttons of a long question.
const TRIES: u32 = 10;

impl WhatsApp {
    /// Sends the message now if the person's window is open. Otherwise it goes as the template, or waits on disk until the
    /// person writes, and `status` reports it. For a question that is also an error, since nobody can answer it now.
    pub(super) async fn send_message(
        &self,
        room: &Room,
        message: &Outgoing,
    ) -> Result<MessageId, AdapterError> {
        let turn = self.send_lock(room);
        let _turn = turn.lock().await;
        self.check_reachable(room)?;
        if !self.is_open(room) {
            return self.say_outside(room, message).await;
        }
        self.send_held(room).await?;
        match self.send_now(room, message).await {
            Err(SendRefused::WindowClosed) => self.say_outside(room, message).await,
            Err(SendRefused::Other(error)) => Err(error),
            Ok(id) => Ok(id),
        }
    }

    /// Sends in the background, for callers that cannot wait: the adapter's own notices, and messages that Meta returned.
    pub(super) fn say_later(&self, room: Room, message: Outgoing) {
        let Some(me) = self.me.upgrade() else { return };
        self.sending.tasks.spawn(async move {
            if let Err(error) = crate::delivery::deliver::deliver(&*me, &room, &message).await {
                tracing::warn!(%error, %room, "a message could not be delivered");
                me.report_failure(room.id(), error.to_string());
            }
        });
    }

    /// Sends the held messages, since the person has written.
    pub(super) fn open_window(&self, room: &Room) {
        let waits = self.contacts.lock().next_held(room.id()).is_some();
        let Some(me) = self.me.upgrade().filter(|_| waits) else { return };
        let room = room.clone();
        self.sending.tasks.spawn(async move {
            for _ in 0..TRIES {
                // Released between the tries, so that a new message need not wait for all of them.
                let turn = me.send_lock(&room);
                let sent = {
                    let _turn = turn.lock().await;
                    me.send_held(&room).await
                };
                match sent {
                    Err(AdapterError::RateLimited { retry_after }) => tokio::time::sleep(retry_after).await,
                    Err(error) => return tracing::warn!(%error, %room, "what was held waits on"),
                    Ok(()) => return,
                }
            }
        });
    }

    /// Sends a file as a document.
    pub(super) async fn send_file(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        let turn = self.send_lock(room);
        let _turn = turn.lock().await;
        self.check_reachable(room)?;
        if file.bytes.is_empty() || file.bytes.len() > FILE_MAX {
            return Err(AdapterError::Rejected(format!(
                "WhatsApp takes no file of {} bytes",
                file.bytes.len()
            )));
        }
        if !self.is_open(room) {
            return Err(AdapterError::Rejected(notices::CLOSED.into()));
        }
        self.send_held(room).await?;
        // `deliver` retries messages but not files, so this waits and retries itself.
        let media = self.graph.upload(file, mime(file)).await.map_err(|error| self.adapter_error(error))?;
        let document = compose::document(&media, &file.name, &file.caption);
        let id = self.post_when_allowed(room, &document).await.map_err(SendRefused::into_error)?;
        let message = Outgoing::text(file.caption.clone());
        self.remember(room, &id, &id, &message);
        Ok(MessageId::new(id))
    }

    pub(super) fn send_lock(&self, room: &Room) -> Arc<tokio::sync::Mutex<()>> {
        self.sending.locks.lock().entry(room.id().into()).or_default().clone()
    }

    fn is_open(&self, room: &Room) -> bool {
        self.contacts.lock().is_open(room.id(), (self.clock)())
    }

    fn check_reachable(&self, room: &Room) -> Result<(), AdapterError> {
        match self.contacts.lock().unreachable(room.id()) {
            Some(why) => Err(AdapterError::Rejected(notices::not_reachable(&why))),
            None => Ok(()),
        }
    }

    async fn send_now(&self, room: &Room, message: &Outgoing) -> Result<MessageId, SendRefused> {
        let mut parts = compose::messages(message).map_err(AdapterError::Rejected)?;
        if let (Some(id), Some(first)) = (&message.reply_to, parts.first_mut()) {
            first["context"] = json!({ "message_id": id.as_str() });
        }
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        // For all parts at once: a question whose buttons come a minute later would look unanswerable.
        self.take_allowance(room, count)?;
        let mut ids = Vec::new();
        for part in &parts {
            // An error of the first part makes the caller repeat the whole message. Later parts are retried here, or
            // the first would come twice.
            let id = if ids.is_empty() {
                self.post(room, part).await?
            } else {
                self.post_with_retries(room, part).await?
            };
            ids.push(id);
        }
        let last = ids.last().cloned().unwrap_or_default();
        ids.iter().for_each(|id| self.remember(room, id, &last, message));
        Ok(MessageId::new(last))
    }

    fn take_allowance(&self, room: &Room, count: u32) -> Result<(), AdapterError> {
        let taken = self.sending.pace.lock().try_take(room.id(), count, Instant::now());
        taken.map_err(|retry_after| AdapterError::RateLimited { retry_after })
    }

    async fn post_when_allowed(&self, room: &Room, part: &Value) -> Result<String, SendRefused> {
        while let Err(AdapterError::RateLimited { retry_after }) = self.take_allowance(room, 1) {
            tokio::time::sleep(retry_after).await;
        }
        self.post_with_retries(room, part).await
    }

    async fn post_with_retries(&self, room: &Room, part: &Value) -> Result<String, SendRefused> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.post(room, part).await {
                Err(SendRefused::Other(AdapterError::RateLimited { retry_after })) if tries < TRIES => {
                    tokio::time::sleep(retry_after).await;
                }
                result => return result,
            }
        }
    }

    async fn post(&self, room: &Room, part: &Value) -> Result<String, SendRefused> {
        let address = self.contacts.lock().address(room.id());
        let address =
            address.ok_or_else(|| AdapterError::Rejected(format!("`{}` names nobody", room.id())))?;
        let mut body = json!({ "messaging_product": "whatsapp", "recipient_type": "individual" });
        for fields in [&address, part] {
            fields.as_object().into_iter().flatten().for_each(|(name, value)| body[name] = value.clone());
        }
        let error = match self.graph.send(&body).await {
            Ok(id) => {
                self.sending.pace.lock().on_accepted(room.id());
                self.notes.set_account(None);
                return Ok(id);
            }
            Err(error) => error,
        };
        Err(self.refusal(room, error))
    }

    fn refusal(&self, room: &Room, error: GraphError) -> SendRefused {
        let meaning = match &error {
            GraphError::Refused { status, failure, .. } => Some(ErrorMeaning::of(failure.code, *status)),
            _ => None,
        };
        let now = Instant::now();
        match meaning {
            Some(ErrorMeaning::Pair) => {
                let retry_after = self.sending.pace.lock().on_refused(room.id(), now);
                AdapterError::RateLimited { retry_after }.into()
            }
            Some(ErrorMeaning::Throughput) => {
                let asked = match &error {
                    GraphError::Refused { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let retry_after = self.sending.pace.lock().on_throttled(now).max(asked.unwrap_or_default());
                AdapterError::RateLimited { retry_after }.into()
            }
            Some(ErrorMeaning::Window) => {
                self.contacts.lock().close(room.id(), (self.clock)());
                SendRefused::WindowClosed
            }
            Some(ErrorMeaning::Person) => {
                self.contacts.lock().set_unreachable(room.id(), error.to_string(), (self.clock)());
                let why = notices::not_reachable(&error.to_string());
                self.report_failure(room.id(), why.clone());
                AdapterError::Rejected(why).into()
            }
            Some(ErrorMeaning::Template) => SendRefused::Other(AdapterError::Unsupported("this template")),
            _ => self.adapter_error(error).into(),
        }
    }

    // In order. A message that Meta refuses for good must not hold up the others.
    async fn send_held(&self, room: &Room) -> Result<(), AdapterError> {
        while self.is_open(room) {
            let Some((message, dropped)) = self.contacts.lock().next_held(room.id()) else { return Ok(()) };
            let message = if dropped > 0 {
                Outgoing::text(notices::dropped(dropped, super::contacts::HELD_MAX))
            } else {
                message
            };
            match self.send_now(room, &message).await {
                Ok(_) => {}
                Err(SendRefused::Other(AdapterError::Rejected(why))) => {
                    self.report_failure(room.id(), why);
                }
                Err(SendRefused::Other(error)) => return Err(error),
                Err(SendRefused::WindowClosed) => return Ok(()),
            }
            let left = self.contacts.lock().sent_held(room.id());
            self.notes.set_held(room.id(), left);
        }
        Ok(())
    }

    async fn say_outside(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        if self.contacts.lock().address(room.id()).is_none() {
            return Err(AdapterError::Rejected(format!("`{}` names nobody", room.id())));
        }
        if let Some((name, language)) = config::template(&self.config.window_template) {
            let (template, whole) = compose::template(name, language, message);
            match self.send_template(room, &template).await {
                Ok(id) if whole => return Ok(id),
                Ok(id) => {
                    self.hold_message(room, message);
                    return Ok(id);
                }
                Err(error @ (AdapterError::RateLimited { .. } | AdapterError::Unreachable(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    self.notes.set_template(Some(format!(
                        "The template `{name}` ({language}) cannot be used: {error}"
                    )));
                }
            }
        }
        if message.live {
            return Err(AdapterError::Rejected(notices::CLOSED.into()));
        }
        let id = self.hold_message(room, message);
        match message.tone {
            // The bot waits for the answer and must learn that nobody can give one now. The person can
            // still read the question later.
            Tone::Question => Err(AdapterError::Rejected(notices::CLOSED.into())),
            Tone::Answer | Tone::Notice | Tone::Failure => Ok(id),
        }
    }

    async fn send_template(&self, room: &Room, template: &Value) -> Result<MessageId, AdapterError> {
        self.take_allowance(room, 1)?;
        let id = self.post(room, template).await.map_err(SendRefused::into_error)?;
        self.notes.set_template(None);
        Ok(MessageId::new(id))
    }

    fn hold_message(&self, room: &Room, message: &Outgoing) -> MessageId {
        // The message that it answers may be days old by then, so a quotation would only confuse.
        let kept = Outgoing { reply_to: None, ..message.clone() };
        let count = self.contacts.lock().hold_message(room.id(), kept);
        self.notes.set_held(room.id(), count);
        let time = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        MessageId::new(format!("held-{time}-{}", self.sending.held.fetch_add(1, Ordering::Relaxed)))
    }

    fn remember(&self, room: &Room, id: &str, known_as: &str, message: &Outgoing) {
        let message = Arc::new(message.clone());
        self.sending.recent.lock().add(SentMessage {
            id: id.into(),
            known_as: known_as.into(),
            person: room.id().into(),
            message,
            number: 0,
        });
    }
}

enum SendRefused {
    WindowClosed,
    Other(AdapterError),
}

impl SendRefused {
    fn into_error(self) -> AdapterError {
        match self {
            Self::WindowClosed => AdapterError::Rejected(notices::CLOSED.into()),
            Self::Other(error) => error,
        }
    }
}

impl From<AdapterError> for SendRefused {
    fn from(error: AdapterError) -> Self {
        Self::Other(error)
    }
}

// Meta accepts few types, so text of any kind goes as plain text.
fn mime(file: &Attachment) -> &'static str {
    let ending = file.name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("pdf") => "application/pdf",
        _ if std::str::from_utf8(&file.bytes).is_ok() => "text/plain",
        _ => "application/octet-stream",
    }
}
