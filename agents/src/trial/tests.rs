//! Comparing and keeping, with a layer as overlayfs leaves it. Trials of real commands are in `tests/attacks/trials.rs`.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mkfifoat, mknodat, setxattr};

use super::{
    FileChangeKind, KeepFailure, NoKeep,
    compare::{Compared, compare},
    root::{self, WorkspaceRoot},
};
use crate::confine::{LayerFiles, ShownKind};

/// An agent's folder, its layer, and a folder outside.
struct Scene {
    place: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { place: tempfile::tempdir().expect("a folder") };
        for name in ["work", "layers/0/upper", "private", "outside"] {
            fs::create_dir_all(scene.place.path().join(name)).expect("a folder");
        }
        scene
    }

    fn work(&self, path: &str) -> PathBuf {
        self.place.path().join("work").join(path)
    }

    fn layer(&self, path: &str) -> PathBuf {
        self.place.path().join("layers/0/upper").join(path)
    }

    fn outside(&self, path: &str) -> PathBuf {
        self.place.path().join("outside").join(path)
    }

    fn delete(&self, path: &str) {
        let at = write_folder_of(&self.layer(path));
        mknodat(CWD, at, FileType::CharacterDevice, Mode::empty(), 0).expect("a whiteout");
    }

    fn hide_below(&self, path: &str) {
        fs::create_dir_all(self.layer(path)).expect("a folder");
        setxattr(self.layer(path), "user.overlay.opaque", b"y", XattrFlags::empty()).expect("an attribute");
    }

    fn compare_since(&self, started: root::Stamp) -> Compared {
        let root = WorkspaceRoot::open(&self.work("")).expect("it opens");
        compare(&root, &self.layer(""), &BTreeMap::new(), (&self.work(""), started))
    }

    /// As if the command had begun now.
    fn compare(&self) -> Compared {
        // The clock that stamps files is coarse.
        self.compare_since((root::now().0 + 1, 0))
    }

    fn keep(&self, compared: &Compared) -> Result<(), KeepFailure> {
        let layers = LayerFiles::in_folder(&self.place.path().join("layers"));
        compared.plan.apply(&self.work(""), &self.place.path().join("private"), &layers)
    }

    /// Every file of the folder with its content, links with their target.
    fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.work(""), Path::new(""), &mut found);
        found
    }
}

fn list(root: &Path, path: &Path, found: &mut Vec<String>) {
    let mut names: Vec<_> = fs::read_dir(root.join(path))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    for name in names {
        let path = path.join(name);
        let at = root.join(&path);
        let kind = fs::symlink_metadata(&at).expect("it is there").file_type();
        let shown = path.display();
        if kind.is_symlink() {
            found.push(format!("{shown} -> {}", fs::read_link(&at).expect("a link").display()));
        } else if kind.is_dir() {
            found.push(format!("{shown}/"));
            list(root, &path, found);
        } else {
            found.push(format!("{shown}: {}", fs::read_to_string(&at).expect("text").trim_end()));
        }
    }
}

fn write_folder_of(path: &Path) -> CString {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    CString::new(path.as_os_str().as_bytes()).expect("a path")
}

fn write(path: PathBuf, text: &str) {
    write_folder_of(&path);
    fs::write(path, text).expect("a file");
}

fn changes(compared: &Compared) -> Vec<String> {
    let word = |kind| match kind {
        FileChangeKind::Added => '+',
        FileChangeKind::Changed => '~',
        FileChangeKind::Deleted => '-',
    };
    compared.files.iter().map(|change| format!("{}{}", word(change.kind), change.path.display())).collect()
}

