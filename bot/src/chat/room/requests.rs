//! What the room's own session asks people, and which of it ends with what: a request belongs to the conversation or
//! to the sub-agent that made it.

use std::collections::BTreeMap;

use agents::claude::{PermissionAnswer, PermissionRequest};
use serde_json::Value;

use super::RoomTask;
use crate::{
    chat::rooms::RoomInput,
    permission::{AgentRequest, NETWORK_TOOL, PermissionAsk, PermissionDecision, WithdrawReason},
    replies,
};

/// The session's requests that have no answer yet, by their ids.
#[derive(Default)]
pub(super) struct OpenRequests {
    open: BTreeMap<String, OpenRequest>,
}

struct OpenRequest {
    request: AgentRequest,
    /// A sub-agent asks, which may outlive the turn.
    of_sub_agent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestOwner {
    /// Those of the conversation: its turn is over, and what runs in the background goes on.
    Conversation,
    /// All of the session's.
    Session,
}

impl OpenRequests {
    /// A request of the conversation.
    #[cfg(test)]
    pub(super) fn insert_for_tests(&mut self) -> AgentRequest {
        let request = AgentRequest::default();
        let open = OpenRequest { request: request.clone(), of_sub_agent: false };
        self.open.insert(format!("r{}", self.open.len()), open);
        request
    }

    /// Notes a request of the conversation that is made in another way than by asking for permission.
    pub(super) fn insert(&mut self, request_id: &str) -> AgentRequest {
        let request = AgentRequest::default();
        let open = OpenRequest { request: request.clone(), of_sub_agent: false };
        self.open.insert(request_id.to_owned(), open);
        request
    }

    /// It has its answer.
    pub(super) fn remove(&mut self, request_id: &str) {
        self.open.remove(request_id);
    }

    /// Takes out those that end.
    fn take(&mut self, owner: RequestOwner) -> Vec<AgentRequest> {
        let ended = |request: &OpenRequest| owner == RequestOwner::Session || !request.of_sub_agent;
        let (ended, left) = std::mem::take(&mut self.open).into_iter().partition(|(_, open)| ended(open));
        self.open = left;
        BTreeMap::into_values(ended).map(|open| open.request).collect()
    }
}

impl RoomTask {
    /// The room's own session asks: the broker decides, and its answer comes back as an input.
    pub(super) fn permission_asked(&mut self, asked: PermissionRequest) {
        let asked_for = match &mut self.turn.current {
            Some(turn) => {
                turn.on_permission_asked(&asked.request_id);
                turn.prompt.sender_name.clone()
            }
            // Nobody prompted: a background task asks, or woke the model. The room is asked all the same.
            None => self.services.config().display_name.clone(),
        };
        let request = AgentRequest::default();
        let open = OpenRequest { request: request.clone(), of_sub_agent: asked.agent_id.is_some() };
        self.turn.requests.open.insert(asked.request_id.clone(), open);
        let ask = PermissionAsk {
            rooms: vec![self.room.clone()],
            asker: self.turn.asker.clone(),
            request,
            folder: self.turn.folder.clone(),
            asked_for,
            tool: asked.tool,
            input: asked.input,
            call: asked.tool_use_id,
            blocked_path: asked.blocked_path,
            timeout: self.services.config().claude.permission_timeout.limit(),
        };
        if let Some(workspace) = &self.turn.place.workspace {
            self.turn.asker.trials().set(self.services.trial_place_in(workspace));
        }
        let (broker, sender, request_id) =
            (self.services.broker.clone(), self.sender.clone(), asked.request_id);
        let (hosts, room) = (self.services.connections.hosts.clone(), self.room.clone());
        let page = ask.input.get("url").and_then(Value::as_str).filter(|_| ask.tool == "WebFetch");
        let page = page.map(str::to_owned);
        // In a task, because the answer may take minutes and the room must handle messages meanwhile: the answer
        // itself is one of them.
        let task = self.services.tasks.tracker.spawn(async move {
            let decision = broker.ask(ask).await;
            // Before the agent knows: it connects at once.
            if let (Some(page), PermissionDecision::Allowed { .. }) = (page, &decision) {
                hosts.grant_page_to_room(&room, &page);
            }
            let answer = replies::permission_answer(decision);
            sender.send(RoomInput::Verdict { request_id, answer });
        });
        drop(task);
    }

    pub(super) fn on_verdict(&mut self, request_id: String, answer: PermissionAnswer) {
        if let Some(turn) = &mut self.turn.current {
            turn.on_permission_answered(&request_id);
        }
        self.turn.requests.open.remove(&request_id);
        self.turn.session.answer(request_id, answer);
    }

    /// The agent program takes one of its requests back.
    pub(super) fn on_request_cancelled(&mut self, request_id: &str) {
        if let Some(open) = self.turn.requests.open.remove(request_id) {
            self.services.broker.withdraw_request(&open.request, WithdrawReason::AgentCancelled);
        }
    }

