//! Which numbers an entry adds to, in the whole and in its rows.

use std::collections::BTreeSet;

use super::known::{Keys, Standing};
use super::rows::{Name, RowId};
use super::tally::Tally;
use super::{CODES_MAX, Period};
use crate::ledger::entry::EntryKind;
use crate::report::incident::span;
use crate::report::told::{Told, text};

impl Period {
    pub(super) fn count(&mut self, told: &Told<'_>) {
        match told.kind {
            EntryKind::ElevationRequested => self.of_request(told, |tally| tally.counts.requests += 1),
            EntryKind::ElevationApproved => self.of_request(told, |tally| tally.counts.approvals += 1),
            EntryKind::ElevationDenied => self.of_request(told, |tally| tally.counts.denied += 1),
            EntryKind::ElevationWithdrawn => self.of_request(told, |tally| tally.counts.withdrawn += 1),
            EntryKind::ElevationLapsed => self.of_request(told, |tally| tally.counts.lapsed += 1),
            EntryKind::ElevationRefused => self.refused_request(told),
            EntryKind::GrantIssued => {
                self.of_standing(told, |tally, _| tally.counts.grants += 1);
                if told.facts.token_sha256.is_some() {
                    self.usable(told);
                }
            }
            EntryKind::GrantClaimed => self.usable(told),
            EntryKind::GrantExpired => self.ended(told, |tally| tally.counts.expired += 1),
            EntryKind::GrantUsedUp => self.ended(told, |tally| tally.counts.used_up += 1),
            EntryKind::GrantRevoked => {
                self.remember_revoked(told);
                self.ended(told, |tally| tally.counts.revoked += 1);
            }
            EntryKind::RevocationOrdered => self.whole.counts.revocations += 1,
            EntryKind::RevocationEnforced => self.enforced(told),
            EntryKind::GrantReviewed => self.reviewed(told),
            EntryKind::ReviewOverdue => self.of_standing(told, |tally, _| tally.counts.reviews_overdue += 1),
            EntryKind::GrantClosed => self.accounted(told),
            EntryKind::AuditLine => self.line(told),
            _ => {}
        }
    }

    fn apply(&mut self, keys: &Keys, mut add: impl FnMut(&mut Tally)) {
        add(&mut self.whole);
        add(self.teams.tally(keys.team));
        add(self.persons.tally(keys.person));
        add(self.reasons.tally(keys.reason));
        add(self.services.tally(keys.service));
        for resource in keys.resources.iter() {
            add(self.resources.tally(*resource));
        }
    }

    fn of_request(&mut self, told: &Told<'_>, add: impl FnMut(&mut Tally)) {
        let known = told.facts.elevation.as_deref().and_then(|id| self.asked.get(id));
        let keys = known.map(|asked| asked.keys.clone());
        let keys = keys.unwrap_or_else(|| self.keys_of(told));
        self.apply(&keys, add);
    }

    fn of_standing(&mut self, told: &Told<'_>, mut add: impl FnMut(&mut Tally, Option<&Standing>)) {
        let known = told.facts.grant.as_deref().and_then(|id| self.grants.get(id)).cloned();
        let keys = known.as_ref().map(|standing| standing.keys.clone());
        let keys = keys.unwrap_or_else(|| self.keys_of(told));
        self.apply(&keys, |tally| add(tally, known.as_ref()));
    }

    fn refused_request(&mut self, told: &Told<'_>) {
        let keys = self.keys_of(told);
        self.apply(&keys, |tally| tally.counts.requests_refused += 1);
        self.refusal_code("policy", text(&told.facts.code), 1);
    }

    fn usable(&mut self, told: &Told<'_>) {
        self.of_standing(told, |tally, standing| {
            if let Some(asked) = standing.and_then(|standing| standing.asked) {
                tally.time_to_access.add(span(asked, told.at));
            }
        });
    }

    fn ended(&mut self, told: &Told<'_>, mut add: impl FnMut(&mut Tally)) {
        self.of_standing(told, |tally, standing| {
            add(tally);
            if standing.is_some_and(|standing| standing.asks_review) {
                tally.counts.reviews_due += 1;
            }
        });
    }

    /// A revocation's arrival counts in the rows of what it ended.
    fn remember_revoked(&mut self, told: &Told<'_>) {
        let facts = &told.facts;
        let Some(revocation) = facts.revocation.as_deref() else { return };
        let Some(keys) = facts.grant.as_deref().and_then(|id| self.grants.get(id)).map(|known| known.keys.clone())
        else {
            return;
        };
        match self.revoked.get_mut(revocation) {
            Some(ended) => drop(ended.insert(keys)),
            None => drop(self.revoked.insert(revocation.to_owned(), [keys].into())),
        }
    }

