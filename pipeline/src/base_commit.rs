//! A commit of chosen files on base: whole or not at all. It is made from git's objects, so no hook runs, nothing that the person has
//! staged is in it, and neither a sparse checkout nor another branch that is checked out is in its way.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    Project,
    git::program::{GitProgram, GitProgramError},
    guard::BaseGuard,
};

/// For `update-ref`: the branch must not exist (git-update-ref(1)).
const NONE: &str = "";

/// A file of the commit, relative to the project.
#[derive(Clone, Copy)]
pub struct CommittedFile<'a> {
    pub name: &'a str,
    /// `None` removes it.
    pub text: Option<&'a str>,
}

/// Whether the commit is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitSigning {
    /// If `commit.gpgSign` asks for it: a person is there.
    AsConfigured,
    Never,
}

/// Why there is no commit. Nothing that the person sees has changed.
#[derive(Debug, thiserror::Error)]
pub enum BaseCommitError {
    #[error("`{path}` cannot be used: {source}.")]
    Disk { path: PathBuf, source: io::Error },
    #[error("{0}.")]
    Git(#[from] GitProgramError),
    #[error("git could not sign the commit, which `commit.gpgSign` asks for: {0}.")]
    Signing(String),
}

/// A commit that no branch has yet.
pub struct BaseCommit {
    git: GitProgram,
    reference: String,
    commit: String,
    before: Option<String>,
    /// The entries of the person's index, where base is checked out.
    entries: Option<Vec<IndexEntry>>,
}

struct IndexEntry {
    name: String,
    blob: Option<String>,
    /// What the index had before, as `MODE BLOB`.
    before: Option<(String, String)>,
}

impl BaseCommit {
    /// Makes the commit's objects, signed if that is the person's setting. Nothing that the person sees changes.
    ///
    /// Fails where git refuses, or where the commit cannot be signed.
    pub fn new(
        project: &Project,
        base: &str,
        files: &[CommittedFile<'_>],
        (message, signing): (&str, CommitSigning),
    ) -> Result<Self, BaseCommitError> {
        let root = project.root();
        let git = GitProgram::at(root).with_identity()?;
        let reference = format!("refs/heads/{base}");
        let before =
            git.answer(["rev-parse", "--quiet", "--verify", &format!("{reference}^{{commit}}")], &[])?;
        let before =
            (before.code == Some(0)).then(|| String::from_utf8_lossy(&before.stdout).trim_end().to_owned());
        let index = tempfile::TempDir::with_prefix_in(".tmp-init", project.run_dir())
            .map_err(|source| BaseCommitError::Disk { path: project.run_dir(), source })?;
        let aside = git.clone().env("GIT_INDEX_FILE", index.path().join("index"));
        if let Some(before) = &before {
            aside.run(["read-tree", before])?;
        }
        let mut entries = Vec::new();
        for file in files {
            let blob = match file.text {
                Some(text) => Some(git.run_with(["hash-object", "-w", "--stdin"], text.as_bytes())?),
                None => None,
            };
            set_entry(&aside, file.name, blob.as_deref().map(|blob| ("100644", blob)))?;
            entries.push(IndexEntry { name: file.name.to_owned(), blob, before: None });
        }
        let tree = aside.run(["write-tree"])?;
        let commit = commit_tree(&git, (&tree, before.as_deref()), message, signing)?;
        let head = git.answer(["symbolic-ref", "--quiet", "HEAD"], &[])?;
        let is_here = String::from_utf8_lossy(&head.stdout).trim_end() == reference;
        Ok(Self { git, reference, commit, before, entries: is_here.then_some(entries) })
    }

    pub fn id(&self) -> &str {
        &self.commit
    }

    /// Moves base to the commit, and the index with it where base is checked out. If base cannot be moved, the index is as it was.
    ///
    /// Fails where another git is at work, or somebody has moved base meanwhile.
    pub fn land(mut self, _base: &BaseGuard) -> Result<String, BaseCommitError> {
        let mut done = 0;
        let landed = self.update_index(&mut done).and_then(|()| {
            let old = self.before.as_deref().unwrap_or(NONE);
            self.git.run(["update-ref", "-m", "storkit: set up", &self.reference, &self.commit, old])
        });
        if let Err(error) = landed {
            for entry in self.entries.iter().flatten().take(done) {
                let before = entry.before.as_ref().map(|(mode, blob)| (mode.as_str(), blob.as_str()));
                if let Err(error) = set_entry(&self.git, &entry.name, before) {
                    tracing::warn!(%error, entry.name, "an entry of the index cannot be taken back");
                }
            }
            return Err(error.into());
        }
        Ok(self.commit)
    }

    fn update_index(&mut self, done: &mut usize) -> Result<(), GitProgramError> {
        for entry in self.entries.iter_mut().flatten() {
            let listed = self.git.run(["ls-files", "--stage", "--", &entry.name])?;
            let mut words = listed.split_whitespace();
            entry.before = words.next().zip(words.next()).map(|(mode, blob)| (mode.into(), blob.into()));
            set_entry(&self.git, &entry.name, entry.blob.as_deref().map(|blob| ("100644", blob)))?;
            *done += 1;
        }
        Ok(())
    }
}

fn set_entry(git: &GitProgram, name: &str, entry: Option<(&str, &str)>) -> Result<(), GitProgramError> {
    let args = match entry {
        Some((mode, blob)) => {
            vec!["update-index".into(), "--add".into(), "--cacheinfo".into(), format!("{mode},{blob},{name}")]
        }
        None => ["update-index", "--force-remove", "--", name].map(String::from).to_vec(),
    };
    git.run(args).map(drop)
}

fn commit_tree(
    git: &GitProgram,
    (tree, parent): (&str, Option<&str>),
    message: &str,
    signing: CommitSigning,
) -> Result<String, BaseCommitError> {
    let signs = signing == CommitSigning::AsConfigured && signs_commits(git)?;
    let mut args = vec!["commit-tree"];
    args.extend(signs.then_some("-S"));
    args.push(tree);
    args.extend(parent.into_iter().flat_map(|parent| ["-p", parent]));
    args.extend(["-m", message]);
    match git.run(args) {
        Err(GitProgramError::Failed { stderr, .. }) if signs => Err(BaseCommitError::Signing(stderr)),
        result => Ok(result?),
    }
}

/// The person's own setting. storkit's calls of git set another one, which does not count here.
fn signs_commits(git: &GitProgram) -> Result<bool, GitProgramError> {
    let args = ["config", "--type=bool", "--show-scope", "--get-all", "commit.gpgSign"];
    let answer = git.answer(args, &[])?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let mut set = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(set.rfind(|(scope, _)| *scope != "command").is_some_and(|(_, value)| value == "true"))
}

/// Whether another checkout of the repository has this branch: its files would not follow a commit from here.
pub fn checked_out_elsewhere(root: &Path, branch: &str) -> Result<Option<String>, GitProgramError> {
    let git = GitProgram::at(root);
    let listed = git.run(["worktree", "list", "--porcelain", "-z"])?;
    // Git lists the checkout of a repository that is kept elsewhere (`git clone --separate-git-dir`) under the repository's own path.
    let own = git.run(["rev-parse", "--absolute-git-dir"])?;
    let (mut folder, wanted) = (None, format!("branch refs/heads/{branch}"));
    for line in listed.split('\0') {
        if let Some(path) = line.strip_prefix("worktree ") {
            folder = Some(path.to_owned());
        } else if line == wanted {
            return Ok(folder.filter(|folder| Path::new(folder) != root && *folder != own));
        }
    }
    Ok(None)
}
