//! Ignored files of the main checkout that a component needs (`copy` in `project.toml`), put into a worktree.
//!
//! Neither side is believed: a branch may have put a link in the place of the file or of a folder above it, in the main checkout as in the
//! worktree, where agents write anyway. No link is followed, and only a file that git ignores on both sides is copied.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};

use super::scrub::LITERAL;
use crate::{config::Component, git::program::GitProgram};

/// Larger files are data and belong elsewhere.
const MAX_BYTES: u64 = 16 << 20;

/// The two checkouts.
pub(super) struct CopyPlaces<'a> {
    /// The main checkout.
    pub root: &'a Path,
    pub folder: &'a Path,
    /// Git for the worktree, whose own `.git` is not believed.
    pub git: &'a GitProgram,
}

/// Copies what the component lists. The error is a sentence for a person.
pub(super) fn copy_files(places: &CopyPlaces<'_>, component: &Component) -> Result<(), String> {
    for file in &component.copy {
        copy(places, file).map_err(|why| {
            format!(
                "`copy` of the component `{}` in `.storkit/project.toml`: `{}` {why}",
                component.name,
                file.display()
            )
        })?;
    }
    Ok(())
}

/// Removes files that were copied into the worktree. Links on the way there are not followed.
pub(super) fn remove_copies(folder: &Path, files: &[PathBuf]) {
    for file in files {
        let removed = open_folder(folder, file, false)
            .and_then(|folder| Ok(unlinkat(&folder, name(file)?, AtFlags::empty())?));
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %file.display(), "a copied file stays in its worktree");
        }
    }
}

fn copy(places: &CopyPlaces<'_>, file: &Path) -> Result<(), String> {
    let git = GitProgram::at(places.root);
    if is_tracked(&git, file)? {
        return Err("is tracked by git, so worktrees have it anyway. Take it out of the list.".into());
    }
    if !is_ignored(&git, file)? {
        return Err("is not ignored by git. Add it to `.gitignore`, or commit it.".into());
    }
    let source = open_inside(places.root, file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "is not in the main checkout. Create it there, or take it out of the list.".to_owned()
        }
        _ => format!("cannot be read without following a link: {error}."),
    })?;
    let found = source.metadata().map_err(|error| format!("cannot be read: {error}."))?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(format!("is no plain file of at most {} MiB.", MAX_BYTES >> 20));
    }
    // The branch has a file of its own there, which counts.
    if is_tracked(places.git, file)? {
        return Ok(());
    }
    if !is_ignored(places.git, file)? {
        return Err("is not ignored by git on the story's branch, so an agent would commit it.".into());
    }
    let mode = Mode::from_bits_truncate(found.permissions().mode() & 0o700);
    let written = create_inside(places.folder, file, mode).and_then(|mut target| {
        let mut bytes = Vec::new();
        // It may grow meanwhile.
        source.take(MAX_BYTES).read_to_end(&mut bytes)?;
        target.write_all(&bytes)
    });
    written.map_err(|error| format!("cannot be written into the worktree: {error}."))
}

fn is_tracked(git: &GitProgram, file: &Path) -> Result<bool, String> {
    let args = [OsStr::new("ls-files"), OsStr::new("--"), file.as_os_str()];
    git.run(args).map(|listed| !listed.is_empty()).map_err(|error| format!("cannot be looked up: {error}."))
}

fn is_ignored(git: &GitProgram, file: &Path) -> Result<bool, String> {
    // It refuses literal pathspecs; behind `./` no name is taken for a pattern.
    let file = Path::new(".").join(file);
    let args = [OsStr::new("check-ignore"), OsStr::new("--quiet"), OsStr::new("--"), file.as_os_str()];
    git.clone().env(LITERAL, "0").asks(args).map_err(|error| format!("cannot be looked up: {error}."))
}

/// The folder of the file, opened part by part; each part must be a folder and no link. `makes` creates missing ones.
fn open_folder(top: &Path, file: &Path, makes: bool) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut folder = File::from(openat(CWD, top, flags, Mode::empty())?);
    for part in file.parent().into_iter().flat_map(Path::components) {
        if makes
            && let Err(error) = mkdirat(&folder, part.as_os_str(), Mode::from_bits_truncate(0o755))
            && error != rustix::io::Errno::EXIST
        {
            return Err(error.into());
        }
        folder = File::from(openat(&folder, part.as_os_str(), flags, Mode::empty())?);
    }
    Ok(folder)
}

