//! Reading a repository with libgit2; what writes calls the git program (`program`).

pub(crate) mod fork_point;
pub mod kind;
pub mod lfs;
pub mod program;
pub mod signature;
pub(crate) mod submodules;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use git2::{Branch, DiffDelta, ErrorCode, Reference, Repository, Status, StatusOptions};

use crate::Project;

/// Agents commit as `NAME@agents.storkit.invalid`, by which their commits are known wherever they turn up.
pub const AGENT_DOMAIN: &str = "@agents.storkit.invalid";

/// What `git` in a chat shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSummary {
    /// The branch; `None` with a detached HEAD.
    pub branch: Option<String>,
    /// The upstream and how far we are ahead of and behind it; `None` also where its branch is gone.
    pub upstream: Option<(String, usize, usize)>,
    /// The last commit; `None` in a repository without commits.
    pub last_commit: Option<Commit>,
    /// Files in the index that differ from HEAD; of a renamed one the new name. This and the next three are sorted
    /// paths from the checkout's top; bytes that are no UTF-8 are replaced.
    pub staged: Vec<String>,
    /// Files that differ from the index.
    pub modified: Vec<String>,
    /// Files git does not know; a folder without any known file is one entry, `folder/`.
    pub untracked: Vec<String>,
    /// Files with merge conflicts.
    pub conflicted: Vec<String>,
    /// Linked worktrees besides the main checkout and the one that is read.
    pub worktrees: Vec<LinkedWorktree>,
}

/// A commit, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Seven digits or as many as are unique.
    pub id: String,
    /// First line of the message.
    pub subject: String,
    pub author: String,
    /// When it was committed.
    pub time: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedWorktree {
    pub path: PathBuf,
    /// The branch that is checked out; `None` with a detached HEAD or where it cannot be read.
    pub branch: Option<String>,
    /// Whether there is anything uncommitted in it.
    pub state: WorktreeState,
}

/// The state of a [`LinkedWorktree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorktreeState {
    Clean,
    /// So many files are changed or untracked.
    Changed(usize),
    /// The folder is gone, or is no checkout any more.
    Missing,
}

