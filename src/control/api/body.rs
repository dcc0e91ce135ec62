//! JSON bodies, strictly: bounded, of the right type, with no member that nobody knows.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::answer::shown;
use crate::control::refusal::{Cause, Refusal};
use crate::wire::strict_json;

/// Greatest size of a request body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A body as bytes, read whole and shown to be JSON by its type.
#[derive(Debug)]
pub struct JsonBytes(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        check_type(&parts.headers)?;
        read(body).await.map(Self)
    }
}

impl JsonBytes {
    /// # Errors
    /// When it is not JSON, lacks a member, or has an unknown, doubled or mistyped one.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let malformed = |what: String| Refusal::new(Cause::MalformedRequest, shown(&what, 200));
        // serde refuses a known member that stands twice, but not one inside an untyped value.
        strict_json::parse_object(&self.0).map_err(|error| malformed(error.to_string()))?;
        serde_json::from_slice(&self.0).map_err(|error| malformed(error.to_string()))
    }
}

pub(in crate::control) fn too_large() -> Refusal {
    Refusal::new(Cause::BodyTooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
}

fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::new(Cause::MediaType, what));
    let Some(value) = headers.get(CONTENT_TYPE) else { return refuse("there is no Content-Type") };
    let mut parts = value.to_str().unwrap_or_default().split(';').map(str::trim);
    if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return refuse("the Content-Type is not application/json");
    }
    // RFC 8259 §8.1: JSON is UTF-8. Another charset would be read as what it is not.
    let charset = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    match charset {
        Some((_, named)) if !named.trim_matches('"').eq_ignore_ascii_case("utf-8") => {
            refuse("the charset is not UTF-8")
        }
        Some(_) | None => Ok(()),
    }
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Refusal::new(Cause::MalformedRequest, "the body could not be read to its end")),
    }
}
