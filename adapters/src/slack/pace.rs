//! Rate limits of the Web API: <https://docs.slack.dev/apis/web-api/rate-limits>.
//!
//! Posts: one a second in each channel, with short bursts. Edits: `chat.update` is Tier 3, 50 a minute for the whole app, so all
//! live messages share them: the more there are, the rarer each changes, and some edits are reserved for last states.
//! Pure: the time is passed in. A call that may be dropped is refused with a wait; all others get the time at which they may go.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::delivery::token_bucket::TokenBucket;

/// `chat.update`, Tier 3: <https://docs.slack.dev/reference/methods/chat.update>
const UPDATES_A_MINUTE: usize = 50;
// Frames may use this many of them. The others are for last states, which must not wait for a minute.
const FRAMES_A_MINUTE: usize = 40;
const MINUTE: Duration = Duration::from_secs(60);
// Over all live messages: 37 a minute, just below the budget above, so that frames come evenly.
const BETWEEN_FRAMES: Duration = Duration::from_millis(1_600);
/// The shortest time between two frames of one message.
pub const FRAME_INTERVAL: Duration = Duration::from_secs(3);
// A live message without a frame for this long is over or waits; its share goes to the others.
const STILL_LIVE: Duration = Duration::from_secs(20);
// One message a second in a channel, with short bursts: <https://docs.slack.dev/apis/web-api/rate-limits>
const POSTS: TokenBucket = TokenBucket::new(Duration::from_secs(1), 5);
// `reactions.remove` is Tier 2, 20 a minute: <https://docs.slack.dev/reference/methods/reactions.remove>
const REACTIONS: TokenBucket = TokenBucket::new(Duration::from_secs(3), 10);

/// The calls of the last minute, and Slack's refusals.
#[derive(Default)]
pub struct CallPacer(Mutex<CallPacerState>);

struct CallPacerState {
    posts: HashMap<String, TokenBucket>,
    reactions: TokenBucket,
    updates: VecDeque<Instant>,
    frames: TokenBucket,
    live: HashMap<String, LiveUpdates>,
    updates_blocked: Option<Instant>,
}

impl Default for CallPacerState {
    fn default() -> Self {
        Self {
            posts: HashMap::new(),
            reactions: REACTIONS,
            updates: VecDeque::new(),
            frames: TokenBucket::new(BETWEEN_FRAMES, 4),
            live: HashMap::new(),
            updates_blocked: None,
        }
    }
}

struct LiveUpdates {
    shown: Option<Instant>,
    asked: Instant,
}

impl CallPacer {
    /// When a message may be posted in this channel. One that may be dropped is refused with the time to wait instead.
    pub fn post(&self, now: Instant, channel: &str, droppable: bool) -> Result<Instant, Duration> {
        let mut state = self.0.lock();
        state.posts.retain(|_, bucket| !bucket.is_idle(now));
        let bucket = state.posts.entry(channel.to_owned()).or_insert(POSTS);
        let wait = bucket.wait(1, now);
        if droppable && !wait.is_zero() {
            return Err(wait);
        }
        bucket.take(1, now + wait);
        Ok(now + wait)
    }

    pub fn post_refused(&self, now: Instant, channel: &str, retry_after: Duration) {
        self.0.lock().posts.entry(channel.to_owned()).or_insert(POSTS).block_until(now + retry_after);
    }

    /// When this message may be edited. A frame is refused with the time to wait instead.
    pub fn update(&self, now: Instant, message: &str, frame: bool) -> Result<Instant, Duration> {
        let mut state = self.0.lock();
        let at = if frame { state.next_frame(now, message)? } else { state.next_last_state(now, message) };
        state.updates.push_back(at);
        Ok(at)
    }

    /// Slack refused an edit. The limit holds for all messages of the app.
    pub fn update_refused(&self, now: Instant, retry_after: Duration) {
        self.0.lock().updates_blocked = Some(now + retry_after);
    }

    /// Whether a reaction may be added or removed now, or how long to wait.
    pub fn reaction(&self, now: Instant) -> Result<(), Duration> {
        self.0.lock().reactions.try_take(1, now)
    }

    pub fn reaction_refused(&self, now: Instant, retry_after: Duration) {
        self.0.lock().reactions.block_until(now + retry_after);
    }
}

impl CallPacerState {
    fn next_frame(&mut self, now: Instant, message: &str) -> Result<Instant, Duration> {
        self.forget_old(now);
        self.live.retain(|_, live| live.asked + STILL_LIVE > now);
        let live = self.live.entry(message.to_owned()).or_insert(LiveUpdates { shown: None, asked: now });
        live.asked = now;
        let shown = live.shown;
        // The more live messages, the longer each waits for its turn.
        let share = u32::try_from(self.live.len()).unwrap_or(u32::MAX);
        let interval = FRAME_INTERVAL.max(BETWEEN_FRAMES.saturating_mul(share));
        let mut at = (now + self.frames.wait(1, now)).max(shown.map_or(now, |shown| shown + interval));
        at = at.max(self.updates_blocked.unwrap_or(now));
        // A last state that waits for its time goes first.
        at = at.max(self.updates.back().copied().unwrap_or(now));
        if let Some(oldest) = self.nth_last(FRAMES_A_MINUTE) {
            at = at.max(oldest + MINUTE);
        }
        if at > now {
            return Err(at - now);
        }
        self.frames.take(1, now);
        if let Some(live) = self.live.get_mut(message) {
            live.shown = Some(now);
        }
        Ok(now)
    }

