//! Which files and commits are known here: those of base, those of the branch that the agent works on, and files that it wrote itself.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use git2::{Oid, Repository, Tree};
use parking_lot::Mutex;

/// Folders of the machine itself, which belong to its administrator.
const OF_THE_MACHINE: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev", "/proc", "/sys"];

/// Folders that are other ones inside the wall.
const PRIVATE: [&str; 2] = ["/tmp", "/var/tmp"];

/// What storkit shows of its own folder. The stories say themselves whether a stranger wrote them.
const OF_STORKIT: &str = ".storkit";

/// Not the files that people attach to stories: nobody knows who made a picture or a log.
const ATTACHED: &str = ".storkit/work/files";

/// Where an agent works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPlace {
    pub root: PathBuf,
    pub folder: PathBuf,
    pub base: String,
    /// The branch of its own worktree; `None` in the main checkout.
    pub branch: Option<String>,
}

/// The files of a place, as they are when the agent begins there. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct FamiliarFiles {
    root: PathBuf,
    folder: PathBuf,
    /// `None` without a commit: then there is nothing that a stranger's file could be compared with.
    base: Option<Oid>,
    /// The commit that is checked out, or the tip of its own branch.
    tip: Option<Oid>,
    owns_branch: bool,
    written: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl FamiliarFiles {
    pub(super) fn open(place: &AgentPlace) -> Result<Self, git2::Error> {
        let repository = Repository::open(&place.root)?;
        let tip_of = |name: &str| repository.revparse_single(name).and_then(|found| found.peel_to_commit());
        let branch = place.branch.as_ref().map_or_else(|| "HEAD".into(), |name| format!("refs/heads/{name}"));
        Ok(Self {
            root: real(&place.root),
            folder: real(&place.folder),
            base: tip_of(&format!("refs/heads/{}", place.base)).ok().map(|commit| commit.id()),
            tip: tip_of(&branch).ok().map(|commit| commit.id()),
            owns_branch: place.branch.is_some(),
            written: Arc::default(),
        })
    }

    /// Takes over the list of files that the agent wrote before, in the same folder.
    pub(super) fn written_in(&self, before: &Self) {
        if before.folder == self.folder {
            self.written.lock().clone_from(&before.written.lock());
        }
    }

    /// The agent writes this file itself. A stranger's file that it changes stays a stranger's.
    pub(super) fn on_written(&self, named: &str) {
        let path = self.absolute(named);
        self.written.lock().insert(path);
    }

    /// The name of a file or folder, as people read it, if it is not known here.
    pub(super) fn unfamiliar(&self, named: &str) -> Option<String> {
        let base = self.base?;
        let path = self.absolute(named);
        if self.written.lock().contains(&path) || OF_THE_MACHINE.iter().any(|folder| path.starts_with(folder))
        {
            return None;
        }
        let Ok(inside) = path.strip_prefix(&self.folder) else {
            let of_project =
                path.strip_prefix(&self.root).ok().filter(|inside| inside.starts_with(OF_STORKIT));
            return match of_project {
                Some(inside) => inside.starts_with(ATTACHED).then(|| inside.display().to_string()),
                None => Some(path.display().to_string()),
            };
        };
        let is_known = inside.as_os_str().is_empty()
            || (inside.starts_with(OF_STORKIT) && !inside.starts_with(ATTACHED))
            || self.is_tracked(base, inside).unwrap_or(false);
        (!is_known).then(|| inside.display().to_string())
    }

    /// Whether something is there. A file in a private folder of the agent's cannot be seen from here.
    pub(super) fn may_exist(&self, named: &str) -> bool {
        let path = self.absolute(named);
        let is_private = !path.starts_with(&self.folder) && PRIVATE.iter().any(|at| path.starts_with(at));
        is_private || path.symlink_metadata().is_ok()
    }

    fn is_tracked(&self, base: Oid, inside: &Path) -> Result<bool, git2::Error> {
        let repository = Repository::open(&self.root)?;
        let entry = |commit: Oid| -> Result<Option<Oid>, git2::Error> {
            let tree: Tree<'_> = repository.find_commit(commit)?.tree()?;
            Ok(tree.get_path(inside).ok().map(|entry| entry.id()))
        };
        let on_base = entry(base)?;
        let checked_out = self.tip.map(entry).transpose()?.flatten();
        Ok(match self.owns_branch {
            true => on_base.is_some() || checked_out.is_some(),
            // A person's own changes are not committed. What another branch has there that is checked out came from elsewhere.
            false => on_base.is_some() && checked_out.is_none_or(|other| Some(other) == on_base),
        })
    }

    /// Whether these words of a git command name a commit that is neither on base nor on the agent's branch.
    pub(super) fn foreign_commit(&self, word: &str) -> bool {
        let Some(base) = self.base else { return false };
        self.is_foreign(base, word).unwrap_or(false)
    }

    fn is_foreign(&self, base: Oid, word: &str) -> Result<bool, git2::Error> {
        let repository = Repository::open(&self.root)?;
        let name = word.split(':').next().unwrap_or_default();
        for side in name.split("..").map(|side| side.trim_matches('.')) {
            // `HEAD` is the agent's own in its worktree.
            if side.is_empty() || side.starts_with('-') || side.starts_with("HEAD") || side.starts_with('@') {
                continue;
            }
            let Ok(commit) = repository.revparse_single(side).and_then(|found| found.peel_to_commit()) else {
                continue;
            };
            let is_on = |tip: Oid| -> Result<bool, git2::Error> {
                Ok(tip == commit.id() || repository.graph_descendant_of(tip, commit.id())?)
            };
            let own = self.tip.filter(|_| self.owns_branch);
            if !is_on(base)? && !own.map(is_on).transpose()?.unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn absolute(&self, named: &str) -> PathBuf {
        let path = self.folder.join(named);
        // Links are resolved where they can be: a tracked link may lead to a downloaded file.
        path.canonicalize().unwrap_or_else(|_| without_dots(&path))
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    fn committed(git: &WorktreeFixture, name: &str, text: &str) {
        git.write(name, text);
        git.git(&["add", "-f", name]);
        git.git(&["commit", "-q", "-m", name]);
    }

    fn open(git: &WorktreeFixture, branch: Option<&str>) -> FamiliarFiles {
        let place = AgentPlace {
            root: git.root().to_owned(),
            folder: git.root().to_owned(),
            base: "main".into(),
            branch: branch.map(str::to_owned),
        };
        FamiliarFiles::open(&place).expect("a repository")
    }

    #[test]
    fn files_of_base_and_of_the_machine_are_known_and_downloaded_ones_are_not() {
        let git = WorktreeFixture::new();
        committed(&git, "src/a.rs", "x");
        git.write("downloaded.html", "x");
        symlink("downloaded.html", git.root().join("link")).expect("a link");
        let files = open(&git, None);
        for known in ["src/a.rs", "src", "./src/../src/a.rs", ".", "/usr/include/stdio.h", ".storkit/work"] {
            assert_eq!(files.unfamiliar(known), None, "{known}");
        }
        git.write(".storkit/work/files/7/door.png", "x");
        let attached = files.unfamiliar(".storkit/work/files/7/door.png");
        assert_eq!(
            attached.as_deref(),
            Some(".storkit/work/files/7/door.png"),
            "people send what others made"
        );
        git.write("src/a.rs", "a person's own change");
        assert_eq!(files.unfamiliar("src/a.rs"), None);
        assert_eq!(files.unfamiliar("downloaded.html").as_deref(), Some("downloaded.html"));
        assert_eq!(files.unfamiliar("link").as_deref(), Some("downloaded.html"), "by its real name");
        assert_eq!(files.unfamiliar("/tmp/page").as_deref(), Some("/tmp/page"));
    }

    #[test]
    fn a_strangers_branch_is_not_known_whether_it_is_named_or_checked_out() {
        let git = WorktreeFixture::new();
        committed(&git, "a.txt", "ours");
        git.git(&["switch", "-q", "-c", "pull/7"]);
        committed(&git, "a.txt", "theirs");
        committed(&git, "new.txt", "theirs");
        let files = open(&git, None);
        assert_eq!(files.unfamiliar("a.txt").as_deref(), Some("a.txt"), "it is checked out");
        assert!(files.unfamiliar("new.txt").is_some());
        for word in ["pull/7", "main..pull/7", "pull/7:a.txt", "pull/7~1"] {
            assert!(files.foreign_commit(word), "{word}");
        }
        for word in ["main", "main~1", "HEAD", "--stat", "a.txt", "nothing"] {
            assert!(!files.foreign_commit(word), "{word}");
        }
        let own = open(&git, Some("pull/7"));
        assert_eq!(own.unfamiliar("new.txt"), None, "its own branch");
        assert!(!own.foreign_commit("pull/7"));
    }
}
