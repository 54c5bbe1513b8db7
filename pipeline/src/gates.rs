//! Gates: commands of the operator's `project.toml` that must pass. Each has a deadline, its output is always
//! drained, the last of it is stored, and nothing it started outlives it.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt, io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use agents::{
    confine::{
        Confined, EgressProxy, NetworkAccess, NetworkPlan, OpenHosts, ScratchFolders, Tenant, WalledCommand,
        environment, in_own_session,
    },
    tree::{self, ProcessId},
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::{Child, Command},
    sync::oneshot,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::evidence;

/// What gates' part of the network is called in sentences.
pub(crate) const GATE_NETWORK: &str = "`gate_network` in `.storkit/project.toml`";

/// How much of a gate's output is stored: the last part, where the failure is.
pub const TAIL_BYTES: usize = 64 << 10;

/// In the environment of every process of a gate; the value is `PROJECT-ROOT/UUID`, or only a UUID outside of one.
pub(crate) const GATE_VARIABLE: &str = agents::tree::GATE_MARK;

/// How long a gate may take after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// How long killed processes may take to be gone, and a pipe that nobody of ours holds to be drained.
const PATIENCE: Duration = Duration::from_secs(5);

/// The commands to run, and how.
#[derive(Clone, Debug)]
pub struct GateRunner {
    /// Command lines, each run by `sh -c`.
    pub commands: Vec<String>,
    /// How long one command may take.
    pub timeout: Duration,
    /// Variables set for them, in addition to storkit's own.
    pub environment: Vec<(String, String)>,
    /// The wall around each of them: gates run code that agents wrote.
    pub wall: Option<Confined>,
    /// Hosts that are open to them with `"ask"`.
    pub open_hosts: OpenHosts,
    /// The way out of that wall, if it has one.
    pub egress: Option<Arc<EgressProxy>>,
    /// Continue after a failure; otherwise the report stops at the first one.
    pub keep_going: bool,
    /// By this a later storkit knows the processes: the project's root, or empty.
    pub(crate) owner: String,
}

impl Default for GateRunner {
    fn default() -> Self {
        Self {
            commands: Vec::new(),
            timeout: Duration::from_secs(30 * 60),
            environment: Vec::new(),
            wall: None,
            open_hosts: OpenHosts::default(),
            egress: None,
            keep_going: false,
            owner: String::new(),
        }
    }
}

/// How one gate ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    pub command: String,
    /// Its exit code; `None` if a signal ended it or it could not be started.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether its time was up.
    pub timed_out: bool,
    /// How long it took.
    pub duration: Duration,
    /// The last [`TAIL_BYTES`] of standard output and standard error, as they came.
    pub tail: String,
}

/// How a run of gates ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReport {
    /// In the order they ran.
    pub results: Vec<GateResult>,
    /// The tree they ran on, as a git object id.
    pub tree: String,
}

/// The run was called off; what had been started is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gates were cancelled")]
pub struct GatesCancelled;

impl GateResult {
    pub fn passed(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for GateResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.duration.as_secs();
        match (self.code, self.signal) {
            _ if self.timed_out => write!(f, "`{}` was ended after {seconds} s", self.command),
            (Some(0), _) => write!(f, "`{}` passed in {seconds} s", self.command),
            (Some(code), _) => write!(f, "`{}` failed with code {code}", self.command),
            (None, Some(signal)) => write!(f, "`{}` was ended by signal {signal}", self.command),
            (None, None) => write!(f, "`{}` could not be started", self.command),
        }
    }
}

impl GateReport {
    /// Whether all passed. A report without gates passes: the project has none.
    pub fn passed(&self) -> bool {
        self.failure().is_none()
    }

    /// The first that failed.
    pub fn failure(&self) -> Option<&GateResult> {
        self.results.iter().find(|result| !result.passed())
    }
}

impl GateRunner {
    /// These commands, confined, with the network limited to `network`, the value of `key`.
    /// Blocks, and is to be called in a tokio runtime.
    /// The error is a sentence for a person.
    pub fn kept_in(self, confined: &Confined, network: &NetworkAccess, key: &str) -> Result<Self, String> {
        let plan = NetworkPlan { open: self.open_hosts.clone(), ..NetworkPlan::new(network.clone(), key) };
        let (confined, egress) = confined.limited(plan)?;
        let mut environment = self.environment;
        let evidence = confined.place.evidence();
        if evidence.is_dir() {
            environment.push((evidence::VARIABLE.to_owned(), evidence.to_string_lossy().into_owned()));
        }
        Ok(Self { wall: Some(confined), egress, environment, ..self })
    }

