//! What flows: a statement as large and as slow as asked for, and an echo that says what arrived. Nothing is buffered.

use std::time::Duration;

use aws_lc_rs::digest;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::Shared;
use super::handlers::locked;
use super::permit::Proven;
use super::problem::{Refused, problem};
use crate::hex::hex;

const CHUNK_BYTES: u64 = 64 * 1024;
const STATEMENT_BYTES_DEFAULT: u64 = 1024 * 1024;
const STATEMENT_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
const PAUSE_MS_MAX: u64 = 60_000;
/// 64 bytes, so that a chunk holds whole lines.
const LINE: &[u8; 64] = b"2026-11-22;02:13:00;interest accrued, act/360;EUR;         0.13\n";

#[derive(Debug, serde::Deserialize)]
pub(super) struct Wanted {
    contract: Option<String>,
    /// Size of the body.
    bytes: Option<u64>,
    /// Wait before each chunk of 64 KiB.
    pause_ms: Option<u64>,
}

type WantedQuery = Result<Query<Wanted>, QueryRejection>;

pub(super) async fn statement(
    State(api): State<Shared>,
    proven: Proven,
    wanted: WantedQuery,
) -> Result<Response, Refused> {
    let Query(wanted) = wanted.map_err(|_| Refused::Query)?;
    let contract = wanted.contract.clone().ok_or(Refused::Query)?;
    statement_for(&api, &contract, &proven, &wanted)
}

pub(super) async fn statement_of(
    State(api): State<Shared>,
    Path(contract): Path<String>,
    proven: Proven,
    wanted: WantedQuery,
) -> Result<Response, Refused> {
    let Query(wanted) = wanted.map_err(|_| Refused::Query)?;
    statement_for(&api, &contract, &proven, &wanted)
}

fn statement_for(api: &Shared, contract: &str, proven: &Proven, wanted: &Wanted) -> Result<Response, Refused> {
    proven.permit(contract, "statement.read")?;
    locked(api).contract(contract)?;
    let bytes = wanted.bytes.unwrap_or(STATEMENT_BYTES_DEFAULT);
    let pause_ms = wanted.pause_ms.unwrap_or(0);
    if bytes > STATEMENT_BYTES_MAX || pause_ms > PAUSE_MS_MAX {
        return Err(Refused::Query);
    }
    let body = Body::from_stream(chunks(bytes, Duration::from_millis(pause_ms)));
    Ok(([(CONTENT_TYPE, "text/csv; charset=utf-8")], body).into_response())
}

/// Exactly `bytes` bytes of lines.
fn chunks(bytes: u64, pause: Duration) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    let lines = usize::try_from(CHUNK_BYTES).unwrap_or(0) / LINE.len();
    let full = Bytes::from(LINE.repeat(lines));
    stream::unfold(bytes, move |left| {
        let full = full.clone();
        async move {
            if left == 0 {
                return None;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let size = left.min(CHUNK_BYTES);
            Some((Ok(full.slice(..usize::try_from(size).unwrap_or(0).min(full.len()))), left - size))
        }
    })
}

/// Says what arrived: method, target, headers in order, size and SHA-256 of the body, trailers.
pub(super) async fn echo(request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut bytes, mut trailers) = (0_u64, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => {
                bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                context.update(&data);
            }
            Ok(Err(frame)) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            Err(_) => return problem(StatusCode::BAD_REQUEST, "body", "the body broke off"),
        }
    }
    Json(json!({
        "method": parts.method.as_str(),
        "target": parts.uri.to_string(),
        "version": format!("{:?}", parts.version),
        "headers": listed(&parts.headers),
        "trailers": listed(&trailers),
        "body": {"bytes": bytes, "sha256": hex(context.finish().as_ref())},
    }))
    .into_response()
}

fn listed(headers: &HeaderMap) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])).collect()
}
