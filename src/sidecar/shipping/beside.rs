//! What is told beside the lines: what is settled, and how many assertions were signed.
//!
//! INVARIANT: a revision is told as settled only with, or after, every number that was signed before it was.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settling::Settling;
use crate::audit::Position;
use crate::decision::GrantStanding;
use crate::domain::GrantId;
use crate::sidecar::shared::Shared;
use crate::wire::audit::{SIGNED_MAX, Settled, Signed};

/// See the module.
#[derive(Debug)]
pub(super) struct Beside {
    settling: Settling,
    under_way: Option<UnderWay>,
}

/// What the batch that is under way tells.
#[derive(Debug)]
struct UnderWay {
    numbers: BTreeMap<GrantId, u64>,
    settles: bool,
}

impl Beside {
    /// `wait`: how long after its decision an intent may still become durable.
    pub(super) fn new(wait: Duration) -> Self {
        Self { settling: Settling::new(wait), under_way: None }
    }

    /// Looks at what is enforced and how far the log is durable.
    pub(super) fn look(&mut self, shared: &Shared, durable: Position) {
        self.settling.look(shared.enforced.borrow().clone(), durable, shared.clock.boot());
    }

    /// Everything up to here has arrived.
    pub(super) fn arrived(&mut self, position: &Position) {
        self.settling.arrived(position);
    }

    /// Whether somebody waits to be told.
    pub(super) fn is_due(&self) -> bool {
        self.settling.due().is_some()
    }

    /// For the first line of the next body.
    pub(super) fn say(&mut self, shared: &Shared, durable: Position) -> (Option<Settled>, Option<Signed>) {
        self.under_way = None;
        let Some(settled) = self.settling.due() else { return (None, None) };
        let (numbers, settles) = shared.assertions.numbers().untold(SIGNED_MAX);
        let signed = Signed { log_id: durable.log_id.to_string(), numbers: numbers.clone() };
        let signed = (!numbers.is_empty()).then_some(signed);
        self.under_way = Some(UnderWay { numbers, settles });
        (settles.then_some(settled), signed)
    }

    /// It is known now.
    pub(super) fn told(&mut self, shared: &Shared) {
        let Some(UnderWay { numbers, settles }) = self.under_way.take() else { return };
        shared.assertions.numbers().told(&numbers, |grant| has_ended(shared, grant));
        if settles {
            self.settling.told();
        }
    }
}

fn has_ended(shared: &Shared, grant: &GrantId) -> bool {
    let is_over = |standing| !matches!(standing, GrantStanding::Live | GrantStanding::Suspended);
    shared.grants.by_id(grant).is_none_or(|live| is_over(live.standing()))
}
