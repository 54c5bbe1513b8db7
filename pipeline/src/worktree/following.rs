//! A room's worktree follows the tip of base as long as it has no changes of its own.

use std::{fs, time::SystemTime};

use git2::{Oid, Repository};

use super::layout::WorktreeLock;
use crate::{
    git::lfs,
    worktree::{
        error::{WorktreeError, at},
        import::ImportError,
        worktrees::Worktree,
    },
};

/// Below the private folder: changed each time that somebody works in the worktree.
const USED: &str = "used";

/// A worktree's own changes, and how far base has moved on without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomStanding {
    /// Commits that base does not have.
    pub ahead: usize,
    /// Commits of base that the branch does not have.
    pub behind: usize,
    /// Files that are not committed.
    pub uncommitted: usize,
}

impl RoomStanding {
    pub fn has_changes(&self) -> bool {
        self.ahead > 0 || self.uncommitted > 0
    }
}

/// What became of a worktree that is to follow base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowResult {
    /// It is where base is, as far as matters to a process that lives in it.
    Level,
    /// It was moved to the tip of base.
    Moved,
    /// It is to be moved once no process lives in it.
    Due,
    /// It has changes of its own and stays.
    Own(RoomStanding),
    /// The agent's last commits were not accepted, for this reason; it stays.
    Refused(String),
}

