//! The personal values beside entries, read back with their salts: for whoever is to check them against the entries.

use serde::Serialize;
use serde_json::Value;

use super::rows::{from_sql, to_json};
use super::statement::sql_over_rows;
use super::{GrantRecord, Store, StoreError};
use crate::ledger::entry::SALT_BYTES;

/// A value with the salt of its commitment.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredValue {
    pub entry: u64,
    pub field: String,
    pub value: String,
    pub salt: [u8; SALT_BYTES],
}

impl std::fmt::Debug for StoredValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { entry, field, .. } = self;
        f.debug_struct("StoredValue").field("entry", entry).field("field", field).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Asked {
    i: u64,
}

impl Store {
    /// What lies beside those of the entries that are about the grant; of others nothing is told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn personal_values(&self, grant: &GrantRecord, entries: &[u64]) -> Result<Vec<StoredValue>, StoreError> {
        let asked: Vec<_> = entries.iter().map(|index| Asked { i: *index }).collect();
        let rows = sql_over_rows!(
            "SELECT v.entry_index, v.field, v.value, v.salt, e.canonical FROM",
            "JOIN entries e ON e.entry_index = CAST(told.value ->> 'i' AS BIGINT) \
             JOIN entry_values v ON v.entry_index = e.entry_index ORDER BY v.entry_index, v.field"
        )
        .bind(to_json("indices", &asked)?)
        .fetch_all(&self.shared.database)
        .await?;
        let mut values = Vec::with_capacity(rows.len());
        for row in &rows {
            let entry = from_sql(row.try_get("entry_index")?);
            let corrupt = |what: &str| StoreError::Corrupt(format!("entry {entry}: {what}"));
            let document: Value =
                serde_json::from_str(row.try_get("canonical")?).map_err(|error| corrupt(&error.to_string()))?;
            if !is_about(&document, grant) {
                continue;
            }
            let salt = <[u8; SALT_BYTES]>::try_from(row.try_get::<&[u8]>("salt")?).map_err(|_| corrupt("its salt"))?;
            values.push(StoredValue { entry, field: row.try_get("field")?, value: row.try_get("value")?, salt });
        }
        Ok(values)
    }
}

/// It names the grant; or no grant, and what the grant came from or ended by.
fn is_about(entry: &Value, grant: &GrantRecord) -> bool {
    let fact = |name: &str| entry.get("facts").and_then(|facts| facts.get(name)?.as_str());
    if let Some(named) = fact("grant") {
        return named == grant.grant.id.as_str();
    }
    let revocation = grant.ended.as_ref().and_then(|ended| ended.revocation.as_ref());
    fact("elevation") == Some(grant.elevation.as_str())
        || revocation.is_some_and(|revocation| fact("revocation") == Some(revocation.as_str()))
}
