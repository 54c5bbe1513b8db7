//! The audit: compares every story in done with the repository, and finds leftovers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use git2::{BranchType, Commit, ErrorCode, Oid, Repository};

use crate::{
    Project,
    board::{attached_on_disk, story_of_attached},
    merge::{
        DiffStat, MergeError, MergeJournal, MergePaths, MergeProof, MergeTrailers, StoryMerge, diff_stat,
        merges, trailers,
    },
    story::{FileName, StoryId, stage::Stage},
    worktree::assigned_slots,
};

/// Something that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditFinding {
    /// A story is in done, but no commit on base merged it.
    DoneWithoutMerge(StoryId),
    /// A story is merged by storkit, and its proof is gone.
    NoProof(StoryId),
    /// Base had the merge, and somebody has taken it off: by a reset, or in a rebase.
    TakenOffBase { story: StoryId, commit: String },
    /// A proof does not agree with the repository or with itself.
    BadProof {
        story: StoryId,
        /// What does not agree.
        why: String,
    },
    /// A story was merged more than once.
    MergedTwice {
        story: StoryId,
        /// The commits, newest first.
        commits: Vec<String>,
    },
    /// A story is merged, but is in a stage before done.
    MergedNotDone { story: StoryId, stage: Stage },
    /// A story's file is in two stages, or twice in one.
    InTwoPlaces { story: StoryId, files: Vec<PathBuf> },
    /// A worktree of a story that nobody works on.
    OrphanWorktree(PathBuf),
    /// A branch of a story that nobody works on.
    OrphanBranch(String),
    /// Files that people attached to a story that is not there.
    OrphanFiles { story: StoryId, folder: PathBuf },
    /// A merge that was interrupted and not finished.
    LeftoverJournal(StoryId),
    /// A merge journal or proof that cannot be read.
    Unreadable { path: PathBuf, why: String },
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoneWithoutMerge(story) => {
                write!(
                    f,
                    "Story `{story}` is in done, but no commit on base merged it. Move it back, or delete it."
                )
            }
            Self::NoProof(story) => write!(f, "Story `{story}` is merged, but its proof is missing."),
            Self::TakenOffBase { story, commit } => write!(
                f,
                "Story `{story}` was merged as `{commit:.12}`, and base does not have that commit any more. `git cherry-pick {commit:.12}` \
                 brings it back; otherwise move the story's file to `1_backlog`, or delete the story."
            ),
            Self::BadProof { story, why } => write!(f, "The proof of story `{story}` is wrong: {why}."),
            Self::MergedTwice { story, commits } => {
                write!(f, "Story `{story}` was merged more than once: {}.", list(commits))
            }
            Self::MergedNotDone { story, stage } => {
                write!(
                    f,
                    "Story `{story}` is merged, but is in {stage}. Create a new story for further work."
                )
            }
            Self::InTwoPlaces { story, files } => {
                write!(f, "Story `{story}` is in two places: {}. Remove the stale copy.", paths(files))
            }
            Self::OrphanWorktree(path) => {
                write!(f, "The worktree `{}` belongs to no story in work.", path.display())
            }
            Self::OrphanBranch(branch) => write!(f, "The branch `{branch}` belongs to no story in work."),
            Self::OrphanFiles { story, folder } => write!(
                f,
                "`{}` has files of story `{story}`, which is not there. Remove the folder, or put the story's file back: `git log \
                 --all -- '.storkit/work/*/{story}_*'` finds it.",
                folder.display()
            ),
            Self::LeftoverJournal(story) => {
                write!(f, "The merge of story `{story}` was interrupted. Start storkit to finish it.")
            }
            Self::Unreadable { path, why } => write!(f, "`{}` cannot be read: {why}.", path.display()),
        }
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn paths(paths: &[PathBuf]) -> String {
    list(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}

/// Checks everything and changes nothing; the findings are sorted. `base` is the branch that stories merge
/// to. Blocks: some 10 us for each commit of base.
pub fn audit(project: &Project, base: &str) -> Result<Vec<AuditFinding>, MergeError> {
    let place = MergePaths::of(project)?;
    let repository = place.repository()?;
    let on_base = merges(&repository, base)?;
    let files = story_files(&place);
    let view = AuditView { place: &place, repository: &repository, base, on_base: &on_base, files: &files };
    let mut findings = view.stories()?;
    findings.extend(view.merged_twice());
    findings.extend(view.left_lying()?);
    findings.sort();
    Ok(findings)
}

/// All story files by story, as `.storkit/work/STAGE/FILE`.
fn story_files(place: &MergePaths) -> BTreeMap<StoryId, Vec<(Stage, PathBuf)>> {
    let mut files: BTreeMap<StoryId, Vec<(Stage, PathBuf)>> = BTreeMap::new();
    for stage in Stage::ALL {
        let folder = Path::new(".storkit/work").join(stage.dir());
        for entry in fs::read_dir(place.root.join(&folder)).into_iter().flatten().flatten() {
            if let Ok(file) = entry.file_name().to_string_lossy().parse::<FileName>() {
                files.entry(file.id).or_default().push((stage, folder.join(file.to_string())));
            }
        }
    }
    files
}

struct AuditView<'a> {
    place: &'a MergePaths,
    repository: &'a Repository,
    base: &'a str,
    on_base: &'a [StoryMerge],
    files: &'a BTreeMap<StoryId, Vec<(Stage, PathBuf)>>,
}

