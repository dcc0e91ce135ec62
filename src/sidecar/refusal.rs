//! Refusals as answers: one exhaustive table from code to status, title and hint, and the problem document (RFC 9457)
//! that says what was wrong and what to do next (P9).
//!
//! INVARIANT: nothing in a document depends on the grant that was named; resource and action come from the route.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use super::refusal_table::{Row, table};
use crate::decision::RefusalCode;
use crate::domain::{Action, Resource, ServiceName};
use crate::wire::problem::{self, Problem};

/// Status of a refusal.
pub const fn status(code: RefusalCode) -> StatusCode {
    table(code).status
}

/// What of the request a refusal may speak of.
#[derive(Debug, Clone, Default)]
pub struct About<'a> {
    pub request_id: &'a str,
    pub service: Option<&'a ServiceName>,
    pub resource: Option<&'a Resource>,
    pub action: Option<&'a Action>,
    pub request_url: Option<&'a str>,
    /// More about this very request; the title where there is none.
    pub detail: Option<String>,
}

/// The answer to a refused request.
pub fn respond(code: RefusalCode, about: &About<'_>) -> Response<ResponseBody> {
    let Row { status, title, hint } = table(code);
    let mut problem = Problem::new(status.as_u16(), code.as_str(), title, about.detail.as_deref().unwrap_or(title));
    problem.hint = Some(hint.to_owned());
    fill(&mut problem, about);
    let mut response = document(status, &problem);
    let headers = response.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, challenge(code));
    }
    response
}

fn fill(problem: &mut Problem, about: &About<'_>) {
    problem.instance = Some(format!("urn:uuid:{}", about.request_id));
    problem.service = about.service.map(ToString::to_string);
    problem.resource = about.resource.map(ToString::to_string);
    problem.action = about.action.map(ToString::to_string);
    if let (Some(service), Some(resource), Some(action)) = (about.service, about.resource, about.action) {
        problem.request_url = about.request_url.map(|base| request_link(base, service, resource, action));
        problem.command = Some(format!(
            "breakglass request --service {service} --resource {resource} --action {action} --reason REASON --ticket TICKET"
        ));
    }
}

/// The request form, filled in. Every value is made of unreserved characters and '/'.
pub fn request_link(base: &str, service: &ServiceName, resource: &Resource, action: &Action) -> String {
    let joint = if base.contains('?') { '&' } else { '?' };
    format!("{base}{joint}service={service}&resource={resource}&action={action}")
}

/// RFC 6750 §3 and RFC 9449 §7.1, on our own headers' behalf.
fn challenge(code: RefusalCode) -> HeaderValue {
    HeaderValue::from_static(match code {
        RefusalCode::UseDpopNonce => {
            "DPoP realm=\"break-glass\", algs=\"ES256 EdDSA PS256 RS256\", error=\"use_dpop_nonce\""
        }
        RefusalCode::DpopProofInvalid => {
            "DPoP realm=\"break-glass\", algs=\"ES256 EdDSA PS256 RS256\", error=\"invalid_dpop_proof\""
        }
        RefusalCode::IdentityMissing => "Bearer realm=\"break-glass\"",
        _ => "Bearer realm=\"break-glass\", error=\"invalid_token\"",
    })
}

/// A failure that is no refusal: of the upstream, or of a limit.
pub fn failure(status: StatusCode, code: &str, title: &str, hint: &str, request_id: &str) -> Response<ResponseBody> {
    let mut problem = Problem::new(status.as_u16(), code, title, title).with_hint(hint);
    problem.instance = Some(format!("urn:uuid:{request_id}"));
    document(status, &problem)
}

/// A problem document that says nothing of a grant may still be meant for one person only.
fn document(status: StatusCode, problem: &Problem) -> Response<ResponseBody> {
    let bytes = serde_json::to_vec(problem).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from);
    let mut response = Response::new(ResponseBody::Whole(Some(bytes)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}
