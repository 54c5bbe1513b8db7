//! Who may do what: an allow-list for each messenger, where empty means nobody.

use std::{collections::HashMap, fmt};

use adapters::Room;
use serde::Serialize;

/// The role that a command requires. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    User,
    /// May answer permission questions.
    Approver,
    /// May restart and rebuild.
    Operator,
}

impl fmt::Display for UserRole {
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
pub struct MessengerPeople {
    /// The lists of its section in `bot.toml`.
    pub lists: adapters::AllowedPeople,
    /// Everyone there is the machine's own user (the terminal) and has all rights.
    pub local: bool,
    /// Everyone there is known by an account of another messenger, written `messenger:id`, and has the rights of that one.
    pub of_others: bool,
}

impl From<adapters::AllowedPeople> for MessengerPeople {
    fn from(lists: adapters::AllowedPeople) -> Self {
        Self { lists, ..Self::default() }
    }
}

/// The people of all messengers, by adapter name. A messenger without an entry has nobody.
#[derive(Clone, Debug, Default)]
pub struct AccessTable(HashMap<String, MessengerPeople>);

impl AccessTable {
    /// Adds a messenger's people.
    #[must_use]
    pub fn with(mut self, adapter: &str, people: MessengerPeople) -> Self {
        self.0.insert(adapter.to_owned(), people);
        self
    }

    /// The highest role of a person there; `None` for somebody who is not on the allow-list.
    pub fn role(&self, room: &Room, user: &str) -> Option<UserRole> {
        let people = self.0.get(room.adapter())?;
        if people.of_others {
            let account = Room::parse(user)?;
            // Not of one that again asks others.
            let known = self.0.get(account.adapter()).filter(|people| !people.of_others);
            return known.and_then(|_| self.role(&account, account.id()));
        }
        let on = |list: &[String]| list.iter().any(|id| id == user);
        let lists = &people.lists;
        if people.local || on(&lists.operators) {
            return Some(UserRole::Operator);
        }
        let user_at_all = on(&lists.allowed_users);
        if on(&lists.approvers) || (user_at_all && lists.approvers.is_empty()) {
            return Some(UserRole::Approver);
        }
        user_at_all.then_some(UserRole::User)
    }

    /// The ids of those who may do that there, each once; `None` where the lists do not say it.
    pub fn who_may(&self, room: &Room, needs: UserRole) -> Option<Vec<String>> {
        let people = self.0.get(room.adapter()).filter(|people| !people.local && !people.of_others)?;
        let lists = [&people.lists.operators, &people.lists.approvers, &people.lists.allowed_users];
        let mut who: Vec<String> = Vec::new();
        for id in lists.into_iter().flatten() {
            if self.role(room, id) >= Some(needs) && !who.contains(id) {
                who.push(id.clone());
            }
        }
        Some(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_is_each_person_of_the_lists_once_and_nobody_knows_it_of_the_terminal() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let lists = adapters::AllowedPeople {
            allowed_users: list(&["ann", "bob", "cleo"]),
            approvers: list(&["bob"]),
            operators: list(&["bob", "dan"]),
        };
        let local = MessengerPeople { local: true, ..MessengerPeople::default() };
        let table = AccessTable::default().with("m", lists.into()).with("here", local);
        let who = |adapter: &str, needs| table.who_may(&Room::new(adapter, "r"), needs);
        assert_eq!(who("m", UserRole::Approver), Some(list(&["bob", "dan"])));
        assert_eq!(who("m", UserRole::User), Some(list(&["bob", "dan", "ann", "cleo"])));
        assert_eq!((who("here", UserRole::User), who("none", UserRole::User)), (None, None));
    }

    fn role(people: MessengerPeople, user: &str) -> Option<UserRole> {
        AccessTable::default().with("m", people).role(&Room::new("m", "r"), user)
    }

    #[test]
    fn a_role_includes_those_before_it_and_has_a_word() {
        let roles = [UserRole::User, UserRole::Approver, UserRole::Operator];
        assert!(roles.is_sorted());
        assert_eq!(roles.map(|role| role.to_string()), ["user", "approver", "operator"]);
    }

    #[test]
    fn a_persons_role_is_their_highest_and_an_operator_needs_no_other_list() {
        let people = |users: &[&str], approvers: &[&str], operators: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let (allowed_users, approvers, operators) = (list(users), list(approvers), list(operators));
            MessengerPeople::from(adapters::AllowedPeople { allowed_users, approvers, operators })
        };
        assert_eq!(role(people(&["ann"], &["ann"], &["ann"]), "ann"), Some(UserRole::Operator));
        assert_eq!(role(people(&[], &[], &["ann"]), "ann"), Some(UserRole::Operator));
        assert_eq!(role(people(&[], &["ann"], &[]), "ann"), Some(UserRole::Approver));
        assert_eq!(role(people(&["ann"], &["ann"], &["ann"]), "eve"), None);
    }

    #[test]
    fn an_empty_list_is_nobody() {
        assert_eq!(role(MessengerPeople::default(), "ann"), None);
        assert_eq!(AccessTable::default().role(&Room::new("m", "r"), "ann"), None);
    }

    #[test]
    fn without_approvers_every_user_may_approve() {
        let all = adapters::AllowedPeople {
            allowed_users: vec!["ann".to_owned(), "bob".to_owned()],
            ..adapters::AllowedPeople::default()
        };
        assert_eq!(role(all.clone().into(), "ann"), Some(UserRole::Approver));
        let named = adapters::AllowedPeople { approvers: vec!["bob".into()], ..all };
        assert_eq!(role(named.clone().into(), "ann"), Some(UserRole::User));
        assert_eq!(role(named.into(), "bob"), Some(UserRole::Approver));
    }

    #[test]
    fn somebody_known_by_another_account_has_its_rights_and_no_others() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let slack =
            adapters::AllowedPeople { approvers: list(&["U01"]), ..adapters::AllowedPeople::default() };
        let others = MessengerPeople { of_others: true, ..MessengerPeople::default() };
        let local = MessengerPeople { local: true, ..MessengerPeople::default() };
        let table =
            AccessTable::default().with("slack", slack.into()).with("web", others).with("console", local);
        let role = |user: &str| table.role(&Room::new("web", "team"), user);
        assert_eq!((role("slack:U01"), role("slack:U02")), (Some(UserRole::Approver), None));
        assert_eq!(role("console:root"), Some(UserRole::Operator));
        for stranger in ["U01", "matrix:U01", "web:slack:U01", "web:web:x", "", ":", "slack:"] {
            assert_eq!(role(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn the_terminal_belongs_to_the_operator() {
        assert_eq!(
            role(MessengerPeople { local: true, ..MessengerPeople::default() }, "whoever"),
            Some(UserRole::Operator)
        );
    }
}
