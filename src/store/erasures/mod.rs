//! Erasing what is personal, without touching the log: of a person, or by age.
//!
//! An erasure is ordered in one transaction, which also takes a person out of the tables, and the first values beside
//! entries. Where there are more it goes on in further ones, each complete in itself and each with its entry: so nobody
//! waits long for the writer's turn. A process that dies in between leaves an open erasure, which any other carries on.
//!
//! `obstacles` says what stands in the way, `person` and `age` clear the tables, `values` what lies beside entries, and
//! `naming` finds a name in a text. INVARIANT: an erasure is done only in the transaction that found nothing more to
//! erase, and that transaction forgets whose it was.

mod again;
mod age;
mod lapsed;
mod naming;
mod obstacles;
mod person;
mod records;
mod values;

use super::random::random;
use super::rows::{to_sql, to_u64};
use super::statement::sql;
use super::transition::Transition;
use super::{Kept, OnceKey, Store, StoreError, once};
use crate::domain::{Erasable, ErasureId, ErasureReason, Person, Verdict};
use crate::ledger::entry::Draft;
use crate::ledger::{Erased, ErasedOf};
use age::Aged;
use values::{Found, Whose};

pub use again::EarlierErasure;
pub use obstacles::Obstacle;
pub use records::ErasureRecord;
use records::Open;

/// An erasure that is to be ordered.
#[derive(Debug, Clone)]
pub struct NewErasure {
    pub what: Erasable,
    pub reason: ErasureReason,
    /// Verdicts whose grants are not erased by age.
    pub held: Vec<Verdict>,
    /// Absent: the configuration asks for it.
    pub by: Option<Person>,
    pub once: Option<OnceKey>,
}

/// What an order came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErasureOutcome {
    Ordered(ErasureId, ErasureProgress),
    /// One by age is being carried out already.
    Stands(ErasureId),
    /// The same key came before, with this or another call.
    Kept(Kept),
    /// Nothing was erased, because of these.
    Obstructed(Vec<Obstacle>),
    /// Nothing here names such a person.
    Unknown,
}

/// What one transaction of an erasure did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasureProgress {
    pub values: u64,
    pub records: u64,
    /// There may be more to erase.
    pub open: bool,
}

/// What would be erased now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasurePreview {
    pub values: u64,
    /// Requests and grants; by age, requests with their grants.
    pub records: u64,
    pub obstacles: Vec<Obstacle>,
}

impl Store {
    /// Orders an erasure, and carries out its beginning; what is left is [carried on](Store::carry_on_erasure).
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was ordered and nothing erased.
    pub async fn erase(&self, new: &NewErasure) -> Result<ErasureOutcome, StoreError> {
        // Looked up before the writer's turn: a name that nobody has is looked for in every line.
        if let Some(person) = new.what.person()
            && !self.is_known_or_kept(new, person).await?
        {
            return Ok(ErasureOutcome::Unknown);
        }
        let mut transition = self.transition().await?;
        if let Some(by) = &new.by
            && let Some(kept) = once::kept(&mut transition, by, new.once.as_ref()).await?
        {
            return Ok(ErasureOutcome::Kept(kept));
        }
        let at = transition.at();
        let outcome = match &new.what {
            Erasable::Person { person } => {
                let mut obstacles = obstacles::of(transition.connection(), person, at).await?;
                // What was over when the person was erased is over, whatever a backup says of it.
                obstacles.retain(|obstacle| new.reason != ErasureReason::Restored || !obstacle.is_past());
                if !obstacles.is_empty() {
                    return Ok(ErasureOutcome::Obstructed(obstacles));
                }
                begin_person(&mut transition, new, person).await?
            }
            Erasable::Age { before } => {
                if let Some(stands) = records::open_by_age(transition.connection()).await? {
                    return Ok(ErasureOutcome::Stands(stands));
                }
                let aged = Aged { before: *before, held: age::held(&new.held) };
                begin_age(&mut transition, new, &aged).await?
            }
        };
        if let (ErasureOutcome::Ordered(id, _), Some(by)) = (&outcome, &new.by) {
            once::keep(&mut transition, by, new.once.as_ref(), id.as_str()).await?;
        }
        transition.commit().await?;
        self.note_erased();
        Ok(outcome)
    }

