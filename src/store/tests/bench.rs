//! A store on either database, and the macro that runs one test on both.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::{NOW, service};
use crate::clock::{Clock, ManualClock};
use crate::config::database::{DatabaseConfig, PostgresConfig};
use crate::domain::{BootTime, GrantId, Moment};
use crate::store::database::Database;
use crate::store::schema::STEPS;
use crate::store::statement::sql;
use crate::store::{Admission, OpenError, ShareHolder, Store, StreamClaim};
use crate::wire::feed::AuditPosition;

#[path = "../../../tests/integration/harness/postgres.rs"]
mod postgres;

/// Makes each of the functions a test on SQLite and a test on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Bench::sqlite().await).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Bench::postgres().await).await;
            })*
        }
    };
}
pub(super) use on_both_databases;

pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) clock: Arc<ManualClock>,
    pub(super) place: Place,
}

/// Where the database lies.
pub(super) enum Place {
    Folder(TempDir),
    Server(PostgresConfig),
}

impl Bench {
    pub(super) async fn sqlite() -> Self {
        Self::at(Self::sqlite_place()).await
    }

    pub(super) async fn postgres() -> Self {
        Self::at(Self::postgres_place()).await
    }

    /// Where there is no database yet.
    pub(super) fn sqlite_place() -> Place {
        Place::Folder(tempfile::tempdir().unwrap())
    }

    pub(super) fn postgres_place() -> Place {
        Place::Server(PostgresConfig::new(postgres::fresh_database()))
    }

    /// A fresh one on the same kind of database.
    pub(super) async fn another(&self) -> Self {
        match self.place {
            Place::Folder(_) => Self::sqlite().await,
            Place::Server(_) => Self::postgres().await,
        }
    }

    /// In a database that lies in this folder.
    pub(super) async fn postgres_in(folder: &std::path::Path) -> (Self, InFolder) {
        let database = InFolder::fresh(folder);
        (Self::at(Place::Server(PostgresConfig::new(database.url.clone()))).await, database)
    }

    async fn at(place: Place) -> Self {
        let clock = ManualClock::starting_at(Moment { boot: BootTime::ZERO, wall: NOW });
        let store = place.open(&clock).await.unwrap();
        Self { store, clock, place }
    }
}

impl Place {
    /// Opens it, again where it was open before.
    pub(super) async fn open(&self, clock: &Arc<ManualClock>) -> Result<Store, OpenError> {
        let clock = Clock::Manual(Arc::clone(clock));
        match self {
            Self::Folder(folder) => Store::open(&folder.path().join("db"), clock).await,
            Self::Server(config) => Store::connect(config, clock).await,
        }
    }

    /// Opens it as it is, to be read.
    pub(super) async fn open_to_read(&self, clock: &Arc<ManualClock>) -> Result<Store, OpenError> {
        let config = match self {
            Self::Folder(folder) => DatabaseConfig::Sqlite(folder.path().join("db")),
            Self::Server(config) => DatabaseConfig::Postgres(config.clone()),
        };
        Store::open_to_read(&config, Clock::Manual(Arc::clone(clock))).await
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        let Self::Folder(folder) = self else { panic!("not a file") };
        folder.path()
    }
}

/// A database whose tables lie in a folder of their own. The server's user gets the folder.
pub(super) struct InFolder {
    name: String,
    url: String,
}

impl InFolder {
    fn fresh(folder: &std::path::Path) -> Self {
        let url = postgres::fresh_database();
        let name = url.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
        std::fs::create_dir(folder).unwrap();
        postgres::run("chown", &["postgres:", folder.to_str().unwrap()]);
        run_sql("postgres", &format!("CREATE TABLESPACE {name} LOCATION '{}'", folder.display()));
        run_sql("postgres", &format!("ALTER DATABASE {name} SET TABLESPACE {name}"));
        Self { name, url }
    }
}

impl Drop for InFolder {
    fn drop(&mut self) {
        let name = &self.name;
        run_sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
        run_sql("postgres", &format!("DROP TABLESPACE {name}"));
    }
}

fn run_sql(database: &str, text: &str) {
    let place = ["--username", "postgres", "--host", postgres::folder().to_str().unwrap(), "--dbname", database];
    postgres::run(
        "psql",
        &[&["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--command", text][..], &place].concat(),
    );
}

