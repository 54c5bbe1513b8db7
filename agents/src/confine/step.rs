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

use landlock::{RulesetAttr as _, Scope};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::{Resource, Rlimit, getegid, geteuid, setrlimit},
    thread::UnshareFlags,
};

use super::{caches::CacheLayer, inside};

/// The subcommand that joins caches and limits sockets, then becomes bubblewrap.
const BEFORE_BWRAP: &str = "sandbox-step";

/// Options of [`BEFORE_BWRAP`].
const LAYER: &str = "--layer";
const SCOPE: &str = "--scope";

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
        let _ = REGISTERED.set(Self { file, arguments: Vec::new() });
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
        _ => None,
    }
}

/// The words that lead to bubblewrap. With `scope`, nothing inside reaches abstract sockets of the machine.
pub(super) fn before_bwrap(own: &OwnProgram, layers: &[CacheLayer], scope: bool) -> Vec<OsString> {
    let mut words = vec![own.file.clone().into()];
    words.extend(own.arguments.iter().cloned());
    words.push(BEFORE_BWRAP.into());
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

enum Never {}

fn before(arguments: &[OsString]) -> io::Result<Never> {
    let (mut layers, mut scope, mut rest) = (Vec::new(), false, arguments);
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
    // Where the kernel refuses this, the run's caches start empty: nothing of the operator's is written either way.
    if !layers.is_empty() && own_mounts().is_ok() {
        layers.iter().for_each(|layer| drop(join(*layer)));
    }
    if scope {
        limit_sockets();
    }
    // An image of memory is a file on the machine, outside.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    Err(Command::new(&command[0]).args(&command[1..]).exec())
}

/// A mount namespace of its own, in a user namespace where that is needed.
fn own_mounts() -> io::Result<()> {
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

fn escaped(path: &OsStr) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b',' | b':' | b'\\' => vec![b'\\', *byte],
        byte => vec![*byte],
    };
    path.as_bytes().iter().flat_map(escape).collect()
}

/// A kernel before 6.12 cannot do this; `docs/security.md` says so.
fn limit_sockets() {
    let scoped = landlock::Ruleset::default().scope(Scope::AbstractUnixSocket);
    let applied =
        scoped.and_then(landlock::Ruleset::create).and_then(landlock::RulesetCreated::restrict_self);
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
        let why = enter(&words(&["storkit"]), &words(&["sandbox-step", "--layer", "a"]));
        assert_eq!(why.as_deref(), Some("the sandbox cannot be prepared: only storkit itself calls this"));
    }

    #[test]
    fn a_path_cannot_add_an_option() {
        assert_eq!(escaped(OsStr::new("/a,upperdir=/b:c")), b"/a\\,upperdir=/b\\:c");
    }
}
