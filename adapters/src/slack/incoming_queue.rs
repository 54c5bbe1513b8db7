//! Acknowledged events, each once and in the order of their conversation, until the bot accepts them; and the open questions.

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
// How long a message waits for names from when it arrives. After this time ids must do.
pub const NAMES_WAIT: Duration = Duration::from_secs(2);
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
    waiting: VecDeque<WaitingEvent>,
    taken: u64,
    recent: HashSet<String>,
    order: VecDeque<(Instant, String)>,
}

#[derive(Clone)]
struct WaitingEvent {
    number: u64,
    event: SlackEvent,
    // Its conversation, in which events keep their order.
    lane: String,
    due: Instant,
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
        state.taken += 1;
        let (number, lane) = (state.taken, heard.lane());
        state.waiting.push_back(WaitingEvent { number, event: heard, lane, due: now + NAMES_WAIT });
        self.more.notify_one();
        true
    }

    /// The next event that is ready or has waited long enough; nothing of its conversation waits before it. It stays queued until
    /// [`EventQueue::remove`]. `changed` ends when `is_ready` may say something else.
    pub async fn next<C: Future<Output = ()>>(
        &self,
        is_ready: impl Fn(&SlackEvent) -> bool,
        changed: impl Fn() -> C,
    ) -> (u64, SlackEvent) {
        loop {
            let due = match self.state.lock().next(Instant::now(), &is_ready) {
                Ok(next) => return next,
                Err(due) => due,
            };
            tokio::select! {
                () = self.more.notified() => {}
                () = changed() => {}
                () = sleep_until_some(due) => {}
            }
        }
    }

    pub fn remove(&self, number: u64) {
        self.state.lock().waiting.retain(|waiting| waiting.number != number);
    }
}

async fn sleep_until_some(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl QueueState {
    /// The next event, or the time at which the first that waits for names is due.
    fn next(
        &self,
        now: Instant,
        is_ready: impl Fn(&SlackEvent) -> bool,
    ) -> Result<(u64, SlackEvent), Option<Instant>> {
        let mut held = HashSet::new();
        let mut due = None;
        for waiting in &self.waiting {
            if held.contains(waiting.lane.as_str()) {
                continue;
            }
            if waiting.due <= now || is_ready(&waiting.event) {
                return Ok((waiting.number, waiting.event.clone()));
            }
            held.insert(waiting.lane.as_str());
            due = due.or(Some(waiting.due));
        }
        Err(due)
    }

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
        said("C1", number)
    }

    fn said(channel: &str, number: usize) -> SlackEvent {
        SlackEvent::Slash(SlashCommand {
            channel: channel.into(),
            user: "U1".into(),
            user_name: "ann".into(),
            command: "/storkit".into(),
            text: "status".into(),
            response_url: String::new(),
            trigger: number.to_string(),
            group: false,
        })
    }

    async fn next(queue: &EventQueue, is_ready: impl Fn(&SlackEvent) -> bool) -> SlackEvent {
        queue.next(is_ready, std::future::pending).await.1
    }

    #[tokio::test]
    async fn a_repeat_is_acknowledged_and_dropped_and_a_full_queue_is_not_acknowledged() {
        let queue = EventQueue::default();
        assert!(queue.push(heard(0)) && queue.push(heard(0)));
        assert_eq!(queue.state.lock().waiting.len(), 1);
        assert!((1..QUEUE_MAX).all(|number| queue.push(heard(number))));
        assert!(!queue.push(heard(QUEUE_MAX)));
        let ready = |_: &SlackEvent| true;
        assert_eq!(next(&queue, ready).await, heard(0));
        let (number, again) = queue.next(ready, std::future::pending).await;
        assert_eq!(again, heard(0), "it stays until it is removed");
        queue.remove(number);
        assert!(queue.push(heard(QUEUE_MAX)), "Slack's repeat is taken once there is room");
        assert_eq!(next(&queue, ready).await, heard(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_waits_for_names_holds_up_its_conversation_only_and_that_for_two_seconds() {
        let queue = EventQueue::default();
        let started = Instant::now();
        for (channel, number) in [("C1", 1), ("C1", 2), ("C2", 3)] {
            queue.push(said(channel, number));
        }
        let not_the_first = |event: &SlackEvent| *event != said("C1", 1);
        let (number, event) = queue.next(not_the_first, std::future::pending).await;
        assert_eq!((event, started.elapsed()), (said("C2", 3), Duration::ZERO));
        queue.remove(number);
        for expected in [said("C1", 1), said("C1", 2)] {
            let (number, event) = queue.next(not_the_first, std::future::pending).await;
            assert_eq!((event, started.elapsed()), (expected, NAMES_WAIT));
            queue.remove(number);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_are_known_for_an_hour() {
        let queue = EventQueue::default();
        queue.push(heard(0));
        queue.remove(1);
        tokio::time::advance(Duration::from_secs(3590)).await;
        queue.push(heard(0));
        assert_eq!(queue.state.lock().waiting.len(), 0);
        tokio::time::advance(Duration::from_secs(20)).await;
        queue.push(heard(0));
        assert_eq!(queue.state.lock().waiting.len(), 1);
    }
}
