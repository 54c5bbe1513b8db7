//! The git program, for everything that writes a working tree, an index or refs: it refuses to overwrite uncommitted
//! and untracked files, where the library does not.

mod drivers;
mod run;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use settings::environment;

/// Who commits where the person has configured no identity: each variable, the one that stands in for it, and the last resort.
const IDENTITY: [(&str, &str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "storkit"),
    ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL", "storkit@localhost"),
    ("GIT_COMMITTER_NAME", "GIT_AUTHOR_NAME", "storkit"),
    ("GIT_COMMITTER_EMAIL", "GIT_AUTHOR_EMAIL", "storkit@localhost"),
];

/// How long git may take by default: a checkout of 10,000 files on a slow disk takes a minute.
const TIMEOUT: Duration = Duration::from_secs(300);

// Variables by which an outer git (storkit started from a hook or an alias) would redirect ours, as
// `git rev-parse --local-env-vars` lists them, and those that make git print more or ask.
const FOREIGN: [&str; 22] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_EXTERNAL_DIFF",
    "GIT_LITERAL_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_TRACE",
    "GIT_QUARANTINE_PATH",
];

/// A way to call git in one place. Cheap to make; arguments never pass through a shell.
///
/// Hooks of the repository do not run, nor do the operator's filters and merge drivers; nothing is asked, no pager is opened, no
/// commit is signed, and git starts no automatic `gc`.
#[derive(Clone, Debug)]
pub struct GitProgram {
    place: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    timeout: Duration,
    /// Whether Git LFS may download.
    downloads: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitAnswer {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All of standard output; at most 64 MiB, more is [`GitProgramError::TooMuch`].
    pub stdout: Vec<u8>,
    /// The last 8 KiB of standard error.
    pub stderr: String,
}

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GitProgramError {
    /// No git, or the folder is gone.
    #[error("git cannot be started: {0}")]
    Start(#[source] std::io::Error),
    #[error("`git {command}` failed{}: {stderr}", code.map(|code| format!(" ({code})")).unwrap_or_default())]
    Failed {
        command: String,
        /// The exit code; `None` if a signal ended it.
        code: Option<i32>,
        /// The last part of its output.
        stderr: String,
    },
    /// It took too long and was ended.
    #[error("`git {command}` did not end within {} s and was stopped", timeout.as_secs())]
    Timeout {
        command: String,
        /// The limit that it was given.
        timeout: Duration,
    },
    /// Its output is too large.
    #[error("`git {command}` answered more than {} MiB", run::MAX_ANSWER >> 20)]
    TooMuch { command: String },
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    #[error("the connection to `git {command}` failed: {source}")]
    Pipe { command: String, source: std::io::Error },
}

impl GitProgram {
    /// Git in a checkout of a person's, found as usual. Never for a folder that an agent may write: its `.git`
    /// could name a configuration that runs commands. See [`GitProgram::explicit`].
    pub fn at(folder: &Path) -> Self {
        Self::new(vec!["-C".into(), folder.into()])
    }

    /// Git on a repository that is named, for a working tree whose own `.git` is not to be believed.
    pub fn explicit(git_dir: &Path, work_tree: &Path) -> Self {
        let option = |name: &str, path: &Path| {
            let mut option = OsString::from(name);
            option.push(path);
            option
        };
        let place = ["-C".into(), work_tree.into()];
        let named = [option("--git-dir=", git_dir), option("--work-tree=", work_tree)];
        Self::new(place.into_iter().chain(named).collect())
    }

    fn new(place: Vec<OsString>) -> Self {
        Self { place, environment: vec![], timeout: TIMEOUT, downloads: false }
    }

    /// Another limit than 300 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Lets Git LFS download contents, which else only come from its store. For a working tree that no agent writes.
    pub(crate) fn downloading(mut self) -> Self {
        self.downloads = true;
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Where the person has configured no identity: with that of the environment, or else `storkit <storkit@localhost>`, as
    /// author and committer. Git would refuse, or make one up from the machine's name.
    pub fn with_identity(self) -> Result<Self, GitProgramError> {
        if self.knows("user.email")? {
            return Ok(self);
        }
        let identity = complete_identity(environment::var);
        Ok(identity.into_iter().fold(self, |git, (name, value)| git.env(name, value)))
    }

    fn knows(&self, key: &str) -> Result<bool, GitProgramError> {
        Ok(self.answer(["config", "--get", key], &[])?.code == Some(0))
    }

    /// Runs it and returns standard output as text without the final line break. Any exit
    /// code but 0 is a [`GitProgramError::Failed`].
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String, GitProgramError> {
        self.run_with(args, &[])
    }

    /// As [`GitProgram::run`], with standard input.
    pub fn run_with<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Result<String, GitProgramError> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let answer = self.answer(&args, input)?;
        if answer.code != Some(0) {
            return Err(answer.refusal(&args));
        }
        let mut text = String::from_utf8_lossy(&answer.stdout).into_owned();
        text.truncate(text.trim_end_matches('\n').len());
        Ok(text)
    }

    /// Runs a check: exit code 0 is true, 1 is false, any other is a [`GitProgramError::Failed`].
    pub fn asks<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<bool, GitProgramError> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let answer = self.answer(&args, &[])?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(answer.refusal(&args)),
        }
    }

