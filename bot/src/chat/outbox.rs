//! Sends a room's messages in order: one task per room owns every send and edit, so that the room never waits for a
//! network. A live message is edited in place, throttled, the latest state winning; its final state always arrives.
//! Where nothing can be edited, people see its start (if the messenger shows no activity) and its final state.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use adapters::{
    Activity, Adapter, AdapterError, Attachment, MessageId, Outgoing, Room, Tone,
    deliver::{PostedMessage, post, post_watched, show_frame, update},
};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::{chat::delivery::DeliveryReport, config::redact::Redactor, replies};

/// A live message, as the room names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LiveSlot(u64);

#[cfg(test)]
impl LiveSlot {
    pub(super) fn for_tests(number: u64) -> Self {
        Self(number)
    }
}

/// Called with the ids of a message that was sent, or with the error.
pub type Report = Box<dyn FnOnce(Result<Vec<MessageId>, &AdapterError>) + Send>;

/// Called whenever the messenger does not take a message and it will be tried again.
pub type DelayReport = Box<dyn Fn(&AdapterError) + Send + Sync>;

enum OutboxJob {
    Say {
        /// A thread of the room, if the message belongs in one.
        place: Option<Room>,
        message: Outgoing,
        /// Sent before the message.
        files: Arc<[Attachment]>,
        slot: Option<LiveSlot>,
        report: Option<Report>,
        delayed: Option<DelayReport>,
    },
    /// A live message is to appear in this thread.
    Place(LiveSlot, Room),
    /// The state to show is in [`Outbox::newest`].
    Show(LiveSlot),
    Finish {
        slot: LiveSlot,
        message: Outgoing,
    },
    Revise {
        slot: LiveSlot,
        message: Outgoing,
        report: Report,
    },
    Replace {
        id: MessageId,
        message: Outgoing,
    },
    Activity(Activity),
    Then(Box<dyn FnOnce() + Send>),
    Flush(oneshot::Sender<()>),
}

/// How many messages of people in threads the outbox remembers.
const PLACES: usize = 500;

/// Sends messages to the room. Calls return at once; everything is sent in the order of the calls.
pub struct Outbox {
    jobs: mpsc::UnboundedSender<OutboxJob>,
    slots: u64,
    newest: Newest,
    redactor: Arc<Redactor>,
    /// People's messages in threads of this room, oldest first. Replies to them go to the same thread.
    places: VecDeque<(MessageId, Room)>,
}

// Only the newest state of each live message waits to be sent, however fast states come: a queue of all states would
// hold a growing text once for every piece of it.
type Newest = Arc<Mutex<HashMap<LiveSlot, Outgoing>>>;

impl Outbox {
    /// Starts the task that sends to `room` through `adapter`. Secrets that `redactor` knows are taken out.
    pub fn new(
        adapter: Arc<dyn Adapter>,
        room: Room,
        redactor: Arc<Redactor>,
        report: DeliveryReport,
        tracker: &TaskTracker,
    ) -> Self {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let newest = Newest::default();
        let task = OutboxTask {
            adapter,
            room,
            live: HashMap::new(),
            threads: HashMap::new(),
            newest: newest.clone(),
            report,
        };
        tracker.spawn(task.run(receiver));
        Self { jobs, slots: 0, newest, redactor, places: VecDeque::new() }
    }

    /// Remembers the thread of a person's message, for the replies to it.
    pub fn set_thread(&mut self, message: MessageId, thread: Room) {
        self.places.retain(|(known, _)| *known != message);
        self.places.push_back((message, thread));
        if self.places.len() > PLACES {
            self.places.pop_front();
        }
    }

    /// The thread of a person's message, if it is in one.
    pub fn thread_of(&self, message: &MessageId) -> Option<&Room> {
        self.places.iter().find(|(known, _)| known == message).map(|(_, thread)| thread)
    }

    /// Sends a message that does not change.
    pub fn say(&self, message: Outgoing) {
        let near = message.reply_to.clone();
        self.say_near(message, near.as_ref());
    }

    /// The same in the thread of a person's message, if it is in one.
    pub fn say_near(&self, message: Outgoing, near: Option<&MessageId>) {
        self.say_all(message, near, Arc::default(), None);
    }

    /// A message of which `report` learns the ids.
    pub fn say_reporting(&self, message: Outgoing, report: Report) {
        let near = message.reply_to.clone();
        self.say_all(message, near.as_ref(), Arc::default(), Some(report));
    }

    /// Files, and a message about them.
    pub fn say_with(&self, message: Outgoing, files: Arc<[Attachment]>) {
        let near = message.reply_to.clone();
        self.say_all(message, near.as_ref(), files, None);
    }

