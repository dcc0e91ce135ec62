//! Entity tags (RFC 9110 §8.8.3): what a caller has seen, in one word.
//!
//! A tag is a digest of the answer's very bytes, so it is strong, and it changes whenever anything that was shown does.
//! [`Tagged`] answers with one, [`if_none_match`] spares who has it, and [`IfMatch`] demands it of who changes
//! something: they act on what they have seen, or not at all.

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;

use crate::control::refusal::{Cause, Refusal};

/// Bytes of the digest that a tag shows.
const DIGEST_BYTES: usize = 16;
/// Greatest number of tags looked at in one request.
const TAGS_MAX: usize = 16;

/// A strong entity tag, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of `view`, as [`Tagged`] answers with it.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn of<T: Serialize>(view: &T) -> Result<Self, Refusal> {
        Ok(Self::of_bytes(&bytes_of(view)?))
    }

    pub(in crate::control) fn of_bytes(bytes: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        let shown = digest.as_ref().get(..DIGEST_BYTES).unwrap_or_default();
        Self(format!("\"{}\"", URL_SAFE_NO_PAD.encode(shown)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.0.as_str()).ok()
    }
}

fn bytes_of<T: Serialize>(view: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(view).map_err(|_| Refusal::new(Cause::Internal, "the answer could not be written"))
}

/// A JSON answer with its tag.
#[derive(Debug)]
pub struct Tagged<T>(pub T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        match bytes_of(&self.0) {
            Ok(bytes) => tagged(bytes.into(), "application/json"),
            Err(refusal) => refusal.into_response(),
        }
    }
}

/// `bytes` with their tag.
pub(in crate::control) fn tagged(bytes: bytes::Bytes, content_type: &'static str) -> Response {
    let tag = Tag::of_bytes(&bytes).header();
    let mut response = ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Answers 304 to who has what would be answered (RFC 9110 §13.1.2). Everything is checked and recorded all the same.
pub(in crate::control) async fn if_none_match(request: Request, next: Next) -> Response {
    let known = match *request.method() {
        Method::GET | Method::HEAD => listed(request.headers(), &header::IF_NONE_MATCH),
        _ => Vec::new(),
    };
    let response = next.run(request).await;
    let tag = response.headers().get(header::ETAG).filter(|_| response.status() == StatusCode::OK);
    match tag.and_then(|tag| tag.to_str().ok()) {
        Some(tag) if known.iter().any(|known| known == "*" || known.trim_start_matches("W/") == tag) => {
            not_modified(response)
        }
        _ => response,
    }
}

fn not_modified(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, axum::body::Body::empty())
}

/// The tags of all lines of a header. Ours hold no comma, so that a split is a parse.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let tags = lines.flat_map(|line| line.split(',')).map(|tag| tag.trim().to_owned());
    tags.filter(|tag| !tag.is_empty()).take(TAGS_MAX).collect()
}

/// The `If-Match` that a call demands: 428 without one, and `*` is none, since it says nothing of what was seen.
#[derive(Debug, Clone)]
pub struct IfMatch(Vec<String>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let tags = listed(&parts.headers, &header::IF_MATCH);
        if tags.is_empty() || tags.iter().any(|tag| tag == "*") {
            return Err(Refusal::new(Cause::PreconditionRequired, "there is no If-Match with the ETag that was seen"));
        }
        Ok(Self(tags))
    }
}

impl IfMatch {
    /// Whether the caller has seen `current`. Ask where nothing can change in between: inside the transition.
    ///
    /// # Errors
    /// 412 with the current state and its tag. The comparison is the strong one.
    pub fn check<T: Serialize>(&self, current: &T) -> Result<(), Refusal> {
        let tag = Tag::of(current)?;
        if self.0.contains(&tag.0) {
            return Ok(());
        }
        let refusal = Refusal::new(Cause::PreconditionFailed, "it is no longer as it was when it was read");
        Err(refusal.with_current(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn if_match(value: Option<&'static str>) -> Result<IfMatch, Refusal> {
        let mut request = http::Request::new(());
        if let Some(value) = value {
            request.headers_mut().insert(header::IF_MATCH, HeaderValue::from_static(value));
        }
        IfMatch::from_request_parts(&mut request.into_parts().0, &()).await
    }

    #[tokio::test]
    async fn who_has_not_seen_the_state_is_shown_it() {
        let state = serde_json::json!({"state": "requested"});
        for absent in [None, Some("*"), Some(""), Some("\"a\", *")] {
            assert_eq!(if_match(absent).await.unwrap_err().cause, Cause::PreconditionRequired, "{absent:?}");
        }
        let tag: &'static str = Tag::of(&state).unwrap().0.leak();
        let listed: &'static str = format!("\"other\", {tag}").leak();
        for seen in [tag, listed] {
            assert!(if_match(Some(seen)).await.unwrap().check(&state).is_ok());
        }
        let weak: &'static str = format!("W/{tag}").leak();
        for unseen in ["\"other\"", weak, "bare"] {
            let refusal = if_match(Some(unseen)).await.unwrap().check(&state).unwrap_err();
            assert_eq!(refusal.cause, Cause::PreconditionFailed);
            let problem = refusal.problem();
            assert_eq!((problem.status, problem.current), (412, Some(state.clone())));
            assert_eq!(refusal.into_response().headers()[header::ETAG], tag);
        }
    }
}
