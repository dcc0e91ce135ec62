//! What the feed needs of the store, and no more. The seam at which tests put a database that fails.
//!
//! Durability and order are promised in [`crate::store::contract`].

use std::collections::BTreeMap;
use std::future::Future;

use tokio::sync::watch;

use crate::domain::{GrantId, ServiceName, WallTime};
use crate::ledger::entry::Draft;
use crate::store::audit::{AuditBatch, Ingested};
use crate::store::contract::{
    Admission, FeedChange, FeedSnapshot, Hearsay, Share, ShareHolder, ShareRecall, SidecarSeen, SpentOutcome,
    StoreError, StreamClaim,
};
use crate::store::{ShareTurn, Store};

type Answer<T> = Result<T, StoreError>;

/// The feed-facing side of the store.
pub trait FeedStore: Send + Sync + 'static {
    type Turn<'a>: Turn
    where
        Self: 'a;

    /// Made with the database; another epoch means another history.
    fn epoch(&self) -> &str;
    /// The id of this opening of the database.
    fn replica(&self) -> &str;
    /// Whether other replicas may be at work on the same database.
    fn is_shared(&self) -> bool;
    /// Wakes after each commit that made a revision. A hint only: what stands is read.
    fn subscribe(&self) -> watch::Receiver<u64>;
    /// Wakes when another replica reported something, or any asked for shares. A hint only.
    fn subscribe_replicas(&self) -> watch::Receiver<u64>;
    /// Read from the database, never remembered.
    fn newest_revision(&self) -> impl Future<Output = Answer<u64>> + Send;
    fn oldest_change(&self) -> impl Future<Output = Answer<u64>> + Send;
    fn snapshot(&self, service: &ServiceName) -> impl Future<Output = Answer<FeedSnapshot>> + Send;
    /// In the order of their revisions: this service's and everyone's.
    fn changes_after(
        &self,
        service: &ServiceName,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<FeedChange>>> + Send;
    /// Begins streams of different instances and different lineages; answers in their order.
    fn admit(&self, claims: &[StreamClaim]) -> impl Future<Output = Answer<Vec<Admission>>> + Send;
    /// Monotonic for each lineage.
    fn record_spent(
        &self,
        grant: &GrantId,
        holder: &ShareHolder,
        spent: u32,
    ) -> impl Future<Output = Answer<SpentOutcome>> + Send;
    /// The turn, over all replicas, to move uses about.
    fn turn(&self) -> impl Future<Output = Answer<Self::Turn<'_>>> + Send;
    fn shares_of(&self, grant: &GrantId) -> impl Future<Output = Answer<Vec<Share>>> + Send;
    fn shares_of_lineage(&self, holder: &ShareHolder) -> impl Future<Output = Answer<Vec<Share>>> + Send;
    /// Every question about shares that waits for its answer.
    fn recalls(&self) -> impl Future<Output = Answer<Vec<ShareRecall>>> + Send;
    /// Records an entry that changes no state; answers its index.
    fn record(&self, entry: Draft) -> impl Future<Output = Answer<u64>> + Send;
    /// Takes in a batch of audit lines, whole or not at all.
    fn ingest_audit(&self, batch: &AuditBatch) -> impl Future<Output = Answer<Ingested>> + Send;
    /// Writes down what was heard of sidecars, as this replica's report of that number.
    fn report(&self, batch: u64, sidecars: &[SidecarSeen]) -> impl Future<Output = Answer<()>> + Send;
    /// What the other replicas reported after what was read.
    fn hearsay(&self, read: &BTreeMap<String, u64>) -> impl Future<Output = Answer<Hearsay>> + Send;
    fn sidecars(&self) -> impl Future<Output = Answer<Vec<SidecarSeen>>> + Send;
    /// Forgets sidecars and replicas of which nothing was heard for long.
    fn forget_silent(&self) -> impl Future<Output = Answer<()>> + Send;
}

/// What may be done in a turn. What it reads stands until its end; without [`Turn::commit`] nothing was done.
pub trait Turn: Send {
    /// The time that all of the turn carries.
    fn at(&self) -> WallTime;
    /// Whether the holder's stream is the newest of its sidecar and of its lineage.
    fn is_current(&mut self, holder: &ShareHolder) -> impl Future<Output = Answer<bool>> + Send;
    /// `max_uses` of a grant of that service; `None` where there is nothing to share out.
    fn limit(&mut self, grant: &GrantId, service: &ServiceName) -> impl Future<Output = Answer<Option<u32>>> + Send;
    fn shares(&mut self, grant: &GrantId) -> impl Future<Output = Answer<Vec<Share>>> + Send;
    /// The sidecars of a service that are connected, at whichever replica.
    fn connected(&mut self, service: &ServiceName) -> impl Future<Output = Answer<Vec<ShareHolder>>> + Send;
    /// The questions about a grant whose streams stand.
    fn recalls(&mut self, grant: &GrantId) -> impl Future<Output = Answer<Vec<ShareRecall>>> + Send;
    /// The sum now allotted to the lineage; `None` when no use is free, or it is asked to give back.
    fn allot(
        &mut self,
        grant: &GrantId,
        holder: &ShareHolder,
        wanted: u32,
    ) -> impl Future<Output = Answer<Option<u32>>> + Send;
    /// Asks `donor` to give back all above `keep`, of which `asker` is to get `wanted`.
    fn ask(
        &mut self,
        grant: &GrantId,
        donor: &ShareHolder,
        keep: u32,
        asker: &ShareHolder,
        wanted: u32,
    ) -> impl Future<Output = Answer<()>> + Send;
    /// The question has its answer, or needs none any more.
    fn close(&mut self, recall: &ShareRecall) -> impl Future<Output = Answer<()>> + Send;
    /// The sum that now stands.
    fn hand_back(
        &mut self,
        grant: &GrantId,
        holder: &ShareHolder,
        allotted: u32,
    ) -> impl Future<Output = Answer<u32>> + Send;
    /// Makes it stand.
    fn commit(self) -> impl Future<Output = Answer<()>> + Send;
}