    fn say_all(
        &self,
        message: Outgoing,
        near: Option<&MessageId>,
        files: Arc<[Attachment]>,
        report: Option<Report>,
    ) {
        let place = near.and_then(|near| self.thread_of(near)).cloned();
        let message = self.redactor.message(message);
        self.send(OutboxJob::Say { place, message, files, slot: None, report, delayed: None });
    }

    /// Sends a question near a person's message: it can be replaced later ([`Outbox::finish`]). The first report learns its ids, the second
    /// one why they are not there yet.
    pub fn ask(
        &mut self,
        message: Outgoing,
        attachment: Option<Attachment>,
        near: Option<&MessageId>,
        (report, delayed): (Report, DelayReport),
    ) -> LiveSlot {
        let slot = self.open(near);
        let message = self.redactor.message(message);
        // The question may show a whole file that the agent wants to write: secrets are taken out of it
        // like out of a message.
        let files = attachment.map(|file| self.redactor.file(file)).into_iter().collect();
        self.send(OutboxJob::Say {
            place: None,
            message,
            files,
            slot: Some(slot),
            report: Some(report),
            delayed: Some(delayed),
        });
        slot
    }

    /// Replaces a question's message while it stays open: edited in place, or as a new message if the old one cannot be edited. `report`
    /// learns the ids of what shows it now.
    pub fn revise(&self, slot: LiveSlot, message: Outgoing, report: Report) {
        let message = self.redactor.message(message);
        self.send(OutboxJob::Revise { slot, message, report });
    }

    /// A new live message, in the thread of a person's message if it is in one; nothing is shown until [`Outbox::show`].
    pub fn open(&mut self, near: Option<&MessageId>) -> LiveSlot {
        self.slots += 1;
        let slot = LiveSlot(self.slots);
        if let Some(thread) = near.and_then(|near| self.thread_of(near)) {
            self.send(OutboxJob::Place(slot, thread.clone()));
        }
        slot
    }

    /// Shows the live message's current state. Skipped if a later one follows soon.
    pub fn show(&self, slot: LiveSlot, message: Outgoing) {
        let message = Outgoing { live: true, ..self.redactor.message(message) };
        let before = self.newest.lock().insert(slot, message);
        // A state that was waiting already has its job in the queue; that job sends the newest.
        if before.is_none() {
            self.send(OutboxJob::Show(slot));
        }
    }

    /// Shows the live message's last state. Always arrives, as a new message if the old one cannot be edited.
    pub fn finish(&self, slot: LiveSlot, message: Outgoing) {
        // A progress state that still waits is obsolete now. Its `Show` job finds nothing, which saves an edit.
        self.newest.lock().remove(&slot);
        let message = self.redactor.message(message);
        self.send(OutboxJob::Finish { slot, message });
    }

    /// Replaces a message of an earlier process, or sends a new one if it cannot be edited.
    pub fn replace(&self, id: MessageId, message: Outgoing) {
        let message = self.redactor.message(message);
        self.send(OutboxJob::Replace { id, message });
    }

    /// Shows the room's activity, after all messages before it.
    pub fn activity(&self, activity: Activity) {
        self.send(OutboxJob::Activity(activity));
    }

    /// Calls `act` once all messages so far are sent or given up; never, if the process dies before that.
    pub fn then(&self, act: impl FnOnce() + Send + 'static) {
        self.send(OutboxJob::Then(Box::new(act)));
    }

    /// Waits until all messages so far are sent or given up.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.send(OutboxJob::Flush(done));
        let _ = wait.await;
    }

    fn send(&self, job: OutboxJob) {
        // The task outlives this sender, so the channel cannot be closed here.
        let _ = self.jobs.send(job);
    }
}

/// A live message in the room.
struct LiveMessage {
    posted: Option<PostedMessage>,
    shown: Outgoing,
    next: Option<Outgoing>,
    not_before: Instant,
    /// The messenger refused an edit for good: only the final state follows, as a new message.
    frozen: bool,
}

struct OutboxTask {
    adapter: Arc<dyn Adapter>,
    room: Room,
    live: HashMap<LiveSlot, LiveMessage>,
    /// The threads of live messages that are not in the room itself.
    threads: HashMap<LiveSlot, Room>,
    newest: Newest,
    report: DeliveryReport,
}

