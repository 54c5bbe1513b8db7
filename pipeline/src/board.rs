//! The board: all stories, their stages, and the problems of files that cannot be acted on.

mod attached;
mod branch;
mod checkout;
mod dependencies;
mod files;
mod index;
mod lost;
mod memory;
mod number;
mod place;
mod source;
mod sync;
pub(crate) mod watcher;
mod work;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::{
    attached::{
        AttachFault, AttachedFile, FileToAttach, MAX_ATTACHED, MAX_ATTACHED_FILES, MAX_ATTACHED_TOTAL,
    },
    branch::{BOARD_BRANCH, BoardBranchError},
    source::BoardSource,
    work::{RemovedStory, WorkError, WorkFolder},
};
pub(crate) use self::{
    attached::{attached_on_disk, attached_paths, story_of_attached},
    branch::{
        BOARD_REF, BoardChanges, MAX_STORY, StoryBlobs, WORK, apply, board_at, board_tip, change_line,
        commit_tree, is_story_name, stories_at, stories_in, write_commit, write_whole,
    },
    dependencies::dependency_fault,
    memory::{MAX_MEMORY, PROJECT_STEM, is_memory, memory_folder, memory_on_disk},
    place::put as put_file,
    source::open as open_board,
    sync::{BoardSync, note_board, note_settled, remove_from_index, sync, sync_locked},
};
use imbl::{OrdMap, ordmap::DiffItem};

use crate::{
    Project,
    story::{BadFileName, FrontError, Story, StoryId, stage::Stage},
};

/// What a new project needs of the board, also in a clone: the folders of the stages, which git ignores, and the board itself, where
/// a remote has it. Repeating it is harmless. Fails with [`BoardBranchError::Unmigrated`] where `base` has the stories of an
/// earlier version; the folders are made then, too. `base` is `None` before the first commit.
pub fn set_up_board(project: &Project, base: Option<&str>) -> Result<BoardSource, BoardSetUpError> {
    WorkFolder::open(project)?;
    let Some(base) = base else { return Ok(BoardSource::None) };
    let source = open_board(project, base)?;
    sync(project, base)?;
    Ok(source)
}

/// Why the board of a new project could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BoardSetUpError {
    #[error(transparent)]
    Folder(#[from] WorkError),
    #[error(transparent)]
    Branch(#[from] BoardBranchError),
}

/// All stories as they were last read. A copy shares what has not changed since, so that a change costs the same
/// on a board of any size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// Those that can be acted on.
    stories: OrdMap<StoryId, Arc<Story>>,
    /// Again, for [`Board::in_stage`].
    by_stage: OrdMap<(Stage, StoryId), Arc<Story>>,
    /// Problems that people have to fix.
    pub problems: Vec<BoardProblem>,
}

/// A story that is another on one board than on the other, or only on one of them.
pub(crate) enum BoardDifference<'a> {
    Gone(&'a Arc<Story>),
    Come(&'a Arc<Story>),
    Changed(&'a Arc<Story>, &'a Arc<Story>),
}

/// Something in `.storkit/work/` that no agent is given. Paths are relative to that folder. Displayed as a
/// sentence for people, with the way to fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardProblem {
    /// The front matter is broken; the file is left alone.
    FrontMatter { path: PathBuf, error: FrontError },
    /// Its name is no story's.
    Name { path: PathBuf, why: BadFileName },
    /// It cannot be read, is no plain file, or is too large.
    Unreadable { path: PathBuf, why: String },
    /// It lies where only the stage folders belong.
    UnknownStage {
        /// The file or folder.
        path: PathBuf,
    },
    /// Several files have this number: copies in two stages, or two stories in one.
    SameId {
        id: StoryId,
        /// The files, in the order of stages.
        paths: Vec<PathBuf>,
    },
}

impl Board {
    /// Of stories with one number the last counts.
    pub fn new(stories: impl IntoIterator<Item = Arc<Story>>, problems: Vec<BoardProblem>) -> Self {
        let mut board = Self { problems, ..Self::default() };
        for story in stories {
            board.set(story.id(), Some(story));
        }
        board
    }

