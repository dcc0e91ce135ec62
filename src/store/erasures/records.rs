//! Erasures as rows: ordered, carried on, read.

use super::age::Aged;
use super::person;
use super::values::Whose;
use crate::domain::{ErasureId, ErasureReason, Person, WallTime};
use crate::store::database::Transaction;
use crate::store::rows::{from_sql, parsed, to_sql};
use crate::store::statement::{Row, sql};
use crate::store::transition::Transition;
use crate::store::{Store, StoreError};

/// An erasure and what became of it. Whose it is, is not said: nobody but the one who ordered it need know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureRecord {
    pub id: ErasureId,
    pub reason: ErasureReason,
    /// What stands for the person who is erased.
    pub called: Option<Person>,
    /// Of one by age.
    pub before: Option<WallTime>,
    /// Absent: the configuration asked for it.
    pub by: Option<Person>,
    pub at: WallTime,
    /// Values that lay beside entries.
    pub values: u64,
    pub records: u64,
    /// Absent while it is being carried out.
    pub done: Option<WallTime>,
}

/// One that is being carried out.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: ErasureId,
    pub(super) reason: ErasureReason,
    pub(super) person: Option<Person>,
    pub(super) called: Option<Person>,
    /// The first entry beside which the person's name lay, and the field.
    pub(super) named_at: Option<(u64, String)>,
    pub(super) aged: Option<Aged>,
    pub(super) by: Option<Person>,
    pub(super) next: u64,
    pub(super) up_to: u64,
}

impl Open {
    pub(super) async fn whose(&self, on: &mut Transaction) -> Result<Whose, StoreError> {
        match (&self.aged, &self.person, &self.called) {
            (Some(aged), ..) => Ok(Whose::Aged(aged.clone())),
            (None, Some(person), Some(called)) => {
                let own = person::own(on, called).await?;
                Ok(Whose::Person { person: person.clone(), own })
            }
            _ => Err(StoreError::Corrupt(format!("erasure {} says neither whose nor how old", self.id))),
        }
    }
}

impl Store {
    /// Erasures that are not carried out to their end yet, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_erasures(&self) -> Result<Vec<ErasureId>, StoreError> {
        let rows = sql("SELECT id FROM erasures WHERE done_ms IS NULL ORDER BY position")
            .fetch_all(&self.shared.database)
            .await?;
        rows.iter().map(|row| parsed("erasure id", row.first()?)).collect()
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn erasure(&self, id: &ErasureId) -> Result<Option<ErasureRecord>, StoreError> {
        let row = sql("SELECT * FROM erasures WHERE id = $1").bind(id.as_str());
        row.fetch_optional(&self.shared.database).await?.as_ref().map(record).transpose()
    }
}

pub(super) async fn insert(
    transition: &mut Transition<'_>,
    open: &Open,
    kind: &'static str,
    records: u64,
) -> Result<(), StoreError> {
    let position = transition.next("erasure").await?;
    let at = transition.at();
    let named = open.named_at.as_ref();
    sql("INSERT INTO erasures (position, id, of_kind, reason, person, called, named_entry, named_field, before_ms, held, \
         by_person, at_ms, next_index, up_to, values_gone, records) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15)")
    .bind(to_sql(position))
    .bind(open.id.as_str())
    .bind(kind)
    .bind(open.reason.as_str())
    .bind(open.person.as_ref().map(Person::as_str))
    .bind(open.called.as_ref().map(Person::as_str))
    .bind(named.map(|(entry, _)| to_sql(*entry)))
    .bind(named.map(|(_, field)| field.as_str()))
    .bind(open.aged.as_ref().map(|aged| aged.before.unix_ms()))
    .bind(open.aged.as_ref().map_or("", |aged| aged.held.as_str()))
    .bind(open.by.as_ref().map(Person::as_str))
    .bind(at.unix_ms())
    .bind(to_sql(open.next))
    .bind(to_sql(open.up_to))
    .bind(to_sql(records))
    .execute(transition.connection())
    .await?;
    Ok(())
}

/// Adds up what was erased.
pub(super) async fn count(
    transition: &mut Transition<'_>,
    id: &ErasureId,
    values: u64,
    records: u64,
) -> Result<(), StoreError> {
    sql("UPDATE erasures SET values_gone = values_gone + $1, records = records + $2 WHERE id = $3")
        .bind(to_sql(values))
        .bind(to_sql(records))
        .bind(id.as_str())
        .execute(transition.connection())
        .await?;
    Ok(())
}

