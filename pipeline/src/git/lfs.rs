//! Git LFS: a file is a pointer in the repository, and its content a file of the store, named by its SHA-256
//! (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use git2::{ObjectType, Oid, Repository, Signature, TreeWalkMode, TreeWalkResult};

use super::{
    program::{GitProgram, GitProgramError},
    submodules::without_user,
};
use crate::sentence::{listed, sentence};

/// A pointer is smaller.
pub(crate) const MAX_POINTER: u64 = 1024;

/// How long the contents of a commit may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// Where git-lfs reads from which address it gets contents, unless the repository's own configuration says so.
const LFSCONFIG: &str = ".lfsconfig";

/// What `git lfs install` writes, and that a content which cannot be had stays a pointer.
pub(crate) const FILTER: [(&str, &str); 5] = [
    ("filter.lfs.clean", "git-lfs clean -- %f"),
    ("filter.lfs.smudge", "git-lfs smudge -- %f"),
    ("filter.lfs.process", "git-lfs filter-process"),
    ("filter.lfs.required", "true"),
    ("lfs.skipdownloaderrors", "true"),
];

/// The file in the repository that stands for the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LfsPointer {
    /// SHA-256, in hexadecimal digits.
    pub oid: String,
    pub size: u64,
}

/// Where contents are.
#[derive(Clone, Debug)]
pub(crate) struct LfsStore(PathBuf);

/// Whether files of Git LFS can be worked with on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LfsReadiness {
    Ready,
    /// `git-lfs` is missing.
    NotInstalled,
    /// git does not know the filter: `git lfs install` was never run.
    NotSetUp,
}

/// Why the contents of a commit are not all there.
#[derive(Debug, thiserror::Error)]
pub enum LfsError {
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    #[error(transparent)]
    Git(#[from] GitProgramError),
    #[error("`{folder}` cannot be written: {source}")]
    Scratch { folder: PathBuf, source: std::io::Error },
    #[error(
        "The contents of {} in Git LFS are not on this machine, and `git lfs fetch` could not get them from the remote `{remote}`: {why} Once \
         the remote can be reached, continue; or run `git lfs fetch {remote}` in the project yourself.",
        listed(paths)
    )]
    Missing { paths: Vec<String>, remote: String, why: String },
}

impl LfsPointer {
    /// `None` for anything else. Pointers of LFS extensions are other programs' contents, and count as something else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() < MAX_POINTER as usize)?;
        let mut lines = text.lines();
        lines.next().filter(|line| *line == "version https://git-lfs.github.com/spec/v1")?;
        let oid = lines.next()?.strip_prefix("oid sha256:")?;
        let size = lines.next()?.strip_prefix("size ")?.parse().ok()?;
        let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        (oid.len() == 64 && oid.chars().all(is_digit) && lines.next().is_none())
            .then(|| Self { oid: oid.to_owned(), size })
    }

    /// Where it is in a store, and in the private one of an agent.
    pub fn file(&self) -> PathBuf {
        [&self.oid[..2], &self.oid[2..4], &self.oid].iter().collect()
    }
}

impl LfsStore {
    /// That of the repository whose git folder this is.
    pub fn of(common: &Path) -> Result<Self, GitProgramError> {
        let found = GitProgram::explicit(common, common)
            .answer(["config", "--type=path", "--get", "lfs.storage"], &[])?;
        let set = String::from_utf8_lossy(&found.stdout).trim_end().to_owned();
        let folder = if found.code == Some(0) && !set.is_empty() { set } else { "lfs".to_owned() };
        Ok(Self(common.join(folder).join("objects")))
    }

    pub fn path(&self, pointer: &LfsPointer) -> PathBuf {
        self.0.join(pointer.file())
    }

    pub fn has(&self, pointer: &LfsPointer) -> bool {
        // An empty file needs no content.
        let is_whole = |found: fs::Metadata| found.is_file() && found.len() == pointer.size;
        pointer.size == 0 || fs::metadata(self.path(pointer)).is_ok_and(is_whole)
    }
}

