//! Makes a worktree, or repairs the rest of one. Files that an agent wrote are never deleted here: a checkout that git
//! has lost is put aside.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use git2::{Oid, Repository};
use rustix::fs::statvfs;

use super::{
    hooks,
    ignore_file::{self, IGNORED},
    layout::{WorktreeListLock, WorktreeLock, make_home},
    submodules::fill_submodules,
};
use crate::{
    git::{lfs, program::GitProgram},
    worktree::{
        error::{WorktreeError, at},
        layout::WorktreeLayout,
        owner::WorktreeOwner,
        remove::remove_tree,
        slots,
        worktrees::{AGENT_DOMAIN, Worktree, Worktrees},
    },
};

/// Where our part of a worktree's own configuration begins.
const OURS: &str = "# From here on written by storkit for the agent of this worktree.\n";

impl Worktrees {
    /// Makes the owner's worktree on its branch, from the tip of `base`, or repairs and returns the existing one.
    /// Reuses the branch of an earlier attempt. `agent` becomes author and committer there.
    ///
    /// Blocking: about `git worktree add`. Others who ask for the same one wait.
    /// Fails with a [`WorktreeError`], a sentence for a person; nothing that was there is lost.
    pub fn prepare(
        &self,
        owner: impl Into<WorktreeOwner>,
        base: &str,
        agent: &str,
    ) -> Result<Worktree, WorktreeError> {
        let owner = owner.into();
        let home = make_home(self.project.root())?;
        let _lock = WorktreeLock::take(&self.layout(&owner))?;
        // Read under the lock: it names the slot.
        let mut layout = self.layout(&owner);
        hooks::write(&layout.hooks).map_err(at(&layout.hooks))?;
        let repository = Repository::open(self.project.root())?;
        self.allow_own_settings(&repository)?;
        let admin = match standing(&layout).filter(|_| !slots::is_moving(&layout)) {
            Some(admin) => mend(admin, &layout)?,
            None => {
                if self.check_space(&home, &repository).is_err() {
                    self.reap_slots(0)?;
                    self.check_space(&home, &repository)?;
                }
                let tip = self.begin_branch(&layout, &repository, base)?;
                // Before the checkout, which takes what is here.
                self.fetch_contents(base, tip)?;
                self.make(&mut layout, tip)?
            }
        };
        layout.keep_ref_folders(&self.common)?;
        write_settings(&admin, &layout, agent)?;
        Ok(Worktree { layout, limits: self.limits, admin, base: base.into() })
    }

    /// The owner's worktree, if it is complete. Makes and repairs nothing.
    pub fn find(&self, owner: impl Into<WorktreeOwner>, base: &str) -> Option<Worktree> {
        let layout = self.layout(&owner.into());
        let admin = standing(&layout)?;
        Some(Worktree { layout, limits: self.limits, admin, base: base.into() })
    }

    /// Lets each worktree have its own configuration (git-worktree(1), "CONFIGURATION FILE"), once per repository.
    /// `core.bare` and `core.worktree` are the main checkout's alone then.
    fn allow_own_settings(&self, repository: &Repository) -> Result<(), WorktreeError> {
        // Git refuses to write a file of settings that another process writes.
        let _listed = self.lock_list()?;
        let (root, common) = (self.project.root(), &self.common);
        let settings = repository.config()?;
        if settings.get_bool("extensions.worktreeConfig").unwrap_or(false) {
            return Ok(());
        }
        let (git, shared) = (GitProgram::at(root), common.join("config"));
        let file = |path: &Path, rest: &[&str]| {
            let head = [OsStr::new("config"), OsStr::new("--file"), path.as_os_str()];
            git.answer(head.into_iter().chain(rest.iter().map(OsStr::new)), &[])
        };
        let only_main = [("core.bare", "true"), ("core.worktree", "")];
        for (key, value) in only_main {
            let found = file(&shared, &["--get", key])?;
            let set = String::from_utf8_lossy(&found.stdout).trim_end().to_owned();
            if found.code == Some(0) && (value.is_empty() || set == value) {
                file(&common.join("config.worktree"), &[key, &set])?;
                file(&shared, &["--unset", key])?;
            }
        }
        git.run(["config", "extensions.worktreeConfig", "true"])?;
        Ok(())
    }

