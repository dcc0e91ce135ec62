//! Opening the SQLite file: its settings (sqlite.org/pragma.html), its schema, its epoch.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::watch;

use super::rows::from_sql;
use super::{Shared, Store};
use crate::clock::Clock;

/// How long a connection waits for another's lock before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const READERS_MAX: u32 = 8;

/// The schema in steps; `user_version` counts those taken.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_first.sql")];

/// Why the database did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database {} cannot be opened", path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("the database {} cannot be brought to this version's schema", path.display())]
    Migrate { path: PathBuf, source: sqlx::Error },
    #[error(
        "the database {} was written by a newer version (its schema is {found}, this version knows {known})",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: usize },
    #[error("the system's randomness failed")]
    Randomness,
}

impl Store {
    /// Opens the file, making it when it does not exist; its folder must.
    ///
    /// # Errors
    /// [`OpenError`]. A file that is not a database, or one of a newer version, is left as it is.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        let open_error = |source| OpenError::Open { path: path.to_owned(), source };
        make_private(path).map_err(|error| open_error(error.into()))?;
        let options = options(path);
        let writer = pool(1).connect_with(options.clone()).await.map_err(open_error)?;
        migrate(&writer, path).await?;
        let epoch = epoch(&writer, path).await?;
        let readers = pool(READERS_MAX).connect_with(options.create_if_missing(false)).await.map_err(open_error)?;
        let newest: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'revision'")
            .fetch_one(&readers)
            .await
            .map_err(open_error)?;
        let newest = watch::Sender::new(from_sql(newest));
        Ok(Self { shared: Arc::new(Shared { writer, readers, clock, epoch, newest }) })
    }
}

/// The file names people and holds grant tokens: it is made for its owner alone. SQLite gives the files beside it the
/// same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_TIMEOUT)
}

/// Takes the steps that are missing, each with its count in one transaction.
async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Migrate { path: path.to_owned(), source };
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(writer).await.map_err(failed)?;
    let taken = usize::try_from(found).unwrap_or(usize::MAX);
    if taken > MIGRATIONS.len() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() });
    }
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(taken) {
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        sqlx::raw_sql(*sql).execute(&mut *tx).await.map_err(failed)?;
        // A pragma takes no parameter; the number is this program's own.
        let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", step + 1));
        sqlx::raw_sql(version).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// The epoch, made on the first opening.
async fn epoch(writer: &SqlitePool, path: &Path) -> Result<String, OpenError> {
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    let mut random = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| OpenError::Randomness)?;
    let fresh: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    sqlx::query("INSERT INTO meta (name, value) VALUES ('epoch', $1) ON CONFLICT (name) DO NOTHING")
        .bind(fresh)
        .execute(writer)
        .await
        .map_err(failed)?;
    sqlx::query_scalar("SELECT value FROM meta WHERE name = 'epoch'").fetch_one(writer).await.map_err(failed)
}
