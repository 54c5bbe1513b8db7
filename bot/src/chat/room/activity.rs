//! The activity that the messenger shows for a room (typing, waiting for an answer, idle), and how long
//! the room has been idle.

use adapters::{Activity, ActivityState, MessageId};
use tokio::time::Instant;

use super::{RoomTask, awaited::AwaitedAnswer, sent_times::SentTimes};
use crate::replies::RoomWork;

/// The time of the last event here, and the activity that the messenger shows.
pub(super) struct RoomActivity {
    /// Whether others read along, as far as the last message shows.
    pub(super) shared: bool,
    /// The last message that was handled, for whoever waits for quiet.
    pub(super) last_message: Option<MessageId>,
    pub(super) last: Instant,
    /// The room decided to exit, and nothing has happened since.
    pub(super) idle_exit_pending: bool,
    shown: Option<Activity>,
    pub(super) sent_times: SentTimes,
    /// Somebody whose next words answer the bot.
    pub(super) awaited: Option<AwaitedAnswer>,
    /// As the directory of rooms knows it.
    work: RoomWork,
}

impl Default for RoomActivity {
    fn default() -> Self {
        Self {
            shared: false,
            last_message: None,
            last: Instant::now(),
            idle_exit_pending: false,
            shown: None,
            sent_times: SentTimes::default(),
            awaited: None,
            work: RoomWork::default(),
        }
    }
}

impl RoomActivity {
    /// Notes an event, which calls off a pending exit.
    pub(super) fn touch(&mut self) {
        self.last = Instant::now();
        self.idle_exit_pending = false;
    }

    /// The activity to show now, if it differs from the shown one. Nothing before the first message.
    fn change(&mut self, state: ActivityState) -> Option<Activity> {
        let now = Activity { state, after: self.last_message.clone()? };
        (self.shown.as_ref() != Some(&now)).then(|| self.shown.insert(now).clone())
    }
}

impl RoomTask {
    /// Shows the room's activity, if it changed or a message was handled.
    pub(super) fn tell_activity(&mut self) {
        // The room learns of an answer only with its next input. The broker knows at once, and the room must not
        // claim to wait for an answer that it has.
        let asking = self.questions.iter().any(|question| self.services.broker.is_open(question.id));
        let state = if asking {
            ActivityState::Asking
        } else if self.turn.is_running() || !self.queue.is_empty() || !self.commands.is_empty() {
            ActivityState::Working
        } else {
            ActivityState::Idle
        };
        if let Some(activity) = self.activity.change(state) {
            self.outbox.activity(activity);
        }
        let turn = self.turn.current.as_ref().map(|turn| turn.prompt.sender_name.clone());
        let work = RoomWork { turn, background: self.turn.background.running() };
        if self.activity.work != work {
            self.services.rooms.set_work(&self.room, work.clone());
            self.activity.work = work;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_shown_and_each_message_is_one() {
        let mut activity = RoomActivity::default();
        assert_eq!(activity.change(ActivityState::Idle), None, "nobody waits");
        activity.last_message = Some(MessageId::new("m1"));
        let idle = Activity { state: ActivityState::Idle, after: MessageId::new("m1") };
        assert_eq!(activity.change(ActivityState::Idle), Some(idle));
        assert_eq!(activity.change(ActivityState::Idle), None);
        assert!(activity.change(ActivityState::Working).is_some());
        activity.last_message = Some(MessageId::new("m2"));
        assert!(activity.change(ActivityState::Working).is_some());
    }

    #[test]
    fn what_happens_puts_the_end_of_an_idle_room_off() {
        let mut activity = RoomActivity { idle_exit_pending: true, ..RoomActivity::default() };
        activity.touch();
        assert!(!activity.idle_exit_pending);
    }
}
