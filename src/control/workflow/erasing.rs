//! Erasing what is personal: of a person, or by age. For administrators; never of oneself.

use super::Workflow;
use super::request::kept_id;
use crate::config::retention::held_verdicts;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{Erasable, ErasureId, ErasureReason, Verdict};
use crate::identity::Verified;
use crate::store::{ErasureOutcome, ErasurePreview, ErasureProgress, ErasureRecord, NewErasure, Obstacle, OnceKey};

/// Steps that one who orders waits for. What is left is carried on by the upkeep of any replica.
const STEPS_AWAITED: usize = 20;
/// Obstacles that a refusal names.
const NAMED_MAX: usize = 5;

impl Workflow {
    /// Orders an erasure. When this returns it is durable, and a small one is done.
    ///
    /// # Errors
    /// Not permitted, one's own, nothing of such a person is here, or something of theirs is not over.
    pub async fn erase(
        &self,
        caller: &Verified,
        what: Erasable,
        reason: ErasureReason,
        once: Option<OnceKey>,
    ) -> Result<ErasureRecord, Refusal> {
        self.check_erasure(caller, &what)?;
        if reason == ErasureReason::Restored {
            return Err(Refusal::new(Cause::MalformedRequest, "\"restored\" is said by the restore of a backup alone"));
        }
        let new = NewErasure { what, reason, held: self.held(), by: Some(caller.person.clone()), once };
        let id = match self.store.erase(&new).await? {
            ErasureOutcome::Ordered(id, progress) => {
                tracing::warn!(erasure = %id, of = new.what.kind(), "personal values are erased");
                self.count_erased(progress);
                self.carry_on_erasure(&id, STEPS_AWAITED).await;
                self.fold_erased().await;
                id
            }
            ErasureOutcome::Stands(id) => id,
            ErasureOutcome::Kept(kept) => kept_id(kept)?,
            ErasureOutcome::Obstructed(obstacles) => return Err(obstructed(&obstacles)),
            ErasureOutcome::Unknown => {
                return Err(Refusal::new(Cause::NotFound, "nothing here names such a person"));
            }
        };
        self.store.erasure(&id).await?.ok_or_else(Refusal::not_found)
    }

    /// What an erasure would erase at this moment, and what stands in its way.
    ///
    /// # Errors
    /// Not permitted, or one's own.
    pub async fn preview_erasure(&self, caller: &Verified, what: &Erasable) -> Result<ErasurePreview, Refusal> {
        self.check_erasure(caller, what)?;
        Ok(self.store.would_erase(what, &self.held()).await?)
    }

    /// # Errors
    /// Not found: there is none, or the caller does not see everything.
    pub async fn visible_erasure(&self, caller: &Verified, id: &ErasureId) -> Result<ErasureRecord, Refusal> {
        if !self.sees_all(caller) {
            return Err(Refusal::not_found());
        }
        self.store.erasure(id).await?.ok_or_else(Refusal::not_found)
    }

    fn check_erasure(&self, caller: &Verified, what: &Erasable) -> Result<(), Refusal> {
        if !self.is_admin(caller) {
            return Err(Refusal::new(Cause::NotPermitted, "only admins erase what is personal"));
        }
        match what {
            Erasable::Person { person } if *person == caller.person => {
                Err(Refusal::new(Cause::OwnRequest, "nobody erases themselves: another administrator must"))
            }
            Erasable::Person { person } if person.is_erased() => {
                Err(Refusal::new(Cause::NotFound, "that is what stands for somebody who was erased"))
            }
            Erasable::Age { before } if *before > self.clock.wall() => {
                Err(Refusal::new(Cause::MalformedRequest, "before lies in the future"))
            }
            Erasable::Person { .. } | Erasable::Age { .. } => Ok(()),
        }
    }

    fn held(&self) -> Vec<Verdict> {
        held_verdicts(self.retention.as_ref())
    }

    pub(super) fn count_erased(&self, progress: ErasureProgress) {
        self.metrics.personal_erased.inc_by(progress.values);
    }
}

fn obstructed(obstacles: &[Obstacle]) -> Refusal {
    let named = obstacles.iter().take(NAMED_MAX).map(|obstacle| match &obstacle.id {
        Some(id) => format!("{}: {id}", obstacle.kind.says()),
        None => obstacle.kind.says().to_owned(),
    });
    let mut detail = named.collect::<Vec<_>>().join("; ");
    let more = obstacles.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        detail.push_str(&format!("; and {more} more"));
    }
    Refusal::new(Cause::ErasureObstructed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ObstacleKind;

    #[test]
    fn what_stands_in_the_way_is_named_and_counted() {
        let obstacle = |n: u64| Obstacle {
            kind: ObstacleKind::GrantLive,
            id: Some(crate::domain::GrantId::from_random(n).to_string()),
        };
        let few = obstructed(&[obstacle(1), Obstacle { kind: ObstacleKind::PolicyNames, id: None }]);
        assert_eq!(few.detail, "a grant is live: g-000000000001; the policy names them");
        assert_eq!(few.cause.status(), http::StatusCode::CONFLICT);
        let many = obstructed(&(1..=8).map(obstacle).collect::<Vec<_>>());
        assert!(many.detail.ends_with("; and 3 more"), "{}", many.detail);
    }
}
