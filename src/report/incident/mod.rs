//! The story of one grant, out of the entries that name it, its request, or the revocation it ended by.
//!
//! Entries come in the ledger's order, first those of the lifecycle, then what sidecars recorded. Overrides beyond
//! [`LISTED_MAX`] are counted and not listed, so that the report stays of a bounded size.

mod events;
mod lines;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::told::{Told, some_text, text, texts};
use crate::domain::{GrantId, WallTime};
use crate::ledger::entry::{EntryKind, PersonalField};
use crate::wire::reports::{
    AccountTold, ApprovalTold, AuthenticationTold, Completeness, EndTold, EnforcedTold, FORMAT, GrantReport,
    GrantedTold, RequestTold, ReviewTold, SignedTree, UsageTold,
};
use lines::Lines;

/// Overrides, and refusals, that are listed one by one.
pub const LISTED_MAX: usize = 5_000;
/// Numbers without an intent that are named.
const MISSING_NAMED_MAX: usize = 20;

/// See the module.
#[derive(Debug)]
pub struct Incident {
    grant: GrantId,
    granted: Option<GrantedTold>,
    /// The request that it came of.
    elevation: Option<String>,
    /// From when on it could be used.
    active: Option<WallTime>,
    request: Option<RequestTold>,
    approvals: Vec<ApprovalTold>,
    events: Vec<crate::wire::reports::EventTold>,
    end: Option<EndTold>,
    enforced: BTreeMap<String, EnforcedTold>,
    reviews: Vec<ReviewTold>,
    account: Option<AccountTold>,
    lines: Lines,
}

impl Incident {
    pub fn new(grant: GrantId) -> Self {
        Self {
            grant,
            granted: None,
            elevation: None,
            active: None,
            request: None,
            approvals: Vec::new(),
            events: Vec::new(),
            end: None,
            enforced: BTreeMap::new(),
            reviews: Vec::new(),
            account: None,
            lines: Lines::default(),
        }
    }

    /// Takes the next entry. One that is about another grant is passed over.
    pub fn take(&mut self, told: &Told<'_>) {
        if told.facts.grant.as_deref().is_some_and(|grant| grant != self.grant.as_str()) {
            return;
        }
        if told.kind == EntryKind::AuditLine {
            return self.lines.take(told);
        }
        self.note(told);
        self.events.push(events::event(told));
    }

    fn note(&mut self, told: &Told<'_>) {
        match told.kind {
            EntryKind::ElevationRequested => self.request = Some(request(told)),
            EntryKind::ElevationApproved => self.approvals.push(approval(told)),
            EntryKind::GrantIssued => {
                self.active = told.facts.token_sha256.is_some().then_some(told.at);
                self.elevation = some_text(&told.facts.elevation);
                self.granted = Some(granted(told));
            }
            EntryKind::GrantClaimed => self.active = Some(told.at),
            EntryKind::GrantExpired => self.end = Some(end(told, "expired")),
            EntryKind::GrantRevoked => self.end = Some(end(told, "revoked")),
            EntryKind::GrantUsedUp => self.end = Some(end(told, "used_up")),
            EntryKind::RevocationEnforced => {
                self.enforced.insert(text(&told.facts.revocation), enforced(told));
            }
            EntryKind::GrantReviewed => self.reviews.push(review(told)),
            EntryKind::GrantClosed => self.account = Some(account(told)),
            _ => {}
        }
    }

    /// What the entries name besides the grant: its request.
    pub fn elevation(&self) -> Option<&str> {
        self.elevation.as_deref()
    }

    /// The revocation that it ended by.
    pub fn revocation(&self) -> Option<&str> {
        self.end.as_ref()?.revocation.as_deref()
    }

