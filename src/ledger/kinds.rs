//! The kinds of entries and the facts of each, one constructor a kind.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Map, Value};

use super::entry::{Draft, EntryKind, PersonalField};
use crate::domain::{
    Approval, Authentication, Confirmation, Elevation, ElevationId, Grant, GrantId, InstanceName, Person, ProposalId,
    Resource, RevocationId, Selector, ServiceName, Ticket, Verdict, WallTime,
};

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

    /// `by` applied it, or proposed it where `confirmed_by` is somebody. Both absent: the first start did.
    pub fn policy_applied(
        policy_revision: u64,
        digest: &str,
        by: Option<&Person>,
        confirmed_by: Option<&Person>,
        note: Option<&str>,
    ) -> Self {
        let draft = Self::new(EntryKind::PolicyApplied).fact("policy_revision", policy_revision).fact("sha256", digest);
        let named = [
            (PersonalField::By, by.map(Person::as_str)),
            (PersonalField::ConfirmedBy, confirmed_by.map(Person::as_str)),
            (PersonalField::Note, note),
        ];
        named.into_iter().fold(draft, |draft, (field, value)| match value {
            Some(value) => draft.personal(field, value),
            None => draft,
        })
    }

    /// A change of the policy waits for a second administrator. `base` is the revision that it would follow.
    pub fn policy_proposed(id: &ProposalId, base: u64, digest: &str, by: &Person, note: Option<&str>) -> Self {
        let draft = Self::new(EntryKind::PolicyProposed)
            .fact("proposal", id.as_str())
            .fact("base", base)
            .fact("sha256", digest)
            .personal(PersonalField::By, by.as_str());
        match note {
            Some(note) => draft.personal(PersonalField::Note, note),
            None => draft,
        }
    }

    pub fn policy_proposal_withdrawn(id: &ProposalId, by: &Person) -> Self {
        Self::new(EntryKind::PolicyProposalWithdrawn)
            .fact("proposal", id.as_str())
            .personal(PersonalField::By, by.as_str())
    }

    /// A live grant that a policy revision no longer allows.
    pub fn grant_revoked_by_policy(grant: &GrantId, policy_revision: u64, why: &str) -> Self {
        Self::new(EntryKind::GrantRevoked)
            .fact("grant", grant.as_str())
            .fact("cause", "policy_applied")
            .fact("policy_revision", policy_revision)
            .fact("why", why)
    }

    pub fn service_applied(policy_revision: u64, service: &str, digest: &str) -> Self {
        Self::new(EntryKind::ServiceApplied)
            .fact("policy_revision", policy_revision)
            .fact("service", service)
            .fact("sha256", digest)
    }

    /// `lapses` is absent where the request is approved as it is made.
    pub fn elevation_requested(elevation: &Elevation, tier: &str, lapses: Option<WallTime>) -> Self {
        let draft = Self::new(EntryKind::ElevationRequested)
            .fact("elevation", elevation.id.as_str())
            .fact("service", elevation.service.as_str())
            .fact("tier", tier)
            .fact("role", elevation.role.as_str())
            .fact("resources", texts(elevation.scope.resources()))
            .fact("actions", texts(elevation.scope.actions()))
            .fact("reason", elevation.justification.reason.as_str())
            .fact("duration_s", elevation.duration.as_secs())
            .fact("policy_revision", elevation.policy_revision)
            .fact("idp", elevation.idp.as_str())
            .personal(PersonalField::Person, elevation.person.as_str())
            .personal(PersonalField::Ticket, elevation.justification.ticket.as_str());
        draft
            .fact_if("max_uses", elevation.max_uses.map(NonZeroU32::get))
            .fact_if("lapses", lapses.map(WallTime::unix_ms))
            .authenticated(&elevation.authentication)
    }

    /// How the person had authenticated: context class, methods, time; of each what the issuer said.
    #[must_use]
    pub fn authenticated(self, authentication: &Authentication) -> Self {
        let methods = (!authentication.amr.is_empty()).then(|| texts(&authentication.amr));
        self.fact_if("acr", authentication.acr.as_deref())
            .fact_if("amr", methods)
            .fact_if("auth_time", authentication.auth_time.map(WallTime::unix_ms))
    }

    /// The team whose the service is.
    #[must_use]
    pub fn of_team(self, team: Option<&str>) -> Self {
        self.fact_if("team", team)
    }

    /// By what the tier was open to who asked, and the group that stood in for a schedule which was not known.
    #[must_use]
    pub fn admitted(self, by: Option<&str>, stood_in: Option<&str>) -> Self {
        self.fact_if("admitted_by", by).fact_if("stood_in", stood_in)
    }

    /// One person's approval, the `number`th of this request. `etag` names what they saw; `complete`: with it, the grant
    /// is made.
    pub fn elevation_approved(
        elevation: &ElevationId,
        approval: &Approval,
        number: usize,
        complete: bool,
        etag: &str,
    ) -> Self {
        let narrowing = &approval.narrowing;
        Self::new(EntryKind::ElevationApproved)
            .fact("elevation", elevation.as_str())
            .fact("number", number)
            .fact("complete", complete)
            .personal(PersonalField::Etag, etag)
            .fact("idp", approval.idp.as_str())
            .fact("groups", texts(&approval.groups))
            .fact_if("duration_s", narrowing.duration.map(|duration| duration.as_secs()))
            .fact_if("actions", narrowing.actions.as_ref().map(texts))
            .fact_if("max_uses", narrowing.max_uses.map(NonZeroU32::get))
            .personal(PersonalField::By, approval.person.as_str())
    }

    pub fn elevation_denied(elevation: &ElevationId, by: &Person, note: &str) -> Self {
        Self::new(EntryKind::ElevationDenied)
            .fact("elevation", elevation.as_str())
            .personal(PersonalField::By, by.as_str())
            .personal(PersonalField::Note, note)
    }

    pub fn elevation_withdrawn(elevation: &ElevationId, by: &Person) -> Self {
        Self::new(EntryKind::ElevationWithdrawn)
            .fact("elevation", elevation.as_str())
            .personal(PersonalField::By, by.as_str())
    }

    /// Nobody answered in time, or it ended for another `cause` that is nobody's answer.
    pub fn elevation_lapsed(elevation: &ElevationId, cause: Option<&'static str>) -> Self {
        Self::new(EntryKind::ElevationLapsed).fact("elevation", elevation.as_str()).fact_if("cause", cause)
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
    pub fn grant_issued(grant: &Grant, issued: Issued<'_>) -> Self {
        let draft = Self::new(EntryKind::GrantIssued)
            .fact("grant", grant.id.as_str())
            .fact("elevation", issued.elevation.as_str())
            .fact("tier", issued.tier)
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
            .fact_if("token_sha256", issued.token_sha256)
            .personal(PersonalField::Person, grant.person.as_str())
            .personal(PersonalField::Ticket, grant.justification.ticket.as_str());
        draft
            .personal_if(PersonalField::Confirmation, grant.confirmation.as_ref().map(Confirmation::thumbprint))
            .fact_if("max_uses", grant.max_uses.map(NonZeroU32::get))
            .fact_if("review_due_s", issued.review_due.map(|due| due.as_secs()))
            .authenticated(&grant.authentication)
    }

    /// The person has bound what they proved to a grant that was issued unbound. Only now there is a token.
    pub fn grant_claimed(grant: &Grant, token_sha256: &str) -> Self {
        Self::new(EntryKind::GrantClaimed)
            .fact("grant", grant.id.as_str())
            .fact("binding", grant.binding.as_str())
            .fact("token_sha256", token_sha256)
            .personal(PersonalField::Person, grant.person.as_str())
            .personal_if(PersonalField::Confirmation, grant.confirmation.as_ref().map(Confirmation::thumbprint))
    }

    /// The same, as a part of a revocation that somebody ordered.
    #[must_use]
    pub fn under(self, revocation: &RevocationId) -> Self {
        self.fact("revocation", revocation.as_str())
    }

    /// Somebody ordered that grants end. The entries of these grants name it, and follow it.
    pub fn revocation_ordered(ordered: Ordered<'_>, by: &Person, note: Option<&str>) -> Self {
        let selector = ordered.selector;
        let draft = Self::new(EntryKind::RevocationOrdered)
            .fact("revocation", ordered.revocation.as_str())
            .fact("of", selector.kind())
            .fact("grants", ordered.grants)
            .personal(PersonalField::By, by.as_str());
        let texts = [
            ("grant", selector.grant().map(GrantId::as_str)),
            ("resource", selector.resource().map(Resource::as_str)),
            ("service", selector.service().map(ServiceName::as_str)),
        ];
        let named = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let draft = named.fold(draft, |draft, (name, text)| draft.fact(name, text));
        let person = selector.person().map(Person::as_str);
        draft.personal_if(PersonalField::Person, person).personal_if(PersonalField::Note, note)
    }

    /// Nobody's answer to a revocation is awaited any more.
    pub fn revocation_enforced(revocation: &RevocationId, enforced: Enforced) -> Self {
        let draft = Self::new(EntryKind::RevocationEnforced)
            .fact("revocation", revocation.as_str())
            .fact("enforced", enforced.enforced)
            .fact("stopped", enforced.stopped)
            .fact("rejected", enforced.rejected);
        match enforced.elapsed_ms {
            Some(ms) => draft.fact("elapsed_ms", ms),
            None => draft,
        }
    }

    /// Why stands in the revocation's own entry.
    pub fn grant_revoked(grant: &GrantId, revocation: &RevocationId, by: &Person) -> Self {
        Self::new(EntryKind::GrantRevoked)
            .fact("grant", grant.as_str())
            .personal(PersonalField::By, by.as_str())
            .under(revocation)
    }

    pub fn grant_expired(grant: &GrantId) -> Self {
        Self::new(EntryKind::GrantExpired).fact("grant", grant.as_str())
    }

    pub fn grant_used_up(grant: &GrantId, spent: u64) -> Self {
        Self::new(EntryKind::GrantUsedUp).fact("grant", grant.as_str()).fact("spent", spent)
    }

    /// Somebody else looked at it; `late`: after its time.
    pub fn grant_reviewed(grant: &GrantId, by: &Person, verdict: Verdict, findings: &str, late: bool) -> Self {
        Self::new(EntryKind::GrantReviewed)
            .fact("grant", grant.as_str())
            .fact("verdict", verdict.as_str())
            .fact("late", late)
            .personal(PersonalField::By, by.as_str())
            .personal(PersonalField::Note, findings)
    }

    /// Nobody looked at it in time.
    pub fn review_overdue(grant: &GrantId) -> Self {
        Self::new(EntryKind::ReviewOverdue).fact("grant", grant.as_str())
    }

    /// `service` absent: everywhere. The arrival of a freeze is measured under `revocation`.
    pub fn freeze_changed(
        service: Option<&ServiceName>,
        frozen: bool,
        by: &Person,
        note: Option<&str>,
        revocation: Option<&RevocationId>,
    ) -> Self {
        let draft = Self::new(EntryKind::FreezeChanged).fact("frozen", frozen).personal(PersonalField::By, by.as_str());
        let texts =
            [("service", service.map(ServiceName::as_str)), ("revocation", revocation.map(RevocationId::as_str))];
        let named = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
        named.fold(draft, |draft, (name, text)| draft.fact(name, text)).personal_if(PersonalField::Note, note)
    }

    /// Somebody looked at what is not theirs.
    pub fn data_read(read: DataRead<'_>) -> Self {
        let mut draft = Self::new(EntryKind::DataRead)
            .fact("view", read.view)
            .fact("records", read.records)
            .fact("covers_s", read.covers_s)
            .personal(PersonalField::By, read.by.as_str());
        if !read.filter.is_empty() {
            draft = draft.fact("filter", read.filter);
        }
        if let Some(person) = read.person {
            draft = draft.personal(PersonalField::Person, person.as_str());
        }
        match read.ticket {
            Some(ticket) => draft.personal(PersonalField::Ticket, ticket.as_str()),
            None => draft,
        }
    }
}

