//! One mount for `/etc` instead of one for each file: bubblewrap reads the list of mounts again for each, which makes fifty
//! small files cost some 10 ms of a start.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::view::{Shown, View};

const ETC: &str = "/etc";

/// Larger files are mounted.
const COPIED_MAX: u64 = 1 << 20;

/// The view with an `/etc` that is this folder: it has copies of the small files and the links, and places for the mounts that are left.
/// `is_shown` says which entries exist inside.
pub(super) fn gathered(view: &View, folder: &Path, is_shown: impl Fn(&Path) -> bool) -> io::Result<View> {
    let mut gathered = view.clone();
    // The operator may show all of it.
    if view.entries.contains_key(Path::new(ETC)) {
        return Ok(gathered);
    }
    fs::create_dir_all(folder)?;
    for (at, shown) in &view.entries {
        let Ok(name) = at.strip_prefix(ETC) else { continue };
        if view.is_within_shown(at) {
            continue;
        }
        let copy = folder.join(name);
        if !is_shown(at) || place(shown, &copy)? {
            gathered.entries.remove(at);
        }
    }
    gathered.put(Path::new(ETC), Shown::ReadOnly(folder.to_owned()));
    Ok(gathered)
}

/// Puts an entry into the folder. `false` if it is only the place for a mount.
fn place(shown: &Shown, copy: &Path) -> io::Result<bool> {
    if let Some(above) = copy.parent() {
        fs::create_dir_all(above)?;
    }
    let source: &PathBuf = match shown {
        Shown::Link(target) => return symlink(target, copy).map(|()| true),
        Shown::Empty => return fs::create_dir_all(copy).map(|()| false),
        Shown::ReadOnly(source) | Shown::Writable(source) => source,
    };
    let found = fs::metadata(source)?;
    if found.is_dir() {
        return fs::create_dir_all(copy).map(|()| false);
    }
    if matches!(shown, Shown::ReadOnly(_)) && found.is_file() && found.len() <= COPIED_MAX {
        match fs::copy(source, copy) {
            Ok(_) => return Ok(true),
            // Mounted as before, where storkit may not read it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    fs::write(copy, "").map(|()| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_and_links_are_copied_and_the_rest_has_a_place_for_its_mount() {
        let host = tempfile::tempdir().expect("a folder");
        let at = |name: &str| host.path().join(name);
        fs::write(at("hosts"), "127.0.0.1 localhost\n").expect("a file");
        fs::write(at("large"), vec![0; COPIED_MAX as usize + 1]).expect("a file");
        fs::create_dir(at("certs")).expect("a folder");
        let mut view = View::default();
        let read_only = |name: &str| Shown::ReadOnly(at(name));
        view.put(Path::new("/etc/hosts"), read_only("hosts"));
        view.put(Path::new("/etc/resolv.conf"), read_only("hosts"));
        view.put(Path::new("/etc/large"), read_only("large"));
        view.put(Path::new("/etc/ssl/certs"), read_only("certs"));
        view.put(Path::new("/etc/mine"), Shown::Writable(at("hosts")));
        view.put(Path::new("/etc/localtime"), Shown::Link("/usr/share/zoneinfo/UTC".into()));
        view.put(Path::new("/usr"), Shown::ReadOnly("/usr".into()));
        let folder = at("etc");
        let shown = gathered(&view, &folder, |path| !path.ends_with("resolv.conf")).expect("a folder");
        let left: Vec<_> = shown.entries.keys().map(|path| path.display().to_string()).collect();
        assert_eq!(left, ["/etc", "/etc/large", "/etc/mine", "/etc/ssl/certs", "/usr"]);
        assert_eq!(shown.entries[Path::new("/etc")], Shown::ReadOnly(folder.clone()));
        assert_eq!(fs::read_to_string(folder.join("hosts")).expect("a copy"), "127.0.0.1 localhost\n");
        assert_eq!(
            fs::read_link(folder.join("localtime")).expect("a link"),
            Path::new("/usr/share/zoneinfo/UTC")
        );
        assert!(folder.join("ssl/certs").is_dir() && !folder.join("resolv.conf").exists());
        for place in ["large", "mine"] {
            assert_eq!(fs::metadata(folder.join(place)).expect("a place").len(), 0);
        }
        let all = View { entries: [(ETC.into(), Shown::ReadOnly(ETC.into()))].into(), ..View::default() };
        assert_eq!(gathered(&all, &folder, |_| true).expect("nothing to do").entries, all.entries);
    }
}
