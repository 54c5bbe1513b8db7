//! The way of a question, on a clock that is moved by hand and with rooms that only record what they are shown.

use std::time::SystemTime;

use adapters::{
    Adapter, AdapterHealth, AllowedPeople, MessageId,
    testing::fake::{Fake, FakeRoom},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::{
    clock::{Clock, ClockHand},
    config::{
        LoadedConfig, People, PersonSection,
        access::{AccessTable, MessengerPeople},
    },
    permission::{
        AgentRequest, Asker, DenialReason, PermissionAsk, PermissionDecision, Person, PersonAnswer,
        QuestionRooms, TrialNews,
    },
    store::{AwayRecord, Store},
};

/// The messenger on which is asked.
fn one() -> &'static str {
    adapters::MESSENGERS[1].name
}

/// The other ones, in their order.
fn two() -> &'static str {
    adapters::MESSENGERS[0].name
}

fn three() -> &'static str {
    adapters::MESSENGERS[2].name
}

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
enum Seen {
    Question(Room),
    News(Room, LadderNews),
    Settled(Room),
}

struct RecordingRooms(mpsc::UnboundedSender<(Seen, Arc<Question>)>);

impl QuestionRooms for RecordingRooms {
    fn show(&self, room: &Room, question: Arc<Question>) -> bool {
        self.0.send((Seen::Question(room.clone()), question)).is_ok()
    }

    fn show_trial(&self, _: &Room, _: Arc<Question>, _: TrialNews) {}

    fn tell(&self, room: &Room, question: Arc<Question>, news: LadderNews) {
        let _ = self.0.send((Seen::News(room.clone(), news), question));
    }

    fn settle(&self, room: &Room, question: Arc<Question>, _: QuestionOutcome) {
        let _ = self.0.send((Seen::Settled(room.clone()), question));
    }
}

struct Scene {
    broker: PermissionBroker,
    hand: ClockHand,
    clock: Clock,
    seen: mpsc::UnboundedReceiver<(Seen, Arc<Question>)>,
    home: Arc<Fake>,
    health: Vec<Arc<AdapterHealth>>,
    _dir: tempfile::TempDir,
}

fn person(name: &str, hours: &str, accounts: &[(&str, &str)]) -> PersonSection {
    PersonSection {
        name: name.into(),
        hours: hours.into(),
        time_zone: "UTC".into(),
        accounts: accounts.iter().map(|(messenger, id)| ((*messenger).into(), (*id).into())).collect(),
    }
}

fn ann() -> PersonSection {
    person("Ann", "", &[(one(), "U1"), (two(), "@ann:x"), (three(), "DE.1")])
}

/// On a Monday at noon; `U1`, `U2`, `@ann:x` and `DE.1` may approve.
fn scene(people: &[PersonSection]) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let noon = "2026-11-30T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let (clock, hand) = Clock::by_hand(noon.into());
    let store = Store::open(&dir.path().join("state.db"), clock.now()).unwrap();
    let (sender, seen) = mpsc::unbounded_channel();
    let mut loaded = LoadedConfig::default();
    loaded.people = People::read(people, &loaded.config.messengers).unwrap();
    let approvers: Vec<String> = ["U1", "U2", "@ann:x", "DE.1"].map(str::to_owned).into();
    let lists = AllowedPeople { approvers, allowed_users: vec!["U3".into()], ..AllowedPeople::default() };
    let (mut access, mut messengers, mut health) = (AccessTable::default(), Vec::new(), Vec::new());
    let fakes = [one(), two(), three()].map(Fake::new);
    for fake in &fakes {
        access = access.with(fake.name(), MessengerPeople::from(lists.clone()));
        let of_fake = Arc::new(AdapterHealth::new(fake.name()));
        health.push(of_fake.clone());
        messengers.push((fake.clone() as Arc<dyn Adapter>, of_fake));
    }
    health.iter().for_each(|health| health.set_connected());
    let settings = Arc::new(LiveSettings::new(loaded, access));
    let messengers = ConnectedMessengers::new(messengers);
    let broker = PermissionBroker::new(store, clock.clone(), Arc::new(RecordingRooms(sender)))
        .with_ladder(LadderServices { settings, messengers });
    let [home, ..] = fakes;
    Scene { broker, hand, clock, seen, home, health, _dir: dir }
}

