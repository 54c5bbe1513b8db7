//! One merge from its squash to its result.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use agents::confine::Confined;
use git2::Oid;
use tokio_util::sync::CancellationToken;

use super::{
    base_in_use::base_in_use,
    gate_worktree::{self, GateWorktree},
    job::MergeJob,
    land::{self, LandingResult},
    proof::{GateProof, gate_proofs},
    queue::{MergeStep, QueueShared},
    resolution::{self, WaitingConflict},
    squash::{self, MergeCandidate, SquashResult},
};
use crate::{
    config::Component,
    evidence::EvidenceFolder,
    gates::{GATE_NETWORK, GateReport, GateRunner},
    git::lfs,
    guard::BaseGuard,
    merge::{
        outcome::{MergeError, MergeOutcome, MergeRequest, MergeSettings},
        proof::MergeProof,
    },
    run_log,
    story::StoryId,
    strangers,
    worktree::{ComponentError, DetachedWorktree, SetupPlace, SetupRun, fill_submodules, set_up},
};

// How often a merge is done again because a person moved base meanwhile. Somebody who commits all the time
// must not block the queue.
const ATTEMPTS: usize = 5;

/// How often it is looked whether base can move.
const LOOK: Duration = Duration::from_millis(250);

/// After so many looks people are told that a merge waits for them. A pull that rebases takes less.
const QUIET_LOOKS: u32 = 12;

/// Does it, again where base moved meanwhile.
pub(super) async fn one(
    shared: &Arc<QueueShared>,
    job: MergeJob,
    cancel: &CancellationToken,
) -> Result<MergeOutcome, MergeError> {
    let request = Arc::new(job.request()?);
    let settings = settings_for(shared, &request).await?;
    shared.blocking(begin_gates).await?;
    for _ in 0..ATTEMPTS {
        // Before the gates: they would have to run again on what comes of it.
        wait_for_base(shared, &settings.base, cancel).await?;
        // Squashed and gated again on the new base: the gates have to pass on exactly the tree that lands.
        shared.step(MergeStep::Squash);
        let (base, asked, job) = (settings.base.clone(), Arc::clone(&request), job.clone());
        let squashed = shared.blocking(move |shared| prepare(shared, &base, &asked, job)).await?;
        let (candidate, commit) = match squashed {
            PreparedMerge::Ended(outcome) => return Ok(outcome),
            PreparedMerge::Ready(candidate, commit) => (candidate, commit),
        };
        let report = gate(shared, &settings, &candidate, commit, cancel).await?;
        shared.blocking(note_gates(&request, &report)).await?;
        if !report.passed() {
            let (asked, before) = (Arc::clone(&request), candidate.before);
            let base_moved = shared.blocking(move |shared| has_moved(shared, &asked, before)).await?;
            return Ok(MergeOutcome::GateFailed { report, base_moved });
        }
        // The last chance: once the step is `Landing`, nobody looks at the token.
        if cancel.is_cancelled() {
            return Err(MergeError::Cancelled);
        }
        shared.step(MergeStep::Landing);
        let (base, asked) = (settings.base.clone(), Arc::clone(&request));
        match shared.blocking(move |shared| land(shared, &base, &asked, &candidate, &report)).await? {
            LandingResult::Landed(proof) => {
                // If it cannot be noted, the build products go: the merge has landed all the same.
                if let Err(error) = shared.blocking(|shared| gate_worktree::end_unlanded(&shared.place)).await
                {
                    tracing::warn!(%error, "a landed merge cannot be noted in the gates' worktree");
                }
                return Ok(MergeOutcome::Merged(proof));
            }
            LandingResult::InTheWay(paths) => return Ok(MergeOutcome::CheckoutInTheWay(paths)),
            LandingResult::BaseMoved | LandingResult::BaseInUse => {}
        }
    }
    Ok(MergeOutcome::BaseMoved)
}

