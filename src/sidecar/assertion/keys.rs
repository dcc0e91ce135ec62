//! The life of an assertion key: made, asked for, published, signing, retired, forgotten.
//!
//! At most one key is being asked for. A key that follows another is published for longer than [`MAX_AGE`] before it
//! signs, so that no reader of the key set meets an assertion whose key it has not seen; the one before stays published until its last
//! assertion has expired.
//!
//! INVARIANT: what [`KeyStore::signer`] answers was certified by a pinned root for this service and instance, and outlives
//! the assertion it signs.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{BootTime, Deadline, InstanceName, Moment, ServiceName, WallTime};
use crate::token::assertion::certificate::{CertifiedAssertionKey, KeyProof, prove_key, verify_assertion_certificate};
use crate::token::assertion::jwks::{Jwk, JwkSet, MAX_AGE};
use crate::token::assertion::{LEEWAY, LIFETIME};
use crate::token::keys::KeyError;
use crate::token::{PublicKey, SigningKey, TokenError};

/// How long a key is published before it signs: whoever fetched the set just before may keep it for [`MAX_AGE`], and counts
/// in whole seconds.
const PUBLISHED_BEFORE: Duration = MAX_AGE.saturating_add(Duration::from_secs(1));
/// Without an answer the question is repeated.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// However long the control plane asks to wait, it is asked again within this.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Keys published at once; past it the oldest of the retired goes first.
const PUBLISHED_MAX: usize = 8;

/// A key with its certificate.
#[derive(Debug)]
pub struct Signer {
    pub(super) key: SigningKey,
    pub(super) certified: CertifiedAssertionKey,
    certificate: String,
    /// By both clocks: a wall clock that is set back gives a key no longer life.
    ends: Deadline,
    /// A key that follows another waits until the key set with it has reached its readers.
    signs_from: BootTime,
    /// From here on a third is left, and the next key is made.
    renewed_from: Deadline,
}

impl Signer {
    /// Whether an assertion signed now would end before the certificate, by both clocks. A wall clock that is set back
    /// behind the certificate's beginning takes nothing away: the beginning was checked when it was taken.
    fn can_sign(&self, now: Moment) -> bool {
        !self.ends.has_passed(Moment { boot: now.boot.plus(LIFETIME), wall: now.wall.plus(LIFETIME) })
    }
}

/// A public key that signs no more and may still be asked for.
#[derive(Debug)]
struct Retired {
    certified: CertifiedAssertionKey,
    certificate: String,
    gone: BootTime,
}

/// A key on its way to a certificate.
#[derive(Debug)]
struct Candidate {
    key: SigningKey,
    /// The next time it is asked for.
    next: BootTime,
}

/// Why a certificate was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    #[error("no certificate was asked for")]
    NotAsked,
    #[error(transparent)]
    Certificate(#[from] TokenError),
    #[error("it is for another key")]
    OtherKey,
    #[error("it is for another sidecar")]
    OtherSidecar,
    #[error("it ends too soon to be of use")]
    TooShort,
}

/// What to say to the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asking {
    Nothing,
    Certify { x: String, proof: String },
}

/// All keys of one sidecar.
#[derive(Debug)]
pub struct KeyStore {
    service: ServiceName,
    instance: InstanceName,
    candidate: Option<Candidate>,
    /// In the order they were certified; the last that may sign, signs.
    signers: Vec<Arc<Signer>>,
    retired: Vec<Retired>,
}

impl KeyStore {
    /// # Errors
    /// When the system's randomness fails.
    pub fn new(service: ServiceName, instance: InstanceName) -> Result<Self, KeyError> {
        let candidate = Some(Candidate { key: SigningKey::generate()?, next: BootTime::ZERO });
        Ok(Self { service, instance, candidate, signers: Vec::new(), retired: Vec::new() })
    }

    /// The key that signs now. A successor signs early where its predecessor can't.
    pub fn signer(&self, now: Moment) -> Option<&Arc<Signer>> {
        let able = || self.signers.iter().rev().filter(|signer| signer.can_sign(now));
        able().find(|signer| signer.signs_from <= now.boot).or_else(|| able().next())
    }