fn team() -> Room {
    Room::new(one(), "C1")
}

fn direct(messenger: &str, id: &str) -> Room {
    Room::new(messenger, format!("direct with {id}"))
}

fn ask(command: &str) -> PermissionAsk {
    PermissionAsk {
        rooms: vec![team()],
        asker: Asker::room(team()),
        folder: None,
        asked_for: "Bob".into(),
        tool: "Bash".into(),
        input: json!({ "command": command }),
        request: AgentRequest::default(),
        call: None,
        blocked_path: None,
        timeout: Some(5 * MINUTE),
    }
}

impl Scene {
    fn begin(&self, ask: PermissionAsk) -> tokio::task::JoinHandle<PermissionDecision> {
        let broker = self.broker.clone();
        tokio::spawn(async move { broker.ask(ask).await })
    }

    async fn next(&mut self) -> (Seen, Arc<Question>) {
        let next = tokio::time::timeout(Duration::from_secs(30), self.seen.recv()).await;
        next.expect("something happens").expect("the rooms are there")
    }

    /// The question is shown there next, and arrives.
    async fn shown(&mut self, room: &Room) -> Arc<Question> {
        let (seen, question) = self.next().await;
        assert_eq!(seen, Seen::Question(room.clone()));
        self.broker.shown(question.id, room, &MessageId::new("m"));
        question
    }

    async fn news(&mut self) -> LadderNews {
        match self.next().await.0 {
            Seen::News(room, news) if room == team() => news,
            other => panic!("{other:?}"),
        }
    }

    /// The next news says that Ann was asked there.
    async fn asked(&mut self, name: &str, messenger: &'static str) {
        let asked = AskedPerson { name: name.into(), messenger };
        assert_eq!(self.news().await, LadderNews::Asked(asked));
    }

    async fn not_asked(&mut self, messenger: &'static str, words: &str) {
        let LadderNews::NotAsked { asked, why } = self.news().await else { panic!("it was asked") };
        assert_eq!((asked.messenger, why.contains(words)), (messenger, true), "{why}");
    }

    fn room(&self, id: &str) -> FakeRoom {
        self.home.room(id)
    }

    fn away(&self, who: &str, until: Option<Duration>) {
        let until = until.map(|time| self.clock.now() + time);
        self.broker.away().set(who, Some(AwayRecord { until })).unwrap();
    }
}

#[tokio::test]
async fn a_question_goes_to_each_address_of_a_person_and_the_first_answer_closes_every_copy() {
    let mut scene = scene(&[ann()]);
    let asking = scene.begin(ask("touch x"));
    let question = scene.shown(&team()).await;
    assert_eq!(question.deadline, Some(question.asked_at + 40 * MINUTE), "after the last address");
    scene.hand.advance(5 * MINUTE);
    scene.shown(&direct(one(), "U1")).await;
    scene.asked("Ann", one()).await;
    scene.hand.advance(15 * MINUTE);
    scene.shown(&direct(two(), "@ann:x")).await;
    scene.asked("Ann", two()).await;
    scene.hand.advance(15 * MINUTE);
    let last = direct(three(), "DE.1");
    scene.shown(&last).await;
    scene.asked("Ann", three()).await;
    let by = Person::new("DE.1", "a n n");
    scene.broker.answer(question.id, &last, &by, PersonAnswer::Yes).unwrap();
    assert!(matches!(asking.await.unwrap(), PermissionDecision::Allowed { .. }));
    for room in [team(), direct(one(), "U1"), direct(two(), "@ann:x"), last.clone()] {
        assert_eq!(scene.next().await.0, Seen::Settled(room));
    }
    let (_, entry) = scene.broker.store.audit_tail(1).unwrap().remove(0);
    assert_eq!(
        (entry.by.as_str(), entry.account.as_deref()),
        ("Ann", Some(format!("{}:DE.1", three()).as_str()))
    );
    assert_eq!((entry.outcome.as_str(), entry.rooms.len()), ("allow", 4));
}

