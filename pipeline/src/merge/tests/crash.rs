//! A start after a storkit that was cut at one particular step.

use std::fs;

use super::shop::Shop;
use crate::{
    gates::GateReport,
    guard::BaseGuard,
    merge::{
        JournaledMerge, MergeJournal, MergePaths, MergeProof, MergeRecovery, MergeRequest, board_move,
        checkout, land, recover,
        squash::{self, SquashResult},
    },
    story::StoryId,
};

/// The journal of a merge that is about to land, written.
pub(super) fn journaled(shop: &Shop, request: &MergeRequest) -> (MergePaths, MergeJournal) {
    let place = MergePaths::of(&shop.project).unwrap();
    let SquashResult::Ready(candidate) = squash::squash(&place, request, "main", None).unwrap() else {
        panic!("no squash")
    };
    let commit =
        squash::commit(&place, request, &candidate, &super::proof::gate_proofs(&GateReport::default()));
    let proof = MergeProof {
        story: request.file.id,
        file: request.file.to_string(),
        base: "main".into(),
        before: candidate.before.to_string(),
        commit: commit.unwrap().to_string(),
        tree: candidate.tree.to_string(),
        diff: candidate.diff,
        gates: vec![],
        at: 0,
    };
    let text = place.read_story(&request.file).unwrap();
    let story_blob = place.repository().unwrap().blob(&text).unwrap().to_string();
    let mut journal = MergeJournal { proof, story_blob, board: None };
    journal.board = Some(board_move::prepare(&place, &journal).unwrap());
    journal.write(&place).unwrap();
    (place, journal)
}

fn advance(shop: &Shop, place: &MergePaths, journal: &MergeJournal) {
    board_move::advance(place, journal, &BaseGuard::lock(&shop.project).unwrap()).unwrap();
}

fn is_done(shop: &Shop, journal: &MergeJournal) {
    assert_eq!(shop.git(&["rev-parse", "main"]), journal.proof.commit);
    assert_eq!(shop.git(&["status", "--porcelain"]), "");
    assert_eq!(shop.stages(journal.proof.story.0), ["5_done"]);
    assert_eq!(done_on_board(shop), [".storkit/work/5_done/1_story_a.md"]);
    assert_eq!(
        MergeProof::read(shop.project.root(), journal.proof.story).unwrap().as_ref(),
        Some(&journal.proof)
    );
    assert_eq!(recover(&shop.project).unwrap(), MergeRecovery::default(), "once is enough");
}

/// What the board's branch has.
fn done_on_board(shop: &Shop) -> Vec<String> {
    match shop.git(&["branch", "--list", "storkit/board"]).is_empty() {
        true => Vec::new(),
        false => {
            let files = shop.git(&["ls-tree", "-r", "--name-only", "storkit/board"]);
            files.lines().map(str::to_owned).collect()
        }
    }
}

/// A shop, and a story that adds, changes and removes files.
fn shop() -> (Shop, MergeRequest) {
    let shop = Shop::new();
    shop.write("old", "old\n");
    shop.commit_all("old");
    let files = [("new", "a new file\n"), ("README", "a changed file\n"), ("run", "1\n")];
    let request = shop.story_with(1, "a", &files, &["old"]);
    (shop, request)
}

#[test]
fn before_base_moved_the_merge_is_rolled_forward() {
    let (shop, request) = shop();
    let (_, journal) = journaled(&shop, &request);
    let recovery = recover(&shop.project).unwrap();
    assert_eq!(recovery.journal, Some(JournaledMerge::RolledForward(journal.proof.clone())));
    is_done(&shop, &journal);
}

#[test]
fn after_base_moved_the_merge_is_finished() {
    let (shop, request) = shop();
    let (place, journal) = journaled(&shop, &request);
    advance(&shop, &place, &journal);
    let recovery = recover(&shop.project).unwrap();
    assert_eq!(recovery.journal, Some(JournaledMerge::Finished(journal.proof.clone())));
    is_done(&shop, &journal);
}

/// A kill between the two refs of the transaction, with this one moved.
fn half_moved(shop: &Shop, journal: &MergeJournal, moved: &str) {
    let board = journal.board.as_ref().expect("a move");
    let commit = if moved == "main" { &journal.proof.commit } else { &board.commit };
    shop.git(&["update-ref", &format!("refs/heads/{moved}"), commit]);
}

#[test]
fn a_kill_between_the_two_refs_leaves_both_or_neither() {
    for (moved, rolled) in [("main", false), ("storkit/board", true)] {
        let (shop, request) = shop();
        let (_, journal) = journaled(&shop, &request);
        half_moved(&shop, &journal, moved);
        let proof = journal.proof.clone();
        let expected =
            if rolled { JournaledMerge::RolledForward(proof) } else { JournaledMerge::Finished(proof) };
        assert_eq!(recover(&shop.project).unwrap().journal, Some(expected), "{moved}");
        is_done(&shop, &journal);
    }
    // Base cannot follow, so the board goes back.
    let (shop, request) = shop();
    let (_, journal) = journaled(&shop, &request);
    half_moved(&shop, &journal, "storkit/board");
    shop.write("new", "mine\n");
    let before = shop.git(&["rev-parse", "main"]);
    assert_eq!(recover(&shop.project).unwrap().journal, Some(JournaledMerge::Dropped(StoryId(1))));
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    assert_eq!(done_on_board(&shop), Vec::<String>::new());
}