impl OutboxTask {
    async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<OutboxJob>) {
        loop {
            let due = self.live.values().filter(|live| live.next.is_some()).map(|live| live.not_before).min();
            tokio::select! {
                // Messages and final states go before progress.
                biased;
                job = jobs.recv() => match job {
                    Some(job) => self.run_job(job).await,
                    None => break,
                },
                () = sleep_until_some(due) => self.show_delayed().await,
            }
        }
    }

    async fn run_job(&mut self, job: OutboxJob) {
        match job {
            OutboxJob::Say { place, message, files, slot, report, delayed } => {
                let place = place.unwrap_or_else(|| self.room_of(slot));
                self.say(&place, message, &files, slot, (report, delayed)).await
            }
            OutboxJob::Place(slot, thread) => _ = self.threads.insert(slot, thread),
            OutboxJob::Show(slot) => {
                let newest = self.newest.lock().remove(&slot);
                // Without one the message has ended meanwhile.
                if let Some(message) = newest {
                    self.show(slot, message).await;
                }
            }
            OutboxJob::Finish { slot, message } => self.finish(slot, message).await,
            OutboxJob::Revise { slot, message, report } => self.revise(slot, message, report).await,
            OutboxJob::Replace { id, message } => self.replace(id, message).await,
            OutboxJob::Activity(activity) => {
                if self.adapter.capabilities().activity
                    && let Err(error) = self.adapter.activity(&self.room, &activity).await
                {
                    tracing::debug!(%error, room = %self.room, "activity not shown");
                }
            }
            OutboxJob::Then(act) => act(),
            OutboxJob::Flush(done) => drop(done.send(())),
        }
    }

    fn room_of(&self, slot: Option<LiveSlot>) -> Room {
        let thread = slot.and_then(|slot| self.threads.get(&slot));
        thread.unwrap_or(&self.room).clone()
    }

    async fn say(
        &mut self,
        place: &Room,
        message: Outgoing,
        files: &[Attachment],
        slot: Option<LiveSlot>,
        (report, delayed): (Option<Report>, Option<DelayReport>),
    ) {
        // A file that cannot be uploaded does not hold up its message: the question without its
        // attachment can still be denied.
        for file in files {
            if let Err(error) = self.adapter.upload(place, file).await {
                tracing::warn!(%error, room = %self.room, file = file.name, "file not sent");
            }
        }
        let result = match &delayed {
            Some(delayed) => post_watched(&*self.adapter, place, &message, delayed).await,
            None => post(&*self.adapter, place, &message).await,
        };
        match &result {
            Ok(_) => self.report.arrived(),
            Err(error) => self.report.lost(error),
        }
        if let Some(report) = report {
            report(result.as_ref().map(|posted| posted.ids().cloned().collect()));
        }
        if let (Some(slot), Ok(posted)) = (slot, result) {
            self.live.insert(slot, LiveMessage::new(Some(posted), message, self.interval()));
        }
    }

    async fn show(&mut self, slot: LiveSlot, message: Outgoing) {
        let interval = self.interval();
        match self.live.get_mut(&slot) {
            Some(live) if live.not_before <= Instant::now() => {
                live.next = Some(message);
                self.edit(slot).await;
            }
            Some(live) => live.next = Some(message),
            None if self.adapter.capabilities().edit.is_some() => {
                // Its first sight is a frame like the others: no file for a text that still grows.
                let empty = LiveMessage::new(Some(PostedMessage::default()), Outgoing::default(), interval);
                let live = LiveMessage { next: Some(message), not_before: Instant::now(), ..empty };
                self.live.insert(slot, live);
                self.edit(slot).await;
            }
            None => {
                self.announce_work(&self.room_of(Some(slot))).await;
                self.live.insert(slot, LiveMessage::new(None, message, interval));
            }
        }
    }

    /// Where nothing can be edited, a short message announces a live one, unless the messenger shows activity.
    async fn announce_work(&self, place: &Room) {
        if self.adapter.capabilities().activity {
            return;
        }
        let start = Outgoing::text(replies::WORKING).with_tone(Tone::Notice);
        if let Err(error) = post(&*self.adapter, place, &start).await {
            tracing::warn!(%error, room = %self.room, "the start of a live message could not be shown");
        }
    }

    async fn show_delayed(&mut self) {
        let now = Instant::now();
        let due = self.live.iter().find(|(_, live)| live.next.is_some() && live.not_before <= now);
        if let Some(slot) = due.map(|(slot, _)| *slot) {
            self.edit(slot).await;
        }
    }

    /// Shows the latest state of a live message, if it can be edited.
    async fn edit(&mut self, slot: LiveSlot) {
        let (interval, place) = (self.interval(), self.room_of(Some(slot)));
        let Some(live) = self.live.get_mut(&slot) else { return };
        let Some(message) = live.next.take() else { return };
        let Some(posted) = live.posted.as_mut().filter(|_| !live.frozen) else { return };
        if message == live.shown {
            return;
        }
        live.not_before = Instant::now() + interval;
        match show_frame(&*self.adapter, &place, posted, &message).await {
            Ok(()) => live.shown = message,
            Err(AdapterError::RateLimited { retry_after }) => {
                // The state goes back into `next`, unless a newer one is already there: the messenger's limit delays
                // a state, it never drops the last one.
                live.not_before = Instant::now() + retry_after;
                live.next.get_or_insert(message);
            }
            Err(AdapterError::Unreachable(why)) => {
                tracing::debug!(why, room = %self.room, "an edit is tried again");
                live.next.get_or_insert(message);
            }
            Err(error) => {
                tracing::warn!(%error, room = %self.room, "a live message can no longer be edited");
                live.frozen = true;
            }
        }
    }

    async fn finish(&mut self, slot: LiveSlot, message: Outgoing) {
        let live = self.live.remove(&slot);
        let place = self.room_of(Some(slot));
        self.threads.remove(&slot);
        let posted = live.filter(|live| !live.frozen).and_then(|live| live.posted);
        let edited = match posted {
            Some(mut posted) if self.adapter.capabilities().edit.is_some() => {
                update(&*self.adapter, &place, &mut posted, &message).await
            }
            _ => Err(AdapterError::Unsupported("editing a message")),
        };
        match edited {
            Ok(()) => self.report.arrived(),
            Err(_) => self.say(&place, message, &[], None, (None, None)).await,
        }
    }

    async fn revise(&mut self, slot: LiveSlot, message: Outgoing, report: Report) {
        let editable = self.adapter.capabilities().edit.is_some();
        let place = self.room_of(Some(slot));
        let live = self.live.get_mut(&slot).filter(|live| editable && !live.frozen);
        if let Some(posted) = live.and_then(|live| live.posted.as_mut()) {
            match update(&*self.adapter, &place, posted, &message).await {
                Ok(()) => return report(Ok(posted.ids().cloned().collect())),
                Err(error) => {
                    tracing::warn!(%error, room = %self.room, "a question cannot be edited, so it is asked again");
                }
            }
        }
        // From here on, this message is the one that is edited.
        self.say(&place, message, &[], Some(slot), (Some(report), None)).await;
    }

    async fn replace(&mut self, id: MessageId, message: Outgoing) {
        let edited = match self.adapter.capabilities().edit {
            Some(_) => self.adapter.edit(&self.room, &id, &message).await,
            None => Err(AdapterError::Unsupported("editing a message")),
        };
        if edited.is_err() {
            let room = self.room.clone();
            self.say(&room, message, &[], None, (None, None)).await;
        }
    }

    fn interval(&self) -> std::time::Duration {
        self.adapter.capabilities().edit.unwrap_or_default()
    }
}

