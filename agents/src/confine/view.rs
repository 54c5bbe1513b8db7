//! The list of what exists inside a wall. Everything that is not on it does not exist there.
//!
//! A view is built from facts about the machine (`system`, `toolchains`, `caches`), the worktree and the process, and then rendered by the
//! wall in use: [`super::bwrap`] mounts it, [`super::landlock_wall`] turns it into access rules.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

use super::{
    caches::{self, CacheLayer},
    claude_home,
    host_folders::HostFolders,
    paths::{LFS, STORE, WorktreePaths},
    scratch::ScratchFolders,
    system, toolchains,
};

/// Links in a path before it counts as a loop (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Git's own files and folders that stay visible, read-only. Not its configuration, which may hold credentials; not the reflogs, the
/// index and the worktrees of others.
const GIT_SHOWN: [&str; 6] = ["HEAD", "packed-refs", "shallow", "refs", "info", LFS];

/// Whom the wall is built around.
#[derive(Clone, Copy, Debug)]
pub enum Tenant<'a> {
    /// An agent's own process.
    Agent {
        /// Folders of this process alone, e.g. with its FIFO.
        own: &'a [&'a Path],
        /// Whether it uses the operator's login, whose token is a file.
        login: bool,
    },
    /// A gate, or a command of a component: code that an agent may have written. It gets no state of the agent's.
    Command { folder: &'a Path },
}

/// The kind of mount at one path inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    ReadOnly(PathBuf),
    Writable(PathBuf),
    /// A read-only folder with nothing but the entries below it.
    Empty,
    /// A symbolic link, as it is outside.
    Link(PathBuf),
}

/// Everything inside, by path: a folder sorts before its content.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub entries: BTreeMap<PathBuf, Shown>,
    pub layers: Vec<CacheLayer>,
}

impl View {
    /// The view of a process in a worktree. Reads folders, and writes only below the scratch folders.
    pub(super) fn new(
        host: &HostFolders,
        place: &WorktreePaths,
        scratch: &ScratchFolders,
        tenant: Tenant<'_>,
    ) -> Self {
        let mut view = Self::default();
        system::paths().iter().for_each(|path| view.show(path));
        let home = real_or_named(host.inner_home());
        view.put(Path::new("/tmp"), Shown::Writable(scratch.tmp()));
        view.put(Path::new("/var/tmp"), Shown::Writable(scratch.tmp()));
        view.lead_to(host.inner_home());
        view.put(&home, Shown::Writable(scratch.home()));
        view.private_cargo(host, scratch, &home);
        toolchains::paths(&host.home, &place.root).iter().for_each(|path| view.show(path));
        view.layers = caches::layers(host, &home, &place.private);
        for layer in &view.layers {
            view.entries.insert(layer.at.clone(), Shown::Writable(layer.merged()));
        }
        view.project(place, scratch, &home);
        view.show(&place.received());
        view.share(&place.evidence());
        // The operator's own additions may lie in the project.
        host.programs.iter().chain(&host.visible).for_each(|path| view.show(path));
        host.writable.iter().for_each(|path| view.share(path));
        if let Tenant::Agent { own, login } = tenant {
            claude_home::show(&mut view, host, place, scratch, login);
            own.iter().for_each(|path| view.share(path));
        }
        view
    }

    /// Shows a file or folder where it is, read-only. One that is missing is left out.
    pub(super) fn show(&mut self, path: &Path) {
        if let Some(real) = self.lead_to(path) {
            self.entries.insert(real.clone(), Shown::ReadOnly(real));
        }
    }

    /// Shows a folder where it is, writable. One that is missing is left out.
    pub(super) fn share(&mut self, path: &Path) {
        if let Some(real) = self.lead_to(path) {
            self.entries.insert(real.clone(), Shown::Writable(real));
        }
    }

    pub(super) fn put(&mut self, at: &Path, shown: Shown) {
        self.entries.insert(at.to_owned(), shown);
    }

    /// Whether a shown folder already contains this path as it is outside.
    pub(super) fn is_within_shown(&self, path: &Path) -> bool {
        let above = path.ancestors().skip(1).find_map(|folder| Some((folder, self.entries.get(folder)?)));
        matches!(above, Some((folder, Shown::ReadOnly(source) | Shown::Writable(source))) if folder == source)
    }

    /// As [`View::is_within_shown`], where that folder is read-only.
    pub(super) fn is_within_read_only(&self, path: &Path) -> bool {
        let above = path.ancestors().skip(1).find_map(|folder| Some((folder, self.entries.get(folder)?)));
        matches!(above, Some((folder, Shown::ReadOnly(source))) if folder == source)
    }

