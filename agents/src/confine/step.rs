//! Steps that storkit itself takes between its own process and a confined one: it is called again as a program, prepares that process, and
//! becomes the next program of the command line.

use std::{
    ffi::{CString, OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::{Resource, Rlimit, getegid, geteuid, getrlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities},
};

use super::{caches::CacheLayer, inside, keeper, kernel::KernelMeans, layers, seccomp};

/// The subcommand that joins caches and limits sockets, then becomes bubblewrap.
const BEFORE_BWRAP: &str = "sandbox-step";

const LAYER: &str = "--layer";
const SCOPE: &str = "--scope";

/// The subcommand that confines itself by Landlock, then becomes the command. Its options name what may be read, and written, whether the
/// network is limited, and the ports that are open then.
pub(super) const RULES: &str = "sandbox-rules";
pub(super) const READ: &str = "--read";
pub(super) const WRITE: &str = "--write";
pub(super) const PORTS_ONLY: &str = "--ports-only";
pub(super) const PORT: &str = "--port";

/// Processes and threads of this user that there may be before nothing inside can start another one. Far more than a build needs, and
/// few enough that the machine can still be used: an agent's mistake can be a fork bomb.
const MAX_PROCESSES: u64 = 16_384;

/// Added to the kernel's score for ending a process when memory runs out: those inside go before storkit and the operator's.
const OUT_OF_MEMORY_SCORE: &str = "300";

static REGISTERED: OnceLock<OwnProgram> = OnceLock::new();

/// How this program is called again: its file, and the arguments that lead to [`enter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnProgram {
    pub file: PathBuf,
    pub arguments: Vec<OsString>,
}

impl OwnProgram {
    /// Declares that this program passes its arguments to [`enter`]. Without that, parts of a wall are left out.
    pub fn register() {
        let file = std::env::current_exe().unwrap_or_else(|_| "storkit".into());
        // Linux appends ` (deleted)` once the file is replaced, as `rebuild` does; the new program has the old path.
        let file =
            file.to_str().and_then(|file| file.strip_suffix(" (deleted)")).map(Into::into).unwrap_or(file);
        Self { file, arguments: Vec::new() }.register_as();
    }

    /// As [`OwnProgram::register`], for a program that gets there by other arguments. Only the first call counts.
    pub fn register_as(self) {
        let _ = REGISTERED.set(self);
    }

    pub(super) fn registered() -> Option<Self> {
        REGISTERED.get().cloned()
    }
}

/// Runs the subcommand in `words`, the arguments behind `own`, by which this program gets here. `None` if it is not one of these. Returns
/// only if it fails, with a clause on why.
pub fn enter(own: &[OsString], words: &[OsString]) -> Option<String> {
    let (subcommand, arguments) = words.split_first()?;
    match subcommand.to_str()? {
        inside::SUBCOMMAND => Some(inside::enter(&[own, &words[..1]].concat(), arguments)),
        BEFORE_BWRAP => Some(match before(arguments) {
            Ok(never) => match never {},
            Err(error) => format!("the sandbox cannot be prepared: {error}"),
        }),
        layers::SUBCOMMAND => Some(match layers::enter(arguments) {
            Ok(never) => match never {},
            Err(error) => format!("the layers cannot be made: {error}"),
        }),
        RULES => Some(match by_rules(arguments) {
            Ok(never) => match never {},
            Err(error) => format!("the wall cannot be built: {error}"),
        }),
        // An attacker is started as the program that it stands for would be.
        _ => crate::attacks::enter(own, words),
    }
}

/// The words that lead to bubblewrap, which gets the filters of this folder. With `scope`, nothing inside reaches abstract sockets of the
/// machine.
pub(super) fn before_bwrap(
    own: &OwnProgram,
    filters: &Path,
    layers: &[CacheLayer],
    scope: bool,
) -> Vec<OsString> {
    let mut words = vec![own.file.clone().into()];
    words.extend(own.arguments.iter().cloned());
    words.push(BEFORE_BWRAP.into());
    words.extend(kept_by(filters));
    if scope {
        words.push(SCOPE.into());
    }
    for layer in layers {
        if let Some(lower) = &layer.lower {
            let folders = [lower.clone(), layer.upper(), layer.work(), layer.merged()];
            words.push(LAYER.into());
            words.extend(folders.map(OsString::from));
        }
    }
    words.push("--".into());
    words
}

