//! A sidecar that serves: reloading it, handing it over, and taking it apart in order.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::assertion::address::Bound;
use super::audit_log::{AuditLog, Cause, CloseError, Readiness};
use super::counters::Counters;
use super::ending::Left;
use super::handover::HandoverError;
use super::reload::{self, ReloadError};
use super::shared::Shared;
use super::sockets::{self, Predecessor, SocketError, Sockets, Word};
use super::start::StartError;
use super::successor::{Heir, Program, Successor};
use crate::config::assertion::UpstreamFacing;
use crate::drain::{Drain, DrainTrigger};

/// How often it is looked whether an override is still open.
const LOG_LOOK: Duration = Duration::from_millis(10);
/// How often a drain says what it waits for.
const REPORT: Duration = Duration::from_secs(5);
/// How long background tasks may take once all is said.
const BACKGROUND_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    admin_address: SocketAddr,
    assertion_address: UpstreamFacing,
    shared: Arc<Shared>,
    sockets: Sockets,
    drain: DrainTrigger,
    counters: Vec<Arc<Counters>>,
    crew: Crew,
    log: LogEnd,
    background: Runtime,
    reloads: mpsc::Sender<reload::Order>,
}

/// The workers.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) threads: Vec<JoinHandle<()>>,
    /// What each of them left; closed when the last has ended.
    pub(super) left: mpsc::Receiver<Left>,
}

/// How the audit log ends.
#[derive(Debug)]
pub(super) struct LogEnd {
    pub(super) workers_ended: oneshot::Sender<()>,
    pub(super) closed: tokio::task::JoinHandle<Result<(), CloseError>>,
    /// Ends by itself, soon after the log is closed.
    pub(super) shipped: tokio::task::JoinHandle<()>,
}

impl Running {
    /// The last step of a start: tells the process before this one.
    #[expect(clippy::too_many_arguments, reason = "the parts of a sidecar, each given once")]
    pub(super) fn new(
        shared: Arc<Shared>,
        mut sockets: Sockets,
        drain: DrainTrigger,
        counters: Vec<Arc<Counters>>,
        crew: Crew,
        log: LogEnd,
        background: Runtime,
        reloads: mpsc::Sender<reload::Order>,
    ) -> Result<Self, StartError> {
        let addresses = sockets.addresses()?;
        let address = addresses.first().copied().ok_or(SocketError::Use(std::io::ErrorKind::NotFound.into()))?;
        let admin_address = sockets.admin.local_addr().map_err(SocketError::Use)?;
        let assertion_address = sockets.jwks.address().map_err(SocketError::Use)?;
        shared.ending.set_kept_elsewhere(sockets.kept);
        if sockets.passed {
            tracing::info!(?addresses, sockets = sockets.https.len(), "serving from sockets that were passed");
        }
        if let Some(predecessor) = sockets.predecessor.take() {
            background.spawn(follow(predecessor, Arc::clone(&shared), sockets.kept_by_manager));
        }
        Ok(Self {
            address,
            admin_address,
            assertion_address,
            shared,
            sockets,
            drain,
            counters,
            crew,
            log,
            background,
            reloads,
        })
    }

