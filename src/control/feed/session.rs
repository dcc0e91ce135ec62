//! One stream, from its first line to its end: what comes in is believed only while the stream is the sidecar's live one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::delivery::{Beginning, Delivery, DeliveryError, Opening, Room};
use super::errands::{Done, Errand, Errands};
use super::hub::{Command, FeedCounts, Stream};
use super::lines::{LineError, LineReader, Outbox, WriteError, shortened};
use super::source::FeedStore;
use crate::error_chain::error_chain;
use crate::wire::feed::{FromSidecar, Subscribe};

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
    #[error("too many reports of uses while the database cannot be written")]
    TooManyReports,
    #[error("the sidecar fell too far behind")]
    Behind,
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
            | Self::Behind
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
    pub(super) stopping: watch::Receiver<bool>,
}

impl<S: FeedStore, B: Body<Data = Bytes> + Unpin> Session<S, B> {
    /// Runs the stream. Answers why it ended, after the sidecar was told where that helps.
    pub(super) async fn run(self, opening: Opening) -> SessionEnd {
        let Self { room, stream, commands, lines, out, stopping } = self;
        let stream = Arc::new(stream);
        let delivery = Delivery::new(Arc::clone(&room), Arc::clone(&stream), out, &opening);
        let errands = Errands::new(Arc::clone(&room), Arc::clone(&stream));
        let wakes = delivery.wakes();
        let mut running = Running { room: &room, stream: &stream, delivery, errands, commands, wakes };
        let end = running.run(opening.into_beginning(), lines, stopping).await;
        if let Some(why) = end.said() {
            // Best effort: a sidecar that does not take even this has nothing more to hear.
            let _told = running.delivery.resync(why).await;
        }
        if end.is_protocol_error() {
            FeedCounts::add(&room.hub.counts().protocol_errors, 1);
        }
        if matches!(end, SessionEnd::Slow | SessionEnd::Behind) {
            FeedCounts::add(&room.hub.counts().slow_cut, 1);
        }
        end
    }
}

struct Running<'a, S> {
    room: &'a Room<S>,
    stream: &'a Stream,
    delivery: Delivery<S>,
    /// What is done in the database for the sidecar, beside the stream: heartbeats wait for none of it.
    errands: Errands<S>,
    commands: mpsc::Receiver<Command>,
    wakes: watch::Receiver<u64>,
}

impl<S: FeedStore> Running<'_, S> {
    async fn run<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        beginning: Beginning,
        mut lines: LineReader<B>,
        mut stopping: watch::Receiver<bool>,
    ) -> SessionEnd {
        if let Err(error) = self.delivery.open(beginning).await {
            return match error {
                DeliveryError::Write(error) => error.into(),
                DeliveryError::Behind => SessionEnd::Behind,
                error @ DeliveryError::Read(_) => SessionEnd::Opening(error),
            };
        }
        let silence_max = self.room.hub.limits().silence_max;
        let mut silent_at = tokio::time::Instant::now() + silence_max;
        loop {
            // A question that waits comes before the next errand, however many there are.
            if self.commands.is_empty() {
                self.errands.begin_next();
            }
            let step = tokio::select! {
                biased;
                () = told(&mut stopping) => Err(SessionEnd::Stopping),
                () = self.delivery.out().gone() => Err(SessionEnd::Left),
                done = self.errands.next_done() => self.done(done).await,
                // What an errand brings goes down the stream before any question that came after it (see `shares`).
                command = self.commands.recv(), if !self.errands.is_under_way() => match command {
                    Some(Command::Recall(recall)) => {
                        self.delivery.recall(*recall);
                        self.catch_up().await
                    }
                    None => Err(SessionEnd::Replaced),
                },
                Ok(()) = self.wakes.changed() => self.catch_up().await,
                line = lines.next() => {
                    silent_at = tokio::time::Instant::now() + silence_max;
                    self.hear_next(line).await
                }
                () = tokio::time::sleep_until(silent_at) => Err(SessionEnd::Silent(silence_max)),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn hear_next(&mut self, line: Result<Option<FromSidecar>, LineError>) -> Result<(), SessionEnd> {
        match line {
            Ok(Some(line)) => self.hear(line).await,
            Ok(None) | Err(LineError::Broken) => Err(SessionEnd::Left),
            Err(error) => Err(SessionEnd::Line(error)),
        }
    }

    async fn hear(&mut self, line: FromSidecar) -> Result<(), SessionEnd> {
        let hub = &self.room.hub;
        match line {
            FromSidecar::Subscribe(_) => return Err(SessionEnd::SubscribedTwice),
            FromSidecar::Ping { n, at } => {
                hub.told_time(self.stream, at);
                self.errands.try_again();
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
            FromSidecar::CertifyAssertionKey { x, proof } => self.run_errand(Errand::Certify { x, proof })?,
            FromSidecar::Spent { grant, spent } => self.run_errand(Errand::Spent { grant, spent })?,
            FromSidecar::ShareWanted { grant } => self.run_errand(Errand::Wanted { grant })?,
            FromSidecar::ShareReturned { grant, allotted } => self.run_errand(Errand::Returned { grant, allotted })?,
        }
        Ok(())
    }

    fn run_errand(&mut self, errand: Errand) -> Result<(), SessionEnd> {
        self.room.hub.heard(self.stream);
        if self.errands.add(errand) { Ok(()) } else { Err(SessionEnd::TooManyReports) }
    }

    async fn done(&mut self, done: Done) -> Result<(), SessionEnd> {
        match done {
            Done::Nothing => Ok(()),
            Done::Restate { grant, allotted } => Ok(self.delivery.restate(grant, allotted).await?),
            Done::Say(line) => Ok(self.delivery.answer(&line).await?),
        }
    }

    fn check_sent(&self, said: u64) -> Result<(), SessionEnd> {
        let sent = self.delivery.sent();
        if said <= sent { Ok(()) } else { Err(SessionEnd::AheadOfUs { said, sent }) }
    }

    /// Brings the sidecar up to what is held for its service. A database that cannot be read ends nothing: heartbeats go
    /// on, and tell how old they are.
    async fn catch_up(&mut self) -> Result<(), SessionEnd> {
        match self.delivery.catch_up().await {
            Ok(()) => Ok(()),
            Err(DeliveryError::Read(error)) => {
                let error = error_chain(&error);
                tracing::warn!(sidecar = %self.stream.holder.instance, error, "the store failed a feed");
                Ok(())
            }
            Err(DeliveryError::Write(error)) => Err(error.into()),
            Err(DeliveryError::Behind) => Err(SessionEnd::Behind),
        }
    }
}

/// Returns once it is said, or can no longer be said. (The guard that `wait_for` answers must not outlive it.)
async fn told(flag: &mut watch::Receiver<bool>) {
    let _said = flag.wait_for(|said| *said).await.is_ok();
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
