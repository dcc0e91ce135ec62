//! When everything recorded under grants that have ended is shipped: what the control plane closes a grant's account by.
//!
//! A revision is enforced first; whatever was let through before has its intent in the log a while later; and once the
//! log up to that moment has arrived, the revision is settled. INVARIANT: the position is looked at after the wait, and
//! the wait begins after the revision was enforced.

use std::time::Duration;

use crate::audit::Position;
use crate::domain::BootTime;
use crate::wire::audit::Settled;

/// See the module.
#[derive(Debug)]
pub(super) struct Settling {
    wait: Duration,
    stage: Stage,
    /// The last that was told and acknowledged.
    told: Option<Settled>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Idle,
    /// Since when it has been enforced.
    Waiting(Settled, BootTime),
    /// What must arrive first.
    Shipping(Settled, Position),
    /// To be told.
    Due(Settled),
}

impl Settling {
    /// `wait`: how long after its decision an intent may still become durable.
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait, stage: Stage::Idle, told: None }
    }

    /// Looks at what is enforced and how far the log is durable.
    pub(super) fn look(&mut self, enforced: Option<Settled>, durable: Position, now: BootTime) {
        match &self.stage {
            Stage::Idle => {
                if let Some(enforced) = enforced.filter(|enforced| self.told.as_ref() != Some(enforced)) {
                    self.stage = Stage::Waiting(enforced, now);
                }
            }
            Stage::Waiting(settled, since) if now.since(*since) >= self.wait => {
                self.stage = Stage::Shipping(settled.clone(), durable);
            }
            Stage::Waiting(..) | Stage::Shipping(..) | Stage::Due(_) => {}
        }
    }

    /// Everything up to here has arrived.
    pub(super) fn arrived(&mut self, position: &Position) {
        if let Stage::Shipping(settled, wanted) = &self.stage
            && wanted.log_id == position.log_id
            && wanted.sequence <= position.sequence
        {
            self.stage = Stage::Due(settled.clone());
        }
    }

    /// What is to be told with the next batch.
    pub(super) fn due(&self) -> Option<Settled> {
        if let Stage::Due(settled) = &self.stage { Some(settled.clone()) } else { None }
    }

    /// It was told.
    pub(super) fn told(&mut self) {
        if let Stage::Due(settled) = std::mem::replace(&mut self.stage, Stage::Idle) {
            self.told = Some(settled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{LineHash, LogId};

    fn at(sequence: u64) -> Position {
        Position { log_id: LogId::from_bytes([1; 16]), sequence, head: LineHash::NONE }
    }

    fn enforced(revision: u64) -> Option<Settled> {
        Some(Settled { epoch: "e".to_owned(), revision })
    }

    fn ms(ms: u64) -> BootTime {
        BootTime::from_duration(Duration::from_millis(ms))
    }

    #[test]
    fn a_revision_is_settled_once_what_was_durable_after_the_wait_has_arrived() {
        let mut settling = Settling::new(Duration::from_millis(100));
        settling.look(None, at(1), ms(0));
        settling.look(enforced(7), at(1), ms(0));
        settling.look(enforced(8), at(5), ms(99));
        settling.arrived(&at(5));
        assert_eq!(settling.due(), None, "the wait is not over");
        settling.look(enforced(8), at(6), ms(100));
        settling.arrived(&at(5));
        assert_eq!(settling.due(), None, "line 6 has not arrived");
        settling.arrived(&at(9));
        assert_eq!(settling.due(), enforced(7), "and not the newer one, which began later");
        settling.told();
        settling.look(enforced(7), at(9), ms(200));
        assert_eq!(settling.stage, Stage::Idle, "nothing is told twice");
        settling.look(enforced(8), at(9), ms(200));
        assert!(matches!(settling.stage, Stage::Waiting(..)));
    }
}