/// Whether git-lfs is there, and git knows it.
pub(crate) fn readiness(git: &GitProgram) -> Result<LfsReadiness, GitProgramError> {
    if git.answer(["lfs", "version"], &[])?.code != Some(0) {
        return Ok(LfsReadiness::NotInstalled);
    }
    Ok(if is_set_up(git)? { LfsReadiness::Ready } else { LfsReadiness::NotSetUp })
}

/// Whether git has the filter of Git LFS.
pub(crate) fn is_set_up(git: &GitProgram) -> Result<bool, GitProgramError> {
    let args = ["config", "--get-regexp", r"^filter\.lfs\.(clean|process)$", "."];
    Ok(git.answer(args, &[])?.code == Some(0))
}

/// Whether the attributes in a tree put files into Git LFS.
pub(crate) fn is_used(repository: &Repository, tree: Oid) -> Result<bool, git2::Error> {
    let mut found = false;
    repository
        .find_tree(tree)?
        .walk(TreeWalkMode::PreOrder, |_, entry| {
            let is_attributes =
                entry.kind() == Some(ObjectType::Blob) && entry.name_bytes() == b".gitattributes";
            if is_attributes
                && repository.find_blob(entry.id()).is_ok_and(|blob| names_filter(blob.content()))
            {
                found = true;
            }
            if found { TreeWalkResult::Abort } else { TreeWalkResult::Ok }
        })
        .or_else(|error| if found { Ok(()) } else { Err(error) })?;
    Ok(found)
}

/// Whether a file of attributes names the filter.
pub(crate) fn names_filter(attributes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(attributes);
    text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains("filter=lfs"))
}

/// The pointers in a tree, by path.
fn pointers(repository: &Repository, tree: Oid) -> Result<BTreeMap<PathBuf, LfsPointer>, git2::Error> {
    let store = repository.odb()?;
    let mut found = BTreeMap::new();
    repository.find_tree(tree)?.walk(TreeWalkMode::PreOrder, |folder, entry| {
        let is_small = || store.read_header(entry.id()).is_ok_and(|(size, _)| size < MAX_POINTER as usize);
        if entry.kind() == Some(ObjectType::Blob)
            && is_small()
            && let Ok(blob) = repository.find_blob(entry.id())
            && let Some(pointer) = LfsPointer::parse(blob.content())
        {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            found.insert(Path::new(folder).join(name), pointer);
        }
        TreeWalkResult::Ok
    })?;
    Ok(found)
}

/// Gets the contents that a commit needs and that are not in the store, from the remote that `base` follows. The address is that of the
/// repository's configuration, or of `.lfsconfig` on `base`: no other branch has a say, since the operator's credentials go there.
/// Without a remote, or where the operator had git-lfs installed with `--skip-smudge`, pointers stay pointers. Blocks.
pub(crate) fn fetch_missing(
    (common, scratch): (&Path, &Path),
    base: &str,
    commit: Oid,
) -> Result<(), LfsError> {
    let repository = Repository::open(common)?;
    let git = GitProgram::explicit(common, common);
    let tree = repository.find_commit(commit)?.tree_id();
    if !is_set_up(&git)? || skips(&git)? || !is_used(&repository, tree)? {
        return Ok(());
    }
    let store = LfsStore::of(common)?;
    let lacking = |(path, pointer): (PathBuf, LfsPointer)| (!store.has(&pointer)).then_some(path);
    let missing: Vec<PathBuf> = pointers(&repository, tree)?.into_iter().filter_map(lacking).collect();
    let Some(remote) = remote(&git, base)?.filter(|_| !missing.is_empty()) else { return Ok(()) };
    let of_base = repository.find_reference(&format!("refs/heads/{base}"))?.peel_to_tree()?.id();
    let config = lfsconfig(&repository, Some(of_base));
    let fetched = FetchRun { common, scratch, config: &config, remote: &remote }.run(commit)?;
    fetched.map_err(|why| LfsError::Missing {
        paths: missing.iter().map(|path| path.display().to_string()).collect(),
        remote,
        why,
    })
}

