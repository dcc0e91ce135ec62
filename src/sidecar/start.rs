//! Putting a sidecar together, and taking it apart in order.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot};

use super::admin;
use super::assertion::Assertions;
use super::assertion::address::{self, Bound};
use super::audit_log::{AuditLog, AuditLogConfig, CloseError, OpenError, WhenLocked};
use super::counters::Counters;
use super::grant_feed::{self, FeedClient};
use super::grant_table::GrantTable;
use super::listener::{self, OpenConnections};
use super::metrics::SidecarMetrics;
use super::occurrences::Occurrences;
use super::reload::{self, ReloadError, Reloader, Reloads};
use super::setup::{Setup, SetupError};
use super::shared::Shared;
use super::standing::Standing;
use super::watchers;
use super::worker::{self, Equipment};
use crate::audit::LogIdentity;
use crate::clock::Clock;
use crate::config::assertion::UpstreamFacing;
use crate::config::sidecar::{AuditConfig, SidecarConfig};
use crate::drain::{self, DrainTrigger};
use crate::token::{KeyError, KeyRing};

/// News of shares waiting for the feed's task; what does not fit is repeated by the task itself.
const SHARE_NEWS_MAX: usize = 1024;
/// Orders to reload waiting for the one under way.
const RELOAD_ORDERS_MAX: usize = 4;

/// Why a sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("can't listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("the audit log can't be opened")]
    Audit(#[from] OpenError),
    #[error("the keys of assertions can't be served on {address}")]
    Assertion {
        address: UpstreamFacing,
        #[source]
        source: std::io::Error,
    },
    #[error("an assertion key can't be made")]
    AssertionKey(#[from] KeyError),
    #[error("the metrics can't be registered")]
    Metrics(#[from] prometheus::Error),
    #[error("a thread can't be started")]
    Thread(#[source] std::io::Error),
}

/// Starts sidecars.
#[derive(Debug)]
pub struct Sidecar;

/// A sidecar that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    admin_address: SocketAddr,
    assertion_address: UpstreamFacing,
    shared: Arc<Shared>,
    drain: DrainTrigger,
    workers: Vec<JoinHandle<()>>,
    background: Runtime,
    reloads: mpsc::Sender<reload::Order>,
}

impl Sidecar {
    /// Starts a sidecar: its listeners are bound when this returns. It blocks on the disk and must not be called from
    /// within a runtime's task.
    ///
    /// # Errors
    /// [`StartError`], before anything is served.
    pub fn start(config: SidecarConfig, clock: Clock) -> Result<Running, StartError> {
        let setup = Setup::new(&config, &clock, None)?;
        let listeners = bind(&config)?;
        let address = local_address(&listeners, config.listen.address)?;
        let (audit_config, identity) = (audit_config(&config.audit), identity(&config));
        let audit = AuditLog::start(audit_config, identity, clock.clone(), WhenLocked::Fail)?;
        let assertions = Assertions::new(config.service.name.clone(), config.instance.clone(), clock.clone())?;
        let (share_news, news) = mpsc::channel(SHARE_NEWS_MAX);
        let shared = Arc::new(Shared {
            grants: GrantTable::default(),
            standing: Standing::default(),
            audit,
            assertions: Arc::new(assertions),
            clock,
            reloads: Reloads::default(),
            occurrences: Occurrences::default(),
            resubscribe: Notify::new(),
            setup: ArcSwap::from_pointee(setup),
            keys: RwLock::new(Arc::new(KeyRing::default())),
            share_news,
        });
        let (trigger, drain) = drain::channel();
        let counters: Vec<_> = listeners.iter().map(|_| Arc::new(Counters::default())).collect();
        let feed = FeedClient { instance: config.instance.clone(), share_news: news };
        let background = background_runtime()?;
        let admin_listener =
            listener::bind(config.admin).map_err(|source| StartError::Listen { address: config.admin, source })?;
        let admin_address = admin_listener.local_addr().unwrap_or(config.admin);
        let (assertion_listener, assertion_address) = bind_assertion(&config.assertion)?;
        let metrics = SidecarMetrics::new(Arc::clone(&shared), counters.clone())?;
        background.spawn(grant_feed::run(Arc::clone(&shared), feed, drain.clone()));
        background.spawn(admin::serve(admin_listener, Arc::clone(&shared), metrics, drain.clone()));
        // It outlives the drain: what was signed last may be checked last.
        let serving = address::serve(assertion_listener, Arc::clone(&shared.assertions), std::future::pending());
        background.spawn(serving);
        background.spawn(watchers::watch_clocks(Arc::clone(&shared), drain.clone()));
        background.spawn(watchers::watch_freeze_file(Arc::clone(&shared), drain.clone()));
        let (reloads, orders) = mpsc::channel(RELOAD_ORDERS_MAX);
        {
            let _entered = background.enter();
            background.spawn(Reloader::new(Arc::clone(&shared), config, drain.clone()).run(orders));
        }
        let open = Arc::new(OpenConnections::default());
        let workers = listeners.into_iter().zip(counters).enumerate().map(|(index, (listener, counters))| {
            let equipment = Equipment {
                index,
                listener,
                shared: Arc::clone(&shared),
                counters,
                open: Arc::clone(&open),
                drain: drain.clone(),
            };
            worker::spawn(equipment).map_err(StartError::Thread)
        });
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        Ok(Running { address, admin_address, assertion_address, shared, drain: trigger, workers, background, reloads })
    }
}

impl Running {
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

    /// Ends in order: no new connection, requests in flight for a while, outcomes written, log closed. Blocks.
    ///
    /// # Errors
    /// When the audit log could not be closed in order; the next start then reports what is open.
    pub fn stop(self) -> Result<(), CloseError> {
        self.drain.begin();
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker ended out of order");
            }
        }
        let closed = self.background.block_on(self.shared.audit.close());
        self.background.shutdown_timeout(std::time::Duration::from_secs(1));
        closed.map(|_| ())
    }
}

