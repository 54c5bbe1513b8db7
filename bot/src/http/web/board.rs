//! The board as all browsers see it: its state, and the changes that led there, so that a page that slept can catch up.
//!
//! Changes are found by comparing states, not by reading events: whatever happened, the page ends with what is there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{body::Bytes, extract::ws::Utf8Bytes};
use flate2::{Compression, write::GzEncoder};
use parking_lot::Mutex;
use pipeline::{
    Pipeline,
    event::{PipelineEvent, PipelineSnapshot},
    ledger::{RunLedger, day_begin},
    stage::Stage,
    story::{Story, StoryId},
};
use tokio::sync::{Notify, broadcast, watch};

use super::{
    cards::{self, StoryCosts},
    frames::{BoardChange, FromServer},
    kept::KeptChanges,
    view::{BoardState, BoardView, MergeCard, QuestionCard, RunCard, StoryCard},
};
use crate::{clock::Clock, permission::PermissionBroker};

/// Changes within this time are one.
const TOGETHER: Duration = Duration::from_millis(100);

/// A frame as it is sent, encoded once for all browsers. Cheap to clone.
pub type EncodedFrame = Utf8Bytes;

/// Cheap to clone.
#[derive(Clone)]
pub struct LiveBoard(Arc<SharedBoard>);

struct SharedBoard {
    boot: String,
    pipeline: Pipeline,
    broker: PermissionBroker,
    clock: Clock,
    known: Mutex<KnownBoard>,
    /// The number of the last change.
    newest: watch::Sender<u64>,
    /// The whole board as it was last asked for. Whoever asks meanwhile waits, and finds it.
    whole: tokio::sync::Mutex<Option<Arc<EncodedBoard>>>,
    /// Somebody looks.
    watched: Notify,
}

/// What pages have been told.
struct KnownBoard {
    kept: KeptChanges,
    /// When the last change was told.
    at: u64,
    state: BoardState,
    stories: BTreeMap<u32, KnownStory>,
    runs: BTreeMap<String, RunCard>,
    merges: Vec<MergeCard>,
    questions: BTreeMap<i64, QuestionCard>,
    question_changes: watch::Receiver<()>,
    spending: Spending,
}

/// A card, and the story that it was made of.
struct KnownStory {
    story: Arc<Story>,
    card: StoryCard,
}

/// What the ledger says, as of its edition: it may have the runs of years.
#[derive(Default)]
struct Spending {
    edition: Option<(u64, SystemTime)>,
    by_story: StoryCosts,
    today: f64,
}

/// The whole board as it is sent, for all who ask until it changes.
pub struct EncodedBoard {
    seq: u64,
    /// `BOOT-SEQ`
    pub tag: String,
    pub json: Bytes,
    pub gzip: Bytes,
}

/// Where a page that comes back goes on.
#[derive(Debug, PartialEq)]
pub enum Resumed {
    /// With these changes, then with those that follow.
    With(Vec<EncodedFrame>),
    /// With the whole board: what was missed is not kept.
    Anew,
}

/// The changes of the board for one page, from where it is. One that is too far behind is told to begin anew.
pub struct BoardFollower {
    board: LiveBoard,
    /// The last change that the page has; `None` where it has to begin anew.
    seen: Option<u64>,
    newest: watch::Receiver<u64>,
}