    /// Adds the links on the way to a path, so that it can be called by this name inside, too. Returns the real path of an existing one.
    pub(super) fn lead_to(&mut self, path: &Path) -> Option<PathBuf> {
        let mut rest: VecDeque<OsString> = parts(path);
        let (mut current, mut hops) = (PathBuf::from("/"), 0);
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                current.pop();
                continue;
            }
            let next = current.join(part);
            let Ok(target) = fs::read_link(&next) else {
                current = next;
                continue;
            };
            hops += 1;
            if hops > MAX_LINKS {
                return None;
            }
            self.entries.entry(next).or_insert_with(|| Shown::Link(target.clone()));
            if target.is_absolute() {
                current = PathBuf::from("/");
            }
            let mut leading = parts(&target);
            leading.append(&mut rest);
            rest = leading;
        }
        fs::symlink_metadata(&current).is_ok().then_some(current)
    }

    // cargo writes its index and locks next to its programs, which are shown read-only.
    fn private_cargo(&mut self, host: &HostFolders, scratch: &ScratchFolders, home: &Path) {
        let named = toolchains::cargo_home(host.cargo_home.as_deref(), home);
        let cargo = real_or_named(&named);
        if !cargo.starts_with(home) {
            self.lead_to(&named);
            self.put(&cargo, Shown::Writable(scratch.cargo()));
        }
    }

    fn project(&mut self, place: &WorktreePaths, scratch: &ScratchFolders, home: &Path) {
        if place.is_main_checkout() {
            return self.main_checkout(place, home);
        }
        // The main checkout's own files do not exist inside: they may hold anything, and the worktree has all that git tracks.
        if place.root != *home {
            self.pin(&place.root);
            self.put(&place.root, Shown::Empty);
        }
        self.put(&place.root.join(".storkit"), Shown::Empty);
        if !place.common.starts_with(&place.root) {
            self.pin(&place.common);
        }
        for name in ["work", "project.toml"] {
            self.show_real(&place.root.join(".storkit").join(name));
        }
        self.show_real(&place.hooks);
        self.put(&place.folder, Shown::Writable(place.folder.clone()));
        // A `.git` of the agent's own could name commands that a person's git in this folder would run.
        self.put(&place.folder.join(".git"), Shown::ReadOnly(scratch.git_link()));
        self.git_data(place, scratch);
    }

    /// All of the main checkout can be written but git's data and storkit's.
    fn main_checkout(&mut self, place: &WorktreePaths, home: &Path) {
        let (root, common) = (&place.root, &place.common);
        if root != home {
            self.pin(root);
        }
        self.put(root, Shown::Writable(root.clone()));
        // A file in a linked worktree.
        self.show_real(&root.join(".git"));
        if !common.starts_with(root) {
            self.pin(common);
        }
        self.put(common, Shown::Empty);
        GIT_SHOWN.iter().chain(&["index", "objects"]).for_each(|name| self.show_real(&common.join(name)));
        for store in further_stores(&common.join("objects")) {
            self.show(&store);
        }
        self.put(&common.join("config"), Shown::ReadOnly(place.private.join("config-shown")));
        self.put(&root.join(".storkit"), Shown::Empty);
        for name in ["work", "project.toml", "README.md", "specs", "context.md"] {
            self.show_real(&root.join(".storkit").join(name));
        }
    }

    /// Private copies where git writes; the true objects are at [`STORE`], read-only.
    fn git_data(&mut self, place: &WorktreePaths, scratch: &ScratchFolders) {
        // Git makes lock files in `.git` itself for a commit, so the folder is a private one, with the real entries in it.
        self.put(&place.common, Shown::Writable(scratch.git()));
        for name in GIT_SHOWN.iter().filter(|name| **name != LFS) {
            self.show_real(&place.common.join(name));
        }
        self.large_files(place);
        // The worktree names storkit's hooks. Here nobody is to leave one for later.
        self.put(&place.common.join("hooks"), Shown::Empty);
        self.put(&place.common.join("config"), Shown::ReadOnly(place.private.join("config-shown")));
        let (objects, private) = (place.common.join("objects"), &place.private);
        self.put(&place.root.join(STORE), Shown::ReadOnly(objects.clone()));
        for store in further_stores(&objects) {
            self.show(&store);
        }
        // A worktree's submodules borrow their objects from the main checkout's. Not its configurations, as above.
        for store in submodule_stores(&place.common, MODULES_DEPTH) {
            self.put(&store, Shown::ReadOnly(store.clone()));
        }
        self.put(&objects, Shown::Writable(private.join("objects")));
        self.put(&objects.join("info"), Shown::ReadOnly(private.join("info")));
        self.put(&place.admin, Shown::Writable(private.join("admin")));
        for folder in &place.ref_folders {
            self.put(&place.common.join(folder), Shown::Writable(private.join(folder)));
        }
    }

    /// What git-lfs stores goes to a private folder. It reads the true store where it looks for one: beside the objects that are borrowed.
    fn large_files(&mut self, place: &WorktreePaths) {
        self.put(&place.common.join(LFS), Shown::Writable(place.private.join(LFS)));
        let store = place.common.join(LFS).join("objects");
        if fs::symlink_metadata(&store).is_ok_and(|found| found.is_dir()) {
            let beside = place.root.join(STORE).with_file_name(LFS);
            self.put(&beside.join("objects"), Shown::ReadOnly(store));
        }
    }

    /// Of storkit's and git's own, whose paths have no links in them.
    fn show_real(&mut self, path: &Path) {
        let found = fs::symlink_metadata(path);
        if found.is_ok_and(|found| found.is_file() || found.is_dir()) {
            self.put(path, Shown::ReadOnly(path.to_owned()));
        }
    }

    /// Makes the way to a folder read-only where it begins in a private folder, so that nobody inside can rename a part of it.
    fn pin(&mut self, folder: &Path) {
        let private = |above: &&Path| matches!(self.entries.get(*above), Some(Shown::Writable(source)) if source != above);
        let Some(above) = folder.ancestors().skip(1).find(private).map(Path::to_owned) else { return };
        let first = folder.strip_prefix(&above).ok().and_then(|rest| rest.components().next());
        // Programs write to hidden folders of a home.
        if let Some(Component::Normal(first)) = first
            && !first.as_encoded_bytes().starts_with(b".")
        {
            self.entries.entry(above.join(first)).or_insert(Shown::Empty);
        }
    }
}

