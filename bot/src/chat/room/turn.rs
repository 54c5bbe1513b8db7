//! The turn under way in a room: its prompt, its attempts and its live message. It only decides; the room acts.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, SystemTime},
};

use adapters::{Room, SentFile};
use agents::{
    prompt::AgentPrompt,
    turn::{RetryPolicy, RetryStep, TurnOutcome, TurnRetries},
};
use pipeline::{rooms::RoomWorkspace, worktree::RoomStanding};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

use super::{
    background::BackgroundWork, memory::ToldMemory, own_tools::TurnTools, requests::OpenRequests,
    servers::SessionServers,
};
use crate::{
    chat::{
        network::RoomSpending, outbox::LiveSlot, prompt, received_files::ReceivedFile, session::RoomSession,
        thread::UnreadThread, transcript::TurnTranscript, workspace::EnteredRoom,
    },
    permission::Asker,
    replies,
    sent_files::FileLoss,
    store::QueuedPrompt,
};

/// A call that runs for longer is shown. Most have a result before, or a question that names them.
const CALLS_AFTER: Duration = Duration::from_secs(2);

/// The room's session, where it works, and the turn that it works on.
pub(super) struct RoomTurn {
    pub(super) session: RoomSession,
    pub(super) current: Option<CurrentTurn>,
    /// The session as people know it who are asked.
    pub(super) asker: Asker,
    pub(super) place: TurnPlace,
    /// What people last asked for, in their words.
    pub(super) last_request: Option<String>,
    /// What the turn's agent may call.
    pub(super) tools: Option<TurnTools>,
    /// Where the session works, once it has started.
    pub(super) folder: Option<PathBuf>,
    pub(super) spending: RoomSpending,
    /// Counts the questions about hosts that wait for a person.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) requests: OpenRequests,
    pub(super) background: BackgroundWork,
    pub(super) once: ToldOnce,
}

/// What is told once and not with each prompt.
#[derive(Default)]
pub(super) struct ToldOnce {
    /// The threads whose beginning the session knows.
    pub(super) threads: HashSet<Room>,
    /// Missing servers, of which the room knows.
    pub(super) servers: SessionServers,
    pub(super) memory: ToldMemory,
}

/// Where the room works, as of its last turn.
#[derive(Default)]
pub(super) struct TurnPlace {
    pub(super) workspace: Option<RoomWorkspace>,
    /// The worktree's own changes, where it has some.
    pub(super) own: Option<RoomStanding>,
    /// Whether the person was told how far base has moved on.
    told_behind: bool,
    /// Whether the person was told why it is here and not where the settings say.
    told_fallback: bool,
}

/// Makes the room's workspace ready, and ends with this value.
pub(super) struct EnteringTask(AbortHandle);

impl Drop for EnteringTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A prompt that the room works on, from its first attempt to its answer.
pub(super) struct CurrentTurn {
    pub(super) prompt: QueuedPrompt,
    pub(super) since: Instant,
    /// Its row in the store.
    pub(super) number: Option<i64>,
    /// What the agent program got, for another attempt.
    pub(super) input: AgentPrompt,
    pub(super) unfetched: UnfetchedParts,
    pub(super) transcript: TurnTranscript,
    /// The live message that shows it.
    pub(super) slot: Option<LiveSlot>,
    /// When a message of nothing but running calls is due.
    calls_due: Option<Instant>,
    /// Permission requests that wait.
    asked: Vec<String>,
    attempts: TurnAttempts,
    /// Whether its cost, or a part of it, is in the record.
    pub(super) is_recorded: bool,
}

/// How far the attempts to get an answer are.
struct TurnAttempts {
    phase: TurnPhase,
    retries: TurnRetries,
    /// Whether the attempt under way resumes a session.
    resumed: bool,
    entering: Option<EnteringTask>,
}

/// What belongs to the prompt and is not fetched yet.
#[derive(Default)]
pub(super) struct UnfetchedParts {
    pub(super) files: Vec<SentFile>,
    pub(super) thread: Option<UnreadThread>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnPhase {
    /// The workspace is made ready.
    Entering,
    Running,
    /// The model's service is busy; the prompt is sent again then.
    Waiting {
        until: Instant,
    },
    /// A person stopped it.
    Stopping,
}

/// The action that a stop requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopAction {
    /// Interrupt the session; the outcome follows.
    Interrupt,
    /// No attempt is under way: the turn is over.
    End,
}

