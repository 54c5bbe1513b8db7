//! One room's live Claude Code session: started when a prompt needs it, closed when idle, ended for good on demand.

use std::time::Duration;

use pipeline::claude::{AgentEvent, Launch, PermissionAnswer, Process, ProcessError};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::{
    agents::{AgentEntry, Agents},
    rooms::{RoomInput, RoomSender},
};

/// How long a turn may take to obey an interrupt before its process is ended (the CLI takes about 0.3 s).
const OBEY: Duration = Duration::from_secs(3);

/// What a session tells its room.
pub enum SessionEvent {
    /// An event of the process.
    Agent(AgentEvent),
    /// The process could not be started or reached.
    Failed(ProcessError),
}

enum Order {
    Prompt { number: u64, launch: Box<Launch>, text: String, entry: AgentEntry },
    Interrupt,
    SetModel(Option<String>),
    Answer { request_id: String, answer: PermissionAnswer },
    Kill,
    Close,
}

/// The room's hold on its session. Dropping it closes the session.
pub struct Session {
    orders: mpsc::UnboundedSender<Order>,
    prompts: u64,
}

impl Session {
    /// Starts the task that owns the session; `tracker` is what the shutdown waits for.
    pub fn new(
        room: RoomSender,
        agents: Agents,
        idle_timeout: Option<Duration>,
        tracker: &TaskTracker,
    ) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let task = Task { orders: receiver, room, agents, idle_timeout, live: None, prompt: 0 };
        tracker.spawn(task.run());
        Self { orders, prompts: 0 }
    }

    /// Sends a prompt, starting the process with `launch` if none lives.
    pub fn prompt(&mut self, launch: Launch, text: String, entry: AgentEntry) {
        self.prompts += 1;
        self.order(Order::Prompt { number: self.prompts, launch: Box::new(launch), text, entry });
    }

    /// How many prompts were sent. What the session said when it knew of fewer is not about the newest one.
    pub fn prompts(&self) -> u64 {
        self.prompts
    }

    /// Interrupts the turn; its end follows as an event, if need be by ending the process.
    pub fn interrupt(&self) {
        self.order(Order::Interrupt);
    }

    /// Changes the model of a living process; a later start takes it from its launch.
    pub fn set_model(&self, model: Option<String>) {
        self.order(Order::SetModel(model));
    }

    /// Answers a permission request.
    pub fn answer(&self, request_id: String, answer: PermissionAnswer) {
        self.order(Order::Answer { request_id, answer });
    }

    /// Ends the process now, with everything it started; its `Exited` follows as an event.
    pub fn kill(&self) {
        self.order(Order::Kill);
    }

    /// Ends the process quietly; the session can be resumed.
    pub fn close(&self) {
        self.order(Order::Close);
    }

    fn order(&self, order: Order) {
        // The task ends only after this sender does.
        let _ = self.orders.send(order);
    }
}

struct Live {
    process: Process,
    events: mpsc::Receiver<AgentEvent>,
    /// Keeps the process in the table of agents.
    _entry: crate::agents::Registered,
    busy: bool,
    idle_since: Instant,
    kill_at: Option<Instant>,
}

struct Task {
    orders: mpsc::UnboundedReceiver<Order>,
    room: RoomSender,
    agents: Agents,
    idle_timeout: Option<Duration>,
    live: Option<Live>,
    /// The number of the newest prompt that came here.
    prompt: u64,
}

impl Task {
    async fn run(mut self) {
        loop {
            let wake = self.wake_at();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => break,
                },
                event = next_event(&mut self.live) => self.heard(event).await,
                () = until(wake) => self.woke().await,
            }
        }
        self.end(true).await;
    }

    async fn obey(&mut self, order: Order) {
        let result = match order {
            Order::Prompt { number, launch, text, entry } => {
                self.prompt = number;
                self.prompt(*launch, &text, entry).await
            }
            Order::Interrupt => self.interrupt().await,
            Order::SetModel(model) => match &self.live {
                Some(live) => live.process.set_model(model.as_deref()).await,
                None => Ok(()),
            },
            Order::Answer { request_id, answer } => match &self.live {
                Some(live) => live.process.answer(&request_id, &answer).await,
                None => Ok(()),
            },
            Order::Kill => {
                self.end(false).await;
                Ok(())
            }
            Order::Close => {
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
            let (process, events) = Process::start(launch).await?;
            let entry = self.agents.register(process.pid(), entry);
            self.live = Some(Live {
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
                live.kill_at.get_or_insert(Instant::now() + OBEY);
                live.process.interrupt().await
            }
            // The turn has ended in this instant, and the room is about to hear of it.
            Some(_) | None => Ok(()),
        }
    }

    async fn heard(&mut self, event: Option<AgentEvent>) {
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
        self.tell(SessionEvent::Agent(event));
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
        let Live { process, mut events, .. } = live;
        // Drained, so that a process that still writes is not held up by us while it ends.
        let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
        let killed = process.end().await;
        if killed > 0 {
            tracing::info!(killed, "processes left by a session were ended");
        }
        drain.abort();
        if !quiet {
            let exit = pipeline::claude::Exit { code: None, signal: None, tail: String::new() };
            self.tell(SessionEvent::Agent(AgentEvent::Exited(exit)));
        }
    }

    fn tell(&self, event: SessionEvent) {
        self.room.send(RoomInput::Session { prompt: self.prompt, event });
    }
}

async fn next_event(live: &mut Option<Live>) -> Option<AgentEvent> {
    match live {
        Some(live) => live.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