impl AuditView<'_> {
    fn stories(&self) -> Result<Vec<AuditFinding>, MergeError> {
        let mut findings = Vec::new();
        for (story, files) in self.files {
            if let [(stage, _)] = files[..] {
                findings.extend(self.story(*story, stage)?);
            } else {
                let files = files.iter().map(|(_, path)| path.clone()).collect();
                findings.push(AuditFinding::InTwoPlaces { story: *story, files });
            }
        }
        Ok(findings)
    }

    fn story(&self, story: StoryId, stage: Stage) -> Result<Option<AuditFinding>, MergeError> {
        let merge = self.on_base.iter().find(|merge| merge.story == story);
        if !matches!(stage, Stage::Done | Stage::Archived) {
            return Ok(merge.map(|_| AuditFinding::MergedNotDone { story, stage }));
        }
        let proof = match MergeProof::read(&self.place.root, story) {
            Ok(proof) => proof,
            Err(error) => {
                return Ok(Some(AuditFinding::Unreadable {
                    path: self.place.proof(story),
                    why: error.to_string(),
                }));
            }
        };
        match (merge, proof) {
            (None, None) => Ok(Some(AuditFinding::DoneWithoutMerge(story))),
            // Merges of the older program, and of another clone, have no record here; their message is all.
            (Some(merge), None) => Ok(merge.trailers.is_some().then_some(AuditFinding::NoProof(story))),
            (None, Some(proof)) if self.is_taken_off(story, &proof)? => {
                Ok(Some(AuditFinding::TakenOffBase { story, commit: proof.commit }))
            }
            (_, Some(proof)) => {
                Ok(self.contradiction(story, &proof)?.map(|why| AuditFinding::BadProof { story, why }))
            }
        }
    }

    /// Whether the proof's commit is there, says what the proof says, and is not on base.
    fn is_taken_off(&self, story: StoryId, proof: &MergeProof) -> Result<bool, MergeError> {
        let commit = Oid::from_str(&proof.commit).and_then(|id| self.repository.find_commit(id));
        let Ok(commit) = commit else { return Ok(false) };
        let said = trailers(&self.message(commit.id())?);
        let agrees = said.is_some_and(|said| disagreement(story, proof, &said).is_none());
        Ok(agrees && !self.is_on_base(commit.id())?)
    }

    fn is_on_base(&self, commit: Oid) -> Result<bool, MergeError> {
        Ok(match self.place.tip(self.repository, self.base)? {
            Some(tip) => tip == commit || self.repository.graph_descendant_of(tip, commit)?,
            None => false,
        })
    }

    fn message(&self, commit: Oid) -> Result<String, git2::Error> {
        let commit = self.repository.find_commit(commit)?;
        Ok(String::from_utf8_lossy(commit.message_bytes()).into_owned())
    }

    /// Why a proof proves nothing.
    fn contradiction(&self, story: StoryId, proof: &MergeProof) -> Result<Option<String>, MergeError> {
        if let Some(rebased) = self.rebased(proof)? {
            // Its parent and its tree are others now; what it says and that it changes something must still hold.
            let said = rebased.trailers.as_ref().and_then(|said| disagreement(story, proof, said));
            let commit = self.repository.find_commit(rebased.commit)?;
            return Ok(match said {
                None => self.diff(&commit)?.filter(|diff| diff.files == 0).map(|_| NO_CHANGE.into()),
                said => said,
            });
        }
        let commit = match Oid::from_str(&proof.commit).and_then(|id| self.repository.find_commit(id)) {
            Ok(commit) => commit,
            Err(error)
                if matches!(
                    error.code(),
                    ErrorCode::NotFound | ErrorCode::GenericError | ErrorCode::Invalid
                ) =>
            {
                return Ok(Some(format!("the repository has no commit `{}`", proof.commit)));
            }
            Err(error) => return Err(error.into()),
        };
        if !self.is_on_base(commit.id())? {
            return Ok(Some(format!("base does not have its commit `{}`", proof.commit)));
        }
        let Some(said) = trailers(&self.message(commit.id())?) else {
            return Ok(Some(format!("the commit `{}` is no merge of storkit's", proof.commit)));
        };
        let wrong = disagreement(story, proof, &said).or_else(|| misplaced(proof, &commit));
        Ok(wrong.or(self.wrong_diff(proof, &commit)?))
    }

    /// The commit on base that has the place of the proof's own, which a rebase has left behind: it says exactly what the proof says.
    fn rebased(&self, proof: &MergeProof) -> Result<Option<&StoryMerge>, MergeError> {
        let says_the_same = |merge: &&StoryMerge| {
            merge.trailers.as_ref().is_some_and(|said| {
                (said.story, &said.base, &said.tree) == (proof.story, &proof.before, &proof.tree)
            })
        };
        let is_original = |merge: &StoryMerge| merge.commit.to_string() == proof.commit;
        let found: Vec<&StoryMerge> = self.on_base.iter().filter(says_the_same).collect();
        let is_there = found.iter().any(|merge| is_original(merge));
        Ok(found.into_iter().next().filter(|_| !is_there))
    }

    fn diff(&self, commit: &Commit<'_>) -> Result<Option<DiffStat>, MergeError> {
        let Ok(parent) = commit.parent(0) else { return Ok(None) };
        Ok(Some(diff_stat(self.repository, parent.tree_id(), commit.tree_id())?))
    }

    fn wrong_diff(&self, proof: &MergeProof, commit: &Commit<'_>) -> Result<Option<String>, MergeError> {
        Ok(match self.diff(commit)? {
            Some(diff) if diff.files == 0 => Some(NO_CHANGE.into()),
            diff if diff != Some(proof.diff) => Some("its commit changes something else".into()),
            _ => None,
        })
    }

    fn merged_twice(&self) -> Vec<AuditFinding> {
        let mut by_story: BTreeMap<StoryId, Vec<String>> = BTreeMap::new();
        let mut said = BTreeSet::new();
        for merge in self.on_base {
            // A rebase that met the original again left two copies of one merge, which say the same.
            let says = merge.trailers.as_ref().map(|said| (said.story, &said.base, &said.tree));
            if says.is_none_or(|says| said.insert(says)) {
                by_story.entry(merge.story).or_default().push(merge.commit.to_string());
            }
        }
        let twice = by_story.into_iter().filter(|(_, commits)| commits.len() > 1);
        twice.map(|(story, commits)| AuditFinding::MergedTwice { story, commits }).collect()
    }

    fn left_lying(&self) -> Result<Vec<AuditFinding>, MergeError> {
        let mut findings = Vec::new();
        match MergeJournal::read(self.place) {
            Ok(Some(journal)) => findings.push(AuditFinding::LeftoverJournal(journal.proof.story)),
            Ok(None) => {}
            Err(error) => {
                findings
                    .push(AuditFinding::Unreadable { path: self.place.journal(), why: error.to_string() });
            }
        }
        findings.extend(self.orphan_files());
        let in_work = self.in_work();
        findings.extend(
            self.worktrees()
                .into_iter()
                .filter(|(story, _)| !in_work.contains(story))
                .map(|(_, path)| AuditFinding::OrphanWorktree(path)),
        );
        for branch in self.repository.branches(Some(BranchType::Local))? {
            let (branch, _) = branch?;
            let Some(name) = branch.name().ok().flatten().map(str::to_owned) else { continue };
            let story = name.strip_prefix("feature/story-").and_then(leading_id);
            if story.is_some_and(|story| !in_work.contains(&story)) {
                findings.push(AuditFinding::OrphanBranch(name));
            }
        }
        Ok(findings)
    }

    fn orphan_files(&self) -> BTreeSet<AuditFinding> {
        // What cannot be read is named where somebody attaches a file.
        let files = attached_on_disk(&self.place.root).unwrap_or_default();
        let orphan = |path: &Path| {
            let story = story_of_attached(path).filter(|story| !self.files.contains_key(story))?;
            Some(AuditFinding::OrphanFiles { story, folder: path.parent()?.to_owned() })
        };
        files.iter().filter_map(|(path, _)| orphan(path)).collect()
    }

    /// Stories that may have a branch and a worktree: started, or sent back.
    fn in_work(&self) -> BTreeSet<StoryId> {
        let may = |stage: Stage| !matches!(stage, Stage::Done | Stage::Archived);
        let stories = self.files.iter().filter(|(_, files)| files.iter().any(|(stage, _)| may(*stage)));
        stories.map(|(story, _)| *story).collect()
    }

    /// What lies in `.storkit/worktrees/`, with the story in its name: `ID_slug` is a story's, `merge-ID` a conflict's.
    fn worktrees(&self) -> Vec<(StoryId, PathBuf)> {
        let folder = Path::new(".storkit/worktrees");
        let mut found = Vec::new();
        for entry in fs::read_dir(self.place.root.join(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let story = leading_id(name.strip_prefix("merge-").unwrap_or(&name));
            found.extend(story.map(|story| (story, folder.join(name))));
        }
        // The slots of stories are called after nobody.
        for (owner, slot) in assigned_slots(&self.place.root) {
            let slot = slot.strip_prefix(&self.place.root).unwrap_or(&slot).to_owned();
            found.extend(leading_id(&owner).map(|story| (story, slot)));
        }
        found
    }
}

