//! The console: a messenger without an account. Terminals attach to it by a stream of JSON lines, in
//! this process or over a unix socket, and all terminals in one room see the same.

mod attached;
pub mod client;
mod editor;
mod live;
mod named_files;
mod paint;
mod room;
mod screen;
pub mod script;
mod socket;
pub mod terminal;
pub mod wire;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
pub use wire::Completion;

use self::{
    room::{LineSender, RoomLog},
    wire::{ShownMessage, StoredFile, ToTerminal},
};
use crate::{
    Activity, Adapter, AdapterError, Attachment, Capabilities, ChoiceForm, Identity, Inbox, Incoming,
    MessageId, Outgoing, Room, SentFile,
};

/// The adapter's name in rooms and in `bot.toml`.
pub const NAME: &str = "console";

// In bytes. A terminal has no limit of its own; this one bounds the memory of a room.
const MAX_LEN: usize = 1024 * 1024;

// Beyond this a terminal's next line is left unread, so that a script cannot fill the memory.
const WAITING_ACTS: usize = 16;

// Each takes some milliseconds.
const CHECKS_AT_ONCE: usize = 4;

const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// Where other processes attach; `None` serves only terminals of this process.
    pub socket: Option<PathBuf>,
    /// The system user's name: the sender's id of whoever attaches.
    pub user: String,
    /// The folder that uploaded files are written to; made when needed.
    pub files: PathBuf,
    /// Whether the process that connected to the socket may act as the operator; the error says why not.
    pub admits: fn(&UnixStream) -> Result<(), String>,
}

pub struct Console {
    shared: Arc<ConsoleShared>,
    sender: mpsc::Sender<Incoming>,
    acts: tokio::sync::Mutex<mpsc::Receiver<Incoming>>,
    terminals: TaskTracker,
}

struct ConsoleShared {
    config: ConsoleConfig,
    identity: Identity,
    ids: MessageIds,
    rooms: Mutex<HashMap<Arc<str>, RoomLog>>,
    completions: Mutex<Vec<Completion>>,
    /// The first words to a person.
    greeting: Mutex<Option<String>>,
    /// The configuration of the operator's own Claude Code.
    mcp_config: Mutex<Option<serde_json::Value>>,
    /// Cancelled when no terminal is served any more.
    closed: CancellationToken,
}

impl Console {
    /// A console without terminals; nothing listens before [`Adapter::run`].
    pub fn new(config: ConsoleConfig, identity: Identity) -> Arc<Self> {
        let (sender, acts) = mpsc::channel(WAITING_ACTS);
        let shared = ConsoleShared {
            config,
            identity,
            ids: MessageIds::new(),
            rooms: Mutex::default(),
            completions: Mutex::default(),
            greeting: Mutex::default(),
            mcp_config: Mutex::default(),
            closed: CancellationToken::new(),
        };
        let acts = tokio::sync::Mutex::new(acts);
        Arc::new(Self { shared: Arc::new(shared), sender, acts, terminals: TaskTracker::new() })
    }

    /// Serves a terminal at the far side of `stream`; works before [`Adapter::run`] as well. Must be
    /// called within a tokio runtime.
    pub fn attach(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        self.terminals.spawn(attached::serve(self.shared.clone(), self.sender.clone(), stream));
    }

    /// Sets what terminals complete, from the bot's command registry; attached terminals get it too.
    pub fn set_completions(&self, completions: Vec<Completion>) {
        *self.shared.completions.lock() = completions;
        self.greet_again();
    }

    /// Sets the first words to a person; attached terminals get them too.
    pub fn set_greeting(&self, markdown: String) {
        *self.shared.greeting.lock() = Some(markdown);
        self.greet_again();
    }

    fn greet_again(&self) {
        for (name, room) in self.shared.rooms.lock().iter_mut() {
            room.greet(&self.shared.hello(name));
        }
    }

    /// Sets what [`wire::FromTerminal::AskMcpConfig`] is answered with.
    pub fn set_mcp_config(&self, config: serde_json::Value) {
        *self.shared.mcp_config.lock() = Some(config);
    }