    /// Where clients are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where the upstream is served the keys of assertions.
    pub fn assertion_address(&self) -> &UpstreamFacing {
        &self.assertion_address
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Reads the files anew and goes by them from the next request on; no connection is dropped.
    ///
    /// # Errors
    /// [`ReloadError`]: everything goes on as before.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let (order, done) = oneshot::channel();
        self.reloads.send(order).await.map_err(|_| ReloadError::Stopping)?;
        done.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Starts `program` on our sockets and waits until it serves. Then it is time to [`Running::leave_to`] it.
    ///
    /// # Errors
    /// [`HandoverError`]: everything goes on as before, and what was started is ended.
    pub async fn hand_over(&self, program: &Program) -> Result<Heir, HandoverError> {
        if std::process::id() == 1 {
            return Err(HandoverError::Init);
        }
        let successor = Successor::start(program, self.sockets_to_pass()?, self.sockets.kept_by_manager)?;
        tracing::info!(program = %program.path().display(), process = successor.process(), "a successor was started");
        successor.ready().await
    }

    fn sockets_to_pass(&self) -> Result<Vec<(&'static str, OwnedFd)>, SocketError> {
        let pass = |name, socket: &TcpListener| match socket.try_clone() {
            Ok(own) => Ok((name, OwnedFd::from(own))),
            Err(error) => Err(SocketError::Use(error)),
        };
        let https = self.sockets.https.iter().map(|socket| pass(sockets::HTTPS, socket));
        let jwks = match self.sockets.jwks.try_clone() {
            Ok(Bound::Tcp(own)) => Ok((sockets::JWKS, OwnedFd::from(own))),
            Ok(Bound::Unix(own)) => Ok((sockets::JWKS, OwnedFd::from(own))),
            Err(error) => Err(SocketError::Use(error)),
        };
        https.chain([pass(sockets::ADMIN, &self.sockets.admin), jwks]).collect()
    }

    /// Ends a drain at once: what is in flight is cut.
    pub fn hurry(&self) -> DrainTrigger {
        self.drain.clone()
    }

    /// [`Running::stop`], with everything new going to the successor.
    ///
    /// # Errors
    /// As [`Running::stop`].
    pub fn leave_to(self, heir: Heir) -> Result<(), CloseError> {
        self.shared.ending.note_handed_over();
        self.end(Some(heir))
    }

    /// Ends in order: no new connection, requests in flight for a while, outcomes written, log closed. Blocks.
    ///
    /// # Errors
    /// When the audit log could not be closed in order; the next start then reports what is open.
    pub fn stop(self) -> Result<(), CloseError> {
        self.end(None)
    }

    fn end(self, heir: Option<Heir>) -> Result<(), CloseError> {
        let Self { shared, sockets, drain, counters, mut crew, log, background, .. } = self;
        // The kernel completes connections for as long as anybody has the sockets.
        drop(sockets);
        drain.begin();
        heir.into_iter().for_each(Heir::leave);
        background.block_on(wait(&shared, &counters, &mut crew.left));
        for worker in crew.threads {
            if worker.join().is_err() {
                tracing::error!("a worker ended out of order");
            }
        }
        let _ = log.workers_ended.send(());
        let closed = background.block_on(log.closed).unwrap_or(Err(CloseError::Failed));
        if background.block_on(log.shipped).is_err() {
            tracing::error!("the last audit lines could not be shipped; the next start does it");
        }
        background.shutdown_timeout(BACKGROUND_MAX);
        closed
    }
}

/// Waits for the workers, and says what for.
async fn wait(shared: &Shared, counters: &[Arc<Counters>], left: &mut mpsc::Receiver<Left>) {
    let limit_ms = shared.setup().listen.drain_timeout.as_millis();
    let mut cut = Left::default();
    let mut report = tokio::time::interval(REPORT);
    loop {
        tokio::select! {
            left = left.recv() => match left {
                Some(left) => cut += left,
                None => break,
            },
            _ = report.tick() => {
                let sum = |of: fn(&Counters) -> u64| counters.iter().map(|worker| of(worker)).sum::<u64>();
                let (connections, requests) = (sum(Counters::connections_open), sum(Counters::requests_open));
                let overrides = shared.ending.overrides();
                tracing::info!(connections, requests, overrides, limit_ms, "draining: waiting for what is in flight");
            }
        }
    }
    if cut == Left::default() {
        tracing::info!("drained: all that was in flight has ended");
    } else {
        let (Left { connections, requests }, overrides) = (cut, shared.ending.stopped());
        tracing::warn!(connections, requests, overrides, "the drain was over: what was still in flight was cut");
    }
}

/// Tells the process before this one that we serve, and notices when it has let the sockets go.
async fn follow(predecessor: Predecessor, shared: Arc<Shared>, kept_by_manager: bool) {
    let Predecessor(mut line) = predecessor;
    let told = line.write_all(&[Word::READY]).and_then(|()| line.set_nonblocking(true));
    let line = told.and_then(|()| UnixStream::from_std(line));
    match line {
        Ok(mut line) => {
            // It says nothing more; the line ends when it leaves.
            let _ = line.read(&mut [0]).await;
        }
        Err(error) => tracing::warn!(%error, "the process before this one could not be told that we serve"),
    }
    shared.ending.set_kept_elsewhere(kept_by_manager);
}

/// Closes the log as soon as the drain has begun and no override is open, or when the workers are gone; then what kept
/// watch over overrides may end. From then on a successor may write the folder.
pub(super) async fn close_log(
    audit: AuditLog,
    drain: Drain,
    mut workers_ended: oneshot::Receiver<()>,
    over: DrainTrigger,
) -> Result<(), CloseError> {
    drain.begun().await;
    // A successor that is told to end before its predecessor has: there is nothing to close.
    let was_open = audit.readiness() != Readiness::Unavailable(Cause::Opening);
    let closed = loop {
        if let Some(closed) = audit.close_if_idle().await {
            break closed;
        }
        tokio::select! {
            _ = &mut workers_ended => break audit.close().await,
            () = tokio::time::sleep(LOG_LOOK) => {}
        }
    };
    over.begin();
    match closed {
        Ok(position) => {
            tracing::info!(sequence = position.sequence, "the audit log is closed and its folder free");
            Ok(())
        }
        Err(_) if !was_open => Ok(()),
        Err(error) => Err(error),
    }
}
