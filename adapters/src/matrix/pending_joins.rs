//! Rooms that the bot wants to be in and is not: when it tries again, and when it gives up.

use std::{collections::BTreeMap, time::Duration};

use matrix_sdk::ruma::{OwnedRoomId, OwnedServerName, RoomId};
use tokio::time::Instant;

use crate::delivery::backoff::Backoff;

// The invitation to a replacement often arrives seconds after the old room's end, so the first attempts come soon.
const RETRY: Backoff = Backoff::doubling(Duration::from_secs(2), Duration::from_secs(10 * 60));
// By the third attempt, six seconds later, it is no mere delay.
const TELL_AFTER: u32 = 3;
// A homeserver that is away comes back within hours; later, nobody remembers the invitation.
const INVITATION: Duration = Duration::from_secs(6 * 3600);

/// Why the bot wants to be in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JoinCause {
    Listed,
    /// This person invites the bot.
    Invited {
        by: String,
    },
    /// It replaces a room that the bot serves, and these servers know it.
    Replaces {
        old: OwnedRoomId,
        via: Vec<OwnedServerName>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct PendingJoin {
    pub cause: JoinCause,
    pub why: String,
    backoff: Backoff,
    due: Instant,
    since: Instant,
    /// The bot has given up.
    pub over: bool,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinFailure {
    /// It is tried again, and nobody has to know yet.
    Early,
    /// It is tried again, and the operator should know.
    Lasting,
    /// The same, and the operator knows.
    Known,
    GivenUp,
}

#[derive(Debug, Default)]
pub(super) struct PendingJoins(BTreeMap<OwnedRoomId, PendingJoin>);

impl PendingJoins {
    /// Notes a failed attempt.
    pub(super) fn failed(
        &mut self,
        room: &RoomId,
        cause: JoinCause,
        why: String,
        now: Instant,
    ) -> JoinFailure {
        let new = || PendingJoin {
            cause: cause.clone(),
            why: String::new(),
            backoff: RETRY,
            due: now,
            since: now,
            over: false,
        };
        let join = self.0.entry(room.to_owned()).or_insert_with(new);
        if join.over || join.cause != cause {
            // A new invitation, or a new reason to be there.
            *join = new();
        }
        join.why = why;
        join.due = now + join.backoff.next_delay();
        let is_invitation = matches!(join.cause, JoinCause::Invited { .. });
        join.over = is_invitation && now.duration_since(join.since) >= INVITATION;
        match join.backoff.failures() {
            _ if join.over => JoinFailure::GivenUp,
            TELL_AFTER => JoinFailure::Lasting,
            ..TELL_AFTER => JoinFailure::Early,
            _ => JoinFailure::Known,
        }
    }

    /// The bot is in the room, or has no reason to be there any more.
    pub(super) fn done(&mut self, room: &RoomId) {
        self.0.remove(room);
    }

    /// The rooms to try again now.
    pub(super) fn due(&self, now: Instant) -> Vec<(OwnedRoomId, JoinCause)> {
        let due = |join: &PendingJoin| !join.over && join.due <= now;
        self.0
            .iter()
            .filter(|(_, join)| due(join))
            .map(|(room, join)| (room.clone(), join.cause.clone()))
            .collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter(|join| !join.over).map(|join| join.due).min()
    }

    pub(super) fn cause(&self, room: &RoomId) -> Option<&JoinCause> {
        self.0.get(room).filter(|join| !join.over).map(|join| &join.cause)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&OwnedRoomId, &PendingJoin)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: &str) -> OwnedRoomId {
        OwnedRoomId::try_from(id).expect("an id")
    }

    /// Fails whenever it is due, for as long; the results, and the times between the attempts in seconds.
    async fn fails_for(cause: &JoinCause, long: Duration) -> (Vec<JoinFailure>, Vec<u64>, PendingJoins) {
        let (mut joins, begun) = (PendingJoins::default(), Instant::now());
        let (mut results, mut waits) = (Vec::new(), Vec::new());
        while begun.elapsed() <= long {
            results.push(joins.failed(&room("!a"), cause.clone(), "no".into(), Instant::now()));
            let Some(due) = joins.next_due() else { break };
            assert!(joins.due(Instant::now()).is_empty());
            waits.push((due - Instant::now()).as_secs());
            tokio::time::advance(due - Instant::now()).await;
            assert_eq!(joins.due(Instant::now()), [(room("!a"), cause.clone())]);
        }
        (results, waits, joins)
    }

    #[tokio::test(start_paused = true)]
    async fn an_invitation_is_tried_less_and_less_often_told_once_and_given_up_in_the_end() {
        let cause = JoinCause::Invited { by: "@ann:x".into() };
        let (results, waits, mut joins) = fails_for(&cause, 2 * INVITATION).await;
        assert_eq!(waits[..10], [2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        assert_eq!(
            results[..4],
            [JoinFailure::Early, JoinFailure::Early, JoinFailure::Lasting, JoinFailure::Known]
        );
        assert_eq!(results.iter().filter(|it| **it == JoinFailure::Lasting).count(), 1);
        assert_eq!(results.last(), Some(&JoinFailure::GivenUp));
        assert_eq!((results.len(), joins.cause(&room("!a"))), (45, None));
        assert!(joins.all().all(|(_, join)| join.over && join.why == "no"));
        let again = joins.failed(&room("!a"), cause, "no".into(), Instant::now());
        assert_eq!((again, joins.next_due().is_some()), (JoinFailure::Early, true), "invited anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listed_room_and_a_replacement_are_never_given_up() {
        let replaces = JoinCause::Replaces { old: room("!old"), via: Vec::new() };
        for cause in [JoinCause::Listed, replaces] {
            let (results, _, mut joins) = fails_for(&cause, 3 * INVITATION).await;
            assert!(!results.contains(&JoinFailure::GivenUp) && joins.cause(&room("!a")) == Some(&cause));
            joins.done(&room("!a"));
            assert_eq!((joins.next_due(), joins.all().count()), (None, 0));
        }
    }
}
