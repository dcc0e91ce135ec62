//! `POST /feed/v1/audit`: a batch of a sidecar's audit lines, checked line by line, then taken into the ledger as a whole.
//!
//! One batch at a time has the database's turn, so that a revocation waits for one at most; few more are held in memory,
//! and the rest are asked to come back. It must never: take a line that does not follow the one before; quote a line in
//! a log or a problem.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::endpoint::{Endpoint, FeedBody};
use super::hub::{AuditCounts, FeedCounts};
use super::limits::FeedLimits;
use super::peer::PeerError;
use super::source::FeedStore;
use crate::audit::{Position, ToldLine};
use crate::domain::ServiceName;
use crate::error_chain::error_chain;
use crate::store::audit::{AuditBatch, BatchLine, Ingested};
use crate::store::contract::StoreError;
use crate::wire::audit::{Arrival, BATCH_BYTES_MAX, BATCH_LINES_MAX, SIGNED_MAX, Shipment};
use crate::wire::feed::{self, AuditPosition};
use crate::wire::problem::{self, Problem};

/// Greatest length of a lineage.
const LINEAGE_BYTES_MAX: usize = 128;

/// What may be under way at once.
#[derive(Debug)]
pub(super) struct AuditIntake {
    places: Semaphore,
    turn: Semaphore,
    body_wait_max: Duration,
    turn_wait_max: Duration,
}

impl AuditIntake {
    pub(super) fn new(limits: &FeedLimits) -> Self {
        Self {
            places: Semaphore::new(limits.audit_batches_max),
            turn: Semaphore::new(1),
            body_wait_max: limits.audit_body_wait_max,
            turn_wait_max: limits.audit_turn_wait_max,
        }
    }
}

/// Why a batch is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("audit lines are a POST of {}", feed::CONTENT_TYPE)]
    Request,
    #[error(transparent)]
    Certificate(#[from] PeerError),
    #[error("line {line} of the batch {why}")]
    Batch { line: usize, why: String },
    #[error("the lines are another service's")]
    ForeignService,
    #[error("the log is another instance's")]
    ForeignLog,
    #[error("the line before the first of these is not here")]
    Gap(Option<AuditPosition>),
    #[error("a batch has at most {BATCH_BYTES_MAX} bytes and {BATCH_LINES_MAX} lines")]
    TooLarge,
    #[error("the batch did not come in time")]
    Late,
    #[error("more audit lines come than can be taken now")]
    Busy,
    #[error("the database cannot be written")]
    Store(#[from] StoreError),
}

impl Refusal {
    const fn meaning(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Request => (StatusCode::METHOD_NOT_ALLOWED, "audit_request", "Another request is needed"),
            Self::Certificate(_) => (StatusCode::FORBIDDEN, "feed_certificate", "Not a sidecar's certificate"),
            Self::Batch { .. } => (StatusCode::BAD_REQUEST, "audit_batch", "The batch cannot be used"),
            Self::ForeignService | Self::ForeignLog => (StatusCode::FORBIDDEN, "audit_foreign", "Another's audit log"),
            Self::Gap(_) => (StatusCode::CONFLICT, "audit_gap", "Lines are missing before these"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "audit_too_large", "The batch is too large"),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, "audit_late", "The batch came too slowly"),
            Self::Busy | Self::Store(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "audit_busy", "Audit lines cannot be taken now")
            }
        }
    }

    fn response(&self, retry_after_s: u32) -> Response<FeedBody> {
        let (status, code, title) = self.meaning();
        let mut problem = Problem::new(status.as_u16(), code, title, self.to_string());
        if let Self::Gap(known) = self {
            problem.current = serde_json::to_value(known).ok();
        }
        let mut response = answered(status, problem::CONTENT_TYPE, &problem);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        response
    }

    fn count(&self, counts: &AuditCounts) {
        let count = match self {
            Self::Gap(_) => &counts.gaps,
            Self::Busy | Self::Store(_) | Self::Late => &counts.busy,
            Self::Request
            | Self::Certificate(_)
            | Self::Batch { .. }
            | Self::ForeignService
            | Self::ForeignLog
            | Self::TooLarge => &counts.refused,
        };
        FeedCounts::add(count, 1);
    }
}

/// Takes a batch, or says why not.
pub(super) async fn answer<S: FeedStore>(endpoint: &Endpoint<S>, request: Request<Incoming>) -> Response<FeedBody> {
    // A connection that ships is not idle.
    endpoint.streams.send_modify(|n| *n += 1);
    let taken = take(endpoint, request).await;
    endpoint.streams.send_modify(|n| *n -= 1);
    match taken {
        Ok(position) => {
            let arrival = Arrival { position: position.map(told) };
            answered(StatusCode::OK, "application/json", &arrival)
        }
        Err(refusal) => {
            refusal.count(&endpoint.room.hub.counts().audit);
            let service = endpoint.peer.as_ref().map_or("", ServiceName::as_str);
            match &refusal {
                Refusal::Batch { .. } | Refusal::ForeignService | Refusal::ForeignLog => {
                    tracing::error!(service, %refusal, "audit lines were refused");
                }
                _ => tracing::info!(service, refusal = error_chain(&refusal), "audit lines were not taken"),
            }
            refusal.response(endpoint.room.hub.limits().retry_after_s)
        }
    }
}

