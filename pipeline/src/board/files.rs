//! The story files as they were last read, by place and by number, and the board that they make.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Board, BoardProblem};
use crate::story::{Story, StoryId, stage::Stage};

/// A stage and a file's name in it.
pub(super) type FilePlace = (Stage, OsString);

/// The result of reading one file.
#[derive(Clone, Debug)]
pub(super) struct FileReading {
    /// The number its name claims, also where the rest is wrong.
    pub id: Option<StoryId>,
    pub found: Result<Arc<Story>, BoardProblem>,
}

/// `T` is what else is known about each file.
#[derive(Debug)]
pub(super) struct StoryFiles<T> {
    stages: HashMap<Stage, HashMap<OsString, (T, FileReading)>>,
    /// The places of each number's files.
    by_number: BTreeMap<StoryId, BTreeSet<FilePlace>>,
    /// Numbers with several files. Which of them is stale only a person can know, so nobody works on any.
    shared: BTreeSet<StoryId>,
    /// Files that no story can be read from.
    faulty: BTreeSet<FilePlace>,
    /// The stories that the files make; without the problems.
    board: Board,
}

impl<T> Default for StoryFiles<T> {
    fn default() -> Self {
        Self {
            stages: HashMap::new(),
            by_number: BTreeMap::new(),
            shared: BTreeSet::new(),
            faulty: BTreeSet::new(),
            board: Board::default(),
        }
    }
}

impl<T> StoryFiles<T> {
    pub(super) fn get_mut(&mut self, stage: Stage, name: &OsStr) -> Option<&mut T> {
        self.stages.get_mut(&stage)?.get_mut(name).map(|(known, _)| known)
    }

    pub(super) fn insert(&mut self, stage: Stage, name: OsString, known: T, reading: FileReading) {
        self.remove(stage, &name);
        let (id, is_faulty) = (reading.id, reading.found.is_err());
        self.stages.entry(stage).or_default().insert(name.clone(), (known, reading));
        if is_faulty {
            self.faulty.insert((stage, name.clone()));
        }
        if let Some(id) = id {
            self.by_number.entry(id).or_default().insert((stage, name));
            self.renew(id);
        }
    }

    pub(super) fn remove(&mut self, stage: Stage, name: &OsStr) {
        let files = self.stages.get_mut(&stage);
        let Some((name, (_, reading))) = files.and_then(|files| files.remove_entry(name)) else { return };
        let place = (stage, name);
        self.faulty.remove(&place);
        if let Some(id) = reading.id {
            if let Some(places) = self.by_number.get_mut(&id) {
                places.remove(&place);
            }
            self.renew(id);
        }
    }

    /// Forgets the stage's other files.
    pub(super) fn retain(&mut self, stage: Stage, stays: impl Fn(&T) -> bool) {
        let files = self.stages.get(&stage).into_iter().flatten();
        let gone: Vec<OsString> =
            files.filter(|(_, (known, _))| !stays(known)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.remove(stage, &name);
        }
    }

    /// Every file with a story's number, readable or not, in the order of stages.
    pub(super) fn places(&self, id: StoryId) -> Vec<FilePlace> {
        self.by_number.get(&id).into_iter().flatten().cloned().collect()
    }

    /// The highest number in any file's name.
    pub(super) fn highest(&self) -> u32 {
        self.by_number.last_key_value().map_or(0, |(id, _)| id.0)
    }

    /// The board, with the problems of the files and these.
    pub(super) fn board(&self, mut problems: Vec<BoardProblem>) -> Board {
        let faulty = self.faulty.iter().filter_map(|place| self.reading(place)?.found.as_ref().err());
        problems.extend(faulty.cloned());
        for id in &self.shared {
            let mut paths: Vec<PathBuf> =
                self.places(*id).iter().map(|(stage, name)| relative(*stage, name)).collect();
            paths.sort();
            problems.push(BoardProblem::SameId { id: *id, paths });
        }
        problems.sort_by(|one, other| one.path().cmp(other.path()));
        Board { problems, ..self.board.clone() }
    }

    fn reading(&self, (stage, name): &FilePlace) -> Option<&FileReading> {
        self.stages.get(stage)?.get(name).map(|(_, reading)| reading)
    }

    /// After a change to the number's files.
    fn renew(&mut self, id: StoryId) {
        let places = self.by_number.get(&id);
        let count = places.map_or(0, BTreeSet::len);
        let only = places.and_then(BTreeSet::first).filter(|_| count == 1);
        let story = only.and_then(|place| self.reading(place)?.found.as_ref().ok()).cloned();
        self.board.set(id, story);
        match count > 1 {
            true => self.shared.insert(id),
            false => self.shared.remove(&id),
        };
        if count == 0 {
            self.by_number.remove(&id);
        }
    }
}

