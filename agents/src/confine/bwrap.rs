//! The command line of bubblewrap (0.6 or newer): renders a [`View`] from an empty root. Mounts apply in order;
//! a later one covers an earlier.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use super::{
    etc,
    host_folders::HostFolders,
    layers::{self, LayeredPrefix},
    paths::{WorktreePaths, write_new},
    scratch::ScratchFolders,
    seccomp,
    step::{OwnProgram, before_bwrap},
    view::{Shown, Tenant, View},
};

/// Where the sockets of a way out are inside, and the program that forwards to them. In `/run`, which is empty otherwise.
const DOORS: &str = "/run/storkit";
const FORWARDER: &str = "/run/storkit-net";

/// Stands in for [`super::keeper`] in a program that cannot be called again: a shell, which exits with its terminal or by a signal. It
/// opens the filters of system calls in its first argument, a folder.
const KEEPER: [&str; 4] = [
    "/bin/sh",
    "-c",
    r#"filters=$1; shift; "$@" 7<"$filters/denied" 8<"$filters/missing" 9<"$filters/foreign"; exit $?"#,
    "storkit-sandbox",
];

/// Loads the filters that the shell opened.
const FILTERS: [&str; 6] = ["--add-seccomp-fd", "7", "--add-seccomp-fd", "8", "--add-seccomp-fd", "9"];

/// Namespaces and a session of its own, and no capabilities: an agent that runs as root would have them all.
const WALLS: [&str; 8] = [
    "--die-with-parent",
    "--new-session",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--cap-drop",
    "ALL",
];

/// The parts of `/proc` that an agent that runs as root could write without any capability: a program named in `core_pattern` is run by the kernel
/// outside of all namespaces. (bubblewrap 0.8 covers only a part.)
const KERNEL_SETTINGS: [&str; 7] =
    ["/proc/acpi", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/scsi", "/proc/sys", "/proc/sysrq-trigger"];

/// Of `/proc`, what root reads of the whole machine.
const KERNEL_MEMORY: [&str; 5] =
    ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list"];

/// A sandbox by bubblewrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bwrap {
    /// `bwrap`, or where it is.
    pub program: PathBuf,
    /// The part of the network that it reaches.
    pub reach: NetworkReach,
    /// How this program is called for what bubblewrap cannot do; without it those parts are left out.
    pub own: Option<OwnProgram>,
    /// Whose machine it is.
    pub host: HostFolders,
}

