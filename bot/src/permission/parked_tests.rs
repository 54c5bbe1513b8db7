//! Questions that outlive their agent: what decides at the deadline, what a restart keeps, and what an answer still means.

use std::{
    os::unix::fs::symlink,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::Room;
use agents::claude::SessionId;
use pipeline::{
    parking::{NoParking, ParkedRun},
    stage::Role,
    story::StoryId,
    strangers::StrangersRead,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;

enum Shown {
    Question(Arc<Question>),
    Parked(Arc<Question>),
    Settled(Room, QuestionId, QuestionOutcome),
}

struct RecordingRooms(mpsc::UnboundedSender<Shown>);

impl QuestionRooms for RecordingRooms {
    fn show(&self, _: &Room, question: Arc<Question>) -> bool {
        self.0.send(Shown::Question(question)).is_ok()
    }

    fn show_trial(&self, _: &Room, _: Arc<Question>, _: TrialNews) {}

    fn tell(&self, _: &Room, _: Arc<Question>, _: LadderNews) {}

    fn show_parked(&self, _: &Room, question: Arc<Question>) {
        let _ = self.0.send(Shown::Parked(question));
    }

    fn settle(&self, room: &Room, question: Arc<Question>, outcome: QuestionOutcome) {
        let _ = self.0.send(Shown::Settled(room.clone(), question.id, outcome));
    }
}

struct Scene {
    broker: PermissionBroker,
    store: Store,
    shown: mpsc::UnboundedReceiver<Shown>,
    /// The stories of which the pipeline was told.
    told: mpsc::UnboundedReceiver<StoryId>,
    place: tempfile::TempDir,
}

fn broker(
    store: &Store,
) -> (PermissionBroker, mpsc::UnboundedReceiver<Shown>, mpsc::UnboundedReceiver<StoryId>) {
    let (sender, shown) = mpsc::unbounded_channel();
    let broker = PermissionBroker::new(store.clone(), Clock::system(), Arc::new(RecordingRooms(sender)));
    let (tell, told) = mpsc::unbounded_channel();
    broker.on_parked_answer(move |story| _ = tell.send(story));
    (broker, shown, told)
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&place.path().join("state.db"), SystemTime::now()).unwrap();
        let (broker, shown, told) = broker(&store);
        Self { broker, store, shown, told, place }
    }

    /// The same project in a new storkit.
    fn restarted(self) -> Self {
        let Self { store, place, .. } = self;
        let (broker, shown, told) = broker(&store);
        assert!(broker.close_left_over().is_empty(), "parked questions are not left over");
        assert_eq!(broker.restore_parked().len(), broker.open_questions().len());
        Self { broker, store, shown, told, place }
    }

    /// A call of story 7's coder, whose question waits on without it.
    fn ask(&self, command: &str) -> PermissionAsk {
        let run = ParkedRun {
            story: StoryId(7),
            role: Role::Coder,
            slot: "coder".into(),
            agent: "coder".into(),
            run: "7-coder-1".into(),
            session: SessionId::new("s"),
            call: "toolu_1".into(),
            since: SystemTime::UNIX_EPOCH,
            is_answered: false,
        };
        let at_deadline = AtDeadline::Parked { run, root: self.place.path().to_owned() };
        PermissionAsk {
            rooms: vec![Room::new("here", "a")],
            asker: Asker::run(StoryId(7), Role::Coder, StrangersRead::default()),
            request: AgentRequest::default().with_deadline(at_deadline),
            folder: Some(self.place.path().to_owned()),
            asked_for: "story 7 (coder)".into(),
            tool: "Bash".into(),
            input: json!({ "command": command }),
            call: Some("toolu_1".into()),
            blocked_path: None,
            timeout: Some(Duration::ZERO),
        }
    }

    /// Parks a question and returns its number.
    async fn park(&mut self, ask: PermissionAsk) -> QuestionId {
        assert_eq!(self.broker.ask(ask).await, PermissionDecision::Parked);
        loop {
            if let Shown::Parked(question) = self.shown.recv().await.unwrap() {
                assert!(question.parked_at.is_some() && question.deadline.is_none());
                return question.id;
            }
        }
    }

    fn answer(&self, id: QuestionId, answer: PersonAnswer) -> Result<(), AnswerRefused> {
        self.broker.answer(id, &Room::new("here", "a"), &Person::new("ann", "Ann"), answer)
    }

    async fn settled(&mut self) -> (QuestionId, QuestionOutcome) {
        loop {
            if let Shown::Settled(_, id, outcome) = self.shown.recv().await.unwrap() {
                return (id, outcome);
            }
        }
    }

    async fn question(&mut self) -> Arc<Question> {
        loop {
            if let Shown::Question(question) = self.shown.recv().await.unwrap() {
                return question;
            }
        }
    }

    async fn taken(&self, command: &str) -> Result<Option<PermissionDecision>, Vec<CallChange>> {
        self.broker.take_parked_decision(&self.ask(command)).await
    }

    fn run(&self) -> Option<ParkedRun> {
        self.store.parked_run(StoryId(7)).unwrap()
    }
}