#[tokio::test]
async fn without_an_answer_it_is_denied_once_everybody_has_had_their_time() {
    let mut scene = scene(&[person("Ann", "", &[(one(), "U1")])]);
    let mut asking = scene.begin(ask("touch x"));
    scene.shown(&team()).await;
    scene.hand.advance(5 * MINUTE);
    scene.shown(&direct(one(), "U1")).await;
    scene.asked("Ann", one()).await;
    assert!(futures::FutureExt::now_or_never(&mut asking).is_none());
    scene.hand.advance(5 * MINUTE);
    assert_eq!(asking.await.unwrap(), PermissionDecision::Denied(DenialReason::TimedOut));
}

#[tokio::test]
async fn a_risky_call_climbs_sooner_and_one_of_the_agents_own_folder_does_not() {
    for (input, first, more) in [
        (json!({ "command": "touch x", "dangerouslyDisableSandbox": true }), 2, 5),
        (json!({ "command": "touch x", "run_in_background": true }), 5, 15),
    ] {
        let mut scene = scene(&[ann()]);
        let _asking = scene.begin(PermissionAsk { input, ..ask("") });
        scene.shown(&team()).await;
        scene.hand.advance(first * MINUTE);
        scene.shown(&direct(one(), "U1")).await;
        scene.asked("Ann", one()).await;
        scene.hand.advance(more * MINUTE);
        scene.shown(&direct(two(), "@ann:x")).await;
    }
}

#[tokio::test]
async fn only_those_who_may_answer_are_asked_one_person_after_the_other() {
    let people = [
        person("Cleo", "", &[(one(), "U3")]),
        person("Dan", "", &[(one(), "U9"), ("console", "dan")]),
        person("Bob", "", &[(one(), "U2")]),
        ann(),
    ];
    let mut scene = scene(&people);
    let _asking = scene.begin(ask("touch x"));
    scene.shown(&team()).await;
    scene.hand.advance(5 * MINUTE);
    scene.shown(&direct(one(), "U2")).await;
    scene.asked("Bob", one()).await;
    scene.hand.advance(15 * MINUTE);
    scene.shown(&direct(one(), "U1")).await;
    scene.asked("Ann", one()).await;
}

#[tokio::test]
async fn whoever_is_away_is_passed_over_and_asked_when_they_are_back() {
    let mut scene = scene(&[person("Bob", "", &[(one(), "U2")]), person("Ann", "", &[(one(), "U1")])]);
    scene.away("Bob", Some(7 * MINUTE));
    let _asking = scene.begin(PermissionAsk { timeout: None, ..ask("touch x") });
    scene.shown(&team()).await;
    let LadderNews::Away(away) = scene.news().await else { panic!("the room reads who is away") };
    assert_eq!((away.len(), away[0].name.as_str()), (1, "Bob"));
    scene.hand.advance(5 * MINUTE);
    scene.shown(&direct(one(), "U1")).await;
    scene.asked("Ann", one()).await;
    scene.hand.advance(15 * MINUTE);
    scene.shown(&direct(one(), "U2")).await;
    scene.asked("Bob", one()).await;
}

