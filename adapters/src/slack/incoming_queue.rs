//! Acknowledged events, in order and each once, until the bot accepts them; and the open questions.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::event::SlackEvent;
use crate::MessageId;

// Beyond this, events are not acknowledged, and Slack sends them again later.
const QUEUE_MAX: usize = 4_096;
// Repeats after a reconnect come late, minutes and more. The bot's own record of ids reaches further back.
const RECENT: Duration = Duration::from_secs(3600);
const RECENT_MAX: usize = 20_000;

#[derive(Default)]
pub struct EventQueue {
    state: Mutex<QueueState>,
    more: Notify,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<SlackEvent>,
    recent: HashSet<String>,
    order: VecDeque<(Instant, String)>,
}

impl EventQueue {
    /// `false` if the queue is full. A repeat counts as accepted and is dropped.
    pub fn push(&self, heard: SlackEvent) -> bool {
        let mut state = self.state.lock();
        let (now, key) = (Instant::now(), heard.key());
        state.forget_old(now);
        // Before the check for room: a repeat needs none, and without an acknowledgement Slack would repeat it again.
        if state.recent.contains(&key) {
            return true;
        }
        if state.waiting.len() >= QUEUE_MAX {
            return false;
        }
        state.recent.insert(key.clone());
        state.order.push_back((now, key));
        state.waiting.push_back(heard);
        self.more.notify_one();
        true
    }

    /// The next one; it stays queued until [`EventQueue::pop`].
    pub async fn front(&self) -> SlackEvent {
        loop {
            if let Some(heard) = self.state.lock().waiting.front() {
                return heard.clone();
            }
            self.more.notified().await;
        }
    }

    pub fn pop(&self) {
        self.state.lock().waiting.pop_front();
    }
}

impl QueueState {
    fn forget_old(&mut self, now: Instant) {
        let old = |(since, _): &(Instant, String)| now.duration_since(*since) > RECENT;
        while self.order.len() > RECENT_MAX || self.order.front().is_some_and(old) {
            if let Some((_, key)) = self.order.pop_front() {
                self.recent.remove(&key);
            }
        }
    }
}

// An answer in the thread below a question belongs to the room of the question.
#[derive(Default)]
pub struct AskingMessages(Mutex<VecDeque<(String, MessageId)>>);

impl AskingMessages {
    const MOST: usize = 200;

    pub fn add(&self, channel: &str, id: &MessageId) {
        let mut asked = self.0.lock();
        asked.push_back((channel.to_owned(), id.clone()));
        while asked.len() > Self::MOST {
            asked.pop_front();
        }
    }

    pub fn remove(&self, channel: &str, id: &MessageId) {
        self.0.lock().retain(|(at, asked)| at != channel || asked != id);
    }

    pub fn contains(&self, channel: &str, id: &MessageId) -> bool {
        self.0.lock().iter().any(|(at, asked)| at == channel && asked == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slack::event::SlashCommand;

    fn heard(number: usize) -> SlackEvent {
        SlackEvent::Slash(SlashCommand {
            channel: "C1".into(),
            user: "U1".into(),
            user_name: "ann".into(),
            command: "/storkit".into(),
            text: "status".into(),
            response_url: String::new(),
            trigger: number.to_string(),
        })
    }

    #[tokio::test]
    async fn a_repeat_is_acknowledged_and_dropped_and_a_full_queue_is_not_acknowledged() {
        let queue = EventQueue::default();
        assert!(queue.push(heard(0)) && queue.push(heard(0)));
        assert_eq!(queue.state.lock().waiting.len(), 1);
        assert!((1..QUEUE_MAX).all(|number| queue.push(heard(number))));
        assert!(!queue.push(heard(QUEUE_MAX)));
        assert_eq!(
            (queue.front().await, queue.front().await),
            (heard(0), heard(0)),
            "it stays until it is popped"
        );
        queue.pop();
        assert!(queue.push(heard(QUEUE_MAX)), "Slack's repeat is taken once there is room");
        assert_eq!(queue.front().await, heard(1));
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_are_known_for_an_hour() {
        let queue = EventQueue::default();
        queue.push(heard(0));
        queue.pop();
        tokio::time::advance(Duration::from_secs(3590)).await;
        queue.push(heard(0));
        assert_eq!(queue.state.lock().waiting.len(), 0);
        tokio::time::advance(Duration::from_secs(20)).await;
        queue.push(heard(0));
        assert_eq!(queue.state.lock().waiting.len(), 1);
    }
}
