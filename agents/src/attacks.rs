//! Harmless attacks on the surroundings of a confined process: one table for `storkit doctor --attack` and for the tests. storkit itself is the
//! attacker ([`enter`]), started in the place of an agent or of a gate.
//!
//! A probe reads canaries only: of the operator's own files it learns whether they can be opened. Its own files lie in the folder that
//! was made for the attack, and whoever started it looks there afterwards.

mod files;
mod kernel;
mod network;
mod processes;
mod targets;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

pub use self::{
    kernel::{KernelCall, SYSTEM_CALLS},
    targets::{
        AttackTargets, CACHED_PACKAGES, HOME_PROGRAMS, OPERATORS_FILES, OperatorAccessTarget, OperatorsFile,
        STARTUP_FILES, SYSTEM_SECRETS, canary,
    },
};

/// The subcommands that try all attacks, and one. Behind the first one an agent's launch puts the options of its CLI.
pub const SUBCOMMAND: &str = "sandbox-attack";
const ONE: &str = "sandbox-attack-one";

/// In the folder of an attack: the targets, and the findings.
const TARGETS: &str = "targets.json";
const FINDINGS: &str = "findings.json";

#[derive(Debug)]
pub struct Attack {
    pub name: &'static str,
    /// The attacker's action, as the predicate of a sentence: "reads another project".
    pub goal: &'static str,
    probe: AttackProbe,
}

#[derive(Debug)]
enum AttackProbe {
    /// Opens the files that the targets list under the attack's name.
    Reads,
    /// Writes to those files. Whether anything of it arrived is seen outside.
    Writes,
    /// Names what gets through.
    Tries(fn(&AttackTargets) -> Vec<String>),
}

/// What came of an attack, as the attacker saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackFinding {
    pub name: String,
    /// What got through; empty if it was stopped.
    pub got_through: Vec<String>,
    /// Why it was not tried, as a clause.
    pub not_tried: Option<String>,
}

const fn reads(name: &'static str, goal: &'static str) -> Attack {
    Attack { name, goal, probe: AttackProbe::Reads }
}

const fn writes(name: &'static str, goal: &'static str) -> Attack {
    Attack { name, goal, probe: AttackProbe::Writes }
}

const fn tries(name: &'static str, goal: &'static str, probe: fn(&AttackTargets) -> Vec<String>) -> Attack {
    Attack { name, goal, probe: AttackProbe::Tries(probe) }
}

/// All attacks, in the order of reports. `docs/security.md` lists them.
pub static ATTACKS: [Attack; 37] = [
    reads("operators-keys", "reads the operator's keys, tokens and history"),
    reads("ignored-files", "reads what git ignores in the main checkout, like `.env`"),
    reads("storkit-state", "reads `bot.toml` and storkit's state"),
    reads("other-project", "reads another project"),
    reads("other-worktree", "reads another run's worktree, or git's notes about it"),
    reads("git-credentials", "reads tokens in git's configuration"),
    reads("system-secrets", "reads what only root or a service may, and disks"),
    tries("link", "reads a file through a link of its own", files::through_a_link),
    tries("file-names", "learns the names and sizes of the operator's files", files::sees_names),
    writes("next-command", "writes what Claude Code's next command executes"),
    writes("startup-files", "writes what the operator's shell and tools run later"),
    writes("caches", "edits cached packages that the operator runs later"),
    writes("toolchains", "replaces a program that the operator runs"),
    writes("git-programs", "plants a hook, a filter or a branch in the repository"),
    writes("project-settings", "writes the project's settings, stories and `bot.toml`"),
    writes("uncommitted-files", "changes a person's files in the main checkout"),
    writes("file-modes", "changes the modes of the operator's files"),
    tries("system-files", "writes the system's files and the kernel's settings", files::opens_system_files),
    tries("environment", "finds a secret in its environment", processes::secrets_in_environment),
    tries(
        "model-key",
        "finds the model's key, a login's token, or a secret of another process",
        processes::key_of_the_model,
    ),
    tries(
        "storkit-memory",
        "reads storkit's environment, memory and files by `/proc`",
        processes::reads_storkit,
    ),
    tries("storkit-signals", "sends storkit a signal", processes::signals_storkit),
    tries("other-processes", "sees the processes of the machine", processes::sees_storkit),
    tries("inherited-files", "uses a file that storkit left open", processes::uses_open_files),
    tries("terminal", "types into the operator's terminal", processes::types_into_terminal),
    tries("privileges", "has capabilities, or can gain some", processes::has_privileges),
    tries(
        "limits",
        "leaves an image of its memory on the machine, or starts processes without end",
        processes::has_no_limits,
    ),
    tries("debugging", "debugs other processes", kernel::debugs),
    tries("namespaces", "mounts, or makes a namespace of its own", kernel::makes_namespaces),
    tries(
        "kernel-interfaces",
        "uses the kernel's keyring, BPF, `io_uring` and the like",
        kernel::uses_interfaces,
    ),
    tries("raw-sockets", "opens sockets to the hypervisor, or raw ones", kernel::opens_raw_sockets),
    tries("services", "connects to the sockets of the operator's agents and services", network::path_sockets),
    tries("abstract-sockets", "connects to an abstract socket", network::abstract_sockets),
    tries("console", "becomes the operator at storkit's console", network::attaches_to_console),
    tries(
        "operators-token",
        "becomes the operator with the operator's token",
        network::shows_operators_token,
    ),
    tries(
        "private-network",
        "reaches services of this machine, also by the proxy",
        network::reaches_this_machine,
    ),
    tries(
        "way-out",
        "reaches the internet past the proxy, or a host that nobody allowed",
        network::has_a_way_out,
    ),
];

