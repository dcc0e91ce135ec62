//! Listening sockets that were passed to this process (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES: sd_listen_fds(3)), by a
//! service manager or by the process before this one.
//!
//! INVARIANT: every passed socket is served or the start fails, since a socket nobody accepts from swallows connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use listenfd::ListenFd;
use socket2::SockRef;

use super::assertion::address::Bound;
use super::listener;
use crate::config::assertion::UpstreamFacing;

/// What a socket serves, by its name (FileDescriptorName= of a socket unit).
pub const HTTPS: &str = "https";
pub const ADMIN: &str = "admin";
/// The upstream-facing address with this sidecar's public keys.
pub const JWKS: &str = "jwks";
/// The line to the process before this one.
pub(super) const PREDECESSOR: &str = "predecessor";

const FIRST_FD: usize = 3;
/// How long the process before this one may take to say what it passed.
const WORD_MAX: Duration = Duration::from_secs(5);

/// Why what was passed can't be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("the socket passed as descriptor {fd} (\"{name}\") can't be served")]
    Unfit {
        fd: usize,
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("the socket passed as descriptor {fd} (\"{name}\") does not listen")]
    NotListening { fd: usize, name: String },
    #[error("two sockets were passed for \"{0}\": one is enough")]
    Twice(&'static str),
    #[error("the process that passed the sockets did not say who keeps them")]
    Predecessor(#[source] io::Error),
    #[error("can't listen on {address}")]
    Bind {
        address: UpstreamFacing,
        #[source]
        source: io::Error,
    },
    #[error("a listening socket can't be used")]
    Use(#[source] io::Error),
}

/// What a process was given, not yet told apart.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<Named>,
    /// Only the keys can be served on one.
    unix: Vec<UnixListener>,
    predecessor: Option<Predecessor>,
    /// Whoever passed them has them as well and outlives us, as a service manager does.
    kept: bool,
}

#[derive(Debug)]
struct Named {
    name: String,
    listener: TcpListener,
}

/// The line to the process before this one: told when we serve, and closed by it when it has let the sockets go.
#[derive(Debug)]
pub struct Predecessor(pub(super) UnixStream);

impl Passed {
    /// Takes what the environment names. To be called once, before any thread is started: the environment is cleared of
    /// it, so that no program started later takes it for its own. Without LISTEN_PID it is taken all the same: a process
    /// cannot know the number of its successor before it exists.
    ///
    /// # Errors
    /// [`SocketError`], which names the descriptor.
    pub fn from_env() -> Result<Self, SocketError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut fds = ListenFd::from_env();
        // Unless a process before this one says otherwise.
        let mut passed = Self { kept: true, ..Self::default() };
        for index in 0..fds.len() {
            let name = names.get(index).copied().unwrap_or_default().to_owned();
            let unfit = |source| SocketError::Unfit { fd: FIRST_FD + index, name: name.clone(), source };
            if name == PREDECESSOR {
                let line = fds.take_unix_listener(index).map_err(unfit)?;
                let (predecessor, kept) = line.map(hear).transpose()?.unzip();
                passed.predecessor = predecessor;
                passed.kept = kept.unwrap_or(true);
            } else if let Some(listener) = take_unix(&mut fds, index, &name) {
                listener.set_nonblocking(true).map_err(unfit)?;
                passed.unix.push(listener);
            } else if let Some(listener) = fds.take_tcp_listener(index).map_err(unfit)? {
                listener.set_nonblocking(true).map_err(unfit)?;
                if !SockRef::from(&listener).is_listener().map_err(unfit)? {
                    return Err(SocketError::NotListening { fd: FIRST_FD + index, name });
                }
                passed.sockets.push(Named { name, listener });
            }
        }
        Ok(passed)
    }

    /// Nothing was passed: sockets are bound as configured.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Somebody else may still serve from the same sockets, and write the same audit log.
    pub fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Tells the sockets apart: by name, or, under names of others, by whether the address is one of ours. What is
    /// missing is bound.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn sort(self, wanted: &Wanted) -> Result<Sockets, SocketError> {
        let (mut https, mut admin, mut jwks) = (Vec::new(), None, None);
        for listener in self.unix {
            once(&mut jwks, Bound::Unix(listener), JWKS)?;
        }
        for Named { name, listener } in self.sockets {
            let at = listener.local_addr().map_err(SocketError::Use)?;
            match role(&name, at, wanted) {
                Role::Https => https.push(listener),
                Role::Admin => once(&mut admin, listener, ADMIN)?,
                Role::Jwks => once(&mut jwks, Bound::Tcp(listener), JWKS)?,
            }
        }
        let passed = !https.is_empty();
        if !passed {
            https = bind_all(wanted.https, wanted.workers)?;
        }
        let admin = admin.map_or_else(|| bind(wanted.admin), Ok)?;
        let jwks = jwks.map_or_else(|| bind_keys(&wanted.jwks), Ok)?;
        let kept = passed && (self.kept || self.predecessor.is_some());
        Ok(Sockets {
            https,
            admin,
            jwks,
            predecessor: self.predecessor,
            passed,
            kept_by_manager: passed && self.kept,
            kept,
        })
    }
}

