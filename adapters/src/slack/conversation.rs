//! The address of a room in Slack: a conversation, or a thread in one.

use std::time::{Duration, SystemTime};

use crate::{AdapterError, MessageId, Room};

/// A conversation, and the thread in it that the room is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationAddress {
    pub channel: String,
    /// The `ts` of the message that the thread is below.
    pub thread: Option<String>,
}

impl ConversationAddress {
    pub fn of(room: &Room) -> Result<Self, AdapterError> {
        let (channel, thread) = match room.id().split_once('/') {
            Some((channel, thread)) => (channel, Some(thread)),
            None => (room.id(), None),
        };
        let sound = !channel.is_empty() && thread.is_none_or(is_ts);
        match sound {
            true => Ok(Self { channel: channel.to_owned(), thread: thread.map(str::to_owned) }),
            false => Err(AdapterError::Rejected(format!(
                "`{room}` is no room of Slack; write a channel's id, like `slack:C0123`"
            ))),
        }
    }

    pub fn room(&self) -> Room {
        match &self.thread {
            Some(thread) => Room::new(super::NAME, format!("{}/{thread}", self.channel)),
            None => Room::new(super::NAME, self.channel.clone()),
        }
    }

    /// The address of a message in the workspace, as `chat.getPermalink` returns it.
    /// <https://docs.slack.dev/reference/methods/chat.getPermalink>
    pub fn permalink(&self, workspace: &str, ts: &str) -> Option<String> {
        let channel = &self.channel;
        let number: String = ts.chars().filter(char::is_ascii_digit).collect();
        let thread = match &self.thread {
            Some(thread) if thread != ts => format!("?thread_ts={thread}&cid={channel}"),
            Some(_) | None => String::new(),
        };
        workspace.ends_with('/').then(|| format!("{workspace}archives/{channel}/p{number}{thread}"))
    }

    // Slack's ids of direct conversations begin with D, so this needs no call.
    pub fn is_direct(&self) -> bool {
        self.channel.starts_with('D')
    }
}

/// Whether this is a message's `ts`, which is its id within the conversation.
pub fn is_ts(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('.').is_some_and(|(seconds, rest)| digits(seconds) && digits(rest))
}

/// Orders messages of one conversation by their `ts`.
pub fn ts_order(ts: &str) -> (u64, u64) {
    let (seconds, fraction) = ts.split_once('.').unwrap_or((ts, ""));
    (seconds.parse().unwrap_or(u64::MAX), fraction.parse().unwrap_or(u64::MAX))
}

pub fn ts_of(id: &MessageId) -> Result<&str, AdapterError> {
    match is_ts(id.as_str()) {
        true => Ok(id.as_str()),
        false => Err(AdapterError::Rejected(format!("`{id}` is no message that can be changed"))),
    }
}

/// The time of a `ts`; now, if it cannot be read. Its fraction is the time in microseconds, but older messages have a small number of a
/// series there, which says nothing about the time within the second.
pub fn time_of(ts: &str) -> SystemTime {
    let (seconds, fraction) = ts.split_once('.').unwrap_or((ts, ""));
    let microseconds =
        fraction.parse().ok().filter(|number| (SERIES..1_000_000).contains(number)).unwrap_or(0);
    let since = seconds.parse().ok().map(|seconds| Duration::new(seconds, microseconds * 1_000));
    let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    time.unwrap_or_else(SystemTime::now)
}

/// Numbers below this are no microseconds.
const SERIES: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_reads_back_as_the_place_it_is() {
        for id in ["C1", "C1/1700000000.000100", "D1"] {
            let room = Room::new("slack", id);
            assert_eq!(ConversationAddress::of(&room).unwrap().room(), room);
        }
        assert!(ConversationAddress::of(&Room::new("slack", "C1/thread")).is_err());
        assert!(ConversationAddress::of(&Room::new("slack", "/1.2")).is_err());
        assert!(ConversationAddress::of(&Room::new("slack", "D1")).unwrap().is_direct());
    }

    #[test]
    fn a_ts_is_a_time_and_nothing_else_is() {
        assert_eq!(time_of("1700000000.000100"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let exact = Duration::from_micros(1_700_000_000_928_939);
        assert_eq!(time_of("1700000000.928939"), SystemTime::UNIX_EPOCH + exact);
        assert!(is_ts("1.2") && !is_ts("1") && !is_ts("cmd:U1:1.2") && !is_ts("1.") && !is_ts(".1"));
        time_of("99999999999999999999.1");
        time_of("18446744073709551615.1");
    }
}
