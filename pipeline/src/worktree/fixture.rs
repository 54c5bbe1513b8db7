//! A real repository for tests, with nothing of this machine's settings in it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    Project,
    trust::{ProjectTrust, TrustStore},
    worktree::{
        error::WorktreeError,
        name::WorktreeName,
        worktrees::{SizeLimits, Worktree, Worktrees},
    },
};

pub(crate) struct WorktreeFixture {
    _folder: tempfile::TempDir,
    pub(crate) project: Project,
    pub(crate) limits: SizeLimits,
}

impl WorktreeFixture {
    /// As [`WorktreeFixture::new`], below this folder.
    pub(crate) fn within(folder: &Path) -> Self {
        Self::empty_in(tempfile::tempdir_in(folder).expect("a folder")).begun()
    }

    /// A repository without commits, on `main`.
    pub(crate) fn empty() -> Self {
        Self::empty_in(tempfile::tempdir().expect("a folder"))
    }

    fn empty_in(folder: tempfile::TempDir) -> Self {
        let root = fs::canonicalize(folder.path()).expect("a path").join("project");
        fs::create_dir(&root).expect("a folder");
        run(&root, &[], &["init", "-q", "-b", "main"]);
        run(&root, &[], &["config", "core.excludesFile", "/dev/null"]);
        run(&root, &[], &["config", "user.name", "Ada"]);
        run(&root, &[], &["config", "user.email", "ada@example.com"]);
        let project = Project::open(&root).expect("a project");
        Self { _folder: folder, project, limits: SizeLimits { free: 0, ..SizeLimits::default() } }
    }

    /// With one commit that has `a.txt`.
    pub(crate) fn new() -> Self {
        Self::empty().begun()
    }

    fn begun(self) -> Self {
        self.write("a.txt", "a\n");
        self.git(&["add", "a.txt"]);
        self.git(&["commit", "-q", "-m", "first"]);
        self
    }

    /// The operator's confirmations, beside the project.
    pub(crate) fn trust(&self) -> TrustStore {
        TrustStore::at(self.root().with_file_name("trust"))
    }

    /// The operator confirms what the repository has now.
    pub(crate) fn confirm(&self) {
        let proposed = ProjectTrust::read(&self.project, &self.trust()).expect("it can be read").proposed;
        self.trust().confirm(&self.project, &proposed).expect("it is recorded");
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.project.root().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root().join(name)).expect("a file")
    }

    /// A person's git in the main checkout.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        run(&self.root(), &[], args)
    }

    pub(crate) fn git_in(&self, folder: &Path, args: &[&str]) -> String {
        run(folder, &[], args)
    }

    pub(crate) fn worktrees(&self) -> Worktrees {
        Worktrees::open(&self.project, self.limits).expect("a repository")
    }

    pub(crate) fn try_prepare(&self, name: &str) -> Result<Worktree, WorktreeError> {
        self.worktrees().prepare(&WorktreeName::parse(name).expect("a name"), "main", "coder 1")
    }

    pub(crate) fn prepare(&self, name: &str) -> Worktree {
        self.try_prepare(name).expect("a worktree")
    }
}

/// A server that hangs up on everybody, and whether anybody has called.
pub(crate) fn stranger() -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, called) = (listener.local_addr().expect("an address"), Arc::new(AtomicBool::new(false)));
    let noted = Arc::clone(&called);
    std::thread::spawn(move || listener.incoming().for_each(|_| noted.store(true, Ordering::SeqCst)));
    (address, called)
}

/// A small disk, gone with its value. `None` where this user may not mount.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let args = ["-t", "tmpfs", "-o", "size=64m", "tmpfs"];
        let mounted = Command::new("mount").args(args).arg(folder.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy".as_ref(), self.0.path().as_os_str()]).status();
    }
}

/// A command of a hermetic environment.
pub(crate) fn command(program: &str, folder: &Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").expect("a path"));
    command.envs([
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("LC_ALL", "C"),
        ("GIT_EDITOR", "true"),
    ]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

pub(crate) fn try_run(folder: &Path, environment: &[(String, String)], args: &[&str]) -> Output {
    command("git", folder, environment).args(args).output().expect("git runs")
}

fn run(folder: &Path, environment: &[(String, String)], args: &[&str]) -> String {
    let output = try_run(folder, environment, args);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
