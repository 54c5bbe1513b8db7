//! The board as all browsers see it: its state, and the changes that led there, so that a page that slept can catch up.
//!
//! Changes are found by comparing states, not by reading events: whatever happened, the page ends with what is there.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pipeline::{Pipeline, event::PipelineEvent, ledger::day_begin, stage::Stage};
use tokio::sync::{Notify, broadcast};

use super::{
    cards::{self, StoryCosts},
    frames::{BoardChange, FromServer},
    view::{BoardState, BoardView, MergeCard, QuestionCard, RunCard, StoryCard},
};
use crate::{clock::Clock, permission::PermissionBroker};

/// Changes that are kept for pages that come back.
const KEPT: usize = 4096;

/// Changes within this time are one.
const TOGETHER: Duration = Duration::from_millis(100);

/// A frame as it is sent, encoded once for all browsers.
pub type EncodedFrame = Arc<str>;

/// Cheap to clone.
#[derive(Clone)]
pub struct LiveBoard(Arc<SharedBoard>);

struct SharedBoard {
    boot: String,
    pipeline: Pipeline,
    broker: PermissionBroker,
    clock: Clock,
    known: Mutex<KnownBoard>,
    changes: broadcast::Sender<(u64, EncodedFrame)>,
    /// Somebody looks.
    watched: Notify,
}

/// What pages have been told.
#[derive(Default)]
struct KnownBoard {
    seq: u64,
    state: BoardState,
    stories: BTreeMap<u32, StoryCard>,
    runs: BTreeMap<String, RunCard>,
    merges: Vec<MergeCard>,
    questions: BTreeMap<i64, QuestionCard>,
    kept: VecDeque<(u64, EncodedFrame)>,
}

/// Where a page that comes back goes on.
pub enum Resumed {
    /// With these changes, then with those of the receiver.
    With(Vec<EncodedFrame>),
    /// With the whole board: what was missed is not kept.
    Anew,
}

impl LiveBoard {
    pub fn new(pipeline: Pipeline, broker: PermissionBroker, clock: Clock) -> Self {
        let boot = hex::encode(rand::random::<[u8; 8]>());
        let changes = broadcast::Sender::new(KEPT);
        let (known, watched) = (Mutex::default(), Notify::new());
        Self(Arc::new(SharedBoard { boot, pipeline, broker, clock, known, changes, watched }))
    }

    /// Names this life of the server.
    pub fn boot(&self) -> &str {
        &self.0.boot
    }

    /// The whole board now.
    pub fn view(&self) -> BoardView {
        self.refresh();
        let known = self.0.known.lock();
        let root = self.0.pipeline.project().root();
        BoardView {
            boot: self.0.boot.clone(),
            seq: known.seq,
            at: cards::now(&self.0.clock),
            project: root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            state: known.state.clone(),
            stories: known.stories.values().cloned().collect(),
            runs: known.runs.values().cloned().collect(),
            merges: known.merges.clone(),
            questions: known.questions.values().cloned().collect(),
        }
    }

    /// The last change, after a look.
    pub fn seq(&self) -> u64 {
        self.refresh();
        self.0.known.lock().seq
    }

    /// The changes after this one of this life of the server, and those that follow.
    pub fn resume(&self, boot: &str, seq: u64) -> (Resumed, broadcast::Receiver<(u64, EncodedFrame)>) {
        self.refresh();
        // Under the lock, so that no change falls between what is kept and what follows.
        let known = self.0.known.lock();
        let receiver = self.0.changes.subscribe();
        self.0.watched.notify_one();
        let first = known.kept.front().map_or(known.seq + 1, |(first, _)| *first);
        let is_kept = boot == self.0.boot && seq <= known.seq && seq + 1 >= first;
        let missed = || known.kept.iter().filter(|(kept, _)| *kept > seq).map(|(_, frame)| frame.clone());
        let resumed = if is_kept { Resumed::With(missed().collect()) } else { Resumed::Anew };
        (resumed, receiver)
    }

