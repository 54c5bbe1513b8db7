//! What one story's worktree leaves to the next, and what it must not: everything that an agent could have prepared outside of the
//! folders that git ignores.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use super::{BranchFate, Worktree, fixture::WorktreeFixture, layout::WorktreeListLock, slots, story_folder};
use crate::worktree::WorktreeName;

/// As many slots as the tests need.
const MANY: usize = 9;

fn fixture() -> WorktreeFixture {
    let fixture = WorktreeFixture::new();
    fixture.write(".gitignore", "/target\n*.o\n");
    fixture.write("src/main.c", "int main;\n");
    fixture.write("src/deep/x.c", "x\n");
    fixture.git(&["add", "."]);
    fixture.git(&["commit", "-q", "-m", "code"]);
    fixture
}

fn release(fixture: &WorktreeFixture, worktree: &Worktree) {
    let owner = worktree.owner().clone();
    fixture.worktrees().release(owner, BranchFate::Delete, ("main", MANY)).expect("released");
}

/// Everything in the checkout but git's own link, with what it is.
fn content(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        let name = path.strip_prefix(folder).expect("below").display().to_string();
        if kind.is_dir() {
            found.extend(content(&path).into_iter().map(|inner| format!("{name}/{inner}")));
            found.insert(format!("{name}/"));
        } else if kind.is_symlink() {
            found.insert(format!("{name} -> {}", fs::read_link(&path).expect("a link").display()));
        } else if name != ".git" {
            found.insert(format!("{name}: {}", fs::read_to_string(&path).unwrap_or_default().trim_end()));
        }
    }
    found
}

fn sh(folder: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(folder).status().expect("a shell");
    assert!(status.success(), "{script}");
}

#[test]
fn the_next_story_finds_build_products_and_package_caches_at_the_same_path_and_nothing_else() {
    let fixture = fixture();
    let first = fixture.prepare("1_a");
    sh(
        first.path(),
        "mkdir target; echo built > target/app; echo o > src/main.o; echo x > left.txt; echo work > work.txt",
    );
    let caches = first.layout().private.join("caches/npm/upper");
    fs::create_dir_all(&caches).expect("a cache");
    fixture.git_in(first.path(), &["add", "work.txt"]);
    fixture.git_in(first.path(), &["commit", "-q", "-m", "work"]);
    fixture.write("src/main.c", "int later;\n");
    fixture.git(&["commit", "-q", "-a", "-m", "later"]);
    release(&fixture, &first);
    assert_eq!(fixture.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    assert!(!first.layout().private.exists());
    let second = fixture.prepare("2_b");
    assert_eq!(second.path(), first.path());
    let expected = [
        ".gitignore: /target\n*.o",
        "a.txt: a",
        "src/",
        "src/deep/",
        "src/deep/x.c: x",
        "src/main.c: int later;",
        "src/main.o: o",
        "target/",
        "target/app: built",
    ];
    assert_eq!(content(second.path()), expected.map(str::to_owned).into());
    assert!(second.layout().private.join("caches/npm/upper").is_dir());
    assert!(second.uncommitted().expect("a status").is_empty());
    let head = fixture.git_in(second.path(), &["symbolic-ref", "HEAD"]);
    assert_eq!(head, "refs/heads/feature/story-2_b/work");
    let who = fixture.git_in(second.path(), &["config", "user.name"]);
    assert_eq!((who.as_str(), fixture.git(&["worktree", "list"]).lines().count()), ("coder 1", 2));
}

#[test]
fn stories_at_the_same_time_have_slots_of_their_own_and_the_newest_free_one_is_used_first() {
    let fixture = fixture();
    let [one, two] = ["1_a", "2_b"].map(|name| fixture.prepare(name));
    assert_ne!(one.path(), two.path());
    assert_eq!(fixture.prepare("1_a").path(), one.path(), "a story stays where it is");
    let name = WorktreeName::parse("2_b").expect("a name");
    assert_eq!(story_folder(&fixture.root(), &name), two.path());
    release(&fixture, &one);
    release(&fixture, &two);
    assert_eq!(fixture.prepare("3_c").path(), two.path());
    assert_eq!(fixture.prepare("4_d").path(), one.path());
    let names: Vec<String> = (5..17).map(|number| format!("{number}_x")).collect();
    let shared = &fixture;
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(move || {
                let worktree = shared.prepare(name);
                let file = worktree.path().join("mine.txt");
                assert!(!file.exists());
                fs::write(&file, name).expect("a file");
                assert_eq!(fs::read_to_string(&file).expect("a file"), *name);
                release(shared, &worktree);
            });
        }
    });
    let list = fixture.worktrees().list().expect("a list");
    assert_eq!(list.keys().map(ToString::to_string).collect::<Vec<_>>(), ["3_c", "4_d"]);
}

