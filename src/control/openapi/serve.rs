//! `GET /v1/openapi.json`, to anyone.

use http::header;

use super::{ABOUT, document};
use crate::control::refusal::Refusal;

/// This document
///
/// The description of this API, generated from the code that serves it.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "getApiDescription", tag = ABOUT,
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = serde_json::Value,
        content_type = "application/json")),
    security(()),
)]
pub(crate) async fn openapi() -> Result<([(header::HeaderName, &'static str); 1], bytes::Bytes), Refusal> {
    Ok(([(header::CONTENT_TYPE, "application/json")], document().text.clone()))
}
