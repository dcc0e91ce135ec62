//! The check of an ID token, inside the exchange that it came out of and nowhere else (OpenID Connect Core 1.0 §3.1.3.7).
//!
//! It says who has signed in and how. It is no access token: nothing here may be sent to anybody.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::claims::{authentication, numeric_date, required_text};
use super::compact::Unverified;
use super::discovery::RefreshError;
use super::error::IdentityError;
use super::issuer::{Algorithm, IssuerConfig};
use super::jwks::KeySet;
use crate::domain::{Authentication, Issuer, Subject, WallTime};

/// How far this machine's clock and the issuer's may be apart.
const LEEWAY: Duration = Duration::from_secs(IssuerConfig::CLOCK_LEEWAY_S_MAX);

/// What an ID token must say.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub client_id: &'a str,
    /// As it was sent; absent where the flow has no place for one.
    pub nonce: Option<&'a str>,
    /// One of these context classes; empty: any.
    pub acr: &'a [String],
    /// How long ago the authentication may have been.
    pub max_age: Option<Duration>,
    pub now: WallTime,
}

/// Who has signed in, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    pub subject: Subject,
    pub authentication: Authentication,
}

/// Why an ID token does not prove a sign-in. No message quotes the token.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenError {
    #[error("the issuer's keys cannot be had")]
    Keys(#[source] RefreshError),
    #[error(transparent)]
    Token(#[from] IdentityError),
    #[error("the ID token is of another issuer")]
    OtherIssuer,
    #[error("the ID token is for another client")]
    OtherClient,
    #[error("the ID token belongs to another sign-in: its nonce is not the one that was sent")]
    Nonce,
    #[error("the issuer signed you in as {}, and {wanted} was asked for", .got.as_deref().unwrap_or("nothing it names"))]
    Weak { got: Option<String>, wanted: String },
    #[error("the issuer did not have you sign in anew")]
    Stale,
}

pub(super) fn check(
    token: &str,
    issuer: &Issuer,
    keys: &KeySet,
    allowed: &BTreeSet<Algorithm>,
    wanted: &Wanted<'_>,
) -> Result<Proven, IdTokenError> {
    let unverified = Unverified::parse(token)?;
    // What says that it is an access token is none (RFC 8725 §3.12).
    if unverified.is_typed {
        return Err(IdentityError::WrongType.into());
    }
    if !allowed.contains(&unverified.algorithm) {
        return Err(IdentityError::AlgorithmNotAllowed.into());
    }
    let key = keys.find(unverified.kid.as_deref(), unverified.algorithm).ok_or(IdentityError::UnknownKey)?;
    if !unverified.is_signed_by(&key.decoding) {
        return Err(IdentityError::BadSignature.into());
    }
    let claims = &unverified.claims;
    if required_text(claims, "iss")? != issuer.as_str() {
        return Err(IdTokenError::OtherIssuer);
    }
    is_for_client(claims, wanted.client_id)?;
    is_current(claims, wanted.now)?;
    if let Some(nonce) = wanted.nonce
        && claims.get("nonce").and_then(Value::as_str) != Some(nonce)
    {
        return Err(IdTokenError::Nonce);
    }
    let authentication = authentication(claims)?;
    is_strong(&authentication, wanted)?;
    let subject = required_text(claims, "sub")?.parse().map_err(|_| IdentityError::Claim("sub"))?;
    Ok(Proven { subject, authentication })
}

fn is_for_client(claims: &Map<String, Value>, client_id: &str) -> Result<(), IdTokenError> {
    let is_ours = |value: &Value| value.as_str() == Some(client_id);
    let (named, several) = match claims.get("aud") {
        Some(Value::Array(values)) => (values.iter().any(is_ours), values.len() > 1),
        Some(value) => (is_ours(value), false),
        None => (false, false),
    };
    let authorized = match claims.get("azp") {
        None => !several,
        Some(party) => is_ours(party),
    };
    if named && authorized { Ok(()) } else { Err(IdTokenError::OtherClient) }
}

fn is_current(claims: &Map<String, Value>, now: WallTime) -> Result<(), IdTokenError> {
    let expires = numeric_date(claims, "exp")?.ok_or(IdentityError::Claim("exp"))?;
    if now >= expires.plus(LEEWAY) {
        return Err(IdentityError::Expired.into());
    }
    let issued = numeric_date(claims, "iat")?.ok_or(IdentityError::Claim("iat"))?;
    if issued > now.plus(LEEWAY) {
        return Err(IdentityError::NotYetValid.into());
    }
    Ok(())
}

/// `acr_values` is a wish that an issuer may pass over: only the answer says whether it did.
fn is_strong(authentication: &Authentication, wanted: &Wanted<'_>) -> Result<(), IdTokenError> {
    let strong = wanted.acr.is_empty() || authentication.acr.as_ref().is_some_and(|acr| wanted.acr.contains(acr));
    if !strong {
        return Err(IdTokenError::Weak { got: authentication.acr.clone(), wanted: wanted.acr.join(" or ") });
    }
    let fresh =
        |most: Duration| authentication.auth_time.is_some_and(|at| wanted.now.since(at) <= most.saturating_add(LEEWAY));
    if wanted.max_age.is_none_or(fresh) { Ok(()) } else { Err(IdTokenError::Stale) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::test_issuer::TestKey;
    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn checked(changes: Value, wanted: &Wanted<'_>) -> Result<Proven, IdTokenError> {
        let key = TestKey::new(Algorithm::ES256, "k");
        let allowed = BTreeSet::from([Algorithm::ES256]);
        let document = json!({"keys": [key.jwk]});
        let keys = KeySet::of(document.as_object().unwrap(), &allowed).unwrap();
        let mut claims = json!({"iss": "https://idp.test", "aud": "cli", "sub": "alice", "exp": NOW_S + 60,
            "iat": NOW_S, "nonce": "n", "acr": "strong", "amr": ["hwk"], "auth_time": NOW_S - 5});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = json!({"alg": "ES256", "kid": "k"}).to_string();
        let token = key.sign_text(&header, &claims.to_string());
        check(&token, &"https://idp.test".parse().unwrap(), &keys, &allowed, wanted)
    }

    #[test]
    fn only_the_token_of_this_very_exchange_proves_it() {
        let acr = ["strong".to_owned()];
        let wanted = Wanted {
            client_id: "cli",
            nonce: Some("n"),
            acr: &acr,
            max_age: Some(Duration::from_secs(10)),
            now: WallTime::from_unix_s(NOW_S),
        };
        let proven = checked(json!({}), &wanted).unwrap();
        assert_eq!((proven.subject.as_str(), proven.authentication.acr.as_deref()), ("alice", Some("strong")));
        assert!(checked(json!({"aud": ["cli", "other"], "azp": "cli"}), &wanted).is_ok());
        for (changes, says) in [
            (json!({"iss": "https://evil.test"}), "another issuer"),
            (json!({"aud": "other"}), "another client"),
            (json!({"aud": null}), "another client"),
            (json!({"aud": ["cli", "other"]}), "another client"),
            (json!({"azp": "other"}), "another client"),
            (json!({"nonce": "other"}), "nonce"),
            (json!({"nonce": null}), "nonce"),
            (json!({"exp": NOW_S - 60}), "expired"),
            (json!({"exp": null}), "exp"),
            (json!({"iat": NOW_S + 61}), "not valid yet"),
            (json!({"iat": null}), "iat"),
            (json!({"sub": null}), "sub"),
            (json!({"acr": "weak"}), "signed you in as weak, and strong was asked for"),
            (json!({"acr": null}), "nothing it names"),
            (json!({"auth_time": NOW_S - 71}), "anew"),
            (json!({"auth_time": null}), "anew"),
        ] {
            let message = checked(changes.clone(), &wanted).unwrap_err().to_string();
            assert!(message.contains(says), "{changes}: {message}");
        }
    }
}
