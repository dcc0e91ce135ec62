//! What a request must be before any call looks at it: of a bounded size, and content with JSON.
//!
//! The server's own bounds are wider, so that what lies between is refused here, with a problem document.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Uri, header};

use super::api::body::{BODY_BYTES_MAX, too_large};
use super::refusal::{Cause, Refusal};

/// What provisioning clients ask for; it is JSON too (RFC 7644 §3.1).
const SCIM: &str = "application/scim+json";
/// Greatest length of path and query.
pub(super) const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Greatest size of all header fields, names and values.
pub(super) const HEADERS_BYTES_MAX: usize = 32 * 1024;

/// Refuses what no call would take.
pub(super) async fn take_in(request: Request, next: Next) -> Response {
    match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES_MAX {
        return Err(Refusal::new(
            Cause::UriTooLong,
            format!("path and query have at most {TARGET_BYTES_MAX} bytes together"),
        ));
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > HEADERS_BYTES_MAX {
        return Err(Refusal::new(
            Cause::HeadersTooLarge,
            format!("header fields have at most {HEADERS_BYTES_MAX} bytes together"),
        ));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| usize::try_from(bytes).map_or(true, |bytes| bytes > BODY_BYTES_MAX)) {
        return Err(too_large());
    }
    if accepts_json(headers) { Ok(()) } else { Err(Refusal::new(Cause::NotAcceptable, "answers are application/json")) }
}

/// RFC 9110 §12.5.1, as far as it matters to who has one media type: is there a range with a weight above zero?
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter().map(|line| line.to_str().unwrap_or_default()).peekable();
    if lines.peek().is_none_or(|line| line.trim().is_empty()) {
        return true;
    }
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let fits = matches!(parts.next().as_deref(), Some("*/*" | "application/*" | "application/json" | SCIM));
        let weight = parts.find_map(|part| part.strip_prefix("q=").map(str::to_owned));
        fits && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn who_takes_json_in_any_words_is_served() {
        let accepts = |line: &'static str| {
            accepts_json(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(line))]))
        };
        for line in [
            "",
            "*/*",
            "application/json",
            "text/html, Application/JSON;q=0.1",
            "application/*; q=1.0",
            "text/html, application/xhtml+xml, */*;q=0.8",
        ] {
            assert!(accepts(line), "{line}");
        }
        for line in ["text/html", "application/json;q=0", "application/json;q=x", "application/problem+json", "json"] {
            assert!(!accepts(line), "{line}");
        }
        assert!(accepts_json(&HeaderMap::new()));
    }
}
