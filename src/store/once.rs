//! Idempotency keys: whoever repeats a call under the same key gets what came of the first.
//!
//! INVARIANT: a key is written in the transaction of what it made, so that neither is ever there alone.

use super::statement::{Row, sql};
use super::transition::Transition;
use super::{Kept, OnceKey, Store, StoreError};
use crate::domain::Person;

const SELECT: &str =
    "SELECT operation, digest, made FROM idempotency_keys WHERE person = $1 AND key = $2 AND at_ms > $3";

impl Store {
    /// What a key made before, if it is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn kept(&self, person: &Person, once: &OnceKey) -> Result<Option<Kept>, StoreError> {
        let since = self.shared.clock.wall().minus(Self::ONCE_KEYS_KEPT);
        let row = sql(SELECT)
            .bind(person.as_str())
            .bind(&once.key)
            .bind(since.unix_ms())
            .fetch_optional(&self.shared.database)
            .await?;
        row.as_ref().map(|row| read(row, once)).transpose()
    }
}

/// The same question inside a transition, after forgetting the keys that are too old.
pub(super) async fn kept(
    transition: &mut Transition<'_>,
    person: &Person,
    once: Option<&OnceKey>,
) -> Result<Option<Kept>, StoreError> {
    let Some(once) = once else { return Ok(None) };
    let since = transition.at().minus(Store::ONCE_KEYS_KEPT);
    sql("DELETE FROM idempotency_keys WHERE at_ms <= $1")
        .bind(since.unix_ms())
        .execute(transition.connection())
        .await?;
    let row = sql(SELECT)
        .bind(person.as_str())
        .bind(&once.key)
        .bind(since.unix_ms())
        .fetch_optional(transition.connection())
        .await?;
    row.as_ref().map(|row| read(row, once)).transpose()
}

/// Remembers what a call made.
pub(super) async fn keep(
    transition: &mut Transition<'_>,
    person: &Person,
    once: Option<&OnceKey>,
    made: &str,
) -> Result<(), StoreError> {
    let Some(once) = once else { return Ok(()) };
    let at = transition.at();
    sql("INSERT INTO idempotency_keys (person, key, operation, digest, made, at_ms) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(person.as_str())
        .bind(&once.key)
        .bind(once.operation.as_str())
        .bind(&once.digest)
        .bind(made)
        .bind(at.unix_ms())
        .execute(transition.connection())
        .await?;
    Ok(())
}

fn read(row: &Row, once: &OnceKey) -> Result<Kept, StoreError> {
    let same =
        row.try_get::<&str>("operation")? == once.operation.as_str() && row.try_get::<&str>("digest")? == once.digest;
    Ok(if same { Kept::Before(row.try_get("made")?) } else { Kept::Reused })
}