    /// Sends every terminal a goodbye and waits, at most 2 s, until all have their last lines. Terminals that
    /// attach later are turned away.
    pub async fn close(&self, reason: &str) {
        for room in self.shared.rooms.lock().values_mut() {
            room.close_all(reason);
        }
        self.shared.closed.cancel();
        self.terminals.close();
        if tokio::time::timeout(FAREWELL, self.terminals.wait()).await.is_err() {
            tracing::warn!("a console terminal did not take its last lines");
        }
    }

    fn listen(&self) -> Result<Option<socket::ListeningSocket>, AdapterError> {
        let Some(path) = &self.shared.config.socket else { return Ok(None) };
        socket::listen(path).map(Some).map_err(|error| AdapterError::Config {
            key: "console.enabled",
            why: format!("the socket `{}` cannot be opened: {error}", path.display()),
        })
    }

    async fn forward(&self, inbox: &Inbox) {
        // The receiver outlives a run, so that lines typed during a reconnect are not lost.
        let mut acts = self.acts.lock().await;
        loop {
            let act = tokio::select! {
                act = acts.recv() => act,
                () = inbox.closed() => None,
            };
            let Some(act) = act else { return };
            if !inbox.deliver(act).await {
                return;
            }
        }
    }

    async fn accept(&self, listening: Option<&socket::ListeningSocket>) {
        let Some(listening) = listening else { return std::future::pending().await };
        let checks = Arc::new(Semaphore::new(CHECKS_AT_ONCE));
        loop {
            // Before `accept`: a process that is refused over and over waits in the backlog.
            let Ok(place) = checks.clone().acquire_owned().await else { return };
            match listening.listener.accept().await {
                Ok((stream, _)) => self.admit(stream, place),
                // Out of file handles, most likely. The attached terminals are still served, and the pause avoids a tight loop.
                Err(error) => {
                    tracing::warn!(%error, "a console terminal could not attach");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Attaches the terminal if its process may.
    fn admit(&self, stream: UnixStream, place: OwnedSemaphorePermit) {
        let (shared, sender) = (self.shared.clone(), self.sender.clone());
        let admits = shared.config.admits;
        self.terminals.spawn(async move {
            // It reads other processes' files, which can take a moment.
            let checked = tokio::task::spawn_blocking(move || (admits(&stream), stream)).await;
            drop(place);
            match checked {
                Ok((Ok(()), stream)) => attached::serve(shared, sender, stream).await,
                Ok((Err(why), stream)) => {
                    tracing::warn!(why, "a process tried to attach to the console and was refused");
                    wire::turn_away(&stream, format!("This process may not attach: {why}."));
                }
                Err(error) => tracing::error!(%error, "a process that attaches could not be checked"),
            }
        });
    }

    fn store_file(&self, id: &MessageId, file: &Attachment) -> io::Result<PathBuf> {
        let folder = &self.shared.config.files;
        settings::unlinked::create_dir_all(folder)?;
        let path = folder.join(format!("{id}-{}", safe_name(&file.name)));
        write_private(&path, &file.bytes)?;
        Ok(path)
    }
}

#[async_trait]
impl Adapter for Console {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edit: Some(Duration::from_millis(100)),
            choices: ChoiceForm::Numbers,
            activity: true,
            files: true,
            history: false,
            private_replies: false,
            local: true,
            max_len: MAX_LEN,
        }
    }

    async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
        let listening = self.listen()?;
        inbox.set_connected();
        tokio::select! {
            () = self.forward(&inbox) => {}
            () = self.accept(listening.as_ref()) => {}
        }
        self.close("storkit is stopping.").await;
        Ok(())
    }

    async fn send(&self, room: &Room, message: &Outgoing) -> Result<MessageId, AdapterError> {
        fits(message)?;
        let id = self.shared.ids.next();
        let shown = ShownMessage::new(id.clone(), message);
        self.shared.in_room(room.id(), |room| room.show(shown));
        Ok(id)
    }

    async fn edit(&self, room: &Room, id: &MessageId, message: &Outgoing) -> Result<(), AdapterError> {
        fits(message)?;
        // Rooms are in memory only, so a message from before the restart is on no terminal that could show the edit.
        if !self.shared.ids.owns_id(id) {
            return Err(AdapterError::Rejected(format!("no message `{id}` since this console started")));
        }
        let edited = ShownMessage::new(id.clone(), message);
        self.shared.in_room(room.id(), |room| room.edit(edited));
        Ok(())
    }

    fn attended_rooms(&self) -> Vec<Room> {
        let rooms = self.shared.rooms.lock();
        let attended = rooms.iter().filter(|(_, room)| room.has_terminals());
        attended.map(|(name, _)| Room::new(NAME, name.clone())).collect()
    }

    // Whoever sits at a terminal is the machine's own user, by whatever name.
    async fn direct_room(&self, _person: &str) -> Result<Room, AdapterError> {
        let attended = self.attended_rooms();
        let main = attended.iter().find(|room| room.id() == "main").or(attended.first()).cloned();
        main.ok_or_else(|| AdapterError::Unreachable("no terminal is open".into()))
    }

    async fn upload(&self, room: &Room, file: &Attachment) -> Result<MessageId, AdapterError> {
        let id = self.shared.ids.next();
        let path = self.store_file(&id, file).map_err(|error| {
            let folder = self.shared.config.files.display();
            AdapterError::Rejected(format!("the file cannot be written to `{folder}`: {error}"))
        })?;
        let (name, caption) = (file.name.clone(), file.caption.clone());
        let stored = StoredFile { id: id.clone(), name, path, caption, replay: false };
        self.shared.in_room(room.id(), |room| room.file(stored));
        Ok(id)
    }

    async fn fetch_file(&self, file: &SentFile, max: u64) -> Result<Vec<u8>, AdapterError> {
        let file = file.clone();
        let read = tokio::task::spawn_blocking(move || named_files::read(&file, max)).await;
        read.unwrap_or_else(|error| Err(AdapterError::Rejected(error.to_string())))
    }

    async fn activity(&self, room: &Room, activity: &Activity) -> Result<(), AdapterError> {
        self.shared.in_room(room.id(), |room| room.activity(activity.clone()));
        Ok(())
    }
}

impl ConsoleShared {
    fn in_room<T>(&self, name: &str, act: impl FnOnce(&mut RoomLog) -> T) -> T {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.get_mut(name) {
            return act(room);
        }
        act(rooms.entry(name.into()).or_default())
    }