impl RoomTurn {
    pub(super) fn new(
        session: RoomSession,
        asker: Asker,
        spending: RoomSpending,
        waiting: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            session,
            asker,
            current: None,
            place: TurnPlace::default(),
            last_request: None,
            tools: None,
            folder: None,
            spending,
            waiting,
            requests: OpenRequests::default(),
            background: BackgroundWork::default(),
            once: ToldOnce::default(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.current.is_some()
    }

    /// When progress is to be shown although nothing happens.
    pub(super) fn progress_due(&self) -> Option<Instant> {
        self.current.as_ref()?.progress_due()
    }

    /// When the prompt is to be sent again.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.current.as_ref()?.attempts.phase {
            TurnPhase::Waiting { until } => Some(until),
            TurnPhase::Entering | TurnPhase::Running | TurnPhase::Stopping => None,
        }
    }
}

impl EnteringTask {
    pub(super) fn new(task: &JoinHandle<()>) -> Self {
        Self(task.abort_handle())
    }
}

impl TurnPlace {
    /// Takes the place of the next attempt; returns the notice for the person, if it is time for one.
    pub(super) fn enter(&mut self, entered: EnteredRoom) -> Vec<String> {
        let EnteredRoom { workspace, own, mut notes, fallback, .. } = entered;
        let behind = own.filter(|own| own.behind > 0);
        if let Some(own) = behind.filter(|_| !self.told_behind) {
            notes.push(replies::base_moved_on(&own));
        }
        if let Some(why) = fallback.as_ref().filter(|_| !self.told_fallback) {
            notes.push(why.clone());
        }
        // A worktree that follows base again may be told anew.
        self.told_behind = behind.is_some();
        self.told_fallback = fallback.is_some();
        self.workspace = Some(workspace);
        self.own = own;
        notes
    }
}

impl CurrentTurn {
    pub(super) fn new(
        number: Option<i64>,
        prompt: QueuedPrompt,
        input: AgentPrompt,
        retry: RetryPolicy,
    ) -> Self {
        Self {
            unfetched: UnfetchedParts { files: prompt.enclosed.files.clone(), thread: None },
            prompt,
            since: Instant::now(),
            number,
            input,
            transcript: TurnTranscript::default(),
            slot: None,
            calls_due: None,
            asked: Vec::new(),
            attempts: TurnAttempts {
                phase: TurnPhase::Entering,
                retries: TurnRetries::new(Some(retry)),
                resumed: false,
                entering: None,
            },
            is_recorded: false,
        }
    }

    /// The workspace is made ready by this task.
    pub(super) fn begin_entering(&mut self, task: EnteringTask) {
        self.attempts.phase = TurnPhase::Entering;
        self.attempts.entering = Some(task);
    }

    /// Whether it waits for its workspace; an answer that comes after a stop is for nobody.
    pub(super) fn is_entering(&self) -> bool {
        self.attempts.phase == TurnPhase::Entering
    }

    /// Puts what the prompt refers to before it.
    pub(super) fn add_context(&mut self, context: &str) {
        if let AgentPrompt::Message { text, .. } = &mut self.input {
            *text = format!("{context}\n\n{text}").trim().to_owned();
        }
    }

    /// Adds the prompt's files. `false` if the agent could do nothing without them: none arrived, and either there is nothing else
    /// or sending them again may help.
    pub(super) fn add_files(&mut self, files: &[ReceivedFile]) -> bool {
        let AgentPrompt::Message { text, images } = &mut self.input else { return true };
        if files.is_empty() {
            return true;
        }
        let arrived = files.iter().any(|file| file.kept.is_ok());
        let failed = files.iter().any(|file| matches!(file.kept, Err(FileLoss::Failed(_))));
        // Not the composed text: among several people that begins with the sender's name.
        let says_more = !self.prompt.text.trim().is_empty() || !self.prompt.enclosed.quotes.is_empty();
        *text = format!("{}\n\n{text}", prompt::files_note(files)).trim_end().to_owned();
        images.extend(files.iter().filter_map(|file| file.kept.as_ref().ok()?.image.clone()));
        arrived || says_more && !failed
    }

