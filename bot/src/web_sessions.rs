//! Who is signed in at the web page: links that work once, the sessions that they open, and when those end.
//!
//! There are no cookies: browsers send them to every port of this machine, and agents serve pages there.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rand::{Rng as _, RngExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    store::{Store, StoreResult, WebSession},
};

/// How long a link works.
pub const LINK_LASTS: Duration = Duration::from_secs(10 * 60);

/// A session that nobody uses ends after this.
const IDLE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Every session ends after this.
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);

/// How exactly the last use of a session is known.
const USED: Duration = Duration::from_secs(60);

/// Links that wait at a time; the oldest makes way.
const LINKS: usize = 100;

/// A code has letters that nobody confuses with others or with digits: 20^8 codes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE: usize = 8;

/// So many wrong codes make those of all open links void: until then, the chance to guess one is 1 in 2.5 million. There is no limit per
/// minute, by which a stranger who guesses on would lock out whoever types a new code.
const WRONG_CODES: u32 = 10_000;

/// The page of this bot, as commands and the program need it. Cheap to clone.
#[derive(Clone)]
pub struct WebPage {
    pub sessions: WebSessions,
    /// Where browsers find it: `http://127.0.0.1:3003`.
    pub address: String,
}

/// Somebody on a messenger, as that messenger knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebPerson {
    /// `messenger:id`
    pub id: String,
    /// How they are called.
    pub name: String,
}

/// What opens one session. Not stored: a restart makes it void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInLink {
    /// For the fragment of the address, which browsers send to nobody.
    pub token: String,
    /// The same, to be typed.
    pub code: String,
}

/// What a browser shows to sign in.
#[derive(Clone, Debug)]
pub enum SignInProof {
    Token(String),
    Code(String),
}

/// Why nobody is signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInRefused {
    /// It was used, is too old, or never was one.
    NotValid,
    /// It is right, but void, because too many wrong ones were tried since it was made.
    TooManyTries,
    /// The state cannot be written; the log says why.
    NotStored,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct WebSessions {
    store: Store,
    clock: Clock,
    links: Arc<Mutex<PendingLinks>>,
    /// Changes with each session that begins or ends.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct PendingLinks {
    open: VecDeque<PendingLink>,
}

struct PendingLink {
    token: [u8; 32],
    code: [u8; 32],
    person: WebPerson,
    made: SystemTime,
    /// Wrong codes since it was made.
    wrong: u32,
}

