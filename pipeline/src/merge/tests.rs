//! Merges on real repositories, named as what is promised.

mod crash;
mod kill;
mod large_files;
mod people;
pub(crate) mod shop;
mod truth;
mod warm;

use std::{fs, path::PathBuf, time::Duration};

use agents::confine::NetworkAccess;

use self::shop::{Shop, gates};
use super::*;
use crate::{config::Component, gates::GateRunner, story::StoryId, worktree::fixture::SmallDisk};

/// Another story's file.
const OTHER: &str = ".storkit/work/1_backlog/9_bug_other.md";

fn merged(outcome: Result<MergeOutcome, MergeError>) -> MergeProof {
    match outcome {
        Ok(MergeOutcome::Merged(proof)) => proof,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_merge_is_one_commit_on_base_and_one_on_the_board_and_leaves_a_proof_and_a_clean_checkout() {
    let shop = Shop::new();
    shop.board(&[(".storkit/work/1_backlog/7_story_greet.md", "old text\n"), (OTHER, "other\n")]);
    let request = shop.story(7, "greet", &[("greet.txt", "hello\n"), ("README", "a shop\nthat greets\n")]);
    let before = shop.git(&["rev-parse", "main"]);
    let proof = merged(shop.merge(&request, gates(&["test -f greet.txt && test -f README"])).await);
    assert_eq!(shop.git(&["log", "--format=%s", "main"]), "storkit: merge 7 Story 7\nfirst");
    assert_eq!(shop.git(&["log", "--format=%s", "storkit/board"]), "storkit: done: 7 Story 7\nboard");
    assert_eq!((proof.before.as_str(), &proof.commit), (before.as_str(), &shop.git(&["rev-parse", "main"])));
    assert_eq!(proof.tree, shop.git(&["rev-parse", "main^{tree}"]));
    assert_eq!(proof.diff, DiffStat { files: 2, insertions: 2, deletions: 0 });
    insta::assert_snapshot!(shop.git(&["show", "--format=", "--name-status", "--no-renames", "main"]), @r"
    M	README
    A	greet.txt
    ");
    insta::assert_snapshot!(shop.git(&["show", "--format=", "--name-status", "--no-renames", "storkit/board"]), @r"
    D	.storkit/work/1_backlog/7_story_greet.md
    A	.storkit/work/5_done/7_story_greet.md
    ");
    assert_eq!(trailers(&shop.git(&["log", "-1", "--format=%B"])).unwrap().gates, proof.gates);
    assert_eq!(MergeProof::read(shop.project.root(), StoryId(7)).unwrap(), Some(proof));
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
    assert_eq!((shop.stages(7), shop.read("greet.txt").as_str()), (vec!["5_done"], "hello\n"));
    assert!(
        !shop.path(".storkit/run/merge.json").exists() && !shop.path(".storkit/run/merges/7.json").exists()
    );
}

#[tokio::test]
async fn an_empty_merge_never_reaches_done() {
    let shop = Shop::new();
    let nothing = shop.story(1, "nothing", &[]);
    let only_work = shop.story(2, "only_work", &[(".storkit/work/5_done/2_story_only_work.md", "done!\n")]);
    let same = shop.story(3, "same", &[("late.txt", "x\n")]);
    shop.write("late.txt", "x\n");
    shop.commit_all("somebody else did it");
    let before = shop.git(&["rev-parse", "main"]);
    for request in [nothing, only_work, same] {
        assert_eq!(shop.merge(&request, gates(&[])).await.unwrap(), MergeOutcome::Empty, "{request:?}");
        assert_eq!(shop.stages(request.file.id.0), ["4_merge"]);
    }
    assert_eq!(shop.git(&["rev-parse", "main"]), before);
}

#[tokio::test]
async fn a_branch_does_not_move_stories() {
    let shop = Shop::new();
    shop.board(&[(OTHER, "other\n")]);
    let request = shop.story(1, "sly", &[("a", "a\n"), (".storkit/work/5_done/9_bug_other.md", "done!\n")]);
    merged(shop.merge(&request, gates(&[])).await);
    let files = |branch| shop.git(&["ls-tree", "-r", "--name-only", branch, ".storkit/work"]);
    assert_eq!(files("main"), "");
    assert_eq!(files("storkit/board"), format!("{OTHER}\n.storkit/work/5_done/1_story_sly.md"));
    assert!(!shop.path(".storkit/work/5_done/9_bug_other.md").exists());
}

#[tokio::test]
async fn a_branch_of_before_the_migration_brings_no_story_back_whatever_it_did_to_it() {
    let shop = Shop::new();
    shop.write(OTHER, "other\n");
    shop.git(&["add", "-f", OTHER]);
    shop.git(&["commit", "-q", "-m", "stories on base"]);
    let plain = shop.story(1, "plain", &[("a", "a\n")]);
    let changed = shop.story(2, "changed", &[("b", "b\n"), (OTHER, "changed\n")]);
    shop.git(&["rm", "-q", OTHER]);
    shop.git(&["commit", "-q", "-m", "migrated"]);
    for request in [plain, changed] {
        merged(shop.merge(&request, gates(&["test ! -e .storkit/work"])).await);
    }
    assert_eq!(shop.git(&["ls-tree", "-r", "--name-only", "main"]), "CHANGES\nREADME\na\nb");
}

#[tokio::test]
async fn a_failing_gate_does_not_move_base() {
    let shop = Shop::new();
    let request = shop.story(1, "broken", &[("broken", "")]);
    let before = shop.git(&["rev-parse", "main"]);
    let outcome = shop.merge(&request, gates(&["true", "echo no; test ! -f broken"])).await.unwrap();
    let MergeOutcome::GateFailed { report, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((report.results.len(), report.results[1].tail.as_str()), (2, "no\n"));
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_long_merge_is_polled_and_a_second_start_is_refused() {
    let shop = Shop::new();
    let (slow, next) = (shop.story(1, "slow", &[("a", "a\n")]), shop.story(2, "next", &[("b", "b\n")]));
    let go = shop.path("go");
    let gate = format!("echo $$ > '{0}.pid'; until [ -f '{0}' ]; do sleep 0.05; done", go.display());
    let (queue, mut ends) = shop.queue(gates(&[&gate]));
    queue.start(&slow).unwrap();
    queue.start(&next).unwrap();
    shop::until(|| go.with_extension("pid").exists()).await;
    assert!(matches!(queue.status(StoryId(1)), Some(MergeStatus::Running { step: MergeStep::Gates, .. })));
    assert!(matches!(queue.status(StoryId(2)), Some(MergeStatus::Queued { ahead: 1 })));
    for request in [&slow, &next] {
        assert!(matches!(queue.start(request), Err(QueueError::AlreadyQueued(_))));
    }
    assert!(queue.status(StoryId(3)).is_none());
    fs::write(&go, "").unwrap();
    for id in [1, 2] {
        let end = shop::soon(ends.recv()).await.unwrap();
        assert!(end.story == StoryId(id) && matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
    }
    assert!(matches!(queue.status(StoryId(1)), Some(MergeStatus::Ended(_))));
}

#[tokio::test]
async fn a_cancelled_merge_leaves_base_and_story_where_they_were() {
    let shop = Shop::new();
    let (running, waiting) = (shop.story(1, "a", &[("a", "a\n")]), shop.story(2, "b", &[("b", "b\n")]));
    let before = shop.git(&["rev-parse", "main"]);
    let pid = shop.path("pid");
    let (queue, mut ends) = shop.queue(gates(&[&format!("echo $$ > '{}'; exec sleep 600", pid.display())]));
    queue.start(&running).unwrap();
    queue.start(&waiting).unwrap();
    shop::until(|| pid.exists()).await;
    assert!(queue.cancel(StoryId(2)).unwrap() && queue.cancel(StoryId(1)).unwrap());
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Err(MergeError::Cancelled)), "{end:?}");
    assert!(!queue.cancel(StoryId(2)).unwrap());
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    queue.start(&running).expect("it may be started again");
}

#[tokio::test]
async fn a_merge_orphaned_by_a_restart_is_found_and_done() {
    let shop = Shop::new();
    let request = shop.story(1, "orphan", &[("a", "a\n")]);
    let started = shop.path("started");
    let (queue, _ends) = shop.queue(gates(&[&format!("touch '{}'; exec sleep 600", started.display())]));
    queue.start(&request).unwrap();
    shop::until(|| started.exists()).await;
    drop(queue);
    recover(&shop.project).unwrap();
    let (queue, mut ends) = shop.queue(gates(&["true"]));
    assert!(queue.start(&request).is_err(), "it is queued already");
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
}

#[tokio::test]
async fn additions_in_the_same_place_are_both_kept() {
    let shop = Shop::new();
    let (one, two) = (
        shop.story(1, "one", &[("CHANGES", "# Changes\n- one\n")]),
        shop.story(2, "two", &[("CHANGES", "# Changes\n- two\n")]),
    );
    merged(shop.merge(&one, gates(&[])).await);
    merged(shop.merge(&two, gates(&["grep -q one CHANGES && grep -q two CHANGES"])).await);
    assert_eq!(shop.read("CHANGES"), "# Changes\n- one\n- two\n");
}

/// Two stories that change the same line; the first is merged, the second is in conflict.
async fn conflict(shop: &Shop) -> MergeRequest {
    let (one, two) = (
        shop.story(1, "one", &[("README", "a shop of one\n")]),
        shop.story(2, "two", &[("README", "a shop of two\n"), ("two", "2\n")]),
    );
    merged(shop.merge(&one, gates(&[])).await);
    two
}

#[tokio::test]
async fn a_conflict_does_not_move_base_and_waits_in_its_own_worktree() {
    let shop = Shop::new();
    let two = conflict(&shop).await;
    let before = shop.git(&["rev-parse", "main"]);
    let (queue, mut ends) = shop.queue(gates(&[]));
    queue.start(&two).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    let Ok(MergeOutcome::Conflict(paths)) = &end.result else { panic!("{end:?}") };
    assert_eq!((paths, queue.conflicts()), (&vec![PathBuf::from("README")], vec![StoryId(2)]));
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(2)), (before, vec!["4_merge"]));
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
    let worktree = conflict_worktree(&shop.project, StoryId(2));
    let text = fs::read_to_string(worktree.join("README")).unwrap();
    assert!(text.contains("of one") && text.contains("of two") && text.contains("<<<<<<<"), "{text}");
    // It waits across a restart, and others are merged meanwhile.
    drop((queue, ends));
    let (queue, mut ends) = shop.queue(gates(&["test ! -f two || grep -q both README"]));
    assert_eq!(queue.conflicts(), [StoryId(2)]);
    queue.start(&shop.story(3, "three", &[("three", "3\n")])).unwrap();
    assert!(matches!(shop::soon(ends.recv()).await.unwrap().result, Ok(MergeOutcome::Merged(_))));
    // With markers left it is a conflict still.
    queue.continue_merge(StoryId(2)).unwrap();
    assert!(matches!(shop::soon(ends.recv()).await.unwrap().result, Ok(MergeOutcome::Conflict(_))));
    fs::write(worktree.join("README"), "a shop of both\n").unwrap();
    shop::git(&worktree, &["add", "README"]);
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
    assert_eq!((shop.read("README"), shop.read("three")), ("a shop of both\n".into(), "3\n".into()));
    assert!(!worktree.exists() && queue.conflicts().is_empty());
    assert!(queue.continue_merge(StoryId(2)).is_err());
}

#[tokio::test]
async fn what_a_mergemaster_does_to_git_is_not_believed() {
    let shop = Shop::new();
    let two = conflict(&shop).await;
    let (queue, mut ends) = shop.queue(gates(&[]));
    queue.start(&two).unwrap();
    shop::soon(ends.recv()).await.unwrap();
    let worktree = conflict_worktree(&shop.project, StoryId(2));
    fs::write(worktree.join("README"), "resolved\n").unwrap();
    shop::git(&worktree, &["add", "README"]);
    let evil = shop.path("evil");
    shop.git(&["init", "-q", evil.to_str().unwrap()]);
    let spy = shop.path("spied");
    shop.git(&[
        "-C",
        evil.to_str().unwrap(),
        "config",
        "core.fsmonitor",
        &format!("touch '{}'", spy.display()),
    ]);
    fs::write(worktree.join(".git"), format!("gitdir: {}/.git\n", evil.display())).unwrap();
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
    assert!(!spy.exists());
    assert_eq!(shop.read("README"), "resolved\n");
}

#[tokio::test]
async fn what_was_resolved_is_kept_where_a_gate_fails_or_a_file_is_in_the_way() {
    let shop = Shop::new();
    let two = conflict(&shop).await;
    let (queue, mut ends) = shop.queue(gates(&["! grep -q bad README"]));
    queue.start(&two).unwrap();
    shop::soon(ends.recv()).await.unwrap();
    let readme = conflict_worktree(&shop.project, StoryId(2)).join("README");
    fs::write(&readme, "bad\n").unwrap();
    shop::git(readme.parent().unwrap(), &["add", "README"]);
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::GateFailed { .. })), "{end:?}");
    fs::write(&readme, "good\n").unwrap();
    shop.write("two", "mine\n");
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::CheckoutInTheWay(_))), "{end:?}");
    fs::remove_file(shop.path("two")).unwrap();
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
    assert_eq!(shop.read("README"), "good\n");
}

