//! What a branch must not bring to base: pointers to commits that nobody else has, and conflicts that nobody resolved.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use git2::{Delta, DiffDelta, Oid, Repository, Tree};
use serde::{Deserialize, Serialize};

use crate::{
    git::{
        lfs::{self, LfsError, LfsPointer, LfsStore},
        program::{GitProgram, GitProgramError},
        submodules::{self, GITLINK, RemoteError, Submodule},
    },
    sentence::listed,
};

/// A larger file is not looked through for conflict markers.
const MAX_LOOK: usize = 16 << 20;

/// How many characters a conflict marker has, unless base's attributes say otherwise (gitattributes(5), `conflict-marker-size`).
const MARKER: usize = 7;

/// Something that a branch brings and that is refused. [`fmt::Display`] is one or more sentences: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BranchFault {
    /// A repository inside the repository: git has committed the name of its commit, and none of its files.
    NestedRepository { path: String },
    /// A submodule whose address base does not have. storkit contacts no address that a branch names.
    NewAddress { path: String, address: String },
    /// The commit of a submodule is on no branch or tag of its remote.
    UnpublishedCommit { path: String, commit: String, address: String },
    /// These files have conflict markers that base does not have.
    ConflictMarkers { paths: Vec<String> },
    /// Pointers of Git LFS to contents that are neither here nor on the remote.
    MissingContents { paths: Vec<String> },
}

/// Why a branch could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum FaultCheckError {
    #[error("the repository cannot be read: {0}")]
    Read(#[from] git2::Error),
    #[error(transparent)]
    Git(#[from] GitProgramError),
    #[error(transparent)]
    Lfs(#[from] LfsError),
    /// Nobody knows whether it has the commit.
    #[error(
        "The remote of the submodule `{path}` (`{address}`) cannot be asked whether it has the commit `{commit:.10}`: {why}"
    )]
    Remote { path: String, address: String, commit: String, why: String },
}

impl fmt::Display for BranchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NestedRepository { path } => write!(
                f,
                "`{path}` is a git repository of its own: the branch has the name of its commit and none of its files. To commit the \
                 files, run `git rm --cached {path}`, remove `{path}/.git`, and add `{path}` again; otherwise take it out of the branch."
            ),
            Self::NewAddress { path, address } => write!(
                f,
                "The submodule `{path}` has the address `{address}`, which the base branch does not have. A person adds a submodule or \
                 changes its address, on the base branch; take the change out of this branch."
            ),
            Self::UnpublishedCommit { path, commit, address } => write!(
                f,
                "The submodule `{path}` points to the commit `{commit:.10}`, which is on no branch or tag of its remote (`{address}`), so \
                 nobody else could check it out. Push it there first, or point the submodule to a commit that is there."
            ),
            Self::ConflictMarkers { paths } => write!(
                f,
                "{} {} conflict markers (`<<<<<<<`, `>>>>>>>`) that the base branch does not have. Resolve the conflicts and commit the result.",
                listed(paths),
                if paths.len() == 1 { "has" } else { "have" }
            ),
            Self::MissingContents { paths } => write!(
                f,
                "{} {} in Git LFS, and the branch has the name of a content that is neither here nor on the remote. Write the file itself and commit it with \
                 `git add`, which stores the content; or take the change out of the branch.",
                listed(paths),
                if paths.len() == 1 { "is" } else { "are" }
            ),
        }
    }
}

/// What is wrong with going from one tree of the repository to another. `before` is base's: its `.gitmodules` is believed, that of `after`
/// is not. Blocks; asks the remotes of submodules whose commits changed.
pub(crate) fn branch_faults(
    root: &Path,
    before: Option<Oid>,
    after: Oid,
) -> Result<Vec<BranchFault>, FaultCheckError> {
    let repository = Repository::open(root)?;
    let old = before.map(|tree| repository.find_tree(tree)).transpose()?;
    let diff = repository.diff_tree_to_tree(old.as_ref(), Some(&repository.find_tree(after)?), None)?;
    let check = FaultCheck { root, repository: &repository, old };
    let mut faults = check.submodules(&diff, after)?;
    let paths = check.conflicted(&diff)?;
    if !paths.is_empty() {
        faults.push(BranchFault::ConflictMarkers { paths });
    }
    let paths = check.without_content(&diff, after)?;
    if !paths.is_empty() {
        faults.push(BranchFault::MissingContents { paths });
    }
    Ok(faults)
}

