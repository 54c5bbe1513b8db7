//! One room's live Claude Code session: started when a prompt needs it, closed when idle, ended for good on demand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agents::claude::{AgentEvent, AgentProcess, Launch, PermissionAnswer, ProcessError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::{
    chat::rooms::{RoomInput, RoomSender},
    live_agents::{AgentEntry, LiveAgents},
};

/// How long a turn may take to obey an interrupt before its process is ended (the CLI takes about 0.3 s).
const INTERRUPT_GRACE: Duration = Duration::from_secs(3);

/// How many events may wait for the room. While it is busy the process waits too, through a full terminal.
const EVENT_BACKLOG: usize = 16;

/// What a session tells its room.
pub enum SessionEvent {
    /// An event of the process.
    Agent(AgentEvent),
    /// The process could not be started or reached.
    Failed(ProcessError),
}

enum SessionOrder {
    Prompt { number: u64, launch: Box<Launch>, text: String, entry: AgentEntry },
    Interrupt,
    SetModel(Option<String>),
    Answer { request_id: String, answer: PermissionAnswer },
    Kill,
    Close,
}

/// The room's hold on its session. Dropping it closes the session.
pub struct RoomSession {
    orders: mpsc::UnboundedSender<SessionOrder>,
    prompts: u64,
    lives: Arc<AtomicBool>,
}

impl RoomSession {
    /// Starts the task that owns the session; `tracker` is what the shutdown waits for.
    pub fn new(
        room: RoomSender,
        agents: LiveAgents,
        idle_timeout: Option<Duration>,
        tracker: &TaskTracker,
    ) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let lives = Arc::new(AtomicBool::new(false));
        let task = SessionTask {
            orders: receiver,
            room,
            agents,
            idle_timeout,
            live: None,
            lives: lives.clone(),
            prompt: 0,
            places: Arc::new(Semaphore::new(EVENT_BACKLOG)),
        };
        tracker.spawn(task.run());
        Self { orders, prompts: 0, lives }
    }

    /// Sends a prompt, starting the process with `launch` if none lives.
    pub fn prompt(&mut self, launch: Launch, text: String, entry: AgentEntry) {
        self.prompts += 1;
        self.order(SessionOrder::Prompt { number: self.prompts, launch: Box::new(launch), text, entry });
    }

    /// Whether its process lives, so that it may still say something.
    pub fn lives(&self) -> bool {
        self.lives.load(Ordering::Acquire)
    }

    /// How many prompts were sent. What the session said when it knew of fewer is not about the newest one.
    pub fn prompts(&self) -> u64 {
        self.prompts
    }

    /// Interrupts the turn; its end follows as an event, if need be by ending the process.
    pub fn interrupt(&self) {
        self.order(SessionOrder::Interrupt);
    }

    /// Changes the model of a living process; a later start takes it from its launch.
    pub fn set_model(&self, model: Option<String>) {
        self.order(SessionOrder::SetModel(model));
    }

    /// Answers a permission request.
    pub fn answer(&self, request_id: String, answer: PermissionAnswer) {
        self.order(SessionOrder::Answer { request_id, answer });
    }

    /// Ends the process now, with everything it started; its `Exited` follows as an event.
    pub fn kill(&self) {
        self.order(SessionOrder::Kill);
    }

    /// Ends the process quietly; the session can be resumed.
    pub fn close(&self) {
        self.order(SessionOrder::Close);
    }

    fn order(&self, order: SessionOrder) {
        // The task ends only after this sender does.
        let _ = self.orders.send(order);
    }
}

struct LiveSession {
    process: AgentProcess,
    events: mpsc::Receiver<AgentEvent>,
    /// Keeps the process in the table of agents.
    _entry: crate::live_agents::AgentRegistration,
    busy: bool,
    idle_since: Instant,
    kill_at: Option<Instant>,
}

struct SessionTask {
    orders: mpsc::UnboundedReceiver<SessionOrder>,
    room: RoomSender,
    agents: LiveAgents,
    idle_timeout: Option<Duration>,
    live: Option<LiveSession>,
    lives: Arc<AtomicBool>,
    /// The number of the newest prompt that came here.
    prompt: u64,
    /// For events that the room has not taken up.
    places: Arc<Semaphore>,
}