#[test]
fn all_kinds_of_changes_are_found_counted_and_kept() {
    let scene = Scene::new();
    for (path, text) in [
        ("same", "a\n"),
        ("changed", "a\nb\nc\n"),
        ("gone", "a\n"),
        ("folder/one", "1\n"),
        ("folder/deep/two", "2\n"),
        ("replaced/old", "old\n"),
        ("becomes-folder", "x\n"),
        ("becomes-file/inner", "x\n"),
        ("mode", "x\n"),
        ("untouched/file", "x\n"),
    ] {
        write(scene.work(path), text);
    }
    symlink("same", scene.work("link")).expect("a link");
    write(scene.layer("same"), "a\n");
    write(scene.layer("changed"), "a\nB\nc\nd\n");
    write(scene.layer("new/sub/file"), "one\ntwo\n");
    scene.delete("gone");
    scene.delete("folder");
    scene.delete("never-was");
    scene.hide_below("replaced");
    write(scene.layer("replaced/new"), "new\n");
    scene.hide_below("becomes-folder");
    write(scene.layer("becomes-folder/x"), "x\n");
    write(scene.layer("becomes-file"), "x\n");
    write(scene.layer("mode"), "x\n");
    fs::set_permissions(scene.layer("mode"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    symlink("changed", scene.layer("link")).expect("a link");
    let compared = scene.compare();
    assert_eq!(compared.no_keep, None);
    assert_eq!(
        changes(&compared),
        [
            "+becomes-file",
            "-becomes-file/inner",
            "+becomes-folder/x",
            "~changed",
            "-folder/deep/two",
            "-folder/one",
            "-gone",
            "~link",
            "~mode",
            "+new/sub/file",
            "+replaced/new",
            "-replaced/old"
        ]
    );
    assert_eq!((compared.lines.added, compared.lines.removed, compared.lines.uncounted), (7, 6, 0));
    assert_eq!(scene.keep(&compared), Ok(()));
    assert_eq!(
        scene.tree(),
        [
            "becomes-file: x",
            "becomes-folder/",
            "becomes-folder/x: x",
            "changed: a\nB\nc\nd",
            "link -> changed",
            "mode: x",
            "new/",
            "new/sub/",
            "new/sub/file: one\ntwo",
            "replaced/",
            "replaced/new: new",
            "same: a",
            "untouched/",
            "untouched/file: x",
        ]
    );
    let mode = fs::metadata(scene.work("mode")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "no program runs with its owner's rights");
    assert_eq!(fs::read_dir(scene.place.path().join("private/scratch")).expect("a folder").count(), 0);
}

#[test]
fn nothing_is_kept_over_files_that_are_not_as_they_were() {
    type Change = fn(&Scene);
    let changes: [(&str, Change); 6] = [
        ("changed", |scene| write(scene.work("changed"), "other\n")),
        ("gone", |scene| write(scene.work("gone"), "a\n")),
        ("folder", |scene| write(scene.work("folder/late"), "late\n")),
        ("new", |scene| write(scene.work("new"), "mine\n")),
        ("into", |scene| {
            fs::remove_dir_all(scene.work("into")).expect("it was there");
            symlink(scene.outside(""), scene.work("into")).expect("a link");
        }),
        ("hidden", |scene| write(scene.work("hidden/late"), "late\n")),
    ];
    for (named, change) in changes {
        let scene = Scene::new();
        for path in ["changed", "gone", "folder/one", "into/x", "hidden/x"] {
            write(scene.work(path), "a\n");
        }
        write(scene.layer("changed"), "b\n");
        scene.delete("gone");
        scene.delete("folder");
        write(scene.layer("new"), "b\n");
        write(scene.layer("into/made"), "b\n");
        scene.hide_below("hidden");
        let compared = scene.compare();
        assert_eq!(compared.no_keep, None);
        change(&scene);
        let before = scene.tree();
        match scene.keep(&compared) {
            Err(KeepFailure::Changed(path)) => assert!(path.starts_with(named), "{named}: {path:?}"),
            other => panic!("{named}: {other:?}"),
        }
        assert_eq!(scene.tree(), before, "{named}");
        assert_eq!(fs::read_dir(scene.outside("")).expect("a folder").count(), 0, "{named}");
    }
}

#[test]
fn a_link_that_the_command_made_is_kept_as_a_link_and_nothing_is_written_through_it() {
    let scene = Scene::new();
    write(scene.work("folder/file"), "a\n");
    symlink(scene.outside(""), scene.layer("folder")).expect("a link");
    symlink(scene.outside(""), scene.layer("out")).expect("a link");
    let compared = scene.compare();
    assert_eq!(changes(&compared), ["+folder", "-folder/file", "+out"]);
    assert_eq!(scene.keep(&compared), Ok(()));
    assert_eq!(fs::read_dir(scene.outside("")).expect("a folder").count(), 0);
    assert!(fs::symlink_metadata(scene.work("folder")).expect("it is there").is_symlink());
}

#[test]
fn what_lies_behind_a_link_of_the_folder_is_neither_read_nor_written() {
    let scene = Scene::new();
    write(scene.outside("file"), "secret\n");
    symlink(scene.outside(""), scene.work("link")).expect("a link");
    // As if the true folder had become a link after the layer was made.
    write(scene.layer("link/file"), "mine\n");
    let compared = scene.compare();
    assert_eq!(scene.keep(&compared), Ok(()));
    assert_eq!(fs::read_to_string(scene.outside("file")).expect("a file"), "secret\n");
    assert_eq!(scene.tree(), ["link/", "link/file: mine"], "it is what the layer shows");
}

#[test]
fn what_belongs_to_git_or_storkit_is_never_kept() {
    for path in
        [".git", ".git/hooks/x", "sub/.git/config", ".GIT/config", ".storkit/project.toml", ".Storkit/x"]
    {
        let scene = Scene::new();
        write(scene.layer(path), "x\n");
        let compared = scene.compare();
        assert!(matches!(compared.no_keep, Some(NoKeep::Protected(_))), "{path}: {:?}", compared.no_keep);
    }
    let scene = Scene::new();
    write(scene.work("sub/.git/config"), "x\n");
    scene.delete("sub");
    assert!(matches!(scene.compare().no_keep, Some(NoKeep::Protected(_))));
    let scene = Scene::new();
    write(scene.layer(".gitignore"), "x\n");
    assert_eq!(scene.compare().no_keep, None);
}

#[test]
fn special_files_and_files_that_seem_larger_than_the_layer_are_not_kept() {
    let scene = Scene::new();
    mkfifoat(CWD, scene.layer("pipe"), Mode::RWXU).expect("a pipe");
    assert_eq!(scene.compare().no_keep, Some(NoKeep::SpecialFile("pipe".into())));
    let scene = Scene::new();
    fs::File::create(scene.layer("holes")).and_then(|file| file.set_len(1 << 40)).expect("a file");
    assert_eq!(scene.compare().no_keep, Some(NoKeep::Full));
}

#[test]
fn a_file_that_is_changed_while_the_command_runs_is_not_kept() {
    let scene = Scene::new();
    let started = root::now();
    write(scene.work("file"), "a\n");
    write(scene.layer("file"), "b\n");
    assert_eq!(scene.compare_since(started).no_keep, Some(NoKeep::ChangedMeanwhile("file".into())));
    assert_eq!(scene.compare().no_keep, None);
}

#[test]
fn the_modes_of_folders_are_kept_and_what_is_in_them() {
    let scene = Scene::new();
    fs::create_dir(scene.work("open")).expect("a folder");
    fs::create_dir(scene.layer("open")).expect("a folder");
    write(scene.layer("closed/file"), "x\n");
    for name in ["open", "closed"] {
        fs::set_permissions(scene.layer(name), fs::Permissions::from_mode(0o555)).expect("a mode");
    }
    let compared = scene.compare();
    assert_eq!(scene.keep(&compared), Ok(()));
    for name in ["open", "closed"] {
        let mode = fs::metadata(scene.work(name)).expect("a folder").permissions().mode();
        assert_eq!(mode & 0o777, 0o555, "{name}");
        // So that the test can remove it.
        fs::set_permissions(scene.work(name), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(scene.layer(name), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    assert_eq!(fs::read_to_string(scene.work("closed/file")).expect("a file"), "x\n");
}

#[test]
fn places_that_the_wall_needs_are_no_change() {
    let scene = Scene::new();
    write(scene.layer(".git"), "");
    let root = WorkspaceRoot::open(&scene.work("")).expect("it opens");
    let shown = BTreeMap::from([(scene.work(".git"), ShownKind::ReadOnly)]);
    let started = (root::now().0 + 1, 0);
    let compared = compare(&root, &scene.layer(""), &shown, (&scene.work(""), started));
    assert!(compared.files.is_empty() && compared.no_keep.is_none());
}