    /// Gets the contents in Git LFS that a commit needs.
    fn fetch_contents(&self, base: &str, commit: Oid) -> Result<(), WorktreeError> {
        let run = self.project.run_dir();
        fs::create_dir_all(&run).map_err(at(&run))?;
        Ok(lfs::fetch_missing((&self.common, &run), base, commit)?)
    }

    fn lock_list(&self) -> Result<WorktreeListLock, WorktreeError> {
        WorktreeListLock::take(&self.common).map_err(at(&self.common))
    }

    /// Makes sure that the owner's branch is there; returns its tip.
    fn begin_branch(
        &self,
        layout: &WorktreeLayout,
        repository: &Repository,
        base: &str,
    ) -> Result<Oid, WorktreeError> {
        let reference = layout.owner.reference();
        if let Ok(tip) = repository.refname_to_id(&reference) {
            return Ok(tip);
        }
        branch_in_the_way(repository, layout)?;
        // A branch that an agent deleted continues at the last imported commit, not at base.
        let known = last_tip(layout).filter(|tip| repository.find_commit(*tip).is_ok());
        let start = match known {
            Some(tip) => tip,
            None => repository.refname_to_id(&format!("refs/heads/{base}"))?,
        };
        // With an empty value in the place of the old one the branch must not exist (git-update-ref(1)).
        let message = "storkit: a branch of its own";
        GitProgram::at(self.project.root()).run([
            "update-ref",
            "-m",
            message,
            &reference,
            &start.to_string(),
            "",
        ])?;
        Ok(start)
    }

    /// Makes the checkout of the owner's branch, whose tip is `tip`: a story's in a free slot, where there is one.
    fn make(&self, layout: &mut WorktreeLayout, tip: Oid) -> Result<PathBuf, WorktreeError> {
        let listed = self.lock_list()?;
        clear_remains(layout)?;
        // A slot that was cut off while its files were moved is made anew.
        let free = match layout.slot {
            None if layout.owner.story().is_some() => slots::assign(layout)?,
            None => None,
            Some(slot) => {
                slots::begin_move(layout, slot)?;
                None
            }
        };
        if let Some(free) = free {
            // It is the owner's by now: others may use the list.
            drop(listed);
            match self.occupy(layout, &free, tip) {
                Ok(()) => return Ok(free.admin),
                Err(error) => {
                    tracing::warn!(slot = %free.name, %error, "a free worktree cannot be used and is made anew");
                }
            }
            let listed = self.lock_list()?;
            clear_slot(layout)?;
            return self.add(layout, tip, listed);
        }
        self.add(layout, tip, listed)
    }

    fn add(
        &self,
        layout: &WorktreeLayout,
        tip: Oid,
        listed: WorktreeListLock,
    ) -> Result<PathBuf, WorktreeError> {
        // `--force`: an agent may have checked the branch out elsewhere, which git would refuse.
        // Without files: they can be many, and others wait for the list.
        let args = ["worktree", "add", "--quiet", "--force", "--no-checkout"].map(OsStr::new);
        let branch = layout.owner.branch();
        let args = args.into_iter().chain([layout.folder.as_os_str(), OsStr::new(&branch)]);
        GitProgram::at(self.project.root()).run(args)?;
        drop(listed);
        let made = || at(&layout.folder)(std::io::Error::other("git made no worktree"));
        let admin = layout.admin().ok_or_else(made)?;
        // As `git worktree add` does it.
        GitProgram::at(&layout.folder).run(["reset", "--hard", "--quiet", "--no-recurse-submodules"])?;
        self.fill_submodules_of(layout, &admin, tip);
        if let Some(slot) = layout.slot {
            slots::end_move(layout, slot, tip)?;
        }
        Ok(admin)
    }

    pub(super) fn fill_submodules_of(&self, layout: &WorktreeLayout, admin: &Path, commit: Oid) {
        if let Err(error) = fill_submodules(&self.common, admin, &layout.folder, commit) {
            tracing::warn!(%error, "a worktree has no submodules");
        }
    }

    // A new worktree takes the files of the main checkout's index.
    fn check_space(&self, home: &Path, repository: &Repository) -> Result<(), WorktreeError> {
        let files =
            repository.index()?.iter().map(|entry| u64::from(entry.file_size).next_multiple_of(4096)).sum();
        let disk = statvfs(home).map_err(|error| at(home)(error.into()))?;
        let free = disk.f_bavail * disk.f_frsize;
        if free < self.limits.free.saturating_add(files) {
            return Err(WorktreeError::DiskFull { path: home.into(), files, spare: self.limits.free, free });
        }
        Ok(())
    }
}

