//! `[[person]]`: people with an account on several messengers, their hours; and `[ladder]`: when who is asked.
//!
//! Neither gives anybody a right: that is up to the lists of the messengers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::{MESSENGERS, MessengerSections, Room};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use settings::{duration::ConfigDuration, keys::KeyError};

use super::hours::WeekHours;

/// Characters of a name.
const NAME_MAX: usize = 60;

/// One section `[[person]]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersonSection {
    pub name: String,
    /// When they can be asked, like `Mon-Fri 9:00-18:00`; empty for always.
    pub hours: String,
    /// Of their hours, like `Europe/Berlin`; empty for this machine's.
    pub time_zone: String,
    /// Their id on each messenger, by its name.
    #[serde(flatten)]
    pub accounts: BTreeMap<String, String>,
}

/// The section `[ladder]` of the file: how long a question waits before it climbs. 0: it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LadderSection {
    /// From the question in its room to the direct message.
    pub direct: ConfigDuration,
    /// From there to the next address, and from each to the one after it.
    pub elsewhere: ConfigDuration,
    /// The same for calls with a warning.
    pub risky_direct: ConfigDuration,
    pub risky_elsewhere: ConfigDuration,
}

impl Default for LadderSection {
    fn default() -> Self {
        Self {
            direct: ConfigDuration::minutes(5),
            elsewhere: ConfigDuration::minutes(15),
            risky_direct: ConfigDuration::minutes(2),
            risky_elsewhere: ConfigDuration::minutes(5),
        }
    }
}

/// How long a question waits on a rung of the ladder; `None` for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RungTimes {
    pub direct: Option<Duration>,
    pub elsewhere: Option<Duration>,
}

impl LadderSection {
    pub fn times(&self, is_risky: bool) -> RungTimes {
        let (direct, elsewhere) = match is_risky {
            true => (self.risky_direct, self.risky_elsewhere),
            false => (self.direct, self.elsewhere),
        };
        RungTimes { direct: direct.limit(), elsewhere: elsewhere.limit() }
    }
}

/// A person's account on a messenger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PersonAccount {
    pub messenger: &'static str,
    /// As the messenger's lists write it, if they have it.
    pub id: String,
}

/// A person of `bot.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPerson {
    pub name: String,
    /// In the order in which the messengers are listed.
    pub accounts: Vec<PersonAccount>,
    pub zone: TimeZone,
    hours: Option<WeekHours>,
}

impl ListedPerson {
    /// Whether it is one of their hours.
    pub fn is_in_hours(&self, now: SystemTime) -> bool {
        self.hours.as_ref().is_none_or(|hours| hours.include(now))
    }

    /// The first time from `now` on that is one of their hours.
    pub fn next_in_hours(&self, now: SystemTime) -> Option<SystemTime> {
        match &self.hours {
            Some(hours) if !hours.include(now) => hours.next_begin(now),
            Some(_) | None => Some(now),
        }
    }
}

/// The people of `bot.toml`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct People(Arc<[ListedPerson]>);

