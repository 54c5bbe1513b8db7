//! Where the things of a merge lie, and how git is called for it.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use git2::{Oid, Repository};

use crate::{
    Project,
    git::program::{GitProgram, common_dir},
    merge::outcome::MergeError,
    story::{FileName, StoryId, stage::Stage},
};

/// In the environment of every git that a merge starts; the value is the project's root. The next start finds
/// leftover processes of a killed storkit by it.
pub(crate) const MERGE_VARIABLE: &str = "STORKIT_MERGE";

/// Longest story file that is merged.
const MAX_STORY: u64 = 4 << 20;

/// The places of one project.
#[derive(Clone, Debug)]
pub(crate) struct MergePaths {
    pub root: PathBuf,
    /// The repository that all worktrees share.
    pub common: PathBuf,
}

impl MergePaths {
    pub(crate) fn of(project: &Project) -> Result<Self, MergeError> {
        Ok(Self { root: project.root().to_owned(), common: common_dir(project.root())? })
    }

    /// For reading, and for objects: no refs, no index, no files are written through it.
    pub(crate) fn repository(&self) -> Result<Repository, git2::Error> {
        Repository::open(&self.root)
    }

    /// Git for refs and objects.
    pub(crate) fn git(&self) -> GitProgram {
        self.git_in(&self.common, &self.root)
    }

    /// Git for one checkout, whose own `.git` is not believed.
    pub(crate) fn git_in(&self, git_dir: &Path, work_tree: &Path) -> GitProgram {
        GitProgram::explicit(git_dir, work_tree).env(MERGE_VARIABLE, &self.root)
    }

    /// `.storkit/work/STAGE/FILE`, from the root.
    pub(crate) fn story_in_tree(stage: Stage, file: &FileName) -> PathBuf {
        Path::new(".storkit/work").join(stage.dir()).join(file.to_string())
    }

    pub(crate) fn story(&self, stage: Stage, file: &FileName) -> PathBuf {
        self.root.join(Self::story_in_tree(stage, file))
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join(".storkit/run/merge.json")
    }

    pub(crate) fn jobs(&self) -> PathBuf {
        self.root.join(".storkit/run/merges")
    }

    pub(crate) fn job(&self, story: StoryId) -> PathBuf {
        self.jobs().join(format!("{story}.json"))
    }

    pub(crate) fn proof(&self, story: StoryId) -> PathBuf {
        proof_path(&self.root, story)
    }

    pub(crate) fn standing(&self) -> PathBuf {
        self.root.join(".storkit/worktrees/merge")
    }

    /// What storkit knows of the gates' worktree, and a gate's copies of git's files.
    pub(crate) fn standing_private(&self) -> PathBuf {
        self.root.join(".storkit/worktrees/.private/merge")
    }

    pub(crate) fn conflict(&self, story: StoryId) -> PathBuf {
        self.root.join(format!(".storkit/worktrees/merge-{story}"))
    }

    /// The commit a branch points to.
    pub(crate) fn tip(&self, repository: &Repository, branch: &str) -> Result<Option<Oid>, git2::Error> {
        match repository.find_reference(&format!("refs/heads/{branch}")) {
            Ok(reference) => Ok(Some(reference.peel_to_commit()?.id())),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The story's text in the merge stage. A link is not followed.
    pub(crate) fn read_story(&self, file: &FileName) -> Result<Vec<u8>, MergeError> {
        let path = self.story(Stage::Merge, file);
        let found = path.symlink_metadata();
        if !found.as_ref().is_ok_and(|found| found.is_file() && found.len() <= MAX_STORY) {
            return Err(MergeError::NoStory(file.to_string()));
        }
        std::fs::read(&path).map_err(|source| MergeError::Io { path, source })
    }
}

/// `.storkit/proofs/ID.json`.
pub(crate) fn proof_path(root: &Path, story: StoryId) -> PathBuf {
    root.join(format!(".storkit/proofs/{story}.json"))
}

/// Removes a file and lets the disk know. One that is not there is fine.
pub(crate) fn remove_durably(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    }
    // Without the sync a power cut could bring the file back.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes a folder of storkit's below `.storkit/`, which git ignores by a file of its own: projects that have an
/// older `.storkit/.gitignore` do not list it.
pub(crate) fn ignored_folder(folder: &Path) -> io::Result<()> {
    settings::unlinked::create_dir_all(folder)?;
    match File::create_new(folder.join(".gitignore")) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        file => file?.write_all(b"# Written by storkit: state of this machine.\n*\n"),
    }
}
