//! Files that people send from the page: in memory, from their upload until the bot has fetched them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{AdapterError, SentFile};

/// Files of one person, and their bytes.
const FILES_OF_ONE: usize = 20;
const BYTES_OF_ONE: usize = 64 * 1024 * 1024;

/// Bytes of everybody's files.
const BYTES_OF_ALL: usize = 256 * 1024 * 1024;

/// A file that was uploaded and not sent is forgotten after this long.
const UNSENT: Duration = Duration::from_secs(60 * 60);

/// So is one that was sent: the bot fetches it when its turn comes.
const SENT: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a file is not taken, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadRefused {
    #[error("{FILES_OF_ONE} of your files wait here already, which is the limit")]
    TooMany,
    #[error("your files that wait here have at most {} MB together", BYTES_OF_ONE >> 20)]
    TooMuch,
    #[error("too many files of everybody wait here")]
    Full,
}

/// Files by the id that their upload gave them.
#[derive(Default)]
pub struct Uploads(Mutex<BTreeMap<String, UploadedFile>>);

struct UploadedFile {
    /// When it came, to be in order.
    number: u64,
    person: Arc<str>,
    name: String,
    bytes: Arc<[u8]>,
    /// When it is forgotten.
    until: Instant,
    state: UploadState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UploadState {
    Unsent,
    Sent,
    /// The bot has it; here it makes way for others.
    Fetched,
}

impl Uploads {
    /// Takes a person's file. The id is theirs alone and cannot be guessed.
    pub fn put(
        &self,
        person: &Arc<str>,
        name: &str,
        bytes: Vec<u8>,
        now: Instant,
    ) -> Result<String, UploadRefused> {
        let mut files = self.0.lock();
        files.retain(|_, file| file.until > now);
        while let Err(refused) = has_room(&files, person, bytes.len()) {
            let fetched = files.iter().filter(|(_, file)| file.state == UploadState::Fetched);
            let of_theirs = |file: &UploadedFile| refused == UploadRefused::Full || file.person == *person;
            let oldest = fetched.filter(|(_, file)| of_theirs(file)).min_by_key(|(_, file)| file.number);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return Err(refused) };
            files.remove(&id);
        }
        let id = hex::encode(rand::random::<[u8; 16]>());
        let number = files.values().map(|file| file.number + 1).max().unwrap_or(0);
        let file = UploadedFile {
            number,
            person: person.clone(),
            name: name.into(),
            bytes: bytes.into(),
            until: now + UNSENT,
            state: UploadState::Unsent,
        };
        files.insert(id.clone(), file);
        Ok(id)
    }

    /// These files as a message of the person's brings them; `None` if one of them is not there, or not theirs.
    pub fn send(&self, person: &str, ids: &[String], now: Instant) -> Option<Vec<SentFile>> {
        let mut files = self.0.lock();
        let is_theirs =
            |id: &String| files.get(id).is_some_and(|file| &*file.person == person && file.until > now);
        if !ids.iter().all(is_theirs) {
            return None;
        }
        let mut sent = Vec::new();
        for id in ids {
            let file = files.get_mut(id)?;
            (file.state, file.until) = (UploadState::Sent, now + SENT);
            let size = u64::try_from(file.bytes.len()).ok();
            sent.push(SentFile { name: file.name.clone(), size, reference: id.clone() });
        }
        Some(sent)
    }

    /// The content of a file that was sent.
    pub(super) fn fetch(&self, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
        let mut files = self.0.lock();
        let found = files.get_mut(&file.reference).ok_or_else(|| {
            AdapterError::Rejected("storkit does not have it any more; send it again".into())
        })?;
        if found.bytes.len() as u64 > max {
            return Err(AdapterError::Rejected(format!("it is larger than {} MB", max >> 20)));
        }
        found.state = UploadState::Fetched;
        Ok(found.bytes.to_vec())
    }
}

