//! The command line of bubblewrap (0.4 or newer). Mounts apply in order; a later one covers an earlier.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    claude_home,
    paths::{STORE, WorktreePaths},
};

/// Where the sockets of a way out are inside, and the program that forwards to them. In `/run`, so that nothing of
/// the machine's can be in the way.
const DOORS: &str = "/run/storkit";
const FORWARDER: &str = "/run/storkit-net";

/// The shell between storkit and bubblewrap; it exits with its terminal or by a signal.
// `--die-with-parent` (`PR_SET_PDEATHSIG`) follows the *thread* that started bubblewrap, and a runtime's threads come and go.
const KEEPER: [&str; 4] = ["/bin/sh", "-c", r#""$@"; exit $?"#, "storkit-sandbox"];

/// Namespaces of its own, and no capabilities: an agent that runs as root would have them all.
const WALLS: [&str; 7] = [
    "--die-with-parent",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--cap-drop",
    "ALL",
];

/// In the home folder: keys, tokens, and the memory of browsers and shells.
const SECRETS: [&str; 34] = [
    ".ssh",
    ".aws",
    ".azure",
    ".gnupg",
    ".kube",
    ".docker",
    ".oci",
    ".netrc",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".s3cfg",
    ".boto",
    ".vault-token",
    ".password-store",
    ".terraform.d",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".config/gh",
    ".config/hub",
    ".config/glab-cli",
    ".config/gcloud",
    ".config/git/credentials",
    ".config/op",
    ".config/sops",
    ".config/google-chrome",
    ".config/chromium",
    ".mozilla",
    ".local/share/keyrings",
    ".bash_history",
    ".zsh_history",
];

/// In the home folder: downloads that builds share. Not `.cargo` as a whole, where a program or a configuration
/// that the agent leaves would run outside.
const CACHES: [&str; 8] = [
    ".cargo/registry",
    ".cargo/git",
    ".npm",
    ".cache/pip",
    ".cache/uv",
    ".cache/yarn",
    ".cache/go-build",
    "go/pkg/mod",
];

/// Of `/run`, which has the sockets of services, only what names are looked up by.
const RESOLVERS: [&str; 3] = ["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];

/// A sandbox by bubblewrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bwrap {
    /// `bwrap`, or where it is.
    pub program: PathBuf,
    /// The part of the network that it reaches.
    pub reach: NetworkReach,
    /// How this program is called to forward inside, for [`NetworkReach::Through`]: its file, then leading arguments.
    pub forwarder: (PathBuf, Vec<OsString>),
    /// `~/.claude`, or the folder in `CLAUDE_CONFIG_DIR`.
    pub claude: PathBuf,
    /// Folders that are shared and writable where they exist.
    pub caches: Vec<PathBuf>,
    /// Files and folders that are empty inside.
    pub hidden: Vec<PathBuf>,
    /// Further files and folders to be seen, e.g. below `/tmp`, which is the run's own.
    pub readable: Vec<PathBuf>,
}

/// The part of the network that a sandbox reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkReach {
    /// All that the machine has.
    Everything,
    /// Not even the machine's loopback.
    Nothing,
    /// Only the targets of the sockets in this folder: [`super::EgressProxy`].
    Through(PathBuf),
}

impl Bwrap {
    /// The usual one: network, the package caches and nobody's secrets of this home.
    pub fn for_home(home: &Path) -> Self {
        let below = |names: &[&str]| names.iter().map(|name| home.join(name)).collect();
        Self {
            program: "bwrap".into(),
            reach: NetworkReach::Everything,
            forwarder: super::inside::forwarder(),
            claude: home.join(".claude"),
            caches: below(&CACHES),
            hidden: below(&SECRETS),
            readable: vec![],
        }
    }