#[test]
fn a_board_that_went_on_meanwhile_gets_the_done_story_on_top() {
    let (shop, request) = shop();
    let (_, journal) = journaled(&shop, &request);
    half_moved(&shop, &journal, "main");
    shop.board(&[(".storkit/work/1_backlog/9_bug_other.md", "other\n")]);
    assert_eq!(recover(&shop.project).unwrap().journal, Some(JournaledMerge::Finished(journal.proof)));
    let both = [".storkit/work/1_backlog/9_bug_other.md", ".storkit/work/5_done/1_story_a.md"];
    assert_eq!(done_on_board(&shop), both);
}

/// An earlier version's journal: the story's file is in the merge commit itself.
fn earlier(shop: &Shop, request: &MergeRequest) -> (MergePaths, MergeJournal) {
    let (place, mut journal) = journaled(shop, request);
    let repository = place.repository().unwrap();
    let commit = repository.find_commit(journal.commit().unwrap()).unwrap();
    let done = ".storkit/work/5_done/1_story_a.md".into();
    let changes = [(done, Some(journal.blob().unwrap()))].into();
    let tree = crate::board::apply(&repository, &commit.tree().unwrap(), &changes).unwrap();
    let tree = repository.find_tree(tree).unwrap();
    let amended = commit.amend(None, None, None, None, None, Some(&tree)).unwrap();
    (journal.proof.commit, journal.proof.tree) = (amended.to_string(), tree.id().to_string());
    journal.board = None;
    journal.write(&place).unwrap();
    (place, journal)
}

#[test]
fn a_merge_that_an_earlier_version_was_killed_in_is_finished_or_dropped() {
    let (shop, request) = shop();
    let (_, journal) = earlier(&shop, &request);
    assert_eq!(recover(&shop.project).unwrap().journal, Some(JournaledMerge::Dropped(StoryId(1))));
    assert_eq!((shop.stages(1), done_on_board(&shop)), (vec!["4_merge"], vec![]));
    journal.write(&MergePaths::of(&shop.project).unwrap()).unwrap();
    shop.git(&["update-ref", "refs/heads/main", &journal.proof.commit]);
    assert_eq!(recover(&shop.project).unwrap().journal, Some(JournaledMerge::Finished(journal.proof)));
    assert_eq!((shop.stages(1), shop.git(&["status", "--porcelain"])), (vec!["5_done"], String::new()));
}

#[test]
fn files_that_were_half_written_are_written_whole_and_a_stale_lock_goes() {
    let (shop, request) = shop();
    let (place, journal) = journaled(&shop, &request);
    advance(&shop, &place, &journal);
    shop.write("new", "a ne");
    shop.write("run", "1\n");
    fs::remove_file(shop.path("README")).unwrap();
    fs::remove_file(shop.path("old")).unwrap();
    shop.write(".git/index.lock", "half an index");
    shop.write(".git/refs/heads/main.lock", "");
    let keeper = ".git/refs/heads/feature/story-9_x/storkit.lock";
    shop.write(keeper, "");
    let recovery = recover(&shop.project).unwrap();
    let locks = [".git/index.lock", ".git/refs/heads/main.lock"].map(|lock| shop.path(lock));
    let mut found = recovery.stale_locks.clone();
    found.sort();
    assert_eq!((found, recovery.kept), (locks.to_vec(), vec![]));
    assert!(shop.path(keeper).exists(), "what keeps a bound folder is no lock of git's");
    is_done(&shop, &journal);
    assert_eq!((shop.read("new"), shop.read("README")), ("a new file\n".into(), "a changed file\n".into()));
}

#[test]
fn what_a_person_wrote_between_crash_and_start_stays() {
    let (shop, request) = shop();
    let (place, journal) = journaled(&shop, &request);
    advance(&shop, &place, &journal);
    shop.write("README", "a shop\nand my own words\n");
    shop.write("new", "my own file\n");
    let recovery = recover(&shop.project).unwrap();
    assert_eq!(recovery.kept, ["README", "new"].map(std::path::PathBuf::from));
    assert_eq!(
        (shop.read("README"), shop.read("new")),
        ("a shop\nand my own words\n".into(), "my own file\n".into())
    );
    assert_eq!(shop.git(&["status", "--porcelain"]), "M README\n M new");
    assert_eq!((shop.stages(1), shop.read("run").as_str()), (vec!["5_done"], "1\n"));
}

#[test]
fn a_checkout_that_had_followed_is_left_alone() {
    let (shop, request) = shop();
    let (place, journal) = journaled(&shop, &request);
    advance(&shop, &place, &journal);
    land::bring_along(&place, &journal, &checkout::on_base(&place, "main").unwrap()).unwrap();
    shop.write("README", "edited since\n");
    let recovery = recover(&shop.project).unwrap();
    assert_eq!((recovery.kept, shop.read("README").as_str()), (vec![], "edited since\n"));
    assert_eq!(shop.stages(1), ["5_done"]);
}

