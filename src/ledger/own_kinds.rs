//! The kinds of entries that are about the ledger itself: which key signs it, and where another log begins.

use super::entry::{Draft, EntryKind};
use super::note::VerifierKey;

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
}
