//! A wall in which every writable folder is a copy-on-write layer over the true one: for a process whose changes are only looked at.
//!
//! storkit mounts the layers in the process's own namespace, as it does for caches. All of them lie in one file system in memory, which has
//! a limit, and whose root the process hands to storkit as an open file. So nothing is left once that is closed, also after a kill.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{Mode, OFlags, XattrFlags},
    mount::{MountFlags, mount},
};

use super::{
    file_passing, keeper,
    step::{Never, OwnProgram, escaped, kept_by, limit_resources, limit_sockets, own_mounts},
    view::{Shown, View},
};

/// The subcommand that mounts the layers, hands them over, and becomes bubblewrap.
pub(super) const SUBCOMMAND: &str = "sandbox-layers";

/// Its options: a layer with the number of its lower folders, and as in [`super::step`].
const OVER: &str = "--over";
const SCOPE: &str = "--scope";

/// What all layers of a process can hold.
pub const LAYER_BYTES: u64 = 256 << 20;
const LAYER_FILES: u64 = 65_536;

/// In each layer's folder.
const UPPER: &str = "upper";
const WORK: &str = "work";
const MERGED: &str = "merged";

/// A writable folder of a wall, and the true folders below its layer. Its layer has the number of its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayeredFolder {
    /// Where it is inside.
    pub at: PathBuf,
    /// The upper ones first.
    pub lower: Vec<PathBuf>,
}

/// The words before a command whose writable folders are layers.
pub(super) struct LayeredPrefix {
    pub words: Vec<OsString>,
    pub folders: Vec<LayeredFolder>,
    /// The mounts inside, by path.
    pub shown: BTreeMap<PathBuf, ShownKind>,
}

/// The kind of mount at a path inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownKind {
    ReadOnly,
    Layer,
    /// A folder with nothing but the entries below it.
    Empty,
}

/// A view whose writable folders are layers.
pub(super) fn kinds(view: &View) -> BTreeMap<PathBuf, ShownKind> {
    let kind = |shown: &Shown| match shown {
        Shown::Writable(_) => ShownKind::Layer,
        Shown::ReadOnly(_) | Shown::Link(_) => ShownKind::ReadOnly,
        Shown::Empty => ShownKind::Empty,
    };
    view.entries.iter().map(|(at, shown)| (at.clone(), kind(shown))).collect()
}

/// The layers of a process, which live as long as this.
#[derive(Debug)]
pub struct LayerFiles(OwnedFd);

impl LayerFiles {
    /// The changes in the folder with this number, as overlayfs stores them.
    pub fn changed(&self, number: usize) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        // The kernel leads from here to the open file, in no namespace's names.
        PathBuf::from(format!("/proc/self/fd/{}/{number}/{UPPER}", self.0.as_raw_fd()))
    }

    /// Layers in a folder.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self(fs::File::open(folder).expect("a folder").into())
    }

    /// Whether nothing more fits into them.
    pub fn is_full(&self) -> bool {
        rustix::fs::fstatvfs(&self.0).is_ok_and(|left| left.f_bavail == 0 || left.f_ffree == 0)
    }

    /// Takes the layers over that a process hands to the other end of its standard input. `None` if it ended without.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        Ok(file_passing::receive(socket)?.flatten().map(Self))
    }
}

/// Replaces each writable folder of a view by a layer over it, below `mounts`.
pub(super) fn over_writable(view: &mut View, mounts: &Path) -> Vec<LayeredFolder> {
    let (mut layers, mut numbers) = (Vec::new(), BTreeMap::<PathBuf, usize>::new());
    for (at, shown) in &mut view.entries {
        let Shown::Writable(source) = shown else { continue };
        if !source.is_dir() {
            // A single file cannot be a layer.
            *shown = Shown::ReadOnly(source.clone());
            continue;
        }
        let number = *numbers.entry(source.clone()).or_insert_with(|| {
            let cache = view.layers.iter().find(|layer| layer.merged() == *source);
            let joined = |layer: &super::caches::CacheLayer| match &layer.lower {
                Some(lower) => vec![layer.upper(), lower.clone()],
                None => vec![layer.merged()],
            };
            let lower = cache.map_or_else(|| vec![source.clone()], joined);
            layers.push(LayeredFolder { at: at.clone(), lower });
            layers.len() - 1
        });
        *shown = Shown::Writable(mounts.join(number.to_string()).join(MERGED));
    }
    layers
}

/// The words that lead to bubblewrap, which gets the filters of this folder, with these layers mounted below `mounts`, an empty folder.
pub(super) fn before_bwrap(
    own: &OwnProgram,
    (filters, mounts): (&Path, &Path),
    layers: &[LayeredFolder],
    scope: bool,
) -> Vec<OsString> {
    let mut words = vec![own.file.clone().into()];
    words.extend(own.arguments.iter().cloned());
    words.push(SUBCOMMAND.into());
    words.extend(kept_by(filters));
    words.push(mounts.into());
    if scope {
        words.push(SCOPE.into());
    }
    for layer in layers {
        words.extend([OVER.into(), layer.lower.len().to_string().into()]);
        words.extend(layer.lower.iter().map(OsString::from));
    }
    words.push("--".into());
    words
}

