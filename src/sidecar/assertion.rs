//! The upstream is told of each override in a way it can check: an Ed25519 key of this sidecar's own signs it.
//!
//! The key is made in memory and asked to be certified over the feed ([`keys`]); it signs only once a pinned root vouches
//! for it. The public halves are served to the upstream ([`address`]). Must never: write a private key anywhere, sign with a
//! key that is not certified for this very sidecar, or keep an override waiting: without a key it is refused.

pub mod address;
pub mod keys;
pub mod numbers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderValue, Uri};

use self::keys::{Asking, KeyStore};
use self::numbers::Numbers;
use crate::clock::Clock;
use crate::decision::{Assertion, Permit};
use crate::domain::{InstanceName, ServiceName};
use crate::token::assertion::jwks::JwkSet;
use crate::token::assertion::{Record, Target, issuer};
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
    numbers: Numbers,
}

/// One override, as its assertion tells of it beside the permit.
#[derive(Debug, Clone, Copy)]
pub struct Asserting<'a> {
    pub request_id: &'a str,
    /// The name of its intent's line.
    pub record: &'a str,
    pub method: &'a http::Method,
    /// As it goes upstream.
    pub target: &'a Uri,
}

/// What came of it.
#[derive(Debug)]
pub struct Asserted {
    /// Which under its grant; taken even where signing then failed.
    pub number: u64,
    pub header: Option<HeaderValue>,
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
        Ok(Self { service, issuer, clock, store, counts: AssertionCounts::default(), numbers: Numbers::default() })
    }

    /// Whether an override can be told to the upstream now.
    pub fn fact(&self) -> Assertion {
        let signer = self.read().signer(self.clock.now()).is_some();
        if signer { Assertion::Ready } else { Assertion::Unavailable }
    }

    /// Tells the upstream of one override; `None` where no key may sign.
    pub fn assert(&self, permit: &Permit, about: Asserting<'_>) -> Option<Asserted> {
        let now = self.clock.now();
        let signer = Arc::clone(self.read().signer(now)?);
        let origin_form = about.target.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let target = Target { method: about.method.as_str(), origin_form };
        let number = self.numbers.next(&permit.grant().id);
        let record = Record { request_id: about.request_id, line: about.record, number };
        let claims = AssertionClaims::of(permit, &self.issuer, record, target, now.wall);
        let signed = mint_assertion(&claims, &signer.key).ok();
        let mut header = signed.and_then(|signed| HeaderValue::try_from(signed).ok());
        if let Some(header) = &mut header {
            header.set_sensitive(true);
            self.counts.signed.fetch_add(1, Ordering::Relaxed);
        }
        Some(Asserted { number, header })
    }

    /// How many were signed under each grant.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
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