impl People {
    /// Reads the sections. Accounts get the form in which the messengers' lists have them.
    ///
    /// # Errors
    /// The first key with a fault.
    pub fn read(sections: &[PersonSection], messengers: &MessengerSections) -> Result<Self, KeyError> {
        let mut people: Vec<ListedPerson> = Vec::new();
        for section in sections {
            let person = read_person(section, messengers)?;
            if let Some(account) = person.accounts.iter().find(|it| holder(&people, it).is_some()) {
                let other = holder(&people, account).map(|it| it.name.as_str()).unwrap_or_default();
                let why = format!(
                    "`{}` belongs to {other} already; an account is one person's.",
                    section.accounts[account.messenger]
                );
                return wrong(account.messenger, why);
            }
            if people.iter().any(|other| other.name.to_lowercase() == person.name.to_lowercase()) {
                return wrong(
                    "name",
                    format!("two people are called `{}`; one person has one section.", person.name),
                );
            }
            people.push(person);
        }
        Ok(Self(people.into()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &ListedPerson> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to call whoever writes there under this id and name, instead of that name: a person of the file as the file does, and nobody else
    /// as one of them.
    pub fn name_of(&self, adapter: &str, id: &str, name: &str) -> Option<String> {
        if let Some(person) = self.find(adapter, id) {
            return Some(person.name.clone());
        }
        let is_called = |person: &ListedPerson| person.name.to_lowercase() == name.trim().to_lowercase();
        self.iter().any(is_called).then(|| format!("{} ({id})", name.trim()))
    }

    /// The person who writes under this id there. On the page people have the ids of other messengers.
    pub fn find(&self, adapter: &str, id: &str) -> Option<&ListedPerson> {
        if adapter == adapters::web::NAME {
            let account = Room::parse(id).filter(|account| account.adapter() != adapters::web::NAME)?;
            return self.find(account.adapter(), account.id());
        }
        let has = |account: &PersonAccount| account.messenger == adapter && account.id == id;
        self.iter().find(|person| person.accounts.iter().any(has))
    }
}

fn holder<'a>(people: &'a [ListedPerson], account: &PersonAccount) -> Option<&'a ListedPerson> {
    let is_same = |other: &PersonAccount| {
        other.messenger == account.messenger && same_person(account.messenger, &other.id, &account.id)
    };
    people.iter().find(|person| person.accounts.iter().any(is_same))
}

fn same_person(messenger: &str, one: &str, other: &str) -> bool {
    let kind = MESSENGERS.iter().find(|kind| kind.name == messenger);
    kind.map_or(one == other, |kind| (kind.same_person)(one, other))
}

fn wrong<T>(key: &str, why: String) -> Result<T, KeyError> {
    Err(KeyError { key: format!("person.{key}"), why })
}

/// The names under which a person can have an account.
pub(super) fn messenger_names() -> impl Iterator<Item = &'static str> {
    MESSENGERS.iter().map(|kind| kind.name).chain([adapters::console::NAME])
}

fn read_person(section: &PersonSection, messengers: &MessengerSections) -> Result<ListedPerson, KeyError> {
    let name = section.name.trim();
    if name.is_empty() {
        return wrong("name", "a person needs one; write it like \"Ann\".".into());
    }
    if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return wrong("name", format!("it has at most {NAME_MAX} characters, all in one line."));
    }
    if section.accounts.is_empty() {
        let names: Vec<String> = messenger_names().map(|name| format!("`{name}`")).collect();
        return wrong("name", format!("`{name}` has no id on any messenger ({}).", names.join(", ")));
    }
    if let Some(unknown) = section.accounts.keys().find(|key| messenger_names().all(|name| name != **key)) {
        return wrong(unknown, "there is no such messenger.".into());
    }
    if let Some((key, _)) = section.accounts.iter().find(|(_, id)| id.trim().is_empty()) {
        return wrong(
            key,
            format!("it is empty; write the id that `whoami` shows {name} there, or nothing."),
        );
    }
    let zone = read_zone(&section.time_zone)?;
    let hours = match section.hours.trim() {
        "" => None,
        text => match WeekHours::parse(text, zone.clone()) {
            Ok(hours) => Some(hours),
            Err(part) => {
                let why = format!(
                    "`{part}` is no hours; write them like \"Mon-Fri 9:00-18:00\" or \"Mon-Thu 9:00-18:00, Fri 9:00-15:00\"."
                );
                return wrong("hours", why);
            }
        },
    };
    let accounts = messenger_names().filter_map(|messenger| {
        let id = section.accounts.get(messenger)?.trim();
        Some(PersonAccount { messenger, id: listed_form(messenger, id, messengers) })
    });
    Ok(ListedPerson { name: name.to_owned(), accounts: accounts.collect(), zone, hours })
}

fn read_zone(name: &str) -> Result<TimeZone, KeyError> {
    match name.trim() {
        "" => Ok(TimeZone::system()),
        name => TimeZone::get(name).or_else(|_| {
            wrong(
                "time_zone",
                format!("this machine knows no `{name}`; write a zone like \"Europe/Berlin\"."),
            )
        }),
    }
}

