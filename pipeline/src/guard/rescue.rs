//! Base put back after an agent moved it, with nothing lost: its commits stay on a branch of their own.

use std::time::{SystemTime, UNIX_EPOCH};

use git2::{Oid, Repository};

use super::BaseGuard;
use crate::{
    Project,
    git::program::{GitProgram, GitProgramError},
    story::StoryId,
    worktree::{BRANCH_PREFIX, ROOM_BRANCHES},
};

/// The rescue of a moved base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRescue {
    /// The branch that holds the commits base was moved to; `None` where base was deleted.
    pub branch: Option<String>,
    /// Whether base is where it was before; not where others have built on the new commits, or moved it again.
    pub restored: bool,
    /// What became of the main checkout.
    pub checkout: CheckoutFate,
}

/// What became of the main checkout when base was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutFate {
    /// Base is not checked out there, or was not put back.
    Untouched,
    /// Its files are those of base again; uncommitted changes are still there.
    Followed,
    /// Its files were left, since uncommitted work is in the way: they show as changes now.
    Left,
}

/// Why the rescue failed. Commits that were not rescued are where they were.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    #[error(transparent)]
    Git(#[from] GitProgramError),
    /// The repository cannot be read.
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
}

/// Saves the commits that base was moved to on `storkit/rescue/ID-SECONDS` and puts base back to `before`, by
/// compare-and-swap and only if no other branch was built on them meanwhile. Files of the main checkout are never
/// overwritten. `moved` is where base was found; `None` where it was deleted. Without a `before` base stays where it is.
pub fn rescue(
    project: &Project,
    _guard: &BaseGuard,
    base: &str,
    before: Option<Oid>,
    moved: Option<Oid>,
    story: StoryId,
    now: SystemTime,
) -> Result<BaseRescue, RescueError> {
    let git = GitProgram::at(project.root());
    let reference = format!("refs/heads/{base}");
    let Some(moved) = moved else {
        let Some(before) = before else {
            return Ok(BaseRescue { branch: None, restored: false, checkout: CheckoutFate::Untouched });
        };
        let restored = git.answer(["update-ref", &reference, &before.to_string(), &"0".repeat(40)], &[])?;
        let restored = restored.code == Some(0);
        return Ok(BaseRescue { branch: None, restored, checkout: CheckoutFate::Untouched });
    };
    // Saved before base moves back: a crash in between loses no commit.
    let branch = keep(&git, moved, story, now)?;
    let repository = Repository::open(project.root())?;
    // Others' commits are on top of them.
    let Some(before) = before else {
        return Ok(BaseRescue { branch: Some(branch), restored: false, checkout: CheckoutFate::Untouched });
    };
    // Others work on these commits already: moving base back would take them out of its history.
    if built_upon(&repository, &reference, moved)? {
        return Ok(BaseRescue { branch: Some(branch), restored: false, checkout: CheckoutFate::Untouched });
    }
    let checked_out =
        git.answer(["symbolic-ref", "--quiet", "HEAD"], &[])?.stdout.trim_ascii() == reference.as_bytes();
    let back =
        ["update-ref", "-m", "storkit: base put back", &reference, &before.to_string(), &moved.to_string()];
    if git.answer(back, &[])?.code != Some(0) {
        return Ok(BaseRescue { branch: Some(branch), restored: false, checkout: CheckoutFate::Untouched });
    }
    let checkout = if checked_out { follow(&git, moved, before)? } else { CheckoutFate::Untouched };
    Ok(BaseRescue { branch: Some(branch), restored: true, checkout })
}

/// A branch that nobody else uses, at these commits.
fn keep(git: &GitProgram, moved: Oid, story: StoryId, now: SystemTime) -> Result<String, GitProgramError> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut name = format!("storkit/rescue/{story}-{seconds}");
    // A second rescue of the same story within one second needs another name.
    for again in 2.. {
        let create = ["update-ref", &format!("refs/heads/{name}"), &moved.to_string(), &"0".repeat(40)];
        let answer = git.answer(create, &[])?;
        match answer.code {
            Some(0) => break,
            _ if again > 9 => return Err(answer.refusal(&create)),
            _ => name = format!("storkit/rescue/{story}-{seconds}-{again}"),
        }
    }
    Ok(name)
}

