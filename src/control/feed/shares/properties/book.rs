//! The store's book of shares in memory, for one grant and several replicas: quick enough for thousands of runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::clock::ManualClock;
use crate::control::feed::source::{FeedStore, Turn};
use crate::domain::{GrantId, ServiceName, WallTime};
use crate::ledger::entry::Draft;
use crate::secret::Secret;
use crate::store::audit::{AuditBatch, Ingested};
use crate::store::contract::*;
use crate::store::{Admission, Store};

type Answer<T> = Result<T, StoreError>;

/// One replica's way to the book.
pub(super) struct Book {
    shelf: Arc<Shelf>,
    replica: String,
    newest: watch::Sender<u64>,
}

/// What all replicas share.
pub(super) struct Shelf {
    grant: GrantId,
    max_uses: u32,
    clock: Arc<ManualClock>,
    state: Arc<Mutex<State>>,
}

#[derive(Default, Clone)]
struct State {
    /// Revision of the put.
    issued: Option<u64>,
    shares: Vec<Share>,
    /// The lineage whose share changed; `None` is the put.
    changes: Vec<Option<String>>,
    /// With the number of the report that each came with.
    sidecars: Vec<(SidecarSeen, u64)>,
    replicas: BTreeMap<String, ReplicaSeen>,
    recalls: Vec<ShareRecall>,
    streams: u64,
    asked: u64,
}

impl State {
    fn of(&mut self, grant: &GrantId, holder: &ShareHolder) -> &mut Share {
        let at = self.shares.iter().position(|share| share.lineage == holder.lineage).unwrap_or_else(|| {
            let (lineage, instance) = (holder.lineage.clone(), holder.instance.clone());
            self.shares.push(Share { grant: grant.clone(), lineage, instance, allotted: 0, spent: 0 });
            self.shares.len() - 1
        });
        &mut self.shares[at]
    }

    fn booked(&self) -> u32 {
        self.shares.iter().map(|share| share.allotted.max(share.spent)).sum()
    }

    fn is_current(&self, holder: &ShareHolder) -> bool {
        let is_it = |row: &SidecarSeen| {
            row.instance == holder.instance && row.lineage == holder.lineage && row.generation == holder.generation
        };
        self.sidecars.iter().any(|(row, _)| is_it(row))
    }

    fn connected(&self, own: &str, now: WallTime) -> Vec<ShareHolder> {
        let alive = |id: &str| self.replicas.get(id).is_some_and(|it| now.since(it.alive) < Store::REPLICA_SILENT);
        let connected = self.sidecars.iter().map(|(row, _)| row).filter(|row| row.connected);
        connected
            .filter(|row| row.replica == own || alive(&row.replica))
            .map(|row| ShareHolder {
                service: row.service.clone(),
                instance: row.instance.clone(),
                lineage: row.lineage.clone(),
                generation: row.generation,
            })
            .collect()
    }
}

impl Shelf {
    pub(super) fn new(grant: GrantId, max_uses: u32, clock: Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self { grant, max_uses, clock, state: Arc::default() })
    }

    /// A replica that starts.
    pub(super) fn open(self: &Arc<Self>, replica: String) -> Book {
        Book { shelf: Arc::clone(self), replica, newest: watch::Sender::new(0) }
    }

    /// Issues the grant, once.
    pub(super) async fn issue(&self) {
        let mut state = self.state.lock().await;
        if state.issued.is_none() {
            state.changes.push(None);
            state.issued = Some(1);
        }
    }

    pub(super) async fn booked(&self) -> u32 {
        self.state.lock().await.booked()
    }

    fn token(&self) -> Secret<String> {
        let claims = format!("{{\"bg\":{{\"max_uses\":{}}}}}", self.max_uses);
        Secret::new(format!("x.{}.x", URL_SAFE_NO_PAD.encode(claims)))
    }
}

/// A copy that takes the book's place when it is committed.
pub(super) struct Page<'a> {
    book: &'a Book,
    held: OwnedMutexGuard<State>,
    draft: State,
}

