//! Checking signatures and shapes. Whether a grant is in force is not asked here: that is the decision's.

use super::claims::{ClaimsError, GrantClaims};
use super::jws::{JwsError, Unverified};
use super::keys::{CertifiedKey, KeyRing, PublicKey};
use super::mint::KeyClaims;
use super::{GRANT_TYPE, KEY_TYPE};
use crate::domain::{Grant, WallTime};

/// Why a document is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    Jws(#[from] JwsError),
    #[error("the key that signed the token is not one in force")]
    UnknownKey,
    #[error("the token was issued outside its key's validity")]
    OutsideKeyValidity,
    #[error("the token's claims are not those of its type: {0}")]
    Claims(String),
}

impl From<ClaimsError> for TokenError {
    fn from(error: ClaimsError) -> Self {
        Self::Claims(error.to_string())
    }
}

/// The grant that `token` carries, if a key of the ring signed it within that key's validity and the grant ends
/// before the key does.
///
/// # Errors
/// [`TokenError`], which says what failed and never quotes the token.
pub fn verify_grant(token: &str, keys: &KeyRing) -> Result<Grant, TokenError> {
    let unverified = Unverified::parse(token, GRANT_TYPE)?;
    let certified = keys.get(&unverified.kid).ok_or(TokenError::UnknownKey)?;
    let payload = unverified.verified_by(&certified.key)?;
    let claims: GrantClaims = parse(&payload)?;
    let grant = Grant::try_from(claims)?;
    // No such token is ever issued: a grant is signed once it is bound.
    if !grant.is_bound() {
        return Err(ClaimsError::Confirmation.into());
    }
    if grant.issued < certified.not_before || grant.expires > certified.not_after {
        return Err(TokenError::OutsideKeyValidity);
    }
    Ok(grant)
}

/// The key id a grant token names. It says nothing about whether that key signed it.
pub fn key_id(token: &str) -> Option<String> {
    Unverified::parse(token, GRANT_TYPE).ok().map(|unverified| unverified.kid)
}

/// The key that `certificate` vouches for, if one of `roots` signed it and it holds at `now`.
///
/// # Errors
/// [`TokenError`].
pub fn verify_key_certificate(
    certificate: &str,
    roots: &[PublicKey],
    now: WallTime,
) -> Result<CertifiedKey, TokenError> {
    let unverified = Unverified::parse(certificate, KEY_TYPE)?;
    let root = roots.iter().find(|root| root.kid() == unverified.kid).ok_or(TokenError::UnknownKey)?;
    let claims: KeyClaims = parse(&unverified.verified_by(root)?)?;
    let certified = CertifiedKey::try_from(claims).map_err(|error| TokenError::Claims(error.to_string()))?;
    if certified.not_after <= now {
        return Err(TokenError::OutsideKeyValidity);
    }
    Ok(certified)
}

/// What `certificate` says of its key, whoever signed it: for looking at what was kept, never for trusting it.
///
/// # Errors
/// [`TokenError`].
pub fn read_key_certificate(certificate: &str) -> Result<CertifiedKey, TokenError> {
    let unverified = Unverified::parse(certificate, KEY_TYPE)?;
    let claims: KeyClaims = parse(unverified.payload())?;
    CertifiedKey::try_from(claims).map_err(|error| TokenError::Claims(error.to_string()))
}

