//! Grants: issued once their request is approved, ended by revocation, time or use, read one by one or in pages.

use super::audit;
use super::rows::{ended_state, from_json, from_sql, parsed, state, state_text, to_json, to_sql, uses};
use super::statement::{On, Row, sql};
use super::transition::{StoredChange, Transition};
use super::{
    GrantEnd, GrantRecord, Listed, Listing, NewGrant, OnceKey, RevokeOutcome, Store, StoreError, once, reviews,
    revocations, scope_items,
};
use crate::config::digest_hex;
use crate::domain::{
    Action, ElevationId, Grant, GrantId, Person, ReasonCode, Resource, ReviewState, RevocationId, ServiceName, Ticket,
    WallTime,
};
use crate::ledger::Issued;
use crate::ledger::entry::Draft;
use crate::secret::Secret;
use crate::token::claims::GrantClaims;
use crate::wire::api::GrantState;
use crate::wire::feed::EndCause;

const SELECT: &str = "SELECT g.*, e.tier AS tier, \
     (SELECT CAST(COALESCE(SUM(s.spent), 0) AS BIGINT) FROM shares s WHERE s.grant_id = g.id) AS spent \
     FROM grants g JOIN elevations e ON e.id = g.elevation WHERE g.id = $1";
/// States as they are now: what is over by its time is over, whether or not the sweep has come by. A grant was issued
/// when its request was decided.
const SELECT_PAGE: &str = "SELECT g.*, e.tier AS tier, \
     (SELECT CAST(COALESCE(SUM(s.spent), 0) AS BIGINT) FROM shares s WHERE s.grant_id = g.id) AS spent \
     FROM grants g JOIN elevations e ON e.id = g.elevation \
     WHERE ($1 IS NULL OR g.service = $1) AND ($2 IS NULL OR g.person = $2) \
     AND ($3 IS NULL OR $3 = CASE WHEN g.state = 'active' AND g.expires_ms <= $4 THEN 'expired' ELSE g.state END) \
     AND ($5 IS NULL OR $5 = CASE WHEN g.review = 'due' AND g.review_by_ms <= $4 THEN 'overdue' ELSE g.review END) \
     AND ($6 IS NULL OR e.reason = $6) AND ($7 IS NULL OR e.ticket = $7) \
     AND ($8 IS NULL OR e.decided_ms >= $8) AND ($9 IS NULL OR e.decided_ms < $9) \
     AND ($10 IS NULL OR EXISTS (SELECT 1 FROM scope_items s WHERE s.owner = g.id AND s.kind = 'resource' AND s.item = $10)) \
     AND ($11 IS NULL OR EXISTS (SELECT 1 FROM scope_items s WHERE s.owner = g.id AND s.kind = 'action' AND s.item = $11)) \
     AND ($12 IS NULL OR g.position < $12) ORDER BY g.position DESC LIMIT $13";
/// Grants ended by one sweep's transaction at most.
const SWEEP_MAX: u32 = 100;

/// How a grant ends: all of it goes into one transition.
pub(super) struct End<'a> {
    pub(super) cause: EndCause,
    pub(super) by: Option<&'a Person>,
    pub(super) note: Option<&'a str>,
    /// The revocation it is a part of.
    pub(super) revocation: Option<&'a RevocationId>,
    pub(super) entry: Draft,
}

impl End<'_> {
    fn expired(id: &GrantId) -> Self {
        Self { cause: EndCause::Expired, by: None, note: None, revocation: None, entry: Draft::grant_expired(id) }
    }
}

impl Store {
    /// Ends an active grant early. One whose time is over is ended as expired instead.
    ///
    /// # Errors
    /// [`StoreError`]; then the grant stands as it stood.
    pub async fn revoke(&self, id: &GrantId, by: &Person, note: Option<&str>) -> Result<RevokeOutcome, StoreError> {
        self.revoke_once(id, by, note, None).await
    }

    /// The same, under the caller's idempotency key.
    ///
    /// # Errors
    /// As [`Store::revoke`].
    pub async fn revoke_once(
        &self,
        id: &GrantId,
        by: &Person,
        note: Option<&str>,
        once: Option<&OnceKey>,
    ) -> Result<RevokeOutcome, StoreError> {
        let mut transition = self.transition().await?;
        if let Some(kept) = once::kept(&mut transition, by, once).await? {
            return Ok(RevokeOutcome::Kept(kept));
        }
        let Some(record) = fetch(transition.connection(), id).await? else { return Ok(RevokeOutcome::Unknown) };
        if record.state != GrantState::Active {
            return Ok(RevokeOutcome::Ended(Box::new(record)));
        }
        let (service, expired) = (&record.grant.service, record.grant.expires <= transition.at());
        if expired {
            end_grant(&mut transition, id, service, End::expired(id)).await?;
        } else {
            revocations::end_one(&mut transition, id, service, by, note).await?;
        }
        once::keep(&mut transition, by, once, id.as_str()).await?;
        let record = fetch(transition.connection(), id).await?;
        transition.commit().await?;
        let record = Box::new(record.ok_or_else(|| StoreError::Corrupt("a grant vanished".to_owned()))?);
        Ok(if expired { RevokeOutcome::Ended(record) } else { RevokeOutcome::Revoked(record) })
    }

