//! One worker's connections to the upstream: HTTP/1.1 over TCP or a Unix socket, kept and used again.
//!
//! A request is written at most once. Only one that hyper hands back unwritten (the kept connection was closed
//! meanwhile) is tried on another connection.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::body::RequestBody;
use super::counters::{ConnectFailure, Counters, RequestOutcome};
use crate::config::upstream::{UpstreamAddress, UpstreamConfig};

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("the upstream could not be reached")]
    Connect(#[source] std::io::Error),
    #[error("connecting to the upstream took longer than {0:?}")]
    ConnectTimeout(Duration),
    #[error("the upstream broke off")]
    Broken(#[source] hyper::Error),
    #[error("the upstream switched to a protocol that nobody asked for")]
    Switched,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    counters: Arc<Counters>,
    config: RefCell<Arc<UpstreamConfig>>,
    idle: RefCell<VecDeque<Idle>>,
}

#[derive(Debug)]
struct Idle {
    open: Open,
    since: Instant,
}

/// One connection and the task that drives it.
#[derive(Debug)]
struct Open {
    sender: SendRequest<RequestBody>,
    driver: AbortHandle,
    /// What it was opened by: after a reload it is not kept.
    config: Arc<UpstreamConfig>,
}

/// A connection in use. Given back when its answer has been read whole; closed when dropped before.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<Pool>,
    open: Option<Open>,
    spoiled: bool,
}

impl Lease {
    /// The answer has been read whole.
    pub fn give_back(&mut self) {
        match self.open.take() {
            Some(open) if self.spoiled => open.driver.abort(),
            Some(open) => self.pool.keep(open),
            None => {}
        }
    }

    /// The request will never be whole: once its answer has been read the connection is closed.
    pub fn spoil(&mut self) {
        self.spoiled = true;
    }

    /// What closes the connection at once. Of use only while the answer is being read.
    pub fn closer(&self) -> Option<AbortHandle> {
        self.open.as_ref().map(|open| open.driver.clone())
    }
}

impl Pool {
    pub fn new(config: Arc<UpstreamConfig>, counters: Arc<Counters>) -> Rc<Self> {
        Rc::new(Self { counters, config: RefCell::new(config), idle: RefCell::default() })
    }

    pub fn config(&self) -> Ref<'_, UpstreamConfig> {
        Ref::map(self.config.borrow(), Arc::as_ref)
    }

    /// Goes by `config` from now on. Connections in use end their exchange; none of another setup is used again.
    pub fn follow(&self, config: &Arc<UpstreamConfig>) {
        if !Arc::ptr_eq(&self.config.borrow(), config) {
            self.config.replace(Arc::clone(config));
            self.idle.borrow_mut().clear();
            self.counters.upstream.set_idle(0);
        }
    }

    fn keep(&self, open: Open) {
        let mut idle = self.idle.borrow_mut();
        let current = Arc::ptr_eq(&self.config.borrow(), &open.config);
        if current && !open.sender.is_closed() && idle.len() < open.config.idle_connections_max {
            idle.push_back(Idle { open, since: Instant::now() });
            self.counters.upstream.set_idle(idle.len());
        }
    }

    /// The connection used last that is ready now.
    fn take(&self) -> Option<Open> {
        let mut idle = self.idle.borrow_mut();
        let timeout = self.config().idle_timeout;
        let expired = |kept: &Idle| kept.since.elapsed() >= timeout || kept.open.sender.is_closed();
        while idle.front().is_some_and(expired) {
            idle.pop_front();
        }
        let ready = idle.iter().rposition(|kept| kept.open.sender.is_ready());
        let taken = ready.and_then(|ready| idle.remove(ready));
        self.counters.upstream.set_idle(idle.len());
        taken.map(|kept| kept.open)
    }

    /// Sends `request` and waits for the head of the answer.
    ///
    /// # Errors
    /// [`UpstreamError`]. Only after `Broken` may the upstream have seen anything of the request.
    pub async fn send(
        self: &Rc<Self>,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        let mut request = request;
        request.body_mut().count_with(&self.counters);
        let outcome = if request.body().is_under_grant() { RequestOutcome::Override } else { RequestOutcome::Passed };
        let asked = Instant::now();
        loop {
            let (mut open, kept) = match self.take() {
                Some(open) => {
                    self.counters.upstream.count_reuse();
                    (open, true)
                }
                None => (self.connect().await?, false),
            };
            match open.sender.try_send_request(request).await {
                Ok(response) => {
                    self.counters.count_head(outcome, asked.elapsed());
                    return Ok((response, Lease { pool: Rc::clone(self), open: Some(open), spoiled: false }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unwritten) if kept => request = unwritten,
                    Some(_) | None => return Err(UpstreamError::Broken(error.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Open, UpstreamError> {
        let began = Instant::now();
        let connected = self.connect_unmeasured().await;
        let counters = &self.counters.upstream;
        match &connected {
            Ok(_) => counters.count_connected(began.elapsed()),
            Err(UpstreamError::Connect(_)) => counters.count_failure(ConnectFailure::Unreachable),
            Err(UpstreamError::ConnectTimeout(_)) => counters.count_failure(ConnectFailure::Timeout),
            Err(_) => counters.count_failure(ConnectFailure::Protocol),
        }
        connected
    }

    async fn connect_unmeasured(&self) -> Result<Open, UpstreamError> {
        let config = Arc::clone(&self.config.borrow());
        let limit = config.connect_timeout;
        let connecting = async {
            match &config.address {
                UpstreamAddress::Tcp { authority } => {
                    let stream = TcpStream::connect(authority.as_str()).await.map_err(UpstreamError::Connect)?;
                    stream.set_nodelay(true).map_err(UpstreamError::Connect)?;
                    handshake(stream, &config, &self.counters).await
                }
                UpstreamAddress::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(UpstreamError::Connect)?;
                    handshake(stream, &config, &self.counters).await
                }
            }
        };
        tokio::time::timeout(limit, connecting).await.map_err(|_| UpstreamError::ConnectTimeout(limit))?
    }
}

/// One connection among the open ones, for as long as its task lives.
struct Counted(Arc<Counters>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.upstream.count_closed();
    }
}

async fn handshake<I>(stream: I, config: &Arc<UpstreamConfig>, counters: &Arc<Counters>) -> Result<Open, UpstreamError>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(UpstreamError::Broken)?;
    counters.upstream.count_opened();
    let counted = Counted(Arc::clone(counters));
    let driving = tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Open { sender, driver: driving.abort_handle(), config: Arc::clone(config) })
}
