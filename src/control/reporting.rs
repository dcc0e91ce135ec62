//! Makes reports: reads the ledger in pages and hands them to [`crate::report`], which counts and tells.
//!
//! INVARIANT: between two pages nothing is held, neither a transaction nor a lock: whoever writes waits for no report. What is
//! held in memory is a page and what the report remembers, whatever the period holds. A report is of entries that a
//! checkpoint has signed, and of none after.

use std::collections::BTreeSet;
use std::ops::Range;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::domain::{GrantId, WallTime};
use crate::ledger::hash::Hash;
use crate::ledger::note::KeyName;
use crate::report::incident::Incident;
use crate::report::period::{self, Period, Placed};
use crate::report::told::Told;
use crate::store::{LedgerError, Store, StoreError, Subject, Written};
use crate::wire::reports::{GrantReport, PeriodReport, SignedTree, TreeAt};

/// Reports that are made at once; more are turned away.
const AT_ONCE_MAX: usize = 4;
/// Entries of one page.
const PAGE_ENTRIES: u32 = 1_000;
/// Entries of a grant's lifecycle that its report tells; what sidecars recorded is not among them.
const LIFECYCLE_MAX: u32 = 2_000;
/// Entries between the ends of a period that is reported on: about as many as are read while a caller waits.
pub const PERIOD_ENTRIES_MAX: u64 = 2_000_000;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("an entry can't be read")]
    Entry(#[from] serde_json::Error),
    #[error("no checkpoint has been signed yet")]
    Unsigned,
    #[error("the ledger has no entry of its being granted")]
    Unknown,
    #[error("there are {entries} entries between the ends of the period, and may be {PERIOD_ENTRIES_MAX}")]
    TooMany { entries: u64 },
    #[error("{AT_ONCE_MAX} reports are being made")]
    Busy,
}

/// Whose turn it is.
#[derive(Debug)]
pub struct Reporting(Semaphore);

impl Default for Reporting {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE_MAX))
    }
}

impl Reporting {
    /// # Errors
    /// [`ReportError::Busy`].
    pub fn turn(&self) -> Result<SemaphorePermit<'_>, ReportError> {
        self.0.try_acquire().map_err(|_| ReportError::Busy)
    }
}

/// The ledger as far as it is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    pub store: &'a Store,
    pub origin: &'a KeyName,
    pub now: WallTime,
}

