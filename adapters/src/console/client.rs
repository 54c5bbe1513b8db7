//! Connects to a storkit that already runs.

use std::{io, path::Path};

use tokio::net::UnixStream;

use super::socket;

/// Connects to the console socket at `socket`, however long its path is. Fails with `NotFound` or `ConnectionRefused`
/// where no storkit listens there.
pub async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = socket::at(socket, |reachable| std::os::unix::net::UnixStream::connect(reachable))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