    /// Runs the commands one after the other in `dir`, whose tree is `tree` (see [`head_tree`]).
    ///
    /// They get no standard input, a session and a wall each, and of storkit's environment only listed variables. A gate is over
    /// when its leader exits; processes it left in the background are killed then.
    pub async fn run(
        &self,
        dir: &Path,
        tree: &str,
        cancel: &CancellationToken,
    ) -> Result<GateReport, GatesCancelled> {
        let mut report = GateReport { results: Vec::new(), tree: tree.to_owned() };
        for command in &self.commands {
            // One mark per command, so that a gate's leftovers are known even when they left its process
            // group.
            let mark = format!("{}/{}", self.owner, uuid::Uuid::new_v4());
            let result = self.run_one(command, dir, &mark, cancel).await?;
            let failed = !result.passed();
            report.results.push(result);
            if failed && !self.keep_going {
                break;
            }
        }
        Ok(report)
    }

    async fn run_one(
        &self,
        line: &str,
        dir: &Path,
        mark: &str,
        cancel: &CancellationToken,
    ) -> Result<GateResult, GatesCancelled> {
        let start = Instant::now();
        let mut result = GateResult {
            command: line.to_owned(),
            code: None,
            signal: None,
            timed_out: false,
            duration: Duration::ZERO,
            tail: String::new(),
        };
        let walled = self.walled(line, dir).await;
        // Its private folders are kept until all of its processes are gone.
        let (mut child, output, _scratch) = match walled.and_then(|walled| self.start(walled, dir, mark)) {
            Ok(started) => started,
            Err(error) => {
                result.tail = format!("The gate could not be started in `{}`: {error}.", dir.display());
                return Ok(result);
            }
        };
        let is_walled = self.wall.as_ref().is_some_and(|wall| wall.confinement.is_bubblewrap());
        let (status, end) = wait(&mut child, is_walled, self.timeout, cancel).await;
        // Before the output is read to its end: a process in the background would hold the pipe open.
        end_leftovers(mark.to_owned(), end.known).await;
        result.tail = output.finish().await;
        if let Some(refusals) = self.egress.as_ref().and_then(|egress| egress.refusals()) {
            result.tail.push_str(&refusals);
            result.tail.push('\n');
        }
        if end.cancelled {
            return Err(GatesCancelled);
        }
        result.code = status.and_then(|status| status.code());
        result.signal = status.and_then(|status| status.signal());
        result.timed_out = end.timed_out;
        // A gate may turn SIGTERM into success; late is failed all the same.
        if end.timed_out && result.code == Some(0) {
            result.code = None;
        }
        result.duration = start.elapsed();
        Ok(result)
    }

    async fn walled(&self, line: &str, dir: &Path) -> io::Result<WalledCommand> {
        let argv = ["sh", "-c", line].map(OsString::from).to_vec();
        let Some(wall) = self.wall.clone() else { return Ok(WalledCommand::plain(argv)) };
        let folder = dir.to_owned();
        let built = move || wall.command(argv, Tenant::Command { folder: &folder });
        tokio::task::spawn_blocking(built).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn start(
        &self,
        WalledCommand { argv, environment: moved, scratch }: WalledCommand,
        dir: &Path,
        mark: &str,
    ) -> io::Result<(Child, GateOutput, Option<ScratchFolders>)> {
        // One pipe for both, so that people read the output in the order it was written.
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).current_dir(dir);
        // Otherwise it could type into the terminal that storkit runs in.
        in_own_session(command.as_std_mut());
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let added = self.wall.as_ref().map_or(&[][..], |wall| &wall.variables);
        command.env_clear().envs(environment::for_commands(std::env::vars_os(), added));
        command
            .envs(moved)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(GATE_VARIABLE, mark);
        let child = command.spawn()?;
        // `command` still holds our copies of the writing end.
        drop(command);
        let output = GateOutput::drain(pipe::Receiver::from_owned_fd(reader.into())?);
        Ok((child, output, scratch))
    }
}

