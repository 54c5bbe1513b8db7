//! The kind of repository that a project is: what is unusual about it, and whether storkit can work in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use git2::{Repository, RepositoryState};

use super::{
    lfs::{self, LfsReadiness},
    program::{GitProgram, GitProgramError},
    submodules,
};
use crate::Project;

/// Something unusual about a repository. Only what git's own files say; nothing is run but git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryTrait {
    /// History is cut off.
    Shallow,
    /// Objects are fetched from this remote when they are needed.
    Partial {
        remote: String,
    },
    /// The checkout has a part of the files.
    Sparse,
    /// The index is in two files, which libgit2 cannot read.
    SplitIndex,
    /// The index leaves out folders outside of the sparse checkout, which libgit2 cannot read.
    SparseIndex,
    DetachedHead,
    /// The branch that is checked out has no commit yet.
    UnbornBranch {
        branch: String,
    },
    /// A linked worktree, maybe of a bare repository.
    LinkedWorktree {
        of_bare: bool,
    },
    /// These submodules are initialised in the main checkout, and these are not.
    Submodules {
        ready: Vec<PathBuf>,
        missing: Vec<PathBuf>,
    },
    /// Files are stored with Git LFS.
    Lfs {
        readiness: LfsReadiness,
    },
    /// A person's rebase, merge or the like is in progress in the checkout.
    InProgress,
}

impl RepositoryTrait {
    /// Why storkit cannot work in such a repository, and what to do, in sentences; `None` where it can.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::SplitIndex => Some(
                "The repository splits its index (`core.splitIndex`), which storkit cannot read. Turn that off with \
                 `git config core.splitIndex false && git update-index --no-split-index`."
                    .into(),
            ),
            Self::SparseIndex => Some(
                "The repository has a sparse index (`index.sparse`), which storkit cannot read. Keep the sparse checkout and turn the \
                 index into a full one with `git sparse-checkout reapply --no-sparse-index`."
                    .into(),
            ),
            Self::Lfs { readiness: LfsReadiness::NotInstalled } => Some(
                "Files of this project are stored with Git LFS, and `git-lfs` is not installed: stories would work without their contents, and \
                 commit large files whole. Install it (on Debian or Ubuntu `sudo apt-get install git-lfs`), and run `git lfs install` and \
                 `git lfs pull`."
                    .into(),
            ),
            Self::Lfs { readiness: LfsReadiness::NotSetUp } => Some(
                "Files of this project are stored with Git LFS, and git does not know `git-lfs` yet: stories would work without their contents, \
                 and commit large files whole. Run `git lfs install`, and `git lfs pull` here."
                    .into(),
            ),
            Self::Shallow
            | Self::Partial { .. }
            | Self::Sparse
            | Self::DetachedHead
            | Self::UnbornBranch { .. }
            | Self::LinkedWorktree { .. }
            | Self::Submodules { .. }
            | Self::Lfs { readiness: LfsReadiness::Ready }
            | Self::InProgress => None,
        }
    }
}

/// What is unusual about the project's repository. Blocks, and starts git a few times.
pub fn traits(project: &Project) -> Result<Vec<RepositoryTrait>, GitProgramError> {
    let repository = Repository::open(project.root())?;
    let git = GitProgram::at(project.root());
    let mut found = Vec::new();
    if repository.is_shallow() {
        found.push(RepositoryTrait::Shallow);
    }
    found.extend(promisor(&git)?.map(|remote| RepositoryTrait::Partial { remote }));
    if is_on(&git, "core.sparseCheckout")? {
        found.push(RepositoryTrait::Sparse);
    }
    found.extend(index(&repository, &git)?);
    found.extend(head(&repository));
    if repository.is_worktree() {
        let of_bare = Repository::open(repository.commondir()).is_ok_and(|main| main.is_bare());
        found.push(RepositoryTrait::LinkedWorktree { of_bare });
    }
    found.extend(submodules_of(project, &repository)?);
    found.extend(lfs(&repository, &git)?);
    if repository.state() != RepositoryState::Clean {
        found.push(RepositoryTrait::InProgress);
    }
    Ok(found)
}

/// Why storkit cannot work in the project's repository, in sentences.
pub fn refusal(project: &Project) -> Result<Option<String>, GitProgramError> {
    let found = traits(project)?;
    let why: Vec<String> = found.iter().filter_map(RepositoryTrait::refusal).collect();
    Ok((!why.is_empty()).then(|| why.join(" ")))
}

