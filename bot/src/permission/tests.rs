//! The broker's promises, with rooms that only record what they are shown.

use std::time::SystemTime;

use adapters::Room;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;

struct Scene {
    broker: PermissionBroker,
    store: Store,
    shown: mpsc::UnboundedReceiver<Shown>,
    _dir: tempfile::TempDir,
}

enum Shown {
    Question(Arc<Question>),
    Settled(QuestionOutcome),
}

/// Rooms of the messenger `here` report what reaches them; other messengers do not exist.
struct RecordingRooms(mpsc::UnboundedSender<Shown>);

impl QuestionRooms for RecordingRooms {
    fn show(&self, room: &Room, question: Arc<Question>) -> bool {
        room.adapter() == "here" && self.0.send(Shown::Question(question)).is_ok()
    }

    fn settle(&self, _: &Room, _: Arc<Question>, outcome: QuestionOutcome) {
        let _ = self.0.send(Shown::Settled(outcome));
    }
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state.db"), SystemTime::now()).unwrap();
    let (sender, shown) = mpsc::unbounded_channel();
    let rooms = Arc::new(RecordingRooms(sender));
    Scene { broker: PermissionBroker::new(store.clone(), Clock::system(), rooms), store, shown, _dir: dir }
}

fn room(id: &str) -> Room {
    Room::new("here", id)
}

fn ask(command: &str) -> PermissionAsk {
    PermissionAsk {
        rooms: vec![room("a")],
        session_of: Some(room("a")),
        folder: None,
        asked_for: "Ann".into(),
        tool: "Bash".into(),
        input: json!({ "command": command }),
        timeout: None,
    }
}

fn ann() -> Person {
    Person { id: "ann".into(), name: "Ann".into() }
}

impl Scene {
    fn begin(&self, ask: PermissionAsk) -> tokio::task::JoinHandle<PermissionDecision> {
        let broker = self.broker.clone();
        tokio::spawn(async move { broker.ask(ask).await })
    }

    async fn question(&mut self) -> Arc<Question> {
        loop {
            if let Shown::Question(question) = self.shown.recv().await.unwrap() {
                return question;
            }
        }
    }

    async fn settled(&mut self) -> QuestionOutcome {
        loop {
            if let Shown::Settled(outcome) = self.shown.recv().await.unwrap() {
                return outcome;
            }
        }
    }

    fn audit(&self) -> Vec<String> {
        self.store.audit_tail(10).unwrap().into_iter().map(|(_, entry)| entry.outcome).collect()
    }
}

fn allowed(decision: &PermissionDecision) -> bool {
    matches!(decision, PermissionDecision::Allowed { .. })
}

#[tokio::test]
async fn the_first_valid_answer_wins_and_binds_to_the_shown_input() {
    let mut scene = scene();
    let asking = scene.begin(ask("touch x"));
    let question = scene.question().await;
    let bob = Person { id: "bob".into(), name: "Bob".into() };
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Yes).unwrap();
    let late = scene.broker.answer(question.id, &room("a"), &bob, PersonAnswer::No(None));
    assert_eq!(late, Err(AnswerRefused::NotOpen(question.id)));
    let expected = PermissionDecision::Allowed { input: json!({ "command": "touch x" }) };
    assert_eq!(asking.await.unwrap(), expected);
    assert_eq!(scene.settled().await, QuestionOutcome::Allowed { by: ann() });
    assert_eq!(scene.audit(), ["allow"]);
}

#[tokio::test]
async fn an_answer_from_a_room_that_was_not_asked_changes_nothing() {
    let mut scene = scene();
    let asking = scene.begin(ask("touch x"));
    let question = scene.question().await;
    let elsewhere = scene.broker.answer(question.id, &room("b"), &ann(), PersonAnswer::Yes);
    assert_eq!(elsewhere, Err(AnswerRefused::NotHere(question.id)));
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::No(Some("too risky".into()))).unwrap();
    let reason = DenialReason::Person { by: ann(), reason: Some("too risky".into()), plan: false };
    assert_eq!(asking.await.unwrap(), PermissionDecision::Denied(reason));
}