    /// Erases what comes next of an erasure.
    ///
    /// # Errors
    /// [`StoreError`]; then this step erased nothing.
    pub async fn carry_on_erasure(&self, id: &ErasureId) -> Result<ErasureProgress, StoreError> {
        let mut reading = self.shared.database.read().await?;
        let Some(open) = records::open(&mut reading, id).await? else { return Ok(ErasureProgress::default()) };
        if let Some(aged) = &open.aged
            && !aged.find(&mut reading, 1).await?.is_empty()
        {
            drop(reading);
            return self.clear(&open, aged).await;
        }
        let found = open.whose(&mut reading).await?.find(&mut reading, open.next, open.up_to).await?;
        drop(reading);
        let mut transition = self.transition().await?;
        let progress = step(&mut transition, &open, found).await?;
        transition.commit().await?;
        self.note_erased();
        Ok(progress)
    }

    /// Whether there is anything of the person; or was, until the same call erased it.
    async fn is_known_or_kept(&self, new: &NewErasure, person: &Person) -> Result<bool, StoreError> {
        if let (Some(by), Some(once)) = (&new.by, &new.once)
            && self.kept(by, once).await?.is_some()
        {
            return Ok(true);
        }
        person::is_known(&mut self.shared.database.read().await?, person).await
    }

    /// One transaction's worth of requests that are old enough.
    async fn clear(&self, open: &Open, aged: &Aged) -> Result<ErasureProgress, StoreError> {
        let mut transition = self.transition().await?;
        if records::open(transition.connection(), &open.id).await?.is_none() {
            return Ok(ErasureProgress::default());
        }
        let records = aged.clear(&mut transition).await?;
        records::count(&mut transition, &open.id, 0, records).await?;
        transition.entry(open.entry(0, records, false), None).await?;
        transition.commit().await?;
        self.note_erased();
        Ok(ErasureProgress { values: 0, records, open: true })
    }

    /// What an erasure would erase at this moment, and what stands in its way. Nothing is erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn would_erase(&self, what: &Erasable, verdicts: &[Verdict]) -> Result<ErasurePreview, StoreError> {
        let now = self.shared.clock.wall();
        let mut reading = self.shared.database.read().await?;
        let mut preview = ErasurePreview::default();
        let whose = match what {
            Erasable::Person { person } => {
                preview.obstacles = obstacles::of(&mut reading, person, now).await?;
                let own = person::own(&mut reading, person).await?;
                preview.records = to_u64(own.len());
                Whose::Person { person: person.clone(), own }
            }
            Erasable::Age { before } => {
                let aged = Aged { before: *before, held: age::held(verdicts) };
                preview.records = to_u64(aged.find(&mut reading, i64::MAX).await?.len());
                Whose::Aged(aged)
            }
        };
        let up_to = records::up_to(&mut reading, what.before()).await?;
        let mut found = Found::default();
        while found.to < up_to {
            found = whose.find(&mut reading, found.to, up_to).await?;
            preview.values = preview.values.saturating_add(to_u64(found.hits.len()));
        }
        Ok(preview)
    }

    /// Whether an erasure by age would find anything, without counting it all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_aged(&self, before: crate::domain::WallTime, verdicts: &[Verdict]) -> Result<bool, StoreError> {
        let mut reading = self.shared.database.read().await?;
        let aged = Aged { before, held: age::held(verdicts) };
        if !aged.find(&mut reading, 1).await?.is_empty() {
            return Ok(true);
        }
        let (whose, up_to) = (Whose::Aged(aged), records::up_to(&mut reading, Some(before)).await?);
        let mut found = Found { to: records::first_with_values(&mut reading).await?, ..Found::default() };
        while found.to < up_to && found.hits.is_empty() {
            found = whose.find(&mut reading, found.to, up_to).await?;
        }
        Ok(!found.hits.is_empty())
    }
}

