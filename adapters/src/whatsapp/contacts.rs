//! The people on the allow-list as Meta knows them: ids, 24-hour window, and messages that wait for it. Stored on disk.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{config::PersonIdForm, notification::VouchedPerson, numbers::same_number};
use crate::{AllowedPeople, Outgoing, private_files};

// After a person's last message, WhatsApp accepts free answers for this long; later only approved templates.
// <https://developers.facebook.com/docs/whatsapp/cloud-api/guides/send-messages#customer-service-windows>
pub const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// The most messages that wait for one person. Beyond that the oldest are dropped, and the person learns how many.
pub const HELD_MAX: usize = 50;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct ContactRecord {
    user_id: Option<String>,
    phone: Option<String>,
    // Seconds since 1970 of their last message. `None` also where Meta has closed the window.
    heard: Option<u64>,
    /// Why Meta cannot reach them at all, until they write again.
    unreachable: Option<String>,
    held: Vec<Outgoing>,
    dropped: u64,
}

/// All contacts, by the form in which the allow-list names them, which is also the id of their room.
pub struct ContactBook {
    file: PathBuf,
    people: AllowedPeople,
    known: BTreeMap<String, ContactRecord>,
}

impl ContactBook {
    /// Reads the stored file. A damaged one is set aside, never deleted: it holds messages for people.
    pub fn open(folder: &Path, people: AllowedPeople) -> io::Result<Self> {
        private_files::create_folder(folder)?;
        let file = folder.join("people.json");
        let known = match private_files::read(&file)? {
            Some(bytes) => serde_json::from_slice(&bytes).or_else(|error| set_aside(&file, &error))?,
            None => BTreeMap::new(),
        };
        Ok(Self { file, people, known })
    }

    pub fn set_allowed_people(&mut self, people: AllowedPeople) {
        self.people = people;
    }

    /// The person's entry on the allow-list, as written there; of several, the one with the most rights.
    pub fn entry(&self, who: &VouchedPerson) -> Option<Arc<str>> {
        let lists = [&self.people.operators, &self.people.approvers, &self.people.allowed_users];
        let by_id = |entry: &&String| match PersonIdForm::of(entry) {
            Some(PersonIdForm::UserId(id)) => who.user_id.as_ref() == Some(&id),
            Some(PersonIdForm::ParentId(id)) => who.parent_id.as_ref() == Some(&id),
            Some(PersonIdForm::Phone(_)) | None => false,
        };
        let number = who.number();
        let by_phone = |entry: &&String| match PersonIdForm::of(entry) {
            Some(PersonIdForm::Phone(digits)) => number.as_ref() == Some(&same_number(&digits)),
            _ => false,
        };
        let named =
            lists.iter().find_map(|list| list.iter().find(by_id).or_else(|| list.iter().find(by_phone)));
        named.or_else(|| self.known_before(who)).map(|entry| entry.as_str().into())
    }

    // The list names a person by number, and Meta withholds the number now. An earlier message vouched for both ids together.
    fn known_before(&self, who: &VouchedPerson) -> Option<&String> {
        let user_id = who.user_id.as_ref().filter(|_| who.phone.is_none())?;
        let (entry, _) = self.known.iter().find(|(_, contact)| contact.user_id.as_ref() == Some(user_id))?;
        self.people.is_allowed(entry).then_some(entry)
    }

    /// Opens the person's window. Newer ids replace older ones, since a number can change its owner.
    pub fn on_message(&mut self, entry: &str, who: &VouchedPerson, at: SystemTime, now: SystemTime) {
        let contact = self.known.entry(entry.to_owned()).or_default();
        let before = contact.clone();
        contact.user_id = who.user_id.clone().or(contact.user_id.take());
        contact.phone = who.phone.clone().or(contact.phone.take());
        // Not later than our own clock: a wrong time of Meta's would hold the window open too long.
        contact.heard = contact.heard.max(Some(seconds(at.min(now))));
        contact.unreachable = None;
        if *contact != before {
            self.write();
        }
    }

