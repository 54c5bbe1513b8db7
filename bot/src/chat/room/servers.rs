//! The operator's MCP servers in the room's session: which of them did not start. Pure.

use std::collections::BTreeSet;

use agents::claude::{McpServer, McpServerState, SessionId};

/// The servers that people were told about, once in each session.
#[derive(Default)]
pub(super) struct SessionServers {
    session: Option<SessionId>,
    told: BTreeSet<String>,
    /// As of the newest turn.
    missing: Vec<String>,
}

impl SessionServers {
    /// Which of `expected` this session lacks, and people were not told about yet. `found`: those that the agent program reports.
    pub(super) fn missing<'a>(
        &mut self,
        expected: impl Iterator<Item = &'a str>,
        session: &SessionId,
        found: &[McpServer],
    ) -> Vec<&'a str> {
        if self.session.as_ref() != Some(session) {
            *self = Self { session: Some(session.clone()), ..Self::default() };
        }
        // The agent program leaves out an entry that it cannot use.
        let is_there = |name: &str| {
            let server = found.iter().find(|server| server.name == name);
            server.is_some_and(|server| {
                matches!(server.state, McpServerState::Connected | McpServerState::Pending)
            })
        };
        let mut missing: Vec<&str> = expected.filter(|name| !is_there(name)).collect();
        self.missing = missing.iter().map(|name| (*name).to_owned()).collect();
        missing.retain(|name| self.told.insert((*name).to_owned()));
        missing
    }

    /// Those that the session lacked in its newest turn.
    pub(super) fn lacking(&self) -> Vec<String> {
        self.missing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, state: McpServerState) -> McpServer {
        McpServer { name: name.into(), state, tools: None }
    }

    #[test]
    fn each_missing_server_is_told_once_in_a_session() {
        let mut servers = SessionServers::default();
        let (one, two) = (SessionId::new("1"), SessionId::new("2"));
        let names = || ["a", "b", "c", "d"].into_iter();
        let mut found = vec![
            server("a", McpServerState::Connected),
            server("b", McpServerState::Failed(String::new())),
            server("c", McpServerState::Pending),
            server("storkit", McpServerState::Failed(String::new())),
        ];
        assert_eq!(servers.missing(names(), &one, &found), ["b", "d"]);
        assert!(servers.missing(names(), &one, &found).is_empty());
        assert_eq!(servers.lacking(), ["b", "d"]);
        found[0].state = McpServerState::WantsLogin;
        assert_eq!(servers.missing(names(), &one, &found), ["a"], "it was lost later");
        assert_eq!(servers.missing(names(), &two, &found), ["a", "b", "d"]);
    }
}