    fn join(&self, room: &str, terminal: u64, outlet: LineSender) {
        let hello = self.hello(room);
        self.in_room(room, |room| room.join(terminal, outlet, &hello));
    }

    fn leave(&self, name: &str, terminal: u64) {
        let mut rooms = self.rooms.lock();
        let Some(room) = rooms.get_mut(name) else { return };
        room.leave(terminal);
        if room.is_unused() {
            rooms.remove(name);
        }
    }

    fn hello(&self, room: &str) -> ToTerminal {
        ToTerminal::Hello {
            name: self.identity.display_name.clone(),
            prefixes: self.identity.prefixes.clone(),
            room: room.into(),
            completions: self.completions.lock().clone(),
            greeting: self.greeting.lock().clone(),
        }
    }
}

// The bot drops repeats by their ids, also after a restart, so no process may reuse an earlier one's ids.
struct MessageIds {
    started: u128,
    given: AtomicU64,
}

impl MessageIds {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: since.as_nanos(), given: AtomicU64::new(0) }
    }

    fn number(&self) -> u64 {
        self.given.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn next(&self) -> MessageId {
        MessageId::new(format!("{:x}-{}", self.started, self.number()))
    }

    fn owns_id(&self, id: &MessageId) -> bool {
        let Some((started, number)) = id.as_str().split_once('-') else { return false };
        u128::from_str_radix(started, 16) == Ok(self.started)
            && number
                .parse()
                .is_ok_and(|number: u64| (1..=self.given.load(Ordering::Relaxed)).contains(&number))
    }
}

fn fits(message: &Outgoing) -> Result<(), AdapterError> {
    match message.markdown.len() {
        0..=MAX_LEN => Ok(()),
        long => {
            Err(AdapterError::Rejected(format!("a message of {long} bytes; the console takes {MAX_LEN}")))
        }
    }
}

