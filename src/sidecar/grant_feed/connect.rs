//! Keeping one stream to the control plane alive: connect, subscribe, read and write, and come back after a pause that
//! grows and is different every time (full jitter), so that a restarted control plane is not stormed. Where there are
//! several replicas, each attempt is at another; a stream that no longer brings anything fresh is left for one that may.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::apply::{Applied, Applier};
use super::lines::Lines;
use super::pace::Pace;
use crate::audit::Position;
use crate::domain::{BootTime, InstanceName};
use crate::drain::Drain;
use crate::error_chain::error_chain;
use crate::http::{H2Endpoint, Limits, connect_h2};
use crate::jitter::full_jitter;
use crate::sidecar::grant_feed::pace::retry_after;
use crate::sidecar::occurrences::FeedLine;
use crate::sidecar::setup::Setup;
use crate::sidecar::shared::{ShareNews, Shared};
use crate::wire::feed::{self, AuditPosition, FromControl, FromSidecar, Subscribe};

const PING_INTERVAL: Duration = Duration::from_secs(1);
/// A stream on which nothing came for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A line that the connection does not take within this time ends the stream.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// Where there are others, a replica whose heartbeats have spoken of nothing newer for so long, and up to twice as long,
/// is left: it may be cut off from its database.
const STALE_MIN: Duration = Duration::from_secs(4);