impl Turn for Page<'_> {
    fn at(&self) -> WallTime {
        self.book.shelf.clock.now().wall
    }

    async fn is_current(&mut self, holder: &ShareHolder) -> Answer<bool> {
        Ok(self.draft.is_current(holder))
    }

    async fn limit(&mut self, _: &GrantId, _: &ServiceName) -> Answer<Option<u32>> {
        Ok(self.draft.issued.map(|_| self.book.shelf.max_uses))
    }

    async fn shares(&mut self, _: &GrantId) -> Answer<Vec<Share>> {
        Ok(self.draft.shares.clone())
    }

    async fn connected(&mut self, _: &ServiceName) -> Answer<Vec<ShareHolder>> {
        Ok(self.draft.connected(&self.book.replica, self.at()))
    }

    async fn recalls(&mut self, _: &GrantId) -> Answer<Vec<ShareRecall>> {
        let State { recalls, sidecars, .. } = &mut self.draft;
        let stands = |recall: &ShareRecall, row: &SidecarSeen| {
            row.lineage == recall.lineage && row.generation == recall.generation && row.connected
        };
        recalls.retain(|recall| sidecars.iter().any(|(row, _)| stands(recall, row)));
        Ok(recalls.clone())
    }

    async fn allot(&mut self, grant: &GrantId, holder: &ShareHolder, wanted: u32) -> Answer<Option<u32>> {
        let given = wanted.min(self.book.shelf.max_uses - self.draft.booked());
        let is_asked = self.draft.recalls.iter().any(|recall| recall.lineage == holder.lineage);
        if given == 0 || is_asked || self.draft.issued.is_none() {
            return Ok(None);
        }
        let share = self.draft.of(grant, holder);
        share.allotted += given;
        let allotted = share.allotted;
        self.draft.changes.push(Some(holder.lineage.clone()));
        Ok(Some(allotted))
    }

    async fn ask(
        &mut self,
        grant: &GrantId,
        donor: &ShareHolder,
        keep: u32,
        asker: &ShareHolder,
        wanted: u32,
    ) -> Answer<()> {
        assert!(self.draft.recalls.iter().all(|recall| recall.lineage != donor.lineage), "one question at a time");
        self.draft.asked += 1;
        self.draft.recalls.push(ShareRecall {
            number: self.draft.asked,
            grant: grant.clone(),
            lineage: donor.lineage.clone(),
            generation: donor.generation,
            keep,
            asker: asker.clone(),
            wanted,
            asked: self.at(),
            revision: self.draft.changes.len() as u64,
        });
        Ok(())
    }

    async fn close(&mut self, recall: &ShareRecall) -> Answer<()> {
        self.draft.recalls.retain(|other| other.number != recall.number);
        Ok(())
    }

    async fn hand_back(&mut self, grant: &GrantId, holder: &ShareHolder, allotted: u32) -> Answer<u32> {
        let share = self.draft.of(grant, holder);
        let kept = allotted.max(share.spent).min(share.allotted);
        if kept != share.allotted {
            share.allotted = kept;
            self.draft.changes.push(Some(holder.lineage.clone()));
        }
        Ok(kept)
    }

    async fn commit(mut self) -> Answer<()> {
        *self.held = self.draft;
        Ok(())
    }
}

impl FeedStore for Book {
    type Turn<'a> = Page<'a>;

    fn epoch(&self) -> &str {
        "epoch"
    }

