//! Which database it is: one SQLite file, or a PostgreSQL that several replicas share.
//!
//! Both give the same: one writer at a time over all processes, who holds the lock from the first statement of a
//! transition to its commit, and readers that each see one committed state.

use std::future::Future;
use std::time::Duration;

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};
use tokio::time::timeout;

use super::postgres::CHANNEL;
use super::statement::On;

/// The key of the writer's lock on PostgreSQL ("breakgls" in ASCII): held for a transaction (`pg_advisory_xact_lock`).
pub(super) const WRITER_LOCK: &str = "SELECT pg_advisory_xact_lock(7094698862839852147)";
/// How long one transition may take, from its turn to its end. A database that is out of reach ends it.
const TRANSITION_TIME_MAX: Duration = Duration::from_secs(15);

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
    },
}

/// A transaction on either.
#[derive(Debug)]
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl<'c> From<&'c Database> for On<'c> {
    /// The readers: one committed state for each statement.
    fn from(database: &'c Database) -> Self {
        match database {
            Database::Sqlite { readers, .. } => Self::SqliteReaders(readers),
            Database::Postgres { readers, .. } => Self::PostgresReaders(readers),
        }
    }
}

impl Database {
    /// The writer's turn: nobody else, in this process or another, writes until it ends.
    pub(super) async fn write(&self) -> Result<Transaction, sqlx::Error> {
        in_time(async {
            match self {
                Self::Sqlite { writer, .. } => Ok(Transaction::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?)),
                Self::Postgres { writers, .. } => {
                    let mut tx = writers.begin().await?;
                    // Each statement after this sees all that was committed before the lock was had (READ COMMITTED).
                    sqlx::query(WRITER_LOCK).execute(&mut *tx).await?;
                    Ok(Transaction::Postgres(tx))
                }
            }
        })
        .await
    }

    /// One committed state for all statements of the transaction.
    pub(super) async fn read(&self) -> Result<Transaction, sqlx::Error> {
        in_time(async {
            match self {
                Self::Sqlite { readers, .. } => Ok(Transaction::Sqlite(readers.begin().await?)),
                Self::Postgres { readers, .. } => {
                    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                    Ok(Transaction::Postgres(readers.begin_with(begin).await?))
                }
            }
        })
        .await
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres { writers, readers } => {
                readers.close().await;
                writers.close().await;
            }
        }
    }
}

impl Transaction {
    /// Tells other replicas of a revision, as soon as it is committed.
    pub(super) async fn announce(&mut self, revision: u64) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(tx) => {
                let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(revision.to_string());
                notify.execute(&mut **tx).await.map(drop)
            }
        }
    }

    /// After an error it is not known whether it holds: the connection may have broken before the answer came.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        in_time(async {
            match self {
                Self::Sqlite(tx) => tx.commit().await,
                Self::Postgres(tx) => tx.commit().await,
            }
        })
        .await
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(TRANSITION_TIME_MAX, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
