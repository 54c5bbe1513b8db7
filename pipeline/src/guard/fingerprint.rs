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
    sentence::listed,
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
    /// The agent: it committed while it ran, and no remote has the commits.
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
        /// Where base would be without the agent's commits; `None` where others' commits would be lost with them.
        back_to: Option<Oid>,
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
    let moved = |after, by, back_to| Some(Tampering::BaseMoved { before: old, after, by, back_to });
    let Some(new) = after.base_tip() else { return Ok(moved(None, Culprit::Unknown, None)) };
    if new == old {
        return Ok(None);
    }
    let mut walk = repository.revwalk()?;
    walk.push(new)?;
    walk.hide(old)?;
    let added = walk.collect::<Result<Vec<Oid>, _>>()?;
    // Storkit and people in their right mind only add to base.
    let is_longer = repository.graph_descendant_of(new, old)?;
    if is_longer && added.iter().all(|id| ours.commits.contains(&id.to_string())) {
        return Ok(None);
    }
    let agents = of_agent(repository, before, after, ours)?;
    if agents.is_empty() {
        return Ok(moved(Some(new), Culprit::Unknown, None));
    }
    let back_to = without(repository, (old, new), &added, &agents)?;
    Ok(moved(Some(new), Culprit::Agent, back_to))
}

/// The commits that base has now and that only this run's agent can have made. A person's `pull`, `cherry-pick` or `rebase` brings commits
/// that an agent *wrote*, so the committer decides; and what was there before the run, what a remote has, and what another
/// story's agent committed on its branch came some other way.
fn of_agent(
    repository: &Repository,
    before: &Fingerprint,
    after: &Fingerprint,
    ours: &OwnChanges,
) -> Result<BTreeSet<Oid>, git2::Error> {
    let Some(new) = after.base_tip() else { return Ok(BTreeSet::new()) };
    let stories = format!("refs/heads/{BRANCH_PREFIX}");
    let elsewhere = after.refs.iter().filter(|(name, _)| {
        name.starts_with("refs/remotes/") || name.starts_with(&stories) && **name != after.own
    });
    let mut walk = repository.revwalk()?;
    walk.push(new)?;
    for id in before.refs.values().chain(elsewhere.map(|(_, id)| id)) {
        // A ref may point to something else than a commit, and an agent may have removed what it points to.
        let Ok(commit) = repository.find_commit(*id) else { continue };
        walk.hide(commit.id())?;
    }
    let mut found = BTreeSet::new();
    for id in walk {
        let id = id?;
        if !ours.commits.contains(&id.to_string()) && is_agent(&repository.find_commit(id)?.committer()) {
            found.insert(id);
        }
    }
    Ok(found)
}