/// The line's first word says whether a service manager has the sockets as well.
fn hear(line: UnixListener) -> Result<(Predecessor, bool), SocketError> {
    use std::io::Read as _;
    let mut line = UnixStream::from(std::os::fd::OwnedFd::from(line));
    let mut word = [0];
    line.set_nonblocking(false)
        .and_then(|()| line.set_read_timeout(Some(WORD_MAX)))
        .and_then(|()| line.read_exact(&mut word))
        .map_err(SocketError::Predecessor)?;
    Ok((Predecessor(line), word == [Word::KEPT]))
}

/// The bytes that go over the line.
pub(super) struct Word;

impl Word {
    /// To the successor: a service manager has the sockets as well.
    pub(super) const KEPT: u8 = b'k';
    /// To the successor: nobody but us has them.
    pub(super) const OURS: u8 = b'o';
    /// From the successor: it serves.
    pub(super) const READY: u8 = b'r';
}

/// What is to be listened on, where no socket was passed for it.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub https: SocketAddr,
    pub workers: usize,
    pub admin: SocketAddr,
    pub jwks: UpstreamFacing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Https,
    Admin,
    Jwks,
}

fn role(name: &str, at: SocketAddr, wanted: &Wanted) -> Role {
    match name {
        HTTPS => Role::Https,
        ADMIN => Role::Admin,
        JWKS => Role::Jwks,
        _ if at == wanted.admin => Role::Admin,
        _ if UpstreamFacing::Tcp(at) == wanted.jwks => Role::Jwks,
        _ => Role::Https,
    }
}

