//! What goes down one stream: the beginning, then each change once and in order, then heartbeats.
//!
//! INVARIANT: a heartbeat names a reading only after every line up to that reading's revision was queued; while the
//! database cannot be read, the last such reading stands and grows old at the sidecar.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::admission::Admissions;
use super::assertion_keys::Desk;
use super::audit::AuditIntake;
use super::freshness::Reading;
use super::hub::{FeedCounts, Hub, Stream};
use super::lines::{Outbox, WriteError};
use super::listener::KeysProvider;
use super::service::{Entry, ReadError, ServiceFeed, ServiceFeeds, Snapshot, What};
use super::shares::Shares;
use super::source::FeedStore;
use crate::domain::GrantId;
use crate::store::contract::{Share, ShareRecall, StoreError};
use crate::wire::feed::{FromControl, Subscribe};

/// Why the way out ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("the database could not be read")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It took changes more slowly than they came.
    #[error("the sidecar is too far behind")]
    Behind,
}

impl From<StoreError> for DeliveryError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Whether and from where a sidecar can go on.
#[derive(Debug)]
pub(super) enum Beginning {
    /// With what came after the revision it has.
    Resume {
        after: u64,
    },
    Snapshot(Arc<Snapshot>),
}

/// What the streams of a process share.
pub(super) struct Room<S> {
    pub(super) hub: Arc<Hub>,
    pub(super) store: Arc<S>,
    pub(super) shares: Shares<S>,
    pub(super) keys: KeysProvider,
    pub(super) desk: Desk,
    pub(super) feeds: ServiceFeeds,
    pub(super) admissions: Admissions,
    pub(super) readings: watch::Receiver<Option<Reading>>,
    pub(super) audit: AuditIntake,
}

/// How a stream begins.
#[derive(Debug)]
pub(super) struct Opening {
    feed: Arc<ServiceFeed>,
    beginning: Beginning,
    /// Everything up to it is sent with the beginning.
    reading: Reading,
}

/// Finds out how the stream is to begin.
pub(super) async fn opening<S: FeedStore>(room: &Arc<Room<S>>, subscribe: &Subscribe) -> Result<Opening, ReadError> {
    let feed = ServiceFeeds::get(room, &subscribe.service).await?;
    let beginning = match resumable(room, &feed, subscribe).await? {
        Some(after) => Beginning::Resume { after },
        None => Beginning::Snapshot(feed.snapshot(room).await?),
    };
    let reading = feed.reading().ok_or(ReadError::Late)?;
    Ok(Opening { feed, beginning, reading })
}

/// The revision that the sidecar can go on from.
async fn resumable<S: FeedStore>(
    room: &Room<S>,
    feed: &ServiceFeed,
    subscribe: &Subscribe,
) -> Result<Option<u64>, ReadError> {
    let (Some(epoch), Some(last)) = (&subscribe.epoch, subscribe.last_revision) else { return Ok(None) };
    if epoch != room.store.epoch() {
        return Ok(None);
    }
    if feed.reaches_back_to(last) {
        return Ok(Some(last));
    }
    // Another replica may have told it of a revision that has not been read here yet.
    let newest = timeout(room.hub.limits().read_wait_max, room.store.newest_revision()).await;
    let newest = newest.map_err(|_| ReadError::Late)??;
    if last > newest {
        FeedCounts::add(&room.hub.counts().behind, 1);
        tracing::error!(sidecar = %subscribe.instance, revision = last, "the database is an older copy: restore it properly");
        return Err(ReadError::Behind { seen: last, newest });
    }
    Ok(feed.after(last).map(|_| last))
}

pub(super) struct Delivery<S> {
    room: Arc<Room<S>>,
    stream: Arc<Stream>,
    feed: Arc<ServiceFeed>,
    out: Outbox,
    /// Every change up to here was queued.
    cursor: u64,
    /// The newest reading all of which was queued.
    synced: Reading,
    keys_sent: Arc<Vec<String>>,
    /// Questions that name a revision which was not queued yet.
    recalls: Vec<ShareRecall>,
}

