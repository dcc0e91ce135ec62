//! Where the uses of a grant with `max_uses` lie: each lineage (a sidecar's audit folder) holds a share.
//!
//! The store keeps the book and caps every allotment. What is decided here is who may be asked to give back and whose
//! answer is believed:
//!
//! - INVARIANT: what all sidecars believe they may spend never sums above `max_uses`. A use moves only after its holder
//!   said that it no longer claims it, on the very stream on which it was asked.
//! - INVARIANT: while a lineage is asked to give back, nothing is allotted to it, and everything allotted to it before
//!   was queued on that stream before the question: a question names the revision up to which that is
//!   (`Delivery::recall`). So the answer speaks of what stands.
//! - A question dies with its stream: an answer that comes late is ignored, and the uses stay where they were. The
//!   next stream of that lineage, at whichever replica, is told what it holds.
//! - A lineage that never comes back forfeits its share: nobody else could know what it had spent.
//!
//! All of it runs in turns, one at a time over all replicas: each is one transaction that holds the writer's lock. A
//! stream begins in such a turn too, and from then on the number of every earlier stream of its lineage is outdated,
//! and moves nothing. Questions lie in the database; each replica passes on those for its own streams.

mod plan;
#[cfg(test)]
mod properties;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;

use super::hub::{Command, FeedCounts, Hub};
use super::source::{FeedStore, Turn};
use crate::domain::{BootTime, GrantId, ServiceName};
use crate::store::contract::{Share, ShareHolder, ShareRecall, StoreError};

/// While a sidecar has this long to answer a recall, the same asker's repeated wish recalls nothing more.
const RECALL_PATIENCE: Duration = Duration::from_secs(2);
/// For so long it is believed that nothing of a grant is free.
const ALL_TAKEN_FOR: Duration = Duration::from_secs(1);
/// Grants of which that is remembered.
const ALL_TAKEN_MAX: usize = 1_024;

/// Shares out uses among the sidecars of all replicas.
#[derive(Debug)]
pub(super) struct Shares<S> {
    store: Arc<S>,
    hub: Arc<Hub>,
    /// One of this replica's turns waits for the writer's lock at a time: revocations wait behind no more than that.
    queue: Mutex<()>,
    /// Questions that were handed to their streams here.
    passed_on: SyncMutex<BTreeSet<u64>>,
    /// Grants of which nothing was free, and when that was read.
    all_taken: SyncMutex<BTreeMap<GrantId, BootTime>>,
}

impl<S: FeedStore> Shares<S> {
    pub(super) fn new(store: Arc<S>, hub: Arc<Hub>) -> Self {
        let (queue, passed_on, all_taken) = Default::default();
        Self { store, hub, queue, passed_on, all_taken }
    }

    /// Gives those connected sidecars of the service that hold no share yet an even part of what is free.
    /// Answers whether anything was allotted.
    pub(super) async fn ensure(&self, service: &ServiceName, grant: &GrantId) -> Result<bool, StoreError> {
        let _queue = self.queue.lock().await;
        let mut turn = self.store.turn().await?;
        let Some(max_uses) = turn.limit(grant, service).await? else { return Ok(false) };
        let shares = turn.shares(grant).await?;
        let holds = |holder: &ShareHolder| shares.iter().any(|share| share.lineage == holder.lineage);
        let mut newcomers = turn.connected(service).await?;
        newcomers.retain(|holder| !holds(holder));
        let parts = plan::even_split(plan::free(max_uses, &shares), newcomers.len());
        let mut any = false;
        for (holder, part) in newcomers.iter().zip(parts).filter(|(_, part)| *part > 0) {
            any |= turn.allot(grant, holder, part).await?.is_some();
        }
        if any {
            turn.commit().await?;
        }
        Ok(any)
    }

    /// The same for a sidecar that has just come, where it holds no share of the grant. A look suffices where nothing is
    /// free: when thousands come back at once, only few of them take a turn.
    pub(super) async fn ensure_for(
        &self,
        holder: &ShareHolder,
        grant: &GrantId,
        max_uses: u32,
    ) -> Result<(), StoreError> {
        if self.is_all_taken(grant) {
            return Ok(());
        }
        let shares = self.store.shares_of(grant).await?;
        if plan::free(max_uses, &shares) == 0 {
            self.note_all_taken(grant);
            return Ok(());
        }
        if shares.iter().all(|share| share.lineage != holder.lineage) {
            self.ensure(&holder.service, grant).await?;
        }
        Ok(())
    }

    fn is_all_taken(&self, grant: &GrantId) -> bool {
        let now = self.hub.clock().boot();
        let all_taken = self.all_taken.lock().unwrap_or_else(PoisonError::into_inner);
        all_taken.get(grant).is_some_and(|read| now.since(*read) < ALL_TAKEN_FOR)
    }

    fn note_all_taken(&self, grant: &GrantId) {
        let now = self.hub.clock().boot();
        let mut all_taken = self.all_taken.lock().unwrap_or_else(PoisonError::into_inner);
        all_taken.retain(|_, read| now.since(*read) < ALL_TAKEN_FOR);
        if all_taken.len() < ALL_TAKEN_MAX {
            all_taken.insert(grant.clone(), now);
        }
    }

