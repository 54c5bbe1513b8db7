//! What a worktree's components were set up from, so that a setup runs again only when something it depends on has changed.
//!
//! The record is storkit's own, where no agent writes. Inputs are read from git's objects, never from files that an agent may replace.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use git2::{ErrorCode, Oid, Repository};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    config::Component,
    worktree::error::{WorktreeError, at},
};

const FILE: &str = "setup.json";

/// Files on which a setup depends where `inputs` lists none: manifests and lock files of the usual tools, in the component's folder.
const USUAL_INPUTS: [&str; 36] = [
    ".gitmodules",
    "Cargo.lock",
    "Cargo.toml",
    "Gemfile",
    "Gemfile.lock",
    "Pipfile",
    "Pipfile.lock",
    "build.gradle",
    "build.gradle.kts",
    "bun.lock",
    "bun.lockb",
    "composer.json",
    "composer.lock",
    "go.mod",
    "go.sum",
    "go.work",
    "go.work.sum",
    "gradle.lockfile",
    "gradle.properties",
    "mix.exs",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "package.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "poetry.lock",
    "pom.xml",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
    "settings.gradle",
    "settings.gradle.kts",
    "setup.cfg",
    "setup.py",
    "uv.lock",
];

/// The components that were set up in one worktree.
#[derive(Debug)]
pub(crate) struct SetupRecord {
    path: PathBuf,
    stored: StoredRecord,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredRecord {
    done: BTreeMap<String, ComponentRecord>,
    /// Files that were copied from the main checkout, relative to it.
    copied: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ComponentRecord {
    /// A digest of everything the setup depends on.
    key: String,
    /// Whether the component lists its inputs. If not, nobody knows on what else its setup depends.
    is_listed: bool,
    /// What git ignored in the worktree afterwards: if one of these is gone, the setup's result is.
    made: Vec<PathBuf>,
}

/// A setup that is to run, and what it will have been made from.
#[derive(Clone, Debug)]
pub(crate) struct DueSetup {
    pub component: Component,
    key: String,
}

impl SetupRecord {
    /// Reads the record in this folder. One that is missing or cannot be read is empty: then everything is set up again.
    pub(crate) fn read(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let stored =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { path, stored }
    }

    /// Notes the files that are copied from now on; returns earlier ones that are not among them.
    pub(crate) fn change_copied(&mut self, copied: BTreeSet<PathBuf>) -> Result<Vec<PathBuf>, WorktreeError> {
        let old = self.stored.copied.difference(&copied).cloned().collect();
        if self.stored.copied != copied {
            // Those that are to go stay noted until they are gone.
            self.stored.copied.extend(copied);
            self.write()?;
        }
        Ok(old)
    }

    pub(crate) fn forget_copied(&mut self, gone: &[PathBuf]) -> Result<(), WorktreeError> {
        if gone.is_empty() {
            return Ok(());
        }
        self.stored.copied.retain(|file| !gone.contains(file));
        self.write()
    }

    /// The components to set up in `checkout`, which has the files of `tree`, in their order. Reads git's objects.
    pub(crate) fn due(
        &self,
        (repository, tree): (&Repository, Oid),
        checkout: &Path,
        components: &[Component],
    ) -> Result<Vec<DueSetup>, git2::Error> {
        let mut due = Vec::new();
        for component in components.iter().filter(|component| !component.setup.is_empty()) {
            let key = key(repository, tree, component)?;
            let is_done = self.stored.done.get(&component.name).is_some_and(|done| {
                done.key == key && done.made.iter().all(|made| checkout.join(made).symlink_metadata().is_ok())
            });
            if !is_done {
                due.push(DueSetup { component: component.clone(), key });
            }
        }
        Ok(due)
    }

    /// Notes before a setup runs that its earlier result is gone.
    pub(crate) fn begin(&mut self, due: &[DueSetup]) -> Result<(), WorktreeError> {
        due.iter().for_each(|due| drop(self.stored.done.remove(&due.component.name)));
        self.write()
    }

    /// Notes that these are done, with what git ignores here now.
    pub(crate) fn end(&mut self, due: Vec<DueSetup>, made: &[PathBuf]) -> Result<(), WorktreeError> {
        for DueSetup { component, key } in due {
            let inside = made.iter().filter(|made| made.starts_with(&component.path)).cloned().collect();
            let is_listed = component.inputs.is_some();
            self.stored.done.insert(component.name, ComponentRecord { key, is_listed, made: inside });
        }
        self.write()
    }

    /// Somebody else begins to work here: a component without listed inputs is set up again.
    pub(crate) fn begin_anew(&mut self) -> Result<(), WorktreeError> {
        let before = self.stored.done.len();
        self.stored.done.retain(|_, done| done.is_listed);
        if self.stored.done.len() == before { Ok(()) } else { self.write() }
    }

    pub(crate) fn forget_all(&mut self) -> Result<(), WorktreeError> {
        if self.stored.done.is_empty() {
            return Ok(());
        }
        self.stored.done.clear();
        self.write()
    }

    fn write(&self) -> Result<(), WorktreeError> {
        let text = serde_json::to_vec(&self.stored).unwrap_or_default();
        settings::atomic::write(&self.path, &text).map_err(at(&self.path))
    }
}

/// Equal as long as the setup would do the same.
fn key(repository: &Repository, tree: Oid, component: &Component) -> Result<String, git2::Error> {
    let tree = repository.find_tree(tree)?;
    let usual = || USUAL_INPUTS.iter().map(|name| component.path.join(name)).collect();
    let inputs: Vec<PathBuf> = component.inputs.clone().unwrap_or_else(usual);
    let mut text = format!("{:?}\n{:?}\n", component.path, component.setup);
    for input in inputs {
        // The id of a file's content, of a submodule's commit, or of a whole folder.
        let object = match tree.get_path(&plain(&input)) {
            Ok(entry) => entry.id().to_string(),
            Err(error) if error.code() == ErrorCode::NotFound => "none".to_owned(),
            Err(error) => return Err(error),
        };
        let _ = writeln!(text, "{input:?} {object}");
    }
    Ok(Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `./web/x` as git has it: `web/x`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    fn component(name: &str, inputs: Option<&[&str]>) -> Component {
        let inputs = inputs.map(|inputs| inputs.iter().map(PathBuf::from).collect());
        Component { name: name.into(), setup: vec!["make".into()], inputs, ..Component::default() }
    }

    /// The names of what is due, with the files that are committed now.
    fn due(fixture: &WorktreeFixture, components: &[Component]) -> Vec<String> {
        let repository = Repository::open(fixture.root()).unwrap();
        let tree = repository.head().unwrap().peel_to_tree().unwrap().id();
        let record = SetupRecord::read(&fixture.project.run_dir());
        let due = record.due((&repository, tree), &fixture.root(), components).unwrap();
        due.into_iter().map(|due| due.component.name).collect()
    }

    fn set_up(fixture: &WorktreeFixture, components: &[Component], made: &[&str]) {
        let repository = Repository::open(fixture.root()).unwrap();
        let tree = repository.head().unwrap().peel_to_tree().unwrap().id();
        let mut record = SetupRecord::read(&fixture.project.run_dir());
        let due = record.due((&repository, tree), &fixture.root(), components).unwrap();
        record.begin(&due).unwrap();
        record.end(due, &made.iter().map(PathBuf::from).collect::<Vec<_>>()).unwrap();
    }

    fn commit(fixture: &WorktreeFixture, name: &str, text: &str) {
        fixture.write(name, text);
        fixture.git(&["add", "-f", name]);
        fixture.git(&["commit", "-q", "-m", name]);
    }

    #[test]
    fn a_setup_runs_again_when_an_input_a_command_or_its_result_has_changed() {
        let fixture = WorktreeFixture::new();
        commit(&fixture, "web/package-lock.json", "{}");
        fixture.write("node_modules/x", "");
        let all = [component("web", Some(&["web/package-lock.json"]))];
        let start = |components: &[Component]| due(&fixture, components);
        assert_eq!(start(&all), ["web"], "it was never set up");
        set_up(&fixture, &all, &["node_modules"]);
        assert!(start(&all).is_empty());
        commit(&fixture, "web/other.txt", "changed");
        assert!(start(&all).is_empty(), "nothing that it depends on");
        let other = [Component { setup: vec!["make all".into()], ..all[0].clone() }];
        assert_eq!(start(&other), ["web"]);
        commit(&fixture, "web/package-lock.json", "{\"x\": 1}");
        assert_eq!(start(&all), ["web"], "a story adds a dependency");
        set_up(&fixture, &all, &["node_modules"]);
        fs::remove_dir_all(fixture.root().join("node_modules")).unwrap();
        assert_eq!(start(&all), ["web"], "somebody removed the result");
    }

    #[test]
    fn without_listed_inputs_the_usual_files_count_and_the_next_story_is_set_up_anyway() {
        let fixture = WorktreeFixture::new();
        commit(&fixture, "go.sum", "one");
        let listed = component("listed", Some(&["go.sum"]));
        let all = [component("go", None), listed, Component { name: "none".into(), ..Component::default() }];
        set_up(&fixture, &all, &[]);
        assert!(due(&fixture, &all).is_empty());
        SetupRecord::read(&fixture.project.run_dir()).begin_anew().unwrap();
        assert_eq!(due(&fixture, &all), ["go"]);
        set_up(&fixture, &all, &[]);
        commit(&fixture, "go.sum", "two");
        assert_eq!(due(&fixture, &all), ["go", "listed"]);
    }

    #[test]
    fn a_setup_that_is_cut_short_or_a_record_that_cannot_be_read_counts_as_none() {
        let fixture = WorktreeFixture::new();
        let all = [component("a", Some(&[]))];
        set_up(&fixture, &all, &[]);
        let repository = Repository::open(fixture.root()).unwrap();
        let tree = repository.head().unwrap().peel_to_tree().unwrap().id();
        let changed = [Component { setup: vec!["other".into()], ..all[0].clone() }];
        let mut record = SetupRecord::read(&fixture.project.run_dir());
        let begun = record.due((&repository, tree), &fixture.root(), &changed).unwrap();
        record.begin(&begun).unwrap();
        assert_eq!(due(&fixture, &all), ["a"], "what there was is half overwritten");
        set_up(&fixture, &all, &[]);
        fs::write(fixture.project.run_dir().join(FILE), "no json").unwrap();
        assert_eq!(due(&fixture, &all), ["a"]);
    }
}
