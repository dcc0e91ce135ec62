//! Requests and grants for tests: one service, one person, one contract.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{
    AppliedFile, Created, Decided, ElevationRecord, FreezeOutcome, NewElevation, NewGrant, PolicyChange, PolicyOutcome,
    Store, StoreError,
};
use crate::domain::*;
use crate::policy::AdmittedBy;
use crate::secret::Secret;
use crate::store::Basis;

pub(crate) fn service() -> ServiceName {
    "payments-demo".parse().unwrap()
}

/// What alice asks for at `now`, for a quarter of an hour; it waits for an hour.
pub(crate) fn request(n: u64, max_uses: u32, now: WallTime) -> NewElevation {
    let elevation = Elevation {
        id: ElevationId::from_random(n),
        service: service(),
        person: "alice@example.test".parse().unwrap(),
        idp: "https://issuer.test".parse().unwrap(),
        authentication: Authentication::default(),
        role: "payments.override".parse().unwrap(),
        scope: Scope::new(["contract/C-1042".parse().unwrap()], ["payment.release".parse().unwrap()]).unwrap(),
        justification: Justification { reason: "stuck_payment".parse().unwrap(), ticket: "INC-2041".parse().unwrap() },
        binding: Binding::Identity,
        confirmation: None,
        duration: Duration::from_secs(900),
        max_uses: NonZeroU32::new(max_uses),
        staleness_max: Duration::from_secs(30),
        policy_revision: 1,
        requested: now,
        state: ElevationState::Requested,
        grant: None,
    };
    let record = ElevationRecord {
        elevation,
        tier: "oncall".into(),
        admitted_by: Some(AdmittedBy::Group("payments-oncall".into())),
        lapses: Some(now.plus(Duration::from_secs(3600))),
        approvals: Vec::new(),
        decided: None,
        version: 1,
    };
    let basis =
        Basis { policy_revision: 0, ended_since: WallTime::EPOCH, history: Default::default(), fresh_since: None };
    NewElevation { record, stood_in: None, team: None, grant: None, proof: None, once: None, basis }
}

/// The grant of a request within `bounds`, begun at `now`. Its review is due within a day.
pub(crate) fn grant_of(record: &ElevationRecord, bounds: Bounds, n: u64, now: WallTime) -> NewGrant {
    let elevation = &record.elevation;
    let grant = Grant {
        id: GrantId::from_random(n),
        service: elevation.service.clone(),
        person: elevation.person.clone(),
        idp: elevation.idp.clone(),
        authentication: elevation.authentication.clone(),
        role: elevation.role.clone(),
        scope: bounds.scope,
        binding: elevation.binding,
        confirmation: elevation.confirmation.clone(),
        justification: elevation.justification.clone(),
        issued: now,
        not_before: now,
        expires: now.plus(bounds.duration),
        max_uses: bounds.max_uses,
        staleness_max: elevation.staleness_max,
        policy_revision: elevation.policy_revision,
        approvals: record.approvals.iter().map(|approval| approval.person.clone()).collect(),
        origin: Origin::ControlPlane,
    };
    NewGrant {
        grant,
        issuer: "https://control.test".into(),
        token: elevation.is_bound().then(|| Secret::new(format!("token-{n}"))),
        review_due: Some(Duration::from_secs(86_400)),
    }
}

/// The same request, approved as it is made.
pub(crate) fn granted(n: u64, max_uses: u32, now: WallTime) -> NewElevation {
    let mut new = request(n, max_uses, now);
    let grant = grant_of(&new.record, Bounds::of(&new.record.elevation), n, now);
    new.record.elevation.state = ElevationState::Approved;
    new.record.elevation.grant = Some(grant.grant.id.clone());
    new.record.lapses = None;
    new.record.decided = Some(Decided { at: now, by: None, note: None });
    NewElevation { grant: Some(grant), ..new }
}

/// The same, to be bound to a key that nobody has proven yet.
pub(crate) fn unbound(mut new: NewElevation) -> NewElevation {
    new.record.elevation.binding = Binding::Dpop;
    if let Some(new) = &mut new.grant {
        new.grant.binding = Binding::Dpop;
        new.token = None;
    }
    new
}

/// Stores it on what stands, as often as that changes meanwhile.
pub(crate) async fn create(store: &Store, new: &NewElevation) -> Result<Created, StoreError> {
    loop {
        let person = &new.record.elevation.person;
        let basis = store.basis(person, WallTime::EPOCH).await?;
        match store.create(&NewElevation { basis, ..new.clone() }).await? {
            Created::Stale => {}
            created => return Ok(created),
        }
    }
}

/// Makes a text the next policy revision, and ends no grant.
pub(crate) async fn apply_policy(store: &Store, text: &str, services: &[AppliedFile]) -> u64 {
    let change = PolicyChange {
        text: text.to_owned(),
        digest: crate::config::digest_hex(text),
        services: services.to_vec(),
        base: store.policy_revision().await.unwrap(),
        by: "root".parse().unwrap(),
        note: None,
    };
    match store.apply_policy(&change, None, &|_, _| Ok(())).await.unwrap() {
        PolicyOutcome::Applied { revision, .. } => revision,
        other => panic!("{other:?}"),
    }
}

impl Store {
    /// Freezes or lifts, whichever stands. Answers the revision; the standing one's where nothing changed.
    pub(crate) async fn set_frozen(
        &self,
        service: Option<&ServiceName>,
        frozen: bool,
        by: &Person,
    ) -> Result<u64, StoreError> {
        if !frozen {
            let lifted = self.lift_freeze(service, by).await?;
            return Ok(lifted.map(|lifted| lifted.revision).unwrap_or_default());
        }
        let (FreezeOutcome::Frozen(freeze) | FreezeOutcome::Stands(freeze)) =
            self.freeze(service, by, Some("a test")).await?;
        Ok(freeze.revision.unwrap_or_default())
    }
}
