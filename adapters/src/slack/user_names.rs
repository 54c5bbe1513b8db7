//! People's display names, cached. Look-ups run beside the events, so none holds up what people say.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{event::text, web::WebApi};
use crate::slack::call_failure::CallFailure;

// People rarely change their names. A failed look-up is repeated sooner, but not for each message.
const KEEP: Duration = Duration::from_secs(24 * 3600);
const KEEP_NOTHING: Duration = Duration::from_secs(300);
const MOST: usize = 10_000;
// Look-ups at one time. `users.info` is Tier 4, 100 a minute: <https://docs.slack.dev/reference/methods/users.info>
const AT_ONCE: usize = 8;
// Beyond these, people keep their ids until a later message: the look-ups would come too late for this one.
const ASKED_MAX: usize = 100;

pub struct UserNames {
    web: Arc<WebApi>,
    state: Mutex<NameCache>,
    slots: Semaphore,
    settled: Notify,
    // The same for tasks that come and go.
    answered: Notify,
}

#[derive(Default)]
struct NameCache {
    known: HashMap<String, CachedName>,
    asked: usize,
    // Slack limits the look-ups until then.
    paused: Option<Instant>,
}

enum CachedName {
    Asked,
    Answered(Option<String>, Instant),
}

impl UserNames {
    pub fn new(web: Arc<WebApi>) -> Arc<Self> {
        Arc::new(Self {
            web,
            state: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
            settled: Notify::new(),
            answered: Notify::new(),
        })
    }

    /// The person's display name, as far as it is known.
    pub fn of(&self, user: &str) -> Option<String> {
        match self.state.lock().known.get(user)? {
            CachedName::Answered(name, _) => name.clone(),
            CachedName::Asked => None,
        }
    }

    /// Whether no answer about this person is to be expected.
    pub fn is_settled(&self, user: &str) -> bool {
        !matches!(self.state.lock().known.get(user), Some(CachedName::Asked))
    }

    /// Waits until an answer has come since the last call. For one waiting task.
    pub async fn settled(&self) {
        self.settled.notified().await;
    }

    /// Asks for the names of these people, and waits at most so long for the answers.
    pub async fn learn(self: &Arc<Self>, people: &[String], wait: Duration) {
        people.iter().for_each(|user| self.ask(user));
        let all_settled = async {
            loop {
                let mut answered = std::pin::pin!(self.answered.notified());
                // Before the look, or an answer in between would be missed.
                answered.as_mut().enable();
                if people.iter().all(|user| self.is_settled(user)) {
                    return;
                }
                answered.await;
            }
        };
        // Who has no name by then keeps the id.
        let _ = tokio::time::timeout(wait, all_settled).await;
    }

    /// Asks Slack for a name that is unknown or old, without waiting for it.
    pub fn ask(self: &Arc<Self>, user: &str) {
        if !self.state.lock().begin(user, Instant::now()) {
            return;
        }
        let (names, user) = (self.clone(), user.to_owned());
        tokio::spawn(async move {
            let answer = {
                let _slot = names.slots.acquire().await;
                names.web.call_with("users.info", &[("user", &user)]).await
            };
            names.state.lock().end(user, &answer, Instant::now());
            names.settled.notify_one();
            names.answered.notify_waiters();
        });
    }
}

impl NameCache {
    fn begin(&mut self, user: &str, now: Instant) -> bool {
        let fresh = match self.known.get(user) {
            Some(CachedName::Asked) => true,
            Some(CachedName::Answered(name, since)) => {
                now.duration_since(*since) < if name.is_some() { KEEP } else { KEEP_NOTHING }
            }
            None => false,
        };
        if fresh || self.asked >= ASKED_MAX || self.paused.is_some_and(|until| until > now) {
            return false;
        }
        if self.known.len() >= MOST {
            // Simpler than a least-recently-used order; names cost one call each to fetch again.
            self.known.retain(|_, cached| matches!(cached, CachedName::Asked));
        }
        self.asked += 1;
        self.known.insert(user.to_owned(), CachedName::Asked);
        true
    }

    fn end(&mut self, user: String, answer: &Result<serde_json::Value, CallFailure>, now: Instant) {
        self.asked = self.asked.saturating_sub(1);
        if let Err(CallFailure::Limited(retry_after)) = answer {
            self.paused = Some(now + *retry_after);
            self.known.remove(&user);
            return;
        }
        let name = answer.as_ref().ok().and_then(|answer| {
            let profile = &answer["user"]["profile"];
            let names =
                [text(profile, "display_name"), text(profile, "real_name"), text(&answer["user"], "name")];
            names.into_iter().find(|name| !name.trim().is_empty()).map(str::to_owned)
        });
        self.known.insert(user, CachedName::Answered(name, now));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_asked_for_once_and_again_when_it_is_old() {
        let (mut cache, now) = (NameCache::default(), Instant::now());
        assert!(cache.begin("U1", now) && !cache.begin("U1", now));
        cache.end("U1".into(), &Ok(json!({ "user": { "name": "ann" } })), now);
        assert!(!cache.begin("U1", now + KEEP_NOTHING) && cache.begin("U1", now + KEEP));
        assert!(cache.begin("U2", now));
        cache.end("U2".into(), &Err(CallFailure::Unreachable("down".into())), now);
        assert!(!cache.begin("U2", now) && cache.begin("U2", now + KEEP_NOTHING));
    }

    #[test]
    fn look_ups_are_bounded_and_pause_when_slack_says_so() {
        let (mut cache, now) = (NameCache::default(), Instant::now());
        let asked = (0..500).filter(|n| cache.begin(&format!("U{n}"), now)).count();
        assert_eq!(asked, ASKED_MAX);
        cache.end("U0".into(), &Err(CallFailure::Limited(Duration::from_secs(9))), now);
        assert!(!cache.begin("U0", now) && cache.begin("U0", now + Duration::from_secs(9)));
    }
}
