//! What a person was granted before: what limits their next request, and what an approver looks at.

use std::collections::BTreeMap;

use super::policies::newest_policy;
use super::rows::{from_sql, parsed, uses};
use super::statement::{On, sql};
use super::suspension::fresh_since;
use super::{Basis, GrantRecord, Listing, Store, StoreError};
use crate::domain::{Person, WallTime};
use crate::policy::{Ended, History};

/// A person's earlier grants: how many, and the last few of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    pub grants: u64,
    pub last: Vec<GrantRecord>,
}

impl Store {
    /// What a request of this person would rest on now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn basis(&self, person: &Person, ended_since: WallTime) -> Result<Basis, StoreError> {
        let now = self.shared.clock.wall();
        let mut reading = self.shared.database.read().await?;
        Ok(Basis {
            policy_revision: newest_policy(&mut reading).await?,
            ended_since,
            history: History {
                live: live(&mut reading, person, now).await?,
                ended: ended(&mut reading, person, now, ended_since).await?,
            },
            fresh_since: fresh_since(&mut reading, person).await?,
        })
    }

    /// What an approver is shown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn past(&self, person: &Person, last: u32) -> Result<Past, StoreError> {
        let grants = sql("SELECT COUNT(*) FROM grants WHERE person = $1")
            .bind(person.as_str())
            .integer(&self.shared.database)
            .await?;
        let listing = Listing { person: Some(person.clone()), limit: last, ..Listing::default() };
        Ok(Past { grants: from_sql(grants), last: self.grants(&listing).await?.items })
    }
}

/// Live grants, and requests that wait, by tier.
pub(super) async fn live(
    on: impl Into<On<'_>>,
    person: &Person,
    now: WallTime,
) -> Result<BTreeMap<String, u32>, StoreError> {
    let rows = sql("SELECT tier, COUNT(*) AS live FROM ( \
             SELECT e.tier AS tier FROM grants g JOIN elevations e ON e.id = g.elevation \
             WHERE g.person = $1 AND g.state = 'active' AND g.expires_ms > $2 \
             UNION ALL \
             SELECT tier FROM elevations WHERE person = $1 AND state = 'requested' AND lapses_ms > $2) AS standing \
         GROUP BY tier")
    .bind(person.as_str())
    .bind(now.unix_ms())
    .fetch_all(on)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("tier")?, uses(row.try_get("live")?)))).collect()
}

/// Last ends after `since`. A grant whose time is over has ended, whether or not the sweep has come by.
pub(super) async fn ended(
    on: impl Into<On<'_>>,
    person: &Person,
    now: WallTime,
    since: WallTime,
) -> Result<Vec<Ended>, StoreError> {
    let rows = sql("SELECT tier, service, item, MAX(at_ms) AS at_ms FROM ( \
             SELECT e.tier AS tier, g.service AS service, s.item AS item, \
                    CASE WHEN g.state = 'active' THEN g.expires_ms ELSE g.ended_ms END AS at_ms \
             FROM grants g JOIN elevations e ON e.id = g.elevation \
             JOIN scope_items s ON s.owner = g.id AND s.kind = 'resource' \
             WHERE g.person = $1 AND (g.state <> 'active' OR g.expires_ms <= $2)) AS ends \
         WHERE at_ms > $3 GROUP BY tier, service, item ORDER BY tier, service, item")
    .bind(person.as_str())
    .bind(now.unix_ms())
    .bind(since.unix_ms())
    .fetch_all(on)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Ended {
                tier: row.try_get("tier")?,
                service: parsed("service", row.try_get("service")?)?,
                resource: parsed("resource", row.try_get("item")?)?,
                at: WallTime::from_unix_ms(row.try_get("at_ms")?),
            })
        })
        .collect()
}
