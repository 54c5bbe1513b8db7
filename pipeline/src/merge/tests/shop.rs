//! A small project to merge in.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use agents::confine::Confinement;
use git2::{FileMode, Repository, Signature, build::TreeUpdateBuilder};
use tokio::sync::mpsc;

use super::super::*;
use crate::{
    Project, board,
    gates::GateRunner,
    story::{FileName, StoryId, StoryKind, stage::Stage},
};

/// A repository with a `README` and a `CHANGES` on `main`.
pub(crate) struct Shop {
    folder: tempfile::TempDir,
    pub project: Project,
}

pub(crate) fn gates(commands: &[&str]) -> GateRunner {
    GateRunner {
        commands: commands.iter().map(|command| (*command).into()).collect(),
        timeout: Duration::from_secs(120),
        environment: [("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        ..GateRunner::default()
    }
}

/// Waits for what has to come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("it comes")
}

pub(crate) async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// As [`Shop::new`], below this folder.
    pub(crate) fn within(folder: &Path) -> Self {
        let folder = tempfile::tempdir_in(folder).expect("a folder");
        git(folder.path(), &["init", "-q", "-b", "main"]);
        git(folder.path(), &["config", "user.name", "Ada"]);
        git(folder.path(), &["config", "user.email", "ada@example.org"]);
        fs::write(folder.path().join("README"), "a shop\n").expect("a file");
        fs::write(folder.path().join("CHANGES"), "# Changes\n").expect("a file");
        git(folder.path(), &["add", "."]);
        git(folder.path(), &["commit", "-q", "-m", "first"]);
        let project = Project::open(folder.path()).expect("a project");
        Self { folder, project }
    }

    /// What a child process serves again.
    pub(crate) fn keep(self) -> (tempfile::TempDir, Project) {
        (self.folder, self.project)
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(self.project.root(), args)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.project.root().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a file")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn commit_all(&self, message: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", message]);
    }

    /// Puts these stories on the board's branch, and not into the checkout.
    pub(crate) fn board(&self, stories: &[(&str, &str)]) {
        let repository = Repository::open(self.project.root()).expect("a repository");
        let blob = |text: &str| repository.blob(text.as_bytes()).expect("a blob");
        let changes = stories.iter().map(|(path, text)| (path.into(), Some(blob(text)))).collect();
        let commit = board::write_commit(&repository, None, &changes, "board").expect("a commit");
        self.git(&["update-ref", board::BOARD_REF, &commit.to_string()]);
    }

    /// A story in `4_merge` whose branch changes these files.
    pub(crate) fn story(&self, id: u32, slug: &str, files: &[(&str, &str)]) -> MergeRequest {
        self.story_with(id, slug, files, &[])
    }

    pub(crate) fn story_with(
        &self,
        id: u32,
        slug: &str,
        files: &[(&str, &str)],
        gone: &[&str],
    ) -> MergeRequest {
        add_story(self.project.root(), id, slug, files, gone)
    }

    /// The stages a story's file is in.
    pub(crate) fn stages(&self, id: u32) -> Vec<&'static str> {
        stages(self.project.root(), id)
    }

    pub(crate) fn settings(&self, gates: GateRunner) -> MergeSettings {
        MergeSettings {
            base: "main".into(),
            gates,
            components: Vec::new(),
            hosts: Default::default(),
            network: agents::confine::NetworkAccess::All,
            confinement: Ok(Confinement::None),
            variables: Vec::new(),
        }
    }

    pub(crate) fn queue(&self, gates: GateRunner) -> (MergeQueue, mpsc::Receiver<Arc<MergeEnded>>) {
        MergeQueue::open(&self.project, self.settings(gates)).expect("a queue")
    }

    /// One merge from start to end.
    pub(crate) async fn merge(
        &self,
        request: &MergeRequest,
        gates: GateRunner,
    ) -> Result<MergeOutcome, MergeError> {
        let (queue, mut ends) = self.queue(gates);
        queue.start(request).expect("it is queued");
        let end = soon(ends.recv()).await.expect("an end");
        drop((queue, ends));
        let mut end = Some(end);
        // The queue remembers it until its worker has gone.
        loop {
            match Arc::try_unwrap(end.take().expect("an end")) {
                Ok(ended) => return ended.result,
                Err(shared) => end = Some(shared),
            }
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn stages(root: &Path, id: u32) -> Vec<&'static str> {
    let has = |stage: &Stage| {
        let files =
            fs::read_dir(root.join(".storkit/work").join(stage.dir())).into_iter().flatten().flatten();
        files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with(&format!("{id}_")))
    };
    Stage::ALL.iter().filter(|stage| has(stage)).map(|stage| stage.dir()).collect()
}

pub(crate) fn add_story(
    root: &Path,
    id: u32,
    slug: &str,
    files: &[(&str, &str)],
    gone: &[&str],
) -> MergeRequest {
    let file = FileName { id: StoryId(id), kind: StoryKind::Story, slug: slug.into() };
    let path = root.join(".storkit/work/4_merge").join(file.to_string());
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, format!("---\nname: Story {id}\n---\n")).expect("a story");
    let branch = format!("feature/story-{id}_{slug}/work");
    let repository = Repository::open(root).expect("a repository");
    let main =
        repository.find_reference("refs/heads/main").and_then(|main| main.peel_to_commit()).expect("main");
    let mut update = TreeUpdateBuilder::new();
    for (name, text) in files {
        update.upsert(*name, repository.blob(text.as_bytes()).expect("a blob"), FileMode::Blob);
    }
    for name in gone {
        update.remove(*name);
    }
    let tree = update.create_updated(&repository, &main.tree().expect("a tree")).expect("a tree");
    let coder = Signature::now("coder-1", "coder-1@agents").expect("a name");
    let tree = repository.find_tree(tree).expect("a tree");
    let reference = format!("refs/heads/{branch}");
    repository
        .commit(None, &coder, &coder, "work", &tree, &[&main])
        .and_then(|commit| repository.reference(&reference, commit, false, "work"))
        .expect("a branch");
    MergeRequest { file, title: format!("Story {id}"), branch, in_quarantine: false }
}

/// Git without the machine's configuration.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(args).env_remove("GIT_DIR");
    command.envs([
        ("HOME", "/nonexistent"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ]);
    let output = command.output().expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