#[tokio::test]
async fn a_conflict_that_is_given_up_leaves_nothing() {
    let shop = Shop::new();
    let two = conflict(&shop).await;
    assert!(matches!(shop.merge(&two, gates(&[])).await, Ok(MergeOutcome::Conflict(_))));
    let (queue, _ends) = shop.queue(gates(&[]));
    queue.abort(StoryId(2)).unwrap();
    assert!(!conflict_worktree(&shop.project, StoryId(2)).exists());
    assert!(!shop.git(&["worktree", "list"]).contains("merge-2"));
    assert!(matches!(queue.abort(StoryId(2)), Err(MergeError::NoConflict(_))));
}

#[tokio::test]
async fn a_dirty_main_checkout_is_untouched_by_a_merge() {
    let shop = Shop::new();
    shop.write("mine.txt", "committed\n");
    shop.commit_all("mine");
    let request = shop.story(1, "a", &[("a/new", "a\n"), ("README", "changed\n")]);
    shop.write("mine.txt", "edited\n");
    shop.write("staged.txt", "staged\n");
    shop.git(&["add", "staged.txt"]);
    shop.write("staged.txt", "and edited\n");
    shop.write("notes.txt", "unknown to git\n");
    // Touched, not changed.
    shop.write("README", "a shop\n");
    merged(shop.merge(&request, gates(&["test ! -f notes.txt"])).await);
    assert_eq!(shop.git(&["status", "--porcelain"]), "M mine.txt\nAM staged.txt\n?? notes.txt");
    assert_eq!((shop.read("mine.txt"), shop.read("staged.txt")), ("edited\n".into(), "and edited\n".into()));
    assert_eq!(shop.read("README"), "changed\n");
}

