//! The stories' folders, and every change to them: create, move, edit, delete.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    AttachFault, AttachedFile, BOARD_BRANCH, Board, BoardProblem, FileToAttach,
    attached::{Attachments, attached_files, folder_of, remove_attached, remove_one},
    files::relative,
    index::{self, BoardIndex},
    number,
    place::{self, ReplaceResult, SeenFile},
};
use crate::{
    Project,
    evidence::EvidenceSource,
    story::{
        self, EditError, FileName, Story, StoryDocument, StoryId, StoryKind, slug,
        stage::{Mover, Stage},
        templates,
    },
};

/// How the ignore file of the stories' folder begins; one that begins otherwise is a person's.
const IGNORED_BY: &str = "# Written by storkit: ";

const IGNORED: &str =
    "# Written by storkit: the board is kept on the branch `storkit/board`, and no other branch has it.\n*\n";

/// `.storkit/work/` of one project. Everything here blocks on the disk, for a millisecond or two; a first scan of
/// 10,000 stories for some hundred.
#[derive(Debug)]
pub struct WorkFolder {
    root: PathBuf,
    dir: PathBuf,
    temporary: PathBuf,
    run: PathBuf,
    index: Mutex<BoardIndex>,
}

/// Why a story stays as it is. Each is a sentence for the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// There is no such story.
    #[error("there is no story {0}.")]
    Unknown(StoryId),
    /// It is there, but nothing may be done with it.
    #[error("{0}")]
    Problem(BoardProblem),
    /// The stages do not follow each other like that.
    #[error("story {id} cannot go from {from} to {to}{}.", why_not(.from, .to))]
    IllegalMove {
        id: StoryId,
        from: Stage,
        /// Where it was to go.
        to: Stage,
    },
    /// Nothing is left of the title.
    #[error("a story needs a title.")]
    NoTitle,
    /// The edit was refused; the file is as it was.
    #[error("story {id} was not changed: {source}.")]
    Edit { id: StoryId, source: EditError },
    /// It has other files, or none.
    #[error("story {id} has no file `{name}`{}.", files_there(.has))]
    NoFile {
        id: StoryId,
        name: String,
        /// The files that it has.
        has: Vec<String>,
    },
    /// Somebody else changes it all the time.
    #[error("story {0} is being changed by somebody else. Try again.")]
    Busy(StoryId),
    /// A part of `.storkit/work/` leads elsewhere.
    #[error("`{0}` is a symbolic link. storkit writes only inside the project: put a folder there instead.")]
    Linked(PathBuf),
    /// The board would get into the project's own branches.
    #[error(
        "git does not ignore `{0}`, so stories would get into your branches; they are kept on `{BOARD_BRANCH}`. Put the line `*` into \
         `{1}`.",
        .folder.display(), .file.display()
    )]
    NotIgnored {
        folder: PathBuf,
        /// The ignore file that should say so.
        file: PathBuf,
    },
    #[error("`{path}`: {source}.")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        source: io::Error,
    },
}

/// What [`WorkFolder::delete`] took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedStory {
    pub name: String,
    /// The stage it was in.
    pub stage: Stage,
    /// Where it was, absolute.
    pub path: PathBuf,
    /// How many files of its own went with it.
    pub files: usize,
}

fn files_there(has: &[String]) -> String {
    match has {
        [] => String::new(),
        has => format!("; it has `{}`", has.join("`, `")),
    }
}

fn why_not(from: &Stage, to: &Stage) -> String {
    if from == to {
        return ": it is there already".into();
    }
    if *to == Stage::Done {
        return ": done means merged, so only a merge brings it there".into();
    }
    let next: Vec<String> = Stage::ALL
        .into_iter()
        .filter(|to| from.may_move(*to, Mover::Person))
        .map(|to| to.to_string())
        .collect();
    format!("; from {from} it may go to {}", next.join(" or "))
}

impl WorkFolder {
    /// Makes missing folders and makes sure that git ignores them. Removes unfinished writes
    /// that a crash left behind.
    pub fn open(project: &Project) -> Result<Self, WorkError> {
        let dir = project.dir().join("work");
        let work = Self {
            root: project.root().to_owned(),
            temporary: project.dir(),
            run: project.run_dir(),
            index: Mutex::default(),
            dir,
        };
        folder(&work.dir)?;
        for stage in Stage::ALL {
            folder(&work.dir.join(stage.dir()))?;
        }
        work.ignore_stages()?;
        remove_leftovers(&work.temporary).map_err(disk(&work.temporary))?;
        Ok(work)
    }

    /// The absolute path of `.storkit/work/`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks at every file, reads those that changed since they were last read, and returns the board.
    pub fn scan(&self) -> Result<Arc<Board>, WorkError> {
        let mut index = self.index.lock();
        index.scan(&self.dir).map_err(disk(&self.dir))?;
        Ok(index.board())
    }

