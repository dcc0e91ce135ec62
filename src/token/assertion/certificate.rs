//! The certificate of an assertion key (`bg-key+jwt` with `purpose: "assertion"`), and the proof by which a sidecar shows
//! that it holds the key it wants certified.
//!
//! INVARIANT: a grant key's certificate is never read as one of these, nor the other way round: both have a purpose, and
//! each reader knows one.

use serde::{Deserialize, Serialize};

use crate::domain::{InstanceName, ServiceName, WallTime};
use crate::token::jws::{self, Unsigned, Unverified};
use crate::token::keys::{PublicKey, SigningKey};
use crate::token::mint::MintError;
use crate::token::verify::TokenError;
use crate::token::{KEY_TYPE, PROOF_TYPE};

/// A key that a root lets sign the assertions of one sidecar for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedAssertionKey {
    pub key: PublicKey,
    pub service: ServiceName,
    pub instance: InstanceName,
    pub not_before: WallTime,
    pub not_after: WallTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateClaims {
    /// The key, base64url.
    x: String,
    purpose: Purpose,
    service: ServiceName,
    instance: InstanceName,
    nbf: i64,
    exp: i64,
}

/// The only purpose this reader knows.
#[derive(Serialize, Deserialize)]
enum Purpose {
    #[serde(rename = "assertion")]
    Assertion,
}

/// A certificate by which `root` vouches for the key. Times are cut to whole seconds.
///
/// # Errors
/// When the root cannot sign.
pub fn certify_assertion_key(certified: &CertifiedAssertionKey, root: &SigningKey) -> Result<String, MintError> {
    unsigned_assertion_certificate(certified, root.public())?.signed_by(root)
}

/// The same certificate, for a root that is elsewhere.
///
/// # Errors
/// When the claims can't be written.
pub fn unsigned_assertion_certificate(
    certified: &CertifiedAssertionKey,
    root: &PublicKey,
) -> Result<Unsigned, MintError> {
    let claims = CertificateClaims {
        x: certified.key.to_string(),
        purpose: Purpose::Assertion,
        service: certified.service.clone(),
        instance: certified.instance.clone(),
        nbf: certified.not_before.unix_s(),
        exp: certified.not_after.unix_s(),
    };
    Ok(Unsigned::new(KEY_TYPE, &claims, root)?)
}

/// The key that `certificate` vouches for, if one of `roots` signed it for this purpose and it holds at `now`.
///
/// # Errors
/// [`TokenError`].
pub fn verify_assertion_certificate(
    certificate: &str,
    roots: &[PublicKey],
    now: WallTime,
) -> Result<CertifiedAssertionKey, TokenError> {
    let unverified = Unverified::parse(certificate, KEY_TYPE)?;
    let root = roots.iter().find(|root| root.kid() == unverified.kid).ok_or(TokenError::UnknownKey)?;
    let payload = unverified.verified_by(root)?;
    let wrong = |error: &dyn std::fmt::Display| TokenError::Claims(error.to_string());
    let claims: CertificateClaims = serde_json::from_slice(&payload).map_err(|error| wrong(&error))?;
    let Purpose::Assertion = claims.purpose;
    let certified = CertifiedAssertionKey {
        key: claims.x.parse().map_err(|error| wrong(&error))?,
        service: claims.service,
        instance: claims.instance,
        not_before: WallTime::from_unix_s(claims.nbf),
        not_after: WallTime::from_unix_s(claims.exp),
    };
    if now < certified.not_before || certified.not_after <= now {
        return Err(TokenError::OutsideKeyValidity);
    }
    Ok(certified)
}

/// What is signed to prove possession: whose key it is to be, and at which control plane. A proof is of no use for another
/// sidecar, or in another epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyProof {
    pub service: ServiceName,
    pub instance: InstanceName,
    /// Of the feed's `welcome`.
    pub epoch: String,
}

/// The proof that whoever says this holds `key`.
///
/// # Errors
/// When the key cannot sign.
pub fn prove_key(proof: &KeyProof, key: &SigningKey) -> Result<String, MintError> {
    jws::sign(PROOF_TYPE, proof, key)
}

/// Checks that `proof` was made with the private half of `key` and says `expected`.
///
/// # Errors
/// [`TokenError`].
pub fn verify_key_proof(proof: &str, key: &PublicKey, expected: &KeyProof) -> Result<(), TokenError> {
    let unverified = Unverified::parse(proof, PROOF_TYPE)?;
    if unverified.kid != key.kid() {
        return Err(TokenError::UnknownKey);
    }
    let payload = unverified.verified_by(key)?;
    let said: KeyProof = serde_json::from_slice(&payload).map_err(|error| TokenError::Claims(error.to_string()))?;
    if said == *expected {
        Ok(())
    } else {
        Err(TokenError::Claims("the proof is for another sidecar or another epoch".to_owned()))
    }
}
