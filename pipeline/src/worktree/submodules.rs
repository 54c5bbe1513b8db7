//! The project's submodules in a worktree of storkit's: each has its files, and git data of its own that borrows its objects from the
//! main checkout's. Where git keeps it (`worktrees/NAME/modules/`), so that a confined agent gets a private copy with the rest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use git2::{Oid, Repository};

use super::{error::at, remove::remove_tree};
use crate::{
    git::{
        program::GitProgram,
        submodules::{links, listed, without_user},
    },
    worktree::error::WorktreeError,
};

/// Submodules of submodules of submodules.
const DEPTH: u32 = 4;

/// Fills in the submodules of a commit that was checked out into `folder`, whose git data is `admin`: those that the main checkout has
/// initialised, at the commits that it has. The others stay empty. Untracked files that git ignores stay. Blocks.
pub(crate) fn fill_submodules(
    common: &Path,
    admin: &Path,
    folder: &Path,
    commit: Oid,
) -> Result<(), WorktreeError> {
    fill((common, admin), folder, commit, DEPTH)
}

fn fill((store, admin): (&Path, &Path), folder: &Path, commit: Oid, depth: u32) -> Result<(), WorktreeError> {
    let repository = Repository::open(store)?;
    let tree = repository.find_commit(commit)?.tree_id();
    let modules = listed(&repository, tree)?;
    if modules.is_empty() || depth == 0 {
        return Ok(());
    }
    for (path, commit) in links(&repository, tree)? {
        let Some(module) = modules.get(&path) else { continue };
        let [from, to] = [store, admin].map(|folder| folder.join("modules").join(&module.name));
        let is_there = from.join("HEAD").is_file()
            && Repository::open(&from).is_ok_and(|found| found.find_commit(commit).is_ok());
        let Some(place) = place_of(folder, &path).filter(|_| is_there) else { continue };
        make(&from, &to, &place)?;
        let git = GitProgram::explicit(&to, &place);
        git.run(["checkout", "--quiet", "--force", "--detach", &commit.to_string()])?;
        // What gates left there in an earlier merge.
        git.run(["clean", "--quiet", "--force", "--force", "-d"])?;
        fill((&from, &to), &place, commit, depth - 1)?;
    }
    Ok(())
}

/// The folder of a submodule in the worktree, if no link leads there.
fn place_of(folder: &Path, path: &Path) -> Option<PathBuf> {
    let mut place = folder.to_owned();
    for part in path.components() {
        place.push(part);
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return None,
            Err(_) => fs::create_dir(&place).ok()?,
        }
    }
    Some(place)
}