    /// The board as last scanned and as changed through this value since; scans only if that never happened.
    pub fn board(&self) -> Result<Arc<Board>, WorkError> {
        Ok(self.scanned()?.board())
    }

    /// Looks at some files again, as a watcher reports them (absolute paths), and returns the board.
    pub fn refresh(&self, changed: &[PathBuf]) -> Result<Arc<Board>, WorkError> {
        let mut index = self.scanned()?;
        for path in changed {
            match index::inside(&self.dir, path) {
                Some((stage, name)) => index.refresh(&self.dir, stage, &name).map_err(disk(path))?,
                None => index.scan(&self.dir).map_err(disk(&self.dir))?,
            }
        }
        Ok(index.board())
    }

    /// Writes a new story to the backlog: from its kind's template, or with the given body. The number was never used
    /// before. The title becomes one line.
    pub fn create(&self, kind: StoryKind, title: &str, body: Option<&str>) -> Result<Story, WorkError> {
        self.create_with(kind, title, body, |_| Ok(()))
    }

    /// As [`WorkFolder::create`], with further front matter.
    pub(crate) fn create_with(
        &self,
        kind: StoryKind,
        title: &str,
        body: Option<&str>,
        front: impl FnOnce(&mut StoryDocument) -> Result<(), EditError>,
    ) -> Result<Story, WorkError> {
        let title = story::title(title).ok_or(WorkError::NoTitle)?;
        let mut index = self.index.lock();
        // Scanned first: a file that a person added may have a higher number than storkit ever gave.
        index.scan(&self.dir).map_err(disk(&self.dir))?;
        let text = templates::story(kind, &title, body);
        let refused = |source| WorkError::Edit { id: StoryId(0), source };
        let mut document = StoryDocument::parse(text).map_err(|error| refused(error.into()))?;
        front(&mut document).map_err(refused)?;
        loop {
            let id = number::next(&self.root, &self.run, index.highest()).map_err(disk(&self.run))?;
            let name = FileName { id, kind, slug: slug(&title) };
            let name = OsString::from(name.to_string());
            let path = self.place(Stage::Backlog, &name)?;
            match place::create(&self.temporary, &path, document.text().as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => {
                    result.map_err(disk(&path))?;
                    return self.reread(&mut index, id, Stage::Backlog, &name);
                }
            }
        }
    }

    /// Moves a story's file to another stage's folder. Only legal moves, never over another file, never through a
    /// link; a story that cannot be read or is there twice stays where it is.
    pub fn move_story(&self, id: StoryId, to: Stage, mover: Mover) -> Result<Story, WorkError> {
        let mut index = self.scanned()?;
        let (from, name) = self.only_place(&mut index, id)?;
        self.readable(&mut index, id)?;
        if !from.may_move(to, mover) {
            return Err(WorkError::IllegalMove { id, from, to });
        }
        let target = self.place(to, &name)?;
        let source = self.place(from, &name)?;
        plain_file(&source)?;
        place::relocate(&source, &target).map_err(disk(&target))?;
        index.refresh(&self.dir, from, &name).map_err(disk(&source))?;
        self.reread(&mut index, id, to, &name)
    }

    /// Changes a story's text and returns the result of `change`, which may run again on newer text where a
    /// person saved the file meanwhile. Text that it leaves as it was is not written.
    pub fn edit<T>(
        &self,
        id: StoryId,
        change: impl Fn(&mut StoryDocument) -> Result<T, EditError>,
    ) -> Result<T, WorkError> {
        const ATTEMPTS: usize = 5;
        let mut index = self.scanned()?;
        for _ in 0..ATTEMPTS {
            let (stage, name) = self.only_place(&mut index, id)?;
            let path = self.place(stage, &name)?;
            let seen = plain_file(&path)?;
            let text = self.read(stage, &name)?;
            let refused = |source| WorkError::Edit { id, source };
            let mut document = StoryDocument::parse(text.as_str()).map_err(|error| refused(error.into()))?;
            let outcome = change(&mut document).map_err(refused)?;
            // An unchanged file is not written: its change time is the story's `since`, by which
            // done stories are archived.
            if document.text() == text {
                return Ok(outcome);
            }
            let written =
                place::replace(&self.temporary, &path, &seen, document.text()).map_err(disk(&path))?;
            index.refresh(&self.dir, stage, &name).map_err(disk(&path))?;
            match written {
                ReplaceResult::Done => return Ok(outcome),
                ReplaceResult::Lost => index.scan(&self.dir).map_err(disk(&self.dir))?,
            }
        }
        Err(WorkError::Busy(id))
    }

