//! The broker's promises, with rooms that only record what they are shown.

use std::time::SystemTime;

use adapters::Room;
use pipeline::strangers::StrangerText;
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

    fn show_trial(&self, _: &Room, _: Arc<Question>, _: TrialNews) {}

    fn tell(&self, _: &Room, _: Arc<Question>, _: LadderNews) {}

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
        asker: Asker::room(room("a")),
        folder: None,
        asked_for: "Ann".into(),
        tool: "Bash".into(),
        input: json!({ "command": command }),
        request: Default::default(),
        call: None,
        blocked_path: None,
        timeout: None,
    }
}

fn ann() -> Person {
    Person::new("ann", "Ann")
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
    let bob = Person::new("bob", "Bob");
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Yes).unwrap();
    let late = scene.broker.answer(question.id, &room("a"), &bob, PersonAnswer::No(None));
    assert_eq!(late, Err(AnswerRefused::NotOpen(question.id)));
    let expected = PermissionDecision::Allowed { input: json!({ "command": "touch x" }) };
    assert_eq!(asking.await.unwrap(), expected);
    assert_eq!(scene.settled().await, QuestionOutcome::Allowed { by: ann() });
    assert_eq!(scene.audit(), ["allow"]);
}

#[tokio::test]
async fn an_answer_says_its_messenger_where_the_question_was_asked_on_several() {
    for (other, said) in [(Room::new("other", "C1"), Some("here")), (room("b"), None)] {
        let mut scene = scene();
        let asking = scene.begin(PermissionAsk { rooms: vec![room("a"), other], ..ask("touch x") });
        let question = scene.question().await;
        scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Yes).unwrap();
        assert!(allowed(&asking.await.unwrap()));
        let QuestionOutcome::Allowed { by } = scene.settled().await else { panic!("it was allowed") };
        assert_eq!(by.messenger.as_deref(), said);
    }
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
    let folder = tempfile::tempdir().unwrap();
    let ask = |command| PermissionAsk { folder: Some(folder.path().into()), ..ask(command) };
    let asking = scene.begin(ask("touch x"));
    let question = scene.question().await;
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always).unwrap();
    assert!(allowed(&asking.await.unwrap()));
    assert!(allowed(&scene.broker.ask(ask("touch y")).await));
    assert!(scene.broker.is_allowed_by_rule(&ask("touch y")));
    assert_eq!(scene.audit(), ["rule", "always"]);
    let rule = scene.broker.rules().unwrap()[0].id;
    assert!(scene.broker.revoke(rule).unwrap());
    assert!(!scene.broker.is_allowed_by_rule(&ask("touch y")));
    assert!(!scene.broker.revoke(rule).unwrap(), "it is gone already");
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
    scene.broker.undeliverable(question.id, &room("a"), "it is gone");
    scene.broker.answer(question.id, &room("b"), &ann(), PersonAnswer::Yes).unwrap();
    assert!(allowed(&asking.await.unwrap()));
    let asking = scene.begin(ask("touch y"));
    let question = loop {
        let question = scene.question().await;
        if question.input == json!({ "command": "touch y" }) {
            break question;
        }
    };
    scene.broker.undeliverable(question.id, &room("a"), "it is gone");
    assert!(!allowed(&asking.await.unwrap()));
}

#[tokio::test]
async fn whoever_asked_and_went_away_leaves_no_open_question() {
    let mut scene = scene();
    let asking = scene.begin(ask("touch x"));
    let question = scene.question().await;
    assert!(scene.broker.is_open(question.id));
    asking.abort();
    assert!(matches!(scene.settled().await, QuestionOutcome::Withdrawn { .. }));
    assert!(!scene.broker.is_open(question.id));
    assert_eq!(scene.audit(), ["withdrawn"]);
}

#[tokio::test]
async fn the_models_questions_are_asked_one_after_the_other_and_go_back_together() {
    let mut scene = scene();
    let input = json!({ "questions": [
        { "question": "Which?", "header": "h", "multiSelect": false,
          "options": [{ "label": "Red", "description": "warm" }, { "label": "Blue", "description": "cold" }] },
        { "question": "And?", "header": "h", "multiSelect": true,
          "options": [{ "label": "S", "description": "" }, { "label": "M", "description": "" }] },
    ] });
    let asking = scene.begin(PermissionAsk { tool: "AskUserQuestion".into(), input, ..ask("") });
    let first = scene.question().await;
    assert!(!first.is_later_part() && first.choices(None).len() == 2);
    let answer = |question: &Question, text: &str| {
        scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Text(text.into()))
    };
    assert!(matches!(answer(&first, "1, 2"), Err(AnswerRefused::NoSuchChoice(_))), "it takes one");
    answer(&first, "2").unwrap();
    let second = scene.question().await;
    assert!(second.is_later_part() && second.id != first.id);
    scene.broker.answer(second.id, &room("a"), &ann(), PersonAnswer::Text("1, m".into())).unwrap();
    let PermissionDecision::Allowed { input } = asking.await.unwrap() else { panic!("denied") };
    assert_eq!(input["answers"], json!({ "Which?": "Blue", "And?": "S, M" }));
    assert!(input["questions"].is_array(), "the rest of the input goes back unchanged");
}