    pub fn is_open(&self, entry: &str, now: SystemTime) -> bool {
        let heard = self.known.get(entry).and_then(|contact| contact.heard);
        heard.is_some_and(|heard| seconds(now).saturating_sub(heard) < WINDOW.as_secs())
    }

    /// Closes the window as of this time. An older report is ignored: the person may have written since.
    pub fn close(&mut self, entry: &str, at: SystemTime) {
        let is_news = |contact: &&mut ContactRecord| contact.heard.is_some_and(|heard| heard <= seconds(at));
        if let Some(contact) = self.known.get_mut(entry).filter(is_news) {
            contact.heard = None;
            self.write();
        }
    }

    /// Marks the person as unreachable as of this time, until they write.
    pub fn set_unreachable(&mut self, entry: &str, why: String, at: SystemTime) {
        let contact = self.known.entry(entry.to_owned()).or_default();
        if contact.heard.is_none_or(|heard| heard <= seconds(at)) {
            contact.unreachable = Some(why);
            self.write();
        }
    }

    pub fn unreachable(&self, entry: &str) -> Option<String> {
        self.known.get(entry)?.unreachable.clone()
    }

    /// The address fields of a message; `None` for a room of no person.
    pub fn address(&self, entry: &str) -> Option<Value> {
        let contact = self.known.get(entry);
        let form = PersonIdForm::of(entry)?;
        // The user id first: it is Meta's own name for the person, while the number may be withheld. Then the number as Meta
        // writes it.
        let user_id = contact.and_then(|it| it.user_id.clone()).map(PersonIdForm::UserId);
        let phone = contact.and_then(|it| it.phone.clone()).map(PersonIdForm::Phone);
        Some(match user_id.or(phone).unwrap_or(form) {
            PersonIdForm::UserId(id) | PersonIdForm::ParentId(id) => json!({ "recipient": id }),
            PersonIdForm::Phone(digits) => json!({ "to": digits }),
        })
    }

    /// Stores a message until the person writes; returns how many wait now.
    pub fn hold_message(&mut self, entry: &str, message: Outgoing) -> usize {
        let contact = self.known.entry(entry.to_owned()).or_default();
        contact.held.push(message);
        if contact.held.len() > HELD_MAX {
            contact.held.remove(0);
            contact.dropped += 1;
        }
        let count = contact.held.len();
        self.write();
        count
    }

    /// The next message that waits, and how many before it were dropped.
    pub fn next_held(&self, entry: &str) -> Option<(Outgoing, u64)> {
        let contact = self.known.get(entry)?;
        contact.held.first().map(|message| (message.clone(), contact.dropped))
    }

    /// Records that the first held message, or the notice about the dropped ones, was sent; returns how many still wait.
    pub fn sent_held(&mut self, entry: &str) -> usize {
        let Some(contact) = self.known.get_mut(entry) else { return 0 };
        if contact.dropped > 0 {
            contact.dropped = 0;
        } else if !contact.held.is_empty() {
            contact.held.remove(0);
        }
        let count = contact.held.len();
        self.write();
        count
    }

    pub fn waiting(&self) -> Vec<(String, usize)> {
        let waits = self.known.iter().filter(|(_, contact)| !contact.held.is_empty());
        waits.map(|(entry, contact)| (entry.clone(), contact.held.len())).collect()
    }

    fn write(&self) {
        if let Err(error) = self.try_write() {
            tracing::error!(%error, file = %self.file.display(), "what is known of people could not be kept");
        }
    }

    fn try_write(&self) -> io::Result<()> {
        private_files::write(&self.file, &serde_json::to_vec(&self.known)?)
    }
}

