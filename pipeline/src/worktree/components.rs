//! Setup and teardown of a project's components in a worktree: commands of the operator's `project.toml`.

use std::path::{Path, PathBuf};

use agents::confine::Confined;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Component,
    gates::{GateResult, GateRunner, GatesCancelled},
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentPhase {
    /// After a worktree was made.
    Setup,
    /// Before it is removed.
    Teardown,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentProgress<'a> {
    Started {
        component: &'a str,
        command: &'a str,
    },
    /// This checkout has no folder of that component.
    Missing {
        component: &'a str,
    },
    /// It is over, well or not.
    Ended {
        component: &'a str,
        result: &'a GateResult,
    },
}

/// Why a component is not ready.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// A folder that is none, or leads out of the checkout.
    #[error("`path = {path:?}` of the component `{name}` is no folder inside the project.")]
    Path { name: String, path: PathBuf },
    #[error("{phase} of the component `{name}`: {result}")]
    Failed {
        phase: &'static str,
        name: String,
        /// How, with the tail of its output.
        result: Box<GateResult>,
    },
    /// Its sandbox is not available, as a sentence.
    #[error("{0}")]
    Sandbox(String),
    /// A file that it needs cannot be copied, as a sentence.
    #[error("{0}")]
    Copy(String),
    /// The repository or storkit's record of setups cannot be used.
    #[error("the worktree cannot be set up: {0}")]
    Internal(String),
    #[error(transparent)]
    Cancelled(#[from] GatesCancelled),
}

/// Runs one phase of all components in `checkout`, in order, and stops at the first failure. One whose folder
/// this checkout does not have is passed over: not every branch has a front end. `how` gives time limit and
/// environment; its own commands do not count. `confined` is their sandbox.
pub async fn run_components(
    checkout: &Path,
    components: &[Component],
    phase: ComponentPhase,
    how: &GateRunner,
    confined: Option<&Confined>,
    cancel: &CancellationToken,
    mut progress: impl FnMut(ComponentProgress<'_>),
) -> Result<(), ComponentError> {
    for component in components {
        let (commands, word) = match phase {
            ComponentPhase::Setup => (&component.setup, "setup"),
            ComponentPhase::Teardown => (&component.teardown, "teardown"),
        };
        if commands.is_empty() {
            continue;
        }
        let Some(folder) = inside(checkout, component)? else {
            progress(ComponentProgress::Missing { component: &component.name });
            continue;
        };
        let how = kept_in(how.clone(), component, confined).await?;
        for command in commands {
            progress(ComponentProgress::Started { component: &component.name, command });
            let one = GateRunner { commands: vec![command.clone()], ..how.clone() };
            for result in one.run(&folder, "", cancel).await?.results {
                progress(ComponentProgress::Ended { component: &component.name, result: &result });
                if !result.passed() {
                    let (name, result) = (component.name.clone(), Box::new(result));
                    return Err(ComponentError::Failed { phase: word, name, result });
                }
            }
        }
    }
    Ok(())
}

async fn kept_in(
    how: GateRunner,
    component: &Component,
    confined: Option<&Confined>,
) -> Result<GateRunner, ComponentError> {
    let Some(confined) = confined.cloned() else { return Ok(how) };
    let (network, key) = (
        component.network.clone(),
        format!("`network` of the component `{}` in `.storkit/project.toml`", component.name),
    );
    let kept = tokio::task::spawn_blocking(move || how.kept_in(&confined, &network, &key)).await;
    kept.unwrap_or_else(|error| Err(format!("{error}."))).map_err(ComponentError::Sandbox)
}

/// The component's folder; `None` where there is none.
fn inside(checkout: &Path, component: &Component) -> Result<Option<PathBuf>, ComponentError> {
    let refused = || ComponentError::Path { name: component.name.clone(), path: component.path.clone() };
    let checkout = checkout.canonicalize().map_err(|_| refused())?;
    let wanted = checkout.join(&component.path);
    if std::fs::symlink_metadata(&wanted).is_err() {
        return Ok(None);
    }
    // Resolved, since a link in the repository may lead out of the checkout.
    let folder = wanted.canonicalize().map_err(|_| refused())?;
    if folder.starts_with(&checkout) && folder.is_dir() { Ok(Some(folder)) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, path: &str, setup: &[&str]) -> Component {
        let setup = setup.iter().map(|command| (*command).into()).collect();
        Component {
            name: name.into(),
            path: path.into(),
            setup,
            teardown: vec!["rm made".into()],
            ..Component::default()
        }
    }

    async fn run(
        checkout: &Path,
        components: &[Component],
        phase: ComponentPhase,
    ) -> (Result<(), String>, Vec<String>) {
        let mut seen = vec![];
        let progress = |progress: ComponentProgress<'_>| {
            seen.push(match progress {
                ComponentProgress::Started { component, command } => format!("{component}: {command}"),
                ComponentProgress::Missing { component } => format!("{component} is not here"),
                ComponentProgress::Ended { component, result } => format!("{component}: {:?}", result.code),
            });
        };
        let cancel = CancellationToken::new();
        let done =
            run_components(checkout, components, phase, &GateRunner::default(), None, &cancel, progress)
                .await;
        (done.map_err(|error| error.to_string()), seen)
    }

    #[tokio::test]
    async fn components_are_set_up_in_their_folders_and_taken_down_again() {
        let checkout = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(checkout.path().join("web")).expect("a folder");
        let components =
            [component("web", "web", &["echo hi > made", "cat made"]), component("none", ".", &[])];
        let (done, seen) = run(checkout.path(), &components, ComponentPhase::Setup).await;
        assert_eq!(
            (done, seen.join(", ")),
            (Ok(()), "web: echo hi > made, web: Some(0), web: cat made, web: Some(0)".into())
        );
        assert!(checkout.path().join("web/made").exists());
        let (done, _) = run(checkout.path(), &components[..1], ComponentPhase::Teardown).await;
        assert_eq!((done, checkout.path().join("web/made").exists()), (Ok(()), false));
    }

    #[tokio::test]
    async fn a_component_whose_folder_this_checkout_does_not_have_is_passed_over() {
        let checkout = tempfile::tempdir().expect("a folder");
        let components = [component("web", "web", &["exit 1"]), component("api", "", &["true"])];
        let (done, seen) = run(checkout.path(), &components, ComponentPhase::Setup).await;
        assert_eq!((done, seen.join(", ")), (Ok(()), "web is not here, api: true, api: Some(0)".into()));
    }

    #[tokio::test]
    async fn the_first_failure_ends_it_and_a_folder_outside_is_refused() {
        let checkout = tempfile::tempdir().expect("a folder");
        let components =
            [component("api", "", &["exit 3", "touch later"]), component("web", "", &["touch later"])];
        let (done, _) = run(checkout.path(), &components, ComponentPhase::Setup).await;
        assert_eq!(done, Err("setup of the component `api`: `exit 3` failed with code 3".into()));
        assert!(!checkout.path().join("later").exists());
        for path in ["..", "/tmp"] {
            let (done, _) =
                run(checkout.path(), &[component("api", path, &["true"])], ComponentPhase::Setup).await;
            assert_eq!(
                done,
                Err(format!("`path = {path:?}` of the component `api` is no folder inside the project."))
            );
        }
    }
}
