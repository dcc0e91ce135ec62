//! The store's book of shares in memory, for one grant: quick enough for thousands of runs.

use std::sync::{Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch;

use crate::control::feed::source::FeedStore;
use crate::domain::{GrantId, ServiceName, WallTime};
use crate::ledger::entry::Draft;
use crate::secret::Secret;
use crate::store::contract::{
    ChangeBody, FeedChange, FeedSnapshot, Share, ShareHolder, SidecarSeen, SnapshotGrant, SpentOutcome, StoreError,
};

pub(super) struct Book {
    grant: GrantId,
    max_uses: u32,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Revision of the put.
    issued: Option<u64>,
    shares: Vec<Share>,
    /// The lineage whose share changed; `None` is the put.
    changes: Vec<Option<String>>,
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
}

impl Book {
    pub(super) fn new(grant: GrantId, max_uses: u32) -> Self {
        Self { grant, max_uses, state: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Issues the grant, once.
    pub(super) fn issue(&self) {
        let mut state = self.state();
        if state.issued.is_none() {
            state.changes.push(None);
            state.issued = Some(1);
        }
    }

    pub(super) fn booked(&self) -> u32 {
        self.state().booked()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn token(&self) -> Secret<String> {
        let claims = format!("{{\"bg\":{{\"max_uses\":{}}}}}", self.max_uses);
        Secret::new(format!("x.{}.x", URL_SAFE_NO_PAD.encode(claims)))
    }
}

impl FeedStore for Book {
    async fn record(&self, _: Draft) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn epoch(&self) -> &str {
        "epoch"
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    async fn newest_revision(&self) -> Result<u64, StoreError> {
        Ok(self.state().changes.len() as u64)
    }

    async fn oldest_change(&self) -> Result<u64, StoreError> {
        Ok(1)
    }

    async fn snapshot(&self, _: &ServiceName) -> Result<FeedSnapshot, StoreError> {
        let state = self.state();
        let put = |revision| SnapshotGrant { grant: self.grant.clone(), revision, token: self.token() };
        Ok(FeedSnapshot {
            revision: state.changes.len() as u64,
            frozen: false,
            tokens: state.issued.map(put).into_iter().collect(),
            ended_recently: vec![],
        })
    }

    async fn changes_after(&self, _: &ServiceName, after: u64, limit: u32) -> Result<Vec<FeedChange>, StoreError> {
        let state = self.state();
        let body = |changed: &Option<String>| match changed {
            None => ChangeBody::Put { grant: self.grant.clone(), token: self.token() },
            Some(lineage) => {
                let allotted = state.shares.iter().find(|share| share.lineage == *lineage).unwrap().allotted;
                ChangeBody::Share { lineage: lineage.clone(), grant: self.grant.clone(), allotted }
            }
        };
        let numbered = (1_u64..).zip(&state.changes).filter(|(revision, _)| *revision > after);
        let changes = numbered.take(limit as usize);
        Ok(changes.map(|(revision, c)| FeedChange { revision, at: WallTime::EPOCH, body: body(c) }).collect())
    }

    async fn record_spent(
        &self,
        grant: &GrantId,
        holder: &ShareHolder,
        spent: u32,
    ) -> Result<SpentOutcome, StoreError> {
        let mut state = self.state();
        if state.issued.is_none() || spent == 0 {
            return Ok(SpentOutcome::default());
        }
        let share = state.of(grant, holder);
        share.spent = share.spent.max(spent);
        assert!(share.spent <= share.allotted, "no sidecar spends more than it was given");
        Ok(SpentOutcome::default())
    }

    async fn allot(&self, grant: &GrantId, holder: &ShareHolder, wanted: u32) -> Result<Option<u32>, StoreError> {
        let mut state = self.state();
        let given = wanted.min(self.max_uses - state.booked());
        if given == 0 || state.issued.is_none() {
            return Ok(None);
        }
        let share = state.of(grant, holder);
        share.allotted += given;
        let allotted = share.allotted;
        state.changes.push(Some(holder.lineage.clone()));
        Ok(Some(allotted))
    }

    async fn hand_back(&self, grant: &GrantId, holder: &ShareHolder, allotted: u32) -> Result<Option<u32>, StoreError> {
        let mut state = self.state();
        let share = state.of(grant, holder);
        let kept = allotted.max(share.spent).min(share.allotted);
        if kept != share.allotted {
            share.allotted = kept;
            state.changes.push(Some(holder.lineage.clone()));
        }
        Ok(Some(kept))
    }

    async fn shares_of(&self, _: &GrantId) -> Result<Vec<Share>, StoreError> {
        Ok(self.state().shares.clone())
    }

    async fn shares_of_lineage(&self, holder: &ShareHolder) -> Result<Vec<Share>, StoreError> {
        Ok(self.state().shares.iter().filter(|share| share.lineage == holder.lineage).cloned().collect())
    }

    async fn record_sidecar(&self, _: &SidecarSeen) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sidecars(&self) -> Result<Vec<SidecarSeen>, StoreError> {
        Ok(vec![])
    }
}
