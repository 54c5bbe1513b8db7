//! Private folders below the project's runtime folder, short enough for sockets.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, PermissionsExt},
    },
    path::Path,
};

/// What every folder's name begins with.
const PREFIX: &str = "cc-";

/// A Unix socket's path holds 107 bytes; the CLI makes `<TMPDIR>/cc-socks/<pid>.sock`. 4194304 is Linux' highest pid.
const MAX_FOLDER: usize = 107 - "/t/cc-socks/4194304.sock".len();

/// A fresh folder in `wanted`, or in the system's temporary folder if that path is too long for sockets.
pub(crate) fn short_dir(wanted: &Path) -> io::Result<tempfile::TempDir> {
    let wanted = std::path::absolute(wanted)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&wanted)?;
    let mut name = tempfile::Builder::new();
    name.prefix(PREFIX).permissions(fs::Permissions::from_mode(0o700));
    let dir = name.tempdir_in(&wanted)?;
    if dir.path().as_os_str().as_bytes().len() <= MAX_FOLDER {
        return Ok(dir);
    }
    let short = std::env::temp_dir();
    let short =
        if short.as_os_str().len() + "/cc-123456".len() <= MAX_FOLDER { &short } else { Path::new("/tmp") };
    name.tempdir_in(short)
}

/// Removes the folders that a killed storkit left behind. Only for the start of the one storkit of a project.
pub fn remove_leftovers(runtime_dir: &Path) {
    let Ok(entries) = fs::read_dir(runtime_dir) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if ours && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(%error, path = %entry.path().display(), "a leftover folder could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("cc-abc/t")).unwrap();
        fs::write(dir.path().join("history"), "kept").unwrap();
        remove_leftovers(dir.path());
        assert!(!dir.path().join("cc-abc").exists() && dir.path().join("history").exists());
    }
}
