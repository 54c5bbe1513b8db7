//! Attacks by code that an agent wrote, on the machine around its worktree. Each is run twice: outside, where it succeeds, so that the
//! attempt is known to be real; and behind each wall, as a gate and as an agent, where it must fail. `docs/security.md` lists them.

mod changing;
mod reading;
mod system;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use agents::confine::{Confined, Confinement, HostFolders, Tenant};

use super::{
    Worktree,
    confined::{bwrap, landlock},
    fixture::WorktreeFixture,
};

/// What every secret file contains.
const SECRET: &str = "s3cret-of-the-operator";

/// A machine with an operator who has secrets, and a story's worktree.
struct AttackedWorktree {
    fixture: WorktreeFixture,
    worktree: Worktree,
    confined: Confined,
    /// Behind Landlock, if the kernel has it.
    landlock: Option<Confined>,
}

impl AttackedWorktree {
    fn new() -> Self {
        let fixture = WorktreeFixture::new();
        let home = fixture.root().with_file_name("home");
        fs::create_dir_all(&home).expect("a folder");
        let worktree = fixture.prepare("7_x");
        let place = worktree.enclose().expect("a place");
        let behind = |confinement| Confined { confinement, place: place.clone(), variables: vec![] };
        let landlock = landlock(&home).map(|wall| behind(Confinement::Landlock(wall)));
        let confined = behind(Confinement::Bwrap(bwrap(&home)));
        Self { fixture, worktree, confined, landlock }
    }

    /// For what only bubblewrap holds.
    fn with_namespaces() -> Self {
        Self { landlock: None, ..Self::new() }
    }

    /// Changes whose machine both walls think it is.
    fn change_host(&mut self, change: impl Fn(&mut HostFolders)) {
        for confined in [Some(&mut self.confined), self.landlock.as_mut()].into_iter().flatten() {
            match &mut confined.confinement {
                Confinement::Bwrap(bwrap) => change(&mut bwrap.host),
                Confinement::Landlock(landlock) => change(&mut landlock.host),
                Confinement::None | Confinement::Prefix(_) => panic!("no wall"),
            }
        }
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

    fn behind(&self, confined: &Confined, script: &str, tenant: Tenant<'_>) -> Output {
        let argv = ["/bin/sh", "-c", script].map(Into::into).into();
        let walled = confined.command(argv, tenant).expect("a wall");
        let argv: Vec<String> =
            walled.argv.iter().map(|word| word.to_str().expect("text").to_owned()).collect();
        self.command(&argv).envs(walled.environment.clone()).output().expect("it starts")
    }

    fn as_gate(&self, script: &str) -> Output {
        self.behind(&self.confined, script, Tenant::Command { folder: self.worktree.path() })
    }

    fn as_agent(&self, script: &str) -> Output {
        self.behind(&self.confined, script, Tenant::Agent { own: &[], login: false })
    }

    /// For every tenant of every wall, with a name for reports.
    fn everywhere(&self, script: &str) -> Vec<(String, Output)> {
        self.everywhere_after(|| (), script)
    }

    /// As [`AttackedWorktree::everywhere`], each time after something else.
    fn everywhere_after(&self, before: impl Fn(), script: &str) -> Vec<(String, Output)> {
        let tenants = [
            ("a gate", Tenant::Command { folder: self.worktree.path() }),
            ("an agent", Tenant::Agent { own: &[], login: false }),
        ];
        let walls = [Some(&self.confined), self.landlock.as_ref()].into_iter().flatten();
        let both = walls.flat_map(|wall| tenants.map(|(name, tenant)| (wall, name, tenant)));
        both.map(|(wall, name, tenant)| {
            before();
            (format!("{name} behind {}", wall.confinement.name()), self.behind(wall, script, tenant))
        })
        .collect()
    }

    /// Succeeds outside, and fails behind every wall for every tenant.
    #[track_caller]
    fn stops(&self, script: &str) {
        self.stops_inside(script);
        let outside = self.outside(script);
        assert!(outside.status.success(), "it is no attack: {script}: {outside:?}");
    }

    /// As [`AttackedWorktree::stops`], where this machine may forbid it outside, too.
    #[track_caller]
    fn stops_inside(&self, script: &str) {
        // A wall that does not start stops nothing.
        for (whom, output) in self.everywhere(&format!("({script}); code=$?; echo; echo tried; exit $code")) {
            let said = [&output.stdout[..], &output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let was_tried = said.lines().any(|line| line == "tried");
            assert!(
                was_tried && !output.status.success() && !said.contains(SECRET),
                "{whom}: {script}: {said}"
            );
        }
    }

    /// Works behind every wall for every tenant.
    #[track_caller]
    fn allows(&self, script: &str) {
        for (whom, output) in self.everywhere(script) {
            assert!(output.status.success(), "{whom}: {script}: {output:?}");
        }
    }
}
