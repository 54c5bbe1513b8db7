//! From a webhook to the bot: looks up the sender, queues the message, answers Meta, and delivers one by one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    NAME,
    adapter::WhatsApp,
    graph::ErrorMeaning,
    notification::{
        self, DeliveryFailure, DeliveryStatus, MediaFile, MessageKind, NotificationEvent, PersonMessage,
    },
    signature::{self, SignatureCheck},
};
use crate::{
    AdapterError, Addressed, Enclosed, Inbox, Incoming, MessageId, MessengerNews, Outgoing, PersonAct,
    Quotation, QuotedAuthor, Room, Sender, SentFile, Tone,
    delivery::webhook,
    text::{
        address,
        excerpt::{QUOTED_MAX, excerpt},
    },
    whatsapp::notices,
};

// The most messages that wait while the bot is behind or disconnected. Beyond that Meta stores them and sends them again.
const WAITING_MAX: usize = 1_000;
// How long a person's reference to an unknown message waits for Meta's answer to what is being sent to them.
const ANSWER_MAX: Duration = Duration::from_secs(3);

pub struct IncomingQueue {
    places: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<IncomingDraft>,
    // Outlives a connection, so that its messages survive a reconnect: Meta will not send them again.
    feed: tokio::sync::Mutex<IncomingFeed>,
}

impl Default for IncomingQueue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let feed = IncomingFeed { receiver, next: None };
        Self { places: Arc::new(Semaphore::new(WAITING_MAX)), sender, feed: tokio::sync::Mutex::new(feed) }
    }
}

/// A person's message, before it is read.
struct IncomingDraft {
    message: PersonMessage,
    person: Arc<str>,
    _place: Option<OwnedSemaphorePermit>,
}

struct IncomingFeed {
    receiver: mpsc::UnboundedReceiver<IncomingDraft>,
    /// Stays here until the bot has it.
    next: Option<IncomingDraft>,
}

impl WhatsApp {
    /// Answers a notification. Nothing in it is trusted before its signature is checked.
    pub(super) fn handle_notification(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let header = request.headers().get(signature::HEADER).map(|value| value.as_bytes());
        match signature::verify(&self.config.app_secret, header, request.body()) {
            SignatureCheck::Right => {}
            verdict => {
                self.notes.refused_signature(verdict == SignatureCheck::Wrong);
                return webhook::respond(StatusCode::UNAUTHORIZED, "The signature is not right.");
            }
        }
        let now = (self.clock)();
        let Some(events) = notification::read(request.body(), &self.config.phone_number_id, now) else {
            // Any other status would make Meta repeat it for seven days, and it would not improve.
            tracing::warn!("Meta signed a notification that is no JSON");
            return webhook::respond(StatusCode::OK, "");
        };
        match self.take_in(events) {
            true => webhook::respond(StatusCode::OK, ""),
            false => webhook::respond(StatusCode::SERVICE_UNAVAILABLE, "I am behind; send it again."),
        }
    }

    // All or nothing: Meta repeats a notification as a whole, so accepting a part would deliver that part twice.
    fn take_in(&self, events: Vec<NotificationEvent>) -> bool {
        let messages = events.iter().filter(|event| matches!(event, NotificationEvent::Message(_))).count();
        // A notification with more messages than there are places is accepted when all are free; otherwise
        // it could never come in.
        let places = u32::try_from(messages.min(WAITING_MAX)).unwrap_or(u32::MAX);
        let Ok(mut places) = self.queue.places.clone().try_acquire_many_owned(places) else {
            tracing::warn!(messages, "the bot is behind; Meta is to send a notification again");
            return false;
        };
        for event in events {
            match event {
                NotificationEvent::Message(message) => self.take_message(message, places.split(1)),
                NotificationEvent::Status(status) => self.take_status(status),
                NotificationEvent::Trouble(trouble) => {
                    self.notes.set_account(Some(format!("Meta reports {trouble}")))
                }
            }
        }
        true
    }