/// One look at the data of others.
#[derive(Debug)]
pub struct DataRead<'a> {
    pub view: &'a str,
    /// How it was asked for, without what names a human.
    pub filter: Map<String, Value>,
    /// How many records of others were shown.
    pub records: usize,
    /// For how long the entry stands for the same look.
    pub covers_s: u64,
    pub by: &'a Person,
    pub person: Option<&'a Person>,
    pub ticket: Option<&'a Ticket>,
}

/// What was ordered to end.
#[derive(Debug, Clone, Copy)]
pub struct Ordered<'a> {
    pub revocation: &'a RevocationId,
    pub selector: &'a Selector,
    /// How many grants that were.
    pub grants: usize,
}

/// How a revocation ended at the sidecars.
#[derive(Debug, Clone, Copy)]
pub struct Enforced {
    /// Sidecars that acknowledged it.
    pub enforced: u32,
    /// Sidecars that had stopped by themselves instead.
    pub stopped: u32,
    pub rejected: u32,
    /// From the order to the last acknowledgement, where that is known.
    pub elapsed_ms: Option<u64>,
}

/// What a grant says of itself only here.
#[derive(Debug, Clone, Copy)]
pub struct Issued<'a> {
    pub elevation: &'a ElevationId,
    pub tier: &'a str,
    /// Absent while nothing is bound to it that must be.
    pub token_sha256: Option<&'a str>,
    pub review_due: Option<Duration>,
}

/// What was asked for and refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    pub service: &'a ServiceName,
    pub resources: &'a [Resource],
    pub actions: &'a [crate::domain::Action],
    pub reason: &'a str,
    pub ticket: &'a str,
    pub person: &'a Person,
}

fn texts<'a, T: AsRef<str> + 'a>(items: impl IntoIterator<Item = &'a T>) -> Value {
    items.into_iter().map(|item| Value::from(item.as_ref())).collect()
}
