//! `/log` of both planes' admin ports: GET shows what is logged, PUT changes it, `?for_s=N` only for a while.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::level::{FILTER_BYTES_MAX, FOR_MAX, LogControl};
use super::log_control;
use crate::clock::Clock;
use crate::error_chain::error_chain;

/// A body beyond this is not read.
pub const BODY_BYTES_MAX: usize = FILTER_BYTES_MAX;

/// Answers a request for `/log`. `body` is `None` where there was more of it than [`BODY_BYTES_MAX`].
pub fn answer(method: &Method, headers: &HeaderMap, query: Option<&str>, body: Option<&[u8]>) -> Response<Bytes> {
    match log_control() {
        Some(control) => answer_by(control, method, headers, query, body),
        None => text(StatusCode::NOT_FOUND, "this process keeps no log of its own"),
    }
}

fn answer_by(
    control: &LogControl,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
    body: Option<&[u8]>,
) -> Response<Bytes> {
    // A page in an operator's browser must not change what is logged.
    if headers.contains_key(ORIGIN) {
        return text(StatusCode::FORBIDDEN, "not from a page");
    }
    match *method {
        Method::GET => show(control),
        Method::PUT => match change(control, query, body) {
            Ok(()) => show(control),
            Err((status, why)) => text(status, &why),
        },
        _ => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or PUT");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, PUT"));
            response
        }
    }
}

fn change(control: &LogControl, query: Option<&str>, body: Option<&[u8]>) -> Result<(), (StatusCode, String)> {
    let span = span(query).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    let body =
        body.ok_or_else(|| (StatusCode::PAYLOAD_TOO_LARGE, format!("a filter has at most {FILTER_BYTES_MAX} bytes")))?;
    let filter = std::str::from_utf8(body).map(str::trim).ok().filter(|filter| !filter.is_empty());
    let filter = filter.ok_or_else(|| {
        (StatusCode::BAD_REQUEST, "the body must be a filter, such as info,breakglass::sidecar=debug".to_owned())
    })?;
    control.set(filter, span, Clock::System.boot()).map_err(|error| (StatusCode::BAD_REQUEST, error_chain(&error)))
}

/// The one parameter there is.
fn span(query: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let seconds = query.strip_prefix("for_s=").and_then(|digits| digits.parse::<u64>().ok());
    match seconds.map(Duration::from_secs).filter(|span| (Duration::from_secs(1)..=FOR_MAX).contains(span)) {
        Some(span) => Ok(Some(span)),
        None => Err(format!("the query may be for_s=1 to for_s={}", FOR_MAX.as_secs())),
    }
}

fn show(control: &LogControl) -> Response<Bytes> {
    let mut body = serde_json::to_vec(&control.show(Clock::System.boot())).unwrap_or_default();
    body.push(b'\n');
    respond(StatusCode::OK, "application/json", body.into())
}

fn text(status: StatusCode, text: &str) -> Response<Bytes> {
    respond(status, "text/plain; charset=utf-8", format!("{text}\n").into())
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(control: &LogControl, method: &Method, query: Option<&str>, body: Option<&str>) -> (u16, String) {
        let answer = answer_by(control, method, &HeaderMap::new(), query, body.map(str::as_bytes));
        (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
    }

    #[test]
    fn a_filter_is_shown_set_and_refused_with_the_reason() {
        let control = LogControl::new("info".to_owned(), |_| Ok(()));
        assert_eq!(ask(&control, &Method::GET, None, Some("")), (200, "{\"filter\":\"info\"}\n".to_owned()));
        assert_eq!(ask(&control, &Method::PUT, None, Some("warn\n")), (200, "{\"filter\":\"warn\"}\n".to_owned()));
        let (status, text) = ask(&control, &Method::PUT, Some("for_s=60"), Some("debug"));
        assert!(status == 200 && text.contains("\"reverts_to\":\"warn\""), "{text}");
        let (status, text) = ask(&control, &Method::PUT, None, Some("breakglass=loudly"));
        assert!(status == 400 && text.contains("not understood"), "{text}");
        for (query, body, status) in [
            (None, Some(""), 400),
            (None, None, 413),
            (Some("for_s=0"), Some("info"), 400),
            (Some("for_s=86401"), Some("info"), 400),
            (Some("forever"), Some("info"), 400),
        ] {
            assert_eq!(ask(&control, &Method::PUT, query, body).0, status, "{query:?} {body:?}");
        }
        assert_eq!(ask(&control, &Method::DELETE, None, Some("")).0, 405);
        let from_page = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://evil.test"))]);
        assert_eq!(answer_by(&control, &Method::PUT, &from_page, None, Some(b"off")).status(), 403);
        assert!(ask(&control, &Method::GET, None, None).1.contains("\"filter\":\"debug\""));
    }
}
