//! Restart in place: the program is replaced by a fresh start of itself (`exec`), under the same process id
//! and with the same arguments.
//! `rebuild` builds it from source before; a build that fails changes nothing.

mod handover;

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use adapters::Room;
use parking_lot::Mutex;
use pipeline::Project;
use serde::{Deserialize, Serialize};
use settings::atomic;
use tokio::{io::AsyncReadExt as _, process::Command};
use tokio_util::sync::CancellationToken;

pub use self::handover::{needs_clean_start, take_over};

/// How much of a failed build's output is shown.
const TAIL: usize = 3_000;

/// Whether a restart is wanted, and by which room.
pub struct RestartRequest {
    program: RunningProgram,
    wanted: CancellationToken,
    room: Mutex<Option<Room>>,
    building: AtomicBool,
    /// Why the last build failed, for callers that cannot wait for it.
    failed: Mutex<Option<BuildError>>,
}

impl RestartRequest {
    /// Nobody has asked yet.
    pub fn of(program: RunningProgram) -> Self {
        Self {
            program,
            wanted: CancellationToken::new(),
            room: Mutex::default(),
            building: AtomicBool::new(false),
            failed: Mutex::default(),
        }
    }

    /// The program that a restart starts.
    pub fn program(&self) -> &RunningProgram {
        &self.program
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.wanted.is_cancelled()
    }

    /// Builds the program from source and checks that the result starts.
    ///
    /// Fails with the step, and the last lines of its output.
    pub async fn rebuild(&self) -> Result<(), BuildError> {
        let Some(_building) = self.begin_build() else { return Err(BuildError::Running) };
        let built = self.program.rebuild().await;
        *self.failed.lock() = built.as_ref().err().cloned();
        built
    }

    /// Whether a build is under way.
    pub fn is_building(&self) -> bool {
        self.building.load(Ordering::Acquire)
    }

    /// Why there is no new program yet: a build still runs, or the last one failed. `None` where nothing is to report.
    pub fn build_error(&self) -> Option<BuildError> {
        if self.is_building() { Some(BuildError::Running) } else { self.failed.lock().clone() }
    }

    /// Asks for a restart. The room, if there is one, gets a message when it is done.
    pub fn ask(&self, room: Option<&Room>) {
        *self.room.lock() = room.cloned();
        self.wanted.cancel();
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.wanted.cancelled().await;
    }

    /// Leaves a note for the process that follows, so that the room hears of its start.
    pub fn leave_note(&self, project: &Project) {
        let room = self.room.lock().clone();
        let Some(room) = room else { return };
        let note = RestartNote { room: room.to_string(), asked: SystemTime::now() };
        let written = serde_json::to_vec(&note).map_err(io::Error::other);
        if let Err(error) = written.and_then(|note| atomic::write(&note_path(project), &note)) {
            tracing::warn!(%error, "the room that asked for the restart will not hear of it");
        }
    }

    /// One build at a time; `None` while one is under way.
    fn begin_build(&self) -> Option<BuildInProgress<'_>> {
        // Not `then_some`: it would make a `BuildInProgress` in any case, and its drop would clear the
        // flag of the other build.
        (!self.building.swap(true, Ordering::AcqRel)).then(|| BuildInProgress(self))
    }
}

struct BuildInProgress<'a>(&'a RestartRequest);

impl Drop for BuildInProgress<'_> {
    fn drop(&mut self) {
        self.0.building.store(false, Ordering::Release);
    }
}

/// The predecessor's note to a restarted process.
#[derive(Debug, Serialize, Deserialize)]
pub struct RestartNote {
    /// The room that asked.
    room: String,
    /// When it was left.
    asked: SystemTime,
}

impl RestartNote {
    /// Takes the note, once.
    pub fn take(project: &Project) -> Option<Self> {
        let path = note_path(project);
        let note = fs::read(&path).ok()?;
        // A note that cannot be removed is ignored: every later start would announce the same restart.
        fs::remove_file(&path).ok()?;
        serde_json::from_slice(&note).ok()
    }

    pub fn room(&self) -> Option<Room> {
        Room::parse(&self.room)
    }

    /// When the predecessor ended.
    pub fn asked(&self) -> SystemTime {
        self.asked
    }
}

fn note_path(project: &Project) -> PathBuf {
    project.run_dir().join("restarted.json")
}

/// This program as it was started: where its file lies, and its arguments. Taken at the start, since a rebuild replaces the file.
#[derive(Clone, Debug)]
pub struct RunningProgram {
    file: PathBuf,
    arguments: Vec<OsString>,
}

impl RunningProgram {
    /// The running program; by the name it was called where the system does not know its file.
    pub fn running() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| "storkit".into());
        Self { file: std::env::current_exe().unwrap_or_else(|_| name.into()), arguments: arguments.collect() }
    }

    /// Replaces this process with a fresh start of the program, whose environment has neither the secrets of these names nor
    /// empty variables; it finds them with [`settings::environment::var`]. Returns only if that fails.
    pub fn exec_again(&self, secrets: &[String]) -> io::Error {
        let mut command = std::process::Command::new(&self.file);
        command.args(&self.arguments);
        match handover::hand_over(&mut command, secrets) {
            // Open until the program is replaced.
            Ok(_handed_over) => command.exec(),
            Err(error) => error,
        }
    }

    async fn rebuild(&self) -> Result<(), BuildError> {
        let source = source().ok_or(BuildError::NoSource)?;
        let (target, profile) =
            built_in(&self.file).ok_or_else(|| BuildError::NotInTarget(self.file.clone()))?;
        build_page(&source).await?;
        build(&source, target, profile).await?;
        starts(&self.file).await
    }
}