    /// Puts files beside a story and names them in its text. What does not fit is left out, with the reason.
    pub fn attach(&self, id: StoryId, files: Vec<FileToAttach>) -> Result<Vec<AttachedFile>, WorkError> {
        self.text(id)?;
        let own = folder_of(&self.dir, id);
        folder(own.parent().unwrap_or(&self.dir))?;
        folder(&own)?;
        let mut attachments = Attachments::of(&self.dir, id).map_err(disk(&own))?;
        let mut attached = Vec::new();
        for file in files {
            let stored = attachments.admit(&file).and_then(|name| {
                let written = place::create(&self.temporary, &own.join(&name), &file.content);
                written.map(|()| name).map_err(|error| AttachFault::Disk(error.to_string()))
            });
            attached.push(AttachedFile { given: file.name, stored });
        }
        self.edit(id, |document| self.name_files(id, document))?;
        Ok(attached)
    }

    /// The same for what a run or a merge left: it takes the place of what the same one left before.
    pub(crate) fn keep_evidence(
        &self,
        id: StoryId,
        from: EvidenceSource,
        files: Vec<FileToAttach>,
    ) -> Result<Vec<AttachedFile>, WorkError> {
        let own = folder_of(&self.dir, id);
        let before = attached_files(&self.dir, id).map_err(disk(&own))?;
        for (name, _) in before.iter().filter(|(name, _)| name.starts_with(from.prefix())) {
            self.detach(id, name)?;
        }
        let named =
            |file: FileToAttach| FileToAttach { name: format!("{}{}", from.prefix(), file.name), ..file };
        self.attach(id, files.into_iter().map(named).collect())
    }

    /// Removes one of a story's files, and its entry in the text.
    pub fn detach(&self, id: StoryId, name: &str) -> Result<(), WorkError> {
        self.text(id)?;
        let own = folder_of(&self.dir, id);
        let files = attached_files(&self.dir, id).map_err(disk(&own))?;
        if files.iter().all(|(file, _)| file != name) {
            let has = files.into_iter().map(|(file, _)| file).collect();
            return Err(WorkError::NoFile { id, name: name.to_owned(), has });
        }
        // Before the file: a kill in between leaves one that the next change of the text names again.
        self.edit(id, |document| match templates::without_file(document.body(), id, name) {
            Some(body) => document.set_body(&body),
            None => Ok(()),
        })?;
        remove_one(&self.dir, id, name).map(drop).map_err(disk(&own))
    }

    /// Names the story's files in its text, as far as it does not do so itself.
    pub(crate) fn name_files(&self, id: StoryId, document: &mut StoryDocument) -> Result<(), EditError> {
        // A folder that cannot be read has nothing to name; who attaches a file hears of it.
        let files = attached_files(&self.dir, id).unwrap_or_default();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        match templates::with_files(document.body(), id, &names) {
            Some(body) => document.set_body(&body),
            None => Ok(()),
        }
    }

    /// Deletes a story's file and the files that belong to it, also one that cannot be read. Its number is not given again.
    pub fn delete(&self, id: StoryId) -> Result<RemovedStory, WorkError> {
        let mut index = self.scanned()?;
        let (stage, name) = self.only_place(&mut index, id)?;
        let path = self.place(stage, &name)?;
        // Before the file goes: it may be the only trace of the highest number.
        number::keep(&self.root, &self.run, index.highest()).map_err(disk(&self.run))?;
        fs::remove_file(&path).and_then(|()| place::settle(&path)).map_err(disk(&path))?;
        index.refresh(&self.dir, stage, &name).map_err(disk(&path))?;
        // Behind the story: a kill in between leaves files that no story names, and no story that names files which are gone.
        let files = remove_attached(&self.dir, id).map_err(disk(&folder_of(&self.dir, id)))?;
        Ok(RemovedStory { name: name.to_string_lossy().into_owned(), stage, path, files })
    }

    /// A story's whole text, also of one whose front matter is broken.
    pub fn text(&self, id: StoryId) -> Result<String, WorkError> {
        let (stage, name) = self.only_place(&mut *self.scanned()?, id)?;
        self.read(stage, &name)
    }

    /// Where a story's file is, absolute.
    pub fn path(&self, id: StoryId) -> Result<PathBuf, WorkError> {
        let (stage, name) = self.only_place(&mut *self.scanned()?, id)?;
        Ok(self.dir.join(relative(stage, name)))
    }

