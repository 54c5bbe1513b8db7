//! Files that only their owner may read: tokens and keys beside the store.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Makes the folder with mode 0700, or gives it that mode: matrix-sdk makes its files readable for everybody.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Writes the whole file or nothing, with mode 0600.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // A remnant may have another mode.
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// The file's bytes; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_private_whatever_was_there_before() {
        let place = tempfile::tempdir().expect("a folder");
        let (inner, file) = (place.path().join("matrix"), place.path().join("matrix/key"));
        folder(&inner).expect("made");
        assert_eq!(read(&file).expect("read"), None);
        fs::write(file.with_extension("new"), "a remnant").expect("written");
        write(&file, b"one").expect("written");
        write(&file, b"two").expect("written again");
        assert_eq!(read(&file).expect("read").as_deref(), Some(b"two".as_slice()));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
    }
}