fn allowed(command: &str) -> PermissionDecision {
    PermissionDecision::Allowed { input: json!({ "command": command }) }
}

#[tokio::test]
async fn a_question_is_open_over_restarts_and_its_answer_is_given_once() {
    let mut scene = Scene::new();
    let id = scene.park(scene.ask("make")).await;
    assert!(scene.run().is_some_and(|run| !run.is_answered && run.since > SystemTime::UNIX_EPOCH));
    let mut scene = scene.restarted().restarted();
    assert_eq!(scene.broker.open_questions()[0].id, id);
    assert_eq!(scene.taken("make").await, Ok(None), "nobody has answered");
    scene.answer(id, PersonAnswer::Yes).unwrap();
    assert!(matches!(scene.settled().await, (settled, QuestionOutcome::Allowed { .. }) if settled == id));
    assert_eq!(scene.told.recv().await, Some(StoryId(7)));
    let scene = scene.restarted();
    assert!(scene.broker.open_questions().is_empty() && scene.run().is_some_and(|run| run.is_answered));
    assert_eq!(scene.taken("make").await, Ok(Some(allowed("make"))));
    assert_eq!((scene.taken("make").await, scene.run()), (Ok(None), None), "a second process gets nothing");
    let outcomes: Vec<_> =
        scene.store.audit_tail(10).unwrap().into_iter().map(|(_, entry)| entry.outcome).collect();
    assert_eq!(outcomes, ["allow"]);
}

#[tokio::test]
async fn a_no_is_a_no_after_the_restart_too_and_nobody_can_change_it() {
    let mut scene = Scene::new();
    let id = scene.park(scene.ask("make")).await;
    scene.answer(id, PersonAnswer::No(Some("not red".into()))).unwrap();
    scene.settled().await;
    assert_eq!(scene.answer(id, PersonAnswer::Yes), Err(AnswerRefused::NotOpen(id)));
    let scene = scene.restarted();
    assert_eq!(scene.answer(id, PersonAnswer::Yes), Err(AnswerRefused::NotOpen(id)));
    let Ok(Some(PermissionDecision::Denied(DenialReason::Person { by, reason, .. }))) =
        scene.taken("make").await
    else {
        panic!("it was denied")
    };
    assert_eq!((by.name.as_str(), reason.as_deref()), ("Ann", Some("not red")));
}

#[tokio::test]
async fn an_answer_is_for_exactly_its_call() {
    let mut scene = Scene::new();
    let id = scene.park(scene.ask("make")).await;
    scene.answer(id, PersonAnswer::Yes).unwrap();
    scene.settled().await;
    let other = PermissionAsk { call: Some("toolu_2".into()), ..scene.ask("make") };
    assert_eq!(scene.broker.take_parked_decision(&other).await, Ok(None));
    assert_eq!(scene.taken("make install").await, Ok(None), "the same id, and other words");
    assert_eq!(scene.taken("make").await, Ok(None), "that used it up");
}

