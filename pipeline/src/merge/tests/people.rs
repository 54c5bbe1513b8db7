//! Landings while people are in the middle of something in git.

use std::fs;

use super::{
    super::base_in_use::base_in_use,
    merged,
    shop::{self, Shop, gates},
};
use crate::{
    merge::{
        JournaledMerge, MergeOutcome, MergePaths, MergeStatus, MergeStep, recover, tests::crash::journaled,
    },
    story::StoryId,
};

/// A shop with a second commit of a person's on main.
fn shop_with_mine() -> Shop {
    let shop = Shop::new();
    shop.write("mine", "mine\n");
    shop.commit_all("mine");
    shop
}

fn begin_rebase(shop: &Shop) {
    shop.git(&["-c", "sequence.editor=sed -i 1ibreak", "rebase", "-q", "-i", "HEAD~1"]);
}

fn in_use(shop: &Shop) -> Option<String> {
    let place = MergePaths::of(&shop.project).unwrap();
    base_in_use(&place, "main").unwrap().map(|in_use| in_use.to_string())
}

/// Merges the story while something is under way, which `end` ends once the merge waits for it.
async fn waits(shop: &Shop, end: &[&str]) -> String {
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let (queue, mut ends) = shop.queue(gates(&[]));
    queue.start(&request).unwrap();
    let waits = || match queue.status(StoryId(1)) {
        Some(MergeStatus::Running { step: MergeStep::Waiting { why }, .. }) => Some(why),
        Some(MergeStatus::Ended(ended)) => panic!("it did not wait: {ended:?}"),
        _ => None,
    };
    shop::until(|| waits().is_some()).await;
    let why = waits().unwrap();
    shop.git(end);
    let ended = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(ended.result, Ok(MergeOutcome::Merged(_))), "{ended:?}");
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
    why
}

#[tokio::test]
async fn a_rebase_of_base_is_waited_for_and_its_commits_and_the_story_are_on_base() {
    let shop = shop_with_mine();
    begin_rebase(&shop);
    let why = waits(&shop, &["rebase", "--continue"]).await;
    assert_eq!(why, "a rebase of `main` is under way in the main checkout");
    assert_eq!(shop.git(&["log", "--format=%s", "main"]), "storkit: merge 1 Story 1\nmine\nfirst");
}

#[tokio::test]
async fn a_rebase_of_base_that_is_aborted_takes_no_story_off_base() {
    let shop = shop_with_mine();
    begin_rebase(&shop);
    waits(&shop, &["rebase", "--abort"]).await;
    assert_eq!(shop.git(&["log", "--format=%s", "main"]), "storkit: merge 1 Story 1\nmine\nfirst");
}

#[tokio::test]
async fn a_rebase_that_begins_while_the_gates_run_is_waited_for_too() {
    let shop = shop_with_mine();
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let (ran, go) = (shop.path(".git/ran"), shop.path(".git/go"));
    let gate = format!("echo >> '{}'; until [ -f '{}' ]; do sleep 0.05; done", ran.display(), go.display());
    let (queue, mut ends) = shop.queue(gates(&[&gate]));
    queue.start(&request).unwrap();
    shop::until(|| ran.exists()).await;
    begin_rebase(&shop);
    fs::write(&go, "").unwrap();
    let waits = || {
        matches!(queue.status(StoryId(1)), Some(MergeStatus::Running { step: MergeStep::Waiting { .. }, .. }))
    };
    shop::until(waits).await;
    shop.git(&["rebase", "--abort"]);
    let ended = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(ended.result, Ok(MergeOutcome::Merged(_))), "{ended:?}");
    assert_eq!(shop.git(&["log", "--format=%s", "main"]), "storkit: merge 1 Story 1\nmine\nfirst");
}

#[tokio::test]
async fn conflicts_in_a_checkout_of_base_are_waited_for() {
    let shop = shop_with_mine();
    shop.git(&["switch", "-q", "-c", "side", "main~1"]);
    shop.write("mine", "theirs\n");
    shop.commit_all("theirs");
    shop.git(&["switch", "-q", "main"]);
    shop.git(&["-c", "alias.conflict=!git merge side >&2 || true", "conflict"]);
    let why = waits(&shop, &["merge", "--abort"]).await;
    assert_eq!(why, "there are unresolved conflicts in the main checkout");
    assert_eq!(shop.git(&["log", "--format=%s", "main"]), "storkit: merge 1 Story 1\nmine\nfirst");
}

