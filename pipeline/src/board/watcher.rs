//! Watches `.storkit/work/` and reports changed files in settled bursts; a regular scan finds changes that `notify` misses.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use crate::{
    Project,
    folders::{FolderEvent, FolderWatch},
    story::stage::Stage,
};

/// Between two looks at everything.
const LOOK: Duration = Duration::from_secs(30);

/// A burst that does not settle is reported after so many times the settling time.
const LONGEST: u32 = 10;

// More files than this in one burst are a reason to look at everything.
const MOST: usize = 20_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WorkChange {
    /// These files, absolute, each once.
    Files(Vec<PathBuf>),
    /// Nobody knows: look at everything.
    Rescan,
    Config,
}

/// Watches until it is dropped.
pub(crate) struct WorkWatcher {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for WorkWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One change that was reported.
enum SeenChange {
    File(PathBuf),
    Config,
    /// A folder came or went, or events were lost.
    Everything,
}

/// Watches the project's stories and its `project.toml`. A file is reported once it was quiet for `settle`.
/// Where the system gives no watcher, only the regular scan is left, and that is logged.
pub(crate) fn watch(project: &Project, settle: Duration) -> (WorkWatcher, mpsc::Receiver<WorkChange>) {
    let (told, hears) = mpsc::channel(16);
    let task = tokio::spawn(follow(FolderWatches::open(project), settle, told));
    (WorkWatcher { task }, hears)
}

/// The watched folders: `.storkit`, `.storkit/work`, and each stage, each without the folders below it.
struct FolderWatches {
    watched: Option<FolderWatch>,
    home: PathBuf,
}

impl FolderWatches {
    fn open(project: &Project) -> Self {
        let watched = FolderWatch::none().inspect_err(|error| {
            tracing::warn!(%error, "files cannot be watched and are checked every 30 s instead. Raise fs.inotify.max_user_instances.");
        });
        let mut eyes = Self { watched: watched.ok(), home: project.dir() };
        eyes.renew();
        eyes
    }

    /// Watches folders that came back; watching one again is harmless.
    fn renew(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        let work = self.home.join("work");
        let stages = Stage::ALL.map(|stage| work.join(stage.dir()));
        for folder in [self.home.clone(), work].iter().chain(&stages).filter(|folder| folder.is_dir()) {
            if let Err(error) = watched.follow(folder) {
                tracing::warn!(%error, folder = %folder.display(), "a folder cannot be watched. Raise fs.inotify.max_user_watches.");
            }
        }
    }

