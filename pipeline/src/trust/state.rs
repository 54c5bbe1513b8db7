//! State below `.storkit/` that storkit did not make on this machine: git does not track it, so it comes with an archive or a copied
//! folder. Rules, sessions and proofs in it would be believed. So would `bot.toml`, which names programs and people: one that was there before
//! `storkit init` or the first start may be anybody's.
//!
//! storkit leaves a stamp in its state, and records it outside the project. A stamp that this machine has recorded for any project
//! vouches for state that its operator has moved or copied.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use settings::{atomic, unlinked};

use super::{error::TrustError, store::TrustStore};
use crate::Project;

/// What storkit believes. Folders count once something is in them.
const BELIEVED: [&str; 13] = [
    SETTINGS,
    "state/state.db",
    "state.db",
    "proofs",
    "matrix",
    "slack",
    "whatsapp",
    "run/land",
    "run/memo",
    "run/merge.json",
    "run/merges",
    "logs/runs.jsonl",
    "logs/stories.jsonl",
];

const SETTINGS: &str = "bot.toml";
const STAMP: &str = "state/stamp";

/// The name's end of the record in the trust folder.
const EXTENSION: &str = "state.json";

/// Why the state in a project cannot be used. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "{} not made by storkit on this machine, but storkit would believe what is in there (settings, rules, sessions, proofs). \
         If you wrote it, or it is your own from another machine, run `storkit trust`. Otherwise, and in a project that you were \
         given, set all of it aside:\n  {command}",
        listed(found)
    )]
    Foreign { found: Vec<String>, command: String },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("`{}` cannot be used: {source}.", path.display())]
    Stamp { path: PathBuf, source: io::Error },
}

#[derive(Clone, Serialize, Deserialize)]
struct StateStamp {
    stamp: String,
}

impl TrustStore {
    /// Checks that the project's state is from this machine, and leaves a stamp in it. Called before anything of it is read. Blocks.
    pub fn check_state(&self, project: &Project) -> Result<(), StateError> {
        let recorded = self.read::<StateStamp>(project, EXTENSION)?.map(|record| record.stamp);
        let left = stamp_in(project)?;
        let found = believed_in(project);
        match (&left, &recorded) {
            (Some(left), Some(recorded)) if left == recorded => return Ok(()),
            // Moved or copied by somebody on this machine.
            (Some(left), _) if self.knows_stamp(left) => return self.record_stamp(project, left),
            _ if found.is_empty() => {}
            // The operator has removed the rest.
            (None, Some(_)) if found == [SETTINGS] => {}
            // Served here by a version that left no stamp.
            (None, None) if self.has_served(project)? => {}
            _ => {
                let root = shell_word(project.root());
                let command = format!(
                    "cd {root} && mv .storkit .storkit-aside && (git checkout -q HEAD -- .storkit || true) && storkit init"
                );
                return Err(StateError::Foreign { found, command });
            }
        }
        self.adopt_state(project)
    }

    /// The operator says that the state is theirs, or there is none yet. Blocks.
    pub fn adopt_state(&self, project: &Project) -> Result<(), StateError> {
        let stamp = uuid::Uuid::new_v4().simple().to_string();
        // Recorded first: a stamp that nobody knows would make the next start refuse.
        self.record_stamp(project, &stamp)?;
        let path = project.dir().join(STAMP);
        let failed = |source| StateError::Stamp { path: path.clone(), source };
        unlinked::create_dir_all(path.parent().unwrap_or(&path)).map_err(failed)?;
        unlinked::check(&path).and_then(|()| atomic::write(&path, stamp.as_bytes())).map_err(failed)
    }

    fn record_stamp(&self, project: &Project, stamp: &str) -> Result<(), StateError> {
        Ok(self.write(project, EXTENSION, StateStamp { stamp: stamp.to_owned() })?)
    }

    fn has_served(&self, project: &Project) -> Result<bool, TrustError> {
        Ok(self.origins(project)?.is_some() || self.confirmed(project)?.is_some())
    }
}

fn stamp_in(project: &Project) -> Result<Option<String>, StateError> {
    let path = project.dir().join(STAMP);
    let read = unlinked::check(&path).and_then(|()| fs::read_to_string(&path));
    match read {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|stamp| !stamp.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Stamp { path, source }),
    }
}

