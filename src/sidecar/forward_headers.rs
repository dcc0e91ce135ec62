//! Headers on their way through (RFC 9110 §7.6, RFC 7239): what belongs to one hop ends there, what a proxy must say
//! is said, and nothing else is touched.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::header::{FORWARDED, HOST, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::decision::Permit;
use crate::domain::WallTime;
pub use crate::http::strip_hop_by_hop;
use crate::telemetry::request_context::{self, TRACEPARENT, TRACESTATE, Trace};

const ASSERTION: HeaderName = HeaderName::from_static("break-glass-assertion");

/// Says who asked and by which way: one `Forwarded` element (RFC 7239 §4) and one `Via` (RFC 9110 §7.6.3).
pub fn add_proxy_headers(headers: &mut HeaderMap, client: SocketAddr, version: Version) {
    let mut element = String::with_capacity(96);
    let _ = match client {
        SocketAddr::V4(address) => write!(element, "for={}", address.ip()),
        SocketAddr::V6(address) => write!(element, "for=\"[{}]\"", address.ip()),
    };
    if let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| is_plain_host(host)) {
        let _ = write!(element, ";host=\"{host}\"");
    }
    element.push_str(";proto=https");
    if let Ok(value) = HeaderValue::try_from(element) {
        headers.append(FORWARDED, value);
    }
    let via = match version {
        Version::HTTP_2 => "2 breakglass",
        Version::HTTP_10 => "1.0 breakglass",
        _ => "1.1 breakglass",
    };
    headers.append(VIA, HeaderValue::from_static(via));
}

/// A host that may stand in a quoted string as it is.
fn is_plain_host(host: &str) -> bool {
    host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

/// Tells the upstream under which grant it is asked. Everything is visible ASCII by its type.
/// `assertion` says the same, signed.
pub fn add_permit_headers(headers: &mut HeaderMap, permit: &Permit, request_id: &str, assertion: HeaderValue) {
    let grant = permit.grant();
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("break-glass-grant", grant.id.as_str());
    add("break-glass-subject", grant.person.as_str());
    add("break-glass-role", grant.role.as_str());
    add("break-glass-resource", permit.resource().as_str());
    add("break-glass-action", permit.action().as_str());
    add("break-glass-reason", grant.justification.reason.as_str());
    add("break-glass-ticket", grant.justification.ticket.as_str());
    add("break-glass-expires", &expires(grant.expires));
    add("break-glass-request-id", request_id);
    headers.insert(ASSERTION, assertion);
    pass_trace_on(headers);
}

/// The upstream is the next hop of the request's trace. The state of a trace that was none goes with it.
fn pass_trace_on(headers: &mut HeaderMap) {
    if Trace::of(headers).is_none() {
        headers.remove(TRACESTATE);
    }
    if let Some(value) = request_context::next_hop().header() {
        headers.insert(TRACEPARENT, value);
    }
}

/// RFC 3339, UTC.
fn expires(at: WallTime) -> String {
    at.rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_is_added_to_what_stands_there() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, HeaderValue::from_static("for=1.1.1.1"));
        headers.insert(HOST, HeaderValue::from_static("api.test:8443"));
        add_proxy_headers(&mut headers, "[::1]:9".parse().unwrap(), Version::HTTP_11);
        let all: Vec<_> = headers.get_all(FORWARDED).iter().collect();
        assert_eq!(all, ["for=1.1.1.1", "for=\"[::1]\";host=\"api.test:8443\";proto=https"]);
        assert_eq!(headers.get(VIA).unwrap(), "1.1 breakglass");
    }
}
