//! The upstream assertion (`bg-assertion+jwt`): what the sidecar tells the contract API of one override, signed.
//!
//! It is good for [`LIFETIME`], for one service, one method and one target, and says which grant, person, resource and
//! action it is about. The keys that sign it are certified by a pinned root for this one purpose ([`certificate`]) and
//! published as a JWK set ([`jwks`]). `docs/assertion.md` is the format's description for readers; it and this file
//! change together.
//!
//! Sources: RFC 7515, RFC 7519, RFC 8037, RFC 8725; RFC 9112 §3.2.1 for the target.

pub mod certificate;
pub mod jwks;
#[cfg(test)]
mod tests;

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use self::jwks::AssertionKeys;
use super::jws::{JwsError, Unverified};
use super::keys::SigningKey;
use super::mint::MintError;
use super::{ASSERTION_TYPE, jws};
use crate::decision::Permit;
use crate::domain::{
    Action, Binding, Confirmation, Grant, GrantId, InstanceName, Person, ReasonCode, Resource, Role, ServiceName,
    Ticket, WallTime,
};

/// From `iat` to `exp`.
pub const LIFETIME: Duration = Duration::from_secs(30);
/// By how much the clocks of sidecar and API may differ.
pub const LEEWAY: Duration = Duration::from_secs(5);

const ISSUER_PREFIX: &str = "urn:breakglass:sidecar:";

/// What an assertion says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssertionClaims {
    /// `urn:breakglass:sidecar:<service>:<instance>`
    pub iss: String,
    /// The service. One string: an array is refused.
    pub aud: ServiceName,
    /// The request id.
    pub jti: String,
    /// Seconds since the epoch (RFC 7519 §2, whole numbers only).
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    pub grant: GrantId,
    /// The person.
    pub sub: Person,
    pub role: Role,
    /// How the person has proven that the grant is theirs.
    pub binding: Binding,
    /// The key or certificate that was proven, where the binding is to one (RFC 7800).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cnf: Option<Confirmation>,
    pub resource: Resource,
    pub action: Action,
    pub reason: ReasonCode,
    pub ticket: Ticket,
    pub method: String,
    /// See [`target_sha256`].
    pub target_sha256: String,
    /// The line of the sidecar's audit log that is this override's intent: `<log id>-<sequence>`.
    pub record: String,
    /// Which assertion under this grant in that log, dense from 1.
    pub number: u64,
}

/// How one override is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub request_id: &'a str,
    pub line: &'a str,
    pub number: u64,
}

/// One request as it goes upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub method: &'a str,
    /// Path and query in origin form, byte for byte as it stands in the request line.
    pub origin_form: &'a str,
}

/// Why an assertion is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    #[error(transparent)]
    Jws(#[from] JwsError),
    #[error("the key that signed the assertion is not known")]
    UnknownKey,
    #[error("the assertion's claims are not those of its type: {0}")]
    Claims(String),
    #[error("the assertion is longer than its key's certificate, or than {} s", LIFETIME.as_secs())]
    TooLong,
    #[error("the assertion is not valid yet")]
    NotYet,
    #[error("the assertion has expired")]
    Expired,
    #[error("the assertion is for another service, or of another service's sidecar")]
    OtherService,
    #[error("the assertion is for another method")]
    OtherMethod,
    #[error("the assertion is for another target")]
    OtherTarget,
    #[error("the assertion is for another resource than the one this request names")]
    OtherResource,
    #[error("the assertion is for another action than this request")]
    OtherAction,
}

impl AssertionClaims {
    /// The claims for one override. They begin at the whole second `now` lies in.
    pub fn of(permit: &Permit, issuer: &str, record: Record<'_>, target: Target<'_>, now: WallTime) -> Self {
        let grant: &Grant = permit.grant();
        Self {
            iss: issuer.to_owned(),
            aud: grant.service.clone(),
            jti: record.request_id.to_owned(),
            iat: now.unix_s(),
            nbf: now.unix_s(),
            exp: WallTime::from_unix_s(now.unix_s()).plus(LIFETIME).unix_s(),
            grant: grant.id.clone(),
            sub: grant.person.clone(),
            role: grant.role.clone(),
            binding: grant.binding,
            cnf: grant.confirmation.clone(),
            resource: permit.resource().clone(),
            action: permit.action().clone(),
            reason: grant.justification.reason.clone(),
            ticket: grant.justification.ticket.clone(),
            method: target.method.to_owned(),
            target_sha256: target_sha256(target.origin_form),
            record: record.line.to_owned(),
            number: record.number,
        }
    }

