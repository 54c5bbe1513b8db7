//! Moves refs together or not at all.

use git2::Oid;

use super::BaseGuard;
use crate::git::program::{GitProgram, GitProgramError};

/// One ref of a transaction, by its full name. `None` stands for a ref that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefMove {
    pub name: String,
    pub old: Option<Oid>,
    pub new: Option<Oid>,
}

/// Moves all of them, or none where one is not at its old commit any more (git-update-ref(1)). Fsynced, since what follows builds on
/// it. Git writes the refs one after the other, so a kill in the middle can leave some of them moved: whoever needs all or none after a
/// crash keeps a journal.
pub fn move_refs(
    git: &GitProgram,
    _guard: &BaseGuard,
    reason: &str,
    moves: &[RefMove],
) -> Result<(), GitProgramError> {
    // All zeros: the ref must not exist, or is to go.
    let id = |id: Option<Oid>| id.map_or_else(|| "0".repeat(40), |id| id.to_string());
    let lines = moves.iter().map(|moved| {
        let RefMove { name, old, new } = moved;
        format!("update {name} {} {}\n", id(*new), id(*old))
    });
    let input = lines.collect::<String>();
    git.run_with(["-c", "core.fsync=reference", "update-ref", "-m", reason, "--stdin"], input.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn refs_move_together_or_stay() {
        let fixture = WorktreeFixture::new();
        let first = Oid::from_str(&fixture.git(&["rev-parse", "main"])).expect("a commit");
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "second"]);
        let second = Oid::from_str(&fixture.git(&["rev-parse", "main"])).expect("a commit");
        let guard = BaseGuard::lock(&fixture.project).expect("a lock");
        let git = GitProgram::at(&fixture.root());
        let step = |name: &str, old, new| RefMove { name: format!("refs/heads/{name}"), old, new };
        let moved = |moves: &[RefMove]| move_refs(&git, &guard, "test", moves);
        moved(&[step("main", Some(second), Some(first)), step("a", None, Some(second))]).expect("both move");
        assert_eq!(fixture.git(&["rev-parse", "main", "a"]), format!("{first}\n{second}"));
        let stale = [step("a", Some(second), None), step("main", Some(second), Some(first))];
        moved(&stale).expect_err("main is elsewhere");
        assert_eq!(fixture.git(&["rev-parse", "main", "a"]), format!("{first}\n{second}"));
        moved(&[step("a", Some(second), None)]).expect("it goes");
        assert_eq!(fixture.git(&["branch", "--list", "a"]), "");
    }
}