#[tokio::test]
async fn where_nobody_is_there_the_room_reads_at_once_who_is_back_first() {
    // Noon is outside the hours of both.
    let hours = |from: &str| format!("Mon-Fri {from}-18:00");
    let people =
        [person("Ann", &hours("13:00"), &[(one(), "U1")]), person("Bob", &hours("12:03"), &[(one(), "U2")])];
    let mut scene = scene(&people);
    let asking = scene.begin(ask("touch x"));
    let question = scene.shown(&team()).await;
    let LadderNews::NobodyThere(Some(back)) = scene.news().await else { panic!("nobody is there") };
    assert_eq!((back.name.as_str(), back.at), ("Bob", Some(scene.clock.now() + 3 * MINUTE)));
    assert_eq!(question.deadline, Some(question.asked_at + 10 * MINUTE), "Bob will have had his time");
    scene.hand.advance(5 * MINUTE);
    scene.shown(&direct(one(), "U2")).await;
    scene.asked("Bob", one()).await;
    scene.hand.advance(5 * MINUTE);
    assert_eq!(asking.await.unwrap(), PermissionDecision::Denied(DenialReason::TimedOut));
}

#[tokio::test]
async fn a_question_waits_for_nobody_who_is_back_after_its_deadline() {
    let mut scene = scene(&[person("Ann", "13:00-18:00", &[(one(), "U1")])]);
    let asking = scene.begin(ask("touch x"));
    let question = scene.shown(&team()).await;
    assert!(matches!(scene.news().await, LadderNews::NobodyThere(Some(_))));
    assert_eq!(question.deadline, Some(question.asked_at + 5 * MINUTE), "as without a ladder");
    // The ladder has come to wait for Ann by then.
    scene.hand.advance(4 * MINUTE);
    scene.broker.undeliverable(question.id, &team(), "the channel is archived");
    assert_eq!(asking.await.unwrap(), PermissionDecision::Denied(DenialReason::Unreachable));
}

#[tokio::test]
async fn back_brings_a_waiting_question_at_once() {
    let mut scene = scene(&[person("Ann", "", &[(one(), "U1")])]);
    scene.away("Ann", None);
    let _asking = scene.begin(PermissionAsk { timeout: None, ..ask("touch x") });
    scene.shown(&team()).await;
    assert!(matches!(scene.news().await, LadderNews::NobodyThere(Some(back)) if back.at.is_none()));
    scene.hand.advance(5 * MINUTE);
    scene.broker.away().set("Ann", None).unwrap();
    scene.shown(&direct(one(), "U1")).await;
}

#[tokio::test]
async fn a_messenger_with_trouble_is_passed_over_at_once() {
    let mut scene = scene(&[ann()]);
    let down = scene.health[1].clone();
    down.set_down("no route to the homeserver");
    let _asking = scene.begin(ask("touch x"));
    scene.shown(&team()).await;
    scene.hand.advance(5 * MINUTE);
    let (first, question) = scene.next().await;
    assert_eq!(first, Seen::Question(direct(one(), "U1")));
    scene.asked("Ann", one()).await;
    scene.broker.delayed(question.id, &direct(one(), "U1"), "rate limited, again in 60 s");
    scene.not_asked(one(), "rate limited").await;
    scene.not_asked(two(), "no route").await;
    // No time has passed.
    let (last, _) = scene.next().await;
    assert_eq!(last, Seen::Question(direct(three(), "DE.1")));
    scene.asked("Ann", three()).await;
    let message = MessageId::new("taken");
    scene.broker.shown(question.id, &direct(three(), "DE.1"), &message);
    scene.broker.not_delivered(&direct(three(), "DE.1"), &MessageId::new("another"), "not this one");
    scene.broker.not_delivered(&direct(three(), "DE.1"), &message, "the window is closed");
    scene.not_asked(three(), "the window is closed").await;
    // The first one comes after all, and counts.
    scene.broker.shown(question.id, &direct(one(), "U1"), &MessageId::new("m"));
    let by = Person::new("U1", "ann");
    scene.broker.answer(question.id, &direct(one(), "U1"), &by, PersonAnswer::Yes).unwrap();
}

#[tokio::test]
async fn a_question_that_no_room_shows_goes_on_at_once_and_is_denied_where_nobody_is_left() {
    let mut scene = scene(&[person("Ann", "", &[(one(), "U1")])]);
    let asking = scene.begin(ask("touch x"));
    let (_, question) = scene.next().await;
    scene.broker.undeliverable(question.id, &team(), "the channel is archived");
    let (seen, _) = scene.next().await;
    assert_eq!(seen, Seen::Question(direct(one(), "U1")), "not after five minutes");
    scene.broker.undeliverable(question.id, &direct(one(), "U1"), "gone, too");
    assert_eq!(asking.await.unwrap(), PermissionDecision::Denied(DenialReason::Unreachable));
}

