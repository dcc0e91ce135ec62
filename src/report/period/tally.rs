//! Numbers of one row: everything that is counted, and how it is told.

use super::spread::Spans;
use crate::wire::reports::Totals;

/// As [`Totals`], while it is still counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) counts: Totals,
    pub(super) time_to_access: Spans,
    pub(super) revocation_latency: Spans,
}

/// Adds every number of one to the other.
macro_rules! add_up {
    ($into:expr, $from:expr, $($name:ident)*) => {
        $( $into.$name = $into.$name.saturating_add($from.$name); )*
    };
}

impl Tally {
    pub(super) fn merge(&mut self, other: &Self) {
        add_up!(self.counts, other.counts, requests requests_refused approvals denied withdrawn lapsed grants expired
            revoked used_up accounts accounts_incomplete unused granted_ms stood_ms used_ms uses_granted uses_spent
            overrides completed not_completed refusals refusals_summarised revocations reviews_due reviews_done reviews_late reviews_overdue
            justified unjustified unclear);
        self.time_to_access.merge(&other.time_to_access);
        self.revocation_latency.merge(&other.revocation_latency);
    }

    pub(super) fn told(&self) -> Totals {
        Totals {
            time_to_access: self.time_to_access.told(),
            revocation_latency: self.revocation_latency.told(),
            ..self.counts.clone()
        }
    }

    /// What puts a row before another.
    pub(super) const fn weight(&self) -> (u64, u64, u64) {
        let counts = &self.counts;
        (counts.grants.saturating_add(counts.overrides), counts.requests, counts.refusals)
    }
}
