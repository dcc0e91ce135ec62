//! The kinds of entries and the facts of each, one constructor a kind.

use serde_json::Value;

use super::entry::{Draft, EntryKind, PersonalField};
use crate::domain::{Elevation, ElevationId, Grant, GrantId, InstanceName, Person, ServiceName};

impl Draft {
    /// A process began to serve this ledger. `instance` is its configured name, `replica` this one start.
    pub fn control_started(version: &str, epoch: &str, instance: &InstanceName, replica: &str) -> Self {
        Self::new(EntryKind::ControlStarted)
            .fact("version", version)
            .fact("epoch", epoch)
            .fact("instance", instance.as_str())
            .fact("replica", replica)
    }

    /// A grant key that a root certified. `certificate` is a `bg-key+jwt`, which is public.
    pub fn key_created(kid: &str, root_kid: &str, certificate: &str) -> Self {
        Self::new(EntryKind::KeyCreated).fact("kid", kid).fact("root_kid", root_kid).fact("certificate", certificate)
    }

    /// A sidecar's own key that a root certified for assertions. `certificate` is a `bg-key+jwt`, which is public.
    pub fn assertion_key_certified(
        service: &ServiceName,
        instance: &InstanceName,
        kid: &str,
        root_kid: &str,
        certificate: &str,
    ) -> Self {
        Self::new(EntryKind::AssertionKeyCertified)
            .fact("service", service.as_str())
            .fact("instance", instance.as_str())
            .fact("kid", kid)
            .fact("root_kid", root_kid)
            .fact("certificate", certificate)
    }

    pub fn policy_applied(policy_revision: u64, digest: &str) -> Self {
        Self::new(EntryKind::PolicyApplied).fact("policy_revision", policy_revision).fact("sha256", digest)
    }

    pub fn service_applied(policy_revision: u64, service: &str, digest: &str) -> Self {
        Self::new(EntryKind::ServiceApplied)
            .fact("policy_revision", policy_revision)
            .fact("service", service)
            .fact("sha256", digest)
    }

    pub fn elevation_requested(elevation: &Elevation, tier: &str) -> Self {
        Self::new(EntryKind::ElevationRequested)
            .fact("elevation", elevation.id.as_str())
            .fact("service", elevation.service.as_str())
            .fact("tier", tier)
            .fact("role", elevation.role.as_str())
            .fact("resources", texts(elevation.scope.resources()))
            .fact("actions", texts(elevation.scope.actions()))
            .fact("reason", elevation.justification.reason.as_str())
            .fact("duration_s", elevation.duration.as_secs())
            .personal(PersonalField::Person, elevation.person.as_str())
            .personal(PersonalField::Ticket, elevation.justification.ticket.as_str())
    }

    /// An authenticated person asked for what the policy does not allow. `code` is the problem's.
    pub fn elevation_refused(code: &'static str, asked: Refused<'_>) -> Self {
        Self::new(EntryKind::ElevationRefused)
            .fact("code", code)
            .fact("service", asked.service.as_str())
            .fact("resources", texts(asked.resources))
            .fact("actions", texts(asked.actions))
            .fact("reason", asked.reason)
            .personal(PersonalField::Person, asked.person.as_str())
            .personal(PersonalField::Ticket, asked.ticket)
    }

    /// Everything the signed token says, but the personal values, and the token's digest.
    pub fn grant_issued(grant: &Grant, elevation: &ElevationId, token_sha256: &str) -> Self {
        let draft = Self::new(EntryKind::GrantIssued)
            .fact("grant", grant.id.as_str())
            .fact("elevation", elevation.as_str())
            .fact("service", grant.service.as_str())
            .fact("idp", grant.idp.as_str())
            .fact("role", grant.role.as_str())
            .fact("resources", texts(grant.scope.resources()))
            .fact("actions", texts(grant.scope.actions()))
            .fact("binding", grant.binding.as_str())
            .fact("reason", grant.justification.reason.as_str())
            .fact("not_before", grant.not_before.unix_ms())
            .fact("expires", grant.expires.unix_ms())
            .fact("staleness_max_s", grant.staleness_max.as_secs())
            .fact("policy_revision", grant.policy_revision)
            .fact("approvals", grant.approvals.len())
            .fact("token_sha256", token_sha256)
            .personal(PersonalField::Person, grant.person.as_str())
            .personal(PersonalField::Ticket, grant.justification.ticket.as_str());
        match grant.max_uses {
            Some(uses) => draft.fact("max_uses", uses.get()),
            None => draft,
        }
    }

    pub fn grant_revoked(grant: &GrantId, by: &Person, note: Option<&str>) -> Self {
        let draft =
            Self::new(EntryKind::GrantRevoked).fact("grant", grant.as_str()).personal(PersonalField::By, by.as_str());
        match note {
            Some(note) => draft.personal(PersonalField::Note, note),
            None => draft,
        }
    }

    pub fn grant_expired(grant: &GrantId) -> Self {
        Self::new(EntryKind::GrantExpired).fact("grant", grant.as_str())
    }

    pub fn grant_used_up(grant: &GrantId, spent: u64) -> Self {
        Self::new(EntryKind::GrantUsedUp).fact("grant", grant.as_str()).fact("spent", spent)
    }

    /// `service` absent: everywhere.
    pub fn freeze_changed(service: Option<&ServiceName>, frozen: bool, by: &Person) -> Self {
        let draft = Self::new(EntryKind::FreezeChanged).fact("frozen", frozen).personal(PersonalField::By, by.as_str());
        match service {
            Some(service) => draft.fact("service", service.as_str()),
            None => draft,
        }
    }
}

/// What was asked for and refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    pub service: &'a ServiceName,
    pub resources: &'a [crate::domain::Resource],
    pub actions: &'a [crate::domain::Action],
    pub reason: &'a str,
    pub ticket: &'a str,
    pub person: &'a Person,
}

fn texts<'a, T: AsRef<str> + 'a>(items: impl IntoIterator<Item = &'a T>) -> Value {
    items.into_iter().map(|item| Value::from(item.as_ref())).collect()
}
