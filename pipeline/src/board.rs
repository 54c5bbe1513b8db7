//! The board: all stories, their stages, and the problems of files that cannot be acted on.

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
    /// Problems that people have to fix.
    pub problems: Vec<BoardProblem>,
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
    /// The story of this number, if it can be acted on.
    pub fn story(&self, id: StoryId) -> Option<&Arc<Story>> {
        self.stories.binary_search_by_key(&id, |story| story.id()).ok().map(|at| &self.stories[at])
    }

    /// The stories of one stage, by number.
    pub fn in_stage(&self, stage: Stage) -> impl Iterator<Item = &Arc<Story>> {
        self.stories.iter().filter(move |story| story.stage == stage)
    }

    /// The problem of the story of this number.
    pub fn problem(&self, id: StoryId) -> Option<&BoardProblem> {
        self.problems.iter().find(|problem| problem.id() == Some(id))
    }

    /// Sorts the files; stories that share a number become a problem.
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
        // Which of two files with one number is stale only a person can know, so nobody works on either.
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

/// The result of reading one file.
#[derive(Clone, Debug)]
struct FileReading {
    /// The number its name claims, also where the rest is wrong.
    id: Option<StoryId>,
    found: Result<Arc<Story>, BoardProblem>,
}
