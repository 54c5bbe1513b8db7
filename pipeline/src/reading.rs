//! Reads for people and agents that the snapshot does not have: texts, logs,
//! branches, merge commits. Nothing here writes.

use std::{
    io,
    path::{Path, PathBuf},
};

use git2::{Oid, Repository};

use crate::{
    Project,
    board::{WorkError, WorkFolder, attached_paths},
    diff::{self, StoryDiff},
    event::RunId,
    handle::{Pipeline, PipelineError, StoryOverview, WorkDone},
    merge::{MergeProof, diff_of, merged_by, trailers},
    run::{BranchContent, branch_content},
    run_log::{self, LogPage},
    story::StoryId,
    worktree::{SizeLimits, WorktreeName, WorktreeRemains, Worktrees},
};

/// How many commits of base are looked through for a merge that has no proof on disk.
const LOOK_BACK: usize = 20_000;

/// Lines of a failed merge's gates on a story's page.
const SHOWN: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOf {
    /// The newest run on a story.
    Story(StoryId),
    /// The newest run of a worker or agent.
    Agent(String),
}

/// A story's worktree and branch, as far as they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorktreeView {
    pub story: StoryId,
    /// The checkout, from the project's root; `None` where only a branch is left.
    pub path: Option<PathBuf>,
    /// The branch, if there is one.
    pub branch: Option<String>,
}

impl Pipeline {
    /// A story's whole file, also of one whose front matter is broken.
    pub async fn text(&self, story: StoryId) -> Result<String, PipelineError> {
        self.reading(move |project| Ok(WorkFolder::open(&project)?.text(story)?)).await
    }

    /// Where the files are that people attached to a story, absolute.
    pub async fn attached_files(&self, story: StoryId) -> Result<Vec<PathBuf>, PipelineError> {
        self.reading(move |project| Ok(attached_paths(&project, story))).await
    }

    /// The commits of the story's branch that base does not have, and their diff.
    pub async fn work_done(&self, story: StoryId) -> Result<WorkDone, PipelineError> {
        let base = self.snapshot().base.clone();
        self.reading(move |project| {
            let failed_merge = run_log::last_merge(&project, story, SHOWN);
            let list = worktrees(&project)?.list().map_err(refused)?;
            let Some((name, tip)) = list.iter().find_map(|(name, found)| {
                (name.id() == story)
                    .then_some((name, found.branch))
                    .and_then(|(name, tip)| Some((name, tip?)))
            }) else {
                return Ok(WorkDone { failed_merge, ..WorkDone::default() });
            };
            let repository = Repository::open(project.root()).map_err(refused)?;
            let BranchContent { commits, diff, .. } =
                branch_content(&repository, &base, tip).map_err(refused)?;
            Ok(WorkDone { branch: Some(name.branch()), commits, diff, failed_merge })
        })
        .await
    }

    /// What became of a story, from its merge commit on base; `None` where it was never merged. Merges by the older
    /// `story-kit:` are found too.
    pub async fn overview(&self, story: StoryId) -> Result<Option<StoryOverview>, PipelineError> {
        let base = self.snapshot().base.clone();
        self.reading(move |project| overview(&project, &base, story).map_err(refused)).await
    }

    /// The last lines of the newest run's log; `None` where nothing ran, or the log is gone. Before those of a story that its merge's gates
    /// sent back is what these printed: the next run starts at once.
    pub async fn log(&self, of: LogOf, lines: usize) -> Result<Option<(RunId, Vec<String>)>, PipelineError> {
        self.reading(move |project| {
            let folder = run_log::folder(&project);
            let is_wanted = |story: StoryId, slot: &str| match &of {
                LogOf::Story(id) => story == *id,
                LogOf::Agent(name) => is_worker_of(slot, name),
            };
            let disk = |path: &Path, source| WorkError::Disk { path: path.to_owned(), source };
            let run = run_log::newest(&folder, is_wanted).map_err(|source| disk(&folder, source))?;
            let Some(run) = run else { return Ok(None) };
            let path = folder.join(format!("{run}.log"));
            let last = run_log::last_lines(&path, lines).map_err(|source| disk(&path, source))?;
            Ok(Some((run.clone(), with_merge(&project, &of, &run, last, lines))))
        })
        .await
    }

