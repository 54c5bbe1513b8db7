//! One room's session with Claude Code, in a task of its own: the room never waits for a process.
//!
//! The process starts when a prompt needs it and is closed when it is idle; the turn itself is [`agents::turn`]'s.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agents::{
    claude::{BackgroundTask, Launch, PermissionAnswer, ProcessError},
    model_proxy::SpendingMeter,
    prompt::AgentPrompt,
    turn::{AgentSession, TurnLimits, TurnUpdate},
};
use pipeline::strangers::{AgentPlace, StrangersRead};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::live_agents::{AgentEntry, AgentRegistration, LiveAgents};

/// How many events may wait for the room. While it is busy the process waits too, through a full terminal.
const EVENT_BACKLOG: usize = 16;

/// An update from a session to its room.
pub struct SessionUpdate {
    /// The newest prompt that the session knew of, see [`RoomSession::sent_prompts`]: updates for an older
    /// one do not concern it.
    pub prompt: u64,
    pub event: SessionEvent,
    /// Given back when the update is handled: this bounds how many wait.
    pub place: Option<OwnedSemaphorePermit>,
}

pub enum SessionEvent {
    /// An event of the process, maybe with the outcome of the prompt.
    Turn(TurnUpdate),
    /// The prompt could not be given to a process.
    Failed(ProcessError),
    /// The process was closed while something went on in the background, or a question of it was open.
    Closed { ended: Vec<BackgroundTask>, was_idle: bool },
}

enum SessionOrder {
    Prompt {
        number: u64,
        prompt: Box<SessionPrompt>,
    },
    Interrupt,
    StopBackground,
    SetModel(Option<String>),
    Answer {
        request_id: String,
        answer: PermissionAnswer,
    },
    AnswerTools {
        request_id: String,
        answer: Value,
    },
    /// Answered when the process is gone.
    Close(Option<oneshot::Sender<()>>),
}

/// A prompt, and all that a process for it needs if none lives.
pub struct SessionPrompt {
    pub launch: Launch,
    pub prompt: AgentPrompt,
    pub limits: TurnLimits,
    pub entry: AgentEntry,
    /// Where its process works.
    pub place: AgentPlace,
}

/// The room's hold on its session. Dropping it closes the session.
pub struct RoomSession {
    orders: mpsc::UnboundedSender<SessionOrder>,
    prompts: u64,
    lives: Arc<AtomicBool>,
}

/// The surroundings of a room's session.
pub struct SessionOptions {
    pub agents: LiveAgents,
    pub idle_timeout: Option<Duration>,
    /// The same while something goes on in the background.
    pub background_timeout: Option<Duration>,
    /// Counts the questions about hosts that wait for a person.
    pub waiting: Arc<AtomicUsize>,
    /// Counts its spending. A turn whose budget is spent is stopped.
    pub meter: Arc<SpendingMeter>,
    /// What its agent has read by strangers.
    pub read: StrangersRead,
}

type UpdateSink = Box<dyn Fn(SessionUpdate) + Send + Sync>;

impl RoomSession {
    /// Starts the task that owns the session. Updates go to `sink`, after `read` has followed them; the shutdown waits for `tracker`.
    pub fn new(
        sink: impl Fn(SessionUpdate) + Send + Sync + 'static,
        options: SessionOptions,
        tracker: &TaskTracker,
    ) -> Self {
        let SessionOptions { agents, idle_timeout, background_timeout, waiting, meter, read } = options;
        let (orders, receiver) = mpsc::unbounded_channel();
        let lives = Arc::new(AtomicBool::new(false));
        let task = SessionTask {
            orders: receiver,
            sink: Box::new(sink),
            agents,
            idle_timeout,
            background_timeout,
            read,
            session: AgentSession::asking_elsewhere(waiting),
            meter,
            watches_budget: false,
            registered: None,
            lives: lives.clone(),
            prompt: 0,
            places: Arc::new(Semaphore::new(EVENT_BACKLOG)),
        };
        tracker.spawn(task.run());
        Self { orders, prompts: 0, lives }
    }

    /// Sends a prompt, starting a process if none lives.
    pub fn prompt(&mut self, prompt: SessionPrompt) {
        self.prompts += 1;
        self.order(SessionOrder::Prompt { number: self.prompts, prompt: Box::new(prompt) });
    }

