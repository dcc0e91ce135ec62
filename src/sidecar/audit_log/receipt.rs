//! The caller's side of an intent: handing it in, waiting for it to be durable, and owing its outcome.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::Shared;
use super::work::{PendingIntent, PendingOutcome};
use super::{Cause, IntentError, Readiness};
use crate::audit::{End, Intent, Link, Outcome};
use crate::decision::RefusalCode;

/// One place among the open intents, held from the intent until its outcome has a line.
#[derive(Debug)]
pub(super) struct Slot(Arc<Shared>);

impl Slot {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let max = u64::try_from(shared.config.open_intents_max).unwrap_or(u64::MAX);
        let taken = shared.metrics.open_intents.fetch_add(1, Ordering::AcqRel);
        let slot = Self(Arc::clone(shared));
        // A slot too many gives itself back.
        (taken < max).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.metrics.open_intents.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The proof that an intent is durable, and the duty to tell its outcome. Dropped without one, it records
/// [`End::Aborted`].
#[derive(Debug)]
#[must_use = "an override's outcome is recorded through its receipt"]
pub struct IntentReceipt(Option<Owed>);

#[derive(Debug)]
struct Owed {
    intent: Arc<Intent>,
    link: Link,
    slot: Slot,
}

impl IntentReceipt {
    pub(super) fn new(intent: Arc<Intent>, link: Link, slot: Slot) -> Self {
        Self(Some(Owed { intent, link, slot }))
    }

    /// Where the intent's line stands.
    pub fn link(&self) -> Option<Link> {
        self.0.as_ref().map(|owed| owed.link)
    }

    /// Records how the override ended. Never fails, never waits: its space and its place were reserved.
    pub fn outcome(mut self, outcome: Outcome) {
        self.settle(|_| outcome);
    }

    /// Records an end of which nothing more is known, now.
    pub(super) fn ended(mut self, end: End) {
        self.settle(|shared| Outcome::bare(shared.clock.wall(), end));
    }

    fn settle(&mut self, outcome: impl FnOnce(&Shared) -> Outcome) {
        if let Some(Owed { intent, link, slot }) = self.0.take() {
            let shared = Arc::clone(&slot.0);
            let outcome = outcome(&shared);
            shared.push_outcome(PendingOutcome { intent, link, outcome, slot });
        }
    }
}

impl Drop for IntentReceipt {
    fn drop(&mut self) {
        self.settle(|shared| Outcome::bare(shared.clock.wall(), End::Aborted));
    }
}

/// Hands an intent to the writer and waits for it to be durable, or for the write deadline.
///
/// The reply itself decides who owes the outcome when the two cross: a receipt that cannot be delivered goes back to the
/// writer, one that was delivered and is dropped unread settles itself.
pub(super) async fn submit(shared: &Arc<Shared>, intent: Intent) -> Result<IntentReceipt, IntentError> {
    match shared.readiness() {
        Readiness::Ready => {}
        Readiness::Unavailable(Cause::Full) => return Err(IntentError::Full),
        Readiness::Unavailable(Cause::Slow) => return Err(IntentError::Slow),
        Readiness::Unavailable(Cause::Failed) => return Err(IntentError::Failed),
        Readiness::Unavailable(Cause::Opening) => return Err(IntentError::Opening),
        Readiness::Unavailable(Cause::Damaged) => return Err(IntentError::Damaged),
        Readiness::Unavailable(Cause::Spool) => return Err(IntentError::Spool),
        Readiness::Unavailable(Cause::Ledger) => return Err(IntentError::NoLedger),
    }
    let slot = Slot::take(shared).ok_or(IntentError::Busy)?;
    let (reply, mut receipt) = oneshot::channel();
    shared.push_intent(PendingIntent { intent: Box::new(intent), slot, reply })?;
    let deadline = Instant::now() + Duration::from_millis(shared.config.write_deadline_ms_max);
    let receipt = match tokio::time::timeout_at(deadline, &mut receipt).await {
        Ok(Ok(result)) => result?,
        Ok(Err(_)) => return Err(IntentError::Closed),
        Err(_) => too_late(receipt)?,
    };
    taken_elsewhere(shared, receipt, deadline).await
}

/// Waits until whoever must have the line has taken it. Else it owes the outcome that nothing was forwarded.
async fn taken_elsewhere(
    shared: &Arc<Shared>,
    receipt: IntentReceipt,
    deadline: Instant,
) -> Result<IntentReceipt, IntentError> {
    let required = Vec::clone(&shared.required());
    let asks = !required.is_empty() || shared.ledger.is_required();
    let Some(link) = receipt.link().filter(|_| asks) else { return Ok(receipt) };
    let all = async {
        for mut settled in required {
            if settled.wait_for(|place| place.has_taken(link.log_id, link.seq)).await.is_err() {
                return false;
            }
        }
        shared.ledger.has(&link).await
    };
    if tokio::time::timeout_at(deadline, all).await.unwrap_or(false) {
        return Ok(receipt);
    }
    receipt.ended(End::NotForwarded(RefusalCode::AuditUnavailable));
    Err(IntentError::Untaken)
}

/// The deadline has passed. What came in that very moment still counts.
fn too_late(mut receipt: oneshot::Receiver<Result<IntentReceipt, IntentError>>) -> Result<IntentReceipt, IntentError> {
    receipt.close();
    receipt.try_recv().unwrap_or(Err(IntentError::Slow))
}
