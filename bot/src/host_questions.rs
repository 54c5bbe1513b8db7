//! Hosts that a run or a chat room's agent wants to reach and no setting lists: a standing rule, an earlier answer or a person decides.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use adapters::Room;
use agents::confine::{HostDecision, HostGate, HostTarget};
use axum::http::Uri;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use pipeline::{
    Pipeline,
    event::{RunId, RunInfo},
    host::HostAsker,
    story::StoryId,
    strangers::StrangerText,
};
use serde_json::{Value, json};

use crate::{
    config::current::LiveSettings,
    messengers::ConnectedMessengers,
    permission::{Asker, DenialReason, NETWORK_TOOL, PermissionAsk, PermissionBroker, PermissionDecision},
    replies as say,
};

/// Remembered answers; the oldest is forgotten then, and asked for again.
const MAX_GRANTS: usize = 1_000;

/// Asks people about hosts, and remembers those that they allowed.
pub struct HostQuestions {
    settings: Arc<LiveSettings>,
    /// Who is asked. Set once the messengers are there; until then nobody can be asked.
    desk: OnceLock<(PermissionBroker, ConnectedMessengers)>,
    /// Knows the strangers' text that the agents of a story have read.
    pipeline: OnceLock<Pipeline>,
    granted: Mutex<Vec<HostGrant>>,
}

/// A host that was allowed without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostGrant {
    holder: GrantHolder,
    target: HostTarget,
}

/// Who may reach such a host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum GrantHolder {
    /// One run; the commands of its story reach it, too.
    Run { run: RunId, story: StoryId },
    /// The process of a room's session that lives now.
    Room(Room),
}

