//! What git does to the stories' folder, on real repositories.

use super::*;
use crate::{
    board::{BOARD_BRANCH, WorkFolder, open_board},
    worktree::fixture::WorktreeFixture,
};

const ONE: &str = ".storkit/work/1_backlog/1_story_a.md";
const MOVED: &str = ".storkit/work/5_done/1_story_a.md";
const TWO: &str = ".storkit/work/1_backlog/2_story_b.md";
const THREE: &str = ".storkit/work/1_backlog/3_story_c.md";
const FILE: &str = ".storkit/work/files/3/door.png";

/// A migrated project. The branch `old` is from before: it has story 1 in the backlog, and an older text of story 2. On the board, story 1 is
/// done, story 2 was edited, and story 3 is new.
struct Checkout(WorktreeFixture);

impl Checkout {
    fn new() -> Self {
        let fixture = WorktreeFixture::new();
        for (path, text) in [(ONE, "one\n"), (TWO, "two\n")] {
            fixture.write(path, text);
            fixture.git(&["add", "-f", path]);
        }
        fixture.git(&["commit", "-q", "-m", "stories on base"]);
        fixture.git(&["branch", "old"]);
        crate::migrate::migrate(&fixture.project, Some("main")).expect("it migrates");
        WorkFolder::open(&fixture.project).expect("a folder");
        let checkout = Self(fixture);
        fs::rename(checkout.0.root().join(ONE), checkout.0.root().join(MOVED)).expect("it moves");
        checkout.0.write(TWO, "two, edited\n");
        checkout.0.write(THREE, "three\n");
        checkout.commit_board();
        checkout
    }

    /// As the committer does, after everything in the folder was edited.
    fn commit_board(&self) {
        let repository = Repository::open(self.0.root()).unwrap();
        let tip = crate::board::branch::board_tip(&repository).unwrap();
        let mut changes: crate::board::branch::BoardChanges =
            board_at(&repository, tip).unwrap().into_keys().map(|path| (path, None)).collect();
        for path in [ONE, MOVED, TWO, THREE, FILE] {
            if let Ok(text) = fs::read(self.0.root().join(path)) {
                changes.insert(path.into(), Some(repository.blob(&text).unwrap()));
            }
        }
        let commit = crate::board::branch::write_commit(&repository, tip, &changes, "board").unwrap();
        self.0.git(&["update-ref", BOARD_REF, &commit.to_string()]);
        note_settled(&self.0.project).unwrap();
    }

    fn sync(&self) -> BoardSync {
        sync(&self.0.project, "main").expect("it can be read")
    }

    fn folder(&self) -> Vec<(String, String)> {
        let files = [ONE, MOVED, TWO, THREE].into_iter();
        files
            .filter_map(|path| Some((path.into(), fs::read_to_string(self.0.root().join(path)).ok()?)))
            .collect()
    }

    fn is_whole(&self) {
        let whole = [(MOVED, "one\n"), (TWO, "two, edited\n"), (THREE, "three\n")];
        let whole = whole.map(|(path, text)| (path.to_owned(), text.to_owned()));
        assert_eq!(self.folder(), whole);
        assert_eq!(self.sync(), BoardSync::Settled, "people hear of it once");
        assert_eq!(self.folder(), whole, "another look changes nothing");
    }
}

#[test]
fn a_switch_to_a_branch_that_tracks_stories_and_back_leaves_the_board_as_it_was() {
    let checkout = Checkout::new();
    checkout.is_whole();
    checkout.0.git(&["switch", "-q", "old"]);
    assert_eq!(checkout.0.read(TWO), "two\n", "git wrote over it");
    let BoardSync::Restored(restored) = checkout.sync() else { panic!("nothing was restored") };
    insta::assert_snapshot!(restored, @"Git changed story files when another commit was checked out. The board is as before: 2 files restored from `storkit/board`. `old` still tracks story files, so git shows them there as deleted; commit that on `old`, and the branch is rid of them.");
    checkout.is_whole();
    checkout.0.git(&["switch", "-q", "main"]);
    checkout.is_whole();
    assert_eq!(checkout.0.git(&["status", "--porcelain"]), "");
}