/// As whom to subscribe. Where to is in the setup.
#[derive(Debug)]
pub struct FeedClient {
    pub instance: InstanceName,
    pub share_news: mpsc::Receiver<ShareNews>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Http(#[from] crate::http::HttpError),
    #[error("the feed could not be asked for")]
    Request(#[source] hyper::Error),
    #[error("the feed broke off")]
    Broken(#[source] hyper::Error),
    #[error("the control plane answered {status}")]
    Status {
        status: StatusCode,
        /// When it is worth coming back, where that was said.
        retry_after: Option<Duration>,
    },
    #[error("the control plane ended the stream: {0}")]
    Ended(String),
    #[error("a line of the feed is not understood: {0}")]
    Line(String),
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    #[error("the connection takes nothing more")]
    Stuck,
    #[error("this replica has read nothing newer for {0:?}: another may have")]
    Stale(Duration),
    #[error("the request could not be built")]
    Build(#[from] http::Error),
}

/// Runs until the drain begins. It subscribes only once the audit log takes overrides: uses are allotted to the log's
/// lineage, and what was spent under it must be known first.
pub async fn run(shared: std::sync::Arc<Shared>, mut client: FeedClient, drain: Drain) {
    let opened = tokio::select! {
        opened = shared.audit.opened() => opened,
        () = drain.begun() => return,
    };
    let mut applier = Applier::new(std::sync::Arc::clone(&shared), opened);
    let mut pace = Pace::new();
    loop {
        let as_of = shared.standing.as_of();
        let Err(error) = tokio::select! {
            ended = stream(&shared, &mut applier, &mut client, &pace) => ended,
            () = shared.resubscribe.notified() => {
                // What was refused under the former setup may be allowed by this one: only a snapshot tells.
                applier.forget_position();
                pace.restart();
                continue;
            }
            () = drain.begun() => return,
        };
        shared.standing.set_connected(false);
        shared.occurrences.count_stream_end();
        tracing::warn!(error = %error_chain(&error), "the feed ended; overrides go on until it is too old");
        // A stream that brought a heartbeat starts the pauses anew.
        if shared.standing.as_of() > as_of {
            pace.restart();
        }
        let asked = if let StreamError::Status { retry_after, .. } = error { retry_after } else { None };
        tokio::select! {
            () = tokio::time::sleep(pace.pause(shared.setup().feed.endpoints.len(), asked)) => {}
            () = drain.begun() => return,
        }
    }
}

/// One stream, from connecting to its end.
async fn stream(
    shared: &Shared,
    applier: &mut Applier,
    client: &mut FeedClient,
    pace: &Pace,
) -> Result<Infallible, StreamError> {
    let (body, outgoing) = Outgoing::new();
    let setup = shared.setup();
    let endpoints = &setup.feed.endpoints;
    let endpoint = pace.choose(endpoints).ok_or_else(|| StreamError::Ended("it has no address".to_owned()))?;
    let mut connection = connect_h2(endpoint, &setup.feed.tls, &Limits::default()).await?;
    applier.begin();
    let mut outgoing = outgoing;
    // The control plane answers only once it has read the subscription.
    outgoing.say(&FromSidecar::Subscribe(subscription(shared, &setup, applier, client))).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://{}{}", authority(endpoint), feed::PATH))
        .header(CONTENT_TYPE, feed::CONTENT_TYPE)
        .header(USER_AGENT, crate::http::USER_AGENT)
        .body(body)?;
    let answer = connection.sender.send_request(request);
    let response = tokio::time::timeout(SILENCE_MAX, answer)
        .await
        .map_err(|_| StreamError::Silent(SILENCE_MAX))?
        .map_err(StreamError::Request)?;
    match response.status() {
        StatusCode::OK => {}
        status => {
            if status == StatusCode::CONFLICT {
                applier.forget_position();
            }
            return Err(StreamError::Status { status, retry_after: retry_after(response.headers()) });
        }
    }
    shared.standing.set_connected(true);
    shared.occurrences.count_stream();
    let stale_after = (endpoints.len() > 1).then(|| STALE_MIN + full_jitter(STALE_MIN));
    Conversation { shared, applier, outgoing, acknowledged: 0, pings: 0, lines: Lines::default(), stale_after }
        .hold(response.into_body(), &mut client.share_news)
        .await
}

fn authority(endpoint: &H2Endpoint) -> String {
    format!("{}:{}", endpoint.server_name.to_str(), endpoint.port)
}

fn subscription(shared: &Shared, setup: &Setup, applier: &Applier, client: &FeedClient) -> Subscribe {
    let resume = applier.resume_from();
    Subscribe {
        service: setup.service.name.clone(),
        instance: client.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        service_digest: setup.service.digest.clone(),
        epoch: resume.as_ref().map(|(epoch, _)| epoch.clone()),
        last_revision: resume.map(|(_, revision)| revision),
        lineage: applier.lineage().to_owned(),
        spent: applier.spent(),
        audit: audit_position(shared.audit.position()),
    }
}

fn audit_position(position: Position) -> AuditPosition {
    AuditPosition { log_id: position.log_id.to_string(), sequence: position.sequence, head: position.head.to_string() }
}

/// The sidecar's half of a stream.
struct Outgoing {
    sender: Sender<Bytes>,
}

impl Outgoing {
    fn new() -> (Channel<Bytes>, Self) {
        let (sender, body) = Channel::new(64);
        (body, Self { sender })
    }

    async fn say(&mut self, line: &FromSidecar) -> Result<(), StreamError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| StreamError::Line(error.to_string()))?;
        bytes.push(b'\n');
        let sent = tokio::time::timeout(WRITE_MAX, self.sender.send_data(bytes.into())).await;
        sent.map_err(|_| StreamError::Stuck)?.map_err(|_| StreamError::Stuck)
    }
}

/// A stream that is under way.
struct Conversation<'a> {
    shared: &'a Shared,
    applier: &'a mut Applier,
    outgoing: Outgoing,
    acknowledged: u64,
    pings: u64,
    lines: Lines,
    /// After so long without anything fresh another replica is tried.
    stale_after: Option<Duration>,
}

impl Conversation<'_> {
    async fn hold(
        mut self,
        mut incoming: Incoming,
        share_news: &mut mpsc::Receiver<ShareNews>,
    ) -> Result<Infallible, StreamError> {
        let mut ticks = tokio::time::interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = self.shared.clock.boot();
        let mut heard = begun;
        loop {
            tokio::select! {
                frame = incoming.frame() => {
                    let frame = frame.ok_or_else(|| StreamError::Ended("it closed".to_owned()))?;
                    heard = self.shared.clock.boot();
                    if let Ok(data) = frame.map_err(StreamError::Broken)?.into_data() {
                        self.read(&data).await?;
                    }
                }
                _ = ticks.tick() => {
                    if self.shared.clock.boot().since(heard) > SILENCE_MAX {
                        return Err(StreamError::Silent(SILENCE_MAX));
                    }
                    self.check_fresh(begun)?;
                    self.ping().await?;
                }
                Some(news) = share_news.recv() => self.tell(news).await?,
            }
        }
    }