#[tokio::test]
async fn a_room_in_which_nobody_may_answer_reads_so_at_once_and_somebody_is_asked() {
    let mut scene = scene(&[person("Ann", "", &[(one(), "U1")])]);
    scene.room("C1").has_people(&["U3", "U4"]);
    let _asking = scene.begin(ask("touch x"));
    scene.shown(&team()).await;
    let LadderNews::NobodyHere(nobody) = scene.news().await else { panic!("nobody may") };
    assert!(nobody.goes_on && nobody.who_may.contains(&"Ann".to_owned()), "{nobody:?}");
    scene.shown(&direct(one(), "U1")).await;
}

#[tokio::test]
async fn also_without_people_a_room_reads_that_nobody_there_may_answer() {
    for (people, told) in [(&["U3"][..], true), (&["U3", "U2"][..], false)] {
        let mut scene = scene(&[]);
        scene.room("C1").has_people(people);
        let asking = scene.begin(ask("touch x"));
        let question = scene.shown(&team()).await;
        if told {
            let LadderNews::NobodyHere(nobody) = scene.news().await else { panic!("nobody may") };
            assert!(!nobody.goes_on && nobody.who_may.contains(&"U2".to_owned()), "{nobody:?}");
        }
        let by = Person::new("U2", "Bob");
        scene.broker.answer(question.id, &team(), &by, PersonAnswer::No(None)).unwrap();
        asking.await.unwrap();
        assert_eq!(scene.next().await.0, Seen::Settled(team()), "nothing else is told");
    }
}

#[tokio::test]
async fn in_their_own_conversation_a_person_is_asked_elsewhere_first() {
    let mut scene = scene(&[ann()]);
    let own = direct(one(), "U1");
    let _asking = scene.begin(PermissionAsk { rooms: vec![own.clone()], ..ask("touch x") });
    scene.shown(&own).await;
    scene.hand.advance(5 * MINUTE);
    scene.shown(&direct(two(), "@ann:x")).await;
}

#[tokio::test]
async fn times_of_zero_leave_a_question_in_its_room() {
    let mut scene = scene(&[ann()]);
    let mut loaded = LoadedConfig::clone(&scene.broker.ladder.as_ref().unwrap().settings.loaded());
    loaded.config.ladder.direct = settings::duration::ConfigDuration(Duration::ZERO);
    let settings = scene.broker.ladder.as_ref().unwrap().settings.clone();
    settings.replace(loaded, AccessTable::clone(&settings.access()));
    let asking = scene.begin(ask("touch x"));
    scene.shown(&team()).await;
    scene.hand.advance(5 * MINUTE);
    assert_eq!(asking.await.unwrap(), PermissionDecision::Denied(DenialReason::TimedOut));
    assert_eq!(scene.next().await.0, Seen::Settled(team()));
}

#[test]
fn whoever_is_away_beyond_their_hours_is_back_when_those_begin() {
    let people = People::read(&[person("Ann", "9:00-18:00", &[(one(), "U1")])], &Default::default()).unwrap();
    let at = |text: &str| SystemTime::from(text.parse::<jiff::Timestamp>().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state.db"), SystemTime::now()).unwrap();
    let book = crate::permission::AwayBook::new(store);
    let until = Some(at("2026-11-30T20:00:00Z"));
    book.set("Ann", Some(AwayRecord { until })).unwrap();
    let ann = people.iter().next().unwrap();
    let back = book.absence(ann, at("2026-11-30T12:00:00Z")).unwrap();
    assert_eq!(back.at, Some(at("2026-12-01T09:00:00Z")));
    assert_eq!(book.absence(ann, at("2026-12-01T10:00:00Z")), None);
}
