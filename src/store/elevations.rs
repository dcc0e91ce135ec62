//! Elevation requests as rows, read one by one or in pages. How they change stands in `requests`, `approvals` and
//! `endings`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::database::Transaction;
use super::grants::next_position;
use super::rows::{from_json, from_sql, parsed, to_json};
use super::statement::{Row, sql};
use super::transition::Transition;
use super::{Decided, ElevationRecord, Listed, Listing, Store, StoreError, approvals, scope_items};
use crate::domain::{
    Action, Authentication, Binding, Confirmation, Elevation, ElevationId, ElevationState, GrantId, Issuer,
    Justification, Person, ReasonCode, Resource, Role, Scope, ServiceName, Ticket, WallTime,
};
use serde::{Deserialize, Serialize};

const SELECT: &str = "SELECT e.*, (SELECT g.id FROM grants g WHERE g.elevation = e.id) AS grant_id \
                      FROM elevations e WHERE e.id = $1";
/// The state as it is now: a request whose time is over has lapsed, whether or not the sweep has come by.
const SELECT_PAGE: &str = "SELECT e.*, (SELECT g.id FROM grants g WHERE g.elevation = e.id) AS grant_id \
     FROM elevations e WHERE ($1 IS NULL OR e.service = $1) AND ($2 IS NULL OR e.person = $2) \
     AND ($3 IS NULL OR $3 = CASE WHEN e.state = 'requested' AND e.lapses_ms <= $4 THEN 'lapsed' ELSE e.state END) \
     AND ($5 IS NULL OR e.reason = $5) AND ($6 IS NULL OR e.ticket = $6) \
     AND ($7 IS NULL OR e.at_ms >= $7) AND ($8 IS NULL OR e.at_ms < $8) \
     AND ($9 IS NULL OR EXISTS (SELECT 1 FROM scope_items s WHERE s.owner = e.id AND s.kind = 'resource' AND s.item = $9)) \
     AND ($10 IS NULL OR EXISTS (SELECT 1 FROM scope_items s WHERE s.owner = e.id AND s.kind = 'action' AND s.item = $10)) \
     AND ($11 IS NULL OR e.position < $11) ORDER BY e.position DESC LIMIT $12";

/// What no query asks for.
#[derive(Serialize, Deserialize)]
struct Body {
    role: Role,
    resources: Vec<Resource>,
    actions: Vec<Action>,
    reason: ReasonCode,
    ticket: Ticket,
    duration_s: u64,
    idp: Issuer,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    acr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    amr: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    auth_time: Option<WallTime>,
    binding: Binding,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    confirmation: Option<Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    max_uses: Option<NonZeroU32>,
    staleness_max_s: u64,
    policy_revision: u64,
}

impl Body {
    fn of(elevation: &Elevation) -> Self {
        let authentication = &elevation.authentication;
        Self {
            role: elevation.role.clone(),
            resources: elevation.scope.resources().iter().cloned().collect(),
            actions: elevation.scope.actions().iter().cloned().collect(),
            reason: elevation.justification.reason.clone(),
            ticket: elevation.justification.ticket.clone(),
            duration_s: elevation.duration.as_secs(),
            idp: elevation.idp.clone(),
            acr: authentication.acr.clone(),
            amr: authentication.amr.clone(),
            auth_time: authentication.auth_time,
            binding: elevation.binding,
            confirmation: elevation.confirmation.clone(),
            max_uses: elevation.max_uses,
            staleness_max_s: elevation.staleness_max.as_secs(),
            policy_revision: elevation.policy_revision,
        }
    }
}

impl Store {
    /// # Errors
    /// [`StoreError`].
    pub async fn elevation(&self, id: &ElevationId) -> Result<Option<ElevationRecord>, StoreError> {
        let now = self.shared.clock.wall();
        let mut reading = self.shared.database.read().await?;
        let record = fetch(&mut reading, id).await?;
        Ok(record.map(|record| as_of(record, now)))
    }

    /// One page, newest first. The listing's states are of elevations; what it says of grants is not looked at.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn elevations(&self, listing: &Listing) -> Result<Listed<ElevationRecord>, StoreError> {
        let now = self.shared.clock.wall();
        let mut reading = self.shared.database.read().await?;
        let rows = sql(SELECT_PAGE)
            .bind(listing.service.as_ref().map(ServiceName::as_str))
            .bind(listing.person.as_ref().map(Person::as_str))
            .bind(listing.elevation_state.map(ElevationState::as_str))
            .bind(now.unix_ms())
            .bind(listing.reason.as_ref().map(ReasonCode::as_str))
            .bind(listing.ticket.as_ref().map(Ticket::as_str))
            .bind(listing.from.map(WallTime::unix_ms))
            .bind(listing.to.map(WallTime::unix_ms))
            .bind(listing.resource.as_ref().map(Resource::as_str))
            .bind(listing.action.as_ref().map(Action::as_str))
            .bind(listing.before)
            .bind(i64::from(listing.limit))
            .fetch_all(&mut reading)
            .await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            items.push(as_of(record(&mut reading, row).await?, now));
        }
        Ok(Listed { items, next: next_position(&rows, listing.limit)? })
    }
}