/// `12_slug`, `12_slug/work` or `12`.
fn leading_id(name: &str) -> Option<StoryId> {
    name.split(['_', '/']).next()?.parse().ok()
}

const NO_CHANGE: &str = "its commit changes nothing";

/// Where proof and trailers say different things.
fn disagreement(story: StoryId, proof: &MergeProof, said: &MergeTrailers) -> Option<String> {
    first_broken([
        (proof.story == story && said.story == story, "it is of another story"),
        (proof.before == said.base, "its commit does not follow the base it names"),
        (proof.tree == said.tree, "the gates ran on another tree than was merged"),
        (proof.gates == said.gates, "its gates are not those of the commit's message"),
        (proof.gates.iter().all(|gate| gate.code == 0), "a gate had failed"),
    ])
}

/// Where a commit that was never rebased is another than the proof says.
fn misplaced(proof: &MergeProof, commit: &Commit<'_>) -> Option<String> {
    let parent = commit.parent_id(0).map(|id| id.to_string()).unwrap_or_default();
    first_broken([
        (commit.parent_count() == 1, "its commit has more or fewer than one parent"),
        (proof.before == parent, "its commit does not follow the base it names"),
        (proof.tree == commit.tree_id().to_string(), "the gates ran on another tree than was merged"),
    ])
}