/// The id as the messenger's lists write it: some ids can be written in several ways.
fn listed_form(messenger: &str, id: &str, messengers: &MessengerSections) -> String {
    let people = messengers.get(messenger).map(|section| section.people());
    let lists = people.map(|people| [&people.operators, &people.approvers, &people.allowed_users]);
    let mut listed = lists.into_iter().flatten().flatten();
    listed.find(|entry| same_person(messenger, entry, id)).map_or_else(|| id.to_owned(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parse, sentence};

    const ANN: &str = "[[person]]\nname = \"Ann\"\nslack = \"U1\"\nmatrix = \"@ann:example.org\"\n";

    #[test]
    fn a_person_is_known_by_each_of_their_accounts_and_on_the_page_by_all() {
        let people = parse(&format!("{ANN}[[person]]\nname = \"Bob\"\nconsole = \"bob\"")).unwrap().people;
        let name = |adapter: &str, id: &str| people.find(adapter, id).map(|person| person.name.clone());
        for (adapter, id, who) in [
            ("slack", "U1", Some("Ann")),
            ("matrix", "@ann:example.org", Some("Ann")),
            ("console", "bob", Some("Bob")),
            ("web", "slack:U1", Some("Ann")),
            ("web", "matrix:@ann:example.org", Some("Ann")),
            ("web", "web:slack:U1", None),
            ("web", "U1", None),
            ("slack", "slack:U1", None),
            ("matrix", "U1", None),
            ("slack", "Ann", None),
        ] {
            assert_eq!(name(adapter, id).as_deref(), who, "{adapter} {id}");
        }
    }

    #[test]
    fn a_person_has_the_name_of_the_file_and_nobody_else_has() {
        let people = parse(ANN).unwrap().people;
        let name = |id: &str, name: &str| people.name_of("slack", id, name);
        assert_eq!(name("U1", "annie").as_deref(), Some("Ann"));
        assert_eq!(name("U2", "ann ").as_deref(), Some("ann (U2)"), "another Ann");
        assert_eq!(name("U2", "Bob"), None);
    }

    #[test]
    fn every_fault_of_a_person_is_a_sentence() {
        let faults = [
            "slack = \"U1\"".to_owned(),
            "name = \"Ann\"".to_owned(),
            "name = \"Ann\"\nslack = \" \"".to_owned(),
            "name = \"Ann\"\ntelegram = \"ann\"".to_owned(),
            "name = \"Ann\"\nslack = 3".to_owned(),
            "name = \"Ann\"\nslack = \"U1\"\nhours = \"all day\"".to_owned(),
            "name = \"Ann\"\nslack = \"U1\"\ntime_zone = \"Europe/Bonn\"".to_owned(),
            format!("name = \"Bob\"\nslack = \"U1\"\n{ANN}"),
            format!("name = \"ann\"\nslack = \"U2\"\n{ANN}"),
            "name = \"Bob\"\nwhatsapp = \"0049 170 1234567\"\n[[person]]\nname = \"Cleo\"\nwhatsapp = \"+491701234567\"".to_owned(),
        ];
        let sentences = faults.map(|text| sentence(&format!("[[person]]\n{text}")));
        insta::assert_snapshot!(sentences.join("\n"), @r#"
        `person.name` in `bot.toml`: a person needs one; write it like "Ann".
        `person.name` in `bot.toml`: `Ann` has no id on any messenger (`matrix`, `slack`, `whatsapp`, `console`).
        `person.slack` in `bot.toml`: it is empty; write the id that `whoami` shows Ann there, or nothing.
        `bot.toml` has an unknown key `person.telegram` (did you mean `person.time_zone`?). All keys are in `bot.toml.example`.
        `person.slack` in `bot.toml`: invalid type: integer `3`, expected a string.
        `person.hours` in `bot.toml`: `all day` is no hours; write them like "Mon-Fri 9:00-18:00" or "Mon-Thu 9:00-18:00, Fri 9:00-15:00".
        `person.time_zone` in `bot.toml`: this machine knows no `Europe/Bonn`; write a zone like "Europe/Berlin".
        `person.slack` in `bot.toml`: `U1` belongs to Bob already; an account is one person's.
        `person.name` in `bot.toml`: two people are called `Ann`; one person has one section.
        `person.whatsapp` in `bot.toml`: `+491701234567` belongs to Bob already; an account is one person's.
        "#);
        insta::assert_snapshot!(sentence("[ladder]\ndirect = \"soon\""), @r#"`ladder.direct` in `bot.toml`: `soon` is no length of time; write it like "30s", "5m" or "2h"."#);
    }

    #[test]
    fn an_account_is_known_in_the_form_of_the_list() {
        let text = "[whatsapp]\nphone_number_id = \"1\"\naccess_token = \"a\"\napp_secret = \"b\"\nverify_token = \"c\"\n\
                    allowed_users = [\"+49 170 1234567\"]\n[[person]]\nname = \"Ann\"\nwhatsapp = \"491701234567\"";
        let people = parse(text).unwrap().people;
        assert!(people.find("whatsapp", "+49 170 1234567").is_some());
        assert!(people.find("whatsapp", "491701234567").is_none(), "nobody writes under that id");
    }
}