fn set_aside(file: &Path, error: &serde_json::Error) -> io::Result<BTreeMap<String, ContactRecord>> {
    let aside = file.with_extension("damaged");
    tracing::error!(%error, aside = %aside.display(), "what was known of people is damaged and put aside");
    fs::rename(file, aside)?;
    Ok(BTreeMap::new())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DAY: u64 = 24 * 3600;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn who(user_id: Option<&str>, phone: Option<&str>) -> VouchedPerson {
        let own = |text: Option<&str>| text.map(str::to_owned);
        VouchedPerson { user_id: own(user_id), phone: own(phone), ..VouchedPerson::default() }
    }

    fn people(operators: &[&str], allowed: &[&str]) -> AllowedPeople {
        let list = |list: &[&str]| list.iter().map(|&it| it.to_owned()).collect();
        AllowedPeople { operators: list(operators), allowed_users: list(allowed), ..AllowedPeople::default() }
    }

    fn contacts(people: AllowedPeople) -> (ContactBook, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (ContactBook::open(&folder.path().join("whatsapp"), people).unwrap(), folder)
    }

    #[test]
    fn a_person_is_the_entry_of_the_list_by_user_id_first_and_number_second() {
        let (contacts, _folder) = contacts(people(&[], &["DE.1", "+49 170 1234567", "+491705555555"]));
        let entry = |user_id, phone| contacts.entry(&who(user_id, phone)).map(|entry| entry.to_string());
        assert_eq!(entry(Some("DE.1"), None).as_deref(), Some("DE.1"));
        assert_eq!(entry(Some("DE.1"), Some("491705555555")).as_deref(), Some("DE.1"));
        assert_eq!(entry(Some("DE.9"), Some("491701234567")).as_deref(), Some("+49 170 1234567"));
        assert_eq!(entry(Some("DE.9"), None), None);
        assert_eq!(entry(None, Some("1701234567")), None, "a number without its country is another one");
    }

    #[test]
    fn a_number_is_known_in_the_form_that_meta_writes_and_answered_there() {
        let (mut contacts, _folder) = contacts(people(&[], &["+55 11 98765-4321", "+52 55 1234 5678"]));
        for (entry, phone) in [("+55 11 98765-4321", "551187654321"), ("+52 55 1234 5678", "5215512345678")] {
            let sender = who(None, Some(phone));
            assert_eq!(contacts.entry(&sender).as_deref(), Some(entry));
            contacts.on_message(entry, &sender, at(9), at(9));
            assert_eq!(contacts.address(entry), Some(json!({ "to": phone })));
        }
        assert_eq!(contacts.entry(&who(None, Some("551197654321"))), None, "another number");
    }

    #[test]
    fn a_parent_id_on_the_list_is_known_in_each_portfolio() {
        let (contacts, _folder) = contacts(people(&[], &["US.ENT.118"]));
        let of_parent =
            |parent: &str| VouchedPerson { parent_id: Some(parent.into()), ..who(Some("US.1"), None) };
        assert_eq!(contacts.entry(&of_parent("US.ENT.118")).as_deref(), Some("US.ENT.118"));
        assert_eq!(contacts.entry(&of_parent("US.ENT.119")), None);
        assert_eq!(contacts.address("US.ENT.118"), Some(json!({ "recipient": "US.ENT.118" })));
    }

    #[test]
    fn of_two_entries_the_one_with_more_rights_counts() {
        let (contacts, _folder) = contacts(people(&["+491701234567"], &["DE.1"]));
        let entry = contacts.entry(&who(Some("DE.1"), Some("491701234567")));
        assert_eq!(entry.as_deref(), Some("+491701234567"));
    }

    #[test]
    fn a_number_that_is_withheld_later_is_still_known_by_the_id_it_came_with() {
        let (mut contacts, _folder) = contacts(people(&[], &["+491701234567"]));
        contacts.on_message("+491701234567", &who(Some("DE.1"), Some("491701234567")), at(9), at(9));
        assert_eq!(contacts.entry(&who(Some("DE.1"), None)).as_deref(), Some("+491701234567"));
        assert_eq!(
            contacts.entry(&who(Some("DE.1"), Some("4915199999"))),
            None,
            "another number is another person"
        );
        assert_eq!(contacts.address("+491701234567"), Some(json!({ "recipient": "DE.1" })));
        contacts.people.allowed_users.clear();
        assert_eq!(contacts.entry(&who(Some("DE.1"), None)), None, "who is off the list is off");
    }

    #[test]
    fn the_window_is_a_day_from_the_persons_own_time_and_outlives_a_restart() {
        let (mut contacts, folder) = contacts(people(&[], &["DE.1"]));
        let start = 1_700_000_000;
        assert!(!contacts.is_open("DE.1", at(start)), "who never wrote cannot be written to");
        contacts.on_message("DE.1", &who(Some("DE.1"), None), at(start), at(start + 5));
        assert!(contacts.is_open("DE.1", at(start + DAY - 1)) && !contacts.is_open("DE.1", at(start + DAY)));
        let redelivered = at(start - 3 * DAY);
        contacts.on_message("DE.1", &who(Some("DE.1"), None), redelivered, at(start + 9));
        assert!(contacts.is_open("DE.1", at(start + DAY - 1)), "an old message closes nothing");
        let future = at(start + 100 * DAY);
        contacts.on_message("DE.1", &who(Some("DE.1"), None), future, at(start + 10));
        assert!(
            !contacts.is_open("DE.1", at(start + 10 + DAY)),
            "a clock that goes wrong opens nothing for long"
        );
        let again = ContactBook::open(&folder.path().join("whatsapp"), contacts.people.clone()).unwrap();
        assert!(again.is_open("DE.1", at(start + DAY - 1)));
        contacts.close("DE.1", at(start - 1));
        assert!(contacts.is_open("DE.1", at(start + 11)), "old news close nothing");
        contacts.close("DE.1", at(start + 10));
        assert!(!contacts.is_open("DE.1", at(start + 11)));
    }

    #[test]
    fn what_waits_comes_in_order_survives_and_is_bounded() {
        let (mut contacts, folder) = contacts(people(&[], &["DE.1"]));
        for n in 0..HELD_MAX + 2 {
            contacts.hold_message("DE.1", Outgoing::text(format!("notice {n}")));
        }
        let mut contacts =
            ContactBook::open(&folder.path().join("whatsapp"), contacts.people.clone()).unwrap();
        assert_eq!(contacts.waiting(), [("DE.1".to_owned(), HELD_MAX)]);
        let (first, dropped) = contacts.next_held("DE.1").unwrap();
        assert_eq!((first.markdown.as_str(), dropped), ("notice 2", 2));
        assert_eq!(contacts.sent_held("DE.1"), HELD_MAX, "first the sentence about the dropped ones");
        assert_eq!(contacts.sent_held("DE.1"), HELD_MAX - 1);
        assert_eq!(contacts.next_held("DE.1").unwrap().0.markdown, "notice 3");
    }

    #[test]
    fn whom_meta_cannot_reach_is_left_alone_until_they_write() {
        let (mut contacts, _folder) = contacts(people(&[], &["DE.1"]));
        contacts.set_unreachable("DE.1", "(131026) Message undeliverable".into(), at(8));
        assert!(contacts.unreachable("DE.1").is_some());
        contacts.on_message("DE.1", &who(Some("DE.1"), None), at(9), at(9));
        assert_eq!(contacts.unreachable("DE.1"), None);
        contacts.set_unreachable("DE.1", "again".into(), at(8));
        assert_eq!(contacts.unreachable("DE.1"), None, "told again, from before they wrote");
    }

    #[test]
    fn the_file_is_private_and_a_damaged_one_is_put_aside() {
        let (mut contacts, folder) = contacts(people(&[], &["DE.1"]));
        contacts.hold_message("DE.1", Outgoing::text("secret"));
        let file = folder.path().join("whatsapp/people.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "{ not json").unwrap();
        let contacts = ContactBook::open(&folder.path().join("whatsapp"), contacts.people.clone()).unwrap();
        assert!(contacts.waiting().is_empty());
        assert_eq!(fs::read_to_string(file.with_extension("damaged")).unwrap(), "{ not json");
    }

    #[test]
    fn rooms_have_addresses_and_what_names_nobody_has_none() {
        let (contacts, _folder) = contacts(people(&[], &[]));
        assert_eq!(contacts.address("+49 170 1234567"), Some(json!({ "to": "491701234567" })));
        assert_eq!(contacts.address("DE.1"), Some(json!({ "recipient": "DE.1" })));
        assert_eq!(contacts.address("general"), None);
    }
}
