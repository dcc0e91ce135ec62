//! Who is calling: the access token in `Authorization: Bearer` (RFC 6750 §2.1), and nowhere else. And how often.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, MatchedPath};
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::ApiState;
use crate::control::rates::{Class, Standing};
use crate::control::refusal::{Cause, Refusal};
use crate::identity::{IdentityError, Verified};
use crate::secret::Secret;

/// A verified human, within their limits.
#[derive(Debug, Clone)]
pub struct Caller(pub Verified);

/// Where a request comes from: the other end of its connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The token by which a [`Caller`] has signed in, for the calls from which on there may be something to ask about it.
#[derive(Debug, Clone)]
pub struct Presented(pub Secret<String>);

impl FromRequestParts<ApiState> for Presented {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Refusal> {
        Ok(Self(Secret::new(bearer(parts)?.to_owned())))
    }
}

/// What is to be told of the caller's limit, left on the request for who finishes the answer.
#[derive(Debug, Clone, Default)]
pub struct Told(pub Arc<OnceLock<Standing>>);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Refusal> {
        let verified = sign_in(parts, state)?;
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let class = Class::of(&parts.method, path);
        let (standing, taken) = state.rates.take(&verified.principal, class, state.workflow.clock.boot());
        if taken.is_err() {
            state.workflow.metrics.rate_limited.with_label_values(&[class.as_str()]).inc();
        }
        if let Some(told) = parts.extensions.get::<Told>() {
            // A second extractor of the same request would tell the same.
            let _ = told.0.set(standing);
        }
        taken?;
        Ok(Self(admitted(state, parts, verified).await?))
    }
}

/// As they stand now: what was reported of them since their token was made counts, and so do the groups that are kept here.
pub(in crate::control) async fn admitted(
    state: &ApiState,
    parts: &Parts,
    mut verified: Verified,
) -> Result<Verified, Refusal> {
    state.workflow.admit(&verified).await?;
    state.workflow.hold(&verified, bearer(parts)?).await;
    if let Some(prefix) = state.groups_by_scim.get(&verified.principal.issuer) {
        let groups = state.workflow.store.groups_of(&verified.person).await?;
        verified.groups = groups.into_iter().map(|group| format!("{prefix}{group}")).collect();
    }
    Ok(verified)
}

/// A token that is known costs a look-up; one that is not costs a signature, of which an address has only so many.
pub(in crate::control) fn sign_in(parts: &Parts, state: &ApiState) -> Result<Verified, Refusal> {
    let token = bearer(parts)?;
    let refused = |error: IdentityError| Refusal::new(error.into(), error.to_string());
    if let Some(known) = state.verifier.recall(token) {
        return known.map_err(refused);
    }
    let Peer(address) = peer(parts);
    if let Err(refusal) = state.rates.take_sign_in(address, state.workflow.clock.boot()) {
        state.workflow.metrics.rate_limited.with_label_values(&["sign_in"]).inc();
        return Err(refusal);
    }
    let verified = state.verifier.verify(token);
    if matches!(verified, Ok(_) | Err(IdentityError::Unverifiable | IdentityError::KeyAwaited)) {
        state.rates.give_back(address);
    }
    verified.map_err(refused)
}

/// Without a peer there is no server, but a test: all of it is one address.
pub(in crate::control) fn peer(parts: &Parts) -> Peer {
    parts.extensions.get().copied().unwrap_or(Peer(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

pub(in crate::control) fn bearer(parts: &Parts) -> Result<&str, Refusal> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Refusal::new(Cause::IdentityMissing, "there is no Authorization header"));
    };
    if values.next().is_some() {
        return Err(Refusal::new(Cause::IdentityInvalid, "there is more than one Authorization header"));
    }
    let token = value.to_str().ok().and_then(|text| text.split_once(' ')).and_then(|(scheme, token)| {
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    });
    token.ok_or_else(|| Refusal::new(Cause::IdentityMissing, "the Authorization header is not Bearer and a token"))
}
