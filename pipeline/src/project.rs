//! A project: a git repository with a `.storkit/` folder.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use git2::{ErrorCode, Repository, RepositoryOpenFlags};

use crate::{
    config::ProjectConfig,
    git::kind,
    sentence::one_line,
    trust::{self, Misplaced, check_settings_file, check_state_files},
};

/// Git gets settings; all else is state of this machine, whatever writes it, and the board has a branch of its own. The file
/// ignores itself, so that a first start leaves `git status` as it was; a `.gitignore` that the
/// project commits is never changed.
const IGNORED: &str = "\
# Written by storkit where none was; yours to change from here on.
# Only what is listed with `!` is for the repository: the rest is state of this machine, with secrets and conversations.
/*
!/README.md
!/context.md
!/project.toml
!/specs/
";

const SETTINGS: &str = ".storkit/project.toml";

/// The most of a project's CLAUDE.md that is handed over, in bytes.
const INSTRUCTIONS_MAX: usize = 64 * 1024;

pub(crate) const CONTEXT: &str = ".storkit/specs/00_CONTEXT.md";

pub(crate) const STACK: &str = ".storkit/specs/tech/STACK.md";

/// Of an earlier version; counts where the project has no other.
pub(crate) const OLD_CONTEXT: &str = ".storkit/context.md";

/// On the first line of a file that `storkit init` wrote and nobody has filled in.
pub const TEMPLATE_MARK: &str = "storkit:template";

/// One of the texts below `.storkit/specs`: what agents should know of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectContext {
    Missing,
    /// As `storkit init` wrote it.
    Untouched,
    Text(String),
}

/// The repository that one storkit process serves. Passed as a value, never a global.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
}

/// Why a folder is no project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No repository there or above.
    #[error(
        "`{0}` is not inside a git repository. Run `git init` there, or name a project with `--project DIR`."
    )]
    NotGit(PathBuf),
    /// The folder does not exist or cannot be read.
    #[error("`{path}` cannot be opened: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    /// The repository has no files.
    #[error(
        "`{0}` is a bare repository. storkit needs a checkout: clone it and name the clone with `--project DIR`."
    )]
    Bare(PathBuf),
    /// Git trusts only repositories of one's own (CVE-2022-24765).
    #[error(
        "`{0}` belongs to another user, so git does not trust it. Give it to the user that runs storkit \
         (`chown -R`), or trust it with `git config --global --add safe.directory '{0}'`."
    )]
    ForeignOwner(PathBuf),
    /// Git can read it and libgit2 cannot: in sentences, with what to do.
    #[error("{0}")]
    Unsupported(String),
    /// There is a repository, but libgit2 cannot open it.
    #[error("the repository around `{path}` cannot be read: {source}. `git status` there may say more.")]
    Broken {
        /// Where the search began.
        path: PathBuf,
        source: git2::Error,
    },
    /// Something below `.storkit/` is not storkit's own.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// The repository's configuration selects a working tree elsewhere (`core.worktree`).
    #[error(
        "the repository around `{start}` keeps its files in `{root}`. storkit serves only repositories that keep them in \
         their own folder; look at `core.worktree` in its `.git/config`."
    )]
    ElsewhereTree { start: PathBuf, root: PathBuf },
    /// `.storkit/` cannot be made or written.
    #[error(
        "`{path}` cannot be written: {source}. storkit stores its state there; check its owner and mode."
    )]
    Unwritable { path: PathBuf, source: io::Error },
}

impl Project {
    /// Finds the repository around `start` and makes sure that its state folder exists (0700) and can be written.
    ///
    /// A linked worktree is a checkout of its own. `.storkit/.gitignore` is written if there is none.
    pub fn open(start: &Path) -> Result<Self, ProjectError> {
        let start = readable(start)?;
        // Not `discover`, which forgets the checkout of a repository that is kept elsewhere (`git clone --separate-git-dir`).
        let none: [&Path; 0] = [];
        let repository = Repository::open_ext(&start, RepositoryOpenFlags::CROSS_FS, none)
            .map_err(|error| refusal(&start, error))?;
        let Some(checkout) = repository.workdir() else {
            return Err(ProjectError::Bare(repository.path().components().collect()));
        };
        let root = readable(checkout)?;
        if !start.starts_with(&root) {
            return Err(ProjectError::ElsewhereTree { start, root });
        }
        if let Some(why) = kind::unreadable_index_of(&repository) {
            return Err(ProjectError::Unsupported(why));
        }
        // Before anything is written there.
        check_state_files(&root)?;
        check_settings_file(&root)?;
        let project = Self { root };
        project.prepare()?;
        Ok(project)
    }

    /// The checkout's top folder, absolute and without symlinks.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn dir(&self) -> PathBuf {
        self.root.join(".storkit")
    }

    /// `.storkit/run/`: lock, sockets, FIFOs, temporary files; git-ignored, 0700.
    pub fn run_dir(&self) -> PathBuf {
        self.dir().join("run")
    }

    /// `.storkit/state/`: the database; git-ignored also where the project has a `.gitignore` of its own, 0700.
    pub fn state_dir(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// The project's CLAUDE.md on base, at most 64 KiB of it.
    pub fn instructions(&self, base: &str) -> Option<String> {
        self.text_on(base, "CLAUDE.md")
    }

    /// What the project is for (`.storkit/specs/00_CONTEXT.md`) on base, at most 64 KiB of it.
    pub fn context(&self, base: &str) -> ProjectContext {
        match self.spec_on(base, CONTEXT) {
            ProjectContext::Missing => self.spec_on(base, OLD_CONTEXT),
            context => context,
        }
    }

    /// What it is built with (`.storkit/specs/tech/STACK.md`) on base, at most 64 KiB of it.
    pub fn stack(&self, base: &str) -> ProjectContext {
        self.spec_on(base, STACK)
    }

    fn spec_on(&self, base: &str, name: &str) -> ProjectContext {
        match self.text_on(base, name) {
            None => ProjectContext::Missing,
            Some(text) if text.lines().next().is_some_and(|line| line.contains(TEMPLATE_MARK)) => {
                ProjectContext::Untouched
            }
            Some(text) => ProjectContext::Text(text),
        }
    }

    /// Whether the checkout has another text below `specs` than base, so that agents read base's version.
    pub fn specs_are_edited(&self, base: &str) -> bool {
        let edited = |name: &&str| {
            let path = self.root.join(name);
            let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
            is_file.then(|| fs::read_to_string(path).ok()).flatten() != self.text_on(base, name)
        };
        [CONTEXT, STACK, OLD_CONTEXT].iter().any(edited)
    }

    /// The agent's briefing on the project, as it is on base: what is filled in below `specs`, and CLAUDE.md unless the CLI reads
    /// that itself. Empty, or whole paragraphs with two line breaks before them.
    pub fn briefing(&self, base: &str, cli_reads_instructions: bool) -> String {
        let mut text = String::new();
        if let Some(folder) = self.folder(base) {
            text.push_str(&format!(
                "\n\nThe project is the folder `{0}` of this repository: stories are about it, and the gates test it. Paths below the top \
                 of your worktree begin with `{0}/`. Change other folders only where a story needs it.",
                one_line(&folder.to_string_lossy()).replace('`', "'")
            ));
        }
        let specs = [
            ("What you should know about the project", self.context(base)),
            ("What the project is built with", self.stack(base)),
        ];
        for (heading, spec) in specs {
            if let ProjectContext::Text(spec) = spec {
                text.push_str(&format!("\n\n{heading}:\n\n{}", spec.trim_end()));
            }
        }
        if !cli_reads_instructions && let Some(instructions) = self.instructions(base) {
            text.push_str("\n\nThe project's own instructions (CLAUDE.md):\n\n");
            text.push_str(&instructions);
        }
        text
    }

    /// The folder of a larger repository that the project is, as base has it.
    pub fn folder(&self, base: &str) -> Option<PathBuf> {
        let text = self.text_on(base, SETTINGS)?;
        let read = ProjectConfig::parse(&text, SETTINGS.as_ref(), |_| Some(String::new())).ok()?;
        Some(read.config.folder).filter(|folder| !folder.as_os_str().is_empty())
    }

    // From base, like the settings: the checkout may be a stranger's branch, or an agent's work.
    fn text_on(&self, base: &str, name: &str) -> Option<String> {
        let text =
            Repository::open(&self.root).and_then(|repository| trust::text_on(&repository, base, name));
        let mut text = text
            .inspect_err(|error| tracing::warn!(%error, name, "a file of base cannot be read"))
            .ok()??;
        let mut end = text.len().min(INSTRUCTIONS_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Some(text)
    }

    fn prepare(&self) -> Result<(), ProjectError> {
        for folder in [self.dir(), self.run_dir(), self.state_dir()] {
            private_folder(&folder).map_err(|source| ProjectError::Unwritable { path: folder, source })?;
        }
        for (path, ignored) in [(self.dir(), IGNORED), (self.state_dir(), "*\n")] {
            write_gitignore(&path, ignored).map_err(|source| ProjectError::Unwritable { path, source })?;
        }
        Ok(())
    }
}

/// The folder's real path, if it is one and can be listed.
fn readable(folder: &Path) -> Result<PathBuf, ProjectError> {
    let real = fs::canonicalize(folder).and_then(|real| fs::read_dir(&real).map(|_| real));
    real.map_err(|source| ProjectError::Unreadable { path: folder.to_owned(), source })
}

fn refusal(start: &Path, error: git2::Error) -> ProjectError {
    match error.code() {
        ErrorCode::NotFound => ProjectError::NotGit(start.to_owned()),
        ErrorCode::Owner => {
            ProjectError::ForeignOwner(named_path(&error).unwrap_or_else(|| start.to_owned()))
        }
        _ => match kind::unreadable(start) {
            Some(why) => ProjectError::Unsupported(why),
            None => ProjectError::Broken { path: start.to_owned(), source: error },
        },
    }
}

/// libgit2 says "repository path '/its/path/' is not owned by current user"; that path is the one to trust.
fn named_path(error: &git2::Error) -> Option<PathBuf> {
    let (_, rest) = error.message().split_once('\'')?;
    let (path, _) = rest.rsplit_once('\'')?;
    Some(Path::new(path).components().collect())
}

// Makes the folder for its owner alone and proves by writing that it can be written: modes prove nothing for
// root, or on a read-only or full disk.
fn private_folder(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => result?,
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        return Err(io::Error::other("a file is in its place"));
    }
    if found.permissions().mode() & 0o7777 != 0o700 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    tempfile::Builder::new().prefix(".tmp-probe").tempfile_in(folder)?.write_all(b"storkit can write here\n")
}

/// Leaves one that is there as it is.
fn write_gitignore(folder: &Path, ignored: &str) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).open(folder.join(".gitignore")) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        file => file?.write_all(ignored.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    fn git(folder: &Path, args: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("LC_ALL", "C")])
            .args(["-c", "init.defaultBranch=main", "-c", "user.name=A", "-c", "user.email=a@example.com"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A repository in a temporary folder whose path has no symlinks in it.
    fn repository() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap().join("project");
        fs::create_dir(&root).unwrap();
        git(&root, &["init", "--quiet"]);
        (folder, root)
    }

    fn mode(path: PathBuf) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// The sentence a person gets, with the temporary folder's name taken out.
    fn sentence(start: &Path, root: &Path) -> String {
        Project::open(start).unwrap_err().to_string().replace(root.to_str().unwrap(), "ROOT")
    }

    #[test]
    fn a_project_is_found_from_inside_and_through_a_link() {
        let (folder, root) = repository();
        fs::create_dir_all(root.join("src/deep")).unwrap();
        symlink(root.join("src"), folder.path().join("link")).unwrap();
        for start in [root.clone(), root.join("src/deep"), folder.path().join("link/deep")] {
            assert_eq!(Project::open(&start).unwrap().root(), root);
        }
    }

    #[test]
    fn the_state_folders_are_for_their_owner_alone_even_where_they_stood_open() {
        let (_folder, root) = repository();
        fs::create_dir(root.join(".storkit")).unwrap();
        fs::set_permissions(root.join(".storkit"), fs::Permissions::from_mode(0o755)).unwrap();
        let project = Project::open(&root).unwrap();
        let folders = [project.dir(), project.run_dir(), project.state_dir()];
        assert_eq!(folders.map(mode), [0o700; 3]);
        assert_eq!(fs::read_dir(project.run_dir()).unwrap().count(), 0, "the probe is gone");
    }

    #[test]
    fn opening_a_project_and_its_state_leave_git_status_as_it_was() {
        let (_folder, root) = repository();
        let project = Project::open(&root).unwrap();
        fs::create_dir(project.dir().join("a-messenger")).unwrap();
        for file in
            ["bot.toml", "state/state.db", "state/state.db-wal", "run/lock", ".tmpAbc", "a-messenger/keys"]
        {
            fs::write(project.dir().join(file), "secret").unwrap();
        }
        assert_eq!(git(&root, &["status", "--porcelain"]), "");
        fs::create_dir_all(project.dir().join("work/1_backlog")).unwrap();
        fs::create_dir_all(project.dir().join("specs/tech")).unwrap();
        for file in
            ["work/1_backlog/1_story_a.md", "project.toml", "context.md", "README.md", "specs/tech/STACK.md"]
        {
            fs::write(project.dir().join(file), "shared").unwrap();
        }
        assert_eq!(
            git(&root, &["status", "--porcelain", "-uall"]),
            "?? .storkit/README.md\n?? .storkit/context.md\n?? .storkit/project.toml\n?? .storkit/specs/tech/STACK.md\n",
            "settings are for the repository, stories for the board's branch"
        );
    }

    #[test]
    fn a_gitignore_that_is_there_is_left_alone() {
        let (_folder, root) = repository();
        fs::create_dir(root.join(".storkit")).unwrap();
        fs::write(root.join(".storkit/.gitignore"), "mine\n").unwrap();
        let project = Project::open(&root).unwrap();
        assert_eq!(fs::read_to_string(root.join(".storkit/.gitignore")).unwrap(), "mine\n");
        fs::write(project.state_dir().join("state.db"), "secret").unwrap();
        assert_eq!(git(&root, &["status", "--porcelain", "-uall"]), "?? .storkit/.gitignore\n");
    }

    #[test]
    fn a_linked_worktree_is_a_project_of_its_own_also_beside_a_bare_repository() {
        let (folder, root) = repository();
        git(&root, &["commit", "--quiet", "--allow-empty", "-m", "first"]);
        git(&root, &["clone", "--quiet", "--bare", ".", "../bare.git"]);
        let bare = fs::canonicalize(folder.path()).unwrap().join("bare.git");
        for (repository, name) in [(&root, "../tree"), (&bare, "../tree-of-bare")] {
            git(repository, &["worktree", "add", "--quiet", "-b", "side", name]);
            let tree = fs::canonicalize(repository.join(name)).unwrap();
            assert_eq!(Project::open(&tree).unwrap().root(), tree);
        }
        insta::assert_snapshot!(sentence(&bare, &bare), @"`ROOT` is a bare repository. storkit needs a checkout: clone it and name the clone with `--project DIR`.");
    }

    #[test]
    fn what_is_no_project_gets_a_sentence() {
        let (_folder, root) = repository();
        fs::write(root.join("file"), "").unwrap();
        let outside = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(outside.path()).unwrap();
        insta::assert_snapshot!(sentence(outside.path(), &real), @"`ROOT` is not inside a git repository. Run `git init` there, or name a project with `--project DIR`.");
        insta::assert_snapshot!(sentence(&root.join("gone"), &root), @"`ROOT/gone` cannot be opened: No such file or directory (os error 2)");
        insta::assert_snapshot!(sentence(&root.join("file"), &root), @"`ROOT/file` cannot be opened: Not a directory (os error 20)");
        fs::write(root.join(".git/config"), "[core\n").unwrap();
        assert!(matches!(Project::open(&root), Err(ProjectError::Broken { .. })));
    }

    #[test]
    fn a_state_folder_that_cannot_be_written_gets_a_sentence() {
        let (_folder, root) = repository();
        fs::create_dir(root.join(".storkit")).unwrap();
        fs::write(root.join(".storkit/run"), "a file in the way").unwrap();
        insta::assert_snapshot!(sentence(&root, &root), @"`ROOT/.storkit/run` cannot be written: a file is in its place. storkit stores its state there; check its owner and mode.");
    }

    #[test]
    fn a_file_in_the_place_of_the_state_folder_keeps_its_mode() {
        let (_folder, root) = repository();
        fs::write(root.join(".storkit"), "a file in the way").unwrap();
        fs::set_permissions(root.join(".storkit"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Project::open(&root), Err(ProjectError::Unwritable { .. })));
        assert_eq!(mode(root.join(".storkit")), 0o644);
    }

    #[test]
    fn a_state_folder_that_leads_out_of_the_project_is_refused_and_its_target_untouched() {
        let (folder, root) = repository();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(&elsewhere, root.join(".storkit")).unwrap();
        insta::assert_snapshot!(sentence(&root, &root), @"
        `ROOT/.storkit` is a symbolic link, and storkit follows none below `.storkit`. Remove it, and put a file or folder of its own there instead:
          rm ROOT/.storkit
        ");
        fs::remove_file(root.join(".storkit")).unwrap();
        fs::create_dir(root.join(".storkit")).unwrap();
        symlink(&elsewhere, root.join(".storkit/run")).unwrap();
        assert!(matches!(Project::open(&root), Err(ProjectError::Misplaced(Misplaced::Linked { .. }))));
        assert_eq!((mode(elsewhere.clone()), fs::read_dir(elsewhere).unwrap().count()), (0o755, 0));
    }

    #[test]
    fn a_foreign_repository_says_how_to_trust_it() {
        let message = "repository path '/srv/their repo/' is not owned by current user";
        let error = git2::Error::new(ErrorCode::Owner, git2::ErrorClass::Config, message);
        insta::assert_snapshot!(refusal(Path::new("/srv/their repo/src"), error).to_string(), @"`/srv/their repo` belongs to another user, so git does not trust it. Give it to the user that runs storkit (`chown -R`), or trust it with `git config --global --add safe.directory '/srv/their repo'`.");
    }
}