// The name comes from an agent, and people paste it into shells. The last 80 characters, because they hold the type.
fn safe_name(name: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().rev().take(80).map(keep).collect();
    let name: String = name.chars().rev().collect();
    if name.is_empty() { "file".into() } else { name }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file =
        settings::unlinked::open(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600), path)?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf},
        time::timeout,
    };

    use super::{
        wire::{FromTerminal, SaidLine, receive, send},
        *,
    };
    use crate::{AdapterHealth, Addressed, Choice, PersonAct};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A console that runs, with the bot's end of its inbox.
    struct Bench {
        console: Arc<Console>,
        inbox: mpsc::Receiver<Incoming>,
        running: tokio::task::JoinHandle<Result<(), AdapterError>>,
        folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = ConsoleConfig {
                socket: Some(folder.path().join("console.sock")),
                user: "ada".into(),
                files: folder.path().join("files"),
                admits: |_| Ok(()),
            };
            let identity =
                Identity { display_name: "Timmy".into(), prefixes: vec!["!".into()], ..Identity::default() };
            let console = Console::new(config, identity);
            let (sender, inbox) = mpsc::channel(8);
            let health = Arc::new(AdapterHealth::new(NAME));
            let running = {
                let console = console.clone();
                tokio::spawn(async move { console.run(Inbox::new(sender, health)).await })
            };
            Self { console, inbox, running, folder }
        }

        async fn terminal(&self, room: Option<&str>) -> Terminal {
            let (near, far) = tokio::io::duplex(1 << 16);
            self.console.attach(far);
            let mut terminal = Terminal::new(near);
            terminal.tell(&FromTerminal::Hello { room: room.map(str::to_owned), user: None }).await;
            assert!(matches!(terminal.next().await, ToTerminal::Hello { .. }));
            terminal
        }

        async fn heard(&mut self) -> Incoming {
            timeout(PATIENCE, self.inbox.recv()).await.expect("nobody said anything").unwrap()
        }

        async fn send(&self, room: &str, message: Outgoing) -> MessageId {
            self.console.send(&Room::new(NAME, room), &message).await.unwrap()
        }
    }

    struct Terminal {
        reader: BufReader<ReadHalf<DuplexStream>>,
        writer: WriteHalf<DuplexStream>,
    }

    impl Terminal {
        fn new(stream: DuplexStream) -> Self {
            let (reader, writer) = tokio::io::split(stream);
            Self { reader: BufReader::new(reader), writer }
        }

        async fn tell(&mut self, message: &FromTerminal) {
            send(&mut self.writer, message).await.unwrap();
        }

        async fn say(&mut self, text: &str) {
            self.tell(&FromTerminal::Say { ticket: 7, text: text.into() }).await;
        }

        async fn next(&mut self) -> ToTerminal {
            let next = timeout(PATIENCE, receive(&mut self.reader)).await.expect("nothing came");
            next.unwrap().expect("the console closed the stream")
        }

        async fn refused(&mut self) -> String {
            match self.next().await {
                ToTerminal::Refused { why, .. } => why,
                other => panic!("not refused but {other:?}"),
            }
        }

        async fn sees(&mut self, text: &str) -> ShownMessage {
            match self.next().await {
                ToTerminal::Message(shown) | ToTerminal::Edited(shown) if shown.markdown == text => shown,
                other => panic!("not `{text}` but {other:?}"),
            }
        }
    }

    fn question() -> Outgoing {
        let choice = |key: &str| Choice { key: key.into(), label: key.to_uppercase(), emoji: None };
        Outgoing { choices: vec![choice("allow"), choice("deny")], ..Outgoing::text("May I?") }
    }

    #[tokio::test]
    async fn what_is_typed_reaches_the_bot_and_what_it_says_reaches_every_terminal_of_the_room() {
        let mut bench = Bench::new();
        let (mut one, mut two) = (bench.terminal(None).await, bench.terminal(None).await);
        let mut elsewhere = bench.terminal(Some("quiet")).await;

        one.say(" !status now ").await;
        let heard = bench.heard().await;
        assert_eq!(heard.room, Room::new(NAME, "main"));
        assert_eq!(
            (&*heard.sender.id, heard.addressed, heard.shared),
            ("ada", Some(Addressed::Prefix), false)
        );
        assert_eq!(heard.act, PersonAct::Said { text: "status now".into() });
        assert_eq!(one.next().await, ToTerminal::Delivered { ticket: 7, id: heard.id.clone() });
        let ToTerminal::Said(SaidLine { id, from, text, .. }) = two.next().await else {
            panic!("two sees no line")
        };
        assert_eq!((id, from.as_str(), text.as_str()), (heard.id, "ada", "!status now"));

        let id = bench.send("main", Outgoing::text("fine")).await;
        bench.console.edit(&Room::new(NAME, "main"), &id, &Outgoing::text("very fine")).await.unwrap();
        for terminal in [&mut one, &mut two] {
            assert_eq!(terminal.sees("fine").await.id, id);
            assert_eq!(terminal.sees("very fine").await.id, id);
        }
        bench.send("quiet", Outgoing::text("psst")).await;
        elsewhere.sees("psst").await;
    }

    #[tokio::test]
    async fn a_number_answers_an_open_question_and_is_text_without_one() {
        let mut bench = Bench::new();
        let mut terminal = bench.terminal(None).await;
        let id = bench.send("main", question()).await;
        terminal.say("2").await;
        assert_eq!(bench.heard().await.act, PersonAct::Chose { on: id.clone(), key: "deny".into() });
        terminal.say("3").await;
        assert_eq!(bench.heard().await.act, PersonAct::Said { text: "3".into() });
        bench.console.edit(&Room::new(NAME, "main"), &id, &Outgoing::text("denied")).await.unwrap();
        terminal.say("2").await;
        assert_eq!(bench.heard().await.act, PersonAct::Said { text: "2".into() });
    }

    #[tokio::test]
    async fn a_late_terminal_sees_the_room_as_it_is_now() {
        let bench = Bench::new();
        let room = Room::new(NAME, "main");
        let id = bench.send("main", question()).await;
        bench.send("main", Outgoing::text("by the way")).await;
        bench.console.edit(&room, &id, &Outgoing::text("denied")).await.unwrap();
        let activity = Activity { state: crate::ActivityState::Working, after: id.clone() };
        bench.console.activity(&room, &activity).await.unwrap();

        let mut late = bench.terminal(None).await;
        let first = late.sees("denied").await;
        assert!(first.replay && first.choices.is_empty() && first.id == id);
        assert!(late.sees("by the way").await.replay);
        assert_eq!(late.next().await, ToTerminal::Activity(activity));
        bench.send("main", Outgoing::text("new")).await;
        assert!(!late.sees("new").await.replay);
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_taken_is_refused_and_the_next_one_works() {
        let mut bench = Bench::new();
        let mut terminal = bench.terminal(None).await;
        terminal.writer.write_all(b"{\"type\":\"say\"\n").await.unwrap();
        assert!(terminal.refused().await.contains("not of the console's protocol"));
        let (mut reader, mut writer) = (terminal.reader, terminal.writer);
        let flood = tokio::spawn(async move {
            writer.write_all(&vec![b'x'; 2 << 20]).await.unwrap();
            writer.write_all(b"\n").await.unwrap();
            writer
        });
        let refused = timeout(PATIENCE, receive(&mut reader)).await.unwrap().unwrap();
        assert!(
            matches!(refused, Some(ToTerminal::Refused { why, .. }) if why.contains("longer than 1 MiB"))
        );
        let mut terminal = Terminal { reader, writer: flood.await.unwrap() };
        terminal.say("   ").await;
        assert!(terminal.refused().await.contains("empty"));
        terminal.tell(&FromTerminal::Hello { room: Some("other".into()), user: None }).await;
        assert!(terminal.refused().await.contains("in a room already"));
        terminal.say("hello").await;
        assert_eq!(bench.heard().await.act, PersonAct::Said { text: "hello".into() });
    }

    #[tokio::test]
    async fn a_stuck_terminal_neither_blocks_the_bot_nor_the_other_terminals() {
        let bench = Bench::new();
        let mut reading = bench.terminal(None).await;
        let (stuck, far) = tokio::io::duplex(64);
        bench.console.attach(far);
        let mut stuck = Terminal::new(stuck);
        stuck.tell(&FromTerminal::Hello { room: None, user: None }).await;
        let text = "x".repeat(MAX_LEN);
        for _ in 0..40 {
            timeout(PATIENCE, bench.send("main", Outgoing::text(text.clone()))).await.expect("the bot waits");
            reading.sees(&text).await;
        }
        let closed = timeout(PATIENCE, async { while let Ok(Some(_)) = receive(&mut stuck.reader).await {} });
        closed.await.expect("the stuck terminal is still attached");
    }

    #[tokio::test]
    async fn another_process_attaches_by_the_socket_with_its_completions() {
        let bench = Bench::new();
        bench.console.set_completions(vec![Completion { name: "status".into(), help: "what runs".into() }]);
        let path = bench.folder.path().join("console.sock");
        let connected = timeout(PATIENCE, async {
            loop {
                match client::connect(&path).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let (reader, mut writer) = tokio::io::split(connected.await.unwrap());
        send(&mut writer, &FromTerminal::Hello { room: None, user: Some("Grace".into()) }).await.unwrap();
        let hello = receive(&mut BufReader::new(reader)).await.unwrap().unwrap();
        let ToTerminal::Hello { name, completions, .. } = hello else { panic!("no greeting but {hello:?}") };
        assert_eq!((name.as_str(), completions.len()), ("Timmy", 1));
    }

    #[tokio::test]
    async fn a_file_is_written_for_its_owner_and_nowhere_else() {
        let bench = Bench::new();
        let mut terminal = bench.terminal(None).await;
        let name = "../../etc/pass wd.txt".to_owned();
        let file = Attachment { name, bytes: b"secret".to_vec(), caption: "The log".into() };
        bench.console.upload(&Room::new(NAME, "main"), &file).await.unwrap();
        let ToTerminal::File(stored) = terminal.next().await else { panic!("no file") };
        assert_eq!(stored.path.parent(), Some(&*bench.folder.path().join("files")));
        assert_eq!(std::fs::read(&stored.path).unwrap(), b"secret");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&stored.path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn only_a_message_of_this_console_can_be_edited() {
        let bench = Bench::new();
        let room = Room::new(NAME, "main");
        for unknown in ["", "1", "1-1", "zz-1"] {
            let edited = bench.console.edit(&room, &MessageId::new(unknown), &Outgoing::text("x")).await;
            assert!(matches!(edited, Err(AdapterError::Rejected(_))), "{unknown}");
        }
        let id = bench.send("main", Outgoing::text("x")).await;
        let long = Outgoing::text("x".repeat(MAX_LEN + 1));
        assert!(matches!(bench.console.edit(&room, &id, &long).await, Err(AdapterError::Rejected(_))));
    }

    #[tokio::test]
    async fn ids_do_not_repeat_across_consoles() {
        let (one, two) = (MessageIds::new(), MessageIds { started: 1, given: AtomicU64::new(0) });
        let (first, second) = (one.next(), one.next());
        assert_ne!(first, second);
        assert!(one.owns_id(&first) && !two.owns_id(&first) && !one.owns_id(&two.next()));
    }

    #[tokio::test]
    async fn when_the_bot_stops_the_terminals_are_told_and_the_socket_goes() {
        let Bench { console, inbox, running, folder } = Bench::new();
        let (near, far) = tokio::io::duplex(1 << 16);
        console.attach(far);
        let mut terminal = Terminal::new(near);
        terminal.tell(&FromTerminal::Hello { room: None, user: None }).await;
        terminal.next().await;
        drop(inbox);
        assert_eq!(terminal.next().await, ToTerminal::Bye { reason: "storkit is stopping.".into() });
        assert!(receive(&mut terminal.reader).await.unwrap().is_none());
        timeout(PATIENCE, running).await.expect("the console still runs").unwrap().unwrap();
        assert!(!folder.path().join("console.sock").exists());
    }
}
