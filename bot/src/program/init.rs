//! `storkit init`: the files a project starts with, and their commit. All or nothing: where one step fails, the project is as it was.
//! Existing files are never overwritten.

mod base;
mod parts;
mod project_text;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pipeline::{
    Project,
    base_commit::{BaseCommit, BaseCommitError, CommitSigning, CommittedFile, checked_out_elsewhere},
    board::{BoardBranchError, BoardSetUpError, set_up_board},
    git::program::{GitProgram, GitProgramError},
    guard::{BaseError, BaseGuard},
    project::TEMPLATE_MARK,
    stage::Stage,
    trust::{ProjectTrust, TrustError, TrustStore, unconfirmed_programs},
};
use settings::atomic;

pub use self::{
    base::BaseBranches,
    parts::{AddedParts, add_parts},
    project_text::{component, project_toml},
};
use crate::program::{detect::DetectedComponent, trust};

/// The choices for a new project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitChoices {
    /// How people call the bot.
    pub display_name: String,
    /// Command lines that must pass before a story is merged.
    pub gates: Vec<String>,
    /// Coders at work at the same time.
    pub coders: u32,
    /// The branch that stories merge to.
    pub base: String,
    /// Parts that need setup in a new worktree.
    pub components: Vec<DetectedComponent>,
    /// The folder of the repository that the project is; empty for all of it.
    pub folder: String,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaffoldFile {
    /// Written, relative to the project.
    Written(&'static str),
    Kept(&'static str),
    /// The text of an earlier version's file is in another one now.
    Moved {
        from: &'static str,
        to: &'static str,
    },
}

/// What `init` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitResult {
    pub files: Vec<ScaffoldFile>,
    pub is_committed: bool,
    /// Base is not checked out: its files are in the commit and not in the checkout.
    pub is_elsewhere: bool,
    /// Base has the stories of an earlier version; a sentence with what to do.
    pub unmigrated: Option<String>,
}

/// Why a project could not be set up. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file could not be written.
    #[error("`{path}` cannot be written: {source}. Nothing was changed.")]
    Disk { path: PathBuf, source: io::Error },
    #[error("{0}. Nothing was changed.")]
    Git(#[from] GitProgramError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(
        "{0} Nothing was changed. Set up the signing key (`git config user.signingKey`), or turn signing off here with \
         `git config commit.gpgSign false`, and run `storkit init` again."
    )]
    Signing(BaseCommitError),
    #[error("{0} Nothing was changed.")]
    Commit(BaseCommitError),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Board(BoardSetUpError),
    #[error(
        "`{base}` is checked out in `{folder}`, so its files would not follow a commit that is made here. Run `storkit init` there."
    )]
    Elsewhere { base: String, folder: String },
    #[error(
        "A merge, rebase or another operation of git's is under way in this checkout. Finish it or call it off, then run `storkit init` \
         again. Nothing was changed."
    )]
    Busy,
}

pub const PROJECT_TOML: &str = ".storkit/project.toml";
const README: &str = ".storkit/README.md";
const CONTEXT: &str = ".storkit/specs/00_CONTEXT.md";
const STACK: &str = ".storkit/specs/tech/STACK.md";
const BOT_TOML: &str = ".storkit/bot.toml";
/// Of an earlier version.
const OLD_CONTEXT: &str = ".storkit/context.md";

const MESSAGE: &str = "storkit: set up";

/// A file that git is to have.
struct SharedFile {
    name: &'static str,
    text: String,
    /// Whether base has it.
    is_committed: bool,
    /// Whether it lies in the checkout.
    is_here: bool,
}

/// The state before, and what is to be done.
struct InitPlan<'a> {
    project: &'a Project,
    base: &'a str,
    /// Whether base is the branch that is checked out.
    is_checked_out: bool,
    files: Vec<SharedFile>,
    bot_toml: String,
    /// The old context's text becomes the new one's.
    moves_context: bool,
}

