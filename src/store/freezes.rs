//! Freezes: no override and no new grant of a service, or of any, until lifted.
//!
//! INVARIANT: whatever makes a grant asks in the same transaction first (`requests::is_frozen`). What cannot be read is
//! an error there, so that nothing is granted; a mark that is neither yes nor no counts as yes.

use super::revocations::{self, NewRevocation};
use super::rows::{from_sql, parsed, to_sql};
use super::statement::{Row, sql};
use super::transition::{StoredChange, Transition};
use super::{Store, StoreError};
use crate::domain::{Person, RevocationId, Selector, ServiceName, WallTime};
use crate::ledger::entry::Draft;

/// One standing freeze. What is absent was not kept by the version that set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeRecord {
    /// `None`: everywhere.
    pub service: Option<ServiceName>,
    pub by: Option<Person>,
    pub note: Option<String>,
    pub at: Option<WallTime>,
    pub revision: Option<u64>,
    /// Under which its arrival at the sidecars is measured.
    pub revocation: Option<RevocationId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeOutcome {
    Frozen(FreezeRecord),
    /// It stood already, and stands as it stood.
    Stands(FreezeRecord),
}

/// A freeze that was lifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeLifted {
    pub revision: u64,
    pub at: WallTime,
}

const SELECT_ALL: &str = "SELECT * FROM freezes WHERE frozen <> 0 ORDER BY service";
const SELECT_ONE: &str = "SELECT * FROM freezes WHERE frozen <> 0 AND service = $1";

impl Store {
    /// Stops overrides and new grants of a service, or of all.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is frozen that was not.
    pub async fn freeze(
        &self,
        service: Option<&ServiceName>,
        by: &Person,
        note: Option<&str>,
    ) -> Result<FreezeOutcome, StoreError> {
        let mut transition = self.transition().await?;
        if let Some(stands) = one(&mut transition, service).await? {
            return Ok(FreezeOutcome::Stands(stands));
        }
        let selector = Selector::Freeze { service: service.cloned() };
        let revision = transition.change(service, &StoredChange::Freeze { frozen: true }).await?;
        let new = NewRevocation { id: revocations::fresh_id()?, selector: &selector, by, note };
        revocations::insert_freeze(&mut transition, &new, service, revision).await?;
        set(&mut transition, service, &new, revision).await?;
        let entry = Draft::freeze_changed(service, true, by, note, Some(&new.id));
        transition.entry(entry, Some(revision)).await?;
        let at = transition.at();
        transition.commit().await?;
        Ok(FreezeOutcome::Frozen(FreezeRecord {
            service: service.cloned(),
            by: Some(by.clone()),
            note: note.map(str::to_owned),
            at: Some(at),
            revision: Some(revision),
            revocation: Some(new.id),
        }))
    }

    /// Lifts a freeze. `None` when there was none. One of a service and one of everything are two.
    ///
    /// # Errors
    /// [`StoreError`]; then it stands.
    pub async fn lift_freeze(
        &self,
        service: Option<&ServiceName>,
        by: &Person,
    ) -> Result<Option<FreezeLifted>, StoreError> {
        let mut transition = self.transition().await?;
        if one(&mut transition, service).await?.is_none() {
            return Ok(None);
        }
        let revision = transition.change(service, &StoredChange::Freeze { frozen: false }).await?;
        // Whoever froze it says nothing about a later freeze.
        sql("UPDATE freezes SET frozen = 0, by_person = NULL, note = NULL, at_ms = NULL, revision = NULL, \
             revocation = NULL WHERE service = $1")
        .bind(key(service))
        .execute(transition.connection())
        .await?;
        transition.entry(Draft::freeze_changed(service, false, by, None, None), Some(revision)).await?;
        let at = transition.at();
        transition.commit().await?;
        Ok(Some(FreezeLifted { revision, at }))
    }

    /// All that stand: everywhere first, then by service.
    ///
    /// # Errors
    /// [`StoreError`]; then nobody knows that nothing is frozen.
    pub async fn freezes(&self) -> Result<Vec<FreezeRecord>, StoreError> {
        let rows = sql(SELECT_ALL).fetch_all(&self.shared.database).await?;
        rows.iter().map(record).collect()
    }
}

async fn one(
    transition: &mut Transition<'_>,
    service: Option<&ServiceName>,
) -> Result<Option<FreezeRecord>, StoreError> {
    let row = sql(SELECT_ONE).bind(key(service)).fetch_optional(transition.connection()).await?;
    row.as_ref().map(record).transpose()
}

async fn set(
    transition: &mut Transition<'_>,
    service: Option<&ServiceName>,
    new: &NewRevocation<'_>,
    revision: u64,
) -> Result<(), StoreError> {
    let at = transition.at();
    sql("INSERT INTO freezes (service, frozen, by_person, note, at_ms, revision, revocation) \
         VALUES ($1, 1, $2, $3, $4, $5, $6) ON CONFLICT (service) DO UPDATE SET frozen = excluded.frozen, \
         by_person = excluded.by_person, note = excluded.note, at_ms = excluded.at_ms, revision = excluded.revision, \
         revocation = excluded.revocation")
    .bind(key(service))
    .bind(new.by.as_str())
    .bind(new.note)
    .bind(at.unix_ms())
    .bind(to_sql(revision))
    .bind(new.id.as_str())
    .execute(transition.connection())
    .await?;
    Ok(())
}

/// How the table names it.
pub(super) fn key(service: Option<&ServiceName>) -> &str {
    service.map_or("", ServiceName::as_str)
}

pub(super) fn from_key(text: &str) -> Result<Option<ServiceName>, StoreError> {
    if text.is_empty() { Ok(None) } else { parsed("service", text).map(Some) }
}

fn record(row: &Row) -> Result<FreezeRecord, StoreError> {
    let by: Option<&str> = row.try_get("by_person")?;
    let revocation: Option<&str> = row.try_get("revocation")?;
    Ok(FreezeRecord {
        service: from_key(row.try_get("service")?)?,
        by: by.map(|by| parsed("person", by)).transpose()?,
        note: row.try_get("note")?,
        at: row.try_get::<Option<i64>>("at_ms")?.map(WallTime::from_unix_ms),
        revision: row.try_get::<Option<i64>>("revision")?.map(from_sql),
        revocation: revocation.map(|id| parsed("revocation id", id)).transpose()?,
    })
}