    /// Runs it and returns whatever came, also a failure.
    pub fn answer<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Result<GitAnswer, GitProgramError> {
        let args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        run::run(self.command(&args), shown(&args), input, self.timeout)
    }

    /// The whole command, for who has to feed one git from another.
    pub(crate) fn command(&self, args: &[OsString]) -> std::process::Command {
        let mut command = self.bare();
        command.arg("--no-pager");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        // `git config` runs no driver.
        if args.first().is_none_or(|name| name != "config") {
            for setting in drivers::NO_DOWNLOADS.iter().filter(|_| !self.downloads) {
                command.args(["-c", setting]);
            }
            let place = (self.place.clone(), self.environment.clone());
            for setting in drivers::turned_off(place, self.bare()) {
                command.args(["-c", &setting]);
            }
        }
        command.args(args);
        command
    }

    /// Git in its place and with its variables.
    fn bare(&self) -> std::process::Command {
        let mut command = std::process::Command::new("git");
        for name in FOREIGN {
            command.env_remove(name);
        }
        // An empty variable counts as unset, as everywhere. Git would take it for a name and refuse ("empty ident name").
        for (name, ..) in IDENTITY.iter().filter(|(name, ..)| environment::var(name).is_none()) {
            command.env_remove(name);
        }
        // In English, since callers look for `index.lock` and `not uptodate` in the messages; and nothing may
        // wait for input.
        command.envs([("LC_ALL", "C"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", "/bin/false")]);
        command.envs([("GIT_EDITOR", "true"), ("GIT_SEQUENCE_EDITOR", "true"), ("GIT_MERGE_AUTOEDIT", "no")]);
        // Paths are never patterns, and reading the status never locks the index that a person's git may
        // need.
        command.envs([("GIT_LITERAL_PATHSPECS", "1"), ("GIT_OPTIONAL_LOCKS", "0")]);
        // The tests of this crate see nothing of the machine's own configuration.
        #[cfg(test)]
        command.envs([
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(&self.place);
        command
    }
}

// For every call. `fsmonitor` would start a program that the repository's configuration names.
const SETTINGS: [&str; 6] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.quotePath=false",
];

fn complete_identity(lookup: impl Fn(&str) -> Option<String>) -> [(&'static str, String); 4] {
    IDENTITY.map(|(name, other, fallback)| {
        (name, lookup(name).or_else(|| lookup(other)).unwrap_or_else(|| fallback.to_owned()))
    })
}

impl GitAnswer {
    /// The error that this answer is.
    pub fn refusal<A: AsRef<OsStr>>(self, args: &[A]) -> GitProgramError {
        let stderr = match self.stderr.trim() {
            "" => String::from_utf8_lossy(&self.stdout).trim().chars().take(2_000).collect(),
            stderr => stderr.to_owned(),
        };
        GitProgramError::Failed { command: shown(args), code: self.code, stderr }
    }
}

/// The arguments as people read them, at most 120 characters.
fn shown<A: AsRef<OsStr>>(args: &[A]) -> String {
    let words: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    let line: String = words.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= 120 { line } else { line.chars().take(119).chain(['…']).collect() }
}

/// The repository that worktrees share (`.git`, also for a project that is itself a linked worktree), absolute.
pub fn common_dir(root: &Path) -> Result<PathBuf, git2::Error> {
    let repository = git2::Repository::open(root)?;
    let common = repository.commondir();
    Ok(std::fs::canonicalize(common).unwrap_or_else(|_| common.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, GitProgram) {
        let folder = tempfile::tempdir().expect("a folder");
        let git = GitProgram::at(folder.path());
        git.run(["init", "-q", "-b", "main"]).expect("a repository");
        (folder, git)
    }

    #[test]
    fn what_git_says_is_kept_in_the_error() {
        let (_folder, git) = repository();
        let error = git.run(["rev-parse", "--verify", "nowhere"]).unwrap_err();
        insta::assert_snapshot!(error, @"`git rev-parse --verify nowhere` failed (128): fatal: Needed a single revision");
        assert!(!git.asks(["show-ref", "--verify", "--quiet", "refs/heads/main"]).expect("it answers"));
        assert!(git.asks(["rev-parse", "--verify", "nowhere"]).is_err(), "only 1 is a no");
    }

    #[test]
    fn a_git_that_hangs_is_stopped_with_what_it_started() {
        let (_folder, git) = repository();
        let git = git.timeout(Duration::from_millis(300)).env("PROBE", "1");
        let args = ["-c", "alias.hang=!sleep 600", "hang"];
        assert!(matches!(git.run(args), Err(GitProgramError::Timeout { .. })));
    }

    #[test]
    fn input_larger_than_a_pipe_goes_in_while_output_comes_out() {
        let (_folder, git) = repository();
        let lines = "x\n".repeat(200_000);
        let answer = git.run_with(["stripspace"], lines.as_bytes()).expect("it answers");
        assert_eq!(answer.len(), lines.len() - 1);
    }

    #[test]
    fn more_output_than_can_be_used_is_an_error_and_no_memory() {
        let (_folder, git) = repository();
        let endless = ["-c", "alias.endless=!yes", "endless"];
        assert!(matches!(git.run(endless), Err(GitProgramError::TooMuch { .. })));
    }

    #[test]
    fn a_folder_that_is_gone_is_a_sentence() {
        let error = GitProgram::at(Path::new("/nonexistent/project")).run(["status"]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/project"), "{error}");
    }

    #[test]
    fn hooks_of_the_repository_do_not_run_for_storkit() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, git) = repository();
        let hook = folder.path().join(".git/hooks/pre-commit");
        std::fs::create_dir_all(hook.parent().expect("a folder")).expect("hooks");
        std::fs::write(&hook, "#!/bin/sh\nexit 1\n").expect("a hook");
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("it can run");
        git.with_identity()
            .and_then(|git| git.run(["commit", "-q", "--allow-empty", "-m", "x"]))
            .expect("a commit");
    }

    #[test]
    fn an_identity_is_completed_from_what_the_environment_has() {
        let identity = |set: &'static [(&str, &str)]| {
            let lookup = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            complete_identity(lookup).map(|(_, value)| value).join(" ")
        };
        assert_eq!(identity(&[]), "storkit storkit@localhost storkit storkit@localhost");
        assert_eq!(
            identity(&[("GIT_AUTHOR_NAME", "Ada"), ("GIT_AUTHOR_EMAIL", "a@b")]),
            "Ada a@b Ada a@b",
            "docker's example.env names only the author"
        );
        assert_eq!(identity(&[("GIT_COMMITTER_EMAIL", "c@d")]), "storkit c@d storkit c@d");
    }

    #[test]
    fn a_person_without_an_identity_gets_storkits() {
        let (_folder, git) = repository();
        let show = ["log", "-1", "--format=%cn <%ce>"];
        let commit = ["commit", "-q", "--allow-empty", "-m", "x"];
        git.clone().with_identity().and_then(|git| git.run(commit)).expect("a commit");
        assert_eq!(git.run(show).expect("a log"), "storkit <storkit@localhost>");
        git.run(["config", "user.name", "Ada"])
            .and_then(|_| git.run(["config", "user.email", "a@b"]))
            .expect("set");
        git.clone().with_identity().and_then(|git| git.run(commit)).expect("a commit");
        assert_eq!(git.run(show).expect("a log"), "Ada <a@b>");
    }
}