/// As [`fetch_missing`], for all of a tree and as far as they can be had: where nobody has a content, git-lfs fails. `before` is base's tree.
pub(crate) fn try_fetch(
    repository: &Repository,
    scratch: &Path,
    before: Option<Oid>,
    after: Oid,
) -> Result<(), LfsError> {
    let common = repository.commondir();
    let Some(remote) = remote(&GitProgram::explicit(common, common), "")? else { return Ok(()) };
    // git-lfs takes commits only. Nothing leads to this one.
    let who = Signature::now("storkit", "storkit@localhost")?;
    let tree = repository.find_tree(after)?;
    let commit = repository.commit(None, &who, &who, "storkit: contents to be fetched\n", &tree, &[])?;
    let config = lfsconfig(repository, before);
    if let Err(why) = (FetchRun { common, scratch, config: &config, remote: &remote }).run(commit)? {
        tracing::debug!(%why, "not all contents of a branch can be fetched");
    }
    Ok(())
}

/// The text of `.lfsconfig` in a tree.
fn lfsconfig(repository: &Repository, tree: Option<Oid>) -> Vec<u8> {
    let entry = tree.and_then(|tree| Some(repository.find_tree(tree).ok()?.get_name(LFSCONFIG)?.id()));
    entry.and_then(|blob| Some(repository.find_blob(blob).ok()?.content().to_owned())).unwrap_or_default()
}

/// One call of `git lfs fetch`.
struct FetchRun<'a> {
    common: &'a Path,
    /// For files as long as it runs.
    scratch: &'a Path,
    /// The text of `.lfsconfig`.
    config: &'a [u8],
    remote: &'a str,
}

impl FetchRun<'_> {
    /// The inner error is what git-lfs said.
    fn run(&self, commit: Oid) -> Result<Result<(), String>, LfsError> {
        let failed = |source| LfsError::Scratch { folder: self.scratch.to_owned(), source };
        // git-lfs reads `.lfsconfig` in the working tree, and if there is none that of the index and of HEAD.
        let place = tempfile::Builder::new().prefix(".tmp-lfs-").tempdir_in(self.scratch).map_err(failed)?;
        fs::write(place.path().join(LFSCONFIG), self.config).map_err(failed)?;
        let git = GitProgram::explicit(self.common, place.path()).timeout(TIMEOUT).downloading();
        let args = ["lfs", "fetch", self.remote, &commit.to_string()];
        let answer = git.answer(args, &[])?;
        if answer.code == Some(0) {
            return Ok(Ok(()));
        }
        let said = answer.refusal(&args).to_string();
        let words: Vec<String> = said.split_whitespace().map(without_user).collect();
        Ok(Err(sentence(&words.join(" "))))
    }
}

/// Whether the operator's git leaves pointers as they are.
fn skips(git: &GitProgram) -> Result<bool, GitProgramError> {
    let args = ["config", "--get-regexp", r"^filter\.lfs\.(smudge|process)$", "--skip"];
    Ok(git.answer(args, &[])?.code == Some(0))
}

/// The remote of the base branch; without one `origin`, or the only one.
fn remote(git: &GitProgram, base: &str) -> Result<Option<String>, GitProgramError> {
    let all = git.run(["remote"])?;
    let names: Vec<&str> = all.lines().collect();
    let own = git.answer(["config", "--get", &format!("branch.{base}.remote")], &[])?;
    let own = String::from_utf8_lossy(&own.stdout).trim_end().to_owned();
    let usual = ["origin", names.first().filter(|_| names.len() == 1).unwrap_or(&"origin")];
    let known = [own.as_str()].into_iter().chain(usual).find(|name| names.contains(name));
    Ok(known.map(str::to_owned))
}
