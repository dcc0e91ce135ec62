//! What the lines of each grant add up to. INVARIANT: intents of a grant are numbered from 1 without a gap, over all
//! sidecars and replicas: the number is taken under the writer's lock, and stands only with the line's entry.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::BatchLine;
use crate::audit::{LineKind, ToldLine};
use crate::domain::GrantId;
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::rows::{from_json, from_sql, parsed, to_json};
use crate::store::statement::{Row, sql, sql_over_rows};
use crate::store::transition::Transition;

/// What became of a grant, as sidecars recorded it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) intents: u64,
    pub(super) outcomes: u64,
    pub(super) refusals: u64,
    /// Outcomes by how they ended.
    pub(super) ends: Map<String, Value>,
}

impl Account {
    /// Outcomes that ended in this way.
    pub(super) fn ended(&self, end: &str) -> u64 {
        self.ends.get(end).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Its number, for an intent.
    fn count(&mut self, line: &ToldLine) -> Option<u64> {
        match line.kind {
            LineKind::Intent => {
                self.intents = self.intents.saturating_add(1);
                return Some(self.intents);
            }
            LineKind::Outcome | LineKind::UnknownOutcome => {
                self.outcomes = self.outcomes.saturating_add(1);
                let end = line.end.as_deref().unwrap_or("unknown");
                self.ends.insert(end.to_owned(), Value::from(self.ended(end).saturating_add(1)));
            }
            LineKind::Refusal => self.refusals = self.refusals.saturating_add(1),
            LineKind::LogStarted
            | LineKind::Observed
            | LineKind::RefusalSummary
            | LineKind::LossAccepted
            | LineKind::LogEnded => {}
        }
        None
    }
}

/// The accounts that a batch touches.
#[derive(Debug, Default)]
pub(super) struct Accounts(BTreeMap<GrantId, Account>);

#[derive(Serialize)]
struct AccountRow<'a> {
    grant: &'a str,
    intents: u64,
    outcomes: u64,
    refusals: u64,
    ends: String,
}

impl Accounts {
    pub(super) async fn read(transition: &mut Transition<'_>, lines: &[BatchLine]) -> Result<Self, StoreError> {
        let mut accounts: BTreeMap<GrantId, Account> = BTreeMap::new();
        for grant in lines.iter().filter_map(|line| line.told.grant.as_ref()) {
            if !accounts.contains_key(grant) {
                accounts.insert(grant.clone(), Account::default());
            }
        }
        if accounts.is_empty() {
            return Ok(Self::default());
        }
        let named: Vec<_> = accounts.keys().map(|grant| serde_json::json!({ "grant": grant.as_str() })).collect();
        let rows = sql_over_rows!(
            "SELECT a.grant_id, a.intents, a.outcomes, a.refusals, a.ends FROM",
            "JOIN audit_accounts a ON a.grant_id = told.value ->> 'grant'"
        )
        .bind(to_json("grants", &named)?)
        .fetch_all(transition.connection())
        .await?;
        for row in &rows {
            accounts.insert(parsed("grant id", row.try_get("grant_id")?)?, account(row)?);
        }
        Ok(Self(accounts))
    }

    /// The number of an intent among those of its grant.
    pub(super) fn count(&mut self, line: &ToldLine) -> Option<u64> {
        self.0.get_mut(line.grant.as_ref()?)?.count(line)
    }

    /// Writes the sums down. An account that was closed is to be closed anew.
    pub(super) async fn write(self, transition: &mut Transition<'_>) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let rows = self.0.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let rows = to_json("accounts", &rows)?;
        sql_over_rows!(
            "INSERT INTO audit_accounts (grant_id, intents, outcomes, refusals, ends) \
             SELECT told.value ->> 'grant', CAST(told.value ->> 'intents' AS BIGINT), \
             CAST(told.value ->> 'outcomes' AS BIGINT), CAST(told.value ->> 'refusals' AS BIGINT), \
             told.value ->> 'ends' FROM",
            "WHERE true ON CONFLICT (grant_id) DO UPDATE SET intents = excluded.intents, \
             outcomes = excluded.outcomes, refusals = excluded.refusals, ends = excluded.ends"
        )
        .bind(&rows)
        .execute(transition.connection())
        .await?;
        sql_over_rows!(
            "UPDATE grant_closings SET is_due = 1 WHERE entry_index IS NOT NULL AND grant_id IN \
             (SELECT told.value ->> 'grant' FROM",
            ")"
        )
        .bind(&rows)
        .execute(transition.connection())
        .await?;
        Ok(())
    }
}

fn row<'a>((grant, account): (&'a GrantId, &Account)) -> Result<AccountRow<'a>, StoreError> {
    Ok(AccountRow {
        grant: grant.as_str(),
        intents: account.intents,
        outcomes: account.outcomes,
        refusals: account.refusals,
        ends: to_json("ends", &account.ends)?,
    })
}

/// What is known of one grant.
pub(super) async fn of_grant(on: &mut Transaction, grant: &GrantId) -> Result<Account, StoreError> {
    let row = sql("SELECT intents, outcomes, refusals, ends FROM audit_accounts WHERE grant_id = $1")
        .bind(grant.as_str())
        .fetch_optional(on)
        .await?;
    row.as_ref().map(account).transpose().map(Option::unwrap_or_default)
}

fn account(row: &Row) -> Result<Account, StoreError> {
    Ok(Account {
        intents: from_sql(row.try_get("intents")?),
        outcomes: from_sql(row.try_get("outcomes")?),
        refusals: from_sql(row.try_get("refusals")?),
        ends: from_json("ends", row.try_get("ends")?)?,
    })
}