/// Makes a database of the first schema, and runs SQL in it.
pub(super) async fn first_schema(place: &Place, rows: &str) {
    match place {
        Place::Folder(folder) => {
            let options = SqliteConnectOptions::new().filename(folder.path().join("db")).create_if_missing(true);
            let mut connection = options.connect().await.unwrap();
            let text = format!("{} {rows} PRAGMA user_version = 1", STEPS[0].sqlite);
            sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        Place::Server(config) => {
            let mut connection = config.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
            let version = "CREATE TABLE schema_version (version BIGINT NOT NULL); \
                           INSERT INTO schema_version (version) VALUES (1)";
            let text = format!("{} {rows} {version}", STEPS[0].postgres);
            sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

/// Runs SQL that no store would: to break things, or to look at them.
pub(super) async fn raw(store: &Store, text: String) {
    let text = sqlx::AssertSqlSafe(text);
    match &store.shared.database {
        Database::Sqlite { writer, .. } => drop(sqlx::raw_sql(text).execute(writer).await.unwrap()),
        Database::Postgres { writers, .. } => drop(sqlx::raw_sql(text).execute(writers).await.unwrap()),
    }
}

pub(super) async fn count(store: &Store, table: &str) -> i64 {
    let text: &'static str = format!("SELECT COUNT(*) FROM {table}").leak();
    sql(text).integer(&store.shared.database).await.unwrap()
}

/// From now on every write to `table` fails.
pub(super) async fn break_table(store: &Store, table: &str) {
    let text = match &store.shared.database {
        Database::Sqlite { .. } => format!(
            "CREATE TRIGGER fault BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'fault'); END; \
             CREATE TRIGGER fault2 BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'fault'); END; \
             CREATE TRIGGER fault3 BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, 'fault'); END"
        ),
        Database::Postgres { .. } => format!(
            "CREATE FUNCTION fault() RETURNS trigger AS $$BEGIN RAISE EXCEPTION 'fault'; END$$ LANGUAGE plpgsql; \
             CREATE TRIGGER fault BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION fault()"
        ),
    };
    raw(store, text).await;
}

pub(super) async fn mend_table(store: &Store) {
    let text = match &store.shared.database {
        Database::Sqlite { .. } => "DROP TRIGGER fault; DROP TRIGGER fault2; DROP TRIGGER fault3",
        Database::Postgres { .. } => "DROP FUNCTION fault CASCADE",
    };
    raw(store, text.to_owned()).await;
}

/// From now on no transition that writes an entry can be committed: a check that comes last fails.
pub(super) async fn break_commit(store: &Store) {
    let text = match &store.shared.database {
        Database::Sqlite { .. } => {
            "CREATE TABLE fault_parent (id INTEGER PRIMARY KEY); \
             CREATE TABLE fault_child (id INTEGER REFERENCES fault_parent (id) DEFERRABLE INITIALLY DEFERRED); \
             CREATE TRIGGER fault_commit AFTER INSERT ON entries BEGIN INSERT INTO fault_child VALUES (1); END"
        }
        Database::Postgres { .. } => {
            "CREATE FUNCTION fault_commit() RETURNS trigger AS $$BEGIN RAISE EXCEPTION 'fault'; END$$ LANGUAGE plpgsql; \
             CREATE CONSTRAINT TRIGGER fault_commit AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION fault_commit()"
        }
    };
    raw(store, text.to_owned()).await;
}

pub(super) async fn mend_commit(store: &Store) {
    let text = match &store.shared.database {
        Database::Sqlite { .. } => "DROP TRIGGER fault_commit; DROP TABLE fault_child; DROP TABLE fault_parent",
        Database::Postgres { .. } => "DROP FUNCTION fault_commit CASCADE",
    };
    raw(store, text.to_owned()).await;
}

/// The next transition is committed, but nobody hears of it.
pub(super) fn lose_answer(store: &Store) {
    store.shared.loses_answer.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Has the database say that a newer version wrote it.
pub(super) async fn make_newer(store: &Store) {
    let text = match &store.shared.database {
        Database::Sqlite { .. } => "PRAGMA user_version = 99",
        Database::Postgres { .. } => "INSERT INTO schema_version (version) VALUES (99)",
    };
    raw(store, text.to_owned()).await;
}

/// The claim of a sidecar whose instance is called as its lineage.
pub(super) fn claim(lineage: &str) -> StreamClaim {
    StreamClaim {
        service: service(),
        instance: format!("sidecar-{lineage}").parse().unwrap(),
        lineage: lineage.into(),
        version: "0.1.0".into(),
        service_digest: "d".into(),
        audit: AuditPosition::default(),
    }
}

/// Begins a stream.
pub(super) async fn begin(store: &Store, claim: StreamClaim) -> ShareHolder {
    match store.admit(std::slice::from_ref(&claim)).await.unwrap().remove(0) {
        Admission::Begun(generation) => {
            let StreamClaim { service, instance, lineage, .. } = claim;
            ShareHolder { service, instance, lineage, generation }
        }
        Admission::LineageInUse => panic!("{} is in use", claim.lineage),
    }
}

pub(super) async fn stream(store: &Store, lineage: &str) -> ShareHolder {
    begin(store, claim(lineage)).await
}

/// The stream that a lineage has begun.
pub(super) async fn current(store: &Store, lineage: &str) -> ShareHolder {
    let rows = store.sidecars().await.unwrap();
    let row = rows.into_iter().find(|row| row.lineage == lineage).unwrap();
    ShareHolder { service: row.service, instance: row.instance, lineage: row.lineage, generation: row.generation }
}

/// In a turn of its own.
pub(super) async fn allot(store: &Store, grant: &GrantId, holder: &ShareHolder, wanted: u32) -> Option<u32> {
    let mut turn = store.share_turn().await.unwrap();
    let allotted = turn.allot(grant, holder, wanted).await.unwrap();
    turn.commit().await.unwrap();
    allotted
}

pub(super) async fn hand_back(store: &Store, grant: &GrantId, holder: &ShareHolder, allotted: u32) -> u32 {
    let mut turn = store.share_turn().await.unwrap();
    let kept = turn.hand_back(grant, holder, allotted).await.unwrap();
    turn.commit().await.unwrap();
    kept
}
