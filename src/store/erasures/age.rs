//! What is older than it is to be kept, of requests and grants that are closed: each record loses all its names at once.
//!
//! Within one record its people stay apart (`erased:1`, `erased:2` …), and nobody is to be recognised in another.
//! INVARIANT: a grant is closed when it has ended, its account is closed, and no review of it is awaited; one whose review
//! came to a verdict that is held is not erased by age.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::person::{body_without_names, renamed, without_justification};
use super::values::Beside;
use crate::domain::{Person, Ticket, Verdict, WallTime};
use crate::store::StoreError;
use crate::store::database::Transaction;
use crate::store::rows::{from_json, parsed, to_json, to_u64};
use crate::store::statement::{On, Row, by_dialect, sql, sql_over_rows};
use crate::store::transition::Transition;
use crate::token::claims::GrantClaims;

/// Requests cleared by one transaction.
const CLEARED_MAX: i64 = 200;

/// Whether a request `e`, with its grant `g` where there is one, is closed: the age and the verdicts held are `$2` and `$3`.
macro_rules! closed {
    () => {
        "e.state <> 'requested' AND e.decided_ms < $2 AND (g.id IS NULL OR (g.state <> 'active' AND g.ended_ms < $2 \
         AND (g.review = 'none' OR (g.review = 'reviewed' AND g.reviewed_ms < $2 \
         AND $3 NOT LIKE '%,' || g.verdict || ',%')) AND NOT EXISTS \
         (SELECT 1 FROM grant_closings c WHERE c.grant_id = g.id AND c.is_due = 1)))"
    };
}

const FIND: &str = concat!(
    "SELECT e.id, e.person, e.body, e.decided_by, g.id AS grant_id, g.claims, g.ended_by, g.reviewed_by \
     FROM elevations e LEFT JOIN grants g ON g.elevation = e.id WHERE e.cleared_ms IS NULL AND ",
    closed!(),
    " ORDER BY e.decided_ms LIMIT $1"
);
/// Of the ids named, those of requests and grants that are not closed.
const OPEN: [&str; 2] = [
    concat!(
        "SELECT told.value ->> 'i' FROM json_each($1) AS told LEFT JOIN grants o ON o.id = told.value ->> 'i' \
         JOIN elevations e ON e.id = COALESCE(o.elevation, told.value ->> 'i') \
         LEFT JOIN grants g ON g.elevation = e.id WHERE e.cleared_ms IS NULL AND NOT (",
        closed!(),
        ")"
    ),
    concat!(
        "SELECT told.value ->> 'i' FROM jsonb_array_elements(CAST($1 AS jsonb)) AS told(value) \
         LEFT JOIN grants o ON o.id = told.value ->> 'i' \
         JOIN elevations e ON e.id = COALESCE(o.elevation, told.value ->> 'i') \
         LEFT JOIN grants g ON g.elevation = e.id WHERE e.cleared_ms IS NULL AND NOT (",
        closed!(),
        ")"
    ),
];

/// Freezes, by what they are measured under.
const STANDING: &str = "SELECT revocation FROM freezes WHERE frozen <> 0 AND revocation IS NOT NULL";

/// How old, and which verdicts keep a grant from being erased for it.
#[derive(Debug, Clone)]
pub(super) struct Aged {
    pub(super) before: WallTime,
    /// As [`held`] writes them.
    pub(super) held: String,
}

/// Verdicts as the statements read them.
pub(super) fn held(verdicts: &[Verdict]) -> String {
    let mut text = ",".to_owned();
    for verdict in verdicts {
        text.push_str(verdict.as_str());
        text.push(',');
    }
    text
}

impl Aged {
    /// The next requests to clear.
    pub(super) async fn find(&self, on: impl Into<On<'_>>, limit: i64) -> Result<Vec<Row>, StoreError> {
        let find = sql(FIND).bind(limit).bind(self.before.unix_ms()).bind(&self.held);
        Ok(find.fetch_all(on).await?)
    }

