//! Which ports a run listens on: the ones of the examples where they are free, so that commands can be remembered, and
//! whatever the system gives otherwise.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long the question may take whether somebody listens on this machine.
const ANSWER_MAX: Duration = Duration::from_millis(500);
const ISSUER: u16 = 7443;

/// The ports of one run.
#[derive(Debug)]
pub(super) struct Ports {
    /// Bound first: who holds the issuer's own port may take the others, so that two runs never share one.
    pub(super) issuer: TcpListener,
    friendly: bool,
}

impl Ports {
    /// # Errors
    /// When not even a free port can be bound.
    pub(super) fn claim() -> std::io::Result<Self> {
        match TcpListener::bind(loopback(ISSUER)) {
            Ok(issuer) => Ok(Self { issuer, friendly: true }),
            Err(_) => Ok(Self { issuer: TcpListener::bind(loopback(0))?, friendly: false }),
        }
    }

    /// `wanted` where nobody is; else one that is free now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn free(&self, wanted: SocketAddr) -> std::io::Result<SocketAddr> {
        if self.friendly && nobody_is_at(wanted) {
            return Ok(wanted);
        }
        TcpListener::bind(SocketAddr::new(wanted.ip(), 0))?.local_addr()
    }

    /// From now on, no port is wanted any more.
    pub(super) fn give_up_friendly(&mut self) {
        self.friendly = false;
    }
}

/// Asked by connecting: a sidecar shares its port among its own sockets, so that binding beside another would succeed,
/// and the connections of the run before would bar it for a minute.
fn nobody_is_at(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, ANSWER_MAX).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_left_alone() {
        let taken = TcpListener::bind(loopback(0)).unwrap();
        let address = taken.local_addr().unwrap();
        let mut ports = Ports { issuer: TcpListener::bind(loopback(0)).unwrap(), friendly: true };
        assert_ne!(ports.free(address).unwrap(), address);
        drop(taken);
        assert_eq!(ports.free(address).unwrap(), address);
        ports.give_up_friendly();
        assert_ne!(ports.free(address).unwrap(), address, "another run may be about to take it");
    }
}