struct FaultCheck<'a> {
    root: &'a Path,
    repository: &'a Repository,
    old: Option<Tree<'a>>,
}

impl FaultCheck<'_> {
    fn submodules(&self, diff: &git2::Diff<'_>, after: Oid) -> Result<Vec<BranchFault>, FaultCheckError> {
        let is_link = |delta: &DiffDelta<'_>| u32::from(delta.new_file().mode()) == GITLINK;
        let gitmodules = Path::new(".gitmodules");
        let touches_list = |delta: &DiffDelta<'_>| {
            [delta.old_file().path(), delta.new_file().path()].contains(&Some(gitmodules))
        };
        if !diff.deltas().any(|delta| is_link(&delta) || touches_list(&delta)) {
            return Ok(Vec::new());
        }
        let listed = |tree: Option<Oid>| match tree {
            Some(tree) => submodules::listed(self.repository, tree),
            None => Ok(BTreeMap::new()),
        };
        let old = self.old.as_ref().map(Tree::id);
        let (known, named) = (listed(old)?, listed(Some(after))?);
        let old_links =
            old.map(|tree| submodules::links(self.repository, tree)).transpose()?.unwrap_or_default();
        let mut faults = Vec::new();
        for (path, commit) in submodules::links(self.repository, after)? {
            let is_same = old_links.get(&path) == Some(&commit);
            // What base has is nobody's fault.
            if is_same && known.get(&path) == named.get(&path) {
                continue;
            }
            faults.extend(self.submodule((&path, commit), named.get(&path), &known)?);
        }
        Ok(faults)
    }

    fn submodule(
        &self,
        (path, commit): (&Path, Oid),
        module: Option<&Submodule>,
        known: &BTreeMap<PathBuf, Submodule>,
    ) -> Result<Option<BranchFault>, FaultCheckError> {
        let shown = path.display().to_string();
        let Some(module) = module else { return Ok(Some(BranchFault::NestedRepository { path: shown })) };
        // By name and address: a branch may move a submodule to another folder.
        if !known.values().any(|old| old == module) {
            let address = submodules::without_user(&module.url);
            return Ok(Some(BranchFault::NewAddress { path: shown, address }));
        }
        let common = self.repository.commondir();
        let address = submodules::address(common, module)?;
        let store = submodules::store(self.root, common, path, module);
        let scratch = self.root.join(".storkit/run");
        let public = submodules::without_user(&address);
        match submodules::is_published(store.as_deref(), &address, &scratch, commit) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(BranchFault::UnpublishedCommit {
                path: shown,
                commit: commit.to_string(),
                address: public,
            })),
            Err(error) => Err(remote_error(shown, &address, commit, &error)),
        }
    }

    /// Files with conflict markers that were not there before.
    fn conflicted(&self, diff: &git2::Diff<'_>) -> Result<Vec<String>, FaultCheckError> {
        let text = |id: Oid| self.repository.find_blob(id).ok().filter(|blob| blob.size() <= MAX_LOOK);
        let count = |id: Oid, size: usize| text(id).map_or(0, |blob| markers(blob.content(), size));
        let mut suspected = Vec::new();
        // A file that moved brings its own along.
        let mut moved = 0;
        for delta in diff.deltas() {
            let (old, new) = (delta.old_file(), delta.new_file());
            if delta.status() == Delta::Deleted {
                moved += count(old.id(), MARKER);
            } else if is_file(u32::from(new.mode()))
                && count(new.id(), MARKER) > 0
                && let Some(path) = new.path()
            {
                suspected.push((path.to_owned(), old.exists().then(|| old.id()), new.id()));
            }
        }
        if suspected.is_empty() {
            return Ok(Vec::new());
        }
        let sizes = self.marker_sizes(suspected.iter().map(|(path, ..)| path.as_path()))?;
        let mut found = BTreeSet::new();
        for (path, old, new) in suspected {
            let size = sizes.get(&path).copied().unwrap_or(MARKER);
            let (before, after) = (old.map_or(0, |old| count(old, size)), count(new, size));
            if old.is_none() && after <= moved {
                moved -= after;
            } else if after > before {
                found.insert(path.display().to_string());
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Changed files in Git LFS whose contents are not in the store. A content that the agent made has been taken in with its commit; one of
    /// an earlier version may only be on the remote.
    fn without_content(&self, diff: &git2::Diff<'_>, after: Oid) -> Result<Vec<String>, FaultCheckError> {
        let pointer = |id: Oid| LfsPointer::parse(self.repository.find_blob(id).ok()?.content());
        let mut pointers: BTreeMap<PathBuf, LfsPointer> = BTreeMap::new();
        for file in diff.deltas().map(|delta| delta.new_file()).filter(|file| is_file(u32::from(file.mode())))
        {
            if let (Some(path), Some(pointer)) = (file.path(), pointer(file.id())) {
                pointers.insert(path.to_owned(), pointer);
            }
        }
        if pointers.is_empty() {
            return Ok(Vec::new());
        }
        let common = self.repository.commondir();
        let store = LfsStore::of(common)?;
        pointers.retain(|_, pointer| !store.has(pointer));
        // A text that only looks like a pointer is no fault.
        let kept = self.attributes(after, "filter", pointers.keys().map(PathBuf::as_path))?;
        pointers.retain(|path, _| kept.get(path).is_some_and(|filter| filter == "lfs"));
        if !pointers.is_empty() {
            let scratch = self.root.join(".storkit/run");
            lfs::try_fetch(self.repository, &scratch, self.old.as_ref().map(Tree::id), after)?;
            pointers.retain(|_, pointer| !store.has(pointer));
        }
        Ok(pointers.into_keys().map(|path| path.display().to_string()).collect())
    }

    /// Files for which base has another size of conflict markers: their texts are about conflicts.
    fn marker_sizes<'p>(
        &self,
        paths: impl Iterator<Item = &'p Path>,
    ) -> Result<BTreeMap<PathBuf, usize>, FaultCheckError> {
        let Some(old) = &self.old else { return Ok(BTreeMap::new()) };
        let found = self.attributes(old.id(), "conflict-marker-size", paths)?;
        Ok(found.into_iter().filter_map(|(path, size)| Some((path, size.parse().ok()?))).collect())
    }

    /// An attribute of files, as a tree sets it.
    fn attributes<'p>(
        &self,
        tree: Oid,
        name: &str,
        paths: impl Iterator<Item = &'p Path>,
    ) -> Result<BTreeMap<PathBuf, String>, FaultCheckError> {
        let git = GitProgram::explicit(self.repository.commondir(), self.root);
        let source = format!("--source={tree}");
        let mut input = Vec::new();
        for path in paths {
            input.extend(path.as_os_str().as_encoded_bytes());
            input.push(0);
        }
        let answer = git.answer(["check-attr", &source, "--stdin", "-z", name], &input)?;
        if answer.code != Some(0) {
            // Git before 2.40 has no `--source`: then no file has any.
            return Ok(BTreeMap::new());
        }
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        let fields: Vec<&str> = text.split('\0').collect();
        Ok(fields.chunks_exact(3).map(|line| (PathBuf::from(line[0]), line[2].to_owned())).collect())
    }
}