impl HostQuestions {
    pub fn new(settings: Arc<LiveSettings>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            desk: OnceLock::new(),
            pipeline: OnceLock::new(),
            granted: Mutex::default(),
        })
    }

    /// From now on people can be asked.
    pub fn connect(&self, broker: PermissionBroker, messengers: ConnectedMessengers) {
        // Only the start calls this, once.
        let _ = self.desk.set((broker, messengers));
    }

    /// From now on it is known which stories' agents have read text by strangers.
    pub fn follow(&self, pipeline: Pipeline) {
        let _ = self.pipeline.set(pipeline);
    }

    /// The gate for a run or for the commands of a story.
    pub fn gate(self: &Arc<Self>, wants: HostAsker, asker: Asker) -> Arc<dyn HostGate> {
        let questions = Arc::clone(self);
        match wants {
            HostAsker::Agent { run, waiting } => {
                let asked_for = format!("{} ({})", run.subject(), run.slot);
                Arc::new(AgentHosts { questions, holder: GrantHolder::of(&run), asked_for, asker, waiting })
            }
            HostAsker::Commands { story } => Arc::new(StoryHosts { questions, story, asker }),
        }
    }

    /// The gate for a new process of a room's session, whose questions `waiting` counts. What was allowed to the process before it is
    /// forgotten; rules are not.
    pub fn room_gate(
        self: &Arc<Self>,
        room: &Room,
        asker: Asker,
        waiting: Arc<AtomicUsize>,
    ) -> Arc<dyn HostGate> {
        let holder = GrantHolder::Room(room.clone());
        self.granted.lock().retain(|grant| grant.holder != holder);
        let asked_for = String::new();
        Arc::new(AgentHosts { questions: Arc::clone(self), holder, asked_for, asker, waiting })
    }

    /// A page that a person allowed a run to fetch is reached without another question.
    pub fn grant_page(&self, run: &RunInfo, url: &str) {
        self.grant_page_to(&GrantHolder::of(run), url);
    }

    /// The same for the process of a room's session.
    pub fn grant_page_to_room(&self, room: &Room, url: &str) {
        self.grant_page_to(&GrantHolder::Room(room.clone()), url);
    }

    fn grant_page_to(&self, holder: &GrantHolder, url: &str) {
        let Ok(url) = url.parse::<Uri>() else { return };
        let port = url.port_u16().or(match url.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        });
        // The CLI fetches an `http` page by `https` (2.1.330).
        let ports = port.into_iter().chain((port == Some(80)).then_some(443));
        for port in ports {
            if let Some(target) = url.host().and_then(|host| HostTarget::new(host, port)) {
                self.grant(holder, target);
            }
        }
    }

    fn grant(&self, holder: &GrantHolder, target: HostTarget) {
        let mut granted = self.granted.lock();
        let grant = HostGrant { holder: holder.clone(), target };
        if !granted.contains(&grant) {
            if granted.len() == MAX_GRANTS {
                granted.remove(0);
            }
            granted.push(grant);
        }
    }

    fn ask(
        &self,
        messengers: &ConnectedMessengers,
        (asker, asked_for): (Asker, String),
        target: &HostTarget,
    ) -> PermissionAsk {
        let config = self.settings.config();
        let rooms = match asker.session_of() {
            Some(room) => vec![room.clone()],
            None => messengers.followers(&config.pipeline),
        };
        PermissionAsk {
            rooms,
            asker,
            // No rule about files covers a host.
            folder: None,
            asked_for,
            tool: NETWORK_TOOL.into(),
            input: json!({ "host": target.host, "port": target.port }),
            request: Default::default(),
            call: None,
            blocked_path: None,
            timeout: config.claude.permission_timeout.limit(),
        }
    }

    async fn decide_for_agent(
        self: Arc<Self>,
        holder: GrantHolder,
        (asker, asked_for): (Asker, String),
        waiting: Arc<AtomicUsize>,
        target: HostTarget,
    ) -> HostDecision {
        let is_granted =
            self.granted.lock().iter().any(|grant| grant.holder == holder && grant.target == target);
        if is_granted {
            return HostDecision::Allowed;
        }
        let Some((broker, messengers)) = self.desk.get() else {
            return HostDecision::Refused(say::NO_PERSON_FOR_HOST.into());
        };
        let asker_read = asker.read().clone();
        let ask = self.ask(messengers, (asker, asked_for), &target);
        if broker.is_allowed_by_rule(&page_of(&ask, &target)) {
            asker_read.on_read([StrangerText::Page(target.host)]);
            return HostDecision::Allowed;
        }
        let _waiting = WaitingRun::new(waiting);
        match broker.ask(ask).await {
            PermissionDecision::Allowed { .. } => {
                self.grant(&holder, target);
                HostDecision::Allowed
            }
            PermissionDecision::Denied(why) => HostDecision::Refused(say::host_refused(why)),
            // A connection cannot wait: such a question is never parked.
            PermissionDecision::Parked => HostDecision::Refused(say::host_refused(DenialReason::TimedOut)),
        }
    }

    fn decide_for_commands(&self, story: StoryId, asker: &Asker, target: &HostTarget) -> HostDecision {
        let is_storys =
            |holder: &GrantHolder| matches!(holder, GrantHolder::Run { story: of, .. } if *of == story);
        let granted =
            self.granted.lock().iter().any(|grant| is_storys(&grant.holder) && grant.target == *target);
        // What runs here was written by an agent that strangers may have led.
        let is_led = || {
            let snapshot = self.pipeline.get().map(Pipeline::snapshot);
            snapshot.is_some_and(|snapshot| snapshot.strangers_read.contains_key(&story))
        };
        let by_rule = || {
            let (broker, messengers) = self.desk.get().filter(|_| !is_led())?;
            let ask = self.ask(messengers, (asker.clone(), format!("story {story}")), target);
            Some(broker.is_allowed_by_rule(&ask) || broker.is_allowed_by_rule(&page_of(&ask, target)))
        };
        match granted || by_rule().unwrap_or(false) {
            true => HostDecision::Allowed,
            false => HostDecision::Refused(say::HOST_NOT_ALLOWED_YET.into()),
        }
    }
}

