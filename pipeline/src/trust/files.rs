//! Files below `.storkit/` that are not storkit's own: tracked by git, so that whoever can push chooses them; links, which
//! lead storkit's writes elsewhere; and settings that others can write.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use git2::{ErrorCode, Repository};

use super::store::is_private;

const FOLDER: &str = ".storkit";

/// What git may track below `.storkit/`. All else is state of one machine, such as rules, sessions and proofs.
const SHARED: [&str; 6] = [".gitignore", "README.md", "context.md", "project.toml", "specs", "work"];

/// Git's file modes of a link and of a submodule.
const LINK: u32 = 0o120_000;
const SUBMODULE: u32 = 0o160_000;

/// Something below `.storkit/` that storkit must not use. Each is a sentence with the command that fixes it.
#[derive(Debug, thiserror::Error)]
pub enum Misplaced {
    /// The settings of the operator come with the repository.
    #[error(
        "`{}` is tracked by git, so everybody who can change this repository chooses the programs that storkit runs. Take \
         it out of git, and set it aside until you have read it:\n  {command}\n`storkit init` writes a new one.",
        path.display()
    )]
    TrackedSettings { path: PathBuf, command: String },
    /// State that storkit would believe comes with the repository.
    #[error(
        "`{}` is tracked by git, but it is state of one machine (rules, sessions, logs), which storkit would believe. Take \
         it out of git, and set it aside:\n  {command}",
        path.display()
    )]
    TrackedState { path: PathBuf, command: String },
    #[error(
        "`{}` is a repository of its own, so its owner chooses storkit's settings and state. Set it aside:\n  {command}",
        path.display()
    )]
    Submodule { path: PathBuf, command: String },
    #[error(
        "`{}` is a symbolic link, and storkit follows none below `.storkit`. Remove it, and put a file or folder of its own \
         there instead:\n  {command}",
        path.display()
    )]
    Linked { path: PathBuf, command: String },
    #[error(
        "`{}` can be written by others than you, so they choose the programs that storkit runs. Read it, then:\n  {command}",
        path.display()
    )]
    WritableByOthers { path: PathBuf, command: String },
    #[error(
        "`{}` belongs to another user, who chooses the programs that storkit runs. Read it, then:\n  {command}",
        path.display()
    )]
    ForeignOwner { path: PathBuf, command: String },
    #[error("`{}` cannot be checked: {source}.", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the files that git tracks in `.storkit` cannot be read: {0}.")]
    Git(#[from] git2::Error),
}

/// Refuses what git tracks below `.storkit/` and must not, and links there. Blocks: some milliseconds.
pub fn check_state_files(root: &Path) -> Result<(), Misplaced> {
    let repository = Repository::open(root)?;
    if let Some(refusal) = refusal(root, &tracked(&repository)?) {
        return Err(refusal);
    }
    let folder = root.join(FOLDER);
    if folder.join(".git").symlink_metadata().is_ok() {
        let command = format!("cd {} && {}", quoted(root), move_aside(FOLDER.as_ref()));
        return Err(Misplaced::Submodule { command, path: folder });
    }
    check_links(&folder)
}

/// Refuses a `bot.toml` that is a link, belongs to somebody else, or that others can write, itself or its folder.
pub fn check_settings_file(root: &Path) -> Result<(), Misplaced> {
    let folder = root.join(FOLDER);
    let file = folder.join("bot.toml");
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Misplaced::Unreadable { path, source }
    };
    let found = match fs::symlink_metadata(&file) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        found => found.map_err(unreadable(&file))?,
    };
    if found.is_symlink() {
        return Err(linked(file));
    }
    check_private(&file)
}

/// Refuses a file that belongs to somebody else, or that others can write, itself or its folder.
pub fn check_private(file: &Path) -> Result<(), Misplaced> {
    for path in [Some(file), file.parent()].into_iter().flatten() {
        let path = path.to_owned();
        let unreadable = |source| Misplaced::Unreadable { path: path.clone(), source };
        let found = fs::symlink_metadata(&path).map_err(unreadable)?;
        if is_private(&found) {
            continue;
        }
        let word = quoted(&path);
        return Err(match found.uid() == rustix::process::geteuid().as_raw() || found.uid() == 0 {
            true => Misplaced::WritableByOthers { command: format!("chmod go-w {word}"), path },
            false => Misplaced::ForeignOwner { command: format!("sudo chown \"$(id -u)\" {word}"), path },
        });
    }
    Ok(())
}

