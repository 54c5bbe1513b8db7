//! Storkit's tools in the turn under way: which calls belong to it, and to whom.
//!
//! The agent program lives over many turns by many people, and says of no call whose it is. So each turn counts the calls that the
//! program reports while it is under way; a call that comes at another time, or that nobody has reported, is nobody's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use agents::claude::{AgentEvent, OwnToolsMessage, ToolUse};

use super::RoomTask;
use crate::{
    chat::rooms::RoomInput,
    permission::Person,
    store::QueuedPrompt,
    tools::{self, McpRun, MessageAnswer, OWN_TOOLS, RoomAccess, RoomTurnCaller},
};

/// The calls of one turn.
pub(super) struct TurnTools {
    run: Arc<McpRun>,
    /// Whether the agent program works on this turn's prompt, and not on something that it began by itself.
    begun: bool,
    /// Calls of the main conversation that were reported and have not come yet: the tool, by the call's id.
    reported: HashMap<String, String>,
    by_sub_agents: HashSet<String>,
}

impl TurnTools {
    pub(super) fn new(run: McpRun) -> Self {
        let (reported, by_sub_agents) = (HashMap::new(), HashSet::new());
        Self { run: Arc::new(run), begun: false, reported, by_sub_agents }
    }

    /// Takes in an event of the agent program that comes after the turn's prompt.
    pub(super) fn follow(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::Started { .. } => self.begun = true,
            // The prompt is still to be answered: this turn was one that the program began by itself.
            AgentEvent::TurnEnded(_) => {
                self.begun = false;
                self.reported.clear();
            }
            AgentEvent::ToolUse(tool) if self.begun => {
                if let Some(name) = own_name(tool) {
                    self.reported.insert(tool.id.clone(), name.to_owned());
                }
            }
            AgentEvent::SubAgentToolUse(tool) if own_name(tool).is_some() => {
                self.by_sub_agents.insert(tool.id.clone());
            }
            _ => {}
        }
    }

    /// To whom this call belongs. Each reported call counts once.
    fn access(&mut self, tool: &str, id: &str) -> RoomAccess {
        if self.by_sub_agents.remove(id) {
            return RoomAccess::SubAgent(self.run.clone());
        }
        match self.reported.remove(id) {
            Some(reported) if reported == tool => RoomAccess::Main(self.run.clone()),
            Some(_) | None => RoomAccess::Nobody,
        }
    }
}

/// Storkit's own name of a tool.
fn own_name(tool: &ToolUse) -> Option<&str> {
    tool.name.strip_prefix(OWN_TOOLS)
}

impl RoomTask {
    /// The tools for a turn that answers this prompt.
    pub(super) fn open_tools(&self, prompt: &QueuedPrompt) -> TurnTools {
        // The story's file is committed and read by others: no secret of the bot's gets there by somebody's message.
        let text = self.services.redactor.clean(&prompt.text).unwrap_or_else(|| prompt.text.clone());
        let origin = self.services.commands.messengers.origin(&self.room, prompt.message.as_ref(), &text);
        let person = Person::new(prompt.sender_id.clone(), prompt.sender_name.clone());
        TurnTools::new(McpRun {
            rooms: vec![self.room.clone()],
            asked_for: prompt.sender_name.clone(),
            timeout: self.services.config().claude.permission_timeout.limit(),
            room: Some(RoomTurnCaller { person, origin }),
            waiting: self.turn.waiting.clone(),
            asker: self.turn.asker.clone(),
            ..McpRun::default()
        })
    }

    pub(super) fn on_tools_message(&mut self, OwnToolsMessage { request_id, message }: OwnToolsMessage) {
        let called = tools::called(&message);
        let turn = self.turn.tools.as_mut();
        let access = called.zip(turn).map(|((tool, id), turn)| turn.access(tool, id));
        let access = access.unwrap_or(RoomAccess::Nobody);
        let request = self.turn.requests.insert(&request_id);
        let (services, sender) = (self.services.tools.clone(), self.sender.clone());
        // In a task, as a call may wait for a person, whose answer is another message to this room.
        self.services.tasks.tracker.spawn(async move {
            let answered = tools::answer_message(&services, message, (access, request)).await;
            sender.send(RoomInput::ToolsAnswered { request_id, answered });
        });
    }

    pub(super) fn on_tools_answered(&mut self, request_id: String, answered: MessageAnswer) {
        if let Some(sentence) = answered.denied {
            self.say(sentence, adapters::Tone::Notice, None);
        }
        self.turn.requests.remove(&request_id);
        self.turn.session.answer_tools(request_id, answered.answer);
    }
}

#[cfg(test)]
mod tests {
    use agents::claude::{SessionId, TurnEnd};
    use serde_json::json;

    use super::*;

    fn use_of(id: &str, name: &str) -> ToolUse {
        ToolUse { id: id.into(), name: format!("{OWN_TOOLS}{name}"), input: json!({}) }
    }

    fn begun() -> TurnTools {
        let mut tools = TurnTools::new(McpRun::default());
        let session = SessionId::new("s");
        tools.follow(&AgentEvent::Started { session, model: String::new(), mcp_servers: Vec::new() });
        tools
    }

    fn whose(access: &RoomAccess) -> &'static str {
        match access {
            RoomAccess::Main(_) => "main",
            RoomAccess::SubAgent(_) => "sub-agent",
            RoomAccess::Nobody => "nobody",
        }
    }

    #[test]
    fn a_reported_call_counts_once_and_only_as_what_it_was_reported() {
        let mut tools = begun();
        for (id, name) in [("1", "get_story"), ("2", "get_story")] {
            tools.follow(&AgentEvent::ToolUse(use_of(id, name)));
        }
        tools.follow(&AgentEvent::SubAgentToolUse(use_of("3", "get_story")));
        tools.follow(&AgentEvent::ToolUse(ToolUse { name: "Bash".into(), ..use_of("4", "") }));
        let calls = [
            ("get_story", "1"),
            ("get_story", "1"),
            ("delete_story", "2"),
            ("get_story", "2"),
            ("get_story", "3"),
            ("Bash", "4"),
        ];
        let found = calls.map(|(tool, id)| whose(&tools.access(tool, id)));
        assert_eq!(found, ["main", "nobody", "nobody", "nobody", "sub-agent", "nobody"]);
    }

    #[test]
    fn a_turn_that_the_program_began_by_itself_is_nobodys_also_while_a_prompt_waits() {
        let mut tools = TurnTools::new(McpRun::default());
        tools.follow(&AgentEvent::ToolUse(use_of("1", "get_story")));
        assert_eq!(whose(&tools.access("get_story", "1")), "nobody", "the prompt's turn has not begun");
        let mut tools = begun();
        tools.follow(&AgentEvent::ToolUse(use_of("1", "get_story")));
        tools.follow(&AgentEvent::TurnEnded(Box::new(TurnEnd { unprompted: true, ..TurnEnd::default() })));
        tools.follow(&AgentEvent::ToolUse(use_of("2", "get_story")));
        assert_eq!(["1", "2"].map(|id| whose(&tools.access("get_story", id))), ["nobody", "nobody"]);
    }
}
