//! Who may do what: an allow-list for each messenger, where empty means nobody.

use std::{collections::HashMap, fmt};

use adapters::Room;

/// What a command demands of whoever calls it. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// On the allow-list.
    User,
    /// May answer permission questions.
    Approver,
    /// May restart and rebuild.
    Operator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Approver => "approver",
            Self::Operator => "operator",
        })
    }
}

/// The people of one messenger.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// The lists of its section in `bot.toml`.
    pub lists: adapters::People,
    /// Whoever gets in is the machine's own user (the terminal), and may everything.
    pub local: bool,
}

impl From<adapters::People> for People {
    fn from(lists: adapters::People) -> Self {
        Self { lists, local: false }
    }
}

/// The people of all messengers, by adapter name. A messenger without an entry has nobody.
#[derive(Clone, Debug, Default)]
pub struct Access(HashMap<String, People>);

impl Access {
    /// Adds a messenger's people.
    #[must_use]
    pub fn with(mut self, adapter: &str, people: People) -> Self {
        self.0.insert(adapter.to_owned(), people);
        self
    }

    /// The highest role of a person there; `None` for somebody who is not heard.
    pub fn role(&self, room: &Room, user: &str) -> Option<Role> {
        let people = self.0.get(room.adapter())?;
        let on = |list: &[String]| list.iter().any(|id| id == user);
        let lists = &people.lists;
        if people.local || on(&lists.operators) {
            return Some(Role::Operator);
        }
        let user_at_all = on(&lists.allowed_users);
        if on(&lists.approvers) || (user_at_all && lists.approvers.is_empty()) {
            return Some(Role::Approver);
        }
        user_at_all.then_some(Role::User)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(people: People, user: &str) -> Option<Role> {
        Access::default().with("m", people).role(&Room::new("m", "r"), user)
    }

    #[test]
    fn an_empty_list_is_nobody() {
        assert_eq!(role(People::default(), "ann"), None);
        assert_eq!(Access::default().role(&Room::new("m", "r"), "ann"), None);
    }

    #[test]
    fn without_approvers_every_user_may_approve() {
        let all = adapters::People {
            allowed_users: vec!["ann".to_owned(), "bob".to_owned()],
            ..adapters::People::default()
        };
        assert_eq!(role(all.clone().into(), "ann"), Some(Role::Approver));
        let named = adapters::People { approvers: vec!["bob".into()], ..all };
        assert_eq!(role(named.clone().into(), "ann"), Some(Role::User));
        assert_eq!(role(named.into(), "bob"), Some(Role::Approver));
    }

    #[test]
    fn the_terminal_belongs_to_the_operator() {
        assert_eq!(role(People { local: true, ..People::default() }, "whoever"), Some(Role::Operator));
    }
}