    /// Whether its process lives, so that it may still say something.
    pub fn is_alive(&self) -> bool {
        self.lives.load(Ordering::Acquire)
    }

    /// How many prompts were sent.
    pub fn sent_prompts(&self) -> u64 {
        self.prompts
    }

    /// Interrupts the turn; its outcome follows as an update, if need be by ending the process.
    pub fn interrupt(&self) {
        self.order(SessionOrder::Interrupt);
    }

    /// Ends what its process does in the background; the events follow.
    pub fn stop_background(&self) {
        self.order(SessionOrder::StopBackground);
    }

    /// Changes the model of a living process; a later start takes it from its launch.
    pub fn set_model(&self, model: Option<String>) {
        self.order(SessionOrder::SetModel(model));
    }

    /// Answers a permission request.
    pub fn answer(&self, request_id: String, answer: PermissionAnswer) {
        self.order(SessionOrder::Answer { request_id, answer });
    }

    /// Answers a message to storkit's tools.
    pub fn answer_tools(&self, request_id: String, answer: Value) {
        self.order(SessionOrder::AnswerTools { request_id, answer });
    }

    /// Closes the process quietly; the session can be resumed.
    pub fn close(&self) {
        self.order(SessionOrder::Close(None));
    }

    /// A way to close the process from outside the room's loop.
    pub fn closer(&self) -> SessionCloser {
        SessionCloser(self.orders.clone())
    }

    fn order(&self, order: SessionOrder) {
        // The task outlives this sender, so the channel cannot be closed here.
        let _ = self.orders.send(order);
    }
}

/// Closes a session's process and waits until it is gone. As long as it exists, so does the session's task.
pub struct SessionCloser(mpsc::UnboundedSender<SessionOrder>);

impl SessionCloser {
    /// Closes the process quietly; the session can be resumed.
    pub async fn close(&self) {
        let (done, gone) = oneshot::channel();
        let _ = self.0.send(SessionOrder::Close(Some(done)));
        let _ = gone.await;
    }
}

struct SessionTask {
    orders: mpsc::UnboundedReceiver<SessionOrder>,
    sink: UpdateSink,
    agents: LiveAgents,
    idle_timeout: Option<Duration>,
    background_timeout: Option<Duration>,
    /// What its agent has read by strangers.
    read: StrangersRead,
    session: AgentSession,
    meter: Arc<SpendingMeter>,
    /// Whether the turn is still to be stopped once its budget is spent.
    watches_budget: bool,
    // Dropping it removes the process from the table of agents.
    registered: Option<AgentRegistration>,
    lives: Arc<AtomicBool>,
    /// The number of the newest prompt that came here.
    prompt: u64,
    /// For updates that the room has not handled.
    places: Arc<Semaphore>,
}