/// The administrative folder, if git's notes, the checkout and the branch agree.
fn standing(layout: &WorktreeLayout) -> Option<PathBuf> {
    let admin = layout.admin()?;
    let link = fs::symlink_metadata(layout.folder.join(".git")).ok()?;
    let linked = fs::read_to_string(layout.folder.join(".git")).ok()?;
    // A killed storkit may have left the one of a confined agent.
    let leads_there = leads_to(&linked, &admin) || leads_to(&linked, &layout.private.join("admin"));
    // A `git worktree add` that was killed leaves `locked` behind, and no index.
    let whole = link.is_file() && leads_there && admin.join("index").is_file() && !is_initializing(&admin);
    (whole && Repository::open(&layout.common).ok()?.find_reference(&layout.owner.reference()).is_ok())
        .then_some(admin)
}

fn leads_to(link: &str, admin: &Path) -> bool {
    link.strip_prefix("gitdir: ").is_some_and(|path| Path::new(path.trim_end()) == admin)
}

fn is_initializing(admin: &Path) -> bool {
    fs::read_to_string(admin.join("locked")).is_ok_and(|reason| reason.trim_end() == "initializing")
}

// Nobody works in it now, so a lock is a dead git's. HEAD off the branch goes back on it, the files stay.
fn mend(admin: PathBuf, layout: &WorktreeLayout) -> Result<PathBuf, WorktreeError> {
    for lock in ["index.lock", "HEAD.lock"] {
        let _ = fs::remove_file(admin.join(lock));
    }
    let link = layout.folder.join(".git");
    if !fs::read_to_string(&link).is_ok_and(|linked| leads_to(&linked, &admin)) {
        // Removed first: whatever it is, it is not followed.
        let written = fs::remove_file(&link).and_then(|()| fs::File::create_new(&link));
        let text = format!("gitdir: {}\n", admin.display());
        written.and_then(|mut file| file.write_all(text.as_bytes())).map_err(at(&link))?;
    }
    let reference = layout.owner.reference();
    let head = fs::read_to_string(admin.join("HEAD")).unwrap_or_default();
    if head.trim_end() != format!("ref: {reference}") {
        let git = GitProgram::explicit(&admin, &layout.folder);
        // Through git the commits it was on stay in the reflog of HEAD.
        git.run(["symbolic-ref", "-m", "storkit: back on the story's branch", "HEAD", &reference])?;
        git.run(["reset", "--quiet", "--mixed"])?;
    }
    Ok(admin)
}

/// Removes a slot that cannot be used, with git's record of it. It holds nobody's work.
fn clear_slot(layout: &WorktreeLayout) -> Result<(), WorktreeError> {
    for admin in layout.notes() {
        remove_tree(&admin)?;
    }
    remove_tree(&layout.folder)
}

/// Removes the rest of an incomplete worktree: git's record of it, and its checkout, put aside
/// where it may hold work.
fn clear_remains(layout: &WorktreeLayout) -> Result<(), WorktreeError> {
    // The files of a slot are nobody's work while they are being moved.
    let mut unfinished = slots::is_moving(layout);
    for admin in layout.notes() {
        unfinished |= is_initializing(&admin) || !admin.join("index").exists();
        fs::remove_dir_all(&admin).map_err(at(&admin))?;
    }
    let Ok(found) = fs::symlink_metadata(&layout.folder) else { return Ok(()) };
    let empty = fs::read_dir(&layout.folder).is_ok_and(|mut entries| entries.next().is_none());
    // Empty, or git was killed while it made the checkout: it holds nobody's work.
    if found.is_dir() && (unfinished || empty) {
        return fs::remove_dir_all(&layout.folder).map_err(at(&layout.folder));
    }
    let aside = aside(layout);
    tracing::warn!(to = %aside.display(), "a worktree that git does not know is put aside");
    fs::rename(&layout.folder, &aside).map_err(at(&aside))
}

fn aside(layout: &WorktreeLayout) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = |again: u32| layout.folder.with_file_name(format!(".lost-{}-{seconds}-{again}", layout.owner));
    (1..).map(name).find(|path| fs::symlink_metadata(path).is_err()).unwrap_or_else(|| name(0))
}

