//! A fingerprint of everything an agent may not change, taken before and after a run, and the comparison of the two.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    fmt, fs,
    hash::{Hash as _, Hasher as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use git2::{ErrorCode, ObjectType, Oid, Repository, StatusOptions};

use crate::{
    Project,
    worktree::{AGENT_DOMAIN, BRANCH_PREFIX, ROOM_BRANCHES},
};

// A settings file or hook that is larger is compared by its size and time only.
const MAX_READ: u64 = 1 << 20;

/// Per path: object, mode and stage of a conflict.
type Index = BTreeMap<Vec<u8>, (Oid, u32, u16)>;

/// Per path: git's status, size, and time of change in seconds and nanoseconds.
type Dirty = BTreeMap<String, (u32, u64, i64, i64)>;

/// State of the parts of a repository that no run may change. Compared, never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    root: PathBuf,
    base: String,
    own: String,
    head: String,
    refs: BTreeMap<String, Oid>,
    index: Index,
    dirty: Dirty,
    settings: BTreeMap<PathBuf, u64>,
}

/// Who did it, as far as can be known: a person works in the same repository as the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// The agent: commits carry its identity, or come from the story's branch.
    Agent,
    /// The agent or a person.
    Unknown,
}

/// What storkit itself did meanwhile, which is no tampering.
#[derive(Clone, Debug, Default)]
pub struct OwnChanges {
    /// Commits that storkit put on base: merges, moves of story files.
    pub commits: BTreeSet<String>,
    /// Files that storkit wrote in the main checkout, relative to its top; a folder covers everything below it.
    pub paths: Vec<PathBuf>,
}

/// One thing that changed and should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// Base points elsewhere, or is gone.
    BaseMoved {
        before: Oid,
        /// Where it is; `None` if the branch is gone.
        after: Option<Oid>,
        by: Culprit,
    },
    /// HEAD of the main checkout is another.
    HeadMoved {
        /// The old value: a ref's name or a commit.
        before: String,
        after: String,
    },
    /// A branch, tag or other ref that belongs to neither the story nor another story.
    RefChanged { name: String, before: Option<Oid>, after: Option<Oid> },
    /// The story's own branch is gone.
    OwnBranchGone { before: Oid },
    /// These files are staged otherwise in the main checkout.
    IndexChanged(Vec<String>),
    /// These uncommitted files of the main checkout changed, came or went.
    CheckoutChanged(Vec<String>),
    /// Hooks or configuration of the repository: git runs commands that they name.
    SettingsChanged(Vec<PathBuf>),
    /// Objects that the tip of base needs cannot be read any more.
    ObjectsLost(Vec<Oid>),
}

impl Fingerprint {
    /// Takes the fingerprint. `base` is a branch's name, `own` the story's ([`crate::worktree::Worktree::branch`]).
    /// Blocking: some 20 ms for 1,000 files.
    pub fn take(project: &Project, base: &str, own: &str) -> Result<Self, git2::Error> {
        let repository = Repository::open(project.root())?;
        Ok(Self {
            root: project.root().to_owned(),
            base: format!("refs/heads/{base}"),
            own: format!("refs/heads/{own}"),
            head: head(&repository)?,
            refs: refs(&repository)?,
            index: index(&repository)?,
            dirty: dirty(&repository, project.root())?,
            settings: settings(&repository),
        })
    }

    pub fn base_tip(&self) -> Option<Oid> {
        self.refs.get(&self.base).copied()
    }

    /// Where the story's own branch is.
    pub fn own_tip(&self) -> Option<Oid> {
        self.refs.get(&self.own).copied()
    }
}