    fn take_message(&self, message: PersonMessage, place: Option<OwnedSemaphorePermit>) {
        let Some(person) = self.contacts.lock().entry(&message.who) else {
            return self.notes.add_stranger(&message.who);
        };
        let now = (self.clock)();
        self.contacts.lock().on_message(&person, &message.who, message.at, now);
        self.notes.clear_failure(&person);
        let room = Room::new(NAME, person.clone());
        // Before the new message reaches the bot, so that held messages go out ahead of its answer.
        self.open_window(&room);
        // Cannot fail, since the receiver is a field of `self`.
        let _ = self.queue.sender.send(IncomingDraft { message, person, _place: place });
    }

    // Meta may deliver our message, and the person refer to it, before Meta answers the call that sent it. The send lock
    // is free once the answer is here.
    async fn await_own_message(&self, IncomingDraft { message, person, .. }: &IncomingDraft) {
        let is_known = message.refers_to().is_none_or(|id| self.sending.recent.lock().get(id).is_some());
        if !is_known {
            let turn = self.send_lock(&Room::new(NAME, person.clone()));
            let _ = tokio::time::timeout(ANSWER_MAX, turn.lock()).await;
        }
    }

    /// The message for the bot; `None` where nothing in it concerns it.
    fn read_message(&self, IncomingDraft { message, person, .. }: &IncomingDraft) -> Option<Incoming> {
        let (act, addressed) = self.read_act(message, person)?;
        let enclosed = self.read_enclosed(message, person);
        let known_as = |id: &String| MessageId::new(self.sending.recent.lock().known_as(id));
        let reply_to = message.context.as_ref().map(known_as);
        let name = message.who.name.as_deref().unwrap_or(person);
        Some(Incoming {
            id: MessageId::new(message.id.as_str()),
            room: Room::new(NAME, person.clone()),
            sender: Sender { id: person.clone(), name: name.into(), is_bot: false },
            act,
            addressed: Some(addressed),
            shared: false,
            reply_to,
            sent_at: message.at,
            enclosed,
        })
    }

    /// The file of a message, and what it quotes or forwards. WhatsApp sends the text of no quoted message, so only what the bot
    /// itself has sent of late is known.
    fn read_enclosed(&self, message: &PersonMessage, person: &Arc<str>) -> Enclosed {
        let (files, words) = match &message.kind {
            MessageKind::Text(text) => (Vec::new(), text),
            MessageKind::File(file) => {
                let sent = SentFile { name: file.name.clone(), size: None, reference: file.id.clone() };
                (vec![sent], &file.caption)
            }
            _ => return Enclosed::default(),
        };
        let quote = |author, text: &str| Quotation { author, text: excerpt(text, QUOTED_MAX) };
        let recent = self.sending.recent.lock();
        let own = message.context.as_ref().and_then(|id| recent.get(id)).filter(|own| own.person == *person);
        let own = own.map(|own| quote(QuotedAuthor::Bot, &own.message.markdown));
        let forwarded = message.is_forwarded.then(|| quote(QuotedAuthor::Unknown, words));
        let quotes = own.into_iter().chain(forwarded).filter(|quote| !quote.text.is_empty()).collect();
        Enclosed { files, quotes }
    }

    /// The act for the bot; `None` for events that do not concern it.
    fn read_act(&self, message: &PersonMessage, person: &Arc<str>) -> Option<(PersonAct, Addressed)> {
        let direct = |act| Some((act, Addressed::Direct));
        match &message.kind {
            // Forwarded words give no command and answer no question: they are quoted.
            MessageKind::Text(_) | MessageKind::File(_) if message.is_forwarded => {
                direct(PersonAct::Said { text: String::new() })
            }
            MessageKind::Text(text) | MessageKind::File(MediaFile { caption: text, .. }) => {
                let (addressed, text) = self.strip_address(text);
                Some((PersonAct::Said { text }, addressed))
            }
            MessageKind::Chose(key) => {
                let on = message.context.as_deref().unwrap_or_default();
                direct(PersonAct::Chose {
                    on: MessageId::new(self.sending.recent.lock().known_as(on)),
                    key: key.clone(),
                })
            }
            MessageKind::Reacted { on, emoji } => {
                let (on, key) = self.sending.recent.lock().picked_by(on, person, emoji)?;
                direct(PersonAct::Chose { on: MessageId::new(on), key })
            }
            MessageKind::Revoked(id) => direct(PersonAct::Redacted { message: MessageId::new(id.as_str()) }),
            MessageKind::NotReadable => {
                let answer = Outgoing::text(notices::NOT_READABLE).with_tone(Tone::Failure);
                let answer = answer.replying_to(Some(MessageId::new(message.id.as_str())));
                self.say_later(Room::new(NAME, person.clone()), answer);
                None
            }
            MessageKind::Ignored => None,
        }
    }