    /// Ends the grants whose time is over, and answers their ids. Each sweep ends a bounded number.
    ///
    /// # Errors
    /// [`StoreError`]; then all of them stand as they stood.
    pub async fn expire_due(&self) -> Result<Vec<GrantId>, StoreError> {
        let now = self.shared.clock.wall();
        if due(&self.shared.database, now).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut transition = self.transition().await?;
        let due = due(transition.connection(), now).await?;
        for (id, service) in &due {
            end_grant(&mut transition, id, service, End::expired(id)).await?;
        }
        transition.commit().await?;
        Ok(due.into_iter().map(|(id, _)| id).collect())
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn grant(&self, id: &GrantId) -> Result<Option<GrantRecord>, StoreError> {
        let record = fetch(&self.shared.database, id).await?;
        Ok(record.map(|record| self.as_of_now(record)))
    }

    /// The grant's token; `None` while something must be bound to it. Only its requester may see it: the caller has made
    /// sure.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn grant_token(&self, id: &GrantId) -> Result<Option<Secret<String>>, StoreError> {
        let token = sql("SELECT token FROM grants WHERE id = $1").bind(id.as_str());
        let row = token.fetch_optional(&self.shared.database).await?;
        let token: Option<String> = row.map(|row| row.first()).transpose()?;
        Ok(token.filter(|token| !token.is_empty()).map(Secret::new))
    }

    /// One page, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn grants(&self, listing: &Listing) -> Result<Listed<GrantRecord>, StoreError> {
        let rows = sql(SELECT_PAGE)
            .bind(listing.service.as_ref().map(ServiceName::as_str))
            .bind(listing.person.as_ref().map(Person::as_str))
            .bind(listing.state.map(state_text))
            .bind(self.shared.clock.wall().unix_ms())
            .bind(listing.review.map(ReviewState::as_str))
            .bind(listing.reason.as_ref().map(ReasonCode::as_str))
            .bind(listing.ticket.as_ref().map(Ticket::as_str))
            .bind(listing.from.map(WallTime::unix_ms))
            .bind(listing.to.map(WallTime::unix_ms))
            .bind(listing.resource.as_ref().map(Resource::as_str))
            .bind(listing.action.as_ref().map(Action::as_str))
            .bind(listing.before)
            .bind(i64::from(listing.limit))
            .fetch_all(&self.shared.database)
            .await?;
        let items = rows.iter().map(|row| Ok(self.as_of_now(record(row)?))).collect::<Result<_, StoreError>>()?;
        Ok(Listed { items, next: next_position(&rows, listing.limit)? })
    }

    /// A grant whose time is over is shown as expired, whether or not the sweep has come by.
    fn as_of_now(&self, mut record: GrantRecord) -> GrantRecord {
        let now = self.shared.clock.wall();
        if record.state == GrantState::Active && record.grant.expires <= now {
            record.state = GrantState::Expired;
        }
        record.review = reviews::as_of(record.review, now);
        record
    }
}

/// Puts a grant into the world. The caller has made sure, in this transition, that nothing is frozen. Answers its
/// revision; one that is still to be bound has none, since the feed is not told of it.
pub(super) async fn insert(
    transition: &mut Transition<'_>,
    new: &NewGrant,
    elevation: &ElevationId,
    tier: &str,
) -> Result<Option<u64>, StoreError> {
    let grant = &new.grant;
    let put = StoredChange::Put { grant: grant.id.clone() };
    let revision = match new.token {
        Some(_) => Some(transition.change(Some(&grant.service), &put).await?),
        None => None,
    };
    let token = new.token.as_ref().map(Secret::expose);
    let at = transition.at();
    sql("INSERT INTO grants \
         (id, elevation, service, person, state, expires_ms, max_uses, claims, token, revision, changed_ms, review_due_s, \
         identity_since_ms) VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $9, $10, $11, \
         (SELECT since_ms FROM person_freshness WHERE person = $4))")
    .bind(grant.id.as_str())
    .bind(elevation.as_str())
    .bind(grant.service.as_str())
    .bind(grant.person.as_str())
    .bind(grant.expires.unix_ms())
    .bind(grant.max_uses.map(|uses| i64::from(uses.get())))
    .bind(to_json("claims", &GrantClaims::of(grant, &new.issuer))?)
    .bind(token.map_or("", String::as_str))
    .bind(to_sql(revision.unwrap_or_default()))
    .bind(at.unix_ms())
    .bind(new.review_due.map(|due| to_sql(due.as_secs())))
    .execute(transition.connection())
    .await?;
    scope_items::insert(transition.connection(), grant.id.as_str(), &grant.scope).await?;
    let token_sha256 = token.map(|token| digest_hex(token));
    let issued = Issued { elevation, tier, token_sha256: token_sha256.as_deref(), review_due: new.review_due };
    transition.entry(Draft::grant_issued(grant, issued), revision).await?;
    Ok(revision)
}

