//! The call that begins a stream, beside the one for audit lines. All that can be refused is refused before the answer begins, as a problem document:
//!
//! | what is wrong | status | code |
//! |---|---|---|
//! | another path | 404 | `feed_not_found` |
//! | another method | 405 | `feed_method` |
//! | another content type | 415 | `feed_content_type` |
//! | the certificate is no sidecar's | 403 | `feed_certificate` |
//! | a first line that is no `subscribe`, or an unusable one | 400 | `feed_subscribe` |
//! | no first line in time | 408 | `feed_subscribe` |
//! | the service is not the certificate's | 403 | `feed_foreign_service` |
//! | the audit folder is another live instance's | 409 | `feed_lineage_in_use` |
//! | too many streams, or too many that begin at once | 503 with `Retry-After` | `feed_full` |
//! | the database cannot be read | 503 with `Retry-After` | `feed_unavailable` |
//!
//! So a sidecar sends its `subscribe` without waiting for the answer's header: that comes with `welcome`.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};

use super::admission::NotAdmitted;
use super::audit;
use super::delivery::{Room, opening};
use super::errands::record_all_spent;
use super::hub::{AdmitError, FeedCounts};
use super::lines::{LineReader, Outbox};
use super::peer::PeerError;
use super::service::ReadError;
use super::session::{FirstLineError, Session, SessionEnd, first_line};
use super::source::FeedStore;
use crate::domain::ServiceName;
use crate::store::contract::StoreError;
use crate::wire;
use crate::wire::feed::{self, Subscribe};
use crate::wire::problem::{self, Problem};

/// What a request may be answered with: a problem document, or lines as they come.
#[derive(Debug)]
pub(super) enum FeedBody {
    Whole(Full<Bytes>),
    Lines(mpsc::Receiver<Bytes>),
}

impl Body for FeedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Lines(chunks) => chunks.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }
}

/// Everything that a connection hands to its requests.
pub(super) struct Endpoint<S> {
    pub(super) room: Arc<Room<S>>,
    pub(super) peer: Result<ServiceName, PeerError>,
    pub(super) stopping: watch::Receiver<bool>,
    /// How many streams this connection carries.
    pub(super) streams: watch::Sender<usize>,
    /// Told when this connection must be dropped: a peer that takes nothing does not take a farewell either.
    pub(super) cut: watch::Sender<bool>,
}