fn has_room(
    files: &BTreeMap<String, UploadedFile>,
    person: &Arc<str>,
    more: usize,
) -> Result<(), UploadRefused> {
    let theirs = || files.values().filter(|file| file.person == *person);
    let bytes =
        |files: &mut dyn Iterator<Item = &UploadedFile>| files.map(|file| file.bytes.len()).sum::<usize>();
    if theirs().count() >= FILES_OF_ONE {
        Err(UploadRefused::TooMany)
    } else if bytes(&mut theirs()) + more > BYTES_OF_ONE {
        Err(UploadRefused::TooMuch)
    } else if bytes(&mut files.values()) + more > BYTES_OF_ALL {
        Err(UploadRefused::Full)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shelf {
        uploads: Uploads,
        now: Instant,
    }

    impl Shelf {
        fn new() -> Self {
            Self { uploads: Uploads::default(), now: Instant::now() }
        }

        fn put(&self, person: &str, size: usize) -> Result<String, UploadRefused> {
            self.uploads.put(&person.into(), "door.png", vec![0; size], self.now)
        }

        fn send(&self, person: &str, id: &str) -> Option<Vec<SentFile>> {
            self.uploads.send(person, &[id.to_owned()], self.now)
        }
    }

    #[test]
    fn a_file_is_sent_by_its_person_alone_and_fetched_whole() {
        let shelf = Shelf::new();
        let id = shelf.uploads.put(&"ann".into(), "door.png", b"picture".to_vec(), shelf.now).unwrap();
        assert_eq!(shelf.send("bob", &id), None);
        assert_eq!(shelf.send("ann", "0"), None);
        let sent = shelf.send("ann", &id).unwrap().remove(0);
        assert_eq!((sent.name.as_str(), sent.size), ("door.png", Some(7)));
        assert_eq!(shelf.uploads.fetch(&sent, 7).unwrap(), b"picture");
        assert!(shelf.uploads.fetch(&sent, 6).unwrap_err().to_string().contains("larger than"));
        assert_eq!(
            shelf.uploads.fetch(&sent, 7).unwrap(),
            b"picture",
            "a second time, where the first failed"
        );
    }

    #[test]
    fn one_of_several_that_is_not_there_is_no_message() {
        let shelf = Shelf::new();
        let id = shelf.put("ann", 1).unwrap();
        assert_eq!(shelf.uploads.send("ann", &[id, "gone".into()], shelf.now), None);
    }

    #[test]
    fn a_person_has_a_limit_and_what_the_bot_has_fetched_makes_way() {
        let shelf = Shelf::new();
        let ids: Vec<String> = (0..FILES_OF_ONE).map(|_| shelf.put("ann", 1).unwrap()).collect();
        assert_eq!(shelf.put("ann", 1), Err(UploadRefused::TooMany));
        assert!(shelf.put("bob", 1).is_ok(), "another person's are counted for them");
        let sent = shelf.send("ann", &ids[3]).unwrap().remove(0);
        assert_eq!(shelf.put("ann", 1), Err(UploadRefused::TooMany), "the bot does not have it yet");
        shelf.uploads.fetch(&sent, 9).unwrap();
        assert!(shelf.put("ann", 1).is_ok());
        assert!(shelf.uploads.fetch(&sent, 9).is_err());
        assert!(shelf.send("ann", &ids[2]).is_some(), "the others stay");
        let shelf = Shelf::new();
        assert!(shelf.put("ann", BYTES_OF_ONE).is_ok());
        assert_eq!(shelf.put("ann", 1), Err(UploadRefused::TooMuch));
    }

    #[test]
    fn everybody_together_has_a_limit() {
        let shelf = Shelf::new();
        for person in 0..BYTES_OF_ALL / BYTES_OF_ONE {
            shelf.put(&person.to_string(), BYTES_OF_ONE).unwrap();
        }
        assert_eq!(shelf.put("ann", 1), Err(UploadRefused::Full));
    }

    #[test]
    fn what_is_not_sent_is_forgotten_within_the_hour_and_what_is_sent_within_a_day() {
        let mut shelf = Shelf::new();
        let (unsent, sent) = (shelf.put("ann", 1).unwrap(), shelf.put("ann", 1).unwrap());
        let file = shelf.send("ann", &sent).unwrap().remove(0);
        shelf.now += UNSENT;
        assert_eq!(shelf.send("ann", &unsent), None);
        shelf.put("bob", 1).unwrap();
        assert!(shelf.uploads.fetch(&file, 9).is_ok());
        shelf.now += SENT;
        shelf.put("bob", 1).unwrap();
        assert!(shelf.uploads.fetch(&file, 9).is_err());
    }
}
