//! Watching, while bytes flow, that the promises of an override still hold (P2).
//!
//! A revocation wakes the watch at once. Everything else is looked at every [`RECHECK`], because runtime timers stop
//! with the machine and boot time does not.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::grant_table::LiveGrant;
use super::shared::Shared;
use crate::decision::{Feed, Freeze, GrantStanding, RefusalCode};

/// How often a running override is looked at.
pub const RECHECK: Duration = Duration::from_millis(50);

/// Resolves with the cause once an override may not go on.
pub struct CutWatch(Pin<Box<dyn Future<Output = RefusalCode>>>);

impl std::fmt::Debug for CutWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CutWatch")
    }
}

impl CutWatch {
    pub fn new(shared: Arc<Shared>, live: Arc<LiveGrant>) -> Self {
        Self(Box::pin(async move {
            loop {
                if let Some(code) = cause(&shared, &live) {
                    return code;
                }
                tokio::select! {
                    () = live.wait_for_end() => {}
                    () = tokio::time::sleep(RECHECK) => {}
                }
            }
        }))
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RefusalCode> {
        self.0.as_mut().poll(cx)
    }

    /// Waits for the cause.
    pub async fn cut(&mut self) -> RefusalCode {
        self.0.as_mut().await
    }
}

/// Why a running override may not go on, if so. A use once spent stays spent, so being used up is no cause.
fn cause(shared: &Shared, live: &LiveGrant) -> Option<RefusalCode> {
    let now = shared.clock.now();
    if live.standing() == GrantStanding::Revoked {
        return Some(RefusalCode::GrantRevoked);
    }
    if live.deadline(&shared.standing).has_passed(now) {
        return Some(RefusalCode::GrantExpired);
    }
    if shared.standing.freeze() != Freeze::None {
        return Some(RefusalCode::Frozen);
    }
    let limit = live.fact(&shared.standing).staleness_limit(shared.policy.ceiling.staleness_max);
    match shared.standing.feed() {
        Feed::AsOf(as_of) if now.boot.since(as_of) <= limit => None,
        Feed::AsOf(_) | Feed::NeverSynced => Some(RefusalCode::FeedStale),
        // New overrides wait for a heartbeat; the deadline of a running one rests on boot time, which did not jump.
        Feed::ClockUnsettled => None,
    }
}
