//! The parts of its own folder that a confined Claude Code may write: its memory, never anything that makes it, or
//! another session of it, run something.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that 2.1.330 writes next to `projects`. Not `plugins`, whose content it runs, nor its settings.
const STATE: [&str; 8] =
    ["backups", "debug", "file-history", "plans", "session-env", "sessions", "shell-snapshots", "todos"];

/// Longer names are shortened by the CLI in a way of its own.
const MAX_SLUG: usize = 180;

/// The CLI's folder without symbolic links, made where it is missing.
pub(super) fn real_path(config: &Path) -> PathBuf {
    // Bubblewrap cannot mount onto a link that leads out of the mounts before it.
    let made = fs::create_dir_all(config).and_then(|()| config.canonicalize());
    made.unwrap_or_else(|_| config.to_owned())
}

/// Folders of the CLI's configuration that a run in `cwd` may write; made where they are missing.
pub(super) fn writable(config: &Path, cwd: &Path) -> Vec<PathBuf> {
    let state = STATE.iter().map(|name| config.join(name));
    let all: Vec<PathBuf> = state.chain([sessions(config, cwd)]).collect();
    all.into_iter().filter(|folder| fs::create_dir_all(folder).is_ok()).collect()
}

/// The CLI's folder for the sessions of `cwd`: its path, with everything but ASCII letters and digits replaced by `-`. The
/// sessions of other folders are none of this run's business.
fn sessions(config: &Path, cwd: &Path) -> PathBuf {
    let path = cwd.to_string_lossy();
    let slug: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let projects = config.join("projects");
    // For a shortened name we do not know the folder, so all of them are writable.
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