/// The words for [`keeper::stay_behind`], which come first.
pub(super) fn kept_by(filters: &Path) -> [OsString; 2] {
    [filters.into(), std::process::id().to_string().into()]
}

/// A process that became another program never returns.
pub(super) type Never = std::convert::Infallible;

fn before(arguments: &[OsString]) -> io::Result<Never> {
    let [filters, storkit, rest @ ..] = arguments else {
        return Err(io::Error::other("only storkit itself calls this"));
    };
    let (mut layers, mut scope, mut rest) = (Vec::new(), false, rest);
    let command = loop {
        match rest {
            [word, lower, upper, work, merged, more @ ..] if word == LAYER => {
                layers.push([lower, upper, work, merged]);
                rest = more;
            }
            [word, more @ ..] if word == SCOPE => (scope, rest) = (true, more),
            [word, command @ ..] if word == "--" && !command.is_empty() => break command,
            _ => return Err(io::Error::other("only storkit itself calls this")),
        }
    };
    keeper::stay_behind(Path::new(filters), storkit)?;
    // Where the kernel refuses this, the run's caches start empty: nothing of the operator's is written either way.
    if !layers.is_empty() && own_mounts().is_ok() {
        layers.iter().for_each(|layer| drop(join(*layer)));
    }
    if scope {
        limit_sockets();
    }
    limit_resources();
    Err(Command::new(&command[0]).args(&command[1..]).exec())
}

/// The resource limits of a process inside, and of all that it starts. A limit that the kernel refuses is left out.
pub(super) fn limit_resources() {
    // An image of memory is a file on the machine, outside.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let most = |limit: Option<u64>| Some(limit.unwrap_or(u64::MAX).min(MAX_PROCESSES));
    let Rlimit { current, maximum } = getrlimit(Resource::Nproc);
    let _ = setrlimit(Resource::Nproc, Rlimit { current: most(current), maximum: most(maximum) });
    let _ = fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
}

/// A mount namespace of its own, in a user namespace where that is needed.
pub(super) fn own_mounts() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    if !user.is_root() || unshare(UnshareFlags::NEWNS).is_err() {
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        // The same ids as outside (user_namespaces(7)).
        fs::write("/proc/self/setgroups", "deny")?;
        let same = |id: u32| format!("{id} {id} 1\n");
        fs::write("/proc/self/uid_map", same(user.as_raw()))?;
        fs::write("/proc/self/gid_map", same(group.as_raw()))?;
    }
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

#[allow(unsafe_code)]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: unsafe for `CLONE_FILES`, which is not among the flags here.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Joins the operator's cache and a private layer by overlayfs.
fn join([lower, upper, work, merged]: [&OsString; 4]) -> io::Result<()> {
    let mut options = b"lowerdir=".to_vec();
    options.extend(escaped(lower));
    options.extend(b",upperdir=");
    options.extend(escaped(upper));
    options.extend(b",workdir=");
    options.extend(escaped(work));
    // Attributes that need no privilege (Documentation/filesystems/overlayfs.rst).
    options.extend(b",userxattr");
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("overlay", Path::new(merged), "overlay", flags, Some(options.as_c_str()))?)
}

pub(super) fn escaped(path: &OsStr) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b',' | b':' | b'\\' => vec![b'\\', *byte],
        byte => vec![*byte],
    };
    path.as_bytes().iter().flat_map(escape).collect()
}