impl SessionTask {
    async fn run(mut self) {
        loop {
            let wake = self.wake_at();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.handle_order(order).await,
                    None => break,
                },
                (event, place) = next_event(&mut self.live, &self.places) => self.handle_event(event, place).await,
                () = until(wake) => self.woke().await,
            }
        }
        self.end(true).await;
    }

    async fn handle_order(&mut self, order: SessionOrder) {
        let result = match order {
            SessionOrder::Prompt { number, launch, text, entry } => {
                self.prompt = number;
                self.prompt(*launch, &text, entry).await
            }
            SessionOrder::Interrupt => self.interrupt().await,
            SessionOrder::SetModel(model) => match &self.live {
                Some(live) => live.process.set_model(model.as_deref()).await,
                None => Ok(()),
            },
            SessionOrder::Answer { request_id, answer } => match &self.live {
                Some(live) => live.process.answer(&request_id, &answer).await,
                None => Ok(()),
            },
            SessionOrder::Kill => {
                self.end(false).await;
                Ok(())
            }
            SessionOrder::Close => {
                self.end(true).await;
                Ok(())
            }
        };
        match result {
            // Its `Exited` is on the way and says more.
            Ok(()) | Err(ProcessError::Gone) if self.live.is_some() => {}
            Ok(()) => {}
            Err(error) => self.tell(SessionEvent::Failed(error)),
        }
    }

    async fn prompt(&mut self, launch: Launch, text: &str, entry: AgentEntry) -> Result<(), ProcessError> {
        if self.live.is_none() {
            let (process, events) = AgentProcess::start(launch).await?;
            let entry = self.agents.register(process.pid(), entry);
            self.lives.store(true, Ordering::Release);
            self.live = Some(LiveSession {
                process,
                events,
                _entry: entry,
                busy: false,
                idle_since: Instant::now(),
                kill_at: None,
            });
        }
        match &mut self.live {
            Some(live) => {
                live.busy = true;
                // An interrupt that came too late for the turn before must not end this one.
                live.kill_at = None;
                live.process.prompt(text).await
            }
            None => Err(ProcessError::Gone),
        }
    }

    async fn interrupt(&mut self) -> Result<(), ProcessError> {
        match &mut self.live {
            // Asking again gives no more time to obey.
            Some(live) if live.busy => {
                live.kill_at.get_or_insert(Instant::now() + INTERRUPT_GRACE);
                live.process.interrupt().await
            }
            // The turn has ended in this instant, and the room is about to hear of it.
            Some(_) | None => Ok(()),
        }
    }

    async fn handle_event(&mut self, event: Option<AgentEvent>, place: Option<OwnedSemaphorePermit>) {
        let Some(event) = event else { return self.end(true).await };
        match (&event, &mut self.live) {
            (AgentEvent::Exited(_), _) => self.end(true).await,
            (AgentEvent::TurnEnded(end), Some(live)) => {
                live.idle_since = Instant::now();
                // What woke by itself says nothing of the prompt under way.
                if !end.unprompted {
                    live.busy = false;
                    live.kill_at = None;
                }
            }
            _ => {}
        }
        self.room.send(RoomInput::Session { prompt: self.prompt, event: SessionEvent::Agent(event), place });
    }

    /// When something is due: an interrupt that was not obeyed, or the idle close.
    fn wake_at(&self) -> Option<Instant> {
        let live = self.live.as_ref()?;
        live.kill_at.or_else(|| (!live.busy).then_some(live.idle_since + self.idle_timeout?))
    }

    async fn woke(&mut self) {
        let disobeyed = self.live.as_ref().is_some_and(|live| live.kill_at.is_some());
        self.end(!disobeyed).await;
    }

    /// Ends the process with everything it started. Not `quiet`: the room hears of it as of a process that went by itself.
    async fn end(&mut self, quiet: bool) {
        let Some(live) = self.live.take() else { return };
        let LiveSession { process, mut events, .. } = live;
        // Drained, so that a process that still writes is not held up by us while it ends.
        let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
        let killed = process.end().await;
        if killed > 0 {
            tracing::info!(killed, "processes left by a session were ended");
        }
        drain.abort();
        if !quiet {
            let exit = agents::claude::ProcessExit { code: None, signal: None, tail: String::new() };
            self.tell(SessionEvent::Agent(AgentEvent::Exited(exit)));
        }
        self.lives.store(false, Ordering::Release);
    }

    fn tell(&self, event: SessionEvent) {
        self.room.send(RoomInput::Session { prompt: self.prompt, event, place: None });
    }
}

/// The next event, once the room has a place for it.
async fn next_event(
    live: &mut Option<LiveSession>,
    places: &Arc<Semaphore>,
) -> (Option<AgentEvent>, Option<OwnedSemaphorePermit>) {
    match live {
        Some(live) => {
            let place = places.clone().acquire_owned().await.ok();
            (live.events.recv().await, place)
        }
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use adapters::Room;
    use agents::claude::{PermissionRoute, PromptMode, SessionId, SessionStart};

    use super::*;
    use crate::chat::rooms::{RoomDirectory, RoomMailbox};

    fn room() -> (RoomSender, RoomMailbox) {
        let made = Arc::new(Mutex::new(None));
        let (rooms, keep) = (RoomDirectory::default(), made.clone());
        rooms.serve(move |_, sender, mailbox| keep.lock().unwrap().replace((sender, mailbox)).is_none());
        assert!(rooms.post(&Room::new("fake", "a"), RoomInput::Notice("begin".into())));
        made.lock().unwrap().take().unwrap()
    }

    /// A program that ends at once, whatever it is asked.
    fn launch(folder: &std::path::Path) -> Launch {
        Launch {
            command: ["/bin/sh", "-c", "exit 3"].map(String::from).into(),
            cwd: folder.into(),
            runtime_dir: folder.into(),
            start: SessionStart::New(SessionId::random()),
            mode: PromptMode::Live,
            permissions: PermissionRoute::Control,
            model: None,
            append_system_prompt: None,
            trust_project_settings: false,
            env_remove: Vec::new(),
            env: Vec::new(),
            max_turns: None,
            max_budget_usd: None,
            accept_edits: false,
            confine: None,
        }
    }

    async fn prompt_of_the_exit(mailbox: &mut RoomMailbox) -> u64 {
        let exit = async {
            loop {
                let input = mailbox.next().await.expect("the session speaks");
                if let RoomInput::Session {
                    prompt, event: SessionEvent::Agent(AgentEvent::Exited(_)), ..
                } = input
                {
                    return prompt;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), exit).await.expect("the process ends")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_exit_tells_which_prompt_it_is_about() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut mailbox) = room();
        let mut session = RoomSession::new(sender, LiveAgents::default(), None, &TaskTracker::new());
        for number in 1..=2 {
            let entry =
                AgentEntry { name: "a".into(), story: None, since: std::time::Instant::now(), cost_usd: 0.0 };
            session.prompt(launch(folder.path()), "hello".into(), entry);
            assert_eq!(session.prompts(), number);
            assert_eq!(prompt_of_the_exit(&mut mailbox).await, number);
        }
    }
}
