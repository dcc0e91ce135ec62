//! One statement for both databases: SQL with `$n` parameters, run on whichever database the store was opened on.
//!
//! What goes in are integers, text and bytes, what comes out too: types that both know, so that one text of SQL serves
//! both. Must never: build SQL from a value.

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, Decode, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Type};

use super::database::Transaction;

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
    PostgresReaders(&'c PgPool),
    Postgres(&'c mut PgConnection),
}

impl<'c> From<&'c mut Transaction> for On<'c> {
    fn from(transaction: &'c mut Transaction) -> Self {
        match transaction {
            Transaction::Sqlite(tx) => Self::Sqlite(tx),
            Transaction::Postgres(tx) => Self::Postgres(tx),
        }
    }
}

/// A statement and its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    sql: &'static str,
    values: Vec<Value>,
}

/// `sql` is this program's own text; values are bound.
pub(super) fn sql(sql: &'static str) -> Statement {
    Statement { sql, values: Vec::new() }
}

impl Statement {
    /// The value of the next parameter: `$1`, `$2` …
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Answers the number of rows that were changed.
    pub(super) async fn execute(self, on: impl Into<On<'_>>) -> Result<u64, sqlx::Error> {
        let text = self.sql;
        Ok(match on.into() {
            On::SqliteReaders(pool) => sqlx::query_with(text, self.sqlite()?).execute(pool).await?.rows_affected(),
            On::Sqlite(connection) => sqlx::query_with(text, self.sqlite()?).execute(connection).await?.rows_affected(),
            On::PostgresReaders(pool) => sqlx::query_with(text, self.postgres()?).execute(pool).await?.rows_affected(),
            On::Postgres(connection) => {
                sqlx::query_with(text, self.postgres()?).execute(connection).await?.rows_affected()
            }
        })
    }

    pub(super) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<Row>, sqlx::Error> {
        let text = self.sql;
        Ok(match on.into() {
            On::SqliteReaders(pool) => sqlite_rows(sqlx::query_with(text, self.sqlite()?).fetch_all(pool).await?),
            On::Sqlite(connection) => sqlite_rows(sqlx::query_with(text, self.sqlite()?).fetch_all(connection).await?),
            On::PostgresReaders(pool) => postgres_rows(sqlx::query_with(text, self.postgres()?).fetch_all(pool).await?),
            On::Postgres(connection) => {
                postgres_rows(sqlx::query_with(text, self.postgres()?).fetch_all(connection).await?)
            }
        })
    }

    pub(super) async fn fetch_optional(self, on: impl Into<On<'_>>) -> Result<Option<Row>, sqlx::Error> {
        let text = self.sql;
        Ok(match on.into() {
            On::SqliteReaders(pool) => {
                sqlx::query_with(text, self.sqlite()?).fetch_optional(pool).await?.map(Row::Sqlite)
            }
            On::Sqlite(connection) => {
                sqlx::query_with(text, self.sqlite()?).fetch_optional(connection).await?.map(Row::Sqlite)
            }
            On::PostgresReaders(pool) => {
                sqlx::query_with(text, self.postgres()?).fetch_optional(pool).await?.map(Row::Postgres)
            }
            On::Postgres(connection) => {
                sqlx::query_with(text, self.postgres()?).fetch_optional(connection).await?.map(Row::Postgres)
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

    fn sqlite(self) -> Result<SqliteArguments, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            match value {
                Value::Integer(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }

    fn postgres(self) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        for value in self.values {
            match value {
                Value::Integer(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
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
