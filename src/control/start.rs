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
use super::api::possession::Possession;
use super::background::{fetch_issuer_keys, fetch_schedules, fetch_transmitter_keys, spawn_all, spawn_signals};
use super::database_lock::DatabaseLock;
use super::feed::{self, FeedLimits, Hub};
use super::keys::{Keys, KeysError};
use super::ledger::{Ledger, LedgerStartError};
use super::metrics::{ControlMetrics, Expiries, Observed};
use super::on_call::{OnCall, OnCallSettings};
use super::rates::Rates;
use super::recheck::Rechecks;
use super::recheck::held::HeldTokens;
use super::server::{TlsFilesError, certificates, certified_key, tls_config};
use super::signals::Signals;
use super::sinks::{self, Teller};
use super::workflow::Workflow;
use super::workflow::budget::RefusedBudget;
use super::workflow::reads::ReadBook;
use super::workflow::rules::{InForce, Rules, RulesError};
use crate::clock::Clock;
use crate::config::control::{ControlConfig, FeedListener};
use crate::config::signals::Delivery;
use crate::config::sinks::SinkName;
use crate::domain::ServiceName;
use crate::http::{Client, ClientAuthority, ClientAuthorityError, ClientTls, Limits, TlsRoots};
use crate::identity::{SetupError, Verifier};
use crate::ledger::entry::Draft;
use crate::sink::SinkError;
use crate::store::{OpenError, Store, StoreError};
use crate::token::KeyError;
use crate::token::dpop::Nonces;
use crate::wire::sign_in::SignInView;

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
    #[error(transparent)]
    Clients(#[from] ClientAuthorityError),
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
    #[error("the ledger can't be gone on with")]
    Ledger(#[from] LedgerStartError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("the freezes can't be read: it is not known what may be granted")]
    Freezes(#[source] StoreError),
    #[error("the sidecars known so far can't be read")]
    Sidecars(#[source] StoreError),
    #[error("the sink \"{name}\" can't be used")]
    Sink {
        name: SinkName,
        #[source]
        source: SinkError,
    },
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
pub(super) struct Bound {
    pub(super) api: TcpListener,
    pub(super) feed: TcpListener,
    pub(super) admin: TcpListener,
}

impl Control {
    /// Checks what [`Control::start`] needs besides the configuration itself, and changes nothing.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn check(config: &ControlConfig) -> Result<(), StartError> {
        let clients = clients(config)?;
        tls_config(&config.api.certificate, &config.api.key, clients.as_ref())?;
        feed_tls(&config.feed)?;
        Ok(())
    }

    /// Starts on the current runtime. When this returns, all listeners accept.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs.
    pub async fn start(config: ControlConfig, clock: Clock) -> Result<Running, StartError> {
        let clients = clients(&config)?;
        let api_tls = tls_config(&config.api.certificate, &config.api.key, clients.as_ref())?;
        let feed_tls = feed_tls(&config.feed)?;
        let tellers = sinks::prepare(&config, &clock)?;
        let client_tls = client_tls();
        let verifier = verifier(&config, client_tls.clone(), &clock)?;
        let bound = Bound {
            api: bind(config.api.address).await?,
            feed: bind(config.feed.tls.address).await?,
            admin: bind(config.admin).await?,
        };
        let lock = config.database.file().map(DatabaseLock::take).transpose()?;
        let state = assemble(&config, clock, verifier, (client_tls.clone(), clients)).await?;
        let (stop, stopping) = watch::channel(false);
        let (api_addr, feed_addr, admin_addr) = (address(&bound.api)?, address(&bound.feed)?, address(&bound.admin)?);
        let mut tasks = spawn_all(&state, bound, api_tls, feed_tls, &stopping);
        spawn_signals(&state, client_tls, &mut tasks, &stopping);
        state.workflow.metrics.observe_sinks(tellers.iter().map(Teller::view).collect())?;
        sinks::spawn(&mut tasks, tellers, &state.workflow.store, &stopping);
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

    /// The keys that sign the ledger now, as verifiers are given them.
    pub fn ledger_keys(&self) -> Vec<String> {
        self.state.ledger.verifier_keys().iter().map(ToString::to_string).collect()
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
    (tls, clients): (Option<ClientTls>, Option<ClientAuthority>),
) -> Result<ApiState, StartError> {
    let store = Store::open_configured(&config.database, clock.clone()).await?;
    let keys = Keys::open(&config.keys, config.key_validity, clock.wall()).await?;
    let ledger =
        Box::pin(Ledger::open(&config.ledger, &config.keys, tls.clone(), store.clone(), clock.clone())).await?;
    let rules = Rules::establish(&store, config).await?;
    let limits = FeedLimits { staleness_max: rules.policy.staleness_max, ..FeedLimits::default() };
    let hub = Hub::new(clock.clone(), limits);
    let signals = signals(config, tls.clone(), &clock)?;
    let rechecks = Rechecks::new(config.introspection.clone(), tls.clone())?;
    let settings = OnCallSettings::new(tls, config.credentials.clone());
    let on_call = OnCall::new(&rules.policy.schedules, settings, clock.clone());
    let workflow = Workflow {
        store,
        keys,
        assertion_key_validity: config.assertion_key_validity,
        rules: InForce::new(rules),
        on_call,
        groups: config.groups.clone(),
        retention: config.retention.clone(),
        issuer: config.issuer.clone(),
        clock,
        metrics: ControlMetrics::new()?,
        refused: RefusedBudget::default(),
        reads: ReadBook::default(),
        held: HeldTokens::new(config.introspection.iter().map(|asked| asked.issuer.issuer.clone())),
        keys_recorded: AtomicBool::new(false),
    };
    tell_freezes(&workflow.store).await?;
    // Before anybody can ask how far a revocation has arrived.
    hub.restore(&workflow.store).await.map_err(StartError::Sidecars)?;
    let (version, store) = (env!("CARGO_PKG_VERSION"), &workflow.store);
    store.record(Draft::control_started(version, store.epoch(), &config.instance, store.replica())).await?;
    workflow.renew_keys().await.map_err(StartError::Renew)?;
    let possession = Arc::new(possession(&workflow.store, config, clients).await?);
    for signals in &config.signals {
        let polled = matches!(signals.delivery, Delivery::Poll(_));
        workflow.metrics.begin_signals(signals.name.as_str(), polled);
    }
    for asked in &config.introspection {
        workflow.metrics.begin_rechecks(asked.issuer.issuer.as_str());
    }
    let by_scim = config.issuers.iter().filter(|issuer| issuer.groups_by_scim);
    let state = ApiState {
        workflow: Arc::new(workflow),
        verifier,
        hub,
        rates: Arc::new(Rates::new(config.limits)),
        possession,
        sign_in: Arc::new(SignInView { terms: config.sign_in.clone() }),
        ledger: Arc::new(ledger),
        reporting: Arc::default(),
        signals,
        rechecks,
        scim: Arc::new(config.scim.clone()),
        groups_by_scim: Arc::new(by_scim.map(|issuer| (issuer.issuer.clone(), issuer.groups_prefix.clone())).collect()),
    };
    state.workflow.metrics.observe(Observed::new(&state, Expiries::of(config)))?;
    Ok(state)
}

fn clients(config: &ControlConfig) -> Result<Option<ClientAuthority>, StartError> {
    Ok(config.api_client_ca.as_deref().map(ClientAuthority::from_pem_file).transpose()?)
}

async fn possession(
    store: &Store,
    config: &ControlConfig,
    clients: Option<ClientAuthority>,
) -> Result<Possession, StartError> {
    let mut fresh = [0; 32];
    aws_lc_rs::rand::fill(&mut fresh).map_err(|_| KeysError::from(KeyError::Generate))?;
    let nonces = Nonces::new(&store.nonce_secret(fresh).await?);
    Ok(Possession::new(nonces, config.public_url.clone(), clients))
}

/// A freeze outlives a restart, and whoever starts is told.
async fn tell_freezes(store: &Store) -> Result<(), StartError> {
    for freeze in store.freezes().await.map_err(StartError::Freezes)? {
        let service = freeze.service.as_ref().map_or("everything", ServiceName::as_str);
        tracing::warn!(service, "frozen: nothing is granted until that is lifted");
    }
    Ok(())
}