impl Worktree {
    /// Moves branch and files to the tip of base, unless they have changes of their own. The commits up to `merged` are none:
    /// base has them in another form. While a process lives here (`living`) nothing moves below its feet.
    ///
    /// Blocks: two refs are read, more only if base has moved.
    pub fn follow_base(&self, merged: Option<Oid>, living: bool) -> Result<FollowResult, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        if let Err(refused) = self.import_locked() {
            return Ok(FollowResult::Refused(refused.to_string()));
        }
        let (tip, base) = (self.tip()?, self.base_tip()?);
        if tip == base {
            return Ok(FollowResult::Level);
        }
        self.catch_up()?;
        let standing = self.standing_at(tip, base)?;
        if standing.uncommitted > 0 || (standing.ahead > 0 && merged != Some(tip)) {
            return Ok(FollowResult::Own(standing));
        }
        match living {
            true if self.differs_in_stories_only(tip, base)? => Ok(FollowResult::Level),
            true => Ok(FollowResult::Due),
            false => {
                // Without them there are pointers in their place, as in the main checkout.
                let scratch = &self.layout.private;
                if let Err(error) = lfs::fetch_missing((&self.layout.common, scratch), &self.base, base) {
                    tracing::warn!(%error, "a room's worktree lacks contents of Git LFS");
                }
                self.move_to(base)?;
                Ok(FollowResult::Moved)
            }
        }
    }

    /// Its own changes, after an import. Blocks.
    pub fn standing(&self) -> Result<RoomStanding, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        self.import_locked()?;
        self.catch_up()?;
        Ok(self.standing_at(self.tip()?, self.base_tip()?)?)
    }

    /// Commits everything that is not committed and returns the branch's tip. Refused as an import is; then nothing is
    /// committed. No process may live here. Blocks.
    pub fn commit_all(&self, message: &str) -> Result<Oid, ImportError> {
        let _lock = WorktreeLock::take(&self.layout)?;
        self.import_locked()?;
        self.catch_up()?;
        let before = self.tip()?;
        if !self.uncommitted()?.is_empty() {
            self.git().run(["add", "--all"])?;
            self.git().run(["commit", "--quiet", "--no-verify", "--message", message])?;
            // Before the next import, which would take the private copy's older tip for news of the agent.
            self.renew()?;
            if let Err(refused) = self.import_locked() {
                self.git().run(["reset", "--quiet", "--mixed", &before.to_string()])?;
                self.renew()?;
                return Err(refused);
            }
        }
        Ok(self.tip()?)
    }

    /// Its own commits, the newest first, at most `most`: `0123abc Fix the typo`. Blocks.
    pub fn own_commits(&self, most: usize) -> Result<Vec<String>, WorktreeError> {
        let range = format!("refs/heads/{}..{}", self.base, self.layout.owner.reference());
        let args = ["log", "--format=%h %s", &format!("--max-count={most}"), &range];
        let answer = self.git().answer(args, &[])?;
        if answer.code != Some(0) {
            return Err(answer.refusal(&args).into());
        }
        Ok(String::from_utf8_lossy(&answer.stdout).lines().map(str::to_owned).collect())
    }

    /// Puts branch and files to the tip of base, whatever they are. Everything that is committed or not ignored is kept on the new
    /// branch `copy`. Refused as an import is; then nothing is thrown away. No process may live here. Blocks.
    pub fn discard(&self, copy: &str) -> Result<(), ImportError> {
        let kept = self.commit_all("Discarded from a chat room")?;
        let _lock = WorktreeLock::take(&self.layout)?;
        // All zeros mean that the ref must not exist (git-update-ref(1)).
        let reference = format!("refs/heads/{copy}");
        self.git().run(["update-ref", &reference, &kept.to_string(), &"0".repeat(40)])?;
        self.move_to(self.base_tip()?)
    }

    /// Notes that somebody works here now.
    pub(crate) fn touch(&self) -> Result<(), WorktreeError> {
        let path = self.layout.private.join(USED);
        fs::write(&path, "").map_err(at(&path))
    }

    /// When somebody last worked here; `None` if that is not known.
    pub(crate) fn used(&self) -> Option<SystemTime> {
        fs::metadata(self.layout.private.join(USED)).and_then(|found| found.modified()).ok()
    }

    fn base_tip(&self) -> Result<Oid, git2::Error> {
        Repository::open(&self.layout.common)?.refname_to_id(&format!("refs/heads/{}", self.base))
    }

    fn standing_at(&self, tip: Oid, base: Oid) -> Result<RoomStanding, WorktreeError> {
        let (ahead, behind) = Repository::open(&self.layout.common)?.graph_ahead_behind(tip, base)?;
        Ok(RoomStanding { ahead, behind, uncommitted: self.uncommitted()?.len() })
    }

    // Stories come and go all day: a living session is not restarted for their files.
    fn differs_in_stories_only(&self, tip: Oid, base: Oid) -> Result<bool, WorktreeError> {
        let repository = Repository::open(&self.layout.common)?;
        let tree = |commit| repository.find_commit(commit)?.tree();
        let diff = repository.diff_tree_to_tree(Some(&tree(tip)?), Some(&tree(base)?), None)?;
        let mut files = diff.deltas().flat_map(|delta| [delta.old_file(), delta.new_file()]);
        Ok(files.all(|file| file.path().is_some_and(|path| path.starts_with(".storkit/work"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::{Worktrees, fixture::WorktreeFixture, owner::RoomName};

    fn room(fixture: &WorktreeFixture) -> Worktree {
        room_of(&fixture.worktrees(), "fake:a")
    }

    fn room_of(worktrees: &Worktrees, room: &str) -> Worktree {
        worktrees.prepare(&RoomName::of(room), "main", "room").expect("a worktree")
    }

    fn write(worktree: &Worktree, name: &str, text: &str) {
        fs::write(worktree.path().join(name), text).expect("a file");
    }

    fn commit(fixture: &WorktreeFixture, name: &str) {
        fixture.write(name, name);
        fixture.git(&["add", "--force", name]);
        fixture.git(&["commit", "-q", "-m", name]);
    }

    fn follow(worktree: &Worktree) -> FollowResult {
        worktree.follow_base(None, false).expect("it follows")
    }

    #[test]
    fn a_room_without_changes_follows_the_tip_of_base() {
        let fixture = WorktreeFixture::new();
        let worktree = room(&fixture);
        assert_eq!(follow(&worktree), FollowResult::Level);
        commit(&fixture, "b.txt");
        assert_eq!(follow(&worktree), FollowResult::Moved);
        assert!(worktree.path().join("b.txt").exists());
        assert_eq!(follow(&worktree), FollowResult::Level);
        assert_eq!(worktree.standing().expect("read"), RoomStanding::default());
    }

    #[test]
    fn a_room_with_an_uncommitted_file_or_a_commit_of_its_own_stays() {
        let fixture = WorktreeFixture::new();
        let worktree = room(&fixture);
        write(&worktree, "mine.txt", "mine");
        commit(&fixture, "b.txt");
        let uncommitted = RoomStanding { ahead: 0, behind: 1, uncommitted: 1 };
        assert_eq!(follow(&worktree), FollowResult::Own(uncommitted));
        worktree.commit_all("Mine").expect("committed");
        commit(&fixture, "c.txt");
        let committed = RoomStanding { ahead: 1, behind: 2, uncommitted: 0 };
        assert_eq!(follow(&worktree), FollowResult::Own(committed));
        assert!(worktree.path().join("mine.txt").exists() && !worktree.path().join("b.txt").exists());
    }

    #[test]
    fn a_rooms_commits_that_are_merged_do_not_hold_it_and_further_ones_do() {
        let fixture = WorktreeFixture::new();
        let worktree = room(&fixture);
        write(&worktree, "mine.txt", "mine");
        let landed = worktree.commit_all("Mine").expect("committed");
        commit(&fixture, "mine.txt");
        write(&worktree, "more.txt", "more");
        let further = worktree.follow_base(Some(landed), false).expect("looked at");
        assert!(matches!(further, FollowResult::Own(RoomStanding { uncommitted: 1, .. })), "{further:?}");
        fs::remove_file(worktree.path().join("more.txt")).expect("undone");
        assert_eq!(worktree.follow_base(Some(landed), false).expect("it follows"), FollowResult::Moved);
        assert_eq!(worktree.standing().expect("read"), RoomStanding::default());
    }

    #[test]
    fn nothing_moves_below_a_living_process_and_stories_do_not_end_it() {
        let fixture = WorktreeFixture::new();
        let worktree = room(&fixture);
        commit(&fixture, ".storkit/work/1_backlog/1_story_x.md");
        assert_eq!(worktree.follow_base(None, true).expect("looked at"), FollowResult::Level);
        commit(&fixture, "b.txt");
        assert_eq!(worktree.follow_base(None, true).expect("looked at"), FollowResult::Due);
        assert!(!worktree.path().join("b.txt").exists());
        assert_eq!(follow(&worktree), FollowResult::Moved);
    }

    #[test]
    fn a_confined_agents_commits_are_known_before_the_room_moves() {
        let fixture = WorktreeFixture::new();
        let worktree = room(&fixture);
        worktree.enclose().expect("a place");
        // As the sandbox shows them: private objects, and the private ref.
        let private = worktree.layout().private.clone();
        let tree = fixture.git(&["rev-parse", "main^{tree}"]);
        let made = fixture.git(&["commit-tree", "-p", "main", "-m", "agent's", &tree]);
        fs::write(private.join(worktree.owner().reference()), format!("{made}\n")).expect("the ref");
        commit(&fixture, "b.txt");
        let standing = RoomStanding { ahead: 1, behind: 1, uncommitted: 0 };
        assert_eq!(follow(&worktree), FollowResult::Own(standing));
        assert_eq!(fixture.git(&["rev-parse", &worktree.branch()]), made);
    }

    #[test]
    fn a_commit_beyond_the_limits_is_not_made_and_its_files_stay() {
        let mut fixture = WorktreeFixture::new();
        fixture.limits.file = 1_000;
        let worktree = room(&fixture);
        write(&worktree, "big.bin", &"x".repeat(2_000));
        let refused = worktree.commit_all("Big").unwrap_err().to_string();
        assert!(refused.contains("`big.bin` on the branch has 2 kB"), "{refused}");
        assert_eq!(worktree.uncommitted().expect("a status"), ["big.bin"]);
        assert_eq!(fixture.git(&["rev-parse", &worktree.branch()]), fixture.git(&["rev-parse", "main"]));
        fs::remove_file(worktree.path().join("big.bin")).expect("gone");
        assert_eq!(follow(&worktree), FollowResult::Level);
    }

    #[test]
    fn what_is_discarded_is_kept_on_a_branch_and_the_room_follows_base_again() {
        let fixture = WorktreeFixture::new();
        let worktree = room(&fixture);
        write(&worktree, "mine.txt", "mine");
        worktree.commit_all("Mine").expect("committed");
        write(&worktree, "more.txt", "more");
        commit(&fixture, "b.txt");
        let commits = worktree.own_commits(9).expect("a log");
        assert!(matches!(&commits[..], [one] if one.ends_with(" Mine")), "{commits:?}");
        worktree.discard("storkit/discarded/x-1").expect("discarded");
        assert_eq!(worktree.standing().expect("read"), RoomStanding::default());
        assert!(!worktree.path().join("mine.txt").exists() && !worktree.path().join("more.txt").exists());
        assert!(worktree.path().join("b.txt").exists());
        let kept = fixture.git(&["ls-tree", "--name-only", "storkit/discarded/x-1"]);
        assert!(kept.contains("mine.txt") && kept.contains("more.txt"), "{kept}");
        assert_eq!(follow(&worktree), FollowResult::Level);
        // A name that is taken is another copy.
        write(&worktree, "again.txt", "again");
        assert!(worktree.discard("storkit/discarded/x-1").is_err());
        assert_eq!(worktree.standing().expect("read").ahead, 1, "nothing is lost");
    }

    #[test]
    fn what_cannot_be_kept_is_not_discarded() {
        let mut fixture = WorktreeFixture::new();
        fixture.limits.file = 1_000;
        let worktree = room(&fixture);
        write(&worktree, "big.bin", &"x".repeat(2_000));
        assert!(worktree.discard("storkit/discarded/x-1").is_err());
        assert_eq!(worktree.uncommitted().expect("a status"), ["big.bin"]);
    }

    #[test]
    fn two_rooms_are_independent() {
        let fixture = WorktreeFixture::new();
        let worktrees = fixture.worktrees();
        let (one, other) = (room_of(&worktrees, "fake:a"), room_of(&worktrees, "fake:b"));
        assert_ne!((one.path(), one.branch()), (other.path(), other.branch()));
        write(&one, "mine.txt", "mine");
        one.commit_all("Mine").expect("committed");
        commit(&fixture, "b.txt");
        assert!(matches!(follow(&one), FollowResult::Own(_)));
        assert_eq!(follow(&other), FollowResult::Moved);
        assert!(!other.path().join("mine.txt").exists());
    }
}
