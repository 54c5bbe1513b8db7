//! What an agent can do to the repository with plain commands, with and without a sandbox: what is refused, what is
//! noticed, and that a person is never in the way of it.

use std::{fs, process::Output};

use agents::confine::{Confined, Confinement, Tenant, WalledCommand};
use needs::needs;

use crate::{
    git::program::GitProgram,
    guard::{BaseGuard, CheckoutFate, Culprit, Fingerprint, OwnChanges, Tampering, compare, rescue},
    worktree::{
        ImportError, Worktree,
        confined::{bwrap, landlock},
        fixture::{WorktreeFixture, command},
    },
};

/// A run of an agent that does what it is told, in a story's worktree.
struct Run {
    fixture: WorktreeFixture,
    worktree: Worktree,
    confinement: Confinement,
    before: Fingerprint,
}

impl Run {
    fn plain() -> Self {
        Self::with(WorktreeFixture::new(), Confinement::None)
    }

    fn boxed() -> Self {
        let fixture = WorktreeFixture::new();
        let home = fixture.root().with_file_name("home");
        fs::create_dir_all(home.join(".ssh")).expect("a folder");
        fs::write(home.join(".ssh/id"), "secret").expect("a file");
        let confinement = Confinement::Bwrap(bwrap(&home));
        Self::with(fixture, confinement)
    }

    fn with(fixture: WorktreeFixture, confinement: Confinement) -> Self {
        fixture.git(&["branch", "other"]);
        let worktree = fixture.prepare("7_x");
        worktree.import().expect("nothing yet");
        let before = Fingerprint::take(&fixture.project, "main", &worktree.branch()).expect("a fingerprint");
        if confinement.encloses() {
            worktree.enclose().expect("a place");
        }
        Self { fixture, worktree, confinement, before }
    }

    /// What the agent runs: a shell in its worktree, with `$ROOT` for the main checkout.
    fn sh(&self, script: &str) -> Output {
        let argv = ["/bin/sh", "-c", script].map(Into::into).into();
        let (confinement, place) = (self.confinement.clone(), self.worktree.place());
        let confined = Confined { confinement, place, variables: vec![] };
        let agent = Tenant::Agent { own: &[], login: false };
        let WalledCommand { argv, environment: moved, scratch: _scratch } =
            confined.command(argv, agent).expect("a wall");
        let (program, rest) = argv.split_first().expect("a program");
        let environment = self.worktree.environment(&self.confinement);
        let mut command = command(program.to_str().expect("text"), self.worktree.path(), &environment);
        command.env("ROOT", self.fixture.root()).envs(moved).args(rest).output().expect("it runs")
    }