/// What an agent could prepare, with nothing around it. Each row is a shell script in the worktree; `$OUT` is a folder outside.
const PREPARED: [(&str, &str); 17] = [
    ("an untracked file", "echo evil > evil.sh; mkdir -p new/folder; echo evil > new/folder/x"),
    ("a changed file", "echo evil > src/main.c; rm a.txt; chmod +x src/deep/x.c"),
    (
        "a changed file that git need not look at",
        "git update-index --assume-unchanged a.txt; echo evil > a.txt",
    ),
    (
        "a changed file that is left out of the checkout",
        "git update-index --skip-worktree a.txt; echo evil > a.txt",
    ),
    (
        "a changed file of the same size and time",
        "cp -p a.txt old; printf 'b\\n' > a.txt; touch -r old a.txt; rm old; git update-index --refresh || true",
    ),
    ("an ignore file that ignores itself", "echo '*' > src/.gitignore; echo evil > src/evil.h"),
    ("a folder that ignores itself", "mkdir lib; echo '*' > lib/.gitignore; echo evil > lib/evil.so"),
    (
        "an ignore file of the branch",
        "echo /evil >> .gitignore; git add .gitignore; git commit -qm x; mkdir evil; echo x > evil/x",
    ),
    ("a change of the ignore file", "echo evil.sh >> .gitignore; echo evil > evil.sh"),
    (
        "a repository in a folder that has tracked files",
        "git init -q src; git -C src config core.fsmonitor ./evil",
    ),
    ("a repository of its own", "git init -q own; echo x > own/x"),
    (
        "settings of git for the worktree",
        "git config --worktree core.fsmonitor ./evil; git config --worktree alias.st '!evil'",
    ),
    (
        "notes of git for the worktree",
        "d=$(git rev-parse --git-dir); mkdir -p $d/rebase-merge $d/info $d/hooks; echo '* filter=x' > $d/info/attributes; git update-ref refs/worktree/evil HEAD",
    ),
    ("another repository behind `.git`", "echo \"gitdir: $OUT\" > .git"),
    ("a link in the place of an ignored folder", "ln -s \"$OUT\" target"),
    ("a link in the place of a tracked folder", "rm -r src; ln -s \"$OUT\" src"),
    (
        "an unfinished merge",
        "git checkout -q -b side 2>/dev/null || true; git rev-parse HEAD > $(git rev-parse --git-dir)/MERGE_HEAD",
    ),
];

#[test]
fn nothing_that_an_agent_prepared_outside_of_ignored_folders_reaches_the_next_story() {
    for (what, script) in PREPARED {
        let fixture = fixture();
        let out = fixture.root().with_file_name("out");
        fs::create_dir(&out).expect("a folder");
        fs::write(out.join("victim"), "the operator's").expect("a file");
        let first = fixture.prepare("1_a");
        let (clean, notes) = (content(first.path()), content(&first.admin));
        let settings = |worktree: &Worktree| {
            fs::read_to_string(worktree.admin.join("config.worktree")).expect("settings")
        };
        let set = settings(&first);
        sh(first.path(), &script.replace("$OUT", out.to_str().expect("text")));
        release(&fixture, &first);
        let second = fixture.prepare("2_b");
        assert_eq!(content(second.path()), clean, "{what}");
        assert_eq!(settings(&second), set, "{what}");
        let names = |notes: BTreeSet<String>| -> BTreeSet<String> {
            let kept = |name: &String| !name.starts_with("ORIG_HEAD") && !name.starts_with("logs/");
            notes
                .iter()
                .map(|note| note.split(": ").next().unwrap_or_default().to_owned())
                .filter(kept)
                .collect()
        };
        assert_eq!(names(content(&second.admin)), names(notes), "{what}");
        let link = fs::read_to_string(second.path().join(".git")).expect("a link");
        assert_eq!(link, format!("gitdir: {}\n", second.admin.display()), "{what}");
        assert_eq!(fixture.git_in(second.path(), &["status", "--porcelain"]), "", "{what}");
        let flags = fixture.git_in(second.path(), &["ls-files", "-v"]);
        assert!(flags.lines().all(|line| line.starts_with("H ")), "{what}: {flags}");
        assert_eq!(fs::read_to_string(out.join("victim")).expect("a file"), "the operator's", "{what}");
    }
}

