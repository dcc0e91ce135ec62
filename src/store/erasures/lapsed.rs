//! What names people and is of no use any more by its very age: whatever the configuration says, it is not kept.

use crate::store::signals::KEPT;
use crate::store::statement::sql;
use crate::store::{Store, StoreError};

impl Store {
    /// Forgets idempotency keys, demands for fresh sign-ins and ids of signals that nothing rests on any more. Those who use
    /// them do so, too, but only as they come by.
    ///
    /// # Errors
    /// [`StoreError`]; then they are there still.
    pub async fn forget_lapsed(&self) -> Result<(), StoreError> {
        let now = self.shared.clock.wall();
        let lapsed = [
            ("DELETE FROM idempotency_keys WHERE at_ms <= $1", Self::ONCE_KEYS_KEPT),
            ("DELETE FROM person_freshness WHERE since_ms <= $1", KEPT),
            ("DELETE FROM signals WHERE at_ms <= $1", KEPT),
        ];
        let mut transition = self.transition().await?;
        let mut gone = 0;
        for (text, kept) in lapsed {
            let forget = sql(text).bind(now.minus(kept).unix_ms());
            gone += forget.execute(transition.connection()).await?;
        }
        transition.commit().await?;
        if gone > 0 {
            self.note_erased();
        }
        Ok(())
    }
}
