//! Putting a sidecar together. [`Running`] takes it apart in order.

use std::net::TcpListener;
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::admin;
use super::assertion::Assertions;
use super::assertion::address::{self, Bound};
use super::audit_log::{AuditLog, AuditLogConfig, OpenError, WhenLocked};
use super::capture::CaptureRoom;
use super::counters::Counters;
use super::ending::Ending;
use super::grant_feed::{self, FeedClient};
use super::grant_table::GrantTable;
use super::handover::Handovers;
use super::keyed_digest::KeyFileError;
use super::listener::OpenConnections;
use super::metrics::SidecarMetrics;
use super::occurrences::Occurrences;
use super::possession::Possession;
use super::query_digests::Digester;
use super::reload::{Reloader, Reloads};
use super::running::{self, Crew, LogEnd, Running};
use super::setup::{Setup, SetupError};
use super::shared::{ShareNews, Shared};
use super::shipping::{self, Job, Shipped};
use super::sinks::{self, Handler};
use super::sockets::{Passed, SocketError, Wanted};
use super::standing::Standing;
use super::watchers;
use super::worker::{self, Equipment};
use crate::audit::LogIdentity;
use crate::clock::Clock;
use crate::config::sidecar::{AuditConfig, SidecarConfig};
use crate::config::sinks::SinkName;
use crate::drain::{self, Drain};
use crate::sink::SinkError;
use crate::token::{KeyError, KeyRing};

/// News of shares waiting for the feed's task; what does not fit is repeated by the task itself.
const SHARE_NEWS_MAX: usize = 1024;
/// Orders to reload waiting for the one under way.
const RELOAD_ORDERS_MAX: usize = 4;

