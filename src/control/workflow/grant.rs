//! From an approved request to its signed grant. The clock starts here.

use std::time::Duration;

use super::Workflow;
use crate::config::policy::approvals::Approver;
use crate::control::keys::KeysError;
use crate::domain::{Approval, Bounds, Elevation, Grant, GrantId, Origin, Person, WallTime};
use crate::policy::AdmittedBy;
use crate::policy::standing::GrantFacts;
use crate::store::{ElevationRecord, NewGrant};

impl Workflow {
    /// The grant of `elevation` within `bounds`, signed unless something must be bound to it first. It begins now.
    pub(super) async fn grant(
        &self,
        elevation: &Elevation,
        bounds: Bounds,
        approvals: Vec<Person>,
        policy_revision: u64,
        review_due: Duration,
    ) -> Result<NewGrant, KeysError> {
        // Whole seconds, rounded down: a grant has begun when it is issued.
        let begins = WallTime::from_unix_s(self.clock.wall().unix_s());
        let grant = Grant {
            id: GrantId::from_random(random_bits()?),
            service: elevation.service.clone(),
            person: elevation.person.clone(),
            idp: elevation.idp.clone(),
            authentication: elevation.authentication.clone(),
            role: elevation.role.clone(),
            scope: bounds.scope,
            binding: elevation.binding,
            confirmation: elevation.confirmation.clone(),
            justification: elevation.justification.clone(),
            issued: begins,
            not_before: begins,
            expires: begins.plus(bounds.duration),
            max_uses: bounds.max_uses,
            staleness_max: elevation.staleness_max,
            policy_revision,
            approvals,
            origin: Origin::ControlPlane,
        };
        let issuer = self.issuer.to_string();
        // What must be bound is bound before there is a token: by the request, or by a claim.
        let token = match grant.is_bound() {
            true => Some(self.keys.mint(&grant, &issuer).await?),
            false => None,
        };
        Ok(NewGrant { grant, issuer, token, review_due: Some(review_due) })
    }
}

/// What rules are asked of a grant of the request, within `bounds` and until `expires`.
pub(super) fn grant_facts(
    record: &ElevationRecord,
    admitted_by: AdmittedBy,
    bounds: Bounds,
    expires: WallTime,
) -> GrantFacts {
    let elevation = &record.elevation;
    let approver = |approval: &Approval| Approver { person: approval.person.clone(), groups: approval.groups.clone() };
    GrantFacts {
        tier: record.tier.clone(),
        admitted_by,
        service: elevation.service.clone(),
        role: elevation.role.clone(),
        scope: bounds.scope,
        reason: elevation.justification.reason.clone(),
        binding: elevation.binding,
        max_uses: bounds.max_uses,
        staleness_max: elevation.staleness_max,
        authentication: elevation.authentication.clone(),
        requested: elevation.requested,
        expires,
        approvers: record.approvals.iter().map(approver).collect(),
        approver_groups_known: true,
    }
}

pub(super) fn random_bits() -> Result<u64, KeysError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| crate::token::KeyError::Generate)?;
    Ok(u64::from_be_bytes(bytes))
}
