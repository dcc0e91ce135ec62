//! Somebody else looks at what was done under a grant that has ended.
//!
//! Who may: administrators, auditors, reviewers, and those who approve in the grant's tier. Never its own person. An
//! approver may, since it is not they who acted: a small team would have nobody else, and the entry names both.

use super::Workflow;
use super::request::kept_id;
use crate::control::refusal::{Cause, Refusal};
use crate::domain::{GrantId, ReviewState, Verdict};
use crate::identity::Verified;
use crate::store::{GrantRecord, NewReview, OnceKey, ReviewOutcome};

/// Greatest length of findings, in characters.
pub const FINDINGS_CHARS_MAX: usize = 2000;

impl Workflow {
    /// # Errors
    /// The refusal to answer with.
    pub async fn review(
        &self,
        caller: &Verified,
        id: &GrantId,
        (verdict, findings): (Verdict, &str),
        once: Option<OnceKey>,
    ) -> Result<GrantRecord, Refusal> {
        check_findings(findings)?;
        let record = self.visible_grant(caller, id).await?;
        self.check_may_review(caller, &record)?;
        let new = NewReview {
            grant: id.clone(),
            person: caller.person.clone(),
            verdict,
            findings: findings.to_owned(),
            once,
        };
        match self.store.review(&new).await? {
            ReviewOutcome::Done => {
                self.metrics.reviews.with_label_values(&[verdict.as_str()]).inc();
                tracing::info!(grant = %id, "grant reviewed");
                self.visible_grant(caller, id).await
            }
            ReviewOutcome::Kept(kept) => self.visible_grant(caller, &kept_id(kept)?).await,
            ReviewOutcome::Stands(state) => Err(stands(state)),
            ReviewOutcome::Unknown => Err(Refusal::not_found()),
        }
    }

    fn check_may_review(&self, caller: &Verified, record: &GrantRecord) -> Result<(), Refusal> {
        if record.grant.person == caller.person {
            return Err(Refusal::new(Cause::OwnRequest, "nobody reviews their own grant, under any login"));
        }
        if self.may_review(caller, record) {
            return Ok(());
        }
        Err(Refusal::new(Cause::NotPermitted, "you may see this grant, but not review it"))
    }
}

fn check_findings(findings: &str) -> Result<(), Refusal> {
    if findings.trim().is_empty() {
        return Err(Refusal::new(Cause::NoteMissing, "a review says what was found"));
    }
    if findings.chars().count() > FINDINGS_CHARS_MAX {
        let detail = format!("findings have at most {FINDINGS_CHARS_MAX} characters");
        return Err(Refusal::new(Cause::NoteTooLong, detail));
    }
    Ok(())
}

fn stands(state: ReviewState) -> Refusal {
    let detail = match state {
        ReviewState::None => "there is nothing to review: the grant has not ended, or none is asked for",
        ReviewState::Due | ReviewState::Overdue => "the review is awaited",
        ReviewState::Reviewed => "the grant has been reviewed",
    };
    Refusal::new(Cause::StateConflict, detail).with_state(state.as_str())
}