    /// Tries whether this machine permits such a sandbox; the error is a sentence.
    pub fn try_out(&self) -> Result<(), String> {
        // Containers often have the program and forbid its namespaces, so only a real start answers the question.
        let mut command = Command::new(&self.program);
        command.args(WALLS).args([
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--tmpfs",
            "/run",
        ]);
        if self.reach != NetworkReach::Everything {
            command.arg("--unshare-net");
        }
        command.args(["--", "/bin/sh", "-c", "exit 0"]).stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
                Err(format!("bubblewrap does not work on this machine: {said}."))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err("bubblewrap is not installed. On Debian or Ubuntu: `sudo apt-get install bubblewrap`."
                    .into())
            }
            Err(error) => Err(format!("bubblewrap cannot be started: {error}.")),
        }
    }

    /// Everything up to the `--` before the command.
    pub(super) fn prefix(&self, place: &WorktreePaths, own: &[&Path]) -> Vec<OsString> {
        let claude = claude_home::real_path(&self.claude);
        let own_state = claude_home::writable(&claude, &place.folder);
        let covered = self.covered(&claude);
        let storkit = place.root.join(".storkit");
        let mut line = BwrapArguments(KEEPER.map(OsString::from).into());
        line.0.push(self.program.clone().into());
        line.words(&WALLS);
        if self.reach != NetworkReach::Everything {
            line.words(&["--unshare-net"]);
        }
        line.words(&["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run"]);
        // A look-up goes out too, and the socket of a resolver is reached without a network.
        if self.reach == NetworkReach::Everything {
            RESOLVERS.iter().for_each(|path| line.same("--ro-bind-try", Path::new(path)));
        }
        if let NetworkReach::Through(doors) = &self.reach {
            line.bind("--ro-bind", doors, Path::new(DOORS));
            line.bind("--ro-bind", &self.forwarder.0, Path::new(FORWARDER));
        }
        // The machine's `/tmp` has files and sockets of other programs.
        let tmp = place.private.join("tmp");
        line.bind("--bind", &tmp, Path::new("/tmp"));
        line.bind("--bind", &tmp, Path::new("/var/tmp"));
        // All of these may lie below a folder that was just covered.
        line.same("--ro-bind-try", &claude);
        line.same("--ro-bind", &place.root);
        line.same("--ro-bind", &place.common);
        line.pair("--tmpfs", &storkit);
        // That of `storkit demo` is in the project's own state.
        if claude.starts_with(&storkit) {
            line.same("--ro-bind-try", &claude);
        }
        // The project may be a home folder.
        self.hide(&mut line, &covered);
        self.readable.iter().for_each(|path| line.same("--ro-bind-try", path));
        self.caches.iter().for_each(|path| line.same("--bind-try", path));
        own_state.iter().for_each(|path| line.same("--bind", path));
        story_state(&mut line, place);
        git_data(&mut line, place);
        own.iter().for_each(|path| line.same("--bind", path));
        // Only now: bubblewrap makes the folders for the mounts above inside of these.
        covered.iter().for_each(|folder| line.pair("--remount-ro", folder));
        line.words(&["--remount-ro", "/run"]);
        line.pair("--remount-ro", &storkit);
        line.pair("--chdir", &place.folder);
        line.words(&["--"]);
        if let NetworkReach::Through(_) = &self.reach {
            line.words(&[FORWARDER]);
            line.0.extend(self.forwarder.1.iter().cloned());
            line.words(&[DOORS, "--"]);
        }
        line.0
    }

    fn hide(&self, line: &mut BwrapArguments, covered: &[PathBuf]) {
        covered.iter().for_each(|folder| line.pair("--tmpfs", folder));
        // A tmpfs can only cover a folder.
        let files =
            self.hidden.iter().filter_map(|path| path.canonicalize().ok()).filter(|path| !path.is_dir());
        files.for_each(|file| line.bind("--ro-bind", Path::new("/dev/null"), &file));
    }

    /// Folders with secrets, and the transcripts of other folders; this one's are shown again later.
    fn covered(&self, claude: &Path) -> Vec<PathBuf> {
        let projects = claude.join("projects");
        // Only folders that exist: on the read-only root bubblewrap cannot make a missing one.
        let all = self.hidden.iter().chain([&projects]).filter_map(|path| path.canonicalize().ok());
        all.filter(|path| path.is_dir()).collect()
    }
}