    /// Once in the whole, and once in each row, however many grants there were.
    fn enforced(&mut self, told: &Told<'_>) {
        let Some(elapsed) = told.facts.elapsed_ms else { return };
        self.whole.revocation_latency.add(elapsed);
        let ended = told.facts.revocation.as_deref().and_then(|id| self.revoked.remove(id)).unwrap_or_default();
        let each = |of: fn(&Keys) -> RowId| ended.iter().map(of).collect::<BTreeSet<_>>();
        let (teams, persons) = (each(|keys| keys.team), each(|keys| keys.person));
        let (reasons, services) = (each(|keys| keys.reason), each(|keys| keys.service));
        let resources: BTreeSet<_> = ended.iter().flat_map(|keys| keys.resources.iter()).collect();
        teams.into_iter().for_each(|id| self.teams.tally(id).revocation_latency.add(elapsed));
        persons.into_iter().for_each(|id| self.persons.tally(id).revocation_latency.add(elapsed));
        reasons.into_iter().for_each(|id| self.reasons.tally(id).revocation_latency.add(elapsed));
        services.into_iter().for_each(|id| self.services.tally(id).revocation_latency.add(elapsed));
        resources.into_iter().for_each(|id| self.resources.tally(*id).revocation_latency.add(elapsed));
    }

    fn reviewed(&mut self, told: &Told<'_>) {
        let facts = &told.facts;
        self.of_standing(told, |tally, _| {
            let counts = &mut tally.counts;
            counts.reviews_done += 1;
            counts.reviews_late += u64::from(facts.late == Some(true));
            match facts.verdict.as_deref() {
                Some("justified") => counts.justified += 1,
                Some("unjustified") => counts.unjustified += 1,
                Some(_) | None => counts.unclear += 1,
            }
        });
    }

    /// Times and uses are told once everything that was recorded has come.
    fn accounted(&mut self, told: &Told<'_>) {
        let facts = &told.facts;
        // It was counted when it was closed for the first time.
        if facts.amends.is_some() {
            return;
        }
        let overrides = facts.overrides.unwrap_or_default();
        let lacks = facts.reconciled != Some(true);
        self.of_standing(told, |tally, standing| {
            let counts = &mut tally.counts;
            counts.accounts += 1;
            counts.accounts_incomplete += u64::from(lacks);
            counts.unused += u64::from(overrides == 0);
            let Some(standing) = standing else { return };
            let end = standing.ended.unwrap_or(told.at).min(standing.expires);
            counts.granted_ms += span(standing.begun, standing.expires);
            counts.stood_ms += span(standing.begun, end);
            counts.used_ms += standing.last_used.map_or(0, |last| span(standing.begun, last.min(end)));
            if let Some(max_uses) = standing.max_uses {
                counts.uses_granted += max_uses;
                counts.uses_spent += facts.spent.unwrap_or(overrides);
            }
        });
    }

    fn line(&mut self, told: &Told<'_>) {
        let facts = &told.facts;
        match facts.line.as_deref() {
            Some("intent") => self.recorded(told, |tally| tally.counts.overrides += 1),
            Some("outcome") if facts.end.as_deref() == Some("completed") => {
                self.recorded(told, |tally| tally.counts.completed += 1);
            }
            Some("outcome" | "unknown_outcome") => self.recorded(told, |tally| tally.counts.not_completed += 1),
            Some("refusal") => {
                self.recorded(told, |tally| tally.counts.refusals += 1);
                self.refusal_code("sidecar", text(&facts.decision), 1);
            }
            Some("refusal_summary") => self.summarised(told),
            _ => {}
        }
    }

    /// Refusals that have no line, only a number.
    fn summarised(&mut self, told: &Told<'_>) {
        let refusals = told.facts.counts.iter().flatten().filter(|count| count.kind == "refusal");
        for refused in refusals {
            self.recorded(told, |tally| {
                let sum = &mut tally.counts.refusals_summarised;
                *sum = sum.saturating_add(refused.count);
            });
            self.refusal_code("sidecar_summary", refused.code.clone().into_owned(), refused.count);
        }
    }

    /// In the rows of the grant, but of resources in that of the request alone.
    fn recorded(&mut self, told: &Told<'_>, add: impl FnMut(&mut Tally)) {
        let known = told.facts.grant.as_deref().and_then(|id| self.grants.get(id)).map(|known| known.keys.clone());
        let mut keys = known.unwrap_or_else(|| self.keys_of(told));
        let resource = told.facts.resource.as_deref().map(|name| self.resources.id(Name::of(Some(name))));
        keys.resources = resource.into_iter().collect();
        self.apply(&keys, add);
    }

    fn refusal_code(&mut self, by: &'static str, code: String, count: u64) {
        if self.refused.len() < CODES_MAX || self.refused.contains_key(&(by, code.clone())) {
            let sum = self.refused.entry((by, code)).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}