impl LiveMessage {
    fn new(posted: Option<PostedMessage>, shown: Outgoing, interval: std::time::Duration) -> Self {
        Self { posted, shown, next: None, not_before: Instant::now() + interval, frozen: false }
    }
}

async fn sleep_until_some(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use adapters::testing::fake::Fake;

    use super::*;

    #[tokio::test]
    async fn states_that_come_faster_than_they_are_sent_are_not_kept() {
        let fake = Fake::new("fake");
        let tracker = TaskTracker::new();
        let room = fake.room("a");
        let mut outbox = Outbox::new(
            fake.clone(),
            room.room().clone(),
            Arc::default(),
            DeliveryReport::unread(room.room()),
            &tracker,
        );
        let slot = outbox.open(None);
        for number in 0..1_000 {
            outbox.show(slot, Outgoing::text(format!("state {number}")));
        }
        outbox.flush().await;
        assert_eq!((fake.sends(), fake.edits()), (1, 0));
        room.see("state 999").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_is_done_only_after_what_was_said_has_been_sent() {
        let fake = Fake::new("fake");
        let room = fake.room("a");
        let outbox = Outbox::new(
            fake.clone(),
            room.room().clone(),
            Arc::default(),
            DeliveryReport::unread(room.room()),
            &TaskTracker::new(),
        );
        fake.rate_limit_next(std::time::Duration::from_secs(60));
        outbox.say(Outgoing::text("the answer"));
        let (told, sends) = oneshot::channel();
        let seen = fake.clone();
        outbox.then(move || {
            let _ = told.send(seen.sends());
        });
        assert_eq!(sends.await, Ok(1));
    }

    #[tokio::test]
    async fn a_state_does_not_come_after_the_end() {
        let fake = Fake::new("fake");
        let room = fake.room("a");
        let mut outbox = Outbox::new(
            fake.clone(),
            room.room().clone(),
            Arc::default(),
            DeliveryReport::unread(room.room()),
            &TaskTracker::new(),
        );
        let slot = outbox.open(None);
        outbox.show(slot, Outgoing::text("on the way"));
        outbox.finish(slot, Outgoing::text("the end"));
        outbox.flush().await;
        assert_eq!(room.transcript(), "bot: the end\n");
    }
}