    pub fn begin(&mut self) {
        if let Some(candidate) = &mut self.candidate {
            candidate.next = BootTime::ZERO;
        }
    }

    /// Makes a key where one is due, and says what is to be asked.
    ///
    /// # Errors
    /// When the system's randomness fails.
    pub fn to_say(&mut self, epoch: &str, now: Moment) -> Result<Asking, KeyError> {
        self.tidy(now);
        if self.candidate.is_none() && self.is_due(now) {
            self.candidate = Some(Candidate { key: SigningKey::generate()?, next: BootTime::ZERO });
        }
        let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.next <= now.boot) else {
            return Ok(Asking::Nothing);
        };
        candidate.next = now.boot.plus(ANSWER_WAIT);
        let said = KeyProof { service: self.service.clone(), instance: self.instance.clone(), epoch: epoch.to_owned() };
        let proof = prove_key(&said, &candidate.key).map_err(|_| KeyError::Private)?;
        Ok(Asking::Certify { x: candidate.key.public().to_string(), proof })
    }

    /// A third of the newest certificate's time is left, or there is none.
    fn is_due(&self, now: Moment) -> bool {
        self.signers.last().is_none_or(|newest| newest.renewed_from.has_passed(now))
    }

    /// Takes the candidate's certificate, and answers when it ends.
    ///
    /// # Errors
    /// [`TakeError`]; nothing has changed then.
    pub fn take(&mut self, certificate: &str, roots: &[PublicKey], now: Moment) -> Result<WallTime, TakeError> {
        if let Some(known) = self.signers.iter().find(|signer| signer.certificate == certificate) {
            return Ok(known.certified.not_after);
        }
        let candidate = self.candidate.as_ref().ok_or(TakeError::NotAsked)?;
        let certified = verify_assertion_certificate(certificate, roots, now.wall)?;
        if certified.key != *candidate.key.public() {
            return Err(TakeError::OtherKey);
        }
        if certified.service != self.service || certified.instance != self.instance {
            return Err(TakeError::OtherSidecar);
        }
        let left = certified.not_after.since(now.wall);
        if left <= LIFETIME + LEEWAY {
            return Err(TakeError::TooShort);
        }
        let in_use = self.signer(now).is_some();
        let Some(Candidate { key, .. }) = self.candidate.take() else { return Err(TakeError::NotAsked) };
        let until = certified.not_after;
        let after = |span: Duration| Deadline { boot: now.boot.plus(span), wall: now.wall.plus(span) };
        self.signers.push(Arc::new(Signer {
            key,
            certificate: certificate.to_owned(),
            ends: after(left),
            signs_from: if in_use { now.boot.plus(PUBLISHED_BEFORE.min(left / 3)) } else { now.boot },
            renewed_from: after(left - left / 3),
            certified,
        }));
        Ok(until)
    }

    /// The control plane said no for now.
    pub fn refused(&mut self, x: &str, retry_after_s: u32, now: Moment) {
        let wait = Duration::from_secs(retry_after_s.into()).clamp(Duration::from_secs(1), RETRY_MAX);
        if let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.key.public().to_string() == x) {
            candidate.next = now.boot.plus(wait);
        }
    }

    /// Retires what signs no more: the private half is dropped, the public one stays until its last assertion is over.
    fn tidy(&mut self, now: Moment) {
        self.retired.retain(|retired| retired.gone > now.boot);
        let Some(current) = self.signer(now).cloned() else {
            return self.retire(now, |signer| !signer.can_sign(now));
        };
        let at = self.signers.iter().position(|signer| Arc::ptr_eq(signer, &current)).unwrap_or(0);
        let older: Vec<_> = self.signers.iter().take(at).cloned().collect();
        self.retire(now, |signer| older.iter().any(|old| std::ptr::eq(Arc::as_ptr(old), signer)));
    }

    fn retire(&mut self, now: Moment, over: impl Fn(&Signer) -> bool) {
        let gone = now.boot.plus(LIFETIME + LEEWAY + LEEWAY);
        for signer in self.signers.extract_if(.., |signer| over(signer)) {
            let (certified, certificate) = (signer.certified.clone(), signer.certificate.clone());
            self.retired.push(Retired { certified, certificate, gone });
        }
        let surplus = (self.retired.len() + self.signers.len()).saturating_sub(PUBLISHED_MAX);
        self.retired.drain(..surplus.min(self.retired.len()));
    }

    pub fn jwk_set(&self, now: Moment) -> JwkSet {
        let signing = self.signers.iter().map(|signer| (&signer.certified, &signer.certificate));
        let retired = self.retired.iter().filter(|retired| retired.gone > now.boot);
        let retired = retired.map(|retired| (&retired.certified, &retired.certificate));
        JwkSet {
            keys: retired.chain(signing).map(|(certified, certificate)| Jwk::of(certified, certificate)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::assertion::certificate::certify_assertion_key;
    use crate::token::certify_key;

    const DAY: u64 = 86_400;

    fn moment(seconds: u64) -> Moment {
        let span = Duration::from_secs(1_000_000 + seconds);
        Moment { boot: BootTime::from_duration(span), wall: WallTime::from_unix_s(1_795_313_580).plus(span) }
    }

    struct Bench {
        root: SigningKey,
        store: KeyStore,
    }

    impl Bench {
        fn new() -> Self {
            let store = KeyStore::new("payments".parse().unwrap(), "s-1".parse().unwrap()).unwrap();
            Self { root: SigningKey::generate().unwrap(), store }
        }

        /// The key that is asked for now.
        fn asked(&mut self, at: u64) -> Option<PublicKey> {
            match self.store.to_say("e", moment(at)).unwrap() {
                Asking::Nothing => None,
                Asking::Certify { x, .. } => Some(x.parse().unwrap()),
            }
        }

        fn subject(&self, key: PublicKey, at: u64, span: u64) -> CertifiedAssertionKey {
            CertifiedAssertionKey {
                key,
                service: "payments".parse().unwrap(),
                instance: "s-1".parse().unwrap(),
                not_before: moment(at).wall.minus(Duration::from_secs(60)),
                not_after: moment(at).wall.plus(Duration::from_secs(span)),
            }
        }

        fn take(&mut self, subject: &CertifiedAssertionKey, at: u64) -> Result<WallTime, TakeError> {
            let certificate = certify_assertion_key(subject, &self.root).unwrap();
            self.store.take(&certificate, &[self.root.public().clone()], moment(at))
        }

        /// Asks and is certified for a day.
        fn certify(&mut self, at: u64) -> PublicKey {
            let key = self.asked(at).unwrap();
            self.take(&self.subject(key.clone(), at, DAY), at).unwrap();
            key
        }

        fn signing(&self, at: u64) -> Option<PublicKey> {
            self.store.signer(moment(at)).map(|signer| signer.key.public().clone())
        }

        fn published(&self, at: u64) -> Vec<String> {
            self.store.jwk_set(moment(at)).keys.into_iter().map(|jwk| jwk.kid).collect()
        }
    }

    #[test]
    fn nothing_signs_before_its_certificate_and_the_first_signs_at_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.signing(0), None);
        assert!(bench.published(0).is_empty());
        let key = bench.certify(0);
        assert_eq!(bench.signing(0), Some(key.clone()));
        assert_eq!(bench.published(0), [key.kid()]);
        assert_eq!(bench.asked(1), None);
    }

    #[test]
    fn a_successor_is_published_before_it_signs_and_its_predecessor_after() {
        let mut bench = Bench::new();
        let first = bench.certify(0);
        let due = DAY - DAY / 3;
        assert_eq!(bench.asked(due - 1), None);
        let second = bench.certify(due);
        assert_ne!(first, second);
        assert_eq!(bench.published(due), [first.kid(), second.kid()]);
        assert_eq!(bench.signing(due + 60), Some(first.clone()), "no reader may know the new one yet");
        assert_eq!(bench.signing(due + 61), Some(second.clone()));
        assert_eq!(bench.asked(due + 61), None);
        assert_eq!(bench.store.signers.len(), 1, "the private half is gone");
        assert_eq!(
            bench.published(due + 61 + 39),
            [first.kid(), second.kid()],
            "assertions of the first may be under way"
        );
        assert_eq!(bench.published(due + 61 + 41), [second.kid()]);
    }

    #[test]
    fn a_key_ends_in_time_for_its_last_assertion_by_either_clock() {
        let mut bench = Bench::new();
        let key = bench.certify(0);
        assert_eq!(bench.signing(DAY - 31), Some(key.clone()));
        assert_eq!(bench.signing(DAY - 30), None);
        let back = Moment { wall: moment(0).wall, ..moment(DAY - 30) };
        assert!(bench.store.signer(back).is_none(), "a wall clock set back gives no longer life");
        let forward = Moment { wall: moment(DAY - 30).wall, ..moment(0) };
        assert!(bench.store.signer(forward).is_none());
        let before = Moment { wall: moment(0).wall.minus(Duration::from_secs(3600)), ..moment(10) };
        assert!(bench.store.signer(before).is_some(), "and takes none away");
        assert_eq!(bench.signing(10), Some(key));
    }

    #[test]
    fn after_an_outage_the_new_key_signs_at_once() {
        let mut bench = Bench::new();
        bench.certify(0);
        let second = bench.certify(2 * DAY);
        assert_eq!(bench.signing(2 * DAY), Some(second.clone()));
        assert!(bench.published(2 * DAY).contains(&second.kid().to_owned()));
    }

    #[test]
    fn what_is_certified_for_something_else_is_not_taken() {
        let mut bench = Bench::new();
        let key = bench.asked(0).unwrap();
        let good = bench.subject(key.clone(), 0, DAY);
        let other = SigningKey::generate().unwrap();
        for (subject, expected) in [
            (bench.subject(other.public().clone(), 0, DAY), TakeError::OtherKey),
            (CertifiedAssertionKey { service: "ledger".parse().unwrap(), ..good.clone() }, TakeError::OtherSidecar),
            (CertifiedAssertionKey { instance: "s-2".parse().unwrap(), ..good.clone() }, TakeError::OtherSidecar),
            (bench.subject(key.clone(), 0, 35), TakeError::TooShort),
            (
                CertifiedAssertionKey { not_before: moment(5).wall, ..good.clone() },
                TakeError::Certificate(TokenError::OutsideKeyValidity),
            ),
        ] {
            assert_eq!(bench.take(&subject, 0), Err(expected));
        }
        let roots = [bench.root.public().clone()];
        let as_grant = certify_key(&key, moment(0).wall, moment(DAY).wall, &bench.root).unwrap();
        let by_other_root = certify_assertion_key(&good, &other).unwrap();
        for certificate in [as_grant, by_other_root, "x".to_owned()] {
            let refused = bench.store.take(&certificate, &roots, moment(0));
            assert!(matches!(refused, Err(TakeError::Certificate(_))), "{refused:?}");
        }
        assert_eq!(bench.signing(0), None);
        assert_eq!(bench.take(&good, 0), Ok(good.not_after), "the key still waits for its own");
        assert_eq!(bench.take(&good, 0), Ok(good.not_after), "an answer that comes twice changes nothing");
        assert_eq!(bench.store.signers.len(), 1);
        let unasked = bench.subject(other.public().clone(), 0, DAY);
        assert_eq!(bench.take(&unasked, 0), Err(TakeError::NotAsked));
    }

    #[test]
    fn it_asks_again_after_silence_a_refusal_or_a_new_stream_and_never_in_a_rush() {
        let mut bench = Bench::new();
        let key = bench.asked(0).unwrap();
        assert_eq!(bench.asked(9), None);
        assert_eq!(bench.asked(10), Some(key.clone()), "the same key, so that it costs nothing");
        bench.store.refused(&key.to_string(), 60, moment(10));
        assert_eq!(bench.asked(69), None);
        assert_eq!(bench.asked(70), Some(key.clone()));
        bench.store.refused(&key.to_string(), u32::MAX, moment(70));
        assert_eq!(bench.asked(369), None);
        assert_eq!(bench.asked(370), Some(key.clone()), "never put off for good");
        bench.store.refused(&key.to_string(), 0, moment(370));
        assert_eq!(bench.asked(370), None);
        assert_eq!(bench.asked(371), Some(key.clone()));
        bench.store.begin();
        assert_eq!(bench.asked(371), Some(key));
    }
}