/// The same question as that of the CLI's own tool for pages, whose rules name hosts as well.
fn page_of(ask: &PermissionAsk, target: &HostTarget) -> PermissionAsk {
    let url = match target.port {
        443 => format!("https://{}/", target.host),
        80 => format!("http://{}/", target.host),
        _ => format!("https://{target}/"),
    };
    PermissionAsk {
        tool: "WebFetch".into(),
        input: Value::Object([("url".into(), url.into())].into_iter().collect()),
        ..ask.clone()
    }
}

impl GrantHolder {
    fn of(run: &RunInfo) -> Self {
        Self::Run { run: run.id.clone(), story: run.story }
    }
}

/// The hosts of an agent: people are asked.
struct AgentHosts {
    questions: Arc<HostQuestions>,
    holder: GrantHolder,
    /// For whom it works, in words; empty for the person that its asker knows.
    asked_for: String,
    asker: Asker,
    waiting: Arc<AtomicUsize>,
}

impl HostGate for AgentHosts {
    fn decide(&self, target: HostTarget) -> BoxFuture<'static, HostDecision> {
        let questions = Arc::clone(&self.questions);
        let (holder, asker) = (self.holder.clone(), self.asker.clone());
        let asked_for = match (self.asked_for.as_str(), asker.works_for()) {
            // A background task of a room's agent, which nobody prompted.
            ("", person) if person.is_empty() => questions.settings.config().display_name.clone(),
            ("", person) => person,
            (asked_for, _) => asked_for.to_owned(),
        };
        Box::pin(questions.decide_for_agent(holder, (asker, asked_for), Arc::clone(&self.waiting), target))
    }
}

/// The hosts of a story's gates and components: nobody waits for them, so nobody is asked.
struct StoryHosts {
    questions: Arc<HostQuestions>,
    story: StoryId,
    asker: Asker,
}

impl HostGate for StoryHosts {
    fn decide(&self, target: HostTarget) -> BoxFuture<'static, HostDecision> {
        let decision = self.questions.decide_for_commands(self.story, &self.asker, &target);
        Box::pin(async { decision })
    }
}

// A run that waits for a person is not stalled. A guard, because the asking future can be dropped at any moment.
struct WaitingRun(Arc<AtomicUsize>);

impl WaitingRun {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitingRun {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use adapters::Room;
    use pipeline::{event::RunPhase, stage::Role};
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        clock::Clock,
        config::{LoadedConfig, access::AccessTable},
        permission::{Person, PersonAnswer, Question, QuestionOutcome, QuestionRooms},
        store::Store,
    };

    /// A room that reports its questions.
    struct OneRoom(mpsc::UnboundedSender<Arc<Question>>);

    impl QuestionRooms for OneRoom {
        fn show(&self, _: &Room, question: Arc<Question>) -> bool {
            self.0.send(question).is_ok()
        }

        fn show_trial(&self, _: &Room, _: Arc<Question>, _: crate::permission::TrialNews) {}

        fn tell(&self, _: &Room, _: Arc<Question>, _: crate::permission::LadderNews) {}

        fn settle(&self, _: &Room, _: Arc<Question>, _: QuestionOutcome) {}
    }

    struct Scene {
        hosts: Arc<HostQuestions>,
        broker: PermissionBroker,
        asked: mpsc::UnboundedReceiver<Arc<Question>>,
        _dir: tempfile::TempDir,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db"), SystemTime::now()).unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        let broker = PermissionBroker::new(store, Clock::system(), Arc::new(OneRoom(sender)));
        let mut loaded = LoadedConfig::default();
        loaded.config.pipeline.rooms = vec!["here:a".into()];
        let settings = Arc::new(LiveSettings::new(loaded, AccessTable::default()));
        let hosts = HostQuestions::new(settings);
        hosts.connect(broker.clone(), ConnectedMessengers::new([]));
        Scene { hosts, broker, asked, _dir: dir }
    }

