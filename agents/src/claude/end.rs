//! Terminates a process and everything it started: SIGTERM, a grace period, SIGKILL, reaping.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    folder::RunFolder,
    launch::{LaunchModel, RUN_VARIABLE},
};
use crate::{
    event::{AgentEvent, ProcessExit, SessionId},
    pty::{ProcessLeader, PtyReader, code_and_signal},
    tree::{self, ProcessEnvironment, ProcessId},
};

/// How long a process may take after SIGTERM; 2.1.330 took 0.3 to 1.7 s.
const GRACE: Duration = Duration::from_secs(5);

/// How often descendants are collected during the grace period.
const COLLECT_EVERY: Duration = Duration::from_millis(250);

/// How long killed processes may take to disappear.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that lives as long as the process.
pub(super) struct ProcessSupervisor {
    pub leader: Arc<ProcessLeader>,
    /// Resolves when the process has ended.
    pub ended: oneshot::Receiver<()>,
    pub reader: PtyReader,
    pub folder: RunFolder,
    pub session: SessionId,
    /// The value of [`RUN_VARIABLE`] in its environment.
    pub run: String,
    /// Its way to the model.
    pub _model: LaunchModel,
    /// Cancelled to request termination.
    pub stop: CancellationToken,
    /// Cancelled when the process is gone.
    pub over: CancellationToken,
    /// The reserved slot for the last event, so that a full channel cannot lose it.
    pub last: mpsc::OwnedPermit<AgentEvent>,
}

impl ProcessSupervisor {
    /// Waits until the process exits, or terminates it on request; then kills its descendants and sends
    /// [`AgentEvent::Exited`]. Returns how many processes had to be killed.
    pub(super) async fn run(mut self) -> usize {
        let (mut known, mut killed) = (BTreeSet::new(), 0);
        tokio::select! {
            // A process that has exited by itself needs no SIGTERM.
            biased;
            _ = &mut self.ended => {}
            () = self.stop.cancelled() => killed += self.bring_about(&mut known).await,
        }
        // Our own read side holds the FIFO open, so the writer would never notice that the reader is gone.
        self.over.cancel();
        let leader = Arc::clone(&self.leader);
        let mark = ProcessMark { session: self.session, run: self.run, pid: self.leader.pid().to_string() };
        let cleaning = tokio::task::spawn_blocking(move || {
            // Leftovers are searched before `reap`: from then on the pid can belong to another process.
            let left = tree::kill_all(KILL_TIMEOUT, || mark.living_processes(&known));
            (leader.reap(), left)
        });
        let (status, left) = cleaning.await.unwrap_or_default();
        // After the kill: with no descendant left, the terminal closes and the reader finishes at once.
        let tail = self.reader.finish().await;
        let _ = tokio::task::spawn_blocking(|| self.folder.remove()).await;
        let (code, signal) = code_and_signal(status);
        self.last.send(AgentEvent::Exited(ProcessExit { code, signal, tail }));
        killed + left
    }

    /// SIGTERM, [`GRACE`], SIGKILL. Returns how many processes it killed.
    async fn bring_about(&mut self, known: &mut BTreeSet<ProcessId>) -> usize {
        // Collected before and during the grace period: once the CLI is gone, init adopts its commands and the tree no
        // longer leads to them.
        known.extend(descendants(self.leader.pid()).await);
        self.leader.ask_to_end();
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            let next = deadline.min(Instant::now() + COLLECT_EVERY);
            if timeout_at(next, &mut self.ended).await.is_ok() {
                return 0;
            }
            known.extend(descendants(self.leader.pid()).await);
        }
        tracing::warn!(pid = self.leader.pid(), "a Claude Code process ignores SIGTERM and is killed");
        self.leader.signal(Signal::KILL);
        let _ = (&mut self.ended).await;
        1
    }
}

async fn descendants(pid: u32) -> BTreeSet<ProcessId> {
    tokio::task::spawn_blocking(move || tree::descendants(pid)).await.unwrap_or_default()
}

/// Identifies the processes of one run.
struct ProcessMark {
    session: SessionId,
    run: String,
    pid: String,
}

impl ProcessMark {
    /// Processes of the run that are alive: `known` ones, and those with the mark in their environment.
    fn living_processes(&self, known: &BTreeSet<ProcessId>) -> BTreeSet<ProcessId> {
        // By the mark: every Bash call has a session and group of its own (2.1.330), and a command that it leaves in the
        // background also loses its parent.
        let mut alive = tree::marked(|environment| self.is_on(environment));
        alive.extend(known.iter().filter(|seen| seen.is_alive()));
        alive
    }

    fn is_on(&self, environment: &ProcessEnvironment) -> bool {
        let carries = |name, value: &str| environment.get(name) == Some(value.as_bytes());
        // The CLI marks its commands too. Its pid is compared because a resumed session has the same id.
        let by_cli =
            || carries("CLAUDE_PID", &self.pid) && carries("CLAUDE_CODE_SESSION_ID", self.session.as_str());
        carries(RUN_VARIABLE, &self.run) || by_cli()
    }
}

/// Terminates the leftovers of an earlier storkit that was killed: processes that carry one of these sessions in
/// `CLAUDE_CODE_SESSION_ID` or in storkit's own mark, and their descendants. SIGTERM, up to 2 s, SIGKILL.
/// Returns how many there were.
///
/// Only for the start of the one storkit of a project: it would also kill the processes of a live one.
pub async fn sweep_orphans(sessions: &[SessionId]) -> usize {
    let sessions: BTreeSet<String> = sessions.iter().map(SessionId::to_string).collect();
    if sessions.is_empty() {
        return 0;
    }
    let sessions = Arc::new(sessions);
    let orphans = find_orphans(Arc::clone(&sessions)).await;
    for seen in &orphans {
        seen.signal(Signal::TERM);
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline && orphans.iter().any(|seen| seen.is_alive()) {
        sleep(Duration::from_millis(20)).await;
    }
    let killing = tokio::task::spawn_blocking(move || {
        tree::kill_all(KILL_TIMEOUT, || {
            let mut alive = tree::marked(|environment| carries_session(environment, &sessions));
            alive.extend(orphans.iter().filter(|seen| seen.is_alive()));
            alive
        });
        orphans.len()
    });
    killing.await.unwrap_or_default()
}

async fn find_orphans(sessions: Arc<BTreeSet<String>>) -> BTreeSet<ProcessId> {
    let finding = move || tree::marked(|environment| carries_session(environment, &sessions));
    tokio::task::spawn_blocking(finding).await.unwrap_or_default()
}

fn carries_session(environment: &ProcessEnvironment, sessions: &BTreeSet<String>) -> bool {
    let text = |name| environment.get(name).and_then(|value| std::str::from_utf8(value).ok());
    let by_run = || text(RUN_VARIABLE).and_then(|run| run.split('/').next());
    [text("CLAUDE_CODE_SESSION_ID"), by_run()].into_iter().flatten().any(|session| sessions.contains(session))
}
