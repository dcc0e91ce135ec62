//! The sequencer: takes committed entries into the tree, and signs what the tree has become once that is committed too.
//!
//! Every replica runs one. They need not agree on who works: the tree moves by compare-and-swap, and of two checkpoints of
//! one size one is kept, which says the same as the other.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::open::LedgerStartError;
use super::{Ledger, Standing};
use crate::control::keys::KeysError;
use crate::control::keys::ledger::LedgerKeys;
use crate::error_chain::error_chain;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::hash::Hash;
use crate::ledger::note::{NoteError, SignatureLine};
use crate::store::{Growth, LedgerError, StoreError, StoredCheckpoint};

/// Entries that are taken into the tree at once.
const STEP_ENTRIES_MAX: u32 = 4096;
/// How often it is looked without being woken: another replica's entries wake nobody here.
const EVERY: Duration = Duration::from_secs(1);
/// How long a step rests after another, so that entries that come one by one share a checkpoint.
const REST: Duration = Duration::from_millis(250);

/// Why nothing was signed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(in crate::control) enum StepError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the checkpoint could not be signed")]
    Keys(#[from] KeysError),
    #[error("the checkpoint could not be written")]
    Note(#[from] NoteError),
    #[error("what was signed last is not sure")]
    Known(#[from] LedgerStartError),
    #[error("{0}: it is an older copy, or another log; docs/ledger.md says what to do")]
    Ahead(String),
    #[error("what was signed could not be remembered")]
    Head(#[from] super::HeadError),
    #[error("a thread broke off")]
    Thread(#[source] tokio::task::JoinError),
}

impl Ledger {
    /// Runs until `stop` turns true, and signs once more then.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut commits = self.store.subscribe_commits();
        self.ask_before_signing().await;
        loop {
            commits.borrow_and_update();
            let result = self.step().await;
            self.note(result.as_ref().err()).await;
            let wait = async {
                tokio::time::sleep(REST).await;
                // A closed channel means that the store is gone: the end comes by `stop`.
                let _ = tokio::time::timeout(EVERY.saturating_sub(REST), commits.changed()).await;
            };
            tokio::select! {
                () = wait => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let result = self.step().await;
        self.note(result.as_ref().err()).await;
    }

    /// Everything that is committed goes into the tree, and the tree is signed.
    pub(in crate::control) async fn step(&self) -> Result<(), StepError> {
        let _turn = self.turn.lock().await;
        self.take_in_keys().await?;
        let (size, root) = loop {
            match self.store.grow_ledger(STEP_ENTRIES_MAX).await? {
                Growth::Current { size, root } => break (size, root),
                Growth::Grown { .. } | Growth::Overtaken => {}
            }
        };
        let signed = self.store.ledger_standing(&self.origin).await?.signed;
        if size > 0 && signed.is_none_or(|signed| signed < size) {
            self.sign(size, root).await?;
        }
        Ok(())
    }

    /// INVARIANT: size and root were read from what is committed.
    async fn sign(&self, size: u64, root: Hash) -> Result<(), StepError> {
        if let Some(ahead) = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(StepError::Ahead(ahead));
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        if let Some(head) = self.head.read()?.filter(|head| head.checkpoint.origin == self.origin) {
            // A database that went back while it was open is not signed on either.
            self.check_known(&head.checkpoint, self.head.place()).await?;
        }
        let signatures = self.keys().sign(checkpoint.text().as_bytes()).await?;
        let lines = signatures.into_iter().map(|(key, bytes)| SignatureLine::by(&self.verifier_key(&key), bytes));
        let note = checkpoint.signed(lines.rev().collect())?.to_string();
        // It is synced: not on a thread that others run on. INVARIANT: it is written before the database knows of it.
        let (head, text) = (self.head.clone(), note.clone());
        tokio::task::spawn_blocking(move || head.write(&text)).await.map_err(StepError::Thread)??;
        let kept = StoredCheckpoint { size, root, note, at: self.clock.wall() };
        if self.store.keep_checkpoint(&self.origin, &kept).await? {
            tracing::debug!(entries = size, "checkpoint signed");
        }
        Ok(())
    }

    /// A key that an operator made meanwhile is an entry, and signs from then on; one that was removed signs no more.
    async fn take_in_keys(&self) -> Result<(), StepError> {
        if !self.keys().is_outdated() {
            return Ok(());
        }
        let last = self.keys().published().last().cloned();
        let fresh = LedgerKeys::open(&self.keys_config, last.as_ref()).await?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(self.record_key().await?)
    }

    /// How far each witness has cosigned; `None` while that is not known.
    async fn cosigned_so_far(&self) -> Option<Vec<(String, u64)>> {
        if self.witnesses.is_empty() {
            return Some(Vec::new());
        }
        let cosigned = self.store.newest_cosignatures(&self.origin).await.ok()?;
        let of = |asked: &super::witnesses::Asked| {
            let name = asked.config.key.name().to_string();
            let size = cosigned.iter().find(|cosigned| cosigned.witness == name).map_or(0, |cosigned| cosigned.size);
            (name, size)
        };
        Some(self.witnesses.iter().map(of).collect())
    }

    async fn note(&self, failure: Option<&StepError>) {
        let found = self.store.ledger_standing(&self.origin).await.ok();
        let witnessed = self.cosigned_so_far().await;
        let failure = failure.map(|error| error_chain(error));
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *standing);
        // While the database does not answer, what was known is shown.
        *standing = Standing {
            ledger: found.or(before.ledger),
            failure: failure.clone(),
            witnessed: witnessed.unwrap_or(before.witnessed),
        };
        match failure {
            Some(error) if before.failure.as_deref() != Some(error.as_str()) => {
                tracing::error!(error, "the ledger is not signed; it is tried again");
            }
            None if before.failure.is_some() => tracing::info!("the ledger is signed again"),
            Some(_) | None => {}
        }
    }
}
