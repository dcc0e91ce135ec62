//! Watching, while bytes flow, that the promises of an override still hold (P2).
//!
//! A revocation wakes the watch at once. Everything else is looked at every [`RECHECK`], because runtime timers stop
//! with the machine and boot time does not.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};

use super::exchange::Exchange;
use super::grant_table::LiveGrant;
use super::shared::Shared;
use super::upgrade::Afterwards;
use crate::audit::End;
use crate::decision::{Feed, Freeze, GrantStanding, RefusalCode};

/// How often a running override is looked at.
pub const RECHECK: Duration = Duration::from_millis(50);

/// A grant that something runs under.
#[derive(Debug, Clone)]
pub struct Under {
    pub shared: Arc<Shared>,
    pub live: Arc<LiveGrant>,
}

impl Under {
    /// Why what runs may not go on, if so. Asked before each piece is passed on too: between an end and the watch that
    /// it wakes, nothing more may slip through.
    pub fn cause(&self) -> Option<RefusalCode> {
        cause(&self.shared, &self.live).map(|(code, _)| code)
    }

    /// Counts a cut for `code`, with the time since its cause as far as that is known.
    pub fn count_cut(&self, code: RefusalCode) {
        let lag = cause(&self.shared, &self.live).filter(|(now, _)| *now == code).and_then(|(_, lag)| lag);
        self.shared.occurrences.count_cut(code, lag);
    }
}

/// Resolves with the cause once an override may not go on.
pub struct CutWatch(Pin<Box<dyn Future<Output = RefusalCode>>>);

impl std::fmt::Debug for CutWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CutWatch")
    }
}

impl CutWatch {
    pub fn new(under: Under) -> Self {
        Self(Box::pin(async move {
            loop {
                if let Some(code) = under.cause() {
                    return code;
                }
                tokio::select! {
                    () = under.live.wait_for_end() => {}
                    () = tokio::time::sleep(RECHECK) => {}
                }
            }
        }))
    }

    /// Waits for the cause.
    pub async fn cut(&mut self) -> RefusalCode {
        self.0.as_mut().await
    }
}

/// A watch that acts by itself while an answer is passed on, until it is dropped: on the cause it settles the exchange
/// and closes the upstream's connection, and the client's where it speaks HTTP/1. A body alone would not do: as long as
/// the client takes nothing, hyper asks it for nothing, and a stalled client could hold its override open past the
/// grant's end.
#[derive(Debug)]
pub struct AnswerWatch(JoinHandle<RefusalCode>);

impl AnswerWatch {
    pub fn new(
        mut watch: CutWatch,
        exchange: &Rc<Exchange>,
        upstream: Option<AbortHandle>,
        client: Afterwards,
    ) -> Self {
        let exchange = Rc::downgrade(exchange);
        Self(tokio::task::spawn_local(async move {
            let code = watch.cut().await;
            upstream.iter().for_each(AbortHandle::abort);
            if let Some(exchange) = exchange.upgrade() {
                exchange.settle(End::Cut(code));
            }
            client.end_now();
            code
        }))
    }

    /// Ready once, with the cause. A watch that is lost watches nothing, so that is a cause too.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RefusalCode> {
        Pin::new(&mut self.0).poll(cx).map(|ended| ended.unwrap_or(RefusalCode::GrantNotInForce))
    }
}

impl Drop for AnswerWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a running override may not go on, if so, and for how long already where that is known. A use once spent stays
/// spent, so being used up is no cause.
fn cause(shared: &Shared, live: &LiveGrant) -> Option<(RefusalCode, Option<Duration>)> {
    let now = shared.clock.now();
    let setup = shared.glance();
    let ceiling = &setup.policy.ceiling;
    // Before the standing: a grant that a reload put above the ceiling leaves the table too.
    if !ceiling.admits(live.grant()) {
        return Some((RefusalCode::OverCeiling, None));
    }
    match live.standing() {
        GrantStanding::Revoked => return Some((RefusalCode::GrantRevoked, live.since_revocation())),
        GrantStanding::Suspended => return Some((RefusalCode::GrantSuspended, live.since_revocation())),
        GrantStanding::Live | GrantStanding::UsedUp => {}
    }
    let held = live.fact(&shared.standing, now);
    if held.deadline.has_passed(now) {
        return Some((RefusalCode::GrantExpired, Some(now.boot.since(held.deadline.boot))));
    }
    if shared.standing.freeze() != Freeze::None {
        return Some((RefusalCode::Frozen, None));
    }
    let limit = held.staleness_limit(ceiling.staleness_max);
    match shared.standing.feed() {
        Feed::AsOf(as_of) if now.boot.since(as_of) <= limit => None,
        Feed::AsOf(as_of) => Some((RefusalCode::FeedStale, now.boot.since(as_of).checked_sub(limit))),
        Feed::NeverSynced => Some((RefusalCode::FeedStale, None)),
        // New overrides wait for a heartbeat; the deadline of a running one rests on boot time, which did not jump.
        Feed::ClockUnsettled => None,
    }
}