/// The programs that have started a sandbox here, with the network and without. A failure is tried again: the operator may have
/// installed what was missing.
static WORKED: Mutex<BTreeSet<(PathBuf, bool)>> = Mutex::new(BTreeSet::new());

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
    /// The usual one, with network.
    pub fn for_host(host: HostFolders) -> Self {
        Self { program: "bwrap".into(), reach: NetworkReach::Everything, own: OwnProgram::registered(), host }
    }

    /// As [`Bwrap::for_host`], for a home to whose view nothing is added.
    pub fn for_home(home: &Path) -> Self {
        Self::for_host(HostFolders::of_home(home))
    }

    /// Tries whether this machine permits such a sandbox; the error is a sentence. Once it has worked, no other is started; who asks
    /// meanwhile waits for that one.
    pub fn try_out(&self) -> Result<(), String> {
        let is_limited = self.reach != NetworkReach::Everything;
        let kind = |is_limited| (self.program.clone(), is_limited);
        let mut worked = WORKED.lock().unwrap_or_else(PoisonError::into_inner);
        if worked.contains(&kind(is_limited)) {
            return Ok(());
        }
        // Where a network of its own works, sharing the machine's does, too: one start answers both.
        match self.start_once(true) {
            Ok(()) => worked.extend([kind(true), kind(false)]),
            Err(why) if is_limited => return Err(why),
            Err(_) => {
                self.start_once(false)?;
                worked.insert(kind(false));
            }
        }
        Ok(())
    }

    fn start_once(&self, is_limited: bool) -> Result<(), String> {
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
        if is_limited {
            command.arg("--unshare-net");
        }
        // A filter, too: older versions cannot load one.
        command.args(["--add-seccomp-fd", "0", "--", "/bin/sh", "-c", "exit 0"]);
        let filter =
            seccomp::sample().map_err(|error| format!("System calls cannot be filtered: {error}."))?;
        match command.stdin(Stdio::from(filter)).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
                let said = if said.is_empty() { output.status.to_string() } else { said };
                Err(format!("bubblewrap does not work on this machine: {}.", said.trim_end_matches('.')))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err("bubblewrap is not installed. On Debian or Ubuntu: `sudo apt-get install bubblewrap`."
                    .into())
            }
            Err(error) => Err(format!("bubblewrap cannot be started: {error}.")),
        }
    }

    /// Everything up to the `--` before the command. `scratch` has to live as long as the process.
    pub(super) fn prefix(
        &self,
        place: &WorktreePaths,
        scratch: &ScratchFolders,
        tenant: Tenant<'_>,
    ) -> std::io::Result<Vec<OsString>> {
        let view = View::new(&self.host, place, scratch, tenant);
        view.layers.iter().try_for_each(super::caches::CacheLayer::make_folders)?;
        if !place.is_main_checkout() {
            // Landlock's processes find the repository elsewhere.
            write_new(&place.private.join("admin/commondir"), &format!("{}\n", place.common.display()))?;
        }
        let own = self.own.as_ref();
        let before = match own {
            Some(own) => before_bwrap(own, scratch.filters(), &view.layers, self.shares_sockets()),
            None => KEEPER.map(OsString::from).into_iter().chain([scratch.filters().into()]).collect(),
        };
        self.line(&view, before, scratch, folder_of(place, tenant))
    }

    /// The same for a command that starts in the worktree and only seems to change files: every writable folder is a layer over the true
    /// one. The files in `hidden` are empty.
    pub(super) fn layered_prefix(
        &self,
        place: &WorktreePaths,
        scratch: &ScratchFolders,
        hidden: &[PathBuf],
    ) -> std::io::Result<LayeredPrefix> {
        let only_storkit = || std::io::Error::other("only storkit itself can make layers");
        let own = self.own.as_ref().ok_or_else(only_storkit)?;
        let folder = place.folder.as_path();
        let mut view = View::new(&self.host, place, scratch, Tenant::Command { folder });
        let empty = scratch.filters().join("empty");
        std::fs::write(&empty, "")?;
        for path in hidden.iter().filter(|path| path.exists()) {
            view.put(path, Shown::ReadOnly(empty.clone()));
        }
        view.layers.iter().try_for_each(super::caches::CacheLayer::make_folders)?;
        let folders = layers::over_writable(&mut view, &scratch.layers());
        let at = (scratch.filters(), scratch.layers());
        let before = layers::before_bwrap(own, (at.0, &at.1), &folders, self.shares_sockets());
        let words = self.line(&view, before, scratch, folder)?;
        Ok(LayeredPrefix { words, folders, shown: layers::kinds(&view) })
    }

    /// The whole line: the words before bubblewrap, its mounts, and the way out of the sandbox.
    fn line(
        &self,
        view: &View,
        before: Vec<OsString>,
        scratch: &ScratchFolders,
        folder: &Path,
    ) -> std::io::Result<Vec<OsString>> {
        if matches!(self.reach, NetworkReach::Through(_)) && self.own.is_none() {
            return Err(std::io::Error::other("only storkit itself can pass on what the network allows"));
        }
        // Names of hosts are looked up only where the network is open: a look-up goes out, too.
        let is_open = self.reach == NetworkReach::Everything;
        let view = &etc::gathered(view, &scratch.etc(), |at| is_open || at != Path::new(RESOLVER))?;
        let mut line = BwrapArguments(before);
        line.0.push(self.program.clone().into());
        line.words(&WALLS);
        line.words(&FILTERS);
        if !is_open {
            line.words(&["--unshare-net"]);
        }
        line.words(&["--dev", "/dev", "--proc", "/proc"]);
        line.kernel();
        line.view(view, is_open);
        if let (NetworkReach::Through(doors), Some(own)) = (&self.reach, &self.own) {
            line.bind("--ro-bind", doors, Path::new(DOORS));
            line.bind("--ro-bind", &own.file, Path::new(FORWARDER));
        }
        line.close(view);
        line.pair("--chdir", folder);
        line.words(&["--"]);
        if let (NetworkReach::Through(_), Some(own)) = (&self.reach, &self.own) {
            line.words(&[FORWARDER]);
            line.0.extend(own.arguments.iter().cloned());
            line.words(&[super::inside::SUBCOMMAND, DOORS, "--"]);
        }
        Ok(line.0)
    }

    /// Whether abstract sockets of the machine have to be closed by a rule. A network of its own has none of them; and a rule that names no
    /// files forbids, as of Linux 6.18, to move files between folders once another one names some (`close_other_mounts`).
    fn shares_sockets(&self) -> bool {
        self.reach == NetworkReach::Everything && !self.gains_privileges()
    }

    /// Whether the program is set-user-ID: then nothing may be forbidden to it before it starts.
    fn gains_privileges(&self) -> bool {
        let found = || {
            std::env::split_paths(&std::env::var_os("PATH")?)
                .map(|folder| folder.join(&self.program))
                .find(|file| file.is_file())
        };
        let file = if self.program.is_absolute() { Some(self.program.clone()) } else { found() };
        let mode = file.and_then(|file| file.metadata().ok()).map(|found| found.permissions().mode());
        mode.is_some_and(|mode| mode & 0o4000 != 0)
    }
}

