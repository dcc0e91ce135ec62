//! `GET /v1/openapi.json`, to anyone.

use axum::response::Response;
use http::{HeaderValue, header};

use super::{ABOUT, document};
use crate::control::api::etag::tagged;

/// This document
///
/// The description of this API, generated from the code that serves it.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getApiDescription", tag = ABOUT,
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = serde_json::Value,
        content_type = "application/json", headers(("ETag" = String)))),
    security(()),
)]
pub(crate) async fn openapi() -> Response {
    let mut response = tagged(document().text.clone(), "application/json");
    // Public: it may be kept, and asked for again by its tag.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
