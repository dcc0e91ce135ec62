//! Ports for what comes back where it was. One that the system chose may be given to an outgoing connection meanwhile.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A free port of loopback below those that the system gives to outgoing connections.
pub(crate) fn lasting() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let tried = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let address = SocketAddr::from(([127, 0, 0, 1], 20_000 + tried as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
