//! Which stories were started on this machine, and which come from strangers. A clone can bring stories in any stage; those in work wait
//! for `start`, and all of them are in quarantine until a person releases them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use git2::{Commit, Oid, Repository};

use super::lane::WorkLane;
use crate::{
    Project,
    board::{Board, WORK, board_tip},
    guard::{BaseGuard, OwnCommits},
    story::{Story, StoryId, stage::Stage},
    strangers::{Quarantine, QuarantineCause},
    trust::{StoryOrigins, TrustError, TrustStore},
};

/// A record outside the repository, since the stories' files belong to the repository. What was started is kept by the names of
/// files: another story of the same number is not started.
pub(super) struct StartedStories {
    project: Project,
    store: TrustStore,
    origins: StoryOrigins,
    /// Came to a stage by hand or by git, and is not looked at yet.
    pub arrived: Vec<Arc<Story>>,
    /// How many looks at those are under way. Until they are over, storkit commits no stories: its commit would bring a file
    /// that a person has just written.
    pub looks: usize,
    /// In quarantine since this start.
    pub found: Vec<StoryId>,
}

impl StartedStories {
    /// Reads the record, and forgets stories that are gone. Blocks.
    ///
    /// A file that a person wrote or moved while storkit was down counts as at any other time. But where storkit never served the
    /// project, every story came with it, from a clone or from an archive.
    pub(super) fn open(
        project: &Project,
        store: &TrustStore,
        (base, board): (&str, &Board),
    ) -> Result<Self, TrustError> {
        let recorded = store.origins(project)?;
        let origins = found(project, base, recorded.as_ref(), board);
        if recorded.as_ref() != Some(&origins)
            && let Err(error) = store.set_origins(project, &origins)
        {
            tracing::warn!(%error, "where stories come from cannot be recorded");
        }
        let (project, store) = (project.clone(), store.clone());
        let before = recorded.map(|recorded| recorded.quarantine).unwrap_or_default();
        let found = origins.quarantine.keys().filter(|id| !before.contains_key(id)).copied().collect();
        Ok(Self { project, store, origins, arrived: Vec::new(), looks: 0, found })
    }

    /// Whether it is in work, and nobody has started it here.
    pub(super) fn waits(&self, story: &Arc<Story>) -> bool {
        is_in_work(story.stage) && !self.origins.started.contains(&name(story))
    }

    /// Whether it is in the backlog, and nobody has looked where it comes from.
    pub(super) fn is_unknown(&self, story: &Arc<Story>) -> bool {
        let known = self.origins.known.as_ref();
        story.stage == Stage::Backlog && known.is_some_and(|known| !known.contains(&name(story)))
    }

    /// Records whether it was started here, in the lane of the stories' files, and so before what follows from it is written there.
    pub(super) fn mark(&mut self, story: &Arc<Story>, is_started: bool, lane: &WorkLane) {
        let name = name(story);
        let is_news = match is_started {
            true => self.origins.brought.remove(&name) | self.origins.started.insert(name),
            false => self.origins.brought.insert(name),
        };
        self.save_if(is_news, lane);
    }

    /// Somebody here wrote it to the backlog, or it was looked at.
    pub(super) fn know(&mut self, story: &Arc<Story>, lane: &WorkLane) {
        let is_news = self.origins.known.get_or_insert_default().insert(name(story));
        self.save_if(is_news, lane);
    }

    /// It has left the backlog and is not in work.
    pub(super) fn forget(&mut self, story: StoryId, lane: &WorkLane) {
        let StoryOrigins { started, brought, .. } = &mut self.origins;
        let before = started.len() + brought.len();
        started.retain(|name| !is_of(name, story));
        brought.retain(|name| !is_of(name, story));
        let is_news = started.len() + brought.len() < before;
        self.save_if(is_news, lane);
    }

    pub(super) fn quarantine(&self, story: StoryId) -> Option<&Quarantine> {
        self.origins.quarantine.get(&story)
    }

    pub(super) fn quarantined(&self) -> &Arc<BTreeMap<StoryId, Quarantine>> {
        &self.origins.quarantine
    }

    /// Returns whether that is news.
    pub(super) fn set_quarantine(&mut self, story: StoryId, cause: QuarantineCause, lane: &WorkLane) -> bool {
        let before = self.origins.quarantine.get(&story).map(|quarantine| quarantine.accepted);
        if before != Some(false) {
            let quarantine = Arc::make_mut(&mut self.origins.quarantine);
            quarantine.entry(story).or_insert_with(|| Quarantine::new(cause)).accepted = false;
        }
        self.save_if(before != Some(false), lane);
        before.is_none()
    }

    pub(super) fn set_accepted(&mut self, story: StoryId, accepted: bool, lane: &WorkLane) {
        let is_news = self.quarantine(story).is_some_and(|quarantine| quarantine.accepted != accepted);
        if is_news && let Some(quarantine) = Arc::make_mut(&mut self.origins.quarantine).get_mut(&story) {
            quarantine.accepted = accepted;
        }
        self.save_if(is_news, lane);
    }

    /// Returns whether it was in quarantine.
    pub(super) fn release(&mut self, story: StoryId, lane: &WorkLane) -> bool {
        let released = self.quarantine(story).is_some();
        if released {
            Arc::make_mut(&mut self.origins.quarantine).remove(&story);
        }
        self.save_if(released, lane);
        released
    }

    fn save_if(&self, is_news: bool, lane: &WorkLane) {
        if !is_news {
            return;
        }
        let (project, store, origins) = (self.project.clone(), self.store.clone(), self.origins.clone());
        lane.push(move || {
            if let Err(error) = store.set_origins(&project, &origins) {
                tracing::warn!(%error, "where stories come from cannot be recorded; they wait after a restart");
            }
        });
    }
}

