//! Who may talk to the bot on a messenger: the lists that every messenger's section of `bot.toml` has.

use serde::{Deserialize, Serialize};

/// The people of one messenger, by [`crate::Sender::id`]. An empty allow-list means nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedPeople {
    /// Who may talk to the bot at all.
    pub allowed_users: Vec<String>,
    /// Who may answer permission questions; empty: the allowed users.
    pub approvers: Vec<String>,
    /// Who may operate the bot.
    pub operators: Vec<String>,
}

impl AllowedPeople {
    /// The keys that a section has for its people.
    pub const KEYS: [&'static str; 3] = ["allowed_users", "approvers", "operators"];

    // Approvers and operators count too, so that nobody has to be listed twice.
    pub fn is_allowed(&self, id: &str) -> bool {
        [&self.allowed_users, &self.approvers, &self.operators]
            .iter()
            .any(|list| list.iter().any(|it| it == id))
    }

    pub fn is_empty(&self) -> bool {
        self.allowed_users.is_empty() && self.approvers.is_empty() && self.operators.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_hears_nobody_and_operators_are_heard() {
        assert!(!AllowedPeople::default().is_allowed("ann") && AllowedPeople::default().is_empty());
        let people = AllowedPeople { operators: vec!["ann".into()], ..AllowedPeople::default() };
        assert!(people.is_allowed("ann") && !people.is_allowed("bob") && !people.is_empty());
    }
}
