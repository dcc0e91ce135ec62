//! A request as its reader sees it.

use std::num::NonZeroU32;

use super::ApiState;
use super::grants::view as grant_view;
use crate::control::refusal::Refusal;
use crate::control::workflow::approve::Sight;
use crate::domain::{Approval, Bounds, Elevation, ElevationState};
use crate::store::{ElevationRecord, GrantRecord, Past};
use crate::wire::api::{ElevationView, GrantView};
use crate::wire::lifecycle::{ApprovalView, AuthenticationView, BoundsView, PastGrant, PastView, WantedApprovals};

/// With the grant, where there is one.
pub(super) async fn view(state: &ApiState, sight: Sight) -> Result<ElevationView, Refusal> {
    let grant = match &sight.record.elevation.grant {
        Some(id) => state.workflow.store.grant(id).await?.map(|grant| grant_view(state, grant)),
        None => None,
    };
    Ok(ElevationView { grant, ..waiting(sight) })
}

/// As it is while there is no grant: this is what an approver sees, and what their entity tag names.
pub(super) fn waiting(sight: Sight) -> ElevationView {
    let waits = sight.record.elevation.state == ElevationState::Requested;
    let wanted = sight.wanted.filter(|_| waits).map(|wanted| WantedApprovals {
        count: wanted.count,
        groups: wanted.groups,
        every_group: wanted.every_group,
        policy_revision: sight.policy_revision,
    });
    ElevationView {
        wanted,
        would_grant: waits.then(|| bounds(&sight.bounds)),
        past: sight.past.map(past),
        ..plain(sight.record, None)
    }
}

fn plain(record: ElevationRecord, grant: Option<GrantView>) -> ElevationView {
    let (authentication, elevation, decided) = (authentication(&record.elevation), record.elevation, record.decided);
    ElevationView {
        id: elevation.id,
        state: elevation.state,
        service: elevation.service,
        person: elevation.person,
        tier: record.tier,
        role: elevation.role,
        resources: elevation.scope.resources().iter().cloned().collect(),
        actions: elevation.scope.actions().iter().cloned().collect(),
        reason: elevation.justification.reason,
        ticket: elevation.justification.ticket,
        duration_s: elevation.duration.as_secs(),
        max_uses: elevation.max_uses.map(NonZeroU32::get),
        binding: elevation.binding,
        confirmation: elevation.confirmation,
        authentication,
        policy_revision: elevation.policy_revision,
        requested_at: elevation.requested,
        lapses_at: record.lapses,
        wanted: None,
        approvals: record.approvals.into_iter().map(approval).collect(),
        would_grant: None,
        past: None,
        decided_at: decided.as_ref().map(|decided| decided.at),
        decided_by: decided.as_ref().and_then(|decided| decided.by.clone()),
        decided_note: decided.and_then(|decided| decided.note),
        grant,
    }
}

fn authentication(elevation: &Elevation) -> AuthenticationView {
    AuthenticationView {
        issuer: elevation.idp.clone(),
        acr: elevation.authentication.acr.clone(),
        amr: elevation.authentication.amr.clone(),
        auth_at: elevation.authentication.auth_time,
    }
}

fn approval(approval: Approval) -> ApprovalView {
    ApprovalView {
        by: approval.person,
        issuer: approval.idp,
        groups: approval.groups,
        approved_at: approval.at,
        duration_s: approval.narrowing.duration.map(|duration| duration.as_secs()),
        actions: approval.narrowing.actions,
        max_uses: approval.narrowing.max_uses.map(NonZeroU32::get),
    }
}

fn bounds(bounds: &Bounds) -> BoundsView {
    BoundsView {
        duration_s: bounds.duration.as_secs(),
        actions: bounds.scope.actions().clone(),
        max_uses: bounds.max_uses.map(NonZeroU32::get),
    }
}

fn past(past: Past) -> PastView {
    PastView { grants: past.grants, last: past.last.into_iter().map(past_grant).collect() }
}

fn past_grant(record: GrantRecord) -> PastGrant {
    PastGrant {
        id: record.grant.id,
        state: record.state,
        service: record.grant.service,
        resources: record.grant.scope.resources().clone(),
        actions: record.grant.scope.actions().clone(),
        reason: record.grant.justification.reason,
        issued_at: record.grant.issued,
        ended_at: record.ended.map(|end| end.at),
        max_uses: record.grant.max_uses.map(NonZeroU32::get),
        spent: record.spent,
        review: record.review.state,
        verdict: record.review.done.map(|done| done.verdict),
    }
}
