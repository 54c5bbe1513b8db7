//! Files that only their owner may read: tokens, keys, and what people sent.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use settings::unlinked;

/// Creates the folder with mode 0700, and those above it.
// The mode is also set on an existing folder: matrix-sdk creates its files readable for everybody, so
// the folder must protect them.
pub fn create_folder(path: &Path) -> io::Result<()> {
    unlinked::check(path)?;
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Replaces the file by one of mode 0600 with this content. A link in its place is removed, never followed.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // `create_new` fails on the remnant of a crash, and reusing it could leave it readable for others.
    let _ = fs::remove_file(&beside);
    let mut file = unlinked::open(OpenOptions::new().write(true).create_new(true).mode(0o600), &beside)?;
    file.write_all(bytes)?;
    // Before the rename: some file systems would otherwise show an empty file after a power cut.
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// The content; `None` if there is no such file.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    unlinked::check(path)?;
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
        create_folder(&inner).expect("made");
        assert_eq!(read(&file).expect("read"), None);
        fs::write(file.with_extension("new"), "a remnant").expect("written");
        write(&file, b"one").expect("written");
        write(&file, b"two").expect("written again");
        assert_eq!(read(&file).expect("read").as_deref(), Some(b"two".as_slice()));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn a_file_is_private_even_where_an_open_one_or_a_link_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("a"), folder.path().join("other"));
        fs::write(&other, "theirs").expect("written");
        std::os::unix::fs::symlink(&other, &path).expect("linked");
        write(&path, b"ours").expect("written");
        assert_eq!(fs::read(&other).expect("read"), b"theirs");
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!((fs::read(&path).expect("read").as_slice(), mode), (&b"ours"[..], 0o600));
    }
}
