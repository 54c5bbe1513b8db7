//! Which stories in work were started on this machine. A clone can bring stories in any stage; they wait for `start`.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use git2::Repository;

use super::{Orchestrator, lane::WorkLane};
use crate::{
    Project,
    board::Board,
    event::Actor,
    story::{Story, StoryId, stage::Stage},
    trust::{TrustError, TrustStore},
};

/// A record outside the repository, since the stories' files belong to the repository.
pub(super) struct StartedStories {
    project: Project,
    store: TrustStore,
    /// The names of their files, without the extension: another story of the same number is not started.
    names: BTreeSet<String>,
    /// Came to a stage by hand or by git, and is not looked at yet.
    arrived: Vec<Arc<Story>>,
}

impl StartedStories {
    /// Reads the record, and forgets stories that are no longer in work.
    pub(super) fn open(project: &Project, store: &TrustStore, board: &Board) -> Result<Self, TrustError> {
        let in_work: BTreeSet<String> =
            board.stories.iter().filter(|story| is_in_work(story.stage)).map(name).collect();
        let names = store.started(project)?.intersection(&in_work).cloned().collect();
        Ok(Self { project: project.clone(), store: store.clone(), names, arrived: Vec::new() })
    }

    /// Whether it is in work, and nobody has started it here.
    pub(super) fn waits(&self, story: &Arc<Story>) -> bool {
        is_in_work(story.stage) && !self.names.contains(&name(story))
    }

    /// Records it in the lane of the stories' files, and so before what follows from it is written there.
    fn mark(&mut self, name: String, lane: &WorkLane) {
        if self.names.insert(name) {
            self.save(lane);
        }
    }

    fn forget(&mut self, story: StoryId, lane: &WorkLane) {
        let before = self.names.len();
        self.names.retain(|name| !is_of(name, story));
        if self.names.len() < before {
            self.save(lane);
        }
    }

    fn save(&self, lane: &WorkLane) {
        let (project, store, names) = (self.project.clone(), self.store.clone(), self.names.clone());
        lane.push(move || {
            if let Err(error) = store.set_started(&project, &names) {
                tracing::warn!(%error, "which stories were started here cannot be recorded; they wait after a restart");
            }
        });
    }
}

fn is_in_work(stage: Stage) -> bool {
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

impl Orchestrator {
    /// A person wants work on this story, or an order moves it there.
    pub(super) fn mark_started(&mut self, story: &Arc<Story>) {
        let Self { stories, .. } = self;
        stories.started.mark(name(story), &stories.lane);
    }

    /// Marks a story that was in work already, if a person says so. An agent cannot start what a clone brought.
    pub(super) fn mark_started_by(&mut self, by: &Actor, story: &Arc<Story>) {
        match by {
            Actor::Person(_) => self.mark_started(story),
            Actor::Agent(_) | Actor::Pipeline | Actor::Editor => {}
        }
    }

    /// A story's file came to or left a stage.
    pub(super) fn follow_stage(&mut self, id: StoryId, to: Stage, by: &Actor) {
        if !is_in_work(to) {
            let Self { stories, .. } = self;
            return stories.started.forget(id, &stories.lane);
        }
        let Some(story) = self.story(id).filter(|story| self.stories.started.waits(story)) else { return };
        match by {
            // Somebody put the file there: a person, or git.
            Actor::Editor => self.stories.started.arrived.push(story),
            // From backlog, by an order that has marked it; of later stages only what was started before gets further.
            Actor::Person(_) | Actor::Agent(_) | Actor::Pipeline => {}
        }
    }

    /// Of the files that came to a stage by hand, those that git has tracked there were not started here.
    pub(super) fn check_arrivals(&mut self) {
        let arrived = std::mem::take(&mut self.stories.started.arrived);
        if arrived.is_empty() {
            return;
        }
        let (project, base) = (self.context.project.clone(), self.config.base.clone());
        let by_hand = move || moved_by_hand(&project, &base, arrived);
        self.run_in_lane(&self.stories.lane, None, by_hand, |this, by_hand| {
            by_hand.into_iter().flatten().for_each(|story| this.mark_started(&story));
        });
    }
}

/// The stories whose files git has not brought. While it writes the checkout, the index is locked and still the old one:
/// then nobody knows.
fn moved_by_hand(project: &Project, base: &str, mut stories: Vec<Arc<Story>>) -> Vec<Arc<Story>> {
    let Ok(repository) = Repository::open(project.root()) else { return Vec::new() };
    let Ok(index) = repository.index() else { return Vec::new() };
    if repository.path().join("index.lock").symlink_metadata().is_ok() {
        return Vec::new();
    }
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