    /// Those that can be acted on, by number.
    pub fn stories(&self) -> impl Iterator<Item = &Arc<Story>> {
        self.stories.values()
    }

    /// Whether nothing can be acted on.
    pub fn is_empty(&self) -> bool {
        self.stories.is_empty()
    }

    /// The story of this number, if it can be acted on.
    pub fn story(&self, id: StoryId) -> Option<&Arc<Story>> {
        self.stories.get(&id)
    }

    /// The stories of one stage, by number.
    pub fn in_stage(&self, stage: Stage) -> impl Iterator<Item = &Arc<Story>> {
        let all = (stage, StoryId(0))..=(stage, StoryId(u32::MAX));
        self.by_stage.range(all).map(|(_, story)| story)
    }

    /// The problem of the story of this number.
    pub fn problem(&self, id: StoryId) -> Option<&BoardProblem> {
        self.problems.iter().find(|problem| problem.id() == Some(id))
    }

    /// By number. What both boards share is not looked at.
    pub(crate) fn differences<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = BoardDifference<'a>> {
        before.stories.diff(&self.stories).map(|item| match item {
            DiffItem::Remove(_, story) => BoardDifference::Gone(story),
            DiffItem::Add(_, story) => BoardDifference::Come(story),
            DiffItem::Update { old: (_, old), new: (_, new) } => BoardDifference::Changed(old, new),
        })
    }

    /// Makes this the story of the number, or no story.
    fn set(&mut self, id: StoryId, story: Option<Arc<Story>>) {
        if let Some(before) = self.stories.remove(&id) {
            self.by_stage.remove(&(before.stage, id));
        }
        if let Some(story) = story {
            self.by_stage.insert((story.stage, id), Arc::clone(&story));
            self.stories.insert(id, story);
        }
    }
}

impl BoardProblem {
    /// The story it is about, if its number is known.
    pub fn id(&self) -> Option<StoryId> {
        match self {
            Self::SameId { id, .. } => Some(*id),
            Self::FrontMatter { path, .. } | Self::Unreadable { path, .. } | Self::Name { path, .. } => {
                path.file_name()?.to_str()?.split('_').next()?.parse().ok()
            }
            Self::UnknownStage { .. } => None,
        }
    }

    /// The file, or the first of several.
    pub fn path(&self) -> &Path {
        match self {
            Self::FrontMatter { path, .. }
            | Self::Name { path, .. }
            | Self::Unreadable { path, .. }
            | Self::UnknownStage { path } => path,
            Self::SameId { paths, .. } => paths.first().map_or(Path::new(""), PathBuf::as_path),
        }
    }
}

impl fmt::Display for BoardProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrontMatter { path, error } => {
                write!(f, "{} cannot be read: {error}. Nobody works on it until this is fixed.", shown(path))
            }
            Self::Name { path, why } => write!(f, "{} is not named like a story: {why}.", shown(path)),
            Self::Unreadable { path, why } => write!(f, "{} cannot be read: {why}.", shown(path)),
            Self::UnknownStage { path } if path == Path::new("1_upcoming") => {
                f.write_str("`1_upcoming` is now called `1_backlog`. Run `storkit migrate`.")
            }
            Self::UnknownStage { path } => write!(
                f,
                "{} belongs to no stage; the stages are the folders `{}`. Move it into one of them.",
                shown(path),
                Stage::ALL.map(Stage::dir).join("`, `")
            ),
            Self::SameId { id, paths } => {
                let paths: Vec<String> = paths.iter().map(|path| shown(path)).collect();
                let paths = paths.join(" and ");
                write!(f, "story {id} exists more than once: {paths}. Delete or renumber all but one.")
            }
        }
    }
}

/// A path in backticks, without what could change a terminal or a message.
fn shown(path: &Path) -> String {
    const LONGEST: usize = 160;
    let clean = |c: char| if c.is_control() || c == '`' { '?' } else { c };
    let text: String = path.to_string_lossy().chars().map(clean).collect();
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}