impl<S: FeedStore> Delivery<S> {
    pub(super) fn new(room: Arc<Room<S>>, stream: Arc<Stream>, out: Outbox, opening: &Opening) -> Self {
        let cursor = match &opening.beginning {
            Beginning::Resume { after } => *after,
            Beginning::Snapshot(snapshot) => snapshot.revision,
        };
        let (feed, synced) = (Arc::clone(&opening.feed), opening.reading);
        Self { room, stream, feed, out, cursor, synced, keys_sent: Arc::default(), recalls: Vec::new() }
    }

    /// The highest revision that the sidecar can have.
    pub(super) fn sent(&self) -> u64 {
        self.cursor
    }

    pub(super) fn out(&self) -> &Outbox {
        &self.out
    }

    /// Wakes when there is something to catch up with.
    pub(super) fn wakes(&self) -> watch::Receiver<u64> {
        self.feed.subscribe()
    }

    /// From `welcome` to `snapshot_end`.
    pub(super) async fn open(&mut self, beginning: Beginning) -> Result<(), DeliveryError> {
        let resumed = matches!(beginning, Beginning::Resume { .. });
        self.push(&FromControl::Welcome { epoch: self.room.store.epoch().to_owned(), resumed }).await?;
        self.send_keys_if_new(true).await?;
        let hub = Arc::clone(&self.room.hub);
        match beginning {
            Beginning::Resume { after } => {
                FeedCounts::add(&hub.counts().resumptions, 1);
                hub.resumed(&self.stream, after);
            }
            Beginning::Snapshot(snapshot) => {
                FeedCounts::add(&hub.counts().snapshots, 1);
                FeedCounts::add(&hub.counts().revisions_sent, snapshot.lines);
                hub.begun_anew(&self.stream);
                for chunk in &snapshot.chunks {
                    self.out.push_chunk(chunk.clone()).await?;
                }
            }
        }
        self.changes().await?;
        self.shares().await?;
        self.push(&FromControl::SnapshotEnd { revision: self.cursor }).await?;
        Ok(self.out.flush().await?)
    }

    /// Everything this lineage holds: first shares, and what was raised or not given back while no stream was there.
    async fn shares(&mut self) -> Result<(), DeliveryError> {
        let limited = self.feed.limited();
        if limited.is_empty() {
            return Ok(());
        }
        let mut held = self.read_shares().await?;
        let missing = |(grant, _): &&(GrantId, u32)| held.iter().all(|share| share.grant != *grant);
        let missing: Vec<_> = limited.iter().filter(missing).collect();
        if !missing.is_empty() {
            for (grant, max_uses) in missing {
                self.room.shares.ensure_for(&self.stream.holder, grant, *max_uses).await?;
            }
            held = self.read_shares().await?;
        }
        for share in held {
            let revision = self.cursor;
            self.push(&FromControl::Share { revision, grant: share.grant, allotted: share.allotted }).await?;
        }
        Ok(())
    }