/// Of the hidden `.storkit` only stories and the tracked configuration: neither secrets nor state nor other runs.
fn story_state(line: &mut BwrapArguments, place: &WorktreePaths) {
    let storkit = place.root.join(".storkit");
    for name in ["work", "project.toml"] {
        line.same("--ro-bind-try", &storkit.join(name));
    }
    line.same("--ro-bind", &place.hooks);
    line.same("--bind", &place.folder);
    // A `.git` of the agent's own could name commands that a person's git in this folder would run.
    line.same("--ro-bind", &place.folder.join(".git"));
}

/// Mounts private copies where git writes; the true objects are at [`STORE`], read-only.
fn git_data(line: &mut BwrapArguments, place: &WorktreePaths) {
    // Git makes a lock file in `.git` itself for every commit. So the folder is a private one, and its real entries are
    // mounted read-only; a file that git replaces meanwhile is unchanged inside.
    line.bind("--bind", &place.private.join("git"), &place.common);
    let entries = std::fs::read_dir(&place.common).into_iter().flatten().flatten();
    let shown = |path: &PathBuf| {
        let kind = path.symlink_metadata().map(|found| found.file_type());
        kind.is_ok_and(|kind| kind.is_dir() || kind.is_file())
            // The lock of a git that works right now would block the agent's git for the whole run.
            && path.extension().is_none_or(|end| end != "lock")
    };
    let mut shown: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(shown).collect();
    shown.sort();
    shown.iter().for_each(|path| line.same("--ro-bind-try", path));
    let objects = place.common.join("objects");
    line.bind("--ro-bind", &objects, &place.root.join(STORE));
    line.bind("--bind", &place.private.join("objects"), &objects);
    line.bind("--ro-bind", &place.private.join("info"), &objects.join("info"));
    line.bind("--bind", &place.private.join("admin"), &place.admin);
    for folder in &place.ref_folders {
        line.bind("--bind", &place.private.join(folder), &place.common.join(folder));
    }
}

struct BwrapArguments(Vec<OsString>);

