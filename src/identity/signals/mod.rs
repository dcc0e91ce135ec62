//! Shared signals: what a transmitter says happened to a person's session, credential or account.
//!
//! Sources: RFC 8417 (security event tokens), RFC 9493 (subject identifiers), OpenID Shared Signals Framework 1.0, CAEP
//! 1.0, RISC 1.0. Delivery is not done here (RFC 8935 and 8936: `control::signals`).
//!
//! Must never: take an access token for an event or an event for an access token (the types of their headers are lists
//! that share nothing, and the claims exclude each other), or believe what one transmitter says of another's people.

mod event;
mod set;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use tokio::sync::watch;

use super::compact::Unverified;
use super::discovery::{KeysPlace, RefreshError, transmitter_url};
use super::error::SetupError;
use super::issuer::{Algorithm, IssuerConfig};
use super::refresh::{IssuerHealth, IssuerKeys, RefreshTimes};
use super::verifier::{Verifier, signing_key};
use crate::clock::Clock;
use crate::domain::{Audience, Issuer};
use crate::http::Client;

pub use event::{EventKind, SecurityEvent, StreamStatus};
pub use set::{EventToken, SetError};
pub use subject::{Named, SubjectMapping};

/// A transmitter whose events are believed, and of whom it may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransmitterConfig {
    /// `iss` of its events, byte for byte.
    pub issuer: Issuer,
    /// Who we are to it: `aud` must contain it.
    pub audience: Audience,
    pub subjects: SubjectMapping,
    pub algorithms: BTreeSet<Algorithm>,
    /// How far its clock may run ahead of ours, in seconds.
    pub clock_leeway_s: u64,
    /// Its key set; absent: where its metadata says.
    pub keys: Option<Uri>,
    /// A PEM file with the authorities to trust for it, instead of those of the client.
    pub ca: Option<PathBuf>,
}

/// Checks event tokens of a fixed list of transmitters, each known by its place in it. Clones share everything.
#[derive(Debug, Clone)]
pub struct Transmitters {
    configs: Arc<Vec<TransmitterConfig>>,
    /// Holds their keys; no access token is ever put to it.
    keys: Verifier,
}

impl Transmitters {
    /// They know no key yet: [`Transmitters::refresh`] fetches them once, [`Transmitters::run`] keeps them fresh.
    ///
    /// # Errors
    /// [`SetupError`], when the configuration contradicts itself or an authority's file can't be used.
    pub fn new(configs: Vec<TransmitterConfig>, client: &Client, clock: Clock) -> Result<Self, SetupError> {
        Self::with_refresh_times(configs, client, clock, RefreshTimes::DEFAULT)
    }

    /// As [`Transmitters::new`], with other times between refreshes.
    ///
    /// # Errors
    /// As [`Transmitters::new`].
    pub fn with_refresh_times(
        configs: Vec<TransmitterConfig>,
        client: &Client,
        clock: Clock,
        times: RefreshTimes,
    ) -> Result<Self, SetupError> {
        let keys = configs.iter().map(|config| keys_of(config, client)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { configs: Arc::new(configs), keys: Verifier::over(keys, clock, times) })
    }

    /// What the token of the `position`th transmitter says. Neither waits nor blocks: a key that is not known only wakes
    /// the task that refreshes keys.
    ///
    /// # Errors
    /// [`SetError`].
    pub fn verify(&self, position: usize, token: &str) -> Result<EventToken, SetError> {
        let unverified = Unverified::parse_event(token)?;
        let known = self.configs.get(position).zip(self.keys.inner.issuers.get(position));
        let (config, keys) = known.ok_or(SetError::UnknownIssuer)?;
        set::is_by(&unverified.claims, config)?;
        signing_key(keys, &unverified)?;
        set::read(&unverified.claims, config, self.keys.inner.clock.wall())
    }

    /// Fetches the keys of each once, side by side. Returns what failed.
    pub async fn refresh(&self) -> Vec<(Issuer, RefreshError)> {
        self.keys.refresh().await
    }

    /// Keeps keys fresh until `shutdown` completes. Run it once, in the background.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        self.keys.run(shutdown).await;
    }

    /// How it stands with the keys of each, in order.
    pub fn health(&self) -> Vec<IssuerHealth> {
        self.keys.health()
    }

    /// Changes after each attempt to refresh keys.
    pub fn attempts(&self) -> watch::Receiver<u64> {
        self.keys.attempts()
    }
}

fn keys_of(config: &TransmitterConfig, client: &Client) -> Result<IssuerKeys, SetupError> {
    let place = match &config.keys {
        Some(url) => KeysPlace::KeySet(url.clone()),
        None => {
            let url = transmitter_url(&config.issuer).ok_or_else(|| SetupError::Url(config.issuer.clone()))?;
            KeysPlace::Metadata(url)
        }
    };
    let issuer = IssuerConfig {
        algorithms: config.algorithms.clone(),
        ca: config.ca.clone(),
        ..IssuerConfig::new(config.issuer.clone(), config.audience.clone())
    };
    IssuerKeys::at(place, issuer, client)
}
