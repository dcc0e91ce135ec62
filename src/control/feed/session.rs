//! One stream, from its first line to its end: what comes in is believed only while the stream is the sidecar's live one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http_body::Body;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::delivery::{Delivery, DeliveryError, Opening, Room};
use super::freshness::Reading;
use super::hub::{Command, FeedCounts, Stream};
use super::lines::{LineError, LineReader, Outbox, WriteError, shortened};
use super::source::FeedStore;
use crate::domain::GrantId;
use crate::store::contract::StoreError;
use crate::wire::feed::{FromControl, FromSidecar, Subscribe};

/// Assertion keys of one sidecar that are being certified. It asks for one at a time; the root may be slow.
const CERTIFYING_MAX: usize = 4;
/// Reports of spent uses that wait for a database that can be written.
const UNRECORDED_MAX: usize = 4096;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    /// The sidecar closed its side, or its connection broke.
    #[error("the sidecar left")]
    Left,
    #[error("the control plane is stopping")]
    Stopping,
    #[error("a newer stream of this instance took its place")]
    Replaced,
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
    #[error(transparent)]
    Line(LineError),
    #[error("only the first line may subscribe")]
    SubscribedTwice,
    #[error("revision {said} was acknowledged or rejected, but only {sent} was sent")]
    AheadOfUs { said: u64, sent: u64 },
    #[error("too many reports of spent uses while the database cannot be written")]
    TooManyReports,
    #[error("more than {CERTIFYING_MAX} keys were to be certified at once")]
    TooManyKeys,
    /// The way out is closed: the sidecar takes no lines and was cut off.
    #[error("the sidecar takes no lines")]
    Slow,
    #[error("the stream could not be begun")]
    Opening(#[source] DeliveryError),
    #[error("a line would be longer than is allowed")]
    LineTooLong,
}

impl SessionEnd {
    /// What the sidecar is told in a closing `resync`; nothing where it can come back as it is, or hears nothing.
    fn said(&self) -> Option<String> {
        match self {
            Self::Left | Self::Stopping | Self::Slow | Self::Opening(_) | Self::Line(LineError::Broken) => None,
            Self::Replaced
            | Self::Silent(_)
            | Self::Line(_)
            | Self::SubscribedTwice
            | Self::AheadOfUs { .. }
            | Self::TooManyReports
            | Self::TooManyKeys
            | Self::LineTooLong => Some(self.to_string()),
        }
    }

    const fn is_protocol_error(&self) -> bool {
        matches!(self, Self::Line(_) | Self::SubscribedTwice | Self::AheadOfUs { .. })
    }
}

impl From<WriteError> for SessionEnd {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Slow => Self::Slow,
            WriteError::Gone => Self::Left,
            WriteError::TooLong => Self::LineTooLong,
        }
    }
}

/// A stream that was let in and has yet to begin.
pub(super) struct Session<S, B> {
    pub(super) room: Arc<Room<S>>,
    pub(super) stream: Stream,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) lines: LineReader<B>,
    pub(super) out: Outbox,
    pub(super) readings: watch::Receiver<Option<Reading>>,
    pub(super) stopping: watch::Receiver<bool>,
}

impl<S: FeedStore, B: Body<Data = Bytes> + Unpin> Session<S, B> {
    /// Runs the stream. Answers why it ended, after the sidecar was told where that helps.
    pub(super) async fn run(self, opening: Opening) -> SessionEnd {
        let Self { room, stream, commands, lines, out, readings, stopping } = self;
        let stream = Arc::new(stream);
        let delivery = Delivery::new(Arc::clone(&room), Arc::clone(&stream), out, &opening);
        let mut running =
            Running { room: &room, stream: &stream, delivery, unrecorded: BTreeMap::new(), commands, readings };
        let end = running.run(opening, lines, stopping).await;
        if let Some(why) = end.said() {
            // Best effort: a sidecar that does not take even this has nothing more to hear.
            let _told = running.delivery.resync(why).await;
        }
        if end.is_protocol_error() {
            FeedCounts::add(&room.hub.counts().protocol_errors, 1);
        }
        if matches!(end, SessionEnd::Slow) {
            FeedCounts::add(&room.hub.counts().slow_cut, 1);
        }
        end
    }
}

