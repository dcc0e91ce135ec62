//! Closing a listening socket without resetting a connection that a client already counts as made.
//!
//! The kernel completes connections by itself; those that nobody has accepted are reset when their socket is closed. So
//! no further SYN is taken first (the socket says nothing of it: a client tries again a second later, and finds whoever
//! listens by then), handshakes under way have [`SETTLE`] to complete, and what waits is accepted.
//!
//! Never done to a socket that another process has as well: what waits on it is that process's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// How long a client's last packet of the handshake may take.
const SETTLE: Duration = Duration::from_millis(200);

/// Drops segments whose SYN flag is set (RFC 9293 §3.1: the thirteenth octet). What a filter sees of a TCP socket begins
/// with the TCP header. `ldb [13]; jset #2; ret #0; ret #-1`, as in the kernel's networking/filter.rst.
const NO_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 2),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Accepts what has been or is just being connected, then closes `listener`.
pub(super) async fn take(listener: TcpListener, mut serve: impl FnMut(TcpStream, SocketAddr)) {
    if let Err(error) = SockRef::from(&listener).attach_filter(&NO_SYN) {
        tracing::debug!(%error, "new connections can't be held off; what waits is taken as it is");
    }
    let settled = Instant::now() + SETTLE;
    while let Ok(accepted) = tokio::time::timeout_at(settled, listener.accept()).await {
        match accepted {
            Ok((stream, address)) => serve(stream, address),
            Err(error) => {
                tracing::warn!(%error, "a waiting connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // The kernel is asked itself: what came in the last moment may not have been told to the runtime.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, address)) = accept_now(&listener) {
        serve(stream, address);
    }
}

fn accept_now(listener: &std::net::TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, address))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::sidecar::listener::bind;

    #[tokio::test]
    async fn what_waits_is_taken_and_nothing_new_is_completed() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(TcpStream::connect(address).await.unwrap());
        }
        let taken = Rc::new(Cell::new(0));
        let count = Rc::clone(&taken);
        let listener = TcpListener::from_std(listener).unwrap();
        let closing = take(listener, move |stream, _| {
            drop(stream);
            count.set(count.get() + 1);
        });
        // A client in a tight loop meanwhile: what connects is served, and the end is never a reset.
        let looping = async {
            let mut served = 0;
            while let Ok(Ok(mut stream)) = tokio::time::timeout(SETTLE, TcpStream::connect(address)).await {
                let read = tokio::time::timeout(SETTLE * 5, stream.read(&mut [0])).await.unwrap();
                assert_eq!(read.unwrap(), 0, "closed by whoever served it, and not reset");
                served += 1;
            }
            served
        };
        let ((), served) = tokio::join!(closing, looping);
        assert_eq!(taken.get(), 20 + served);
    }
}