    fn scanned(&self) -> Result<MutexGuard<'_, BoardIndex>, WorkError> {
        let mut index = self.index.lock();
        if !index.is_scanned() {
            index.scan(&self.dir).map_err(disk(&self.dir))?;
        }
        Ok(index)
    }

    // Where the story is. The index may be stale, so the file is checked, and everything is scanned
    // if it has moved.
    fn only_place(&self, index: &mut BoardIndex, id: StoryId) -> Result<(Stage, OsString), WorkError> {
        let known = index.places(id);
        let stale = |(stage, name): &(Stage, OsString)| !self.dir.join(relative(*stage, name)).exists();
        if known.is_empty() || known.iter().any(stale) {
            index.scan(&self.dir).map_err(disk(&self.dir))?;
        }
        match index.places(id).as_slice() {
            [] => Err(WorkError::Unknown(id)),
            [place] => Ok(place.clone()),
            [..] => {
                Err(index.board().problem(id).cloned().map_or(WorkError::Unknown(id), WorkError::Problem))
            }
        }
    }

    fn readable(&self, index: &mut BoardIndex, id: StoryId) -> Result<Story, WorkError> {
        let board = index.board();
        match (board.story(id), board.problem(id)) {
            (Some(story), _) => Ok(Story::clone(story)),
            (None, Some(problem)) => Err(WorkError::Problem(problem.clone())),
            (None, None) => Err(WorkError::Unknown(id)),
        }
    }

    fn reread(
        &self,
        index: &mut BoardIndex,
        id: StoryId,
        stage: Stage,
        name: &OsStr,
    ) -> Result<Story, WorkError> {
        index.refresh(&self.dir, stage, name).map_err(disk(&self.dir))?;
        self.readable(index, id)
    }

    fn read(&self, stage: Stage, name: &OsStr) -> Result<String, WorkError> {
        let path = relative(stage, name);
        let text = index::text(&self.dir, &path).map_err(disk(&path))?;
        text.map_err(|why| WorkError::Problem(BoardProblem::Unreadable { path, why }))
    }

    /// The absolute path of a file in a stage, whose folder is made if a checkout took it away.
    fn place(&self, stage: Stage, name: &OsStr) -> Result<PathBuf, WorkError> {
        let parent = self.dir.join(stage.dir());
        folder(&parent)?;
        Ok(parent.join(name))
    }

    // A file of its own, which ignores itself: it holds whatever is checked out, also where a branch has another `.storkit/.gitignore`.
    fn ignore_stages(&self) -> Result<(), WorkError> {
        let file = self.dir.join(".gitignore");
        // Earlier versions listed the stages in work in it.
        if fs::read_to_string(&file).map_or_else(is_missing, |text| text.starts_with(IGNORED_BY)) {
            place::put(&self.temporary, &file, IGNORED.as_bytes()).map_err(disk(&file))?;
        }
        match self.not_ignored() {
            None => Ok(()),
            Some(stage) => Err(WorkError::NotIgnored { folder: self.dir.join(stage.dir()), file }),
        }
    }

    fn not_ignored(&self) -> Option<Stage> {
        let repository = git2::Repository::open(&self.root).ok()?;
        let ignored = |stage: &Stage| {
            repository.is_path_ignored(self.dir.join(stage.dir()).join("1_story_x.md")).unwrap_or(true)
        };
        Stage::ALL.into_iter().find(|stage| !ignored(stage))
    }
}

