//! Parts that a project has gained since its `project.toml` was written.

use pipeline::{
    Project,
    base_commit::{BaseCommit, CommitSigning, CommittedFile},
    config::ProjectConfig,
    guard::BaseGuard,
    trust::{ProjectTrust, TrustStore},
};

use super::{InitError, PROJECT_TOML, component, is_busy, is_head};
use crate::program::{detect::DetectedComponent, trust};

const MESSAGE: &str = "storkit: set up new parts";

/// What became of new parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddedParts {
    Added,
    /// Nothing was changed: the settings are not exactly those that the operator confirmed, base is not checked out, or they cannot be added to.
    ByHand,
}

/// Adds the parts to `project.toml`, in the checkout and on base, and confirms the new text.
///
/// On an error nothing was changed.
pub fn add_parts(
    project: &Project,
    store: &TrustStore,
    parts: &[DetectedComponent],
) -> Result<AddedParts, InitError> {
    let trust = ProjectTrust::read(project, store)?;
    let (Some(old), true, false) = (&trust.proposed.project_toml, trust.is_confirmed(), trust.edited) else {
        return Ok(AddedParts::ByHand);
    };
    let line = if old.ends_with('\n') { "" } else { "\n" };
    let added: String = parts.iter().map(component).collect();
    let text = format!("{old}{line}{added}");
    let reads = ProjectConfig::parse(&text, PROJECT_TOML.as_ref(), |_| Some(String::new())).is_ok();
    if !reads || !is_head(project, &trust.base)? || is_busy(project.root())? {
        return Ok(AddedParts::ByHand);
    }
    let files = [CommittedFile { name: PROJECT_TOML, text: Some(&text) }];
    let commit = BaseCommit::new(project, &trust.base, &files, (MESSAGE, CommitSigning::AsConfigured))?;
    let path = project.root().join(PROJECT_TOML);
    let write = |text: &str| {
        settings::atomic::write(&path, text.as_bytes())
            .and_then(|()| {
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            })
            .map_err(|source| InitError::Disk { path: path.clone(), source })
    };
    let done = write(&text)
        .and_then(|()| Ok(trust::confirm_written(project, store, &text)?))
        .and_then(|()| Ok(commit.land(&BaseGuard::lock(project)?)?));
    if let Err(error) = done {
        write(old)?;
        trust::confirm_written(project, store, old)?;
        return Err(error);
    }
    Ok(AddedParts::Added)
}
