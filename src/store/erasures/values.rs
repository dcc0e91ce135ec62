//! The values that lie beside entries: which of them an erasure takes, and where else what they say lies.
//!
//! INVARIANT: value and salt go together, they are one row. What stands in the entry stays as it is.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::age::Aged;
use super::naming::names;
use crate::domain::Person;
use crate::ledger::entry::PersonalField;
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::rows::{from_sql, to_json, to_sql};
use crate::store::statement::{sql, sql_over_rows};
use crate::store::transition::Transition;

/// Values read at once: more than lie beside one entry.
const PAGE: i64 = 1000;
/// Values erased by one transaction, to within a page.
const HITS_MAX: usize = 1000;
/// Pages looked at for one transaction.
const PAGES_MAX: usize = 40;

/// An entry with the values that still lie beside it.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) index: u64,
    pub(super) kind: String,
    pub(super) facts: Value,
    pub(super) values: BTreeMap<String, String>,
}

impl Beside {
    pub(super) fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name)?.as_str()
    }
}

/// A value that goes.
#[derive(Debug)]
pub(super) struct Hit {
    index: u64,
    field: String,
    kind: String,
    facts: Value,
}

/// What one look found: the values to erase of the entries before `to`.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) hits: Vec<Hit>,
    pub(super) to: u64,
}

/// Whose values go.
#[derive(Debug)]
pub(super) enum Whose {
    /// Those of a person, with the requests and grants that are theirs, by id.
    Person { person: Person, own: HashSet<String> },
    /// All, but those of grants and requests that are not closed.
    Aged(Aged),
}

impl Whose {
    /// Looks from an entry on, until enough was found or `up_to` is reached.
    pub(super) async fn find(&self, on: &mut Transaction, from: u64, up_to: u64) -> Result<Found, StoreError> {
        let mut found = Found { hits: Vec::new(), to: from };
        for _ in 0..PAGES_MAX {
            if found.to >= up_to || found.hits.len() >= HITS_MAX {
                break;
            }
            let (page, end) = page(on, found.to, up_to).await?;
            let open = self.open_ones(on, &page).await?;
            for entry in page {
                let fields = self.fields(&entry, &open);
                let hit =
                    |field| Hit { index: entry.index, field, kind: entry.kind.clone(), facts: entry.facts.clone() };
                found.hits.extend(fields.into_iter().map(hit));
            }
            found.to = end;
        }
        Ok(found)
    }

    /// Of the requests and grants that the page names, those that are not closed.
    async fn open_ones(&self, on: &mut Transaction, page: &[Beside]) -> Result<HashSet<String>, StoreError> {
        match self {
            Self::Person { .. } => Ok(HashSet::new()),
            Self::Aged(aged) => aged.open_ones(on, page).await,
        }
    }

    /// The fields whose values go.
    fn fields(&self, entry: &Beside, open: &HashSet<String>) -> Vec<String> {
        let links = ["grant", "elevation"].map(|name| entry.fact(name));
        match self {
            Self::Aged(_) => {
                // A revocation that ended grants is over; what stands under the same name is a freeze.
                let links = links.into_iter().chain([entry.fact("revocation")]);
                let is_open = links.flatten().any(|id| open.contains(id));
                if is_open { Vec::new() } else { entry.values.keys().cloned().collect() }
            }
            Self::Person { person, own } => {
                let is_theirs = links.into_iter().flatten().any(|id| own.contains(id));
                let of = Theirs { person: person.as_str(), is_theirs, entry };
                entry
                    .values
                    .iter()
                    .filter(|(field, value)| of.has(field, value))
                    .map(|(field, _)| field.clone())
                    .collect()
            }
        }
    }
}

/// What is a person's of one entry.
struct Theirs<'a> {
    person: &'a str,
    /// It is about a request or grant of theirs.
    is_theirs: bool,
    entry: &'a Beside,
}

impl Theirs<'_> {
    fn has(&self, field: &str, value: &str) -> bool {
        let is = |field: PersonalField| self.entry.values.get(field.as_str()).is_some_and(|value| value == self.person);
        let about_them = self.is_theirs || is(PersonalField::Person);
        match field {
            // Who else was there is another's.
            "person" | "by" | "confirmed_by" => value == self.person,
            "note" => about_them || is(PersonalField::By) || names(value, self.person),
            _ => about_them || names(value, self.person),
        }
    }
}

