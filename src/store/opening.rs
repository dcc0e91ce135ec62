//! Opening the store: the database, its epoch, and the newest revision in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::database::Database;
use super::rows::from_sql;
use super::statement::sql;
use super::{Shared, Store, StoreError, filling, postgres, sqlite};
use crate::clock::Clock;
use crate::config::database::{DatabaseConfig, PostgresConfig};
use crate::hex::hex;

/// Why the database did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database {database} cannot be opened")]
    Open { database: String, source: sqlx::Error },
    #[error("the password file {} cannot be read", path.display())]
    Password { path: PathBuf, source: std::io::Error },
    #[error("the database {database} cannot be brought to this version's schema")]
    Migrate { database: String, source: sqlx::Error },
    #[error("the database {database} holds rows that can't be brought to this version's schema")]
    FillIn { database: String, source: Box<StoreError> },
    #[error(
        "the database {database} was written by a newer version (its schema is {found}, this version knows {known})"
    )]
    Newer { database: String, found: i64, known: usize },
    #[error(
        "the database {database} was written by an older version (its schema is {found}, this version's is {known}): \
         start the control plane on it once"
    )]
    Older { database: String, found: i64, known: usize },
    #[error("the system's randomness failed")]
    Randomness,
}

impl Store {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_configured(config: &DatabaseConfig, clock: Clock) -> Result<Self, OpenError> {
        // Boxed: what opens a database is deep, and so would be every future that starts a control plane.
        match config {
            DatabaseConfig::Sqlite(path) => Box::pin(Self::open(path, clock)).await,
            DatabaseConfig::Postgres(config) => Box::pin(Self::connect(config, clock)).await,
        }
    }

    /// Opens the SQLite file, making it when it does not exist; its folder must.
    ///
    /// # Errors
    /// [`OpenError`]. A file that is not a database, or one of a newer version, is left as it is.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, OpenError> {
        Self::over(sqlite::open(path).await?, path.display().to_string(), clock).await
    }

    /// Connects to the PostgreSQL database; it must exist, and may be empty.
    ///
    /// # Errors
    /// [`OpenError`]. A database of a newer version is left as it is.
    pub async fn connect(config: &PostgresConfig, clock: Clock) -> Result<Self, OpenError> {
        Self::over(postgres::open(config).await?, config.shown(), clock).await
    }

    /// Opens what the configuration names, as it is: nothing can be written, and no schema is changed.
    ///
    /// # Errors
    /// [`OpenError`]; also when the schema is not exactly this version's.
    pub async fn open_to_read(config: &DatabaseConfig, clock: Clock) -> Result<Self, OpenError> {
        let (database, name) = match config {
            DatabaseConfig::Sqlite(path) => (sqlite::open_to_read(path).await?, path.display().to_string()),
            DatabaseConfig::Postgres(config) => (postgres::open_to_read(config).await?, config.shown()),
        };
        let opened = async { Ok((known_epoch(&database).await?, newest(&database).await?)) };
        let (epoch, newest) = opened.await.map_err(|source| OpenError::Open { database: name, source })?;
        let names = (epoch, random_hex()?);
        Ok(Self::handle((database, clock), names, (watch::Sender::new(newest), watch::Sender::new(0)), None))
    }

    async fn over(database: Database, name: String, clock: Clock) -> Result<Self, OpenError> {
        let (fresh, replica) = (fresh_epoch()?, random_hex()?);
        let unfilled = |error| OpenError::FillIn { database: name.clone(), source: Box::new(error) };
        filling::fill_in(&database).await.map_err(unfilled)?;
        let opened = async { Ok((epoch(&database, fresh).await?, newest(&database).await?)) };
        let (epoch, newest) = opened.await.map_err(|source| OpenError::Open { database: name, source })?;
        let (newest, replicas) = (watch::Sender::new(newest), watch::Sender::new(0));
        let listening = match &database {
            Database::Sqlite { .. } => None,
            Database::Postgres { readers, .. } => {
                let heard =
                    postgres::Heard { own: replica.clone(), newest: newest.clone(), replicas: replicas.clone() };
                Some(tokio::spawn(postgres::listen(readers.clone(), heard)).abort_handle())
            }
        };
        Ok(Self::handle((database, clock), (epoch, replica), (newest, replicas), listening))
    }

    fn handle(
        (database, clock): (Database, Clock),
        (epoch, replica): (String, String),
        (newest, replicas): (watch::Sender<u64>, watch::Sender<u64>),
        listening: Option<AbortHandle>,
    ) -> Self {
        let shared = Shared {
            database,
            clock,
            epoch,
            replica,
            newest,
            replicas,
            commits: watch::Sender::new(0),
            unfolded: true.into(),
            listening,
            #[cfg(test)]
            loses_answer: false.into(),
        };
        Self { shared: Arc::new(shared) }
    }
}

pub(super) fn fresh_epoch() -> Result<String, OpenError> {
    random_hex()
}

fn random_hex() -> Result<String, OpenError> {
    let mut random = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| OpenError::Randomness)?;
    Ok(hex(&random))
}

/// The epoch, made on the first opening.
async fn epoch(database: &Database, fresh: String) -> Result<String, sqlx::Error> {
    let mut tx = database.write().await?;
    sql("INSERT INTO meta (name, value) VALUES ('epoch', $1) ON CONFLICT (name) DO NOTHING")
        .bind(fresh)
        .execute(&mut tx)
        .await?;
    tx.commit().await?;
    known_epoch(database).await
}

async fn known_epoch(database: &Database) -> Result<String, sqlx::Error> {
    sql("SELECT value FROM meta WHERE name = 'epoch'").fetch_one(database).await?.first()
}

async fn newest(database: &Database) -> Result<u64, sqlx::Error> {
    Ok(from_sql(sql("SELECT value FROM counters WHERE name = 'revision'").integer(database).await?))
}
