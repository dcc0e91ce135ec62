//! The one place that speaks SQL: state, changes for the feed, and ledger entries, in one database.
//!
//! [`contract`] says what callers may rely on, [`lifecycle`] what requests and grants are made of; the files beside hold
//! one noun each. Must never: let a transition leave
//! a part of itself behind, or show a token in an error.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use database::Database;

mod approvals;
pub mod audit;
pub mod check;
mod claims;
pub mod contract;
mod database;
mod doubt;
mod elevations;
mod endings;
mod entries;
mod erasures;
#[cfg(test)]
pub(crate) mod faults;
mod feed;
mod filling;
mod freezes;
mod grants;
mod history;
mod ledger;
mod ledger_growth;
pub mod lifecycle;
mod once;
mod opening;
mod personal;
mod policies;
mod postgres;
mod proofs;
mod proposals;
mod random;
mod rechecks;
mod replicas;
mod reports;
mod requests;
mod restoring;
mod reviews;
mod revocation_records;
mod revocations;
mod rows;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod scim_groups;
mod scim_users;
mod scope_items;
mod share_turn;
mod shares;
mod signals;
mod sink_places;
mod sqlite;
mod statement;
mod streams;
mod suspension;
#[cfg(test)]
mod tests;
mod transition;

pub use claims::{Claimed, NewClaim};
pub use contract::*;
pub use entries::StoredEntry;
pub use erasures::{
    EarlierErasure, ErasureOutcome, ErasurePreview, ErasureProgress, ErasureRecord, NewErasure, Obstacle,
};
pub use freezes::{FreezeLifted, FreezeOutcome, FreezeRecord};
pub use history::Past;
pub use ledger::{Cosigned, LedgerError, LedgerStanding, StoredCheckpoint};
pub use ledger_growth::Growth;
pub use lifecycle::*;
pub use opening::OpenError;
pub use personal::StoredValue;
pub use policies::{LiveGrant, NoLongerAllowed, PolicyChange, PolicyOutcome, StillAllowed};
pub use proofs::UsedProof;
pub use proposals::{PROPOSALS_OPEN_MAX, Proposal, Proposed};
pub use rechecks::{NoLongerActive, RecheckOutcome, TokenTimes};
pub use reports::{Subject, Written};
pub use restoring::{BackupError, Restored};
pub use revocation_records::{Reach, RevocationListing, RevocationRecord};
pub use revocations::{OrderOutcome, Progress, Settled};
pub use scim_groups::{ScimGroup, ScimGroupContent};
pub use scim_users::{ScimListing, ScimUser, ScimUserContent, ScimWritten};
pub use share_turn::ShareTurn;
pub use signals::{Effect, EventOutcome, NewSignal, SignalEvent, SignalOutcome};
pub use sink_places::ToldEntry;
pub use suspension::PersonStanding;

/// A handle on the database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    clock: Clock,
    epoch: String,
    /// Names this opening of the database apart from every other.
    replica: String,
    newest: watch::Sender<u64>,
    /// Counts what should be looked at: reports of other replicas, questions of any.
    replicas: watch::Sender<u64>,
    /// Counts the transitions that this process has committed.
    commits: watch::Sender<u64>,
    /// Something was erased that may still lie in the write-ahead log.
    unfolded: std::sync::atomic::AtomicBool,
    /// What hears of other replicas' commits.
    listening: Option<AbortHandle>,
    /// Has the next commit's answer lost, as a broken connection would.
    #[cfg(test)]
    loses_answer: std::sync::atomic::AtomicBool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

impl Store {
    /// How long an ended grant is still told to sidecars that start anew.
    pub const ENDED_RECENTLY: Duration = Duration::from_secs(3600);
    /// How long an `Idempotency-Key` is remembered.
    pub const ONCE_KEYS_KEPT: Duration = Duration::from_secs(24 * 3600);
    /// A replica that has not reported for so long is not counted on. Until it has, it may not call itself fresh.
    pub const REPLICA_SILENT: Duration = Duration::from_secs(5);

    /// Names this database for as long as its history is one: random, made with the file.
    pub fn epoch(&self) -> &str {
        &self.shared.epoch
    }

    /// Wakes after each commit that made a revision.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// Wakes when another replica reported something, or any asked for shares. A hint only.
    pub fn subscribe_replicas(&self) -> watch::Receiver<u64> {
        self.shared.replicas.subscribe()
    }

    /// Wakes after each transition of this process, most of which make an entry.
    pub fn subscribe_commits(&self) -> watch::Receiver<u64> {
        self.shared.commits.subscribe()
    }

    /// The id of this opening of the database.
    pub fn replica(&self) -> &str {
        &self.shared.replica
    }

    /// Whether other replicas may be at work on the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.shared.database, Database::Postgres { .. })
    }

    /// Folds the write-ahead log into the file where something was erased since it last was: its pages still hold what
    /// stood there before. False where somebody is reading what stood before: it is to be tried again. A start counts, too:
    /// whoever erased before may have died.
    ///
    /// # Errors
    /// [`StoreError`]; then it is to be tried again.
    pub async fn fold_erased(&self) -> Result<bool, StoreError> {
        use std::sync::atomic::Ordering::Relaxed;
        if !self.shared.unfolded.swap(false, Relaxed) {
            return Ok(true);
        }
        let folded = self.shared.database.fold().await;
        if !matches!(folded, Ok(true)) {
            self.note_erased();
        }
        Ok(folded?)
    }

    fn note_erased(&self) {
        self.shared.unfolded.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Ends all connections, so that the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.shared.database.close().await;
    }
}
