//! Certifying the keys that sidecars sign assertions with: only for the service their client certificate names, only with a
//! proof that the key is held, each certificate an entry of the ledger, and no more of them than a budget allows.
//!
//! A key that is asked for again gets the certificate it has: a sidecar that reconnects costs nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::hub::Stream;
use super::source::FeedStore;
use crate::clock::Clock;
use crate::control::keys::KeysError;
use crate::domain::{BootTime, InstanceName, ServiceName, WallTime};
use crate::ledger::entry::Draft;
use crate::store::contract::StoreError;
use crate::token::assertion::certificate::{CertifiedAssertionKey, KeyProof, verify_key_proof};
use crate::token::{KeyError, PublicKey, TokenError};
use crate::wire::feed::FromControl;

/// Signs certificates with the root. Answers the certificate and the root's key id.
/// The root may be in a hardware module, which takes its time.
pub type Certifier =
    Arc<dyn Fn(CertifiedAssertionKey) -> BoxFuture<'static, Result<(String, String), KeysError>> + Send + Sync>;

/// Certificates of one instance within [`SPAN`]. A sidecar needs one at its start and one in sixteen hours.
const PER_INSTANCE_MAX: usize = 60;
/// Certificates of all instances of one service within [`SPAN`]: instances name themselves.
const PER_SERVICE_MAX: usize = 1_200;
const SPAN: Duration = Duration::from_secs(3600);
/// A certificate begins this long before it is made, so that a sidecar whose clock is behind can use it at once.
const BACKDATED: Duration = Duration::from_secs(60);
const RETRY_S: u32 = 5;
const RETRY_BUDGET_S: u32 = 60;

/// What is certified, how, and for how long.
#[derive(Clone)]
pub struct AssertionKeys {
    pub certifier: Certifier,
    pub validity: Duration,
}

