//! When people sent their messages, told by this machine's clock.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

/// How far a messenger's clock is followed. One that is further off is taken for a message that was sent at another time, and its sender
/// has to name the question.
const MOST_SKEW: i128 = Duration::from_secs(10).as_nanos() as i128;

/// How many messages are remembered.
const MESSAGES: usize = 16;

/// The delays of a room's last messages. The smallest is the difference of the clocks, plus the messenger's fastest delivery.
#[derive(Debug, Default)]
pub(super) struct SentTimes {
    /// Nanoseconds from the stated time to the arrival.
    delays: VecDeque<i128>,
}

impl SentTimes {
    /// When a message was sent that states `stated` and arrived at `received`: never later than that.
    pub(super) fn sent(&mut self, stated: SystemTime, received: SystemTime) -> SystemTime {
        let stated = with_fraction(stated);
        let delay = nanoseconds(received) - nanoseconds(stated);
        let skew = self.delays.iter().copied().min().unwrap_or(0).clamp(-MOST_SKEW, MOST_SKEW);
        self.delays.truncate(MESSAGES - 1);
        self.delays.push_front(delay);
        let late = u64::try_from(delay - skew).unwrap_or(0);
        received.checked_sub(Duration::from_nanos(late)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

// WhatsApp states whole seconds. The message was sent at some moment of that second, so its end is the safe guess for the sender, and
// the two seconds that an answer has to wait are longer than that.
fn with_fraction(stated: SystemTime) -> SystemTime {
    match nanoseconds(stated) % 1_000_000_000 {
        0 => stated + Duration::from_nanos(999_999_999),
        _ => stated,
    }
}

fn nanoseconds(time: SystemTime) -> i128 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_001 + milliseconds)
    }

    #[test]
    fn a_delayed_message_was_sent_when_it_says() {
        let mut times = SentTimes::default();
        assert_eq!(times.sent(at(0), at(0)), at(0));
        assert_eq!(times.sent(at(1_000), at(61_000)), at(1_000));
        assert_eq!(SentTimes::default().sent(at(0), at(5_000)), at(0), "also the first one");
    }

    #[test]
    fn a_clock_that_is_off_is_set_right_by_the_messages_before() {
        for off in [-4_000_i64, 4_000] {
            let stated = |real: u64| at(20_000_u64.strict_add(real).strict_add_signed(off));
            let mut times = SentTimes::default();
            times.sent(stated(0), at(20_000));
            assert_eq!(times.sent(stated(5_000), at(25_000)), at(25_000), "{off}");
            assert_eq!(times.sent(stated(6_000), at(28_000)), at(26_000), "{off}: two seconds under way");
        }
    }

    #[test]
    fn messages_that_were_all_under_way_for_long_do_not_pass_for_a_slow_clock() {
        let mut times = SentTimes::default();
        times.sent(at(0), at(300_000));
        assert_eq!(times.sent(at(1_000), at(301_000)), at(11_000));
    }

    #[test]
    fn nothing_was_sent_after_it_arrived() {
        assert_eq!(SentTimes::default().sent(at(9_000), at(0)), at(0));
        let before = SystemTime::UNIX_EPOCH - Duration::from_millis(5_500);
        assert_eq!(SentTimes::default().sent(before, at(0)), before);
    }

    #[test]
    fn a_time_in_whole_seconds_is_the_end_of_its_second() {
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let late = second + Duration::from_secs(5);
        assert_eq!(SentTimes::default().sent(second, late), second + Duration::from_nanos(999_999_999));
        assert_eq!(SentTimes::default().sent(second, second), second);
    }

    #[test]
    fn a_clock_that_was_set_is_followed_after_a_few_messages() {
        let mut times = SentTimes::default();
        times.sent(at(0), at(0));
        for n in 0..MESSAGES as u64 {
            times.sent(at(n * 100), at(n * 100 + 3_000));
        }
        assert_eq!(times.sent(at(9_000), at(12_000)), at(12_000));
    }
}
