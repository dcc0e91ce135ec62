//! Step 1, accept: one listener a worker on one port (SO_REUSEPORT), limits on connections and handshakes.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::journey::Worker;
use super::{backlog, connection};
use crate::drain::Drain;

const BACKLOG: i32 = 4096;

/// Binds one of several listeners on `address`.
///
/// # Errors
/// When the address can't be bound.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Open connections of all workers together, so that the limit is the sidecar's.
#[derive(Debug, Default)]
pub struct OpenConnections(AtomicUsize);

/// How long a handshake under way may take once the drain has begun.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(3);

/// One place among the open connections.
struct Place<'a> {
    open: &'a OpenConnections,
    worker: &'a Worker,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.open.0.fetch_sub(1, Ordering::AcqRel);
        self.worker.counters.count_closed();
    }
}

/// Accepts until the drain begins, and then what has been connected already, unless another process accepts from the
/// same socket.
pub async fn accept(listener: TcpListener, worker: Rc<Worker>, open: Arc<OpenConnections>, drain: Drain) {
    let serve = |stream, address| {
        let (worker, open, drain) = (Rc::clone(&worker), Arc::clone(&open), drain.clone());
        tokio::task::spawn_local(handshake(stream, address, worker, open, drain));
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.begun() => break,
        };
        match accepted {
            Ok((stream, address)) => serve(stream, address),
            Err(error) => {
                worker.counters.count_accept_failure();
                // Out of descriptors, mostly: give connections time to end instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    if !worker.shared.ending.is_kept_elsewhere() {
        backlog::take(listener, serve).await;
    }
}

async fn handshake(
    stream: TcpStream,
    address: SocketAddr,
    worker: Rc<Worker>,
    open: Arc<OpenConnections>,
    drain: Drain,
) {
    let (tls, limits) = {
        let setup = worker.shared.glance();
        (TlsAcceptor::from(Arc::clone(&setup.tls)), setup.listen)
    };
    if open.0.fetch_add(1, Ordering::AcqRel) >= limits.connections_max {
        open.0.fetch_sub(1, Ordering::AcqRel);
        worker.counters.count_turned_away();
        return;
    }
    worker.counters.count_opened();
    let _place = Place { open: &open, worker: &worker };
    if let Err(error) = SockRef::from(&stream).set_tcp_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let began = Instant::now();
    let handshake = tokio::time::timeout(limits.handshake_timeout, tls.accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = too_late(&drain) => return worker.counters.count_handshake_failed(),
    };
    match shaken {
        Ok(Ok(stream)) => {
            worker.counters.count_handshake(began.elapsed());
            connection::serve(Rc::clone(&worker), stream, address, &limits, drain).await;
        }
        Ok(Err(error)) => {
            worker.counters.count_handshake_failed();
            tracing::debug!(%error, %address, "a TLS handshake failed");
        }
        Err(_) => worker.counters.count_handshake_failed(),
    }
}

async fn too_late(drain: &Drain) {
    drain.begun().await;
    tokio::time::sleep(HANDSHAKE_GRACE).await;
}
