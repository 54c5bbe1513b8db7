//! A stand-in for Meta's Graph API and for the phones behind it: what is sent is checked and logged, people are played, faults
//! and times are set. `script/whatsapp-sdk` and `tests/whatsapp` check it against an independent client, in both directions.

mod api;
mod check;
mod multipart;
mod person;
mod webhook;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, Response},
};
pub use person::{Person, Shown};
use serde_json::Value;
use tokio::sync::watch;

/// The phone number's id.
pub const NUMBER_ID: &str = "106540352242922";
/// The number people see.
pub const NUMBER: &str = "15550783881";
/// The access token that is taken.
pub const TOKEN: &str = "EAAJm4rked-5ecretToken";
/// The secret that webhooks are signed with.
pub const APP_SECRET: &str = "b1946ac92492m4rked-5ecret";
/// The word of the webhook's registration.
pub const VERIFY_TOKEN: &str = "a-m4rked-5ecret-of-ones-own";

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// The path behind the version, e.g. `106540352242922/messages`.
    pub path: String,
    pub body: Value,
    /// The status it was answered with.
    pub status: u16,
    pub user_agent: String,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub code: i64,
    pub status: u16,
}

/// The stand-in. Clones are the same one.
#[derive(Clone)]
pub struct Graph {
    inner: Arc<Inner>,
}

struct Inner {
    address: String,
    state: Mutex<State>,
    changes: watch::Sender<()>,
    ids: AtomicU64,
    http: reqwest::Client,
    /// Locked while answers are held back.
    answers: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    callback: Option<String>,
    calls: Vec<Call>,
    shown: Vec<Shown>,
    files: HashMap<String, StoredFile>,
    file_faults: usize,
    /// Files are elsewhere.
    file_host: Option<String>,
    templates: HashSet<(String, String)>,
    menu: Vec<(String, String)>,
    faults: VecDeque<Fault>,
    lost_webhooks: usize,
    ahead: Duration,
    /// When each person last wrote, by all their ids.
    heard: HashMap<String, SystemTime>,
    pairs: HashMap<String, VecDeque<Instant>>,
    token_is_dead: bool,
    delivered: HashMap<String, Value>,
    deaf: bool,
    last_failure: Value,
    outrunning: Vec<Value>,
    /// Notices of delivery under way, by message.
    deliveries: HashMap<String, tokio::task::JoinHandle<u16>>,
    /// Everybody, as webhooks name them.
    contacts: Vec<Value>,
}

#[derive(Clone)]
struct StoredFile {
    bytes: Bytes,
    mime: String,
    name: String,
    claims: Option<u64>,
}

impl Drop for Inner {
    /// Everything that people were shown, and the requests on the way there.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let calls = state.calls.iter().map(|call| format!("{} {}", call.path, call.body));
        let shown = state.shown.iter().map(|shown| {
            let file = shown.file.as_ref().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
            shown.text.clone() + &file.unwrap_or_default()
        });
        crate::no_secret_in("WhatsApp", &calls.chain(shown).collect::<Vec<_>>().join("\n"));
    }
}