    fn does(&self, script: &str) {
        let output = self.sh(script);
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The agent fails, and nothing that it may not change has changed. Returns what it was told.
    fn is_refused(&self, script: &str) -> String {
        let output = self.sh(script);
        assert!(!output.status.success(), "{script} went through");
        assert_eq!(self.tampering(), [], "after {script}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn tampering(&self) -> Vec<Tampering> {
        let after =
            Fingerprint::take(&self.fixture.project, "main", &self.worktree.branch()).expect("a fingerprint");
        compare(&self.before, &after, &OwnChanges::default()).expect("a comparison")
    }

    fn own_log(&self) -> String {
        self.fixture.git(&["log", "--format=%s", &self.worktree.branch()])
    }
}

const COMMIT: &str = "echo work > work.txt && git add work.txt && git commit -q -m work";
const COMMIT_ON_BASE: &str = "git -C \"$ROOT\" commit -q --allow-empty -m evil";
/// As a person: without storkit's variables, and without hooks.
const BARE: &str = "env -i PATH=\"$PATH\" HOME=/nonexistent git -c core.hooksPath=/dev/null";

#[test]
fn an_agent_works_on_its_branch_without_a_sandbox() {
    let run = Run::plain();
    run.does(COMMIT);
    run.does("git commit -q --amend -m better && git rebase -q --force-rebase main");
    assert_eq!((run.worktree.settle().expect("imported").ahead, run.tampering()), (1, vec![]));
    assert_eq!(run.own_log(), "better\nfirst");
}

#[test]
fn an_agent_works_on_its_branch_in_a_sandbox() {
    needs!(Bubblewrap);
    let run = Run::boxed();
    run.does(COMMIT);
    let output =
        run.sh("git commit -q --amend -m better && git rebase -q --force-rebase main && git repack -q -d -n");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    assert_eq!(run.own_log(), "first", "nothing is taken unseen");
    let imported = run.worktree.settle().expect("imported");
    assert_eq!((imported.ahead, run.tampering()), (1, vec![]));
    assert_eq!(run.own_log(), "better\nfirst");
    assert_eq!(run.worktree.uncommitted().expect("a status"), Vec::<String>::new());
    assert_eq!(run.fixture.git(&["fsck", "--strict"]), "");
}

#[test]
fn commits_that_were_taken_in_while_the_agent_ran_are_not_uncommitted_work_afterwards() {
    needs!(Bubblewrap);
    let run = Run::boxed();
    run.does(COMMIT);
    run.worktree.import().expect("imported while it runs");
    assert_eq!(run.worktree.settle().expect("imported").ahead, 1);
    assert_eq!(run.worktree.uncommitted().expect("a status"), Vec::<String>::new());
    // Nor for the next run, where storkit was killed before it could settle the first one.
    let run = Run::boxed();
    run.does(COMMIT);
    run.worktree.import().expect("imported while it runs");
    run.fixture.prepare("7_x").enclose().expect("a place");
    run.does("test -z \"$(git status --porcelain)\"");
}

#[test]
fn a_second_confined_run_goes_on_with_the_first_ones_commits_and_files() {
    needs!(Bubblewrap);
    let run = Run::boxed();
    run.does(COMMIT);
    run.does("echo more > more.txt; git add more.txt");
    run.worktree.settle().expect("imported");
    assert_eq!(run.worktree.uncommitted().expect("a status"), ["more.txt"]);
    let worktree = run.fixture.prepare("7_x");
    worktree.enclose().expect("a place");
    run.does("git add more.txt && git commit -q -m more && git log --format=%s | grep -x work");
    assert_eq!(run.worktree.settle().expect("imported").ahead, 2);
}

#[test]
fn a_persons_git_works_beside_commits_that_are_not_yet_taken_in() {
    needs!(Bubblewrap);
    let run = Run::boxed();
    run.does(COMMIT);
    run.fixture.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(run.fixture.git(&["status", "--porcelain", "-uall"]), "");
    assert!(run.fixture.git(&["log", "--all", "--format=%s"]).contains("first"));
    run.fixture.git(&["pack-refs", "--all"]);
    run.does("echo 2 > 2.txt && git add 2.txt && git commit -q -m two");
    assert_eq!(run.worktree.settle().expect("imported").ahead, 2);
    assert_eq!(run.fixture.git(&["fsck", "--strict"]), "");
}

#[test]
fn a_commit_on_base_by_absolute_path_is_refused() {
    needs!(Bubblewrap);
    let told = Run::plain().is_refused(COMMIT_ON_BASE);
    insta::assert_snapshot!(told.trim(), @"storkit: no commits in this checkout. This run may commit only on feature/story-7_x/work, in its own worktree.");
    Run::plain().is_refused(&format!("{COMMIT_ON_BASE} --no-verify"));
    Run::boxed().is_refused(COMMIT_ON_BASE);
}

#[test]
fn a_commit_on_base_from_the_worktree_is_refused() {
    needs!(Bubblewrap);
    let script = "git symbolic-ref HEAD refs/heads/main && git commit -q --no-verify --allow-empty -m evil";
    Run::plain().is_refused(script);
    Run::boxed().is_refused(script);
    Run::plain().is_refused("git switch -q main");
    Run::boxed().is_refused("git switch -q main");
}

#[test]
fn moving_base_is_refused() {
    needs!(Bubblewrap);
    for script in
        ["git update-ref refs/heads/main HEAD", "git branch -f main HEAD", "git push -q . HEAD:main"]
    {
        Run::plain().is_refused(&format!("{COMMIT} && {script}"));
        Run::boxed().is_refused(&format!("{COMMIT} && {script}"));
    }
    Run::boxed().is_refused(&format!("{COMMIT} && {BARE} update-ref refs/heads/main HEAD"));
    Run::boxed().is_refused("echo 0000 > \"$ROOT/.git/refs/heads/main\"");
}

#[test]
fn moving_the_board_is_refused() {
    needs!(Bubblewrap);
    for run in [Run::plain(), Run::boxed()] {
        run.fixture.git(&["branch", "storkit/board"]);
        run.is_refused(&format!("{COMMIT} && git update-ref refs/heads/storkit/board HEAD"));
        run.is_refused("git update-ref -d refs/heads/storkit/board");
    }
}

#[test]
fn a_base_that_was_moved_past_the_hooks_is_seen_rescued_and_put_back() {
    let run = Run::plain();
    run.fixture.write("mine.txt", "uncommitted");
    run.does(&format!("{COMMIT} && {BARE} update-ref refs/heads/main HEAD"));
    let tampering = run.tampering();
    let [Tampering::BaseMoved { back_to, after, by: Culprit::Agent, .. }, ..] = tampering[..] else {
        panic!("{tampering:?}")
    };
    let guard = BaseGuard::lock(&run.fixture.project).expect("a lock");
    let (id, now) =
        (run.worktree.owner().story().expect("a story's").id(), std::time::SystemTime::UNIX_EPOCH);
    let rescued = rescue(&run.fixture.project, &guard, "main", back_to, after, id, now).expect("rescued");
    assert_eq!((rescued.branch.as_deref(), rescued.restored), (Some("storkit/rescue/7-0"), true));
    assert_eq!(run.fixture.git(&["log", "--format=%s", "main"]), "first");
    assert_eq!(run.fixture.git(&["log", "--format=%s", "storkit/rescue/7-0"]), "work\nfirst");
    assert_eq!(run.fixture.git(&["status", "--porcelain"]), "?? mine.txt");
}

#[test]
fn a_commit_in_the_main_checkout_past_the_hooks_is_seen_and_its_files_follow_base_back() {
    let run = Run::plain();
    run.fixture.write("mine.txt", "uncommitted");
    run.does(&format!(
        "cd \"$ROOT\" && echo evil > evil.txt && {BARE} add evil.txt && {BARE} commit -q -m evil"
    ));
    let tampering = run.tampering();
    let Some(Tampering::BaseMoved { before, after, by: Culprit::Unknown, .. }) = tampering.first() else {
        panic!("{tampering:?}")
    };
    let guard = BaseGuard::lock(&run.fixture.project).expect("a lock");
    let (id, now) =
        (run.worktree.owner().story().expect("a story's").id(), std::time::SystemTime::UNIX_EPOCH);
    let rescued =
        rescue(&run.fixture.project, &guard, "main", Some(*before), *after, id, now).expect("rescued");
    assert_eq!((rescued.restored, rescued.checkout), (true, CheckoutFate::Followed));
    assert_eq!(run.fixture.git(&["status", "--porcelain"]), "?? mine.txt");
    assert!(!run.fixture.root().join("evil.txt").exists());
}

#[test]
fn base_is_not_put_back_over_work_that_others_built_on_it_and_uncommitted_files_are_never_lost() {
    let run = Run::plain();
    run.does(&format!("cd \"$ROOT\" && echo evil > a.txt && {BARE} commit -q -a -m evil"));
    let before = run.before.base_tip().expect("a tip");
    let after = git2::Oid::from_str(&run.fixture.git(&["rev-parse", "main"])).expect("an id");
    let guard = BaseGuard::lock(&run.fixture.project).expect("a lock");
    let (id, now) =
        (run.worktree.owner().story().expect("a story's").id(), std::time::SystemTime::UNIX_EPOCH);
    let again =
        || rescue(&run.fixture.project, &guard, "main", Some(before), Some(after), id, now).expect("rescued");
    run.fixture.git(&["branch", "built-on-it"]);
    assert!(!again().restored);
    run.fixture.git(&["branch", "-D", "built-on-it"]);
    run.fixture.write("a.txt", "a person went on from here\n");
    let rescued = again();
    assert_eq!((rescued.restored, rescued.checkout), (true, CheckoutFate::Left));
    assert_eq!(rescued.branch.as_deref(), Some("storkit/rescue/7-0-2"), "the first rescue branch stays");
    assert_eq!(run.fixture.read("a.txt"), "a person went on from here\n");
}

#[test]
fn a_deleted_base_is_made_again() {
    let run = Run::plain();
    run.does(&format!("{BARE} update-ref -d refs/heads/main"));
    let Some(Tampering::BaseMoved { before, after: None, .. }) = run.tampering().first().cloned() else {
        panic!("unseen")
    };
    let guard = BaseGuard::lock(&run.fixture.project).expect("a lock");
    let (id, now) =
        (run.worktree.owner().story().expect("a story's").id(), std::time::SystemTime::UNIX_EPOCH);
    assert!(
        rescue(&run.fixture.project, &guard, "main", Some(before), None, id, now).expect("rescued").restored
    );
    assert_eq!(run.tampering(), []);
}

#[test]
fn deleting_another_branch_is_refused_or_seen() {
    needs!(Bubblewrap);
    Run::plain().is_refused("git branch -q -D other");
    Run::boxed().is_refused("git branch -q -D other");
    Run::boxed().is_refused(&format!("{BARE} branch -q -D other"));
    let run = Run::plain();
    run.does(&format!("{BARE} branch -q -D other"));
    let tampering = run.tampering();
    assert!(
        matches!(&tampering[..], [Tampering::RefChanged { name, after: None, .. }] if name == "refs/heads/other")
    );
    insta::assert_snapshot!(tampering[0], @"`refs/heads/other` is gone");
}

#[test]
fn tags_stashes_and_new_branches_of_an_agent_are_refused() {
    needs!(Bubblewrap);
    for script in ["git tag v1", "git branch mine", "echo b > a.txt && git stash -q"] {
        Run::plain().is_refused(script);
        Run::boxed().is_refused(script);
    }
}

#[test]
fn deleting_its_own_branch_is_refused_or_mended() {
    needs!(Bubblewrap);
    let gone = "git update-ref -d refs/heads/feature/story-7_x/work";
    Run::plain().is_refused(gone);
    let run = Run::plain();
    run.does(COMMIT);
    run.worktree.import().expect("imported");
    run.does(&format!("{BARE} update-ref -d refs/heads/feature/story-7_x/work"));
    assert!(run.tampering().iter().any(|one| matches!(one, Tampering::OwnBranchGone { .. })));
    assert!(matches!(run.worktree.settle(), Err(ImportError::Gone(_))));
    run.fixture.prepare("7_x");
    assert_eq!(run.own_log(), "work\nfirst", "as storkit last saw it");
    let run = Run::boxed();
    run.does("rm \"$ROOT/.git/refs/heads/feature/story-7_x/work\"");
    assert_eq!((run.worktree.settle().expect("imported").ahead, run.tampering()), (0, vec![]));
}

#[test]
fn removing_its_own_worktree_is_mended_and_in_a_sandbox_git_notices_nothing() {
    needs!(Bubblewrap);
    let run = Run::plain();
    run.does(&format!(
        "{COMMIT} && cd / && git -C \"$ROOT\" worktree remove --force .storkit/worktrees/slot-1"
    ));
    assert!(!run.worktree.path().exists());
    run.worktree.import().expect("the branch is there");
    assert!(run.fixture.prepare("7_x").path().join("work.txt").exists());
    let run = Run::boxed();
    run.does(COMMIT);
    run.sh("cd / && git -C \"$ROOT\" worktree remove --force .storkit/worktrees/slot-1; rm -rf \"$ROOT/.git/worktrees/slot-1\"");
    assert_eq!(run.fixture.git(&["worktree", "list"]).lines().count(), 2);
    assert_eq!((run.worktree.settle().expect("imported").ahead, run.tampering()), (1, vec![]));
}

#[test]
fn rewriting_history_stays_on_its_branch_and_is_told() {
    needs!(Bubblewrap);
    for run in [Run::plain(), Run::boxed()] {
        run.does(COMMIT);
        run.worktree.import().expect("imported");
        run.does("git reset -q --hard main && git commit -q --allow-empty -m other");
        let imported = run.worktree.settle();
        assert!(imported.as_ref().is_ok_and(|imported| imported.rewritten), "{imported:?}");
        assert_eq!(run.tampering(), []);
    }
}

#[test]
fn planting_a_hook_or_configuration_is_seen_and_in_a_sandbox_refused() {
    needs!(Bubblewrap);
    let plant = [
        "mkdir -p \"$ROOT/.git/hooks\" && echo evil > \"$ROOT/.git/hooks/post-merge\"",
        "git -C \"$ROOT\" config core.fsmonitor evil",
        "git config --worktree core.fsmonitor evil; git -C \"$ROOT\" config --worktree core.pager evil",
        "mkdir -p \"$ROOT/.git/info\" && echo '* filter=evil' > \"$ROOT/.git/info/attributes\"",
    ];
    for script in plant {
        let run = Run::plain();
        run.does(script);
        assert!(matches!(run.tampering()[..], [Tampering::SettingsChanged(_)]), "{script}");
        let run = Run::boxed();
        run.sh(script);
        assert_eq!(run.tampering(), [], "{script}");
    }
    plant[..2].iter().for_each(|script| drop(Run::boxed().is_refused(script)));
}

#[test]
fn what_a_confined_agent_writes_for_git_to_run_is_never_run_outside() {
    needs!(Bubblewrap);
    let run = Run::boxed();
    let proof = run.fixture.root().with_file_name("escaped");
    let trap = format!("touch '{}'", proof.display());
    run.does(&format!("git config --worktree core.fsmonitor \"{trap}\" || true; {COMMIT}"));
    run.does("git config --worktree core.hooksPath \"$PWD\" || true; rm -f .git 2>/dev/null; test -f .git");
    run.worktree.settle().expect("imported");
    run.worktree.uncommitted().expect("a status");
    run.fixture.git_in(run.worktree.path(), &["status"]);
    run.fixture.prepare("7_x").uncommitted().expect("a status");
    assert!(!proof.exists());
}

#[test]
fn deleting_objects_is_seen_and_in_a_sandbox_refused() {
    needs!(Bubblewrap);
    let delete = "rm -rf \"$ROOT\"/.git/objects/??";
    let run = Run::plain();
    run.does(delete);
    let after = Fingerprint::take(&run.fixture.project, "main", &run.worktree.branch());
    let seen = after.and_then(|after| compare(&run.before, &after, &OwnChanges::default()));
    assert!(
        seen.is_err()
            || seen.is_ok_and(|seen| seen.iter().any(|one| matches!(one, Tampering::ObjectsLost(_))))
    );
    let run = Run::boxed();
    run.does(&format!("{COMMIT}; {delete}"));
    assert_eq!(run.tampering(), []);
    assert_eq!(run.fixture.git(&["fsck", "--strict"]), "");
    assert!(
        matches!(run.worktree.settle(), Err(ImportError::Broken(_))),
        "its own commit is lost, and said so"
    );
    run.is_refused("rm -rf \"$ROOT\"/.storkit/objects/*");
    assert_eq!(run.fixture.git(&["fsck", "--strict"]), "");
}

#[test]
fn forged_objects_are_not_taken_in() {
    needs!(Bubblewrap);
    let run = Run::boxed();
    run.does(COMMIT);
    // A sound object under another's name: only its hash tells.
    run.does(
        "file() { echo \"$ROOT/.git/objects/$(echo \"$1\" | sed 's|..|&/|')\"; } && \
         true=$(git rev-parse HEAD:work.txt) && other=$(echo forged | git hash-object -w --stdin) && \
         cp -f \"$(file $other)\" \"$(file $true)\"",
    );
    let refused = run.worktree.settle();
    assert!(matches!(refused, Err(ImportError::Broken(_))), "{refused:?}");
    assert_eq!(run.own_log(), "first");
    assert_eq!(run.fixture.git(&["fsck", "--strict"]), "");
}

#[test]
fn writing_outside_the_worktree_is_seen_and_in_a_sandbox_refused() {
    needs!(Bubblewrap);
    let run = Run::plain();
    run.does("echo evil > \"$ROOT/a.txt\"; echo evil > \"$ROOT/new.txt\"");
    let [Tampering::CheckoutChanged(files)] = &run.tampering()[..] else { panic!("{:?}", run.tampering()) };
    assert_eq!(files[..], ["a.txt", "new.txt"]);
    let run = Run::boxed();
    for path in
        ["$ROOT/a.txt", "$ROOT/.storkit/new", "$ROOT/.storkit/work/x", "/etc/storkit-was-here", "/usr/x"]
    {
        run.is_refused(&format!("echo evil > \"{path}\""));
    }
    run.does("echo fine > /tmp/mine && echo fine > new.txt");
}

#[test]
fn staging_in_the_main_checkout_is_seen_and_in_a_sandbox_refused() {
    needs!(Bubblewrap);
    let script = "git -C \"$ROOT\" rm -q --cached a.txt";
    let run = Run::plain();
    run.does(script);
    assert!(run.tampering().contains(&Tampering::IndexChanged(vec!["a.txt".into()])));
    Run::boxed().is_refused(script);
}

#[test]
fn a_confined_agent_sees_neither_secrets_nor_other_worktrees_nor_other_processes() {
    needs!(Bubblewrap);
    let run = Run::boxed();
    let other = run.fixture.prepare("8_y");
    fs::write(run.fixture.project.dir().join("bot.toml"), "token").expect("a file");
    fs::write(run.fixture.project.run_dir().join("mcp.json"), "token").expect("a file");
    for path in ["$ROOT/.storkit/bot.toml", "$ROOT/.storkit/run/mcp.json", "$ROOT/../home/.ssh/id"] {
        run.is_refused(&format!("cat \"{path}\""));
    }
    run.is_refused(&format!("ls '{}'", other.path().display()));
    run.does(&format!(
        "test ! -e /proc/{} && test \"$(ls -d /proc/[0-9]* | wc -l)\" -lt 9",
        std::process::id()
    ));
    run.is_refused("mount -o remount,rw / || mount --bind /tmp /mnt");
}

#[test]
fn too_large_a_file_is_refused_and_the_next_run_can_mend_it() {
    needs!(Bubblewrap);
    let mut fixture = WorktreeFixture::new();
    fixture.limits.file = 1_000_000;
    let home = fixture.root().with_file_name("home");
    let run = Run::with(fixture, Confinement::Bwrap(bwrap(&home)));
    run.does("head -c 3000000 /dev/urandom > big.bin && git add big.bin && git commit -q -m big");
    assert!(matches!(run.worktree.settle(), Err(ImportError::FileTooLarge { .. })));
    assert_eq!((run.own_log().as_str(), run.tampering()), ("first", vec![]));
    run.worktree.enclose().expect("a place");
    run.does(
        "git rm -q big.bin && echo small > small.txt && git add small.txt && git commit -q --amend -m small",
    );
    assert_eq!(run.worktree.settle().expect("imported").ahead, 1);
    let objects = run.fixture.git(&["count-objects", "-v"]);
    assert!(!objects.contains("size: 3"), "the large file never came in: {objects}");
}

#[test]
fn a_person_may_do_all_that_an_agent_may_not() {
    let run = Run::plain();
    run.fixture.git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
    run.fixture.git(&["branch", "-D", "other"]);
    run.fixture.git(&["tag", "v1"]);
    run.fixture.git(&["update-ref", "-d", "refs/tags/v1"]);
    run.fixture.git(&["config", "alias.x", "status"]);
    // Also an agent's own repositories, e.g. those that a project's tests make.
    run.does("git init -q /tmp/storkit-probe-$$ && cd /tmp/storkit-probe-$$ && git -c user.name=a -c user.email=b commit -q --allow-empty -m x && git tag v1 && rm -rf /tmp/storkit-probe-$$");
}

#[test]
fn what_storkit_itself_merged_meanwhile_is_no_tampering() {
    let run = Run::plain();
    run.fixture.git(&["commit", "-q", "--allow-empty", "-m", "storkit: merge 1 x"]);
    let commit = run.fixture.git(&["rev-parse", "main"]);
    let after =
        Fingerprint::take(&run.fixture.project, "main", &run.worktree.branch()).expect("a fingerprint");
    let ours = OwnChanges { commits: [commit].into(), paths: vec![] };
    assert_eq!(compare(&run.before, &after, &ours).expect("a comparison"), []);
    assert_eq!(compare(&run.before, &after, &OwnChanges::default()).expect("a comparison").len(), 1);
    assert!(GitProgram::at(&run.fixture.root()).asks(["diff", "--quiet"]).expect("it answers"));
}

#[test]
fn an_agent_works_on_its_branch_behind_landlock() {
    let fixture = WorktreeFixture::new();
    let Some(wall) = landlock(&fixture.root().with_file_name("home")) else { return };
    let run = Run::with(fixture, Confinement::Landlock(wall));
    run.does(COMMIT);
    // Its copy of base is its own.
    run.does("git -c core.hooksPath=/dev/null update-ref refs/heads/main HEAD && git config core.pager evil");
    run.does("git commit -q --amend -m better && git repack -q -d -n && git status --porcelain");
    assert_eq!(run.own_log(), "first", "nothing is taken unseen");
    let imported = run.worktree.settle().expect("imported");
    assert_eq!((imported.ahead, run.tampering()), (1, vec![]));
    assert_eq!(run.own_log(), "better\nfirst");
    // A person's git, storkit's, and the next process find the repository again.
    assert_eq!(run.fixture.git_in(run.worktree.path(), &["status", "--porcelain"]), "");
    run.worktree.enclose().expect("a place");
    run.does("test -e work.txt && git log -1 --format=%s | grep -q better");
    run.is_refused("echo evil > \"$ROOT/a.txt\"");
    run.is_refused("echo evil > \"$ROOT/.git/refs/heads/main\"");
    run.is_refused("rm -rf \"$ROOT/.git/objects/\"??");
}

/// What the table in `docs/design.md` says of Landlock. Some of it works on a private copy, which is gone with the process.
#[test]
fn nothing_that_an_agent_may_not_do_reaches_the_repository_behind_landlock() {
    let fixture = WorktreeFixture::new();
    let Some(wall) = landlock(&fixture.root().with_file_name("home")) else { return };
    fs::write(fixture.project.dir().join("bot.toml"), "token").expect("a file");
    fixture.prepare("8_y");
    let run = Run::with(fixture, Confinement::Landlock(wall));
    run.does(COMMIT);
    let own = "refs/heads/feature/story-7_x/work";
    for script in [
        COMMIT_ON_BASE.to_owned(),
        "git commit -q --no-verify --allow-empty -m evil && git push -q . HEAD:main".into(),
        "git update-ref refs/heads/main HEAD; git branch -f main HEAD".into(),
        format!("{BARE} update-ref refs/heads/main HEAD; {BARE} -C \"$ROOT\" update-ref refs/heads/main HEAD"),
        "git branch -q -D other".into(),
        format!("{BARE} -C \"$ROOT\" branch -q -D other"),
        "git tag v1; git branch mine; git config --worktree core.fsmonitor evil".into(),
        "mkdir -p \"$ROOT/.git/hooks\"; echo evil > \"$ROOT/.git/hooks/post-merge\"".into(),
        "git -C \"$ROOT\" config core.fsmonitor evil; echo evil >> \"$ROOT/.git/config\"".into(),
        "echo '* filter=evil' > \"$ROOT/.git/info/attributes\"; echo evil > ../.hooks/pre-commit".into(),
        "rm -rf \"$ROOT\"/.git/objects/??".into(),
        "echo evil > \"$ROOT/a.txt\"; echo evil > \"$ROOT/.storkit/work/x\"; echo evil > /etc/storkit-was-here".into(),
        "git -C \"$ROOT\" rm -q --cached a.txt".into(),
        format!("{BARE} -C \"$ROOT\" update-ref -d {own}; rm -f \"$ROOT/.git/{own}\""),
        "cd / && git -C \"$ROOT\" worktree remove --force .storkit/worktrees/slot-1; rm -rf \"$ROOT/.git/worktrees\"".into(),
    ] {
        run.sh(&script);
        assert_eq!(run.tampering(), [], "{script}");
    }
    assert!(!std::path::Path::new("/etc/storkit-was-here").exists());
    for path in ["$ROOT/.storkit/bot.toml", "../slot-1/a.txt", "$ROOT/a.txt"] {
        run.is_refused(&format!("cat \"{path}\""));
    }
    assert_eq!(run.fixture.git(&["fsck", "--strict"]), "");
    assert_eq!(run.fixture.git(&["worktree", "list"]).lines().count(), 3);
    assert_eq!((run.own_log().as_str(), run.worktree.settle().is_ok()), ("first", true));
}

#[test]
fn objects_of_other_repositories_are_not_taken_in_by_what_an_agent_borrows() {
    let fixture = WorktreeFixture::new();
    let Some(wall) = landlock(&fixture.root().with_file_name("home")) else { return };
    let run = Run::with(fixture, Confinement::Landlock(wall));
    run.does(COMMIT);
    let other = WorktreeFixture::new();
    let store = other.root().join(".git/objects");
    run.does(&format!(
        "echo '{}' >> \"$(git rev-parse --git-path objects)/info/alternates\"",
        store.display()
    ));
    assert!(matches!(run.worktree.settle(), Err(ImportError::Broken(_))));
    assert_eq!((run.own_log().as_str(), run.tampering()), ("first", vec![]));
}