/// Why a repository could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the repository cannot be read: {0}")]
pub struct GitError(#[from] git2::Error);

/// Reads the repository. Blocking: 10 ms for 1,000 files, 80 for 10,000, and as much again per worktree.
///
/// Submodules are left out, as their owners see to them.
pub fn summary(project: &Project) -> Result<GitSummary, GitError> {
    summary_of(project.root())
}

/// As [`summary`], of any checkout.
pub fn summary_of(checkout: &Path) -> Result<GitSummary, GitError> {
    let repository = Repository::open(checkout)?;
    let head = head(&repository)?;
    let mut summary = GitSummary {
        branch: branch(&repository.find_reference("HEAD")?, head.as_ref()),
        upstream: head.as_ref().map_or(Ok(None), |head| upstream(&repository, head))?,
        last_commit: head.as_ref().map(last_commit).transpose()?,
        worktrees: worktrees(&repository)?,
        ..GitSummary::default()
    };
    read_changes(&repository, &mut summary)?;
    Ok(summary)
}

/// When the commit that is checked out was made; `None` in a repository without commits.
/// Fails where the repository cannot be read.
pub fn head_time(project: &Project) -> Result<Option<SystemTime>, GitError> {
    let repository = Repository::open(project.root())?;
    let head = head(&repository)?;
    Ok(head.as_ref().map(last_commit).transpose()?.map(|commit| commit.time))
}

/// HEAD followed to its branch; `None` in a repository without commits.
fn head(repository: &Repository) -> Result<Option<Reference<'_>>, git2::Error> {
    match repository.head() {
        Ok(head) => Ok(Some(head)),
        Err(error) if matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The branch's name, also of one that has no commit yet.
fn branch(head: &Reference<'_>, resolved: Option<&Reference<'_>>) -> Option<String> {
    let full = match resolved {
        Some(resolved) if resolved.is_branch() => Some(resolved.name_bytes()),
        Some(_) => None,
        None => head.symbolic_target_bytes(),
    };
    full.and_then(|full| full.strip_prefix(b"refs/heads/")).map(text)
}

fn upstream(
    repository: &Repository,
    head: &Reference<'_>,
) -> Result<Option<(String, usize, usize)>, git2::Error> {
    let Some(ours) = head.target().filter(|_| head.is_branch()) else { return Ok(None) };
    let local = Branch::wrap(repository.find_reference(head.name()?)?);
    let upstream = match local.upstream() {
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        upstream => upstream?,
    };
    let Some(theirs) = upstream.get().target() else { return Ok(None) };
    let (ahead, behind) = repository.graph_ahead_behind(ours, theirs)?;
    Ok(Some((text(upstream.name_bytes()?), ahead, behind)))
}

fn last_commit(head: &Reference<'_>) -> Result<Commit, git2::Error> {
    let commit = head.peel_to_commit()?;
    let since_epoch = Duration::from_secs(commit.time().seconds().try_into().unwrap_or(0));
    Ok(Commit {
        id: text(&commit.as_object().short_id()?),
        subject: text(commit.summary_bytes().unwrap_or_default()),
        author: text(commit.author().name_bytes()),
        time: SystemTime::UNIX_EPOCH.checked_add(since_epoch).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// What `git status` asks for; the index is only read, never refreshed on disk.
fn status_options() -> StatusOptions {
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(false).exclude_submodules(true);
    options.renames_head_to_index(true);
    options
}

fn read_changes(repository: &Repository, summary: &mut GitSummary) -> Result<(), git2::Error> {
    let staged = Status::INDEX_NEW
        | Status::INDEX_MODIFIED
        | Status::INDEX_DELETED
        | Status::INDEX_RENAMED
        | Status::INDEX_TYPECHANGE;
    let modified = Status::WT_MODIFIED | Status::WT_DELETED | Status::WT_RENAMED | Status::WT_TYPECHANGE;
    for entry in repository.statuses(Some(&mut status_options()))?.iter() {
        let status = entry.status();
        let name = |delta: Option<DiffDelta<'_>>| {
            text(delta.and_then(|delta| delta.new_file().path_bytes()).unwrap_or(entry.path_bytes()))
        };
        if status.contains(Status::CONFLICTED) {
            summary.conflicted.push(text(entry.path_bytes()));
            continue;
        }
        if status.intersects(staged) {
            summary.staged.push(name(entry.head_to_index()));
        }
        if status.intersects(modified) {
            summary.modified.push(name(entry.index_to_workdir()));
        }
        if status.contains(Status::WT_NEW) {
            summary.untracked.push(text(entry.path_bytes()));
        }
    }
    for list in [&mut summary.staged, &mut summary.modified, &mut summary.untracked, &mut summary.conflicted]
    {
        list.sort();
        list.dedup();
    }
    Ok(())
}

fn worktrees(repository: &Repository) -> Result<Vec<LinkedWorktree>, git2::Error> {
    let names = repository.worktrees()?;
    let mut found: Vec<LinkedWorktree> =
        names.iter().filter_map(|name| worktree(repository, name.ok()??)).collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// `None` for the worktree that is being read, and for one that vanished since it was listed.
fn worktree(repository: &Repository, name: &str) -> Option<LinkedWorktree> {
    let own = repository.commondir().join("worktrees").join(name);
    if fs::canonicalize(&own).ok()? == fs::canonicalize(repository.path()).ok()? {
        return None;
    }
    let worktree = repository.find_worktree(name).ok()?;
    let changes = Repository::open_from_worktree(&worktree).and_then(|checkout| changes(&checkout));
    let state = match changes {
        Ok(0) => WorktreeState::Clean,
        Ok(count) => WorktreeState::Changed(count),
        Err(_) => WorktreeState::Missing,
    };
    Some(LinkedWorktree { path: worktree.path().to_owned(), branch: checked_out(&own), state })
}

fn changes(checkout: &Repository) -> Result<usize, git2::Error> {
    checkout.statuses(Some(&mut status_options())).map(|statuses| statuses.len())
}

/// The branch by the administrative folder, which stays when the worktree's own folder is gone (gitrepository-layout).
fn checked_out(administrative: &Path) -> Option<String> {
    let head = fs::read(administrative.join("HEAD")).ok()?;
    head.strip_prefix(b"ref: refs/heads/").map(|branch| text(branch.trim_ascii_end()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A repository made by the git program, with nothing of this machine's settings in it.
    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self { folder: tempfile::tempdir().unwrap() };
            fs::create_dir(fixture.path("project")).unwrap();
            fixture.git(&["init", "--quiet", "--initial-branch=main"]);
            // libgit2 runs in the test's process and would heed the person's own ignore list.
            fixture.git(&["config", "core.excludesFile", "/dev/null"]);
            fixture
        }

        fn with_commit() -> Self {
            let fixture = Self::new();
            fixture.write("a.txt", "a\n");
            fixture.write("b.txt", "one\ntwo\nthree\nfour\nfive\n");
            fixture.git(&["add", "."]);
            fixture.git(&["commit", "--quiet", "-m", "first\n\nbody"]);
            fixture
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.folder.path()).unwrap().join(name)
        }

        fn write(&self, name: &str, content: &str) {
            let path = self.path("project").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn git(&self, args: &[&str]) {
            assert!(self.try_git(args), "git {args:?} failed");
        }

        fn try_git(&self, args: &[&str]) -> bool {
            let mut command = Command::new("git");
            command.current_dir(self.path("project")).env_clear().args(args);
            command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.folder.path());
            command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("LC_ALL", "C"), ("GIT_MERGE_AUTOEDIT", "no")]);
            for who in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{who}_NAME"), "Ada")
                    .env(format!("GIT_{who}_EMAIL"), "ada@example.com");
                command.env(format!("GIT_{who}_DATE"), "1700000000 +0100");
            }
            command.output().unwrap().status.success()
        }

        fn summary(&self) -> GitSummary {
            summary(&Project::open(&self.path("project")).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_repository_without_commits_has_a_branch_and_files_but_no_commit() {
        let fixture = Fixture::new();
        fixture.write("staged.txt", "");
        fixture.git(&["add", "."]);
        fixture.write("new.txt", "");
        let summary = fixture.summary();
        assert_eq!((summary.branch.as_deref(), &summary.last_commit), (Some("main"), &None));
        assert_eq!((summary.staged, summary.untracked), (vec!["staged.txt".into()], vec!["new.txt".into()]));
    }

    #[test]
    fn the_last_commit_is_shown_with_its_author_and_time() {
        let commit = Fixture::with_commit().summary().last_commit.unwrap();
        assert_eq!((commit.subject.as_str(), commit.author.as_str(), commit.id.len()), ("first", "Ada", 7));
        assert_eq!(commit.time, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    }

    #[test]
    fn changes_are_sorted_by_kind() {
        let fixture = Fixture::with_commit();
        fixture.git(&["mv", "b.txt", "renamed.txt"]);
        fixture.write("z.txt", "");
        fixture.git(&["add", "z.txt"]);
        fixture.write("z.txt", "changed after staging");
        fs::remove_file(fixture.path("project/a.txt")).unwrap();
        fixture.write("new/deep/one.txt", "");
        fixture.write("new/two.txt", "");
        fixture.write("a new.txt", "");
        let summary = fixture.summary();
        assert_eq!(summary.staged, ["renamed.txt", "z.txt"]);
        assert_eq!(summary.modified, ["a.txt", "z.txt"]);
        assert_eq!(summary.untracked, ["a new.txt", "new/"]);
        assert!(summary.conflicted.is_empty());
    }

    #[test]
    fn a_conflict_is_a_conflict_and_nothing_else() {
        let fixture = Fixture::with_commit();
        fixture.git(&["switch", "--quiet", "-c", "side"]);
        fixture.write("a.txt", "side\n");
        fixture.git(&["commit", "--quiet", "-am", "side"]);
        fixture.git(&["switch", "--quiet", "main"]);
        fixture.write("a.txt", "main\n");
        fixture.git(&["commit", "--quiet", "-am", "main"]);
        assert!(!fixture.try_git(&["merge", "side"]));
        let summary = fixture.summary();
        assert_eq!(summary.conflicted, ["a.txt"]);
        assert!(summary.staged.is_empty() && summary.modified.is_empty() && summary.untracked.is_empty());
    }

    #[test]
    fn the_distance_to_the_upstream_is_counted_both_ways() {
        let fixture = Fixture::with_commit();
        assert_eq!(fixture.summary().upstream, None);
        fixture.git(&["clone", "--quiet", "--bare", ".", "../origin.git"]);
        fixture.git(&["remote", "add", "origin", "../origin.git"]);
        fixture.git(&["commit", "--quiet", "--allow-empty", "-m", "theirs"]);
        fixture.git(&["push", "--quiet", "-u", "origin", "main"]);
        fixture.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
        fixture.git(&["commit", "--quiet", "--allow-empty", "-m", "ours 1"]);
        fixture.git(&["commit", "--quiet", "--allow-empty", "-m", "ours 2"]);
        assert_eq!(fixture.summary().upstream, Some(("origin/main".into(), 2, 1)));
        fixture.git(&["update-ref", "-d", "refs/remotes/origin/main"]);
        assert_eq!(fixture.summary().upstream, None, "an upstream that is gone is none");
    }

    #[test]
    fn a_detached_head_has_a_commit_but_no_branch() {
        let fixture = Fixture::with_commit();
        fixture.git(&["switch", "--quiet", "--detach"]);
        let summary = fixture.summary();
        assert_eq!((summary.branch, summary.upstream), (None, None));
        assert_eq!(summary.last_commit.unwrap().subject, "first");
    }

    #[test]
    fn worktrees_are_listed_with_branch_and_state_even_when_their_folder_is_gone() {
        let fixture = Fixture::with_commit();
        for name in ["changed", "clean", "missing", "hollow"] {
            let (branch, folder) = (format!("story/{name}"), format!("../{name}"));
            fixture.git(&["worktree", "add", "--quiet", "-b", &branch, &folder]);
        }
        fixture.git(&["worktree", "add", "--quiet", "--detach", "../detached"]);
        fs::write(fixture.path("changed/a.txt"), "changed").unwrap();
        fs::write(fixture.path("changed/new.txt"), "").unwrap();
        fs::remove_dir_all(fixture.path("missing")).unwrap();
        fs::remove_file(fixture.path("hollow/.git")).unwrap();
        let tree = |name: &str, branch: Option<&str>, state| LinkedWorktree {
            path: fixture.path(name),
            branch: branch.map(str::to_owned),
            state,
        };
        let expected = [
            tree("changed", Some("story/changed"), WorktreeState::Changed(2)),
            tree("clean", Some("story/clean"), WorktreeState::Clean),
            tree("detached", None, WorktreeState::Clean),
            tree("hollow", Some("story/hollow"), WorktreeState::Missing),
            tree("missing", Some("story/missing"), WorktreeState::Missing),
        ];
        assert_eq!(fixture.summary().worktrees, expected);
    }

    #[test]
    fn a_project_that_is_itself_a_worktree_shows_its_own_branch_and_the_others() {
        let fixture = Fixture::with_commit();
        fixture.git(&["worktree", "add", "--quiet", "-b", "one", "../one"]);
        fixture.git(&["worktree", "add", "--quiet", "-b", "two", "../two"]);
        let summary = summary(&Project::open(&fixture.path("one")).unwrap()).unwrap();
        assert_eq!(summary.branch.as_deref(), Some("one"));
        let others: Vec<_> = summary.worktrees.into_iter().map(|worktree| worktree.path).collect();
        assert_eq!(others, [fixture.path("two")]);
    }

    #[test]
    fn a_submodule_with_changes_is_left_to_its_owners() {
        let fixture = Fixture::with_commit();
        fixture.git(&["clone", "--quiet", ".", "../library"]);
        fixture.git(&[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            "../library",
            "library",
        ]);
        fixture.git(&["commit", "--quiet", "-m", "a library"]);
        fixture.write("library/a.txt", "changed inside");
        let summary = fixture.summary();
        assert!(summary.modified.is_empty() && summary.staged.is_empty() && summary.untracked.is_empty());
    }

    #[test]
    fn reading_leaves_the_index_untouched() {
        let fixture = Fixture::with_commit();
        fixture.write("a.txt", "a\n");
        let index = || fs::read(fixture.path("project/.git/index")).unwrap();
        let before = index();
        fixture.summary();
        assert_eq!(index(), before);
    }

    #[test]
    fn a_name_that_is_no_utf8_is_shown_with_replacements() {
        use std::os::unix::ffi::OsStrExt as _;
        let fixture = Fixture::with_commit();
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9.txt");
        fs::write(fixture.path("project").join(name), "").unwrap();
        assert_eq!(fixture.summary().untracked, ["caf\u{fffd}.txt"]);
    }
}
