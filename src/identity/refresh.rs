//! Keeping the keys: fetched in the background, kept for as long as the issuer is down.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::discovery::{KeysPlace, RefreshError, discovery_url, fetch_keys};
use super::error::SetupError;
use super::issuer::IssuerConfig;
use super::jwks::KeySet;
use super::sought::Sought;
use super::verifier::Verifier;
use crate::clock::Clock;
use crate::domain::{Issuer, WallTime};
use crate::error_chain::error_chain;
use crate::http::{Client, ClientTls, TlsRoots};

/// How often keys are fetched, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshTimes {
    /// Between two fetches when all is well.
    pub interval_ms: u64,
    /// Least time between two fetches, however many tokens name keys that are not known.
    pub gap_ms_min: u64,
    /// Before the first repetition of a fetch that failed; it doubles from there.
    pub retry_ms_min: u64,
    /// Greatest time between repetitions.
    pub retry_ms_max: u64,
}

impl RefreshTimes {
    pub const DEFAULT: Self =
        Self { interval_ms: 300_000, gap_ms_min: 10_000, retry_ms_min: 1_000, retry_ms_max: 60_000 };
}

/// How it stands with the keys of one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerHealth {
    pub issuer: Issuer,
    /// Usable keys at hand; `None` when the issuer was never reached.
    pub keys: Option<usize>,
    /// When keys were last fetched.
    pub refreshed: Option<WallTime>,
    /// What went wrong with the last fetch, if it failed.
    pub failure: Option<String>,
    /// Fetches that failed, ever.
    pub failures: u64,
}

/// One issuer and its keys.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    pub(super) config: IssuerConfig,
    client: Client,
    place: KeysPlace,
    keys: RwLock<Option<Arc<KeySet>>>,
    wanted: Notify,
    pub(super) sought: Sought,
    last: Mutex<Last>,
}

#[derive(Debug, Default, Clone)]
struct Last {
    refreshed: Option<WallTime>,
    failure: Option<String>,
    failures: u64,
}

impl IssuerKeys {
    pub(super) fn new(config: IssuerConfig, client: &Client) -> Result<Self, SetupError> {
        let url = discovery_url(&config.issuer).ok_or_else(|| SetupError::Url(config.issuer.clone()))?;
        Self::at(KeysPlace::Metadata(url), config, client)
    }

    /// Keys that are found otherwise than an issuer's.
    pub(super) fn at(place: KeysPlace, config: IssuerConfig, client: &Client) -> Result<Self, SetupError> {
        if config.algorithms.is_empty() {
            return Err(SetupError::NoAlgorithm(config.issuer));
        }
        let client = client_of(&config, client)?;
        let (keys, wanted, sought, last) = Default::default();
        Ok(Self { config, client, place, keys, wanted, sought, last })
    }

    /// The keys as last fetched; `None` when the issuer was never reached.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what `other` has fetched.
    pub(super) fn adopt(&self, other: &Self) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = other.current();
        let last = other.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// Asks for fresh keys soon. Asking often is asking once.
    pub(super) fn want_refresh(&self) {
        self.wanted.notify_one();
    }

    async fn refresh(&self, clock: &Clock) -> Result<(), RefreshError> {
        let (issuer, allowed) = (&self.config.issuer, &self.config.algorithms);
        let question = self.sought.ask();
        let fetched = fetch_keys(&self.client, issuer, &self.place, allowed).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(keys) => {
                if keys.len() == 0 {
                    // The issuer's word counts even so: a key it withdrew verifies nothing any more.
                    tracing::warn!(%issuer, "the issuer's key set has no usable key");
                }
                let keys = Arc::new(keys);
                let before = self.keys.write().unwrap_or_else(PoisonError::into_inner).replace(Arc::clone(&keys));
                let known = before.iter().flat_map(|before| before.kids());
                self.sought.answered(question, known.filter(|kid| !keys.has_named(kid)));
                *last = Last { refreshed: Some(clock.wall()), failure: None, failures: last.failures };
                Ok(())
            }
            Err(error) => {
                let chain = error_chain(&error);
                tracing::warn!(%issuer, error = chain, "the issuer's keys could not be fetched; those known go on");
                last.failure = Some(chain);
                last.failures = last.failures.saturating_add(1);
                Err(error)
            }
        }
    }

    fn health(&self) -> IssuerHealth {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        IssuerHealth {
            issuer: self.config.issuer.clone(),
            keys: self.current().map(|keys| keys.len()),
            refreshed: last.refreshed,
            failure: last.failure,
            failures: last.failures,
        }
    }
}