fn first_broken<const N: usize>(checks: [(bool, &str); N]) -> Option<String> {
    checks.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{
        MergeOutcome,
        tests::shop::{Shop, gates},
    };

    async fn merged(shop: &Shop, id: u32) {
        let request = shop.story(id, "a", &[(&format!("{id}.txt"), "a\n")]);
        let outcome = shop.merge(&request, gates(&["true"])).await;
        assert!(matches!(outcome, Ok(MergeOutcome::Merged(_))), "{outcome:?}");
        shop.git(&["branch", "-q", "-D", &request.branch]);
    }

    fn sentences(shop: &Shop) -> Vec<String> {
        audit(&shop.project, "main").unwrap().iter().map(ToString::to_string).collect()
    }

    /// The audit's one sentence after a proof was changed.
    fn tampered(shop: &Shop, from: &str, to: &str) -> String {
        let whole = shop.read(".storkit/proofs/1.json");
        assert!(whole.contains(from), "{whole}");
        shop.write(".storkit/proofs/1.json", &whole.replacen(from, to, 1));
        let found = sentences(shop);
        shop.write(".storkit/proofs/1.json", &whole);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[tokio::test]
    async fn what_is_in_order_finds_nothing_also_when_archived() {
        let shop = Shop::new();
        merged(&shop, 1).await;
        merged(&shop, 2).await;
        fs::create_dir_all(shop.path(".storkit/work/6_archived")).unwrap();
        let archived = shop.path(".storkit/work/6_archived/1_story_a.md");
        fs::rename(shop.path(".storkit/work/5_done/1_story_a.md"), archived).unwrap();
        assert_eq!(sentences(&shop), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_tampered_proof_is_found() {
        let shop = Shop::new();
        merged(&shop, 1).await;
        let proof = MergeProof::read(shop.project.root(), StoryId(1)).unwrap().unwrap();
        let other = "1".repeat(40);
        insta::assert_snapshot!(tampered(&shop, &proof.before, &other), @"The proof of story `1` is wrong: its commit does not follow the base it names.");
        insta::assert_snapshot!(tampered(&shop, &proof.tree, &other), @"The proof of story `1` is wrong: the gates ran on another tree than was merged.");
        insta::assert_snapshot!(tampered(&shop, "\"true\"", "\"script/test\""), @"The proof of story `1` is wrong: its gates are not those of the commit's message.");
        insta::assert_snapshot!(tampered(&shop, "\"files\": 1", "\"files\": 9"), @"The proof of story `1` is wrong: its commit changes something else.");
        insta::assert_snapshot!(tampered(&shop, "\"story\": 1", "\"story\": 2"), @"The proof of story `1` is wrong: it is of another story.");
        let broken = tampered(&shop, "{", "");
        assert!(broken.contains("1.json` cannot be read"), "{broken}");
    }

    #[tokio::test]
    async fn a_merge_that_a_person_took_off_base_is_named_with_the_way_back() {
        let shop = Shop::new();
        for id in [1, 2] {
            merged(&shop, id).await;
        }
        let commit = shop.git(&["rev-parse", "main~1"]);
        shop.git(&["rebase", "-q", "--onto", "main~2", "main~1"]);
        let short = &commit[..12];
        assert_eq!(
            sentences(&shop),
            [format!(
                "Story `1` was merged as `{short}`, and base does not have that commit any more. `git cherry-pick {short}` brings it back; \
             otherwise move the story's file to `1_backlog`, or delete the story."
            )]
        );
        shop.git(&["cherry-pick", short]);
        assert_eq!(sentences(&shop), Vec::<String>::new());
        shop.git(&["reset", "-q", "--hard", "HEAD~1"]);
        fs::create_dir_all(shop.path(".storkit/work/1_backlog")).unwrap();
        let backlog = shop.path(".storkit/work/1_backlog/1_story_a.md");
        fs::rename(shop.path(".storkit/work/5_done/1_story_a.md"), backlog).unwrap();
        assert_eq!(sentences(&shop), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_story_in_done_without_a_merge_is_found_and_one_with_an_old_merge_is_not() {
        let shop = Shop::new();
        shop.write(".storkit/work/5_done/3_story_old.md", "merged by the program before\n");
        shop.write("old.txt", "x\n");
        shop.commit_all("story-kit: merge 3_story_old");
        shop.write(".storkit/work/5_done/4_bug_dragged.md", "moved by hand\n");
        assert_eq!(audit(&shop.project, "main").unwrap(), [AuditFinding::DoneWithoutMerge(StoryId(4))]);
        merged(&shop, 5).await;
        fs::remove_file(shop.path(".storkit/proofs/5.json")).unwrap();
        fs::remove_file(shop.path(".storkit/work/5_done/4_bug_dragged.md")).unwrap();
        assert_eq!(audit(&shop.project, "main").unwrap(), [AuditFinding::NoProof(StoryId(5))]);
    }

    #[tokio::test]
    async fn merges_that_a_person_rebases_or_rewords_are_in_order() {
        let shop = Shop::new();
        merged(&shop, 1).await;
        merged(&shop, 2).await;
        shop.git(&["switch", "-q", "-c", "theirs", "main~2"]);
        shop.write("theirs", "pushed meanwhile\n");
        shop.commit_all("somebody else's");
        shop.git(&["switch", "-q", "main"]);
        shop.git(&["rebase", "-q", "theirs"]);
        assert_eq!(
            shop.git(&["log", "--format=%s", "-3"]),
            "storkit: merge 2 Story 2\nstorkit: merge 1 Story 1\nsomebody else's"
        );
        assert_eq!(sentences(&shop), Vec::<String>::new());
        let message = shop.git(&["log", "-1", "--format=%B"]);
        shop.git(&[
            "commit",
            "-q",
            "--amend",
            "-m",
            &message.replacen("storkit: merge 2", "Greets people", 1),
        ]);
        assert_eq!(sentences(&shop), Vec::<String>::new(), "reworded");
        // Melted into one commit, whose message has both.
        let both = shop.git(&["log", "-2", "--format=%B"]);
        shop.git(&["reset", "-q", "--soft", "HEAD~2"]);
        shop.git(&["commit", "-q", "-m", &both]);
        assert_eq!(sentences(&shop), Vec::<String>::new(), "squashed");
    }

    #[tokio::test]
    async fn a_copy_of_a_merge_beside_the_original_is_no_second_merge() {
        let shop = Shop::new();
        merged(&shop, 1).await;
        shop.git(&["switch", "-q", "-c", "theirs", "main~1"]);
        shop.write("theirs", "x\n");
        shop.commit_all("somebody else's");
        shop.git(&["cherry-pick", "main"]);
        shop.git(&["switch", "-q", "main"]);
        shop.git(&["merge", "-q", "--no-edit", "theirs"]);
        assert_eq!(sentences(&shop), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_rebased_merge_that_lost_its_content_is_found() {
        let shop = Shop::new();
        merged(&shop, 1).await;
        let message = shop.git(&["log", "-1", "--format=%B"]);
        shop.git(&["reset", "-q", "--hard", "HEAD~1"]);
        shop.git(&["commit", "-q", "--allow-empty", "-m", &message]);
        assert_eq!(sentences(&shop), ["The proof of story `1` is wrong: its commit changes nothing."]);
    }

    #[tokio::test]
    async fn what_lies_about_is_found() {
        let shop = Shop::new();
        shop.story(1, "live", &[]);
        for folder in ["1_live", "8_gone", "merge", "merge-8"] {
            fs::create_dir_all(shop.path(".storkit/worktrees").join(folder)).unwrap();
        }
        shop.git(&["branch", "feature/story-8_gone/work"]);
        shop.git(&["branch", "feature/other"]);
        shop.write(".storkit/work/files/8/door.png", "x");
        shop.write(".storkit/work/files/9/door.png", "x");
        shop.write(".storkit/work/1_backlog/9_story_twice.md", "");
        shop.write(".storkit/work/2_current/9_story_twice.md", "");
        insta::assert_snapshot!(sentences(&shop).join("\n"), @r"
        Story `9` is in two places: `.storkit/work/1_backlog/9_story_twice.md`, `.storkit/work/2_current/9_story_twice.md`. Remove the stale copy.
        The worktree `.storkit/worktrees/8_gone` belongs to no story in work.
        The worktree `.storkit/worktrees/merge-8` belongs to no story in work.
        The branch `feature/story-8_gone/work` belongs to no story in work.
        `.storkit/work/files/8` has files of story `8`, which is not there. Remove the folder, or put the story's file back: `git log --all -- '.storkit/work/*/8_*'` finds it.
        ");
    }

    #[tokio::test]
    async fn a_story_that_was_merged_and_goes_on_or_merged_twice_is_found() {
        let shop = Shop::new();
        merged(&shop, 1).await;
        fs::create_dir_all(shop.path(".storkit/work/2_current")).unwrap();
        let current = shop.path(".storkit/work/2_current/1_story_a.md");
        fs::rename(shop.path(".storkit/work/5_done/1_story_a.md"), current).unwrap();
        shop.git(&["commit", "-q", "--allow-empty", "-m", "story-kit: merge 1_story_a"]);
        let found = sentences(&shop);
        assert!(found[0].starts_with("Story `1` was merged more than once: `"), "{found:?}");
        assert_eq!(found[1], "Story `1` is merged, but is in current. Create a new story for further work.");
    }
}