/// The path of a file relative to the work folder.
pub(super) fn relative(stage: Stage, name: impl AsRef<OsStr>) -> PathBuf {
    Path::new(stage.dir()).join(name.as_ref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{board::BoardDifference, story::StoryDocument};

    /// What a file's name stands for: a story, or a file that claims the number and cannot be read.
    fn reading(id: u32, stage: Stage, name: &str, is_readable: bool) -> FileReading {
        let path = relative(stage, name);
        let story = || {
            let document = StoryDocument::parse(format!("# {name}\n")).unwrap();
            Story::new(name.parse().unwrap(), stage, std::time::SystemTime::UNIX_EPOCH, document)
        };
        let found = match is_readable {
            true => Ok(Arc::new(story())),
            false => Err(BoardProblem::Unreadable { path, why: "it is no plain file".into() }),
        };
        FileReading { id: Some(StoryId(id)), found }
    }

    fn insert(files: &mut StoryFiles<u32>, (stage, id, slug, is_readable): (Stage, u32, &str, bool)) {
        let name = format!("{id}_story_{slug}.md");
        let reading = reading(id, stage, &name, is_readable);
        files.insert(stage, name.into(), 0, reading);
    }

    fn ids(files: &StoryFiles<u32>) -> Vec<u32> {
        files.board(Vec::new()).stories().map(|story| story.id().0).collect()
    }

    #[test]
    fn two_files_with_one_number_are_a_problem_until_one_of_them_goes() {
        let mut files = StoryFiles::default();
        insert(&mut files, (Stage::Current, 7, "x", true));
        insert(&mut files, (Stage::Backlog, 7, "y", true));
        assert_eq!((ids(&files), files.board(Vec::new()).problems.len()), (vec![], 1));
        files.remove(Stage::Backlog, OsStr::new("7_story_y.md"));
        assert_eq!((ids(&files), files.board(Vec::new()).problems.len()), (vec![7], 0));
        assert_eq!(files.board(Vec::new()).in_stage(Stage::Current).count(), 1);
    }

    #[test]
    fn the_highest_number_is_that_of_any_file_that_is_there() {
        let mut files = StoryFiles::default();
        assert_eq!(files.highest(), 0);
        insert(&mut files, (Stage::Current, 7, "x", true));
        insert(&mut files, (Stage::Archived, 9, "x", false));
        assert_eq!(files.highest(), 9);
        files.retain(Stage::Archived, |_| false);
        assert_eq!((files.highest(), files.places(StoryId(9))), (7, vec![]));
    }

    #[test]
    fn boards_differ_in_the_stories_that_changed_alone() {
        let mut files = StoryFiles::default();
        (1..=500).for_each(|id| insert(&mut files, (Stage::Backlog, id, "x", true)));
        let before = files.board(Vec::new());
        files.remove(Stage::Backlog, OsStr::new("3_story_x.md"));
        insert(&mut files, (Stage::Current, 3, "x", true));
        insert(&mut files, (Stage::Current, 501, "x", true));
        files.remove(Stage::Backlog, OsStr::new("500_story_x.md"));
        let after = files.board(Vec::new());
        let differences: Vec<String> = after
            .differences(&before)
            .map(|difference| match difference {
                BoardDifference::Gone(story) => format!("-{}", story.id()),
                BoardDifference::Come(story) => format!("+{}", story.id()),
                BoardDifference::Changed(old, new) => format!("{} {} {}", old.id(), old.stage, new.stage),
            })
            .collect();
        assert_eq!(differences, ["3 backlog current", "-500", "+501"]);
    }

    prop_compose! {
        fn any_file()(stage in prop::sample::select(&Stage::ALL[..]), id in 1..6_u32, slug in prop::sample::select(&["x", "y"][..]),
                      is_readable in prop::bool::weighted(0.8)) -> (Stage, u32, &'static str, bool) {
            (stage, id, slug, is_readable)
        }
    }

    proptest! {
        #[test]
        fn a_board_that_changed_step_by_step_is_that_of_the_files_that_are_left(
            steps in prop::collection::vec((any_file(), any::<bool>()), 0..40),
        ) {
            let (mut files, mut left) = (StoryFiles::default(), BTreeMap::new());
            for ((stage, id, slug, is_readable), comes) in steps {
                let name = format!("{id}_story_{slug}.md");
                match comes {
                    true => {
                        insert(&mut files, (stage, id, slug, is_readable));
                        left.insert((stage, name), (stage, id, slug, is_readable));
                    }
                    false => {
                        files.remove(stage, OsStr::new(&name));
                        left.remove(&(stage, name));
                    }
                }
            }
            let mut fresh = StoryFiles::default();
            left.into_values().for_each(|file| insert(&mut fresh, file));
            let (board, expected) = (files.board(Vec::new()), fresh.board(Vec::new()));
            prop_assert_eq!(&board, &expected);
            prop_assert_eq!(board.differences(&expected).count(), 0);
            let stages = Stage::ALL.into_iter().flat_map(|stage| board.in_stage(stage));
            prop_assert_eq!(stages.count(), board.stories().count());
            prop_assert_eq!(files.highest(), fresh.highest());
        }
    }
}