/// The client for an issuer: with its own authorities, where it has some.
pub(super) fn client_of(config: &IssuerConfig, client: &Client) -> Result<Client, SetupError> {
    let Some(path) = &config.ca else { return Ok(client.clone()) };
    TlsRoots::from_pem_files([path])
        .and_then(|roots| ClientTls::new(roots, None))
        .map(|tls| client.with_tls(tls))
        .map_err(|source| SetupError::Ca { issuer: config.issuer.clone(), source })
}

impl Verifier {
    /// Fetches the keys of every issuer once, side by side. Returns what failed; keys known before go on serving.
    pub async fn refresh(&self) -> Vec<(Issuer, RefreshError)> {
        let all = self.inner.issuers.iter().map(|issuer| self.refresh_one(issuer));
        let outcomes = join_all(all).await.into_iter().zip(&self.inner.issuers);
        outcomes.filter_map(|(outcome, issuer)| Some((issuer.config.issuer.clone(), outcome.err()?))).collect()
    }

    /// Keeps the keys of every issuer fresh until `shutdown` completes. Run it once, in the background.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let all = join_all(self.inner.issuers.iter().map(|issuer| self.keep_fresh(issuer)));
        tokio::select! {
            () = shutdown => {}
            // Without an issuer there is nothing to keep fresh, and the end is still awaited.
            _ = all, if !self.inner.issuers.is_empty() => {}
        }
    }

    pub fn health(&self) -> Vec<IssuerHealth> {
        self.inner.issuers.iter().map(IssuerKeys::health).collect()
    }

    /// Changes after each attempt to refresh the keys of an issuer, whatever came of it.
    pub fn attempts(&self) -> watch::Receiver<u64> {
        self.inner.attempts.subscribe()
    }

    async fn keep_fresh(&self, issuer: &IssuerKeys) {
        let times = self.inner.times;
        let mut retry_ms = times.retry_ms_min;
        loop {
            let started = Instant::now();
            let pause_ms = if self.refresh_one(issuer).await.is_ok() {
                retry_ms = times.retry_ms_min;
                times.interval_ms
            } else {
                let pause_ms = retry_ms;
                retry_ms = retry_ms.saturating_mul(2).min(times.retry_ms_max);
                pause_ms
            };
            let regular = started + jittered(pause_ms);
            tokio::select! {
                () = tokio::time::sleep_until(regular) => {}
                () = issuer.wanted.notified() => {
                    let soon = started + Duration::from_millis(times.gap_ms_min);
                    tokio::time::sleep_until(soon.min(regular)).await;
                }
            }
        }
    }

    async fn refresh_one(&self, issuer: &IssuerKeys) -> Result<(), RefreshError> {
        let outcome = issuer.refresh(&self.inner.clock).await;
        let inner = &self.inner;
        inner.cache.retain(|entry| {
            let keys = inner.issuers.get(entry.issuer).and_then(IssuerKeys::current);
            keys.is_some_and(|keys| keys.contains(&entry.key))
        });
        inner.attempts.send_modify(|attempts| *attempts = attempts.wrapping_add(1));
        outcome
    }
}

/// Between half of `ms` and all of it, so that a fleet does not ask in step.
fn jittered(ms: u64) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter, and nothing else is lost.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    Duration::from_millis(ms - (ms / 2).saturating_mul(byte.into()) / 256)
}
