//! The worktree in which merges are gated: what it keeps from one merge to the next, and what it must not.

use std::fs;

use super::{
    merged,
    shop::{self, Shop, gates},
};
use crate::{
    config::Component,
    gates::GateRunner,
    merge::{MergeEnded, MergeOutcome, MergeQueue, MergeRequest, MergeSettings},
};

/// Ignores `target/` and `installed`.
fn shop() -> Shop {
    let shop = Shop::new();
    shop.write(".gitignore", "target/\ninstalled\n.env.test\n");
    shop.write("deps.lock", "one\n");
    shop.commit_all("code");
    shop
}

fn components() -> Vec<Component> {
    vec![Component {
        name: "app".into(),
        setup: vec![
            "cp deps.lock installed; echo x >> \"$(git rev-parse --show-toplevel)/../setups\"".into(),
        ],
        inputs: Some(vec!["deps.lock".into()]),
        copy: vec![".env.test".into()],
        ..Component::default()
    }]
}

async fn merge_with(shop: &Shop, request: &MergeRequest, gates: GateRunner) -> std::sync::Arc<MergeEnded> {
    let settings = MergeSettings { components: components(), ..shop.settings(gates) };
    let (queue, mut ends) = MergeQueue::open(&shop.project, settings).unwrap();
    queue.start(request).unwrap();
    shop::soon(ends.recv()).await.unwrap()
}

#[tokio::test]
async fn a_setup_runs_again_when_a_story_brings_other_dependencies_and_the_copied_file_is_there() {
    let shop = shop();
    shop.write(".env.test", "KEY=1\n");
    let setups = || fs::read_to_string(shop.path(".storkit/worktrees/setups")).unwrap_or_default().len() / 2;
    let gate = || gates(&["cmp deps.lock installed && grep -q KEY=1 .env.test"]);
    for (id, file, expected) in [(1, ("a", "a\n"), 1), (2, ("b", "b\n"), 1), (3, ("deps.lock", "two\n"), 2)] {
        let request = shop.story(id, "x", &[file]);
        let ended = merge_with(&shop, &request, gate()).await;
        assert!(matches!(ended.result, Ok(MergeOutcome::Merged(_))), "{:?}", ended.result);
        assert_eq!(setups(), expected, "story {id}");
    }
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_copied_file_that_is_missing_stops_the_merge_and_says_so() {
    let shop = shop();
    let ended = merge_with(&shop, &shop.story(1, "a", &[("a", "a\n")]), gates(&["true"])).await;
    let why = ended.result.as_ref().unwrap_err().to_string();
    assert!(why.contains("`.env.test` is not in the main checkout"), "{why}");
}

/// A gate whose products decide the next one's result.
const POISONED: &str = "test -e target/pass || test ! -e bad";

#[tokio::test]
async fn a_gate_that_failed_prepares_nothing_for_the_next_merge() {
    let shop = shop();
    let warm = shop.story(1, "warm", &[("a", "a\n")]);
    merged(shop.merge(&warm, gates(&["mkdir target; echo built > target/app"])).await);
    let poison = "mkdir -p target; touch target/pass; mkdir -p ../.private/merge/caches/npm; exit 1";
    let evil = shop.story(2, "evil", &[("b", "b\n")]);
    assert!(matches!(shop.merge(&evil, gates(&[poison])).await, Ok(MergeOutcome::GateFailed { .. })));
    let bad = shop.story(3, "bad", &[("bad", "x\n")]);
    let failed = shop.merge(&bad, gates(&[POISONED])).await;
    assert!(matches!(failed, Ok(MergeOutcome::GateFailed { .. })), "{failed:?}");
    assert!(!shop.path(".storkit/worktrees/.private/merge/caches").exists());
}

#[tokio::test]
async fn a_gate_that_was_killed_with_its_storkit_prepares_nothing_either() {
    let shop = shop();
    merged(
        shop.merge(&shop.story(1, "warm", &[("a", "a\n")]), gates(&["mkdir target; touch target/app"])).await,
    );
    fs::write(shop.path(".storkit/worktrees/merge/target/pass"), "").unwrap();
    fs::write(shop.path(".storkit/worktrees/.private/merge/unlanded"), "").unwrap();
    let bad = shop.story(3, "bad", &[("bad", "x\n")]);
    assert!(matches!(shop.merge(&bad, gates(&[POISONED])).await, Ok(MergeOutcome::GateFailed { .. })));
}

#[tokio::test]
async fn what_landed_code_has_built_stays_and_what_ignores_itself_does_not() {
    let shop = shop();
    let leaves = "mkdir target own; touch target/app own/evil; echo '*' > own/.gitignore; git init -q sub";
    merged(shop.merge(&shop.story(1, "a", &[("sub/a", "a\n")]), gates(&[leaves])).await);
    let clean = "test -e target/app && test ! -e own && test ! -e sub/.git";
    merged(shop.merge(&shop.story(2, "b", &[("b", "b\n")]), gates(&[clean])).await);
}
