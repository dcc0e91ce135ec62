//! What goes down one stream: the beginning, then each change once and in order, then heartbeats.
//!
//! INVARIANT: a heartbeat names a reading only after every line up to that reading's revision was queued; while the
//! database cannot be read, the last such reading stands and grows old at the sidecar.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::assertion_keys::Desk;
use super::freshness::Reading;
use super::hub::{FeedCounts, Hub, Stream};
use super::lines::{Outbox, WriteError};
use super::listener::KeysProvider;
use super::shares::Shares;
use super::source::FeedStore;
use crate::domain::GrantId;
use crate::store::contract::{ChangeBody, FeedChange, FeedSnapshot, StoreError};
use crate::wire::feed::{FromControl, Subscribe};

/// Changes read at once.
const PAGE: u32 = 256;

/// Why the way out ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("the database could not be read")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Whether and from where a sidecar can go on.
#[derive(Debug)]
pub(super) enum Opening {
    /// With what came after the revision it has.
    Resume {
        after: u64,
        reading: Reading,
    },
    Snapshot {
        snapshot: FeedSnapshot,
        reading: Reading,
    },
}

/// What the streams of a process share.
pub(super) struct Room<S> {
    pub(super) hub: Arc<Hub>,
    pub(super) store: Arc<S>,
    pub(super) shares: Shares<S>,
    pub(super) keys: KeysProvider,
    pub(super) desk: Desk,
}

/// Reads how the stream is to begin.
pub(super) async fn opening<S: FeedStore>(room: &Room<S>, subscribe: &Subscribe) -> Result<Opening, StoreError> {
    let began = room.hub.clock().now();
    let newest = room.store.newest_revision().await?;
    if let (Some(epoch), Some(last)) = (&subscribe.epoch, subscribe.last_revision)
        && epoch == room.store.epoch()
        && last <= newest
        && last.saturating_add(1) >= room.store.oldest_change().await?
    {
        return Ok(Opening::Resume { after: last, reading: Reading { revision: newest, began } });
    }
    let snapshot = room.store.snapshot(&subscribe.service).await?;
    let reading = Reading { revision: snapshot.revision, began };
    Ok(Opening::Snapshot { snapshot, reading })
}

pub(super) struct Delivery<S> {
    room: Arc<Room<S>>,
    stream: Arc<Stream>,
    out: Outbox,
    /// Every change up to here was queued.
    cursor: u64,
    /// The newest reading all of which was queued.
    synced: Reading,
    keys_sent: Arc<Vec<String>>,
}

impl<S: FeedStore> Delivery<S> {
    pub(super) fn new(room: Arc<Room<S>>, stream: Arc<Stream>, out: Outbox, opening: &Opening) -> Self {
        let (cursor, reading) = match opening {
            Opening::Resume { after, reading } => (*after, *reading),
            Opening::Snapshot { snapshot, reading } => (snapshot.revision, *reading),
        };
        Self { room, stream, out, cursor, synced: reading, keys_sent: Arc::default() }
    }

    /// The highest revision that the sidecar can have.
    pub(super) fn sent(&self) -> u64 {
        self.cursor
    }

    pub(super) fn out(&self) -> &Outbox {
        &self.out
    }

    /// From `welcome` to `snapshot_end`.
    pub(super) async fn open(&mut self, opening: Opening) -> Result<(), DeliveryError> {
        let resumed = matches!(opening, Opening::Resume { .. });
        self.push(&FromControl::Welcome { epoch: self.room.store.epoch().to_owned(), resumed }).await?;
        self.send_keys_if_new(true).await?;
        let hub = Arc::clone(&self.room.hub);
        match opening {
            Opening::Resume { after, .. } => {
                FeedCounts::add(&hub.counts().resumptions, 1);
                hub.resumed(&self.stream, after);
                self.changes().await?;
                self.cursor = self.cursor.max(self.synced.revision);
            }
            Opening::Snapshot { snapshot, .. } => {
                FeedCounts::add(&hub.counts().snapshots, 1);
                hub.begun_anew(&self.stream);
                self.snapshot(snapshot).await?;
            }
        }
        self.shares().await?;
        self.push(&FromControl::SnapshotEnd { revision: self.cursor }).await?;
        Ok(self.out.flush().await?)
    }