// Where the branch was when storkit last looked, should an agent have deleted it.
fn last_tip(layout: &WorktreeLayout) -> Option<Oid> {
    Oid::from_str(fs::read_to_string(layout.private.join("tip")).ok()?.trim_end()).ok()
}

/// A branch that is named like one of the folders above ours.
fn branch_in_the_way(repository: &Repository, layout: &WorktreeLayout) -> Result<(), WorktreeError> {
    let branch = layout.owner.branch();
    let above = branch.match_indices('/').map(|(end, _)| &branch[..end]);
    for name in above {
        if repository.find_reference(&format!("refs/heads/{name}")).is_ok() {
            return Err(WorktreeError::BranchInTheWay(name.into(), branch.clone()));
        }
    }
    Ok(())
}

/// The worktree's own configuration: hooks, identity, and no housekeeping by an agent's git.
fn write_settings(admin: &Path, layout: &WorktreeLayout, agent: &str) -> Result<(), WorktreeError> {
    let note = admin.join(hooks::NOTE);
    fs::write(&note, format!("{}\n", layout.owner.reference())).map_err(at(&note))?;
    ignore_file::write(admin, &layout.root)?;
    let path = admin.join("config.worktree");
    let found = fs::read_to_string(&path).unwrap_or_default();
    let kept = found.split(OURS).next().unwrap_or_default();
    let line = if kept.is_empty() || kept.ends_with('\n') { "" } else { "\n" };
    fs::write(&path, format!("{kept}{line}{OURS}{}", settings(admin, layout, agent))).map_err(at(&path))
}