    // In the order of the calls, so that an older state never overwrites a newer one.
    fn next_last_state(&mut self, now: Instant, message: &str) -> Instant {
        self.forget_old(now);
        self.live.remove(message);
        let mut at = now.max(self.updates_blocked.unwrap_or(now));
        if let Some(last) = self.updates.back() {
            at = at.max(*last);
        }
        if let Some(oldest) = self.nth_last(UPDATES_A_MINUTE) {
            at = at.max(oldest + MINUTE);
        }
        at
    }

    fn nth_last(&self, n: usize) -> Option<Instant> {
        self.updates.len().checked_sub(n).and_then(|index| self.updates.get(index)).copied()
    }

    fn forget_old(&mut self, now: Instant) {
        while self.updates.front().is_some_and(|at| *at + MINUTE <= now) {
            self.updates.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `seconds` in steps of 100 ms; each live message asks for a frame at every step, as often as it is told to.
    fn play(pace: &CallPacer, start: Instant, messages: usize, seconds: u64) -> Vec<(usize, Instant)> {
        let mut next = vec![start; messages];
        let mut shown = Vec::new();
        for step in 0..seconds * 10 {
            let now = start + Duration::from_millis(100 * step);
            for (message, next) in next.iter_mut().enumerate() {
                if *next > now {
                    continue;
                }
                *next = now + FRAME_INTERVAL;
                match pace.update(now, &message.to_string(), true) {
                    Ok(at) => shown.push((message, at)),
                    Err(wait) => *next = now + wait,
                }
            }
        }
        shown
    }

    fn most_in_a_minute(times: &[Instant]) -> usize {
        let within =
            |start: &Instant| times.iter().filter(|at| *at >= start && **at < *start + MINUTE).count();
        times.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn live_messages_share_the_minute_and_none_starves() {
        for messages in [1, 3, 6, 20] {
            let shown = play(&CallPacer::default(), Instant::now(), messages, 300);
            let times: Vec<Instant> = shown.iter().map(|(_, at)| *at).collect();
            assert!(
                most_in_a_minute(&times) <= FRAMES_A_MINUTE + 1,
                "{messages}: {}",
                most_in_a_minute(&times)
            );
            let of = |message: usize| shown.iter().filter(|(shown, _)| *shown == message).count();
            let counts: Vec<usize> = (0..messages).map(of).collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(least * 2 >= *most, "{messages}: {counts:?}");
        }
    }

    #[test]
    fn one_live_message_changes_every_three_seconds() {
        let shown = play(&CallPacer::default(), Instant::now(), 1, 60);
        assert!((17..=20).contains(&shown.len()), "{}", shown.len());
    }

    #[test]
    fn last_states_get_through_and_stay_within_the_minute_together_with_frames() {
        let (pace, start) = (CallPacer::default(), Instant::now());
        let mut times: Vec<Instant> = play(&pace, start, 12, 60).into_iter().map(|(_, at)| at).collect();
        let end = start + Duration::from_secs(60);
        let last: Vec<Instant> =
            (0..60).map(|message| pace.update(end, &message.to_string(), false).unwrap()).collect();
        assert!(last[5] == end, "what is kept back for them goes at once");
        assert!(pace.update(end, "another", true).is_err(), "a frame does not overtake");
        times.extend(last);
        assert!(most_in_a_minute(&times) <= UPDATES_A_MINUTE, "{}", most_in_a_minute(&times));
    }

    #[test]
    fn a_channel_gets_a_burst_and_then_one_a_second_and_another_channel_does_not_wait_for_it() {
        let (pace, now) = (CallPacer::default(), Instant::now());
        let at: Vec<u128> =
            (0..7).map(|_| (pace.post(now, "C1", false).unwrap() - now).as_millis()).collect();
        assert_eq!(at, [0, 0, 0, 0, 0, 1000, 2000]);
        assert_eq!(pace.post(now, "C2", false), Ok(now));
        assert_eq!(pace.post(now, "C1", true), Err(Duration::from_secs(3)));
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.post(later, "C1", true), Ok(later));
    }

    #[test]
    fn what_slack_says_is_waited_for() {
        let (pace, now) = (CallPacer::default(), Instant::now());
        pace.post_refused(now, "C1", Duration::from_secs(7));
        assert_eq!(pace.post(now, "C1", true), Err(Duration::from_secs(7)));
        assert_eq!(pace.post(now, "C1", false), Ok(now + Duration::from_secs(7)));
        assert_eq!(pace.post(now, "C2", true), Ok(now));
        pace.update_refused(now, Duration::from_secs(9));
        assert_eq!(pace.update(now, "m", true), Err(Duration::from_secs(9)));
        assert_eq!(pace.update(now, "m", false), Ok(now + Duration::from_secs(9)));
        assert!((0..10).all(|_| pace.reaction(now).is_ok()) && pace.reaction(now).is_err());
    }
}
