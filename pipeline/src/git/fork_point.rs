//! Where a branch left base, also after base was rewritten: by a rebase, a reset, or a pull of a remote's rewritten branch. Then the
//! commits that base no longer has are still in the branch, and nobody who worked on it made them.

use std::collections::BTreeSet;

use git2::{Oid, Repository};

use super::AGENT_DOMAIN;

/// Where a branch left base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForkPoint {
    pub commit: Oid,
    /// Whether base no longer has that commit.
    pub is_rewritten: bool,
}

/// The fork point of a branch at `tip`; `None` where the two have nothing in common. Reads base's reflog, as `git merge-base --fork-point`
/// does; without one a rewritten base looks like any other.
pub(crate) fn fork_point(
    repository: &Repository,
    base: &str,
    tip: Oid,
) -> Result<Option<ForkPoint>, git2::Error> {
    let reference = format!("refs/heads/{base}");
    let now = repository.refname_to_id(&reference)?;
    if let Some(commit) = dropped(repository, &reference, now, tip)? {
        return Ok(Some(ForkPoint { commit, is_rewritten: true }));
    }
    match repository.merge_base(now, tip) {
        Ok(commit) => Ok(Some(ForkPoint { commit, is_rewritten: false })),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The newest commit of the branch that base pointed to once and does not have any more.
fn dropped(repository: &Repository, reference: &str, now: Oid, tip: Oid) -> Result<Option<Oid>, git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.push(tip)?;
    walk.hide(now)?;
    let own = walk.collect::<Result<BTreeSet<Oid>, _>>()?;
    // Without a log (a bare repository has none), or in a format that libgit2 cannot read, nothing more is known.
    let Ok(log) = repository.reflog(reference) else { return Ok(None) };
    let once = log.iter().flat_map(|entry| [entry.id_new(), entry.id_old()]);
    let by_agent = |id: Oid| {
        // A commit of the story's that base pointed to for a while, before somebody took it off again, is the story's.
        repository
            .find_commit(id)
            .is_ok_and(|commit| commit.committer().email_bytes().ends_with(AGENT_DOMAIN.as_bytes()))
    };
    let found: Vec<Oid> = once.filter(|id| own.contains(id) && !by_agent(*id)).collect();
    // Base may have pointed to them in any order.
    let mut newest = None;
    for id in found {
        let is_newer = match newest {
            None => true,
            Some(known) => id != known && repository.graph_descendant_of(id, known)?,
        };
        if is_newer {
            newest = Some(id);
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    fn commit(fixture: &WorktreeFixture, text: &str) -> Oid {
        fixture.git(&["commit", "-q", "--allow-empty", "-m", text]);
        tip(fixture, "HEAD")
    }

    fn tip(fixture: &WorktreeFixture, name: &str) -> Oid {
        Oid::from_str(&fixture.git(&["rev-parse", name])).expect("a commit")
    }

    fn found(fixture: &WorktreeFixture, branch: &str) -> ForkPoint {
        let repository = Repository::open(fixture.root()).expect("a repository");
        fork_point(&repository, "main", tip(fixture, branch)).expect("it is read").expect("one")
    }

    #[test]
    fn a_base_that_only_grew_was_left_where_the_two_meet() {
        let fixture = WorktreeFixture::new();
        let begin = commit(&fixture, "begin");
        fixture.git(&["switch", "-q", "-c", "story"]);
        commit(&fixture, "work");
        fixture.git(&["switch", "-q", "main"]);
        commit(&fixture, "more");
        assert_eq!(found(&fixture, "story"), ForkPoint { commit: begin, is_rewritten: false });
    }

    #[test]
    fn a_rebased_base_was_left_at_the_commit_that_it_lost() {
        let fixture = WorktreeFixture::new();
        commit(&fixture, "one");
        let left = commit(&fixture, "two");
        fixture.git(&["switch", "-q", "-c", "story"]);
        commit(&fixture, "work");
        fixture.git(&["switch", "-q", "main"]);
        fixture.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "two, better"]);
        assert_eq!(found(&fixture, "story"), ForkPoint { commit: left, is_rewritten: true });
        fixture.git(&["reset", "-q", "--hard", "HEAD~2"]);
        assert_eq!(found(&fixture, "story"), ForkPoint { commit: left, is_rewritten: true });
    }

    #[test]
    fn an_agents_commit_that_base_had_for_a_while_is_the_agents() {
        let fixture = WorktreeFixture::new();
        let begin = tip(&fixture, "main");
        let worktree = fixture.prepare("7_x");
        fixture.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "work"]);
        fixture.git(&["merge", "-q", "--ff-only", &worktree.branch()]);
        fixture.git(&["reset", "-q", "--hard", "HEAD~1"]);
        assert_eq!(found(&fixture, &worktree.branch()), ForkPoint { commit: begin, is_rewritten: false });
    }

    #[test]
    fn without_a_log_of_base_the_two_meet_where_they_do() {
        let fixture = WorktreeFixture::new();
        let begin = tip(&fixture, "main");
        commit(&fixture, "two");
        fixture.git(&["switch", "-q", "-c", "story"]);
        commit(&fixture, "work");
        fixture.git(&["branch", "-f", "main", "HEAD~2"]);
        std::fs::remove_file(fixture.root().join(".git/logs/refs/heads/main")).expect("a log");
        assert_eq!(found(&fixture, "story"), ForkPoint { commit: begin, is_rewritten: false });
    }
}
