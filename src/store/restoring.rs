//! Backups, and what a database is made into when a backup of it is put in place.
//!
//! A backup does not know what happened after it: which grants were revoked, how often one was used. So a restored
//! database begins a new history (another epoch), with everything frozen and every grant and
//! request in it ended.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::database::Database;
use super::grants::{End, end_grant, named};
use super::opening::fresh_epoch;
use super::rows::from_sql;
use super::statement::sql;
use super::transition::{StoredChange, Transition};
use super::{Store, StoreError, endings, ledger, postgres};
use crate::domain::{GrantId, ServiceName};
use crate::ledger::entry::{Draft, EntryError};
use crate::wire::feed::EndCause;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("a PostgreSQL database is backed up by its own tools (pg_dump)")]
    NotAFile,
    #[error("{} cannot be made", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the database could not be copied")]
    Copy(#[from] sqlx::Error),
}

/// What a restore made of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub epoch: String,
    /// Grants that were active in the backup and have ended.
    pub grants_ended: u64,
    pub revision: u64,
}

impl Store {
    /// Copies one committed state of a SQLite database into a new file, readable by its owner alone, while it is in use.
    ///
    /// # Errors
    /// [`BackupError`]; then `to` is not there.
    pub async fn back_up(&self, to: &Path) -> Result<(), BackupError> {
        let Database::Sqlite { readers, .. } = &self.shared.database else { return Err(BackupError::NotAFile) };
        let failed = |source| BackupError::File { path: to.to_owned(), source };
        // `VACUUM INTO` takes a file that is empty, so that its mode can be ours (sqlite.org/lang_vacuum.html).
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
        let copied = sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned()).execute(readers).await;
        let whole = copied.map_err(BackupError::from).and_then(|_| file.sync_all().map_err(failed));
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let sync_folder = || std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        let durable = whole.and_then(|()| sync_folder().map_err(failed));
        if durable.is_err() {
            // What is not whole must not be taken for a backup.
            let _ = std::fs::remove_file(to);
        }
        durable
    }

    /// How many other control planes have this database open. A SQLite file has a lock for that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn others(&self) -> Result<u64, StoreError> {
        match &self.shared.database {
            Database::Sqlite { .. } => Ok(0),
            Database::Postgres { readers, .. } => Ok(from_sql(postgres::others(readers).await?)),
        }
    }

    /// Makes of the database what a restored backup must be, in one transaction. Whoever has it open goes on with the
    /// epoch before: nobody may.
    ///
    /// # Errors
    /// [`StoreError`]; then it is as it was.
    pub async fn mark_restored(&self) -> Result<Restored, StoreError> {
        let epoch = fresh_epoch().map_err(|_| StoreError::Entry(EntryError::Randomness))?;
        let mut transition = self.transition().await?;
        let before = sql("SELECT value FROM counters WHERE name = 'revision'").integer(transition.connection()).await?;
        sql("UPDATE meta SET value = $1 WHERE name = 'epoch'").bind(&epoch).execute(transition.connection()).await?;
        let log = ledger::begin_another(&mut transition, &epoch).await?;
        let told = log.as_ref().map(|log| (log.before.as_str(), log.signed, log.origin.as_str()));
        let entry = Draft::database_restored(self.epoch(), &epoch, from_sql(before), told);
        transition.entry(entry, None).await?;
        let mut revision = freeze_all(&mut transition).await?;
        let live = active(&mut transition).await?;
        for (id, service) in &live {
            let entry = Draft::grant_revoked_by_restore(id);
            let end = End { cause: EndCause::Revoked, by: None, note: None, revocation: None, entry };
            revision = end_grant(&mut transition, id, service, end).await?;
        }
        // Nor does it know which requests were denied or taken back: whoever still needs one asks again.
        endings::lapse_all(&mut transition, "database_restored").await?;
        for table in ["DELETE FROM sidecars", "DELETE FROM replicas", "DELETE FROM share_recalls"] {
            sql(table).execute(transition.connection()).await?;
        }
        transition.commit().await?;
        Ok(Restored { epoch, grants_ended: super::rows::to_u64(live.len()), revision })
    }
}

async fn freeze_all(transition: &mut Transition<'_>) -> Result<u64, StoreError> {
    let revision = transition.change(None, &StoredChange::Freeze { frozen: true }).await?;
    let at = transition.at();
    sql("INSERT INTO freezes (service, frozen, note, at_ms, revision) VALUES ('', 1, $1, $2, $3) \
         ON CONFLICT (service) DO UPDATE SET frozen = 1, by_person = NULL, note = excluded.note, \
         at_ms = excluded.at_ms, revision = excluded.revision, revocation = NULL")
    .bind("a backup was put in place")
    .bind(at.unix_ms())
    .bind(super::rows::to_sql(revision))
    .execute(transition.connection())
    .await?;
    // Nobody can tell any more how what was ordered before arrived.
    sql("UPDATE revocations SET is_open = 0, settled_ms = $1 WHERE settled_ms IS NULL")
        .bind(at.unix_ms())
        .execute(transition.connection())
        .await?;
    transition.entry(Draft::frozen_by_restore(), Some(revision)).await?;
    Ok(revision)
}

async fn active(transition: &mut Transition<'_>) -> Result<Vec<(GrantId, ServiceName)>, StoreError> {
    let rows = sql("SELECT id, service FROM grants WHERE state = 'active' ORDER BY position")
        .fetch_all(transition.connection())
        .await?;
    rows.iter().map(named).collect()
}