#[tokio::test]
async fn a_question_that_went_to_further_rooms_waits_and_is_closed_in_all_of_them() {
    let mut scene = Scene::new();
    let (clock, hand) = Clock::by_hand(SystemTime::now());
    let (sender, shown) = mpsc::unbounded_channel();
    scene.broker = PermissionBroker::new(scene.store.clone(), clock, Arc::new(RecordingRooms(sender)));
    scene.shown = shown;
    let (tell, mut told) = mpsc::unbounded_channel();
    scene.broker.on_parked_answer(move |story| _ = tell.send(story));
    let timeout = Duration::from_secs(60);
    let (asking, ask) = (scene.broker.clone(), PermissionAsk { timeout: Some(timeout), ..scene.ask("make") });
    let asking = tokio::spawn(async move { asking.ask(ask).await });
    let question = scene.question().await;
    let direct = Room::new("there", "ann");
    question.further.add(&direct);
    hand.advance(timeout);
    assert_eq!(asking.await.unwrap(), PermissionDecision::Parked);
    let (later, ..) = broker(&scene.store);
    let restored = later.restore_parked();
    assert_eq!(
        restored[0].question.rooms,
        [Room::new("here", "a"), direct.clone()],
        "the next storkit knows all"
    );
    scene.broker.answer(question.id, &direct, &Person::new("ann", "Ann"), PersonAnswer::Yes).unwrap();
    // Told once all rooms were.
    told.recv().await.unwrap();
    let (mut parked, mut settled) = (0, Vec::new());
    while let Ok(shown) = scene.shown.try_recv() {
        match shown {
            Shown::Parked(_) => parked += 1,
            Shown::Settled(room, ..) => settled.push(room),
            Shown::Question(_) => {}
        }
    }
    assert_eq!((parked, settled), (2, vec![Room::new("here", "a"), direct]));
}

/// The two timers: people's answers and the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_races_the_deadline_counts_and_is_never_read_as_a_denial() {
    let (mut before, mut after) = (0, 0);
    for round in 0..200 {
        let mut scene = Scene::new();
        let timeout = Some(Duration::from_micros(round * 10));
        let (asking, ask) = (scene.broker.clone(), PermissionAsk { timeout, ..scene.ask("make") });
        let asking = tokio::spawn(async move { asking.ask(ask).await });
        let id = scene.question().await.id;
        scene.answer(id, PersonAnswer::Yes).expect("it is open, with its agent or without");
        assert_eq!(
            scene.answer(id, PersonAnswer::No(None)),
            Err(AnswerRefused::NotOpen(id)),
            "the first one counts"
        );
        match asking.await.unwrap() {
            PermissionDecision::Allowed { .. } => before += 1,
            PermissionDecision::Parked => {
                after += 1;
                assert!(matches!(scene.settled().await.1, QuestionOutcome::Allowed { .. }));
                assert_eq!(scene.taken("make").await, Ok(Some(allowed("make"))));
            }
            PermissionDecision::Denied(why) => panic!("{why:?}"),
        }
    }
    assert_eq!(before + after, 200);
}

#[tokio::test]
async fn what_a_name_leads_to_is_asked_anew_and_only_what_was_shown_is_allowed() {
    let mut scene = Scene::new();
    let id = scene.park(scene.ask("make -f rules")).await;
    let link = scene.place.path().join("rules");
    symlink("elsewhere", &link).unwrap();
    scene.answer(id, PersonAnswer::Yes).unwrap();
    let (settled, outcome) = scene.settled().await;
    assert_eq!((settled, outcome), (id, QuestionOutcome::Withdrawn { why: WithdrawReason::Changed }));
    let fresh = scene.question().await;
    assert!(fresh.id > id && fresh.parked_at.is_some());
    assert!(
        matches!(&fresh.changed[..], [CallChange::Path { name, before: None, now: Some(_) }] if name == "rules")
    );
    assert_eq!(scene.taken("make -f rules").await, Ok(None));
    let mut scene = scene.restarted();
    scene.answer(fresh.id, PersonAnswer::Yes).unwrap();
    scene.settled().await;
    // Once more, between the answer and the moment in which the agent takes it.
    std::fs::remove_file(&link).unwrap();
    let changed = scene.taken("make -f rules").await.unwrap_err();
    assert!(matches!(&changed[..], [CallChange::Path { .. }]), "{changed:?}");
    assert_eq!(scene.taken("make -f rules").await, Ok(None));
}

