//! Which ports a run listens on: the ones of the examples where they are free, so that commands can be remembered, and
//! whatever the system gives otherwise.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

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

    /// `wanted` where it is free; else one that is free now.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn free(&self, wanted: SocketAddr) -> std::io::Result<SocketAddr> {
        if self.friendly && TcpListener::bind(wanted).is_ok() {
            return Ok(wanted);
        }
        TcpListener::bind(SocketAddr::new(wanted.ip(), 0))?.local_addr()
    }
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
        let ports = Ports { issuer: TcpListener::bind(loopback(0)).unwrap(), friendly: true };
        assert_ne!(ports.free(address).unwrap(), address);
        drop(taken);
        assert_eq!(ports.free(address).unwrap(), address);
        let unfriendly = Ports { friendly: false, ..ports };
        assert_ne!(unfriendly.free(address).unwrap(), address, "another run may be about to take it");
    }
}