#[tokio::test]
async fn a_merge_of_a_persons_without_conflicts_takes_the_story_in() {
    let shop = shop_with_mine();
    shop.git(&["switch", "-q", "-c", "side", "main~1"]);
    shop.write("theirs", "theirs\n");
    shop.commit_all("theirs");
    shop.git(&["switch", "-q", "main"]);
    shop.git(&["merge", "-q", "--no-commit", "--no-ff", "side"]);
    merged(shop.merge(&shop.story(1, "a", &[("a", "a\n")]), gates(&[])).await);
    shop.git(&["commit", "-q", "-m", "merge side"]);
    assert_eq!(shop.git(&["ls-tree", "--name-only", "main"]), "CHANGES\nREADME\na\nmine\ntheirs");
    assert_eq!(shop.git(&["log", "-1", "--format=%s", "main^"]), "storkit: merge 1 Story 1");
}

#[test]
fn only_what_moves_base_in_the_end_is_waited_for() {
    let shop = shop_with_mine();
    assert_eq!(in_use(&shop), None);
    shop.git(&["switch", "-q", "-c", "feature"]);
    shop.git(&["commit", "-q", "--allow-empty", "-m", "feature"]);
    begin_rebase(&shop);
    assert_eq!(in_use(&shop), None, "it moves another branch");
    shop.git(&["rebase", "--abort"]);
    let stacked = ["-c", "sequence.editor=sed -i 1ibreak", "rebase", "-q", "-i", "--update-refs", "main~1"];
    shop.git(&stacked);
    assert_eq!(in_use(&shop).unwrap(), "a rebase of `main` is under way in the main checkout");
    shop.git(&["rebase", "--abort"]);
    shop.git(&["bisect", "start", "-q", "main", "main~1"]);
    assert_eq!(in_use(&shop), None, "it goes back to main as it is by then");
}

#[test]
fn a_rebase_in_a_persons_worktree_counts_and_what_an_agent_writes_into_its_own_does_not() {
    let shop = shop_with_mine();
    shop.git(&["switch", "-q", "-c", "feature"]);
    let theirs = tempfile::tempdir().unwrap();
    let path = theirs.path().join("review");
    shop.git(&["worktree", "add", "-q", path.to_str().unwrap(), "main"]);
    shop::git(&path, &["-c", "sequence.editor=sed -i 1ibreak", "rebase", "-q", "-i", "HEAD~1"]);
    let shown = format!("a rebase of `main` is under way in `{}`", path.display());
    assert_eq!(in_use(&shop), Some(shown));
    shop::git(&path, &["rebase", "--abort"]);
    assert_eq!(in_use(&shop), None);
    shop.git(&["worktree", "add", "-q", "--detach", ".storkit/worktrees/slot-1"]);
    let state = shop.path(".git/worktrees/slot-1/rebase-merge");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("head-name"), "refs/heads/main\n").unwrap();
    assert_eq!(in_use(&shop), None);
}

#[test]
fn a_start_after_a_crash_rolls_no_merge_forward_in_the_middle_of_a_rebase() {
    let shop = shop_with_mine();
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let (place, _) = journaled(&shop, &request);
    begin_rebase(&shop);
    let before = shop.git(&["rev-parse", "main"]);
    let recovery = recover(&shop.project).unwrap();
    assert_eq!(recovery.journal, Some(JournaledMerge::Dropped(StoryId(1))));
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    assert!(!place.journal().exists());
}

#[tokio::test]
async fn a_clean_up_of_objects_while_the_gates_run_takes_nothing_away_and_a_storys_edit_lands() {
    let shop = shop_with_mine();
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let (ran, go) = (shop.path(".git/ran"), shop.path(".git/go"));
    let gate = format!("echo >> '{}'; until [ -f '{}' ]; do sleep 0.05; done", ran.display(), go.display());
    let (queue, mut ends) = shop.queue(gates(&[&gate]));
    queue.start(&request).unwrap();
    shop::until(|| ran.exists()).await;
    shop.git(&["reflog", "expire", "--expire=now", "--all"]);
    shop.git(&["gc", "-q", "--prune=now"]);
    fs::write(shop.path(".storkit/work/4_merge/1_story_a.md"), "edited\n").unwrap();
    fs::write(&go, "").unwrap();
    let ended = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(ended.result, Ok(MergeOutcome::Merged(_))), "{ended:?}");
    assert_eq!(shop.git(&["show", "storkit/board:.storkit/work/5_done/1_story_a.md"]), "edited");
}

#[tokio::test]
async fn a_commit_whose_editor_is_open_is_waited_for() {
    let shop = shop_with_mine();
    shop.write(".git/index.lock", "");
    let why = waits(&shop, &["-c", "alias.unlock=!rm .git/index.lock", "unlock"]).await;
    assert!(why.ends_with("holds `index.lock` in the main checkout"), "{why}");
}
