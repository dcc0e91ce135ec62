//! Opening the SQLite file: its settings (sqlite.org/pragma.html) and its schema.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqlitePool};

use super::database::Database;
use super::opening::OpenError;
use super::schema::{STEPS, known, not_newer};

/// How long a connection waits for another's lock before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const READERS_MAX: u32 = 8;

/// Opens the file, making it when it does not exist, and brings it to this version's schema.
pub(super) async fn open(path: &Path) -> Result<Database, OpenError> {
    let open_error = |source| OpenError::Open { database: path.display().to_string(), source };
    make_private(path).map_err(|error| open_error(error.into()))?;
    let options = options(path);
    let writer = pool(1).connect_with(options.clone()).await.map_err(open_error)?;
    migrate(&writer, path).await?;
    let readers = pool(READERS_MAX).connect_with(options.create_if_missing(false)).await.map_err(open_error)?;
    Ok(Database::Sqlite { writer, readers })
}

/// Opens the file as it is, to be read and never written.
pub(super) async fn open_to_read(path: &Path) -> Result<Database, OpenError> {
    let open_error = |source| OpenError::Open { database: path.display().to_string(), source };
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    let writer = pool(1).connect_with(options.clone()).await.map_err(open_error)?;
    known(taken(&writer, path).await?, &path.display().to_string())?;
    let readers = pool(READERS_MAX).connect_with(options).await.map_err(open_error)?;
    Ok(Database::Sqlite { writer, readers })
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
        // What is deleted is overwritten: values that were erased must not lie about in free pages.
        .pragma("secure_delete", "ON")
        .busy_timeout(BUSY_TIMEOUT)
}

/// SQLITE_BUSY (sqlite.org/rescode.html).
pub(super) const BUSY: &str = "5";

/// Puts all of the write-ahead log into the file, and empties it. False where somebody reads or writes just now: on a
/// connection of its own it waits for nobody, since writers would wait for it.
pub(super) async fn empty_log(writer: &SqlitePool) -> Result<bool, sqlx::Error> {
    let options = writer.connect_options().as_ref().clone().busy_timeout(Duration::ZERO);
    let mut connection = options.connect().await?;
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
    let is_busy = row.try_get::<i64, _>(0)? != 0;
    connection.close().await?;
    Ok(!is_busy)
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_TIMEOUT)
}

/// Takes the steps that are missing; `user_version` counts those taken.
async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Migrate { database: path.display().to_string(), source };
    let taken = not_newer(taken(writer, path).await?, &path.display().to_string())?;
    for (number, step) in STEPS.iter().enumerate().skip(taken) {
        let mut tx = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        sqlx::raw_sql(step.sqlite).execute(&mut *tx).await.map_err(failed)?;
        // A pragma takes no parameter; the number is this program's own.
        let version = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", number + 1));
        sqlx::raw_sql(version).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
    }
    Ok(())
}

async fn taken(pool: &SqlitePool, path: &Path) -> Result<i64, OpenError> {
    let failed = |source| OpenError::Migrate { database: path.display().to_string(), source };
    sqlx::query_scalar("PRAGMA user_version").fetch_one(pool).await.map_err(failed)
}