/// How git tracks something: in the index, in HEAD, or in both.
#[derive(Clone, Copy, Default)]
struct TrackedBy {
    index: bool,
    head: bool,
    submodule: bool,
}

/// A file that is tracked and must not be, by its path: the first part below `.storkit`, or `.storkit` itself.
fn tracked(repository: &Repository) -> Result<BTreeMap<PathBuf, TrackedBy>, git2::Error> {
    let mut found: BTreeMap<PathBuf, TrackedBy> = BTreeMap::new();
    let index = repository.index()?;
    for entry in index.iter() {
        // All stages of a conflict, and entries that are hidden from `git status`, too.
        if let Some(path) = refused(Path::new(std::ffi::OsStr::from_bytes(&entry.path)), entry.mode) {
            let tracked = found.entry(path).or_default();
            tracked.index = true;
            tracked.submodule |= entry.mode == SUBMODULE;
        }
    }
    let head = match repository.head().and_then(|head| head.peel_to_tree()) {
        Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => {
            return Ok(found);
        }
        head => head?,
    };
    head.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
        let path = Path::new(folder).join(std::ffi::OsStr::from_bytes(entry.name_bytes()));
        if !path.starts_with(FOLDER) {
            return git2::TreeWalkResult::Skip;
        }
        let mode = entry.filemode().cast_unsigned();
        if entry.kind() != Some(git2::ObjectType::Tree)
            && let Some(path) = refused(&path, mode)
        {
            let tracked = found.entry(path).or_default();
            tracked.head = true;
            tracked.submodule |= mode == SUBMODULE;
        }
        git2::TreeWalkResult::Ok
    })?;
    Ok(found)
}

/// The part of this tracked path that is refused.
fn refused(path: &Path, mode: u32) -> Option<PathBuf> {
    let below = path.strip_prefix(FOLDER).ok()?;
    let Some(first) = below.components().next() else { return Some(FOLDER.into()) };
    let shared = SHARED.iter().any(|name| first.as_os_str() == *name);
    match shared && mode != LINK && mode != SUBMODULE {
        true => None,
        // Of a folder that the repository may have, only the link itself.
        false if shared => Some(path.to_owned()),
        false => Some(Path::new(FOLDER).join(first)),
    }
}

/// The refusal of the first of them; its command is for all.
fn refusal(root: &Path, all: &BTreeMap<PathBuf, TrackedBy>) -> Option<Misplaced> {
    let (name, tracked) = all.iter().next()?;
    // One that is gone from the checkout is only in git, and a link would be refused under another name, too.
    let moves = all.keys().filter_map(|name| {
        let found = root.join(name).symlink_metadata().ok()?;
        Some(if found.is_symlink() { format!("rm {}", quoted(name)) } else { move_aside(name) })
    });
    let words = |is_in_head: bool| {
        let chosen = all.iter().filter(|(_, tracked)| tracked.head == is_in_head);
        chosen.map(|(name, _)| format!(" {}", quoted(name))).collect::<String>()
    };
    // `git commit -- PATHS` records that these are gone, and nothing else that is staged.
    let committed = Some(words(true)).filter(|words| !words.is_empty());
    let committed =
        committed.map(|words| format!("git commit -q -m 'Take state of storkit out of git' --{words}"));
    let staged = Some(words(false)).filter(|words| !words.is_empty());
    let staged = staged.map(|words| format!("git rm -rq --cached --{words}"));
    let steps: Vec<String> =
        [format!("cd {}", quoted(root))].into_iter().chain(moves).chain(committed).chain(staged).collect();
    let (path, command) = (root.join(name), steps.join(" && "));
    Some(match name.to_str() {
        _ if tracked.submodule => Misplaced::Submodule { path, command },
        Some(".storkit/bot.toml") => Misplaced::TrackedSettings { path, command },
        _ => Misplaced::TrackedState { path, command },
    })
}

fn move_aside(name: &Path) -> String {
    let aside = PathBuf::from(format!("{}.from-git", name.display()));
    format!("mv {} {}", quoted(name), quoted(&aside))
}

fn linked(path: PathBuf) -> Misplaced {
    Misplaced::Linked { command: format!("rm {}", quoted(&path)), path }
}

