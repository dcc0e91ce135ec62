//! What becomes of a grant after its end: somebody else looks at it, by a deadline, or it is told that nobody did.

use super::rows::{from_sql, parsed};
use super::statement::{On, Row, sql};
use super::{Awaited, NewReview, Review, ReviewDone, ReviewOutcome, Store, StoreError, grants, once};
use crate::domain::{GrantId, ReviewState, Verdict, WallTime};
use crate::ledger::entry::Draft;

/// Reviews told to be overdue by one sweep's transaction at most.
const SWEEP_MAX: u32 = 100;

impl Store {
    /// Stores a review of a grant that has ended and has none yet. One that is overdue can still be reviewed.
    ///
    /// # Errors
    /// [`StoreError`]; then it stands as it stood.
    pub async fn review(&self, new: &NewReview) -> Result<ReviewOutcome, StoreError> {
        let mut transition = self.transition().await?;
        if let Some(kept) = once::kept(&mut transition, &new.person, new.once.as_ref()).await? {
            return Ok(ReviewOutcome::Kept(kept));
        }
        let Some(record) = grants::fetch(transition.connection(), &new.grant).await? else {
            return Ok(ReviewOutcome::Unknown);
        };
        let at = transition.at();
        let review = as_of(record.review, at);
        let late = match review.state {
            ReviewState::Due => false,
            ReviewState::Overdue => true,
            ReviewState::None | ReviewState::Reviewed => return Ok(ReviewOutcome::Stands(review.state)),
        };
        sql("UPDATE grants SET review = 'reviewed', reviewed_ms = $1, reviewed_by = $2, verdict = $3, findings = $4 \
             WHERE id = $5 AND review IN ('due', 'overdue')")
        .bind(at.unix_ms())
        .bind(new.person.as_str())
        .bind(new.verdict.as_str())
        .bind(&new.findings)
        .bind(new.grant.as_str())
        .execute(transition.connection())
        .await?;
        once::keep(&mut transition, &new.person, new.once.as_ref(), new.grant.as_str()).await?;
        transition
            .entry(Draft::grant_reviewed(&new.grant, &new.person, new.verdict, &new.findings, late), None)
            .await?;
        transition.commit().await?;
        Ok(ReviewOutcome::Done)
    }

    /// Tells of the grants that nobody reviewed in time, and answers their ids. Each sweep tells of a bounded number.
    ///
    /// # Errors
    /// [`StoreError`]; then all of them stand as they stood.
    pub async fn overdue_due(&self) -> Result<Vec<GrantId>, StoreError> {
        let now = self.shared.clock.wall();
        if due(&self.shared.database, now).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut transition = self.transition().await?;
        let due = due(transition.connection(), now).await?;
        for id in &due {
            sql("UPDATE grants SET review = 'overdue' WHERE id = $1 AND review = 'due'")
                .bind(id.as_str())
                .execute(transition.connection())
                .await?;
            transition.entry(Draft::review_overdue(id), None).await?;
        }
        transition.commit().await?;
        Ok(due)
    }

    /// What people are waited for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn awaited(&self) -> Result<Awaited, StoreError> {
        let now = self.shared.clock.wall();
        let row = sql("SELECT \
             (SELECT COUNT(*) FROM elevations WHERE state = 'requested' AND lapses_ms > $1) AS approvals, \
             (SELECT COUNT(*) FROM grants WHERE review = 'due' AND review_by_ms > $1) AS due, \
             (SELECT COUNT(*) FROM grants WHERE review = 'overdue' OR (review = 'due' AND review_by_ms <= $1)) AS overdue")
        .bind(now.unix_ms())
        .fetch_one(&self.shared.database)
        .await?;
        let count = |column| Ok::<_, StoreError>(from_sql(row.try_get(column)?));
        Ok(Awaited { approvals: count("approvals")?, due: count("due")?, overdue: count("overdue")? })
    }
}

/// A review that nobody did in time is overdue, whether or not the sweep has come by.
pub(super) fn as_of(mut review: Review, now: WallTime) -> Review {
    if review.state == ReviewState::Due && review.by.is_some_and(|by| by <= now) {
        review.state = ReviewState::Overdue;
    }
    review
}

/// The columns of a grant's row that are its review's.
pub(super) fn read(row: &Row) -> Result<Review, StoreError> {
    let text: &str = row.try_get("review")?;
    let state = ReviewState::ALL.into_iter().find(|state| state.as_str() == text);
    Ok(Review {
        state: state.ok_or_else(|| StoreError::Corrupt(format!("state of a review: {text:?}")))?,
        by: row.try_get::<Option<i64>>("review_by_ms")?.map(WallTime::from_unix_ms),
        done: done(row)?,
    })
}

fn done(row: &Row) -> Result<Option<ReviewDone>, StoreError> {
    let (at, person) = (row.try_get::<Option<i64>>("reviewed_ms")?, row.try_get::<Option<&str>>("reviewed_by")?);
    let (verdict, findings) = (row.try_get::<Option<&str>>("verdict")?, row.try_get::<Option<String>>("findings")?);
    let (Some(at), Some(person), Some(verdict), Some(findings)) = (at, person, verdict, findings) else {
        return Ok(None);
    };
    let known = Verdict::ALL.into_iter().find(|known| known.as_str() == verdict);
    Ok(Some(ReviewDone {
        at: WallTime::from_unix_ms(at),
        person: parsed("person", person)?,
        verdict: known.ok_or_else(|| StoreError::Corrupt(format!("verdict of a review: {verdict:?}")))?,
        findings,
    }))
}

async fn due(on: impl Into<On<'_>>, now: WallTime) -> Result<Vec<GrantId>, StoreError> {
    let rows = sql("SELECT id FROM grants WHERE review = 'due' AND review_by_ms <= $1 ORDER BY review_by_ms LIMIT $2")
        .bind(now.unix_ms())
        .bind(i64::from(SWEEP_MAX))
        .fetch_all(on)
        .await?;
    rows.iter().map(|row| parsed("grant id", row.try_get("id")?)).collect()
}
