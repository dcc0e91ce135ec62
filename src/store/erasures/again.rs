//! Erasing again what a backup brought back, by what the log says of earlier erasures.
//!
//! An erasure's entry names no human. It names the first entry beside which the name lay: where the backup has that entry,
//! it has the name, and there whoever was erased is erased anew. INVARIANT: the entry's bytes are compared first, since
//! after a backup another entry may have the same index.

use super::{ErasureOutcome, NewErasure};
use crate::domain::{Erasable, ErasureReason, Verdict, WallTime};
use crate::store::rows::{parsed, to_sql};
use crate::store::statement::sql;
use crate::store::{Store, StoreError};

/// An erasure that the log before tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EarlierErasure {
    /// `canonical`: the first entry beside which their name lay, as that log has it, and the field.
    Person {
        entry: u64,
        canonical: String,
        field: String,
    },
    Age {
        before: WallTime,
    },
}

impl Store {
    /// Orders an earlier erasure again; of one by age, `held` is kept. `None` where the database has nothing of it: it knows of it, or began after what it
    /// was about.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was erased.
    pub async fn erase_again(
        &self,
        earlier: &EarlierErasure,
        held: &[Verdict],
    ) -> Result<Option<ErasureOutcome>, StoreError> {
        let what = match earlier {
            EarlierErasure::Age { before } if self.has_aged(*before, held).await? => Erasable::Age { before: *before },
            EarlierErasure::Age { .. } => return Ok(None),
            EarlierErasure::Person { entry, canonical, field } => {
                let row = sql("SELECT v.value FROM entry_values v JOIN entries e ON e.entry_index = v.entry_index \
                     WHERE v.entry_index = $1 AND v.field = $2 AND e.canonical = $3")
                .bind(to_sql(*entry))
                .bind(field)
                .bind(canonical)
                .fetch_optional(&self.shared.database)
                .await?;
                let Some(row) = row else { return Ok(None) };
                Erasable::Person { person: parsed("person", row.first()?)? }
            }
        };
        let new = NewErasure { what, reason: ErasureReason::Restored, held: held.to_vec(), by: None, once: None };
        self.erase(&new).await.map(Some)
    }
}