#[test]
fn a_merge_that_others_built_upon_is_finished_and_their_checkout_left_alone() {
    let (shop, request) = shop();
    let (place, journal) = journaled(&shop, &request);
    advance(&shop, &place, &journal);
    shop.git(&["reset", "-q", "--hard", "main"]);
    shop.write("later", "later\n");
    shop.git(&["add", "later"]);
    shop.git(&["commit", "-q", "-m", "later"]);
    assert_eq!(recover(&shop.project).unwrap().journal, Some(JournaledMerge::Finished(journal.proof)));
    assert_eq!((shop.stages(1), shop.git(&["log", "-1", "--format=%s"])), (vec!["5_done"], "later".into()));
}

#[test]
fn when_base_went_elsewhere_the_merge_is_dropped_and_the_story_waits() {
    let (shop, request) = shop();
    journaled(&shop, &request);
    shop.write("elsewhere", "x\n");
    shop.git(&["add", "elsewhere"]);
    shop.git(&["commit", "-q", "-m", "a person"]);
    assert_eq!(recover(&shop.project).unwrap().journal, Some(JournaledMerge::Dropped(StoryId(1))));
    assert_eq!(
        (shop.stages(1), shop.git(&["log", "-1", "--format=%s"])),
        (vec!["4_merge"], "a person".into())
    );
    assert_eq!(recover(&shop.project).unwrap(), MergeRecovery::default());
}

#[test]
fn when_a_persons_file_came_in_the_way_the_merge_is_dropped_and_nothing_moves() {
    let (shop, request) = shop();
    journaled(&shop, &request);
    shop.write("new", "mine\n");
    let before = shop.git(&["rev-parse", "main"]);
    assert_eq!(recover(&shop.project).unwrap().journal, Some(JournaledMerge::Dropped(StoryId(1))));
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    assert_eq!(shop.read("new"), "mine\n");
}

#[test]
fn a_journal_that_somebody_changed_is_shown_to_a_person() {
    let (shop, _) = shop();
    shop.write(".storkit/run/merge.json", "{\"proof\": ");
    let error = recover(&shop.project).unwrap_err().to_string();
    assert!(error.contains("merge.json` describes an interrupted merge, but cannot be read"), "{error}");
}

#[tokio::test]
async fn a_worktree_whose_making_was_cut_is_removed_and_made_again() {
    let (shop, request) = shop();
    let admin = ".git/worktrees/merge";
    let path = shop.path(".storkit/worktrees/merge");
    shop.write(&format!("{admin}/locked"), "initializing");
    shop.write(&format!("{admin}/gitdir"), &format!("{}/.git\n", path.display()));
    shop.write(&format!("{admin}/HEAD"), &format!("{}\n", "0".repeat(40)));
    shop.write(&format!("{admin}/commondir"), "../..\n");
    shop.write(".git/worktrees/merge-7/locked", "initializing");
    shop.write(".git/worktrees/merger/locked", "a person's");
    fs::create_dir_all(&path).unwrap();
    recover(&shop.project).unwrap();
    assert!(!shop.path(admin).exists() && !path.exists() && !shop.path(".git/worktrees/merge-7").exists());
    assert!(shop.path(".git/worktrees/merger/locked").exists());
    let outcome = shop.merge(&request, super::gates(&["test -f new"])).await;
    assert!(matches!(outcome, Ok(super::MergeOutcome::Merged(_))), "{outcome:?}");
}

#[test]
fn gates_that_outlived_their_storkit_are_ended_and_those_of_another_project_are_not() {
    let (shop, other) = (Shop::new(), Shop::new());
    let mut gates = [&shop, &other].map(|shop| {
        let mark = format!("{}/1", shop.project.root().display());
        let mut command = std::process::Command::new("sleep");
        command.arg("600").env(crate::gates::GATE_VARIABLE, mark).spawn().expect("a gate")
    });
    assert_eq!(recover(&shop.project).unwrap().ended, 1);
    gates[0].wait().unwrap();
    assert!(gates[1].try_wait().unwrap().is_none(), "the other runs on");
    gates[1].kill().and_then(|()| gates[1].wait()).unwrap();
}

#[test]
fn a_landing_that_cannot_be_finished_puts_base_back() {
    let (shop, request) = shop();
    let (place, journal) = journaled(&shop, &request);
    MergeJournal::remove(&place).unwrap();
    // No file can get into this folder.
    shop.write(".storkit/work/5_done", "");
    let before = shop.git(&["rev-parse", "main"]);
    let guard = BaseGuard::lock(&shop.project).unwrap();
    assert!(land::land(&place, journal.proof, &guard).is_err());
    assert_eq!(done_on_board(&shop), Vec::<String>::new());
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    fs::remove_file(shop.path(".storkit/work/5_done")).unwrap();
    drop(guard);
    recover(&shop.project).unwrap();
    assert_eq!(
        (shop.git(&["status", "--porcelain"]), shop.read("README")),
        (String::new(), "a shop\n".into())
    );
}