impl Attack {
    /// The attack of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ATTACKS.iter().find(|attack| attack.name == name)
    }

    /// Whether only the files outside show if it got through.
    pub fn is_seen_outside(&self) -> bool {
        matches!(self.probe, AttackProbe::Writes)
    }

    fn run(&self, targets: &AttackTargets) -> Vec<String> {
        match self.probe {
            AttackProbe::Reads => files::opened(targets.files(&targets.read, self.name)),
            AttackProbe::Writes => {
                files::write(self.name, targets.files(&targets.write, self.name));
                Vec::new()
            }
            AttackProbe::Tries(probe) => probe(targets),
        }
    }
}

/// Writes the targets into the folder of an attack, for a process that gets this folder as its argument.
///
/// # Errors
/// If the file cannot be written.
pub fn prepare(folder: &Path, targets: &AttackTargets) -> io::Result<()> {
    let _ = fs::remove_file(folder.join(FINDINGS));
    fs::write(folder.join(TARGETS), serde_json::to_vec(targets)?)
}

/// Where an attacker leaves its findings.
pub fn findings_file(folder: &Path) -> PathBuf {
    folder.join(FINDINGS)
}

/// The attacker's findings; `None` if it did not come to its end.
pub fn findings(folder: &Path) -> Option<Vec<AttackFinding>> {
    serde_json::from_slice(&fs::read(findings_file(folder)).ok()?).ok()
}

/// Runs the subcommand in `words`, as [`crate::confine::enter`] does, whose `own` it takes. Returns only to say why it failed.
pub(crate) fn enter(own: &[OsString], words: &[OsString]) -> Option<String> {
    let (subcommand, arguments) = words.split_first()?;
    let done = match (subcommand.to_str()?, arguments) {
        (SUBCOMMAND, [folder, ..]) => try_all(own, Path::new(folder)),
        (ONE, [folder, name]) => try_one(Path::new(folder), &name.to_string_lossy()),
        _ => return None,
    };
    match done {
        Ok(()) => std::process::exit(0),
        Err(error) => Some(format!("the attacks cannot be tried: {error}")),
    }
}

/// Each in a process of its own: one may change it, or end it.
fn try_all(own: &[OsString], folder: &Path) -> io::Result<()> {
    let findings: Vec<AttackFinding> = ATTACKS.iter().map(|attack| try_apart(own, folder, attack)).collect();
    fs::write(folder.join(FINDINGS), serde_json::to_vec(&findings)?)
}

fn try_apart(own: &[OsString], folder: &Path, attack: &Attack) -> AttackFinding {
    let (program, leading) = own.split_first().map_or((None, own), |(program, rest)| (Some(program), rest));
    let Some(program) = program else { return not_tried(attack, "storkit cannot be called") };
    let mut command = Command::new(program);
    command.args(leading).arg(ONE).arg(folder).arg(attack.name);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = fs::remove_file(finding(folder, attack.name));
    let status = match command.status() {
        Ok(status) => status,
        Err(error) => return not_tried(attack, &error.to_string()),
    };
    let found =
        fs::read(finding(folder, attack.name)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    match found {
        Some(got_through) => AttackFinding { name: attack.name.into(), got_through, not_tried: None },
        None => not_tried(attack, &format!("its process ended early ({status})")),
    }
}

fn not_tried(attack: &Attack, why: &str) -> AttackFinding {
    AttackFinding { name: attack.name.into(), got_through: Vec::new(), not_tried: Some(why.to_owned()) }
}

fn try_one(folder: &Path, name: &str) -> io::Result<()> {
    let targets: AttackTargets = serde_json::from_slice(&fs::read(folder.join(TARGETS))?)?;
    let attack = Attack::named(name).ok_or_else(|| io::Error::other("there is no such attack"))?;
    fs::write(finding(folder, name), serde_json::to_vec(&attack.run(&targets))?)
}

/// Where the process of one attack leaves its finding.
fn finding(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own_and_a_predicate() {
        let names: BTreeSet<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), ATTACKS.len());
        for attack in &ATTACKS {
            let verb = attack.goal.split([' ', ',']).next().unwrap_or_default();
            assert!(verb.ends_with('s') && !attack.goal.ends_with('.'), "{}", attack.goal);
            assert!(attack.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
    }

    #[test]
    fn other_arguments_are_no_attack() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for line in [&["serve"][..], &["sandbox-attack"], &[]] {
            assert_eq!(enter(&words(&["storkit"]), &words(line)), None);
        }
        let why = enter(&words(&["storkit"]), &words(&["sandbox-attack-one", "/nonexistent", "link"]));
        assert!(why.is_some_and(|why| why.starts_with("the attacks cannot be tried: ")));
    }

    #[test]
    fn a_file_that_can_be_read_gets_through_and_one_that_is_missing_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("id");
        fs::write(&file, canary()).expect("a file");
        let read = [("operators-keys".to_owned(), vec![file.clone(), folder.path().join("missing")])];
        let targets = AttackTargets { read: read.into(), ..AttackTargets::default() };
        let found = Attack::named("operators-keys").expect("an attack").run(&targets);
        assert_eq!(found, [file.display().to_string()]);
        // An empty one of the same name, as a private home may have it, is not the operator's.
        fs::write(&file, "").expect("a file");
        assert!(Attack::named("operators-keys").expect("an attack").run(&targets).is_empty());
    }
}
