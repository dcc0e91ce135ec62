//! Refusals as problem documents (RFC 9457), with the headers that go with their status.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::config::policy::StepUp;
use crate::control::refusal::{Cause, Refusal};
use crate::policy::obstacle::whole;
use crate::telemetry::request_context::request_id;
use crate::wire::problem;

/// Seconds after which a caller may try again.
const RETRY_AFTER_S: &str = "1";

/// What was made, and where it is.
pub fn created(location: &str, view: impl Serialize) -> Result<Response, Refusal> {
    let location = HeaderValue::try_from(location)
        .map_err(|_| Refusal::new(Cause::Internal, "the answer could not be written"))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// The cause of a refusal, left on the response for the metrics.
#[derive(Debug, Clone, Copy)]
pub struct Refused(pub Cause);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut document = self.problem();
        document.instance = Some(format!("urn:uuid:{}", request_id()));
        tracing::debug!(code = self.cause.code(), "refused");
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (self.cause.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if let Some(challenge) = challenge(self.cause) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(challenge) = self.step_up.as_ref().and_then(step_up_challenge) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.cause.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole(wait)));
        }
        if let Some(tag) = self.current.and_then(|current| current.tag.header()) {
            headers.insert(header::ETAG, tag);
        }
        response.extensions_mut().insert(Refused(self.cause));
        response
    }
}

/// RFC 9470 §3. Context classes hold neither quotes nor spaces: the policy's reader sees to it.
fn step_up_challenge(step_up: &StepUp) -> Option<HeaderValue> {
    let mut challenge = r#"Bearer realm="break-glass", error="insufficient_user_authentication""#.to_owned();
    if !step_up.acr.is_empty() {
        let acr: Vec<&str> = step_up.acr.iter().map(String::as_str).collect();
        challenge.push_str(&format!(r#", acr_values="{}""#, acr.join(" ")));
    }
    if let Some(age) = step_up.max_age {
        challenge.push_str(&format!(r#", max_age="{}""#, age.as_secs()));
    }
    HeaderValue::try_from(challenge).ok()
}

/// What a caller sent, fit to be shown: printable ASCII, so that a look-alike shows, and no more than a reader needs.
pub(super) fn shown(text: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(chars_max) {
        if c == ' ' || c.is_ascii_graphic() { shown.push(c) } else { shown.extend(c.escape_default()) }
    }
    if text.chars().count() > chars_max {
        shown.push_str("...");
    }
    shown
}

/// RFC 6750 §3: without a token no error is named.
const fn challenge(cause: Cause) -> Option<&'static str> {
    match cause {
        Cause::IdentityMissing => Some(r#"Bearer realm="break-glass""#),
        Cause::IdentityInvalid => Some(r#"Bearer realm="break-glass", error="invalid_token""#),
        Cause::UseDpopNonce => {
            Some(r#"DPoP realm="break-glass", algs="ES256 EdDSA PS256 RS256", error="use_dpop_nonce""#)
        }
        Cause::DpopProofInvalid => {
            Some(r#"DPoP realm="break-glass", algs="ES256 EdDSA PS256 RS256", error="invalid_dpop_proof""#)
        }
        Cause::CertificateUntrusted => Some(r#"Bearer realm="break-glass""#),
        Cause::IdentityExpired => {
            Some(r#"Bearer realm="break-glass", error="invalid_token", error_description="the token has expired""#)
        }
        _ => None,
    }
}