#[test]
fn both_switches_between_two_looks_take_no_story_away() {
    let checkout = Checkout::new();
    checkout.0.git(&["switch", "-q", "old"]);
    checkout.0.git(&["switch", "-q", "main"]);
    assert!(!checkout.0.root().join(TWO).exists(), "git removed it");
    let BoardSync::Restored(restored) = checkout.sync() else { panic!("nothing was restored") };
    insta::assert_snapshot!(restored, @"Git changed story files when another commit was checked out. The board is as before: 1 file restored from `storkit/board`.");
    checkout.is_whole();
    assert_eq!(checkout.0.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_branch_older_than_storkit_changes_nothing() {
    let checkout = Checkout::new();
    checkout.0.git(&["switch", "-q", "-c", "ancient", "main~2"]);
    checkout.is_whole();
    checkout.0.git(&["switch", "-q", "main"]);
    checkout.is_whole();
}

#[test]
fn what_a_person_edits_or_deletes_is_never_undone() {
    let checkout = Checkout::new();
    checkout.0.write(THREE, "three, edited\n");
    checkout.0.git(&["switch", "-q", "old"]);
    checkout.0.write(TWO, "two, edited on the old branch\n");
    assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
    assert_eq!(checkout.0.read(THREE), "three, edited\n");
    assert_eq!(checkout.0.read(TWO), "two, edited on the old branch\n");
    fs::remove_file(checkout.0.root().join(THREE)).unwrap();
    checkout.0.git(&["switch", "-q", "main"]);
    assert_eq!(checkout.sync(), BoardSync::Settled);
    assert!(!checkout.0.root().join(THREE).exists());
}

#[test]
fn a_pull_that_rebases_over_a_commit_of_before_the_migration_takes_no_story_away() {
    let checkout = Checkout::new();
    checkout.0.git(&["switch", "-q", "-c", "upstream", "old"]);
    checkout.0.git(&["commit", "-q", "--allow-empty", "-m", "somebody else's"]);
    checkout.0.git(&["switch", "-q", "main"]);
    checkout.sync();
    checkout.is_whole();
    checkout.0.git(&["rebase", "-q", "upstream"]);
    assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
    checkout.is_whole();
    assert_eq!(checkout.0.git(&["status", "--porcelain"]), "");
}

#[test]
fn in_the_middle_of_a_rebase_nothing_is_touched() {
    let checkout = Checkout::new();
    checkout.0.git(&["switch", "-q", "old"]);
    let head = checkout.0.git(&["rev-parse", "main"]);
    checkout.0.write(".git/MERGE_HEAD", &head);
    assert!(matches!(checkout.sync(), BoardSync::Unsettled(_)));
    assert_eq!(checkout.0.read(TWO), "two\n");
    fs::remove_file(checkout.0.root().join(".git/MERGE_HEAD")).unwrap();
    assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
    checkout.is_whole();
}

#[test]
fn line_ends_that_git_converts_are_no_edit() {
    let checkout = Checkout::new();
    checkout.0.git(&["config", "core.autocrlf", "true"]);
    checkout.0.git(&["switch", "-q", "old"]);
    assert_eq!(checkout.0.read(TWO), "two\r\n");
    assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
    checkout.is_whole();
}

#[test]
fn a_story_that_moved_on_and_is_not_committed_yet_is_not_doubled() {
    let checkout = Checkout::new();
    checkout.0.git(&["switch", "-q", "old"]);
    let current = checkout.0.root().join(".storkit/work/2_current/2_story_b.md");
    fs::rename(checkout.0.root().join(TWO), &current).unwrap();
    checkout.sync();
    assert!(current.exists() && !checkout.0.root().join(TWO).exists());
}

#[test]
fn what_others_put_on_the_board_comes_into_the_folder_and_edits_stay() {
    let checkout = Checkout::new();
    let mark = CheckoutMark::read(&checkout.0.project).unwrap();
    let mine = "three, edited here\n";
    for (path, text) in [(TWO, "two, by another\n"), (THREE, "three, by another\n")] {
        checkout.0.write(path, text);
    }
    checkout.commit_board();
    // The folder is as before, and another has moved the branch.
    mark.write(&checkout.0.project).unwrap();
    checkout.0.write(TWO, "two, edited\n");
    checkout.0.write(THREE, mine);
    assert_eq!(checkout.sync(), BoardSync::Settled);
    assert_eq!((checkout.0.read(TWO).as_str(), checkout.0.read(THREE).as_str()), ("two, by another\n", mine));
}

#[test]
fn a_story_that_others_took_off_the_board_goes_from_the_folder() {
    let checkout = Checkout::new();
    let mark = CheckoutMark::read(&checkout.0.project).unwrap();
    fs::remove_file(checkout.0.root().join(THREE)).unwrap();
    checkout.commit_board();
    mark.write(&checkout.0.project).unwrap();
    checkout.0.write(THREE, "three\n");
    assert_eq!(checkout.sync(), BoardSync::Settled);
    assert!(!checkout.0.root().join(THREE).exists());
}

#[test]
fn a_branch_that_is_deleted_comes_back_and_one_that_is_rewritten_changes_no_file() {
    let checkout = Checkout::new();
    let tip = checkout.0.git(&["rev-parse", BOARD_BRANCH]);
    checkout.0.git(&["branch", "-q", "-D", BOARD_BRANCH]);
    checkout.is_whole();
    assert_eq!(checkout.0.git(&["rev-parse", BOARD_BRANCH]), tip);
    checkout.0.git(&["branch", "-q", "-f", BOARD_BRANCH, &format!("{tip}~1")]);
    checkout.is_whole();
}

#[test]
fn a_branch_that_is_deleted_while_nobody_looks_is_not_replaced_by_the_older_one_of_a_remote() {
    let checkout = Checkout::new();
    let tip = checkout.0.git(&["rev-parse", BOARD_BRANCH]);
    checkout.0.git(&["remote", "add", "origin", "."]);
    checkout.0.git(&["update-ref", "refs/remotes/origin/storkit/board", &format!("{tip}~1")]);
    checkout.0.git(&["branch", "-q", "-D", BOARD_BRANCH]);
    assert_eq!(open_board(&checkout.0.project, "main").unwrap(), crate::board::BoardSource::Branch);
    assert_eq!(checkout.0.git(&["rev-parse", BOARD_BRANCH]), tip);
    checkout.is_whole();
}

#[test]
fn a_story_in_work_whose_file_is_removed_with_all_of_the_state_is_in_the_backlog_again() {
    let checkout = Checkout::new();
    let current = checkout.0.root().join(".storkit/work/2_current/2_story_b.md");
    fs::rename(checkout.0.root().join(TWO), &current).unwrap();
    checkout.commit_board();
    assert!(!checkout.0.git(&["ls-tree", "-r", "--name-only", BOARD_BRANCH]).contains(TWO));
    checkout.0.git(&["branch", "feature/story-2_b/work"]);
    checkout.0.git(&["branch", "feature/story-3_c/work"]);
    // `.storkit/bot.toml` and the like go, too.
    checkout.0.git(&["clean", "-q", "-f", "-d", "-x"]);
    let project = Project::open(&checkout.0.root()).unwrap();
    WorkFolder::open(&project).unwrap();
    let BoardSync::Restored(restored) = checkout.sync() else { panic!("nobody hears of it") };
    insta::assert_snapshot!(restored, @"The files of these stories in work were gone: `2`. They are in the backlog again, as the board last had them; their branches are still there.");
    assert_eq!(checkout.0.read(TWO), "two, edited\n");
    assert_eq!(checkout.sync(), BoardSync::Settled);
}

#[test]
fn a_git_that_holds_the_index_for_long_is_not_waited_for() {
    let checkout = Checkout::new();
    let lock = checkout.0.root().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(then).unwrap();
    let repository = Repository::open(checkout.0.root()).unwrap();
    let pause = || panic!("it waits");
    assert_eq!(crate::board::checkout::settle_with(&repository, None, pause).unwrap(), None);
}

#[test]
fn what_git_does_while_a_look_is_under_way_is_seen_by_the_next() {
    let checkout = Checkout::new();
    let repository = Repository::open(checkout.0.root()).unwrap();
    let seen = CheckoutMark::read(&checkout.0.project);
    let now = settle(&repository, seen.as_ref()).unwrap().unwrap();
    checkout.0.git(&["switch", "-q", "old"]);
    now.write(&checkout.0.project).unwrap();
    note_board(&checkout.0.project, now.board_commit().unwrap()).unwrap();
    assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
    checkout.is_whole();
}

#[test]
fn a_clone_takes_the_board_of_its_origin_and_a_folder_that_is_gone_is_made_again() {
    let checkout = Checkout::new();
    let place = checkout.0.root().with_file_name("clone");
    checkout.0.git(&["clone", "-q", ".", place.to_str().unwrap()]);
    let project = Project::open(&place).unwrap();
    assert_eq!(open_board(&project, "main").unwrap(), crate::board::BoardSource::Remote("origin".into()));
    assert_eq!(open_board(&project, "main").unwrap(), crate::board::BoardSource::Branch);
    WorkFolder::open(&project).unwrap();
    let texts = || [MOVED, TWO, THREE].map(|path| fs::read_to_string(place.join(path)).unwrap());
    for _ in 0..2 {
        assert_eq!(sync(&project, "main").unwrap(), BoardSync::Settled);
        assert_eq!(texts(), ["one\n", "two, edited\n", "three\n"]);
        fs::remove_dir_all(place.join(".storkit/work")).unwrap();
        fs::remove_file(place.join(".storkit/run/board.json")).unwrap();
        WorkFolder::open(&project).unwrap();
    }
    assert_eq!(checkout.0.git_in(&place, &["status", "--porcelain"]), "");
    assert_eq!(
        checkout.0.git_in(&place, &["rev-parse", BOARD_BRANCH]),
        checkout.0.git(&["rev-parse", BOARD_BRANCH])
    );
}

#[test]
fn a_board_that_somebody_made_by_hand_writes_nothing_but_stories() {
    let fixture = WorktreeFixture::new();
    let repository = Repository::open(fixture.root()).unwrap();
    let blob = repository.blob(b"evil\n").unwrap();
    let large = repository.blob(&vec![b'x'; 2 << 20]).unwrap();
    let tree_of = |entries: &[(&[u8], Oid, i32)]| {
        let mut raw = Vec::new();
        for (name, id, mode) in entries {
            raw.extend(format!("{mode:o} ").bytes());
            raw.extend(*name);
            raw.push(0);
            raw.extend(id.as_bytes());
        }
        repository.odb().unwrap().write(git2::ObjectType::Tree, &raw).unwrap()
    };
    let stage = tree_of(&[
        (b"../../../../out.md", blob, 0o100_644),
        (b"..", blob, 0o100_644),
        (b".gitignore", blob, 0o100_644),
        (b"1_story_link.md", blob, 0o120_000),
        (b"2_story_module.md", Oid::from_str(&fixture.git(&["rev-parse", "HEAD"])).unwrap(), 0o160_000),
        (b"3_story_large.md", large, 0o100_644),
        (b"4_story_good.md", blob, 0o100_644),
        (b"run.sh", blob, 0o100_755),
    ]);
    let attached = tree_of(&[
        (b"../../../../../out.md", blob, 0o100_644),
        (b".gitattributes", blob, 0o100_644),
        (b"-rf", blob, 0o100_644),
        (b"a b", blob, 0o100_644),
        (b"key.txt", blob, 0o120_000),
        (b"run.sh", blob, 0o100_755),
    ]);
    let files = tree_of(&[
        (b"..", attached, 0o40_000),
        (b"04", attached, 0o40_000),
        (b"4", attached, 0o40_000),
        (b"5", blob, 0o100_644),
    ]);
    let work =
        tree_of(&[(b"1_backlog", stage, 0o40_000), (b"evil", blob, 0o100_644), (b"files", files, 0o40_000)]);
    let storkit = tree_of(&[(b"bot.toml", blob, 0o100_644), (b"work", work, 0o40_000)]);
    let top = tree_of(&[(b".storkit", storkit, 0o40_000), (b"a.txt", blob, 0o100_644)]);
    let commit = fixture.git(&["commit-tree", &top.to_string(), "-m", "board"]);
    fixture.git(&["update-ref", BOARD_REF, &commit]);
    WorkFolder::open(&fixture.project).unwrap();
    assert_eq!(sync(&fixture.project, "main").unwrap(), BoardSync::Settled);
    let backlog = fs::read_dir(fixture.root().join(".storkit/work/1_backlog")).unwrap();
    let names: Vec<_> = backlog.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["4_story_good.md"]);
    let below = |path: &str| -> Vec<_> {
        fs::read_dir(fixture.root().join(path)).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(below(".storkit/work/files"), ["4"]);
    assert_eq!(below(".storkit/work/files/4"), ["run.sh"]);
    let script = fixture.root().join(".storkit/work/files/4/run.sh").metadata().unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&script.permissions()) & 0o111, 0, "no program");
    assert!(
        !fixture.root().join(".storkit/bot.toml").exists()
            && !fixture.root().join(".storkit/work/evil").exists()
    );
    assert!(!fixture.root().with_file_name("out.md").exists());
    assert_eq!(fixture.read("a.txt"), "a\n");
}

