//! Answers that are neither the upstream's nor a verdict: it could not be asked, or the request could not be read.

use http::{Response, StatusCode, Version};

use super::body::ResponseBody;
use super::counters::RequestOutcome;
use super::forward::ForwardError;
use super::journey::Worker;
use super::refusal;
use super::upstream::UpstreamError;
use crate::decision::RefusalCode;
use crate::error_chain::error_chain;
use crate::telemetry::request_context::request_id;

/// The upstream gave no answer.
pub(super) fn upstream_failure(worker: &Worker, error: &ForwardError) -> Response<ResponseBody> {
    let id = request_id().to_string();
    let (outcome, status, code, title) = match error {
        ForwardError::Upstream(UpstreamError::Connect(_)) => (
            RequestOutcome::UpstreamFailed,
            StatusCode::BAD_GATEWAY,
            "upstream_unreachable",
            "The contract API can't be reached",
        ),
        ForwardError::Upstream(UpstreamError::ConnectTimeout(_)) | ForwardError::Timeout(_) => (
            RequestOutcome::UpstreamTimeout,
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The contract API did not answer in time",
        ),
        ForwardError::Upstream(UpstreamError::Broken(_) | UpstreamError::Switched)
        | ForwardError::Unsigned
        | ForwardError::Cut { .. } => {
            (RequestOutcome::UpstreamFailed, StatusCode::BAD_GATEWAY, "upstream_failed", "The contract API broke off")
        }
    };
    worker.counters.count_outcome(outcome);
    tracing::warn!(code, error = %error_chain(error), "the upstream gave no answer");
    refusal::failure(status, code, title, "The request may have taken effect: check before repeating.", &id)
}

/// A gateway to one API opens no tunnels (RFC 9110 §9.3.6).
pub(super) fn no_tunnel(worker: &Worker) -> Response<ResponseBody> {
    worker.counters.count_refusal(RefusalCode::ConnectNotOverridable);
    let title = "CONNECT is not served here";
    let mut response = refusal::failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "connect_not_served",
        title,
        "Send the request itself.",
        &request_id().to_string(),
    );
    close_after(&mut response);
    response
}

/// The head is larger than is read.
pub(super) fn too_large(worker: &Worker) -> Response<ResponseBody> {
    worker.counters.count_refusal(RefusalCode::FramingConflict);
    let mut response = refusal::failure(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head_too_large",
        "The request's head is too large",
        "Send fewer or smaller headers.",
        &request_id().to_string(),
    );
    close_after(&mut response);
    response
}

/// Nothing more is read on this connection.
pub(super) fn close_after(response: &mut Response<ResponseBody>) {
    if response.version() != Version::HTTP_2 {
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
}
