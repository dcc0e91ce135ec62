//! A store on either database, and the macro that runs one test on both.

use std::sync::Arc;

use tempfile::TempDir;

use super::{NOW, service};
use crate::clock::{Clock, ManualClock};
use crate::config::database::PostgresConfig;
use crate::domain::{BootTime, GrantId, Moment};
use crate::store::database::Database;
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
        Self::at(Place::Folder(tempfile::tempdir().unwrap())).await
    }

    pub(super) async fn postgres() -> Self {
        Self::at(Place::Server(PostgresConfig::new(postgres::fresh_database()))).await
    }

    /// A fresh one on the same kind of database.
    pub(super) async fn another(&self) -> Self {
        match self.place {
            Place::Folder(_) => Self::sqlite().await,
            Place::Server(_) => Self::postgres().await,
        }
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

    pub(super) fn folder(&self) -> &std::path::Path {
        let Self::Folder(folder) = self else { panic!("not a file") };
        folder.path()
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
             CREATE TRIGGER fault2 BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'fault'); END"
        ),
        Database::Postgres { .. } => format!(
            "CREATE FUNCTION fault() RETURNS trigger AS $$BEGIN RAISE EXCEPTION 'fault'; END$$ LANGUAGE plpgsql; \
             CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION fault()"
        ),
    };
    raw(store, text).await;
}

pub(super) async fn mend_table(store: &Store) {
    let text = match &store.shared.database {
        Database::Sqlite { .. } => "DROP TRIGGER fault; DROP TRIGGER fault2",
        Database::Postgres { .. } => "DROP FUNCTION fault CASCADE",
    };
    raw(store, text.to_owned()).await;
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
