//! Sends posts, edits, files, replies that one person sees, and reactions.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use super::{
    event::text,
    pace::CallPacer,
    render::{MessageForm, caption, fields},
    web::WebApi,
};
use crate::{
    Activity, ActivityState, AdapterError, Attachment, MessageId, Outgoing, Room,
    slack::{
        call_failure::CallFailure,
        conversation::{ConversationAddress, is_ts, ts_of},
        ephemeral::{PrivateRecipient, is_shown_to_one, shown_id},
        incoming::EventReceiver,
    },
};

// The reaction on a message while the bot works on it.
const WORKING: &str = "eyes";
// The answer waits behind the mark, so the mark must not take long.
const MARK_WAIT: Duration = Duration::from_secs(2);
// The codes with which Slack refuses the form of a message: a block that it does not take, or no Markdown at all.
const FORM_REFUSED: &[&str] =
    &["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "no_text", "invalid_arguments"];
// So many messages that were not sent as Markdown are remembered for their edits.
const FORMS_MAX: usize = 200;

pub struct MessageSender {
    web: Arc<WebApi>,
    receiver: Arc<EventReceiver>,
    pace: CallPacer,
    // Messages that Slack did not take as Markdown.
    forms: Mutex<VecDeque<(String, MessageForm)>>,
    marked: Mutex<HashMap<Room, Vec<String>>>,
    unmark: Mutex<Vec<(String, String)>>,
    unmark_more: Notify,
    pub token_refused: Notify,
}

impl MessageSender {
    pub fn new(web: Arc<WebApi>, receiver: Arc<EventReceiver>) -> Self {
        Self {
            web,
            receiver,
            pace: CallPacer::default(),
            forms: Mutex::default(),
            marked: Mutex::default(),
            unmark: Mutex::default(),
            unmark_more: Notify::new(),
            token_refused: Notify::new(),
        }
    }

    pub async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        let place = ConversationAddress::of(room)?;
        if let Some(reply_to) = &message.reply_to
            && let Some(private) = PrivateRecipient::reply(reply_to, &place)
        {
            return self.send_to_one(&place, reply_to, &private, message).await;
        }
        self.wait_to_post(&place.channel, message.live).await?;
        let (answer, form) =
            first_accepted(MessageForm::Markdown, |form| self.post(&place, message, form)).await?;
        let id = MessageId::new(text(&answer, "ts"));
        self.remember_form(form_key(&place.channel, id.as_str()), form);
        if !message.choices.is_empty() && place.thread.is_none() {
            // Only at the top level: in a thread, an answer already arrives in the room of the question.
            self.receiver.asked.add(&place.channel, &id);
        }
        Ok(id)
    }

    async fn wait_to_post(&self, channel: &str, droppable: bool) -> Result<(), AdapterError> {
        match self.pace.post(Instant::now(), channel, droppable) {
            Ok(at) => tokio::time::sleep_until(at).await,
            Err(retry_after) => return Err(AdapterError::RateLimited { retry_after }),
        }
        Ok(())
    }

    async fn post(
        &self,
        place: &ConversationAddress,
        message: &Outgoing,
        form: MessageForm,
    ) -> Result<Value, NotSaid> {
        let mut body = fields(message, form, !message.live);
        body["channel"] = place.channel.as_str().into();
        // A preview shows a page that nobody asked for, and its server learns of the message.
        body["unfurl_links"] = false.into();
        body["unfurl_media"] = false.into();
        if let Some(thread) = &place.thread {
            body["thread_ts"] = thread.as_str().into();
        }
        let answer = self.web.call("chat.postMessage", &body).await;
        if let Err(CallFailure::Limited(retry_after)) = &answer {
            self.pace.post_refused(Instant::now(), &place.channel, *retry_after);
        }
        answer.map_err(|trouble| self.post_error(trouble, &place.channel))
    }

    pub async fn edit(&self, room: &Room, id: &MessageId, message: &Outgoing) -> Result<(), AdapterError> {
        if is_shown_to_one(id) {
            return Err(AdapterError::Unsupported("editing a message that one person sees"));
        }
        let place = ConversationAddress::of(room)?;
        let ts = ts_of(id)?;
        match self.pace.update(Instant::now(), &format!("{}/{ts}", place.channel), message.live) {
            Ok(at) => tokio::time::sleep_until(at).await,
            Err(retry_after) => return Err(AdapterError::RateLimited { retry_after }),
        }
        // What Slack refuses in one message it takes in the next, so the form is that message's alone.
        let key = form_key(&place.channel, ts);
        let before = self.forms.lock().iter().find(|(other, _)| *other == key).map(|(_, form)| *form);
        let begin = before.unwrap_or(MessageForm::Markdown);
        let ((), form) = first_accepted(begin, |form| self.update(&place.channel, ts, message, form)).await?;
        self.remember_form(key, form);
        if message.choices.is_empty() {
            self.receiver.asked.remove(&place.channel, id);
        }
        Ok(())
    }

    async fn update(
        &self,
        channel: &str,
        ts: &str,
        message: &Outgoing,
        form: MessageForm,
    ) -> Result<(), NotSaid> {
        let mut body = fields(message, form, false);
        body["channel"] = channel.into();
        body["ts"] = ts.into();
        let answer = self.web.call("chat.update", &body).await;
        if let Err(CallFailure::Limited(retry_after)) = &answer {
            self.pace.update_refused(Instant::now(), *retry_after);
        }
        answer.map(drop).map_err(|trouble| self.post_error(trouble, channel))
    }

    // First by the response URL, which also works where the bot is no member; otherwise by name.
    async fn send_to_one(
        &self,
        place: &ConversationAddress,
        reply_to: &MessageId,
        private: &PrivateRecipient,
        message: &Outgoing,
    ) -> Result<MessageId, AdapterError> {
        if let Some(url) = self.receiver.urls.take(reply_to, Instant::now()) {
            let sent = first_accepted(MessageForm::Markdown, |form| self.respond(&url, message, form)).await;
            match sent {
                Ok(_) => return Ok(shown_id(&private.user, reply_to.as_str())),
                Err(error @ AdapterError::RateLimited { .. }) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "a response URL did not work; the reply goes another way")
                }
            }
        }
        let (answer, _) =
            first_accepted(MessageForm::Markdown, |form| self.post_to_one(place, private, message, form))
                .await?;
        Ok(shown_id(&private.user, text(&answer, "message_ts")))
    }

    async fn respond(&self, url: &str, message: &Outgoing, form: MessageForm) -> Result<(), NotSaid> {
        let mut body = fields(message, form, false);
        body["response_type"] = "ephemeral".into();
        body["replace_original"] = false.into();
        self.web.respond(url, &body).await.map_err(|trouble| self.post_error(trouble, "the response URL"))
    }

    async fn post_to_one(
        &self,
        place: &ConversationAddress,
        private: &PrivateRecipient,
        message: &Outgoing,
        form: MessageForm,
    ) -> Result<Value, NotSaid> {
        let mut body = fields(message, form, false);
        body["channel"] = place.channel.as_str().into();
        body["user"] = private.user.as_str().into();
        if let Some(thread) = &place.thread {
            body["thread_ts"] = thread.as_str().into();
        }
        self.web
            .call("chat.postEphemeral", &body)
            .await
            .map_err(|trouble| self.post_error(trouble, &place.channel))
    }

    fn remember_form(&self, key: String, form: MessageForm) {
        let mut forms = self.forms.lock();
        forms.retain(|(other, _)| *other != key);
        if form != MessageForm::Markdown {
            forms.push_back((key, form));
            while forms.len() > FORMS_MAX {
                forms.pop_front();
            }
        }
    }

    fn post_error(&self, trouble: CallFailure, channel: &str) -> NotSaid {
        if matches!(trouble, CallFailure::Auth(_)) {
            self.token_refused.notify_one();
        }
        let form_refused =
            matches!(&trouble, CallFailure::Refused(code) if FORM_REFUSED.contains(&code.as_str()));
        NotSaid { error: trouble.in_channel(channel), form_refused }
    }

    /// Shows a file: <https://docs.slack.dev/messaging/working-with-files#upload>
    pub async fn upload(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        let place = ConversationAddress::of(room)?;
        if file.bytes.is_empty() {
            return Err(AdapterError::Rejected("Slack takes no empty file".into()));
        }
        let refused = |trouble| self.post_error(trouble, &place.channel).error;
        self.wait_to_post(&place.channel, false).await?;
        let length = file.bytes.len().to_string();
        let parameters = [("filename", file.name.as_str()), ("length", &length)];
        let put = self.web.call_with("files.getUploadURLExternal", &parameters).await.map_err(refused)?;
        self.web.put_file(text(&put, "upload_url"), &file.bytes).await.map_err(refused)?;
        let id = text(&put, "file_id");
        let mut body = json!({ "files": [{ "id": id, "title": file.name }], "channel_id": place.channel });
        if !file.caption.is_empty() {
            body["initial_comment"] = caption(&file.caption).into();
        }
        if let Some(thread) = &place.thread {
            body["thread_ts"] = thread.as_str().into();
        }
        self.web.call("files.completeUploadExternal", &body).await.map_err(refused)?;
        Ok(MessageId::new(format!("file:{id}")))
    }

    pub async fn activity(&self, room: &Room, activity: &Activity) -> Result<(), AdapterError> {
        let place = ConversationAddress::of(room)?;
        match activity.state {
            ActivityState::Idle => self.unmark(room, &place.channel),
            ActivityState::Working | ActivityState::Asking if is_ts(activity.after.as_str()) => {
                return self.add_mark(room, &place.channel, activity.after.as_str()).await;
            }
            // A slash command or a press is no message that could be marked.
            ActivityState::Working | ActivityState::Asking => {}
        }
        Ok(())
    }

    async fn add_mark(&self, room: &Room, channel: &str, ts: &str) -> Result<(), AdapterError> {
        if self.marked.lock().get(room).is_some_and(|marked| marked.iter().any(|marked| marked == ts)) {
            return Ok(());
        }
        if let Err(retry_after) = self.pace.reaction(Instant::now()) {
            return Err(AdapterError::RateLimited { retry_after });
        }
        let marking = self.react("reactions.add", channel, ts, "already_reacted");
        let late = |_| AdapterError::Unreachable("a reaction takes too long".into());
        tokio::time::timeout(MARK_WAIT, marking).await.map_err(late)??;
        self.marked.lock().entry(room.clone()).or_default().push(ts.to_owned());
        Ok(())
    }

    fn unmark(&self, room: &Room, channel: &str) {
        let Some(marked) = self.marked.lock().remove(room) else { return };
        let mut unmark = self.unmark.lock();
        unmark.extend(marked.into_iter().map(|ts| (channel.to_owned(), ts)));
        self.unmark_more.notify_one();
    }

    async fn react(&self, method: &str, channel: &str, ts: &str, fine: &str) -> Result<(), AdapterError> {
        let body = json!({ "channel": channel, "timestamp": ts, "name": WORKING });
        match self.web.call(method, &body).await {
            Ok(_) => Ok(()),
            // The state is as wanted already, for example after a restart.
            Err(CallFailure::Refused(code)) if code == fine => Ok(()),
            Err(trouble) => {
                if let CallFailure::Limited(retry_after) = &trouble {
                    self.pace.reaction_refused(Instant::now(), *retry_after);
                }
                Err(self.post_error(trouble, channel).error)
            }
        }
    }

    // In a task of its own, since the removal of many marks may take minutes at this pace. Never returns.
    pub async fn remove_marks(&self) {
        loop {
            let next = self.unmark.lock().first().cloned();
            let Some((channel, ts)) = next else {
                self.unmark_more.notified().await;
                continue;
            };
            if let Err(wait) = self.pace.reaction(Instant::now()) {
                tokio::time::sleep(wait).await;
                continue;
            }
            match self.react("reactions.remove", &channel, &ts, "no_reaction").await {
                Err(AdapterError::RateLimited { .. }) => continue,
                Err(error) => tracing::debug!(%error, "a reaction stays on a message"),
                Ok(()) => {}
            }
            let mut unmark = self.unmark.lock();
            unmark.retain(|(at, marked)| *at != channel || *marked != ts);
        }
    }
}

struct NotSaid {
    error: AdapterError,
    form_refused: bool,
}

impl From<NotSaid> for AdapterError {
    fn from(said: NotSaid) -> Self {
        said.error
    }
}

fn form_key(channel: &str, ts: &str) -> String {
    format!("{channel}/{ts}")
}

/// Says it in the first form that Slack takes, beginning with this one, and returns that form. If Slack refuses all of them, the
/// form was not the reason.
async fn first_accepted<T, F: Future<Output = Result<T, NotSaid>>>(
    begin: MessageForm,
    say: impl Fn(MessageForm) -> F,
) -> Result<(T, MessageForm), AdapterError> {
    let mut form = begin;
    loop {
        let refused = match say(form).await {
            Ok(said) => return Ok((said, form)),
            Err(refused) => refused,
        };
        match form.simpler().filter(|_| refused.form_refused) {
            Some(simpler) => {
                tracing::info!(error = %refused.error, ?form, "Slack does not take a message in this form");
                form = simpler;
            }
            None => return Err(refused.into()),
        }
    }
}
