//! What a genuine token says, checked by us: jsonwebtoken's own checks allow a minute's leeway and know no types.
//!
//! Sources: RFC 7519 §4.1, RFC 9068 §2.2 and §4, OpenID Connect Core 1.0 §2.

use std::time::Duration;

use serde_json::{Map, Value};

use super::error::IdentityError;
use super::issuer::{IssuerConfig, PARTY_CLAIMS};
use super::people::{groups, is_a_persons_own, person};
use super::verifier::Verified;
use crate::domain::{Audience, Authentication, Principal, Subject, WallTime};

pub(super) type Claims = Map<String, Value>;

/// Greatest number of authentication methods, and greatest length of a method and of the context class.
const METHODS_MAX: usize = 16;
const AUTHENTICATION_BYTES_MAX: usize = 255;

/// Members that only ID tokens, logout tokens and security events have (OpenID Connect Core 1.0 §2 and §3.3.2.11,
/// Back-Channel Logout 1.0 §2.4).
const FOREIGN: [&str; 4] = ["at_hash", "c_hash", "s_hash", "events"];
/// The same, but Keycloak before version 24 put it into access tokens too.
const NONCE: &str = "nonce";

/// The identity that `claims` prove to the audience of `config` at `now`. `is_typed`: the header says `at+jwt`.
pub(super) fn identity(
    claims: &Claims,
    is_typed: bool,
    config: &IssuerConfig,
    now: WallTime,
) -> Result<Verified, IdentityError> {
    if !is_typed && !config.plain_jwt {
        return Err(IdentityError::WrongType);
    }
    is_access_token(claims, is_typed)?;
    is_for_us(claims, config)?;
    is_from_a_party(claims, config)?;
    let expires = is_current(claims, config, now)?;
    let subject: Subject = required_text(claims, "sub")?.parse().map_err(|_| IdentityError::Claim("sub"))?;
    is_a_persons_own(claims, &subject)?;
    Ok(Verified {
        person: person(claims, config)?,
        groups: groups(claims, config)?,
        authentication: authentication(claims)?,
        issued: numeric_date(claims, "iat")?,
        principal: Principal { issuer: config.issuer.clone(), subject },
        expires,
    })
}

fn is_access_token(claims: &Claims, is_typed: bool) -> Result<(), IdentityError> {
    if FOREIGN.iter().any(|name| claims.contains_key(*name)) {
        return Err(IdentityError::WrongType);
    }
    let is_said = is_said_to_be_one(claims)?;
    if claims.contains_key(NONCE) && !is_typed && !is_said {
        return Err(IdentityError::WrongType);
    }
    Ok(())
}

/// What others say in the header, Keycloak says in the claim `typ` (Bearer, ID, Refresh, Offline, Logout …) and Cognito in
/// `token_use` (access, id). False where neither is there.
fn is_said_to_be_one(claims: &Claims) -> Result<bool, IdentityError> {
    let mut said = false;
    for (claim, fitting) in [("typ", &["Bearer", "at+jwt", "JWT"][..]), ("token_use", &["access"])] {
        match claims.get(claim) {
            None => {}
            Some(Value::String(name)) if fitting.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                said |= !name.eq_ignore_ascii_case("JWT");
            }
            Some(_) => return Err(IdentityError::WrongType),
        }
    }
    Ok(said)
}

fn is_for_us(claims: &Claims, config: &IssuerConfig) -> Result<(), IdentityError> {
    is_aimed_at(claims, &config.audience)
}

/// Whether `aud` contains the audience (RFC 7519 §4.1.3).
pub(super) fn is_aimed_at(claims: &Claims, audience: &Audience) -> Result<(), IdentityError> {
    let is_ours = |value: &Value| value.as_str() == Some(audience.as_str());
    let named = match claims.get("aud") {
        Some(Value::Array(values)) if values.iter().all(Value::is_string) => values.iter().any(is_ours),
        Some(value @ Value::String(_)) => is_ours(value),
        _ => return Err(IdentityError::Claim("aud")),
    };
    if named { Ok(()) } else { Err(IdentityError::WrongAudience) }
}

/// Where parties are listed, the token says whom it was given to, and each claim that does names one of them.
fn is_from_a_party(claims: &Claims, config: &IssuerConfig) -> Result<(), IdentityError> {
    if config.authorised_parties.is_empty() {
        return Ok(());
    }
    let mut named = PARTY_CLAIMS.iter().filter_map(|name| claims.get(*name)).peekable();
    if named.peek().is_none() {
        return Err(IdentityError::WrongParty);
    }
    let fits = |party: &Value| party.as_str().is_some_and(|party| config.authorised_parties.contains(party));
    if named.all(fits) { Ok(()) } else { Err(IdentityError::WrongParty) }
}

/// The end of the token, if it has begun and has not ended.
fn is_current(claims: &Claims, config: &IssuerConfig, now: WallTime) -> Result<WallTime, IdentityError> {
    let expires = numeric_date(claims, "exp")?.ok_or(IdentityError::Claim("exp"))?;
    if now >= expires {
        return Err(IdentityError::Expired);
    }
    let latest = now.plus(Duration::from_secs(config.clock_leeway_s.min(IssuerConfig::CLOCK_LEEWAY_S_MAX)));
    for name in ["nbf", "iat"] {
        if numeric_date(claims, name)?.is_some_and(|begins| begins > latest) {
            return Err(IdentityError::NotYetValid);
        }
    }
    Ok(expires)
}

pub(super) fn authentication(claims: &Claims) -> Result<Authentication, IdentityError> {
    let acr = match claims.get("acr") {
        None => None,
        Some(Value::String(acr)) if acr.len() <= AUTHENTICATION_BYTES_MAX => Some(acr.clone()),
        Some(_) => return Err(IdentityError::Claim("acr")),
    };
    let amr = match claims.get("amr") {
        None => Vec::new(),
        Some(Value::Array(values)) => texts(values).ok_or(IdentityError::Claim("amr"))?,
        Some(_) => return Err(IdentityError::Claim("amr")),
    };
    if amr.len() > METHODS_MAX || amr.iter().any(|method| method.len() > AUTHENTICATION_BYTES_MAX) {
        return Err(IdentityError::Claim("amr"));
    }
    Ok(Authentication { acr, amr, auth_time: numeric_date(claims, "auth_time")? })
}

pub(super) fn texts(values: &[Value]) -> Option<Vec<String>> {
    values.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

pub(super) fn required_text<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a str, IdentityError> {
    claims.get(name).and_then(Value::as_str).ok_or(IdentityError::Claim(name))
}

/// A NumericDate (RFC 7519 §2): seconds, possibly with a fraction.
pub(super) fn numeric_date(claims: &Claims, name: &'static str) -> Result<Option<WallTime>, IdentityError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(IdentityError::Claim(name)) };
    match (number.as_i64(), number.as_f64()) {
        (Some(seconds), _) => Ok(Some(WallTime::from_unix_s(seconds))),
        // A float-to-integer cast saturates, so no number is too large.
        (None, Some(seconds)) => Ok(Some(WallTime::from_unix_ms((seconds * 1000.0).floor() as i64))),
        (None, None) => Err(IdentityError::Claim(name)),
    }
}