/// Waits until base can move.
async fn wait_for_base(
    shared: &Arc<QueueShared>,
    base: &str,
    cancel: &CancellationToken,
) -> Result<(), MergeError> {
    for look in 0_u32.. {
        let base = base.to_owned();
        let Some(in_use) = shared.blocking(move |shared| base_in_use(&shared.place, &base)).await? else {
            break;
        };
        if look == QUIET_LOOKS {
            shared.step(MergeStep::Waiting { why: in_use.to_string() });
        }
        tokio::select! {
            () = cancel.cancelled() => return Err(MergeError::Cancelled),
            // Nothing reports the end of a rebase.
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    Ok(())
}

/// The settings, with the hosts that are open to the gates of this story, and with the limits of its quarantine.
async fn settings_for(
    shared: &Arc<QueueShared>,
    request: &MergeRequest,
) -> Result<Arc<MergeSettings>, MergeError> {
    let mut settings = MergeSettings::clone(&shared.settings());
    let (hosts, story) = (settings.hosts.clone(), request.file.id);
    settings.gates.open_hosts = shared.blocking(move |_| Ok(hosts.of(story))).await?;
    if request.in_quarantine {
        settings = shared.blocking(move |_| restricted(settings, story)).await?;
    }
    Ok(Arc::new(settings))
}

fn restricted(settings: MergeSettings, story: StoryId) -> Result<MergeSettings, MergeError> {
    let registries = settings.gates.open_hosts.registries.clone();
    let confinement = settings.confinement.map(|confinement| confinement.without_additions());
    if let Ok(confinement) = &confinement {
        strangers::check_wall(confinement, story).map_err(MergeError::Sandbox)?;
    }
    let limited = |component: Component| {
        let network = component.network.registries_only(&registries);
        Component { network, copy: Vec::new(), ..component }
    };
    Ok(MergeSettings {
        network: settings.network.registries_only(&registries),
        components: settings.components.into_iter().map(limited).collect(),
        confinement,
        variables: Vec::new(),
        ..settings
    })
}

enum PreparedMerge {
    Ended(MergeOutcome),
    /// With a commit of the tree on base, for the gates' worktree.
    Ready(MergeCandidate, Oid),
}

fn prepare(
    shared: &QueueShared,
    base: &str,
    request: &MergeRequest,
    mut job: MergeJob,
) -> Result<PreparedMerge, MergeError> {
    let (place, story) = (&shared.place, request.file.id);
    let tip = match job.conflict.as_ref().filter(|_| job.resolved) {
        None => None,
        Some(waiting) => match resolution::resolved(place, story, waiting)? {
            Ok(commit) => Some(commit),
            Err(open) => {
                job.resolved = false;
                job.save(place, story)?;
                return Ok(PreparedMerge::Ended(MergeOutcome::Conflict(open)));
            }
        },
    };
    match squash::squash(place, request, base, tip)? {
        SquashResult::Empty => Ok(PreparedMerge::Ended(MergeOutcome::Empty)),
        SquashResult::Ready(candidate) => {
            // Only for the gates' worktree; `land` makes the real commit of the same tree, with the results
            // of the gates.
            let commit = squash::commit(place, request, &candidate, &[])?;
            Ok(PreparedMerge::Ready(candidate, commit))
        }
        SquashResult::Refused(faults) => Ok(PreparedMerge::Ended(MergeOutcome::Refused(faults))),
        SquashResult::Conflict { before, tip, sides } => {
            let paths = resolution::lay_out(place, story, sides)?;
            let waiting =
                WaitingConflict { before: before.to_string(), tip: tip.to_string(), paths: paths.clone() };
            (job.conflict, job.resolved) = (Some(waiting), false);
            job.save(place, story)?;
            Ok(PreparedMerge::Ended(MergeOutcome::Conflict(paths)))
        }
    }
}

/// Whether base has commits that the story's branch does not have.
fn has_moved(shared: &QueueShared, request: &MergeRequest, before: Oid) -> Result<bool, MergeError> {
    let repository = shared.place.repository()?;
    let tip = shared.place.tip(&repository, &request.branch)?;
    Ok(tip.is_none_or(|tip| repository.merge_base(before, tip).ok() != Some(before)))
}

/// Writes what the gates said to the story's logs, where people look for it; of gates that passed nothing stays.
fn note_gates(
    request: &MergeRequest,
    report: &GateReport,
) -> impl FnOnce(&QueueShared) -> Result<(), MergeError> + Send + 'static {
    let (story, report) = (request.file.id, report.clone());
    move |shared| {
        if report.passed() {
            run_log::forget_merge(&shared.project, story);
        } else {
            run_log::write_merge(&shared.project, story, &report);
        }
        Ok(())
    }
}

/// The gates on the merged result, in the standing worktree; none, if the project has none.
async fn gate(
    shared: &Arc<QueueShared>,
    settings: &Arc<MergeSettings>,
    candidate: &MergeCandidate,
    commit: Oid,
    cancel: &CancellationToken,
) -> Result<GateReport, MergeError> {
    let tree = candidate.tree.to_string();
    if settings.gates.commands.is_empty() {
        return Ok(GateReport { results: Vec::new(), tree });
    }
    let base = settings.base.clone();
    let open = move |shared: &QueueShared| {
        let run = shared.project.run_dir();
        lfs::fetch_missing((&shared.place.common, &run), &base, commit)
            .map_err(|error| MergeError::Unfinished(error.to_string()))?;
        let standing = GateWorktree::open(&shared.place, shared.place.standing(), commit)?;
        standing.check_out(commit)?;
        // Of an attempt on an earlier base.
        standing.tidy()?;
        let folder = shared.place.standing();
        let admin = gate_worktree::admin_dir(&shared.place, &folder).unwrap_or_default();
        fill_submodules(&shared.place.common, &admin, &folder, commit)?;
        gate_worktree::begin_unlanded(&shared.place)
    };
    // Before the gates start: cancelled and failed ones leave files, too.
    shared.untidy.store(true, Ordering::SeqCst);
    shared.blocking(open).await?;
    shared.step(MergeStep::Gates);
    let how = Arc::clone(settings);
    let (gates, confined, place) = shared.blocking(move |shared| kept_in(shared, &how)).await?;
    // Each component has its own network setting and so its own sandbox; the gates' must not be around it.
    let plain = GateRunner { wall: None, egress: None, ..gates.clone() };
    let components = &settings.components;
    let run = SetupRun { components, gates: &plain, confined: &confined, cancel };
    match set_up(&place, candidate.tree, run, |_| ()).await {
        Ok(()) => gates.run(&place.folder, &tree, cancel).await.map_err(|_| MergeError::Cancelled),
        // A failed setup counts as a red gate: the coder has to fix it.
        Err(ComponentError::Failed { result, .. }) => Ok(GateReport { results: vec![*result], tree }),
        Err(ComponentError::Cancelled(_)) => Err(MergeError::Cancelled),
        Err(
            error @ (ComponentError::Path { .. } | ComponentError::Copy(_) | ComponentError::Internal(_)),
        ) => Err(MergeError::Unfinished(error.to_string())),
        Err(ComponentError::Sandbox(why)) => Err(MergeError::Sandbox(why)),
    }
}

/// The gates behind their sandbox, in whose places the standing worktree's git data is a copy.
fn kept_in(
    shared: &QueueShared,
    settings: &MergeSettings,
) -> Result<(GateRunner, Confined, SetupPlace), MergeError> {
    let confinement = settings.confinement.as_ref().map_err(|why| MergeError::Sandbox(why.clone()))?;
    let owner = shared.place.root.to_string_lossy().into_owned();
    let gates = GateRunner { owner, ..settings.gates.clone() };
    confinement.can_limit(&settings.network, GATE_NETWORK).map_err(MergeError::Sandbox)?;
    let standing = DetachedWorktree::open(&shared.project, &shared.place.standing())?;
    let place = if confinement.encloses() { standing.enclose()? } else { standing.place() };
    let (confinement, variables) = (confinement.clone(), settings.variables.clone());
    let confined = Confined { confinement, place, variables };
    if let Err(error) = EvidenceFolder::of(&confined.place.private).open() {
        tracing::warn!(%error, "the gates of a merge have no folder for evidence");
    }
    let gates = gates.kept_in(&confined, &settings.network, GATE_NETWORK).map_err(MergeError::Sandbox)?;
    Ok((gates, confined, standing.setup_place()))
}

/// Another merge begins: nothing of an earlier one's files is left but what base's own code has made.
fn begin_gates(shared: &QueueShared) -> Result<(), MergeError> {
    if shared.untidy.load(Ordering::SeqCst) {
        tidy(shared)?;
    }
    gate_worktree::setup_record(&shared.place).begin_anew()?;
    Ok(())
}

/// Removes what gates left in the standing worktree, which no merge has to wait for. Build products stay if base has the code that made
/// them: a gate of a story that was not merged could have prepared them for the next one's gates.
pub(super) fn tidy(shared: &QueueShared) -> Result<(), MergeError> {
    if gate_worktree::discard_unlanded(&shared.place)? {
        tracing::info!("the build products of a merge that did not land are removed");
    } else if let Some(standing) = GateWorktree::find(&shared.place, shared.place.standing()) {
        standing.scrub(&shared.place)?;
    }
    shared.untidy.store(false, Ordering::SeqCst);
    Ok(())
}

fn land(
    shared: &QueueShared,
    base: &str,
    request: &MergeRequest,
    candidate: &MergeCandidate,
    report: &GateReport,
) -> Result<LandingResult, MergeError> {
    let gates: Vec<GateProof> = gate_proofs(report);
    let commit = squash::commit(&shared.place, request, candidate, &gates)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let proof = MergeProof {
        story: request.file.id,
        file: request.file.to_string(),
        base: base.to_owned(),
        before: candidate.before.to_string(),
        commit: commit.to_string(),
        tree: candidate.tree.to_string(),
        diff: candidate.diff,
        gates,
        at: now.as_secs().try_into().unwrap_or(i64::MAX),
    };
    let guard = BaseGuard::lock(&shared.project)?;
    land::land(&shared.place, proof, &guard)
}
