//! Opening a PostgreSQL that replicas share: its settings (postgresql.org/docs/current/runtime-config-client.html), its
//! schema, and the wake-ups that tell one replica of another's commits.
//!
//! INVARIANT: a replica that is cut off gives up the writer's lock: the server ends its transaction by itself. What the
//! replica does meanwhile is in `doubt`.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::timeout;

use super::database::{Database, WRITER_LOCK};
use super::doubt::Doubt;
use super::opening::OpenError;
use super::schema::{STEPS, known, not_newer};
use crate::config::database::PostgresConfig;
use crate::error_chain::error_chain;

/// Where commits are announced. A hint only: what stands is read.
pub(super) const CHANNEL: &str = "breakglass_revision";
/// Where a replica announces that its sidecars or its questions changed, by its id. A hint too.
pub(super) const REPLICAS_CHANNEL: &str = "breakglass_replicas";
/// How long a caller waits for a connection, the making of one included.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// One works while the next waits for the lock.
const WRITERS_MAX: u32 = 2;
/// How long the wake-ups wait before they listen anew.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// After so long without a wake-up the connection is asked whether it is alive: a dead one is as quiet as a calm one.
const LISTEN_ASK: Duration = Duration::from_secs(5);

/// What the server enforces on every connection, so that none outlives its replica: times in milliseconds, keep-alives
/// in seconds.
const SERVER_SETTINGS: [(&str, &str); 9] = [
    ("statement_timeout", "10000"),
    ("lock_timeout", "8000"),
    // One that holds the writer's lock and is no longer heard of holds up the others no longer than this.
    ("idle_in_transaction_session_timeout", "3000"),
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
    let doubt = Doubt::new();
    let writers = pool(WRITERS_MAX, &doubt).connect_with(options.clone()).await.map_err(open_error)?;
    migrate(&writers, config).await?;
    let readers = pool(config.connections_max, &doubt).connect_with(options).await.map_err(open_error)?;
    Ok(Database::Postgres { writers, readers, doubt })
}

/// Connects to the database as it is, to be read and never written.
pub(super) async fn open_to_read(config: &PostgresConfig) -> Result<Database, OpenError> {
    let options = options(config)?.options([("default_transaction_read_only", "on")]);
    let open_error = |source| OpenError::Open { database: config.shown(), source };
    let doubt = Doubt::new();
    let readers = pool(config.connections_max, &doubt).connect_with(options).await.map_err(open_error)?;
    let found: i64 = sqlx::query_scalar(VERSION).fetch_one(&readers).await.map_err(open_error)?;
    known(found, &config.shown())?;
    Ok(Database::Postgres { writers: readers.clone(), readers, doubt })
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

fn pool(connections_max: u32, doubt: &Doubt) -> PgPoolOptions {
    doubt.watch_over(PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_TIMEOUT))
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

/// What is heard of other replicas.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    /// The id of this one, whose own words are not passed on.
    pub(super) own: String,
    pub(super) newest: watch::Sender<u64>,
    /// Counts the wake-ups.
    pub(super) replicas: watch::Sender<u64>,
}

/// Passes on what other replicas announce, until dropped.
pub(super) async fn listen(pool: PgPool, heard: Heard) {
    loop {
        if let Err(error) = listen_once(&pool, &heard).await {
            if pool.is_closed() {
                return;
            }
            tracing::debug!(error = %error_chain(&error), "commits of other replicas are not heard for now");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// The connection is no pool's: a dead one must hold nobody's place.
async fn listen_once(pool: &PgPool, heard: &Heard) -> Result<(), sqlx::Error> {
    let own = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
    let own = own.connect_lazy_with((*pool.connect_options()).clone());
    let dead = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    let mut listener = PgListener::connect_with(&own).await?;
    timeout(ACQUIRE_TIMEOUT, listener.listen_all([CHANNEL, REPLICAS_CHANNEL])).await.map_err(|_| dead())??;
    // What was announced before is not heard any more.
    heard.replicas.send_modify(|count| *count = count.wrapping_add(1));
    loop {
        tokio::select! {
            () = pool.close_event() => return Ok(()),
            notification = timeout(LISTEN_ASK, listener.try_recv()) => match notification {
                Ok(Ok(Some(notification))) => pass_on(&notification, heard),
                Ok(Ok(None)) => return Err(dead()),
                Ok(Err(error)) => return Err(error),
                Err(_) => timeout(ACQUIRE_TIMEOUT, sqlx::query("SELECT 1").execute(&mut listener))
                    .await
                    .map_err(|_| dead())?
                    .map(drop)?,
            }
        }
    }
}

fn pass_on(notification: &PgNotification, heard: &Heard) {
    if notification.channel() == REPLICAS_CHANNEL {
        if notification.payload() != heard.own {
            heard.replicas.send_modify(|count| *count = count.wrapping_add(1));
        }
    } else if let Ok(revision) = notification.payload().parse::<u64>() {
        heard.newest.send_modify(|seen| *seen = revision.max(*seen));
    }
}
