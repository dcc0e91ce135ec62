//! Where the uses of a grant with `max_uses` lie: each lineage (a sidecar's audit folder) holds a share.
//!
//! The store keeps the book and caps every allotment. What is kept here is who may be asked to give back and whose
//! answer is believed:
//!
//! - INVARIANT: what all sidecars believe they may spend never sums above `max_uses`. A use moves only after its holder
//!   said that it no longer claims it, on the very stream on which it was asked.
//! - INVARIANT: while a lineage is asked to give back, nothing is allotted to it, and everything allotted to it before
//!   was queued on that stream before the question (see `Delivery::recall`). So the answer speaks of what stands.
//! - A question dies with its stream: an answer that comes late is ignored, and the uses stay where they were. The
//!   next stream of that lineage is told what it holds.
//! - A lineage that never comes back forfeits its share: nobody else could know what it had spent.
//!
//! All of it runs in turns, one at a time over the process, and a stream begins in a turn of its own. (Several replicas
//! on one database will have to take the turn there.)

mod plan;
#[cfg(test)]
mod properties;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::hub::{AdmitError, Command, FeedCounts, Hub, Stream, StreamId};
use super::source::FeedStore;
use crate::domain::{BootTime, GrantId, ServiceName};
use crate::store::contract::{Share, ShareHolder, StoreError};
use crate::wire::feed::Subscribe;

/// While a sidecar has this long to answer a recall, the same asker's repeated wish recalls nothing more.
const RECALL_PATIENCE: Duration = Duration::from_secs(2);

/// One question "give back what you do not need", waiting for its answer.
#[derive(Debug)]
struct Recall {
    grant: GrantId,
    service: ServiceName,
    from: StreamId,
    lineage: String,
    asker: (StreamId, ShareHolder),
    /// What the asker gets, if the donor gives it.
    wanted: u32,
    asked: BootTime,
}

#[derive(Debug, Default)]
struct State {
    recalls: VecDeque<Recall>,
    /// Limits of the grants that are being shared out.
    limits: BTreeMap<GrantId, u32>,
}

/// Shares out uses among the streams of one hub.
#[derive(Debug)]
pub(super) struct Shares<S> {
    store: Arc<S>,
    hub: Arc<Hub>,
    turn: Mutex<State>,
}

impl<S: FeedStore> Shares<S> {
    pub(super) fn new(store: Arc<S>, hub: Arc<Hub>) -> Self {
        Self { store, hub, turn: Mutex::default() }
    }

    /// Begins a stream. From here on no answer of an earlier stream of this lineage is believed.
    pub(super) async fn admit(&self, subscribe: &Subscribe) -> Result<(Stream, mpsc::Receiver<Command>), AdmitError> {
        let _turn = self.turn.lock().await;
        self.hub.admit(subscribe)
    }

    /// Gives those connected sidecars of the stream's service that hold no share yet an even part of what is free.
    /// Answers whether anything was allotted.
    pub(super) async fn ensure(&self, stream: &Stream, grant: &GrantId, max_uses: u32) -> Result<bool, StoreError> {
        let mut turn = self.turn.lock().await;
        turn.limits.insert(grant.clone(), max_uses);
        let shares = self.store.shares_of(grant).await?;
        let holds = |holder: &ShareHolder| shares.iter().any(|share| share.lineage == holder.lineage);
        let newcomers: Vec<_> =
            self.hub.live_of(&stream.holder.service).into_iter().filter(|(_, holder)| !holds(holder)).collect();
        let parts = plan::even_split(plan::free(max_uses, &shares), newcomers.len());
        let mut any = false;
        for ((_, holder), part) in newcomers.iter().zip(parts).filter(|(_, part)| *part > 0) {
            any |= self.store.allot(grant, holder, part).await?.is_some();
        }
        Ok(any)
    }

    /// The grant has ended: nothing of it is shared out any more.
    pub(super) async fn forget(&self, grant: &GrantId) {
        let mut turn = self.turn.lock().await;
        turn.limits.remove(grant);
        turn.recalls.retain(|recall| recall.grant != *grant);
    }