    async fn next(&mut self) -> SeenChange {
        loop {
            let Some(watched) = &mut self.watched else { return std::future::pending().await };
            match watched.next().await {
                FolderEvent::To(path) => {
                    if let Some(seen) = sort(path, &self.home) {
                        return seen;
                    }
                }
                FolderEvent::Unknown => return SeenChange::Everything,
            }
        }
    }
}

/// Classifies a changed path; `None` for one that does not matter.
fn sort(path: PathBuf, home: &Path) -> Option<SeenChange> {
    let work = home.join("work");
    let folder = path.parent()?;
    if path == home.join("project.toml") {
        return Some(SeenChange::Config);
    }
    if path == work || folder == work {
        return Some(SeenChange::Everything);
    }
    let temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp"));
    (folder.parent() == Some(&work) && !temporary).then_some(SeenChange::File(path))
}

async fn follow(mut eyes: FolderWatches, settle: Duration, told: mpsc::Sender<WorkChange>) {
    let mut look = interval_at(Instant::now() + LOOK, LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut burst = ChangeBurst::default();
    loop {
        let due = burst.due(settle);
        let settled = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            seen = eyes.next() => burst.add(seen),
            _ = look.tick() => burst.add(SeenChange::Everything),
            () = settled => {
                // A folder that was removed and made again has lost its watch.
                if burst.everything {
                    eyes.renew();
                }
                for changed in std::mem::take(&mut burst).told() {
                    if told.send(changed).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Changes that are seen and not reported yet.
#[derive(Default)]
struct ChangeBurst {
    files: BTreeSet<PathBuf>,
    config: bool,
    everything: bool,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl ChangeBurst {
    fn add(&mut self, seen: SeenChange) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        match seen {
            SeenChange::File(path) => {
                self.files.insert(path);
                self.everything |= self.files.len() > MOST;
            }
            SeenChange::Config => self.config = true,
            SeenChange::Everything => self.everything = true,
        }
        if self.everything {
            self.files.clear();
        }
    }

    /// When to report it: after a quiet while, or when it lasts too long.
    fn due(&self, settle: Duration) -> Option<Instant> {
        Some((self.last? + settle).min(self.first? + settle * LONGEST))
    }

    fn told(self) -> Vec<WorkChange> {
        let mut told = Vec::new();
        if self.config {
            told.push(WorkChange::Config);
        }
        if self.everything {
            told.push(WorkChange::Rescan);
        } else if !self.files.is_empty() {
            told.push(WorkChange::Files(self.files.into_iter().collect()));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::board::WorkFolder;

    struct Fixture {
        _folder: tempfile::TempDir,
        work: PathBuf,
        _watcher: WorkWatcher,
        changes: mpsc::Receiver<WorkChange>,
    }

    impl Fixture {
        fn new(settle: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            git2::Repository::init(folder.path()).unwrap();
            let project = Project::open(folder.path()).unwrap();
            let work = WorkFolder::open(&project).unwrap().dir().to_owned();
            let (watcher, changes) = watch(&project, settle);
            Self { _folder: folder, work, _watcher: watcher, changes }
        }

        async fn next(&mut self) -> WorkChange {
            let next = tokio::time::timeout(Duration::from_secs(60), self.changes.recv()).await;
            next.expect("nothing is told").expect("the watcher lives")
        }

        fn relative(&self, change: WorkChange) -> WorkChange {
            let inside = |path: PathBuf| path.strip_prefix(&self.work).unwrap().to_owned();
            match change {
                WorkChange::Files(files) => WorkChange::Files(files.into_iter().map(inside).collect()),
                other => other,
            }
        }
    }

    /// Runs this with new watchers until one hears of each change. A watcher that the system refuses, or whose events
    /// the system lost, tells to look at everything: a machine with many watchers does that at times.
    async fn with_every_event(acts: impl AsyncFn(&mut Fixture) -> Vec<WorkChange>) -> Vec<WorkChange> {
        for _ in 0..5 {
            let told = acts(&mut Fixture::new(Duration::from_millis(50))).await;
            if !told.contains(&WorkChange::Rescan) {
                return told;
            }
        }
        panic!("each time, the watcher tells to look at everything")
    }

    #[tokio::test]
    async fn a_file_dragged_to_another_stage_is_told_once_with_both_places() {
        let names = ["1_backlog/7_bug_x.md", "2_current/7_bug_x.md"];
        let told = with_every_event(async |fixture| {
            let [from, to] = names.map(|name| fixture.work.join(name));
            fs::write(&from, "# x\n").unwrap();
            let written = fixture.next().await;
            fs::rename(&from, &to).unwrap();
            [written, fixture.next().await].map(|change| fixture.relative(change)).into()
        });
        let [from, to] = names.map(PathBuf::from);
        assert_eq!(told.await, [WorkChange::Files(vec![from.clone()]), WorkChange::Files(vec![from, to])]);
    }

    #[tokio::test]
    async fn none_of_ten_thousand_moves_in_a_burst_is_lost() {
        let mut fixture = Fixture::new(Duration::from_millis(20));
        let name = |stage: &str, number: u32| fixture.work.join(stage).join(format!("{number}_story_x.md"));
        for number in 1..=10_000 {
            fs::write(name("1_backlog", number), "# x\n").unwrap();
        }
        for number in 1..=10_000 {
            fs::rename(name("1_backlog", number), name("2_current", number)).unwrap();
        }
        let mut missing: BTreeSet<PathBuf> = (1..=10_000).map(|number| name("2_current", number)).collect();
        while !missing.is_empty() {
            match fixture.next().await {
                WorkChange::Files(files) => missing.retain(|file| !files.contains(file)),
                // Whoever looks at everything now finds all of them.
                WorkChange::Rescan => break,
                WorkChange::Config => {}
            }
        }
    }

    #[tokio::test]
    async fn a_stage_that_a_checkout_took_away_and_brought_back_is_watched_again() {
        let mut fixture = Fixture::new(Duration::from_millis(20));
        let stage = fixture.work.join("1_backlog");
        fs::remove_dir(&stage).unwrap();
        assert_eq!(fixture.next().await, WorkChange::Rescan);
        fs::create_dir(&stage).unwrap();
        assert_eq!(fixture.next().await, WorkChange::Rescan);
        let file = stage.join("7_bug_x.md");
        fs::write(&file, "# x\n").unwrap();
        assert_eq!(fixture.next().await, WorkChange::Files(vec![file]));
    }

    #[tokio::test]
    async fn the_configuration_is_told_and_our_own_temporaries_are_not() {
        let told = with_every_event(async |fixture| {
            fs::write(fixture.work.join("1_backlog/.tmp-1"), "x").unwrap();
            fs::write(fixture.work.parent().unwrap().join("project.toml"), "").unwrap();
            vec![fixture.next().await]
        });
        assert_eq!(told.await, [WorkChange::Config]);
    }

    #[test]
    fn a_burst_without_an_end_is_told_all_the_same() {
        let mut burst = ChangeBurst::default();
        burst.add(SeenChange::File("a".into()));
        let first = burst.first.unwrap();
        burst.last = Some(first + Duration::from_secs(100));
        assert_eq!(burst.due(Duration::from_secs(1)), Some(first + Duration::from_secs(10)));
    }
}