    /// Questions of this room's own session end. Those of stories' runs and of other rooms go on, whatever happens here.
    pub(super) fn withdraw_questions(&mut self, owner: RequestOwner, why: WithdrawReason) {
        for request in self.turn.requests.take(owner) {
            self.services.broker.withdraw_request(&request, why);
        }
        // Nobody knows whose connection it is that waits for an answer about its host.
        if owner == RequestOwner::Conversation && !self.turn.background.is_empty() {
            return;
        }
        for question in self.questions.iter() {
            if question.tool == NETWORK_TOOL && question.asker.is(&self.turn.asker) {
                self.services.broker.withdraw(question.id, why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adapters::Addressed;
    use agents::{
        claude::{AgentEvent, BackgroundKind, BackgroundTask},
        confine::{HostDecision, HostTarget},
        turn::TurnOutcome,
    };
    use pipeline::stage::Role;
    use serde_json::json;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::{
        chat::{
            room::fixture::RoomFixture,
            session::{SessionEvent, SessionUpdate},
        },
        permission::{AnswerKind, Asker, NoTrial, Question, QuestionId},
    };

    /// The room's session asks, as itself or as a sub-agent in the background.
    async fn asks(fixture: &mut RoomFixture, id: &str, sub_agent: Option<&str>) -> QuestionId {
        let before: Vec<_> = open(fixture);
        fixture.event(AgentEvent::Permission(PermissionRequest {
            request_id: id.into(),
            tool: "Bash".into(),
            input: json!({ "command": id }),
            tool_use_id: None,
            agent_id: sub_agent.map(str::to_owned),
            blocked_path: None,
        }));
        while open(fixture) == before {
            fixture.handles_next().await;
        }
        open(fixture).into_iter().find(|id| !before.contains(id)).expect("a question")
    }

    /// A story's agent asks in this room, too.
    async fn story_asks(fixture: &mut RoomFixture) -> (QuestionId, JoinHandle<PermissionDecision>) {
        asks_as(fixture, Asker::role(Role::Coder), "Bash").await
    }

    /// An agent asks in this room, and not by a request of the room's session.
    async fn asks_as(
        fixture: &mut RoomFixture,
        asker: Asker,
        tool: &str,
    ) -> (QuestionId, JoinHandle<PermissionDecision>) {
        let broker = fixture.services.broker.clone();
        let ask = PermissionAsk {
            rooms: vec![fixture.task.room.clone()],
            asker,
            request: AgentRequest::default(),
            folder: None,
            asked_for: "somebody".into(),
            tool: tool.into(),
            input: json!({ "command": "make" }),
            call: None,
            blocked_path: None,
            timeout: None,
        };
        let before = open(fixture);
        let decision = tokio::spawn(async move { broker.ask(ask).await });
        while open(fixture) == before {
            fixture.handles_next().await;
        }
        (open(fixture).into_iter().find(|id| !before.contains(id)).expect("a question"), decision)
    }

    fn open(fixture: &RoomFixture) -> Vec<QuestionId> {
        let open = |question: &&Arc<Question>| fixture.services.broker.is_open(question.id);
        fixture.task.questions.iter().filter(open).map(|question| question.id).collect()
    }

    /// A room whose turn has a question, with one of its sub-agent's and one of a story's beside it.
    async fn three() -> (RoomFixture, [QuestionId; 3], JoinHandle<PermissionDecision>) {
        let mut fixture = RoomFixture::new().await;
        let (story, decision) = story_asks(&mut fixture).await;
        fixture.says("ann", "fix it").await;
        let own = asks(&mut fixture, "own", None).await;
        let sub_agent = asks(&mut fixture, "child", Some("a1")).await;
        (fixture, [story, own, sub_agent], decision)
    }

    #[tokio::test]
    async fn the_end_of_a_turn_closes_its_own_question_and_neither_a_storys_nor_a_sub_agents() {
        let (mut fixture, [story, _, sub_agent], decision) = three().await;
        fixture.answers("Done.");
        assert_eq!(open(&fixture), [story, sub_agent]);
        fixture.says("ann", "and now?").await;
        fixture.answers("Nothing.");
        assert_eq!(open(&fixture), [story, sub_agent], "talk closes nothing");
        assert!(!decision.is_finished());
    }

    #[tokio::test]
    async fn a_turn_that_is_stopped_or_times_out_or_dies_closes_the_questions_of_its_session_alone() {
        for how in ["stop", "silence", "exit", "reset", "idle"] {
            let (mut fixture, [story, ..], decision) = three().await;
            match how {
                "stop" => fixture.task.stop_turn(),
                "silence" => {
                    fixture.event(AgentEvent::Exited(exit()));
                    fixture.ends(TurnOutcome::Silent);
                }
                "exit" => fixture.event(AgentEvent::Exited(exit())),
                "reset" => {
                    fixture.answers("Done.");
                    fixture.task.reset_session();
                }
                _ => {
                    fixture.answers("Done.");
                    let event = SessionEvent::Closed { ended: Vec::new(), was_idle: true };
                    let prompt = fixture.task.turn.session.sent_prompts();
                    fixture.task.on_session_update(SessionUpdate { prompt, event, place: None });
                }
            }
            assert_eq!(open(&fixture), [story], "{how}");
            assert!(!decision.is_finished(), "{how}");
        }
    }

    fn exit() -> agents::claude::ProcessExit {
        agents::claude::ProcessExit { code: Some(1), signal: None, tail: String::new() }
    }

    #[tokio::test]
    async fn a_request_that_the_agent_program_takes_back_is_closed_alone() {
        let (mut fixture, [story, own, sub_agent], _decision) = three().await;
        fixture.event(AgentEvent::PermissionCancelled { request_id: "child".into() });
        assert_eq!(open(&fixture), [story, own]);
        fixture.event(AgentEvent::PermissionCancelled { request_id: "unknown".into() });
        assert_eq!(open(&fixture), [story, own]);
        assert!(sub_agent > own);
        let call = fixture.call("ann", Some(Addressed::Direct));
        fixture.task.give_answer(&call, own, crate::permission::PersonAnswer::Yes);
        assert_eq!(open(&fixture), [story]);
    }

    #[tokio::test]
    async fn the_end_of_a_turn_closes_the_questions_about_its_hosts_unless_something_runs_in_the_background()
    {
        for runs_on in [false, true] {
            let mut fixture = RoomFixture::new().await;
            let own = fixture.task.turn.asker.clone();
            let (other, _other) = asks_as(&mut fixture, Asker::role(Role::Coder), NETWORK_TOOL).await;
            let (call, _call) = asks_as(&mut fixture, own.clone(), "Bash").await;
            let (host, _host) = asks_as(&mut fixture, own, NETWORK_TOOL).await;
            fixture.says("ann", "fix it").await;
            if runs_on {
                let (id, kind, description) = ("b1".into(), BackgroundKind::Command, String::new());
                let task = BackgroundTask { id, kind, description };
                fixture.event(AgentEvent::BackgroundTasks(vec![task]));
            }
            fixture.answers("Done.");
            let left = if runs_on { vec![other, call, host] } else { vec![other, call] };
            assert_eq!(open(&fixture), left, "something runs on: {runs_on}");
            fixture.task.reset_session();
            assert_eq!(open(&fixture), [other, call]);
        }
    }

    #[tokio::test]
    async fn a_page_that_a_person_allows_is_reached_unasked_and_no_other_address_in_a_call_is() {
        for (tool, is_reached) in [("WebFetch", true), ("Bash", false)] {
            let mut fixture = RoomFixture::asked("read it").await;
            let hosts = fixture.services.connections.hosts.clone();
            let asker = fixture.task.turn.asker.clone();
            let gate = hosts.room_gate(&fixture.task.room, asker, Arc::default());
            fixture.event(AgentEvent::Permission(PermissionRequest {
                request_id: "r".into(),
                tool: tool.into(),
                input: json!({ "command": "make", "url": "https://docs.example/a" }),
                tool_use_id: None,
                agent_id: None,
                blocked_path: None,
            }));
            fixture.handles_next().await;
            let call = fixture.call("ann", Some(Addressed::Direct));
            let id = open(&fixture)[0];
            fixture.task.give_answer(&call, id, crate::permission::PersonAnswer::Yes);
            while !fixture.task.turn.requests.open.is_empty() {
                fixture.handles_next().await;
            }
            let docs = HostTarget::new("docs.example", 443).expect("a host");
            let decision = gate.decide(docs).await;
            assert_eq!(matches!(decision, HostDecision::Allowed), is_reached, "{tool}: {decision:?}");
        }
    }

    #[tokio::test]
    async fn a_command_of_the_session_is_tried_in_the_workspace_of_its_turn() {
        let mut fixture = RoomFixture::asked("fix it").await;
        let id = asks(&mut fixture, "make", None).await;
        let question = fixture.task.questions.iter().find(|question| question.id == id).expect("it is open");
        let AnswerKind::Tool { trial, .. } = &question.kind else { panic!("{:?}", question.kind) };
        assert_eq!(*trial, Err(NoTrial::NoWall), "the checkout has none, and is known");
    }

    #[test]
    fn a_request_that_has_its_answer_ends_with_no_turn() {
        let mut requests = OpenRequests::default();
        requests.insert("answered");
        requests.insert("open");
        requests.remove("answered");
        assert_eq!(requests.take(RequestOwner::Conversation).len(), 1);
        assert!(requests.take(RequestOwner::Session).is_empty());
    }
}
