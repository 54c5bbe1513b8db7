//! How each messenger's connection is, for `status`, `/health` and the log.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{MessengerNews, Room};

// Beyond this many conversations new ones are only logged: then it is not the conversations that are at fault.
const UNREACHABLE_MAX: usize = 100;
// Bounds what waits for the bot; the oldest is in the log.
const NEWS_MAX: usize = 100;

/// The state of one adapter's connection: written by the adapter and its supervisor, read by `status` and `/health`.
pub struct AdapterHealth {
    name: &'static str,
    state: Mutex<HealthState>,
    has_news: Notify,
}

struct HealthState {
    up: bool,
    since: SystemTime,
    last_event: Option<SystemTime>,
    connections: u32,
    last_error: Option<String>,
    note: Option<String>,
    unreached: BTreeMap<String, UnreachedConversation>,
    news: VecDeque<MessengerNews>,
    // Besides `since`, which is for people and may jump with the wall clock.
    connected_at: Option<Instant>,
}

/// A conversation in which messages of the bot do not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreachedConversation {
    /// [`Room::conversation`].
    pub id: String,
    /// Why the last message did not arrive, and what to do.
    pub why: String,
    pub since: SystemTime,
    /// How many messages were lost since then.
    pub messages: u32,
}

/// [`AdapterHealth`] at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSnapshot {
    pub name: &'static str,
    pub up: bool,
    pub since: SystemTime,
    /// When the last act of a person came in.
    pub last_event: Option<SystemTime>,
    /// How often it connected again after the first time.
    pub reconnects: u32,
    /// The reason of the last failure, also after the next connection.
    pub last_error: Option<String>,
    /// A note for the operator although it is up.
    pub note: Option<String>,
    /// Where its messages do not arrive, until one does.
    pub unreached: Vec<UnreachedConversation>,
}

impl AdapterHealth {
    /// The health of an adapter that has not connected yet.
    pub fn new(name: &'static str) -> Self {
        let state = HealthState {
            up: false,
            since: SystemTime::now(),
            last_event: None,
            connections: 0,
            last_error: None,
            note: None,
            unreached: BTreeMap::new(),
            news: VecDeque::new(),
            connected_at: None,
        };
        Self { name, state: Mutex::new(state), has_news: Notify::new() }
    }

    /// Records that the connection is up. A second call while it is up has no effect.
    pub fn set_connected(&self) {
        let mut state = self.state.lock();
        if !state.up {
            state.up = true;
            state.since = SystemTime::now();
            state.connections = state.connections.saturating_add(1);
            state.connected_at = Some(Instant::now());
            tracing::info!(adapter = self.name, "connected");
        }
    }

    pub fn note_event(&self) {
        self.state.lock().last_event = Some(SystemTime::now());
    }

    /// Sets a note for the operator about a problem despite the connection; `None` clears it. A new note is logged.
    pub fn set_note(&self, note: Option<String>) {
        let mut state = self.state.lock();
        // Adapters set the same note at every check; the log shows it only once.
        if let Some(note) = note.as_ref().filter(|note| state.note.as_ref() != Some(note)) {
            tracing::warn!(adapter = self.name, "{note}");
        }
        state.note = note;
    }

    /// Records that a message did not arrive in a room. `true` if none did not before: then the operator wants to know.
    pub fn not_delivered(&self, room: &Room, why: &str) -> bool {
        let mut state = self.state.lock();
        let is_full = state.unreached.len() >= UNREACHABLE_MAX;
        if let Some(known) = state.unreached.get_mut(room.conversation()) {
            known.messages = known.messages.saturating_add(1);
            why.clone_into(&mut known.why);
            return false;
        }
        if !is_full {
            let id = room.conversation().to_owned();
            let since = SystemTime::now();
            let new = UnreachedConversation { id: id.clone(), why: why.to_owned(), since, messages: 1 };
            state.unreached.insert(id, new);
        }
        !is_full
    }

    /// Records that a message arrived in a room.
    pub fn delivered(&self, room: &Room) {
        self.state.lock().unreached.remove(room.conversation());
    }

    /// Keeps news for the bot until it takes them.
    pub fn report(&self, news: MessengerNews) {
        tracing::info!(adapter = self.name, ?news);
        let mut state = self.state.lock();
        if state.news.len() >= NEWS_MAX {
            state.news.pop_front();
        }
        state.news.push_back(news);
        self.has_news.notify_one();
    }

    /// The next news, for the one task that tells people; waits for it.
    pub async fn next_news(&self) -> MessengerNews {
        loop {
            // Kept for a `notify_one` between this look and the wait.
            if let Some(news) = self.state.lock().news.pop_front() {
                return news;
            }
            self.has_news.notified().await;
        }
    }

    /// Records that the connection ended or could not be made.
    pub fn set_down(&self, error: &str) {
        let mut state = self.state.lock();
        state.last_error = Some(error.to_owned());
        state.set_down();
    }

    pub fn snapshot(&self) -> HealthSnapshot {
        let state = self.state.lock();
        HealthSnapshot {
            name: self.name,
            up: state.up,
            since: state.since,
            last_event: state.last_event,
            reconnects: state.connections.saturating_sub(1),
            last_error: state.last_error.clone(),
            note: state.note.clone(),
            unreached: state.unreached.values().cloned().collect(),
        }
    }

    pub(crate) fn ended(&self) {
        self.state.lock().set_down();
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.state.lock().connected_at.map_or(Duration::ZERO, |at| at.elapsed())
    }
}

impl HealthState {
    fn set_down(&mut self) {
        self.connected_at = None;
        if self.up {
            self.up = false;
            self.since = SystemTime::now();
        }
    }
}

impl fmt::Debug for AdapterHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_unreached_until_a_message_arrives_in_it_or_in_a_thread_of_it() {
        let health = AdapterHealth::new("chat");
        let (channel, thread) = (Room::new("chat", "C1"), Room::new("chat", "C1/2.1"));
        assert!(health.not_delivered(&thread, "no thread"), "it is news");
        assert!(!health.not_delivered(&channel, "archived"));
        let [unreached] = &health.snapshot().unreached[..] else { panic!("not one") };
        assert_eq!(
            (unreached.id.as_str(), unreached.why.as_str(), unreached.messages),
            ("C1", "archived", 2)
        );
        health.delivered(&thread);
        assert_eq!(health.snapshot().unreached, []);
        assert!(health.not_delivered(&channel, "archived"), "it is news again");
    }

    #[tokio::test]
    async fn news_wait_in_order_for_the_one_who_tells_them() {
        let health = std::sync::Arc::new(AdapterHealth::new("chat"));
        let news = |n: usize| MessengerNews::CannotJoin { room: Room::new("chat", "C1"), why: n.to_string() };
        let reader = health.clone();
        let waiting = tokio::spawn(async move { reader.next_news().await });
        tokio::task::yield_now().await;
        health.report(news(0));
        assert_eq!(waiting.await.expect("it ends"), news(0));
        (1..=NEWS_MAX + 1).for_each(|n| health.report(news(n)));
        assert_eq!((health.next_news().await, health.next_news().await), (news(2), news(3)));
    }

    #[test]
    fn conversations_beyond_a_bound_are_not_kept() {
        let health = AdapterHealth::new("chat");
        let news = (0..200).filter(|n| health.not_delivered(&Room::new("chat", n.to_string()), "x")).count();
        assert_eq!((news, health.snapshot().unreached.len()), (UNREACHABLE_MAX, UNREACHABLE_MAX));
    }
}
