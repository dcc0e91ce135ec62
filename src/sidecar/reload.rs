//! Reading the files anew while serving: when told to (SIGHUP), and when one of them changed.
//!
//! INVARIANT: all or nothing. A reading that can't be put to use changes nothing; it is told in the log, in the metrics
//! and in `/readyz`, and tried again when a file changes once more.
//!
//! What belongs to the process and not to a request (addresses, workers, the audit folder, who this sidecar is) can't
//! be changed this way: such a reading is refused as a whole, and says what needs a restart or a hand-over.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, spawn_blocking};

use super::setup::{Setup, SetupError};
use super::shared::Shared;
use crate::config::ConfigError;
use crate::config::sidecar::SidecarConfig;
use crate::domain::WallTime;
use crate::drain::Drain;
use crate::error_chain::error_chain;
use crate::identity::Verifier;

/// How often the files are looked at. A change is acted upon once two looks agree: one that is being written is not read.
const LOOK: Duration = Duration::from_millis(500);
/// How long a new issuer's keys are awaited before the new reading takes effect.
const KEYS_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a reading was not taken. Everything goes on as before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("{} can't be changed while running: restart, or hand over to a new process", .0.join(", "))]
    Fixed(Vec<&'static str>),
    #[error("reading the files broke off")]
    Broken(#[from] JoinError),
    #[error("the sidecar is stopping")]
    Stopping,
}

/// How reloads went so far.
#[derive(Debug, Default)]
pub struct Reloads {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last: Mutex<Option<LastReload>>,
    succeeded_at: Mutex<Option<WallTime>>,
}

/// The last reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReload {
    pub at: WallTime,
    /// `None`: it took effect.
    pub error: Option<String>,
}

impl Reloads {
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub fn last(&self) -> Option<LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When a reload last took effect.
    pub fn succeeded_at(&self) -> Option<WallTime> {
        *self.succeeded_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, at: WallTime, error: Option<String>) {
        let counter = if error.is_none() { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if error.is_none() {
            *self.succeeded_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastReload { at, error });
    }
}

/// An order to reload now; the answer says how it went.
pub type Order = oneshot::Sender<Result<(), ReloadError>>;

/// Carries reloads out, one at a time.
#[derive(Debug)]
pub struct Reloader {
    shared: Arc<Shared>,
    /// As the process was started: what can't change.
    started: SidecarConfig,
    seen: Fingerprint,
    drain: Drain,
    keys: AbortHandle,
}

impl Reloader {
    /// `started` is what the present setup was made of. Begins to keep the issuers' keys fresh. Needs a runtime.
    pub fn new(shared: Arc<Shared>, started: SidecarConfig, drain: Drain) -> Self {
        let keys = keep_keys_fresh(shared.setup().verifier.clone(), drain.clone());
        let seen = Fingerprint::of(shared.setup().files());
        Self { shared, started, seen, drain, keys }
    }

    /// Carries out orders and follows the files until the drain begins.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let drain = self.drain.clone();
        let mut changing = None;
        loop {
            tokio::select! {
                () = drain.begun() => return,
                Some(order) = orders.recv() => {
                    let _ = order.send(self.reload().await);
                }
                () = tokio::time::sleep(LOOK) => {
                    let now = self.look().await;
                    if now == self.seen {
                        changing = None;
                    } else if changing.as_ref() == Some(&now) {
                        let _ = self.reload().await;
                    } else {
                        changing = Some(now);
                    }
                }
            }
        }
    }

    async fn look(&self) -> Fingerprint {
        let setup = self.shared.setup();
        spawn_blocking(move || Fingerprint::of(setup.files())).await.unwrap_or_default()
    }

    async fn reload(&mut self) -> Result<(), ReloadError> {
        self.seen = self.look().await;
        let result = self.read_anew().await;
        let error = result.as_ref().err().map(|error| error_chain(error));
        match &error {
            None => tracing::info!("the configuration was reloaded"),
            Some(error) => tracing::error!(error, "the configuration was not reloaded; the former one stays in force"),
        }
        self.shared.reloads.note(self.shared.clock.wall(), error);
        result
    }

    async fn read_anew(&mut self) -> Result<(), ReloadError> {
        let (started, shared) = (self.started.clone(), Arc::clone(&self.shared));
        let setup = spawn_blocking(move || read(&started, &shared)).await??;
        let before = self.shared.setup();
        if !setup.shares_verifier_with(&before) {
            // Its failures are logged where they happen, and issuers known before have their keys already.
            let _ = tokio::time::timeout(KEYS_WAIT_MAX, setup.verifier.refresh()).await;
            self.keys.abort();
            self.keys = keep_keys_fresh(setup.verifier.clone(), self.drain.clone());
        }
        let keeps_feed = setup.keeps_feed_of(&before);
        self.shared.setup.store(Arc::new(setup));
        self.seen = self.look().await;
        if !keeps_feed {
            self.shared.resubscribe.notify_one();
        }
        Ok(())
    }
}

fn read(started: &SidecarConfig, shared: &Shared) -> Result<Setup, ReloadError> {
    let file = started.files.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let config = SidecarConfig::load(file)?;
    let fixed = fixed_differences(started, &config);
    if !fixed.is_empty() {
        return Err(ReloadError::Fixed(fixed));
    }
    for warning in config.warnings(file) {
        tracing::warn!(%warning, "configuration");
    }
    Ok(Setup::new(&config, &shared.clock, Some(&shared.setup()))?)
}

/// What differs and can't be changed while running.
fn fixed_differences(started: &SidecarConfig, now: &SidecarConfig) -> Vec<&'static str> {
    let differences = [
        (started.service.name != now.service.name, "the service's name"),
        (started.instance != now.instance, "instance"),
        (started.listen.address != now.listen.address, "listen.address"),
        (started.listen.workers != now.listen.workers, "listen.workers"),
        (started.audit != now.audit, "[audit]"),
        (started.admin != now.admin, "admin.address"),
        (started.assertion != now.assertion, "assertion.listen"),
    ];
    differences.into_iter().filter_map(|(differs, what)| differs.then_some(what)).collect()
}

fn keep_keys_fresh(verifier: Verifier, drain: Drain) -> AbortHandle {
    let running = tokio::spawn(async move { verifier.run(drain.begun()).await });
    running.abort_handle()
}

/// Tells a changed file from an unchanged one, through symbolic links, as orchestrators swap them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fingerprint(BTreeMap<PathBuf, Option<Stamp>>);

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        Self(files.map(|file| (file.to_owned(), stamp(file))).collect())
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(file).ok()?;
    Some(Stamp {
        device: found.dev(),
        inode: found.ino(),
        bytes: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}