fn once<T>(place: &mut Option<T>, listener: T, name: &'static str) -> Result<(), SocketError> {
    match place.replace(listener) {
        None => Ok(()),
        Some(_) => Err(SocketError::Twice(name)),
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, SocketError> {
    listener::bind(address).map_err(|source| SocketError::Bind { address: UpstreamFacing::Tcp(address), source })
}

fn bind_keys(wanted: &UpstreamFacing) -> Result<Bound, SocketError> {
    Bound::bind(wanted).map_err(|source| SocketError::Bind { address: wanted.clone(), source })
}

/// A Unix socket, under a name that lets it be one.
fn take_unix(fds: &mut ListenFd, index: usize, name: &str) -> Option<UnixListener> {
    if [HTTPS, ADMIN].contains(&name) {
        return None;
    }
    fds.take_unix_listener(index).ok().flatten()
}

/// One listener a worker, all on the address of the first: port 0 is resolved once.
fn bind_all(mut address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, SocketError> {
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let bound = bind(address)?;
        address = bound.local_addr().map_err(SocketError::Use)?;
        listeners.push(bound);
    }
    Ok(listeners)
}

/// The listening sockets of a sidecar, each once.
#[derive(Debug)]
pub struct Sockets {
    pub https: Vec<TcpListener>,
    pub admin: TcpListener,
    /// For whoever serves the keys.
    pub jwks: Bound,
    pub predecessor: Option<Predecessor>,
    /// They were not bound by this process.
    pub passed: bool,
    /// A service manager has them as well.
    pub kept_by_manager: bool,
    /// Another process has them as well, for now at least: what waits on them is not lost when we close them.
    pub kept: bool,
}

impl Sockets {
    /// At least one listener for each of `workers`, and each listener with a worker. Where there are fewer sockets than
    /// workers, some share one.
    ///
    /// # Errors
    /// When a socket can't be duplicated.
    pub fn deal(&self, workers: usize) -> Result<Vec<Vec<TcpListener>>, SocketError> {
        let mut dealt: Vec<Vec<TcpListener>> = std::iter::repeat_with(Vec::new).take(workers).collect();
        let rounds = self.https.len().max(workers);
        for (place, socket) in (0..rounds).map(|n| n % workers.max(1)).zip(self.https.iter().cycle()) {
            if let Some(hand) = dealt.get_mut(place) {
                hand.push(socket.try_clone().map_err(SocketError::Use)?);
            }
        }
        Ok(dealt)
    }

    /// Where clients are served.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, SocketError> {
        let mut addresses = Vec::new();
        for listener in &self.https {
            let address = listener.local_addr().map_err(SocketError::Use)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        let any = "127.0.0.1:0".parse().unwrap();
        Wanted { https: any, workers: 3, admin: "127.0.0.1:9901".parse().unwrap(), jwks: UpstreamFacing::Tcp(any) }
    }

    fn passed(names: &[&str]) -> Passed {
        let named = |name: &&str| Named {
            name: (*name).to_owned(),
            listener: listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
        };
        Passed { sockets: names.iter().map(named).collect(), ..Passed::default() }
    }

    #[test]
    fn sockets_are_told_apart_by_name_or_else_by_address() {
        let admin = "127.0.0.1:9901".parse().unwrap();
        let other = "127.0.0.1:8443".parse().unwrap();
        for (name, at, expected) in [
            ("admin", other, Role::Admin),
            ("https", admin, Role::Https),
            ("jwks", other, Role::Jwks),
            ("breakglass.socket", admin, Role::Admin),
            ("", other, Role::Https),
        ] {
            assert_eq!(role(name, at, &wanted()), expected, "{name} {at}");
        }
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (names, workers) in [(1, 4), (4, 1), (3, 2), (2, 2)] {
            let sockets = passed(&["https"; 4][..names]).sort(&wanted()).unwrap();
            let dealt = sockets.deal(workers).unwrap();
            assert_eq!(dealt.len(), workers);
            assert!(dealt.iter().all(|hand| !hand.is_empty()));
            let mut ports: Vec<_> = dealt.iter().flatten().map(|listener| listener.local_addr().unwrap()).collect();
            ports.sort();
            ports.dedup();
            assert_eq!(ports.len(), names);
        }
    }

    #[test]
    fn what_can_not_be_served_is_said() {
        let twice = passed(&["https", "admin", "admin"]).sort(&wanted()).unwrap_err();
        assert_eq!(twice.to_string(), "two sockets were passed for \"admin\": one is enough");
        let mut keys = passed(&["https", "admin", "jwks"]);
        keys.unix.push(UnixListener::bind(tempfile::tempdir().unwrap().path().join("keys.sock")).unwrap());
        assert!(keys.sort(&wanted()).unwrap_err().to_string().contains("\"jwks\""));
    }

    #[test]
    fn what_is_missing_is_bound() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = Passed::default().sort(&Wanted { admin: any, ..wanted() }).unwrap();
        assert_eq!((sockets.https.len(), sockets.passed, sockets.kept), (3, false, false));
        assert_eq!(sockets.addresses().unwrap().len(), 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.sock");
        let mut keys = passed(&["https"]);
        keys.unix.push(UnixListener::bind(&path).unwrap());
        let sockets = keys.sort(&Wanted { admin: any, ..wanted() }).unwrap();
        assert!(sockets.passed);
        assert_eq!(sockets.jwks.address().unwrap(), UpstreamFacing::Unix(path));
    }
}