/// The tree that is checked out in `dir`, for [`GateRunner::run`] in a story's worktree.
pub fn head_tree(dir: &Path) -> Result<String, git2::Error> {
    let repository = git2::Repository::open(dir)?;
    Ok(repository.head()?.peel_to_tree()?.id().to_string())
}

#[derive(Default)]
struct GateEnd {
    timed_out: bool,
    cancelled: bool,
    known: BTreeSet<ProcessId>,
}

/// Waits for the leader, or stops it: SIGTERM to its group, [`GRACE`], SIGKILL. Behind a wall the group of the command is another one.
async fn wait(
    child: &mut Child,
    is_walled: bool,
    limit: Duration,
    cancel: &CancellationToken,
) -> (Option<ExitStatus>, GateEnd) {
    let mut end = GateEnd::default();
    tokio::select! {
        status = child.wait() => return (status.ok(), end),
        () = cancel.cancelled() => end.cancelled = true,
        () = tokio::time::sleep(limit) => end.timed_out = true,
    }
    let Some(leader) = child.id() else { return (child.wait().await.ok(), end) };
    // While parents live, children can still be identified by them.
    end.known = tokio::task::spawn_blocking(move || tree::descendants(leader)).await.unwrap_or_default();
    let group = Pid::from_raw(leader.cast_signed());
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    // bubblewrap passes no signal on, and ends everything at once when it gets one.
    if !is_walled || !tree::signal_behind_bubblewrap(leader, Signal::TERM) {
        signal(Signal::TERM);
    }
    if let Ok(status) = timeout(GRACE, child.wait()).await {
        return (status.ok(), end);
    }
    signal(Signal::KILL);
    (child.wait().await.ok(), end)
}

/// Kills the gate's remaining processes: by its mark, and those seen below it.
async fn end_leftovers(mark: String, known: BTreeSet<ProcessId>) {
    let killing = move || {
        tree::kill_all(PATIENCE, || {
            let mut alive =
                tree::marked(|environment| environment.get(GATE_VARIABLE) == Some(mark.as_bytes()));
            alive.extend(known.iter().filter(|seen| seen.is_alive()));
            alive
        })
    };
    let _ = tokio::task::spawn_blocking(killing).await;
}

/// The reading end of a gate's pipe.
struct GateOutput {
    reading: tokio::task::JoinHandle<Vec<u8>>,
    over: oneshot::Sender<()>,
}