/// What happened between two fingerprints of one run, besides what storkit did itself. Empty is good.
///
/// Blocking; reads the whole tree of base once (an object's header per file).
pub fn compare(
    before: &Fingerprint,
    after: &Fingerprint,
    ours: &OwnChanges,
) -> Result<Vec<Tampering>, git2::Error> {
    let repository = Repository::open(&after.root)?;
    let mut found = vec![];
    found.extend(base_moved(&repository, before, after, ours)?);
    if before.head != after.head {
        found.push(Tampering::HeadMoved { before: before.head.clone(), after: after.head.clone() });
    }
    found.extend(other_refs(before, after));
    if let (Some(tip), None) = (before.own_tip(), after.own_tip()) {
        found.push(Tampering::OwnBranchGone { before: tip });
    }
    let index = differing(&before.index, &after.index).into_iter();
    let index = index.map(|path| String::from_utf8_lossy(path).into_owned());
    let followed = followed(&repository, before, after);
    let expected = |path: &String| ours_below(ours, path) || followed.contains(path);
    push(&mut found, index.filter(|path| !expected(path)).collect(), Tampering::IndexChanged);
    let dirty = differing(&before.dirty, &after.dirty).into_iter().cloned();
    push(&mut found, dirty.filter(|path| !expected(path)).collect(), Tampering::CheckoutChanged);
    let settings = differing(&before.settings, &after.settings).into_iter().cloned().collect();
    push(&mut found, settings, Tampering::SettingsChanged);
    push(&mut found, lost(&repository, before.base_tip()), Tampering::ObjectsLost);
    Ok(found)
}

fn push<T>(found: &mut Vec<Tampering>, changed: Vec<T>, kind: impl FnOnce(Vec<T>) -> Tampering) {
    if !changed.is_empty() {
        found.push(kind(changed));
    }
}

fn ours_below(ours: &OwnChanges, path: &str) -> bool {
    ours.paths.iter().any(|own| Path::new(path).starts_with(own))
}

/// Keys whose values differ, or that only one side has.
fn differing<'a, K: Ord, V: PartialEq>(before: &'a BTreeMap<K, V>, after: &'a BTreeMap<K, V>) -> Vec<&'a K> {
    let changed = before.iter().filter(|(key, value)| after.get(key) != Some(value)).map(|(key, _)| key);
    changed.chain(after.keys().filter(|key| !before.contains_key(key))).collect()
}