/// Sets the project up: writes the missing files, makes the stage folders, and commits to `choices.base` and nothing else, unless
/// `commits` is off.
///
/// On an error nothing was changed, and nothing is staged.
pub fn set_up(
    project: &Project,
    store: &TrustStore,
    choices: &InitChoices,
    commits: bool,
) -> Result<InitResult, InitError> {
    let plan = InitPlan::read(project, choices, commits)?;
    let commit = if commits { plan.prepare_commit()? } else { None };
    let mut undo = Undo::default();
    let done = plan.write(commits, &mut undo).and_then(|files| {
        let unmigrated = plan.set_up_board(commits)?;
        if plan.writes(PROJECT_TOML) {
            trust::confirm_written(project, store, &project_toml(choices))?;
        }
        let is_committed = commit.is_some();
        commit.map(|commit| Ok::<_, InitError>(commit.land(&BaseGuard::lock(project)?)?)).transpose()?;
        Ok(InitResult { files, is_committed, is_elsewhere: commits && !plan.is_checked_out, unmigrated })
    });
    match done {
        Ok(result) => {
            // After the commit, which has its text.
            if plan.moves_context && plan.is_checked_out && commits {
                let _ = fs::remove_file(project.root().join(OLD_CONTEXT));
            }
            Ok(result)
        }
        Err(error) => {
            undo.run();
            Err(error)
        }
    }
}

impl From<BaseCommitError> for InitError {
    fn from(error: BaseCommitError) -> Self {
        match error {
            BaseCommitError::Signing(_) => Self::Signing(error),
            error => Self::Commit(error),
        }
    }
}

impl<'a> InitPlan<'a> {
    fn read(project: &'a Project, choices: &'a InitChoices, commits: bool) -> Result<Self, InitError> {
        let root = project.root();
        let base = choices.base.as_str();
        let old = root.join(OLD_CONTEXT);
        // A link is not followed.
        let old = old
            .symlink_metadata()
            .ok()
            .filter(fs::Metadata::is_file)
            .and_then(|_| fs::read_to_string(&old).ok());
        let is_filled = old.as_ref().is_some_and(|text| !is_template(text));
        let context = match old.as_ref().filter(|_| is_filled) {
            Some(text) => text.clone(),
            None => include_str!("init/templates/context.md").to_owned(),
        };
        let texts = [
            (PROJECT_TOML, project_toml(choices)),
            (README, include_str!("init/templates/readme.md").to_owned()),
            (CONTEXT, context),
            (STACK, include_str!("init/templates/stack.md").to_owned()),
        ];
        let is_checked_out = !commits || is_head(project, base)?;
        let file = |(name, text): (&'static str, String)| -> Result<SharedFile, InitError> {
            let path = root.join(name);
            let is_committed = commits && is_on(project, base, name)?;
            // `exists` follows symbolic links and calls a dangling one missing; the write would then replace it.
            let is_here = path.symlink_metadata().is_ok();
            let own = is_here.then(|| fs::read_to_string(&path).ok()).flatten();
            Ok(SharedFile {
                name,
                text: own.filter(|_| is_checked_out).unwrap_or(text),
                is_committed,
                is_here,
            })
        };
        let files = texts.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
        let has_new_context = files.iter().any(|file| file.name == CONTEXT && file.is_here);
        let moves_context = old.is_some() && !has_new_context;
        Ok(Self { project, base, is_checked_out, files, bot_toml: bot_toml(choices), moves_context })
    }

    /// Whether this file of git's is new, where it will be read.
    fn writes(&self, name: &str) -> bool {
        let is_new = |file: &SharedFile| match self.is_checked_out {
            true => !file.is_here,
            false => !file.is_committed,
        };
        self.files.iter().any(|file| file.name == name && is_new(file))
    }

