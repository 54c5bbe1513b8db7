//! A trial: a command of an agent runs for a short time on layers over the agent's folder, without a network and without secrets. People see
//! its [`TrialEffect`]. Then its changes of that folder can be taken over as they were shown ([`Trial::keep`]), or are gone.

mod compare;
mod effect;
mod keep;
mod outside;
mod process;
mod root;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    ffi::OsString,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::{
    effect::{
        FileChangeKind, LineCount, NoKeep, OutsideChange, OutsideKind, TrialAttempt, TrialEffect, TrialEnd,
        TrialFileChange, TrialOutput,
    },
    keep::KeepFailure,
};
use self::{keep::KeepPlan, process::EndedCommand, root::WorkspaceRoot, watch::TrialWatch};
pub use crate::confine::CallKind;
use crate::confine::{
    Confined, EgressProxy, HostDecision, HostGate, HostTarget, LayerFiles, NetworkAccess, NetworkPlan,
    NetworkReach, NoLayers, environment,
};

/// How long a command may run.
pub const TRIAL_LIMIT: Duration = Duration::from_secs(20);

/// To the command, about every host.
const NO_NETWORK: &str = "this is a trial, which has no network";

/// Where the commands of an agent run, and with what environment.
#[derive(Clone, Debug)]
pub struct TrialPlace {
    confined: Confined,
    environment: Vec<(OsString, OsString)>,
    hidden: Vec<PathBuf>,
}

/// A command line, and its additions to the environment of its place.
#[derive(Clone, Debug)]
pub struct TrialCommand {
    pub argv: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
}

/// A command that was tried. Its layers live as long as this.
#[derive(Debug)]
pub struct Trial {
    pub effect: TrialEffect,
    plan: KeepPlan,
    layers: LayerFiles,
    place: TrialPlace,
}

/// Why a trial has no effect to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialFailure {
    /// It was ended before.
    Stopped,
    /// For this reason, a clause or the output of what prepares it.
    NotStarted(String),
}

impl TrialPlace {
    /// The place of an agent behind its wall. Of `set`, the variables of the agent's program, those of the wall's list are used, and of
    /// `own`, those of its worktree, all.
    pub fn new(confined: Confined, set: &[(String, String)], own: &[(String, String)]) -> Self {
        let owned = |(name, value): &(String, String)| (OsString::from(name), OsString::from(value));
        let mut environment = environment::for_commands(set.iter().map(owned), &[]);
        environment.extend(own.iter().map(owned));
        Self { confined, environment, hidden: Vec::new() }
    }

    /// The same, where these files of the agent's folder hold secrets: they are empty for a trial.
    #[must_use]
    pub fn hiding(mut self, files: Vec<PathBuf>) -> Self {
        self.hidden = files;
        self
    }

    /// Whether commands can be tried here.
    ///
    /// # Errors
    /// Why not.
    pub fn can_try(&self) -> Result<(), NoLayers> {
        self.confined.can_layer().map(drop)
    }

    pub fn folder(&self) -> &Path {
        &self.confined.place.folder
    }

    /// Runs a command until it ends, its time is up, or `stop` is cancelled. Needs a tokio runtime. Nothing of it is left when this is
    /// done, but what the trial holds.
    ///
    /// # Errors
    /// If there is no effect to show.
    pub async fn run(&self, command: TrialCommand, stop: CancellationToken) -> Result<Trial, TrialFailure> {
        let mut plan = NetworkPlan::new(NetworkAccess::default(), "`network`");
        plan.open.gate = Some(Arc::new(NoHosts));
        let egress = EgressProxy::for_plan(plan, &self.confined.place.root.join(".storkit/run"))
            .map_err(|error| TrialFailure::NotStarted(error.to_string()))?;
        let watch = egress.watch_socket().map_err(|error| TrialFailure::NotStarted(error.to_string()))?;
        let (place, way) = (self.clone(), (egress.reach(), watch));
        let (ended, trial) = oneshot::channel();
        // A thread of its own: the command ends with the thread that started it, if storkit is killed.
        std::thread::Builder::new()
            .name("trial".into())
            .spawn(move || _ = ended.send(place.run_here(command, way, &stop)))
            .map_err(|error| TrialFailure::NotStarted(error.to_string()))?;
        let mut trial = trial.await.map_err(|_| TrialFailure::NotStarted("it panicked".into()))??;
        trial.effect.hosts = egress.take_refused();
        Ok(trial)
    }