impl std::fmt::Debug for AssertionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssertionKeys").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// Why a key is not certified.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("the stream is not this sidecar's live one")]
    NotLive,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the proof of possession does not hold: {0}")]
    Proof(#[source] TokenError),
    #[error("{0} keys were certified within an hour, which is the limit")]
    Budget(usize),
    #[error("the certificate could not be recorded")]
    Record(#[from] StoreError),
    #[error(transparent)]
    Sign(#[from] KeysError),
}

/// The certificates made here of late.
pub(super) struct Desk {
    keys: AssertionKeys,
    clock: Clock,
    made: Mutex<HashMap<ServiceName, VecDeque<Made>>>,
}

struct Made {
    at: BootTime,
    instance: InstanceName,
    kid: String,
    until: WallTime,
    certificate: String,
}

impl Desk {
    pub(super) fn new(keys: AssertionKeys, clock: Clock) -> Self {
        Self { keys, clock, made: Mutex::default() }
    }

    /// The line that answers a sidecar's request.
    pub(super) async fn answer<S: FeedStore>(
        &self,
        store: &S,
        stream: &Stream,
        live: bool,
        x: String,
        proof: &str,
    ) -> FromControl {
        let certified = if live { self.certify(store, stream, &x, proof).await } else { Err(Unfit::NotLive) };
        match certified {
            Ok(certificate) => FromControl::AssertionCertificate { certificate },
            Err(unfit) => {
                let (holder, error) = (&stream.holder, crate::error_chain::error_chain(&unfit));
                tracing::warn!(service = %holder.service, instance = %holder.instance, error, "an assertion key was refused");
                let retry_after_s = if matches!(unfit, Unfit::Budget(_)) { RETRY_BUDGET_S } else { RETRY_S };
                FromControl::AssertionRefused { x, why: unfit.to_string(), retry_after_s }
            }
        }
    }

    async fn certify<S: FeedStore>(&self, store: &S, stream: &Stream, x: &str, proof: &str) -> Result<String, Unfit> {
        let key: PublicKey = x.parse()?;
        let (service, instance) = (stream.holder.service.clone(), stream.holder.instance.clone());
        let expected =
            KeyProof { service: service.clone(), instance: instance.clone(), epoch: store.epoch().to_owned() };
        verify_key_proof(proof, &key, &expected).map_err(Unfit::Proof)?;
        let now = self.clock.now();
        if let Some(certificate) = self.reserve(&service, &instance, key.kid(), now)? {
            return Ok(certificate);
        }
        let (not_before, not_after) = (now.wall.minus(BACKDATED), now.wall.plus(self.keys.validity));
        let subject = CertifiedAssertionKey { key, service, instance, not_before, not_after };
        let mut reserved = Reserved { desk: self, subject: &subject, certificate: None };
        let certificate = self.make(store, &subject).await?;
        reserved.certificate = Some(certificate.clone());
        Ok(certificate)
    }

    /// INVARIANT: no certificate leaves before its entry is durable.
    async fn make<S: FeedStore>(&self, store: &S, subject: &CertifiedAssertionKey) -> Result<String, Unfit> {
        let (certificate, root_kid) = (self.keys.certifier)(subject.clone()).await?;
        let (service, instance, kid) = (&subject.service, &subject.instance, subject.key.kid());
        store.record(Draft::assertion_key_certified(service, instance, kid, &root_kid, &certificate)).await?;
        Ok(certificate)
    }

    /// The certificate the key has; or a place in the budget, until [`Reserved`] is dropped.
    fn reserve(
        &self,
        service: &ServiceName,
        instance: &InstanceName,
        kid: &str,
        now: crate::domain::Moment,
    ) -> Result<Option<String>, Unfit> {
        let mut all = self.made();
        all.retain(|_, made| {
            made.retain(|made| now.boot.since(made.at) < SPAN);
            !made.is_empty()
        });
        let made = all.entry(service.clone()).or_default();
        let usable = |made: &&Made| !made.certificate.is_empty() && made.until > now.wall.plus(BACKDATED);
        let known = made.iter().filter(|made| made.instance == *instance && made.kid == kid).find(usable);
        if let Some(known) = known {
            return Ok(Some(known.certificate.clone()));
        }
        if made.len() >= PER_SERVICE_MAX {
            return Err(Unfit::Budget(PER_SERVICE_MAX));
        }
        if made.iter().filter(|made| made.instance == *instance).count() >= PER_INSTANCE_MAX {
            return Err(Unfit::Budget(PER_INSTANCE_MAX));
        }
        made.push_back(Made {
            at: now.boot,
            instance: instance.clone(),
            kid: kid.to_owned(),
            until: now.wall,
            certificate: String::new(),
        });
        Ok(None)
    }

    /// Keeps the certificate in the place that was reserved, or gives the place back: a database that fails for a while
    /// must not cost the sidecar its budget.
    fn settle(&self, subject: &CertifiedAssertionKey, certificate: Option<&String>) {
        let mut all = self.made();
        let Some(made) = all.get_mut(&subject.service) else { return };
        let is_place = |made: &Made| {
            made.instance == subject.instance && made.kid == subject.key.kid() && made.certificate.is_empty()
        };
        let Some(at) = made.iter().position(is_place) else { return };
        match (certificate, made.get_mut(at)) {
            (Some(certificate), Some(place)) => {
                (place.until, place.certificate) = (subject.not_after, certificate.clone());
            }
            (None, _) | (_, None) => {
                made.remove(at);
            }
        }
    }

    fn made(&self) -> MutexGuard<'_, HashMap<ServiceName, VecDeque<Made>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the budget. It is settled also where the stream ends meanwhile.
struct Reserved<'a> {
    desk: &'a Desk,
    subject: &'a CertifiedAssertionKey,
    certificate: Option<String>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.desk.settle(self.subject, self.certificate.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::SigningKey;

    #[test]
    fn what_came_to_nothing_costs_no_budget() {
        let certifier: Certifier = Arc::new(|_| Box::pin(async { Ok(Default::default()) }));
        let desk = Desk::new(AssertionKeys { certifier, validity: SPAN }, Clock::System);
        let key = SigningKey::generate().unwrap().public().clone();
        let now = Clock::System.now();
        let subject = CertifiedAssertionKey {
            key,
            service: "payments".parse().unwrap(),
            instance: "s-1".parse().unwrap(),
            not_before: now.wall,
            not_after: now.wall.plus(SPAN),
        };
        let reserve = || desk.reserve(&subject.service, &subject.instance, subject.key.kid(), now);
        for _ in 0..2 * PER_INSTANCE_MAX {
            assert_eq!(reserve().unwrap(), None);
            desk.settle(&subject, None);
        }
        assert_eq!(reserve().unwrap(), None);
        desk.settle(&subject, Some(&"certificate".to_owned()));
        assert_eq!(reserve().unwrap().as_deref(), Some("certificate"));
        for _ in 1..PER_INSTANCE_MAX {
            assert_eq!(desk.reserve(&subject.service, &subject.instance, "another", now).unwrap(), None);
        }
        assert!(desk.reserve(&subject.service, &subject.instance, "another", now).is_err());
        assert_eq!(reserve().unwrap().as_deref(), Some("certificate"));
    }
}
