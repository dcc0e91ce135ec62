//! The API's document (OpenAPI 3.1), made of the calls themselves: what is served and what is described are one list.
//!
//! - `Calls` takes handlers by `routes!`, which demands a `#[utoipa::path]` on each. There is no other way to a route.
//! - `complete` adds what is the same for all calls: the refusals that come from signing in, bodies and limits, as
//!   problem documents, and headers.
//! - `serve` answers with the document.
//!
//! Source: <https://spec.openapis.org/oas/v3.1.0>.

mod complete;
mod examples;
mod problems;
pub mod serve;
mod share;

use std::sync::LazyLock;

use axum::Router;
use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::OpenApi as _;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::api::ApiState;
use super::refusal::Cause;
use super::routes;

/// Member of an operation that lists the codes it refuses with, until `complete` makes responses of it.
pub const REFUSALS: &str = "x-refusals";
/// Tags, in the order they are shown. A call has one of them.
pub const ELEVATIONS: &str = "elevations";
pub const GRANTS: &str = "grants";
pub const POLICY: &str = "policy";
pub const REVOCATIONS: &str = "revocations";
pub const FREEZES: &str = "freezes";
pub const REPORTS: &str = "reports";
pub const PRIVACY: &str = "privacy";
pub const SERVICES: &str = "services";
pub const SIDECARS: &str = "sidecars";
pub const SIGNALS: &str = "signals";
pub const SCIM: &str = "scim";
pub const ABOUT: &str = "about";

const DESCRIPTION: &str = "\
Temporary, recorded overrides for contract APIs. Times are milliseconds since 1970-01-01T00:00:00Z (`…_at`), spans are \
seconds (`…_s`) or milliseconds (`…_ms`). Absent members are left out, never null. Every error is a problem document \
(RFC 9457) with a stable `code`.";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Break-glass control plane", description = DESCRIPTION, license(name = "Apache-2.0", identifier = "Apache-2.0")),
    servers((url = "/", description = "The control plane that serves this document")),
    components(schemas(
        crate::wire::problem::Problem,
        crate::wire::reports::ReportFormat,
        crate::control::scim::ScimFailure
    )),
    tags(
        (name = ELEVATIONS, description = "A human asks for elevation."),
        (name = GRANTS, description = "The time-boxed authority that results, and its end."),
        (name = POLICY, description = "The rules in force, and their change."),
        (name = REVOCATIONS, description = "The early end of grants, one or many, and how far it has arrived."),
        (name = FREEZES, description = "No override and no new grant, of a service or at all, until lifted."),
        (name = REPORTS, description = "What was done, out of the ledger's entries; for those who look at what others did."),
        (name = PRIVACY, description = "What is personal, erased without breaking the ledger."),
        (name = SERVICES, description = "What may be asked for."),
        (name = SIDECARS, description = "Where grants are enforced."),
        (name = SIGNALS, description = "What identity providers say of people; for machines of the configuration."),
        (name = SCIM, description = "People and groups (RFC 7643, RFC 7644); for provisioning clients of the configuration."),
        (name = ABOUT, description = "Public facts: keys and this document."),
    ),
)]
struct Head;

/// The codes a call refuses with, besides those that all calls of its kind have: those come by themselves.
pub fn refusals(causes: &[Cause]) -> Vec<&'static str> {
    causes.iter().map(|cause| cause.code()).collect()
}

/// Routes with their description.
pub(crate) struct Calls(OpenApiRouter<ApiState>);

impl Calls {
    pub(crate) fn new() -> Self {
        Self(OpenApiRouter::with_openapi(Head::openapi()))
    }

    /// The calls of one path, as `routes!` gives them.
    #[must_use]
    pub(crate) fn add(self, calls: UtoipaMethodRouter<ApiState>) -> Self {
        Self(self.0.routes(calls))
    }

    /// The routes alone.
    pub(crate) fn into_router(self) -> Router<ApiState> {
        self.0.split_for_parts().0
    }

    fn into_document(self) -> Value {
        let document = self.0.split_for_parts().1;
        let mut document = serde_json::to_value(&document).unwrap_or_else(|_| json!({}));
        complete::complete(&mut document);
        document
    }
}

/// The document, as it is served.
#[derive(Debug)]
pub struct Document {
    pub value: Value,
    pub text: Bytes,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let value = routes::calls().into_document();
    let text = serde_json::to_string_pretty(&value).unwrap_or_default() + "\n";
    Document { value, text: text.into() }
});

/// Whether a call makes something new: whether it is described with 201.
pub fn creates(method: &http::Method, path: &str) -> bool {
    let (path, method) = (path.replace('/', "~1"), method.as_str().to_ascii_lowercase());
    document().value.pointer(&format!("/paths/{path}/{method}/responses/201")).is_some()
}

/// The document of this version. It names nothing of the configuration.
pub fn document() -> &'static Document {
    &DOCUMENT
}
