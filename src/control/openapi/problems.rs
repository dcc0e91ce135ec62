//! Refusals as responses of the document: one a status, with the codes it may carry.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::control::refusal::Cause;
use crate::wire::problem;

/// What an operation looks like, as far as its refusals depend on it.
pub(super) struct Shape {
    pub(super) authenticated: bool,
    pub(super) body: bool,
    pub(super) query: bool,
    pub(super) path: bool,
}

/// What every call of a shape may refuse with.
pub(super) fn implied(shape: &Shape) -> Vec<Cause> {
    let mut causes = vec![
        Cause::NotAcceptable,
        Cause::UriTooLong,
        Cause::HeadersTooLarge,
        Cause::BodyTooLarge,
        Cause::Overloaded,
        Cause::TimedOut,
        Cause::Internal,
    ];
    if shape.authenticated {
        causes.extend([
            Cause::IdentityMissing,
            Cause::IdentityInvalid,
            Cause::IdentityExpired,
            Cause::IdentityUnverifiable,
            // What was reported of the caller since they signed in counts at once, whatever they ask for.
            Cause::StepUp,
            Cause::HumanRequired,
            Cause::RateLimited,
            Cause::StoreUnavailable,
        ]);
    }
    if shape.body {
        causes.extend([Cause::MediaType, Cause::MalformedRequest]);
    }
    if shape.query {
        causes.push(Cause::MalformedRequest);
    }
    if shape.path {
        causes.push(Cause::NotFound);
    }
    causes
}

/// The responses by status.
pub(super) fn responses(causes: &BTreeSet<Cause>) -> Map<String, Value> {
    let mut by_status: BTreeMap<StatusCode, Vec<Cause>> = BTreeMap::new();
    for cause in causes {
        by_status.entry(cause.status()).or_default().push(*cause);
    }
    by_status.into_iter().map(|(status, causes)| (status.as_str().to_owned(), response(status, &causes))).collect()
}

fn response(status: StatusCode, causes: &[Cause]) -> Value {
    let lines: Vec<_> = causes.iter().map(|cause| format!("- `{}`: {}.", cause.code(), cause.title())).collect();
    let codes: Vec<_> = causes.iter().map(|cause| cause.code()).collect();
    let narrowed = json!({ "properties": { "status": { "const": status.as_u16() }, "code": { "enum": codes } } });
    let schema = json!({ "allOf": [{ "$ref": "#/components/schemas/Problem" }, narrowed] });
    let mut content = Map::new();
    content.insert(problem::CONTENT_TYPE.to_owned(), json!({ "schema": schema }));
    let mut response = json!({ "description": lines.join("\n"), "content": content });
    let header = match status {
        StatusCode::UNAUTHORIZED => Some("WWW-Authenticate"),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some("Retry-After"),
        _ => None,
    };
    if let (Some(name), Some(members)) = (header, response.as_object_mut()) {
        let reference = json!({ "$ref": format!("#/components/headers/{name}") });
        members.insert("headers".to_owned(), json!({ name: reference }));
    }
    response
}
