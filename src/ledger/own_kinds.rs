//! The kinds of entries that are about the ledger itself: which key signs it, and what a restored backup begins.

use super::entry::{Draft, EntryKind};
use super::note::VerifierKey;
use crate::domain::GrantId;

impl Draft {
    /// A key that signs checkpoints from now on, as its verifier key; `before` is the one it follows.
    pub fn ledger_key_created(key: &VerifierKey, before: Option<&VerifierKey>) -> Self {
        Self::new(EntryKind::LedgerKeyCreated)
            .fact("vkey", key.to_string())
            .fact_if("vkey_before", before.map(ToString::to_string))
    }

    /// A backup was put in place: a new history begins, everything frozen, after `revision` of the one before.
    ///
    /// `log`: the origin and the greatest signed size of the log before, as far as the backup knows, and the origin of
    /// the log that begins.
    pub fn database_restored(
        epoch_before: &str,
        epoch: &str,
        revision: u64,
        log: Option<(&str, Option<u64>, &str)>,
    ) -> Self {
        Self::new(EntryKind::DatabaseRestored)
            .fact("epoch_before", epoch_before)
            .fact("epoch", epoch)
            .fact("revision_before", revision)
            .fact_if("origin_before", log.map(|(before, ..)| before))
            .fact_if("signed_before", log.and_then(|(_, signed, _)| signed))
            .fact_if("origin", log.map(|(.., origin)| origin))
    }

    /// A grant of a restored backup: what became of it after the backup is not known, so it has ended.
    pub fn grant_revoked_by_restore(grant: &GrantId) -> Self {
        Self::new(EntryKind::GrantRevoked).fact("grant", grant.as_str()).fact("cause", "database_restored")
    }

    /// Frozen by the restore of a backup, until a human lifts it.
    pub fn frozen_by_restore() -> Self {
        Self::new(EntryKind::FreezeChanged).fact("frozen", true).fact("cause", "database_restored")
    }
}