fn by_rules(arguments: &[OsString]) -> io::Result<Never> {
    let (mut read, mut write, mut ports, mut rest) = (Vec::new(), Vec::new(), None, arguments);
    let command = loop {
        match rest {
            [word, more @ ..] if word == PORTS_ONLY => {
                ports = Some(Vec::new());
                rest = more;
            }
            [word, port, more @ ..] if word == PORT && ports.is_some() => {
                let port = port.to_str().and_then(|port| port.parse::<u16>().ok());
                let port = port.ok_or_else(|| io::Error::other("a port is a number"))?;
                ports.get_or_insert_default().push(port);
                rest = more;
            }
            [word, path, more @ ..] if word == READ => {
                read.push(path);
                rest = more;
            }
            [word, path, more @ ..] if word == WRITE => {
                write.push(path);
                rest = more;
            }
            [word, command @ ..] if word == "--" && !command.is_empty() => break command,
            _ => return Err(io::Error::other("only storkit itself calls this")),
        }
    };
    restrict(&read, &write, ports.as_deref()).map_err(io::Error::other)?;
    // Root would have them all. From here on no program that is started gets one (`no_new_privs`).
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    limit_resources();
    // Last: they forbid calls that are needed until here.
    for program in seccomp::programs_without_namespaces(ports.is_some())? {
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Err(Command::new(&command[0]).args(&command[1..]).exec())
}

/// Fails where the kernel cannot enforce rules for files, truncation included (6.2), or for ports where these are limited (6.7). Signals
/// and abstract sockets are limited from 6.12 on.
fn restrict(read: &[&OsString], write: &[&OsString], ports: Option<&[u16]>) -> Result<(), RulesetError> {
    let (needed, all) = (ABI::V3, ABI::V7);
    let mut rules = landlock::Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(needed))?;
    if ports.is_some() {
        rules = rules.handle_access(AccessNet::from_all(ABI::V4))?;
    }
    // A server of its own may listen on a port that the system chooses.
    let bound = ports.map(|_| NetPort::new(0, AccessNet::BindTcp));
    let open = ports.unwrap_or_default().iter();
    let open = open.map(|port| NetPort::new(*port, AccessNet::from_all(ABI::V4)));
    let status = rules
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(all))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(all)))?
        .add_rules(path_beneath_rules(
            write,
            AccessFs::from_all(all) & !(AccessFs::MakeBlock | AccessFs::MakeChar),
        ))?
        .add_rules(bound.into_iter().chain(open).map(Ok::<_, RulesetError>))?
        .restrict_self()?;
    debug_assert_ne!(status.ruleset, RulesetStatus::NotEnforced);
    Ok(())
}

/// A kernel before 6.12 cannot do this; `docs/security.md` says so.
pub(super) fn limit_sockets() {
    let scoped = landlock::Ruleset::default().scope(Scope::AbstractUnixSocket);
    let applied =
        scoped.and_then(landlock::Ruleset::create).and_then(landlock::RulesetCreated::restrict_self);
    drop(applied);
}

/// Closes what is not below this process's root. Links in `/proc/PID/fd` lead out of it: to the terminal on which an agent program talks
/// to storkit, for example, where another process could speak in its place. A kernel before 5.19 cannot do this without forbidding
/// renames; `docs/security.md` says so.
pub(super) fn close_other_mounts() {
    if KernelMeans::of_this_machine().landlock.is_none_or(|version| version < 2) {
        return;
    }
    let all = AccessFs::from_all(ABI::V3);
    let applied = landlock::Ruleset::default()
        .handle_access(all)
        .and_then(landlock::Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(["/"], all)))
        .and_then(landlock::RulesetCreated::restrict_self);
    drop(applied);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_not_a_subcommand() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(enter(&words(&["storkit"]), &words(&["serve"])), None);
        assert_eq!(enter(&words(&["storkit"]), &[]), None);
        let why = enter(&words(&["storkit"]), &words(&["sandbox-step", "/filters", "1", "--layer", "a"]));
        assert_eq!(why.as_deref(), Some("the sandbox cannot be prepared: only storkit itself calls this"));
    }

    #[test]
    fn a_path_cannot_add_an_option() {
        assert_eq!(escaped(OsStr::new("/a,upperdir=/b:c")), b"/a\\,upperdir=/b\\:c");
    }
}