/// What is awaited without holding up the heartbeats: a root in a hardware module takes its time.
type Certifying<'a> = FuturesUnordered<BoxFuture<'a, FromControl>>;

struct Running<'a, S> {
    room: &'a Room<S>,
    stream: &'a Stream,
    delivery: Delivery<S>,
    /// Spent uses that could not be recorded yet.
    unrecorded: BTreeMap<GrantId, u32>,
    commands: mpsc::Receiver<Command>,
    readings: watch::Receiver<Option<Reading>>,
}

impl<'a, S: FeedStore> Running<'a, S> {
    async fn run<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        opening: Opening,
        mut lines: LineReader<B>,
        mut stopping: watch::Receiver<bool>,
    ) -> SessionEnd {
        if let Err(error) = self.delivery.open(opening).await {
            return match error {
                DeliveryError::Write(error) => error.into(),
                error @ DeliveryError::Store(_) => SessionEnd::Opening(error),
            };
        }
        let mut certifying = Certifying::new();
        let silence_max = self.room.hub.limits().silence_max;
        let mut silent_at = tokio::time::Instant::now() + silence_max;
        loop {
            let step = tokio::select! {
                biased;
                () = told(&mut stopping) => Err(SessionEnd::Stopping),
                () = self.delivery.out().gone() => Err(SessionEnd::Left),
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => Err(SessionEnd::Replaced),
                },
                Ok(()) = self.readings.changed() => self.catch_up().await,
                Some(answer) = certifying.next() => {
                    self.delivery.answer(&answer).await.map_err(SessionEnd::from)
                }
                line = lines.next() => {
                    silent_at = tokio::time::Instant::now() + silence_max;
                    self.hear_next(line, &mut certifying).await
                }
                () = tokio::time::sleep_until(silent_at) => Err(SessionEnd::Silent(silence_max)),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn hear_next(
        &mut self,
        line: Result<Option<FromSidecar>, LineError>,
        certifying: &mut Certifying<'a>,
    ) -> Result<(), SessionEnd> {
        match line {
            Ok(Some(line)) => self.hear(line, certifying).await,
            Ok(None) | Err(LineError::Broken) => Err(SessionEnd::Left),
            Err(error) => Err(SessionEnd::Line(error)),
        }
    }

    fn certify(&self, x: String, proof: String, certifying: &mut Certifying<'a>) -> Result<(), SessionEnd> {
        let (room, stream) = (self.room, self.stream);
        if certifying.len() >= CERTIFYING_MAX {
            return Err(SessionEnd::TooManyKeys);
        }
        let live = room.hub.is_live(stream);
        let answer = async move { room.desk.answer(room.store.as_ref(), stream, live, x, &proof).await };
        certifying.push(Box::pin(answer));
        Ok(())
    }

    async fn hear(&mut self, line: FromSidecar, certifying: &mut Certifying<'a>) -> Result<(), SessionEnd> {
        let hub = &self.room.hub;
        hub.heard(self.stream);
        match line {
            FromSidecar::Subscribe(_) => return Err(SessionEnd::SubscribedTwice),
            FromSidecar::Ping { n, at } => {
                hub.told_time(self.stream, at);
                self.catch_up().await?;
                self.delivery.heartbeat(n).await?;
            }
            FromSidecar::Ack { revision, audit } => {
                self.check_sent(revision)?;
                hub.acknowledged(self.stream, revision, audit);
            }
            FromSidecar::Reject { revision, grant, why } => {
                self.check_sent(revision)?;
                let why = shortened(&why);
                tracing::warn!(sidecar = %self.stream.holder.instance, revision, ?grant, why, "a sidecar rejected a change");
                hub.rejected(self.stream, revision, why);
            }
            FromSidecar::CertifyAssertionKey { x, proof } => self.certify(x, proof, certifying)?,
            FromSidecar::Spent { grant, spent } => self.spent(grant, spent).await?,
            FromSidecar::ShareWanted { grant } => self.logged(self.room.shares.wanted(self.stream, &grant).await),
            FromSidecar::ShareReturned { grant, allotted } => {
                self.logged(self.room.shares.returned(self.stream, &grant, allotted).await);
            }
        }
        Ok(())
    }

    fn check_sent(&self, said: u64) -> Result<(), SessionEnd> {
        let sent = self.delivery.sent();
        if said <= sent { Ok(()) } else { Err(SessionEnd::AheadOfUs { said, sent }) }
    }

    /// Brings the sidecar up to the newest reading. A database that cannot be read ends nothing: heartbeats go on, and
    /// tell how old they are.
    async fn catch_up(&mut self) -> Result<(), SessionEnd> {
        self.record_unrecorded().await;
        let reading = *self.readings.borrow_and_update();
        let Some(reading) = reading else { return Ok(()) };
        match self.delivery.catch_up(reading).await {
            Ok(()) => Ok(()),
            Err(DeliveryError::Store(error)) => {
                self.logged(Err(error));
                Ok(())
            }
            Err(DeliveryError::Write(error)) => Err(error.into()),
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), SessionEnd> {
        match command {
            Command::Restate { grant, allotted } => Ok(self.delivery.restate(grant, allotted).await?),
            Command::Recall { grant, keep } => match self.delivery.recall(grant.clone(), keep).await {
                Ok(()) => Ok(()),
                Err(DeliveryError::Store(error)) => {
                    self.logged(Err(error));
                    self.room.shares.not_asked(self.stream, &grant).await;
                    Ok(())
                }
                Err(DeliveryError::Write(error)) => Err(error.into()),
            },
        }
    }

    async fn spent(&mut self, grant: GrantId, spent: u32) -> Result<(), SessionEnd> {
        if let Err(error) = record_spent(self.room, self.stream, &grant, spent).await {
            self.logged(Err(error));
            let most = self.unrecorded.entry(grant).or_default();
            *most = spent.max(*most);
        }
        if self.unrecorded.len() > UNRECORDED_MAX { Err(SessionEnd::TooManyReports) } else { Ok(()) }
    }

    /// Tries again what could not be recorded, and stops at the first that still cannot.
    async fn record_unrecorded(&mut self) {
        while let Some((grant, spent)) = self.unrecorded.pop_first() {
            if let Err(error) = record_spent(self.room, self.stream, &grant, spent).await {
                self.logged(Err(error));
                self.unrecorded.insert(grant, spent);
                return;
            }
        }
    }

    fn logged(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(sidecar = %self.stream.holder.instance, %error, "the store failed a feed");
        }
    }
}

/// Returns once it is said, or can no longer be said. (The guard that `wait_for` answers must not outlive it.)
async fn told(flag: &mut watch::Receiver<bool>) {
    let _said = flag.wait_for(|said| *said).await.is_ok();
}

/// Records what was spent before this stream.
pub(super) async fn record_all_spent<S: FeedStore>(
    room: &Room<S>,
    stream: &Stream,
    subscribe: &Subscribe,
) -> Result<(), StoreError> {
    for (grant, spent) in &subscribe.spent {
        record_spent(room, stream, grant, *spent).await?;
    }
    Ok(())
}

async fn record_spent<S: FeedStore>(
    room: &Room<S>,
    stream: &Stream,
    grant: &GrantId,
    spent: u32,
) -> Result<(), StoreError> {
    let outcome = room.store.record_spent(grant, &stream.holder, spent).await?;
    if outcome.above_share {
        FeedCounts::add(&room.hub.counts().overspent, 1);
        tracing::error!(sidecar = %stream.holder.instance, %grant, spent, "a sidecar spent more than its share");
    }
    Ok(())
}

/// The first line, which must subscribe.
pub(super) async fn first_line<B: Body<Data = Bytes> + Unpin>(
    lines: &mut LineReader<B>,
    wait_max: Duration,
) -> Result<Subscribe, FirstLineError> {
    match timeout(wait_max, lines.next()).await {
        Ok(Ok(Some(FromSidecar::Subscribe(subscribe)))) => Ok(subscribe),
        Ok(Ok(Some(_))) => Err(FirstLineError::NotSubscribe),
        Ok(Ok(None)) => Err(FirstLineError::Missing),
        Ok(Err(error)) => Err(FirstLineError::Line(error)),
        Err(_) => Err(FirstLineError::Late(wait_max)),
    }
}

/// Why no stream can begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum FirstLineError {
    #[error("the first line must be a subscribe")]
    NotSubscribe,
    #[error("the body ended before its first line")]
    Missing,
    #[error(transparent)]
    Line(LineError),
    #[error("the first line did not arrive within {} s", .0.as_secs())]
    Late(Duration),
}
