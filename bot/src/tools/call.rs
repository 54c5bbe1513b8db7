//! One call of a tool: its arguments, who calls, and which story it may act on.

use std::sync::Arc;

use pipeline::{
    PipelineError,
    event::Actor,
    handle::Author,
    story::{Story, StoryId},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{McpRun, ToolServices, permission::WaitingForPerson, stories::known};
use crate::{
    permission::{AgentRequest, BoardConsent, BoardQuestion, DenialReason, PermissionAsk},
    replies::{self, tools as say},
};

/// The name under which the record has a room's questions about stories; no tool of the CLI has it.
const BOARD_TOOL: &str = "Stories";

/// One call of a tool: who calls, and with what.
pub(super) struct ToolCall {
    pub services: Arc<ToolServices>,
    pub run: Arc<McpRun>,
    pub arguments: Value,
    /// Its id in the agent program, if that names one.
    pub id: Option<String>,
    /// By which a question of this call ends with its turn.
    pub request: AgentRequest,
}

/// A tool's answer: text for the model, or an error that names the alternative.
pub type Answered = Result<String, String>;

impl ToolCall {
    /// Reads the arguments; the error names unknown ones and wrong types.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_value(self.arguments.clone()).map_err(|error| say::bad_arguments(&error))
    }

    /// Who the record names.
    pub fn actor(&self) -> Actor {
        match &self.run.agent {
            Some(run) => Actor::Agent(run.slot.clone()),
            None => match &self.run.room {
                Some(room) => Actor::Agent(replies::room_agent(&room.person.name)),
                None => Actor::Person("the operator".into()),
            },
        }
    }

    /// Who decides this act: the caller, or for a room's agent the approver who agrees to exactly that. `what` names the act in words.
    ///
    /// # Errors
    /// Why it is not to be done, for the agent.
    pub async fn decided_by(&self, what: impl FnOnce() -> String) -> Result<Actor, String> {
        if self.run.room.is_none() {
            return Ok(self.actor());
        }
        let about = BoardQuestion::Act { what: what(), shown: None };
        let consent = self.ask_room(about).await.map_err(replies::denial)?;
        Ok(Actor::Approved(consent.by.name))
    }

    /// Asks the room's approvers.
    pub async fn ask_room(&self, about: BoardQuestion) -> Result<BoardConsent, DenialReason> {
        let run = &self.run;
        let ask = PermissionAsk {
            rooms: run.rooms.clone(),
            asker: run.asker.clone(),
            request: self.request.clone(),
            folder: None,
            asked_for: run.asked_for.clone(),
            tool: BOARD_TOOL.into(),
            input: self.arguments.clone(),
            call: self.id.clone(),
            blocked_path: None,
            timeout: run.timeout,
        };
        let _waiting = WaitingForPerson::of(&run.waiting);
        self.services.broker.ask_about_board(ask, about).await
    }

    /// The story, where a room's agent may act on it. One in quarantine is for people, who use the command.
    pub fn decidable(&self, id: StoryId) -> Result<Arc<Story>, String> {
        let snapshot = self.services.pipeline.snapshot();
        if self.run.room.is_some() && snapshot.quarantined.contains_key(&id) {
            return Err(say::in_quarantine(id));
        }
        known(self, id)
    }

    /// Whose words a story's text is. What the agent read before this call is known once its program has reported the call.
    pub async fn author(&self) -> Author {
        let read = self.run.asker.read();
        if let (Some(id), Some(_)) = (&self.id, &self.run.agent) {
            read.wait_for_report(id).await;
        }
        Author { by: self.actor(), read: read.texts() }
    }

    /// The story that the call may act on: an agent's own, anyone's for who has none.
    pub fn own(&self, named: Option<StoryId>) -> Result<StoryId, String> {
        match (&self.run.agent, named) {
            (Some(run), None) => Ok(run.story),
            (Some(run), Some(id)) if run.story == id || run.role == pipeline::stage::Role::Supervisor => {
                Ok(id)
            }
            (Some(run), Some(id)) => Err(say::not_your_story(id, run)),
            (None, Some(id)) => Ok(id),
            (None, None) => Err(say::STORY_ID_MISSING.into()),
        }
    }
}

/// A refusal of the pipeline, as a sentence.
pub(super) fn refusal(error: PipelineError) -> String {
    replies::sentence(&error.to_string())
}

/// A JSON value as the model reads it.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string())
}
