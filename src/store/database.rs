//! Which database it is: one SQLite file, or a PostgreSQL that several replicas share.
//!
//! Both give the same: one writer at a time over all processes, who holds the lock from the first statement of a
//! transition to its commit, and readers that each see one committed state.

use std::future::Future;
use std::time::Duration;

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};
use tokio::time::timeout;

use super::doubt::Doubt;
use super::postgres::{ACQUIRE_TIMEOUT, CHANNEL, REPLICAS_CHANNEL};
use super::sqlite;
use super::statement::{On, step};

/// The key of the writer's lock on PostgreSQL ("breakgls" in ASCII): held for a transaction (`pg_advisory_xact_lock`).
pub(super) const WRITER_LOCK: &str = "SELECT pg_advisory_xact_lock(7094698862839852147)";
/// The writer's lock on SQLite: had from the first statement on.
const IMMEDIATE: &str = "BEGIN IMMEDIATE";
/// How long a transition may wait for its turn, and again for its end. A database that is out of reach ends it, by the
/// limit on each of its statements (see `doubt`) and by this one.
const TRANSITION_TIME_MAX: Duration = Duration::from_secs(10);
/// Longer than a pool lets anyone wait for a connection: what is over then is the statement, which hangs.
const BEGIN_TIME_MAX: Duration = ACQUIRE_TIMEOUT.saturating_add(Duration::from_secs(3));

#[derive(Debug)]
pub(super) enum Database {
    Sqlite {
        /// INVARIANT: one connection, and every transition takes it with BEGIN IMMEDIATE.
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres {
        writers: PgPool,
        readers: PgPool,
        doubt: Doubt,
    },
}

/// A transaction on either.
#[derive(Debug)]
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>, Doubt),
}

impl<'c> From<&'c Database> for On<'c> {
    /// The readers: one committed state for each statement.
    fn from(database: &'c Database) -> Self {
        match database {
            Database::Sqlite { readers, .. } => Self::SqliteReaders(readers),
            Database::Postgres { readers, doubt, .. } => Self::PostgresReaders(readers, doubt),
        }
    }
}

impl Database {
    // How a transaction begins is boxed, since it is the largest part of all that is awaited here.

    /// The writer's turn: nobody else, in this process or another, writes until it ends.
    pub(super) fn write(&self) -> impl Future<Output = Result<Transaction, sqlx::Error>> {
        step("BEGIN", Box::pin(in_time(self.turn())))
    }

    async fn turn(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite { writer, .. } => Ok(Transaction::Sqlite(begin_on(writer).await?)),
            Self::Postgres { writers, doubt, .. } => {
                let mut tx = doubt.within(BEGIN_TIME_MAX, writers.begin()).await?;
                // Each statement after this sees all that was committed before the lock was had (READ COMMITTED).
                let locked = sqlx::query(WRITER_LOCK).execute(&mut *tx);
                doubt.within(TRANSITION_TIME_MAX, locked).await?;
                Ok(Transaction::Postgres(tx, doubt.clone()))
            }
        }
    }

    /// A transaction that takes no turn: for what makes no revision and no entry.
    pub(super) async fn beside(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite { .. } => self.write().await,
            Self::Postgres { readers, doubt, .. } => {
                let tx = step("BEGIN", doubt.within(BEGIN_TIME_MAX, readers.begin())).await?;
                Ok(Transaction::Postgres(tx, doubt.clone()))
            }
        }
    }

    /// One committed state for all statements of the transaction.
    pub(super) async fn read(&self) -> Result<Transaction, sqlx::Error> {
        Box::pin(in_time(async {
            match self {
                Self::Sqlite { readers, .. } => Ok(Transaction::Sqlite(readers.begin().await?)),
                Self::Postgres { readers, doubt, .. } => {
                    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                    let tx = doubt.within(BEGIN_TIME_MAX, readers.begin_with(begin)).await?;
                    Ok(Transaction::Postgres(tx, doubt.clone()))
                }
            }
        }))
        .await
    }

    /// Empties SQLite's write-ahead log, once everything of it is in the file. False while somebody reads an older state.
    pub(super) async fn fold(&self) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite { writer, .. } => match sqlite::empty_log(writer).await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(sqlite::BUSY) => Ok(false),
                emptied => emptied,
            },
            Self::Postgres { .. } => Ok(true),
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { writers, readers, .. } => {
                readers.close().await;
                writers.close().await;
            }
        }
    }
}

impl Transaction {
    /// Tells other replicas of a revision, as soon as it is committed.
    pub(super) async fn announce(&mut self, revision: u64) -> Result<(), sqlx::Error> {
        self.notify(CHANNEL, &revision.to_string()).await
    }

    /// Tells other replicas to look at what this one, `own`, has written.
    pub(super) async fn announce_report(&mut self, own: &str) -> Result<(), sqlx::Error> {
        self.notify(REPLICAS_CHANNEL, own).await
    }

    async fn notify(&mut self, channel: &'static str, payload: &str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(tx, doubt) => {
                let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(payload);
                doubt.in_time(notify.execute(&mut **tx)).await.map(drop)
            }
        }
    }

    /// After an error it is not known whether it holds: the connection may have broken before the answer came.
    pub(super) fn commit(self) -> impl Future<Output = Result<(), sqlx::Error>> {
        step("COMMIT", in_time(self.end()))
    }

    async fn end(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx, doubt) => doubt.in_time(tx.commit()).await,
        }
    }
}

/// A disk that is full ends a transaction by itself (sqlite.org/lang_transaction.html §3.1), and the connection goes on
/// counting it: such a connection begins no other one ever again, and is replaced.
async fn begin_on(writer: &SqlitePool) -> Result<sqlx::Transaction<'static, Sqlite>, sqlx::Error> {
    match writer.begin_with(IMMEDIATE).await {
        Err(sqlx::Error::InvalidSavePointStatement) => {
            writer.acquire().await?.close().await?;
            writer.begin_with(IMMEDIATE).await
        }
        begun => begun,
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(TRANSITION_TIME_MAX, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