/// Stores that the repository itself borrows objects from.
fn further_stores(objects: &Path) -> Vec<PathBuf> {
    let listed = fs::read_to_string(objects.join("info/alternates")).unwrap_or_default();
    let lines = listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| objects.join(line)).collect()
}

/// Folders below `modules` in which submodules are looked for: a name may have slashes, and a submodule may have its own.
const MODULES_DEPTH: u32 = 8;

/// The objects of the submodules in a git folder; no link is followed.
fn submodule_stores(git_dir: &Path, depth: u32) -> Vec<PathBuf> {
    below_modules(&git_dir.join("modules"), depth)
}

fn below_modules(folder: &Path, depth: u32) -> Vec<PathBuf> {
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if depth == 0 || !is_folder(folder) {
        return Vec::new();
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let stores = entries.filter(|path| is_folder(path)).flat_map(|path| {
        if !path.join("HEAD").is_file() {
            return below_modules(&path, depth - 1);
        }
        let own = Some(path.join("objects")).filter(|objects| is_folder(objects));
        own.into_iter().chain(submodule_stores(&path, depth - 1)).collect()
    });
    stores.collect()
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.collect()
}

/// A path without links as far as it exists.
pub(super) fn real_or_named(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?))) {
        // `join` of an empty rest adds a slash.
        Some(real) => real.components().collect(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn of_submodules_the_objects_are_shown_and_nothing_else_and_no_link_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let git_dir = folder.path();
        for module in ["modules/lib", "modules/vendor/deep", "modules/lib/modules/inner"] {
            fs::create_dir_all(git_dir.join(module).join("objects")).expect("a folder");
            fs::write(git_dir.join(module).join("HEAD"), "ref: refs/heads/main\n").expect("a file");
        }
        symlink("/etc", git_dir.join("modules/evil")).expect("a link");
        fs::create_dir(git_dir.join("modules/linked")).expect("a folder");
        fs::write(git_dir.join("modules/linked/HEAD"), "").expect("a file");
        symlink("/etc", git_dir.join("modules/linked/objects")).expect("a link");
        let mut found = submodule_stores(git_dir, MODULES_DEPTH);
        found.sort();
        let expected = ["lib/modules/inner/objects", "lib/objects", "vendor/deep/objects"];
        assert_eq!(found, expected.map(|store| git_dir.join("modules").join(store)));
    }

    #[test]
    fn a_path_through_links_is_shown_in_the_real_folder_and_the_links_lead_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("a path");
        fs::create_dir(folder.join("tools")).expect("a folder");
        fs::write(folder.join("tools/cli.js"), "").expect("a file");
        symlink("cli.js", folder.join("tools/claude")).expect("a link");
        symlink("tools", folder.join("link")).expect("a link");
        let mut view = View::default();
        view.show(&folder.join("link/claude"));
        let shown = view.entries.get(&folder.join("tools/cli.js"));
        assert_eq!(shown, Some(&Shown::ReadOnly(folder.join("tools/cli.js"))));
        assert_eq!(view.entries.get(&folder.join("link")), Some(&Shown::Link("tools".into())));
        assert_eq!(view.entries.get(&folder.join("tools/claude")), Some(&Shown::Link("cli.js".into())));
        view.show(&folder.join("missing"));
        assert_eq!(view.entries.len(), 3);
    }

    #[test]
    fn links_in_a_circle_show_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("a path");
        symlink("b", folder.join("a")).expect("a link");
        symlink("a", folder.join("b")).expect("a link");
        let mut view = View::default();
        view.show(&folder.join("a/file"));
        assert!(view.entries.values().all(|shown| matches!(shown, Shown::Link(_))));
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_named_below_the_real_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = folder.path().canonicalize().expect("a path");
        symlink(&real, real.join("link")).expect("a link");
        assert_eq!(real_or_named(&real.join("link/new/home")), real.join("new/home"));
        assert_eq!(real_or_named(&real.join("link")), real);
    }
}