fn name(file: &Path) -> io::Result<PathBuf> {
    file.file_name().map(PathBuf::from).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn open_inside(top: &Path, file: &Path) -> io::Result<File> {
    let folder = open_folder(top, file, false)?;
    // A pipe would block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(&folder, name(file)?, flags, Mode::empty())?.into())
}

/// A new file in the place of whatever was there; a folder there is an error.
fn create_inside(top: &Path, file: &Path, mode: Mode) -> io::Result<File> {
    let (folder, name) = (open_folder(top, file, true)?, name(file)?);
    match unlinkat(&folder, &name, AtFlags::empty()) {
        Err(error) if error != rustix::io::Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(&folder, &name, flags, mode)?.into())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::worktree::{fixture::WorktreeFixture, worktrees::Worktree};

    struct Copying {
        fixture: WorktreeFixture,
        worktree: Worktree,
    }

    impl Copying {
        fn new() -> Self {
            let fixture = WorktreeFixture::new();
            fixture.write(".gitignore", ".env*\n/private/\n");
            fixture.git(&["add", ".gitignore"]);
            fixture.git(&["commit", "-q", "-m", "ignored"]);
            fixture.write(".env.test", "KEY=1\n");
            fixture.write("private/deep/key", "secret\n");
            let worktree = fixture.prepare("7_x");
            Self { fixture, worktree }
        }

        fn copy(&self, file: &str) -> Result<(), String> {
            let component = Component { name: "app".into(), copy: vec![file.into()], ..Component::default() };
            let (root, git) = (self.fixture.root(), self.worktree.git());
            copy_files(&CopyPlaces { root: &root, folder: self.worktree.path(), git: &git }, &component)
        }

        fn why(&self, file: &str) -> String {
            let why = self.copy(file).unwrap_err();
            let head = format!("`copy` of the component `app` in `.storkit/project.toml`: `{file}` ");
            why.strip_prefix(&head).unwrap_or_else(|| panic!("{why}")).to_owned()
        }

        fn text(&self, file: &str) -> Option<String> {
            fs::read_to_string(self.worktree.path().join(file)).ok()
        }
    }

    #[test]
    fn an_ignored_file_is_copied_for_its_owner_alone_and_git_sees_nothing_of_it() {
        let copying = Copying::new();
        for file in [".env.test", "private/deep/key"] {
            copying.copy(file).unwrap();
            copying.copy(file).unwrap();
        }
        assert_eq!(copying.text(".env.test").as_deref(), Some("KEY=1\n"));
        assert_eq!(copying.text("private/deep/key").as_deref(), Some("secret\n"));
        let mode = fs::metadata(copying.worktree.path().join(".env.test")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        assert!(copying.worktree.uncommitted().unwrap().is_empty());
    }

    #[test]
    fn what_git_has_or_would_take_is_not_copied() {
        let copying = Copying::new();
        assert!(copying.why("a.txt").starts_with("is tracked by git"));
        copying.fixture.write("notes.txt", "mine");
        assert!(copying.why("notes.txt").starts_with("is not ignored by git."));
        assert!(copying.why(".env.none").starts_with("is not in the main checkout."));
        fs::write(copying.worktree.path().join(".gitignore"), "").unwrap();
        assert!(copying.why(".env.test").starts_with("is not ignored by git on the story's branch"));
        assert_eq!(copying.text(".env.test"), None);
    }

    #[test]
    fn a_link_in_the_main_checkout_shows_no_other_file_of_the_operator() {
        let copying = Copying::new();
        let secret = copying.fixture.root().with_file_name("secret");
        fs::write(&secret, "the operator's").unwrap();
        let root = copying.fixture.root();
        fs::remove_file(root.join(".env.test")).unwrap();
        symlink(&secret, root.join(".env.test")).unwrap();
        assert!(copying.why(".env.test").starts_with("cannot be read without following a link"));
        fs::remove_dir_all(root.join("private")).unwrap();
        symlink(secret.parent().unwrap(), root.join("private")).unwrap();
        let component =
            Component { name: "app".into(), copy: vec!["private/secret".into()], ..Component::default() };
        let git = copying.worktree.git();
        let places = CopyPlaces { root: &root, folder: copying.worktree.path(), git: &git };
        assert!(copy_files(&places, &component).is_err());
        assert_eq!((copying.text(".env.test"), copying.text("private/secret")), (None, None));
        let pipe = root.join(".env.pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(copying.why(".env.pipe").starts_with("is no plain file"));
    }

    #[test]
    fn a_link_that_an_agent_left_does_not_lead_the_copy_out_of_the_worktree() {
        let copying = Copying::new();
        let outside = copying.fixture.root().with_file_name("outside");
        fs::create_dir_all(outside.join("deep")).unwrap();
        fs::write(outside.join("victim"), "the operator's").unwrap();
        let folder = copying.worktree.path();
        symlink(outside.join("victim"), folder.join(".env.test")).unwrap();
        copying.copy(".env.test").unwrap();
        assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "the operator's");
        assert_eq!(copying.text(".env.test").as_deref(), Some("KEY=1\n"));
        symlink(&outside, folder.join("private")).unwrap();
        assert!(copying.copy("private/deep/key").is_err());
        assert!(!outside.join("deep/key").exists());
    }
}
