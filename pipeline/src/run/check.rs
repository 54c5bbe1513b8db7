//! Compares everything that a run may not change, before and after it; a moved base is put back, with nothing lost.

use std::{path::PathBuf, time::SystemTime};

use git2::{DiffOptions, Oid, Repository};

use super::RunContext;
use crate::{
    guard::{BaseGuard, BaseRescue, Fingerprint, OwnChanges, Tampering, compare, rescue},
    merge::MergeProof,
    sentence,
    story::StoryId,
};

/// The state before, to compare with.
#[derive(Clone)]
pub(super) struct StateBefore {
    fingerprint: Fingerprint,
    base: String,
    own: String,
    story: StoryId,
}

/// The result of the comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ComparisonResult {
    /// What only an agent can have done, in words.
    pub agents: Vec<String>,
    /// Changes by an agent or a person.
    pub unclear: Vec<String>,
    /// The reaction to it, as a sentence.
    pub rescued: Option<String>,
}

impl StateBefore {
    /// Takes the state. `own` is the branch that the run may move. Blocks.
    pub(super) fn take(
        context: &RunContext,
        base: &str,
        own: &str,
        story: StoryId,
    ) -> Result<Self, git2::Error> {
        let fingerprint = Fingerprint::take(&context.project, base, own)?;
        Ok(Self { fingerprint, base: base.into(), own: own.into(), story })
    }

    /// Where the run's own branch was.
    pub(super) fn tip(&self) -> Option<Oid> {
        self.fingerprint.own_tip()
    }

    /// Compares with the state now, under the base lock, so that nothing of storkit's is half done. Blocks.
    pub(super) fn compare(&self, context: &RunContext) -> Result<ComparisonResult, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let guard = BaseGuard::lock(&context.project).map_err(|error| text(&error))?;
        let after =
            Fingerprint::take(&context.project, &self.base, &self.own).map_err(|error| text(&error))?;
        let ours = self.ours(context).map_err(|error| text(&error))?;
        let tampering = compare(&self.fingerprint, &after, &ours).map_err(|error| text(&error))?;
        let (agents, unclear): (Vec<_>, Vec<_>) = tampering.into_iter().partition(Tampering::is_the_agents);
        let moved = agents.iter().find_map(|tampering| match tampering {
            Tampering::BaseMoved { before, after, .. } => Some((*before, *after)),
            _ => None,
        });
        let rescued = moved.map(|(before, after)| self.put_back(context, &guard, (before, after)));
        let words = |list: Vec<Tampering>| list.iter().map(ToString::to_string).collect();
        Ok(ComparisonResult { agents: words(agents), unclear: words(unclear), rescued })
    }

    fn put_back(
        &self,
        context: &RunContext,
        guard: &BaseGuard,
        (before, after): (Oid, Option<Oid>),
    ) -> String {
        let now = SystemTime::now();
        match rescue(&context.project, guard, &self.base, before, after, self.story, now) {
            Ok(BaseRescue { branch, restored, .. }) => {
                let kept =
                    branch.map(|branch| format!(" The commits it was moved to are saved on `{branch}`."));
                let kept = kept.unwrap_or_default();
                if restored {
                    format!("`{}` is back where it was.{kept}", self.base)
                } else {
                    format!(
                        "`{}` was not put back, since others have built on it or moved it again: check it.{kept}",
                        self.base
                    )
                }
            }
            Err(error) => format!("`{}` could not be put back: {error}", self.base),
        }
    }

    /// What storkit put on base meanwhile: what this process noted, and merges whose proof is on disk.
    fn ours(&self, context: &RunContext) -> Result<OwnChanges, git2::Error> {
        let mut commits = context.own.all();
        let repository = Repository::open(context.project.root())?;
        if let (Some(old), Ok(new)) =
            (self.fingerprint.base_tip(), repository.refname_to_id(&format!("refs/heads/{}", self.base)))
        {
            let mut walk = repository.revwalk()?;
            walk.push(new)?;
            walk.hide(old)?;
            for id in walk {
                let id = id?.to_string();
                let commit = repository.find_commit(Oid::from_str(&id)?)?;
                let story = commit.summary().ok().flatten().and_then(crate::merge::merged_story);
                // A merge that landed just now has its proof on disk, but the orchestrator may not have noted
                // its commit yet.
                let proof =
                    story.and_then(|story| MergeProof::read(context.project.root(), story).ok().flatten());
                if proof.is_some_and(|proof| proof.commit == id) {
                    commits.insert(id);
                }
            }
        }
        Ok(OwnChanges { commits, paths: vec![PathBuf::from(".storkit/work")] })
    }
}

/// The changes of a branch since it left base.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BranchContent {
    /// `3 files, +20 -4`
    pub diff: Option<String>,
    /// Files below `.storkit/`, which are the pipeline's.
    pub pipelines: Vec<String>,
}

/// Reads a branch's content with libgit2. Blocks.
pub(crate) fn branch_content(
    repository: &Repository,
    base: &str,
    tip: Oid,
) -> Result<BranchContent, git2::Error> {
    let base = repository.refname_to_id(&format!("refs/heads/{base}"))?;
    let tree = |commit| repository.find_commit(commit)?.tree();
    let old = repository.merge_base(base, tip).and_then(tree).ok();
    let new = tree(tip)?;
    let mut options = DiffOptions::new();
    options.context_lines(0);
    let diff = repository.diff_tree_to_tree(old.as_ref(), Some(&new), Some(&mut options))?;
    let stats = diff.stats()?;
    let files = stats.files_changed();
    let words = sentence::diff(files, stats.insertions(), stats.deletions());
    let pipelines = diff
        .deltas()
        .filter_map(|delta| delta.new_file().path().or(delta.old_file().path()).map(|path| path.to_owned()))
        .filter(|path| path.starts_with(".storkit"))
        .map(|path| path.display().to_string())
        .collect();
    Ok(BranchContent { diff: (files > 0).then_some(words), pipelines })
}
