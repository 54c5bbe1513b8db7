//! What git ignores in a worktree beyond the project's own rules: a file of storkit's, the operator's global list, and what setups leave.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::error::at;
use crate::{git::program::GitProgram, worktree::error::WorktreeError};

/// Next to a worktree's HEAD: the patterns that git ignores there.
pub(super) const IGNORED: &str = "storkit-ignored";

/// Beside it: those of what setups left, which are asked for again with each run.
const LEFT: &str = "storkit-left";

/// Writes the patterns of a worktree whose git data is `admin`.
pub(super) fn write(admin: &Path, root: &Path) -> Result<(), WorktreeError> {
    let left = fs::read_to_string(admin.join(LEFT)).unwrap_or_default();
    let path = admin.join(IGNORED);
    // The worktree's `core.excludesFile` replaces the operator's list.
    fs::write(&path, format!("{}\n/.mcp.json\n{left}", operators(root)?)).map_err(at(&path))
}

fn operators(root: &Path) -> Result<String, WorktreeError> {
    let found = GitProgram::at(root).answer(["config", "--type=path", "--get", "core.excludesFile"], &[])?;
    let own = String::from_utf8_lossy(&found.stdout).trim_end().to_owned();
    let own = if found.code == Some(0) {
        Some(PathBuf::from(own))
    } else {
        // git-config(1): the default place.
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
        config.or_else(home).map(|config| config.join("git/ignore"))
    };
    Ok(own.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default())
}

/// Files and folders that git neither tracks nor ignores; whole folders as one, with a `/` at the end.
pub(super) fn untracked(git: &GitProgram) -> Result<BTreeSet<String>, WorktreeError> {
    let args = ["ls-files", "-z", "--others", "--exclude-standard", "--directory", "--no-empty-directory"];
    let listed = git.run(args)?;
    Ok(listed.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Has git ignore what setups left since `before`: it is no work of an agent's, and none of it is to be committed. `private` is a
/// confined agent's own git data.
pub(super) fn ignore_left(
    git: &GitProgram,
    (admin, private): (&Path, &Path),
    before: &BTreeSet<String>,
) -> Result<(), WorktreeError> {
    let left: String =
        untracked(git)?.difference(before).map(|path| format!("{}\n", pattern(path))).collect();
    if left.is_empty() {
        return Ok(());
    }
    for folder in [admin, private].into_iter().filter(|folder| folder.join("HEAD").is_file()) {
        for name in [LEFT, IGNORED] {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).unwrap_or_default();
            // A link in its place is replaced, and not followed.
            settings::atomic::write(&path, format!("{text}{left}").as_bytes()).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// A path as a pattern of gitignore(5) that matches nothing else.
fn pattern(path: &str) -> String {
    let escaped: String = path
        .chars()
        .flat_map(|c| matches!(c, '\\' | '*' | '?' | '[' | ' ').then_some('\\').into_iter().chain([c]))
        .collect();
    format!("/{escaped}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    #[test]
    fn what_a_setup_leaves_is_ignored_and_what_an_agent_left_before_is_not() {
        let fixture = WorktreeFixture::new();
        let worktree = fixture.prepare("7_x");
        let write = |name: &str| {
            let path = worktree.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, "").expect("a file");
        };
        let place = worktree.enclose().expect("a place");
        write("agent.txt");
        let git = GitProgram::explicit(&worktree.admin, worktree.path());
        let before = untracked(&git).expect("a list");
        write(".venv/bin/python");
        write("odd [name]* ");
        let folders = (worktree.admin.as_path(), place.private.join("admin"));
        ignore_left(&git, (folders.0, &folders.1), &before).expect("they are noted");
        assert_eq!(worktree.uncommitted().expect("a status"), ["agent.txt"]);
        let inside = fs::read_to_string(folders.1.join(IGNORED)).expect("the agent's own list");
        assert!(inside.ends_with("/.venv/\n/odd\\ \\[name]\\*\\ \n"), "{inside}");
        write("odd name");
        let again = fixture.prepare("7_x");
        assert_eq!(again.uncommitted().expect("a status"), ["agent.txt", "odd name"], "also in the next run");
    }
}
