//! Who may see what. What is not theirs to see does not exist for them.

use super::Workflow;
use crate::control::refusal::Refusal;
use crate::domain::{ElevationId, GrantId, Person};
use crate::identity::Verified;
use crate::store::{ElevationRecord, GrantRecord};

impl Workflow {
    /// Admins and auditors see everything, others what is their own.
    pub fn sees_all(&self, caller: &Verified) -> bool {
        caller.groups.iter().any(|group| self.groups.admins.contains(group) || self.groups.auditors.contains(group))
    }

    /// Admins and revokers may end any grant, others their own.
    pub(super) fn revokes_all(&self, caller: &Verified) -> bool {
        caller.groups.iter().any(|group| self.groups.admins.contains(group) || self.groups.revokers.contains(group))
    }

    fn may_see(&self, caller: &Verified, owner: &Person) -> bool {
        caller.person == *owner || self.sees_all(caller)
    }

    /// # Errors
    /// Not found: there is none, or it is someone else's.
    pub async fn visible_elevation(&self, caller: &Verified, id: &ElevationId) -> Result<ElevationRecord, Refusal> {
        let record = self.store.elevation(id).await?.filter(|record| self.may_see(caller, &record.elevation.person));
        record.ok_or_else(Refusal::not_found)
    }

    /// A revoker sees the grants that they may end.
    ///
    /// # Errors
    /// Not found: there is none, or it is someone else's.
    pub async fn visible_grant(&self, caller: &Verified, id: &GrantId) -> Result<GrantRecord, Refusal> {
        let record = self.store.grant(id).await?;
        let visible = |record: &GrantRecord| self.may_see(caller, &record.grant.person) || self.revokes_all(caller);
        record.filter(visible).ok_or_else(Refusal::not_found)
    }
}