/// Why libgit2 cannot read the repository's index, in sentences. Runs `git config` alone, so it is safe where nobody has confirmed the
/// repository's configuration.
pub fn unreadable_index(project: &Project) -> Result<Option<String>, GitProgramError> {
    let repository = Repository::open(project.root())?;
    let found = index(&repository, &GitProgram::at(project.root()))?;
    let why: Vec<String> = found.iter().filter_map(RepositoryTrait::refusal).collect();
    Ok((!why.is_empty()).then(|| why.join(" ")))
}

/// As [`unreadable_index`], by the file of the index alone.
pub(crate) fn unreadable_index_of(repository: &Repository) -> Option<String> {
    match IndexKind::of(&repository.path().join("index")) {
        IndexKind::Plain => None,
        IndexKind::Split => RepositoryTrait::SplitIndex.refusal(),
        IndexKind::Sparse => RepositoryTrait::SparseIndex.refusal(),
    }
}

/// What is unusual about the index, or will be once git writes it.
fn index(repository: &Repository, git: &GitProgram) -> Result<Vec<RepositoryTrait>, GitProgramError> {
    let index = IndexKind::of(&repository.path().join("index"));
    let is_sparse =
        index == IndexKind::Sparse || is_on(git, "index.sparse")? && is_on(git, "core.sparseCheckout")?;
    let is_split = index == IndexKind::Split || is_on(git, "core.splitIndex")?;
    let sparse = is_sparse.then_some(RepositoryTrait::SparseIndex);
    Ok(sparse.into_iter().chain(is_split.then_some(RepositoryTrait::SplitIndex)).collect())
}

fn is_on(git: &GitProgram, key: &str) -> Result<bool, GitProgramError> {
    Ok(git.run(["config", "--type=bool", "--default=false", "--get", key])? == "true")
}

/// Why libgit2 cannot open a repository at all, in sentences: git itself can.
pub(crate) fn unreadable(start: &Path) -> Option<String> {
    let git = GitProgram::at(start);
    let setting = |key: &str| git.run(["config", "--get", key]).ok().filter(|value| !value.is_empty());
    if setting("extensions.refStorage").is_some_and(|format| format != "files") {
        return Some(format!(
            "The repository at `{}` stores its branches as a reftable, which storkit cannot read. Convert it with \
             `git refs migrate --ref-format=files`, or serve a clone that was made with `git clone --ref-format=files`.",
            start.display()
        ));
    }
    setting("extensions.objectFormat").filter(|format| format != "sha1").map(|format| {
        format!(
            "The repository at `{}` names its objects by {format}, which storkit cannot read: it works in repositories with SHA-1.",
            start.display()
        )
    })
}

/// The remote that a partial clone fetches from (git-clone(1), `--filter`).
fn promisor(git: &GitProgram) -> Result<Option<String>, GitProgramError> {
    let answer =
        git.answer(["config", "--name-only", "--get-regexp", r"^remote\..*\.promisor$", "true"], &[])?;
    let names = String::from_utf8_lossy(&answer.stdout).into_owned();
    let name = names.lines().next().and_then(|key| key.strip_prefix("remote.")?.strip_suffix(".promisor"));
    Ok(name.map(str::to_owned))
}

fn head(repository: &Repository) -> Option<RepositoryTrait> {
    if repository.head_detached().unwrap_or(false) {
        return Some(RepositoryTrait::DetachedHead);
    }
    let unborn = matches!(repository.head(), Err(error) if error.code() == git2::ErrorCode::UnbornBranch);
    let branch = repository.find_reference("HEAD").ok().filter(|_| unborn)?;
    let name = branch.symbolic_target().ok().flatten()?.trim_start_matches("refs/heads/").to_owned();
    Some(RepositoryTrait::UnbornBranch { branch: name })
}

fn submodules_of(
    project: &Project,
    repository: &Repository,
) -> Result<Option<RepositoryTrait>, GitProgramError> {
    let Ok(tree) = repository.head().and_then(|head| head.peel_to_tree()) else { return Ok(None) };
    let modules = submodules::listed(repository, tree.id())?;
    let links = submodules::links(repository, tree.id())?;
    let is_ready = |path: &PathBuf| {
        let module = modules.get(path);
        module.is_some_and(|module| {
            submodules::store(project.root(), repository.commondir(), path, module).is_some()
        })
    };
    let listed = links.into_keys().filter(|path| modules.contains_key(path));
    let (ready, missing): (Vec<PathBuf>, Vec<PathBuf>) = listed.partition(is_ready);
    let has_any = !ready.is_empty() || !missing.is_empty();
    Ok(has_any.then_some(RepositoryTrait::Submodules { ready, missing }))
}