    /// `None` where base has everything.
    fn prepare_commit(&self) -> Result<Option<BaseCommit>, InitError> {
        let missing = self.files.iter().filter(|file| !file.is_committed);
        let mut files: Vec<CommittedFile<'_>> =
            missing.map(|file| CommittedFile { name: file.name, text: Some(&file.text) }).collect();
        if files.is_empty() {
            return Ok(None);
        }
        if self.moves_context && is_on(self.project, self.base, OLD_CONTEXT)? {
            files.push(CommittedFile { name: OLD_CONTEXT, text: None });
        }
        let root = self.project.root();
        if self.is_checked_out && is_busy(root)? {
            return Err(InitError::Busy);
        }
        if let Some(folder) = checked_out_elsewhere(root, self.base)? {
            return Err(InitError::Elsewhere { base: self.base.to_owned(), folder });
        }
        Ok(Some(BaseCommit::new(self.project, self.base, &files, (MESSAGE, CommitSigning::AsConfigured))?))
    }

    /// The stories' folders, and the board where a remote has it. Where base has the stories of an earlier version, the sentence that says
    /// so.
    fn set_up_board(&self, commits: bool) -> Result<Option<String>, InitError> {
        // Without a commit there is no base yet, and where git must not be used only the folders are made.
        let has_base = commits && branch_exists(self.project, self.base)?;
        match set_up_board(self.project, has_base.then_some(self.base)) {
            Ok(_) => Ok(None),
            Err(BoardSetUpError::Branch(error @ BoardBranchError::Unmigrated { .. })) => {
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(InitError::Board(error)),
        }
    }

    /// Writes what is missing in the checkout. Files of a base that is checked out nowhere are only committed: lying about here they
    /// would be in the way of a `git switch`.
    fn write(&self, commits: bool, undo: &mut Undo) -> Result<Vec<ScaffoldFile>, InitError> {
        let mut files = Vec::new();
        let root = self.project.root();
        for stage in Stage::ALL {
            undo.make_folders(&self.project.dir().join("work").join(stage.dir()))?;
        }
        undo.will_make(self.project.dir().join("work/.gitignore"));
        for file in &self.files {
            let is_moved = file.name == CONTEXT && self.moves_context && !is_template(&file.text);
            files.push(match (is_moved, self.writes(file.name)) {
                (_, false) => ScaffoldFile::Kept(file.name),
                (true, true) => ScaffoldFile::Moved { from: OLD_CONTEXT, to: file.name },
                (false, true) => ScaffoldFile::Written(file.name),
            });
            if self.writes(file.name) && (self.is_checked_out || !commits) {
                // Others of the team read these from the repository anyway.
                undo.write(&root.join(file.name), &file.text, 0o644)?;
            }
        }
        let path = root.join(BOT_TOML);
        if path.symlink_metadata().is_ok() {
            files.push(ScaffoldFile::Kept(BOT_TOML));
        } else {
            undo.write(&path, &self.bot_toml, 0o600)?;
            files.push(ScaffoldFile::Written(BOT_TOML));
        }
        Ok(files)
    }
}

/// What was made, to be removed where a later step fails.
#[derive(Default)]
struct Undo(Vec<PathBuf>);

impl Undo {
    fn make_folders(&mut self, folder: &Path) -> Result<(), InitError> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            settings::unlinked::create_dir_all(path)
                .map_err(|source| InitError::Disk { path: path.into(), source })?;
            self.0.push(path.to_owned());
        }
        Ok(())
    }

    /// Somebody else is about to make this file.
    fn will_make(&mut self, path: PathBuf) {
        if path.symlink_metadata().is_err() {
            self.0.push(path);
        }
    }

    fn write(&mut self, path: &Path, text: &str, mode: u32) -> Result<(), InitError> {
        self.make_folders(path.parent().unwrap_or(path))?;
        let failed = |source| InitError::Disk { path: path.to_owned(), source };
        atomic::write(path, text.as_bytes()).map_err(failed)?;
        self.0.push(path.to_owned());
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(failed)
    }

    fn run(self) {
        for path in self.0.into_iter().rev() {
            // Only what is empty still: somebody may have put a file there meanwhile.
            let _ = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        }
    }
}

