//! A base that was rewritten while a story was worked on: the story's own commits go onto the new base between two runs.

use std::{fs, path::PathBuf};

use git2::{Oid, Repository};

use super::{error::at, layout::WorktreeLock};
use crate::{
    git::{
        fork_point::{ForkPoint, fork_point},
        program::GitProgramError,
    },
    worktree::{import::ImportError, worktrees::Worktree},
};

/// What became of the branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseFollowed {
    /// Base has all commits that it had.
    Unchanged,
    /// The branch's own commits are on the new base; the branch began at `from`.
    Rebased { from: Oid },
    /// They do not fit on it: the branch is as it was.
    Conflict { from: Oid, paths: Vec<PathBuf> },
}

impl Worktree {
    /// Rebases the branch if base was rewritten. No process may live here. Uncommitted changes stay. Blocks.
    pub fn follow_rewritten_base(&self) -> Result<BaseFollowed, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        let repository = Repository::open(&self.layout.common)?;
        let tip = self.tip()?;
        let fork = fork_point(&repository, &self.base, tip)?.filter(|fork| fork.is_rewritten);
        let Some(ForkPoint { commit: from, .. }) = fork else { return Ok(BaseFollowed::Unchanged) };
        // What a killed storkit left is taken in first, or it would be lost with the private copies.
        self.import_locked()?;
        self.catch_up()?;
        let (base, start) = (format!("refs/heads/{}", self.base), from.to_string());
        let args = [
            "-c",
            "rebase.updateRefs=false",
            "-c",
            "rebase.autoSquash=false",
            "-c",
            "rebase.stat=false",
            "rebase",
            "--quiet",
            "--autostash",
            "--no-verify",
            "--onto",
            &base,
            &start,
        ];
        let answer = self.git().answer(args, &[])?;
        if answer.code != Some(0) {
            let paths = self.conflicted()?;
            self.git().run(["rebase", "--abort"])?;
            return match paths.is_empty() {
                true => Err(answer.refusal(&args).into()),
                false => Ok(BaseFollowed::Conflict { from, paths }),
            };
        }
        let tip = self.tip()?;
        // Otherwise the next import would report the rebase as the agent's.
        let path = self.layout.private.join("tip");
        fs::write(&path, format!("{tip}\n")).map_err(at(&path))?;
        self.renew()?;
        Ok(BaseFollowed::Rebased { from })
    }

    fn conflicted(&self) -> Result<Vec<PathBuf>, GitProgramError> {
        let listed = self.git().run(["diff", "--name-only", "--diff-filter=U", "--ignore-submodules=all"])?;
        Ok(listed.lines().map(PathBuf::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    /// A story with a commit, on a base whose last commit is then replaced by one that has `theirs.txt`.
    struct Rewritten {
        fixture: WorktreeFixture,
        worktree: Worktree,
        left: Oid,
    }

    impl Rewritten {
        fn new(file: &str) -> Self {
            let fixture = WorktreeFixture::new();
            fixture.write("big.txt", "of a person\n");
            fixture.git(&["add", "."]);
            fixture.git(&["commit", "-q", "-m", "two"]);
            let left = Oid::from_str(&fixture.git(&["rev-parse", "main"])).expect("a commit");
            let worktree = fixture.prepare("7_x");
            worktree.import().expect("imported");
            fs::write(worktree.path().join(file), "mine\n").expect("a file");
            fixture.git_in(worktree.path(), &["add", "."]);
            fixture.git_in(worktree.path(), &["commit", "-q", "-m", "mine"]);
            worktree.import().expect("imported");
            fixture.git(&["reset", "-q", "--hard", "HEAD~1"]);
            fixture.write("theirs.txt", "theirs\n");
            fixture.git(&["add", "theirs.txt"]);
            fixture.git(&["commit", "-q", "-m", "two, again"]);
            Self { fixture, worktree, left }
        }

        fn log(&self) -> String {
            self.fixture.git(&["log", "--format=%s", &format!("main..{}", self.worktree.branch())])
        }
    }

    #[test]
    fn the_storys_commits_go_onto_the_new_base_and_the_old_ones_are_left_behind() {
        let place = Rewritten::new("mine.txt");
        assert_eq!(place.log(), "mine\ntwo");
        fs::write(place.worktree.path().join("a.txt"), "uncommitted\n").expect("a file");
        let followed = place.worktree.follow_rewritten_base().expect("it follows");
        assert_eq!(followed, BaseFollowed::Rebased { from: place.left });
        assert_eq!(place.log(), "mine");
        assert_eq!(fs::read_to_string(place.worktree.path().join("a.txt")).expect("a file"), "uncommitted\n");
        assert!(!place.worktree.path().join("big.txt").exists());
        let imported = place.worktree.import().expect("imported");
        assert_eq!((imported.ahead, imported.rewritten), (1, false), "it was not the agent");
        let again = place.worktree.follow_rewritten_base().expect("it follows");
        assert_eq!(again, BaseFollowed::Unchanged);
    }

    #[test]
    fn commits_that_do_not_fit_stay_where_they_are_and_the_files_are_named() {
        let place = Rewritten::new("theirs.txt");
        let tip = place.fixture.git(&["rev-parse", &place.worktree.branch()]);
        let followed = place.worktree.follow_rewritten_base().expect("it tries");
        let paths = vec![PathBuf::from("theirs.txt")];
        assert_eq!(followed, BaseFollowed::Conflict { from: place.left, paths });
        assert_eq!(place.fixture.git(&["rev-parse", &place.worktree.branch()]), tip);
        assert_eq!(place.worktree.uncommitted().expect("a status"), Vec::<String>::new());
        assert_eq!(place.worktree.operation(false), None);
    }

    #[test]
    fn a_base_that_only_grew_is_left_to_the_merge() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        fixture.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "mine"]);
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "theirs"]);
        assert_eq!(worktree.follow_rewritten_base().expect("it looks"), BaseFollowed::Unchanged);
    }
}