    async fn snapshot(&mut self, snapshot: FeedSnapshot) -> Result<(), DeliveryError> {
        self.push(&FromControl::Freeze { revision: snapshot.revision, frozen: snapshot.frozen }).await?;
        for grant in snapshot.tokens {
            if let Some(max_uses) = max_uses(grant.token.expose()) {
                self.room.shares.ensure(&self.stream, &grant.grant, max_uses).await?;
            }
            self.push(&FromControl::Put { revision: grant.revision, token: grant.token.into_exposed() }).await?;
        }
        for end in snapshot.ended_recently {
            self.push(&FromControl::Put { revision: end.revision, token: end.token.into_exposed() }).await?;
            self.push(&FromControl::Tombstone { revision: end.revision, grant: end.grant, cause: end.cause }).await?;
        }
        Ok(())
    }

    /// Everything this lineage holds: a share that was raised, or not given back, while no stream was there.
    async fn shares(&mut self) -> Result<(), DeliveryError> {
        for share in self.room.store.shares_of_lineage(&self.stream.holder).await? {
            let revision = self.cursor;
            self.push(&FromControl::Share { revision, grant: share.grant, allotted: share.allotted }).await?;
        }
        Ok(())
    }

    /// Brings the stream up to `reading`, and keys to what they are now. What could be read is sent even after an error.
    pub(super) async fn catch_up(&mut self, reading: Reading) -> Result<(), DeliveryError> {
        self.send_keys_if_new(false).await?;
        if reading.revision > self.cursor {
            self.pump().await?;
            self.cursor = self.cursor.max(reading.revision);
        }
        if reading.began.boot >= self.synced.began.boot && reading.revision >= self.synced.revision {
            self.synced = reading;
        }
        Ok(self.out.flush().await?)
    }

    async fn pump(&mut self) -> Result<(), DeliveryError> {
        let read = self.changes().await;
        self.out.flush().await?;
        read
    }

    /// Queues every committed change after the cursor.
    async fn changes(&mut self) -> Result<(), DeliveryError> {
        loop {
            let page = self.room.store.changes_after(&self.stream.holder.service, self.cursor, PAGE).await?;
            let last_page = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            let mut allotted = false;
            for change in page {
                allotted |= self.change(change).await?;
            }
            // A grant and its first share travel together, so that whoever knows the one can use the other.
            if last_page && !allotted {
                return Ok(());
            }
        }
    }

    /// Queues one change; true when it made others.
    async fn change(&mut self, change: FeedChange) -> Result<bool, DeliveryError> {
        let revision = change.revision;
        let mut allotted = false;
        match change.body {
            ChangeBody::Put { grant, token } => {
                if let Some(max_uses) = max_uses(token.expose()) {
                    allotted = self.room.shares.ensure(&self.stream, &grant, max_uses).await?;
                }
                self.push(&FromControl::Put { revision, token: token.into_exposed() }).await?;
            }
            ChangeBody::Tombstone { grant, cause } => {
                self.room.shares.forget(&grant).await;
                self.push(&FromControl::Tombstone { revision, grant, cause }).await?;
            }
            ChangeBody::Freeze { frozen } => self.push(&FromControl::Freeze { revision, frozen }).await?,
            ChangeBody::Keys => {
                self.cursor = revision;
                self.send_keys_if_new(true).await?;
            }
            ChangeBody::Share { lineage, grant, allotted } if lineage == self.stream.holder.lineage => {
                self.push(&FromControl::Share { revision, grant, allotted }).await?;
            }
            ChangeBody::Share { .. } => {}
        }
        self.cursor = revision;
        Ok(allotted)
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

    /// Asks for uses back. INVARIANT: all that was allotted before is queued first (see `shares`).
    pub(super) async fn recall(&mut self, grant: GrantId, keep: u32) -> Result<(), DeliveryError> {
        self.pump().await?;
        self.push(&FromControl::ShareRecall { grant, keep }).await?;
        Ok(self.out.flush().await?)
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

/// `max_uses` of a grant token. It is read unverified: the token is our own and comes from our store.
fn max_uses(token: &str) -> Option<u32> {
    #[derive(Deserialize)]
    struct Claims {
        bg: Limits,
    }
    #[derive(Deserialize)]
    struct Limits {
        max_uses: Option<u32>,
    }
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok()?.bg.max_uses
}
