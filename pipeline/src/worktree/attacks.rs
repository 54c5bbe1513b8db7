//! Attacks by code that an agent wrote, on the machine around its worktree. Each is run twice: outside, where it succeeds, so that the
//! attempt is known to be real; and behind the wall, as a gate and as an agent, where it must fail. `docs/security.md` lists them.

mod changing;
mod reading;
mod system;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use agents::confine::{Confined, Confinement, Tenant, WalledCommand};

use super::{Worktree, confined::bwrap, fixture::WorktreeFixture};

/// What every secret file contains.
const SECRET: &str = "s3cret-of-the-operator";

/// A machine with an operator who has secrets, and a story's worktree.
struct AttackedMachine {
    fixture: WorktreeFixture,
    worktree: Worktree,
    confined: Confined,
}

impl AttackedMachine {
    fn new() -> Self {
        let fixture = WorktreeFixture::new();
        let home = fixture.root().with_file_name("home");
        fs::create_dir_all(&home).expect("a folder");
        let worktree = fixture.prepare("7_x");
        let place = worktree.enclose().expect("a place");
        let confinement = Confinement::Bwrap(bwrap(&home));
        let confined = Confined { confinement, place, variables: vec![] };
        Self { fixture, worktree, confined }
    }

    fn root(&self) -> PathBuf {
        self.fixture.root()
    }

    fn home(&self) -> PathBuf {
        self.root().with_file_name("home")
    }

    /// Puts the secret into a file and returns its path.
    fn secret(&self, path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, format!("{SECRET}\n")).expect("a file");
        path.to_owned()
    }

    fn command(&self, argv: &[String]) -> Command {
        let mut command = Command::new(&argv[0]);
        let path = std::env::var_os("PATH").expect("a path");
        command.args(&argv[1..]).current_dir(self.worktree.path()).env_clear().env("PATH", path);
        command.env("HOME", self.home()).env("ROOT", self.root());
        command.env("STORKIT_PID", std::process::id().to_string());
        command
    }

    /// As if there were no wall.
    fn outside(&self, script: &str) -> Output {
        self.command(&["/bin/sh", "-c", script].map(String::from)).output().expect("it runs")
    }

    fn behind(&self, script: &str, tenant: Tenant<'_>) -> Output {
        let argv = ["/bin/sh", "-c", script].map(Into::into).into();
        let WalledCommand { argv, scratch: _scratch } = self.confined.command(argv, tenant).expect("a wall");
        let argv: Vec<String> = argv.iter().map(|word| word.to_str().expect("text").to_owned()).collect();
        self.command(&argv).output().expect("it starts")
    }

    fn as_gate(&self, script: &str) -> Output {
        self.behind(script, Tenant::Command { folder: self.worktree.path() })
    }

    fn as_agent(&self, script: &str) -> Output {
        self.behind(script, Tenant::Agent { own: &[], login: false })
    }

    /// Succeeds outside, and fails behind the wall for every tenant.
    #[track_caller]
    fn stops(&self, script: &str) {
        self.stops_inside(script);
        let outside = self.outside(script);
        assert!(outside.status.success(), "it is no attack: {script}: {outside:?}");
    }

    /// As [`AttackedMachine::stops`], where this machine may forbid it outside, too.
    #[track_caller]
    fn stops_inside(&self, script: &str) {
        for output in [self.as_gate(script), self.as_agent(script)] {
            let said = [&output.stdout[..], &output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(!output.status.success() && !said.contains(SECRET), "{script}: {said}");
        }
    }

    /// Works behind the wall for every tenant.
    #[track_caller]
    fn allows(&self, script: &str) {
        for output in [self.as_gate(script), self.as_agent(script)] {
            assert!(output.status.success(), "{script}: {output:?}");
        }
    }
}
