//! Refusals as answers: one exhaustive table from code to status, title and hint, and the problem document (RFC 9457)
//! that says what was wrong and what to do next (P9).
//!
//! INVARIANT: nothing in a document depends on the grant that was named; resource and action come from the route.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use crate::decision::RefusalCode;
use crate::domain::{Action, Resource, ServiceName};
use crate::wire::problem::{self, Problem};

/// What is fixed for one code.
struct Row {
    status: StatusCode,
    title: &'static str,
    hint: &'static str,
}

const fn row(status: StatusCode, title: &'static str, hint: &'static str) -> Row {
    Row { status, title, hint }
}

/// The table. No wildcard arm: a new code must say what it means to a caller.
const fn table(code: RefusalCode) -> Row {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    const WHO: StatusCode = StatusCode::UNAUTHORIZED;
    const NO: StatusCode = StatusCode::FORBIDDEN;
    const WAIT: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match code {
        RefusalCode::FramingConflict => row(
            BAD,
            "The request has no single reading",
            "Send one length, CRLF line ends and one Host header; do not retry as it is.",
        ),
        RefusalCode::HeaderDuplicated => row(
            BAD,
            "A Break-Glass header stands more than once",
            "Send Break-Glass and Break-Glass-Identity once each.",
        ),
        RefusalCode::HeaderMalformed => row(
            BAD,
            "A Break-Glass header is malformed",
            "Break-Glass takes a grant id (g- and 12 characters) or a grant token; Break-Glass-Identity an access token.",
        ),
        RefusalCode::TargetAmbiguous => row(
            BAD,
            "The path has more than one reading",
            "Send the plain path: no dot segments, no escaped dots or slashes, no '//' and no ';'.",
        ),
        RefusalCode::RewriteHeaderPresent => row(
            BAD,
            "A header asks for another method or path",
            "Leave method-override and rewrite headers out of an override.",
        ),
        RefusalCode::ConnectNotOverridable => row(BAD, "CONNECT can't be overridden", "Send the request itself."),
        RefusalCode::QueryNotListed => row(
            BAD,
            "A query parameter is not listed for this route",
            "Leave the parameter out, or have the route list it.",
        ),
        RefusalCode::UpgradeNotAllowed => {
            row(NO, "This route allows no other protocol under a grant", "Send the request without Upgrade.")
        }
        RefusalCode::IdentityMissing => {
            row(WHO, "Your identity is missing", "Add your access token for this service as Break-Glass-Identity.")
        }
        RefusalCode::IdentityInvalid => row(
            WHO,
            "Your identity could not be verified",
            "Get a fresh access token for this service's audience from its identity provider.",
        ),
        RefusalCode::IdentityExpired => {
            row(WHO, "Your identity has expired", "Get a fresh access token and send the request again.")
        }
        RefusalCode::IdentityUnverifiable => row(
            WAIT,
            "The identity provider's keys have not been reached yet",
            "Wait a moment and try again; ordinary requests are not affected.",
        ),
        RefusalCode::RouteNotOverridable => row(
            NO,
            "This route can't be overridden",
            "Check method and path; `breakglass-sidecar explain METHOD URL` shows what they match.",
        ),
        RefusalCode::GrantRequired => {
            row(NO, "This route is sealed", "Request elevation and send the request with your grant.")
        }
        RefusalCode::RouteUnknown => row(
            NO,
            "No route of this service matches",
            "This service has sealed routes, so only listed routes are served. Check method and path.",
        ),
        RefusalCode::GrantNotUsable => row(
            NO,
            "The grant can't be used",
            "Check the grant, and that it is yours, with `breakglass grants`; or request a new one.",
        ),
        RefusalCode::GrantNotInForce => row(
            NO,
            "Your grant is not in force at this sidecar",
            "It has ended, or has not arrived yet: see `breakglass grants`.",
        ),
        RefusalCode::WrongService => row(NO, "Your grant is for another service", "Request elevation on this service."),
        RefusalCode::GrantExpired => row(NO, "Your grant has expired", "Request elevation again."),
        RefusalCode::GrantRevoked => {
            row(NO, "Your grant was revoked", "Ask who revoked it, and why, with `breakglass grants show ID`.")
        }
        RefusalCode::GrantUsedUp => row(NO, "Your grant is used up", "Request elevation again."),
        RefusalCode::OverCeiling => row(
            NO,
            "Your grant exceeds what this service ever allows",
            "Have the service's ceiling and the policy compared.",
        ),
        RefusalCode::ResourceOutOfScope => {
            row(NO, "Your grant does not cover this resource", "Request elevation on this resource.")
        }
        RefusalCode::ActionOutOfScope => {
            row(NO, "Your grant does not cover this action", "Request elevation for this action.")
        }
        RefusalCode::Frozen => row(NO, "Overrides are frozen", "Ask your operators; the freeze must be lifted first."),
        RefusalCode::FeedNotSynced => row(
            WAIT,
            "This sidecar has not heard from the control plane yet",
            "Try again shortly; ordinary requests are not affected.",
        ),
        RefusalCode::FeedStale => row(
            WAIT,
            "This sidecar has lost touch with the control plane",
            "Try again once it is back; ordinary requests are not affected.",
        ),
        RefusalCode::ClockUnsettled => row(WAIT, "This sidecar's clock jumped", "Try again in a few seconds."),
        RefusalCode::UsesElsewhere => row(
            WAIT,
            "No use of your grant is left at this sidecar",
            "Another sidecar may hold one; this one has asked. Try again shortly.",
        ),
        RefusalCode::AuditUnavailable => row(
            WAIT,
            "The override can't be recorded",
            "Nothing was forwarded. Operators: see the sidecar's audit metrics.",
        ),
    }
}

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

/// RFC 6750 §3, on our own header's behalf.
fn challenge(code: RefusalCode) -> HeaderValue {
    HeaderValue::from_static(match code {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_client_or_waiting_status_and_a_hint() {
        for code in RefusalCode::ALL {
            let row = table(*code);
            assert!(matches!(row.status.as_u16(), 400 | 401 | 403 | 503), "{}", code.as_str());
            assert!(row.hint.ends_with('.') || row.hint.ends_with("`."), "{}", code.as_str());
        }
    }
}