    fn run(id: &str, story: u32) -> RunInfo {
        RunInfo {
            id: RunId(id.into()),
            branch: None,
            story: StoryId(story),
            title: "Attack".into(),
            slot: "coder".into(),
            agent: "coder".into(),
            role: Role::Coder,
            since: SystemTime::UNIX_EPOCH,
            phase: RunPhase::Working,
            pid: None,
            session: None,
            cost_usd: 0.0,
        }
    }

    fn target(host: &str, port: u16) -> HostTarget {
        HostTarget::new(host, port).expect("a host")
    }

    impl Scene {
        fn agent(&self, run: RunInfo) -> Arc<dyn HostGate> {
            self.hosts.gate(HostAsker::Agent { run, waiting: Arc::default() }, Asker::role(Role::Coder))
        }

        async fn commands(&self, story: u32, target: HostTarget) -> bool {
            let gate =
                self.hosts.gate(HostAsker::Commands { story: StoryId(story) }, Asker::role(Role::Coder));
            gate.decide(target).await == HostDecision::Allowed
        }

        /// The gate asks, and Ann answers. Returns where it was asked, and for whom.
        async fn decided(
            &mut self,
            gate: &Arc<dyn HostGate>,
            target: HostTarget,
            answer: PersonAnswer,
        ) -> (HostDecision, Vec<Room>, String) {
            let deciding = tokio::spawn(gate.decide(target));
            let question = self.asked.recv().await.expect("a question");
            let ann = Person::new("ann", "Ann");
            self.broker.answer(question.id, &question.rooms[0], &ann, answer).expect("it is open");
            (deciding.await.expect("no panic"), question.rooms.clone(), question.asked_for.clone())
        }

        /// The agent asks, and Ann answers.
        async fn answered(&mut self, run: RunInfo, target: HostTarget, answer: PersonAnswer) -> HostDecision {
            let gate = self.agent(run);
            self.decided(&gate, target, answer).await.0
        }
    }

    #[tokio::test]
    async fn a_yes_is_for_the_run_and_for_the_commands_of_its_story() {
        let mut scene = scene();
        let host = || target("docs.example", 443);
        assert!(!scene.commands(1, host()).await);
        let said = scene.answered(run("1-1", 1), host(), PersonAnswer::Yes).await;
        assert_eq!(said, HostDecision::Allowed);
        assert!(scene.commands(1, host()).await);
        assert!(!scene.commands(2, host()).await, "another story");
        assert!(!scene.commands(1, target("docs.example", 8443)).await, "another port");
        let no = PersonAnswer::No(Some("use the mirror".into()));
        let said = scene.answered(run("1-2", 1), host(), no).await;
        assert_eq!(
            said,
            HostDecision::Refused("Ann denied it: use the mirror".into()),
            "another run is asked again"
        );
    }

    #[tokio::test]
    async fn a_rooms_answers_and_rules_are_for_no_other_room_and_no_story() {
        let mut scene = scene();
        let (own, other) = (Room::new("here", "a"), Room::new("here", "b"));
        let gate = |scene: &Scene, room: &Room| {
            scene.hosts.room_gate(room, Asker::room(room.clone()), Arc::default())
        };
        for (host, answer) in [("once.example", PersonAnswer::Yes), ("always.example", PersonAnswer::Always)]
        {
            let asker = Asker::room(own.clone());
            asker.set_works_for("Bob");
            let first = scene.hosts.room_gate(&own, asker, Arc::default());
            let said = scene.decided(&first, target(host, 443), answer).await;
            assert_eq!(said, (HostDecision::Allowed, vec![own.clone()], "Bob".to_owned()));
            assert_eq!(first.decide(target(host, 443)).await, HostDecision::Allowed, "not asked again");
            assert!(!scene.commands(1, target(host, 443)).await, "no story has a part in it");
            let others = gate(&scene, &other);
            let said = scene.decided(&others, target(host, 443), PersonAnswer::No(None)).await;
            assert!(matches!(said.0, HostDecision::Refused(_)), "{said:?}");
            assert_eq!(said.1, std::slice::from_ref(&other), "the other room is asked in its own");
        }
        // The next process has the rule, and not the answer.
        let next = gate(&scene, &own);
        assert_eq!(next.decide(target("always.example", 443)).await, HostDecision::Allowed);
        let said = scene.decided(&next, target("once.example", 443), PersonAnswer::No(None)).await;
        assert!(matches!(said.0, HostDecision::Refused(_)), "{said:?}");
        scene.hosts.grant_page_to_room(&own, "https://page.example/x");
        assert_eq!(next.decide(target("page.example", 443)).await, HostDecision::Allowed);
    }

