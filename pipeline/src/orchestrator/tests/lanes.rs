//! The loop goes on while a disk is slow, and what comes for a story sees the effect of what came before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{broadcast, oneshot, watch};

use super::fixture::ann;
use crate::{
    event::{NumberedEvent, PipelineEvent, PipelineSnapshot, RunInfo},
    handle::{NewStory, PipelineError, PipelineOrder, StopTarget, StoryChange},
    history::StoryHistory,
    host::{AgentSettings, PipelineHost, RunAccess},
    ledger::RunLedger,
    mailbox::RunMailbox,
    orchestrator::{EventSources, Orchestrator, publisher::EventPublisher, setup::StartupState},
    story::{Story, StoryId, StoryKind, stage::Stage},
    strangers::StrangersRead,
    worktree::fixture::WorktreeFixture,
};

struct NoHost;

impl PipelineHost for NoHost {
    fn open(&self, _run: &RunInfo, _read: &StrangersRead, _mailbox: &RunMailbox) -> RunAccess {
        unreachable!("no run is started")
    }

    fn has_secret(&self, _content: &[u8]) -> bool {
        false
    }
}

/// An orchestrator that is driven by hand. Nobody works: there are no agents but a supervisor.
struct Driven {
    _git: WorktreeFixture,
    orchestrator: Orchestrator,
    sources: EventSources,
    events: broadcast::Receiver<Arc<NumberedEvent>>,
    snapshot: watch::Receiver<Arc<PipelineSnapshot>>,
}

impl Driven {
    async fn new() -> Self {
        let git = WorktreeFixture::new();
        git.write(".storkit/project.toml", "[[agent]]\nname = \"boss\"\nstage = \"supervisor\"\n");
        git.git(&["add", ".storkit/project.toml"]);
        git.git(&["commit", "-q", "-m", "a supervisor"]);
        git.confirm();
        let settings = AgentSettings {
            model_access: Default::default(),
            command: vec!["none".into()],
            model: String::new(),
            env: BTreeMap::new(),
            secret_env: Vec::new(),
            home: git.root().with_file_name("home"),
            wall: agents::confine::WallSettings::default(),
            stall: Duration::ZERO,
            trust_project_settings: false,
            busy_wait: Duration::ZERO,
            settle: Duration::from_secs(3600),
            trust: git.trust(),
        };
        let (sender, events) = broadcast::channel(256);
        let (state, snapshot) = watch::channel(Arc::default());
        let startup = StartupState {
            project: git.project.clone(),
            settings,
            host: Arc::new(NoHost),
            ledger: RunLedger::open(&git.project).expect("a ledger"),
            publisher: EventPublisher::new(
                sender,
                state,
                StoryHistory::open(&git.project).expect("a history"),
            ),
        };
        let (orchestrator, sources) = startup.set_up().await.map_err(|(why, _)| why).expect("it starts");
        Self { _git: git, orchestrator, sources, events, snapshot }
    }

    fn order<T>(
        &mut self,
        order: impl FnOnce(oneshot::Sender<Result<T, PipelineError>>) -> PipelineOrder,
    ) -> oneshot::Receiver<Result<T, PipelineError>> {
        let (answer, answered) = oneshot::channel();
        self.orchestrator.take_order(order(answer));
        self.orchestrator.publish();
        answered
    }

