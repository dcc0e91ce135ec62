//! One statement for both databases: SQL with `$n` parameters, run on whichever database the store was opened on.
//!
//! What goes in are integers, text and bytes, what comes out too: types that both know, so that one text of SQL serves
//! both. Must never: build SQL from a value.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, Decode, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Type};

use super::database::Transaction;
use super::doubt::Doubt;
#[cfg(test)]
pub(super) use super::faults::step;

/// One statement, or the beginning or end of a transaction. In tests it can be made to fail.
#[cfg(not(test))]
pub(super) fn step<T, W: Future<Output = Result<T, sqlx::Error>>>(_what: &'static str, work: W) -> W {
    work
}

/// A value of a parameter.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

/// Truth is 1 and 0 in both databases.
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(Some(i64::from(value)))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

/// What a statement runs on: a connection of the readers, or a transaction.
#[derive(Debug)]
pub(super) enum On<'c> {
    SqliteReaders(&'c SqlitePool),
    Sqlite(&'c mut SqliteConnection),
    PostgresReaders(&'c PgPool, &'c Doubt),
    Postgres(&'c mut PgConnection, &'c Doubt),
}

impl<'c> From<&'c mut Transaction> for On<'c> {
    fn from(transaction: &'c mut Transaction) -> Self {
        match transaction {
            Transaction::Sqlite(tx) => Self::Sqlite(tx),
            Transaction::Postgres(tx, doubt) => Self::Postgres(tx, doubt),
        }
    }
}

/// A statement and its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    sqlite: &'static str,
    postgres: &'static str,
    values: Vec<Value>,
}

/// `sql` is this program's own text; values are bound.
pub(super) fn sql(sql: &'static str) -> Statement {
    Statement { sqlite: sql, postgres: sql, values: Vec::new() }
}

/// A statement over many rows at once: `$1` is a JSON array of objects, and between the two texts they stand as `told`:
/// `told.value ->> 'name'` is a member's text.
macro_rules! sql_over_rows {
    ($before:literal, $after:literal) => {
        $crate::store::statement::by_dialect(
            concat!($before, " json_each($1) AS told ", $after),
            concat!($before, " jsonb_array_elements(CAST($1 AS jsonb)) AS told(value) ", $after),
        )
    };
}
pub(super) use sql_over_rows;

pub(super) fn by_dialect(sqlite: &'static str, postgres: &'static str) -> Statement {
    Statement { sqlite, postgres, values: Vec::new() }
}

/// Rows that one statement inserts at most. A power of two: so few texts are prepared, whatever the number of rows.
const ROWS_MAX: usize = 256;

/// Inserts many rows, in order, with a few statements: `head` is `INSERT INTO table (columns)`, and each row has their values.
/// Several times cheaper than [`sql_over_rows`], for whose rows SQLite parses JSON once for each value.
pub(super) async fn insert_rows<const COLUMNS: usize>(
    transaction: &mut Transaction,
    head: &'static str,
    rows: Vec<[Value; COLUMNS]>,
) -> Result<(), sqlx::Error> {
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let count = 1 << rows.len().min(ROWS_MAX).ilog2();
        let mut statement =
            by_dialect(rows_text(head, COLUMNS, count, By::Place), rows_text(head, COLUMNS, count, By::Number));
        statement.values.reserve(count.saturating_mul(COLUMNS));
        rows.by_ref().take(count).for_each(|row| statement.values.extend(row));
        statement.execute(&mut *transaction).await?;
    }
    Ok(())
}

/// How a text names its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// `?`: what has no name is not looked up by one, and SQLite's look-up goes through all of them each time.
    Place,
    /// `$n`.
    Number,
}