fn is_missing(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> WorkError + use<> {
    let path = path.to_owned();
    move |source| WorkError::Disk { path, source }
}

/// Makes a folder unless it is there; a link in its place is refused.
fn folder(path: &Path) -> Result<(), WorkError> {
    if path.is_symlink() {
        return Err(WorkError::Linked(path.to_owned()));
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result.map_err(disk(path)),
    }
}

fn plain_file(path: &Path) -> Result<SeenFile, WorkError> {
    SeenFile::of(path).map_err(disk(path))
}

/// Removes temporary files that nobody can be writing any more.
fn remove_leftovers(folder: &Path) -> io::Result<()> {
    const NOBODYS: Duration = Duration::from_secs(3600);
    for item in fs::read_dir(folder)? {
        let item = item?;
        let ours = item.file_name().to_string_lossy().starts_with(place::TEMPORARY);
        let old = || {
            item.metadata()
                .and_then(|found| found.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > NOBODYS))
        };
        if ours && old() {
            fs::remove_file(item.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, thread};

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        work: WorkFolder,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            git2::Repository::init(folder.path()).unwrap();
            let work = open(folder.path());
            Self { folder, work }
        }

        fn path(&self, relative: &str) -> PathBuf {
            self.work.dir().join(relative)
        }

        fn write(&self, relative: &str, text: &str) {
            fs::write(self.path(relative), text).unwrap();
        }

        fn files(&self) -> Vec<String> {
            let all = Stage::ALL.into_iter().flat_map(|stage| fs::read_dir(self.path(stage.dir())).unwrap());
            let mut files: Vec<String> = all
                .map(|item| item.unwrap().path().strip_prefix(self.work.dir()).unwrap().display().to_string())
                .collect();
            files.sort();
            files
        }

        fn problems(&self) -> String {
            let board = self.work.scan().unwrap();
            board.problems.iter().map(|problem| format!("{problem}\n")).collect()
        }
    }

    fn open(folder: &Path) -> WorkFolder {
        WorkFolder::open(&Project::open(folder).unwrap()).unwrap()
    }

    const ONE: StoryId = StoryId(1);

    #[test]
    fn a_created_story_stands_in_the_backlog_under_its_title() {
        let fixture = Fixture::new();
        let story = fixture.work.create(StoryKind::Bug, "Login:\n../ fails", None).unwrap();
        assert_eq!(fixture.files(), ["1_backlog/1_bug_login_fails.md"]);
        assert_eq!((story.stage, story.front.name.as_str()), (Stage::Backlog, "Login: ../ fails"));
        let only = Board::new([Arc::new(story)], Vec::new());
        assert_eq!(*fixture.work.board().unwrap(), only);
        assert_eq!(*fixture.work.scan().unwrap(), only);
        assert!(matches!(fixture.work.create(StoryKind::Bug, " \n", None), Err(WorkError::NoTitle)));
        let long = fixture.work.create(StoryKind::Spike, &"name ".repeat(2000), Some("- [ ] one")).unwrap();
        assert_eq!(long.front.name.chars().count(), 200);
        assert_eq!(long.criteria, [("one".to_owned(), false)]);
    }

    #[test]
    fn a_number_is_never_given_twice_whatever_is_deleted_or_restarted() {
        let fixture = Fixture::new();
        fixture.write("6_archived/41_story_old.md", "");
        fixture.write("5_done/042_story_misnamed.md", "");
        let create = |work: &WorkFolder| work.create(StoryKind::Story, "x", None).unwrap().id().0;
        assert_eq!(create(&fixture.work), 43);
        fixture.work.delete(StoryId(43)).unwrap();
        assert_eq!(create(&fixture.work), 44);
        fs::remove_file(fixture.path("1_backlog/44_story_x.md")).unwrap();
        assert_eq!(create(&open(fixture.folder.path())), 45);
        fixture.write("1_backlog/90_story_dragged_in.md", "");
        fixture.work.scan().unwrap();
        fixture.work.delete(StoryId(90)).unwrap();
        assert_eq!(create(&open(fixture.folder.path())), 91);
    }

    #[test]
    fn a_fresh_clone_knows_the_numbers_of_stories_that_were_deleted() {
        let fixture = Fixture::new();
        let repository = git2::Repository::open(fixture.folder.path()).unwrap();
        let who = git2::Signature::now("A", "a@example.com").unwrap();
        let commit = |reference: &str, name: &str, parents: &[&git2::Commit<'_>]| {
            let (stage, name) = name.split_once('/').unwrap();
            let mut tree = repository.blob(b"").unwrap();
            for (entry, mode) in
                [(name, 0o100_644), (stage, 0o040_000), ("work", 0o040_000), (".storkit", 0o040_000)]
            {
                let mut builder = repository.treebuilder(None).unwrap();
                builder.insert(entry, tree, mode).unwrap();
                tree = builder.write().unwrap();
            }
            let tree = repository.find_tree(tree).unwrap();
            let id = repository.commit(Some(reference), &who, &who, "x", &tree, parents).unwrap();
            repository.find_commit(id).unwrap()
        };
        let first = commit("HEAD", "1_backlog/7_story_gone.md", &[]);
        commit("HEAD", "1_backlog/3_bug_here.md", &[&first]);
        let create = || fixture.work.create(StoryKind::Story, "x", None).unwrap().id();
        assert_eq!(create(), StoryId(8));
        commit("refs/remotes/origin/storkit/board", "1_backlog/20_story_theirs.md", &[]);
        assert_eq!(create(), StoryId(21), "others have given more numbers meanwhile");
    }

    #[test]
    fn creating_at_the_same_time_gives_different_numbers() {
        let fixture = Fixture::new();
        let other = open(fixture.folder.path());
        let mut ids: Vec<u32> = thread::scope(|scope| {
            let create = |work| {
                scope.spawn(move || {
                    (0..5)
                        .map(|_| WorkFolder::create(work, StoryKind::Story, "x", None).unwrap().id().0)
                        .collect::<Vec<_>>()
                })
            };
            let threads: Vec<_> =
                [&fixture.work, &other, &fixture.work, &other].into_iter().map(create).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        ids.sort();
        assert_eq!(ids, (1..=20).collect::<Vec<_>>());
        assert_eq!(fixture.files().len(), 20);
    }

    #[test]
    fn only_legal_moves_are_made() {
        let fixture = Fixture::new();
        fixture.work.create(StoryKind::Story, "x", None).unwrap();
        let refusals = [Stage::Backlog, Stage::Merge, Stage::Done]
            .map(|to| fixture.work.move_story(ONE, to, Mover::Person).unwrap_err().to_string());
        insta::assert_snapshot!(refusals.join("\n"), @"
        story 1 cannot go from backlog to backlog: it is there already.
        story 1 cannot go from backlog to merge; from backlog it may go to current.
        story 1 cannot go from backlog to done: done means merged, so only a merge brings it there.
        ");
        for to in [Stage::Current, Stage::Qa, Stage::Merge] {
            assert_eq!(fixture.work.move_story(ONE, to, Mover::Pipeline).unwrap().stage, to);
        }
        assert!(fixture.work.move_story(ONE, Stage::Done, Mover::Person).is_err());
        assert_eq!(fixture.files(), ["4_merge/1_story_x.md"]);
        insta::assert_snapshot!(fixture.work.move_story(StoryId(2), Stage::Qa, Mover::Person).unwrap_err(), @"there is no story 2.");
    }

    #[test]
    fn a_story_that_a_person_dragged_is_found_where_it_is() {
        let fixture = Fixture::new();
        fixture.work.create(StoryKind::Story, "x", None).unwrap();
        fs::rename(fixture.path("1_backlog/1_story_x.md"), fixture.path("2_current/1_story_x.md")).unwrap();
        let story = fixture.work.move_story(ONE, Stage::Qa, Mover::Person).unwrap();
        assert_eq!((story.stage, fixture.files()), (Stage::Qa, vec!["3_qa/1_story_x.md".to_owned()]));
    }

    #[test]
    fn a_move_never_writes_over_a_file_and_never_follows_a_link() {
        let fixture = Fixture::new();
        let project = Project::open(fixture.folder.path()).unwrap();
        fixture.work.create(StoryKind::Story, "x", None).unwrap();
        fixture.write("2_current/1_story_x.md", "mine");
        assert!(fixture.work.move_story(ONE, Stage::Current, Mover::Person).is_err());
        assert_eq!(fs::read_to_string(fixture.path("2_current/1_story_x.md")).unwrap(), "mine");

        let outside = tempfile::tempdir().unwrap();
        fs::remove_file(fixture.path("2_current/1_story_x.md")).unwrap();
        fs::remove_dir(fixture.path("2_current")).unwrap();
        symlink(outside.path(), fixture.path("2_current")).unwrap();
        assert!(matches!(
            fixture.work.move_story(ONE, Stage::Current, Mover::Person),
            Err(WorkError::Linked(_))
        ));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(fixture.path("1_backlog/1_story_x.md").exists());
        assert!(matches!(WorkFolder::open(&project), Err(WorkError::Linked(_))));
    }

    #[test]
    fn promise_17_a_story_in_two_stages_is_reported_and_not_acted_on() {
        let fixture = Fixture::new();
        fixture.work.create(StoryKind::Story, "x", None).unwrap();
        fixture.work.create(StoryKind::Story, "y", None).unwrap();
        fs::copy(fixture.path("1_backlog/1_story_x.md"), fixture.path("3_qa/1_story_x.md")).unwrap();
        let board = fixture.work.scan().unwrap();
        assert_eq!(board.stories().map(|story| story.id()).collect::<Vec<_>>(), [StoryId(2)]);
        insta::assert_snapshot!(board.problems[0], @"story 1 exists more than once: `1_backlog/1_story_x.md` and `3_qa/1_story_x.md`. Delete or renumber all but one.");
        for refused in [
            fixture.work.move_story(ONE, Stage::Current, Mover::Person).map(drop),
            fixture.work.edit(ONE, |story| story.set("agent", "a")),
            fixture.work.delete(ONE).map(drop),
            fixture.work.text(ONE).map(drop),
        ] {
            assert!(matches!(refused, Err(WorkError::Problem(BoardProblem::SameId { .. }))), "{refused:?}");
        }
        fs::remove_file(fixture.path("3_qa/1_story_x.md")).unwrap();
        assert_eq!(
            fixture.work.move_story(ONE, Stage::Current, Mover::Person).unwrap().stage,
            Stage::Current
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_and_left_alone() {
        let fixture = Fixture::new();
        fixture.write("1_backlog/1_story_broken.md", "---\nname: x\nretry_count: lots\n---\n");
        fixture.write("1_backlog/2_story_two.md", "");
        fixture.write("1_backlog/2_bug_two.md", "");
        fixture.write("2_current/Notes.md", "");
        fixture.write("3_qa/3_story_bytes.md", "");
        fs::write(fixture.path("3_qa/3_story_bytes.md"), b"a\xff").unwrap();
        symlink("/etc/passwd", fixture.path("3_qa/4_story_link.md")).unwrap();
        fs::create_dir(fixture.path("3_qa/5_story_folder.md")).unwrap();
        fs::File::create(fixture.path("3_qa/6_story_huge.md")).unwrap().set_len(1 << 40).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            fixture.path("3_qa/7_story_fifo.md"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        for stray in ["7_elsewhere", "1_upcoming"] {
            fs::create_dir(fixture.path(stray)).unwrap();
        }
        for ignored in [".hidden", "1_backlog/.9_story_x.md.swp", "1_backlog/9_story_x.md~"] {
            fixture.write(ignored, "");
        }
        insta::assert_snapshot!(fixture.problems(), @"
        `1_backlog/1_story_broken.md` cannot be read: line 3: a whole number is expected here. Nobody works on it until this is fixed.
        story 2 exists more than once: `1_backlog/2_bug_two.md` and `1_backlog/2_story_two.md`. Delete or renumber all but one.
        `1_upcoming` is now called `1_backlog`. Run `storkit migrate`.
        `2_current/Notes.md` is not named like a story: it must begin with the story's number, without leading zeros, like `12_bug_login_fails.md`.
        `3_qa/3_story_bytes.md` cannot be read: it is not UTF-8 (byte 1).
        `3_qa/4_story_link.md` cannot be read: it is a symbolic link; put the file itself there.
        `3_qa/5_story_folder.md` cannot be read: it is no plain file.
        `3_qa/6_story_huge.md` cannot be read: it has 1099511627776 bytes; a story may have at most 1048576.
        `3_qa/7_story_fifo.md` cannot be read: it is no plain file.
        `7_elsewhere` belongs to no stage; the stages are the folders `1_backlog`, `2_current`, `3_qa`, `4_merge`, `5_done`, `6_archived`. Move it into one of them.
        ");
        assert!(fixture.work.board().unwrap().is_empty());
        assert!(matches!(
            fixture.work.move_story(ONE, Stage::Current, Mover::Person),
            Err(WorkError::Problem(_))
        ));
        assert!(matches!(
            fixture.work.edit(ONE, |story| story.set("agent", "a")),
            Err(WorkError::Edit { .. })
        ));
        assert!(fixture.work.text(ONE).unwrap().contains("lots"));
        assert_eq!(fixture.work.delete(ONE).unwrap().name, "1_story_broken.md");
    }

    #[test]
    fn a_rescan_sees_every_change_even_of_the_same_size_and_time() {
        let fixture = Fixture::new();
        let path = fixture.path("1_backlog/1_story_x.md");
        for round in 0..50 {
            let name = if round % 2 == 0 { "aaa" } else { "bbb" };
            fs::write(&path, format!("# {name}\n")).unwrap();
            fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(fixture.work.scan().unwrap().story(ONE).unwrap().front.name, name);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(*fixture.work.scan().unwrap(), Board::default());
    }

    #[test]
    fn a_refresh_looks_at_what_is_named() {
        let fixture = Fixture::new();
        fixture.work.scan().unwrap();
        fixture.write("1_backlog/1_story_x.md", "# a\n");
        fixture.write("1_backlog/2_story_y.md", "# b\n");
        assert!(fixture.work.board().unwrap().is_empty());
        let board = fixture.work.refresh(&[fixture.path("1_backlog/2_story_y.md")]).unwrap();
        assert_eq!(board.stories().map(|story| story.id()).collect::<Vec<_>>(), [StoryId(2)]);
        fs::remove_file(fixture.path("1_backlog/2_story_y.md")).unwrap();
        assert!(fixture.work.refresh(&[fixture.path("1_backlog/2_story_y.md")]).unwrap().is_empty());
        assert_eq!(fixture.work.refresh(&[fixture.path("1_backlog")]).unwrap().stories.len(), 1);
    }

    #[test]
    fn an_edit_keeps_the_rest_the_mode_and_leaves_nothing_behind() {
        use std::os::unix::fs::PermissionsExt as _;
        let fixture = Fixture::new();
        fixture.write("2_current/1_story_x.md", "---\nname: x # mine\n---\nbody\r\n");
        let path = fixture.path("2_current/1_story_x.md");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        fixture.work.edit(ONE, |story| story.set("retry_count", 1)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "---\nname: x # mine\nretry_count: 1\n---\nbody\r\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o664);
        assert_eq!(fixture.work.board().unwrap().story(ONE).unwrap().front.retry_count, 1);
        let left: Vec<_> = fs::read_dir(fixture.folder.path().join(".storkit"))
            .unwrap()
            .map(|item| item.unwrap().file_name())
            .collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp")), "{left:?}");
    }

    #[test]
    fn an_edit_does_not_undo_what_a_person_did_meanwhile() {
        let fixture = Fixture::new();
        fixture.write("2_current/1_story_x.md", "# x\n");
        let (from, to) = (fixture.path("2_current/1_story_x.md"), fixture.path("3_qa/1_story_x.md"));
        fixture
            .work
            .edit(ONE, |story| {
                if from.exists() {
                    fs::rename(&from, &to).unwrap();
                }
                story.set("agent", "coder")
            })
            .unwrap();
        assert_eq!(fixture.files(), ["3_qa/1_story_x.md"]);
        let saved = std::cell::Cell::new(false);
        fixture
            .work
            .edit(ONE, |story| {
                if !saved.replace(true) {
                    fs::write(&to, "# another title\n").unwrap();
                }
                story.set("agent", "qa")
            })
            .unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "---\nagent: qa\n---\n\n# another title\n");
        let busy = fixture.work.edit(ONE, |story| {
            fs::write(&to, format!("{}.", fs::read_to_string(&to).unwrap())).unwrap();
            story.set("agent", "b")
        });
        assert!(matches!(busy, Err(WorkError::Busy(ONE))));
    }

    #[test]
    fn files_lie_beside_a_story_and_its_text_names_them_in_every_stage() {
        let fixture = Fixture::new();
        let id = fixture.work.create(StoryKind::Bug, "A door", Some("It squeaks.\n")).unwrap().id();
        let file = |name: &str| FileToAttach { name: name.into(), content: b"x".to_vec() };
        let large = FileToAttach { name: "film.mp4".into(), content: vec![0; (10 << 20) + 1] };
        let stored = fixture.work.attach(id, vec![file("../door.png"), large, file("Door.png")]).unwrap();
        let stored: Vec<_> = stored.into_iter().map(|file| file.stored).collect();
        assert_eq!(stored, [Ok("door.png".into()), Err(AttachFault::TooLarge), Ok("Door-2.png".to_owned())]);
        let text = fixture.work.text(id).unwrap();
        let named = "It squeaks.\n\n## Files\n\n- ![Door-2.png](../files/1/Door-2.png)\n- ![door.png](../files/1/door.png)\n";
        assert!(text.ends_with(named), "{text}");
        fixture.work.move_story(id, Stage::Current, Mover::Pipeline).unwrap();
        assert!(fixture.path("2_current/../files/1/door.png").exists());
        assert_eq!(fixture.work.scan().unwrap().problems, []);
        assert!(matches!(fixture.work.attach(StoryId(9), vec![file("x")]), Err(WorkError::Unknown(_))));
        assert!(!fixture.path("files/9").exists());
        let refused = fixture.work.detach(id, "../door.png").unwrap_err().to_string();
        assert_eq!(refused, "story 1 has no file `../door.png`; it has `Door-2.png`, `door.png`.");
        fixture.work.attach(id, vec![file("third.txt")]).unwrap();
        fixture.work.detach(id, "third.txt").unwrap();
        assert!(!fixture.path("files/1/third.txt").exists());
        assert!(fixture.work.text(id).unwrap().ends_with(named), "the others stay");
        assert_eq!(fixture.work.delete(id).unwrap().files, 2);
        assert!(!fixture.path("files/1").exists());
        fs::remove_dir_all(fixture.path("files")).unwrap();
        symlink(fixture.folder.path(), fixture.path("files")).unwrap();
        let problems = fixture.work.scan().unwrap().problems.clone();
        assert!(problems.iter().any(|problem| problem.to_string().contains("a link to one")), "{problems:?}");
    }

    #[test]
    fn all_stages_are_ignored_by_git_whatever_the_projects_own_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init(folder.path()).unwrap();
        fs::create_dir(folder.path().join(".storkit")).unwrap();
        fs::write(folder.path().join(".storkit/.gitignore"), "/run/\n!/work/\n").unwrap();
        let earlier =
            "# Written by storkit: stories in work change too often for git.\n/.gitignore\n/2_current/\n";
        fs::create_dir(folder.path().join(".storkit/work")).unwrap();
        fs::write(folder.path().join(".storkit/work/.gitignore"), earlier).unwrap();
        let work = open(folder.path());
        let ignored = |path: &str| repository.is_path_ignored(work.dir().join(path)).unwrap();
        assert_eq!(["2_current/1_a.md", "3_qa/x", "4_merge/x", ".gitignore"].map(ignored), [true; 4]);
        assert_eq!(["1_backlog/1_a.md", "5_done/x", "6_archived/x"].map(ignored), [true; 3]);
        fs::write(work.dir().join(".gitignore"), "# theirs\n").unwrap();
        let error = WorkFolder::open(&Project::open(folder.path()).unwrap()).unwrap_err().to_string();
        assert!(error.contains("Put the line `*` into"), "{error}");
    }

    #[test]
    fn a_folder_that_a_checkout_took_away_is_made_again() {
        let fixture = Fixture::new();
        fs::remove_dir(fixture.path("1_backlog")).unwrap();
        fs::remove_dir(fixture.path("2_current")).unwrap();
        assert_eq!(*fixture.work.scan().unwrap(), Board::default());
        fixture.work.create(StoryKind::Story, "x", None).unwrap();
        fixture.work.move_story(ONE, Stage::Current, Mover::Pipeline).unwrap();
        assert_eq!(fixture.files(), ["2_current/1_story_x.md"]);
    }
}