    /// A sidecar has no use left: it gets of what is free, or the richest other sidecar is asked to give back. Answers
    /// what is allotted to it, where it seems not to know.
    ///
    /// INVARIANT: what is answered goes down the stream before any question that is passed to it after this call began.
    pub(super) async fn wanted(&self, holder: &ShareHolder, grant: &GrantId) -> Result<Option<u32>, StoreError> {
        let _queue = self.queue.lock().await;
        let mut turn = self.store.turn().await?;
        if !turn.is_current(holder).await? {
            return Ok(None);
        }
        let Some(max_uses) = turn.limit(grant, &holder.service).await? else { return Ok(None) };
        let recalls = turn.recalls(grant).await?;
        if recalls.iter().any(|recall| recall.lineage == holder.lineage) {
            return Ok(None);
        }
        let shares = turn.shares(grant).await?;
        let own = shares.iter().find(|share| share.lineage == holder.lineage);
        let unknown = own.filter(|own| own.allotted > own.spent).map(|own| own.allotted);
        let connected = turn.connected(&holder.service).await?;
        let helping = plan::helping(plan::free(max_uses, &shares), connected.len());
        if turn.allot(grant, holder, helping).await?.is_some() {
            turn.commit().await?;
            return Ok(None);
        }
        if self.recall(&mut turn, holder, grant, Known { recalls, shares, connected }).await? {
            turn.commit().await?;
        }
        Ok(unknown)
    }

    /// Answers whether somebody is asked.
    async fn recall(
        &self,
        turn: &mut S::Turn<'_>,
        asker: &ShareHolder,
        grant: &GrantId,
        known: Known,
    ) -> Result<bool, StoreError> {
        let waits = |recall: &ShareRecall| {
            recall.asker.lineage == asker.lineage
                && recall.asker.generation == asker.generation
                && turn.at().since(recall.asked) < RECALL_PATIENCE
        };
        if known.recalls.iter().any(waits) {
            return Ok(false);
        }
        let Some((share, keep)) = plan::donor(known.donors(asker)) else { return Ok(false) };
        let Some(donor) = known.connected.iter().find(|holder| holder.lineage == share.lineage) else {
            return Ok(false);
        };
        turn.ask(grant, donor, keep, asker, share.allotted.saturating_sub(keep)).await?;
        FeedCounts::add(&self.hub.counts().share_recalls, 1);
        Ok(true)
    }

    /// The answer to a recall. Unasked, or from a stream that is no longer the sidecar's, it changes nothing.
    pub(super) async fn returned(
        &self,
        holder: &ShareHolder,
        grant: &GrantId,
        allotted: u32,
    ) -> Result<(), StoreError> {
        let _queue = self.queue.lock().await;
        let mut turn = self.store.turn().await?;
        let recalls = turn.recalls(grant).await?;
        let asked = |recall: &&ShareRecall| recall.lineage == holder.lineage && recall.generation == holder.generation;
        let Some(recall) = recalls.iter().find(asked) else { return Ok(()) };
        if !turn.is_current(holder).await? {
            return Ok(());
        }
        turn.close(recall).await?;
        turn.hand_back(grant, holder, allotted).await?;
        if turn.is_current(&recall.asker).await? {
            turn.allot(grant, &recall.asker, recall.wanted).await?;
        }
        turn.commit().await
    }

    /// Hands the questions that wait to their streams, those that hang here.
    pub(super) async fn pass_on(&self) -> Result<(), StoreError> {
        let recalls = self.store.recalls().await?;
        let mut passed_on = self.passed_on.lock().unwrap_or_else(PoisonError::into_inner);
        passed_on.retain(|number| recalls.iter().any(|recall| recall.number == *number));
        for recall in recalls {
            let number = recall.number;
            let Some(commands) = self.hub.commands_of(&recall.lineage, recall.generation) else { continue };
            // A stream that has too much to do is asked the next time.
            if !passed_on.contains(&number) && commands.try_send(Command::Recall(Box::new(recall))).is_ok() {
                passed_on.insert(number);
            }
        }
        Ok(())
    }
}

/// What a turn has read.
struct Known {
    recalls: Vec<ShareRecall>,
    shares: Vec<Share>,
    connected: Vec<ShareHolder>,
}

impl Known {
    /// Whom `asker`'s wish may be passed to: connected, and not asked already.
    fn donors(&self, asker: &ShareHolder) -> impl Iterator<Item = &Share> {
        let is_asked = |lineage: &str| self.recalls.iter().any(|recall| recall.lineage == lineage);
        let is_connected = |lineage: &str| self.connected.iter().any(|holder| holder.lineage == lineage);
        let own = asker.lineage.clone();
        self.shares
            .iter()
            .filter(move |share| share.lineage != own && !is_asked(&share.lineage) && is_connected(&share.lineage))
    }
}