/// Claims from JSON. A member that stands twice fails: serde refuses a duplicate field of a struct.
fn parse<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, TokenError> {
    serde_json::from_slice(payload).map_err(|error| TokenError::Claims(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{Authentication, Binding, Justification, Origin, Scope};
    use crate::token::{SigningKey, certify_key, mint_grant};

    const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);

    fn grant() -> Grant {
        Grant {
            id: "g-0123456789ab".parse().unwrap(),
            service: "payments-demo".parse().unwrap(),
            person: "alice".parse().unwrap(),
            idp: "https://issuer.test".parse().unwrap(),
            authentication: Authentication { acr: Some("mfa".into()), amr: vec!["hwk".into()], auth_time: Some(NOW) },
            role: "payments.override".parse().unwrap(),
            scope: Scope::new(["contract/C-1042".parse().unwrap()], ["payment.release".parse().unwrap()]).unwrap(),
            binding: Binding::Identity,
            confirmation: None,
            justification: Justification { reason: "stuck_payment".parse().unwrap(), ticket: "INC-1".parse().unwrap() },
            issued: NOW,
            not_before: NOW,
            expires: NOW.plus(Duration::from_secs(900)),
            max_uses: std::num::NonZeroU32::new(3),
            staleness_max: Duration::from_secs(30),
            policy_revision: 1,
            approvals: vec![],
            origin: Origin::ControlPlane,
        }
    }

    fn ring(root: &SigningKey, key: &SigningKey) -> KeyRing {
        let until = NOW.plus(Duration::from_secs(3600));
        let certificate = certify_key(key.public(), NOW, until, root).unwrap();
        KeyRing::new([verify_key_certificate(&certificate, &[root.public().clone()], NOW).unwrap()])
    }

    #[test]
    fn a_minted_grant_comes_back_whole() {
        let (root, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let token = mint_grant(&grant(), "https://control.test", &key).unwrap();
        assert_eq!(verify_grant(token.expose(), &ring(&root, &key)).unwrap(), grant());
    }

    #[test]
    fn another_key_with_the_same_name_does_not_verify() {
        let (root, key, other) =
            (SigningKey::generate().unwrap(), SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let token = mint_grant(&grant(), "https://control.test", &other).unwrap();
        let error = verify_grant(token.expose(), &ring(&root, &key)).unwrap_err();
        assert_eq!(error, TokenError::UnknownKey);
    }

    #[test]
    fn one_changed_byte_breaks_the_signature() {
        let (root, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let token = mint_grant(&grant(), "https://control.test", &key).unwrap().into_exposed();
        let (head, signature) = token.rsplit_once('.').unwrap();
        let swapped: String = signature.chars().rev().collect();
        let error = verify_grant(&format!("{head}.{swapped}"), &ring(&root, &key)).unwrap_err();
        assert_eq!(error, TokenError::Jws(JwsError::Signature));
    }

    #[test]
    fn headers_with_anything_else_are_refused() {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        for (header, expected) in [
            (r#"{"typ":"bg-grant+jwt","alg":"none","kid":"k"}"#, JwsError::Header),
            (r#"{"typ":"bg-grant+jwt","alg":"HS256","kid":"k"}"#, JwsError::Header),
            (r#"{"typ":"bg-grant+jwt","alg":"EdDSA","kid":"k","jwk":{}}"#, JwsError::Header),
            (r#"{"typ":"bg-grant+jwt","alg":"EdDSA","kid":"k","crit":["exp"]}"#, JwsError::Header),
            (r#"{"typ":"bg-grant+jwt","alg":"EdDSA","kid":"k","kid":"k"}"#, JwsError::Header),
            (r#"{"alg":"EdDSA","kid":"k"}"#, JwsError::Header),
            (r#"{"typ":"at+jwt","alg":"EdDSA","kid":"k"}"#, JwsError::OtherType),
        ] {
            let token = format!("{}.{}.AAAA", encode(header), encode("{}"));
            let error = verify_grant(&token, &KeyRing::default()).unwrap_err();
            assert_eq!(error, TokenError::Jws(expected), "{header}");
        }
    }

    #[test]
    fn a_grant_that_outlives_its_key_is_refused() {
        let (root, key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let certificate = certify_key(key.public(), NOW, NOW.plus(Duration::from_secs(60)), &root).unwrap();
        let certified = verify_key_certificate(&certificate, &[root.public().clone()], NOW).unwrap();
        let token = mint_grant(&grant(), "https://control.test", &key).unwrap();
        let error = verify_grant(token.expose(), &KeyRing::new([certified])).unwrap_err();
        assert_eq!(error, TokenError::OutsideKeyValidity);
    }
}
