//! Makes a worktree ready for what runs in it: copies the ignored files that components need, and runs the setups that are due.

use std::path::PathBuf;

use agents::confine::Confined;
use git2::{Oid, Repository};
use tokio_util::sync::CancellationToken;

use super::{
    components::{ComponentError, ComponentPhase, ComponentProgress, run_components},
    copied_files::{CopyPlaces, copy_files, remove_copies},
    ignore_file::{ignore_left, untracked},
    scrub::ignored,
    setup_record::{DueSetup, SetupRecord},
};
use crate::{config::Component, gates::GateRunner, git::program::GitProgram};

/// The worktree of a setup.
#[derive(Clone, Debug)]
pub(crate) struct SetupPlace {
    /// The main checkout.
    pub root: PathBuf,
    /// The repository that all worktrees share.
    pub common: PathBuf,
    /// Git's notes of the worktree.
    pub admin: PathBuf,
    pub folder: PathBuf,
    /// Where storkit's record of its setups is.
    pub record: PathBuf,
}

/// What is to be set up, and how its commands run.
#[derive(Clone, Copy)]
pub(crate) struct SetupRun<'a> {
    pub components: &'a [Component],
    pub gates: &'a GateRunner,
    pub confined: &'a Confined,
    pub cancel: &'a CancellationToken,
}

/// Sets up what is due in a worktree whose HEAD has `tree`. A setup that fails counts as never done.
pub(crate) async fn set_up(
    place: &SetupPlace,
    tree: Oid,
    run: SetupRun<'_>,
    progress: impl FnMut(ComponentProgress<'_>),
) -> Result<(), ComponentError> {
    let (at, components) = (place.clone(), run.components.to_vec());
    let due = blocking(move || begin(&at, tree, &components)).await?;
    if due.is_empty() {
        return Ok(());
    }
    let components: Vec<Component> = due.iter().map(|due| due.component.clone()).collect();
    let phase = ComponentPhase::Setup;
    let at = place.clone();
    let before = blocking(move || untracked(&at.git()).map_err(internal)).await?;
    let ran = run_components(
        &place.folder,
        &components,
        phase,
        run.gates,
        Some(run.confined),
        run.cancel,
        progress,
    )
    .await;
    // Also of a setup that failed: otherwise its rest would count as the agent's in the next run.
    let (at, private) = (place.clone(), run.confined.place.private.join("admin"));
    blocking(move || ignore_left(&at.git(), (&at.admin, &private), &before).map_err(internal)).await?;
    ran?;
    let at = place.clone();
    blocking(move || end(&at, due)).await
}

fn begin(place: &SetupPlace, tree: Oid, components: &[Component]) -> Result<Vec<DueSetup>, ComponentError> {
    let mut record = SetupRecord::read(&place.record);
    let listed = components.iter().flat_map(|component| component.copy.clone()).collect();
    let gone = record.change_copied(listed).map_err(internal)?;
    remove_copies(&place.folder, &gone);
    record.forget_copied(&gone).map_err(internal)?;
    let git = place.git();
    let places = CopyPlaces { root: &place.root, folder: &place.folder, git: &git };
    components
        .iter()
        .try_for_each(|component| copy_files(&places, component))
        .map_err(ComponentError::Copy)?;
    let repository = Repository::open(&place.common).map_err(internal)?;
    let due = record.due((&repository, tree), &place.folder, components).map_err(internal)?;
    if !due.is_empty() {
        record.begin(&due).map_err(internal)?;
    }
    Ok(due)
}

fn end(place: &SetupPlace, due: Vec<DueSetup>) -> Result<(), ComponentError> {
    let made: Vec<PathBuf> =
        ignored(&place.git()).map_err(internal)?.into_iter().map(PathBuf::from).collect();
    SetupRecord::read(&place.record).end(due, &made).map_err(internal)
}

impl SetupPlace {
    fn git(&self) -> GitProgram {
        GitProgram::explicit(&self.admin, &self.folder)
    }
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, ComponentError> + Send + 'static,
) -> Result<T, ComponentError> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|error| Err(internal(error)))
}

fn internal(error: impl std::fmt::Display) -> ComponentError {
    ComponentError::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use agents::confine::Confinement;

    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[tokio::test]
    async fn a_file_that_is_no_longer_listed_is_removed() {
        let fixture = WorktreeFixture::new();
        fixture.write(".gitignore", ".env*\n");
        fixture.git(&["add", ".gitignore"]);
        fixture.git(&["commit", "-q", "-m", "ignored"]);
        fixture.write(".env.test", "KEY=1\n");
        fixture.write(".env.more", "MORE=1\n");
        let worktree = fixture.prepare("7_x");
        let (place, tree) = worktree.setup_place().unwrap();
        let confined =
            Confined { confinement: Confinement::None, place: worktree.place(), variables: vec![] };
        let (gates, cancel) = (GateRunner::default(), CancellationToken::new());
        let copied = async |copy: &[&str]| {
            let copy = copy.iter().map(PathBuf::from).collect();
            let components = [Component { name: "app".into(), copy, ..Component::default() }];
            let run =
                SetupRun { components: &components, gates: &gates, confined: &confined, cancel: &cancel };
            set_up(&place, tree, run, |_| ()).await.unwrap();
            [".env.test", ".env.more"].map(|name| worktree.path().join(name).exists())
        };
        assert_eq!(copied(&[".env.test", ".env.more"]).await, [true, true]);
        fs::write(worktree.path().join(".env.own"), "the agent's").unwrap();
        assert_eq!(copied(&[".env.more"]).await, [false, true]);
        assert_eq!(copied(&[]).await, [false, false], "in quarantine none is listed");
        assert!(worktree.path().join(".env.own").exists());
    }
}