    async fn read_shares(&self) -> Result<Vec<Share>, ReadError> {
        let read = self.room.store.shares_of_lineage(&self.stream.holder);
        match timeout(self.room.hub.limits().read_wait_max, read).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(ReadError::Late),
        }
    }

    /// Brings the stream up to what is held, and keys to what they are now. What could be read is sent even after an
    /// error.
    pub(super) async fn catch_up(&mut self) -> Result<(), DeliveryError> {
        self.send_keys_if_new(false).await?;
        let caught_up = self.changes().await;
        self.ask_back().await?;
        self.out.flush().await?;
        caught_up?;
        let newest = *self.room.readings.borrow();
        if let Some(reading) = newest.filter(|reading| reading.revision <= self.cursor)
            && reading.began.boot >= self.synced.began.boot
        {
            self.synced = reading;
        }
        Ok(())
    }

    /// Queues every change that is held after the cursor.
    async fn changes(&mut self) -> Result<(), DeliveryError> {
        let missing = self.feed.after(self.cursor).ok_or(DeliveryError::Behind)?;
        for entry in missing.entries {
            self.change(&entry).await?;
            self.cursor = entry.revision;
        }
        self.cursor = missing.end;
        Ok(())
    }

    async fn change(&mut self, entry: &Entry) -> Result<(), DeliveryError> {
        match &entry.what {
            What::Line(line) | What::Freeze(line) => {
                FeedCounts::add(&self.room.hub.counts().revisions_sent, 1);
                self.out.push_line(line).await?;
            }
            What::Keys => {
                self.cursor = entry.revision;
                self.send_keys_if_new(true).await?;
            }
            What::Share { lineage, grant } if *lineage == self.stream.holder.lineage => {
                self.share(entry.revision, grant).await?;
            }
            What::Share { .. } => {}
        }
        Ok(())
    }

    /// What the lineage holds now. An earlier share would be too much.
    async fn share(&mut self, revision: u64, grant: &GrantId) -> Result<(), DeliveryError> {
        let held = self.read_shares().await?;
        let Some(share) = held.into_iter().find(|share| share.grant == *grant) else { return Ok(()) };
        Ok(self.push(&FromControl::Share { revision, grant: share.grant, allotted: share.allotted }).await?)
    }

    /// Keys are few and replace each other, so they are said at every beginning and whenever they differ.
    async fn send_keys_if_new(&mut self, always: bool) -> Result<(), WriteError> {
        let keys = (self.room.keys)();
        if always || keys != self.keys_sent {
            self.push(&FromControl::Keys { revision: self.cursor, keys: keys.as_ref().clone() }).await?;
            self.keys_sent = keys;
        }
        Ok(())
    }

    /// Answers ping `n`. The time is read here, after the ping arrived.
    pub(super) async fn heartbeat(&mut self, n: u64) -> Result<(), WriteError> {
        let now = self.room.hub.clock().now();
        let (as_of, revision) = (self.synced.as_of(now), self.synced.revision);
        self.push(&FromControl::Heartbeat { n, server_time: now.wall, as_of, revision }).await?;
        self.room.hub.heartbeat(&self.stream, self.synced);
        FeedCounts::add(&self.room.hub.counts().heartbeats, 1);
        self.out.flush().await
    }

    /// Takes a question; it is asked as soon as everything is queued that was allotted before.
    pub(super) fn recall(&mut self, recall: ShareRecall) {
        self.recalls.push(recall);
    }

    /// Asks for uses back. INVARIANT: all that was allotted before is queued first (see `shares`).
    async fn ask_back(&mut self) -> Result<(), WriteError> {
        let cursor = self.cursor;
        for recall in self.recalls.extract_if(.., |recall| recall.revision <= cursor).collect::<Vec<_>>() {
            self.push(&FromControl::ShareRecall { grant: recall.grant, keep: recall.keep }).await?;
        }
        Ok(())
    }

    pub(super) async fn restate(&mut self, grant: GrantId, allotted: u32) -> Result<(), WriteError> {
        self.push(&FromControl::Share { revision: self.cursor, grant, allotted }).await?;
        self.out.flush().await
    }

    /// An answer that has no place in the order of revisions.
    pub(super) async fn answer(&mut self, line: &FromControl) -> Result<(), WriteError> {
        self.push(line).await?;
        self.out.flush().await
    }

    /// The last line: what went wrong.
    pub(super) async fn resync(&mut self, why: String) -> Result<(), WriteError> {
        self.push(&FromControl::Resync { why }).await?;
        self.out.flush().await
    }

    async fn push(&mut self, line: &FromControl) -> Result<(), WriteError> {
        if line.revision().is_some() {
            FeedCounts::add(&self.room.hub.counts().revisions_sent, 1);
        }
        self.out.push(line).await
    }
}

impl Opening {
    /// What the stream begins with.
    pub(super) fn into_beginning(self) -> Beginning {
        self.beginning
    }
}
