//! A session with an agent program: its process, and the attempt under way. Its owner polls it from one task.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    attempt::{AttemptAction, AttemptKind, TurnAttempt},
    outcome::{TurnLimits, TurnOutcome},
};
use crate::{
    claude::{AgentProcess, Launch, ProcessError},
    event::{AgentEvent, BackgroundTask, BusyService, PermissionAnswer, PermissionMode, ProcessExit},
    prompt::AgentPrompt,
};

/// An event of the process, and the outcome of the attempt if it is over with it.
#[derive(Debug)]
pub struct TurnUpdate {
    pub event: AgentEvent,
    pub outcome: Option<TurnOutcome>,
}

/// A process for one turn or many. Dropping it terminates the process in the background.
#[derive(Default)]
pub struct AgentSession {
    live: Option<LiveProcess>,
    attempt: Option<TurnAttempt>,
    /// How many questions wait for a person that do not come as events, but over HTTP.
    asked_elsewhere: Option<Arc<AtomicUsize>>,
    /// Permission requests of the living process that wait for a person.
    open_requests: BTreeSet<String>,
    /// What the living process does beside the conversation.
    background: Vec<BackgroundTask>,
    /// The agent program began a turn by itself, after a task in the background.
    is_awake: bool,
}

struct LiveProcess {
    process: AgentProcess,
    events: mpsc::Receiver<AgentEvent>,
    idle_since: Instant,
    ending: bool,
    /// The mode that it was started in.
    mode: PermissionMode,
}

impl AgentSession {
    /// A session whose questions to people are counted by `asked`: while there are any, its silence does not count.
    pub fn asking_elsewhere(asked: Arc<AtomicUsize>) -> Self {
        Self { asked_elsewhere: Some(asked), ..Self::default() }
    }

