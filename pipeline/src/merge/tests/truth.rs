//! "Merged" is true: what a branch brings is on base in full, and somebody decided about every conflict.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    super::*,
    merged,
    shop::{self, Shop, gates, git},
};
use crate::{guard::BranchFault, story::StoryId};

/// A story whose branch a person could have made: `work` runs in a worktree on it and is committed.
pub(super) fn story_by(shop: &Shop, id: u32, work: impl FnOnce(&Path)) -> MergeRequest {
    let request = shop.story(id, "by", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("work");
    shop.git(&["worktree", "add", "-q", place.to_str().expect("text"), &request.branch]);
    work(&place);
    git(&place, &["add", "--all"]);
    git(&place, &["commit", "-q", "-m", "work"]);
    shop.git(&["worktree", "remove", "--force", place.to_str().expect("text")]);
    request
}

pub(super) fn refused(outcome: Result<MergeOutcome, MergeError>) -> Vec<BranchFault> {
    match outcome {
        Ok(MergeOutcome::Refused(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

fn commit_in(folder: &Path, file: &str) -> String {
    fs::write(folder.join(file), file).expect("a file");
    git(folder, &["add", "."]);
    let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    git(folder, &[&who[..], &["commit", "-q", "-m", file]].concat());
    git(folder, &["rev-parse", "HEAD"])
}

/// A shop with a library at `vendor/lib`, and the library's remote.
struct WithLibrary {
    shop: Shop,
    remote: tempfile::TempDir,
}

const FILE_REMOTES: [&str; 2] = ["-c", "protocol.file.allow=always"];

impl WithLibrary {
    fn new() -> Self {
        let (shop, remote) = (Shop::new(), tempfile::tempdir().expect("a folder"));
        git(remote.path(), &["init", "-q", "-b", "main"]);
        commit_in(remote.path(), "lib.txt");
        // So that it can be pushed to.
        git(remote.path(), &["config", "receive.denyCurrentBranch", "ignore"]);
        let url = remote.path().to_str().expect("text");
        shop.git(&[&FILE_REMOTES[..], &["submodule", "--quiet", "add", url, "vendor/lib"]].concat());
        shop.commit_all("library");
        Self { shop, remote }
    }

    /// A story that takes the library to a new commit; `work` runs in its checkout of the library.
    fn bump(&self, id: u32, work: impl FnOnce(&Path)) -> MergeRequest {
        story_by(&self.shop, id, |place| {
            git(place, &[&FILE_REMOTES[..], &["submodule", "--quiet", "update", "--init"]].concat());
            commit_in(&place.join("vendor/lib"), &format!("{id}.txt"));
            work(&place.join("vendor/lib"));
        })
    }

    fn library(&self) -> String {
        self.shop.git(&["-C", "vendor/lib", "rev-parse", "HEAD"])
    }
}

#[tokio::test]
async fn a_nested_repository_without_gitmodules_is_refused_with_a_way_to_fix_it() {
    let shop = Shop::new();
    let request = story_by(&shop, 1, |place| {
        let nested = place.join("vendor/tool");
        fs::create_dir_all(&nested).unwrap();
        git(&nested, &["init", "-q"]);
        commit_in(&nested, "the only copy");
    });
    let before = shop.git(&["rev-parse", "main"]);
    let faults = refused(shop.merge(&request, gates(&[])).await);
    assert_eq!(faults, [BranchFault::NestedRepository { path: "vendor/tool".into() }]);
    insta::assert_snapshot!(faults[0], @"`vendor/tool` is a git repository of its own: the branch has the name of its commit and none of its files. To commit the files, run `git rm --cached vendor/tool`, remove `vendor/tool/.git`, and add `vendor/tool` again; otherwise take it out of the branch.");
    assert_eq!((shop.git(&["rev-parse", "main"]), shop.stages(1)), (before, vec!["4_merge"]));
    assert!(!shop.git(&["branch", "--list", &request.branch]).is_empty(), "the branch is kept");
}

#[tokio::test]
async fn a_submodule_that_loses_its_entry_in_gitmodules_is_refused() {
    let with = WithLibrary::new();
    let request = story_by(&with.shop, 1, |place| fs::remove_file(place.join(".gitmodules")).unwrap());
    let faults = refused(with.shop.merge(&request, gates(&[])).await);
    assert_eq!(faults, [BranchFault::NestedRepository { path: "vendor/lib".into() }]);
}

#[tokio::test]
async fn a_link_without_gitmodules_that_base_has_already_is_nobodys_fault() {
    let shop = Shop::new();
    let nested = shop.path("vendor/old");
    fs::create_dir_all(&nested).unwrap();
    git(&nested, &["init", "-q"]);
    commit_in(&nested, "x");
    shop.commit_all("old");
    merged(shop.merge(&shop.story(1, "a", &[("a", "a\n")]), gates(&[])).await);
}

#[tokio::test]
async fn a_submodule_commit_that_only_the_worktree_has_is_refused_until_its_remote_has_it() {
    let with = WithLibrary::new();
    let bare = tempfile::tempdir().unwrap();
    let copy = bare.path().to_str().unwrap().to_owned();
    let request = with.bump(1, |lib| drop(git(lib, &["clone", "-q", "--bare", ".", &copy])));
    let commit = with.shop.git(&["rev-parse", &format!("{}:vendor/lib", request.branch)]);
    let before = with.shop.git(&["rev-parse", "main"]);
    let address = with.remote.path().to_str().unwrap().to_owned();
    let faults = refused(with.shop.merge(&request, gates(&[])).await);
    let expected =
        BranchFault::UnpublishedCommit { path: "vendor/lib".into(), commit: commit.clone(), address };
    assert_eq!(faults, [expected]);
    assert_eq!(with.shop.git(&["rev-parse", "main"]), before);
    git(with.remote.path(), &["fetch", "-q", &copy, &format!("{commit}:refs/heads/pushed")]);
    merged(with.shop.merge(&request, gates(&[])).await);
    // The main checkout has followed.
    assert_eq!((with.library(), with.shop.git(&["status", "--porcelain"])), (commit, String::new()));
    assert_eq!(with.shop.read("vendor/lib/1.txt"), "1.txt");
}

#[tokio::test]
async fn a_submodule_that_the_main_checkout_never_initialised_is_asked_for_at_its_remote() {
    let with = WithLibrary::new();
    let unpublished = with.bump(1, |_| ());
    let published = with.bump(2, |lib| drop(git(lib, &["push", "-q", "origin", "HEAD:refs/heads/two"])));
    with.shop.git(&["submodule", "--quiet", "deinit", "--force", "vendor/lib"]);
    fs::remove_dir_all(with.shop.path(".git/modules")).unwrap();
    assert_eq!(refused(with.shop.merge(&unpublished, gates(&[])).await).len(), 1);
    merged(with.shop.merge(&published, gates(&[])).await);
    assert_eq!(with.shop.git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_remote_that_cannot_be_asked_is_no_fault_of_the_branch_and_nothing_is_merged() {
    let with = WithLibrary::new();
    let request = with.bump(1, |_| ());
    let before = with.shop.git(&["rev-parse", "main"]);
    with.shop.git(&["config", "submodule.vendor/lib.url", "https://ann:secret@localhost:1/lib"]);
    let error = with.shop.merge(&request, gates(&[])).await.unwrap_err().to_string();
    assert!(
        error.starts_with("The remote of the submodule `vendor/lib` (`https://localhost:1/lib`)"),
        "{error}"
    );
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(with.shop.git(&["rev-parse", "main"]), before);
}

#[tokio::test]
async fn an_address_that_a_branch_names_is_not_contacted() {
    let with = WithLibrary::new();
    let spy = with.shop.path("spied");
    let address = format!("ext::sh -c \"touch {}\"", spy.display());
    let request = story_by(&with.shop, 1, |place| {
        git(place, &["config", "--file", ".gitmodules", "submodule.vendor/lib.url", &address]);
    });
    let faults = refused(with.shop.merge(&request, gates(&[])).await);
    assert_eq!(faults, [BranchFault::NewAddress { path: "vendor/lib".into(), address }]);
    assert!(!spy.exists());
}

#[tokio::test]
async fn a_submodule_that_a_person_works_in_stays_as_it_is() {
    let with = WithLibrary::new();
    let old = with.library();
    let request = with.bump(1, |lib| drop(git(lib, &["push", "-q", "origin", "HEAD:refs/heads/one"])));
    with.shop.write("vendor/lib/lib.txt", "a person's\n");
    merged(with.shop.merge(&request, gates(&[])).await);
    assert_eq!((with.library(), with.shop.read("vendor/lib/lib.txt")), (old, "a person's\n".into()));
}

/// Two branches in conflict, made by hand: base changes, then the story's branch, each from the same beginning.
async fn conflicted(begin: fn(&Path), base: fn(&Path), branch: fn(&Path)) -> (Shop, MergeRequest) {
    let shop = Shop::new();
    begin(shop.project.root());
    shop.git(&["add", "."]);
    shop.git(&["commit", "-q", "--allow-empty", "-m", "begin"]);
    let request = story_by(&shop, 2, branch);
    base(shop.project.root());
    shop.commit_all("base");
    (shop, request)
}

fn write(place: &Path, file: &str, text: &[u8]) {
    fs::write(place.join(file), text).expect("a file");
}

/// A row: what there was, what base did, what the branch did, and how a mergemaster decides.
type Row = (&'static str, [fn(&Path); 3], &'static [&'static str], fn(&Path));

const ROWS: [Row; 7] = [
    (
        "base deleted what the branch changed",
        [
            |at| write(at, "f", b"1\n"),
            |at| fs::remove_file(at.join("f")).unwrap(),
            |at| write(at, "f", b"2\n"),
        ],
        &["f"],
        |at| drop(git(at, &["rm", "-q", "f"])),
    ),
    (
        "the branch deleted what base changed",
        [
            |at| write(at, "f", b"1\n"),
            |at| write(at, "f", b"2\n"),
            |at| fs::remove_file(at.join("f")).unwrap(),
        ],
        &["f"],
        |at| drop(git(at, &["add", "f"])),
    ),
    (
        "both renamed a file",
        [
            |at| write(at, "f", b"one\ntwo\nthree\n"),
            |at| fs::rename(at.join("f"), at.join("g")).unwrap(),
            |at| fs::rename(at.join("f"), at.join("h")).unwrap(),
        ],
        &["f", "g", "h"],
        |at| drop((git(at, &["rm", "-q", "f", "g"]), git(at, &["add", "h"]))),
    ),
    (
        "both changed a binary file",
        [|at| write(at, "f", b"\0one"), |at| write(at, "f", b"\0two"), |at| write(at, "f", b"\0three")],
        &["f"],
        |at| drop((write(at, "f", b"\0both"), git(at, &["add", "f"]))),
    ),
    (
        "both added a binary file",
        [|_| (), |at| write(at, "f", b"\0two"), |at| write(at, "f", b"\0three")],
        &["f"],
        |at| drop((write(at, "f", b"\0both"), git(at, &["add", "f"]))),
    ),
    (
        "both added a file",
        [|_| (), |at| write(at, "f", b"two\n"), |at| write(at, "f", b"three\n")],
        &["f"],
        |at| drop((write(at, "f", b"both\n"), git(at, &["add", "f"]))),
    ),
    (
        "a file became a link and a program",
        [
            |at| write(at, "f", b"1\n"),
            |at| {
                fs::remove_file(at.join("f")).unwrap();
                std::os::unix::fs::symlink("README", at.join("f")).unwrap();
            },
            |at| {
                use std::os::unix::fs::PermissionsExt as _;
                write(at, "f", b"2\n");
                fs::set_permissions(at.join("f"), fs::Permissions::from_mode(0o755)).unwrap();
            },
        ],
        &[],
        |at| drop(git(at, &["add", "--all"])),
    ),
];

#[tokio::test]
async fn every_conflicted_path_needs_a_decision_of_its_own() {
    for (what, [begin, base, branch], paths, decide) in ROWS {
        let (shop, request) = conflicted(begin, base, branch).await;
        let before = shop.git(&["rev-parse", "main"]);
        let (queue, mut ends) = shop.queue(gates(&[]));
        queue.start(&request).unwrap();
        let end = shop::soon(ends.recv()).await.unwrap();
        let Ok(MergeOutcome::Conflict(waiting)) = &end.result else { panic!("{what}: {end:?}") };
        assert!(
            paths.is_empty() || waiting.iter().map(|path| path.to_str().unwrap()).eq(paths.iter().copied()),
            "{what}: {waiting:?}"
        );
        // The mergemaster does nothing.
        queue.continue_merge(StoryId(2)).unwrap();
        let end = shop::soon(ends.recv()).await.unwrap();
        let Ok(MergeOutcome::Conflict(left)) = &end.result else { panic!("{what}: {end:?}") };
        assert_eq!((left, shop.git(&["rev-parse", "main"])), (waiting, before.clone()), "{what}");
        decide(&conflict_worktree(&shop.project, StoryId(2)));
        queue.continue_merge(StoryId(2)).unwrap();
        let end = shop::soon(ends.recv()).await.unwrap();
        match &end.result {
            Ok(MergeOutcome::Merged(_)) => assert_ne!(shop.git(&["rev-parse", "main"]), before, "{what}"),
            // To keep base's side of the only change is to give the story up, and that is said.
            Ok(MergeOutcome::Empty) => assert!(what.contains("deleted"), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_path_that_was_only_taken_off_gits_list_is_undecided() {
    let [begin, base, branch] = ROWS[0].1;
    let (shop, request) = conflicted(begin, base, branch).await;
    let (queue, mut ends) = shop.queue(gates(&[]));
    queue.start(&request).unwrap();
    shop::soon(ends.recv()).await.unwrap();
    git(&conflict_worktree(&shop.project, StoryId(2)), &["reset", "-q"]);
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(
        matches!(&end.result, Ok(MergeOutcome::Conflict(left)) if left == &[PathBuf::from("f")]),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_file_that_the_rule_could_resolve_beside_one_that_it_cannot_is_not_forgotten() {
    let begin: fn(&Path) = |at| (write(at, "list", b"# List\n"), write(at, "f", b"1\n")).0;
    let base: fn(&Path) = |at| (write(at, "list", b"# List\n- two\n"), write(at, "f", b"2\n")).0;
    let branch: fn(&Path) = |at| (write(at, "list", b"# List\n- three\n"), write(at, "f", b"3\n")).0;
    let (shop, request) = conflicted(begin, base, branch).await;
    let (queue, mut ends) = shop.queue(gates(&[]));
    queue.start(&request).unwrap();
    shop::soon(ends.recv()).await.unwrap();
    let worktree = conflict_worktree(&shop.project, StoryId(2));
    write(&worktree, "f", b"both\n");
    git(&worktree, &["add", "f"]);
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(
        matches!(&end.result, Ok(MergeOutcome::Conflict(left)) if left == &[PathBuf::from("list")]),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_conflict_of_two_submodule_commits_is_decided_by_a_staged_commit() {
    let with = WithLibrary::new();
    let push = |lib: &Path, name: &str| {
        drop(git(lib, &["push", "-q", "origin", &format!("HEAD:refs/heads/{name}")]))
    };
    let one = with.bump(1, |lib| push(lib, "one"));
    let two = with.bump(2, |lib| push(lib, "two"));
    let wanted = with.shop.git(&["rev-parse", &format!("{}:vendor/lib", two.branch)]);
    merged(with.shop.merge(&one, gates(&[])).await);
    let (queue, mut ends) = with.shop.queue(gates(&[]));
    queue.start(&two).unwrap();
    for _ in 0..2 {
        let end = shop::soon(ends.recv()).await.unwrap();
        assert!(
            matches!(&end.result, Ok(MergeOutcome::Conflict(paths)) if paths == &[PathBuf::from("vendor/lib")]),
            "{end:?}"
        );
        queue.continue_merge(StoryId(2)).unwrap();
    }
    shop::soon(ends.recv()).await.unwrap();
    let worktree = conflict_worktree(&with.shop.project, StoryId(2));
    git(&worktree, &["update-index", "--cacheinfo", &format!("160000,{wanted},vendor/lib")]);
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
    assert_eq!((with.library(), with.shop.git(&["status", "--porcelain"])), (wanted, String::new()));
}

#[tokio::test]
async fn a_submodule_that_a_branch_bumps_beside_a_conflict_is_not_lost() {
    let with = WithLibrary::new();
    let one = with.shop.story(1, "one", &[("README", "a shop of one\n")]);
    let two = story_by(&with.shop, 2, |place| {
        git(place, &[&FILE_REMOTES[..], &["submodule", "--quiet", "update", "--init"]].concat());
        let lib = place.join("vendor/lib");
        commit_in(&lib, "two.txt");
        git(&lib, &["push", "-q", "origin", "HEAD:refs/heads/two"]);
        write(place, "README", b"a shop of two\n");
    });
    let wanted = with.shop.git(&["rev-parse", &format!("{}:vendor/lib", two.branch)]);
    merged(with.shop.merge(&one, gates(&[])).await);
    // The gates see the library as the merge has it.
    let (queue, mut ends) = with.shop.queue(gates(&["test -f vendor/lib/two.txt"]));
    queue.start(&two).unwrap();
    shop::soon(ends.recv()).await.unwrap();
    let worktree = conflict_worktree(&with.shop.project, StoryId(2));
    write(&worktree, "README", b"a shop of both\n");
    git(&worktree, &["add", "README"]);
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
    assert_eq!((with.library(), with.shop.git(&["status", "--porcelain"])), (wanted, String::new()));
}

#[tokio::test]
async fn a_merge_in_a_sparse_checkout_changes_files_inside_and_outside_of_it() {
    let shop = Shop::new();
    shop.write("in/a", "1\n");
    shop.write("out/b", "1\n");
    shop.commit_all("folders");
    shop.git(&["sparse-checkout", "set", "--no-sparse-index", "in"]);
    assert!(!shop.path("out").exists());
    let request = shop.story(1, "a", &[("in/a", "2\n"), ("out/b", "2\n"), ("out/c", "2\n")]);
    merged(shop.merge(&request, gates(&["grep -q 2 in/a"])).await);
    assert_eq!((shop.read("in/a"), shop.path("out").exists()), ("2\n".into(), false));
    assert_eq!(
        (shop.git(&["show", "main:out/b"]), shop.git(&["status", "--porcelain"])),
        ("2".into(), String::new())
    );
}

const MARKED: &str = "<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> main\n";

#[tokio::test]
async fn a_branch_that_adds_conflict_markers_is_refused() {
    let half = "ours\n=======\ntheirs\n>>>>>>> main\n";
    let windows = MARKED.replace('\n', "\r\n");
    for text in [MARKED, half, windows.as_str(), "<<<<<<< HEAD\nours\n||||||| base\n=======\n>>>>>>> main\n"]
    {
        let shop = Shop::new();
        let before = shop.git(&["rev-parse", "main"]);
        let request = shop.story(1, "a", &[("README", text), ("b", "b\n")]);
        let faults = refused(shop.merge(&request, gates(&[])).await);
        assert_eq!(faults, [BranchFault::ConflictMarkers { paths: vec!["README".into()] }], "{text:?}");
        assert_eq!(shop.git(&["rev-parse", "main"]), before);
    }
}

#[tokio::test]
async fn a_text_about_conflicts_is_no_conflict() {
    let shop = Shop::new();
    shop.write("guide.md", MARKED);
    shop.write("old.md", MARKED);
    shop.write(".gitattributes", "docs/* conflict-marker-size=40\n");
    shop.commit_all("guide");
    let about = format!("{MARKED}more\n");
    let files = [
        // Base has it already, changed and moved.
        ("guide.md", about.as_str()),
        ("new.md", MARKED),
        // Base says that these have other markers.
        ("docs/conflicts.md", MARKED),
        // One line, a heading, a quotation, a larger drawing.
        ("one.md", "In a file:\n<<<<<<< HEAD\nis where it begins.\n"),
        ("heading.rst", "Chapter\n=======\ntext\n"),
        ("drawing.txt", "<<<<<<<<<<\n==========\n>>>>>>>>>>\n"),
        ("binary", "\0<<<<<<< a\n=======\n>>>>>>> b\n"),
    ];
    merged(shop.merge(&shop.story_with(1, "a", &files, &["old.md"]), gates(&[])).await);
}

#[tokio::test]
async fn what_the_gates_of_a_merge_printed_is_kept_until_they_pass() {
    let shop = Shop::new();
    let request = shop.story(1, "a", &[("a", "a\n")]);
    let outcome = shop.merge(&request, gates(&["echo the reason; exit 3"])).await;
    assert!(matches!(outcome, Ok(MergeOutcome::GateFailed { base_moved: false, .. })), "{outcome:?}");
    let said = crate::run_log::last_merge(&shop.project, StoryId(1), 9);
    assert_eq!(said[..2], ["(the gates of the merge, on the merged result)", "the reason"], "{said:?}");
    shop.write("late", "late\n");
    shop.commit_all("base moves");
    let outcome = shop.merge(&request, gates(&["exit 3"])).await;
    assert!(matches!(outcome, Ok(MergeOutcome::GateFailed { base_moved: true, .. })), "{outcome:?}");
    merged(shop.merge(&request, gates(&["true"])).await);
    assert_eq!(crate::run_log::last_merge(&shop.project, StoryId(1), 9), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_rewritten_base_has_dropped_does_not_come_back_with_a_branch_that_began_before() {
    let shop = Shop::new();
    shop.write("dropped", "1\n");
    shop.write("list", "a\n");
    shop.commit_all("to be dropped");
    let request = shop.story(1, "a", &[("new", "1\n")]);
    let in_conflict = shop.story(2, "b", &[("README", "a shop of two\n")]);
    shop.git(&["reset", "-q", "--hard", "HEAD~1"]);
    shop.write("README", "a shop of theirs\n");
    shop.commit_all("instead");
    let proof = merged(shop.merge(&request, gates(&["test ! -e dropped"])).await);
    assert_eq!(proof.diff.files, 1);
    assert!(!shop.path("dropped").exists() && shop.path("new").exists());
    let (queue, mut ends) = shop.queue(gates(&["test ! -e dropped"]));
    queue.start(&in_conflict).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(
        matches!(&end.result, Ok(MergeOutcome::Conflict(paths)) if paths == &[PathBuf::from("README")]),
        "{end:?}"
    );
    let worktree = conflict_worktree(&shop.project, StoryId(2));
    assert!(!worktree.join("dropped").exists());
    write(&worktree, "README", b"a shop of both\n");
    git(&worktree, &["add", "README"]);
    queue.continue_merge(StoryId(2)).unwrap();
    let end = shop::soon(ends.recv()).await.unwrap();
    assert!(matches!(end.result, Ok(MergeOutcome::Merged(_))), "{end:?}");
    assert_eq!(
        (shop.read("README"), shop.git(&["status", "--porcelain"])),
        ("a shop of both\n".into(), String::new())
    );
}