#[tokio::test]
async fn a_part_that_is_refused_ends_the_call_and_the_next_one_is_not_asked() {
    let mut scene = scene();
    let part = |text: &str| json!({ "question": text, "header": "h", "options": [{ "label": "A" }] });
    let input = json!({ "questions": [part("One?"), part("Two?")] });
    let asking = scene.begin(PermissionAsk { tool: "AskUserQuestion".into(), input, ..ask("") });
    let first = scene.question().await;
    scene.broker.answer(first.id, &room("a"), &ann(), PersonAnswer::No(None)).unwrap();
    assert!(!allowed(&asking.await.unwrap()) && scene.broker.open_questions().is_empty());
}

#[tokio::test]
async fn a_request_that_is_taken_back_is_closed_alone_and_one_that_comes_later_is_never_asked() {
    let mut scene = scene();
    let asker = Asker::room(room("a"));
    let (mine, other) = (asked_by(asker.clone(), "one"), asked_by(asker, "two"));
    let request = mine.request.clone();
    let (asking, waiting) = (scene.begin(mine.clone()), scene.begin(other));
    let shown = [scene.question().await, scene.question().await];
    scene.broker.withdraw_request(&request, WithdrawReason::AgentCancelled);
    let id = |command: &str| shown.iter().find(|it| it.input["command"] == command).unwrap().id;
    let late = scene.broker.answer(id("one"), &room("a"), &ann(), PersonAnswer::Yes);
    assert_eq!(late, Err(AnswerRefused::NotOpen(id("one"))), "from this moment on");
    let cancelled = PermissionDecision::Denied(DenialReason::Withdrawn(WithdrawReason::AgentCancelled));
    assert_eq!(asking.await.unwrap(), cancelled);
    scene.broker.answer(id("two"), &room("a"), &ann(), PersonAnswer::Yes).unwrap();
    assert!(allowed(&waiting.await.unwrap()));
    assert_eq!(scene.broker.ask(mine).await, cancelled, "it was taken back before it was asked");
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

impl Scene {
    /// Asks, and answers `always`.
    async fn always(&mut self, ask: PermissionAsk) {
        let asking = self.begin(ask);
        let question = self.question().await;
        self.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always).unwrap();
        assert!(allowed(&asking.await.unwrap()));
    }

    /// Whether the call runs without a question.
    async fn is_ruled(&self, ask: PermissionAsk) -> bool {
        // Without a room nobody can be asked, so that only a rule allows.
        allowed(&self.broker.ask(PermissionAsk { rooms: Vec::new(), ..ask }).await)
    }
}

fn asked_by(asker: Asker, command: &str) -> PermissionAsk {
    PermissionAsk { asker, ..ask(command) }
}

#[tokio::test]
async fn a_rule_belongs_to_the_room_or_role_that_made_it() {
    use pipeline::stage::Role;
    let mut scene = scene();
    scene.always(ask("make a")).await;
    scene.always(asked_by(Asker::role(Role::Coder), "make c")).await;
    for (asker, ruled) in [
        (Asker::room(room("a")), [true, false]),
        (Asker::room(room("b")), [false, false]),
        (Asker::role(Role::Coder), [false, true]),
        (Asker::role(Role::Qa), [false, false]),
        (Asker::default(), [false, false]),
    ] {
        for (command, ruled) in ["make a", "make c"].into_iter().zip(ruled) {
            assert_eq!(scene.is_ruled(asked_by(asker.clone(), command)).await, ruled, "{asker:?} {command}");
        }
    }
}

#[tokio::test]
async fn an_agent_without_an_owner_gets_no_rule() {
    let mut scene = scene();
    let asking = scene.begin(asked_by(Asker::default(), "make a"));
    let question = scene.question().await;
    let always = scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always);
    assert_eq!(always, Err(AnswerRefused::NoAlways));
    asking.abort();
}

