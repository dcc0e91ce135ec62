//! What is no longer believed of a person, and grants that wait until they have authenticated afresh.
//!
//! INVARIANT: nothing here moves the end of a grant. A suspension takes a grant off the feed, lifting it puts the very
//! same token on again, for the rest of its time. One that is still to be claimed was never on the feed, which hears
//! of it once it is claimed.

use super::grants::fetch;
use super::rows::{parsed, to_sql};
use super::statement::{On, sql};
use super::transition::{StoredChange, Transition};
use super::{GrantRecord, Store, StoreError};
use crate::domain::{Authentication, GrantId, Person, Principal, ServiceName, WallTime};
use crate::ledger::entry::Draft;

/// How it stands with a person who calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PersonStanding {
    /// The principal has called before, as this person.
    pub known: bool,
    /// What was proven at or before this time no longer counts.
    pub since: Option<WallTime>,
    /// Grants of theirs are suspended.
    pub suspended: bool,
    /// Provisioning clients know them, and they are active at none.
    pub deactivated: bool,
}

impl Store {
    /// # Errors
    /// [`StoreError`].
    pub async fn person_standing(&self, principal: &Principal, person: &Person) -> Result<PersonStanding, StoreError> {
        let row = sql("SELECT \
             (SELECT COUNT(*) FROM principals WHERE idp = $1 AND subject = $2 AND person = $3) AS known, \
             (SELECT since_ms FROM person_freshness WHERE person = $3) AS since_ms, \
             (SELECT COUNT(*) FROM grants WHERE person = $3 AND suspended_ms IS NOT NULL AND state = 'active' \
              AND expires_ms > $4) AS suspended, \
             (SELECT COUNT(*) FROM scim_users WHERE person = $3) AS users, \
             (SELECT COUNT(*) FROM scim_users WHERE person = $3 AND active = 1) AS active")
        .bind(principal.issuer.as_str())
        .bind(principal.subject.as_str())
        .bind(person.as_str())
        .bind(self.shared.clock.wall().unix_ms())
        .fetch_one(&self.shared.database)
        .await?;
        Ok(PersonStanding {
            known: row.try_get::<i64>("known")? > 0,
            since: row.try_get::<Option<i64>>("since_ms")?.map(WallTime::from_unix_ms),
            suspended: row.try_get::<i64>("suspended")? > 0,
            deactivated: row.try_get::<i64>("users")? > 0 && row.try_get::<i64>("active")? == 0,
        })
    }

    /// Remembers who has called, so that a transmitter can speak of them by issuer and subject.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn meet(&self, principal: &Principal, person: &Person) -> Result<(), StoreError> {
        let mut transition = self.transition().await?;
        sql("INSERT INTO principals (idp, subject, person) VALUES ($1, $2, $3) \
             ON CONFLICT (idp, subject) DO UPDATE SET person = excluded.person")
        .bind(principal.issuer.as_str())
        .bind(principal.subject.as_str())
        .bind(person.as_str())
        .execute(transition.connection())
        .await?;
        transition.commit().await
    }

    /// The suspended grants of a person that have time left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn suspended(&self, person: &Person) -> Result<Vec<GrantRecord>, StoreError> {
        let now = self.shared.clock.wall();
        let mut reading = self.shared.database.read().await?;
        let mut records = Vec::new();
        for id in suspended_of(&mut reading, person, now).await? {
            records.extend(fetch(&mut reading, &id).await?);
        }
        Ok(records)
    }

    /// Puts suspended grants on the feed again, because their person has authenticated after what suspended them. Answers
    /// those that were: none where more was reported meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; then all of them stay suspended.
    pub async fn resume(
        &self,
        person: &Person,
        authentication: &Authentication,
        ids: &[GrantId],
    ) -> Result<Vec<GrantId>, StoreError> {
        let mut transition = self.transition().await?;
        let (now, since) = (transition.at(), fresh_since(transition.connection(), person).await?);
        let fresh = |at: WallTime| since.is_none_or(|since| at > since);
        let Some(at) = authentication.auth_time.filter(|at| fresh(*at)) else { return Ok(Vec::new()) };
        let mut resumed = Vec::new();
        for id in suspended_of(transition.connection(), person, now).await? {
            if ids.contains(&id) {
                resume_one(&mut transition, &id, since, (at, authentication.acr.as_deref())).await?;
                resumed.push(id);
            }
        }
        transition.commit().await?;
        Ok(resumed)
    }
}

