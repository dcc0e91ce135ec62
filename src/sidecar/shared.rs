//! What all workers of one sidecar share. Read on every request, so every member is lock-free or briefly locked.

use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, mpsc, watch};

use super::assertion::Assertions;
use super::audit_log::{AuditLog, Readiness};
use super::capture::CaptureRoom;
use super::ending::Ending;
use super::grant_table::{GrantTable, LiveGrant};
use super::handover::Handovers;
use super::occurrences::Occurrences;
use super::possession::Possession;
use super::query_digests::Digester;
use super::reload::Reloads;
use super::setup::Setup;
use super::shipping::Shipped;
use super::sinks::Sinks;
use super::standing::Standing;
use crate::clock::Clock;
use crate::domain::GrantId;
use crate::token::KeyRing;
use crate::wire::audit::Settled;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub grants: GrantTable,
    pub standing: Standing,
    pub audit: AuditLog,
    /// How far the log's lines are shipped.
    pub shipped: Shipped,
    /// Up to where the feed is enforced.
    pub enforced: watch::Sender<Option<Settled>>,
    /// Where query values are to be compared.
    pub query_digests: Option<Digester>,
    /// Where members of bodies are kept.
    pub capture: Arc<CaptureRoom>,
    /// Where the log's lines are handed on to.
    pub sinks: Sinks,
    pub assertions: Arc<Assertions>,
    pub possession: Possession,
    pub clock: Clock,
    pub reloads: Reloads,
    pub occurrences: Occurrences,
    pub handovers: Handovers,
    pub ending: Ending,
    /// The feed's task begins a new stream, from a whole snapshot.
    pub resubscribe: Notify,
    pub(super) setup: ArcSwap<Setup>,
    pub(super) keys: RwLock<Arc<KeyRing>>,
    pub(super) share_news: mpsc::Sender<ShareNews>,
}

/// What the feed's task should tell the control plane of a grant with `max_uses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareNews {
    Spent(GrantId),
    Wanted(GrantId),
}

impl Shared {
    /// What the files say, to keep: one request is served by one reading of them.
    pub fn setup(&self) -> Arc<Setup> {
        self.setup.load_full()
    }

    /// What the files say, for a glance: cheaper, and not to be held across an await.
    pub fn glance(&self) -> Guard<Arc<Setup>> {
        self.setup.load()
    }

    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_keys(&self, keys: KeyRing) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    pub fn audit_is_ready(&self) -> bool {
        self.audit.readiness() == Readiness::Ready
    }

    /// No use of the grant is left here: more are asked for.
    pub fn want_uses(&self, live: &LiveGrant) {
        if live.may_want(self.clock.boot()) {
            self.tell(ShareNews::Wanted(live.grant().id.clone()));
        }
    }

    /// Tells the feed's task. Losing one is harmless: the task reports all shares anew with every heartbeat.
    pub fn tell(&self, news: ShareNews) {
        let _ = self.share_news.try_send(news);
    }
}
