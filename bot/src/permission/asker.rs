//! The agent that asks: whose rules it has, how many of its questions are open, and which text from strangers it has read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use adapters::Room;
use agents::trial::TrialSlot;
use parking_lot::Mutex;
use pipeline::{
    stage::Role,
    story::StoryId,
    strangers::{StrangerText, StrangersRead},
};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::NETWORK_TOOL;
use crate::store::RuleOwner;

/// How many questions of one agent people see at a time. Whoever has to answer more of them reads none.
pub const OPEN_QUESTIONS: usize = 3;

/// How many of its calls may wait behind those. An agent with more is out of control, and is refused at once.
const WAITING_CALLS: usize = 20;

/// An agent that asks. Cheap to clone: all its questions share one.
#[derive(Clone, Debug)]
pub struct Asker {
    owner: Option<RuleOwner>,
    story: Option<StoryId>,
    shared: Arc<AskerState>,
}

#[derive(Debug)]
struct AskerState {
    places: Semaphore,
    waiting: AtomicUsize,
    read: StrangersRead,
    works_for: Mutex<String>,
    trials: TrialSlot,
}

impl Default for Asker {
    /// An agent without standing rules.
    fn default() -> Self {
        Self::new(None, StrangersRead::default())
    }
}

impl Asker {
    /// The session of a room.
    pub fn room(room: Room) -> Self {
        Self::new(Some(RuleOwner::Room(room)), StrangersRead::default())
    }

    /// A story's run in this role.
    pub fn role(role: Role) -> Self {
        Self::new(Some(RuleOwner::Role(role)), StrangersRead::default())
    }

    /// A run on this story in this role, whose reading the pipeline records.
    pub fn run(story: StoryId, role: Role, read: StrangersRead) -> Self {
        Self { story: Some(story), ..Self::new(Some(RuleOwner::Role(role)), read) }
    }

    fn new(owner: Option<RuleOwner>, read: StrangersRead) -> Self {
        let shared = AskerState {
            places: Semaphore::new(OPEN_QUESTIONS),
            waiting: AtomicUsize::new(0),
            read,
            works_for: Mutex::default(),
            trials: TrialSlot::default(),
        };
        Self { owner, story: None, shared: Arc::new(shared) }
    }

    /// Whether both are the same agent.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// To whom its rules belong; `None` for one that neither has nor makes rules.
    pub fn owner(&self) -> Option<&RuleOwner> {
        self.owner.as_ref()
    }

    /// The story that it works on.
    pub fn story(&self) -> Option<StoryId> {
        self.story
    }

    /// The room whose own session it is.
    pub fn session_of(&self) -> Option<&Room> {
        match &self.owner {
            Some(RuleOwner::Room(room)) => Some(room),
            Some(RuleOwner::Everyone | RuleOwner::Role(_)) | None => None,
        }
    }

    /// Where its commands can be tried.
    pub fn trials(&self) -> &TrialSlot {
        &self.shared.trials
    }

    /// The name of the person whose task it does; empty for nobody.
    pub fn works_for(&self) -> String {
        self.shared.works_for.lock().clone()
    }

    /// From now on it does a task of this person, by name.
    pub fn set_works_for(&self, person: &str) {
        person.clone_into(&mut self.shared.works_for.lock());
    }

    /// Waits until one more of its questions may be open. The place is given back when it is dropped. `None`: too many of its calls wait
    /// already.
    pub(super) async fn take_place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.shared.places.try_acquire() {
            return Some(place);
        }
        let _waiting = WaitingCall::of(&self.shared.waiting)?;
        // Nobody closes the semaphore.
        self.shared.places.acquire().await.ok()
    }

    /// It was allowed this call. From here on its ideas may come from the authors of the text that the call brings in.
    pub(super) fn on_allowed(&self, tool: &str, input: &Value) {
        match tool {
            // Whatever comes over the connection.
            NETWORK_TOOL => {
                let host = input.get("host").and_then(Value::as_str).unwrap_or_default();
                self.read().on_read([StrangerText::Page(host.to_owned())]);
            }
            _ => self.read().on_allowed(tool, input),
        }
    }

    /// Text by strangers that it has read since a person last spoke to it.
    pub fn read(&self) -> &StrangersRead {
        &self.shared.read
    }
}