fn remote_error(path: String, address: &str, commit: Oid, error: &RemoteError) -> FaultCheckError {
    let public = submodules::without_user(address);
    let why = error.to_string().replace(address, &public);
    FaultCheckError::Remote { path, address: public, commit: commit.to_string(), why }
}

fn is_file(mode: u32) -> bool {
    matches!(mode, 0o100_644 | 0o100_755)
}

/// How many conflict markers of this size a text has, if at least two different ones follow each other as git writes them: a text
/// may have a line that looks like one of them.
fn markers(text: &[u8], size: usize) -> usize {
    // Git takes such a file for a binary one, and writes no markers into it.
    if text.contains(&0) {
        return 0;
    }
    let (mut seen, mut last, mut in_order) = (0, None, false);
    for kind in text.split(|byte| *byte == b'\n').filter_map(|line| marker(line, size)) {
        in_order |= last.is_some_and(|last| last < kind);
        last = Some(kind);
        seen += usize::from(kind != MarkerKind::Middle);
    }
    if in_order { seen } else { 0 }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MarkerKind {
    Begin,
    Middle,
    End,
}

fn marker(line: &[u8], size: usize) -> Option<MarkerKind> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (mark, kind) = match line.first()? {
        b'<' => (b'<', MarkerKind::Begin),
        b'=' => (b'=', MarkerKind::Middle),
        b'>' => (b'>', MarkerKind::End),
        _ => return None,
    };
    let rest = line.get(size..).filter(|_| line[..size].iter().all(|byte| *byte == mark))?;
    match kind {
        MarkerKind::Middle => rest.is_empty(),
        MarkerKind::Begin | MarkerKind::End => rest.is_empty() || rest[0] == b' ',
    }
    .then_some(kind)
}
