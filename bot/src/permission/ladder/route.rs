//! Who may be asked directly, where and in which order; and whether somebody in a room may answer.

use std::{collections::HashSet, sync::Arc, time::Duration};

use adapters::Room;

use super::{AskedPerson, LadderServices};
use crate::{
    config::{ListedPerson, PersonAccount},
    permission::Question,
};

/// Whoever is in a room of a messenger that does not say so by then is not known.
const LOOK: Duration = Duration::from_secs(10);

/// A person on one messenger, where they may answer the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub person: Arc<ListedPerson>,
    pub account: PersonAccount,
}

impl Address {
    pub(super) fn asked(&self) -> AskedPerson {
        AskedPerson { name: self.person.name.clone(), messenger: self.account.messenger }
    }
}

/// The addresses at which a question was asked.
#[derive(Default)]
pub(super) struct LadderRoute {
    asked: HashSet<PersonAccount>,
    /// Whose turn it is: all of their addresses come before the next person's.
    person: Option<String>,
}

impl LadderRoute {
    /// The next of these addresses, which counts as asked from now on.
    pub(super) fn take_next(&mut self, left: &[Address]) -> Option<Address> {
        let same = left.iter().find(|address| self.person.as_ref() == Some(&address.person.name));
        let next = same.or(left.first())?.clone();
        self.asked.insert(next.account.clone());
        self.person = Some(next.person.name.clone());
        Some(next)
    }

    /// Where it was not asked yet.
    pub(super) fn left(&self, services: &LadderServices, question: &Question) -> Vec<Address> {
        let mut all = addresses(services, question);
        all.retain(|address| !self.asked.contains(&address.account));
        all
    }
}

/// Every address of people who may answer: in the order of the file, and of each person first on the messenger that asks.
pub(super) fn addresses(services: &LadderServices, question: &Question) -> Vec<Address> {
    let (people, access) = (services.settings.people(), services.settings.access());
    let here = question.rooms.first().map(Room::adapter);
    let mut all = Vec::new();
    for person in people.iter() {
        let may_answer = |account: &&PersonAccount| {
            let there = Room::new(account.messenger, account.id.as_str());
            access.role(&there, &account.id) >= Some(question.needs())
                && services.messengers.get(account.messenger).is_some()
        };
        let mut accounts: Vec<_> = person.accounts.iter().filter(may_answer).cloned().collect();
        accounts.sort_by_key(|account| Some(account.messenger) != here);
        let person = Arc::new(person.clone());
        all.extend(accounts.into_iter().map(|account| Address { person: person.clone(), account }));
    }
    all
}

/// Those on the room's messenger who may answer, if nobody in the room does; `None` also where it is not known who is there.
pub(super) async fn nobody_may_answer(
    services: &LadderServices,
    question: &Question,
    room: &Room,
) -> Option<Vec<String>> {
    let (access, needs) = (services.settings.access(), question.needs());
    let who_may = access.who_may(room, needs)?;
    if !who_may.is_empty() {
        let adapter = services.messengers.get(room.adapter())?;
        let people = tokio::time::timeout(LOOK, adapter.people_in(room)).await.ok()?;
        let people =
            people.inspect_err(|error| tracing::debug!(%error, %room, "who is there is not known")).ok()?;
        if people.iter().any(|id| access.role(room, id) >= Some(needs)) {
            return None;
        }
    }
    let listed = services.settings.people();
    let name = |id: String| listed.find(room.adapter(), &id).map_or(id, |person| person.name.clone());
    Some(who_may.into_iter().map(name).collect())
}
