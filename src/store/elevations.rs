//! Elevation requests, and the keys under which a caller may repeat one safely.

use std::time::Duration;

use super::grants::next_position;
use super::rows::{from_json, parsed, to_json};
use super::statement::{Row, sql};
use super::transition::Transition;
use super::{Created, ElevationRecord, Listed, Listing, OnceKey, Store, StoreError};
use crate::domain::{
    Action, Elevation, ElevationId, ElevationState, GrantId, Justification, Person, ReasonCode, Resource, Role, Scope,
    ServiceName, Ticket, WallTime,
};
use serde::{Deserialize, Serialize};

const SELECT: &str = "SELECT e.*, (SELECT g.id FROM grants g WHERE g.elevation = e.id) AS grant_id \
                      FROM elevations e WHERE e.id = $1";
const SELECT_PAGE: &str = "SELECT e.*, (SELECT g.id FROM grants g WHERE g.elevation = e.id) AS grant_id \
                           FROM elevations e WHERE ($1 IS NULL OR e.service = $1) AND ($2 IS NULL OR e.person = $2) \
                           AND ($3 IS NULL OR e.position < $3) ORDER BY e.position DESC LIMIT $4";

/// What no query asks for.
#[derive(Serialize, Deserialize)]
struct Body {
    role: Role,
    resources: Vec<Resource>,
    actions: Vec<Action>,
    reason: ReasonCode,
    ticket: Ticket,
    duration_s: u64,
}

impl Store {
    /// # Errors
    /// [`StoreError`].
    pub async fn elevation(&self, id: &ElevationId) -> Result<Option<ElevationRecord>, StoreError> {
        let row = sql(SELECT).bind(id.as_str()).fetch_optional(&self.shared.database).await?;
        row.as_ref().map(record).transpose()
    }

    /// One page, newest first. The listing's `state` is a grant's and is not looked at.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn elevations(&self, listing: &Listing) -> Result<Listed<ElevationRecord>, StoreError> {
        let rows = sql(SELECT_PAGE)
            .bind(listing.service.as_ref().map(ServiceName::as_str))
            .bind(listing.person.as_ref().map(Person::as_str))
            .bind(listing.before)
            .bind(i64::from(listing.limit))
            .fetch_all(&self.shared.database)
            .await?;
        let items = rows.iter().map(record).collect::<Result<_, _>>()?;
        Ok(Listed { items, next: next_position(&rows, listing.limit)? })
    }

    /// What an idempotency key made before, if it is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn created_before(&self, person: &Person, once: &OnceKey) -> Result<Option<Created>, StoreError> {
        let since = self.shared.clock.wall().minus(Self::ONCE_KEYS_KEPT);
        let row = sql(ONCE)
            .bind(person.as_str())
            .bind(&once.key)
            .bind(since.unix_ms())
            .fetch_optional(&self.shared.database)
            .await?;
        row.as_ref().map(|row| seen(row, once)).transpose()
    }
}

const ONCE: &str = "SELECT digest, elevation FROM once_keys WHERE person = $1 AND key = $2 AND at_ms > $3";

/// The same question inside a transition, after forgetting the keys that are too old.
pub(super) async fn once(
    transition: &mut Transition<'_>,
    person: &Person,
    once: &OnceKey,
) -> Result<Option<Created>, StoreError> {
    let since = transition.at().minus(Store::ONCE_KEYS_KEPT);
    sql("DELETE FROM once_keys WHERE at_ms <= $1").bind(since.unix_ms()).execute(transition.connection()).await?;
    let row = sql(ONCE)
        .bind(person.as_str())
        .bind(&once.key)
        .bind(since.unix_ms())
        .fetch_optional(transition.connection())
        .await?;
    row.as_ref().map(|row| seen(row, once)).transpose()
}

fn seen(row: &Row, once: &OnceKey) -> Result<Created, StoreError> {
    if row.try_get::<&str>("digest")? != once.digest {
        return Ok(Created::KeyReused);
    }
    Ok(Created::Before(parsed("elevation id", row.try_get("elevation")?)?))
}

pub(super) async fn remember(
    transition: &mut Transition<'_>,
    elevation: &Elevation,
    once: &OnceKey,
) -> Result<(), StoreError> {
    let at = transition.at();
    sql("INSERT INTO once_keys (person, key, digest, elevation, at_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(elevation.person.as_str())
        .bind(&once.key)
        .bind(&once.digest)
        .bind(elevation.id.as_str())
        .bind(at.unix_ms())
        .execute(transition.connection())
        .await?;
    Ok(())
}

pub(super) async fn insert(transition: &mut Transition<'_>, record: &ElevationRecord) -> Result<(), StoreError> {
    let elevation = &record.elevation;
    let body = Body {
        role: elevation.role.clone(),
        resources: elevation.scope.resources().iter().cloned().collect(),
        actions: elevation.scope.actions().iter().cloned().collect(),
        reason: elevation.justification.reason.clone(),
        ticket: elevation.justification.ticket.clone(),
        duration_s: elevation.duration.as_secs(),
    };
    let ElevationState::Approved = elevation.state;
    sql("INSERT INTO elevations (id, service, person, tier, state, at_ms, body) \
         VALUES ($1, $2, $3, $4, 'approved', $5, $6)")
    .bind(elevation.id.as_str())
    .bind(elevation.service.as_str())
    .bind(elevation.person.as_str())
    .bind(&record.tier)
    .bind(elevation.requested.unix_ms())
    .bind(to_json("body of an elevation", &body)?)
    .execute(transition.connection())
    .await?;
    Ok(())
}

fn record(row: &Row) -> Result<ElevationRecord, StoreError> {
    let body: Body = from_json("body of an elevation", row.try_get("body")?)?;
    let scope = Scope::new(body.resources, body.actions)
        .map_err(|error| StoreError::Corrupt(format!("scope of an elevation: {error}")))?;
    let ("approved", grant) = (row.try_get("state")?, row.try_get::<Option<&str>>("grant_id")?) else {
        return Err(StoreError::Corrupt("state of an elevation".to_owned()));
    };
    let elevation = Elevation {
        id: parsed("elevation id", row.try_get("id")?)?,
        service: parsed("service", row.try_get("service")?)?,
        person: parsed("person", row.try_get("person")?)?,
        role: body.role,
        scope,
        justification: Justification { reason: body.reason, ticket: body.ticket },
        duration: Duration::from_secs(body.duration_s),
        requested: WallTime::from_unix_ms(row.try_get("at_ms")?),
        state: ElevationState::Approved,
        grant: grant.map(|id| parsed::<GrantId>("grant id", id)).transpose()?,
    };
    Ok(ElevationRecord { elevation, tier: row.try_get("tier")? })
}
