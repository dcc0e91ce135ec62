//! The ledger as the control plane keeps it: one log of all entries, signed as it grows, served as C2SP lays it out.
//!
//! - `open`: what must hold before anything is signed: the same origin, the same keys, a tree that holds together, nothing
//!   that was signed and is gone.
//! - `sequencer`: builds the tree over committed entries, and only then signs.
//! - `head`: what this process signed last, remembered outside the database.
//! - `readers`: who may read; `serve`: what they are given; `witnesses`: who else has seen it.
//!
//! INVARIANT: what is signed was committed before, and no two checkpoints of one origin contradict each other. Must never:
//! sign what it is not sure of; a log that is not signed for a while is late, one that is signed wrongly is worthless.

mod head;
mod open;
mod readers;
mod sequencer;
pub(super) mod serve;
mod witnesses;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use head::HeadError;
pub use open::LedgerStartError;
pub use readers::ReadersError;
pub use witnesses::WitnessesError;

use self::head::Head;
use self::readers::Readers;
use super::keys::ledger::LedgerKeys;
use crate::clock::Clock;
use crate::config::keys::KeysConfig;
use crate::ledger::note::{KeyKind, KeyName, VerifierKey};
use crate::store::{LedgerStanding, Store};
use crate::token::PublicKey;

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    origin: KeyName,
    store: Store,
    clock: Clock,
    keys_config: KeysConfig,
    keys: RwLock<Arc<LedgerKeys>>,
    head: Head,
    /// One step at a time: the file of the head has one writer.
    turn: tokio::sync::Mutex<()>,
    readers: Readers,
    public: bool,
    witnesses: Vec<witnesses::Asked>,
    standing: Mutex<Standing>,
    /// A witness has cosigned more entries than this database has signed: nothing is signed on.
    ahead: Mutex<Option<String>>,
}

/// How it stood when it was last looked at.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    pub ledger: Option<LedgerStanding>,
    /// Why nothing is signed, where that is so.
    pub failure: Option<String>,
    /// Each witness, and entries of the newest checkpoint that it cosigned.
    pub witnessed: Vec<(String, u64)>,
}

impl Ledger {
    pub fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// The verifier keys that sign now, the newest last.
    pub fn verifier_keys(&self) -> Vec<VerifierKey> {
        self.keys().signing().map(|key| self.verifier_key(key)).collect()
    }

    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many witnesses are asked.
    pub fn witnesses(&self) -> usize {
        self.witnesses.len()
    }

    fn note_ahead(&self, asked: &witnesses::Asked, witnessed: u64, signed: u64) {
        let what = format!(
            "the witness {} has cosigned {witnessed} entries, and this database has signed {signed}",
            asked.config.key.name()
        );
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    fn keys(&self) -> Arc<LedgerKeys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn verifier_key(&self, key: &PublicKey) -> VerifierKey {
        VerifierKey::new(self.origin.clone(), KeyKind::Note, *key.as_bytes())
    }
}
