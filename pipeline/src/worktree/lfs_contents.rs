//! Git LFS from end to end: real git-lfs, a remote with contents, and an agent behind each wall.

use std::{fs, os::unix::fs::symlink, path::Path, sync::atomic::Ordering};

use agents::confine::{Confined, Confinement, Tenant, WalledCommand};
use needs::needs;
use sha2::{Digest as _, Sha256};

use crate::{
    git::kind,
    worktree::{
        confined::{bwrap, landlock},
        fixture::{WorktreeFixture, command, stranger},
    },
};

const CONTENT: &str = "a large file, as far as this test is concerned\n";

/// A project with `big.bin` in Git LFS, whose content is only on its remote: as `git clone` leaves it that downloads nothing.
fn cloned() -> WorktreeFixture {
    let fixture = WorktreeFixture::new();
    fixture.git(&["lfs", "install", "--local"]);
    fixture.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    fixture.write("big.bin", CONTENT);
    fixture.git(&["add", "."]);
    fixture.git(&["commit", "-q", "-m", "large"]);
    fixture.git(&["init", "-q", "--bare", "../remote.git"]);
    let url = format!("file://{}", fixture.root().with_file_name("remote.git").display());
    fixture.git(&["remote", "add", "origin", &url]);
    fixture.git(&["push", "-q", "origin", "main"]);
    forget(&fixture);
    fixture
}

/// Each `git add` may have stored the content again.
fn forget(fixture: &WorktreeFixture) {
    let store = fixture.root().join(".git/lfs/objects");
    let gone = fs::remove_dir_all(&store);
    assert!(gone.is_ok() || !store.exists(), "{gone:?}");
}

fn hash(content: &str) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pointer(content: &str) -> String {
    format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
        hash(content),
        content.len()
    )
}

/// Below a folder of git-lfs.
fn stored(content: &str) -> String {
    let name = hash(content);
    format!("objects/{}/{}/{name}", &name[..2], &name[2..4])
}

#[test]
fn a_worktree_has_the_contents_which_are_fetched_first_where_they_are_not_here() {
    needs!(GitLfs);
    let fixture = cloned();
    let worktree = fixture.prepare("7_x");
    assert_eq!(fs::read_to_string(worktree.path().join("big.bin")).expect("a file"), CONTENT);
    assert_eq!(worktree.uncommitted().expect("a status"), Vec::<String>::new());
    fs::rename(fixture.root().with_file_name("remote.git"), fixture.root().with_file_name("away"))
        .expect("the remote is gone");
    let second = fixture.prepare("8_y");
    assert_eq!(fs::read_to_string(second.path().join("big.bin")).expect("a file"), CONTENT, "it is here now");
    forget(&fixture);
    let error = fixture.try_prepare("9_z").expect_err("no agent is paid for it").to_string();
    assert!(error.starts_with("The contents of `big.bin` in Git LFS are not on this machine"), "{error}");
    assert!(error.contains("`origin`") && error.contains("git lfs fetch origin"), "{error}");
}

#[test]
fn where_the_operator_wants_pointers_they_stay() {
    needs!(GitLfs);
    let fixture = cloned();
    fixture.git(&["lfs", "install", "--local", "--force", "--skip-smudge"]);
    let worktree = fixture.prepare("7_x");
    assert_eq!(fs::read_to_string(worktree.path().join("big.bin")).expect("a file"), pointer(CONTENT));
    assert!(!fixture.root().join(".git/lfs").join(stored(CONTENT)).exists());
}

#[test]
fn a_branch_does_not_choose_from_where_contents_come() {
    needs!(GitLfs);
    let fixture = cloned();
    let (address, called) = stranger();
    let url = format!("[lfs]\n\turl = http://{address}/\n");
    fixture.git(&["switch", "-q", "-c", "feature/story-7_x/work"]);
    fixture.write(".lfsconfig", &url);
    fixture.git(&["add", ".lfsconfig"]);
    fixture.git(&["commit", "-q", "-m", "evil"]);
    // As a person who looks at the branch has it.
    assert_eq!(fixture.read(".lfsconfig"), url);
    fixture.git(&["switch", "-q", "--detach"]);
    forget(&fixture);
    let worktree = fixture.prepare("7_x");
    assert!(!called.load(Ordering::SeqCst), "the operator's credentials would have gone there");
    assert_eq!(fs::read_to_string(worktree.path().join("big.bin")).expect("a file"), CONTENT);
}