/// Each is boxed: what a stream awaits now and then would otherwise be room that every stream holds for ever.
impl FeedStore for Store {
    type Turn<'a> = ShareTurn<'a>;

    fn epoch(&self) -> &str {
        Self::epoch(self)
    }

    fn replica(&self) -> &str {
        Self::replica(self)
    }

    fn is_shared(&self) -> bool {
        Self::is_shared(self)
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        Self::subscribe(self)
    }

    fn subscribe_replicas(&self) -> watch::Receiver<u64> {
        Self::subscribe_replicas(self)
    }

    async fn newest_revision(&self) -> Answer<u64> {
        Box::pin(Self::newest_revision(self)).await
    }

    async fn oldest_change(&self) -> Answer<u64> {
        Box::pin(Self::oldest_change(self)).await
    }

    async fn snapshot(&self, service: &ServiceName) -> Answer<FeedSnapshot> {
        Box::pin(Self::snapshot(self, service)).await
    }

    async fn changes_after(&self, service: &ServiceName, after: u64, limit: u32) -> Answer<Vec<FeedChange>> {
        Box::pin(Self::changes_after(self, service, after, limit)).await
    }

    async fn admit(&self, claims: &[StreamClaim]) -> Answer<Vec<Admission>> {
        Box::pin(Self::admit(self, claims)).await
    }

    async fn record_spent(&self, grant: &GrantId, holder: &ShareHolder, spent: u32) -> Answer<SpentOutcome> {
        Box::pin(Self::record_spent(self, grant, holder, spent)).await
    }

    async fn turn(&self) -> Answer<ShareTurn<'_>> {
        Box::pin(self.share_turn()).await
    }

    async fn shares_of(&self, grant: &GrantId) -> Answer<Vec<Share>> {
        Box::pin(Self::shares_of(self, grant)).await
    }

    async fn shares_of_lineage(&self, holder: &ShareHolder) -> Answer<Vec<Share>> {
        Box::pin(Self::shares_of_lineage(self, holder)).await
    }

    async fn recalls(&self) -> Answer<Vec<ShareRecall>> {
        Box::pin(Self::recalls(self)).await
    }

    async fn record(&self, entry: Draft) -> Answer<u64> {
        Box::pin(Self::record(self, entry)).await
    }

    async fn ingest_audit(&self, batch: &AuditBatch) -> Answer<Ingested> {
        Box::pin(Self::ingest_audit(self, batch)).await
    }

    async fn report(&self, batch: u64, sidecars: &[SidecarSeen]) -> Answer<()> {
        Box::pin(Self::report(self, batch, sidecars)).await
    }

    async fn hearsay(&self, read: &BTreeMap<String, u64>) -> Answer<Hearsay> {
        Box::pin(Self::hearsay(self, read)).await
    }

    async fn sidecars(&self) -> Answer<Vec<SidecarSeen>> {
        Box::pin(Self::sidecars(self)).await
    }

    async fn forget_silent(&self) -> Answer<()> {
        Box::pin(Self::forget_silent(self)).await
    }
}

impl Turn for ShareTurn<'_> {
    fn at(&self) -> WallTime {
        Self::at(self)
    }

    async fn is_current(&mut self, holder: &ShareHolder) -> Answer<bool> {
        Box::pin(Self::is_current(self, holder)).await
    }

    async fn limit(&mut self, grant: &GrantId, service: &ServiceName) -> Answer<Option<u32>> {
        Box::pin(Self::limit(self, grant, service)).await
    }

    async fn shares(&mut self, grant: &GrantId) -> Answer<Vec<Share>> {
        Box::pin(Self::shares(self, grant)).await
    }

    async fn connected(&mut self, service: &ServiceName) -> Answer<Vec<ShareHolder>> {
        Box::pin(Self::connected(self, service)).await
    }

    async fn recalls(&mut self, grant: &GrantId) -> Answer<Vec<ShareRecall>> {
        Box::pin(Self::recalls(self, grant)).await
    }

    async fn allot(&mut self, grant: &GrantId, holder: &ShareHolder, wanted: u32) -> Answer<Option<u32>> {
        Box::pin(Self::allot(self, grant, holder, wanted)).await
    }

    async fn ask(
        &mut self,
        grant: &GrantId,
        donor: &ShareHolder,
        keep: u32,
        asker: &ShareHolder,
        wanted: u32,
    ) -> Answer<()> {
        Box::pin(Self::ask(self, grant, donor, keep, asker, wanted)).await
    }

    async fn close(&mut self, recall: &ShareRecall) -> Answer<()> {
        Box::pin(Self::close(self, recall)).await
    }

    async fn hand_back(&mut self, grant: &GrantId, holder: &ShareHolder, allotted: u32) -> Answer<u32> {
        Box::pin(Self::hand_back(self, grant, holder, allotted)).await
    }

    async fn commit(self) -> Answer<()> {
        Box::pin(Self::commit(self)).await
    }
}
