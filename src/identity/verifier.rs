//! The check itself: synchronous, without a remote call.

use std::sync::Arc;

use tokio::sync::watch;

use super::cache::{BYTES_MAX, ENTRIES_MAX, Entry, VerifiedCache, cache_key};
use super::claims;
use super::compact::Unverified;
use super::error::{IdentityError, SetupError, TOKEN_BYTES_MAX};
use super::issuer::IssuerConfig;
use super::refresh::{IssuerKeys, RefreshTimes};
use crate::clock::Clock;
use crate::domain::{Authentication, Deadline, Person, Principal, WallTime};
use crate::http::Client;

/// Who a token proves to be calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub principal: Principal,
    pub person: Person,
    pub groups: Vec<String>,
    pub authentication: Authentication,
    /// The token's `iat`.
    pub issued: Option<WallTime>,
    /// The token's `exp`.
    pub expires: WallTime,
}

impl Verified {
    /// When the person is known to have been there: at the authentication, or, where the issuer does not say when that
    /// was, as the token was issued.
    pub fn proven_at(&self) -> Option<WallTime> {
        self.authentication.auth_time.or(self.issued)
    }
}

/// Checks access tokens of a fixed set of issuers. Clones share everything.
#[derive(Debug, Clone)]
pub struct Verifier {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) issuers: Vec<IssuerKeys>,
    pub(super) clock: Clock,
    pub(super) cache: VerifiedCache,
    pub(super) times: RefreshTimes,
    /// Counts attempts to refresh, of all issuers together.
    pub(super) attempts: watch::Sender<u64>,
}

impl Verifier {
    /// A verifier that knows no key yet: [`Verifier::refresh`] fetches them once, [`Verifier::run`] keeps them fresh.
    ///
    /// # Errors
    /// [`SetupError`], when the configuration contradicts itself or an authority's file cannot be used.
    pub fn new(issuers: Vec<IssuerConfig>, client: &Client, clock: Clock) -> Result<Self, SetupError> {
        Self::with_refresh_times(issuers, client, clock, RefreshTimes::DEFAULT)
    }

    /// As [`Verifier::new`], with other times between refreshes.
    ///
    /// # Errors
    /// As [`Verifier::new`].
    pub fn with_refresh_times(
        configs: Vec<IssuerConfig>,
        client: &Client,
        clock: Clock,
        times: RefreshTimes,
    ) -> Result<Self, SetupError> {
        let mut issuers: Vec<IssuerKeys> = Vec::with_capacity(configs.len());
        for config in configs {
            if issuers.iter().any(|known| known.config.issuer == config.issuer) {
                return Err(SetupError::Duplicate(config.issuer));
            }
            issuers.push(IssuerKeys::new(config, client)?);
        }
        Ok(Self::over(issuers, clock, times))
    }

    pub(super) fn over(issuers: Vec<IssuerKeys>, clock: Clock, times: RefreshTimes) -> Self {
        let (attempts, _) = watch::channel(0);
        let cache = VerifiedCache::new(ENTRIES_MAX, BYTES_MAX);
        Self { inner: Arc::new(Inner { issuers, clock, cache, times, attempts }) }
    }

    /// Takes over the keys that `other` has of issuers that are configured alike in both.
    pub fn adopt_keys(&self, other: &Self) {
        for own in &self.inner.issuers {
            if let Some(known) = other.inner.issuers.iter().find(|known| known.config == own.config) {
                own.adopt(known);
            }
        }
    }

    /// Whether both are clones of one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Who `token` proves to be calling, now. The scheme (`Bearer`) is already taken off.
    ///
    /// Neither waits nor blocks: a key that is not known only wakes the task that refreshes keys.
    ///
    /// # Errors
    /// [`IdentityError`]. [`IdentityError::Expired`] is said of genuine tokens only.
    pub fn verify(&self, token: &str) -> Result<Verified, IdentityError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(IdentityError::TooLarge);
        }
        if let Some(known) = self.recall(token) {
            return known;
        }
        let entry = self.verify_anew(token)?;
        let verified = Verified::clone(&entry.verified);
        self.inner.cache.insert(cache_key(token), entry);
        Ok(verified)
    }

    /// What is known of a token that was verified before: it costs a digest, no signature. `None` for any other.
    pub fn recall(&self, token: &str) -> Option<Result<Verified, IdentityError>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let entry = self.inner.cache.get(&cache_key(token)).filter(|entry| self.is_key_in_force(entry))?;
        let is_over = entry.deadline.has_passed(self.inner.clock.now());
        Some(if is_over { Err(IdentityError::Expired) } else { Ok(Verified::clone(&entry.verified)) })
    }

    /// How many verified tokens are remembered; the number has a limit, and a token that is not genuine never counts.
    pub fn remembered(&self) -> usize {
        self.inner.cache.len()
    }

    fn is_key_in_force(&self, entry: &Entry) -> bool {
        let keys = self.inner.issuers.get(entry.issuer).and_then(IssuerKeys::current);
        keys.is_some_and(|keys| keys.contains(&entry.key))
    }

    fn verify_anew(&self, token: &str) -> Result<Entry, IdentityError> {
        let unverified = Unverified::parse(token)?;
        let named = claims::required_text(&unverified.claims, "iss")?;
        let mut known = self.inner.issuers.iter().enumerate();
        let (position, issuer) =
            known.find(|(_, issuer)| issuer.config.issuer.as_str() == named).ok_or(IdentityError::UnknownIssuer)?;
        let key = signing_key(issuer, &unverified)?;
        let now = self.inner.clock.now();
        let verified = claims::identity(&unverified.claims, unverified.is_typed, &issuer.config, now.wall)?;
        let deadline = Deadline::from_ping(verified.expires, now.boot, now.wall);
        Ok(Entry { verified: Arc::new(verified), issuer: position, key, deadline })
    }
}

/// The key that signed the token, by its thumbprint.
pub(super) fn signing_key(
    issuer: &IssuerKeys,
    token: &Unverified<'_>,
) -> Result<super::jwks::Thumbprint, IdentityError> {
    if !issuer.config.algorithms.contains(&token.algorithm) {
        return Err(IdentityError::AlgorithmNotAllowed);
    }
    let Some(keys) = issuer.current() else {
        issuer.want_refresh();
        return Err(IdentityError::Unverifiable);
    };
    let Some(key) = keys.find(token.kid.as_deref(), token.algorithm) else {
        issuer.want_refresh();
        // A key of this name that does not fit stays what it is, whatever the issuer says next.
        let is_awaited = token.kid.as_deref().is_some_and(|kid| !keys.has_named(kid) && issuer.sought.awaits(kid));
        return Err(if is_awaited { IdentityError::KeyAwaited } else { IdentityError::UnknownKey });
    };
    if token.is_signed_by(&key.decoding) { Ok(key.thumbprint) } else { Err(IdentityError::BadSignature) }
}
