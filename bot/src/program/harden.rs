//! The first steps of the serving process: it closes itself to other processes of its user, takes the secrets
//! out of its environment, and may open as many files as the system allows.

use std::{collections::BTreeSet, io, time::Duration};

use agents::{
    adopted,
    tree::{self, ProcessId},
};
use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};

use crate::{
    config::{LoadedConfig, redact},
    restart::{RunningProgram, needs_clean_start},
};

/// Enough for every connection, terminal and pipe. Not more: children inherit it, and some programs try to close every
/// descriptor that they might have.
const OPEN_FILES: u64 = 65_536;

/// How long processes may take to be gone when storkit ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// Processes that were below this one before it started any: those of the shell script that became storkit.
pub struct InheritedProcesses(BTreeSet<ProcessId>);

/// The names of all variables that hold secrets.
pub fn secret_names(loaded: &LoadedConfig) -> Vec<String> {
    loaded.secret_env.iter().cloned().chain(redact::KEYS.map(String::from)).collect()
}

/// Starts the program anew without the secrets in its environment, if there are any. Returns an error, or that there are none.
///
/// What `/proc/PID/environ` shows was put there when the program started, and stays whatever the program does.
pub fn start_without_secrets(loaded: &LoadedConfig) -> io::Result<()> {
    let names = secret_names(loaded);
    match needs_clean_start(&names) {
        true => Err(RunningProgram::running().exec_again(&names)),
        false => Ok(()),
    }
}

/// Closes the process. To be called on the main thread, before the first agent starts.
pub fn close_process() -> io::Result<InheritedProcesses> {
    let inherited = tree::own_descendants_without(&BTreeSet::new());
    // No ptrace, no core dump, and `/proc/PID/{mem,environ,fd}` belong to root: its agents run as the same user.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    adopted::adopt_orphans()?;
    agents::peer::name_process();
    raise_open_files();
    Ok(InheritedProcesses(inherited))
}

/// Ends all descendants of this process but those that it inherited. Blocks for a moment.
///
/// Before a restart this also closes the moment between `exec` and [`close_process`], in which the process is open to others
/// of its user.
pub fn end_descendants(inherited: &InheritedProcesses) {
    let ended = tree::kill_all(PATIENCE, || tree::own_descendants_without(&inherited.0));
    if ended > 0 {
        tracing::warn!(ended, "processes that agents left behind were ended");
    }
}

fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
}