/// Whether a branch besides base, storkit's own and those of stories and rooms has the new commits.
fn built_upon(repository: &Repository, base: &str, moved: Oid) -> Result<bool, git2::Error> {
    let own = ["storkit/", BRANCH_PREFIX, ROOM_BRANCHES].map(|prefix| format!("refs/heads/{prefix}"));
    for reference in repository.references_glob("refs/heads/*")? {
        let reference = reference?;
        let Some(tip) = reference.target() else { continue };
        let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
        if name == base || own.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if tip == moved || repository.graph_descendant_of(tip, moved)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes index and files from one commit to another as a checkout does: entries that already are as wanted stay,
/// uncommitted changes stay or make it refuse as a whole.
fn follow(git: &GitProgram, from: Oid, to: Oid) -> Result<CheckoutFate, GitProgramError> {
    // Files that were touched but not changed would make `read-tree` refuse.
    git.answer(["update-index", "-q", "--refresh"], &[])?;
    let answer = git.answer(["read-tree", "-m", "-u", &from.to_string(), &to.to_string()], &[])?;
    Ok(if answer.code == Some(0) { CheckoutFate::Followed } else { CheckoutFate::Left })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    /// A repository whose base an agent moved by a commit with the file `evil.txt`.
    struct Moved {
        fixture: WorktreeFixture,
        before: Oid,
        moved: Oid,
    }

    fn tip(fixture: &WorktreeFixture, branch: &str) -> Oid {
        Oid::from_str(&fixture.git(&["rev-parse", branch])).expect("a commit")
    }

    impl Moved {
        fn new() -> Self {
            let fixture = WorktreeFixture::new();
            let before = tip(&fixture, "main");
            fixture.write("evil.txt", "evil\n");
            fixture.git(&["add", "evil.txt"]);
            fixture.git(&["commit", "-q", "-m", "evil"]);
            let moved = tip(&fixture, "main");
            Self { fixture, before, moved }
        }

        fn try_rescue(&self, moved: Option<Oid>) -> Result<BaseRescue, RescueError> {
            let guard = BaseGuard::lock(&self.fixture.project).expect("a lock");
            let now = UNIX_EPOCH + Duration::from_secs(1_000);
            rescue(&self.fixture.project, &guard, "main", Some(self.before), moved, StoryId(7), now)
        }

        fn rescue(&self, moved: Option<Oid>) -> BaseRescue {
            self.try_rescue(moved).expect("a rescue")
        }
    }

    fn saved(restored: bool, checkout: CheckoutFate) -> BaseRescue {
        BaseRescue { branch: Some("storkit/rescue/7-1000".into()), restored, checkout }
    }

    #[test]
    fn base_and_its_checkout_go_back_and_the_commits_stay_on_a_branch() {
        let place = Moved::new();
        place.fixture.write("a.txt", "a person's\n");
        // Touched, not changed.
        place.fixture.write("evil.txt", "evil\n");
        assert_eq!(place.rescue(Some(place.moved)), saved(true, CheckoutFate::Followed));
        assert_eq!(tip(&place.fixture, "main"), place.before);
        assert_eq!(tip(&place.fixture, "storkit/rescue/7-1000"), place.moved);
        assert_eq!(place.fixture.git(&["status", "--porcelain"]), " M a.txt");
        assert_eq!(place.fixture.read("a.txt"), "a person's\n");
        assert!(!place.fixture.root().join("evil.txt").exists());
    }

    #[test]
    fn uncommitted_work_in_the_way_is_left_alone() {
        let place = Moved::new();
        place.fixture.write("evil.txt", "a person's\n");
        assert_eq!(place.rescue(Some(place.moved)), saved(true, CheckoutFate::Left));
        assert_eq!(tip(&place.fixture, "main"), place.before);
        assert_eq!(place.fixture.read("evil.txt"), "a person's\n");
    }

    #[test]
    fn a_checkout_of_another_branch_is_not_touched() {
        let place = Moved::new();
        place.fixture.git(&["switch", "-q", "-c", "storkit/own"]);
        assert_eq!(place.rescue(Some(place.moved)), saved(true, CheckoutFate::Untouched));
        assert_eq!(tip(&place.fixture, "main"), place.before);
        assert_eq!(place.fixture.read("evil.txt"), "evil\n");
    }

    #[test]
    fn a_base_that_others_have_built_on_stays() {
        let begins: fn(&WorktreeFixture) = |fixture| drop(fixture.git(&["branch", "others"]));
        let goes_on: fn(&WorktreeFixture) = |fixture| {
            fixture.git(&["switch", "-q", "-c", "others"]);
            fixture.git(&["commit", "-q", "--allow-empty", "-m", "more"]);
        };
        for builds in [begins, goes_on] {
            let place = Moved::new();
            builds(&place.fixture);
            assert_eq!(place.rescue(Some(place.moved)), saved(false, CheckoutFate::Untouched));
            assert_eq!(tip(&place.fixture, "main"), place.moved);
        }
    }

    #[test]
    fn branches_of_stories_and_storkits_own_and_older_ones_do_not_count_as_built_on() {
        let place = Moved::new();
        for branch in ["feature/story-7_x/work", "storkit/other"] {
            place.fixture.git(&["branch", branch]);
        }
        place.fixture.git(&["branch", "older", &place.before.to_string()]);
        assert!(place.rescue(Some(place.moved)).restored);
    }

    #[test]
    fn a_base_that_moved_again_meanwhile_stays() {
        let place = Moved::new();
        place.fixture.git(&["commit", "-q", "--allow-empty", "-m", "more"]);
        let again = tip(&place.fixture, "main");
        assert_eq!(place.rescue(Some(place.moved)), saved(false, CheckoutFate::Untouched));
        assert_eq!(tip(&place.fixture, "main"), again);
    }

    #[test]
    fn a_deleted_base_is_made_again_unless_somebody_has_done_so() {
        let place = Moved::new();
        place.fixture.git(&["switch", "-q", "--detach"]);
        place.fixture.git(&["branch", "-q", "-D", "main"]);
        let again = |restored| BaseRescue { branch: None, restored, checkout: CheckoutFate::Untouched };
        assert_eq!(place.rescue(None), again(true));
        assert_eq!(tip(&place.fixture, "main"), place.before);
        assert_eq!(place.rescue(None), again(false));
    }

    #[test]
    fn rescues_of_one_second_have_branches_of_their_own_and_there_is_an_end_to_them() {
        let place = Moved::new();
        let (mut names, mut refused) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            match place.try_rescue(Some(place.moved)) {
                Ok(rescue) => names.push(rescue.branch.expect("a branch")),
                Err(error) => refused.push(error.to_string()),
            }
            place.fixture.git(&["reset", "-q", "--hard", &place.moved.to_string()]);
        }
        let expected: Vec<String> = ["".into()].into_iter().chain((2..=9).map(|n| format!("-{n}"))).collect();
        assert_eq!(
            names,
            expected.iter().map(|end| format!("storkit/rescue/7-1000{end}")).collect::<Vec<_>>()
        );
        assert_eq!(refused.len(), 1);
        assert!(refused[0].contains("already exists"), "{refused:?}");
    }
}