    fn check_fresh(&self, begun: BootTime) -> Result<(), StreamError> {
        let fresh = self.shared.standing.as_of().max(begun);
        match self.stale_after {
            Some(most) if self.shared.clock.boot().since(fresh) > most => Err(StreamError::Stale(most)),
            _ => Ok(()),
        }
    }

    async fn ping(&mut self) -> Result<(), StreamError> {
        self.pings += 1;
        self.applier.note_ping(self.pings);
        self.outgoing.say(&FromSidecar::Ping { n: self.pings, at: Some(self.shared.clock.wall()) }).await?;
        // Repeated now and then: news of shares may have been lost, and the audit position moves by itself.
        if self.pings.is_multiple_of(5) && self.acknowledged > 0 {
            self.report_spent().await?;
            self.acknowledge(self.acknowledged).await?;
        }
        Ok(())
    }

    async fn report_spent(&mut self) -> Result<(), StreamError> {
        for live in self.shared.grants.all() {
            if live.grant().max_uses.is_some() && live.spent() > 0 {
                self.outgoing.say(&FromSidecar::Spent { grant: live.grant().id.clone(), spent: live.spent() }).await?;
            }
        }
        Ok(())
    }

    /// What is spent is always said before more is wanted.
    async fn tell(&mut self, news: ShareNews) -> Result<(), StreamError> {
        let (ShareNews::Spent(grant) | ShareNews::Wanted(grant)) = &news;
        let Some(live) = self.shared.grants.by_id(grant) else { return Ok(()) };
        self.outgoing.say(&FromSidecar::Spent { grant: grant.clone(), spent: live.spent() }).await?;
        if let ShareNews::Wanted(grant) = news {
            self.outgoing.say(&FromSidecar::ShareWanted { grant }).await?;
        }
        Ok(())
    }

    /// Applies all whole lines, then acknowledges the last of them once.
    async fn read(&mut self, data: &[u8]) -> Result<(), StreamError> {
        self.lines.push(data);
        let mut enforced = None;
        while let Some(line) = self.lines.next().map_err(|error| StreamError::Line(error.to_string()))? {
            let line: FromControl =
                serde_json::from_slice(&line).map_err(|error| StreamError::Line(error.to_string()))?;
            let kind = FeedLine::of(&line);
            let applied = self.applier.apply(line);
            let rejected = matches!(applied, Applied::Say(FromSidecar::Reject { .. }));
            self.shared.occurrences.count_line(kind, rejected);
            match applied {
                Applied::Nothing => {}
                Applied::Say(line) => self.outgoing.say(&line).await?,
                Applied::Enforced(revision) => enforced = Some(revision),
                Applied::Ended(why) => return Err(StreamError::Ended(why)),
            }
        }
        if let Some(revision) = enforced {
            self.acknowledge(revision).await?;
        }
        self.ask_for_assertion_key().await
    }

    async fn ask_for_assertion_key(&mut self) -> Result<(), StreamError> {
        match self.applier.assertion_to_say() {
            Some(line) => self.outgoing.say(&line).await,
            None => Ok(()),
        }
    }

    async fn acknowledge(&mut self, revision: u64) -> Result<(), StreamError> {
        self.acknowledged = revision;
        let audit = audit_position(self.shared.audit.position());
        self.outgoing.say(&FromSidecar::Ack { revision, audit }).await
    }
}