// Always anew: where no wall is, an agent could have changed what an earlier one says.
fn make(from: &Path, to: &Path, place: &Path) -> Result<(), WorktreeError> {
    remove_tree(to)?;
    fs::create_dir_all(to).map_err(at(to))?;
    let store = GitProgram::explicit(from, from);
    let format = store.run(["rev-parse", "--show-object-format"])?;
    GitProgram::at(to).run(["init", "--quiet", "--bare", "--template=", "--object-format", &format, "."])?;
    let write = |name: &str, text: String| {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap_or(to))
            .and_then(|()| fs::write(&path, text))
            .map_err(at(&path))
    };
    let objects = from.join("objects");
    write(
        "objects/info/alternates",
        format!("{}\n{}", objects.display(), super::enclosed::further_stores(&objects)),
    )?;
    if let Ok(shallow) = fs::read_to_string(from.join("shallow")) {
        write("shallow", shallow)?;
    }
    let git = GitProgram::explicit(to, place);
    git.run(["config", "core.bare", "false"])?;
    git.run(["config", "core.worktree", &place.to_string_lossy()])?;
    let url = store.answer(["config", "--get", "remote.origin.url"], &[])?;
    if url.code == Some(0) {
        let url = without_user(String::from_utf8_lossy(&url.stdout).trim_end());
        git.run(["config", "remote.origin.url", &url])?;
        git.run(["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"])?;
    }
    // Names for what the store has: no object is copied.
    let refs =
        store.run(["for-each-ref", "--format=create %(refname) %(objectname)", "refs/remotes/origin/**"])?;
    let plain: String =
        refs.lines().filter(|line| !line.contains("/HEAD ")).map(|line| format!("{line}\n")).collect();
    git.run_with(["update-ref", "--stdin"], plain.as_bytes())?;
    let link = place.join(".git");
    // Removed first: whatever it is, it is not followed.
    remove_tree(&link)?;
    fs::write(&link, format!("gitdir: {}\n", to.display())).map_err(at(&link))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    const FILES: [&str; 2] = ["-c", "protocol.file.allow=always"];

    /// A project with a library at `vendor/lib`, which has one of its own at `deep`.
    fn with_submodules() -> (WorktreeFixture, [WorktreeFixture; 2]) {
        let [project, lib, deep] = [0; 3].map(|_| WorktreeFixture::new());
        let add = |into: &WorktreeFixture, what: &WorktreeFixture, path: &str| {
            let url = what.root().to_str().expect("text").to_owned();
            into.git(&[&FILES[..], &["submodule", "--quiet", "add", &url, path]].concat());
            into.git(&["commit", "-q", "-m", "submodule"]);
        };
        deep.write("deep.txt", "deep\n");
        deep.git(&["add", "deep.txt"]);
        deep.git(&["commit", "-q", "-m", "deep"]);
        add(&lib, &deep, "deep");
        add(&project, &lib, "vendor/lib");
        project.git(&[&FILES[..], &["submodule", "--quiet", "update", "--init", "--recursive"]].concat());
        (project, [lib, deep])
    }

    #[test]
    fn submodules_have_their_files_in_a_storys_worktree_and_git_works_there() {
        let (project, _libraries) = with_submodules();
        let worktree = project.prepare("7_x");
        let lib = worktree.path().join("vendor/lib");
        assert_eq!(fs::read_to_string(lib.join("a.txt")).expect("a file"), "a\n");
        assert_eq!(fs::read_to_string(lib.join("deep/deep.txt")).expect("a file"), "deep\n");
        assert_eq!(project.git_in(worktree.path(), &["status", "--porcelain"]), "");
        assert_eq!(
            project.git_in(worktree.path(), &["submodule", "status", "--recursive"]).lines().count(),
            2
        );
        fs::write(lib.join("a.txt"), "changed\n").expect("a file");
        let who = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        project.git_in(&lib, &[&who[..], &["commit", "-q", "-a", "-m", "more"]].concat());
        assert_eq!(project.git_in(worktree.path(), &["status", "--porcelain"]), " M vendor/lib");
        assert_eq!(project.git(&["status", "--porcelain"]), "", "the main checkout has nothing of it");
        assert_eq!(worktree.uncommitted().expect("a status"), Vec::<String>::new());
    }

    #[test]
    fn what_a_confined_agent_commits_in_a_submodule_is_there_for_its_next_process() {
        let (project, _libraries) = with_submodules();
        let worktree = project.prepare("7_x");
        worktree.enclose().expect("private copies");
        let copy = worktree.layout.private.join("admin/modules/vendor/lib");
        assert!(copy.join("HEAD").is_file());
        fs::write(copy.join("objects/new"), "an object").expect("a file");
        worktree.settle().expect("it is imported");
        worktree.enclose().expect("private copies");
        assert!(copy.join("objects/new").is_file());
        assert!(!worktree.admin.join("modules/vendor/lib/objects/new").exists());
    }

    #[test]
    fn a_submodule_that_the_main_checkout_does_not_have_stays_empty() {
        let (project, _libraries) = with_submodules();
        project.git(&["submodule", "--quiet", "deinit", "--force", "--all"]);
        fs::remove_dir_all(project.root().join(".git/modules")).expect("it goes");
        let worktree = project.prepare("7_x");
        assert_eq!(fs::read_dir(worktree.path().join("vendor/lib")).expect("a folder").count(), 0);
        assert_eq!(project.git_in(worktree.path(), &["status", "--porcelain"]), "");
    }

    #[test]
    fn a_link_in_the_way_of_a_submodule_is_not_followed() {
        let (project, _libraries) = with_submodules();
        let worktree = project.prepare("7_x");
        let outside = tempfile::tempdir().expect("a folder");
        fs::create_dir(outside.path().join("lib")).expect("a folder");
        fs::remove_dir_all(worktree.path().join("vendor")).expect("it goes");
        symlink(outside.path(), worktree.path().join("vendor")).expect("a link");
        let tip = worktree.tip().expect("a tip");
        let common = project.root().join(".git");
        fill_submodules(&common, &worktree.admin, worktree.path(), tip).expect("it is left out");
        assert_eq!(fs::read_dir(outside.path().join("lib")).expect("a folder").count(), 0);
    }
}
