//! How a room's changes become a story: commit, journal, story, branch, start. Each step can be repeated, so that the next start
//! continues a landing that was cut short, and never makes a second story of it.

use std::{collections::BTreeSet, io};

use git2::Repository;
use serde::{Deserialize, Serialize};

use super::landings::{Landings, RoomLandings};
use crate::{
    Project,
    board::{WorkError, WorkFolder},
    git::program::{GitProgram, GitProgramError},
    run::branch_content,
    story::{
        Story, StoryId, StoryKind,
        stage::{Mover, Stage},
    },
    strangers::StrangerText,
    worktree::{BadWorktreeName, ImportError, RoomName, WorktreeName, Worktrees},
};

/// The body of the story. Its reviewer needs a criterion.
const BODY: &str = "These changes were made in a chat room and landed from there. The branch has them as they were.\n\n\
     ## Acceptance criteria\n\n- [ ] The changes do what the title says, and nothing else.\n";

/// A room that lands its changes.
#[derive(Clone, Debug)]
pub(crate) struct LandRequest {
    pub name: RoomName,
    /// `messenger:id`
    pub room: String,
    /// Title of the story, and message of the commit of uncommitted changes.
    pub title: String,
    /// Text by strangers that the room's agent has read.
    pub read: BTreeSet<StrangerText>,
}

/// A landing whose commits are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingLand {
    pub title: String,
    /// The tip of the room's branch, by which the story is found again.
    pub commit: String,
    /// `3 files, +20 -4` against base.
    pub diff: Option<String>,
    /// Text by strangers that the room's agent had read.
    #[serde(default)]
    pub read: BTreeSet<StrangerText>,
}

/// A story made of a room's changes.
#[derive(Clone, Debug, PartialEq)]
pub struct LandedStory {
    pub story: Story,
    /// `3 files, +20 -4` against base.
    pub diff: Option<String>,
    /// The commit of the room's branch that it begins with.
    pub commit: String,
    /// An earlier story of this room that it builds on, and that is to be merged first.
    pub after: Option<StoryId>,
    /// Text by strangers that the room's agent had read.
    pub read: BTreeSet<StrangerText>,
}