impl WebSessions {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, links: Arc::default(), changed: watch::Sender::new(()) }
    }

    /// A link that signs this person in, once.
    pub fn link(&self, person: WebPerson) -> SignInLink {
        let mut rng = rand::rng();
        let letter = |_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]);
        let code: String = (0..CODE).map(letter).collect();
        let token = secret();
        let mut links = self.links.lock();
        links.open.truncate(LINKS - 1);
        links.open.push_front(PendingLink {
            token: hash(&token),
            code: hash(&code),
            person,
            made: self.clock.now(),
            wrong: 0,
        });
        SignInLink { token, code: format!("{}-{}", &code[..CODE / 2], &code[CODE / 2..]) }
    }

    /// Opens a session; returns its secret, which exists nowhere else, and what is known of it.
    pub fn sign_in(&self, proof: &SignInProof, browser: &str) -> Result<(String, WebSession), SignInRefused> {
        let now = self.clock.now();
        let person = self.links.lock().take(proof, now)?;
        let secret = secret();
        let mut session = WebSession {
            number: 0,
            person: person.id,
            name: person.name,
            browser: browser.to_owned(),
            created: now,
            used: now,
        };
        match self.store.add_web_session(&hash(&secret), &session) {
            Ok(number) => session.number = number,
            Err(error) => {
                tracing::error!(%error, "a session of the web page cannot be stored");
                return Err(SignInRefused::NotStored);
            }
        }
        self.changed.send_replace(());
        tracing::info!(person = session.person, browser, "somebody signed in at the web page");
        Ok((secret, session))
    }

    /// The session of this secret, if it has not ended. It counts as used now.
    pub fn find(&self, secret: &str) -> Option<WebSession> {
        let found = self.store.web_session(&hash(secret)).unwrap_or_else(|error| {
            tracing::error!(%error, "a session of the web page cannot be read");
            None
        })?;
        let now = self.clock.now();
        let age = |since: SystemTime| now.duration_since(since).unwrap_or_default();
        if age(found.created) > LONGEST || age(found.used) > IDLE {
            return None;
        }
        if age(found.used) > USED {
            let noted = self.store.use_web_session(found.number, now);
            noted.unwrap_or_else(|error| tracing::warn!(%error, "the use of a session cannot be noted"));
        }
        Some(found)
    }

    /// A person's sessions, newest first.
    pub fn of(&self, person: &str) -> StoreResult<Vec<WebSession>> {
        self.store.web_sessions(person)
    }

    /// Ends one session of a person, or all; returns how many there were. Their open pages close at once.
    pub fn end(&self, person: &str, number: Option<i64>) -> StoreResult<usize> {
        let ended = self.store.end_web_sessions(person, number)?;
        self.check_again();
        Ok(ended)
    }

    /// Whether anybody has a session that has not ended.
    pub fn has_any(&self) -> bool {
        let counted = self.store.count_web_sessions();
        counted.unwrap_or_else(|error| {
            tracing::error!(%error, "the sessions of the web page cannot be counted");
            0
        }) > 0
    }

    /// Open pages look again whether their people may still be there.
    pub fn check_again(&self) {
        self.changed.send_replace(());
    }

    /// Changes whenever a session begins or ends, or may have ended.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Forgets sessions that have ended.
    pub fn prune(&self) -> StoreResult<usize> {
        let now = self.clock.now();
        let before = |age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        self.store.prune_web_sessions(before(LONGEST), before(IDLE))
    }
}

impl PendingLinks {
    fn take(&mut self, proof: &SignInProof, now: SystemTime) -> Result<WebPerson, SignInRefused> {
        let age = |since: SystemTime| now.duration_since(since).unwrap_or_default();
        self.open.retain(|link| age(link.made) <= LINK_LASTS);
        let found = match proof {
            SignInProof::Token(token) => {
                let token = hash(token);
                self.open.iter().position(|link| link.token == token)
            }
            SignInProof::Code(code) => {
                let code = hash(&letters(code));
                let found = self.open.iter().position(|link| link.code == code);
                match found.and_then(|at| self.open.get(at)) {
                    Some(link) if link.wrong >= WRONG_CODES => return Err(SignInRefused::TooManyTries),
                    Some(_) => {}
                    None => self.count_wrong_code(),
                }
                found
            }
        };
        found.and_then(|at| self.open.remove(at)).map(|link| link.person).ok_or(SignInRefused::NotValid)
    }

    /// It may have been meant for each of them.
    fn count_wrong_code(&mut self) {
        for link in &mut self.open {
            link.wrong = link.wrong.saturating_add(1);
            if link.wrong == WRONG_CODES {
                let person = &link.person.id;
                tracing::warn!(person, "somebody guesses codes of the web page; that of a link is void now");
            }
        }
    }
}

/// A code as it was made, however it was typed.
fn letters(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.to_ascii_uppercase()).collect()
}