async fn take<S: FeedStore>(endpoint: &Endpoint<S>, request: Request<Incoming>) -> Result<Option<Position>, Refusal> {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if request.method() != Method::POST || content_type != Some(feed::CONTENT_TYPE.as_bytes()) {
        return Err(Refusal::Request);
    }
    let service = endpoint.peer.clone()?;
    let intake = &endpoint.room.audit;
    let _place = intake.places.try_acquire().map_err(|_| Refusal::Busy)?;
    let body = timeout(intake.body_wait_max, whole(request.into_body())).await.map_err(|_| Refusal::Late)??;
    let counts = &endpoint.room.hub.counts().audit;
    FeedCounts::add(&counts.bytes, u64::try_from(body.len()).unwrap_or(u64::MAX));
    let parsed = tokio::task::spawn_blocking(move || parse(&body, service)).await;
    let batch = parsed.map_err(|_| Refusal::Busy)??;
    let turn = timeout(intake.turn_wait_max, intake.turn.acquire()).await;
    let _turn = turn.map_err(|_| Refusal::Busy)?.map_err(|_| Refusal::Busy)?;
    let started = endpoint.room.hub.clock().boot();
    let ingested = endpoint.room.store.ingest_audit(&batch).await?;
    let took = endpoint.room.hub.clock().boot().since(started);
    FeedCounts::add(&counts.ingest_us, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    settled(counts, &batch, ingested)
}

fn settled(counts: &AuditCounts, batch: &AuditBatch, ingested: Ingested) -> Result<Option<Position>, Refusal> {
    match ingested {
        Ingested::Taken { position, new, forks, lost } => {
            let all = u64::try_from(batch.lines.len()).unwrap_or(u64::MAX);
            FeedCounts::add(&counts.batches, 1);
            FeedCounts::add(&counts.lines, new);
            FeedCounts::add(&counts.known, all.saturating_sub(new));
            FeedCounts::add(&counts.forks, forks);
            FeedCounts::add(&counts.lost, lost);
            let (service, instance) = (&batch.service, &batch.instance);
            if forks > 0 {
                tracing::error!(%service, %instance, "an audit log goes on in two ways: its folder was copied or restored");
            }
            if lost > 0 {
                tracing::error!(%service, %instance, "audit lines of this sidecar are lost");
            }
            Ok(position)
        }
        Ingested::Gap(known) => Err(Refusal::Gap(known.map(told))),
        Ingested::Foreign => Err(Refusal::ForeignLog),
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, BATCH_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge),
        Err(_) => Err(Refusal::Late),
    }
}

/// Every line is read, and held to the one before.
fn parse(body: &[u8], service: ServiceName) -> Result<AuditBatch, Refusal> {
    let bad = |line: usize, why: String| Refusal::Batch { line, why };
    let Some(body) = body.strip_suffix(b"\n") else {
        return Err(bad(1, "has no end".to_owned()));
    };
    let mut lines = body.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let shipment: Shipment =
        serde_json::from_slice(first).map_err(|error| bad(1, format!("is no shipment: {error}")))?;
    if shipment.lineage.is_empty()
        || shipment.lineage.len() > LINEAGE_BYTES_MAX
        || !shipment.lineage.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(bad(1, "has a lineage that is no name".to_owned()));
    }
    let Shipment { instance, lineage, lost, settled, signed } = shipment;
    if signed.as_ref().is_some_and(|signed| signed.numbers.len() > SIGNED_MAX) {
        return Err(bad(1, "tells of too many grants".to_owned()));
    }
    let mut batch = AuditBatch { service, instance, lineage, after: None, lost, settled, signed, lines: Vec::new() };
    let mut before: Option<Position> = None;
    for (at, line) in (2..).zip(lines) {
        if batch.lines.len() >= BATCH_LINES_MAX {
            return Err(Refusal::TooLarge);
        }
        let text = std::str::from_utf8(line).map_err(|_| bad(at, "is not UTF-8".to_owned()))?;
        // What serde says of a line may quote it.
        let told = ToldLine::parse(line).map_err(|error| bad(at, error.to_string()))?;
        if told.service != batch.service {
            return Err(Refusal::ForeignService);
        }
        if told.instance != batch.instance {
            return Err(Refusal::ForeignLog);
        }
        let fits = if batch.lines.is_empty() { told.is_of_one_mind() } else { told.follows(before.as_ref()) };
        if !fits {
            return Err(bad(at, "does not follow the line before it".to_owned()));
        }
        if batch.lines.is_empty() {
            batch.after = told.before();
        }
        before = Some(told.position());
        batch.lines.push(BatchLine { told, text: text.to_owned() });
    }
    Ok(batch)
}

fn told(position: Position) -> AuditPosition {
    AuditPosition { log_id: position.log_id.to_string(), sequence: position.sequence, head: position.head.to_string() }
}

fn answered<T: serde::Serialize>(status: StatusCode, content_type: &'static str, document: &T) -> Response<FeedBody> {
    let body = serde_json::to_vec(document).unwrap_or_default();
    let mut response = Response::new(FeedBody::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
