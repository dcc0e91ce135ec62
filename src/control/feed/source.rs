//! What the feed needs of the store, and no more. The seam at which tests put a database that fails.
//!
//! Durability and order are promised in [`crate::store::contract`].

use std::future::Future;

use tokio::sync::watch;

use crate::domain::{GrantId, ServiceName};
use crate::ledger::entry::Draft;
use crate::store::Store;
use crate::store::contract::{FeedChange, FeedSnapshot, Share, ShareHolder, SidecarSeen, SpentOutcome, StoreError};

type Answer<T> = Result<T, StoreError>;

/// The feed-facing side of the store.
pub trait FeedStore: Send + Sync + 'static {
    /// Made with the database; another epoch means another history.
    fn epoch(&self) -> &str;
    /// Wakes after each commit that made a revision. A hint only: what stands is read.
    fn subscribe(&self) -> watch::Receiver<u64>;
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
    /// Monotonic for each lineage.
    fn record_spent(
        &self,
        grant: &GrantId,
        holder: &ShareHolder,
        spent: u32,
    ) -> impl Future<Output = Answer<SpentOutcome>> + Send;
    /// The sum now allotted to the lineage; `None` when no use is free.
    fn allot(
        &self,
        grant: &GrantId,
        holder: &ShareHolder,
        wanted: u32,
    ) -> impl Future<Output = Answer<Option<u32>>> + Send;
    /// The sum that now stands.
    fn hand_back(
        &self,
        grant: &GrantId,
        holder: &ShareHolder,
        allotted: u32,
    ) -> impl Future<Output = Answer<Option<u32>>> + Send;
    fn shares_of(&self, grant: &GrantId) -> impl Future<Output = Answer<Vec<Share>>> + Send;
    fn shares_of_lineage(&self, holder: &ShareHolder) -> impl Future<Output = Answer<Vec<Share>>> + Send;
    /// Records an entry that changes no state; answers its index.
    fn record(&self, entry: Draft) -> impl Future<Output = Answer<u64>> + Send;
    fn record_sidecar(&self, seen: &SidecarSeen) -> impl Future<Output = Answer<()>> + Send;
    fn sidecars(&self) -> impl Future<Output = Answer<Vec<SidecarSeen>>> + Send;
}

impl FeedStore for Store {
    fn epoch(&self) -> &str {
        Self::epoch(self)
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        Self::subscribe(self)
    }

    async fn newest_revision(&self) -> Answer<u64> {
        Self::newest_revision(self).await
    }

    async fn oldest_change(&self) -> Answer<u64> {
        Self::oldest_change(self).await
    }

    async fn snapshot(&self, service: &ServiceName) -> Answer<FeedSnapshot> {
        Self::snapshot(self, service).await
    }

    async fn changes_after(&self, service: &ServiceName, after: u64, limit: u32) -> Answer<Vec<FeedChange>> {
        Self::changes_after(self, service, after, limit).await
    }

    async fn record_spent(&self, grant: &GrantId, holder: &ShareHolder, spent: u32) -> Answer<SpentOutcome> {
        Self::record_spent(self, grant, holder, spent).await
    }

    async fn allot(&self, grant: &GrantId, holder: &ShareHolder, wanted: u32) -> Answer<Option<u32>> {
        Self::allot(self, grant, holder, wanted).await
    }

    async fn hand_back(&self, grant: &GrantId, holder: &ShareHolder, allotted: u32) -> Answer<Option<u32>> {
        Self::hand_back(self, grant, holder, allotted).await
    }

    async fn shares_of(&self, grant: &GrantId) -> Answer<Vec<Share>> {
        Self::shares_of(self, grant).await
    }

    async fn shares_of_lineage(&self, holder: &ShareHolder) -> Answer<Vec<Share>> {
        Self::shares_of_lineage(self, holder).await
    }

    async fn record(&self, entry: Draft) -> Answer<u64> {
        Self::record(self, entry).await
    }

    async fn record_sidecar(&self, seen: &SidecarSeen) -> Answer<()> {
        Self::record_sidecar(self, seen).await
    }

    async fn sidecars(&self) -> Answer<Vec<SidecarSeen>> {
        Self::sidecars(self).await
    }
}
