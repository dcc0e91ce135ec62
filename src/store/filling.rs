//! What a step of the schema could not fill in by SQL, since one text serves two databases: it lies in JSON.

use super::database::Database;
use super::rows::{from_json, parsed, to_json};
use super::statement::sql;
use super::{StoreError, scope_items};
use crate::domain::{ElevationId, Grant, GrantId};
use crate::token::claims::GrantClaims;
use serde_json::{Map, Value, json};

/// Fills in the rows of the first schema, once: what a request was let through on stands in its grant.
pub(super) async fn fill_in(database: &Database) -> Result<(), StoreError> {
    let marked = "SELECT COUNT(*) FROM meta WHERE name = 'to_fill_in'";
    if sql(marked).integer(database).await? == 0 {
        return Ok(());
    }
    let mut tx = database.write().await?;
    // Another replica may have come first.
    if sql("DELETE FROM meta WHERE name = 'to_fill_in'").execute(&mut tx).await? == 0 {
        return Ok(());
    }
    let rows = sql("SELECT e.id, e.body, g.id AS grant_id, g.claims FROM elevations e \
                    JOIN grants g ON g.elevation = e.id WHERE e.reason = ''")
    .fetch_all(&mut tx)
    .await?;
    for row in rows {
        let claims: GrantClaims = from_json("claims of a grant", row.try_get("claims")?)?;
        let grant = Grant::try_from(claims).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let (id, grant_id): (ElevationId, GrantId) =
            (parsed("elevation id", row.try_get("id")?)?, parsed("grant id", row.try_get("grant_id")?)?);
        let body = filled(from_json("body of an elevation", row.try_get("body")?)?, &grant);
        sql("UPDATE elevations SET body = $1, reason = $2, ticket = $3 WHERE id = $4")
            .bind(to_json("body of an elevation", &body)?)
            .bind(grant.justification.reason.as_str())
            .bind(grant.justification.ticket.as_str())
            .bind(id.as_str())
            .execute(&mut tx)
            .await?;
        scope_items::insert(&mut tx, id.as_str(), &grant.scope).await?;
        scope_items::insert(&mut tx, grant_id.as_str(), &grant.scope).await?;
    }
    tx.commit().await?;
    Ok(())
}

fn filled(mut body: Map<String, Value>, grant: &Grant) -> Map<String, Value> {
    let found = [
        ("idp", json!(grant.idp)),
        ("acr", json!(grant.authentication.acr)),
        ("amr", json!(grant.authentication.amr)),
        ("auth_time", json!(grant.authentication.auth_time)),
        ("binding", json!(grant.binding)),
        ("max_uses", json!(grant.max_uses)),
        ("staleness_max_s", json!(grant.staleness_max.as_secs())),
        ("policy_revision", json!(grant.policy_revision)),
    ];
    body.extend(found.map(|(name, value)| (name.to_owned(), value)));
    body
}