    /// `None`: there is no entry of its being granted.
    pub fn finish(mut self, tree: SignedTree, made: WallTime) -> Option<GrantReport> {
        let granted = self.granted.take()?;
        self.events.sort_by_key(|event| event.entry);
        if let Some(end) = &mut self.end {
            end.enforcement = end.revocation.as_ref().and_then(|revocation| self.enforced.remove(revocation));
        }
        let usage = self.usage(&granted);
        let completeness = self.completeness();
        let due = granted.review_due_s.zip(self.end.as_ref());
        let review_due_at = due.map(|(due_s, end)| end.at.plus(std::time::Duration::from_secs(due_s)));
        let (overrides, overrides_left_out) = self.lines.overrides();
        let (refusals, refusals_left_out) = self.lines.refusals();
        Some(GrantReport {
            format: FORMAT,
            grant: self.grant,
            made_at: made,
            tree,
            granted,
            request: self.request,
            approvals: self.approvals,
            events: self.events,
            end: self.end,
            usage,
            overrides,
            overrides_left_out,
            refusals,
            refusals_left_out,
            reviews: self.reviews,
            review_due_at,
            account: self.account,
            completeness,
        })
    }

    fn usage(&self, granted: &GrantedTold) -> UsageTold {
        let begun = granted.not_before_at;
        let end = self.end.as_ref().map(|end| end.at.min(granted.expires_at));
        let last = self.lines.last_used.map(|last| end.map_or(last, |end| last.min(end)));
        let listed = |granted: &[String], used: &BTreeMap<String, u64>| {
            let mut all: BTreeMap<String, u64> = granted.iter().map(|name| (name.clone(), 0)).collect();
            all.extend(used.iter().map(|(name, count)| (name.clone(), *count)));
            all
        };
        let request = self.request.as_ref();
        UsageTold {
            requested_ms: request.map(|request| request.duration_s.saturating_mul(1000)),
            granted_ms: span(begun, granted.expires_at),
            stood_ms: end.map(|end| span(begun, end)),
            used_ms: last.map_or(0, |last| span(begun, last)),
            time_to_access_ms: request.zip(self.active).map(|(request, active)| span(request.at, active)),
            requested_uses: request.and_then(|request| request.max_uses),
            granted_uses: granted.max_uses,
            overrides: self.lines.intents,
            refusals: self.lines.refused,
            actions: listed(&granted.actions, &self.lines.actions),
            resources: listed(&granted.resources, &self.lines.resources),
        }
    }

    fn completeness(&self) -> Completeness {
        let (intents, outcomes) = (self.lines.intents, self.lines.outcomes);
        let missing_numbers = self.lines.missing(MISSING_NAMED_MAX);
        let closed = self.account.as_ref();
        let fits = closed.is_some_and(|account| account.overrides == intents && account.missing.is_empty());
        let settled = closed.is_some_and(|account| account.reconciled && account.open == 0);
        let complete = fits && settled && missing_numbers.is_empty() && intents == outcomes;
        let statement = match closed {
            Some(_) if complete && intents == 0 => "This grant was never used.".to_owned(),
            Some(_) if complete && intents == 1 => "This is the only override of this grant.".to_owned(),
            Some(_) if complete => format!("These are all {intents} overrides of this grant."),
            Some(account) => format!(
                "This is not known to be all: the close record counts {} overrides, the ledger holds {intents} intents and \
                 {outcomes} outcomes; {} open, {} sidecars missing{}.",
                account.overrides,
                account.open,
                account.missing.len(),
                not_agreeing(&account.differences)
            ),
            None if self.end.is_some() => {
                format!("The account is not closed yet; so far the ledger holds {intents} overrides.")
            }
            None => format!("The grant has not ended; so far the ledger holds {intents} overrides."),
        };
        Completeness { complete, intents, outcomes, missing_numbers, statement }
    }
}

fn not_agreeing(differences: &[String]) -> String {
    if differences.is_empty() {
        String::new()
    } else {
        format!(", numbers that do not agree: {}", differences.join(", "))
    }
}

pub(super) fn span(from: WallTime, to: WallTime) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}