/// Why a request is answered with a problem.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there are only {} and {}", feed::PATH, wire::audit::PATH)]
    Path,
    #[error("the feed is a POST")]
    Method,
    #[error("the feed is {}", feed::CONTENT_TYPE)]
    ContentType,
    #[error(transparent)]
    Certificate(#[from] PeerError),
    #[error(transparent)]
    FirstLine(#[from] FirstLineError),
    #[error("the subscribe cannot be used: {0}")]
    Subscribe(&'static str),
    #[error("the client certificate is of another service")]
    ForeignService,
    #[error(transparent)]
    Admit(#[from] NotAdmitted),
    #[error("the database cannot be written")]
    Store(#[from] StoreError),
    #[error("the database cannot be read")]
    Read(#[from] ReadError),
}

impl From<AdmitError> for Refusal {
    fn from(error: AdmitError) -> Self {
        Self::Admit(error.into())
    }
}

impl Refusal {
    const fn meaning(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Path => (StatusCode::NOT_FOUND, "feed_not_found", "No such thing here"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "feed_method", "Another method is needed"),
            Self::ContentType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "feed_content_type", "Another content type is needed")
            }
            Self::Certificate(_) => (StatusCode::FORBIDDEN, "feed_certificate", "Not a sidecar's certificate"),
            Self::FirstLine(FirstLineError::Late(_)) => {
                (StatusCode::REQUEST_TIMEOUT, "feed_subscribe", "The first line came too late")
            }
            Self::FirstLine(_) | Self::Subscribe(_) => {
                (StatusCode::BAD_REQUEST, "feed_subscribe", "The first line cannot be used")
            }
            Self::ForeignService => (StatusCode::FORBIDDEN, "feed_foreign_service", "Another service's feed"),
            Self::Admit(NotAdmitted::Hub(AdmitError::LineageInUse)) => {
                (StatusCode::CONFLICT, "feed_lineage_in_use", "The audit folder is in use")
            }
            Self::Admit(NotAdmitted::Hub(AdmitError::Full) | NotAdmitted::Busy) => {
                (StatusCode::SERVICE_UNAVAILABLE, "feed_full", "Too many feeds")
            }
            Self::Read(ReadError::Behind { .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "feed_history_behind", "The database is an older copy")
            }
            Self::Admit(NotAdmitted::Hub(AdmitError::Outdated) | NotAdmitted::Store | NotAdmitted::Stopping)
            | Self::Store(_)
            | Self::Read(ReadError::Store(_) | ReadError::Late | ReadError::Write(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "feed_unavailable", "The feed cannot be served now")
            }
        }
    }

    fn response(&self, retry_after_s: u32) -> Response<FeedBody> {
        let (status, code, title) = self.meaning();
        let problem = Problem::new(status.as_u16(), code, title, self.to_string());
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(FeedBody::Whole(Full::new(body.into())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

impl<S: FeedStore> Endpoint<S> {
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<FeedBody>, Infallible> {
        let hub = Arc::clone(&self.room.hub);
        // Boxed: the room for it is given back while the stream goes on.
        Ok(Box::pin(self.begin(request)).await.unwrap_or_else(|refusal| {
            FeedCounts::add(&hub.counts().refusals, 1);
            tracing::info!(%refusal, "a feed was refused");
            refusal.response(hub.limits().retry_after_s)
        }))
    }

    async fn begin(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<FeedBody>, Refusal> {
        if request.uri().path() == wire::audit::PATH {
            return Ok(audit::answer(&self, request).await);
        }
        check_request(&request)?;
        let service = self.peer.clone()?;
        let limits = self.room.hub.limits();
        let mut lines = LineReader::new(request.into_body());
        let subscribe = first_line(&mut lines, limits.first_line_wait_max).await?;
        check_subscribe(&subscribe)?;
        if subscribe.service != service {
            return Err(Refusal::ForeignService);
        }
        let subscribe = Arc::new(subscribe);
        self.room.hub.check_room(&subscribe)?;
        let (stream, commands) = self.room.admissions.admit(&subscribe).await?;
        record_all_spent(&self.room, &stream, &subscribe).await?;
        let opening = opening(&self.room, &subscribe).await?;
        let (out, chunks) = Outbox::new(limits.chunks_queued_max, limits.chunk_bytes, limits.write_wait_max);
        let (room, stopping) = (Arc::clone(&self.room), self.stopping.clone());
        let session = Session { room, stream, commands, lines, out, stopping };
        self.streams.send_modify(|n| *n += 1);
        tokio::spawn(async move {
            let end = session.run(opening).await;
            tracing::info!(service = %subscribe.service, sidecar = %subscribe.instance, reason = %end, "a feed ended");
            if matches!(end, SessionEnd::Slow | SessionEnd::Behind) {
                self.cut.send_replace(true);
            }
            self.streams.send_modify(|n| *n -= 1);
        });
        let mut response = Response::new(FeedBody::Lines(chunks));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(feed::CONTENT_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

fn check_request(request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.uri().path() != feed::PATH {
        return Err(Refusal::Path);
    }
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content_type == Some(feed::CONTENT_TYPE.as_bytes()) { Ok(()) } else { Err(Refusal::ContentType) }
}

/// Greatest length of a version, a lineage, a log id.
const NAME_BYTES_MAX: usize = 128;
/// A SHA-256, hex.
const DIGEST_BYTES: usize = 64;

/// What a sidecar says of itself is shown and kept, so it is bounded and visible ASCII.
fn check_subscribe(subscribe: &Subscribe) -> Result<(), Refusal> {
    let is_name = |text: &str| text.len() <= NAME_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    let is_digest = |text: &str| text.len() <= DIGEST_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
    if subscribe.lineage.is_empty() || !is_name(&subscribe.lineage) {
        return Err(Refusal::Subscribe("lineage must be 1 to 128 visible characters"));
    }
    if !is_name(&subscribe.version) || !is_name(&subscribe.audit.log_id) {
        return Err(Refusal::Subscribe("version and log_id must be at most 128 visible characters"));
    }
    if !is_digest(&subscribe.service_digest) || !is_digest(&subscribe.audit.head) {
        return Err(Refusal::Subscribe("service_digest and head must be SHA-256 in hex"));
    }
    Ok(())
}
