//! Compares everything that a run may not change, before and after it; a moved base is put back, with nothing lost.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use git2::{DiffOptions, Oid, Repository};

use super::plan::RunContext;
use crate::{
    git::fork_point::{ForkPoint, fork_point},
    guard::{
        BaseGuard, BaseRescue, BranchFault, FaultCheckError, Fingerprint, OwnChanges, Tampering,
        branch_faults, compare, rescue,
    },
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

    /// Compares with the state now, under the base lock, so that nothing of storkit's is half done. A confined agent reaches neither base nor
    /// the main checkout, so whatever changed there is a person's. Blocks.
    pub(super) fn compare(
        &self,
        context: &RunContext,
        is_confined: bool,
    ) -> Result<ComparisonResult, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let guard = BaseGuard::lock(&context.project).map_err(|error| text(&error))?;
        let after =
            Fingerprint::take(&context.project, &self.base, &self.own).map_err(|error| text(&error))?;
        let ours = self.ours(context).map_err(|error| text(&error))?;
        let tampering = compare(&self.fingerprint, &after, &ours).map_err(|error| text(&error))?;
        let is_own = |tampering: &Tampering| matches!(tampering, Tampering::OwnBranchGone { .. });
        let tampering = tampering.into_iter().filter(|found| !is_confined || is_own(found));
        let (agents, unclear): (Vec<_>, Vec<_>) = tampering.partition(Tampering::is_the_agents);
        let moved = agents.iter().find_map(|tampering| match tampering {
            Tampering::BaseMoved { after, back_to, .. } => Some((*back_to, *after)),
            _ => None,
        });
        let rescued = moved.map(|(back_to, after)| self.put_back(context, &guard, (back_to, after)));
        let words = |list: Vec<Tampering>| list.iter().map(ToString::to_string).collect();
        Ok(ComparisonResult { agents: words(agents), unclear: words(unclear), rescued })
    }

    fn put_back(
        &self,
        context: &RunContext,
        guard: &BaseGuard,
        (back_to, after): (Option<Oid>, Option<Oid>),
    ) -> String {
        let now = SystemTime::now();
        match rescue(&context.project, guard, &self.base, back_to, after, self.story, now) {
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
    /// Its own commits.
    pub commits: usize,
    /// `3 files, +20 -4`
    pub diff: Option<String>,
    /// Files below `.storkit/`, which are the pipeline's.
    pub pipelines: Vec<String>,
    /// The trees where it left base and where it is.
    pub trees: Option<(Option<Oid>, Oid)>,
}

/// What the branch must not bring to base. Blocks; may ask the remotes of submodules.
pub(crate) fn faults(root: &Path, content: &BranchContent) -> Result<Vec<BranchFault>, FaultCheckError> {
    content.trees.map_or(Ok(Vec::new()), |(before, after)| branch_faults(root, before, after))
}

fn own_commits(
    repository: &Repository,
    base: &str,
    fork: Option<ForkPoint>,
    tip: Oid,
) -> Result<usize, git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.push(tip)?;
    walk.hide_ref(&format!("refs/heads/{base}"))?;
    fork.map_or(Ok(()), |fork| walk.hide(fork.commit))?;
    Ok(walk.count())
}