impl SessionTask {
    async fn run(mut self) {
        loop {
            let idle = self.closes_at();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.handle_order(order).await,
                    None => break,
                },
                (update, place) = next_update(&mut self.session, &self.places) => {
                    self.read.follow(&update.event).await;
                    self.send(SessionEvent::Turn(update), place);
                }
                () = self.meter.refused(), if self.watches_budget => {
                    self.watches_budget = false;
                    if let Err(error) = self.session.stop().await {
                        tracing::debug!(%error, "a turn over its budget was not interrupted");
                    }
                }
                () = sleep_until(idle.unwrap_or_else(Instant::now)), if idle.is_some() => self.close(true).await,
            }
            self.note_process();
        }
        self.session.close().await;
    }

    /// When the idle process is closed. Work in the background delays that, and a question of it waits for a person.
    fn closes_at(&self) -> Option<Instant> {
        let since = self.session.idle_since().filter(|_| !self.session.has_open_requests())?;
        let works = !self.session.background().is_empty();
        let limit = if works { self.background_timeout } else { self.idle_timeout };
        limit.map(|limit| since + limit)
    }

    async fn close(&mut self, was_idle: bool) {
        let ended = self.session.background().to_vec();
        let is_news = !ended.is_empty() || self.session.has_open_requests();
        self.session.close().await;
        if is_news {
            self.send(SessionEvent::Closed { ended, was_idle }, None);
        }
    }

    async fn handle_order(&mut self, order: SessionOrder) {
        let result = match order {
            SessionOrder::Prompt { number, prompt } => return self.handle_prompt(number, *prompt).await,
            SessionOrder::Interrupt => self.session.stop().await,
            SessionOrder::StopBackground => self.session.stop_background().await,
            SessionOrder::SetModel(model) => self.session.set_model(model.as_deref()).await,
            SessionOrder::Answer { request_id, answer } => self.session.answer(&request_id, &answer).await,
            SessionOrder::AnswerTools { request_id, answer } => {
                self.session.answer_own_tools(&request_id, &answer).await
            }
            SessionOrder::Close(done) => {
                self.close(false).await;
                self.note_process();
                // Fails where nobody waits for it.
                done.map(|done| done.send(()));
                Ok(())
            }
        };
        // No failure to report: if the process is gone, its exit follows as an event, and one that does not read hits
        // the limits of its turn.
        if let Err(error) = result {
            tracing::debug!(%error, "an order did not reach the session");
        }
    }

    async fn handle_prompt(&mut self, number: u64, prompt: SessionPrompt) {
        self.prompt = number;
        self.watches_budget = true;
        let SessionPrompt { launch, prompt, limits, entry, place } = prompt;
        self.read.enter(place).await;
        let before = self.session.pid();
        let sent = self.session.prompt(launch, &prompt, limits).await;
        if let Some(pid) = self.session.pid().filter(|pid| Some(*pid) != before) {
            // Before the error below: a process that started and then refused the prompt still runs, and
            // `htop` has to show it.
            self.registered = Some(self.agents.register(pid, entry));
        }
        if let Err(error) = sent {
            self.send(SessionEvent::Failed(error), None);
        }
    }

    fn note_process(&mut self) {
        let lives = self.session.pid().is_some();
        if !lives {
            self.registered = None;
        }
        self.lives.store(lives, Ordering::Release);
    }

    fn send(&self, event: SessionEvent, place: Option<OwnedSemaphorePermit>) {
        (self.sink)(SessionUpdate { prompt: self.prompt, event, place });
    }
}

// The place comes first: without one the process is not read, its terminal fills, and the CLI waits instead of the
// updates piling up in the mailbox. If `select!` drops this future while it waits, no event is lost.
async fn next_update(
    session: &mut AgentSession,
    places: &Arc<Semaphore>,
) -> (TurnUpdate, Option<OwnedSemaphorePermit>) {
    let place = places.clone().acquire_owned().await.ok();
    (session.next().await, place)
}

#[cfg(test)]
mod tests {
    use agents::{
        claude::{LaunchProgram, PromptMode, SessionId, SessionStart},
        turn::TurnOutcome,
    };

    use super::*;

    /// A prompt to a program that ends at once, whatever it is asked.
    fn prompt(folder: &std::path::Path) -> SessionPrompt {
        let command = ["/bin/sh", "-c", "exit 3"].map(String::from).into();
        let program = LaunchProgram::new(command, folder, folder);
        let launch = Launch::new(program, SessionStart::New(SessionId::random()), PromptMode::Live);
        let entry =
            AgentEntry { name: "a".into(), story: None, since: std::time::Instant::now(), cost_usd: 0.0 };
        let place = AgentPlace {
            root: folder.to_owned(),
            folder: folder.to_owned(),
            base: "main".into(),
            branch: None,
        };
        SessionPrompt { launch, prompt: "hello".into(), limits: TurnLimits::default(), entry, place }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_outcome_tells_which_prompt_it_is_about() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut updates) = mpsc::unbounded_channel();
        let agents = LiveAgents::default();
        let sink = move |update| _ = sender.send(update);
        let (waiting, meter, read) = Default::default();
        let options = SessionOptions {
            agents: agents.clone(),
            idle_timeout: None,
            background_timeout: None,
            waiting,
            meter,
            read,
        };
        let mut session = RoomSession::new(sink, options, &TaskTracker::new());
        for number in 1..=2 {
            session.prompt(prompt(folder.path()));
            assert_eq!(session.sent_prompts(), number);
            let died = async {
                loop {
                    let update: SessionUpdate = updates.recv().await.expect("the session speaks");
                    if let SessionEvent::Turn(TurnUpdate { outcome: Some(outcome), .. }) = update.event {
                        return (update.prompt, outcome);
                    }
                }
            };
            let (prompt, outcome) =
                tokio::time::timeout(Duration::from_secs(60), died).await.expect("the process ends");
            assert_eq!(prompt, number);
            assert!(matches!(outcome, TurnOutcome::Died(exit) if exit.code == Some(3)));
        }
    }
}