#[tokio::test]
async fn a_persons_files_in_the_way_are_named_and_nothing_moves() {
    let shop = Shop::new();
    for (name, text) in
        [("edited", "1\n"), ("staged", "1\n"), ("deleted", "1\n"), (".gitignore", "ignored\n")]
    {
        shop.write(name, text);
    }
    shop.commit_all("files");
    let new = ["edited", "staged", "deleted", "unknown", "ignored", "folder/file"].map(|name| (name, "2\n"));
    let request = shop.story_with(1, "a", &new, &["README"]);
    for (name, text) in
        [("edited", "mine\n"), ("staged", "mine\n"), ("unknown", "mine\n"), ("ignored", "mine\n")]
    {
        shop.write(name, text);
    }
    shop.write("folder", "a file where a folder is to be\n");
    shop.write("README", "mine\n");
    shop.git(&["add", "staged"]);
    fs::remove_file(shop.path("deleted")).unwrap();
    let before = (shop.git(&["rev-parse", "main"]), shop.git(&["status", "--porcelain", "--ignored"]));
    let outcome = shop.merge(&request, gates(&[])).await.unwrap();
    let MergeOutcome::CheckoutInTheWay(paths) = outcome else { panic!("{outcome:?}") };
    let names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["README", "deleted", "edited", "folder", "ignored", "staged", "unknown"]);
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.git(&["status", "--porcelain", "--ignored"])), before);
    assert_eq!((shop.stages(1), shop.read("ignored").as_str()), (vec!["4_merge"], "mine\n"));
}