/// Folders below `.storkit` in which storkit writes two levels deep. Deeper, and in the other ones, agents' own files begin.
const DEEP: [&str; 2] = ["logs", "work"];

/// A folder of storkit's and what storkit itself makes below it.
fn check_links(folder: &Path) -> Result<(), Misplaced> {
    if folder.is_symlink() {
        return Err(linked(folder.to_owned()));
    }
    for inner in entries(folder)? {
        let is_deep = inner.file_name().is_some_and(|name| DEEP.iter().any(|deep| name == *deep));
        for next in entries(&inner)? {
            if is_deep {
                entries(&next)?;
            }
        }
    }
    Ok(())
}

/// The folders in a folder, none of whose entries is a link.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Misplaced> {
    let unreadable = |source| Misplaced::Unreadable { path: folder.to_owned(), source };
    let listed = match fs::read_dir(folder) {
        // A file in the place of a folder is reported by whoever needs the folder.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        listed => listed.map_err(unreadable)?,
    };
    let mut folders = Vec::new();
    for entry in listed {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_symlink() {
            return Err(linked(entry.path()));
        }
        if kind.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{PermissionsExt as _, symlink},
        process::Command,
    };

    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    /// The refusal with the temporary folder's name taken out.
    fn refused(git: &WorktreeFixture) -> String {
        let error =
            check_state_files(&git.root()).and_then(|()| check_settings_file(&git.root())).unwrap_err();
        error.to_string().replace(git.root().to_str().unwrap(), "ROOT")
    }

    /// Runs the command that a refusal names, as an operator would.
    fn obey(git: &WorktreeFixture) {
        let text = check_state_files(&git.root())
            .and_then(|()| check_settings_file(&git.root()))
            .unwrap_err()
            .to_string();
        let command = text.lines().find_map(|line| line.strip_prefix("  ")).unwrap();
        let ran = Command::new("sh").args(["-ec", command]).current_dir("/").output().unwrap();
        assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn is_accepted(git: &WorktreeFixture) -> bool {
        check_state_files(&git.root()).and_then(|()| check_settings_file(&git.root())).is_ok()
    }

    #[test]
    fn a_tracked_bot_toml_is_refused_and_the_command_sets_it_aside() {
        let git = WorktreeFixture::new();
        git.write(".storkit/bot.toml", "[claude]\ncommand = \"./evil\"\n");
        git.git(&["add", "-f", ".storkit/bot.toml"]);
        insta::assert_snapshot!(refused(&git), @"
        `ROOT/.storkit/bot.toml` is tracked by git, so everybody who can change this repository chooses the programs that storkit runs. Take it out of git, and set it aside until you have read it:
          cd ROOT && mv .storkit/bot.toml .storkit/bot.toml.from-git && git rm -rq --cached -- .storkit/bot.toml
        `storkit init` writes a new one.
        ");
        git.git(&["commit", "-q", "-m", "settings"]);
        git.git(&["rm", "-q", "--cached", ".storkit/bot.toml"]);
        insta::assert_snapshot!(refused(&git), @"
        `ROOT/.storkit/bot.toml` is tracked by git, so everybody who can change this repository chooses the programs that storkit runs. Take it out of git, and set it aside until you have read it:
          cd ROOT && mv .storkit/bot.toml .storkit/bot.toml.from-git && git commit -q -m 'Take state of storkit out of git' -- .storkit/bot.toml
        `storkit init` writes a new one.
        ");
        obey(&git);
        assert!(is_accepted(&git));
        assert!(!git.root().join(".storkit/bot.toml").exists(), "the text of a stranger is not in force");
        assert_eq!(git.git(&["status", "--porcelain"]), "");
    }

    #[test]
    fn what_is_only_staged_or_hidden_from_status_is_refused_too() {
        let git = WorktreeFixture::new();
        git.write(".storkit/bot.toml", "");
        fs::set_permissions(git.root().join(".storkit/bot.toml"), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(is_accepted(&git));
        git.git(&["add", "-f", "-N", ".storkit/bot.toml"]);
        assert!(!is_accepted(&git), "added with intent only");
        git.git(&["add", "-f", ".storkit/bot.toml"]);
        git.git(&["update-index", "--skip-worktree", ".storkit/bot.toml"]);
        assert!(!is_accepted(&git), "skipped in the working tree");
        git.git(&["update-index", "--no-skip-worktree", ".storkit/bot.toml"]);
        obey(&git);
        assert!(is_accepted(&git));
    }

    #[test]
    fn state_of_another_machine_that_comes_with_the_repository_is_refused() {
        for name in [
            "state/state.db",
            "logs/runs.jsonl",
            "proofs/7.json",
            "run/memo/7.json",
            "matrix/session.json",
            "worktrees/x",
        ] {
            let git = WorktreeFixture::new();
            git.write(&format!(".storkit/{name}"), "x");
            git.git(&["add", "-f", ".storkit"]);
            git.git(&["commit", "-q", "-m", "state"]);
            obey(&git);
            assert!(is_accepted(&git), "{name}");
        }
        let git = WorktreeFixture::new();
        for name in [
            "project.toml",
            "specs/tech/STACK.md",
            "work/1_backlog/1_story_x.md",
            "work/2_current/2_story_x.md",
        ] {
            git.write(&format!(".storkit/{name}"), "x");
        }
        git.git(&[
            "add",
            "-f",
            ".storkit/project.toml",
            ".storkit/specs",
            ".storkit/work",
            ".storkit/.gitignore",
        ]);
        git.git(&["commit", "-q", "-m", "shared"]);
        assert!(is_accepted(&git));
    }

    #[test]
    fn the_folder_as_a_submodule_or_a_repository_of_its_own_is_refused() {
        let git = WorktreeFixture::new();
        let other = WorktreeFixture::new();
        fs::remove_dir_all(git.root().join(".storkit")).unwrap();
        git.git(&[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            other.root().to_str().unwrap(),
            ".storkit",
        ]);
        insta::assert_snapshot!(refused(&git), @"
        `ROOT/.storkit` is a repository of its own, so its owner chooses storkit's settings and state. Set it aside:
          cd ROOT && mv .storkit .storkit.from-git && git rm -rq --cached -- .storkit
        ");
        obey(&git);
        assert!(is_accepted(&git));
        let git = WorktreeFixture::new();
        git.git_in(&git.root().join(".storkit"), &["init", "-q"]);
        assert!(matches!(check_state_files(&git.root()), Err(Misplaced::Submodule { .. })));
    }

    #[test]
    fn links_are_refused_wherever_they_are_and_whether_git_has_them_or_not() {
        let elsewhere = tempfile::tempdir().unwrap();
        for name in [
            "logs",
            "work",
            "work/2_current",
            "logs/agents",
            "run/memo",
            "state/state.db",
            "matrix",
            "worktrees",
            "proofs",
            "bot.toml",
            "project.toml",
            "specs",
            "specs/tech",
        ] {
            let git = WorktreeFixture::new();
            let link = git.root().join(".storkit").join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(elsewhere.path(), &link).unwrap();
            assert!(matches!(check_state_files(&git.root()), Err(Misplaced::Linked { .. })), "{name}");
            obey(&git);
            assert!(is_accepted(&git), "{name}");
            symlink(elsewhere.path(), &link).unwrap();
            git.git(&["add", "-f", link.to_str().unwrap()]);
            assert!(!is_accepted(&git), "{name} in the index");
        }
        let git = WorktreeFixture::new();
        fs::create_dir_all(git.root().join(".storkit/worktrees/1_x/a/b")).unwrap();
        symlink("/etc", git.root().join(".storkit/worktrees/1_x/a/link")).unwrap();
        assert!(is_accepted(&git), "a checkout may hold links");
    }

    #[test]
    fn settings_that_others_can_write_are_refused_with_the_command_that_closes_them() {
        for (name, mode) in [("bot.toml", 0o620), ("bot.toml", 0o602), ("", 0o770), ("", 0o707)] {
            let git = WorktreeFixture::new();
            let file = git.root().join(".storkit/bot.toml");
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(is_accepted(&git), "others may read it");
            fs::set_permissions(git.root().join(".storkit").join(name), fs::Permissions::from_mode(mode))
                .unwrap();
            assert!(refused(&git).contains("chmod go-w ROOT/.storkit"), "{name} {mode:o}");
            obey(&git);
            assert!(is_accepted(&git));
        }
    }

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        assert_eq!(quoted(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