/// Why nothing was landed, as a sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LandError {
    #[error("This room has no changes to land.")]
    Nothing,
    #[error("Story {0} has these changes already. There is nothing new to land.")]
    Already(StoryId),
    #[error(
        "The changes touch `{}`. What is below `.storkit/` belongs to the pipeline and cannot be landed: undo it, or \
         have a person change it in the main checkout.", .0.join("`, `")
    )]
    Pipelines(Vec<String>),
    #[error("Nothing is being landed here.")]
    NotBegun,
    #[error("{0}")]
    Import(#[from] ImportError),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error(transparent)]
    Name(#[from] BadWorktreeName),
    #[error(transparent)]
    Git(#[from] GitProgramError),
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    #[error("the record of what rooms landed cannot be written: {0}")]
    Record(#[from] io::Error),
}

/// The first steps: commits uncommitted changes, checks them, and records the next steps. No process may
/// live in the room's worktree. Blocks.
pub(crate) fn begin(
    worktrees: &Worktrees,
    project: &Project,
    base: &str,
    request: &LandRequest,
) -> Result<PendingLand, LandError> {
    let worktree = worktrees.find(&request.name, base).ok_or(LandError::Nothing)?;
    worktree.settle()?;
    let pipelines = |files: Vec<String>| match files.is_empty() {
        true => Ok(()),
        false => Err(LandError::Pipelines(files)),
    };
    let uncommitted = worktree.uncommitted().map_err(ImportError::from)?;
    pipelines(uncommitted.into_iter().filter(|path| path.starts_with(".storkit/")).collect())?;
    if !worktree.standing()?.has_changes() {
        return Err(LandError::Nothing);
    }
    let record = RoomLandings::read(project, &request.name);
    let tip = worktree.commit_all(&request.title)?;
    let commit = tip.to_string();
    if let Some(landed) = record.landed.iter().find(|landed| landed.commit == commit) {
        return Err(LandError::Already(landed.story));
    }
    let content = branch_content(&Repository::open(project.root())?, base, tip)?;
    pipelines(content.pipelines)?;
    let diff = Some(content.diff.ok_or(LandError::Nothing)?);
    let pending = PendingLand { title: request.title.clone(), commit, diff, read: request.read.clone() };
    let written = pending.clone();
    RoomLandings::change(project, &request.name, |record| {
        record.room.clone_from(&request.room);
        record.pending = Some(written);
    })?;
    Ok(pending)
}

/// The other steps, from the record. Blocks.
pub(crate) fn finish(
    work: &WorkFolder,
    project: &Project,
    room: &RoomName,
) -> Result<LandedStory, LandError> {
    let record = RoomLandings::read(project, room);
    let pending = record.pending.clone().ok_or(LandError::NotBegun)?;
    let after = record.landed.last().filter(|landed| !landed.merged).map(|landed| landed.story);
    let story = make_story(work, &pending, after)?;
    make_branch(project, &story, &pending.commit)?;
    let story = match story.stage {
        Stage::Backlog => work.move_story(story.id(), Stage::Current, Mover::Person)?,
        _ => story,
    };
    let PendingLand { diff, commit, read, .. } = pending;
    let landed = LandedStory { story, diff, commit, after, read };
    RoomLandings::change(project, room, |record| record.note_landed(&landed))?;
    Ok(landed)
}

/// Finishes every landing that an earlier storkit began. Returns the rooms with the story or the error of each. Blocks.
pub(crate) fn recover(work: &WorkFolder, project: &Project) -> Vec<(String, Result<LandedStory, LandError>)> {
    let found = Landings::read(project, |_| false);
    let begun = found.rooms().filter(|(_, record)| record.pending.is_some());
    begun.map(|(name, record)| (record.room.clone(), finish(work, project, name))).collect()
}

/// The story of this commit: the one that is there, or a new one.
fn make_story(work: &WorkFolder, pending: &PendingLand, after: Option<StoryId>) -> Result<Story, LandError> {
    let board = work.scan()?;
    let is_it = |story: &&std::sync::Arc<Story>| story.front.landed.as_ref() == Some(&pending.commit);
    if let Some(story) = board.stories().find(is_it) {
        return Ok(Story::clone(story));
    }
    Ok(work.create_with(StoryKind::Story, &pending.title, Some(BODY), |document| {
        document.set("landed", pending.commit.as_str())?;
        after.map_or(Ok(()), |after| document.set("depends_on", [after].as_slice()))
    })?)
}

/// The story's branch at the landed commit; one that is there stays as it is, since a coder may have gone on with it.
fn make_branch(project: &Project, story: &Story, commit: &str) -> Result<(), LandError> {
    let name = WorktreeName::new(story.id(), &story.file.slug)?;
    if Repository::open(project.root())?.find_reference(&name.reference()).is_ok() {
        return Ok(());
    }
    // All zeros mean that the ref must not exist (git-update-ref(1)).
    let message = "storkit: a room's changes";
    let args = ["update-ref", "-m", message, &name.reference(), commit, &"0".repeat(40)];
    GitProgram::at(project.root()).run(args)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::worktree::{Worktree, fixture::WorktreeFixture};

    struct Fixture {
        git: WorktreeFixture,
        work: WorkFolder,
        name: RoomName,
        worktree: Worktree,
    }

    impl Fixture {
        fn new() -> Self {
            let git = WorktreeFixture::new();
            let work = WorkFolder::open(&git.project).expect("a folder");
            let name = RoomName::of("fake:a");
            let worktree = git.worktrees().prepare(&name, "main", "room").expect("a worktree");
            Self { git, work, name, worktree }
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.worktree.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }

        fn begin(&self, title: &str) -> Result<PendingLand, String> {
            let request = LandRequest {
                name: self.name.clone(),
                room: "fake:a".into(),
                title: title.into(),
                read: BTreeSet::new(),
            };
            let begun = begin(&self.git.worktrees(), &self.git.project, "main", &request);
            begun.map_err(|error| error.to_string())
        }

        fn finish(&self) -> LandedStory {
            finish(&self.work, &self.git.project, &self.name).expect("it is landed")
        }

        fn stories(&self) -> Vec<(u32, String, Stage)> {
            let board = self.work.scan().expect("a board");
            board.stories().map(|story| (story.id().0, story.front.name.clone(), story.stage)).collect()
        }

        /// The result of a landing, whoever finished it.
        fn is_landed(&self, pending: &PendingLand) {
            assert_eq!(self.stories(), [(1, "Fix the typo".into(), Stage::Current)]);
            let branch = self.git.git(&["rev-parse", "feature/story-1_fix_the_typo/work"]);
            assert_eq!(branch, pending.commit);
            assert_eq!(self.git.git(&["show", &format!("{branch}:new.txt")]), "new");
            let record = RoomLandings::read(&self.git.project, &self.name);
            assert_eq!((record.pending, record.landed.len()), (None, 1));
        }
    }

    #[test]
    fn uncommitted_files_and_commits_become_the_branch_of_a_started_story() {
        let fixture = Fixture::new();
        fixture.write("a.txt", "committed\n");
        fixture.worktree.commit_all("By the agent").expect("committed");
        fixture.write("new.txt", "new\n");
        let pending = fixture.begin("Fix the typo").expect("begun");
        assert_eq!(pending.diff.as_deref(), Some("2 files, +2 -1"));
        let landed = fixture.finish();
        fixture.is_landed(&pending);
        assert_eq!((landed.commit, landed.after), (pending.commit, None));
        let subjects = fixture.git.git(&["log", "--format=%s", "main..feature/story-1_fix_the_typo/work"]);
        assert_eq!(subjects, "Fix the typo\nBy the agent");
        assert_eq!(fixture.git.git(&["log", "--format=%s", "main"]), "first", "base does not move");
        assert_eq!(fixture.worktree.uncommitted().expect("a status"), Vec::<String>::new());
    }

    #[test]
    fn a_landing_that_was_cut_short_after_any_step_is_finished_once() {
        for steps in 0..=3 {
            let fixture = Fixture::new();
            fixture.write("new.txt", "new\n");
            let pending = fixture.begin("Fix the typo").expect("begun");
            if steps >= 1 {
                let story = make_story(&fixture.work, &pending, None).expect("a story");
                if steps >= 2 {
                    make_branch(&fixture.git.project, &story, &pending.commit).expect("a branch");
                }
                if steps >= 3 {
                    fixture.work.move_story(story.id(), Stage::Current, Mover::Person).expect("moved");
                }
            }
            let again = WorkFolder::open(&fixture.git.project).expect("the next start");
            let recovered = recover(&again, &fixture.git.project);
            assert!(matches!(recovered.as_slice(), [(room, Ok(_))] if room == "fake:a"), "{recovered:?}");
            fixture.is_landed(&pending);
            assert!(recover(&again, &fixture.git.project).is_empty());
            fixture.is_landed(&pending);
        }
    }

    #[test]
    fn a_crash_before_the_journal_leaves_the_commit_to_be_landed_again() {
        let fixture = Fixture::new();
        fixture.write("new.txt", "new\n");
        let commit = fixture.worktree.commit_all("Fix the typo").expect("committed");
        assert!(recover(&fixture.work, &fixture.git.project).is_empty());
        let pending = fixture.begin("Fix the typo").expect("begun");
        assert_eq!(pending.commit, commit.to_string());
        fixture.finish();
        fixture.is_landed(&pending);
    }

    #[test]
    fn without_changes_nothing_is_landed_and_the_same_changes_are_landed_once() {
        let fixture = Fixture::new();
        insta::assert_snapshot!(fixture.begin("x").unwrap_err(), @"This room has no changes to land.");
        fixture.write("new.txt", "new\n");
        fixture.begin("Fix the typo").expect("begun");
        fixture.finish();
        insta::assert_snapshot!(fixture.begin("x").unwrap_err(), @"Story 1 has these changes already. There is nothing new to land.");
        assert_eq!(fixture.stories().len(), 1);
    }

    #[test]
    fn further_changes_are_a_story_that_waits_for_the_first() {
        let fixture = Fixture::new();
        fixture.write("new.txt", "new\n");
        fixture.begin("Fix the typo").expect("begun");
        fixture.finish();
        fixture.write("more.txt", "more\n");
        fixture.begin("More").expect("begun");
        let second = fixture.finish();
        assert_eq!((second.after, &second.story.front.depends_on[..]), (Some(StoryId(1)), &[StoryId(1)][..]));
        let record = |change: fn(&mut RoomLandings)| {
            RoomLandings::change(&fixture.git.project, &fixture.name, change).expect("written");
        };
        record(|record| record.landed.iter_mut().for_each(|landed| landed.merged = true));
        fixture.write("third.txt", "third\n");
        fixture.begin("Third").expect("begun");
        assert_eq!(fixture.finish().after, None);
    }

    #[test]
    fn the_pipelines_own_files_are_not_landed_whether_committed_or_not() {
        let fixture = Fixture::new();
        fixture.write(".storkit/project.toml", "gates = []\n");
        insta::assert_snapshot!(fixture.begin("x").unwrap_err(), @"The changes touch `.storkit/`. What is below `.storkit/` belongs to the pipeline and cannot be landed: undo it, or have a person change it in the main checkout.");
        fixture.worktree.commit_all("By the agent").expect("committed");
        assert!(fixture.begin("x").unwrap_err().contains("touch `.storkit/project.toml`"));
        assert!(fixture.stories().is_empty());
    }
}
