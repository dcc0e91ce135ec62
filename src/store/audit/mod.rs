//! What sidecars recorded, taken into the ledger: each batch one transaction, each line once.
//!
//! A line is named by its log, its sequence and its hash. One that is here already is taken again without a trace; another
//! one in its place is a fork, which is named, and both are kept. INVARIANT: after what is committed of a log nothing is
//! missing that was not named as lost: a batch that does not follow is refused with the last line that is here.
//!
//! `lines` makes entries of lines, `accounts` adds up what they say of grants, `counters` holds what each log and its sidecar
//! count of the same against that, `closing` closes a grant's account,
//! `anchors` keeps how far the logs had come. Must never: let two replicas number one grant's overrides apart.

mod accounts;
mod anchors;
mod closing;
mod counters;
mod known;
mod lines;
mod lost;

use super::rows::{from_sql, to_sql};
use super::statement::sql;
use super::transition::Transition;
use super::{Store, StoreError};
use crate::audit::{Position, ToldLine};
use crate::domain::{InstanceName, ServiceName};
use crate::wire::audit::{LossCause, Settled, Signed};

pub use anchors::ANCHOR_EVERY;
pub(super) use closing::await_closing;
pub use closing::{CLOSE_WAIT, ClosedAccount};
pub use counters::Difference;
pub use lost::LOST_AFTER;

use known::Known;
use lines::Taking;

/// Lines of one sidecar, in order; none: how far has it come? Whoever makes one has checked that each follows the one
/// before.
#[derive(Debug, Clone)]
pub struct AuditBatch {
    pub service: ServiceName,
    pub instance: InstanceName,
    /// Of the folder.
    pub lineage: String,
    /// The line before the first.
    pub after: Option<Position>,
    /// The sidecar can't ship what stands before.
    pub lost: Option<LossCause>,
    pub settled: Option<Settled>,
    /// How many assertions it has signed.
    pub signed: Option<Signed>,
    pub lines: Vec<BatchLine>,
}

/// A line and what it says.
#[derive(Debug, Clone)]
pub struct BatchLine {
    pub told: ToldLine,
    pub text: String,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingested {
    /// All of it is committed; `new` lines of it were not here before.
    Taken { position: Option<Position>, new: u64, forks: u64, lost: u64 },
    /// The line before the first is not here. The last that is.
    Gap(Option<Position>),
    /// A log of it is another sidecar's.
    Foreign,
}

impl Store {
    /// Takes a batch in, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError`]: it may be here all the same, and is sent again.
    pub async fn ingest_audit(&self, batch: &AuditBatch) -> Result<Ingested, StoreError> {
        let mut transition = self.transition().await?;
        let known = Known::read(&mut transition, batch).await?;
        if known.is_foreign(batch) {
            return Ok(Ingested::Foreign);
        }
        if !batch.lines.is_empty() && batch.lost.is_none() && !known.has(batch.after.as_ref()) {
            return Ok(Ingested::Gap(known.nearest(&mut transition, batch).await?));
        }
        let (new, forks, lost) = Taking::new(&mut transition, batch, known).take().await?;
        if let Some(signed) = &batch.signed {
            counters::note_signed(&mut transition, batch, signed).await?;
        }
        if let Some(settled) = &batch.settled {
            settle(&mut transition, batch, settled).await?;
        }
        let position = match batch.lines.last() {
            Some(line) => Some(line.told.position()),
            None => Known::default().nearest(&mut transition, batch).await?,
        };
        transition.commit().await?;
        Ok(Ingested::Taken { position, new, forks, lost })
    }

    /// How many lines of sidecars are in the ledger.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_lines(&self) -> Result<u64, StoreError> {
        Ok(from_sql(sql("SELECT COUNT(*) FROM audit_lines").integer(&self.shared.database).await?))
    }
}

/// The sidecar has shipped everything that was recorded under grants that had ended by this revision.
async fn settle(transition: &mut Transition<'_>, batch: &AuditBatch, settled: &Settled) -> Result<(), StoreError> {
    let moved = sql("INSERT INTO audit_settled (service, instance, lineage, epoch, revision) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (service, instance, lineage) DO UPDATE SET \
         epoch = excluded.epoch, revision = excluded.revision \
         WHERE audit_settled.epoch <> excluded.epoch OR audit_settled.revision < excluded.revision")
    .bind(batch.service.as_str())
    .bind(batch.instance.as_str())
    .bind(&batch.lineage)
    .bind(&settled.epoch)
    .bind(to_sql(settled.revision))
    .execute(transition.connection())
    .await?;
    if moved > 0 {
        // Accounts that were closed without it are looked at again.
        sql("UPDATE grant_closings SET is_due = 1 WHERE service = $1 AND missing > 0 AND revision <= $2")
            .bind(batch.service.as_str())
            .bind(to_sql(settled.revision))
            .execute(transition.connection())
            .await?;
    }
    Ok(())
}
