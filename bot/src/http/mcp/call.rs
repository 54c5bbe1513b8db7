//! One call of a tool: its arguments, who calls, and which story it may act on.

use std::sync::Arc;

use pipeline::{PipelineError, event::Actor, handle::Author, story::StoryId};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    http::{runs::McpRun, services::HttpServices},
    replies::{self, tools as say},
};

/// One call of a tool: who calls, and with what.
pub(super) struct ToolCall {
    pub services: Arc<HttpServices>,
    pub run: Arc<McpRun>,
    pub arguments: Value,
    /// Its id in the agent program, if that names one.
    pub id: Option<String>,
}

/// A tool's answer: text for the model, or an error that names the alternative.
pub(super) type Answered = Result<String, String>;

impl ToolCall {
    /// Reads the arguments; the error names unknown ones and wrong types.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_value(self.arguments.clone()).map_err(|error| say::bad_arguments(&error))
    }

    /// Who the record names.
    pub fn actor(&self) -> Actor {
        match &self.run.agent {
            Some(run) => Actor::Agent(run.slot.clone()),
            None => Actor::Person("the operator".into()),
        }
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