#[tokio::test]
async fn always_answers_the_like_call_unasked_until_it_is_revoked() {
    let mut scene = scene();
    let asking = scene.begin(ask("touch x"));
    let question = scene.question().await;
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always).unwrap();
    assert!(allowed(&asking.await.unwrap()));
    assert!(allowed(&scene.broker.ask(ask("touch y")).await));
    assert_eq!(scene.audit(), ["rule", "always"]);
    let rule = scene.broker.rules().unwrap()[0].id;
    assert!(scene.broker.revoke(rule).unwrap());
    let asking = scene.begin(ask("touch z"));
    let question = scene.question().await;
    scene.broker.withdraw(question.id, WithdrawReason::TurnOver);
    assert!(!allowed(&asking.await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn silence_is_no() {
    let mut scene = scene();
    let asking = scene.begin(PermissionAsk { timeout: Some(Duration::from_secs(300)), ..ask("touch x") });
    assert!(!allowed(&asking.await.unwrap()));
    assert_eq!(scene.settled().await, QuestionOutcome::TimedOut);
    assert_eq!(scene.audit(), ["timeout"]);
}

#[tokio::test]
async fn where_nobody_can_be_asked_the_answer_is_no_at_once() {
    let scene = scene();
    assert!(!allowed(&scene.broker.ask(PermissionAsk { rooms: Vec::new(), ..ask("ls") }).await));
    assert!(!allowed(
        &scene.broker.ask(PermissionAsk { rooms: vec![Room::new("nowhere", "a")], ..ask("ls") }).await
    ));
    assert_eq!(scene.audit(), ["unreachable", "unreachable"]);
}

#[tokio::test]
async fn one_room_that_fails_does_not_deny_while_another_shows_the_question() {
    let mut scene = scene();
    let asking = scene.begin(PermissionAsk { rooms: vec![room("a"), room("b")], ..ask("touch x") });
    let question = scene.question().await;
    scene.broker.undeliverable(question.id, &room("a"));
    scene.broker.answer(question.id, &room("b"), &ann(), PersonAnswer::Yes).unwrap();
    assert!(allowed(&asking.await.unwrap()));
    let asking = scene.begin(ask("touch y"));
    let question = loop {
        let question = scene.question().await;
        if question.input == json!({ "command": "touch y" }) {
            break question;
        }
    };
    scene.broker.undeliverable(question.id, &room("a"));
    assert!(!allowed(&asking.await.unwrap()));
}

#[tokio::test]
async fn whoever_asked_and_went_away_leaves_no_open_question() {
    let mut scene = scene();
    let asking = scene.begin(ask("touch x"));
    let question = scene.question().await;
    asking.abort();
    assert!(matches!(scene.settled().await, QuestionOutcome::Withdrawn { .. }));
    assert!(!scene.broker.is_open(question.id));
    assert_eq!(scene.audit(), ["withdrawn"]);
}

#[tokio::test]
async fn the_models_questions_are_answered_by_number_or_in_words() {
    let mut scene = scene();
    let input = json!({ "questions": [
        { "question": "Which?", "header": "h", "multiSelect": false,
          "options": [{ "label": "Red", "description": "warm" }, { "label": "Blue", "description": "cold" }] },
        { "question": "And?", "header": "h", "multiSelect": true,
          "options": [{ "label": "S", "description": "" }, { "label": "M", "description": "" }] },
    ] });
    let asking = scene.begin(PermissionAsk { tool: "AskUserQuestion".into(), input, ..ask("") });
    let question = scene.question().await;
    let answer =
        |text: &str| scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Text(text.into()));
    assert_eq!(answer("1"), Err(AnswerRefused::NoSuchChoice(ExpectedAnswer::Lines(2))));
    assert!(matches!(answer("3\n1"), Err(AnswerRefused::NoSuchChoice(_))), "there is no third colour");
    assert!(matches!(answer("1, 2\n1"), Err(AnswerRefused::NoSuchChoice(_))), "the first takes one");
    answer("2\n1, 2").unwrap();
    let PermissionDecision::Allowed { input } = asking.await.unwrap() else { panic!("denied") };
    assert_eq!(input["answers"], json!({ "Which?": "Blue", "And?": "S, M" }));
    assert!(input["questions"].is_array(), "the rest of the input goes back unchanged");
}

#[tokio::test]
async fn a_question_of_a_killed_bot_is_closed_and_audited_at_the_next_start() {
    let mut scene = scene();
    let asking = scene.begin(ask("touch x"));
    let question = scene.question().await;
    scene.broker.shown(question.id, &room("a"), &MessageId::new("m1"));
    let rooms = Arc::new(RecordingRooms(mpsc::unbounded_channel().0));
    let next = PermissionBroker::new(scene.store.clone(), Clock::system(), rooms);
    let left = next.close_left_over();
    assert_eq!(left[0].id, question.id.0);
    assert_eq!(left[0].copies, [(room("a"), MessageId::new("m1"))]);
    assert!(next.close_left_over().is_empty());
    assert_eq!(scene.audit(), ["withdrawn"]);
    asking.abort();
}
