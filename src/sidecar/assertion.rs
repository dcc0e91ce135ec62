//! The upstream is told of each override in a way it can check: an Ed25519 key of this sidecar's own signs it.
//!
//! The key is made in memory and asked to be certified over the feed ([`keys`]); it signs only once a pinned root vouches
//! for it. The public halves are served to the upstream ([`address`]). Must never: write a private key anywhere, sign with a
//! key that is not certified for this very sidecar, or keep an override waiting: without a key it is refused.

pub mod address;
pub mod keys;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderValue, Uri};

use self::keys::{Asking, KeyStore};
use crate::clock::Clock;
use crate::decision::{Assertion, Permit};
use crate::domain::{InstanceName, ServiceName};
use crate::token::assertion::jwks::JwkSet;
use crate::token::assertion::{Target, issuer};
use crate::token::keys::KeyError;
use crate::token::{AssertionClaims, PublicKey, mint_assertion};
use crate::wire::feed::{FromControl, FromSidecar};

/// The sidecar's assertions. Shared by all workers; the keys are locked for the length of a clone.
#[derive(Debug)]
pub struct Assertions {
    service: ServiceName,
    issuer: String,
    clock: Clock,
    store: RwLock<KeyStore>,
    counts: AssertionCounts,
}

/// Monotonic counts since the process started.
#[derive(Debug, Default)]
pub struct AssertionCounts {
    signed: AtomicU64,
    certified: AtomicU64,
    refused: AtomicU64,
}

impl AssertionCounts {
    /// Assertions that were signed.
    pub fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// Certificates that were taken.
    pub fn certified(&self) -> u64 {
        self.certified.load(Ordering::Relaxed)
    }

    /// Certificates that the control plane refused, or that did not hold.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Assertions {
    /// Makes the first key.
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn new(service: ServiceName, instance: InstanceName, clock: Clock) -> Result<Self, KeyError> {
        let issuer = issuer(&service, &instance);
        let store = RwLock::new(KeyStore::new(service.clone(), instance)?);
        Ok(Self { service, issuer, clock, store, counts: AssertionCounts::default() })
    }

    /// Whether an override can be told to the upstream now.
    pub fn fact(&self) -> Assertion {
        let signer = self.read().signer(self.clock.now()).is_some();
        if signer { Assertion::Ready } else { Assertion::Unavailable }
    }

    /// The header that tells the upstream of one override; `None` where no key may sign, or signing fails.
    ///
    /// `target` is the request's as it goes upstream.
    pub fn header(
        &self,
        permit: &Permit,
        request_id: &str,
        method: &http::Method,
        target: &Uri,
    ) -> Option<HeaderValue> {
        let now = self.clock.now();
        let signer = Arc::clone(self.read().signer(now)?);
        let origin_form = target.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = Target { method: method.as_str(), origin_form };
        let claims = AssertionClaims::of(permit, &self.issuer, request_id, target, now.wall);
        let signed = mint_assertion(&claims, &signer.key).ok()?;
        let mut value = HeaderValue::try_from(signed).ok()?;
        value.set_sensitive(true);
        self.counts.signed.fetch_add(1, Ordering::Relaxed);
        Some(value)
    }

    /// The keys that the upstream may believe now.
    pub fn jwk_set(&self) -> JwkSet {
        self.read().jwk_set(self.clock.now())
    }

    /// When the certificate of the key that signs ends; `None` where none signs.
    pub fn signs_until(&self) -> Option<crate::domain::WallTime> {
        let now = self.clock.now();
        self.read().signer(now).map(|signer| signer.certified.not_after)
    }

    pub fn counts(&self) -> &AssertionCounts {
        &self.counts
    }

    /// A new stream to the control plane has begun: what was asked on an older one is answered no more.
    pub fn begin(&self) {
        self.write().begin();
    }

    /// What is to be said to the control plane of this epoch now. Cheap: asked at least once a second.
    pub fn to_say(&self, epoch: &str) -> Option<FromSidecar> {
        let now = self.clock.now();
        let asked = self.write().to_say(epoch, now);
        match asked {
            Ok(Asking::Nothing) => None,
            Ok(Asking::Certify { x, proof }) => Some(FromSidecar::CertifyAssertionKey { x, proof }),
            Err(error) => {
                tracing::error!(%error, "an assertion key could not be made");
                None
            }
        }
    }

    /// Takes the control plane's answer, if it is one, and holds once checked against the pinned `roots`.
    pub fn hear(&self, line: &FromControl, roots: &[PublicKey]) {
        let now = self.clock.now();
        match line {
            FromControl::AssertionCertificate { certificate } => {
                let taken = self.write().take(certificate, roots, now);
                match taken {
                    Ok(until) => {
                        self.counts.certified.fetch_add(1, Ordering::Relaxed);
                        tracing::info!(service = %self.service, until = %until.rfc3339(), "an assertion key was certified");
                    }
                    Err(error) => {
                        self.counts.refused.fetch_add(1, Ordering::Relaxed);
                        tracing::error!(%error, "an assertion key's certificate does not hold");
                    }
                }
            }
            FromControl::AssertionRefused { x, why, retry_after_s } => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                self.write().refused(x, *retry_after_s, now);
                tracing::warn!(why = %why.escape_debug(), "an assertion key was not certified; overrides need one");
            }
            _ => {}
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, KeyStore> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, KeyStore> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }
}