    #[tokio::test]
    async fn always_opens_the_very_host_and_port_from_then_on() {
        let mut scene = scene();
        scene.answered(run("1-1", 1), target("docs.example", 443), PersonAnswer::Always).await;
        assert!(scene.commands(2, target("docs.example", 443)).await);
        for other in [("docs.example", 80), ("a.docs.example", 443), ("docs.example.evil", 443)] {
            assert!(!scene.commands(2, target(other.0, other.1)).await, "{other:?}");
        }
        let again = scene.agent(run("2-1", 2)).decide(target("docs.example", 443)).await;
        assert_eq!(again, HostDecision::Allowed, "nobody is asked");
        let rule = &scene.broker.rules().unwrap()[0];
        assert_eq!(
            say::rule_in_words(&rule.scope, &rule.owner),
            "connections to `docs.example:443`, for every story's coder"
        );
    }

    #[tokio::test]
    async fn an_agent_that_read_a_strangers_page_has_no_rule_for_a_host_until_a_person_speaks() {
        let mut scene = scene();
        let (room, asker) = (Room::new("here", "a"), Asker::room(Room::new("here", "a")));
        let gate = scene.hosts.room_gate(&room, asker.clone(), Arc::default());
        let host = || target("paste.example", 443);
        scene.decided(&gate, host(), PersonAnswer::Always).await;
        // The next process: what the first one was allowed without a rule is forgotten.
        let gate = scene.hosts.room_gate(&room, asker.clone(), Arc::default());
        asker.read().on_read([pipeline::strangers::StrangerText::SearchResults]);
        let said = scene.decided(&gate, host(), PersonAnswer::No(None)).await;
        assert!(matches!(said.0, HostDecision::Refused(_)), "{said:?}");
        asker.read().on_person_spoke();
        assert_eq!(gate.decide(host()).await, HostDecision::Allowed);
    }

    #[tokio::test]
    async fn a_page_that_was_allowed_is_fetched_without_another_question() {
        let mut scene = scene();
        let own = run("1-1", 1);
        scene.hosts.grant_page(&own, "https://docs.example/a?b#c");
        let decided = scene.agent(own.clone()).decide(target("docs.example", 443)).await;
        assert_eq!(decided, HostDecision::Allowed);
        // The host behind an `@` is the real one.
        scene.hosts.grant_page(&own, "https://docs.example@evil.example/");
        let said = scene.answered(own, target("docs.example", 80), PersonAnswer::No(None)).await;
        assert_ne!(said, HostDecision::Allowed);
    }

    #[tokio::test]
    async fn where_nobody_can_be_asked_the_answer_is_no() {
        let settings = Arc::new(LiveSettings::new(LoadedConfig::default(), AccessTable::default()));
        let hosts = HostQuestions::new(settings);
        let gate =
            hosts.gate(HostAsker::Agent { run: run("1-1", 1), waiting: Arc::default() }, Asker::default());
        let said = gate.decide(target("docs.example", 443)).await;
        assert_eq!(said, HostDecision::Refused(say::NO_PERSON_FOR_HOST.into()));
    }
}