    // Paths begin with slashes, too, so a slash counts only before a command of ours.
    fn strip_address(&self, text: &str) -> (Addressed, String) {
        if let Some((addressed, rest)) = address::strip(text, &self.identity, &[]) {
            return (addressed, rest);
        }
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('/') {
            let word = rest.split_whitespace().next().unwrap_or_default();
            let known = self.identity.commands.iter().any(|command| command.name.eq_ignore_ascii_case(word));
            if known && rest.starts_with(word) {
                return (Addressed::Slash, rest.to_owned());
            }
        }
        (Addressed::Direct, text.to_owned())
    }

    fn take_status(&self, status: DeliveryStatus) {
        let sent = self.sending.recent.lock().get(&status.id).map(|sent| (sent.person.clone(), sent.number));
        let Some(failure) = status.failure.clone() else {
            return sent.iter().for_each(|(person, number)| self.notes.on_delivered(person, *number));
        };
        let person = sent.as_ref().map(|(person, _)| person.clone());
        let Some(person) = person.or_else(|| self.contacts.lock().entry(&status.who)) else {
            return self.report_failure(&status.who.id(), failure.to_string());
        };
        if sent.is_some() {
            return self.take_failure(&person, &status, &failure);
        }
        // Meta may report the failure before it answers our own call. Waiting for the send lock lets that call finish first.
        let Some(me) = self.me.upgrade() else { return };
        self.sending.tasks.spawn(async move {
            let turn = me.send_lock(&Room::new(NAME, person.clone()));
            drop(turn.lock().await);
            me.take_failure(&person, &status, &failure);
        });
    }

    fn take_failure(&self, person: &Arc<str>, status: &DeliveryStatus, failure: &DeliveryFailure) {
        let sent = self.sending.recent.lock().give_back(&status.id);
        tracing::warn!(%person, %failure, "a message was not delivered");
        if let Some(question) = sent.as_ref().filter(|sent| sent.message.tone == Tone::Question) {
            self.notes.report(MessengerNews::NotDelivered {
                room: Room::new(NAME, person.clone()),
                message: MessageId::new(question.known_as.as_str()),
                why: failure.to_string(),
            });
        }
        match ErrorMeaning::of(failure.code, StatusCode::OK) {
            // The window closed between our check and Meta's, so the message is sent again as the template, or held.
            ErrorMeaning::Window => {
                // Times are whole seconds. A failure of an unknown message counts only if it is surely newer than
                // the person's last words.
                let margin = if sent.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
                self.contacts.lock().close(person, status.at.checked_sub(margin).unwrap_or(status.at));
                match sent {
                    // A long question's text: its buttons fail as well, and sending them again brings the text along.
                    Some(sent) if sent.known_as != sent.id => {}
                    Some(sent) => self.say_later(Room::new(NAME, person.clone()), (*sent.message).clone()),
                    None => self.report_failure(person, failure.to_string()),
                }
            }
            ErrorMeaning::Person => {
                self.contacts.lock().set_unreachable(person, failure.to_string(), status.at);
                self.report_failure(person, notices::not_reachable(&failure.to_string()));
            }
            _ => self.report_failure(person, failure.to_string()),
        }
    }

    /// Reports to the operator that a message to this person did not arrive.
    pub(super) fn report_failure(&self, person: &str, why: String) {
        let after = self.sending.recent.lock().count();
        self.notes.add_failure(person, why, after);
    }

    /// Feeds the bot until it shuts down.
    pub(super) async fn deliver_queued(&self, inbox: &Inbox) -> Result<(), AdapterError> {
        let mut feed = self.queue.feed.lock().await;
        loop {
            if let Some(draft) = &feed.next {
                self.await_own_message(draft).await;
                if let Some(incoming) = self.read_message(draft)
                    && !inbox.deliver(incoming).await
                {
                    return Ok(());
                }
            }
            // Only now: a connection that breaks in between must not lose the one before.
            feed.next = None;
            feed.next = feed.receiver.recv().await;
        }
    }
}
