//! Who is calling: the access token in `Authorization: Bearer` (RFC 6750 §2.1), and nowhere else.

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::ApiState;
use crate::control::refusal::{Cause, Refusal};
use crate::identity::Verified;

/// A verified human.
#[derive(Debug, Clone)]
pub struct Caller(pub Verified);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Refusal> {
        let token = bearer(parts)?;
        state.verifier.verify(token).map(Self).map_err(|error| Refusal::new(error.into(), error.to_string()))
    }
}

fn bearer(parts: &Parts) -> Result<&str, Refusal> {
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
