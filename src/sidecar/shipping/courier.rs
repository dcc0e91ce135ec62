//! Carries one batch at a time to the control plane's feed listener, over a connection of its own, so that lines in bulk
//! never hold up a heartbeat.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use crate::audit::Position;
use crate::http::{H2Connection, H2Endpoint, Limits, connect_h2};
use crate::sidecar::grant_feed::pace::{Pace, retry_after};
use crate::sidecar::setup::Setup;
use crate::wire::audit::{Arrival, PATH};
use crate::wire::feed::{self, AuditPosition};
use crate::wire::problem::Problem;

/// From sending a batch to its answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Greatest size of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the control plane said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything up to there is committed.
    Arrived(Option<Position>),
    /// Lines are missing before these: the last that is there.
    Gap(Option<Position>),
}

/// Why it said nothing of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum CourierError {
    #[error(transparent)]
    Http(#[from] crate::http::HttpError),
    #[error("the batch could not be sent")]
    Send(#[source] hyper::Error),
    #[error("the control plane did not answer within {ANSWER_MAX:?}")]
    Late,
    #[error("the answer broke off")]
    Broken,
    #[error("the control plane can take nothing now")]
    Busy(Option<Duration>),
    /// Sending it again changes nothing.
    #[error("the control plane refuses it: {status} {code}")]
    Refused { status: StatusCode, code: String },
    #[error("the answer is not understood")]
    Answer,
    #[error("the feed has no address")]
    NoAddress,
    #[error("the request could not be built")]
    Build(#[from] http::Error),
}

/// See the module.
pub(super) struct Courier {
    connection: Option<Connected>,
    pace: Pace,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").field("pace", &self.pace).finish_non_exhaustive()
    }
}

struct Connected {
    connection: H2Connection<Full<Bytes>>,
    /// As which reading of the files it was made.
    setup: Arc<Setup>,
    uri: String,
}

impl Courier {
    pub(super) fn new() -> Self {
        Self { connection: None, pace: Pace::new() }
    }

    /// Brings one batch. After an error the next call is at another replica.
    pub(super) async fn bring(&mut self, setup: &Arc<Setup>, body: Bytes) -> Result<Verdict, CourierError> {
        let answered = self.exchange(setup, body).await;
        match &answered {
            Ok(_) => self.pace.restart(),
            // A replica that speaks is not left.
            Err(CourierError::Refused { .. }) => {}
            Err(_) => self.connection = None,
        }
        answered
    }

    /// How long to wait after an error.
    pub(super) fn pause(&mut self, setup: &Setup, error: &CourierError) -> Duration {
        let asked = if let CourierError::Busy(asked) = error { *asked } else { None };
        self.pace.pause(setup.feed.endpoints.len(), asked)
    }

    async fn exchange(&mut self, setup: &Arc<Setup>, body: Bytes) -> Result<Verdict, CourierError> {
        // Files that were read anew may name another certificate, or another control plane.
        let fits =
            |connected: &Connected| Arc::ptr_eq(&connected.setup, setup) && !connected.connection.sender.is_closed();
        let mut connected = match self.connection.take().filter(fits) {
            Some(connected) => connected,
            None => self.connect(setup).await?,
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(&connected.uri)
            .header(CONTENT_TYPE, feed::CONTENT_TYPE)
            .header(USER_AGENT, crate::http::USER_AGENT)
            .body(Full::new(body))?;
        let answer = async {
            let response = connected.connection.sender.send_request(request).await.map_err(CourierError::Send)?;
            read(response).await
        };
        let verdict = tokio::time::timeout(ANSWER_MAX, answer).await.map_err(|_| CourierError::Late)?;
        self.connection = Some(connected);
        verdict
    }

    async fn connect(&self, setup: &Arc<Setup>) -> Result<Connected, CourierError> {
        let endpoint = self.pace.choose(&setup.feed.endpoints).ok_or(CourierError::NoAddress)?;
        let connection = connect_h2(endpoint, &setup.feed.tls, &Limits::default()).await?;
        Ok(Connected { connection, setup: Arc::clone(setup), uri: uri(endpoint) })
    }
}

fn uri(endpoint: &H2Endpoint) -> String {
    format!("https://{}:{}{PATH}", endpoint.server_name.to_str(), endpoint.port)
}

async fn read(response: Response<Incoming>) -> Result<Verdict, CourierError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| CourierError::Broken)?.to_bytes();
    if parts.status == StatusCode::OK {
        let arrival: Arrival = serde_json::from_slice(&body).map_err(|_| CourierError::Answer)?;
        return Ok(Verdict::Arrived(position(arrival.position)?));
    }
    if parts.status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(CourierError::Busy(retry_after(&parts.headers)));
    }
    let problem: Problem = serde_json::from_slice(&body).map_err(|_| CourierError::Answer)?;
    if problem.code == "audit_gap" {
        let current = problem.current.unwrap_or_default();
        let known: Option<AuditPosition> = serde_json::from_value(current).map_err(|_| CourierError::Answer)?;
        return Ok(Verdict::Gap(position(known)?));
    }
    Err(CourierError::Refused { status: parts.status, code: problem.code })
}

fn position(told: Option<AuditPosition>) -> Result<Option<Position>, CourierError> {
    let parse = |told: AuditPosition| {
        let log_id = told.log_id.parse().map_err(|_| CourierError::Answer)?;
        let head = told.head.parse().map_err(|_| CourierError::Answer)?;
        Ok(Position { log_id, sequence: told.sequence, head })
    };
    told.map(parse).transpose()
}