/// 256 bits that nobody can guess.
fn secret() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// Compared by hash, so that timing tells nothing about what is compared.
fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Setting {
        sessions: WebSessions,
        now: Arc<AtomicU64>,
        _folder: tempfile::TempDir,
    }

    fn setting() -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db"), SystemTime::now()).unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000));
        let seconds = now.clone();
        let clock = Clock::from_fn(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
        });
        Setting { sessions: WebSessions::new(store, clock), now, _folder: folder }
    }

    impl Setting {
        fn later(&self, by: Duration) {
            self.now.fetch_add(by.as_secs(), Ordering::SeqCst);
        }

        fn link(&self) -> SignInLink {
            self.sessions.link(WebPerson { id: "slack:U01".into(), name: "Ann".into() })
        }

        fn sign_in(&self) -> (String, WebSession) {
            self.sessions.sign_in(&SignInProof::Token(self.link().token), "Firefox").unwrap()
        }
    }

    #[test]
    fn a_link_signs_in_once_by_its_token_or_its_code() {
        let setting = setting();
        let link = setting.link();
        let by = |proof| setting.sessions.sign_in(&proof, "Firefox").map(|(_, session)| session.person);
        assert_eq!(by(SignInProof::Token(link.token.clone())), Ok("slack:U01".into()));
        assert_eq!(by(SignInProof::Token(link.token)), Err(SignInRefused::NotValid));
        assert_eq!(by(SignInProof::Code(link.code)), Err(SignInRefused::NotValid), "it is the same link");
        let typed = setting.link().code.to_lowercase().replace('-', " ");
        assert_eq!(by(SignInProof::Code(typed)), Ok("slack:U01".into()));
    }

    #[test]
    fn a_link_is_void_after_ten_minutes() {
        let setting = setting();
        let link = setting.link();
        setting.later(LINK_LASTS + Duration::from_secs(1));
        let refused = setting.sessions.sign_in(&SignInProof::Token(link.token), "x").map(drop);
        assert_eq!(refused, Err(SignInRefused::NotValid));
    }

    #[test]
    fn codes_cannot_be_guessed_and_who_guesses_locks_nobody_out() {
        let setting = setting();
        let by = |proof| setting.sessions.sign_in(&proof, "x").map(drop);
        let guess = |times: u32| {
            (0..times).for_each(|_| {
                assert_eq!(by(SignInProof::Code("BBBB-BBBB".into())), Err(SignInRefused::NotValid));
            });
        };
        let (first, second) = (setting.link(), setting.link());
        guess(WRONG_CODES - 1);
        assert_eq!(by(SignInProof::Code(first.code)), Ok(()), "also after many wrong ones");
        guess(1);
        assert_eq!(by(SignInProof::Code(second.code)), Err(SignInRefused::TooManyTries));
        assert_eq!(by(SignInProof::Token(second.token)), Ok(()), "a token is not guessed");
        assert_eq!(by(SignInProof::Code(setting.link().code)), Ok(()), "a new one is not void");
    }

    #[test]
    fn a_session_ends_when_it_is_idle_too_old_or_revoked() {
        let setting = setting();
        let day = Duration::from_secs(24 * 3600);
        let (secret, session) = setting.sign_in();
        assert_eq!(setting.sessions.find(&secret).map(|found| found.number), Some(session.number));
        assert_eq!(setting.sessions.find("other"), None);
        for _ in 0..4 {
            setting.later(day * 20);
            assert!(setting.sessions.find(&secret).is_some(), "it is used");
        }
        setting.later(day * 11);
        assert_eq!(setting.sessions.find(&secret), None, "90 days");
        let (secret, _) = setting.sign_in();
        setting.later(day * 31);
        assert_eq!(setting.sessions.find(&secret), None, "30 days without use");
        assert_eq!(setting.sessions.prune().unwrap(), 2);
        let (one, two) = (setting.sign_in(), setting.sign_in());
        let mut changes = setting.sessions.changes();
        assert_eq!(setting.sessions.end("slack:U02", None).unwrap(), 0, "not theirs");
        assert_eq!(setting.sessions.end("slack:U01", Some(one.1.number)).unwrap(), 1);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(setting.sessions.find(&one.0).is_none() && setting.sessions.find(&two.0).is_some());
        assert_eq!(setting.sessions.of("slack:U01").unwrap().len(), 1);
        assert_eq!(setting.sessions.end("slack:U01", None).unwrap(), 1);
    }
}