/// State, tombstone and entry of an end. Answers the revision.
pub(super) async fn end_grant(
    transition: &mut Transition<'_>,
    id: &GrantId,
    service: &ServiceName,
    end: End<'_>,
) -> Result<u64, StoreError> {
    let tombstone = StoredChange::Tombstone { grant: id.clone(), cause: end.cause };
    let revision = transition.change(Some(service), &tombstone).await?;
    let at = transition.at();
    // From here on its review is due, where one is asked for.
    sql("UPDATE grants SET state = $1, revision = $2, changed_ms = $3, ended_ms = $3, ended_by = $4, end_note = $5, \
         review = CASE WHEN review_due_s IS NULL THEN review ELSE 'due' END, review_by_ms = $3 + review_due_s * 1000, \
         revocation = $6 WHERE id = $7 AND state = 'active'")
    .bind(state_text(ended_state(end.cause)))
    .bind(to_sql(revision))
    .bind(at.unix_ms())
    .bind(end.by.map(Person::as_str))
    .bind(end.note)
    .bind(end.revocation.map(RevocationId::as_str))
    .bind(id.as_str())
    .execute(transition.connection())
    .await?;
    transition.entry(end.entry, Some(revision)).await?;
    audit::await_closing(transition, id, service, revision).await?;
    Ok(revision)
}

async fn due(on: impl Into<On<'_>>, now: WallTime) -> Result<Vec<(GrantId, ServiceName)>, StoreError> {
    let rows =
        sql("SELECT id, service FROM grants WHERE state = 'active' AND expires_ms <= $1 ORDER BY expires_ms LIMIT $2")
            .bind(now.unix_ms())
            .bind(i64::from(SWEEP_MAX))
            .fetch_all(on)
            .await?;
    rows.iter().map(named).collect()
}

/// A grant and its service, of a row that has both.
pub(super) fn named(row: &Row) -> Result<(GrantId, ServiceName), StoreError> {
    Ok((parsed("grant id", row.try_get("id")?)?, parsed("service", row.try_get("service")?)?))
}

pub(super) async fn fetch(on: impl Into<On<'_>>, id: &GrantId) -> Result<Option<GrantRecord>, StoreError> {
    let row = sql(SELECT).bind(id.as_str()).fetch_optional(on).await?;
    row.as_ref().map(record).transpose()
}

fn record(row: &Row) -> Result<GrantRecord, StoreError> {
    let claims: GrantClaims = from_json("claims of a grant", row.try_get("claims")?)?;
    let grant = Grant::try_from(claims).map_err(|error| StoreError::Corrupt(format!("claims of a grant: {error}")))?;
    Ok(GrantRecord {
        grant,
        elevation: parsed("elevation id", row.try_get("elevation")?)?,
        tier: row.try_get("tier")?,
        state: state(row.try_get("state")?)?,
        revision: from_sql(row.try_get("revision")?),
        changed: WallTime::from_unix_ms(row.try_get("changed_ms")?),
        spent: uses(row.try_get("spent")?),
        suspended: row.try_get::<Option<i64>>("suspended_ms")?.map(WallTime::from_unix_ms),
        ended: end(row)?,
        review: reviews::read(row)?,
    })
}

fn end(row: &Row) -> Result<Option<GrantEnd>, StoreError> {
    let Some(at) = row.try_get::<Option<i64>>("ended_ms")? else { return Ok(None) };
    let by: Option<&str> = row.try_get("ended_by")?;
    let revocation: Option<&str> = row.try_get("revocation")?;
    Ok(Some(GrantEnd {
        at: WallTime::from_unix_ms(at),
        by: by.map(|by| parsed("person", by)).transpose()?,
        note: row.try_get("end_note")?,
        revocation: revocation.map(|id| parsed("revocation id", id)).transpose()?,
    }))
}

/// Where the next page starts, if this one is full.
pub(super) fn next_position(rows: &[Row], limit: u32) -> Result<Option<i64>, StoreError> {
    match rows.last() {
        Some(last) if u32::try_from(rows.len()).is_ok_and(|count| count == limit) => {
            Ok(Some(last.try_get("position")?))
        }
        _ => Ok(None),
    }
}
