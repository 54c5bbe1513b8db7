//! The board: which stories there are, where they are, and what is wrong with those that cannot be acted on.

mod index;
mod number;
mod place;
pub(crate) mod watcher;
mod work;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use work::{RemovedStory, WorkError, WorkFolder};

use crate::story::{BadFileName, FrontError, Story, StoryId, stage::Stage};

/// All stories as they were last read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// Those that can be acted on, by number. No number is in here twice.
    pub stories: Vec<Arc<Story>>,
    /// What was found besides, for people to mend.
    pub problems: Vec<BoardProblem>,
}

/// Something in `.storkit/work/` that no agent is given. Paths are relative to that folder. Told as a sentence that
/// says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardProblem {
    /// The front matter is broken; the file is left alone.
    FrontMatter {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: FrontError,
    },
    /// Its name is no story's.
    Name {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: BadFileName,
    },
    /// It cannot be read, is no plain file, or is too large.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// It lies where only the stage folders belong.
    UnknownStage {
        /// The file or folder.
        path: PathBuf,
    },
    /// Several files have this number: copies in two stages, or two stories in one.
    SameId {
        /// The number.
        id: StoryId,
        /// The files, in the order of stages.
        paths: Vec<PathBuf>,
    },
}

impl Board {
    /// The story of this number, if it can be acted on.
    pub fn story(&self, id: StoryId) -> Option<&Arc<Story>> {
        self.stories.binary_search_by_key(&id, |story| story.id()).ok().map(|at| &self.stories[at])
    }

    /// The stories of one stage, by number.
    pub fn in_stage(&self, stage: Stage) -> impl Iterator<Item = &Arc<Story>> {
        self.stories.iter().filter(move |story| story.stage == stage)
    }

    /// What is wrong with the story of this number.
    pub fn problem(&self, id: StoryId) -> Option<&BoardProblem> {
        self.problems.iter().find(|problem| problem.id() == Some(id))
    }

    /// Sorts what was read; stories whose number is not theirs alone become a problem.
    fn assemble<'a>(
        files: impl Iterator<Item = (Stage, &'a OsStr, &'a FileReading)> + Clone,
        mut problems: Vec<BoardProblem>,
    ) -> Self {
        let mut stories = Vec::new();
        let mut holders: HashMap<StoryId, usize> = HashMap::new();
        for (_, _, reading) in files.clone() {
            if let Some(id) = reading.id {
                *holders.entry(id).or_default() += 1;
            }
            match &reading.found {
                Ok(story) => stories.push(Arc::clone(story)),
                Err(problem) => problems.push(problem.clone()),
            }
        }
        holders.retain(|_, files| *files > 1);
        stories.retain(|story| !holders.contains_key(&story.id()));
        stories.sort_unstable_by_key(|story| story.id());
        for id in holders.into_keys() {
            let same = files.clone().filter(|(_, _, reading)| reading.id == Some(id));
            let mut paths: Vec<PathBuf> =
                same.map(|(stage, name, _)| Path::new(stage.dir()).join(name)).collect();
            paths.sort();
            problems.push(BoardProblem::SameId { id, paths });
        }
        problems.sort_by(|one, other| one.path().cmp(other.path()));
        Self { stories, problems }
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
                write!(f, "{} cannot be read: {error}. It is left alone until that is mended.", shown(path))
            }
            Self::Name { path, why } => write!(f, "{} is not named like a story: {why}.", shown(path)),
            Self::Unreadable { path, why } => write!(f, "{} cannot be read: {why}.", shown(path)),
            Self::UnknownStage { path } if path == Path::new("1_upcoming") => {
                f.write_str("`1_upcoming` is `1_backlog` today. Run `storkit migrate`.")
            }
            Self::UnknownStage { path } => write!(
                f,
                "{} is in no stage; the stages are the folders `{}`. Move it into one of them.",
                shown(path),
                Stage::ALL.map(Stage::dir).join("`, `")
            ),
            Self::SameId { id, paths } => {
                let paths: Vec<String> = paths.iter().map(|path| shown(path)).collect();
                let paths = paths.join(" and ");
                write!(f, "story {id} is there more than once: {paths}. Delete or renumber all but one.")
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

/// What a file turned out to be.
#[derive(Clone, Debug)]
struct FileReading {
    /// The number its name claims, also where the rest is wrong.
    id: Option<StoryId>,
    found: Result<Arc<Story>, BoardProblem>,
}