/// The text for so many rows; each is made once.
fn rows_text(head: &'static str, columns: usize, count: usize, by: By) -> &'static str {
    static TEXTS: Mutex<BTreeMap<(&str, usize, By), &str>> = Mutex::new(BTreeMap::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    texts.entry((head, count, by)).or_insert_with(|| {
        let parameter = |number: usize| match by {
            By::Place => "?".to_owned(),
            By::Number => format!("${number}"),
        };
        let row = |row: usize| {
            let numbers = (1..=columns).map(|column| parameter(row.saturating_mul(columns).saturating_add(column)));
            format!("({})", numbers.collect::<Vec<_>>().join(", "))
        };
        let rows = (0..count).map(row).collect::<Vec<_>>().join(", ");
        Box::leak(format!("{head} VALUES {rows}").into_boxed_str())
    })
}

impl Statement {
    /// The value of the next parameter: `$1`, `$2` …
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Answers the number of rows that were changed.
    pub(super) fn execute<'c>(self, on: impl Into<On<'c>>) -> impl Future<Output = Result<u64, sqlx::Error>> {
        step(self.sqlite, self.run(on.into()))
    }

    async fn run(self, on: On<'_>) -> Result<u64, sqlx::Error> {
        Ok(match on {
            On::SqliteReaders(pool) => self.for_sqlite()?.execute(pool).await?.rows_affected(),
            On::Sqlite(connection) => self.for_sqlite()?.execute(connection).await?.rows_affected(),
            On::PostgresReaders(pool, doubt) => {
                let mut connection = pool.acquire().await?;
                doubt.in_time(self.for_postgres()?.execute(&mut *connection)).await?.rows_affected()
            }
            On::Postgres(connection, doubt) => {
                doubt.in_time(self.for_postgres()?.execute(connection)).await?.rows_affected()
            }
        })
    }

    pub(super) fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> {
        step(self.sqlite, self.rows(on.into()))
    }

    async fn rows(self, on: On<'_>) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match on {
            On::SqliteReaders(pool) => sqlite_rows(self.for_sqlite()?.fetch_all(pool).await?),
            On::Sqlite(connection) => sqlite_rows(self.for_sqlite()?.fetch_all(connection).await?),
            On::PostgresReaders(pool, doubt) => {
                let mut connection = pool.acquire().await?;
                postgres_rows(doubt.in_time(self.for_postgres()?.fetch_all(&mut *connection)).await?)
            }
            On::Postgres(connection, doubt) => {
                postgres_rows(doubt.in_time(self.for_postgres()?.fetch_all(connection)).await?)
            }
        })
    }

    pub(super) fn fetch_optional<'c>(
        self,
        on: impl Into<On<'c>>,
    ) -> impl Future<Output = Result<Option<Row>, sqlx::Error>> {
        step(self.sqlite, self.row(on.into()))
    }

    async fn row(self, on: On<'_>) -> Result<Option<Row>, sqlx::Error> {
        Ok(match on {
            On::SqliteReaders(pool) => self.for_sqlite()?.fetch_optional(pool).await?.map(Row::Sqlite),
            On::Sqlite(connection) => self.for_sqlite()?.fetch_optional(connection).await?.map(Row::Sqlite),
            On::PostgresReaders(pool, doubt) => {
                let mut connection = pool.acquire().await?;
                doubt.in_time(self.for_postgres()?.fetch_optional(&mut *connection)).await?.map(Row::Postgres)
            }
            On::Postgres(connection, doubt) => {
                doubt.in_time(self.for_postgres()?.fetch_optional(connection)).await?.map(Row::Postgres)
            }
        })
    }

    pub(super) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The first column of the one row.
    pub(super) async fn integer(self, on: impl Into<On<'_>>) -> Result<i64, sqlx::Error> {
        self.fetch_one(on).await?.first()
    }

    fn for_sqlite(self) -> Result<Query<'static, Sqlite, SqliteArguments>, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Integer(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(self.sqlite, arguments))
    }

    fn for_postgres(self) -> Result<Query<'static, Postgres, PgArguments>, sqlx::Error> {
        let mut arguments = PgArguments::default();
        for value in self.values {
            match value {
                Value::Integer(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(self.postgres, arguments))
    }
}

fn sqlite_rows(rows: Vec<SqliteRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Sqlite).collect()
}

fn postgres_rows(rows: Vec<PgRow>) -> Vec<Row> {
    rows.into_iter().map(Row::Postgres).collect()
}

/// One row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column.
    pub(super) fn try_get<'r, T>(&'r self, column: &str) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// The value of the first column.
    pub(super) fn first<'r, T>(&'r self) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(0),
            Self::Postgres(row) => row.try_get(0),
        }
    }
}