#[tokio::test]
async fn always_makes_no_rule_if_the_answer_does_not_count() {
    let mut scene = scene();
    let asking = scene.begin(ask("make a"));
    let question = scene.question().await;
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::No(None)).unwrap();
    let late = scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always);
    assert_eq!(late, Err(AnswerRefused::NotOpen(question.id)));
    assert!(!allowed(&asking.await.unwrap()) && scene.broker.rules().unwrap().is_empty());
    // The agent goes away just before.
    let asking = scene.begin(ask("make a"));
    let question = scene.question().await;
    asking.abort();
    let _ = asking.await;
    let late = scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always);
    assert_eq!(late, Err(AnswerRefused::NotOpen(question.id)));
    assert!(scene.broker.rules().unwrap().is_empty());
    // And just after, before it learns of it.
    let asking = scene.begin(ask("make a"));
    let question = scene.question().await;
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always).unwrap();
    asking.abort();
    if asking.await.is_err() {
        assert!(scene.broker.rules().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_deadline_counts_wholly_or_not_at_all() {
    let mut scene = scene();
    for _ in 0..50 {
        let asking = scene.begin(PermissionAsk { timeout: Some(Duration::from_secs(1)), ..ask("make a") });
        let question = scene.question().await;
        // The sleeper is due, and the answer is there before it is polled.
        tokio::time::advance(Duration::from_secs(1)).await;
        let counted = scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always).is_ok();
        assert_eq!(allowed(&asking.await.unwrap()), counted);
        let rules = scene.broker.rules().unwrap();
        assert_eq!(rules.len(), usize::from(counted));
        for rule in rules {
            scene.broker.revoke(rule.id).unwrap();
        }
    }
}

#[tokio::test]
async fn a_deadline_does_not_take_a_question_that_was_answered() {
    let mut scene = scene();
    let asking = scene.begin(ask("make a"));
    let question = scene.question().await;
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Yes).unwrap();
    assert!(!scene.broker.claim(question.id, &QuestionOutcome::TimedOut));
    assert!(allowed(&asking.await.unwrap()));
    let asking = scene.begin(ask("make b"));
    let question = scene.question().await;
    assert!(scene.broker.claim(question.id, &QuestionOutcome::TimedOut));
    let late = scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Yes);
    assert_eq!(late, Err(AnswerRefused::NotOpen(question.id)));
    assert!(!allowed(&asking.await.unwrap()));
}

#[tokio::test]
async fn without_a_trial_nothing_is_kept_and_without_a_wall_nothing_is_tried() {
    let mut scene = scene();
    let asking = scene.begin(ask("touch x"));
    let id = scene.question().await.id;
    let answer = |answer| scene.broker.answer(id, &room("a"), &ann(), answer);
    assert_eq!(answer(PersonAnswer::Try), Err(AnswerRefused::NoTrial(id, NoTrial::NoPlace)));
    assert_eq!(answer(PersonAnswer::Keep(Some(EffectNumber(1)))), Err(AnswerRefused::NoEffect(id)));
    assert_eq!(answer(PersonAnswer::Keep(None)), Err(AnswerRefused::NoEffect(id)));
    answer(PersonAnswer::No(None)).unwrap();
    asking.await.unwrap();
    assert_eq!(scene.audit(), ["deny"], "a trial that did not run is in no record");
    let input = json!({ "command": "make", "run_in_background": true });
    let asking = scene.begin(PermissionAsk { input, ..ask("") });
    let id = scene.question().await.id;
    let refused = scene.broker.answer(id, &room("a"), &ann(), PersonAnswer::Try);
    assert_eq!(refused, Err(AnswerRefused::NoTrial(id, NoTrial::InBackground)));
    asking.abort();
}

#[tokio::test]
async fn an_agent_has_a_few_open_questions_and_the_next_is_asked_after_an_answer() {
    let mut scene = scene();
    let asker = Asker::room(room("a"));
    let asked: Vec<_> =
        (0..=OPEN_QUESTIONS).map(|n| scene.begin(asked_by(asker.clone(), &format!("make {n}")))).collect();
    let mut shown = Vec::new();
    for _ in 0..OPEN_QUESTIONS {
        shown.push(scene.question().await);
    }
    tokio::task::yield_now().await;
    assert_eq!(scene.broker.open_questions().len(), OPEN_QUESTIONS);
    let other = scene.begin(asked_by(Asker::room(room("b")), "make other"));
    assert_eq!(
        scene.question().await.input["command"],
        "make other",
        "other agents have places of their own"
    );
    scene.broker.answer(shown[0].id, &room("a"), &ann(), PersonAnswer::No(None)).unwrap();
    let next = scene.question().await;
    assert!(!shown.iter().any(|question| question.input == next.input));
    scene.broker.withdraw_all(WithdrawReason::ShuttingDown);
    for asked in asked {
        assert!(!allowed(&asked.await.unwrap()));
    }
    other.abort();
}

