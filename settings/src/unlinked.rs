//! Opens storkit's own files without following links below `.storkit/`. A `git pull` or `git switch` can replace a folder
//! that git ignores by a link while storkit runs, and what storkit writes would then go wherever the link leads.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

/// The folder below which no link is followed.
const FOLDER: &str = ".storkit";

/// Fails where the path, or a folder on its way, is a link below the last `.storkit` in it. Other paths are the
/// person's own, and pass.
pub fn check(path: &Path) -> io::Result<()> {
    for part in path.ancestors() {
        if fs::symlink_metadata(part).is_ok_and(|found| found.is_symlink()) && is_below(part) {
            let why =
                format!("`{}` is a symbolic link, and storkit follows none below `{FOLDER}`", part.display());
            return Err(io::Error::other(why));
        }
        if part.file_name() == Some(OsStr::new(FOLDER)) {
            break;
        }
    }
    Ok(())
}

fn is_below(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == FOLDER)
}

/// Opens a file that is no link and that no link leads to.
pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    check(path)?;
    options.open(path)
}

/// Makes a folder, and those above it, where no link leads to it.
pub fn create_dir_all(folder: &Path) -> io::Result<()> {
    check(folder)?;
    fs::create_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_below_the_state_folder_is_followed_neither_for_a_file_nor_for_a_folder() {
        let place = tempfile::tempdir().unwrap();
        let (state, elsewhere) = (place.path().join(".storkit"), place.path().join("elsewhere"));
        fs::create_dir(&state).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, state.join("logs")).unwrap();
        symlink(elsewhere.join("file"), state.join("file")).unwrap();
        let write = || OpenOptions::new().create(true).append(true).clone();
        for path in ["logs/a.log", "logs/deep/a.log", "file"] {
            assert!(open(&write(), &state.join(path)).is_err(), "{path}");
            assert!(crate::atomic::write(&state.join(path), b"x").is_err(), "{path}");
        }
        assert!(create_dir_all(&state.join("logs/deep")).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        fs::create_dir(state.join("run")).unwrap();
        assert!(open(&write(), &state.join("run/lock")).is_ok());
    }

    #[test]
    fn a_link_that_leads_to_the_project_is_the_persons_own() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("real/.storkit")).unwrap();
        symlink(place.path().join("real"), place.path().join("link")).unwrap();
        assert!(check(&place.path().join("link/.storkit/run/lock")).is_ok());
        assert!(check(&place.path().join("link/other")).is_ok());
    }
}
