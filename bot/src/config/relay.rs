//! `[relay]` of `bot.toml`: where the agents of chat rooms work, their hosts, and their budgets.

use adapters::Room;
use agents::confine::NetworkAccess;
use pipeline::config::NetworkValue;
use serde::{Deserialize, Serialize};
use settings::keys::KeyError;

/// The section `[relay]` of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RelaySection {
    /// Where the agents of chat rooms work.
    pub workspace: WorkspaceChoice,
    /// Rooms (`adapter:id`) that work in worktrees of their own, whatever `workspace` says. A room's threads are like the room.
    pub worktree_rooms: Vec<String>,
    /// Rooms that work in the main checkout.
    pub checkout_rooms: Vec<String>,
    /// The hosts that the agents of chat rooms may reach.
    pub network: Option<NetworkValue>,
    /// Whether a turn that a restart cut while no tool was running goes on by itself.
    pub continue_interrupted: bool,
    /// US dollars for one turn.
    pub turn_usd: Option<f64>,
    /// US dollars for the turns of all rooms in one day.
    pub day_usd: Option<f64>,
}

impl RelaySection {
    /// Where this room's agent is to work.
    pub fn workspace_of(&self, room: &Room) -> WorkspaceChoice {
        let room = room.to_string();
        let names = |list: &[String]| {
            list.iter().any(|entry| {
                // A thread's id begins with that of its room.
                room.strip_prefix(entry.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        match (names(&self.worktree_rooms), names(&self.checkout_rooms)) {
            (true, _) => WorkspaceChoice::Worktree,
            (false, true) => WorkspaceChoice::Checkout,
            (false, false) => self.workspace,
        }
    }

    /// The hosts that the agents of rooms may reach. [`BotConfig::load`] refuses other values.
    pub fn network_access(&self) -> NetworkAccess {
        let Some(value) = self.network.clone() else { return NetworkAccess::default() };
        // Nothing, should a value ever get here unchecked.
        value.network("relay.network").unwrap_or(NetworkAccess::Only(Vec::new()))
    }

    pub(super) fn check(&self) -> Result<(), KeyError> {
        let wrong = |key: &str, why: String| Err(KeyError { key: key.into(), why });
        self.network.clone().map(|value| value.network("relay.network")).transpose()?;
        for (key, rooms) in
            [("relay.worktree_rooms", &self.worktree_rooms), ("relay.checkout_rooms", &self.checkout_rooms)]
        {
            if rooms.iter().any(|room| !room.contains(':')) {
                return wrong(key, "a room is written `adapter:id`, like \"console:main\".".into());
            }
        }
        if let Some(room) = self.worktree_rooms.iter().find(|room| self.checkout_rooms.contains(room)) {
            return wrong("relay.checkout_rooms", format!("`{room}` is in `worktree_rooms`, too."));
        }
        for (key, usd) in [("relay.turn_usd", self.turn_usd), ("relay.day_usd", self.day_usd)] {
            if usd.is_some_and(|usd| !usd.is_finite() || usd <= 0.0) {
                let why = "it is an amount of US dollars over 0; leave the key out for no limit.";
                return wrong(key, why.into());
            }
        }
        Ok(())
    }
}

/// Where the agent of a chat room works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceChoice {
    /// In the main checkout where people sit at this machine and the wall can protect it, in a worktree elsewhere.
    #[default]
    Auto,
    /// In a worktree of the room's own.
    Worktree,
    /// In the main checkout, as it is.
    Checkout,
}

impl WorkspaceChoice {
    /// Whether a room works in a worktree of its own; `local` if its people sit at this machine, `protects_checkout` if the wall can
    /// keep `.git` and `.storkit` from an agent in the main checkout.
    pub fn is_worktree(self, local: bool, protects_checkout: bool) -> bool {
        match self {
            Self::Auto => !local || !protects_checkout,
            Self::Worktree => true,
            Self::Checkout => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{parse, sentence},
        *,
    };

    #[test]
    fn a_rooms_own_workspace_goes_before_that_of_all_and_holds_for_its_threads() {
        let text = "[relay]\nworkspace = \"worktree\"\ncheckout_rooms = [\"slack:C01\"]\nworktree_rooms = [\"console:main\"]";
        let relay = parse(text).unwrap().config.relay;
        let choice = |adapter: &str, id: &str| relay.workspace_of(&Room::new(adapter, id));
        assert_eq!(choice("slack", "C01"), WorkspaceChoice::Checkout);
        assert_eq!(choice("slack", "C01/1700000000.000100"), WorkspaceChoice::Checkout);
        assert_eq!(choice("slack", "C012"), WorkspaceChoice::Worktree);
        assert_eq!(choice("console", "main"), WorkspaceChoice::Worktree);
        let auto = |local, protects| WorkspaceChoice::Auto.is_worktree(local, protects);
        assert_eq!([auto(true, true), auto(true, false), auto(false, true)], [false, true, true]);
        insta::assert_snapshot!(sentence("[relay]\nworktree_rooms = [\"main\"]"), @r#"`relay.worktree_rooms` in `bot.toml`: a room is written `adapter:id`, like "console:main"."#);
        insta::assert_snapshot!(sentence("[relay]\nworktree_rooms = [\"a:b\"]\ncheckout_rooms = [\"a:b\"]"), @"`relay.checkout_rooms` in `bot.toml`: `a:b` is in `worktree_rooms`, too.");
    }

    #[test]
    fn rooms_ask_about_hosts_and_have_no_budget_unless_the_operator_says_so() {
        let relay = |text: &str| parse(text).unwrap().config.relay;
        assert_eq!(relay("").network_access(), NetworkAccess::default());
        assert_eq!((relay("").turn_usd, relay("").day_usd), (None, None));
        assert_eq!(relay("[relay]\nnetwork = true").network_access(), NetworkAccess::All);
        assert_eq!(relay("[relay]\nturn_usd = 2").turn_usd, Some(2.0));
        insta::assert_snapshot!(sentence("[relay]\nnetwork = \"no\""), @r#"`relay.network` in `bot.toml`: "no" is no setting; write "ask", `true`, `false` or a list of hosts."#);
        insta::assert_snapshot!(sentence("[relay]\nday_usd = 0"), @"`relay.day_usd` in `bot.toml`: it is an amount of US dollars over 0; leave the key out for no limit.");
    }
}