fn background_runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(StartError::Thread)
}

/// One listener a worker, all on the address of the first: port 0 is resolved once.
fn bind(config: &SidecarConfig) -> Result<Vec<std::net::TcpListener>, StartError> {
    let mut address = config.listen.address;
    let mut listeners = Vec::with_capacity(config.listen.workers);
    for _ in 0..config.listen.workers {
        let bound = listener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        address = bound.local_addr().map_err(|source| StartError::Listen { address, source })?;
        listeners.push(bound);
    }
    Ok(listeners)
}

fn bind_assertion(wanted: &UpstreamFacing) -> Result<(Bound, UpstreamFacing), StartError> {
    let unusable = |source| StartError::Assertion { address: wanted.clone(), source };
    let bound = Bound::bind(wanted).map_err(unusable)?;
    let address = bound.address().map_err(unusable)?;
    Ok((bound, address))
}

fn local_address(listeners: &[std::net::TcpListener], wanted: SocketAddr) -> Result<SocketAddr, StartError> {
    let Some(first) = listeners.first() else { return Ok(wanted) };
    first.local_addr().map_err(|source| StartError::Listen { address: wanted, source })
}

fn identity(config: &SidecarConfig) -> LogIdentity {
    LogIdentity {
        service: config.service.name.clone(),
        instance: config.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn audit_config(config: &AuditConfig) -> AuditLogConfig {
    AuditLogConfig {
        directory: config.directory.clone(),
        segment_bytes_max: config.segment_bytes_max,
        write_deadline_ms_max: u64::try_from(config.write_deadline.as_millis()).unwrap_or(u64::MAX),
        override_reserve_bytes: config.override_reserve_bytes,
        stranger_records_per_s_max: config.stranger_records_per_s_max.into(),
        stranger_bytes_per_s_max: config.stranger_bytes_per_s_max.into(),
        ..AuditLogConfig::default()
    }
}