    /// Looks for changes as long as somebody follows them. Never returns.
    pub async fn run(self) {
        let shared = &self.0;
        let mut questions = shared.broker.question_changes();
        let (_, mut events) = shared.pipeline.follow();
        loop {
            // Without a page nobody needs to look: the next one looks for itself.
            while shared.changes.receiver_count() == 0 {
                shared.watched.notified().await;
                events = shared.pipeline.follow().1;
            }
            tokio::select! {
                event = events.recv() => match event {
                    // Lines of agents change nothing on the board.
                    Ok(event) if matches!(event.event, PipelineEvent::RunSaid { .. }) => continue,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                changed = questions.changed() => if changed.is_err() { return },
                // The cost of living runs changes without an event.
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
            tokio::time::sleep(TOGETHER).await;
            self.refresh();
        }
    }

    /// Compares what is there with what pages know, and tells them the difference.
    fn refresh(&self) {
        let shared = &self.0;
        // Before the look: of two at the same time the later one counts.
        let mut known = shared.known.lock();
        let known = &mut *known;
        let snapshot = shared.pipeline.snapshot();
        let costs: StoryCosts = shared.pipeline.ledger().usd_by_story();
        // As the pipeline compares it with the day's budget.
        let today = day_begin(shared.clock.now());
        let running: f64 = snapshot.runs.iter().map(|run| run.cost_usd).sum();
        let spent = shared.pipeline.ledger().usd_since(today) + running;
        let state = cards::state(&snapshot, spent);
        let open = snapshot.board.stories().filter(|story| story.stage != Stage::Archived);
        let stories = open.map(|story| (story.id().0, cards::story(story, &snapshot, &costs))).collect();
        let runs = snapshot.runs.iter().map(|run| (run.id.to_string(), cards::run(run))).collect();
        let merges = cards::merges(&snapshot);
        let questions = shared.broker.recorded_questions();
        let questions = questions.iter().map(|it| (it.question.id.0, cards::question(it))).collect();
        let (stories, gone_stories) = replaced(&mut known.stories, stories);
        let (runs, gone_runs) = replaced(&mut known.runs, runs);
        // Those that ended long ago are dropped without a word: a page keeps what it shows.
        let (questions, _) = replaced(&mut known.questions, questions);
        let merges = (known.merges != merges).then(|| {
            known.merges.clone_from(&merges);
            merges
        });
        let state = (known.state != state).then(|| {
            known.state.clone_from(&state);
            state
        });
        let (seq, at) = (known.seq + 1, cards::now(&shared.clock));
        let change =
            BoardChange { seq, at, stories, gone_stories, runs, gone_runs, merges, questions, state };
        if change == (BoardChange { seq, at, ..BoardChange::default() }) {
            return;
        }
        known.seq = seq;
        let frame = encode(&FromServer::Changed(change));
        known.kept.push_back((seq, frame.clone()));
        known.kept.drain(..known.kept.len().saturating_sub(KEPT));
        // Nobody may look.
        let _ = shared.changes.send((seq, frame));
    }
}

/// Puts `now` in the place of `known`. Returns the entries that are new or different, and the keys that are gone.
fn replaced<K: Ord + Clone, V: PartialEq + Clone>(
    known: &mut BTreeMap<K, V>,
    now: BTreeMap<K, V>,
) -> (Vec<V>, Vec<K>) {
    let is_other = |(key, value): &(&K, &V)| known.get(key) != Some(value);
    let other = now.iter().filter(is_other).map(|(_, value)| value.clone()).collect();
    let gone = known.keys().filter(|key| !now.contains_key(key)).cloned().collect();
    *known = now;
    (other, gone)
}

/// A frame as JSON.
pub fn encode(frame: &FromServer) -> EncodedFrame {
    serde_json::to_string(frame).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_or_different_is_told_and_what_is_gone() {
        let mut known = BTreeMap::from([(1, "a"), (2, "b"), (3, "c")]);
        let (other, gone) = replaced(&mut known, BTreeMap::from([(1, "a"), (2, "B"), (4, "d")]));
        assert_eq!((other, gone), (vec!["B", "d"], vec![3]));
        assert_eq!(replaced(&mut known, BTreeMap::from([(1, "a"), (2, "B"), (4, "d")])), (vec![], vec![]));
    }
}