fn authentication(told: &Told<'_>) -> AuthenticationTold {
    let facts = &told.facts;
    AuthenticationTold { acr: some_text(&facts.acr), amr: texts(&facts.amr), auth_at: facts.auth_time }
}

fn request(told: &Told<'_>) -> RequestTold {
    let facts = &told.facts;
    RequestTold {
        entry: told.index,
        at: told.at,
        elevation: text(&facts.elevation),
        person: told.personal(PersonalField::Person),
        ticket: told.personal(PersonalField::Ticket),
        team: some_text(&facts.team),
        admitted_by: some_text(&facts.admitted_by),
        stood_in: some_text(&facts.stood_in),
        duration_s: facts.duration_s.unwrap_or_default(),
        resources: texts(&facts.resources),
        actions: texts(&facts.actions),
        max_uses: facts.max_uses,
        authentication: authentication(told),
    }
}

fn approval(told: &Told<'_>) -> ApprovalTold {
    let facts = &told.facts;
    ApprovalTold {
        entry: told.index,
        at: told.at,
        number: facts.number.unwrap_or_default(),
        by: told.personal(PersonalField::By),
        groups: texts(&facts.groups),
        duration_s: facts.duration_s,
        actions: facts.actions.is_some().then(|| texts(&facts.actions)),
        max_uses: facts.max_uses,
        authentication: authentication(told),
    }
}

fn granted(told: &Told<'_>) -> GrantedTold {
    let facts = &told.facts;
    GrantedTold {
        entry: told.index,
        issued_at: told.at,
        not_before_at: facts.not_before.unwrap_or(told.at),
        expires_at: facts.expires.unwrap_or(told.at),
        service: text(&facts.service),
        tier: text(&facts.tier),
        person: told.personal(PersonalField::Person),
        ticket: told.personal(PersonalField::Ticket),
        reason: text(&facts.reason),
        role: text(&facts.role),
        resources: texts(&facts.resources),
        actions: texts(&facts.actions),
        binding: text(&facts.binding),
        idp: text(&facts.idp),
        policy_revision: facts.policy_revision.unwrap_or_default(),
        max_uses: facts.max_uses,
        review_due_s: facts.review_due_s,
    }
}

fn end(told: &Told<'_>, how: &str) -> EndTold {
    EndTold {
        entry: told.index,
        at: told.at,
        how: how.to_owned(),
        by: told.personal(PersonalField::By),
        note: told.personal(PersonalField::Note),
        cause: some_text(&told.facts.cause),
        revocation: some_text(&told.facts.revocation),
        enforcement: None,
    }
}

fn enforced(told: &Told<'_>) -> EnforcedTold {
    let facts = &told.facts;
    EnforcedTold {
        entry: told.index,
        at: told.at,
        enforced: facts.enforced.unwrap_or_default(),
        stopped: facts.stopped.unwrap_or_default(),
        rejected: facts.rejected.unwrap_or_default(),
        elapsed_ms: facts.elapsed_ms,
    }
}

fn review(told: &Told<'_>) -> ReviewTold {
    ReviewTold {
        entry: told.index,
        at: told.at,
        by: told.personal(PersonalField::By),
        verdict: text(&told.facts.verdict),
        late: told.facts.late.unwrap_or_default(),
        findings: told.personal(PersonalField::Note),
    }
}

fn account(told: &Told<'_>) -> AccountTold {
    let facts = &told.facts;
    let ends = facts.ends.iter().flatten().map(|(end, count)| (end.clone().into_owned(), *count));
    AccountTold {
        entry: told.index,
        at: told.at,
        overrides: facts.overrides.unwrap_or_default(),
        ends: ends.collect(),
        open: facts.open.unwrap_or_default(),
        refusals: facts.refusals.unwrap_or_default(),
        spent: facts.spent,
        missing: texts(&facts.missing),
        assertions: facts.assertions,
        signed: facts.signed,
        differences: texts(&facts.differences),
        reconciled: facts.reconciled.unwrap_or_default(),
        amends: facts.amends,
    }
}
