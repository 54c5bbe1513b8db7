//! The unix socket of a running storkit: bound for its owner only, and reached however long its path is.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixSocket};

// `sun_path` has 108 bytes with its final zero (`unix(7)`); deep project folders exceed it.
const LONGEST: usize = 107;

const BACKLOG: u32 = 64;

/// A listening socket whose file goes when it is dropped.
pub(super) struct ListeningSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        // An error is harmless: the next start replaces a socket file.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens at `path`, readable and writable by the owner alone from the first moment. Replaces an old socket file: the caller
/// holds the instance lock, so nobody serves it. Fails with `AlreadyExists` where `path` is no socket.
pub(super) fn listen(path: &Path) -> io::Result<ListeningSocket> {
    remove_stale(path)?;
    let socket = UnixSocket::new_stream()?;
    // Linux gives the file the mode of the unbound socket, so at no moment may others connect; elsewhere the
    // second call below restricts it.
    let owner_only = Mode::RUSR | Mode::WUSR;
    let _ = rustix::fs::fchmod(&socket, owner_only);
    at(path, |reachable| socket.bind(reachable))?;
    rustix::fs::chmod(path, owner_only)?;
    Ok(ListeningSocket { listener: socket.listen(BACKLOG)?, path: path.to_owned() })
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("`{}` is in the way: it is not a socket", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

// Where the real path is too long for a socket address, the path goes through the open folder's file descriptor (Linux only).
pub(super) fn at<T>(path: &Path, use_path: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return use_path(path);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return use_path(path);
    };
    let folder =
        rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
    use_path(&Path::new("/proc/self/fd").join(number.to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::console::client::connect;

    async fn reachable_at(path: &Path) {
        let listening = listen(path).unwrap();
        let (_client, accepted) = tokio::join!(connect(path), listening.listener.accept());
        assert!(accepted.is_ok());
        _client.unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listening);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_owner_alone_reaches_it_and_it_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        reachable_at(&folder.path().join("console.sock")).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_path_longer_than_an_address_works() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a".repeat(100)).join("b".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        reachable_at(&deep.join("console.sock")).await;
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        reachable_at(&path).await;

        fs::write(&path, "a note").unwrap();
        assert_eq!(listen(&path).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a note");
    }
}