/// As it stands at `now`.
pub(super) fn as_of(mut record: ElevationRecord, now: WallTime) -> ElevationRecord {
    if record.elevation.state == ElevationState::Requested
        && let Some(lapses) = record.lapses.filter(|lapses| *lapses <= now)
    {
        record.elevation.state = ElevationState::Lapsed;
        record.decided = Some(Decided { at: lapses, by: None, note: None });
    }
    record
}

pub(super) async fn insert(transition: &mut Transition<'_>, new: &ElevationRecord) -> Result<(), StoreError> {
    let elevation = &new.elevation;
    let decided = new.decided.as_ref();
    sql(
        "INSERT INTO elevations (id, service, person, tier, state, at_ms, body, version, reason, ticket, admitted_by, \
         lapses_ms, decided_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11, $12)",
    )
    .bind(elevation.id.as_str())
    .bind(elevation.service.as_str())
    .bind(elevation.person.as_str())
    .bind(&new.tier)
    .bind(elevation.state.as_str())
    .bind(elevation.requested.unix_ms())
    .bind(to_json("body of an elevation", &Body::of(elevation))?)
    .bind(elevation.justification.reason.as_str())
    .bind(elevation.justification.ticket.as_str())
    .bind(new.admitted_by.as_ref().map(ToString::to_string))
    .bind(new.lapses.map(WallTime::unix_ms))
    .bind(decided.map(|decided| decided.at.unix_ms()))
    .execute(transition.connection())
    .await?;
    scope_items::insert(transition.connection(), elevation.id.as_str(), &elevation.scope).await
}

/// It waits no longer. Changes nothing where it did not wait.
pub(super) async fn decide(
    transition: &mut Transition<'_>,
    id: &ElevationId,
    state: ElevationState,
    by: Option<&Person>,
    note: Option<&str>,
) -> Result<(), StoreError> {
    let at = transition.at();
    sql(
        "UPDATE elevations SET state = $1, decided_ms = $2, decided_by = $3, decided_note = $4, version = version + 1 \
         WHERE id = $5 AND state = 'requested'",
    )
    .bind(state.as_str())
    .bind(at.unix_ms())
    .bind(by.map(Person::as_str))
    .bind(note)
    .bind(id.as_str())
    .execute(transition.connection())
    .await?;
    Ok(())
}

/// As it is written, whatever the time.
pub(super) async fn fetch(
    connection: &mut Transaction,
    id: &ElevationId,
) -> Result<Option<ElevationRecord>, StoreError> {
    let row = sql(SELECT).bind(id.as_str()).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => Ok(Some(record(connection, &row).await?)),
        None => Ok(None),
    }
}

async fn record(connection: &mut Transaction, row: &Row) -> Result<ElevationRecord, StoreError> {
    let elevation = elevation(row)?;
    let version = from_sql(row.try_get("version")?);
    // Each approval is a version: the first has none.
    let approvals = if version > 1 { approvals::of(connection, &elevation.id).await? } else { Vec::new() };
    Ok(ElevationRecord {
        elevation,
        tier: row.try_get("tier")?,
        admitted_by: row.try_get::<Option<&str>>("admitted_by")?.map(|by| parsed("admission", by)).transpose()?,
        lapses: row.try_get::<Option<i64>>("lapses_ms")?.map(WallTime::from_unix_ms),
        approvals,
        decided: decided(row)?,
        version,
    })
}

fn elevation(row: &Row) -> Result<Elevation, StoreError> {
    let body: Body = from_json("body of an elevation", row.try_get("body")?)?;
    let scope = Scope::new(body.resources, body.actions)
        .map_err(|error| StoreError::Corrupt(format!("scope of an elevation: {error}")))?;
    let grant = row.try_get::<Option<&str>>("grant_id")?;
    Ok(Elevation {
        id: parsed("elevation id", row.try_get("id")?)?,
        service: parsed("service", row.try_get("service")?)?,
        person: parsed("person", row.try_get("person")?)?,
        idp: body.idp,
        authentication: Authentication { acr: body.acr, amr: body.amr, auth_time: body.auth_time },
        role: body.role,
        scope,
        justification: Justification { reason: body.reason, ticket: body.ticket },
        binding: body.binding,
        confirmation: body.confirmation,
        duration: Duration::from_secs(body.duration_s),
        max_uses: body.max_uses,
        staleness_max: Duration::from_secs(body.staleness_max_s),
        policy_revision: body.policy_revision,
        requested: WallTime::from_unix_ms(row.try_get("at_ms")?),
        state: state(row.try_get("state")?)?,
        grant: grant.map(|id| parsed::<GrantId>("grant id", id)).transpose()?,
    })
}

fn decided(row: &Row) -> Result<Option<Decided>, StoreError> {
    let Some(at) = row.try_get::<Option<i64>>("decided_ms")? else { return Ok(None) };
    let by: Option<&str> = row.try_get("decided_by")?;
    Ok(Some(Decided {
        at: WallTime::from_unix_ms(at),
        by: by.map(|by| parsed("person", by)).transpose()?,
        note: row.try_get("decided_note")?,
    }))
}

fn state(text: &str) -> Result<ElevationState, StoreError> {
    let known = ElevationState::ALL.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| StoreError::Corrupt(format!("state of an elevation: {text:?}")))
}