#[tokio::test]
async fn the_parts_of_one_call_are_asked_one_after_the_other_without_the_agent_too() {
    let mut scene = Scene::new();
    let part = |text: &str| json!({ "question": text, "options": [{ "label": "Red" }, { "label": "Blue" }] });
    let input = json!({ "questions": [part("Door?"), part("Wall?")] });
    let ask = PermissionAsk { tool: "AskUserQuestion".into(), input: input.clone(), ..scene.ask("") };
    let id = scene.park(ask).await;
    let mut scene = scene.restarted();
    scene.answer(id, PersonAnswer::Option(1)).unwrap();
    let second = scene.question().await;
    let mut scene = scene.restarted();
    scene.answer(second.id, PersonAnswer::Option(2)).unwrap();
    scene.settled().await;
    let ask = PermissionAsk { tool: "AskUserQuestion".into(), input, ..scene.ask("") };
    let Ok(Some(PermissionDecision::Allowed { input })) = scene.broker.take_parked_decision(&ask).await
    else {
        panic!("both are answered")
    };
    let answer = |asked: &str| input["answers"][asked].as_str().map(str::to_owned);
    assert_eq!((answer("Door?").as_deref(), answer("Wall?").as_deref()), (Some("Red"), Some("Blue")));
}

#[tokio::test]
async fn a_story_that_is_over_closes_its_question_and_a_late_answer_hits_nothing() {
    let mut scene = Scene::new();
    let id = scene.park(scene.ask("make")).await;
    scene.broker.drop_parked(StoryId(7), WithdrawReason::StoryOver);
    assert_eq!(scene.settled().await.1, QuestionOutcome::Withdrawn { why: WithdrawReason::StoryOver });
    assert_eq!(scene.answer(id, PersonAnswer::Yes), Err(AnswerRefused::NotOpen(id)));
    assert!(scene.run().is_none() && scene.restarted().broker.open_questions().is_empty());
}

#[tokio::test]
async fn the_shutdown_leaves_it_open_and_what_cannot_wait_is_denied() {
    let mut scene = Scene::new();
    let id = scene.park(scene.ask("make")).await;
    scene.broker.withdraw_all(WithdrawReason::ShuttingDown);
    assert!(scene.broker.is_open(id) && scene.broker.is_parked(id));
    let request = AgentRequest::default().with_deadline(AtDeadline::NotParked(NoParking::ParallelCalls));
    let other = PermissionAsk { request, call: Some("toolu_9".into()), ..scene.ask("make") };
    assert_eq!(scene.broker.ask(other).await, PermissionDecision::Denied(DenialReason::TimedOut));
}

#[test]
fn nobody_waits_longer_than_the_agent_program_does() {
    let scene_folder = Path::new("/p");
    let run: Value = json!({
        "story": 7, "role": "coder", "slot": "c", "agent": "c", "run": "7-c-1", "session": "s", "call": "t",
        "since": { "secs_since_epoch": 0, "nanos_since_epoch": 0 }, "is_answered": false
    });
    let run: ParkedRun = serde_json::from_value(run).unwrap();
    let at_deadline = AtDeadline::Parked { run, root: scene_folder.to_owned() };
    let ask = |timeout| PermissionAsk {
        rooms: Vec::new(),
        asker: Asker::default(),
        request: AgentRequest::default().with_deadline(at_deadline.clone()),
        folder: None,
        asked_for: String::new(),
        tool: "Bash".into(),
        input: Value::Null,
        call: None,
        blocked_path: None,
        timeout,
    };
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let waits = |timeout| {
        let ask = ask(timeout);
        let kind = AnswerKind::all_of(&ask).into_iter().next().expect("a question");
        parked::time_to_wait(&Question::new(QuestionId(1), &ask, kind, std::time::SystemTime::now()))
    };
    assert_eq!(waits(None), Some(hours(20)));
    assert_eq!(waits(Some(hours(48))), Some(hours(20)));
    assert_eq!(waits(Some(hours(1))), Some(hours(1)));
}