/// Nothing is left, and nobody knows any more whose it was.
pub(super) async fn close(transition: &mut Transition<'_>, id: &ErasureId) -> Result<(), StoreError> {
    let at = transition.at();
    sql("UPDATE erasures SET done_ms = $1, person = NULL WHERE id = $2")
        .bind(at.unix_ms())
        .bind(id.as_str())
        .execute(transition.connection())
        .await?;
    Ok(())
}

pub(super) async fn open(on: &mut Transaction, id: &ErasureId) -> Result<Option<Open>, StoreError> {
    let row = sql("SELECT * FROM erasures WHERE id = $1 AND done_ms IS NULL").bind(id.as_str());
    let Some(row) = row.fetch_optional(on).await? else { return Ok(None) };
    let before = row.try_get::<Option<i64>>("before_ms")?.map(WallTime::from_unix_ms);
    let held: String = row.try_get("held")?;
    let named: (Option<i64>, Option<String>) = (row.try_get("named_entry")?, row.try_get("named_field")?);
    Ok(Some(Open {
        id: id.clone(),
        reason: reason(&row)?,
        person: person_in(&row, "person")?,
        called: person_in(&row, "called")?,
        named_at: named.0.map(from_sql).zip(named.1),
        aged: before.map(|before| Aged { before, held }),
        by: person_in(&row, "by_person")?,
        next: from_sql(row.try_get("next_index")?),
        up_to: from_sql(row.try_get("up_to")?),
    }))
}

pub(super) async fn open_by_age(on: &mut Transaction) -> Result<Option<ErasureId>, StoreError> {
    let row = sql("SELECT id FROM erasures WHERE done_ms IS NULL AND of_kind = 'age' ORDER BY position LIMIT 1");
    let row = row.fetch_optional(on).await?;
    row.map(|row| parsed("erasure id", row.first()?)).transpose()
}

/// The first entry that is not concerned: all there are, or those before a time.
pub(super) async fn up_to(on: &mut Transaction, before: Option<WallTime>) -> Result<u64, StoreError> {
    let found = match before {
        None => sql("SELECT value FROM counters WHERE name = 'entry'"),
        Some(before) => sql("SELECT COALESCE((SELECT MIN(entry_index) FROM entries WHERE at_ms >= $1), \
             (SELECT value FROM counters WHERE name = 'entry'))")
        .bind(before.unix_ms()),
    };
    Ok(from_sql(found.integer(on).await?))
}

/// Before it everything was erased.
pub(super) async fn first_with_values(on: &mut Transaction) -> Result<u64, StoreError> {
    let first = sql("SELECT COALESCE(MIN(entry_index), 0) FROM entry_values");
    Ok(from_sql(first.integer(on).await?))
}

/// The first entry beside which a person's name lies.
pub(super) async fn named_at(on: &mut Transaction, person: &Person) -> Result<Option<(u64, String)>, StoreError> {
    let row = sql("SELECT entry_index, field FROM entry_values WHERE value = $1 \
         AND field IN ('person', 'by', 'confirmed_by') ORDER BY entry_index, field LIMIT 1")
    .bind(person.as_str())
    .fetch_optional(on)
    .await?;
    row.map(|row| Ok((from_sql(row.try_get("entry_index")?), row.try_get("field")?))).transpose()
}

fn record(row: &Row) -> Result<ErasureRecord, StoreError> {
    let time = |column| Ok::<_, StoreError>(row.try_get::<Option<i64>>(column)?.map(WallTime::from_unix_ms));
    Ok(ErasureRecord {
        id: parsed("erasure id", row.try_get("id")?)?,
        reason: reason(row)?,
        called: person_in(row, "called")?,
        before: time("before_ms")?,
        by: person_in(row, "by_person")?,
        at: WallTime::from_unix_ms(row.try_get("at_ms")?),
        values: from_sql(row.try_get("values_gone")?),
        records: from_sql(row.try_get("records")?),
        done: time("done_ms")?,
    })
}

fn reason(row: &Row) -> Result<ErasureReason, StoreError> {
    let text: &str = row.try_get("reason")?;
    let known = ErasureReason::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| StoreError::Corrupt(format!("reason of an erasure: {text:?}")))
}

fn person_in(row: &Row, column: &str) -> Result<Option<Person>, StoreError> {
    row.try_get::<Option<&str>>(column)?.map(|text| parsed("person", text)).transpose()
}
