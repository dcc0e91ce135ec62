//! The account of a grant that has ended: how many overrides there were, so that "these are all of them" can be checked.
//!
//! It is closed once every sidecar that may have recorded something has shipped past the end, every intent has its
//! outcome, and the numbers agree; after [`CLOSE_WAIT`] it is closed all the same and says what is missing. What comes
//! later closes it anew, and the new entry names the one it amends. INVARIANT: an account that says nothing is missing
//! was closed by every sidecar's word.

use std::time::Duration;

use super::accounts::{self, Account};
use super::counters::{self, Counted, Difference};
use crate::domain::{Grant, GrantId, InstanceName, ServiceName, WallTime};
use crate::ledger::Closed;
use crate::ledger::entry::Draft;
use crate::store::database::Transaction;
use crate::store::rows::{from_json, from_sql, parsed, to_sql, to_u64};
use crate::store::statement::{Row, sql};
use crate::store::transition::Transition;
use crate::store::{Store, StoreError};
use crate::token::claims::GrantClaims;

/// How long an account waits for sidecars that are silent, and for outcomes.
pub const CLOSE_WAIT: Duration = Duration::from_secs(600);
/// Accounts looked at in one round, and closed by one transaction.
const LOOKED_AT_MAX: i64 = 1000;
const CLOSED_MAX: usize = 64;

const DUE: &str = "SELECT c.grant_id, c.service, c.revision, c.ended_ms, c.entry_index, g.claims, g.max_uses \
    FROM grant_closings c JOIN grants g ON g.id = c.grant_id WHERE c.is_due = 1 ORDER BY c.ended_ms LIMIT $1";
const ONE: &str = "SELECT c.grant_id, c.service, c.revision, c.ended_ms, c.entry_index, g.claims, g.max_uses \
    FROM grant_closings c JOIN grants g ON g.id = c.grant_id WHERE c.is_due = 1 AND c.grant_id = $1";
/// Who was heard of since the grant began and has not shipped past its end; but for those that are gone and had closed
/// their log, and with those of whose log something is lost.
const MISSING: &str = "SELECT s.instance FROM sidecars s WHERE s.service = $1 AND s.heard_ms >= $2 AND NOT EXISTS \
    (SELECT 1 FROM audit_settled a WHERE a.service = s.service AND a.instance = s.instance \
     AND a.lineage = s.lineage AND a.epoch = $3 AND a.revision >= $4) \
    AND NOT (s.connected = 0 AND EXISTS (SELECT 1 FROM audit_logs o WHERE o.service = s.service \
     AND o.instance = s.instance AND o.is_over = 1) AND NOT EXISTS (SELECT 1 FROM audit_logs o \
     WHERE o.service = s.service AND o.instance = s.instance AND o.is_over = 0)) \
    UNION SELECT l.instance FROM audit_logs l WHERE l.service = $1 AND l.is_lost = 1 AND l.heard_ms >= $2 \
    ORDER BY 1";

/// A grant that has ended.
#[derive(Debug)]
struct Due {
    grant: GrantId,
    service: ServiceName,
    revision: u64,
    ended: WallTime,
    began: WallTime,
    is_limited: bool,
    closed_before: Option<u64>,
}

/// What stands of it.
#[derive(Debug)]
struct Standing {
    account: Account,
    counted: Counted,
    spent: Option<u64>,
    missing: Vec<InstanceName>,
}

impl Standing {
    fn open(&self) -> u64 {
        self.account.intents.saturating_sub(self.account.outcomes)
    }

    /// A use that was reserved for an override that was then not forwarded may or may not have been counted as spent.
    fn agrees(&self) -> bool {
        let forwarded = self.account.intents.saturating_sub(self.account.ended("not_forwarded"));
        self.spent.is_none_or(|spent| (forwarded..=self.account.intents).contains(&spent))
    }

    /// An override of which nobody knows how it ended may have been told to the upstream, or not.
    fn explains_assertions(&self) -> bool {
        let unknown = self.account.ended("unknown").saturating_add(self.open());
        self.counted.surplus == 0 && self.counted.untold <= unknown
    }

    fn differences(&self) -> Vec<Difference> {
        let holds = |difference: &Difference| match difference {
            Difference::Intents => self.counted.intents_off == 0,
            Difference::Assertions => self.explains_assertions(),
            Difference::Uses => self.agrees(),
        };
        Difference::ALL.iter().copied().filter(|difference| !holds(difference)).collect()
    }

    fn is_reconciled(&self) -> bool {
        self.missing.is_empty() && self.open() == 0 && self.differences().is_empty()
    }
}

/// An account that was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedAccount {
    pub grant: GrantId,
    /// What of its numbers does not agree.
    pub differences: Vec<Difference>,
}