async fn resume_one(
    transition: &mut Transition<'_>,
    id: &GrantId,
    since: Option<WallTime>,
    (auth_time, acr): (WallTime, Option<&str>),
) -> Result<(), StoreError> {
    let revision = tell(transition, id, StoredChange::Put { grant: id.clone() }).await?;
    let at = transition.at();
    sql("UPDATE grants SET suspended_ms = NULL, identity_since_ms = $1, revision = COALESCE($2, revision), changed_ms = $3 \
         WHERE id = $4")
        .bind(since.map(WallTime::unix_ms))
        .bind(revision.map(to_sql))
        .bind(at.unix_ms())
        .bind(id.as_str())
        .execute(transition.connection())
        .await?;
    transition.entry(Draft::grant_resumed(id, auth_time, acr), revision).await?;
    Ok(())
}

/// Takes an active grant off the feed until it is resumed. One that is suspended stays so.
pub(super) async fn suspend(transition: &mut Transition<'_>, id: &GrantId, entry: Draft) -> Result<(), StoreError> {
    let revision = tell(transition, id, StoredChange::Suspended { grant: id.clone() }).await?;
    let at = transition.at();
    sql("UPDATE grants SET suspended_ms = $1, revision = COALESCE($2, revision), changed_ms = $1 \
         WHERE id = $3 AND state = 'active'")
    .bind(at.unix_ms())
    .bind(revision.map(to_sql))
    .bind(id.as_str())
    .execute(transition.connection())
    .await?;
    transition.entry(entry, revision).await?;
    Ok(())
}

/// Tells the feed of the change, and answers its revision; `None` where the grant is still to be claimed.
async fn tell(transition: &mut Transition<'_>, id: &GrantId, change: StoredChange) -> Result<Option<u64>, StoreError> {
    let row = sql("SELECT service, token FROM grants WHERE id = $1").bind(id.as_str());
    let row = row.fetch_one(transition.connection()).await?;
    let service: ServiceName = parsed("service", row.try_get("service")?)?;
    if row.try_get::<&str>("token")?.is_empty() {
        return Ok(None);
    }
    Ok(Some(transition.change(Some(&service), &change).await?))
}

/// Since when proofs of a person count.
pub(super) async fn fresh_since(on: impl Into<On<'_>>, person: &Person) -> Result<Option<WallTime>, StoreError> {
    let row = sql("SELECT since_ms FROM person_freshness WHERE person = $1").bind(person.as_str());
    let row = row.fetch_optional(on).await?;
    Ok(row.map(|row| row.first::<i64>()).transpose()?.map(WallTime::from_unix_ms))
}

/// From now on only what was proven of a person after `since` counts. It never goes back.
pub(super) async fn demand_fresh(
    transition: &mut Transition<'_>,
    person: &Person,
    since: WallTime,
) -> Result<(), StoreError> {
    sql("INSERT INTO person_freshness (person, since_ms) VALUES ($1, $2) ON CONFLICT (person) DO UPDATE SET \
         since_ms = CASE WHEN excluded.since_ms > person_freshness.since_ms THEN excluded.since_ms \
         ELSE person_freshness.since_ms END")
    .bind(person.as_str())
    .bind(since.unix_ms())
    .execute(transition.connection())
    .await?;
    Ok(())
}

async fn suspended_of(on: impl Into<On<'_>>, person: &Person, now: WallTime) -> Result<Vec<GrantId>, StoreError> {
    let rows = sql("SELECT id FROM grants WHERE person = $1 AND suspended_ms IS NOT NULL AND state = 'active' \
         AND expires_ms > $2 ORDER BY position")
    .bind(person.as_str())
    .bind(now.unix_ms())
    .fetch_all(on)
    .await?;
    rows.iter().map(|row| parsed("grant id", row.first()?)).collect()
}