impl Signed<'_> {
    async fn tree(&self) -> Result<SignedTree, ReportError> {
        let newest = self.store.newest_checkpoint(self.origin).await?.ok_or(ReportError::Unsigned)?;
        Ok(SignedTree {
            origin: self.origin.to_string(),
            size: newest.size,
            root: newest.root.to_string(),
            checkpoint: newest.note,
        })
    }

    /// The story of one grant.
    ///
    /// # Errors
    /// [`ReportError`].
    pub async fn grant(&self, id: &GrantId) -> Result<GrantReport, ReportError> {
        let tree = self.tree().await?;
        let all = 0..tree.size;
        let mut incident = Incident::new(id.clone());
        self.lifecycle(&mut incident, Subject::Grant(id.as_str()), all.clone()).await?;
        if let Some(elevation) = incident.elevation().map(str::to_owned) {
            self.lifecycle(&mut incident, Subject::Elevation(&elevation), all.clone()).await?;
        }
        if let Some(revocation) = incident.revocation().map(str::to_owned) {
            self.lifecycle(&mut incident, Subject::Revocation(&revocation), all.clone()).await?;
        }
        self.each(Subject::Lines(id.as_str()), all, |told| incident.take(told)).await?;
        incident.finish(tree, self.now).ok_or(ReportError::Unknown)
    }

    async fn lifecycle(
        &self,
        incident: &mut Incident,
        subject: Subject<'_>,
        indices: Range<u64>,
    ) -> Result<(), ReportError> {
        let (entries, _) = self.store.entries_about(subject, indices, LIFECYCLE_MAX).await?;
        for told in read(&entries)? {
            incident.take(&told);
        }
        Ok(())
    }

    /// All entries about a subject, page by page.
    async fn each(
        &self,
        subject: Subject<'_>,
        mut rest: Range<u64>,
        mut take: impl FnMut(&Told<'_>),
    ) -> Result<(), ReportError> {
        while !rest.is_empty() {
            let (entries, next) = self.store.entries_about(subject, rest.clone(), PAGE_ENTRIES).await?;
            read(&entries)?.iter().for_each(&mut take);
            rest.start = if entries.is_empty() { rest.end } else { next };
        }
        Ok(())
    }

    /// A period in numbers.
    ///
    /// # Errors
    /// [`ReportError`].
    pub async fn period(&self, since: WallTime, before: WallTime) -> Result<PeriodReport, ReportError> {
        let tree = self.tree().await?;
        let indices = match self.store.entries_within(since, before, tree.size).await? {
            Some((first, last)) => first..last.saturating_add(1),
            None => {
                let until = self.store.entries_until(since, tree.size).await?;
                until..until
            }
        };
        let entries = indices.end.saturating_sub(indices.start);
        if entries > PERIOD_ENTRIES_MAX {
            return Err(ReportError::TooMany { entries });
        }
        let mut period = Period::default();
        let mut from = indices.start;
        while from < indices.end {
            let to = from.saturating_add(u64::from(PAGE_ENTRIES)).min(indices.end);
            let entries = self.store.counted_entries(from..to, since, before).await?;
            self.page(&mut period, &read(&entries)?, from).await?;
            from = to;
        }
        let begin = self.tree_at(indices.start, &tree).await?;
        let end = self.tree_at(indices.end, &tree).await?;
        Ok(period.finish(Placed { since, before, made: self.now, begin, end, tree }))
    }

    /// What a page needs of entries before it comes first.
    async fn page(&self, period: &mut Period, page: &[Told<'_>], from: u64) -> Result<(), ReportError> {
        let unknown = period.unknown(page);
        self.recall(period, &unknown, from).await?;
        page.iter().for_each(|told| period.take(told));
        Ok(())
    }

    /// Requests first: a grant's team stands in its request.
    async fn recall(
        &self,
        period: &mut Period,
        unknown: &BTreeSet<period::Subject>,
        before: u64,
    ) -> Result<(), ReportError> {
        for subject in unknown {
            match subject {
                period::Subject::Elevation(id) => {
                    self.each(Subject::Elevation(id), 0..before, |told| period.recall(told)).await?
                }
                period::Subject::Grant(id) => {
                    let (issued, _) = self.store.entries_about(Subject::Grant(id), 0..before, 1).await?;
                    let elevation = read(&issued)?.first().and_then(|told| told.facts.elevation.clone());
                    if let Some(elevation) = elevation {
                        self.each(Subject::Elevation(&elevation), 0..before, |told| period.recall(told)).await?;
                    }
                    self.each(Subject::Grant(id), 0..before, |told| period.recall(told)).await?;
                    self.each(Subject::Lines(id), 0..before, |told| period.recall(told)).await?;
                }
            }
        }
        Ok(())
    }

    /// The tree over the first `size` entries, and that the signed one begins with it.
    async fn tree_at(&self, size: u64, signed: &SignedTree) -> Result<TreeAt, ReportError> {
        let root = self.store.ledger_root_at(size).await?.ok_or(ReportError::Unsigned)?;
        let consistency = match size {
            0 => Vec::new(),
            size if size == signed.size => Vec::new(),
            size => self.store.prove_growth(size, signed.size).await?,
        };
        let consistency = consistency.iter().map(Hash::to_string).collect();
        Ok(TreeAt { size, root: root.to_string(), consistency })
    }
}

fn read(entries: &[Written]) -> Result<Vec<Told<'_>>, ReportError> {
    let told = entries.iter().map(|entry| Told::read(&entry.canonical, &entry.values));
    Ok(told.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}