fn believed_in(project: &Project) -> Vec<String> {
    let is_there = |name: &&&str| {
        let path = project.dir().join(name);
        match fs::read_dir(&path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => path.symlink_metadata().is_ok(),
        }
    };
    BELIEVED.iter().filter(is_there).map(|name| (*name).to_owned()).collect()
}

fn listed(found: &[String]) -> String {
    let names: Vec<String> = found.iter().map(|name| format!("`.storkit/{name}`")).collect();
    let verb = if names.len() == 1 { "was" } else { "were" };
    format!("{} {verb}", names.join(", "))
}

fn shell_word(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{trust::StoryOrigins, worktree::fixture::WorktreeFixture};

    fn machine() -> (tempfile::TempDir, TrustStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = TrustStore::at(folder.path().canonicalize().expect("a path").join("trust"));
        (folder, store)
    }

    /// A project that this machine has served, with rules in its state.
    fn served(store: &TrustStore) -> WorktreeFixture {
        let git = WorktreeFixture::new();
        store.check_state(&git.project).expect("it is new");
        git.write(".storkit/state/state.db", "rules");
        store.check_state(&git.project).expect("it is its own");
        git
    }

    fn copied(git: &WorktreeFixture) -> Project {
        let copy = git.root().with_file_name("copy");
        let done = Command::new("cp").arg("-a").args([git.root(), copy.clone()]).status().expect("it runs");
        assert!(done.success());
        Project::open(&copy).expect("a project")
    }

    #[test]
    fn an_archive_brings_rules_sessions_and_proofs_of_its_own() {
        let (_theirs, strangers) = machine();
        let archive = served(&strangers);
        let (_ours, store) = machine();
        let refused = store.check_state(&archive.project).expect_err("it is a stranger's").to_string();
        assert!(
            refused.contains("`.storkit/state/state.db` was not made by storkit on this machine"),
            "{refused}"
        );
        assert!(refused.contains("run `storkit trust`") && refused.contains("mv .storkit"), "{refused}");
        store.adopt_state(&archive.project).expect("the operator says so");
        store.check_state(&archive.project).expect("it is the operator's now");
    }

    #[test]
    fn an_archive_brings_bot_toml_and_nothing_else() {
        let (_ours, store) = machine();
        let git = WorktreeFixture::new();
        git.write(".storkit/bot.toml", "");
        let refused = store.check_state(&git.project).expect_err("it may be a stranger's").to_string();
        assert!(
            refused.starts_with("`.storkit/bot.toml` was not made by storkit on this machine"),
            "{refused}"
        );
        store.adopt_state(&git.project).expect("the operator says so");
        store.check_state(&git.project).expect("it is the operator's now");
        let new = WorktreeFixture::new();
        store.check_state(&new.project).expect("there is nothing yet");
        new.write(".storkit/bot.toml", "");
        store.check_state(&new.project).expect("it was written here");
        fs::remove_dir_all(new.project.dir().join("state")).expect("it is there");
        store.check_state(&new.project).expect("the operator has removed the state");
    }

    #[test]
    fn an_archive_is_unpacked_over_a_project_that_was_served_here() {
        let (_ours, store) = machine();
        let git = served(&store);
        git.write(".storkit/state/stamp", "another");
        assert!(matches!(store.check_state(&git.project), Err(StateError::Foreign { .. })));
        fs::remove_file(git.project.dir().join(STAMP)).expect("it is there");
        assert!(matches!(store.check_state(&git.project), Err(StateError::Foreign { .. })));
    }

    #[test]
    fn the_operators_own_project_is_moved_copied_or_updated_without_a_question() {
        let (_ours, store) = machine();
        let git = served(&store);
        let copy = copied(&git);
        store.check_state(&copy).expect("a copy");
        store.check_state(&copy).expect("again");
        let old = WorktreeFixture::new();
        old.write(".storkit/state/state.db", "rules");
        store.set_origins(&old.project, &StoryOrigins::default()).expect("served by an earlier version");
        store.check_state(&old.project).expect("it is updated");
    }
}