    fn run_here(
        self,
        command: TrialCommand,
        (reach, watch): (NetworkReach, UnixListener),
        stop: &CancellationToken,
    ) -> Result<Trial, TrialFailure> {
        let failed = |error: std::io::Error| TrialFailure::NotStarted(error.to_string());
        let root = WorkspaceRoot::open(self.folder()).map_err(failed)?;
        let layered = self.confined.layered(command.argv, reach, &self.hidden).map_err(failed)?;
        let mut environment = environment::for_commands(std::env::vars_os(), &[]);
        environment.extend(self.environment.iter().cloned());
        environment.extend(command.environment);
        let started = root::now();
        let place = &self.confined.place;
        let mark = format!("{}/{}", place.root.display(), uuid::Uuid::new_v4());
        let watch = TrialWatch::begin(watch, &layered).map_err(failed)?;
        let ended = process::run(&layered.command, &environment, (&place.folder, &mark), stop);
        let watched = watch.end();
        let EndedCommand { end, took, output, layers } = ended?;
        if !watched.has_started {
            // What prepares it has said why.
            return Err(TrialFailure::NotStarted(output.head.trim().to_owned()));
        }
        let of_workspace = layered.folders.iter().position(|folder| folder.at == place.folder);
        let number =
            of_workspace.ok_or_else(|| TrialFailure::NotStarted("its folder has no layer".into()))?;
        let (layer, at) = (layers.changed(number), (place.folder.as_path(), started));
        let mut compared = compare::compare(&root, &layer, &layered.shown, at);
        compared.plan.layer = number;
        let outside = outside::changes(&layers, &layered, place);
        let mut effect = TrialEffect {
            end,
            took,
            output,
            files: compared.files,
            lines: compared.lines,
            outside: outside.changes,
            outside_count: outside.count,
            attempts: watched.attempts,
            is_watched: watched.is_watched,
            hosts: Vec::new(),
            is_full: layers.is_full(),
            no_keep: compared.no_keep,
        };
        effect.no_keep = effect.no_keep.or_else(|| match end {
            TrialEnd::TimedOut => Some(NoKeep::NotFinished),
            TrialEnd::Exited(_) if effect.is_full => Some(NoKeep::Full),
            TrialEnd::Exited(_) => outside.has_git_data.then_some(NoKeep::GitData),
        });
        Ok(Trial { effect, plan: compared.plan, layers, place: self })
    }
}

impl Trial {
    /// Makes the changes of the agent's folder true, exactly those that were shown: all of them, or none if the files that they touch are
    /// not as they were. Blocks.
    ///
    /// # Errors
    /// If a file has changed, or something cannot be written. Nothing was changed then, unless the error says so.
    pub fn keep(&self) -> Result<(), KeepFailure> {
        if let Some(why) = &self.effect.no_keep {
            return Err(KeepFailure::NotKept(why.clone()));
        }
        let place = &self.place.confined.place;
        let number = self.plan.number_of_steps();
        tracing::info!(folder = %place.folder.display(), number, "the changes of a trial are kept");
        self.plan.apply(&place.folder, &place.private, &self.layers)
    }
}

/// Where the commands of one agent can be tried, as soon as that is known. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrialSlot(Arc<Mutex<Option<TrialPlace>>>);

impl TrialSlot {
    pub fn set(&self, place: TrialPlace) {
        *self.0.lock() = Some(place);
    }

    pub fn place(&self) -> Option<TrialPlace> {
        self.0.lock().clone()
    }
}

/// No host is open to a trial.
struct NoHosts;

impl HostGate for NoHosts {
    fn decide(&self, _target: HostTarget) -> BoxFuture<'static, HostDecision> {
        Box::pin(async { HostDecision::Refused(NO_NETWORK.to_owned()) })
    }
}

/// `path` below the folder `to`, without a slash at its end where `path` is empty.
fn moved(path: &Path, to: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { to.to_owned() } else { to.join(path) }
}