    /// Compares with what the request itself names, in its path *and in its body*. Whoever believes an assertion must
    /// ask this: it says what was overridden, not what was sent.
    ///
    /// # Errors
    /// When it is for something else.
    pub fn must_be_for(&self, resource: &Resource, action: &Action) -> Result<(), AssertionError> {
        if self.resource != *resource {
            return Err(AssertionError::OtherResource);
        }
        if self.action == *action { Ok(()) } else { Err(AssertionError::OtherAction) }
    }

    fn check(&self, service: &ServiceName, target: Target<'_>, now: WallTime) -> Result<(), AssertionError> {
        let (begin, end) = (WallTime::from_unix_s(self.nbf), WallTime::from_unix_s(self.exp));
        let issued = WallTime::from_unix_s(self.iat);
        if end <= begin || end <= issued || end > issued.plus(LIFETIME) {
            return Err(AssertionError::TooLong);
        }
        if now.plus(LEEWAY) < begin.max(issued) {
            return Err(AssertionError::NotYet);
        }
        if now >= end.plus(LEEWAY) {
            return Err(AssertionError::Expired);
        }
        let issuer = self.iss.strip_prefix(ISSUER_PREFIX).and_then(|rest| rest.strip_prefix(service.as_str()));
        if self.aud != *service || !issuer.is_some_and(|rest| rest.starts_with(':')) {
            return Err(AssertionError::OtherService);
        }
        if self.method != target.method {
            return Err(AssertionError::OtherMethod);
        }
        if self.target_sha256 == target_sha256(target.origin_form) { Ok(()) } else { Err(AssertionError::OtherTarget) }
    }
}

/// `iss` of a sidecar's assertions.
pub fn issuer(service: &ServiceName, instance: &InstanceName) -> String {
    format!("{ISSUER_PREFIX}{service}:{instance}")
}

/// Base64url of the SHA-256 of a target in origin form.
pub fn target_sha256(origin_form: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, origin_form.as_bytes()))
}

/// The assertion as a compact JWS.
///
/// # Errors
/// When the key cannot sign.
pub fn mint_assertion(claims: &AssertionClaims, key: &SigningKey) -> Result<String, MintError> {
    jws::sign(ASSERTION_TYPE, claims, key)
}

/// The claims of `assertion`, if a known key signed it within its validity, for this service and this very request, and
/// it is in its time give or take [`LEEWAY`]. What it is *about* is for [`AssertionClaims::must_be_for`].
///
/// # Errors
/// [`AssertionError`], which never quotes the assertion.
pub fn verify_assertion(
    assertion: &str,
    keys: &AssertionKeys,
    service: &ServiceName,
    target: Target<'_>,
    now: WallTime,
) -> Result<AssertionClaims, AssertionError> {
    let unverified = Unverified::parse(assertion, ASSERTION_TYPE)?;
    let known = keys.get(&unverified.kid).ok_or(AssertionError::UnknownKey)?;
    let payload = unverified.verified_by(&known.key)?;
    let claims: AssertionClaims =
        serde_json::from_slice(&payload).map_err(|error| AssertionError::Claims(error.to_string()))?;
    if let Some(certified) = &known.certified {
        if certified.service != *service || claims.iss != issuer(&certified.service, &certified.instance) {
            return Err(AssertionError::OtherService);
        }
        let span = certified.not_before.unix_s()..=certified.not_after.unix_s();
        if !span.contains(&claims.iat) || !span.contains(&claims.exp) {
            return Err(AssertionError::TooLong);
        }
    }
    claims.check(service, target, now)?;
    Ok(claims)
}
