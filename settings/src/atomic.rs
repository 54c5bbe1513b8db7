//! Writing a file so that a reader, or a crash, sees the old one or the new one and nothing between.

use std::{fs, io, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

/// Replaces `path`: temporary file, fsync, rename. A new file gets mode 0600; the mode of an old one is preserved.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    crate::unlinked::check(path)?;
    // In the same folder, since a rename is atomic only within a filesystem.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    let mode = fs::metadata(path).map_or(0o600, |old| old.permissions().mode());
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    // Content before name: after a crash the name must not lead to an empty file.
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename survives a crash only once the folder is on disk.
    fs::File::open(folder)?.sync_all()
}