    /// Of the requests and grants that the entries name, those that are not closed; and the freezes that stand.
    pub(super) async fn open_ones(&self, on: &mut Transaction, page: &[Beside]) -> Result<HashSet<String>, StoreError> {
        let standing = sql(STANDING).fetch_all(&mut *on).await?;
        let mut open: HashSet<String> =
            standing.iter().map(|row| Ok(row.first()?)).collect::<Result<_, StoreError>>()?;
        let links = page.iter().flat_map(|entry| ["grant", "elevation"].map(|name| entry.fact(name)));
        let named: HashSet<&str> = links.flatten().collect();
        if named.is_empty() {
            return Ok(open);
        }
        let named: Vec<_> = named.into_iter().map(|id| Named { i: id }).collect();
        let [sqlite, postgres] = OPEN;
        let rows = by_dialect(sqlite, postgres)
            .bind(to_json("ids", &named)?)
            .bind(self.before.unix_ms())
            .bind(&self.held)
            .fetch_all(on)
            .await?;
        for row in &rows {
            open.insert(row.first()?);
        }
        Ok(open)
    }

    /// Clears some requests with their grants. Answers how many; fewer than [`CLEARED_MAX`] where these were the last.
    pub(super) async fn clear(&self, transition: &mut Transition<'_>) -> Result<u64, StoreError> {
        let rows = self.find(transition.connection(), CLEARED_MAX).await?;
        let mut approvers = approvers(transition, &rows).await?;
        let mut cleared = Cleared::default();
        for row in &rows {
            let id: String = row.try_get("id")?;
            let approved = approvers.remove(&id).unwrap_or_default();
            cleared.add(row, id, approved)?;
        }
        cleared.write(transition).await?;
        Ok(to_u64(rows.len()))
    }

    /// What is about neither a request nor a grant, of everything that is over: the last step.
    pub(super) async fn clear_others(&self, transition: &mut Transition<'_>) -> Result<(), StoreError> {
        let (first, second) = (Person::erased_within(1), Person::erased_within(2));
        sql("UPDATE revocations SET selector = $2 WHERE selector LIKE '{\"kind\":\"person\",%' \
             AND settled_ms < $1 AND at_ms < $1")
        .bind(self.before.unix_ms())
        .bind(super::obstacles::selector(&second)?)
        .execute(transition.connection())
        .await?;
        for others in OTHERS {
            sql(others).bind(self.before.unix_ms()).bind(first.as_str()).execute(transition.connection()).await?;
        }
        Ok(())
    }
}

/// `$1`: the age; `$2`: what stands for people whom one record alone names.
const OTHERS: [&str; 5] = [
    "UPDATE revocations SET by_person = $2, note = NULL WHERE settled_ms < $1 AND at_ms < $1 AND is_open = 0 \
     AND id NOT IN (SELECT revocation FROM freezes WHERE frozen <> 0 AND revocation IS NOT NULL)",
    "UPDATE policy_revisions SET note = NULL, applied_by = CASE WHEN applied_by IS NULL THEN NULL ELSE $2 END \
     WHERE at_ms < $1 AND revision < (SELECT MAX(revision) FROM policy_revisions)",
    "UPDATE policy_revisions SET confirmed_by = $2 || '2' WHERE confirmed_by IS NOT NULL \
     AND at_ms < $1 AND revision < (SELECT MAX(revision) FROM policy_revisions)",
    "UPDATE policy_proposals SET note = NULL, by_person = $2, \
     decided_by = CASE WHEN decided_by IS NULL THEN NULL ELSE $2 || '2' END WHERE state <> 'open' AND decided_ms < $1",
    "UPDATE erasures SET by_person = $2 WHERE by_person IS NOT NULL AND done_ms < $1",
];

#[derive(Serialize)]
struct Named<'a> {
    i: &'a str,
}

/// Who approved each request, in the order they did.
async fn approvers(transition: &mut Transition<'_>, rows: &[Row]) -> Result<BTreeMap<String, Vec<Person>>, StoreError> {
    let ids = rows.iter().map(|row| Ok(Named { i: row.try_get("id")? })).collect::<Result<Vec<_>, StoreError>>()?;
    let found = sql_over_rows!(
        "SELECT a.elevation, a.person FROM",
        "JOIN approvals a ON a.elevation = told.value ->> 'i' ORDER BY a.elevation, a.at_ms, a.person"
    )
    .bind(to_json("ids", &ids)?)
    .fetch_all(transition.connection())
    .await?;
    let mut approvers: BTreeMap<String, Vec<Person>> = BTreeMap::new();
    for row in &found {
        let person = parsed("person", row.try_get("person")?)?;
        approvers.entry(row.try_get("elevation")?).or_default().push(person);
    }
    Ok(approvers)
}