fn settings(admin: &Path, layout: &WorktreeLayout, agent: &str) -> String {
    let quoted = |text: &str| {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let mailbox: String =
        agent.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let (hooks, name) = (quoted(&layout.hooks.to_string_lossy()), quoted(agent));
    let ignored = quoted(&admin.join(IGNORED).to_string_lossy());
    format!(
        "[core]\n\thooksPath = {hooks}\n\texcludesFile = {ignored}\n[user]\n\tname = {name}\n\temail = \"{mailbox}{AGENT_DOMAIN}\"\n\
         [commit]\n\tgpgSign = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::worktree::{BranchFate, fixture::WorktreeFixture, worktrees::SizeLimits};

    #[test]
    fn a_worktree_is_made_on_the_storys_branch_and_git_status_does_not_see_it() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        assert_eq!(worktree.path(), fixture.root().join(".storkit/worktrees/slot-1"));
        assert_eq!(
            fixture.git_in(worktree.path(), &["symbolic-ref", "HEAD"]),
            "refs/heads/feature/story-7_x/work"
        );
        assert_eq!(fixture.read(".storkit/worktrees/slot-1/a.txt"), "a\n");
        assert_eq!(fixture.git(&["status", "--porcelain", "-uall"]), "");
    }

    #[test]
    fn worktrees_are_made_and_removed_side_by_side() {
        let fixture = WorktreeFixture::new();
        let names: Vec<String> = (1..=12).map(|number| format!("{number}_x")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| {
                    let worktree = fixture.prepare(name);
                    assert_eq!(fs::read_to_string(worktree.path().join("a.txt")).expect("a file"), "a\n");
                    let owner = worktree.owner().clone();
                    fixture.worktrees().remove(owner, BranchFate::Delete).expect("it is removed");
                });
            }
        });
        assert_eq!(fixture.git(&["worktree", "list"]).lines().count(), 1);
    }

    #[test]
    fn an_agents_commits_carry_its_identity_and_a_persons_stay_theirs() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        fixture.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "work"]);
        let who = ["log", "-1", "--format=%an <%ae>"];
        assert_eq!(fixture.git_in(worktree.path(), &who), "coder 1 <coder-1@agents.storkit.invalid>");
        fixture.git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
        assert_eq!(fixture.git(&who), "Ada <ada@example.com>");
    }

    #[test]
    fn preparing_again_keeps_commits_and_uncommitted_work() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        fixture.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "work"]);
        fs::write(worktree.path().join("new.txt"), "new").expect("a file");
        fs::write(worktree.admin.join("index.lock"), "").expect("a dead git's lock");
        let again = fixture.prepare("7_x");
        assert_eq!(again.uncommitted().expect("a status"), ["new.txt"]);
        assert_eq!(fixture.git_in(again.path(), &["log", "-1", "--format=%s"]), "work");
    }

    #[test]
    fn a_checkout_that_was_deleted_is_made_again_from_its_branch() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        fixture.git_in(worktree.path(), &["commit", "-q", "--allow-empty", "-m", "work"]);
        fs::remove_dir_all(worktree.path()).expect("gone");
        let again = fixture.prepare("7_x");
        assert_eq!(fixture.git_in(again.path(), &["log", "-1", "--format=%s"]), "work");
    }

    #[test]
    fn a_checkout_that_git_has_lost_is_put_aside_with_its_work() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        fs::write(worktree.path().join("new.txt"), "work").expect("a file");
        fs::remove_dir_all(&worktree.admin).expect("gone");
        fixture.prepare("7_x");
        let home = fixture.root().join(".storkit/worktrees");
        let entries = fs::read_dir(home).expect("the folder").flatten().map(|entry| entry.path());
        let aside: Vec<_> = entries.filter(|path| path.to_string_lossy().contains(".lost-7_x-")).collect();
        assert_eq!(fs::read_to_string(aside[0].join("new.txt")).expect("the work"), "work");
    }

    #[test]
    fn a_worktree_whose_making_was_killed_is_made_anew() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        fs::remove_file(worktree.admin.join("index")).expect("no index yet");
        fs::write(worktree.admin.join("locked"), "initializing\n").expect("its lock");
        fs::remove_file(worktree.path().join("a.txt")).expect("half checked out");
        let again = fixture.prepare("7_x");
        assert_eq!(again.uncommitted().expect("a status"), Vec::<String>::new());
        assert!(again.path().join("a.txt").exists() && !again.admin.join("locked").exists());
    }

    #[test]
    fn a_moved_worktree_and_a_detached_head_are_brought_back() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        fixture.git_in(worktree.path(), &["worktree", "move", ".", "../../../elsewhere"]);
        let again = fixture.prepare("7_x");
        fixture.git_in(again.path(), &["switch", "-q", "--detach"]);
        let again = fixture.prepare("7_x");
        assert_eq!(
            fixture.git_in(again.path(), &["symbolic-ref", "HEAD"]),
            "refs/heads/feature/story-7_x/work"
        );
        assert!(fixture.root().join("elsewhere/a.txt").exists(), "where it was moved nothing is deleted");
    }

    #[test]
    fn a_branch_that_is_in_the_way_and_a_link_get_a_sentence() {
        let fixture = WorktreeFixture::new();
        fixture.git(&["branch", "feature/story-7_x"]);
        insta::assert_snapshot!(fixture.try_prepare("7_x").unwrap_err(), @"The branch `feature/story-7_x` is in the way: git cannot have `feature/story-7_x` and `feature/story-7_x/work` at once. Rename it (`git branch -m feature/story-7_x NEW-NAME`) or delete it.");
        let fixture = WorktreeFixture::new();
        symlink("/tmp", fixture.root().join(".storkit/worktrees")).expect("a link");
        assert!(matches!(fixture.try_prepare("7_x"), Err(WorktreeError::Linked(_))));
    }

    #[test]
    fn a_full_disk_is_said_with_numbers_before_anything_is_made() {
        let mut fixture = WorktreeFixture::new();
        fixture.limits = SizeLimits { free: 1 << 60, ..SizeLimits::default() };
        let error = fixture.try_prepare("7_x").unwrap_err().to_string();
        assert!(
            error.contains("1152921504.6 GB needed (5 kB of files and 1152921504.6 GB to spare)"),
            "{error}"
        );
        assert!(!fixture.root().join(".storkit/worktrees/slot-1").exists());
    }

    #[test]
    fn ten_who_ask_at_once_get_one_worktree() {
        let fixture = WorktreeFixture::new();
        std::thread::scope(|scope| {
            let asking: Vec<_> =
                (0..10).map(|_| scope.spawn(|| fixture.prepare("7_x").path().to_owned())).collect();
            for asked in asking {
                assert_eq!(asked.join().expect("no panic"), fixture.root().join(".storkit/worktrees/slot-1"));
            }
        });
        assert_eq!(fixture.git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 2);
    }
}
