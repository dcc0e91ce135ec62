//! Opening a PostgreSQL that replicas share: its settings (postgresql.org/docs/current/runtime-config-client.html), its
//! schema, and the wake-ups that tell one replica of another's commits.
//!
//! INVARIANT: a replica that is cut off gives up the writer's lock: the server ends its transaction by itself.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::watch;

use super::database::{Database, WRITER_LOCK};
use super::opening::OpenError;
use super::schema::{STEPS, known, not_newer};
use crate::config::database::PostgresConfig;
use crate::error_chain::error_chain;

/// Where commits are announced. A hint only: what stands is read.
pub(super) const CHANNEL: &str = "breakglass_revision";
/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// One works while the next waits for the lock.
const WRITERS_MAX: u32 = 2;
/// How long the wake-ups wait before they listen anew.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What the server enforces on every connection, so that none outlives its replica: times in milliseconds, keep-alives
/// in seconds.
const SERVER_SETTINGS: [(&str, &str); 9] = [
    ("statement_timeout", "10000"),
    ("lock_timeout", "8000"),
    ("idle_in_transaction_session_timeout", "10000"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
    ("client_min_messages", "warning"),
    // The server's own default, said aloud: a transition that has returned is on disk.
    ("synchronous_commit", "on"),
];

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";
const VERSION: &str = "SELECT COALESCE((SELECT MAX(version) FROM schema_version), 0)";

/// Sessions of other programs of this name in the same database. This one's carry its own process in their name.
const OTHERS: &str = "SELECT COUNT(DISTINCT application_name) FROM pg_stat_activity WHERE datname = current_database() \
                      AND application_name LIKE 'breakglass-control%' \
                      AND application_name <> current_setting('application_name')";

/// Connects, and brings the database to this version's schema.
pub(super) async fn open(config: &PostgresConfig) -> Result<Database, OpenError> {
    let options = options(config)?;
    let open_error = |source| OpenError::Open { database: config.shown(), source };
    let writers = pool(WRITERS_MAX).connect_with(options.clone()).await.map_err(open_error)?;
    migrate(&writers, config).await?;
    let readers = pool(config.connections_max).connect_with(options).await.map_err(open_error)?;
    Ok(Database::Postgres { writers, readers })
}

/// Connects to the database as it is, to be read and never written.
pub(super) async fn open_to_read(config: &PostgresConfig) -> Result<Database, OpenError> {
    let options = options(config)?.options([("default_transaction_read_only", "on")]);
    let open_error = |source| OpenError::Open { database: config.shown(), source };
    let readers = pool(config.connections_max).connect_with(options).await.map_err(open_error)?;
    let found: i64 = sqlx::query_scalar(VERSION).fetch_one(&readers).await.map_err(open_error)?;
    known(found, &config.shown())?;
    Ok(Database::Postgres { writers: readers.clone(), readers })
}

/// How many other control planes are connected to the same database.
pub(super) async fn others(readers: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(OTHERS).fetch_one(readers).await
}

fn options(config: &PostgresConfig) -> Result<PgConnectOptions, OpenError> {
    let unusable = |source| OpenError::Open { database: config.shown(), source };
    let options = PgConnectOptions::from_str(&config.url).map_err(unusable)?;
    let options =
        options.application_name(&format!("breakglass-control {}", std::process::id())).options(SERVER_SETTINGS);
    let Some(file) = &config.password_file else { return Ok(options) };
    let password =
        std::fs::read_to_string(file).map_err(|source| OpenError::Password { path: file.clone(), source })?;
    Ok(options.password(password.trim_end_matches(['\r', '\n'])))
}

fn pool(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_TIMEOUT)
}

/// Takes the steps that are missing, under the writer's lock: several replicas may start at once.
async fn migrate(writers: &PgPool, config: &PostgresConfig) -> Result<(), OpenError> {
    let failed = |source| OpenError::Migrate { database: config.shown(), source };
    let mut tx = writers.begin().await.map_err(failed)?;
    sqlx::query(WRITER_LOCK).execute(&mut *tx).await.map_err(failed)?;
    sqlx::raw_sql(VERSION_TABLE).execute(&mut *tx).await.map_err(failed)?;
    let found: i64 = sqlx::query_scalar(VERSION).fetch_one(&mut *tx).await.map_err(failed)?;
    let taken = not_newer(found, &config.shown())?;
    for (number, step) in (1_i64..).zip(STEPS).skip(taken) {
        sqlx::raw_sql(step.postgres).execute(&mut *tx).await.map_err(failed)?;
        let count = "INSERT INTO schema_version (version) VALUES ($1)";
        sqlx::query(count).bind(number).execute(&mut *tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}

/// Passes on what other replicas commit, until dropped.
pub(super) async fn listen(pool: PgPool, newest: watch::Sender<u64>) {
    loop {
        if let Err(error) = listen_once(&pool, &newest).await {
            if pool.is_closed() {
                return;
            }
            tracing::debug!(error = %error_chain(&error), "commits of other replicas are not heard for now");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn listen_once(pool: &PgPool, newest: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let notification = listener.recv().await?;
        if let Ok(revision) = notification.payload().parse::<u64>() {
            newest.send_modify(|seen| *seen = revision.max(*seen));
        }
    }
}
