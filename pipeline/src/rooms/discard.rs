//! Throws a room's changes away. They stay on a branch for two weeks, so that a mistake can be undone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use git2::Repository;

use super::workspace::blocking;
use crate::{
    Pipeline, PipelineError, Project,
    git::program::GitProgram,
    worktree::{BranchFate, RoomName, SizeLimits, Worktrees},
};

/// The prefix of the branches of discarded changes; `SLUG-SECONDS` follows.
const COPIES: &str = "storkit/discarded/";

const COPY_AGE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Commits of a room that are listed.
const LISTED: usize = 20;

/// A room's own changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomChanges {
    /// The newest first: `0123abc Fix the typo`. At most 20.
    pub commits: Vec<String>,
    /// Files that are not committed.
    pub files: Vec<String>,
    /// Why the agent's last commits are not accepted, as a sentence.
    pub refused: Option<String>,
}

/// Changes that are gone from a room's worktree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscardedChanges {
    pub changes: RoomChanges,
    /// The branch that keeps them.
    pub copy: Option<String>,
}

impl RoomChanges {
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.files.is_empty() && self.refused.is_none()
    }
}

impl Pipeline {
    /// The changes in the room's worktree; none where it has no worktree.
    pub async fn room_changes(&self, room: &str) -> Result<RoomChanges, PipelineError> {
        let (project, base, room) =
            (self.project().clone(), self.snapshot().base.clone(), RoomName::of(room));
        let read = move || changes(&project, &base, &room);
        blocking(read).await.and_then(|read| read).map_err(PipelineError::Refused)
    }

    /// Throws the changes in the room's worktree away. No process may live there. Without `keeps_copy`, the whole worktree is removed,
    /// and made again at the next prompt: for changes that cannot be committed.
    pub async fn discard_room(
        &self,
        room: &str,
        keeps_copy: bool,
    ) -> Result<DiscardedChanges, PipelineError> {
        let (project, base, room) =
            (self.project().clone(), self.snapshot().base.clone(), RoomName::of(room));
        let act = move || discard(&project, &base, &room, keeps_copy);
        blocking(act).await.and_then(|done| done).map_err(PipelineError::Refused)
    }
}

fn changes(project: &Project, base: &str, room: &RoomName) -> Result<RoomChanges, String> {
    let worktrees = Worktrees::open(project, SizeLimits::default()).map_err(|error| error.to_string())?;
    let Some(worktree) = worktrees.find(room, base) else { return Ok(RoomChanges::default()) };
    let refused = worktree.settle().err().map(|error| error.to_string());
    Ok(RoomChanges {
        commits: worktree.own_commits(LISTED).map_err(|error| error.to_string())?,
        files: worktree.uncommitted().map_err(|error| error.to_string())?,
        refused,
    })
}

fn discard(
    project: &Project,
    base: &str,
    room: &RoomName,
    keeps_copy: bool,
) -> Result<DiscardedChanges, String> {
    let changes = changes(project, base, room)?;
    let worktrees = Worktrees::open(project, SizeLimits::default()).map_err(|error| error.to_string())?;
    let worktree = worktrees.find(room, base).filter(|_| !changes.is_empty());
    let worktree = worktree.ok_or("This room has no changes to discard.")?;
    if !keeps_copy {
        worktrees.remove(room, BranchFate::Delete).map_err(|error| error.to_string())?;
        return Ok(DiscardedChanges { changes, copy: None });
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let copy = format!("{COPIES}{}-{seconds}", room.slug());
    worktree.discard(&copy).map_err(|error| error.to_string())?;
    Ok(DiscardedChanges { changes, copy: Some(copy) })
}

/// Deletes copies of discarded changes after two weeks. Blocks.
///
/// # Errors
/// A sentence.
pub(crate) fn forget_old_copies(project: &Project, now: SystemTime) -> Result<(), String> {
    let repository = Repository::open(project.root()).map_err(|error| error.to_string())?;
    let copies = repository.references_glob(&format!("refs/heads/{COPIES}*"));
    let is_old = |name: &str| {
        let seconds = name.rsplit('-').next().and_then(|seconds| seconds.parse().ok());
        let made = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        made.is_some_and(|made| now.duration_since(made).is_ok_and(|age| age > COPY_AGE))
    };
    for copy in copies.map_err(|error| error.to_string())?.flatten() {
        let (Some(name), Some(tip)) = (copy.name().ok(), copy.target()) else { continue };
        if is_old(name) {
            let deleted = GitProgram::at(project.root()).run(["update-ref", "-d", name, &tip.to_string()]);
            deleted.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn a_room_without_changes_has_nothing_to_discard_and_others_keep_theirs() {
        let fixture = WorktreeFixture::new();
        let (room, other) = (RoomName::of("fake:a"), RoomName::of("fake:b"));
        let discarded = |room: &RoomName, copy| discard(&fixture.project, "main", room, copy);
        assert_eq!(discarded(&room, true).unwrap_err(), "This room has no changes to discard.");
        for room in [&room, &other] {
            let worktree = fixture.worktrees().prepare(room, "main", "room").expect("a worktree");
            std::fs::write(worktree.path().join("new.txt"), "new").expect("a file");
        }
        let done = discarded(&room, true).expect("discarded");
        assert_eq!(done.changes.files, ["new.txt"]);
        let copy = done.copy.expect("a copy");
        assert_eq!(fixture.git(&["show", &format!("{copy}:new.txt")]), "new");
        assert_eq!(discarded(&room, true).unwrap_err(), "This room has no changes to discard.");
        assert_eq!(changes(&fixture.project, "main", &other).expect("read").files, ["new.txt"]);
    }

    #[test]
    fn without_a_copy_the_worktree_goes_too() {
        let fixture = WorktreeFixture::new();
        let room = RoomName::of("fake:a");
        let worktree = fixture.worktrees().prepare(&room, "main", "room").expect("a worktree");
        std::fs::write(worktree.path().join("new.txt"), "new").expect("a file");
        let done = discard(&fixture.project, "main", &room, false).expect("discarded");
        assert_eq!((done.copy, worktree.path().exists()), (None, false));
        assert!(fixture.worktrees().find(&room, "main").is_none());
    }

    #[test]
    fn copies_are_forgotten_after_two_weeks_and_nothing_else_is() {
        let fixture = WorktreeFixture::new();
        let day = Duration::from_secs(24 * 3600);
        let now = UNIX_EPOCH + 100 * day;
        let seconds = |days: u32| (days * day).as_secs();
        let names = [seconds(85), seconds(87)].map(|made| format!("{COPIES}fake-a-{made}"));
        for name in names.iter().map(String::as_str).chain(["storkit/discarded/mine", "mine-1"]) {
            fixture.git(&["branch", name]);
        }
        forget_old_copies(&fixture.project, now).expect("it works");
        let left = fixture.git(&["branch", "--format=%(refname:short)"]);
        assert!(!left.contains(&names[0]), "{left}");
        assert!(
            [&names[1], "storkit/discarded/mine", "mine-1"].iter().all(|name| left.contains(*name)),
            "{left}"
        );
    }
}