/// The next entries that have values, and the first that was not looked at. By what there is: where almost everything is
/// erased, what is left may lie far apart.
async fn page(on: &mut Transaction, from: u64, up_to: u64) -> Result<(Vec<Beside>, u64), StoreError> {
    let rows = sql("SELECT v.entry_index, v.field, v.value, e.kind, e.canonical FROM entry_values v \
                    JOIN entries e ON e.entry_index = v.entry_index \
                    WHERE v.entry_index >= $1 AND v.entry_index < $2 ORDER BY v.entry_index LIMIT $3")
    .bind(to_sql(from))
    .bind(to_sql(up_to))
    .bind(PAGE)
    .fetch_all(on)
    .await?;
    let mut page: Vec<Beside> = Vec::new();
    for row in &rows {
        let index = from_sql(row.try_get("entry_index")?);
        if page.last().is_none_or(|last| last.index != index) {
            let mut entry: Value = serde_json::from_str(row.try_get("canonical")?)
                .map_err(|error| StoreError::Corrupt(format!("entry {index}: {error}")))?;
            let facts = entry.get_mut("facts").map(Value::take).unwrap_or_default();
            page.push(Beside { index, kind: row.try_get("kind")?, facts, values: BTreeMap::new() });
        }
        if let Some(last) = page.last_mut() {
            last.values.insert(row.try_get("field")?, row.try_get("value")?);
        }
    }
    let is_cut = i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE);
    // The last one's values may not all be there: it comes first of the next page.
    let end = if is_cut { page.pop().map(|last| last.index) } else { None };
    Ok((page, end.unwrap_or(up_to)))
}

/// A row's key as the statement reads it.
#[derive(Serialize)]
struct Key<'a> {
    i: u64,
    f: &'a str,
}

/// Erases them, and the same words where else they lie. Answers how many were still there.
pub(super) async fn erase(transition: &mut Transition<'_>, hits: &[Hit]) -> Result<u64, StoreError> {
    if hits.is_empty() {
        return Ok(0);
    }
    let keys: Vec<_> = hits.iter().map(|hit| Key { i: hit.index, f: &hit.field }).collect();
    let gone = sql_over_rows!(
        "DELETE FROM entry_values WHERE (entry_index, field) IN \
         (SELECT CAST(told.value ->> 'i' AS BIGINT), told.value ->> 'f' FROM",
        ")"
    )
    .bind(to_json("keys of values", &keys)?)
    .execute(transition.connection())
    .await?;
    for hit in hits.iter().filter(|hit| hit.field == PersonalField::Note.as_str()) {
        erase_note(transition, hit).await?;
    }
    Ok(gone)
}

/// A note lies in the tables, too.
async fn erase_note(transition: &mut Transition<'_>, hit: &Hit) -> Result<(), StoreError> {
    let (places, fact): (&[&'static str], _) = match hit.kind.as_str() {
        "elevation_denied" => (&["UPDATE elevations SET decided_note = NULL WHERE id = $1"], "elevation"),
        "grant_reviewed" => (&["UPDATE grants SET findings = '' WHERE id = $1"], "grant"),
        "revocation_ordered" => (
            &[
                "UPDATE revocations SET note = NULL WHERE id = $1",
                "UPDATE grants SET end_note = NULL WHERE revocation = $1",
            ],
            "revocation",
        ),
        "freeze_changed" => (
            &[
                "UPDATE revocations SET note = NULL WHERE id = $1",
                "UPDATE freezes SET note = NULL WHERE revocation = $1",
            ],
            "revocation",
        ),
        "policy_proposed" => (&["UPDATE policy_proposals SET note = NULL WHERE id = $1"], "proposal"),
        "policy_applied" => {
            let revision = hit.facts.get("policy_revision").and_then(Value::as_i64);
            let text = "UPDATE policy_revisions SET note = NULL WHERE revision = $1";
            sql(text).bind(revision).execute(transition.connection()).await?;
            return Ok(());
        }
        _ => return Ok(()),
    };
    let Some(id) = hit.facts.get(fact).and_then(Value::as_str) else { return Ok(()) };
    for place in places {
        sql(place).bind(id).execute(transition.connection()).await?;
    }
    Ok(())
}
