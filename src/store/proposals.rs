//! Changes of the policy that wait for a second administrator.

use super::policies::{files_json, newest_policy, person, read_files};
use super::rows::{from_sql, parsed, to_sql};
use super::statement::{Row, sql};
use super::transition::Transition;
use super::{PolicyChange, Store, StoreError};
use crate::domain::{Person, ProposalId, ProposalState, WallTime};
use crate::ledger::entry::Draft;

/// Proposals that may be open at once.
pub const PROPOSALS_OPEN_MAX: i64 = 20;
/// Proposals that are listed at most.
const LISTED_MAX: i64 = 100;

/// A change of the policy and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub id: ProposalId,
    pub state: ProposalState,
    pub change: PolicyChange,
    pub at: WallTime,
    pub decided: Option<(WallTime, Person)>,
}

/// What proposing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposed {
    Open,
    /// It follows a revision that is no longer the newest.
    Stale {
        newest: u64,
    },
    /// As many are open as may be.
    TooMany,
}

impl Store {
    /// Keeps a change until a second administrator confirms it.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not kept.
    pub async fn propose_policy(&self, id: &ProposalId, change: &PolicyChange) -> Result<Proposed, StoreError> {
        let mut transition = self.transition().await?;
        let newest = newest_policy(transition.connection()).await?;
        if newest != change.base {
            return Ok(Proposed::Stale { newest });
        }
        let open = sql("SELECT COUNT(*) FROM policy_proposals WHERE state = 'open'");
        if open.integer(transition.connection()).await? >= PROPOSALS_OPEN_MAX {
            return Ok(Proposed::TooMany);
        }
        let at = transition.at();
        sql("INSERT INTO policy_proposals (id, state, base, text, digest, services, note, by_person, at_ms) \
             VALUES ($1, 'open', $2, $3, $4, $5, $6, $7, $8)")
        .bind(id.as_str())
        .bind(to_sql(change.base))
        .bind(&change.text)
        .bind(&change.digest)
        .bind(files_json(&change.services)?)
        .bind(change.note.as_deref())
        .bind(change.by.as_str())
        .bind(at.unix_ms())
        .execute(transition.connection())
        .await?;
        let entry = Draft::policy_proposed(id, change.base, &change.digest, &change.by, change.note.as_deref());
        transition.entry(entry, None).await?;
        transition.commit().await?;
        Ok(Proposed::Open)
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn proposal(&self, id: &ProposalId) -> Result<Option<Proposal>, StoreError> {
        let row = sql("SELECT * FROM policy_proposals WHERE id = $1").bind(id.as_str());
        row.fetch_optional(&self.shared.database).await?.as_ref().map(read).transpose()
    }

    /// The newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proposals(&self) -> Result<Vec<Proposal>, StoreError> {
        let rows = sql("SELECT * FROM policy_proposals ORDER BY at_ms DESC, id LIMIT $1")
            .bind(LISTED_MAX)
            .fetch_all(&self.shared.database)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Takes an open proposal back. False when it is not open.
    ///
    /// # Errors
    /// [`StoreError`]; then it stands as it stood.
    pub async fn withdraw_proposal(&self, id: &ProposalId, by: &Person) -> Result<bool, StoreError> {
        let mut transition = self.transition().await?;
        if !decide(&mut transition, id, ProposalState::Withdrawn, by).await? {
            return Ok(false);
        }
        transition.entry(Draft::policy_proposal_withdrawn(id, by), None).await?;
        transition.commit().await?;
        Ok(true)
    }
}

/// Marks an open proposal as applied. False when it is not open.
pub(super) async fn apply(transition: &mut Transition<'_>, id: &ProposalId, by: &Person) -> Result<bool, StoreError> {
    decide(transition, id, ProposalState::Applied, by).await
}

async fn decide(
    transition: &mut Transition<'_>,
    id: &ProposalId,
    state: ProposalState,
    by: &Person,
) -> Result<bool, StoreError> {
    let at = transition.at();
    let decided = sql("UPDATE policy_proposals SET state = $1, decided_ms = $2, decided_by = $3 \
                       WHERE id = $4 AND state = 'open'")
    .bind(state.as_str())
    .bind(at.unix_ms())
    .bind(by.as_str())
    .bind(id.as_str())
    .execute(transition.connection())
    .await?;
    Ok(decided == 1)
}

fn read(row: &Row) -> Result<Proposal, StoreError> {
    let decided = match (row.try_get::<Option<i64>>("decided_ms")?, person(row, "decided_by")?) {
        (Some(at), Some(by)) => Some((WallTime::from_unix_ms(at), by)),
        (None, _) | (_, None) => None,
    };
    Ok(Proposal {
        id: parsed("proposal id", row.try_get("id")?)?,
        state: state(row.try_get("state")?)?,
        change: PolicyChange {
            text: row.try_get("text")?,
            digest: row.try_get("digest")?,
            services: read_files(row.try_get("services")?)?,
            base: from_sql(row.try_get("base")?),
            by: parsed("person", row.try_get("by_person")?)?,
            note: row.try_get("note")?,
        },
        at: WallTime::from_unix_ms(row.try_get("at_ms")?),
        decided,
    })
}

fn state(text: &str) -> Result<ProposalState, StoreError> {
    let all = [ProposalState::Open, ProposalState::Applied, ProposalState::Withdrawn];
    let known = all.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| StoreError::Corrupt(format!("state of a proposal: {text:?}")))
}