    pub(super) fn begin_attempt(&mut self, resumed: bool) {
        self.attempts.phase = TurnPhase::Running;
        self.attempts.entering = None;
        self.attempts.resumed = resumed;
    }

    // The next attempt answers the same prompt from the start: the text of the failed one would appear twice.
    pub(super) fn forget_attempt(&mut self) {
        self.transcript = TurnTranscript::default();
    }

    /// What its message says when the bot goes down.
    pub(super) fn words_at_shutdown(&self) -> &'static str {
        match self.attempts.phase {
            TurnPhase::Entering | TurnPhase::Waiting { .. } => replies::RUN_AFTER_SHUTDOWN,
            TurnPhase::Running | TurnPhase::Stopping => replies::STOPPED_BY_SHUTDOWN,
        }
    }

    // A stop counts whatever else the attempt came to: a retry after it would run work that a person just stopped.
    pub(super) fn on_outcome(&mut self, outcome: TurnOutcome, now: SystemTime) -> RetryStep {
        if self.attempts.phase == TurnPhase::Stopping {
            return RetryStep::End(TurnOutcome::Stopped);
        }
        let next = self.attempts.retries.next_step(outcome, self.attempts.resumed, now);
        if let RetryStep::Wait(_, wait) = &next {
            self.attempts.phase = TurnPhase::Waiting { until: Instant::now() + wait.wait };
        }
        next
    }

    pub(super) fn stop(&mut self) -> StopAction {
        match std::mem::replace(&mut self.attempts.phase, TurnPhase::Stopping) {
            TurnPhase::Waiting { .. } | TurnPhase::Entering => StopAction::End,
            TurnPhase::Running | TurnPhase::Stopping => StopAction::Interrupt,
        }
    }

    pub(super) fn on_permission_asked(&mut self, request_id: &str) {
        self.asked.push(request_id.to_owned());
    }

    pub(super) fn on_permission_answered(&mut self, request_id: &str) {
        self.asked.retain(|asked| asked != request_id);
    }

    /// The reason for a wait besides the model, for `status`.
    pub(super) fn waiting(&self) -> Option<String> {
        match self.attempts.phase {
            TurnPhase::Waiting { until } => {
                Some(replies::waits_for_service(until.saturating_duration_since(Instant::now())))
            }
            TurnPhase::Running if !self.asked.is_empty() => Some(replies::WAITS_FOR_ANSWER.into()),
            TurnPhase::Entering => Some(replies::WAITS_FOR_WORKSPACE.into()),
            TurnPhase::Running | TurnPhase::Stopping => None,
        }
    }

    /// The text of its live message; `None` while there is nothing to show. A turn that may stay silent shows nothing
    /// until its text can no longer be the word for silence.
    pub(super) fn progress(&mut self, verbosity: u8) -> Option<String> {
        if self.slot.is_none() && self.transcript.shows_only_running_tools() {
            let due = *self.calls_due.get_or_insert_with(|| Instant::now() + CALLS_AFTER);
            if Instant::now() < due {
                return None;
            }
        }
        self.calls_due = None;
        let may_be_silent =
            self.prompt.addressed.is_none() && prompt::may_become_silence(&self.transcript.text());
        if self.attempts.phase != TurnPhase::Running || may_be_silent {
            return None;
        }
        Some(self.transcript.progress_text(verbosity)).filter(|text| !text.trim().is_empty())
    }

    /// When progress is to be shown although nothing happens.
    pub(super) fn progress_due(&self) -> Option<Instant> {
        self.calls_due
    }

    /// A question names the call that it is about, so no message does.
    pub(super) fn forget_due_calls(&mut self) {
        self.calls_due = None;
    }

    /// The final message for the model's answer; `None` for a silent one.
    pub(super) fn answer(&self, verbosity: u8, answer: &str) -> Option<String> {
        if self.prompt.addressed.is_none() && prompt::is_silence(answer) {
            return None;
        }
        let text = self.transcript.final_text(verbosity, answer);
        if text.trim().is_empty() && self.slot.is_none() && answer.trim().is_empty() {
            return Some(replies::EMPTY_ANSWER.to_owned());
        }
        Some(text)
    }

    /// The final message of an interrupted turn: its text so far, and a sentence below it.
    pub(super) fn cut_short(&self, verbosity: u8, sentence: &str) -> String {
        let so_far = self.transcript.progress_text(verbosity);
        match so_far.trim() {
            "" => sentence.to_owned(),
            _ => format!("{so_far}\n\n{sentence}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agents::{
        claude::{AgentEvent, BusyService, ToolUse},
        confine::{Confined, Confinement, WorktreePaths},
    };

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn turn() -> CurrentTurn {
        let mut turn = CurrentTurn::new(
            Some(1),
            QueuedPrompt::for_tests("fix it"),
            "fix it".into(),
            RetryPolicy::default(),
        );
        turn.begin_attempt(true);
        turn
    }

    fn ambient() -> CurrentTurn {
        let prompt = QueuedPrompt { addressed: None, ..QueuedPrompt::for_tests("nice weather") };
        let mut turn = CurrentTurn::new(None, prompt, "nice weather".into(), RetryPolicy::default());
        turn.begin_attempt(false);
        turn
    }

    fn entered(behind: usize, fallback: Option<&str>) -> EnteredRoom {
        let paths = WorktreePaths {
            root: "/p".into(),
            common: "/p/.git".into(),
            folder: "/p".into(),
            admin: "/p/.git".into(),
            private: "/p/.storkit/run/x".into(),
            hooks: "/p/.storkit/hooks".into(),
            ref_folders: Vec::new(),
            is_slot: false,
        };
        let confined = Confined { confinement: Confinement::None, place: paths, variables: Vec::new() };
        EnteredRoom {
            workspace: RoomWorkspace {
                folder: "/p".into(),
                branch: None,
                env: Vec::new(),
                confined,
                egress: None,
                model: Default::default(),
            },
            own: Some(RoomStanding { ahead: 1, behind, uncommitted: 0 }),
            notes: Vec::new(),
            fallback: fallback.map(str::to_owned),
            files: Vec::new(),
            memory: Default::default(),
            thread: None,
        }
    }

    #[test]
    fn how_far_base_has_moved_is_said_once_and_again_after_the_room_was_level() {
        let mut place = TurnPlace::default();
        let told = |place: &mut TurnPlace, behind| place.enter(entered(behind, None)).len();
        assert_eq!([told(&mut place, 0), told(&mut place, 1), told(&mut place, 2)], [0, 1, 0]);
        assert_eq!([told(&mut place, 0), told(&mut place, 3)], [0, 1]);
    }

    #[test]
    fn why_a_room_works_in_the_main_checkout_is_said_once() {
        let mut place = TurnPlace::default();
        let first = place.enter(entered(0, Some("There is no commit.")));
        assert!(first[0].contains("There is no commit."), "{first:?}");
        assert!(place.enter(entered(0, Some("There is no commit."))).is_empty());
    }

    #[tokio::test]
    async fn a_stop_while_the_workspace_is_made_ready_ends_the_turn_and_that_work() {
        let mut turn = turn();
        let task = tokio::spawn(std::future::pending::<()>());
        turn.begin_entering(EnteringTask::new(&task));
        assert!(turn.is_entering() && turn.progress(2).is_none());
        assert_eq!(turn.waiting().as_deref(), Some(replies::WAITS_FOR_WORKSPACE));
        assert_eq!(turn.stop(), StopAction::End);
        assert!(!turn.is_entering(), "an answer that comes now is for nobody");
        drop(turn);
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
    }

    fn busy(until: Option<SystemTime>) -> TurnOutcome {
        TurnOutcome::Busy { service: BusyService::UsageLimit, until }
    }

    fn answered() -> TurnOutcome {
        TurnOutcome::Answered(Box::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_service_is_waited_for_until_its_reset() {
        let (mut turn, now) = (turn(), SystemTime::now());
        let next = turn.on_outcome(busy(Some(now + 150 * HOUR)), now);
        assert!(matches!(next, RetryStep::Wait(_, wait) if wait.wait == 150 * HOUR && !wait.counted));
        assert_eq!(turn.attempts.phase, TurnPhase::Waiting { until: Instant::now() + 150 * HOUR });
        assert!(turn.waiting().is_some_and(|waiting| waiting.contains("6d")), "{:?}", turn.waiting());
        assert_eq!(turn.progress(1), None, "what a failed attempt said does not change any more");
        turn.begin_attempt(true);
        assert_eq!((turn.waiting(), turn.attempts.phase), (None, TurnPhase::Running));
    }

    #[test]
    fn a_stop_while_waiting_ends_the_turn_at_once() {
        let mut turn = turn();
        turn.on_outcome(busy(None), SystemTime::now());
        assert_eq!(turn.stop(), StopAction::End);
    }

    #[test]
    fn a_stop_that_the_answer_has_overtaken_is_still_a_stop() {
        let mut turn = turn();
        assert_eq!(turn.stop(), StopAction::Interrupt);
        assert_eq!(turn.stop(), StopAction::Interrupt, "the second one is no end");
        let next = turn.on_outcome(answered(), SystemTime::now());
        assert_eq!(next, RetryStep::End(TurnOutcome::Stopped));
    }

    #[test]
    fn a_busy_service_does_not_outlive_a_stop() {
        let mut turn = turn();
        turn.stop();
        assert_eq!(turn.on_outcome(busy(None), SystemTime::now()), RetryStep::End(TurnOutcome::Stopped));
    }

    #[test]
    fn a_session_is_lost_twice_only_by_a_defect_and_then_the_turn_ends() {
        let mut turn = turn();
        assert_eq!(turn.on_outcome(TurnOutcome::SessionLost, SystemTime::now()), RetryStep::NewSession);
        turn.begin_attempt(false);
        let next = turn.on_outcome(TurnOutcome::SessionLost, SystemTime::now());
        assert_eq!(next, RetryStep::End(TurnOutcome::SessionLost));
    }

    #[test]
    fn status_tells_that_a_person_is_asked_until_all_have_answered() {
        let mut turn = turn();
        turn.on_permission_asked("1");
        turn.on_permission_asked("2");
        turn.on_permission_answered("1");
        assert_eq!(turn.waiting().as_deref(), Some(replies::WAITS_FOR_ANSWER));
        turn.on_permission_answered("2");
        assert_eq!(turn.waiting(), None);
    }

    #[test]
    fn an_unaddressed_turn_shows_nothing_until_it_has_something_to_say() {
        let mut turn = ambient();
        turn.transcript.apply(&AgentEvent::TextDelta("NOTHING".into()));
        assert_eq!(turn.progress(1), None);
        assert_eq!(turn.answer(1, "NOTHING_TO_ADD"), None);
        turn.transcript.apply(&AgentEvent::TextDelta(" is wrong".into()));
        assert_eq!(turn.progress(1).as_deref(), Some("NOTHING is wrong"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_alone_is_shown_once_it_takes_long() {
        let call = |id: &str| {
            AgentEvent::ToolUse(ToolUse { id: id.into(), name: "Bash".into(), input: Default::default() })
        };
        let mut turn = turn();
        turn.begin_attempt(false);
        turn.transcript.apply(&call("1"));
        assert_eq!((turn.progress(1), turn.progress_due()), (None, Some(Instant::now() + CALLS_AFTER)));
        tokio::time::advance(CALLS_AFTER).await;
        assert_eq!((turn.progress(1).as_deref(), turn.progress_due()), (Some("- Bash …"), None));
        turn.transcript.apply(&AgentEvent::ToolResult { id: "1".into(), is_error: false });
        turn.transcript.apply(&call("2"));
        let shown = turn.progress(1);
        assert_eq!(shown.as_deref(), Some("- Bash ✓\n- Bash …"), "beside others at once");
    }

    #[test]
    fn an_answer_is_never_empty_and_a_cut_one_keeps_what_was_said() {
        let mut turn = turn();
        assert_eq!(turn.answer(1, " ").as_deref(), Some(replies::EMPTY_ANSWER));
        assert_eq!(turn.cut_short(1, "Stopped."), "Stopped.");
        turn.transcript.apply(&AgentEvent::Text("Half".into()));
        assert_eq!(turn.cut_short(1, "Stopped."), "Half\n\nStopped.");
        turn.forget_attempt();
        assert_eq!(turn.cut_short(1, "Stopped."), "Stopped.");
    }
}