/// Reads a branch's content with libgit2. Blocks.
pub(crate) fn branch_content(
    repository: &Repository,
    base: &str,
    tip: Oid,
) -> Result<BranchContent, git2::Error> {
    let tree = |commit| repository.find_commit(commit)?.tree();
    // Not where the two meet: after base was rewritten, that would count its old commits as the branch's.
    let fork = fork_point(repository, base, tip)?;
    let old = fork.map(|fork| tree(fork.commit)).transpose()?;
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
    let trees = Some((old.map(|tree| tree.id()), new.id()));
    let commits = own_commits(repository, base, fork, tip)?;
    Ok(BranchContent { commits, diff: (files > 0).then_some(words), pipelines, trees })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::run::fixture::{BRANCH, RunFixture, STORY};

    fn before(fixture: &RunFixture) -> StateBefore {
        StateBefore::take(&fixture.context, "main", BRANCH, STORY).unwrap()
    }

    /// An agent's commit on base.
    fn evil(fixture: &RunFixture) -> String {
        let agent = ["-c", "user.name=agent", "-c", "user.email=agent@agents.storkit.invalid"];
        fixture.git.git(&[&agent[..], &["commit", "-q", "--allow-empty", "-m", "evil"]].concat());
        fixture.tip("main")
    }

    fn oid(text: &str) -> Oid {
        Oid::from_str(text).unwrap()
    }

    #[test]
    fn a_run_that_changed_nothing_has_nothing_to_answer_for() {
        let fixture = RunFixture::coder("");
        let worktree = fixture.worktree();
        let before = before(&fixture);
        assert_eq!(before.tip(), Some(oid(&fixture.tip(BRANCH))));
        fixture.git.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "its own"]);
        assert_eq!(before.compare(&fixture.context, false), Ok(ComparisonResult::default()));
    }

    #[test]
    fn a_base_that_the_agent_moved_is_put_back_with_its_commits_saved() {
        let fixture = RunFixture::coder("");
        let (before, old) = (before(&fixture), fixture.tip("main"));
        let moved = evil(&fixture);
        let ComparisonResult { agents, unclear, rescued } = before.compare(&fixture.context, false).unwrap();
        assert_eq!(agents, [format!("the agent moved the base branch from `{old:.8}` to `{moved:.8}`")]);
        assert_eq!(unclear, Vec::<String>::new());
        let saved = fixture.git.git(&["branch", "--list", "--format=%(refname:short)", "storkit/rescue/*"]);
        let expected =
            format!("`main` is back where it was. The commits it was moved to are saved on `{saved}`.");
        assert_eq!(rescued, Some(expected));
        assert_eq!((fixture.tip("main"), fixture.tip(&saved)), (old, moved));
    }

    #[test]
    fn behind_a_wall_base_is_never_put_back_whoever_moved_it() {
        let fixture = RunFixture::coder("");
        let before = before(&fixture);
        let moved = evil(&fixture);
        fixture.git.write("a.txt", "a person's\n");
        assert_eq!(before.compare(&fixture.context, true), Ok(ComparisonResult::default()));
        assert_eq!(fixture.tip("main"), moved);
        assert_eq!(fixture.git.git(&["branch", "--list", "storkit/rescue/*"]), "");
        fixture.git.git(&["reset", "-q", "--hard", "HEAD~1"]);
        assert_eq!(before.compare(&fixture.context, true), Ok(ComparisonResult::default()));
    }

    #[test]
    fn an_agents_commits_under_a_persons_stay_on_base_and_are_told() {
        let fixture = RunFixture::coder("");
        let before = before(&fixture);
        evil(&fixture);
        fixture.git.git(&["commit", "-q", "--allow-empty", "-m", "a person's"]);
        let moved = fixture.tip("main");
        let found = before.compare(&fixture.context, false).unwrap();
        assert!(found.agents[0].starts_with("the agent moved the base branch"), "{found:?}");
        assert!(found.rescued.unwrap().starts_with("`main` was not put back"));
        assert_eq!(fixture.tip("main"), moved);
    }

    #[test]
    fn a_rewritten_base_is_no_work_of_the_agents() {
        let fixture = RunFixture::coder("");
        fixture.git.write(".storkit/work/1_backlog/8_story_y.md", "---\nname: y\n---\n");
        fixture.git.git(&["add", ".storkit/work/1_backlog"]);
        fixture.git.git(&["commit", "-q", "-m", "stories"]);
        let worktree = fixture.worktree();
        fixture.git.git(&["reset", "-q", "--soft", "HEAD~1"]);
        fixture.git.git(&["commit", "-q", "-m", "stories, rebased"]);
        let repository = Repository::open(fixture.git.root()).unwrap();
        let content = || branch_content(&repository, "main", oid(&fixture.tip(BRANCH))).unwrap();
        assert_eq!((content().commits, content().diff, content().pipelines), (0, None, vec![]));
        fixture.git.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "its own"]);
        assert_eq!(content().commits, 1);
    }

    #[test]
    fn a_base_that_others_have_built_on_is_left_for_a_person_to_check() {
        let fixture = RunFixture::coder("");
        let before = before(&fixture);
        let moved = evil(&fixture);
        fixture.git.git(&["branch", "others"]);
        let rescued = before.compare(&fixture.context, false).unwrap().rescued.unwrap();
        let expected =
            "`main` was not put back, since others have built on it or moved it again: check it. The commits";
        assert!(rescued.starts_with(expected), "{rescued}");
        assert_eq!(fixture.tip("main"), moved);
    }

    #[test]
    fn a_change_that_a_person_may_have_made_is_reported_and_not_undone() {
        let fixture = RunFixture::coder("");
        let before = before(&fixture);
        fixture.git.git(&["commit", "-q", "--allow-empty", "-m", "a person's"]);
        let moved = fixture.tip("main");
        let ComparisonResult { agents, unclear, rescued } = before.compare(&fixture.context, false).unwrap();
        assert_eq!((agents, rescued), (vec![], None));
        assert!(unclear[0].starts_with("the base branch moved from"), "{unclear:?}");
        assert_eq!(fixture.tip("main"), moved);
    }

    #[test]
    fn what_storkit_puts_on_base_meanwhile_is_no_tampering() {
        let fixture = RunFixture::coder("");
        let story =
            |name: &str| fixture.git.write(&format!(".storkit/work/5_done/{name}"), "---\nname: y\n---\n");
        story("6_story_y.md");
        fixture.git.git(&["add", ".storkit/work"]);
        fixture.git.git(&["commit", "-q", "-m", "stories"]);
        let before = before(&fixture);
        fixture.git.git(&["commit", "-q", "--allow-empty", "-m", "stories"]);
        fixture.context.own.add(&fixture.tip("main"));
        story("8_story_y.md");
        assert_eq!(before.compare(&fixture.context, false), Ok(ComparisonResult::default()));
    }

    #[test]
    fn a_merge_counts_as_storkits_if_its_proof_names_that_very_commit() {
        let fixture = RunFixture::coder("");
        let before = before(&fixture);
        fixture.git.git(&["commit", "-q", "--allow-empty", "-m", "storkit: merge 8 Paint the door"]);
        let merge = fixture.tip("main");
        let unclear = || before.compare(&fixture.context, false).unwrap().unclear;
        assert_eq!(unclear().len(), 1, "anybody can write that message");
        let prove = |commit: &str| {
            let proof = MergeProof {
                story: StoryId(8),
                file: "8_story_y.md".into(),
                base: "main".into(),
                before: String::new(),
                commit: commit.into(),
                tree: String::new(),
                diff: Default::default(),
                gates: Vec::new(),
                at: 0,
            };
            let folder = fixture.git.root().join(".storkit/proofs");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("8.json"), serde_json::to_vec(&proof).unwrap()).unwrap();
        };
        prove(&"0".repeat(40));
        assert_eq!(unclear().len(), 1, "the proof is of another merge");
        prove(&merge);
        assert_eq!(unclear(), Vec::<String>::new());
    }

    #[test]
    fn a_branch_has_what_changed_since_it_left_base_and_files_of_the_pipeline_are_named() {
        let fixture = RunFixture::coder("");
        let worktree = fixture.worktree();
        fixture.git.write("later.txt", "on base, after the branch");
        fixture.git.git(&["add", "later.txt"]);
        fixture.git.git(&["commit", "-q", "-m", "later"]);
        let repository = Repository::open(fixture.git.root()).unwrap();
        let content = || branch_content(&repository, "main", oid(&fixture.tip(BRANCH))).unwrap();
        assert_eq!((content().diff, content().pipelines), (None, vec![]));
        let path = worktree.path();
        fs::create_dir_all(path.join(".storkit")).unwrap();
        fs::write(path.join("a.txt"), "b\nc\n").unwrap();
        fs::write(path.join(".storkit/project.toml"), "gates = []\n").unwrap();
        fixture.git.git_in(path, &["add", "--force", "."]);
        fixture.git.git_in(path, &["commit", "-q", "-m", "changes"]);
        let pipelines = vec![".storkit/project.toml".to_owned()];
        assert_eq!((content().diff.as_deref(), content().pipelines), (Some("2 files, +3 -1"), pipelines));
    }

    #[test]
    fn a_rescue_that_fails_is_said_with_its_reason() {
        let fixture = RunFixture::coder("");
        let before = before(&fixture);
        let guard = BaseGuard::lock(&fixture.context.project).unwrap();
        let nowhere = Oid::from_bytes(&[7; 20]).unwrap();
        let said = before.put_back(&fixture.context, &guard, (Some(nowhere), Some(nowhere)));
        assert!(said.starts_with("`main` could not be put back: "), "{said}");
    }
}