/// Where the process starts.
pub(super) fn folder_of<'a>(place: &'a WorktreePaths, tenant: Tenant<'a>) -> &'a Path {
    match tenant {
        Tenant::Agent { .. } => &place.folder,
        Tenant::Command { folder } => folder,
    }
}

/// How names of hosts are looked up.
const RESOLVER: &str = "/etc/resolv.conf";

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

    /// Covers parts of the kernel's own files.
    fn kernel(&mut self) {
        for path in KERNEL_SETTINGS.iter().map(Path::new) {
            self.bind("--ro-bind-try", path, path);
        }
        for path in KERNEL_MEMORY.iter().map(Path::new).filter(|path| path.exists()) {
            self.bind("--ro-bind", Path::new("/dev/null"), path);
        }
    }

    fn view(&mut self, view: &View, resolves: bool) {
        for (at, shown) in &view.entries {
            match shown {
                Shown::ReadOnly(_) | Shown::Link(_) if !resolves && at.starts_with("/run") => {}
                // It is there already.
                Shown::Link(_) if view.is_within_shown(at) => {}
                Shown::Link(target) => self.bind("--symlink", target, at),
                Shown::ReadOnly(source) if source == at && view.is_within_read_only(at) => {}
                Shown::ReadOnly(source) => self.bind("--ro-bind", source, at),
                Shown::Writable(source) => self.bind("--bind", source, at),
                Shown::Empty => self.pair("--tmpfs", at),
            }
        }
    }

    /// Only now: bubblewrap makes the folders for its mounts inside of these.
    fn close(&mut self, view: &View) {
        for (at, _) in view.entries.iter().filter(|(_, shown)| **shown == Shown::Empty) {
            self.pair("--remount-ro", at);
        }
        self.pair("--remount-ro", Path::new("/"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::caches::CacheLayer;

    struct Place {
        folder: tempfile::TempDir,
        paths: WorktreePaths,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let root = folder.path().canonicalize().expect("a path").join("p");
            let private = root.join(".storkit/worktrees/.private/7_x");
            for path in ["admin", "objects"] {
                std::fs::create_dir_all(private.join(path)).expect("a folder");
            }
            std::fs::create_dir_all(root.join(".git/objects")).expect("a folder");
            let paths = WorktreePaths {
                common: root.join(".git"),
                folder: root.join(".storkit/worktrees/7_x"),
                admin: root.join(".git/worktrees/7_x"),
                hooks: root.join(".storkit/worktrees/.hooks"),
                ref_folders: vec!["refs/heads/feature/story-7_x".into()],
                is_slot: false,
                private,
                root,
            };
            Self { folder, paths }
        }

        /// The command line, with short names for the folders.
        fn line(&self, bwrap: &Bwrap, tenant: Tenant<'_>) -> String {
            let scratch = ScratchFolders::make(&self.paths).expect("folders");
            let line = bwrap.prefix(&self.paths, &scratch, tenant).expect("a command line");
            let line: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
            let named =
                [(scratch.filters(), "SCRATCH"), (&self.paths.private, "PRIVATE"), (self.folder.path(), "")];
            let text = line.join(" ").replace(" --", "\n--");
            named.iter().fold(text, |text, (path, name)| text.replace(path.to_str().expect("text"), name))
        }
    }

    fn bwrap(reach: NetworkReach) -> Bwrap {
        let host = HostFolders::of_home(Path::new("/nonexistent/home"));
        Bwrap { reach, own: None, ..Bwrap::for_host(host) }
    }

    #[test]
    fn the_worktree_and_private_copies_are_writable_and_nothing_else() {
        let place = Place::new();
        let gate = Tenant::Command { folder: &place.paths.folder };
        let line = place.line(&bwrap(NetworkReach::Everything), gate);
        // Cargo says where its own folder is when it runs tests.
        let caches = |line: &&str| !line.contains("PRIVATE/caches/") && !line.contains("SCRATCH/cargo");
        let mut writable: Vec<&str> =
            line.lines().filter(|line| line.starts_with("--bind ")).filter(caches).collect();
        // Their order depends on where the test's folder is.
        writable.sort_unstable();
        insta::assert_snapshot!(writable.join("\n"), @r"
        --bind /p/.storkit/worktrees/7_x /p/.storkit/worktrees/7_x
        --bind PRIVATE/admin /p/.git/worktrees/7_x
        --bind PRIVATE/lfs /p/.git/lfs
        --bind PRIVATE/objects /p/.git/objects
        --bind PRIVATE/refs/heads/feature/story-7_x /p/.git/refs/heads/feature/story-7_x
        --bind SCRATCH/git /p/.git
        --bind SCRATCH/home /nonexistent/home
        --bind SCRATCH/tmp /tmp
        --bind SCRATCH/tmp /var/tmp
        ");
        assert!(line.contains("\n--tmpfs /p\n") && line.contains("\n--remount-ro /p\n"), "{line}");
        assert!(line.ends_with("--remount-ro /\n--chdir /p/.storkit/worktrees/7_x\n--"), "{line}");
        assert!(!line.contains("claude"), "a gate has no state of the agent: {line}");
    }

    #[test]
    fn names_are_looked_up_only_where_there_is_all_of_the_network() {
        let place = Place::new();
        let words = |reach: NetworkReach| {
            let own = Some(OwnProgram { file: "/bin/true".into(), arguments: Vec::new() });
            let bwrap = Bwrap { own, ..bwrap(reach) };
            let scratch = ScratchFolders::make(&place.paths).expect("folders");
            let tenant = Tenant::Agent { own: &[], login: false };
            let line = bwrap.prefix(&place.paths, &scratch, tenant).expect("a command line");
            let has = |word: &str| line.iter().any(|other| other == word);
            let resolver = scratch.etc().join("resolv.conf");
            (has("--unshare-net"), has(RESOLVER) || resolver.symlink_metadata().is_ok())
        };
        let resolves = Path::new("/etc/resolv.conf").exists();
        assert_eq!(words(NetworkReach::Everything), (false, resolves));
        for limited in [NetworkReach::Nothing, NetworkReach::Through("/p/.storkit/run/cc-2".into())] {
            assert_eq!(words(limited), (true, false));
        }
    }

    #[test]
    fn a_machine_without_bubblewrap_is_told_how_to_get_it() {
        let none = bwrap(NetworkReach::Everything);
        let missing = Bwrap { program: "/nonexistent/bwrap".into(), ..none.clone() };
        insta::assert_snapshot!(missing.try_out().unwrap_err(), @"bubblewrap is not installed. On Debian or Ubuntu: `sudo apt-get install bubblewrap`.");
        assert!(Bwrap { program: "/bin/false".into(), ..none }.try_out().is_err());
    }

    #[test]
    fn caches_are_joined_and_sockets_limited_only_where_this_program_can_be_called() {
        let own = OwnProgram { file: "/bin/storkit".into(), arguments: vec![] };
        let home = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(home.path().join(".npm")).expect("a folder");
        let layers = crate::confine::caches::layers(
            &HostFolders::of_home(home.path()),
            Path::new("/h"),
            Path::new("/private"),
        );
        let npm: Vec<CacheLayer> =
            layers.into_iter().filter(|layer| layer.at == Path::new("/h/.npm")).collect();
        let words: Vec<String> = before_bwrap(&own, Path::new("/filters"), &npm, true)
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        assert_eq!(words[..3], ["/bin/storkit", "sandbox-step", "/filters"]);
        assert_eq!(words[4..6], ["--scope", "--layer"]);
        let private = ["upper", "work", "merged"].map(|name| format!("/private/caches/npm/{name}"));
        assert_eq!((&words[7..10], words[10].as_str()), (&private[..], "--"));
    }
}