async fn begin_person(
    transition: &mut Transition<'_>,
    new: &NewErasure,
    person: &Person,
) -> Result<ErasureOutcome, StoreError> {
    let own = person::own(transition.connection(), person).await?;
    let named_at = records::named_at(transition.connection(), person).await?;
    let called = Person::erased(u64::from_be_bytes(random()?));
    let up_to = records::up_to(transition.connection(), None).await?;
    let records = person::erase(transition, person, &called).await?;
    let whose = Whose::Person { person: person.clone(), own };
    let open = Open {
        id: ErasureId::from_random(u64::from_be_bytes(random()?)),
        reason: new.reason,
        person: Some(person.clone()),
        called: Some(called),
        named_at,
        aged: None,
        by: new.by.clone(),
        next: 0,
        up_to,
    };
    records::insert(transition, &open, new.what.kind(), records).await?;
    let found = whose.find(transition.connection(), 0, up_to).await?;
    let progress = step_with(transition, &open, found, records).await?;
    Ok(ErasureOutcome::Ordered(open.id, progress))
}

/// What there is to erase is found by the steps.
async fn begin_age(
    transition: &mut Transition<'_>,
    new: &NewErasure,
    aged: &Aged,
) -> Result<ErasureOutcome, StoreError> {
    let open = Open {
        id: ErasureId::from_random(u64::from_be_bytes(random()?)),
        reason: new.reason,
        person: None,
        called: None,
        named_at: None,
        aged: Some(aged.clone()),
        by: new.by.clone(),
        next: records::first_with_values(transition.connection()).await?,
        up_to: records::up_to(transition.connection(), Some(aged.before)).await?,
    };
    records::insert(transition, &open, new.what.kind(), 0).await?;
    let records = aged.clear(transition).await?;
    records::count(transition, &open.id, 0, records).await?;
    transition.entry(open.entry(0, records, false), None).await?;
    Ok(ErasureOutcome::Ordered(open.id, ErasureProgress { values: 0, records, open: true }))
}

async fn step(transition: &mut Transition<'_>, open: &Open, found: Found) -> Result<ErasureProgress, StoreError> {
    step_with(transition, open, found, 0).await
}

/// Erases what was found, and closes the erasure where that was all. Where another has done it meanwhile, nothing.
async fn step_with(
    transition: &mut Transition<'_>,
    open: &Open,
    found: Found,
    records: u64,
) -> Result<ErasureProgress, StoreError> {
    let moved = sql("UPDATE erasures SET next_index = $1 WHERE id = $2 AND next_index = $3 AND done_ms IS NULL")
        .bind(to_sql(found.to))
        .bind(open.id.as_str())
        .bind(to_sql(open.next))
        .execute(transition.connection())
        .await?;
    if moved == 0 {
        return Ok(ErasureProgress { open: true, ..ErasureProgress::default() });
    }
    let values = values::erase(transition, &found.hits).await?;
    records::count(transition, &open.id, values, 0).await?;
    let complete = found.to >= open.up_to;
    if complete {
        if let Some(aged) = &open.aged {
            aged.clear_others(transition).await?;
        }
        records::close(transition, &open.id).await?;
    }
    if complete || values > 0 || records > 0 {
        transition.entry(open.entry(values, records, complete), None).await?;
    }
    Ok(ErasureProgress { values, records, open: !complete })
}

impl Open {
    fn entry(&self, values: u64, records: u64, complete: bool) -> Draft {
        let of = match (&self.called, &self.aged) {
            (Some(called), _) => {
                let named_at = self.named_at.as_ref().map(|(entry, field)| (*entry, field.as_str()));
                ErasedOf::Person { called, named_at }
            }
            (None, aged) => {
                ErasedOf::Age { before: aged.as_ref().map_or(crate::domain::WallTime::EPOCH, |aged| aged.before) }
            }
        };
        let (erasure, reason, by) = (&self.id, self.reason, self.by.as_ref());
        Draft::personal_erased(Erased { erasure, of, reason, values, records, complete, by })
    }
}
