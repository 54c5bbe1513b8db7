//! What Claude Code may write of its own folder: what it remembers, never what tells it, or another session of it,
//! to run something.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that 2.1.330 writes beside `projects`. Not `plugins`, whose content it runs, nor its settings.
const STATE: [&str; 8] =
    ["backups", "debug", "file-history", "plans", "session-env", "sessions", "shell-snapshots", "todos"];

/// Longer names are shortened by the CLI in a way of its own.
const MAX_SLUG: usize = 180;

/// The CLI's folder, made where it is missing. Without symbolic links: bubblewrap cannot mount onto one that leads out
/// of what is mounted already.
pub(super) fn real_path(config: &Path) -> PathBuf {
    let made = fs::create_dir_all(config).and_then(|()| config.canonicalize());
    made.unwrap_or_else(|_| config.to_owned())
}

/// Folders of the CLI's configuration that a run in `cwd` may write; made where they are missing.
pub(super) fn writable(config: &Path, cwd: &Path) -> Vec<PathBuf> {
    let state = STATE.iter().map(|name| config.join(name));
    let all: Vec<PathBuf> = state.chain([sessions(config, cwd)]).collect();
    all.into_iter().filter(|folder| fs::create_dir_all(folder).is_ok()).collect()
}

/// Where the CLI keeps what was said in `cwd`: its path with every other character replaced by `-`. The sessions of
/// other folders are none of this run's business.
fn sessions(config: &Path, cwd: &Path) -> PathBuf {
    let path = cwd.to_string_lossy();
    let slug: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let projects = config.join("projects");
    if slug.len() > MAX_SLUG { projects } else { projects.join(slug) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sessions_of_this_folder_and_the_clis_own_state_are_writable() {
        let home = tempfile::tempdir().expect("a folder");
        let writable = writable(home.path(), Path::new("/p/.storkit/worktrees/7_x"));
        assert!(writable.iter().all(|folder| folder.is_dir()));
        let names: Vec<_> =
            writable.iter().filter_map(|folder| folder.strip_prefix(home.path()).ok()).collect();
        assert!(names.contains(&Path::new("projects/-p--storkit-worktrees-7-x")), "{names:?}");
        assert!(!names.iter().any(|name| ["", "projects", "plugins"].contains(&name.to_str().unwrap_or(""))));
    }
}
