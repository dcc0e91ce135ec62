//! Who may see what. What is not theirs to see does not exist for them.

use super::Workflow;
use super::approve::may_approve;
use crate::config::policy::Tier;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{ElevationId, ElevationState, GrantId, Person, RevocationId};
use crate::identity::Verified;
use crate::store::{ElevationRecord, GrantRecord, RevocationRecord};

impl Workflow {
    /// Admins and auditors see everything, others what is their own.
    pub fn sees_all(&self, caller: &Verified) -> bool {
        caller.groups.iter().any(|group| self.groups.admins.contains(group) || self.groups.auditors.contains(group))
    }

    /// Admins and revokers may end any grant, others their own.
    pub(super) fn revokes_all(&self, caller: &Verified) -> bool {
        caller.groups.iter().any(|group| self.groups.admins.contains(group) || self.groups.revokers.contains(group))
    }

    /// Stopping is cheap, and whoever is unsure should stop.
    pub fn may_freeze(&self, caller: &Verified) -> bool {
        self.revokes_all(caller) || caller.groups.iter().any(|group| self.groups.freezers.contains(group))
    }

    /// Opening again is not; what is erased does not come back; and the policy is everybody's. All three are theirs alone.
    pub(super) fn is_admin(&self, caller: &Verified) -> bool {
        caller.groups.iter().any(|group| self.groups.admins.contains(group))
    }

    /// Who may order a revocation of what is not theirs, or see everything, sees them all; others what they ordered.
    pub fn sees_revocations(&self, caller: &Verified) -> bool {
        self.sees_all(caller) || self.may_freeze(caller)
    }

    /// Whose grants it ended sees it, too.
    ///
    /// # Errors
    /// Not found: there is none, or it is not theirs to see.
    pub async fn visible_revocation(&self, caller: &Verified, id: &RevocationId) -> Result<RevocationRecord, Refusal> {
        let record = self.store.revocation(id).await?.ok_or_else(Refusal::not_found)?;
        if self.sees_revocations(caller)
            || record.by == caller.person
            || record.selector.person() == Some(&caller.person)
        {
            return Ok(record);
        }
        let ended = match record.selector.grant() {
            Some(grant) => self.store.grant(grant).await?,
            None => None,
        };
        let is_own = ended.is_some_and(|ended| ended.grant.person == caller.person);
        if is_own { Ok(record) } else { Err(Refusal::not_found()) }
    }

    fn may_see(&self, caller: &Verified, owner: &Person) -> bool {
        caller.person == *owner || self.sees_all(caller)
    }

    /// Who may decide on a request sees it, before and after.
    ///
    /// # Errors
    /// Not found: there is none, or it is someone else's.
    pub async fn visible_elevation(&self, caller: &Verified, id: &ElevationId) -> Result<ElevationRecord, Refusal> {
        let record = self.store.elevation(id).await?;
        let visible = |record: &ElevationRecord| {
            self.may_see(caller, &record.elevation.person) || may_approve(&self.rules(), caller, record)
        };
        record.filter(visible).ok_or_else(Refusal::not_found)
    }

    /// Requests that `caller` can approve now.
    pub fn can_approve(&self, caller: &Verified, record: &ElevationRecord) -> bool {
        record.elevation.state == ElevationState::Requested
            && !record.approvals.iter().any(|approval| approval.person == caller.person)
            && may_approve(&self.rules(), caller, record)
    }

    /// Administrators, auditors and reviewers may review any grant but their own, approvers those of their tiers.
    pub(super) fn may_review(&self, caller: &Verified, record: &GrantRecord) -> bool {
        let reviews_all = caller.groups.iter().any(|group| self.groups.reviewers.contains(group));
        let approves = |tier: &Tier| tier.approvals.is_open_to(&caller.groups);
        record.grant.person != caller.person
            && (reviews_all || self.sees_all(caller) || self.rules().policy.tier(&record.tier).is_some_and(approves))
    }

    /// A revoker sees the grants that they may end, a reviewer those that they may review.
    ///
    /// # Errors
    /// Not found: there is none, or it is someone else's.
    pub async fn visible_grant(&self, caller: &Verified, id: &GrantId) -> Result<GrantRecord, Refusal> {
        let record = self.store.grant(id).await?;
        let visible = |record: &GrantRecord| self.revokes_all(caller) || self.sees_grant(caller, record);
        record.filter(visible).ok_or_else(Refusal::not_found)
    }

    /// Whether a grant stands in a list for `caller`.
    pub fn sees_grant(&self, caller: &Verified, record: &GrantRecord) -> bool {
        self.may_see(caller, &record.grant.person) || self.may_review(caller, record)
    }

    /// A grant's report is for those who look at what others did: whoever may review the grant, and who sees everything.
    ///
    /// # Errors
    /// Not found: there is none, or it is not theirs to see. Not permitted: they see the grant, and don't review it.
    pub async fn reported_grant(&self, caller: &Verified, id: &GrantId) -> Result<GrantRecord, Refusal> {
        let record = self.visible_grant(caller, id).await?;
        if self.sees_all(caller) || self.may_review(caller, &record) {
            return Ok(record);
        }
        Err(Refusal::new(Cause::NotPermitted, "reports are for administrators, auditors and those who review"))
    }

    /// A period's report is about everybody.
    ///
    /// # Errors
    /// Not permitted: the caller does not see everything.
    pub fn may_report(&self, caller: &Verified) -> Result<(), Refusal> {
        if self.sees_all(caller) {
            return Ok(());
        }
        Err(Refusal::new(Cause::NotPermitted, "a period's report is for administrators and auditors"))
    }
}
