//! Putting the control plane together and taking it apart: files, database, keys, listeners, tasks, in that order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustls::RootCertStore;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::api::ApiState;
use super::arrival::Arrivals;
use super::database_lock::DatabaseLock;
use super::feed::{self, AssertionKeys, FeedKeys, FeedLimits, Hub};
use super::keys::{Keys, KeysError};
use super::metrics::{ControlMetrics, Expiries, Observed};
use super::on_call::{OnCall, OnCallSettings};
use super::rates::Rates;
use super::server::{Port, TlsFilesError, certificates, certified_key, tls_config};
use super::signals::Signals;
use super::workflow::Workflow;
use super::workflow::budget::RefusedBudget;
use super::workflow::reads::ReadBook;
use super::workflow::rules::{InForce, Rules, RulesError};
use super::{admin, routes};
use crate::clock::Clock;
use crate::config::control::{ControlConfig, FeedListener};
use crate::config::signals::Delivery;
use crate::domain::ServiceName;
use crate::error_chain::error_chain;
use crate::http::{Client, ClientTls, Limits, TlsRoots};
use crate::identity::{SetupError, Verifier};
use crate::ledger::entry::Draft;
use crate::store::{OpenError, Store, StoreError};

/// How long the start waits for the issuers' keys, and for the schedules. It goes on without them.
const ISSUERS_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long the end may take in all.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Why the control plane did not start. Each is for the operator to read.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("TLS can't be set up")]
    Tls(#[from] TlsFilesError),
    #[error("the feed's TLS can't be set up")]
    FeedTls(#[from] feed::TlsError),
    #[error("{} is not usable as the sidecars' authority", path.display())]
    ClientCa { path: PathBuf, source: rustls::Error },
    #[error("the issuers can't be set up")]
    Issuers(#[from] SetupError),
    #[error("{address} can't be listened on")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the database's folder {} can't be made", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} is in use by another control plane", path.display())]
    InUse { path: PathBuf },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the keys can't be used")]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("the freezes can't be read: it is not known what may be granted")]
    Freezes(#[source] StoreError),
    #[error("the sidecars known so far can't be read")]
    Sidecars(#[source] StoreError),
    #[error("the start could not be recorded")]
    Record(#[from] StoreError),
    #[error("grant keys could not be prepared")]
    Renew(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("metrics can't be set up")]
    Metrics(#[from] prometheus::Error),
}

/// The control plane.
#[derive(Debug)]
pub struct Control;

/// A control plane that listens. Dropped without [`Running::stop`] it ends at once, with what is in flight.
#[derive(Debug)]
pub struct Running {
    pub api_addr: SocketAddr,
    pub feed_addr: SocketAddr,
    pub admin_addr: SocketAddr,
    pub(super) state: ApiState,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Held so that no second process opens the same database.
    _lock: Option<DatabaseLock>,
}

/// The listeners, bound before anything is written.
struct Bound {
    api: TcpListener,
    feed: TcpListener,
    admin: TcpListener,
}

impl Control {
    /// Checks what [`Control::start`] needs besides the configuration itself, and changes nothing.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn check(config: &ControlConfig) -> Result<(), StartError> {
        tls_config(&config.api.certificate, &config.api.key)?;
        feed_tls(&config.feed)?;
        Ok(())
    }

    /// Starts on the current runtime. When this returns, all listeners accept.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs.
    pub async fn start(config: ControlConfig, clock: Clock) -> Result<Running, StartError> {
        let api_tls = tls_config(&config.api.certificate, &config.api.key)?;
        let feed_tls = feed_tls(&config.feed)?;
        let client_tls = client_tls();
        let verifier = verifier(&config, client_tls.clone(), &clock)?;
        let bound = Bound {
            api: bind(config.api.address).await?,
            feed: bind(config.feed.tls.address).await?,
            admin: bind(config.admin).await?,
        };
        let lock = config.database.file().map(DatabaseLock::take).transpose()?;
        let state = assemble(&config, clock, verifier, client_tls.clone()).await?;
        let (stop, stopping) = watch::channel(false);
        let (api_addr, feed_addr, admin_addr) = (address(&bound.api)?, address(&bound.feed)?, address(&bound.admin)?);
        let mut tasks = spawn_all(&state, bound, api_tls, feed_tls, &stopping);
        spawn_signals(&state, client_tls, &mut tasks, &stopping);
        tokio::join!(
            fetch_issuer_keys(&state.verifier),
            fetch_transmitter_keys(&state.signals),
            fetch_schedules(&state.workflow.on_call)
        );
        let (instance, replica) = (&config.instance, state.workflow.store.replica());
        tracing::info!(%api_addr, %feed_addr, %admin_addr, %instance, replica, "the control plane is up");
        Ok(Running { api_addr, feed_addr, admin_addr, state, stop, tasks, _lock: lock })
    }
}

impl Running {
    /// Public root keys for grants, as a sidecar pins them.
    pub fn grant_roots(&self) -> Vec<String> {
        self.state.workflow.keys.roots()
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.state.hub
    }

    pub fn store(&self) -> &Store {
        &self.state.workflow.store
    }

    /// Returns when a part has ended by itself, which it never should.
    pub async fn failed(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends in order: no new connections, requests under way finish, the database is folded together.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_TIME_MAX, ended).await.is_err() {
            tracing::warn!("the control plane was cut off at its end");
        }
        self.tasks.shutdown().await;
        self.state.workflow.store.close().await;
    }
}

fn feed_tls(feed: &FeedListener) -> Result<Arc<rustls::ServerConfig>, StartError> {
    let (chain, key) = certified_key(&feed.tls.certificate, &feed.tls.key)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&feed.client_ca)? {
        roots.add(certificate).map_err(|source| StartError::ClientCa { path: feed.client_ca.clone(), source })?;
    }
    Ok(feed::tls_config(chain, key, roots)?)
}

fn client_tls() -> Option<ClientTls> {
    let tls = TlsRoots::native().and_then(|roots| ClientTls::new(roots, None));
    if let Err(error) = &tls {
        tracing::warn!(%error, "no system authorities: only issuers and schedules with a ca of their own can be reached");
    }
    tls.ok()
}

fn verifier(config: &ControlConfig, tls: Option<ClientTls>, clock: &Clock) -> Result<Verifier, StartError> {
    let client = Client::new(tls, Limits::default());
    Ok(Verifier::new(config.issuers.clone(), &client, clock.clone())?)
}

fn signals(config: &ControlConfig, tls: Option<ClientTls>, clock: &Clock) -> Result<Signals, StartError> {
    let client = Client::new(tls, Limits::default());
    Ok(Signals::new(config.signals.clone(), &client, clock.clone())?)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { address, source })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Bind { address: unknown, source })
}

async fn assemble(
    config: &ControlConfig,
    clock: Clock,
    verifier: Verifier,
    tls: Option<ClientTls>,
) -> Result<ApiState, StartError> {
    let store = Store::open_configured(&config.database, clock.clone()).await?;
    let keys = Keys::open(&config.keys, config.key_validity, clock.wall()).await?;
    let rules = Rules::establish(&store, config).await?;
    let limits = FeedLimits { staleness_max: rules.policy.staleness_max, ..FeedLimits::default() };
    let hub = Hub::new(clock.clone(), limits);
    let signals = signals(config, tls.clone(), &clock)?;
    let settings = OnCallSettings::new(tls, config.credentials.clone());
    let on_call = OnCall::new(&rules.policy.schedules, settings, clock.clone());
    let workflow = Workflow {
        store,
        keys,
        assertion_key_validity: config.assertion_key_validity,
        rules: InForce::new(rules),
        on_call,
        groups: config.groups.clone(),
        issuer: config.issuer.clone(),
        clock,
        metrics: ControlMetrics::new()?,
        refused: RefusedBudget::default(),
        reads: ReadBook::default(),
        keys_recorded: AtomicBool::new(false),
    };
    tell_freezes(&workflow.store).await?;
    // Before anybody can ask how far a revocation has arrived.
    hub.restore(&workflow.store).await.map_err(StartError::Sidecars)?;
    let (version, store) = (env!("CARGO_PKG_VERSION"), &workflow.store);
    store.record(Draft::control_started(version, store.epoch(), &config.instance, store.replica())).await?;
    workflow.renew_keys().await.map_err(StartError::Renew)?;
    for signals in &config.signals {
        let polled = matches!(signals.delivery, Delivery::Poll(_));
        workflow.metrics.begin_signals(signals.name.as_str(), polled);
    }
    let rates = Arc::new(Rates::new(config.limits));
    let by_scim = config.issuers.iter().filter(|issuer| issuer.groups_by_scim);
    let state = ApiState {
        workflow: Arc::new(workflow),
        verifier,
        hub,
        rates,
        signals,
        scim: Arc::new(config.scim.clone()),
        groups_by_scim: Arc::new(by_scim.map(|issuer| issuer.issuer.clone()).collect()),
    };
    state.workflow.metrics.observe(Observed::new(&state, Expiries::of(config)))?;
    Ok(state)
}

/// A freeze outlives a restart, and whoever starts is told.
async fn tell_freezes(store: &Store) -> Result<(), StartError> {
    for freeze in store.freezes().await.map_err(StartError::Freezes)? {
        let service = freeze.service.as_ref().map_or("everything", ServiceName::as_str);
        tracing::warn!(service, "frozen: nothing is granted until that is lifted");
    }
    Ok(())
}

fn spawn_all(
    state: &ApiState,
    bound: Bound,
    api_tls: Arc<rustls::ServerConfig>,
    feed_tls: Arc<rustls::ServerConfig>,
    stopping: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let connections = Some(state.workflow.metrics.connections.clone());
    let api = Port { listener: bound.api, tls: Some(api_tls), router: routes::router(state.clone()), connections };
    tasks.spawn(api.serve(stopping.clone()));
    let listening = bound.admin.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    let router = admin::router(state.clone(), listening);
    let admin = Port { listener: bound.admin, tls: None, router, connections: None };
    tasks.spawn(admin.serve(stopping.clone()));
    tasks.spawn(Arc::clone(&state.workflow).keep_up(stopping.clone()));
    tasks.spawn(Arrivals::new(state).keep(stopping.clone()));
    let verifier = state.verifier.clone();
    let stop = stopped(stopping.clone());
    tasks.spawn(async move { verifier.run(stop).await });
    tasks.spawn(Arc::clone(&state.workflow.on_call).run(stopped(stopping.clone())));
    let (hub, store) = (Arc::clone(&state.hub), Arc::new(state.workflow.store.clone()));
    let (keys, stop) = (feed_keys(state), stopped(stopping.clone()));
    tasks.spawn(async move {
        if let Err(error) = feed::serve(bound.feed, feed_tls, hub, store, keys, stop).await {
            tracing::error!(error = %error_chain(&error), "the feed ended");
        }
    });
    tasks
}

fn spawn_signals(state: &ApiState, tls: Option<ClientTls>, tasks: &mut JoinSet<()>, stopping: &watch::Receiver<bool>) {
    let (transmitters, stop) = (state.signals.transmitters().clone(), stopped(stopping.clone()));
    tasks.spawn(async move { transmitters.run(stop).await });
    tasks.spawn(state.signals.clone().poll_all(Arc::clone(&state.workflow), tls, stopping.clone()));
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone: that is the end too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn feed_keys(state: &ApiState) -> FeedKeys {
    let (workflow, signing) = (Arc::clone(&state.workflow), Arc::clone(&state.workflow));
    FeedKeys {
        grants: Arc::new(move || Arc::new(workflow.keys.certificates(workflow.clock.wall()))),
        assertions: AssertionKeys {
            validity: signing.assertion_key_validity,
            certifier: Arc::new(move |subject| {
                let workflow = Arc::clone(&signing);
                Box::pin(async move { workflow.keys.certify_assertion(&subject).await })
            }),
        },
    }
}

/// So that the first caller is not told to come back. An issuer that is down stops nothing.
async fn fetch_issuer_keys(verifier: &Verifier) {
    let failures = timeout(ISSUERS_WAIT_MAX, verifier.refresh()).await.unwrap_or_default();
    for (issuer, error) in failures {
        tracing::warn!(%issuer, error = %error_chain(&error), "the issuer was not reached; it is tried again");
    }
}

/// For the same reason: an event that comes meanwhile waits for them.
async fn fetch_transmitter_keys(signals: &Signals) {
    let failures = timeout(ISSUERS_WAIT_MAX, signals.transmitters().refresh()).await.unwrap_or_default();
    for (issuer, error) in failures {
        tracing::warn!(%issuer, error = %error_chain(&error), "the transmitter was not reached; it is tried again");
    }
}

/// For the same reason. What fails says so itself, and is tried again.
async fn fetch_schedules(on_call: &OnCall) {
    let _ = timeout(ISSUERS_WAIT_MAX, on_call.refresh()).await;
}
