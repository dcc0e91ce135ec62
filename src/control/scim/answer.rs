//! Answers of SCIM: resources with their version, lists, and errors (RFC 7644 §3.4.2, §3.12, §3.14).

use std::collections::HashMap;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::filter::{SyntaxError, Term, parse_filter};
use super::patch::PatchError;
use crate::domain::WallTime;
use crate::error_chain::error_chain;
use crate::store::{ScimListing, StoreError};

pub(super) const CONTENT_TYPE: &str = "application/scim+json";
/// Resources on one page.
pub(super) const PAGE_MAX: u32 = 200;

/// A resource of RFC 7643, as JSON.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "alice@example.test"}))]
pub struct ScimResource {
    schemas: Vec<String>,
    /// Its attributes.
    #[serde(flatten)]
    attributes: HashMap<String, Value>,
}

/// An error of RFC 7644 §3.12.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScimFailure {
    schemas: [&'static str; 1],
    #[schema(example = "404")]
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "uniqueness")]
    scim_type: Option<&'static str>,
    #[schema(example = "there is no such user")]
    detail: String,
}

/// Why a call is not done.
#[derive(Debug)]
pub(crate) struct Failed {
    status: StatusCode,
    scim_type: Option<&'static str>,
    detail: String,
}

impl Failed {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, scim_type: None, detail: detail.into() }
    }

    pub(super) fn bad(scim_type: &'static str, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, scim_type: Some(scim_type), detail: detail.into() }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such resource")
    }

    pub(super) fn taken() -> Self {
        let detail = "another user has this userName";
        Self { status: StatusCode::CONFLICT, scim_type: Some("uniqueness"), detail: detail.to_owned() }
    }

    pub(super) fn stale() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "it has changed since: read it again")
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error_chain(&error), "the database failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "nothing was changed: try again")
    }
}

impl From<PatchError> for Failed {
    fn from(error: PatchError) -> Self {
        Self::bad(error.scim_type(), error.to_string())
    }
}

impl From<SyntaxError> for Failed {
    fn from(error: SyntaxError) -> Self {
        Self::bad("invalidFilter", error.to_string())
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> Response {
        let failure = ScimFailure {
            schemas: ["urn:ietf:params:scim:api:messages:2.0:Error"],
            status: self.status.as_u16().to_string(),
            scim_type: self.scim_type,
            detail: self.detail,
        };
        let mut response = (self.status, [(header::CONTENT_TYPE, CONTENT_TYPE)], Json(failure)).into_response();
        // Json says its own type first.
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="scim""#));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

/// What every resource has besides its own attributes.
pub(super) struct Meta<'a> {
    pub(super) kind: &'static str,
    pub(super) schema: &'static str,
    /// The public URL of the control plane.
    pub(super) url: &'a str,
    pub(super) id: &'a str,
    pub(super) version: u64,
    pub(super) created: WallTime,
    pub(super) changed: WallTime,
}

impl Meta<'_> {
    fn location(&self) -> String {
        format!("{}/scim/v2/{}s/{}", self.url.trim_end_matches('/'), self.kind, self.id)
    }

    pub(super) fn complete(&self, mut attributes: Map<String, Value>) -> Value {
        attributes.insert("schemas".to_owned(), json!([self.schema]));
        attributes.insert("id".to_owned(), self.id.into());
        let meta = json!({
            "resourceType": self.kind, "created": self.created.rfc3339(), "lastModified": self.changed.rfc3339(),
            "version": tag(self.version), "location": self.location(),
        });
        attributes.insert("meta".to_owned(), meta);
        attributes.into()
    }

    /// The resource with its version and place in the headers.
    pub(super) fn answer(&self, status: StatusCode, attributes: Map<String, Value>) -> Response {
        let mut response = document(status, &self.complete(attributes));
        let headers = response.headers_mut();
        if let Ok(tag) = HeaderValue::try_from(tag(self.version)) {
            headers.insert(header::ETAG, tag);
        }
        if let Ok(location) = HeaderValue::try_from(self.location()) {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

/// Weak: it is the resource's version, not its bytes.
fn tag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// The version that `If-Match` demands; `None`: any.
pub(super) fn demanded(headers: &http::HeaderMap) -> Result<Option<u64>, Failed> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix("W/").unwrap_or(text).trim_matches('"').parse();
    // A tag that was never given out fits nothing.
    number.map(Some).map_err(|_| Failed::stale())
}

pub(super) fn document(status: StatusCode, document: &Value) -> Response {
    let mut response = (status, document.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// How a list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListQuery {
    #[serde(default)]
    filter: Option<String>,
    #[serde(default)]
    start_index: Option<i64>,
    #[serde(default)]
    count: Option<i64>,
    #[serde(default)]
    pub(super) excluded_attributes: Option<String>,
}

impl ListQuery {
    /// Without the members of groups, which may be many.
    pub(super) fn without_members(&self) -> bool {
        let excluded = self.excluded_attributes.as_deref().unwrap_or_default();
        excluded.split(',').any(|name| name.trim().eq_ignore_ascii_case("members"))
    }

    fn start(&self) -> i64 {
        self.start_index.unwrap_or(1).max(1)
    }

    /// `name`: the attribute that a resource of this kind is called by. What a filter names otherwise is refused, never
    /// passed over: it would find too much.
    pub(super) fn listing(&self, name: &str) -> Result<ScimListing, Failed> {
        let limit = self.count.unwrap_or(PAGE_MAX.into()).clamp(0, PAGE_MAX.into());
        let mut listing = ScimListing {
            skip: u32::try_from(self.start() - 1).unwrap_or(u32::MAX),
            limit: u32::try_from(limit).unwrap_or(PAGE_MAX),
            ..ScimListing::default()
        };
        let terms = self.filter.as_deref().map(parse_filter).transpose()?.unwrap_or_default();
        for Term { attribute, value } in terms {
            let place = match attribute.as_str() {
                "id" => &mut listing.id,
                "externalId" => &mut listing.external_id,
                "members" | "members.value" if name == "displayName" => &mut listing.member,
                attribute if attribute == name => &mut listing.name,
                _ => return Err(Failed::bad("invalidFilter", "this attribute can't be filtered by")),
            };
            let value = value.as_str().ok_or_else(|| Failed::bad("invalidFilter", "this attribute is text"))?;
            if place.replace(value.to_owned()).is_some() {
                return Err(Failed::bad("invalidFilter", "an attribute stands twice"));
            }
        }
        Ok(listing)
    }

    pub(super) fn page(&self, total: u64, resources: Vec<Value>) -> Response {
        let list = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": total, "startIndex": self.start(), "itemsPerPage": resources.len(), "Resources": resources,
        });
        document(StatusCode::OK, &list)
    }
}

/// An attribute that is text, where there is one. What is empty counts as absent.
pub(super) fn text(
    document: &Map<String, Value>,
    name: &'static str,
    bytes_max: usize,
) -> Result<Option<String>, Failed> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= bytes_max => Ok(Some(text.clone()).filter(|it| !it.is_empty())),
        Some(_) => Err(Failed::bad("invalidValue", format!("{name} is text of at most {bytes_max} bytes"))),
    }
}