    /// Sends a prompt to the living process, or to one that is started with `launch`. One prompt at a time.
    ///
    /// Fails as [`AgentProcess::start`] and [`AgentProcess::prompt`] do; then no attempt is under way.
    pub async fn prompt(
        &mut self,
        launch: Launch,
        prompt: &AgentPrompt,
        limits: TurnLimits,
    ) -> Result<(), ProcessError> {
        // Two processes on one session would each lose the messages of the other.
        if self.live.as_ref().is_some_and(|live| live.ending) {
            self.close().await;
        }
        if let Some(live) = &self.live {
            match live.process.prompt(prompt).await {
                // It exited while it was idle.
                Err(ProcessError::Gone) => self.close().await,
                Err(error) => return Err(error),
                Ok(()) => {
                    self.begin(AttemptKind::Live, limits);
                    return Ok(());
                }
            }
        }
        self.start(launch).await?;
        if let Some(live) = &self.live {
            match live.process.prompt(prompt).await {
                // It exited at once; its exit event follows, with the cause.
                Ok(()) | Err(ProcessError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        self.begin(AttemptKind::Live, limits);
        Ok(())
    }

    /// Starts a process for the one prompt in its `launch`.
    ///
    /// Fails as [`AgentProcess::start`] does; then no attempt is under way.
    pub async fn run_once(&mut self, launch: Launch, limits: TurnLimits) -> Result<(), ProcessError> {
        self.close().await;
        self.start(launch).await?;
        self.begin(AttemptKind::OneShot, limits);
        Ok(())
    }

    async fn start(&mut self, launch: Launch) -> Result<(), ProcessError> {
        let mode = launch.mode_of_permissions();
        let (process, events) = AgentProcess::start(launch).await?;
        self.live = Some(LiveProcess { process, events, idle_since: Instant::now(), ending: false, mode });
        Ok(())
    }

    fn begin(&mut self, kind: AttemptKind, limits: TurnLimits) {
        let attempt = TurnAttempt::new(kind, limits, Instant::now());
        // A turn that the agent program began by itself may have asked before this prompt.
        self.attempt = Some(attempt.with_open_requests(self.open_requests.clone()));
    }

    /// The next event. Waits for ever while no process lives. Can be cancelled without loss.
    pub async fn next(&mut self) -> TurnUpdate {
        loop {
            self.note_questions_elsewhere();
            let deadline = self.attempt.as_ref().and_then(TurnAttempt::deadline);
            let Some(live) = &mut self.live else { return std::future::pending().await };
            tokio::select! {
                event = live.events.recv() => {
                    // The last event is always the exit, unless the task that sends it has failed.
                    let lost = ProcessExit { code: None, signal: None, tail: String::new() };
                    return self.on_event(event.unwrap_or(AgentEvent::Exited(lost)));
                }
                () = sleep_until_some(deadline) => self.on_deadline(),
            }
        }
    }

    fn on_event(&mut self, event: AgentEvent) -> TurnUpdate {
        let now = Instant::now();
        if let AgentEvent::Mode(mode) = &event {
            self.check_mode(mode);
        }
        // The end of a turn that began by itself, before the prompt of this attempt was sent.
        let is_of_earlier_turn = self.is_awake && matches!(event, AgentEvent::TurnEnded(_));
        let attempt = self.attempt.as_mut().filter(|_| !is_of_earlier_turn);
        let outcome = attempt.and_then(|attempt| attempt.on_event(&event, now));
        let outcome = outcome.map(|outcome| self.with_limit(outcome));
        if outcome.is_some() {
            self.attempt = None;
        }
        self.note_background(&event);
        match &event {
            AgentEvent::Permission(request) => _ = self.open_requests.insert(request.request_id.clone()),
            AgentEvent::PermissionCancelled { request_id } => _ = self.open_requests.remove(request_id),
            AgentEvent::Exited(_) => {
                self.forget_process();
                if let Some(live) = self.live.take() {
                    // In the background: the search for descendants must not delay the outcome.
                    tokio::spawn(end(live.process));
                }
            }
            // From here on its idle time is counted.
            AgentEvent::TurnEnded(_) | AgentEvent::BackgroundTasks(_) => {
                if let Some(live) = &mut self.live {
                    live.idle_since = now;
                }
            }
            _ => {}
        }
        TurnUpdate { event, outcome }
    }

    /// The reset time of a limit, where the agent program does not tell it and the way to the service has seen it.
    fn with_limit(&self, outcome: TurnOutcome) -> TurnOutcome {
        match outcome {
            TurnOutcome::Busy { service: BusyService::UsageLimit, until: None } => {
                let until = self.live.as_ref().and_then(|live| live.process.limit_ends());
                TurnOutcome::Busy { service: BusyService::UsageLimit, until }
            }
            outcome => outcome,
        }
    }

    fn note_background(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::BackgroundTasks(tasks) => self.background.clone_from(tasks),
            AgentEvent::Started { .. } => self.is_awake = self.attempt.is_none(),
            AgentEvent::TurnEnded(_) => self.is_awake = false,
            _ => {}
        }
    }

    fn forget_process(&mut self) {
        self.open_requests.clear();
        self.background.clear();
        self.is_awake = false;
    }

    /// A process that asks less than agreed is ended at once: each of its next calls could run unasked.
    fn check_mode(&mut self, mode: &PermissionMode) {
        if self.live.as_ref().is_none_or(|live| mode.asks_as_in(&live.mode)) {
            return;
        }
        tracing::error!(?mode, "the agent program is in another permission mode than it was started in");
        if let Some(attempt) = &mut self.attempt {
            attempt.kill_for_mode();
        }
        self.request_end();
    }

    fn note_questions_elsewhere(&mut self) {
        // Called often, so that silence is counted from the answer and not from the question.
        let asked = self.asked_elsewhere.as_ref().is_some_and(|asked| asked.load(Ordering::Relaxed) > 0);
        if let Some(attempt) = self.attempt.as_mut().filter(|_| asked) {
            attempt.on_person_asked(Instant::now());
        }
    }

    fn on_deadline(&mut self) {
        self.note_questions_elsewhere();
        let Some(attempt) = &mut self.attempt else { return };
        if attempt.on_deadline(Instant::now()) == AttemptAction::Kill {
            self.request_end();
        }
    }

    fn request_end(&mut self) {
        if let Some(live) = &mut self.live {
            live.ending = true;
            live.process.request_end();
        }
    }

    /// Stops the turn by an interrupt, and terminates the process if that has no effect. The outcome follows.
    /// Does nothing without a turn.
    ///
    /// Fails as [`AgentProcess::interrupt`] does; the process is killed in time even so.
    pub async fn stop(&mut self) -> Result<(), ProcessError> {
        let Some(live) = &self.live else { return Ok(()) };
        let Some(attempt) = &mut self.attempt else {
            // A turn that nobody prompted has no outcome. Without any turn an interrupt would still end sub-agents.
            return if self.is_awake { live.process.interrupt().await } else { Ok(()) };
        };
        match attempt.stop(Instant::now()) {
            AttemptAction::Interrupt => live.process.interrupt().await,
            AttemptAction::Nothing | AttemptAction::Kill => Ok(()),
        }
    }

    /// Ends all work in the background; the events follow. Fails as [`AgentProcess::stop_task`] does.
    pub async fn stop_background(&self) -> Result<(), ProcessError> {
        let Some(live) = &self.live else { return Ok(()) };
        for task in &self.background {
            live.process.stop_task(&task.id).await?;
        }
        Ok(())
    }

    /// What its process does beside the conversation.
    pub fn background(&self) -> &[BackgroundTask] {
        &self.background
    }

    /// Whether a question of it waits for a person.
    pub fn has_open_requests(&self) -> bool {
        !self.open_requests.is_empty()
    }

    /// Kills the process without an interrupt before; the outcome of its turn follows.
    pub fn kill(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.kill();
        }
        self.request_end();
    }

    /// Terminates the process and forgets its turn: no update follows.
    pub async fn close(&mut self) {
        self.attempt = None;
        self.forget_process();
        let Some(LiveProcess { process, mut events, .. }) = self.live.take() else { return };
        // Drained, so that a full channel does not delay a process that still writes while it exits.
        let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
        end(process).await;
        drain.abort();
    }

    /// Answers a permission request. Fails as [`AgentProcess::answer`] does.
    pub async fn answer(&mut self, request_id: &str, answer: &PermissionAnswer) -> Result<(), ProcessError> {
        self.open_requests.remove(request_id);
        if let Some(attempt) = &mut self.attempt {
            attempt.on_answer(request_id, Instant::now());
        }
        match &self.live {
            Some(live) => live.process.answer(request_id, answer).await,
            None => Ok(()),
        }
    }

    /// Answers a message to storkit's own tools. Fails as [`AgentProcess::answer_own_tools`] does.
    pub async fn answer_own_tools(&mut self, request_id: &str, answer: &Value) -> Result<(), ProcessError> {
        match &self.live {
            Some(live) => live.process.answer_own_tools(request_id, answer).await,
            None => Ok(()),
        }
    }

    /// Changes the model of a living process; a later start takes it from its launch.
    ///
    /// Fails as [`AgentProcess::set_model`] does.
    pub async fn set_model(&self, model: Option<&str>) -> Result<(), ProcessError> {
        match &self.live {
            Some(live) => live.process.set_model(model).await,
            None => Ok(()),
        }
    }

    /// The process id while one lives.
    pub fn pid(&self) -> Option<u32> {
        self.live.as_ref().map(|live| live.process.pid())
    }

    /// Since when the process waits for a prompt; `None` while it works or does not live. Work in the background may go on meanwhile.
    pub fn idle_since(&self) -> Option<Instant> {
        let works = self.attempt.is_some() || self.is_awake;
        let idle = self.live.as_ref().filter(|live| !works && !live.ending);
        idle.map(|live| live.idle_since)
    }
}

async fn end(process: AgentProcess) {
    let killed = process.end().await;
    if killed > 0 {
        tracing::info!(killed, "processes left by a session were ended");
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::claude::{LaunchProgram, PromptMode, SessionId, SessionStart, TurnFailure};

    /// Answers each prompt with its number, then does what its arguments say.
    const ANSWERS: &str = r#"n=0; while read -r line; do n=$((n+1));
        echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"$n\"}"; done"#;

    fn launch(folder: &Path, mode: PromptMode, script: &str) -> Launch {
        let command = ["/bin/sh", "-c", script].map(String::from).into();
        let program = LaunchProgram::new(command, folder, folder);
        Launch::new(program, SessionStart::New(SessionId::random()), mode)
    }

    async fn outcome(session: &mut AgentSession) -> TurnOutcome {
        let over = async {
            loop {
                if let Some(outcome) = session.next().await.outcome {
                    return outcome;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), over).await.expect("the turn ends")
    }

    fn answer(outcome: TurnOutcome) -> String {
        match outcome {
            TurnOutcome::Answered(end) => end.text,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_living_process_takes_the_next_prompt_and_a_dead_one_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let live = || launch(folder.path(), PromptMode::Live, ANSWERS);
        let mut session = AgentSession::default();
        for number in ["1", "2"] {
            session.prompt(live(), &"hello".into(), TurnLimits::default()).await.expect("it starts");
            assert_eq!(answer(outcome(&mut session).await), number);
        }
        let before = session.pid();
        session.kill();
        assert_eq!(session.idle_since(), None);
        session.prompt(live(), &"hello".into(), TurnLimits::default()).await.expect("another one starts");
        assert_ne!(session.pid(), before);
        assert_eq!(answer(outcome(&mut session).await), "1", "its exit is not that of the new turn");
        session.close().await;
        assert_eq!(session.pid(), None);
    }

    #[tokio::test]
    async fn a_process_that_dies_and_one_that_cannot_start_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut session = AgentSession::default();
        let dies = launch(folder.path(), PromptMode::Live, "read -r line; exit 3");
        session.prompt(dies, &"hello".into(), TurnLimits::default()).await.expect("it starts");
        assert!(matches!(outcome(&mut session).await, TurnOutcome::Died(exit) if exit.code == Some(3)));
        let nothing = {
            let mut launch = launch(folder.path(), PromptMode::Live, "");
            launch.program.command = vec!["/no/program".into()];
            launch
        };
        let refused = session.prompt(nothing, &"hello".into(), TurnLimits::default()).await;
        assert!(matches!(refused, Err(ProcessError::NotFound { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn a_turn_that_ignores_its_interrupt_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut session = AgentSession::default();
        let limits = TurnLimits { interrupt_grace: Duration::ZERO, ..TurnLimits::default() };
        let stubborn = launch(folder.path(), PromptMode::Live, "while read -r line; do :; done");
        session.prompt(stubborn, &"hello".into(), limits).await.expect("it starts");
        session.stop().await.expect("it can be interrupted");
        session.stop().await.expect("and again");
        assert_eq!(outcome(&mut session).await, TurnOutcome::Stopped);
        session.stop().await.expect("nothing to stop");
        assert_eq!(session.pid(), None);
    }

    #[tokio::test]
    async fn a_process_in_a_mode_that_asks_less_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let answers = |line: &str, accept_edits| {
            let answer = r#"{"type":"result","subtype":"success","is_error":false,"result":"done"}"#;
            let script = format!("read -r line; echo '{line}'; echo '{answer}'; exec sleep 600");
            let mut launch = launch(folder.path(), PromptMode::Live, &script);
            launch.permissions.accept_edits = accept_edits;
            launch
        };
        let init = |mode: &str| {
            format!(r#"{{"type":"system","subtype":"init","session_id":"s","permissionMode":"{mode}"}}"#)
        };
        let auto = r#"{"type":"system","subtype":"status","permissionMode":"auto"}"#.to_owned();
        for (line, accept_edits, is_ended) in [
            (init("default"), false, false),
            (init("plan"), false, false),
            (init("acceptEdits"), true, false),
            (init("acceptEdits"), false, true),
            (init("auto"), true, true),
            (init("bypassPermissions"), false, true),
            (auto, false, true),
        ] {
            let mut session = AgentSession::default();
            let launch = answers(&line, accept_edits);
            session.prompt(launch, &"hello".into(), TurnLimits::default()).await.expect("it starts");
            let outcome = outcome(&mut session).await;
            let failed = TurnOutcome::Failed { cause: TurnFailure::WrongMode, text: String::new() };
            assert_eq!(outcome == failed, is_ended, "{line}: {outcome:?}");
            session.close().await;
        }
    }

    /// Begins a task in the background, ends it when it is told to, and then begins a turn by itself.
    const WORKS_ON: &str = r#"
        say() { echo "$1"; }
        read -r line
        say '{"type":"system","subtype":"background_tasks_changed","tasks":[{"task_id":"b1","task_type":"local_bash","description":"count"}]}'
        say '{"type":"result","subtype":"success","is_error":false,"result":"started"}'
        read -r stop
        case $stop in *stop_task*b1*) ;; *) exit 9 ;; esac
        say '{"type":"system","subtype":"task_notification","task_id":"b1","status":"stopped"}'
        say '{"type":"system","subtype":"background_tasks_changed","tasks":[]}'
        say '{"type":"system","subtype":"init","session_id":"s"}'
        read -r interrupt
        case $interrupt in *interrupt*) ;; *) exit 9 ;; esac
        say '{"type":"result","subtype":"error_during_execution","is_error":true,"terminal_reason":"aborted_tools"}'
        exec sleep 600"#;

    /// Reads events up to this one.
    async fn until(session: &mut AgentSession, is_it: impl Fn(&AgentEvent) -> bool) -> TurnUpdate {
        let found = async {
            loop {
                let update = session.next().await;
                if is_it(&update.event) {
                    return update;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect("the event comes")
    }

    #[tokio::test]
    async fn work_in_the_background_is_known_and_stopped_and_a_turn_after_it_is_no_idleness() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut session = AgentSession::default();
        let live = launch(folder.path(), PromptMode::Live, WORKS_ON);
        session.prompt(live, &"count".into(), TurnLimits::default()).await.expect("it starts");
        assert_eq!(answer(outcome(&mut session).await), "started");
        assert_eq!(session.background().iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["b1"]);
        assert!(session.idle_since().is_some(), "it waits for a prompt");
        // Without a turn there is nothing to interrupt, and the task goes on.
        session.stop().await.expect("nothing is sent");
        session.stop_background().await.expect("it is sent");
        until(&mut session, |event| matches!(event, AgentEvent::BackgroundTasks(tasks) if tasks.is_empty()))
            .await;
        assert!(session.background().is_empty());
        until(&mut session, |event| matches!(event, AgentEvent::Started { .. })).await;
        assert_eq!(session.idle_since(), None, "it works, though nobody prompted");
        session.stop().await.expect("it is sent");
        let end = until(&mut session, |event| matches!(event, AgentEvent::TurnEnded(_))).await;
        assert_eq!(end.outcome, None);
        assert!(session.idle_since().is_some());
        session.close().await;
    }

    #[tokio::test]
    async fn the_end_of_a_turn_that_began_by_itself_is_not_that_of_a_prompt_sent_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = r#"
            read -r line
            echo '{"type":"result","subtype":"success","is_error":false,"result":"one"}'
            echo '{"type":"system","subtype":"init","session_id":"s"}'
            read -r line
            echo '{"type":"result","subtype":"success","is_error":false,"result":"by itself"}'
            echo '{"type":"result","subtype":"success","is_error":false,"result":"two"}'
            exec sleep 600"#;
        let live = || launch(folder.path(), PromptMode::Live, script);
        let mut session = AgentSession::default();
        session.prompt(live(), &"first".into(), TurnLimits::default()).await.expect("it starts");
        assert_eq!(answer(outcome(&mut session).await), "one");
        until(&mut session, |event| matches!(event, AgentEvent::Started { .. })).await;
        session.prompt(live(), &"second".into(), TurnLimits::default()).await.expect("it is sent");
        assert_eq!(answer(outcome(&mut session).await), "two");
        session.close().await;
    }

    #[tokio::test]
    async fn a_silent_turn_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut session = AgentSession::default();
        let limits = TurnLimits { silence: Some(Duration::ZERO), ..TurnLimits::default() };
        let prompt = PromptMode::OneShot { prompt: "hello".into() };
        session.run_once(launch(folder.path(), prompt, "exec sleep 600"), limits).await.expect("it starts");
        assert_eq!(outcome(&mut session).await, TurnOutcome::Silent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_over_http_is_no_silence() {
        let asked = Arc::new(AtomicUsize::new(1));
        let mut session = AgentSession::asking_elsewhere(asked.clone());
        let limit = Duration::from_secs(1);
        session.attempt = Some(TurnAttempt::new(
            AttemptKind::OneShot,
            TurnLimits { silence: Some(limit), ..TurnLimits::default() },
            Instant::now(),
        ));
        tokio::time::advance(limit * 10).await;
        session.on_deadline();
        let deadline = session.attempt.as_ref().and_then(TurnAttempt::deadline);
        assert_eq!(deadline, Some(Instant::now() + limit));
        asked.store(0, Ordering::Relaxed);
        tokio::time::advance(limit / 2).await;
        session.on_deadline();
        let later = session.attempt.as_ref().and_then(TurnAttempt::deadline);
        assert_eq!(later, deadline, "counted from the answer");
    }

    #[tokio::test]
    async fn a_one_shot_process_is_over_when_it_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut session = AgentSession::default();
        let prompt = PromptMode::OneShot { prompt: "hello".into() };
        let fails = r#"echo '{"type":"result","subtype":"error_max_turns","is_error":true}'; exit 1"#;
        session
            .run_once(launch(folder.path(), prompt, fails), TurnLimits::default())
            .await
            .expect("it starts");
        let failed = TurnOutcome::Failed { cause: TurnFailure::StepLimit, text: String::new() };
        assert_eq!(outcome(&mut session).await, failed);
        assert_eq!(session.pid(), None);
    }
}