#[test]
fn a_storys_files_come_back_where_git_took_them_away_or_the_folder_is_new() {
    let checkout = Checkout::new();
    checkout.0.write(FILE, "a door\n");
    checkout.commit_board();
    checkout.0.git(&["switch", "-q", "-c", "tracks"]);
    checkout.0.git(&["add", "-f", FILE]);
    checkout.0.git(&["commit", "-q", "-m", "a file of a story"]);
    checkout.0.git(&["switch", "-q", "main"]);
    assert!(!checkout.0.root().join(FILE).exists(), "git takes it along");
    assert!(matches!(checkout.sync(), BoardSync::Restored(_)));
    assert_eq!(checkout.0.read(FILE), "a door\n");
    fs::remove_dir_all(checkout.0.root().join(".storkit/work/files")).unwrap();
    fs::remove_file(checkout.0.project.run_dir().join("board.json")).unwrap();
    checkout.is_whole();
    assert_eq!(checkout.0.read(FILE), "a door\n");
    fs::remove_file(checkout.0.root().join(FILE)).unwrap();
    checkout.is_whole();
    assert!(!checkout.0.root().join(FILE).exists(), "a person took it away");
}

#[test]
fn a_folder_that_is_a_link_is_written_through_by_nobody() {
    let checkout = Checkout::new();
    checkout.0.git(&["switch", "-q", "old"]);
    checkout.0.git(&["switch", "-q", "main"]);
    let backlog = checkout.0.root().join(".storkit/work/1_backlog");
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(&backlog).unwrap();
    std::os::unix::fs::symlink(outside.path(), &backlog).unwrap();
    assert!(matches!(sync(&checkout.0.project, "main"), Err(BoardBranchError::Disk { .. })));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn stories_on_base_are_said_to_need_a_migration() {
    let fixture = WorktreeFixture::new();
    assert_eq!(open_board(&fixture.project, "main").unwrap(), crate::board::BoardSource::None);
    fixture.write(ONE, "one\n");
    fixture.git(&["add", "-f", ONE]);
    fixture.git(&["commit", "-q", "-m", "stories on base"]);
    insta::assert_snapshot!(open_board(&fixture.project, "main").unwrap_err(), @"The stories of this project are tracked on `main`, as an earlier version of storkit committed them. Stop storkit, run `storkit migrate` once, and start it again: it moves them to the branch `storkit/board` with one commit on `main`.");
}