impl GateOutput {
    fn drain(mut pipe: pipe::Receiver) -> Self {
        let (over, mut told_over) = oneshot::channel();
        let reading = tokio::spawn(async move {
            let (mut tail, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
            loop {
                let count = tokio::select! {
                    count = pipe.read(&mut buffer) => count.unwrap_or(0),
                    _ = &mut told_over => 0,
                };
                if count == 0 {
                    return tail;
                }
                tail.extend_from_slice(&buffer[..count]);
                // Cut only at twice the size: otherwise every chunk would move the whole tail.
                if tail.len() > 2 * TAIL_BYTES {
                    tail.drain(..tail.len() - TAIL_BYTES);
                }
            }
        });
        Self { reading, over }
    }

    /// The tail, once all is read, or once a stranger that holds the pipe open has been waited for.
    async fn finish(mut self) -> String {
        let read = match timeout(PATIENCE, &mut self.reading).await {
            Ok(read) => read,
            Err(_) => {
                let _ = self.over.send(());
                self.reading.await
            }
        };
        let bytes = read.unwrap_or_default();
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        String::from_utf8_lossy(kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use agents::confine::{Confinement, WorktreePaths};

    use super::*;

    fn gates(commands: &[&str]) -> GateRunner {
        GateRunner {
            commands: commands.iter().map(|command| (*command).into()).collect(),
            timeout: Duration::from_secs(60),
            ..GateRunner::default()
        }
    }

    async fn run(gates: GateRunner) -> GateReport {
        let folder = tempfile::tempdir().unwrap();
        gates.run(folder.path(), "0123", &CancellationToken::new()).await.unwrap()
    }

    /// Waits for a pid that a gate writes to a file.
    async fn written_pid(path: &Path) -> u32 {
        let looking = async {
            loop {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                match text.strip_suffix('\n').map(str::parse) {
                    Some(Ok(pid)) => return pid,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        timeout(Duration::from_secs(60), looking).await.expect("the gate starts")
    }

    fn runs(pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    #[tokio::test]
    async fn a_gate_that_prints_10_mb_does_not_hang_and_its_end_is_kept() {
        let loud = "head -c 10000000 /dev/zero | tr '\\0' x >&2; head -c 10000000 /dev/zero; echo the end";
        let report = run(gates(&[loud])).await;
        assert!(report.passed());
        assert_eq!(report.results[0].tail.len(), TAIL_BYTES);
        assert!(report.results[0].tail.ends_with("the end\n"));
    }

    #[tokio::test]
    async fn the_first_failure_stops_unless_told_otherwise() {
        let lines = ["true", "echo seen; exit 3", "kill -9 $$"];
        let report = run(gates(&lines)).await;
        assert_eq!((report.results.len(), report.tree.as_str()), (2, "0123"));
        assert_eq!(report.failure().unwrap().to_string(), "`echo seen; exit 3` failed with code 3");
        assert_eq!(report.failure().unwrap().tail, "seen\n");
        let report = run(GateRunner { keep_going: true, ..gates(&lines) }).await;
        assert_eq!(report.results[2].to_string(), "`kill -9 $$` was ended by signal 9");
    }

    #[tokio::test]
    async fn a_deadline_ends_the_whole_tree_also_what_left_the_group_and_ignores_sigterm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let line = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 600; done' & wait; wait";
        let slow = GateRunner { timeout: Duration::from_secs(2), ..gates(&[line]) };
        let report = slow.run(folder.path(), "", &CancellationToken::new()).await.unwrap();
        assert!(report.results[0].timed_out && !report.passed(), "{report:?}");
        assert!(!runs(written_pid(&file).await));
    }

    #[tokio::test]
    async fn a_background_process_that_keeps_the_pipe_is_ended_with_its_gate() {
        let folder = tempfile::tempdir().unwrap();
        let leaving = gates(&["setsid sleep 600 & echo $! > pid; echo done"]);
        let report = leaving.run(folder.path(), "", &CancellationToken::new()).await.unwrap();
        assert_eq!((report.passed(), report.results[0].tail.as_str()), (true, "done\n"));
        assert!(!runs(written_pid(&folder.path().join("pid")).await));
    }

    #[tokio::test]
    async fn cancelling_ends_a_gate_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let waiting = gates(&["echo $$ > pid; exec sleep 600"]);
        let running = waiting.run(folder.path(), "", &cancel);
        let file = folder.path().join("pid");
        let (ended, pid) = tokio::join!(running, async {
            let pid = written_pid(&file).await;
            cancel.cancel();
            pid
        });
        assert_eq!(ended, Err(GatesCancelled));
        assert!(!runs(pid));
    }

    #[tokio::test]
    async fn a_gate_reads_no_input_and_sees_no_secret_and_only_its_own_variables() {
        // Cargo sets it for every test.
        let line = r#"cat; echo "${PATH:+path} [$CARGO_MANIFEST_DIR] [$A]""#;
        let report =
            run(GateRunner { environment: vec![("A".into(), "b c".into())], ..gates(&[line]) }).await;
        assert_eq!(report.results[0].tail, "path [] [b c]\n");
    }

    #[tokio::test]
    async fn a_missing_folder_or_wall_is_a_failed_gate_that_says_why() {
        let missing = Path::new("/nonexistent/worktree");
        let report = gates(&["true"]).run(missing, "", &CancellationToken::new()).await.unwrap();
        assert!(!report.passed() && report.results[0].tail.contains("/nonexistent/worktree"), "{report:?}");
        let behind = |words: &[&str]| {
            let confinement = Confinement::Prefix(words.iter().map(|word| (*word).into()).collect());
            let (folder, none) = (PathBuf::from("/nonexistent"), Vec::new());
            let place = WorktreePaths {
                root: folder.clone(),
                common: folder.clone(),
                folder: folder.clone(),
                admin: folder.clone(),
                private: folder.clone(),
                hooks: folder,
                ref_folders: none,
                is_slot: false,
            };
            Some(Confined { confinement, place, variables: Vec::new() })
        };
        let report = run(GateRunner { wall: behind(&["no-such-sandbox"]), ..gates(&["true"]) }).await;
        assert_eq!(report.results[0].to_string(), "`true` could not be started");
        let report = run(GateRunner { wall: behind(&["env", "X=1"]), ..gates(&["exit $X"]) }).await;
        assert_eq!(report.results[0].code, Some(1));
    }
}
