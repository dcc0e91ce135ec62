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
        serde_json::from_slice(&self.0)
            .map_err(|error| Refusal::new(Cause::MalformedRequest, shown(&error.to_string(), 200)))
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let essence = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/json") => Ok(()),
        Some(_) => Err(Refusal::new(Cause::MediaType, "the Content-Type is not application/json")),
        None => Err(Refusal::new(Cause::MediaType, "there is no Content-Type")),
    }
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Refusal::new(Cause::BodyTooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes")))
        }
        Err(_) => Err(Refusal::new(Cause::MalformedRequest, "the body could not be read to its end")),
    }
}
