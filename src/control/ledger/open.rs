//! What must hold before anything is signed. Where it does not, the control plane does not start: it refuses rather than
//! guesses.

use std::sync::{Arc, Mutex, RwLock};

use super::head::{Head, HeadError};
use super::readers::{Readers, ReadersError};
use super::witnesses::{Asked, WitnessesError};
use super::{Ledger, Standing};
use crate::clock::Clock;
use crate::config::keys::KeysConfig;
use crate::config::ledger::LedgerConfig;
use crate::control::keys::KeysError;
use crate::control::keys::ledger::LedgerKeys;
use crate::http::ClientTls;
use crate::ledger::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::ledger::entry::Draft;
use crate::ledger::note::KeyKind;
use crate::ledger::note::VerifierKey;
use crate::store::{LedgerError, Store, StoreError};
use crate::token::{KeyError, PublicKey};

/// Why the ledger is not signed on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerStartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the ledger's keys can't be used")]
    Keys(#[from] KeysError),
    #[error("the database names a key of the ledger that is none")]
    Recorded(#[source] KeyError),
    #[error("the readers of the ledger can't be used")]
    Readers(#[from] ReadersError),
    #[error("the witnesses can't be asked")]
    Witnesses(#[from] WitnessesError),
    #[error("what the ledger signed last can't be read")]
    Head(#[from] HeadError),
    #[error("the newest checkpoint in the database can't be believed")]
    Checkpoint(#[source] CheckpointError),
    #[error(
        "{place} says that {signed} entries were signed, and the database's ledger has {found}: it is an older copy. Put the \
         newer one back, or run `breakglass-control restore`, which begins a log of its own"
    )]
    Behind { place: String, signed: u64, found: u64 },
    #[error(
        "{place} has another root for {size} entries than the database's ledger: one of them is not this log. Put back what \
         belongs together, or run `breakglass-control restore`"
    )]
    Fork { place: String, size: u64 },
    #[error("{place} is of the log {origin}, which this database never was: put back what belongs together")]
    OtherLog { place: String, origin: String },
}

impl Ledger {
    /// Checks everything there is to check without reading the whole log; `breakglass-control check` does that.
    ///
    /// # Errors
    /// [`LedgerStartError`].
    pub async fn open(
        config: &LedgerConfig,
        keys: &KeysConfig,
        tls: Option<ClientTls>,
        store: Store,
        clock: Clock,
    ) -> Result<Self, LedgerStartError> {
        let asked = config.witnesses.iter().map(|witness| Asked::new(witness, tls.clone()));
        let witnesses = asked.collect::<Result<Vec<_>, _>>()?;
        let readers = Readers::read(config.readers.as_deref())?;
        let origin = store.establish_log(&config.origin, config.is_origin_named).await?;
        store.check_edge().await?;
        let recorded = recorded(&store).await?;
        let opened = LedgerKeys::open(keys, recorded.last()).await?;
        let ledger = Self {
            origin,
            clock,
            keys_config: keys.clone(),
            keys: RwLock::new(Arc::new(opened)),
            head: Head::at(config.head.clone()),
            turn: tokio::sync::Mutex::new(()),
            readers,
            public: config.public,
            witnesses,
            ahead: Mutex::new(None),
            standing: Mutex::new(Standing::default()),
            store,
        };
        ledger.check_newest(&recorded).await?;
        ledger.check_head().await?;
        ledger.record_key().await?;
        Ok(ledger)
    }

    /// The newest checkpoint of the database is one of ours, of the tree that is there.
    async fn check_newest(&self, recorded: &[PublicKey]) -> Result<(), LedgerStartError> {
        let Some(newest) = self.store.newest_checkpoint(&self.origin).await? else { return Ok(()) };
        let keys: Vec<VerifierKey> = recorded.iter().map(|key| self.verifier_key(key)).collect();
        let signed = SignedCheckpoint::verify(&newest.note, &keys).map_err(LedgerStartError::Checkpoint)?;
        let place = "the newest checkpoint in the database".to_owned();
        if (signed.checkpoint.size, signed.checkpoint.root) != (newest.size, newest.root) {
            return Err(LedgerStartError::Fork { place, size: newest.size });
        }
        self.check_known(&signed.checkpoint, place).await
    }

    /// What was signed last is in the tree.
    async fn check_head(&self) -> Result<(), LedgerStartError> {
        let Some(head) = self.head.read()? else { return Ok(()) };
        let (place, origin) = (self.head.place(), head.checkpoint.origin.as_str());
        if head.checkpoint.origin == self.origin {
            return self.check_known(&head.checkpoint, place).await;
        }
        // The log before a restore: it is signed no more.
        if self.store.logs().await?.iter().any(|former| former == origin) {
            return Ok(());
        }
        Err(LedgerStartError::OtherLog { place, origin: origin.to_owned() })
    }

    /// The tree has grown from `known`, or is it.
    pub(super) async fn check_known(&self, known: &Checkpoint, place: String) -> Result<(), LedgerStartError> {
        let found = self.store.ledger_standing(&self.origin).await?.size;
        if found < known.size {
            return Err(LedgerStartError::Behind { place, signed: known.size, found });
        }
        if self.store.ledger_root_at(known.size).await? != Some(known.root) {
            return Err(LedgerStartError::Fork { place, size: known.size });
        }
        Ok(())
    }

    /// A key that signs from now on is an entry before it signs.
    pub(super) async fn record_key(&self) -> Result<(), LedgerStartError> {
        let keys = self.keys();
        let recorded = recorded(&self.store).await?;
        let vkey = |key: &PublicKey| VerifierKey::new(self.origin.clone(), KeyKind::Note, *key.as_bytes());
        let mut before = recorded.last().map(vkey);
        for key in keys.published().iter().filter(|key| !recorded.contains(key)) {
            let entry = Draft::ledger_key_created(&vkey(key), before.as_ref());
            if self.store.record_ledger_key(&key.to_string(), entry).await? {
                tracing::info!(vkey = %vkey(key), "this key signs the ledger from now on");
            }
            before = Some(vkey(key));
        }
        Ok(())
    }
}

async fn recorded(store: &Store) -> Result<Vec<PublicKey>, LedgerStartError> {
    let keys = store.ledger_keys().await?;
    keys.iter().map(|key| key.parse().map_err(LedgerStartError::Recorded)).collect()
}