#[test]
fn a_file_that_the_next_base_does_not_ignore_is_gone_and_so_is_what_was_set_up() {
    let fixture = fixture();
    let first = fixture.prepare("1_a");
    sh(first.path(), "mkdir target; echo built > target/app; echo o > src/main.o");
    release(&fixture, &first);
    let record = first.path().with_file_name(".private/slot-1/setup.json");
    fs::write(&record, r#"{"done": {"app": {"key": "k", "is_listed": true, "made": []}}}"#)
        .expect("a record");
    fixture.write(".gitignore", "*.o\n");
    fixture.git(&["commit", "-q", "-a", "-m", "target is ours now"]);
    let second = fixture.prepare("2_b");
    assert!(!second.path().join("target").exists() && second.path().join("src/main.o").exists());
    assert!(!fs::read_to_string(&record).expect("a record").contains("app"));
}

#[test]
fn what_a_suspect_story_made_and_more_than_anybody_needs_is_removed() {
    let fixture = fixture();
    let tainted = fixture.prepare("1_a");
    sh(tainted.path(), "mkdir target; echo evil > target/app");
    tainted.taint().expect("noted");
    release(&fixture, &tainted);
    assert!(!tainted.path().exists());
    let unmerged = fixture.prepare("2_b");
    fixture.worktrees().remove(unmerged.owner(), BranchFate::Keep).expect("removed");
    assert!(!unmerged.path().exists() && !unmerged.path().with_file_name(".private/slot-1").exists());
    let [one, two] = ["3_c", "4_d"].map(|name| fixture.prepare(name));
    release(&fixture, &one);
    fixture.worktrees().release(two.owner(), BranchFate::Delete, ("main", 1)).expect("released");
    assert!(one.path().exists() && !two.path().exists());
    fixture.worktrees().reap_slots(0).expect("reaped");
    assert!(!one.path().exists());
    assert_eq!(fixture.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_sparse_checkout_is_made_anew_for_each_story() {
    let fixture = fixture();
    fixture.git(&["sparse-checkout", "set", "--cone", "src/deep"]);
    let first = fixture.prepare("1_a");
    assert!(first.path().join("src/deep/x.c").exists());
    let sparse = content(first.path());
    sh(first.path(), "mkdir target");
    release(&fixture, &first);
    let second = fixture.prepare("2_b");
    assert_eq!(content(second.path()), sparse);
}

#[test]
fn inherited_products_are_discarded_on_demand_and_a_storys_own_are_not() {
    let fixture = fixture();
    let first = fixture.prepare("1_a");
    sh(first.path(), "mkdir target; echo built > target/app");
    assert!(!first.discard_inherited().expect("looked"), "they are its own");
    release(&fixture, &first);
    let second = fixture.prepare("2_b");
    sh(second.path(), "echo mine > mine.txt");
    assert!(second.discard_inherited().expect("discarded"));
    assert!(!second.path().join("target").exists() && second.path().join("mine.txt").exists());
    sh(second.path(), "mkdir target");
    assert!(!second.discard_inherited().expect("looked"), "once");
}

#[test]
fn a_slot_whose_story_was_cut_off_while_its_files_moved_is_made_anew() {
    let fixture = fixture();
    let first = fixture.prepare("1_a");
    fixture.git_in(first.path(), &["commit", "-q", "--allow-empty", "-m", "work"]);
    sh(first.path(), "mkdir target; echo half > a.txt");
    let slot = first.layout().slot.expect("a slot");
    slots::begin_move(first.layout(), slot).expect("noted");
    let again = fixture.prepare("1_a");
    assert_eq!(fixture.git_in(again.path(), &["log", "-1", "--format=%s"]), "work");
    assert!(again.uncommitted().expect("a status").is_empty() && !again.path().join("target").exists());
    release(&fixture, &again);
    slots::begin_move(first.layout(), slot).expect("noted");
    let listed = WorktreeListLock::take(&fixture.root().join(".git")).expect("a lock");
    assert!(slots::free(&fixture.root(), &fixture.root().join(".git")).is_empty());
    drop(listed);
    assert_ne!(fixture.prepare("2_b").path(), first.path());
    fixture.worktrees().reap_slots(MANY).expect("reaped");
    assert!(!first.path().exists());
}

#[test]
fn a_slot_whose_story_was_cut_off_before_its_files_moved_has_the_storys_files() {
    let fixture = fixture();
    let first = fixture.prepare("1_a");
    release(&fixture, &first);
    fixture.write("a.txt", "later\n");
    fixture.git(&["commit", "-q", "-a", "-m", "later"]);
    let name = WorktreeName::parse("2_b").expect("a name");
    fixture.git(&["branch", &name.branch()]);
    let mut layout = fixture.worktrees().layout(&(&name).into());
    fs::create_dir(&layout.private).expect("a folder");
    let free = slots::assign(&mut layout).expect("assigned");
    assert!(free.is_some(), "killed here");
    let second = fixture.prepare("2_b");
    assert_eq!(second.path(), first.path());
    assert!(second.uncommitted().expect("a status").is_empty());
}

#[test]
fn what_is_left_of_a_worktree_whose_removal_was_cut_off_is_not_the_storys_work() {
    let fixture = fixture();
    let first = fixture.prepare("1_a");
    let worktrees = fixture.worktrees();
    let (git, away) = (fixture.root().join(".git"), fixture.root().join("away"));
    fs::rename(&git, &away).expect("git's list of worktrees cannot be locked");
    worktrees.remove(first.owner(), BranchFate::Keep).expect_err("cut off");
    fs::rename(&away, &git).expect("renamed");
    assert!(slots::is_moving(first.layout()), "a file that is missing here was not deleted by the story");
    assert!(fixture.prepare("1_a").uncommitted().expect("a status").is_empty());
}

#[test]
fn a_story_that_an_earlier_version_began_stays_where_it_is() {
    let fixture = fixture();
    let old = fixture.root().join(".storkit/worktrees/7_x");
    let first = fixture.prepare("7_x");
    fixture.git(&["worktree", "move", first.path().to_str().expect("text"), old.to_str().expect("text")]);
    fs::remove_file(first.layout().private.join("slot")).expect("it knew no slots");
    fs::write(old.join("work.txt"), "work").expect("a file");
    let again = fixture.prepare("7_x");
    assert_eq!(again.path(), old);
    assert_eq!(again.uncommitted().expect("a status"), ["work.txt"]);
    let list = fixture.worktrees().list().expect("a list");
    assert!(list.values().all(|found| found.folder && found.path == old));
    release(&fixture, &again);
    assert!(!old.exists(), "its path is its own, so nobody else can use it");
}

#[test]
fn a_submodule_that_an_agent_changed_is_as_base_has_it_for_the_next_story() {
    let fixture = fixture();
    let lib = WorktreeFixture::new();
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    fixture.git(&[&add[..], &[lib.root().to_str().expect("text"), "lib"]].concat());
    fixture.git(&["commit", "-q", "-m", "lib"]);
    let first = fixture.prepare("1_a");
    let clean = content(&first.path().join("lib"));
    assert_eq!(clean, ["a.txt: a".to_owned()].into());
    sh(first.path(), "echo evil > lib/a.txt; echo evil > lib/new; git -C lib config core.fsmonitor ./evil");
    release(&fixture, &first);
    let second = fixture.prepare("2_b");
    assert_eq!((second.path(), content(&second.path().join("lib"))), (first.path(), clean));
    assert!(!fs::read_to_string(second.admin.join("modules/lib/config")).expect("settings").contains("evil"));
    assert!(second.uncommitted().expect("a status").is_empty());
}