    /// At most `most` lines of a run's log, from this number on, or the last ones; `None` where there is no such log.
    pub async fn run_log(
        &self,
        run: &RunId,
        from: Option<u64>,
        most: usize,
    ) -> Result<Option<LogPage>, PipelineError> {
        // It comes from outside, and becomes the name of a file.
        if run.parts().is_none() || run.0.contains(['/', '\0']) {
            return Ok(None);
        }
        let name = format!("{run}.log");
        self.reading(move |project| {
            let path = run_log::folder(&project).join(name);
            match run_log::page(&path, from, most) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                page => Ok(Some(page.map_err(|source| WorkError::Disk { path, source })?)),
            }
        })
        .await
    }

    /// What a story changes: its branch against the base it began from or, once it is merged, its merge commit. `None` where there is
    /// neither. What an agent has not committed is not in it.
    pub async fn diff(&self, story: StoryId) -> Result<Option<StoryDiff>, PipelineError> {
        let base = self.snapshot().base.clone();
        self.reading(move |project| {
            let list = worktrees(&project)?.list().map_err(refused)?;
            let tip = list.iter().find(|(name, _)| name.id() == story).and_then(|(_, found)| found.branch);
            let repository = Repository::open(project.root()).map_err(refused)?;
            if let Some(tip) = tip {
                return diff::of_branch(&repository, &base, tip).map(Some).map_err(refused);
            }
            let merge = merge_of(&repository, &project, &base, story).map_err(refused)?;
            merge.map(|merge| diff::of_merge(&repository, merge)).transpose().map_err(refused)
        })
        .await
    }

    /// All worktrees and branches of stories.
    pub async fn worktrees(&self) -> Result<Vec<WorktreeView>, PipelineError> {
        self.reading(|project| {
            let relative =
                |path: PathBuf| path.strip_prefix(project.root()).map(Path::to_owned).unwrap_or(path);
            let view = |(name, found): (WorktreeName, WorktreeRemains)| WorktreeView {
                story: name.id(),
                path: (found.folder || found.admin).then(|| relative(found.path)),
                branch: found.branch.map(|_| name.branch()),
            };
            Ok(worktrees(&project)?.list().map_err(refused)?.into_iter().map(view).collect())
        })
        .await
    }

    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(Project) -> Result<T, PipelineError> + Send + 'static,
    ) -> Result<T, PipelineError> {
        let project = self.project().clone();
        tokio::task::spawn_blocking(move || read(project)).await.unwrap_or(Err(PipelineError::Gone))
    }
}

/// The lines of a run after those of the merge that failed before it. Both together are not more than was asked for.
fn with_merge(project: &Project, of: &LogOf, run: &RunId, last: Vec<String>, lines: usize) -> Vec<String> {
    let LogOf::Story(story) = of else { return last };
    let failed = match run_log::is_merge(run) {
        true => Vec::new(),
        false => run_log::last_merge(project, *story, lines / 2),
    };
    if failed.is_empty() {
        return last;
    }
    let left = lines.saturating_sub(failed.len() + 1);
    let last = last.iter().skip(last.len().saturating_sub(left)).cloned().collect();
    [failed, vec![format!("(then {run})")], last].concat()
}

/// Whether a worker is this agent's: `coder-2` is one of the agent `coder`.
fn is_worker_of(slot: &str, name: &str) -> bool {
    let number = slot.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
    slot == name || number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn refused(error: impl std::fmt::Display) -> PipelineError {
    PipelineError::Refused(format!("{error}"))
}

fn worktrees(project: &Project) -> Result<Worktrees, PipelineError> {
    Worktrees::open(project, SizeLimits::default()).map_err(refused)
}

fn overview(project: &Project, base: &str, story: StoryId) -> Result<Option<StoryOverview>, git2::Error> {
    let repository = Repository::open(project.root())?;
    let found = merge_of(&repository, project, base, story)?;
    let Some(commit) = found.map(|id| repository.find_commit(id)).transpose()? else { return Ok(None) };
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let gates = trailers(&message).map(|trailers| trailers.gates).unwrap_or_default();
    let before = commit.parents().next().map(|parent| parent.tree_id());
    let files = diff_of(&repository, before, commit.tree_id())?;
    Ok(Some(StoryOverview {
        commit: commit.id().to_string(),
        time: commit.time().seconds(),
        files: files.into_iter().filter(|(path, ..)| !path.starts_with(".storkit/work")).collect(),
        gates: gates.into_iter().map(|gate| (gate.command, gate.code)).collect(),
        message,
    }))
}

/// The commit on base by which a story was merged.
fn merge_of(
    repository: &Repository,
    project: &Project,
    base: &str,
    story: StoryId,
) -> Result<Option<Oid>, git2::Error> {
    let proven = MergeProof::read(project.root(), story).ok().flatten();
    let proven = proven.and_then(|proof| Oid::from_str(&proof.commit).ok());
    // A rebase leaves the proof's commit behind; then base is searched for the one in its place.
    match proven {
        Some(id) if is_on(repository, base, id)? => Ok(Some(id)),
        Some(_) | None => merge_commit(repository, base, story),
    }
}

fn is_on(repository: &Repository, base: &str, commit: Oid) -> Result<bool, git2::Error> {
    let tip = repository.refname_to_id(&format!("refs/heads/{base}"))?;
    Ok(tip == commit
        || (repository.find_commit(commit).is_ok() && repository.graph_descendant_of(tip, commit)?))
}

fn merge_commit(repository: &Repository, base: &str, story: StoryId) -> Result<Option<Oid>, git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.push_ref(&format!("refs/heads/{base}"))?;
    for id in walk.take(LOOK_BACK) {
        let id = id?;
        if merged_by(&repository.find_commit(id)?).iter().any(|merge| merge.story == story) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_found_by_its_own_name_and_by_its_agents() {
        assert!(is_worker_of("coder", "coder") && is_worker_of("coder-2", "coder"));
        assert!(is_worker_of("coder-2", "coder-2") && is_worker_of("front-end", "front-end"));
        for (slot, name) in
            [("coder-x", "coder"), ("coder", "coder-2"), ("coders", "coder"), ("coder2", "coder")]
        {
            assert!(!is_worker_of(slot, name), "{slot} {name}");
        }
    }
}