// Files in which base's old and new tip differ: a checkout that follows base changes them,
// with whoever moved it.
fn followed(repository: &Repository, before: &Fingerprint, after: &Fingerprint) -> BTreeSet<String> {
    let tree = |tip: Option<Oid>| repository.find_commit(tip?).ok()?.tree().ok();
    let (old, new) = (tree(before.base_tip()), tree(after.base_tip()));
    if before.base_tip() == after.base_tip() || before.head != before.base {
        return BTreeSet::new();
    }
    let Ok(diff) = repository.diff_tree_to_tree(old.as_ref(), new.as_ref(), None) else {
        return BTreeSet::new();
    };
    let files =
        diff.deltas().flat_map(|delta| [delta.old_file().path_bytes(), delta.new_file().path_bytes()]);
    files.flatten().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

fn base_moved(
    repository: &Repository,
    before: &Fingerprint,
    after: &Fingerprint,
    ours: &OwnChanges,
) -> Result<Option<Tampering>, git2::Error> {
    let Some(old) = before.base_tip() else { return Ok(None) };
    let moved = |by| Some(Tampering::BaseMoved { before: old, after: after.base_tip(), by });
    let Some(new) = after.base_tip() else { return Ok(moved(Culprit::Unknown)) };
    if new == old {
        return Ok(None);
    }
    if !repository.graph_descendant_of(new, old)? {
        // Storkit and people in their right mind only add to base.
        return Ok(moved(own_history(repository, after, new)?));
    }
    let mut walk = repository.revwalk()?;
    walk.push(new)?;
    walk.hide(old)?;
    let mut by = None;
    for commit in walk {
        let id = commit?;
        if ours.commits.contains(&id.to_string()) {
            continue;
        }
        let commit = repository.find_commit(id)?;
        let agents = [commit.author(), commit.committer()].iter().any(is_agent);
        // One commit of the agent's decides, whoever made the others.
        by = Some(if agents { Culprit::Agent } else { by.unwrap_or(Culprit::Unknown) });
    }
    Ok(by.and_then(moved))
}

/// The agent's if base now is a part of the story's own branch.
fn own_history(repository: &Repository, after: &Fingerprint, new: Oid) -> Result<Culprit, git2::Error> {
    let agents = repository.find_commit(new).is_ok_and(|commit| is_agent(&commit.committer()));
    let own = match after.own_tip() {
        Some(tip) => tip == new || repository.graph_descendant_of(tip, new)?,
        None => false,
    };
    Ok(if agents || own { Culprit::Agent } else { Culprit::Unknown })
}

fn is_agent(who: &git2::Signature<'_>) -> bool {
    who.email_bytes().ends_with(AGENT_DOMAIN.as_bytes())
}

// Branches of other stories and of rooms move while their agents work, remote ones when somebody fetches.
fn other_refs<'a>(before: &'a Fingerprint, after: &'a Fingerprint) -> impl Iterator<Item = Tampering> + 'a {
    let stories = format!("refs/heads/{BRANCH_PREFIX}");
    let rooms = format!("refs/heads/{ROOM_BRANCHES}");
    let names = differing(&before.refs, &after.refs).into_iter();
    let names = names.filter(move |name| {
        let expected = ["refs/remotes/", "refs/heads/storkit/", &stories, &rooms];
        **name != before.base && **name != before.own && !expected.iter().any(|free| name.starts_with(free))
    });
    names.map(|name| Tampering::RefChanged {
        name: name.clone(),
        before: before.refs.get(name).copied(),
        after: after.refs.get(name).copied(),
    })
}

fn head(repository: &Repository) -> Result<String, git2::Error> {
    let head = repository.find_reference("HEAD")?;
    let bytes = head.symbolic_target_bytes().map(|name| String::from_utf8_lossy(name).into_owned());
    Ok(bytes.or_else(|| head.target().map(|id| id.to_string())).unwrap_or_default())
}

fn refs(repository: &Repository) -> Result<BTreeMap<String, Oid>, git2::Error> {
    let mut refs = BTreeMap::new();
    for reference in repository.references()? {
        let Ok(reference) = reference else { continue };
        if let Some(target) = reference.target() {
            refs.insert(String::from_utf8_lossy(reference.name_bytes()).into_owned(), target);
        }
    }
    Ok(refs)
}

fn index(repository: &Repository) -> Result<Index, git2::Error> {
    let index = repository.index()?;
    let stage = |flags: u16| (flags >> 12) & 3;
    Ok(index.iter().map(|entry| (entry.path, (entry.id, entry.mode, stage(entry.flags)))).collect())
}

// Uncommitted files with their status, size and time of change, so that another change to one is seen too.
fn dirty(repository: &Repository, root: &Path) -> Result<Dirty, git2::Error> {
    let mut options = StatusOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(false).exclude_submodules(true);
    let statuses = match repository.statuses(Some(&mut options)) {
        Err(error) if error.code() == ErrorCode::BareRepo => return Ok(BTreeMap::new()),
        statuses => statuses?,
    };
    let entries = statuses.iter().map(|entry| {
        let path = String::from_utf8_lossy(entry.path_bytes()).into_owned();
        let found = fs::symlink_metadata(root.join(&path)).ok();
        let (size, seconds, nanos) =
            found.map_or((0, 0, 0), |file| (file.size(), file.mtime(), file.mtime_nsec()));
        (path, (entry.status().bits(), size, seconds, nanos))
    });
    Ok(entries.collect())
}

/// Files that can make git run commands or look elsewhere.
fn settings(repository: &Repository) -> BTreeMap<PathBuf, u64> {
    let common = repository.commondir();
    let single = ["config", "config.worktree", "info/attributes", "info/grafts", "objects/info/alternates"];
    let mut files: Vec<PathBuf> = single.iter().map(|name| common.join(name)).collect();
    files.push(repository.path().join("config.worktree"));
    let hooks = fs::read_dir(common.join("hooks")).into_iter().flatten().flatten();
    files.extend(hooks.map(|entry| entry.path()));
    files.into_iter().filter_map(|file| Some((file.clone(), digest(&file)?))).collect()
}

fn digest(file: &Path) -> Option<u64> {
    let found = fs::symlink_metadata(file).ok()?;
    let mut hasher = DefaultHasher::new();
    (found.mode(), found.size()).hash(&mut hasher);
    if found.is_file() && found.size() <= MAX_READ {
        fs::read(file).ok()?.hash(&mut hasher);
    } else {
        // An agent may have made it huge on purpose; reading it would hold up every run.
        (found.mtime(), found.mtime_nsec(), fs::read_link(file).ok()).hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// Objects of the commit's tree that are not there. Of history before it nothing is read.
fn lost(repository: &Repository, tip: Option<Oid>) -> Vec<Oid> {
    let (Some(tip), Ok(store)) = (tip, repository.odb()) else { return vec![] };
    let tree = repository.find_commit(tip).and_then(|commit| commit.tree());
    let Ok(tree) = tree else { return vec![tip] };
    let mut lost = vec![];
    let walked = tree.walk(git2::TreeWalkMode::PreOrder, |_, entry| {
        if entry.kind() != Some(ObjectType::Commit) && !store.exists(entry.id()) {
            lost.push(entry.id());
            return if entry.kind() == Some(ObjectType::Tree) { 1 } else { 0 };
        }
        0
    });
    if walked.is_err() && lost.is_empty() {
        lost.push(tree.id());
    }
    lost
}

impl Tampering {
    /// Whether only the agent can have done it. People judge changes that a person might have made.
    pub fn is_the_agents(&self) -> bool {
        matches!(self, Self::BaseMoved { by: Culprit::Agent, .. } | Self::OwnBranchGone { .. })
    }
}

impl fmt::Display for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseMoved { before, after: Some(after), by: Culprit::Agent } => {
                write!(f, "the agent moved the base branch from `{before:.8}` to `{after:.8}`")
            }
            Self::BaseMoved { before, after: Some(after), by: Culprit::Unknown } => {
                write!(
                    f,
                    "the base branch moved from `{before:.8}` to `{after:.8}`, but storkit did not move it"
                )
            }
            Self::BaseMoved { before, after: None, .. } => {
                write!(f, "the base branch is gone; it was at `{before:.8}`")
            }
            Self::HeadMoved { before, after } => {
                write!(f, "HEAD of the main checkout was `{before}` and is `{after}`")
            }
            Self::RefChanged { name, after: None, .. } => write!(f, "`{name}` is gone"),
            Self::RefChanged { name, before: None, .. } => write!(f, "`{name}` is new"),
            Self::RefChanged { name, .. } => write!(f, "`{name}` moved"),
            Self::OwnBranchGone { before } => {
                write!(f, "the story's branch is gone; it was at `{before:.8}`")
            }
            Self::IndexChanged(files) => {
                write!(f, "the staged files of the main checkout changed: {}", listed(files))
            }
            Self::CheckoutChanged(files) => {
                write!(f, "uncommitted files of the main checkout changed: {}", listed(files))
            }
            Self::SettingsChanged(files) => {
                let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                write!(f, "hooks or settings of the repository changed: {}", listed(&files))
            }
            Self::ObjectsLost(lost) => {
                write!(f, "objects of the base branch are missing from the repository: {}", lost.len())
            }
        }
    }
}

fn listed(files: &[String]) -> String {
    let mut list: Vec<String> = files.iter().take(5).map(|file| format!("`{file}`")).collect();
    if files.len() > 5 {
        list.push(format!("and {} more", files.len() - 5));
    }
    list.join(", ")
}