#[tokio::test]
async fn a_rule_that_was_made_meanwhile_covers_the_call_that_waits() {
    let mut scene = scene();
    let asker = Asker::room(room("a"));
    let first: Vec<_> = (0..OPEN_QUESTIONS).map(|_| scene.begin(asked_by(asker.clone(), "make a"))).collect();
    let question = scene.question().await;
    for _ in 1..OPEN_QUESTIONS {
        scene.question().await;
    }
    let waiting = scene.begin(asked_by(asker, "make a"));
    tokio::task::yield_now().await;
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always).unwrap();
    assert!(allowed(&waiting.await.unwrap()));
    scene.broker.withdraw_all(WithdrawReason::ShuttingDown);
    drop(first);
}

#[tokio::test]
async fn a_call_that_waits_when_its_turn_ends_is_never_asked() {
    let mut scene = scene();
    let asker = Asker::room(room("a"));
    let asked: Vec<_> = (0..OPEN_QUESTIONS).map(|_| scene.begin(asked_by(asker.clone(), "make a"))).collect();
    for _ in 0..OPEN_QUESTIONS {
        scene.question().await;
    }
    let call = asked_by(asker.clone(), "make b");
    let request = call.request.clone();
    let waiting = scene.begin(call);
    tokio::task::yield_now().await;
    scene.broker.withdraw_request(&request, WithdrawReason::TurnOver);
    scene.broker.withdraw_all(WithdrawReason::TurnOver);
    let over = PermissionDecision::Denied(DenialReason::Withdrawn(WithdrawReason::TurnOver));
    assert_eq!(waiting.await.unwrap(), over);
    drop(asked);
}

#[tokio::test]
async fn text_from_strangers_takes_always_and_host_rules_away_until_a_person_speaks() {
    let mut scene = scene();
    let asker = Asker::room(room("a"));
    let fetch = |host: &str| PermissionAsk {
        tool: "WebFetch".into(),
        input: json!({ "url": format!("https://{host}/"), "prompt": "x" }),
        ..asked_by(asker.clone(), "")
    };
    scene.always(fetch("docs.rs")).await;
    scene.always(PermissionAsk { asker: Asker::room(room("a")), ..fetch("crates.io") }).await;
    scene.always(PermissionAsk { asker: Asker::room(room("a")), ..asked_by(asker.clone(), "make a") }).await;
    assert!(!scene.is_ruled(fetch("crates.io")).await, "it has read docs.rs");
    assert!(scene.is_ruled(asked_by(asker.clone(), "make a")).await, "other rules still hold");
    let asking = scene.begin(asked_by(asker.clone(), "make b"));
    let question = scene.question().await;
    assert_eq!(question.read, [StrangerText::Page("docs.rs".into())]);
    let always = scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Always);
    assert_eq!(always, Err(AnswerRefused::NoAlways));
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::Yes).unwrap();
    assert!(allowed(&asking.await.unwrap()));
    asker.read().on_person_spoke();
    assert!(scene.is_ruled(fetch("crates.io")).await);
}

#[tokio::test]
async fn a_page_that_was_denied_was_not_read() {
    let mut scene = scene();
    let asker = Asker::room(room("a"));
    let input = json!({ "url": "https://docs.rs/", "prompt": "x" });
    let asking = scene.begin(PermissionAsk { tool: "WebFetch".into(), input, ..asked_by(asker.clone(), "") });
    let question = scene.question().await;
    scene.broker.answer(question.id, &room("a"), &ann(), PersonAnswer::No(None)).unwrap();
    asking.await.unwrap();
    assert!(asker.read().is_empty());
}

#[tokio::test]
async fn wide_rules_of_an_earlier_version_are_dropped_and_the_others_hold() {
    let scene = scene();
    let prefix = |prefix: &str| RuleScope::CommandPrefix { prefix: prefix.into() };
    let exact = RuleScope::Command { command: "make test".into(), links: Default::default() };
    for scope in [prefix("git fetch"), prefix("cargo test"), prefix("make test"), prefix("uniq"), exact] {
        scene.store.add_rule(&RuleOwner::Everyone, &scope, "ann", SystemTime::now()).unwrap();
    }
    assert_eq!(scene.broker.drop_wide_rules(), ["git fetch", "make test", "uniq"]);
    assert!(scene.broker.drop_wide_rules().is_empty());
    assert!(scene.is_ruled(ask("cargo test -q name")).await && scene.is_ruled(ask("make test")).await);
    assert!(!scene.is_ruled(ask("git fetch origin")).await);
}

#[tokio::test]
async fn a_question_names_what_its_text_does_not_show() {
    let mut scene = scene();
    let input = json!({ "command": "x", "dangerouslyDisableSandbox": true });
    let blocked_path = Some("/etc/shadow".to_owned());
    let asking = scene.begin(PermissionAsk { input, blocked_path, ..ask("") });
    let concerns = &scene.question().await.concerns;
    assert_eq!(*concerns, [CallConcern::OutsideSandbox, CallConcern::BlockedPath("/etc/shadow".into())]);
    asking.abort();
}