/// Why a rebuild changed nothing.
#[derive(Clone, Debug)]
pub enum BuildError {
    /// Another build still runs.
    Running,
    /// The source is not on this machine.
    NoSource,
    /// This program is not in cargo's target folder, so that a build would not replace it.
    NotInTarget(PathBuf),
    /// A step could not be started, with the system's error.
    NotStarted(BuildStep, String),
    /// A step failed: its status, and its last lines of output.
    Failed(BuildStep, ExitStatus, String),
}

/// The steps of a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildStep {
    /// `script/web` builds the web page.
    Page,
    /// Cargo builds the program.
    Build,
    /// The new program is started once, to see that it runs.
    Start,
}

/// The workspace that this program was built in, if it is still there.
fn source() -> Option<PathBuf> {
    let folder = std::env::var_os("STORKIT_SOURCE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned),
        |named| Some(named.into()),
    )?;
    folder.join("bot/Cargo.toml").is_file().then_some(folder)
}

/// Cargo's target folder and the profile's name in it.
fn built_in(file: &Path) -> Option<(&Path, &str)> {
    let folder = file.parent()?;
    let target = folder.parent()?;
    let profile = folder.file_name()?.to_str()?;
    // Cargo writes this file into its target folder. Anywhere else (an installed program) a build would
    // not replace the running file.
    target.join("CACHEDIR.TAG").is_file().then_some((target, profile))
}

/// Builds the web page anew, where one is built in already.
async fn build_page(source: &Path) -> Result<(), BuildError> {
    match source.join("web/dist/page/index.html").is_file() {
        true => run(Command::new(source.join("script/web")), BuildStep::Page).await,
        false => Ok(()),
    }
}

async fn build(source: &Path, target: &Path, profile: &str) -> Result<(), BuildError> {
    let profile = if profile == "debug" { "dev" } else { profile };
    // A messenger's name is its feature: a rebuild makes the same program.
    let built_in = adapters::MESSENGERS.iter().filter(|kind| kind.built_in).map(|kind| kind.name);
    let features = built_in.collect::<Vec<_>>().join(",");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(source)
        .args([
            "build",
            "--package",
            "storkit",
            "--bin",
            "storkit",
            "--no-default-features",
            "--color",
            "never",
        ])
        .args(["--features", &features, "--profile", profile, "--target-dir"])
        .arg(target);
    run(cargo, BuildStep::Build).await
}

// A program that does not start would leave the machine without a bot after the `exec`.
async fn starts(file: &Path) -> Result<(), BuildError> {
    let mut version = Command::new(file);
    version.arg("--version");
    run(version, BuildStep::Start).await
}

async fn run(mut command: Command, step: BuildStep) -> Result<(), BuildError> {
    let not_started = |error: io::Error| BuildError::NotStarted(step, error.to_string());
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let mut child = child.map_err(not_started)?;
    let mut output = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        // Read before `wait`: a full pipe would block the build for ever.
        let _ = stderr.read_to_end(&mut output).await;
    }
    let status = child.wait().await.map_err(not_started)?;
    match status.success() {
        true => Ok(()),
        false => Err(BuildError::Failed(step, status, tail(&String::from_utf8_lossy(&output)).to_owned())),
    }
}

/// The last whole lines, at most [`TAIL`] bytes of them.
fn tail(text: &str) -> &str {
    let text = text.trim_end();
    let from = text.len().saturating_sub(TAIL);
    match text
        .get(from..)
        .or_else(|| text.char_indices().find(|(at, _)| *at >= from).map(|(at, _)| &text[at..]))
    {
        Some(end) if from > 0 => end.split_once('\n').map_or(end, |(_, lines)| lines),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let git = std::process::Command::new("git").arg("-C").arg(dir.path()).args(["init", "-q"]).status();
        assert!(git.unwrap().success());
        let project = Project::open(dir.path()).unwrap();
        let restart = RestartRequest::of(RunningProgram::running());
        restart.leave_note(&project);
        assert!(RestartNote::take(&project).is_none(), "nobody asked");
        restart.ask(Some(&Room::new("console", "main")));
        restart.leave_note(&project);
        assert_eq!(RestartNote::take(&project).unwrap().room(), Some(Room::new("console", "main")));
        assert!(RestartNote::take(&project).is_none());
    }

    #[test]
    fn a_program_in_a_target_folder_knows_its_profile_and_another_cannot_be_rebuilt() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("target/debug/storkit");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert_eq!(built_in(&file), None);
        fs::write(dir.path().join("target/CACHEDIR.TAG"), "").unwrap();
        assert_eq!(built_in(&file), Some((dir.path().join("target").as_path(), "debug")));
    }

    #[test]
    fn the_end_of_a_long_output_is_whole_lines() {
        let long: String = (0..1000).map(|n| format!("línea {n}\n")).collect();
        let end = tail(&long);
        assert!(end.len() <= TAIL && end.starts_with("línea ") && end.ends_with("línea 999"), "{end}");
        assert_eq!(tail("short\n"), "short");
    }

    #[tokio::test]
    async fn what_fails_says_so_with_its_output_and_a_second_build_waits() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'error: no such thing' >&2; exit 3"]);
        let Err(BuildError::Failed(BuildStep::Build, status, output)) = run(command, BuildStep::Build).await
        else {
            panic!("it fails")
        };
        assert_eq!((status.code(), output.as_str()), (Some(3), "error: no such thing"));
        let restart = RestartRequest::of(RunningProgram::running());
        let first = restart.begin_build();
        assert!(first.is_some() && restart.begin_build().is_none());
        drop(first);
        assert!(restart.begin_build().is_some());
    }
}