impl LiveBoard {
    pub fn new(pipeline: Pipeline, broker: PermissionBroker, clock: Clock) -> Self {
        let boot = hex::encode(rand::random::<[u8; 8]>());
        let mut question_changes = broker.question_changes();
        question_changes.mark_changed();
        let known = KnownBoard {
            kept: KeptChanges::default(),
            at: cards::now(&clock),
            state: BoardState::default(),
            stories: BTreeMap::new(),
            runs: BTreeMap::new(),
            merges: Vec::new(),
            questions: BTreeMap::new(),
            question_changes,
            spending: Spending::default(),
        };
        let (known, newest, watched) = (Mutex::new(known), watch::Sender::new(0), Notify::new());
        let whole = tokio::sync::Mutex::default();
        Self(Arc::new(SharedBoard { boot, pipeline, broker, clock, known, newest, whole, watched }))
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
            seq: known.kept.newest(),
            at: known.at,
            project: root.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            state: known.state.clone(),
            stories: known.stories.values().map(|known| known.card.clone()).collect(),
            runs: known.runs.values().cloned().collect(),
            merges: known.merges.clone(),
            questions: known.questions.values().cloned().collect(),
        }
    }

    /// The whole board now, as it is sent.
    pub async fn encoded(&self) -> Arc<EncodedBoard> {
        let mut whole = self.0.whole.lock().await;
        let seq = self.seq();
        if let Some(known) = whole.as_ref().filter(|known| known.seq == seq) {
            return known.clone();
        }
        let view = self.view();
        // Where the thread fails, compressing did: it has no other way to.
        let encoded = tokio::task::spawn_blocking(move || EncodedBoard::of(&view)).await;
        let encoded = Arc::new(encoded.unwrap_or_else(|_| EncodedBoard::plain(&self.view())));
        *whole = Some(encoded.clone());
        encoded
    }

    /// The part of it that is about no single story.
    pub fn state(&self) -> BoardState {
        self.refresh();
        self.0.known.lock().state.clone()
    }

    /// The last change, after a look.
    pub fn seq(&self) -> u64 {
        self.refresh();
        self.0.known.lock().kept.newest()
    }

    /// The changes after this one of this life of the server, and those that come.
    pub fn follow(&self, boot: &str, seq: u64) -> BoardFollower {
        let newest = self.0.newest.subscribe();
        self.0.watched.notify_one();
        BoardFollower { board: self.clone(), seen: (boot == self.0.boot).then_some(seq), newest }
    }

    /// Looks for changes as long as somebody follows them. Never returns.
    pub async fn run(self) {
        let shared = &self.0;
        let mut questions = shared.broker.question_changes();
        let (_, mut events) = shared.pipeline.follow();
        loop {
            // Without a page nobody needs to look: the next one looks for itself.
            while shared.newest.receiver_count() == 0 {
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
    pub fn refresh(&self) {
        let shared = &self.0;
        // Before the look: of two at the same time the later one counts.
        let mut known = shared.known.lock();
        let known = &mut *known;
        let snapshot = shared.pipeline.snapshot();
        // As the pipeline compares it with the day's budget.
        let today = day_begin(shared.clock.now());
        known.spending.look(shared.pipeline.ledger(), today);
        let running: f64 = snapshot.runs.iter().map(|run| run.cost_usd).sum();
        let state = cards::state(&snapshot, known.spending.today + running);
        let (stories, gone_stories) = known.look_at_stories(&snapshot);
        let runs = snapshot.runs.iter().map(|run| (run.id.to_string(), cards::run(run))).collect();
        let (runs, gone_runs) = replaced(&mut known.runs, runs);
        let questions = known.look_at_questions(&shared.broker);
        let merges = cards::merges(&snapshot);
        let merges = (known.merges != merges).then(|| {
            known.merges.clone_from(&merges);
            merges
        });
        let state = (known.state != state).then(|| {
            known.state.clone_from(&state);
            state
        });
        let (seq, at) = (known.kept.newest() + 1, cards::now(&shared.clock));
        let change =
            BoardChange { seq, at, stories, gone_stories, runs, gone_runs, merges, questions, state };
        if change == (BoardChange { seq, at, ..BoardChange::default() }) {
            return;
        }
        known.at = at;
        known.kept.push(encode(&FromServer::Changed(change)));
        // Nobody may look.
        shared.newest.send_replace(seq);
    }
}

impl KnownBoard {
    /// The cards that are new or different, and the stories that are gone. A card is made only where something of it has changed.
    fn look_at_stories(&mut self, snapshot: &PipelineSnapshot) -> (Vec<StoryCard>, Vec<u32>) {
        let mut running: StoryCosts = HashMap::new();
        for run in &snapshot.runs {
            *running.entry(run.story).or_default() += run.cost_usd;
        }
        let costs = &self.spending.by_story;
        let cost =
            |id: StoryId| costs.get(&id).copied().unwrap_or(0.0) + running.get(&id).copied().unwrap_or(0.0);
        let (mut other, mut open) = (Vec::new(), 0);
        for story in Stage::ALL.into_iter().filter(is_shown).flat_map(|stage| snapshot.board.in_stage(stage))
        {
            open += 1;
            let id = story.id();
            let known = self.stories.get(&id.0);
            if known.is_some_and(|known| known.is_current(story, snapshot, cost(id))) {
                debug_assert_eq!(known.map(|it| &it.card), Some(&cards::story(story, snapshot, costs)));
                continue;
            }
            let card = cards::story(story, snapshot, costs);
            if known.is_none_or(|known| known.card != card) {
                other.push(card.clone());
            }
            self.stories.insert(id.0, KnownStory { story: story.clone(), card });
        }
        let mut gone = Vec::new();
        if self.stories.len() > open {
            let is_here = |id: &u32| snapshot.board.story(StoryId(*id)).is_some_and(|it| is_shown(&it.stage));
            gone = self.stories.keys().copied().filter(|id| !is_here(id)).collect();
            gone.iter().for_each(|id| drop(self.stories.remove(id)));
        }
        other.sort_by_key(|card| card.id);
        (other, gone)
    }

    /// Those that are new or different. Those that ended long ago are dropped without a word: a page keeps what it shows.
    fn look_at_questions(&mut self, broker: &PermissionBroker) -> Vec<QuestionCard> {
        // Their texts are dear to make.
        if !self.question_changes.has_changed().unwrap_or(true) {
            return Vec::new();
        }
        self.question_changes.borrow_and_update();
        let questions = broker.recorded_questions();
        let questions = questions.iter().map(|it| (it.question.id.0, cards::question(it))).collect();
        replaced(&mut self.questions, questions).0
    }
}

fn is_shown(stage: &Stage) -> bool {
    *stage != Stage::Archived
}

impl KnownStory {
    /// Whether the card is what [`cards::story`] would make now: it reads nothing else.
    fn is_current(&self, story: &Arc<Story>, snapshot: &PipelineSnapshot, cost: f64) -> bool {
        let id = story.id();
        Arc::ptr_eq(&self.story, story)
            && self.card.waits.as_ref() == snapshot.holds.get(&id)
            && self.card.cost_usd == cards::cents(cost)
            && self.card.quarantine.is_none()
            && !snapshot.quarantined.contains_key(&id)
    }
}

impl Spending {
    fn look(&mut self, ledger: &RunLedger, today: SystemTime) {
        // First the edition: what is written meanwhile is read the next time.
        let edition = Some((ledger.edition(), today));
        if self.edition != edition {
            *self = Self { edition, by_story: ledger.usd_by_story(), today: ledger.usd_since(today) };
        }
    }
}

impl EncodedBoard {
    fn of(view: &BoardView) -> Self {
        let plain = Self::plain(view);
        let mut gzip = GzEncoder::new(Vec::with_capacity(plain.json.len() / 8), Compression::default());
        // Into memory: nothing can fail.
        let written = std::io::Write::write_all(&mut gzip, &plain.json).and_then(|()| gzip.finish());
        Self { gzip: written.unwrap_or_default().into(), ..plain }
    }

    /// Not compressed.
    fn plain(view: &BoardView) -> Self {
        let json = serde_json::to_vec(view).unwrap_or_default().into();
        Self { seq: view.seq, tag: format!("\"{}-{}\"", view.boot, view.seq), json, gzip: Bytes::new() }
    }
}

impl BoardFollower {
    /// What the page has missed and is kept, or the start of it; `None` where it has missed nothing.
    pub fn missed(&mut self) -> Option<Resumed> {
        self.newest.borrow_and_update();
        let known = self.board.0.known.lock();
        let newest = known.kept.newest();
        if self.seen == Some(newest) {
            return None;
        }
        let frames = self.seen.and_then(|seen| known.kept.after(seen));
        self.seen = Some(match &frames {
            Some(frames) => self.seen.unwrap_or(newest) + frames.len() as u64,
            None => newest,
        });
        Some(frames.map_or(Resumed::Anew, Resumed::With))
    }

    /// Waits for the next change. Nothing is lost where it is not waited for to the end.
    pub async fn next(&mut self) -> Resumed {
        loop {
            if let Some(missed) = self.missed() {
                return missed;
            }
            if self.newest.changed().await.is_err() {
                // The board, which this has, sends it.
                std::future::pending::<()>().await;
            }
        }
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