impl Graph {
    /// Serves on a free port of loopback.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let inner = Inner {
            address,
            state: Mutex::default(),
            changes: watch::Sender::new(()),
            ids: AtomicU64::new(1),
            http,
            answers: Arc::default(),
        };
        let graph = Self { inner: Arc::new(inner) };
        let served = graph.clone();
        let answer = move |request| {
            let graph = served.clone();
            async move { graph.answer(request).await }
        };
        let router = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        graph
    }

    /// The API's address with its version.
    pub fn url(&self) -> String {
        format!("{}/v23.0", self.inner.address)
    }

    /// The address without a version.
    pub fn host(&self) -> &str {
        &self.inner.address
    }

    /// Webhooks go to this address from now on.
    pub fn call_back(&self, url: &str) {
        self.state().callback = Some(url.to_owned());
    }

    /// A person with a phone. Without a number, Meta withholds it; without a user id, Meta sends none.
    pub fn person(&self, name: &str, phone: Option<&str>, user_id: Option<&str>) -> Person {
        let person = Person::new(self.clone(), name, phone, user_id);
        self.state().contacts.push(person.contact());
        person
    }

    /// A person nobody else has the ids of, known by user id and number.
    pub fn somebody(&self, name: &str) -> Person {
        let n = self.number();
        self.person(name, Some(&format!("4917000{n:05}")), Some(&format!("DE.13490000{n}")))
    }

    /// The next message is refused so. Twice called, the next two are.
    pub fn fail_next(&self, code: i64, status: u16) {
        self.state().faults.push_back(Fault { code, status });
    }

    /// What is sent arrives, but no call is answered until this is dropped.
    pub async fn hold_answers(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.inner.answers.clone().lock_owned().await
    }

    /// The next download of a file fails as it does while Meta is in trouble.
    pub fn fail_next_file(&self) {
        self.state().file_faults += 1;
    }

    /// Requests for files are sent on to this address.
    pub fn move_files(&self, url: &str) {
        self.state().file_host = Some(url.to_owned());
    }

    fn take_file_fault(&self) -> bool {
        let mut state = self.state();
        let fails = state.file_faults > 0;
        state.file_faults = state.file_faults.saturating_sub(1);
        fails
    }

    /// From now on the token is not taken, or is again.
    pub fn kill_token(&self, dead: bool) {
        self.state().token_is_dead = dead;
    }

    /// The next webhook does not arrive; it is repeated.
    pub fn lose_next_webhook(&self) {
        self.state().lost_webhooks += 1;
    }

    /// Moves the stand-in's clock ahead; the 24-hour window is counted by it.
    pub fn move_clock(&self, by: Duration) {
        self.state().ahead += by;
    }

    /// Meta takes every window for closed, whatever was written.
    pub fn close_windows(&self) {
        self.state().heard.clear();
    }

    pub fn now(&self) -> SystemTime {
        SystemTime::now() + self.state().ahead
    }

    /// A template is approved.
    pub fn approve_template(&self, name: &str, language: &str) {
        self.state().templates.insert((name.to_owned(), language.to_owned()));
    }

    /// The menu's commands and their descriptions.
    pub fn menu(&self) -> Vec<(String, String)> {
        self.state().menu.clone()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Waits until a call matches, and returns it; panics with all calls if none comes.
    pub async fn called(&self, what: &str, check: impl Fn(&Call) -> bool) -> Call {
        let found = self.until(|state| state.calls.iter().find(|call| check(call)).cloned()).await;
        found.unwrap_or_else(|| panic!("never called: {what}\n{:#?}", self.calls()))
    }

    /// Waits until this message is the last one that was marked as read, and nothing is being typed.
    pub async fn marked_read(&self, id: &str) {
        let is_last = |state: &State| {
            let last = state.calls.iter().rfind(|call| call.body["status"] == "read")?;
            let types = last.body["typing_indicator"].is_object();
            (last.body["message_id"] == id && !types).then_some(())
        };
        self.until(is_last).await.unwrap_or_else(|| panic!("{id} is not done: {:#?}", self.calls()));
    }

    async fn until<T>(&self, check: impl Fn(&State) -> Option<T>) -> Option<T> {
        let mut changes = self.inner.changes.subscribe();
        let found = async {
            loop {
                if let Some(value) = check(&self.state()) {
                    return value;
                }
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok()
    }

    fn changed(&self) {
        self.inner.changes.send_replace(());
    }

    fn number(&self) -> u64 {
        self.inner.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn wamid(&self) -> String {
        // As long as Meta's, and with the signs of base64 in it.
        format!("wamid.HBgNNDkxNzA/{:012}+AA==", self.number())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves `handler` on a free port, as a program's public listener would; returns its address.
pub async fn listen<F, R>(handler: F) -> String
where
    F: Fn(Request<Bytes>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Bytes>> + Send,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let answer = move |request: Request<Body>| {
        let handler = handler.clone();
        async move {
            let (parts, body) = request.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            handler(Request::from_parts(parts, bytes)).await.map(Body::from)
        }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    address
}