#[test]
fn without_git_lfs_or_its_filter_nothing_starts() {
    needs!(GitLfs);
    let fixture = cloned();
    assert_eq!(kind::refusal(&fixture.project).expect("it is read"), None);
    fixture.git(&["lfs", "uninstall", "--local"]);
    let why = kind::refusal(&fixture.project).expect("it is read").expect("it is refused");
    assert!(why.contains("git does not know `git-lfs` yet") && why.contains("git lfs install"), "{why}");
}

#[test]
fn an_agent_commits_large_files_behind_both_walls_and_poisons_no_content() {
    needs!(GitLfs, Wall);
    let walls = [Confinement::Bwrap(bwrap(Path::new("/nonexistent")))]
        .into_iter()
        .filter(|_| needs::walls().contains(&"bwrap"))
        .chain(landlock(Path::new("/nonexistent")).map(Confinement::Landlock));
    for confinement in walls {
        let fixture = cloned();
        let worktree = fixture.prepare("7_x");
        let place = worktree.enclose().expect("a place");
        let confined = Confined { confinement, place, variables: vec![] };
        let (right, wrong) = (stored("victim"), stored("missing"));
        let folder = |of: &str| Path::new(of).parent().expect("a folder").display().to_string();
        // The last pointers name contents that are other bytes, a link out of the wall, and nothing.
        let script = format!(
            "set -e; export HOME=/nonexistent; cat big.bin; printf new > new.bin; git add .; git commit -qm new\n\
             git cat-file blob HEAD:new.bin; rm big.bin; git checkout -q -- big.bin; cat big.bin\n\
             lfs=$(git rev-parse --git-common-dir)/lfs; mkdir -p $lfs/{0} $lfs/{1}\n\
             printf poison > $lfs/{right}; ln -s /etc/hostname $lfs/{wrong}\n\
             printf '{2}' > a.txt; printf '{3}' > b.txt; git add a.txt b.txt; git commit -qm pointers\n\
             for store in {4}/.git/lfs {4}/.storkit/lfs; do (echo poison > $store/{5}) || true; done",
            folder(&right),
            folder(&wrong),
            pointer("victim"),
            pointer("missing"),
            fixture.root().display(),
            stored(CONTENT),
        );
        let argv = ["/bin/sh", "-c", &script].map(Into::into).to_vec();
        let WalledCommand { argv, scratch, .. } =
            confined.command(argv, Tenant::Agent { own: &[], login: false }).expect("a wall");
        let environment = worktree.environment(&confined.confinement);
        let argv: Vec<_> = argv.iter().map(|word| word.to_str().expect("text").to_owned()).collect();
        let output =
            command(&argv[0], worktree.path(), &environment).args(&argv[1..]).output().expect("it runs");
        drop(scratch);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, format!("{CONTENT}{}{CONTENT}", pointer("new")), "{failed}");
        worktree.settle().expect("it is taken in");
        let store = fixture.root().join(".git/lfs");
        assert_eq!(fs::read_to_string(store.join(stored("new"))).expect("it came along"), "new");
        assert_eq!(fs::read_to_string(store.join(stored(CONTENT))).expect("as it was"), CONTENT);
        assert!(
            !store.join(&right).exists() && !store.join(&wrong).exists(),
            "no content has another's name"
        );
    }
}

#[test]
fn a_store_of_links_leads_nowhere() {
    needs!(GitLfs);
    let fixture = cloned();
    let worktree = fixture.prepare("7_x");
    let place = worktree.enclose().expect("a place");
    let outside = fixture.root().with_file_name("outside");
    let (file, secret) = (stored("secret"), "secret");
    fs::create_dir_all(outside.join(&file).parent().expect("a folder")).expect("a folder");
    fs::write(outside.join(&file), secret).expect("a file");
    symlink(outside.join("objects"), place.private.join("lfs/objects")).expect("a link");
    fs::write(worktree.path().join("a.bin"), pointer(secret)).expect("a file");
    fixture.git_in(worktree.path(), &["add", "."]);
    fixture.git_in(worktree.path(), &["commit", "-q", "-m", "pointer"]);
    // As if the agent had made the commit behind its wall.
    let tip = fixture.git(&["rev-parse", &worktree.branch()]);
    let reference = format!("refs/heads/{}", worktree.branch());
    fs::write(place.private.join(&reference), format!("{tip}\n")).expect("a ref");
    worktree.settle().expect("it is taken in");
    assert!(!fixture.root().join(".git/lfs").join(file).exists());
}