/// One call that waits for a place, counted as long as this lives.
struct WaitingCall<'a>(&'a AtomicUsize);

impl<'a> WaitingCall<'a> {
    fn of(count: &'a AtomicUsize) -> Option<Self> {
        let more = |count| (count < WAITING_CALLS).then_some(count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(count))
    }
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_few_questions_have_a_place_and_the_next_one_waits() {
        let asker = Asker::default();
        let mut places = Vec::new();
        for _ in 0..OPEN_QUESTIONS {
            places.push(asker.take_place().await.unwrap());
        }
        let other = asker.clone();
        let mut next = Box::pin(other.take_place());
        assert!((&mut next).now_or_never().is_none());
        places.pop();
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn too_many_waiting_calls_are_refused_and_the_others_go_on_waiting() {
        let asker = Asker::default();
        let places: Vec<_> =
            (0..OPEN_QUESTIONS).map(|_| asker.take_place().now_or_never().unwrap().unwrap()).collect();
        let mut waiting: Vec<_> = (0..WAITING_CALLS).map(|_| Box::pin(asker.take_place())).collect();
        assert!(waiting.iter_mut().all(|call| call.now_or_never().is_none()));
        assert!(asker.take_place().await.is_none());
        waiting.pop();
        assert!(asker.take_place().now_or_never().is_none(), "one left, so one more may wait");
        drop(places);
        assert!(waiting.remove(0).await.is_some());
    }

    #[test]
    fn an_allowed_call_counts_until_a_person_speaks() {
        let asker = Asker::default();
        asker.on_allowed("WebFetch", &json!({ "url": "https://Evil.example/a?b" }));
        asker.on_allowed(NETWORK_TOOL, &json!({ "host": "other.example", "port": 443 }));
        asker.on_allowed("Read", &json!({ "file_path": "/a" }));
        let page = |host: &str| StrangerText::Page(host.to_owned());
        assert_eq!(asker.clone().read().texts(), [page("evil.example"), page("other.example")].into());
        asker.read().on_person_spoke();
        assert!(asker.read().is_empty());
    }

    #[test]
    fn only_the_session_of_a_room_belongs_to_a_room() {
        let room = Room::new("here", "a");
        assert_eq!(Asker::room(room.clone()).session_of(), Some(&room));
        assert_eq!(Asker::role(Role::Coder).session_of(), None);
        assert_eq!(Asker::role(Role::Coder).owner(), Some(&RuleOwner::Role(Role::Coder)));
        assert!(Asker::default().owner().is_none() && Asker::default().session_of().is_none());
    }

    #[test]
    fn only_clones_are_the_same_agent() {
        let coder = Asker::role(Role::Coder);
        assert!(coder.is(&coder.clone()));
        assert!(!coder.is(&Asker::role(Role::Coder)), "another run in that role");
    }

    #[test]
    fn a_run_shares_what_it_has_read_and_an_agent_says_whose_task_it_does() {
        let read = StrangersRead::default();
        let asker = Asker::run(StoryId(3), Role::Coder, read.clone());
        assert_eq!((asker.owner(), asker.story()), (Some(&RuleOwner::Role(Role::Coder)), Some(StoryId(3))));
        asker.on_allowed("WebFetch", &json!({ "url": "https://docs.rs/" }));
        assert_eq!(read.texts(), [StrangerText::Page("docs.rs".into())].into());
        assert_eq!(asker.works_for(), "");
        asker.clone().set_works_for("Ann");
        assert_eq!(asker.works_for(), "Ann");
    }
}