#[tokio::test]
#[allow(clippy::print_stderr)]
async fn a_disk_that_fills_during_a_merge_moves_nothing_and_the_next_try_merges() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this user may not mount a small disk");
        return;
    };
    let shop = Shop::within(disk.path());
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let before = shop.git(&["rev-parse", "main"]);
    let fill = format!("cat /dev/zero > '{}'; true", shop.path("fill").display());
    let failed = shop.merge(&request, gates(&[&fill])).await.unwrap_err();
    assert!(format!("{failed}").contains("No space left"), "{failed}");
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    fs::remove_file(shop.path("fill")).unwrap();
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
    merged(shop.merge(&request, gates(&["test -f a"])).await);
    assert_eq!((shop.read("a").as_str(), shop.git(&["status", "--porcelain"])), ("a\n", String::new()));
    drop((shop, disk));
}

#[tokio::test]
async fn what_a_component_sets_up_is_there_for_the_gates_of_the_merged_result() {
    let shop = Shop::new();
    shop.write(".gitignore", "built\n");
    shop.write("web/page", "page\n");
    shop.commit_all("a front end");
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let web = |setup: &str| Component {
        name: "web".into(),
        path: "web".into(),
        setup: vec![setup.into()],
        ..Component::default()
    };
    for (setup, passes) in [("echo no; exit 3", false), ("cp page built", true)] {
        let settings =
            MergeSettings { components: vec![web(setup)], ..shop.settings(gates(&["test -f web/built"])) };
        let (queue, mut ends) = MergeQueue::open(&shop.project, settings).unwrap();
        queue.start(&request).unwrap();
        match &shop::soon(ends.recv()).await.unwrap().result {
            Ok(MergeOutcome::Merged(proof)) => assert!(passes && proof.gates.len() == 1, "{proof:?}"),
            Ok(MergeOutcome::GateFailed { report, .. }) => {
                assert!(!passes && report.results[0].command == setup, "{report:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn where_the_sandbox_that_was_asked_for_is_missing_nothing_is_merged() {
    let missing =
        |settings| MergeSettings { confinement: Err("bubblewrap is not installed.".into()), ..settings };
    // Nothing but bubblewrap keeps gates from the network.
    let limited = |settings| MergeSettings { network: NetworkAccess::Only(vec![]), ..settings };
    for cannot in [&missing as &dyn Fn(MergeSettings) -> MergeSettings, &limited] {
        let shop = Shop::new();
        let request = shop.story(1, "a", &[("a", "a\n")]);
        let before = shop.git(&["rev-parse", "main"]);
        let settings = cannot(shop.settings(gates(&["true"])));
        let (queue, mut ends) = MergeQueue::open(&shop.project, settings).unwrap();
        queue.start(&request).unwrap();
        let end = shop::soon(ends.recv()).await.unwrap();
        assert!(matches!(&end.result, Err(MergeError::Sandbox(_))), "{end:?}");
        assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    }
}

#[tokio::test]
async fn with_a_detached_head_or_another_branch_only_the_ref_moves() {
    for switch in [&["switch", "-q", "--detach"][..], &["switch", "-q", "-c", "topic"]] {
        let shop = Shop::new();
        shop.git(switch);
        let request = shop.story(1, "a", &[("a", "a\n")]);
        shop.write("README", "edited, and changed by nobody else\n");
        let head = shop.git(&["rev-parse", "HEAD"]);
        let proof = merged(shop.merge(&request, gates(&["true"])).await);
        assert_eq!(
            (shop.git(&["rev-parse", "HEAD"]), shop.git(&["rev-parse", "main"])),
            (head, proof.commit)
        );
        assert!(!shop.path("a").exists());
        assert_eq!(shop.git(&["status", "--porcelain"]), "M README");
        assert_eq!(shop.stages(1), ["5_done"]);
    }
}

#[tokio::test]
async fn base_checked_out_elsewhere_follows_there() {
    let shop = Shop::new();
    shop.git(&["switch", "-q", "-c", "topic"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path().join("base");
    shop.git(&["worktree", "add", "-q", there.to_str().unwrap(), "main"]);
    let (one, two) = (shop.story(1, "a", &[("a", "a\n")]), shop.story(2, "b", &[("b", "b\n")]));
    merged(shop.merge(&one, gates(&[])).await);
    assert_eq!(fs::read_to_string(there.join("a")).unwrap(), "a\n");
    assert_eq!(shop.git(&["-C", there.to_str().unwrap(), "status", "--porcelain"]), "");
    fs::write(there.join("b"), "mine\n").unwrap();
    let outcome = shop.merge(&two, gates(&[])).await.unwrap();
    assert_eq!(outcome, MergeOutcome::CheckoutInTheWay(vec![there.join("b")]));
}

#[tokio::test]
async fn a_merge_that_a_person_overtakes_is_done_again_on_the_new_base() {
    let shop = Shop::new();
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let root = shop.project.root().display().to_string();
    let overtake = format!(
        "test -f '{root}/.git/overtaken' || {{ touch '{root}/.git/overtaken'; cd '{root}' && echo p > person && \
         git add person && git commit -q -m 'a person'; }}"
    );
    let proof = merged(shop.merge(&request, gates(&[&overtake])).await);
    assert_eq!(shop.git(&["log", "--format=%s", "-2", "main"]), "storkit: merge 1 Story 1\na person");
    assert_eq!(proof.before, shop.git(&["rev-parse", "main~1"]));
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_story_in_two_stages_or_in_none_is_not_merged() {
    let shop = Shop::new();
    let request = shop.story(1, "a", &[("a", "a\n")]);
    shop.write(".storkit/work/5_done/1_story_a.md", "a stale copy\n");
    assert!(matches!(shop.merge(&request, gates(&[])).await, Err(MergeError::InTwoStages(_))));
    fs::remove_file(shop.path(".storkit/work/5_done/1_story_a.md")).unwrap();
    let file = shop.path(".storkit/work/4_merge/1_story_a.md");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(matches!(shop.merge(&request, gates(&[])).await, Err(MergeError::NoStory(_))));
}

#[tokio::test]
async fn what_is_missing_is_a_sentence() {
    let shop = Shop::new();
    let mut request = shop.story(1, "a", &[("a", "a\n")]);
    request.branch = "feature/gone".into();
    let error = shop.merge(&request, gates(&[])).await.unwrap_err();
    insta::assert_snapshot!(error, @"There is no branch `feature/gone`. Its story was never worked on, or the branch was deleted.");
    let settings = MergeSettings { base: "trunk".into(), ..shop.settings(gates(&[])) };
    let (queue, mut ends) = MergeQueue::open(&shop.project, settings).unwrap();
    queue.start(&request).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    insta::assert_snapshot!(end.result.as_ref().unwrap_err(), @"There is no branch `trunk` to merge to. Name another with `base_branch` in `.storkit/project.toml`.");
}

#[tokio::test]
async fn the_standing_worktree_is_mended_and_keeps_caches_only() {
    let shop = Shop::new();
    shop.write(".gitignore", "target/\n");
    shop.commit_all("ignore");
    let first = shop.story(1, "a", &[("a", "a\n")]);
    merged(shop.merge(&first, gates(&["mkdir target && touch target/cache junk && echo x >> a"])).await);
    let second = shop.story(2, "b", &[("b", "b\n")]);
    let clean = "test -f target/cache && test ! -f junk && test -z \"$(git status --porcelain)\"";
    merged(shop.merge(&second, gates(&[clean])).await);
    fs::remove_dir_all(shop.path(".storkit/worktrees/merge")).unwrap();
    let third = shop.story(3, "c", &[("c", "c\n")]);
    merged(shop.merge(&third, gates(&["test -f a && test -f c && test ! -d target"])).await);
    assert_eq!(shop.read("a"), "a\n");
    let fourth = shop.story(4, "d", &[("d", "d\n")]);
    fs::write(shop.path(".storkit/worktrees/merge/.git"), "gitdir: /nowhere\n").unwrap();
    merged(
        shop.merge(&fourth, GateRunner { timeout: Duration::from_secs(60), ..gates(&["test -f d"]) }).await,
    );
}