/// What its people are called within one record from now on, in the order they come up.
#[derive(Default)]
struct Cast(Vec<Person>);

impl Cast {
    fn name(&mut self, person: Person) -> Person {
        let known = self.0.iter().position(|known| *known == person);
        let place = known.unwrap_or_else(|| {
            self.0.push(person);
            self.0.len().saturating_sub(1)
        });
        Person::erased_within(place.saturating_add(1))
    }

    fn column(&mut self, row: &Row, column: &str) -> Result<Option<Person>, StoreError> {
        let person = row.try_get::<Option<&str>>(column)?.map(|text| parsed("person", text)).transpose()?;
        Ok(person.map(|person| self.name(person)))
    }
}

/// Rows as the statements write them.
#[derive(Default)]
struct Cleared {
    elevations: Vec<ElevationRow>,
    approvals: Vec<ApprovalRow>,
    grants: Vec<GrantRow>,
}

#[derive(Serialize)]
struct ElevationRow {
    i: String,
    p: Person,
    b: String,
    d: Option<Person>,
}

#[derive(Serialize)]
struct ApprovalRow {
    e: String,
    p: Person,
    n: Person,
}

#[derive(Serialize)]
struct GrantRow {
    i: String,
    p: Person,
    c: String,
    e: Option<Person>,
    r: Option<Person>,
}

impl Cleared {
    fn add(&mut self, row: &Row, id: String, approved: Vec<Person>) -> Result<(), StoreError> {
        let mut cast = Cast::default();
        let p = cast.name(parsed("person", row.try_get("person")?)?);
        for person in approved {
            self.approvals.push(ApprovalRow { e: id.clone(), n: cast.name(person.clone()), p: person });
        }
        if let Some(grant) = row.try_get::<Option<String>>("grant_id")? {
            let claims: GrantClaims = from_json("claims of a grant", row.try_get("claims")?)?;
            let claims = renamed(without_justification(claims), |person| cast.name(person));
            self.grants.push(GrantRow {
                i: grant,
                p: claims.sub.clone(),
                c: to_json("claims", &claims)?,
                e: cast.column(row, "ended_by")?,
                r: cast.column(row, "reviewed_by")?,
            });
        }
        let (b, d) = (body_without_names(row.try_get("body")?)?, cast.column(row, "decided_by")?);
        self.elevations.push(ElevationRow { i: id, p, b, d });
        Ok(())
    }

    async fn write(self, transition: &mut Transition<'_>) -> Result<(), StoreError> {
        let at = transition.at().unix_ms();
        sql_over_rows!(
            "UPDATE approvals SET person = told.value ->> 'n' FROM",
            "WHERE approvals.elevation = told.value ->> 'e' AND approvals.person = told.value ->> 'p'"
        )
        .bind(to_json("approvals", &self.approvals)?)
        .execute(transition.connection())
        .await?;
        sql_over_rows!(
            "UPDATE grants SET person = told.value ->> 'p', claims = told.value ->> 'c', token = '', erased_ms = $2, \
             ended_by = told.value ->> 'e', end_note = NULL, reviewed_by = told.value ->> 'r', \
             findings = CASE WHEN reviewed_ms IS NULL THEN findings ELSE '' END FROM",
            "WHERE grants.id = told.value ->> 'i'"
        )
        .bind(to_json("grants", &self.grants)?)
        .bind(at)
        .execute(transition.connection())
        .await?;
        sql_over_rows!(
            "UPDATE elevations SET person = told.value ->> 'p', body = told.value ->> 'b', ticket = $3, \
             decided_by = told.value ->> 'd', decided_note = NULL, cleared_ms = $2 FROM",
            "WHERE elevations.id = told.value ->> 'i'"
        )
        .bind(to_json("elevations", &self.elevations)?)
        .bind(at)
        .bind(Ticket::erased().as_str())
        .execute(transition.connection())
        .await?;
        Ok(())
    }
}