    fn replica(&self) -> &str {
        &self.replica
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn subscribe_replicas(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    async fn newest_revision(&self) -> Answer<u64> {
        Ok(self.shelf.state.lock().await.changes.len() as u64)
    }

    async fn oldest_change(&self) -> Answer<u64> {
        Ok(1)
    }

    async fn snapshot(&self, _: &ServiceName) -> Answer<FeedSnapshot> {
        let state = self.shelf.state.lock().await;
        let put = |revision| SnapshotGrant {
            grant: self.shelf.grant.clone(),
            revision,
            token: self.shelf.token(),
            identity_since: None,
        };
        Ok(FeedSnapshot {
            revision: state.changes.len() as u64,
            frozen: false,
            tokens: state.issued.map(put).into_iter().collect(),
            suspended: vec![],
            ended_recently: vec![],
        })
    }

    async fn changes_after(&self, _: &ServiceName, after: u64, limit: u32) -> Answer<Vec<FeedChange>> {
        let state = self.shelf.state.lock().await;
        let grant = &self.shelf.grant;
        let body = |changed: &Option<String>| match changed {
            None => ChangeBody::Put { grant: grant.clone(), token: self.shelf.token(), identity_since: None },
            Some(lineage) => ChangeBody::Share { lineage: lineage.clone(), grant: grant.clone(), allotted: u32::MAX },
        };
        let numbered = (1_u64..).zip(&state.changes).filter(|(revision, _)| *revision > after);
        let changes = numbered.take(limit as usize);
        Ok(changes.map(|(revision, c)| FeedChange { revision, at: WallTime::EPOCH, body: body(c) }).collect())
    }

    async fn admit(&self, claims: &[StreamClaim]) -> Answer<Vec<Admission>> {
        let mut state = self.shelf.state.lock().await;
        let now = self.shelf.clock.now().wall;
        let mut admissions = Vec::new();
        for claim in claims {
            state.streams += 1;
            let generation = state.streams;
            state.recalls.retain(|recall| recall.lineage != claim.lineage);
            state.sidecars.retain(|(row, _)| row.instance != claim.instance);
            let row = SidecarSeen {
                service: claim.service.clone(),
                instance: claim.instance.clone(),
                version: claim.version.clone(),
                service_digest: claim.service_digest.clone(),
                lineage: claim.lineage.clone(),
                revision: 0,
                acked: WallTime::EPOCH,
                heard: now,
                audit: claim.audit.clone(),
                replica: self.replica.clone(),
                generation,
                connected: true,
                fresh: now,
                skew_ms: None,
                rejections: vec![],
            };
            state.sidecars.push((row, 0));
            admissions.push(Admission::Begun(generation));
        }
        Ok(admissions)
    }

    async fn record_spent(&self, grant: &GrantId, holder: &ShareHolder, spent: u32) -> Answer<SpentOutcome> {
        let mut state = self.shelf.state.lock().await;
        if state.issued.is_none() || spent == 0 || !state.is_current(holder) {
            return Ok(SpentOutcome::default());
        }
        let share = state.of(grant, holder);
        share.spent = share.spent.max(spent);
        assert!(share.spent <= share.allotted, "no sidecar spends more than it was given");
        Ok(SpentOutcome::default())
    }

    async fn turn(&self) -> Answer<Page<'_>> {
        let held = Arc::clone(&self.shelf.state).lock_owned().await;
        Ok(Page { book: self, draft: held.clone(), held })
    }

    async fn shares_of(&self, _: &GrantId) -> Answer<Vec<Share>> {
        Ok(self.shelf.state.lock().await.shares.clone())
    }

    async fn shares_of_lineage(&self, holder: &ShareHolder) -> Answer<Vec<Share>> {
        let state = self.shelf.state.lock().await;
        Ok(state.shares.iter().filter(|share| share.lineage == holder.lineage).cloned().collect())
    }

    async fn recalls(&self) -> Answer<Vec<ShareRecall>> {
        Ok(self.shelf.state.lock().await.recalls.clone())
    }

    async fn record(&self, _: Draft) -> Answer<u64> {
        Ok(0)
    }

    async fn ingest_audit(&self, _: &AuditBatch) -> Answer<Ingested> {
        Ok(Ingested::Gap(None))
    }

    async fn report(&self, batch: u64, sidecars: &[SidecarSeen]) -> Answer<()> {
        let mut state = self.shelf.state.lock().await;
        for seen in sidecars {
            let row = state.sidecars.iter_mut().find(|(row, _)| row.instance == seen.instance);
            if let Some((row, known)) = row
                && (seen.generation, batch) >= (row.generation, *known)
            {
                (*row, *known) = (seen.clone(), batch);
            }
        }
        let (id, alive) = (self.replica.clone(), self.shelf.clock.now().wall);
        state.replicas.insert(id.clone(), ReplicaSeen { id, alive, batch });
        Ok(())
    }

    async fn hearsay(&self, read: &BTreeMap<String, u64>) -> Answer<Hearsay> {
        let state = self.shelf.state.lock().await;
        let replicas: Vec<_> = state.replicas.values().filter(|other| other.id != self.replica).cloned().collect();
        let is_new = |(row, batch): &&(SidecarSeen, u64)| {
            let known = replicas.iter().any(|other| other.id == row.replica);
            known && read.get(&row.replica).is_none_or(|read| batch > read)
        };
        let sidecars = state.sidecars.iter().filter(is_new).map(|(row, _)| row.clone()).collect();
        Ok(Hearsay { replicas, sidecars })
    }

    async fn sidecars(&self) -> Answer<Vec<SidecarSeen>> {
        Ok(self.shelf.state.lock().await.sidecars.iter().map(|(row, _)| row.clone()).collect())
    }

    async fn forget_silent(&self) -> Answer<()> {
        Ok(())
    }
}