    /// Handles what comes back until the answer is there.
    async fn until<T>(&mut self, mut answered: oneshot::Receiver<Result<T, PipelineError>>) -> T {
        let answer = async {
            loop {
                tokio::select! {
                    answer = &mut answered => return answer.expect("an answer"),
                    event = self.sources.events.recv() => {
                        self.orchestrator.handle_event(event.expect("the lanes live"));
                        self.orchestrator.publish();
                    }
                }
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
        answer.expect("no answer comes").expect("it is done")
    }

    async fn story(&mut self) -> Story {
        let new = NewStory::titled(StoryKind::Story, "One");
        let create = |answer| PipelineOrder::Create(new, ann().into(), answer);
        let created = self.order(create);
        self.until(created).await
    }

    /// A job in the stories' lane that ends when the sender is dropped.
    fn slow_disk(&self) -> std::sync::mpsc::Sender<()> {
        let (release, held) = std::sync::mpsc::channel::<()>();
        self.orchestrator.stories.lane.push(move || {
            let _ = held.recv();
        });
        release
    }
}

fn rename(
    id: StoryId,
    title: &str,
) -> impl FnOnce(oneshot::Sender<Result<Story, PipelineError>>) -> PipelineOrder {
    let change = StoryChange { title: Some(title.into()), ..StoryChange::default() };
    move |answer| PipelineOrder::Update(id, change, ann().into(), answer)
}

#[tokio::test]
async fn a_slow_disk_delays_no_order_that_needs_none() {
    let mut driven = Driven::new().await;
    let id = driven.story().await.id();
    let release = driven.slow_disk();
    let mut slow = driven.order(rename(id, "Two"));
    assert!(slow.try_recv().is_err(), "the disk is slow");
    let stopped = driven.order(|answer| PipelineOrder::Stop(StopTarget::Agent("boss".into()), ann(), answer));
    assert_eq!(stopped.await.expect("an answer").expect("it stops nothing"), []);
    let mut unknown = driven.order(|answer| PipelineOrder::Retry(StoryId(99), ann(), answer));
    assert!(matches!(unknown.try_recv(), Ok(Err(_))), "it is refused at once");
    drop(release);
    assert_eq!(driven.until(slow).await.front.name, "Two");
}

#[tokio::test]
async fn orders_for_one_story_are_done_in_their_order_and_see_each_other() {
    let mut driven = Driven::new().await;
    let id = driven.story().await.id();
    let release = driven.slow_disk();
    let renamed = driven.order(rename(id, "Two"));
    let mut moved = driven.order(|answer| PipelineOrder::Move(id, Stage::Current, ann(), answer));
    let refused = driven.order(|answer| PipelineOrder::Move(id, Stage::Current, ann(), answer));
    let deleted = driven.order(|answer| PipelineOrder::Delete(id, ann(), answer));
    assert!(moved.try_recv().is_err());
    drop(release);
    driven.until(renamed).await;
    let moved = driven.until(moved).await;
    assert_eq!((moved.front.name.as_str(), moved.stage), ("Two", Stage::Current));
    assert_eq!(driven.until(deleted).await.stage, Stage::Current);
    let refused = refused.await.expect("an answer").expect_err("it is there already");
    assert!(refused.to_string().contains("it is there already"), "{refused}");
}

#[tokio::test]
async fn whoever_has_an_answer_or_an_event_finds_its_effect_in_the_snapshot() {
    let mut driven = Driven::new().await;
    let id = driven.story().await.id();
    assert!(driven.snapshot.borrow().board.story(id).is_some());
    let moved = driven.order(|answer| PipelineOrder::Move(id, Stage::Current, ann(), answer));
    driven.until(moved).await;
    assert_eq!(driven.snapshot.borrow().board.story(id).map(|story| story.stage), Some(Stage::Current));
    let seq = driven.snapshot.borrow().seq;
    let mut told = Vec::new();
    while let Ok(event) = driven.events.try_recv() {
        assert!(event.seq <= seq);
        told.push(event.seq);
        if let PipelineEvent::StoryMoved { by, .. } = &event.event {
            assert_eq!(*by, ann());
        }
    }
    assert_eq!(told, (1..=seq).collect::<Vec<_>>(), "without gaps");
}

#[tokio::test]
async fn a_file_that_changed_by_hand_is_compared_in_the_order_of_the_writes() {
    let mut driven = Driven::new().await;
    let id = driven.story().await.id();
    let release = driven.slow_disk();
    let renamed = driven.order(rename(id, "Two"));
    driven.orchestrator.files_changed(crate::board::watcher::WorkChange::Rescan);
    let looked = driven.order(PipelineOrder::Rescan);
    drop(release);
    driven.until(renamed).await;
    driven.until(looked).await;
    let board = Arc::clone(&driven.snapshot.borrow().board);
    assert_eq!(board.story(id).map(|story| story.front.name.clone()).as_deref(), Some("Two"));
    let changed = |event: &Arc<NumberedEvent>| matches!(event.event, PipelineEvent::StoryChanged { .. });
    let events: Vec<_> = std::iter::from_fn(|| driven.events.try_recv().ok()).collect();
    assert_eq!(events.iter().filter(|event| changed(event)).count(), 1);
}

#[tokio::test]
async fn a_lane_that_is_not_used_keeps_no_orchestrator_alive() {
    let driven = Driven::new().await;
    let Driven { orchestrator, mut sources, .. } = driven;
    drop(orchestrator);
    while let Some(_left) = sources.events.recv().await {}
}
