//! Listening on a Unix socket whose file an earlier process may have left behind.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Binds; a socket that nobody answers on any more is taken over. The listener does not block.
///
/// # Errors
/// When somebody listens there, something else lies there, or it can't be bound.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connecting to a plain file is refused just as connecting to a dead socket is, and a plain file is someone's.
fn is_abandoned(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_over_from_the_dead_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let alive = bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(alive);
        assert!(path.exists(), "a socket outlives its process");
        assert!(bind(&path).is_ok());
        let file = folder.path().join("precious");
        std::fs::write(&file, "x").unwrap();
        assert!(bind(&file).is_err() && file.exists(), "what is no socket stays");
    }
}
