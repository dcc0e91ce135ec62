//! Where clients come in: a Unix socket that only its owner can open, or a port of the loopback behind a secret.

use std::io;
use std::net::Ipv4Addr;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::net::TcpListener;

use crate::secret::Secret;

/// Length of a run's secret, in random bytes.
const SECRET_BYTES: usize = 24;

/// Why nobody can come in.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("{} can be entered by others than its owner", .folder.display())]
    OpenFolder { folder: PathBuf },
    #[error("{} cannot be listened on", .path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("port {port} of 127.0.0.1 cannot be listened on")]
    Port { port: u16, source: io::Error },
    #[error("the system gives no randomness")]
    Randomness,
}

/// How a request proves that it may come in.
#[derive(Debug, Clone)]
pub enum Entrance {
    /// The file system lets in its owner alone.
    Socket,
    /// The first part of every path is the secret.
    Loopback { port: u16, secret: Secret<String> },
}

/// A listener and its entrance.
#[derive(Debug)]
pub struct Door {
    pub(super) listener: Listener,
    pub(super) entrance: Entrance,
}

#[derive(Debug)]
pub(super) enum Listener {
    #[cfg(unix)]
    Socket(tokio::net::UnixListener),
    Loopback(TcpListener),
}

impl Door {
    /// Listens on a socket file, which only its owner can open. A dead one is taken over.
    ///
    /// # Errors
    /// When its folder lets others in, or the file can't be listened on.
    #[cfg(unix)]
    pub fn socket(path: &Path) -> Result<Self, DoorError> {
        let failed = |source| DoorError::Socket { path: path.to_owned(), source };
        check_folder(path, failed)?;
        let listener = crate::unix_socket::bind(path).map_err(failed)?;
        // Until here the folder alone keeps others out, and it does.
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(failed)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
        Ok(Self { listener: Listener::Socket(listener), entrance: Entrance::Socket })
    }

    /// Listens on a port of 127.0.0.1 (0: any), behind a secret of this run.
    ///
    /// # Errors
    /// When the port can't be listened on.
    pub async fn loopback(port: u16) -> Result<Self, DoorError> {
        let failed = |source| DoorError::Port { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener: Listener::Loopback(listener), entrance: Entrance::Loopback { port, secret: secret()? } })
    }

    /// The address to give to a client: with the secret in it.
    pub fn url(&self) -> Option<Secret<String>> {
        match &self.entrance {
            Entrance::Socket => None,
            Entrance::Loopback { port, secret } => {
                Some(Secret::new(format!("http://127.0.0.1:{port}/{}", secret.expose())))
            }
        }
    }
}

/// INVARIANT: nobody else can enter the folder, so that nobody can open the socket before its mode is set, nor put
/// another in its place.
#[cfg(unix)]
fn check_folder(path: &Path, failed: impl Fn(io::Error) -> DoorError) -> Result<(), DoorError> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::fs::metadata(folder).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(DoorError::OpenFolder { folder: folder.to_owned() });
    }
    Ok(())
}

fn secret() -> Result<Secret<String>, DoorError> {
    let mut bytes = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| DoorError::Randomness)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

impl Entrance {
    /// The path without the secret, for the terminal.
    pub(super) fn shown(&self, uri: &http::Uri) -> String {
        let path = uri.path();
        match self {
            Self::Socket => path.to_owned(),
            Self::Loopback { secret, .. } => path.replace(secret.expose().as_str(), "…"),
        }
    }
}