/// Why a sidecar does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Sockets(#[from] SocketError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("a key of digests can't be used")]
    DigestKey(#[from] KeyFileError),
    #[error("the sink \"{name}\" can't be used")]
    Sink {
        name: SinkName,
        #[source]
        source: SinkError,
    },
    #[error("the audit log can't be opened")]
    Audit(#[from] OpenError),
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

impl Sidecar {
    /// Starts a sidecar on listeners of its own: it serves when this returns. It blocks on the disk and must not be
    /// called from within a runtime's task.
    ///
    /// # Errors
    /// [`StartError`], before anything is served.
    pub fn start(config: SidecarConfig, clock: Clock) -> Result<Running, StartError> {
        Self::start_on(Passed::default(), config, clock)
    }

    /// [`Sidecar::start`] on sockets that were passed to this process. Then the process before this one may still write
    /// the audit log: overrides wait until it has closed it.
    ///
    /// # Errors
    /// [`StartError`], before anything is served.
    pub fn start_on(passed: Passed, config: SidecarConfig, clock: Clock) -> Result<Running, StartError> {
        let setup = Setup::new(&config, &clock, None)?;
        let sockets = passed.sort(&wanted(&config))?;
        let query_digests = config.audit.query_digests.as_ref().map(Digester::new).transpose()?;
        let capture = Arc::new(CaptureRoom::new(&config.audit.capture)?);
        let (sinks, handlers) = sinks::prepare(&config, &clock)?;
        let audit = open_audit(&config, sockets.passed, &clock)?;
        sinks.make_known(&audit);
        let assertions = Assertions::new(config.service.name.clone(), config.instance.clone(), clock.clone())?;
        let (share_news, news) = mpsc::channel(SHARE_NEWS_MAX);
        let shared = Arc::new(Shared {
            grants: GrantTable::default(),
            standing: Standing::default(),
            audit,
            shipped: Shipped::new(config.audit.shipping.spool_bytes_max),
            enforced: watch::Sender::new(None),
            query_digests,
            capture,
            sinks,
            assertions: Arc::new(assertions),
            possession: Possession::new().map_err(|_| KeyError::Generate)?,
            clock,
            reloads: Reloads::default(),
            occurrences: Occurrences::default(),
            handovers: Handovers::default(),
            ending: Ending::default(),
            resubscribe: Notify::new(),
            setup: ArcSwap::from_pointee(setup),
            keys: RwLock::new(Arc::new(KeyRing::default())),
            share_news,
        });
        let background = background_runtime()?;
        let (trigger, drain) = drain::channel();
        let listeners = sockets.deal(config.listen.workers)?;
        let counters: Vec<_> = listeners.iter().map(|_| Arc::new(Counters::default())).collect();
        let metrics = SidecarMetrics::new(Arc::clone(&shared), counters.clone())?;
        let admin = sockets.admin.try_clone().map_err(SocketError::Use)?;
        background.spawn(admin::serve(admin, Arc::clone(&shared), metrics, drain.clone()));
        let jwks = sockets.jwks.try_clone().map_err(SocketError::Use)?;
        background.spawn(serve_keys(jwks, Arc::clone(&shared), drain.clone()));
        let log = beside_the_path(&shared, &background, &config, (news, handlers), &drain);
        let (reloads, orders) = mpsc::channel(RELOAD_ORDERS_MAX);
        {
            let _entered = background.enter();
            background.spawn(Reloader::new(Arc::clone(&shared), config, drain.clone()).run(orders));
        }
        let crew = crew(&shared, listeners, &counters, &drain)?;
        Running::new(shared, sockets, trigger, counters, crew, log, background, reloads)
    }
}

/// Starts the workers and waits until every one accepts.
fn crew(
    shared: &Arc<Shared>,
    listeners: Vec<Vec<TcpListener>>,
    counters: &[Arc<Counters>],
    drain: &Drain,
) -> Result<Crew, StartError> {
    let open = Arc::new(OpenConnections::default());
    let (serving, served) = std::sync::mpsc::sync_channel(listeners.len());
    let (left_sender, left) = mpsc::channel(listeners.len().max(1));
    let mut threads = Vec::with_capacity(listeners.len());
    for (index, (listeners, counters)) in listeners.into_iter().zip(counters).enumerate() {
        let equipment = Equipment {
            index,
            listeners,
            shared: Arc::clone(shared),
            counters: Arc::clone(counters),
            open: Arc::clone(&open),
            drain: drain.clone(),
            serving: serving.clone(),
            left: left_sender.clone(),
        };
        threads.push(worker::spawn(equipment).map_err(StartError::Thread)?);
    }
    drop(serving);
    for serving in served {
        serving.map_err(StartError::Thread)?;
    }
    Ok(Crew { threads, left })
}

/// What must go on for as long as an override is in flight, and what ends that.
fn beside_the_path(
    shared: &Arc<Shared>,
    background: &Runtime,
    config: &SidecarConfig,
    (news, handlers): (mpsc::Receiver<ShareNews>, Vec<Handler>),
    drain: &Drain,
) -> LogEnd {
    let (over, overrides_over) = drain::channel();
    let (workers_ended, ended) = oneshot::channel();
    let feed = FeedClient { instance: config.instance.clone(), share_news: news };
    background.spawn(grant_feed::run(Arc::clone(shared), feed, overrides_over.clone()));
    background.spawn(watchers::watch_clocks(Arc::clone(shared), overrides_over.clone()));
    background.spawn(watchers::watch_freeze_file(Arc::clone(shared), overrides_over.clone()));
    let handed_on = sinks::spawn(background.handle(), shared, handlers, &overrides_over);
    let job = Job {
        instance: config.instance.clone(),
        folder: config.audit.directory.clone(),
        config: config.audit.shipping.clone(),
        write_deadline: config.audit.write_deadline,
    };
    let shipped = background.spawn(shipping::run(Arc::clone(shared), job, overrides_over));
    let closing = running::close_log(shared.audit.clone(), drain.clone(), ended, over);
    let closed = background.spawn(async move {
        let closed = closing.await;
        // They end by themselves, soon after the log.
        futures_util::future::join_all(handed_on).await;
        closed
    });
    LogEnd { workers_ended, closed, shipped }
}

/// It goes on through a drain, since what was signed last may be checked last; after a hand-over the successor's keys are
/// asked for at the same address.
async fn serve_keys(bound: Bound, shared: Arc<Shared>, drain: Drain) {
    let assertions = Arc::clone(&shared.assertions);
    address::serve(bound, assertions, async move { admin::handed_over(&shared, &drain).await }).await;
}

fn wanted(config: &SidecarConfig) -> Wanted {
    Wanted {
        https: config.listen.address,
        workers: config.listen.workers,
        admin: config.admin,
        jwks: config.assertion.clone(),
    }
}

/// Where sockets were passed, whoever had them before may still be writing.
fn open_audit(config: &SidecarConfig, passed: bool, clock: &Clock) -> Result<AuditLog, OpenError> {
    let when_locked = if passed { WhenLocked::Wait } else { WhenLocked::Fail };
    AuditLog::start(audit_config(&config.audit), identity(config), clock.clone(), when_locked)
}

fn background_runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(StartError::Thread)
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
        ledger_required: config.shipping.ledger_required,
        ..AuditLogConfig::default()
    }
}
