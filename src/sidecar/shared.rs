//! What all workers of one sidecar share. Read on every request, so every member is lock-free or briefly locked.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;

use super::audit_log::{AuditLog, Readiness};
use super::grant_table::GrantTable;
use super::route::RouteTable;
use super::standing::Standing;
use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::decision::Policy;
use crate::domain::GrantId;
use crate::identity::Verifier;
use crate::token::KeyRing;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub service: ServiceConfig,
    pub policy: Policy,
    pub routes: RouteTable,
    pub grants: GrantTable,
    pub standing: Standing,
    pub verifier: Verifier,
    pub audit: AuditLog,
    pub clock: Clock,
    /// Where a person asks for elevation.
    pub request_url: Option<String>,
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
    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set_keys(&self, keys: KeyRing) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    pub fn audit_is_ready(&self) -> bool {
        self.audit.readiness() == Readiness::Ready
    }

    /// Tells the feed's task. Losing one is harmless: the task reports all shares anew with every heartbeat.
    pub fn tell(&self, news: ShareNews) {
        let _ = self.share_news.try_send(news);
    }
}