/// A grant has ended: its account is to be closed.
pub(in crate::store) async fn await_closing(
    transition: &mut Transition<'_>,
    grant: &GrantId,
    service: &ServiceName,
    revision: u64,
) -> Result<(), StoreError> {
    let at = transition.at().unix_ms();
    sql("INSERT INTO grant_closings (grant_id, service, revision, ended_ms, is_due) VALUES ($1, $2, $3, $4, 1) \
         ON CONFLICT (grant_id) DO NOTHING")
    .bind(grant.as_str())
    .bind(service.as_str())
    .bind(to_sql(revision))
    .bind(at)
    .execute(transition.connection())
    .await?;
    Ok(())
}

impl Store {
    /// Closes the accounts that can be, and those that have waited long enough. Answers whose they are.
    ///
    /// # Errors
    /// [`StoreError`]; those not answered are looked at again.
    pub async fn close_accounts(&self) -> Result<Vec<ClosedAccount>, StoreError> {
        let now = self.shared.clock.wall();
        let mut ready = Vec::new();
        let mut reading = self.shared.database.read().await?;
        let rows = sql(DUE).bind(LOOKED_AT_MAX).fetch_all(&mut reading).await?;
        for row in &rows {
            let due = due(row)?;
            if ready.len() < CLOSED_MAX && self.standing(&mut reading, &due).await?.may_close(&due, now) {
                ready.push(due.grant);
            }
        }
        drop(reading);
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let mut transition = self.transition().await?;
        let mut closed = Vec::with_capacity(ready.len());
        for grant in ready {
            if let Some(differences) = self.close_account(&mut transition, &grant, now).await? {
                closed.push(ClosedAccount { grant, differences });
            }
        }
        transition.commit().await?;
        Ok(closed)
    }

    /// Another replica may have done it meanwhile. Answers what does not agree.
    async fn close_account(
        &self,
        transition: &mut Transition<'_>,
        grant: &GrantId,
        now: WallTime,
    ) -> Result<Option<Vec<Difference>>, StoreError> {
        let row = sql(ONE).bind(grant.as_str()).fetch_optional(transition.connection()).await?;
        let Some(due) = row.as_ref().map(due).transpose()? else { return Ok(None) };
        let standing = self.standing(transition.connection(), &due).await?;
        if !standing.may_close(&due, now) {
            return Ok(None);
        }
        let differences = standing.differences();
        let named: Vec<_> = differences.iter().map(|difference| difference.as_str()).collect();
        let closed = Closed {
            grant,
            overrides: standing.account.intents,
            ends: &standing.account.ends,
            open: standing.open(),
            refusals: standing.account.refusals,
            spent: standing.spent,
            missing: &standing.missing,
            assertions: standing.counted.assertions,
            signed: standing.counted.signed,
            differences: &named,
            reconciled: standing.is_reconciled(),
            amends: due.closed_before,
        };
        let index = transition.entry(Draft::grant_closed(closed), None).await?;
        sql("UPDATE grant_closings SET is_due = 0, missing = $1, entry_index = $2 WHERE grant_id = $3")
            .bind(to_sql(to_u64(standing.missing.len())))
            .bind(to_sql(index))
            .bind(grant.as_str())
            .execute(transition.connection())
            .await?;
        Ok(Some(differences))
    }

    async fn standing(&self, on: &mut Transaction, due: &Due) -> Result<Standing, StoreError> {
        let account = accounts::of_grant(on, &due.grant).await?;
        let counted = counters::of_grant(on, &due.grant).await?;
        let spent = sql("SELECT CAST(COALESCE(SUM(spent), 0) AS BIGINT) FROM shares WHERE grant_id = $1")
            .bind(due.grant.as_str())
            .integer(&mut *on)
            .await?;
        let rows = sql(MISSING)
            .bind(due.service.as_str())
            .bind(due.began.unix_ms())
            .bind(self.epoch())
            .bind(to_sql(due.revision))
            .fetch_all(&mut *on)
            .await?;
        let missing = rows.iter().map(|row| parsed("instance", row.first()?)).collect::<Result<_, _>>()?;
        Ok(Standing { account, counted, spent: due.is_limited.then(|| from_sql(spent)), missing })
    }
}

impl Standing {
    /// An account that was closed before is corrected as soon as something came.
    fn may_close(&self, due: &Due, now: WallTime) -> bool {
        self.is_reconciled() || due.closed_before.is_some() || now >= due.ended.plus(CLOSE_WAIT)
    }
}

fn due(row: &Row) -> Result<Due, StoreError> {
    let claims: GrantClaims = from_json("claims", row.try_get("claims")?)?;
    let grant = Grant::try_from(claims).map_err(|error| StoreError::Corrupt(format!("claims: {error}")))?;
    Ok(Due {
        grant: grant.id.clone(),
        service: parsed("service", row.try_get("service")?)?,
        revision: from_sql(row.try_get("revision")?),
        ended: WallTime::from_unix_ms(row.try_get("ended_ms")?),
        began: grant.not_before,
        is_limited: row.try_get::<Option<i64>>("max_uses")?.is_some(),
        closed_before: row.try_get::<Option<i64>>("entry_index")?.map(from_sql),
    })
}