impl BwrapArguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, option: &str, path: &Path) {
        self.0.extend([OsStr::new(option), path.as_os_str()].map(OsStr::to_owned));
    }

    fn bind(&mut self, option: &str, from: &Path, to: &Path) {
        self.pair(option, from);
        self.0.push(to.into());
    }

    fn same(&mut self, option: &str, path: &Path) {
        self.bind(option, path, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> WorktreePaths {
        WorktreePaths {
            root: "/p".into(),
            common: "/p/.git".into(),
            folder: "/p/.storkit/worktrees/7_x".into(),
            admin: "/p/.git/worktrees/7_x".into(),
            private: "/p/.storkit/worktrees/.private/7_x".into(),
            hooks: "/p/.storkit/worktrees/.hooks".into(),
            ref_folders: vec![
                "refs/heads/feature/story-7_x".into(),
                "logs/refs/heads/feature/story-7_x".into(),
            ],
        }
    }

    #[test]
    fn names_are_looked_up_only_where_there_is_all_of_the_network() {
        let words = |reach: NetworkReach| {
            let bwrap = Bwrap { reach, ..Bwrap::for_home(Path::new("/nonexistent")) };
            let line = bwrap.prefix(&place(), &[]);
            let has = |word: &str| line.iter().any(|other| other == word);
            (has("--unshare-net"), has("/run/systemd/resolve"))
        };
        assert_eq!(words(NetworkReach::Everything), (false, true));
        for limited in [NetworkReach::Nothing, NetworkReach::Through("/p/.storkit/run/cc-2".into())] {
            assert_eq!(words(limited), (true, false));
        }
    }

    #[test]
    fn only_the_storys_own_parts_are_writable() {
        let home = tempfile::tempdir().expect("a folder");
        let home = home.path().canonicalize().expect("a path");
        std::fs::create_dir(home.join(".ssh")).expect("a folder");
        std::fs::write(home.join(".netrc"), "secret").expect("a file");
        let bwrap = Bwrap {
            reach: NetworkReach::Through("/p/.storkit/run/cc-2".into()),
            forwarder: ("/bin/storkit".into(), vec!["sandbox-net".into()]),
            ..Bwrap::for_home(&home)
        };
        let line = bwrap.prefix(&place(), &[Path::new("/p/.storkit/run/cc-1")]);
        let line: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
        let line = line.join(" ").replace(home.to_str().expect("text"), "HOME").replace(" --", "\n--");
        let kept: Vec<&str> = line.lines().filter(|line| !line.starts_with("--bind HOME/.claude/")).collect();
        insta::assert_snapshot!(kept.join("\n"), @r#"
        /bin/sh -c "$@"; exit $? storkit-sandbox bwrap
        --die-with-parent
        --unshare-pid
        --unshare-ipc
        --unshare-uts
        --unshare-cgroup-try
        --cap-drop ALL
        --unshare-net
        --ro-bind / /
        --dev /dev
        --proc /proc
        --tmpfs /run
        --ro-bind /p/.storkit/run/cc-2 /run/storkit
        --ro-bind /bin/storkit /run/storkit-net
        --bind /p/.storkit/worktrees/.private/7_x/tmp /tmp
        --bind /p/.storkit/worktrees/.private/7_x/tmp /var/tmp
        --ro-bind-try HOME/.claude HOME/.claude
        --ro-bind /p /p
        --ro-bind /p/.git /p/.git
        --tmpfs /p/.storkit
        --tmpfs HOME/.ssh
        --tmpfs HOME/.claude/projects
        --ro-bind /dev/null HOME/.netrc
        --bind-try HOME/.cargo/registry HOME/.cargo/registry
        --bind-try HOME/.cargo/git HOME/.cargo/git
        --bind-try HOME/.npm HOME/.npm
        --bind-try HOME/.cache/pip HOME/.cache/pip
        --bind-try HOME/.cache/uv HOME/.cache/uv
        --bind-try HOME/.cache/yarn HOME/.cache/yarn
        --bind-try HOME/.cache/go-build HOME/.cache/go-build
        --bind-try HOME/go/pkg/mod HOME/go/pkg/mod
        --ro-bind-try /p/.storkit/work /p/.storkit/work
        --ro-bind-try /p/.storkit/project.toml /p/.storkit/project.toml
        --ro-bind /p/.storkit/worktrees/.hooks /p/.storkit/worktrees/.hooks
        --bind /p/.storkit/worktrees/7_x /p/.storkit/worktrees/7_x
        --ro-bind /p/.storkit/worktrees/7_x/.git /p/.storkit/worktrees/7_x/.git
        --bind /p/.storkit/worktrees/.private/7_x/git /p/.git
        --ro-bind /p/.git/objects /p/.storkit/objects
        --bind /p/.storkit/worktrees/.private/7_x/objects /p/.git/objects
        --ro-bind /p/.storkit/worktrees/.private/7_x/info /p/.git/objects/info
        --bind /p/.storkit/worktrees/.private/7_x/admin /p/.git/worktrees/7_x
        --bind /p/.storkit/worktrees/.private/7_x/refs/heads/feature/story-7_x /p/.git/refs/heads/feature/story-7_x
        --bind /p/.storkit/worktrees/.private/7_x/logs/refs/heads/feature/story-7_x /p/.git/logs/refs/heads/feature/story-7_x
        --bind /p/.storkit/run/cc-1 /p/.storkit/run/cc-1
        --remount-ro HOME/.ssh
        --remount-ro HOME/.claude/projects
        --remount-ro /run
        --remount-ro /p/.storkit
        --chdir /p/.storkit/worktrees/7_x
        -- /run/storkit-net sandbox-net /run/storkit
        --
        "#);
    }

    #[test]
    fn a_machine_without_bubblewrap_is_told_how_to_get_it() {
        let bwrap = Bwrap { program: "/nonexistent/bwrap".into(), ..Bwrap::for_home(Path::new("/root")) };
        insta::assert_snapshot!(bwrap.try_out().unwrap_err(), @"bubblewrap is not installed. On Debian or Ubuntu: `sudo apt-get install bubblewrap`.");
        let bwrap = Bwrap { program: "/bin/false".into(), ..Bwrap::for_home(Path::new("/root")) };
        assert!(bwrap.try_out().is_err());
    }
}
