//! Which stories in work were started on this machine. A clone can bring stories in any stage; they wait for `start`.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use git2::Repository;

use super::lane::WorkLane;
use crate::{
    Project,
    board::Board,
    guard::BaseGuard,
    story::{Story, StoryId, stage::Stage},
    trust::{StoryOrigins, TrustError, TrustStore},
};

/// A record outside the repository, since the stories' files belong to the repository. Kept by the names of files: another
/// story of the same number is not started.
pub(super) struct StartedStories {
    project: Project,
    store: TrustStore,
    origins: StoryOrigins,
    /// Came to a stage by hand or by git, and is not looked at yet.
    pub arrived: Vec<Arc<Story>>,
}

impl StartedStories {
    /// Reads the record, and forgets stories that are no longer in work. Blocks.
    ///
    /// A file that a person moved while storkit was down counts as at any other time. But where storkit never served the
    /// project, every story in work came with it, from a clone or from an archive.
    pub(super) fn open(
        project: &Project,
        store: &TrustStore,
        (base, board): (&str, &Board),
    ) -> Result<Self, TrustError> {
        let recorded = store.origins(project)?;
        let known = recorded.clone().unwrap_or_default();
        let in_work: Vec<Arc<Story>> =
            board.stories.iter().filter(|story| is_in_work(story.stage)).cloned().collect();
        let names: BTreeSet<String> = in_work.iter().map(name).collect();
        let is_new = |story: &&Arc<Story>| {
            let name = name(story);
            !known.started.contains(&name) && !known.brought.contains(&name)
        };
        let by_hand: BTreeSet<String> = match &recorded {
            Some(_) => {
                let new = in_work.iter().filter(is_new).cloned().collect();
                moved_by_hand(project, base, new).iter().map(name).collect()
            }
            None => BTreeSet::new(),
        };
        let started: BTreeSet<String> =
            known.started.union(&by_hand).filter(|name| names.contains(*name)).cloned().collect();
        let brought = names.difference(&started).cloned().collect();
        let origins = StoryOrigins { started, brought };
        if recorded.as_ref() != Some(&origins)
            && let Err(error) = store.set_origins(project, &origins)
        {
            tracing::warn!(%error, "which stories were started here cannot be recorded");
        }
        Ok(Self { project: project.clone(), store: store.clone(), origins, arrived: Vec::new() })
    }

    /// Whether it is in work, and nobody has started it here.
    pub(super) fn waits(&self, story: &Arc<Story>) -> bool {
        is_in_work(story.stage) && !self.origins.started.contains(&name(story))
    }

    /// Records it in the lane of the stories' files, and so before what follows from it is written there.
    pub(super) fn mark(&mut self, story: &Arc<Story>, is_started: bool, lane: &WorkLane) {
        let before = self.origins.clone();
        let name = name(story);
        match is_started {
            true => {
                self.origins.brought.remove(&name);
                self.origins.started.insert(name);
            }
            false => drop(self.origins.brought.insert(name)),
        }
        self.save_if_changed(&before, lane);
    }

    pub(super) fn forget(&mut self, story: StoryId, lane: &WorkLane) {
        let before = self.origins.clone();
        self.origins.started.retain(|name| !is_of(name, story));
        self.origins.brought.retain(|name| !is_of(name, story));
        self.save_if_changed(&before, lane);
    }

    fn save_if_changed(&self, before: &StoryOrigins, lane: &WorkLane) {
        if self.origins == *before {
            return;
        }
        let (project, store, origins) = (self.project.clone(), self.store.clone(), self.origins.clone());
        lane.push(move || {
            if let Err(error) = store.set_origins(&project, &origins) {
                tracing::warn!(%error, "which stories were started here cannot be recorded; they wait after a restart");
            }
        });
    }
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

/// The stories whose files git has not brought. While a person's git writes the checkout, the index is locked and still the
/// old one; if that lasts, nobody knows, and they count as brought. Blocks.
pub(super) fn moved_by_hand(project: &Project, base: &str, mut stories: Vec<Arc<Story>>) -> Vec<Arc<Story>> {
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
    stories.retain(|story| {
        let path = Path::new(".storkit/work").join(story.stage.dir()).join(story.file.to_string());
        let in_index = (0..=3).any(|stage| index.get_path(&path, stage).is_some());
        !in_index && !trees.iter().flatten().any(|tree| tree.get_path(&path).is_ok())
    });
    stories
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
