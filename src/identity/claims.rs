//! What a genuine token says, checked by us: jsonwebtoken's own checks allow a minute's leeway and know no types.
//!
//! Sources: RFC 7519 §4.1, RFC 9068 §2.2 and §4, OpenID Connect Core 1.0 §2.

use std::time::Duration;

use serde_json::{Map, Value};

use super::error::IdentityError;
use super::issuer::IssuerConfig;
use super::verifier::Verified;
use crate::domain::{Audience, Authentication, Person, Principal, Subject, WallTime};

type Claims = Map<String, Value>;

/// Greatest number of groups, and greatest length of the name of one.
const GROUPS_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 256;
/// Greatest number of authentication methods, and greatest length of a method and of the context class.
const METHODS_MAX: usize = 16;
const AUTHENTICATION_BYTES_MAX: usize = 255;

/// Members that only ID tokens, logout tokens and security events have (OpenID Connect Core 1.0 §2 and §3.3.2.11,
/// Back-Channel Logout 1.0 §2.4).
const FOREIGN: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// The identity that `claims` prove to the audience of `config` at `now`.
pub(super) fn identity(claims: &Claims, config: &IssuerConfig, now: WallTime) -> Result<Verified, IdentityError> {
    is_access_token(claims)?;
    is_for_us(claims, config)?;
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

fn is_access_token(claims: &Claims) -> Result<(), IdentityError> {
    if FOREIGN.iter().any(|name| claims.contains_key(*name)) {
        return Err(IdentityError::WrongType);
    }
    // Keycloak says in a claim what others say in the header: Bearer, ID, Refresh, Offline, Logout …
    match claims.get("typ") {
        None => Ok(()),
        Some(Value::String(typ)) if ["Bearer", "JWT", "at+jwt"].iter().any(|t| t.eq_ignore_ascii_case(typ)) => Ok(()),
        Some(_) => Err(IdentityError::WrongType),
    }
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

/// Neither delegated, nor a machine's, nor bound to a key that would have to be proven.
fn is_a_persons_own(claims: &Claims, subject: &Subject) -> Result<(), IdentityError> {
    if claims.contains_key("act") {
        return Err(IdentityError::Delegated);
    }
    if is_machine(claims, subject) {
        return Err(IdentityError::Machine);
    }
    if claims.contains_key("cnf") {
        return Err(IdentityError::SenderConstrained);
    }
    Ok(())
}

/// RFC 9068 §2.2: for client credentials, `sub` is the client. The rest is what Auth0, Entra ID and Keycloak say.
fn is_machine(claims: &Claims, subject: &Subject) -> bool {
    let says = |name: &str, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
    let preferred = claims.get("preferred_username").and_then(Value::as_str);
    says("client_id", subject.as_str())
        || says("azp", subject.as_str())
        || says("gty", "client-credentials")
        || says("idtyp", "app")
        || preferred.is_some_and(|name| name.starts_with("service-account-"))
}

/// The person; a token without the claim is taken for a machine's.
fn person(claims: &Claims, config: &IssuerConfig) -> Result<Person, IdentityError> {
    let refused = IdentityError::Claim("that names the person");
    let name = match claims.get(&config.person_claim) {
        None => return Err(IdentityError::Machine),
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(_) => return Err(refused),
    };
    // An address nobody has confirmed is whatever its owner typed (OpenID Connect Core 1.0 §5.7).
    if config.person_claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(IdentityError::Claim("email_verified"));
    }
    format!("{}{name}", config.person_prefix).parse().map_err(|_| refused)
}

fn groups(claims: &Claims, config: &IssuerConfig) -> Result<Vec<String>, IdentityError> {
    let refused = IdentityError::Claim("that lists the groups");
    let value = match config.groups_claim.strip_prefix('/').map(|path| path.split_once('/')) {
        Some(Some((first, rest))) => claims.get(first).and_then(|value| value.pointer(&format!("/{rest}"))),
        Some(None) => claims.get(config.groups_claim.trim_start_matches('/')),
        None => claims.get(&config.groups_claim),
    };
    let listed = match value {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(values)) => texts(values).ok_or(refused)?,
        Some(_) => return Err(refused),
    };
    if listed.len() > GROUPS_MAX || listed.iter().any(|group| group.len() > GROUP_BYTES_MAX) {
        return Err(refused);
    }
    Ok(listed)
}

fn authentication(claims: &Claims) -> Result<Authentication, IdentityError> {
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

fn texts(values: &[Value]) -> Option<Vec<String>> {
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