    /// A sidecar has no use left: it gets of what is free, or the richest other sidecar is asked to give back.
    pub(super) async fn wanted(&self, stream: &Stream, grant: &GrantId) -> Result<(), StoreError> {
        let mut turn = self.turn.lock().await;
        let State { recalls, limits } = &mut *turn;
        recalls.retain(|recall| self.hub.is_live_id(&recall.service, recall.from));
        let asked_itself = recalls.iter().any(|recall| recall.grant == *grant && recall.from == stream.id);
        if asked_itself || !self.hub.is_live(stream) {
            return Ok(());
        }
        let shares = self.store.shares_of(grant).await?;
        self.restate(stream, grant, &shares);
        let connected = self.hub.live_of(&stream.holder.service);
        let free = limits.get(grant).map_or(1, |max_uses| plan::free(*max_uses, &shares));
        if self.store.allot(grant, &stream.holder, plan::helping(free, connected.len())).await?.is_some() {
            return Ok(());
        }
        self.recall(recalls, stream, grant, &shares, &connected);
        Ok(())
    }

    /// A sidecar that asks though it has something left may have missed what it was given.
    fn restate(&self, stream: &Stream, grant: &GrantId, shares: &[Share]) {
        let own = shares.iter().find(|share| share.lineage == stream.holder.lineage);
        if let Some(own) = own.filter(|own| own.allotted > own.spent) {
            let command = Command::Restate { grant: grant.clone(), allotted: own.allotted };
            self.hub.command(&stream.holder.service, stream.id, command);
        }
    }

    fn recall(
        &self,
        recalls: &mut VecDeque<Recall>,
        stream: &Stream,
        grant: &GrantId,
        shares: &[Share],
        connected: &[(StreamId, ShareHolder)],
    ) {
        let now = self.hub.clock().boot();
        let of_grant = || recalls.iter().filter(|recall| recall.grant == *grant);
        if of_grant().any(|recall| recall.asker.0 == stream.id && now.since(recall.asked) < RECALL_PATIENCE) {
            return;
        }
        let stream_of = |share: &Share| connected.iter().find(|(_, holder)| holder.lineage == share.lineage);
        let may_be_asked = |share: &&Share| {
            let asked_already = of_grant().any(|recall| recall.lineage == share.lineage);
            share.lineage != stream.holder.lineage && !asked_already && stream_of(share).is_some()
        };
        let Some((share, keep)) = plan::donor(shares.iter().filter(may_be_asked)) else { return };
        let Some((from, _)) = stream_of(share) else { return };
        let command = Command::Recall { grant: grant.clone(), keep };
        if self.hub.command(&stream.holder.service, *from, command) {
            FeedCounts::add(&self.hub.counts().share_recalls, 1);
            recalls.push_back(Recall {
                grant: grant.clone(),
                service: stream.holder.service.clone(),
                from: *from,
                lineage: share.lineage.clone(),
                asker: (stream.id, stream.holder.clone()),
                wanted: share.allotted.saturating_sub(keep),
                asked: now,
            });
        }
    }

    /// The answer to a recall. Unasked, or from a stream that is no longer the sidecar's, it changes nothing.
    pub(super) async fn returned(&self, stream: &Stream, grant: &GrantId, allotted: u32) -> Result<(), StoreError> {
        let mut turn = self.turn.lock().await;
        let asked = turn.recalls.iter().position(|recall| recall.grant == *grant && recall.from == stream.id);
        let Some(recall) = asked.and_then(|at| turn.recalls.remove(at)) else { return Ok(()) };
        if !self.hub.is_live(stream) {
            return Ok(());
        }
        self.store.hand_back(grant, &stream.holder, allotted).await?;
        let (asker, holder) = &recall.asker;
        let asked_itself = turn.recalls.iter().any(|other| other.grant == *grant && other.from == *asker);
        if !asked_itself && self.hub.is_live_id(&holder.service, *asker) {
            self.store.allot(grant, holder, recall.wanted).await?;
        }
        Ok(())
    }

    /// The stream could not pass the question on.
    pub(super) async fn not_asked(&self, stream: &Stream, grant: &GrantId) {
        self.turn.lock().await.recalls.retain(|recall| recall.grant != *grant || recall.from != stream.id);
    }
}
