//! The wall of each kind of process, and the machine's features for walls.

use agents::confine::{Confinement, HostFolders, KernelMeans, ProcessLimits};
use pipeline::trust::{ProjectTrust, TrustError};

use super::{DoctorCheck, bad, good, note};
use crate::{
    config::{BotConfig, WorkspaceChoice},
    replies::doctor as say,
};

/// The wall that this installation uses.
///
/// # Errors
/// A sentence, where none can be built.
// Bubblewrap is tried, not only searched for: containers often have the program and forbid its namespaces.
pub fn chosen_wall(config: &BotConfig, secret_env: &[String]) -> Result<Confinement, String> {
    let home = std::env::var_os("HOME").map_or_else(|| "/".into(), std::path::PathBuf::from);
    Confinement::chosen(&config.wall.settings(&home, secret_env), HostFolders::of_home(&home))
}

/// Each kind of process that runs agents' work, with its wall.
pub(super) fn checks(
    trust: &Result<ProjectTrust, TrustError>,
    wall: &Result<Confinement, String>,
    workspace: WorkspaceChoice,
) -> Vec<DoctorCheck> {
    let in_force =
        trust.as_ref().ok().and_then(|trust| trust.in_force(settings::environment::var).ok().flatten());
    let team = in_force.unwrap_or_default().config.agents;
    let names: Vec<&str> = team.iter().map(|agent| agent.name.as_str()).collect();
    let mut checks = vec![match wall {
        Ok(confinement @ Confinement::Bwrap(_)) => good(say::walls(&names, &confinement.name())),
        Ok(Confinement::None) => note(say::no_walls(&names)),
        Ok(confinement @ (Confinement::Landlock(_) | Confinement::Prefix(_))) => {
            note(say::walls(&names, &confinement.name()))
        }
        Err(why) => bad(say::as_reported(why)),
    }];
    checks.extend(wall.as_ref().ok().map(|wall| rooms(wall, workspace)));
    checks.extend(kernel(KernelMeans::of_this_machine()));
    checks.push(limits(ProcessLimits::of_this_process()));
    checks
}

fn rooms(wall: &Confinement, workspace: WorkspaceChoice) -> DoctorCheck {
    let protects = wall.protects_parts();
    let (terminal, elsewhere) =
        (workspace.is_worktree(true, protects), workspace.is_worktree(false, protects));
    let where_they_work = say::rooms_work(terminal, elsewhere);
    match (terminal && elsewhere) || protects {
        true => good(where_they_work),
        false => note(format!("{where_they_work} {}", say::CHECKOUT_NOT_PROTECTED)),
    }
}

fn kernel(means: KernelMeans) -> Vec<DoctorCheck> {
    let landlock = match (means.landlock, means.missing_of_landlock()) {
        (None, _) => note(say::NO_LANDLOCK),
        (Some(version), missing) if missing.is_empty() => good(say::landlock(version)),
        (Some(version), missing) => note(say::landlock_lacks(version, &missing)),
    };
    let seccomp = if means.seccomp { good(say::SECCOMP) } else { bad(say::NO_SECCOMP) };
    vec![landlock, seccomp]
}

fn limits(limits: ProcessLimits) -> DoctorCheck {
    match limits {
        ProcessLimits { processes: None, memory_bytes: None } => note(say::NO_LIMITS),
        ProcessLimits { processes, memory_bytes } => good(say::limits(processes, memory_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use agents::confine::OwnProgram;

    use super::*;
    use crate::program::doctor::CheckState;

    fn landlock() -> Confinement {
        let own = OwnProgram { file: "/bin/storkit".into(), arguments: Vec::new() };
        let host = HostFolders::of_home("/home/ann".as_ref());
        Confinement::Landlock(agents::confine::LandlockWall { own, host, reach: Default::default() })
    }

    #[test]
    fn a_room_that_the_wall_cannot_protect_is_told() {
        let check = rooms(&landlock(), WorkspaceChoice::Checkout);
        assert_eq!(check.state, CheckState::Note);
        assert!(check.text.contains("`[relay] workspace = \"worktree\"`"), "{}", check.text);
        assert_eq!(rooms(&landlock(), WorkspaceChoice::Auto).state, CheckState::Good);
        assert_eq!(rooms(&landlock(), WorkspaceChoice::Worktree).state, CheckState::Good);
        assert_eq!(rooms(&Confinement::None, WorkspaceChoice::Checkout).state, CheckState::Good);
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let states = |means| kernel(means).into_iter().map(|check| check.state).collect::<Vec<_>>();
        use CheckState::{Bad, Good, Note};
        assert_eq!(states(KernelMeans { landlock: Some(7), seccomp: true }), [Good, Good]);
        assert_eq!(states(KernelMeans { landlock: None, seccomp: false }), [Note, Bad]);
        let older = kernel(KernelMeans { landlock: Some(4), seccomp: true });
        assert!(older[0].text.contains("signals and abstract sockets"), "{}", older[0].text);
    }
}