/// Where base would be without the agent's commits, if they are its last ones: those below them stay, and under others' commits nothing is
/// taken away.
fn without(
    repository: &Repository,
    (old, new): (Oid, Oid),
    added: &[Oid],
    agents: &BTreeSet<Oid>,
) -> Result<Option<Oid>, git2::Error> {
    if added.iter().all(|id| agents.contains(id)) {
        return Ok(Some(old));
    }
    let mut target = new;
    while agents.contains(&target) {
        let Some(parent) = repository.find_commit(target)?.parent_ids().next() else { return Ok(None) };
        target = parent;
    }
    let is_taken =
        |id: &Oid| Ok::<_, git2::Error>(*id != target && !repository.graph_descendant_of(target, *id)?);
    for id in added {
        // An agent's that would stay, or another's that would go.
        if is_taken(id)? != agents.contains(id) {
            return Ok(None);
        }
    }
    Ok((target != new && repository.graph_descendant_of(target, old)?).then_some(target))
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
            // Skips what a lost folder has.
            return 1;
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
            Self::BaseMoved { before, after: Some(after), by: Culprit::Agent, .. } => {
                write!(f, "the agent moved the base branch from `{before:.8}` to `{after:.8}`")
            }
            Self::BaseMoved { before, after: Some(after), by: Culprit::Unknown, .. } => {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::worktree::{Worktree, fixture::WorktreeFixture};

    const AGENT: [&str; 4] = ["-c", "user.name=agent", "-c", "user.email=agent@agents.storkit.invalid"];

    /// A story's run: the state before it, and what it does.
    struct Run {
        fixture: WorktreeFixture,
        worktree: Worktree,
        before: Fingerprint,
        tip: Oid,
    }

    impl Run {
        fn new() -> Self {
            Self::on(WorktreeFixture::new())
        }

        fn on(fixture: WorktreeFixture) -> Self {
            let worktree = fixture.prepare("7_x");
            let before = take(&fixture, &worktree);
            let tip = before.base_tip().expect("a base");
            Self { fixture, worktree, before, tip }
        }

        /// A run that begins now.
        fn again(self) -> Self {
            Self { before: take(&self.fixture, &self.worktree), ..self }
        }

        fn git(&self, args: &[&str]) -> String {
            self.fixture.git(args)
        }

        fn commit(&self, prefix: &[&str]) -> Oid {
            self.git(&[prefix, &["commit", "-q", "--allow-empty", "-m", "more"]].concat());
            self.tip_of("main")
        }

        fn tip_of(&self, branch: &str) -> Oid {
            Oid::from_str(&self.git(&["rev-parse", branch])).expect("a commit")
        }

        fn found_besides(&self, ours: &OwnChanges) -> Vec<Tampering> {
            compare(&self.before, &take(&self.fixture, &self.worktree), ours).expect("a comparison")
        }

        fn found(&self) -> Vec<Tampering> {
            self.found_besides(&OwnChanges::default())
        }

        fn moved(&self, after: Oid, by: Culprit) -> Vec<Tampering> {
            let back_to = (by == Culprit::Agent).then_some(self.tip);
            vec![Tampering::BaseMoved { before: self.tip, after: Some(after), by, back_to }]
        }

        /// As [`Run::moved`] by the agent, where its commits are not the last ones, or this is below them.
        fn moved_and_back(&self, after: Oid, back_to: Option<Oid>) -> Vec<Tampering> {
            let by = Culprit::Agent;
            vec![Tampering::BaseMoved { before: self.tip, after: Some(after), by, back_to }]
        }

        fn settings_changed(&self, name: &str) -> Vec<Tampering> {
            vec![Tampering::SettingsChanged(vec![self.in_git(name)])]
        }

        fn in_git(&self, name: &str) -> PathBuf {
            self.fixture.root().join(".git").join(name)
        }

        fn write_in_git(&self, name: &str, text: &str) {
            fs::create_dir_all(self.in_git(name).parent().expect("a folder")).expect("a folder");
            fs::write(self.in_git(name), text).expect("a file");
        }

        /// Removes an object from the store.
        fn lose(&self, object: &str) -> Oid {
            let id = self.git(&["rev-parse", object]);
            fs::remove_file(self.in_git(&format!("objects/{}/{}", &id[..2], &id[2..]))).expect("it is loose");
            Oid::from_str(&id).expect("an id")
        }
    }

    fn take(fixture: &WorktreeFixture, worktree: &Worktree) -> Fingerprint {
        Fingerprint::take(&fixture.project, "main", &worktree.branch()).expect("a fingerprint")
    }

    fn commits(ids: &[Oid]) -> OwnChanges {
        OwnChanges { commits: ids.iter().map(Oid::to_string).collect(), ..OwnChanges::default() }
    }

    #[test]
    fn a_run_that_works_on_its_own_branch_alone_leaves_no_trace() {
        let run = Run::new();
        assert_eq!(run.before.own_tip(), Some(run.tip));
        run.fixture.git_in(run.worktree.path(), &["commit", "-q", "--allow-empty", "-m", "its own"]);
        assert_eq!(run.found(), []);
    }

    #[test]
    fn commits_on_base_are_storkits_an_agents_or_anybodys() {
        let run = Run::new();
        let own = run.commit(&[]);
        assert_eq!(run.found(), run.moved(own, Culprit::Unknown));
        assert_eq!(run.found_besides(&commits(&[own])), []);
        let agents = run.commit(&AGENT);
        assert_eq!(run.found_besides(&commits(&[own])), run.moved_and_back(agents, Some(own)));
        assert_eq!(run.found_besides(&commits(&[own, agents])), []);
        let last = run.commit(&[]);
        assert_eq!(
            run.found(),
            run.moved_and_back(last, None),
            "one commit of the agent's decides, and another's stays"
        );
        let committer = Run::new();
        let anothers = ["commit", "-q", "--allow-empty", "--author=Ada <ada@example.com>", "-m", "more"];
        committer.git(&[&AGENT[..], &anothers].concat());
        assert_eq!(committer.found(), committer.moved(committer.tip_of("main"), Culprit::Agent));
    }

    #[test]
    fn a_base_that_goes_back_is_a_persons_and_one_with_other_commits_is_their_committers() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "second"]);
        let run = Run::on(fixture);
        run.git(&["reset", "-q", "--soft", "HEAD~1"]);
        assert_eq!(run.found(), run.moved(run.tip_of("main"), Culprit::Unknown), "nothing new is there");
        run.git(&["commit", "-q", "--allow-empty", "--amend", "-m", "other"]);
        assert_eq!(run.found(), run.moved(run.tip_of("main"), Culprit::Unknown));
        run.git(&[&AGENT[..], &["commit", "-q", "--allow-empty", "--amend", "-m", "other"]].concat());
        assert_eq!(run.found(), run.moved(run.tip_of("main"), Culprit::Agent));
    }

    #[test]
    fn what_a_person_brings_to_base_is_not_the_agents_though_agents_wrote_it() {
        let run = Run::new();
        // Another storkit's work, by its remote.
        let pulled =
            run.git(&[&AGENT[..], &["commit-tree", "-p", "main", "-m", "theirs", "HEAD^{tree}"]].concat());
        run.git(&["update-ref", "refs/remotes/origin/main", &pulled]);
        run.git(&["merge", "-q", "--ff-only", "origin/main"]);
        assert_eq!(run.found(), run.moved(run.tip_of("main"), Culprit::Unknown), "a pull");
        let run = Run::new();
        let picked = [&AGENT[..], &["commit-tree", "-p", "main", "-m", "theirs", "HEAD^{tree}"]].concat();
        let picked = run.git(&picked);
        run.git(&["cherry-pick", "--allow-empty", &picked]);
        assert_ne!(run.tip_of("main").to_string(), picked);
        assert_eq!(run.found(), run.moved(run.tip_of("main"), Culprit::Unknown), "a cherry-pick");
        // What a story's agent had committed before this run, and what another story's agent commits now.
        for (branch, again) in [("feature/story-7_x/work", true), ("feature/story-8_y/work", false)] {
            let run = Run::new();
            let work =
                run.git(&[&AGENT[..], &["commit-tree", "-p", "main", "-m", "work", "HEAD^{tree}"]].concat());
            run.git(&["update-ref", &format!("refs/heads/{branch}"), &work]);
            let run = if again { run.again() } else { run };
            run.git(&["merge", "-q", "--ff-only", branch]);
            assert_eq!(run.found(), run.moved(run.tip_of("main"), Culprit::Unknown), "{branch}");
        }
    }

    #[test]
    fn an_agents_commits_are_taken_off_base_and_those_below_them_stay() {
        let run = Run::new();
        let persons = run.commit(&[]);
        run.commit(&AGENT);
        let last = run.commit(&AGENT);
        assert_eq!(run.found(), run.moved_and_back(last, Some(persons)));
    }

    #[test]
    fn a_base_that_is_gone_may_have_been_anybody() {
        let run = Run::new();
        run.git(&["update-ref", "-d", "refs/heads/main"]);
        let gone = Tampering::BaseMoved { before: run.tip, after: None, by: Culprit::Unknown, back_to: None };
        assert_eq!(run.found(), [gone]);
        let run = run.again();
        run.git(&["update-ref", "refs/heads/main", &run.tip.to_string()]);
        assert_eq!(run.found(), [], "there was no base to protect");
    }

    #[test]
    fn head_of_the_main_checkout_stays_where_it_is() {
        let run = Run::new();
        run.git(&["switch", "-q", "-c", "storkit/own"]);
        let moved = |before: &str, after: String| vec![Tampering::HeadMoved { before: before.into(), after }];
        assert_eq!(run.found(), moved("refs/heads/main", "refs/heads/storkit/own".into()));
        run.git(&["switch", "-q", "--detach"]);
        assert_eq!(run.found(), moved("refs/heads/main", run.tip.to_string()));
    }

    #[test]
    fn refs_of_nobody_known_may_not_change_and_those_of_stories_remotes_and_storkit_may() {
        let run = Run::new();
        let refs = ["heads/other", "tags/v1"].map(|name| format!("refs/{name}"));
        let free = ["remotes/origin/main", "heads/storkit/rescue/1", "heads/feature/story-8_y/work"];
        for name in refs.iter().cloned().chain(free.map(|name| format!("refs/{name}"))) {
            run.git(&["update-ref", &name, &run.tip.to_string()]);
        }
        let changed =
            |name: &String, before, after| Tampering::RefChanged { name: name.clone(), before, after };
        let made: Vec<_> = refs.iter().map(|name| changed(name, None, Some(run.tip))).collect();
        assert_eq!(run.found(), made);
        let run = run.again();
        let other = run.git(&["commit-tree", "-m", "other", "HEAD^{tree}"]);
        run.git(&["update-ref", &refs[0], &other]);
        run.git(&["update-ref", "-d", &refs[1]]);
        let other = Oid::from_str(&other).expect("an id");
        let expected =
            [changed(&refs[0], Some(run.tip), Some(other)), changed(&refs[1], Some(run.tip), None)];
        assert_eq!(run.found(), expected);
    }

    #[test]
    fn a_story_whose_branch_is_gone_is_noticed() {
        let run = Run::new();
        run.git(&["update-ref", "-d", &format!("refs/heads/{}", run.worktree.branch())]);
        let gone = Tampering::OwnBranchGone { before: run.tip };
        assert_eq!(run.found(), std::slice::from_ref(&gone));
        assert!(gone.is_the_agents());
        let run = run.again();
        assert_eq!(run.found(), [], "it was gone before");
    }

    #[test]
    fn staged_and_uncommitted_files_of_the_main_checkout_stay_as_they_are() {
        let run = Run::new();
        run.fixture.write("new.txt", "1");
        let checkout = |name: &str| Tampering::CheckoutChanged(vec![name.into()]);
        assert_eq!(run.found(), [checkout("new.txt")]);
        let run = run.again();
        assert_eq!(run.found(), []);
        run.fixture.write("new.txt", "12");
        assert_eq!(run.found(), [checkout("new.txt")], "another size");
        let run = run.again();
        let past = std::time::SystemTime::UNIX_EPOCH;
        let file = fs::File::options().write(true).open(run.fixture.root().join("new.txt")).expect("a file");
        file.set_modified(past).expect("a time");
        assert_eq!(run.found(), [checkout("new.txt")], "written again");
        run.git(&["add", "new.txt"]);
        let staged = Tampering::IndexChanged(vec!["new.txt".into()]);
        assert_eq!(run.found(), [staged, checkout("new.txt")]);
        let run = run.again();
        fs::set_permissions(run.fixture.root().join("new.txt"), fs::Permissions::from_mode(0o755))
            .expect("mode");
        run.git(&["add", "new.txt"]);
        assert_eq!(run.found(), [Tampering::IndexChanged(vec!["new.txt".into()])], "another mode");
    }

    #[test]
    fn a_checkout_that_cannot_be_read_is_an_error_unless_there_is_none() {
        let run = Run::new();
        let dirty = || dirty(&Repository::open(run.fixture.root()).expect("it opens"), &run.fixture.root());
        fs::write(run.in_git("index"), "broken").expect("a file");
        assert!(dirty().is_err());
        run.write_in_git("config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n");
        assert_eq!(dirty(), Ok(Dirty::new()));
    }

    #[test]
    fn the_stage_of_a_conflict_is_a_part_of_the_index() {
        let run = Run::new();
        let blob = run.git(&["rev-parse", "HEAD:a.txt"]);
        let entry = |stage: u16| {
            let line = format!("0 {blob} 0\ta.txt\n100644 {blob} {stage}\ta.txt\n");
            let mut git = crate::worktree::fixture::command("git", &run.fixture.root(), &[]);
            let child = git.args(["update-index", "--index-info"]).stdin(std::process::Stdio::piped());
            let mut child = child.spawn().expect("git");
            std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), line.as_bytes())
                .expect("written");
            assert!(child.wait().expect("git ends").success());
        };
        entry(2);
        let index =
            |run: &Run| index(&Repository::open(run.fixture.root()).expect("it opens")).expect("an index");
        let stages = |run: &Run| index(run).values().map(|(_, _, stage)| *stage).collect::<Vec<_>>();
        assert_eq!(stages(&run), [2]);
        entry(3);
        assert_eq!(stages(&run), [3]);
    }

    #[test]
    fn what_storkit_writes_below_its_own_paths_is_expected_and_nothing_beside_them() {
        let run = Run::new();
        run.fixture.write("own/new.txt", "1");
        run.fixture.write("owner.txt", "1");
        run.git(&["add", "own"]);
        let ours = OwnChanges { paths: vec!["own".into()], ..OwnChanges::default() };
        assert_eq!(run.found_besides(&ours), [Tampering::CheckoutChanged(vec!["owner.txt".into()])]);
    }

    #[test]
    fn a_checkout_that_follows_a_moved_base_is_no_change_of_its_own() {
        let run = Run::new();
        run.fixture.write("a.txt", "changed");
        run.fixture.write("new.txt", "new");
        run.git(&["add", "."]);
        let new = run.commit(&[]);
        assert_eq!(run.found(), run.moved(new, Culprit::Unknown));
        run.fixture.write("b.txt", "staged besides");
        run.git(&["add", "b.txt"]);
        let besides =
            [Tampering::IndexChanged(vec!["b.txt".into()]), Tampering::CheckoutChanged(vec!["b.txt".into()])];
        assert_eq!(run.found()[1..], besides);
    }

    #[test]
    fn the_index_of_another_branch_does_not_follow_base() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["switch", "-q", "-c", "storkit/own"]);
        let run = Run::on(fixture);
        run.fixture.write("a.txt", "changed");
        run.git(&["add", "a.txt"]);
        let tree = run.git(&["write-tree"]);
        let commit = run.git(&["commit-tree", "-p", "main", "-m", "more", &tree]);
        run.git(&["update-ref", "refs/heads/main", &commit]);
        let found = run.found();
        assert!(found.contains(&Tampering::IndexChanged(vec!["a.txt".into()])), "{found:?}");
        assert!(found.contains(&Tampering::CheckoutChanged(vec!["a.txt".into()])), "{found:?}");
    }

    #[test]
    fn whatever_makes_git_run_commands_or_look_elsewhere_is_a_setting() {
        let files = [
            "config",
            "config.worktree",
            "info/attributes",
            "info/grafts",
            "objects/info/alternates",
            "hooks/post-commit",
        ];
        for name in files {
            let run = Run::new();
            let old = fs::read_to_string(run.in_git(name)).unwrap_or_default();
            let text = match name {
                "objects/info/alternates" => String::new(),
                // A commit without the parents that it has.
                "info/grafts" => format!("{}\n", run.tip),
                _ => format!("{old}# new\n"),
            };
            run.write_in_git(name, &text);
            assert_eq!(run.found(), run.settings_changed(name), "{name}");
        }
    }

    #[test]
    fn a_setting_changes_with_its_mode_its_text_and_where_it_leads() {
        let hook = "hooks/post-commit";
        let run = Run::new();
        run.write_in_git(hook, "one");
        let run = run.again();
        run.write_in_git(hook, "two");
        assert_eq!(run.found(), run.settings_changed(hook), "the same size");
        let run = run.again();
        fs::set_permissions(run.in_git(hook), fs::Permissions::from_mode(0o755)).expect("a mode");
        assert_eq!(run.found(), run.settings_changed(hook));
        let link = |to: &str| {
            fs::remove_file(run.in_git(hook)).expect("it goes");
            symlink(to, run.in_git(hook)).expect("a link");
            digest(&run.in_git(hook)).expect("a digest")
        };
        assert_ne!(link("one"), link("two"));
    }

    #[test]
    fn a_huge_setting_is_not_read_and_a_small_one_is_not_judged_by_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hook");
        let digest_of = |text: Vec<u8>| {
            fs::write(&path, text).expect("a file");
            let file = fs::File::options().write(true).open(&path).expect("a file");
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("a time");
            digest(&path).expect("a digest")
        };
        let size = usize::try_from(MAX_READ).expect("small");
        assert_ne!(digest_of(vec![1; size]), digest_of(vec![2; size]));
        let huge = digest_of(vec![1; size + 1]);
        assert_eq!(huge, digest_of(vec![2; size + 1]), "its text is not looked at");
        fs::write(&path, vec![1; size + 1]).expect("a file");
        assert_ne!(Some(huge), digest(&path), "its time is");
        fs::write(&path, vec![2; size]).expect("a file");
        let now = digest(&path);
        assert_eq!(now, Some(digest_of(vec![2; size])));
        assert_eq!(digest(&folder.path().join("none")), None);
    }

    #[test]
    fn lost_objects_of_base_are_named_and_a_lost_folder_hides_what_is_in_it() {
        let fixture = WorktreeFixture::new();
        for name in ["a.txt", "b/c.txt", "b/d.txt"] {
            fixture.write(name, name);
        }
        fixture.git(&["add", "."]);
        fixture.git(&["commit", "-q", "-m", "files"]);
        let run = Run::on(fixture);
        let lost = |run: &Run| lost(&Repository::open(run.fixture.root()).expect("it opens"), Some(run.tip));
        assert_eq!(lost(&run), []);
        let file = run.lose("main:b/c.txt");
        assert_eq!(lost(&run), [file]);
        assert_eq!(run.found(), [Tampering::ObjectsLost(vec![file])]);
        let other = run.lose("main:a.txt");
        assert_eq!(lost(&run), [other, file]);
        let folder = run.lose("main:b");
        assert_eq!(lost(&run), [other, folder]);
        let tree = run.lose("main^{tree}");
        assert_eq!(lost(&run), [run.tip], "{tree} and all below it");
        assert_eq!(super::lost(&Repository::open(run.fixture.root()).expect("it opens"), None), []);
    }

    #[test]
    fn only_what_nobody_else_can_have_done_is_the_agents() {
        let id = Oid::from_bytes(&[7; 20]).expect("an id");
        let moved = |by| Tampering::BaseMoved { before: id, after: None, by, back_to: None };
        assert!(moved(Culprit::Agent).is_the_agents() && !moved(Culprit::Unknown).is_the_agents());
        assert!(!Tampering::IndexChanged(vec![]).is_the_agents());
    }

    #[test]
    fn each_finding_is_a_clause_for_people() {
        let id = |byte| Oid::from_bytes(&[byte; 20]).expect("an id");
        let (one, two) = (id(0x11), id(0x22));
        let moved = |after, by| Tampering::BaseMoved { before: one, after, by, back_to: None };
        let reference = |before, after| Tampering::RefChanged { name: "refs/tags/v1".into(), before, after };
        let files = |count: usize| (1..=count).map(|number| format!("{number}")).collect::<Vec<_>>();
        let findings = [
            moved(Some(two), Culprit::Agent),
            moved(Some(two), Culprit::Unknown),
            moved(None, Culprit::Agent),
            Tampering::HeadMoved { before: "main".into(), after: "other".into() },
            reference(Some(one), None),
            reference(None, Some(one)),
            reference(Some(one), Some(two)),
            Tampering::OwnBranchGone { before: one },
            Tampering::IndexChanged(files(5)),
            Tampering::CheckoutChanged(files(7)),
            Tampering::SettingsChanged(vec!["/p/.git/config".into()]),
            Tampering::ObjectsLost(vec![one, two]),
        ];
        insta::assert_snapshot!(findings.map(|finding| finding.to_string()).join("\n"), @r"
        the agent moved the base branch from `11111111` to `22222222`
        the base branch moved from `11111111` to `22222222`, but storkit did not move it
        the base branch is gone; it was at `11111111`
        HEAD of the main checkout was `main` and is `other`
        `refs/tags/v1` is gone
        `refs/tags/v1` is new
        `refs/tags/v1` moved
        the story's branch is gone; it was at `11111111`
        the staged files of the main checkout changed: `1`, `2`, `3`, `4`, `5`
        uncommitted files of the main checkout changed: `1`, `2`, `3`, `4`, `5`, and 2 more
        hooks or settings of the repository changed: `/p/.git/config`
        objects of the base branch are missing from the repository: 2
        ");
    }
}