/// The record as it is now: of each story that is new, whether a person here wrote it or git brought it.
fn found(project: &Project, base: &str, recorded: Option<&StoryOrigins>, board: &Board) -> StoryOrigins {
    let known = recorded.cloned().unwrap_or_default();
    let of = |holds: fn(Stage) -> bool| -> Vec<Arc<Story>> {
        board.stories().filter(|story| holds(story.stage)).cloned().collect()
    };
    let (in_work, backlog) = (of(is_in_work), of(|stage| stage == Stage::Backlog));
    let names = |stories: &[Arc<Story>]| -> BTreeSet<String> { stories.iter().map(name).collect() };
    let is_new = |story: &&Arc<Story>| {
        let name = name(story);
        match is_in_work(story.stage) {
            true => !known.started.contains(&name) && !known.brought.contains(&name),
            // A record of an earlier version vouches for the backlog that it was made with.
            false => recorded.is_none() || known.known.as_ref().is_some_and(|known| !known.contains(&name)),
        }
    };
    let new: Vec<Arc<Story>> = in_work.iter().chain(&backlog).filter(is_new).cloned().collect();
    let mut by_hand = moved_by_hand(project, base, &OwnCommits::default(), new.clone());
    if recorded.is_none() {
        // Work that storkit has not begun here was begun elsewhere, also in an archive without git's files.
        by_hand.retain(|story| !is_in_work(story.stage));
    }
    let by_hand = names(&by_hand);
    let work_names = names(&in_work);
    let started: BTreeSet<String> =
        known.started.union(&by_hand).filter(|name| work_names.contains(*name)).cloned().collect();
    let brought: BTreeSet<String> = work_names.difference(&started).cloned().collect();
    let mut quarantine = Arc::unwrap_or_clone(known.quarantine);
    quarantine.retain(|id, _| board.story(*id).is_some() || board.problem(*id).is_some());
    let is_brought = |story: &&Arc<Story>| match is_in_work(story.stage) {
        true => brought.contains(&name(story)) && !known.brought.contains(&name(story)),
        false => is_new(story) && !by_hand.contains(&name(story)),
    };
    for story in in_work.iter().chain(&backlog).filter(is_brought) {
        quarantine.entry(story.id()).or_insert_with(|| Quarantine::new(QuarantineCause::Repository));
    }
    StoryOrigins { started, brought, known: Some(names(&backlog)), quarantine: Arc::new(quarantine) }
}

pub(super) fn is_in_work(stage: Stage) -> bool {
    match stage {
        Stage::Current | Stage::Qa | Stage::Merge => true,
        Stage::Backlog | Stage::Done | Stage::Archived => false,
    }
}

fn name(story: &Arc<Story>) -> String {
    let file = story.file.to_string();
    file.strip_suffix(".md").unwrap_or(&file).to_owned()
}

fn is_of(name: &str, story: StoryId) -> bool {
    name.split_once('_').is_some_and(|(number, _)| number == story.to_string())
}

/// The stories whose files git has not brought; storkit's own commits do not count. While a person's git writes the checkout, the index is locked and still the
/// old one; if that lasts, nobody knows, and they count as brought. Blocks.
pub(super) fn moved_by_hand(
    project: &Project,
    base: &str,
    own: &OwnCommits,
    mut stories: Vec<Arc<Story>>,
) -> Vec<Arc<Story>> {
    if stories.is_empty() {
        return stories;
    }
    // storkit's own commits lock the index, too.
    let Ok(_guard) = BaseGuard::lock(project) else { return Vec::new() };
    let Ok(repository) = Repository::open(project.root()) else { return Vec::new() };
    if !is_index_settled(&repository.path().join("index.lock")) {
        return Vec::new();
    }
    let Ok(index) = repository.index() else { return Vec::new() };
    let trees = ["HEAD", &format!("refs/heads/{base}")].map(|name| {
        let found = repository.revparse_single(name).and_then(|found| found.peel_to_tree());
        found.ok()
    });
    // Others may have pushed it, and storkit takes it from a remote.
    let tip = board_tip(&repository).ok().flatten();
    let on_board = tip.and_then(|tip| repository.find_commit(tip).and_then(|tip| tip.tree()).ok());
    stories.retain(|story| {
        let path = Path::new(WORK).join(story.stage.dir()).join(story.file.to_string());
        let in_index = (0..=3).any(|stage| index.get_path(&path, stage).is_some());
        let is_tracked = in_index || trees.iter().flatten().any(|tree| tree.get_path(&path).is_ok());
        let entry = on_board.as_ref().and_then(|tree| Some(tree.get_path(&path).ok()?.id()));
        !is_tracked && entry.is_none_or(|now| was_committed_here(&repository, own, &path, now))
    });
    stories
}

/// Whether a commit of storkit's brought this file to the board as it is there `now`: then a person wrote it.
fn was_committed_here(repository: &Repository, own: &OwnCommits, path: &Path, now: Oid) -> bool {
    let content = |commit: &Commit<'_>| Some(commit.tree().ok()?.get_path(path).ok()?.id());
    own.all().iter().any(|commit| {
        let commit = Oid::from_str(commit).and_then(|id| repository.find_commit(id)).ok();
        commit.is_some_and(|commit| {
            let before = commit.parent(0).ok().and_then(|parent| content(&parent));
            before.is_none() && content(&commit) == Some(now)
        })
    })
}

/// Waits for a git that holds the lock.
fn is_index_settled(lock: &Path) -> bool {
    const LOOKS: u32 = 40;
    const BETWEEN: Duration = Duration::from_millis(50);
    for _ in 0..LOOKS {
        if lock.symlink_metadata().is_err() {
            return true;
        }
        std::thread::sleep(BETWEEN);
    }
    false
}