/// Most of the attributes that are read for Git LFS.
const MAX_ATTRIBUTES: u64 = 1 << 20;

fn lfs(repository: &Repository, git: &GitProgram) -> Result<Option<RepositoryTrait>, GitProgramError> {
    let tree = repository.head().and_then(|head| head.peel_to_tree()).ok();
    let own = repository.commondir().join("info/attributes");
    let is_small = own.metadata().is_ok_and(|found| found.len() <= MAX_ATTRIBUTES);
    let is_used = is_small && fs::read(&own).is_ok_and(|text| lfs::names_filter(&text))
        || tree.map(|tree| lfs::is_used(repository, tree.id())).transpose()?.unwrap_or(false);
    if !is_used {
        return Ok(None);
    }
    Ok(Some(RepositoryTrait::Lfs { readiness: lfs::readiness(git)? }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IndexKind {
    Plain,
    /// With the extension `link` (gitformat-index(5)).
    Split,
    /// With the extension `sdir`.
    Sparse,
}

impl IndexKind {
    /// By the extensions behind its entries. An index that is missing or cut off is a plain one.
    fn of(path: &Path) -> Self {
        let index = fs::read(path).unwrap_or_default();
        match extensions(&index) {
            Some(names) if names.contains(&b"link".as_slice()) => Self::Split,
            Some(names) if names.contains(&b"sdir".as_slice()) => Self::Sparse,
            Some(_) | None => Self::Plain,
        }
    }
}

/// The names of an index's extensions (gitformat-index(5)). The entries are stepped over: a file's name may contain that of an extension.
fn extensions(index: &[u8]) -> Option<Vec<&[u8]>> {
    const HEADER: usize = 12;
    /// Up to the flags, with a SHA-1.
    const FIXED: usize = 62;
    const EXTENDED: u8 = 0x40;
    const CHECKSUM: usize = 20;
    let number = |at: usize| Some(u32::from_be_bytes(index.get(at..at + 4)?.try_into().ok()?) as usize);
    let (version, entries) = (number(4)?, number(8)?);
    let mut at = HEADER;
    for _ in 0..entries {
        let flags = *index.get(at + FIXED - 2)?;
        let mut name = at + FIXED + if flags & EXTENDED != 0 { 2 } else { 0 };
        if version >= 4 {
            // How much of the name before it is cut off, seven bits a byte.
            name += 1 + index.get(name..)?.iter().position(|byte| byte & 0x80 == 0)?;
        }
        let end = name + index.get(name..)?.iter().position(|byte| *byte == 0)?;
        // Before version 4, one to eight zeros fill an entry up to a multiple of eight bytes.
        at = if version < 4 { at + (end - at) / 8 * 8 + 8 } else { end + 1 };
    }
    let mut names = Vec::new();
    while at + CHECKSUM < index.len() {
        names.push(index.get(at..at + 4)?);
        at += 8 + number(at + 4)?;
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProjectError, worktree::fixture::WorktreeFixture};

    fn found(fixture: &WorktreeFixture) -> Vec<RepositoryTrait> {
        traits(&fixture.project).expect("they are read")
    }

    #[test]
    fn a_usual_repository_has_no_traits() {
        assert_eq!(found(&WorktreeFixture::new()), []);
    }

    #[test]
    fn what_is_checked_out_is_recognised() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["switch", "-q", "--detach"]);
        assert_eq!(found(&fixture), [RepositoryTrait::DetachedHead]);
        fixture.git(&["switch", "-q", "--orphan", "new"]);
        assert_eq!(found(&fixture), [RepositoryTrait::UnbornBranch { branch: "new".into() }]);
        let fixture = WorktreeFixture::new();
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "second"]);
        std::fs::write(fixture.root().join(".git/MERGE_HEAD"), fixture.git(&["rev-parse", "HEAD~1"]))
            .unwrap();
        assert_eq!(found(&fixture), [RepositoryTrait::InProgress]);
    }

    #[test]
    fn a_file_whose_name_ends_like_an_extensions_is_no_extension() {
        for version in ["2", "3", "4"] {
            let fixture = WorktreeFixture::new();
            for name in ["link", "symlink", "in/alink", "sdir", "x/asdir"] {
                fixture.write(&format!("f/{name}"), "");
            }
            fixture.git(&["add", "."]);
            fixture.git(&["update-index", "--index-version", version]);
            // An entry with extended flags.
            fixture.git(&["update-index", "--skip-worktree", "f/link"]);
            assert_eq!(found(&fixture), [], "version {version}");
            fixture.git(&["update-index", "--split-index"]);
            assert_eq!(found(&fixture), [RepositoryTrait::SplitIndex], "version {version}");
        }
    }

    #[test]
    fn an_index_that_cannot_be_read_is_refused_with_a_way_out() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["config", "core.splitIndex", "true"]);
        fixture.git(&["update-index", "--split-index"]);
        assert_eq!(found(&fixture), [RepositoryTrait::SplitIndex]);
        let why = refusal(&fixture.project).unwrap().expect("it is refused");
        assert!(
            why.contains("git config core.splitIndex false && git update-index --no-split-index"),
            "{why}"
        );
        fixture.git(&["config", "core.splitIndex", "false"]);
        fixture.git(&["update-index", "--no-split-index"]);
        assert_eq!(refusal(&fixture.project).unwrap(), None);
        fixture.write("in/a", "");
        fixture.write("out/b", "");
        fixture.git(&["add", "."]);
        fixture.git(&["commit", "-q", "-m", "folders"]);
        fixture.git(&["sparse-checkout", "set", "--sparse-index", "in"]);
        assert_eq!(found(&fixture), [RepositoryTrait::Sparse, RepositoryTrait::SparseIndex]);
        assert!(refusal(&fixture.project).unwrap().is_some());
        fixture.git(&["sparse-checkout", "reapply", "--no-sparse-index"]);
        assert_eq!(
            (found(&fixture), refusal(&fixture.project).unwrap()),
            (vec![RepositoryTrait::Sparse], None)
        );
    }

    #[test]
    fn clones_and_linked_worktrees_are_recognised() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "second"]);
        fixture.git(&["config", "uploadpack.allowFilter", "true"]);
        let of = |name: &str| {
            let project = Project::open(&fixture.root().with_file_name(name)).expect("a project");
            traits(&project).expect("they are read")
        };
        let url = format!("file://{}", fixture.root().display());
        fixture.git(&["clone", "-q", "--depth", "1", &url, "../shallow"]);
        assert_eq!(of("shallow"), [RepositoryTrait::Shallow]);
        fixture.git(&["clone", "-q", "--filter=blob:none", &url, "../partial"]);
        assert_eq!(of("partial"), [RepositoryTrait::Partial { remote: "origin".into() }]);
        fixture.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
        let bare = fixture.root().with_file_name("bare.git");
        fixture.git_in(&bare, &["worktree", "add", "-q", "../tree", "main"]);
        assert_eq!(of("tree"), [RepositoryTrait::LinkedWorktree { of_bare: true }]);
    }

    #[test]
    fn submodules_and_lfs_are_recognised() {
        let fixture = WorktreeFixture::new();
        let lib = WorktreeFixture::new();
        let url = lib.root().to_str().expect("text").to_owned();
        fixture.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, "lib"]);
        fixture.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        fixture.git(&["add", "."]);
        fixture.git(&["commit", "-q", "-m", "both"]);
        let [RepositoryTrait::Submodules { ready, missing }, RepositoryTrait::Lfs { .. }] =
            &found(&fixture)[..]
        else {
            panic!("{:?}", found(&fixture))
        };
        assert_eq!((ready, missing), (&vec![PathBuf::from("lib")], &vec![]));
        fixture.git(&["submodule", "--quiet", "deinit", "--force", "lib"]);
        std::fs::remove_dir_all(fixture.root().join(".git/modules")).unwrap();
        let missing = RepositoryTrait::Submodules { ready: vec![], missing: vec!["lib".into()] };
        assert_eq!(found(&fixture)[0], missing);
    }

    #[test]
    fn a_repository_that_libgit2_cannot_open_gets_a_plain_sentence() {
        let folder = tempfile::tempdir().expect("a folder");
        for (kind, option, word) in
            [("ref", "--ref-format=reftable", "reftable"), ("hash", "--object-format=sha256", "sha256")]
        {
            let path = folder.path().join(kind);
            let made = GitProgram::at(folder.path()).run(["init", "-q", option, kind]);
            // Git before 2.45 knows no reftable.
            if made.is_err() {
                continue;
            }
            let error = Project::open(&path).expect_err("it is refused");
            assert!(matches!(error, ProjectError::Unsupported(_)), "{error}");
            let said = error.to_string();
            assert!(said.contains(word) && said.contains("which storkit cannot read"), "{said}");
        }
    }
}