fn is_template(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.contains(TEMPLATE_MARK))
}

fn branch_exists(project: &Project, branch: &str) -> Result<bool, GitProgramError> {
    let reference = format!("refs/heads/{branch}");
    GitProgram::at(project.root()).asks(["show-ref", "--verify", "--quiet", &reference])
}

fn is_on(project: &Project, branch: &str, name: &str) -> Result<bool, GitProgramError> {
    let object = format!("refs/heads/{branch}:{name}");
    Ok(GitProgram::at(project.root()).answer(["cat-file", "-e", &object], &[])?.code == Some(0))
}

fn is_head(project: &Project, branch: &str) -> Result<bool, GitProgramError> {
    let head = GitProgram::at(project.root()).answer(["symbolic-ref", "--quiet", "HEAD"], &[])?;
    Ok(String::from_utf8_lossy(&head.stdout).trim_end() == format!("refs/heads/{branch}"))
}

/// Files and folders in git's own folder as long as one of its operations waits for the person.
const UNDER_WAY: [&str; 5] =
    ["MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD", "REVERT_HEAD"];

fn is_busy(root: &Path) -> Result<bool, GitProgramError> {
    let folder = PathBuf::from(GitProgram::at(root).run(["rev-parse", "--absolute-git-dir"])?);
    Ok(UNDER_WAY.iter().any(|name| folder.join(name).exists()))
}

/// The example with the chosen name.
fn bot_toml(choices: &InitChoices) -> String {
    let example = include_str!("../../../bot.toml.example");
    let name = toml::Value::from(choices.display_name.as_str());
    // Without a room that follows, every question of an agent on a story would be denied.
    let own = example
        .replace("display_name = \"Timmy\"", &format!("display_name = {name}"))
        .replace("\nrooms = []", "\nrooms = [\"console:main\"]");
    format!(
        "# {TEMPLATE_MARK}: written by `storkit init`. git ignores this file: it may hold secrets.\n{own}"
    )
}

/// Whether the folder is inside a repository.
pub fn is_repository(folder: &Path) -> bool {
    GitProgram::at(folder).run(["rev-parse", "--git-dir"]).is_ok()
}

/// Makes a repository whose branch is `main`.
///
/// Fails where git is missing or refuses.
pub fn make_repository(folder: &Path) -> Result<(), InitError> {
    Ok(GitProgram::at(folder).run(["init", "-q", "-b", "main"]).map(drop)?)
}

/// Why git must not be used in this repository, as a clause.
pub fn git_in_the_way(project: &Project, store: &TrustStore) -> Result<Option<String>, InitError> {
    match ProjectTrust::read(project, store) {
        Ok(trust) => Ok(trust.has_unconfirmed_programs().then(|| trust.programs_sentence())),
        // A repository without a commit has no base yet, but may have such a configuration.
        Err(TrustError::Base(_)) => Ok(unconfirmed_programs(project, store)?),
        Err(error) => Err(error.into()),
    }
}

/// Files of the project that no commit has, as `git status` lists them: a whole folder counts once. Stories do not have them.
///
/// Fails where git is missing or refuses.
pub fn never_committed(project: &Project) -> Result<Vec<String>, GitProgramError> {
    let args = [
        "status",
        "--porcelain",
        "-z",
        "--no-renames",
        "--untracked-files=normal",
        "--ignore-submodules=all",
    ];
    let listed = GitProgram::at(project.root()).run(args)?;
    let new = listed.split('\0').filter(|line| line.starts_with("??") || line.starts_with('A'));
    let names = new.filter_map(|line| line.get(3..)).filter(|name| !name.starts_with(".storkit"));
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
