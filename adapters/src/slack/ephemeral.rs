//! Replies that one person alone sees: to a slash command, or to a pressed button.
//!
//! Their ids carry the person, so that such a reply is private also after a restart, when the response URL is forgotten.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::event::{ButtonPress, SlashCommand};
use crate::{MessageId, slack::conversation::ConversationAddress};

// A response URL works for half an hour and five times; one minute less leaves room for a slow call.
// <https://docs.slack.dev/interactivity/handling-user-interaction#message_responses>
const URL_LIFE: Duration = Duration::from_secs(29 * 60);
const URL_USES: u8 = 5;
// Bounds the memory. Without a URL, replies go by `chat.postEphemeral`.
const MOST: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateRecipient {
    pub user: String,
}

pub fn slash_id(slash: &SlashCommand) -> MessageId {
    MessageId::new(format!("cmd:{}:{}", slash.user, slash.trigger))
}

pub fn pick_id(picked: &ButtonPress) -> MessageId {
    MessageId::new(format!("act:{}:{}", picked.user, picked.trigger))
}

/// The id of a message that only this person sees.
pub fn shown_id(user: &str, ts: &str) -> MessageId {
    MessageId::new(format!("eph:{user}:{ts}"))
}

pub fn is_shown_to_one(id: &MessageId) -> bool {
    id.as_str().starts_with("eph:")
}

impl PrivateRecipient {
    // A press in a thread is private as well; slash commands exist only outside of threads.
    pub fn reply(to: &MessageId, place: &ConversationAddress) -> Option<Self> {
        let (kind, rest) = to.as_str().split_once(':')?;
        let (user, _) = rest.split_once(':')?;
        let private = kind == "act" || kind == "cmd" && place.thread.is_none();
        private.then(|| Self { user: user.to_owned() })
    }
}

#[derive(Default)]
pub struct ResponseUrls(Mutex<HashMap<MessageId, ResponseUrl>>);

struct ResponseUrl {
    url: String,
    since: Instant,
    uses: u8,
}

impl ResponseUrls {
    pub fn add(&self, id: MessageId, url: &str, now: Instant) {
        let mut urls = self.0.lock();
        urls.retain(|_, url| now.duration_since(url.since) < URL_LIFE);
        if !url.is_empty() && urls.len() < MOST {
            urls.insert(id, ResponseUrl { url: url.to_owned(), since: now, uses: 0 });
        }
    }

    pub fn take(&self, id: &MessageId, now: Instant) -> Option<String> {
        let mut urls = self.0.lock();
        let url = urls.get_mut(id)?;
        let works = now.duration_since(url.since) < URL_LIFE && url.uses < URL_USES;
        url.uses = url.uses.saturating_add(1);
        works.then(|| url.url.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(thread: Option<&str>) -> ConversationAddress {
        ConversationAddress { channel: "C1".into(), thread: thread.map(str::to_owned) }
    }

    #[test]
    fn replies_to_commands_and_presses_are_private_and_others_are_not() {
        let to =
            |id: &str, thread| PrivateRecipient::reply(&MessageId::new(id), &place(thread)).map(|it| it.user);
        assert_eq!(to("cmd:U1:t.1", None).as_deref(), Some("U1"));
        assert_eq!(to("act:U1:t.1", Some("1.2")).as_deref(), Some("U1"));
        assert_eq!(to("cmd:U1:t.1", Some("1.2")), None);
        assert_eq!(to("1700000000.000100", None), None);
        assert_eq!(to("eph:U1:1.2", None), None);
    }

    #[test]
    fn a_response_url_is_used_five_times_and_for_half_an_hour() {
        let (urls, now, id) = (ResponseUrls::default(), Instant::now(), MessageId::new("cmd:U1:t"));
        urls.add(id.clone(), "https://hooks", now);
        assert!((0..5).all(|_| urls.take(&id, now).is_some()) && urls.take(&id, now).is_none());
        urls.add(id.clone(), "https://hooks", now);
        assert_eq!(urls.take(&id, now + Duration::from_secs(1800)), None);
        urls.add(MessageId::new("cmd:U1:u"), "", now);
        assert_eq!(urls.take(&MessageId::new("cmd:U1:u"), now), None);
    }
}
