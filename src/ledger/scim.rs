//! Entries about what provisioning clients changed (SCIM 2.0).

use super::entry::{Draft, EntryKind, PersonalField};
use crate::domain::{GrantId, Person};

/// One change of one resource.
#[derive(Debug, Clone, Copy)]
pub struct Provisioned<'a> {
    /// As the configuration calls it.
    pub client: &'a str,
    /// The resource's id.
    pub id: &'a str,
    pub change: &'static str,
}

impl Draft {
    /// A user came, went, or is another.
    pub fn scim_user(provisioned: Provisioned<'_>, person: &Person) -> Self {
        Self::new(EntryKind::UserProvisioned)
            .provisioned(provisioned)
            .fact("user", provisioned.id)
            .personal(PersonalField::Person, person.as_str())
    }

    /// A group came, went, or is called otherwise.
    pub fn scim_group(provisioned: Provisioned<'_>, name: &str) -> Self {
        Self::new(EntryKind::GroupProvisioned).provisioned(provisioned).fact("group", provisioned.id).fact("name", name)
    }

    /// Somebody came into a group, or left it.
    pub fn scim_member(provisioned: Provisioned<'_>, name: &str, person: &Person) -> Self {
        Self::scim_group(provisioned, name).personal(PersonalField::Person, person.as_str())
    }

    /// A live grant of somebody who was deactivated.
    pub fn grant_revoked_by_scim(grant: &GrantId, client: &str, user: &str) -> Self {
        Self::new(EntryKind::GrantRevoked)
            .fact("grant", grant.as_str())
            .fact("cause", "deactivated")
            .fact("client", client)
            .fact("user", user)
    }

    fn provisioned(self, provisioned: Provisioned<'_>) -> Self {
        self.fact("client", provisioned.client).fact("change", provisioned.change)
    }
}