/// Runs the subcommand. Returns only if it fails.
pub(super) fn enter(arguments: &[OsString]) -> io::Result<Never> {
    let wrong = || io::Error::other("only storkit itself calls this");
    let [filters, storkit, mounts, rest @ ..] = arguments else { return Err(wrong()) };
    let mut rest = rest;
    let (mut layers, mut scope) = (Vec::new(), false);
    let command = loop {
        match rest {
            [word, count, more @ ..] if word == OVER => {
                let count = count.to_str().and_then(|count| count.parse().ok()).ok_or_else(wrong)?;
                let (lower, more) = more.split_at_checked(count).ok_or_else(wrong)?;
                layers.push(lower);
                rest = more;
            }
            [word, more @ ..] if word == SCOPE => (scope, rest) = (true, more),
            [word, command @ ..] if word == "--" && !command.is_empty() => break command,
            _ => return Err(wrong()),
        }
    };
    keeper::stay_behind(Path::new(filters), storkit)?;
    own_mounts()?;
    let root = mount_memory(Path::new(mounts))?;
    for (number, lower) in layers.iter().enumerate() {
        mount_layer(&Path::new(mounts).join(number.to_string()), lower)?;
    }
    file_passing::send(rustix::stdio::stdin(), Some(root.as_fd()))?;
    drop(root);
    // Nothing inside gets the socket.
    let nothing = fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    if scope {
        limit_sockets();
    }
    limit_resources();
    Err(Command::new(&command[0]).args(&command[1..]).exec())
}

/// Mounts a file system in memory, and opens its root.
fn mount_memory(at: &Path) -> io::Result<OwnedFd> {
    let options = CString::new(format!("size={LAYER_BYTES},nr_inodes={LAYER_FILES},mode=0700"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", at, "tmpfs", flags, Some(options.as_c_str()))?;
    let root = rustix::fs::open(at, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // overlayfs marks replaced folders by attributes; without them, some changes would fail only in its layers.
    rustix::fs::fsetxattr(&root, "user.storkit", b"", XattrFlags::empty()).map_err(|_| {
        io::Error::other("this kernel cannot layer files in memory (that needs Linux 6.6 or newer)")
    })?;
    Ok(root)
}

fn mount_layer(folder: &Path, lower: &[OsString]) -> io::Result<()> {
    let [upper, work, merged] = [UPPER, WORK, MERGED].map(|name| folder.join(name));
    [&upper, &work, &merged].into_iter().try_for_each(fs::create_dir_all)?;
    // The new root of a layer shows the owner and the mode of the true folder.
    if let Some(first) = lower.first() {
        fs::set_permissions(&upper, fs::metadata(first)?.permissions())?;
    }
    let lower: Vec<Vec<u8>> = lower.iter().map(|path| escaped(path)).collect();
    let mut options = b"lowerdir=".to_vec();
    options.extend(lower.join(&b':'));
    for (name, path) in [(",upperdir=", &upper), (",workdir=", &work)] {
        options.extend(name.bytes().chain(escaped(path.as_os_str())));
    }
    // Attributes that need no privilege (Documentation/filesystems/overlayfs.rst).
    options.extend(b",userxattr");
    let options = CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("overlay", &merged, "overlay", flags, Some(options.as_c_str())).map_err(|error| {
        let at = folder.file_name().unwrap_or_else(|| OsStr::new("")).display();
        io::Error::new(error.kind(), format!("this machine cannot layer files (layer {at}): {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_true_folder_stays_writable_and_one_that_is_shown_twice_has_one_layer() {
        let folder = tempfile::tempdir().expect("a folder");
        let (work, tmp, file) =
            (folder.path().join("work"), folder.path().join("t"), folder.path().join("f"));
        [&work, &tmp].into_iter().for_each(|path| fs::create_dir(path).expect("a folder"));
        fs::write(&file, "").expect("a file");
        let mut view = View::default();
        view.put(Path::new("/p"), Shown::Writable(work.clone()));
        view.put(Path::new("/tmp"), Shown::Writable(tmp.clone()));
        view.put(Path::new("/var/tmp"), Shown::Writable(tmp.clone()));
        view.put(Path::new("/f"), Shown::Writable(file.clone()));
        view.put(Path::new("/usr"), Shown::ReadOnly("/usr".into()));
        let layers = over_writable(&mut view, Path::new("/m"));
        assert_eq!(layers.len(), 2);
        let shown: Vec<&Shown> = view.entries.values().collect();
        let merged = |number: usize| Shown::Writable(format!("/m/{number}/merged").into());
        let expected =
            [&Shown::ReadOnly(file), &merged(0), &merged(1), &Shown::ReadOnly("/usr".into()), &merged(1)];
        assert_eq!(shown, expected);
        assert_eq!(layers[0], LayeredFolder { at: "/p".into(), lower: vec![work] });
        let own = OwnProgram { file: "/bin/storkit".into(), arguments: vec![] };
        let words = before_bwrap(&own, (Path::new("/f"), Path::new("/m")), &layers[..1], true);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words[..3], ["/bin/storkit", "sandbox-layers", "/f"]);
        assert_eq!(words[4..7], ["/m", "--scope", "--over"]);
    }
}
