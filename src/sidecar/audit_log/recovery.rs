//! Opening the folder: what earlier processes left is repaired, read, and accounted for before anything new is written.
//!
//! A durable intent spends a use of its grant, whatever the upstream answered. One whose outcome says `not_forwarded`
//! does not: nothing reached the upstream, and the caller was refused.
//!
//! INVARIANT: a damaged folder is left as it is, to the byte. The log goes on in a new segment, so that refusals are
//! recorded all the same, and overrides wait for an operator.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::damage::Damage;
use super::head::{Head, HeadFound};
use super::inspect::{Inspection, inspect};
use super::journal::{Journal, Plan, PushError, is_full};
use super::storage::Storage;
use super::{AuditLogConfig, Cause};
use crate::audit::folder::FolderError;
use crate::audit::{Event, LogId, LogIdentity, LogStart, PastIntent, Position, Problem};
use crate::clock::Clock;
use crate::domain::{GrantId, WallTime};

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use {path} for the audit log")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another process writes the audit log in {0}")]
    Locked(PathBuf),
    #[error("cannot read the audit log that is there")]
    Folder(#[from] FolderError),
    #[error("the audit log's first lines cannot be encoded")]
    Encode,
    #[error("no random bytes for a log id")]
    Random,
    #[error("cannot start the audit log's thread")]
    Thread(#[source] io::Error),
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// What earlier processes left.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Intents without an outcome: recorded as unknown in the new log.
    pub orphans: Vec<PastIntent>,
    /// Uses per grant, from durable intents, less those that were not forwarded. Empty under a new lineage.
    pub spent: HashMap<GrantId, u32>,
    /// Bytes of an unfinished last line, cut off.
    pub torn_bytes: u64,
    /// The last line of the log before.
    pub previous: Option<Position>,
    /// Earlier lines that do not verify. They are left as they are.
    pub problem: Option<Problem>,
    /// What is missing or is not what was written; overrides wait until an operator accepts it.
    pub damage: Option<Damage>,
}

/// A log that was begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) journal: Journal,
    pub(super) recovery: Recovery,
    /// The folder's name, where it has one.
    pub(super) lineage: Option<String>,
    /// Why the first lines are not durable yet.
    pub(super) unavailable: Option<Cause>,
}

/// Reads the folder and begins a new log. Its first lines are durable when this returns, unless it names a cause: a
/// full or failing disk must not keep ordinary traffic from being served (P4), so the writer goes on trying.
pub(super) fn begin(
    config: &AuditLogConfig,
    identity: LogIdentity,
    clock: &Clock,
    storage: Box<dyn Storage>,
) -> Result<Begun, OpenError> {
    let found = inspect(&config.directory, clock.wall())?;
    let torn_bytes = if found.damage.is_none() { repair(&config.directory, &found)? } else { 0 };
    let plan = Plan {
        log_id: random_log_id()?,
        previous: found.report.head,
        number: found.next_number,
        head: begun_head(&found),
        has_own_head: found.has_own_head && (found.damage.is_none() || found.is_pinned),
        pin: found.damage.clone().filter(|_| !found.is_pinned),
    };
    let mut journal = Journal::new(storage, identity, plan);
    let recovery = Recovery {
        orphans: found.orphans,
        spent: found.spent,
        torn_bytes,
        previous: found.report.head,
        problem: found.report.first_problem,
        damage: found.damage,
    };
    report(&recovery);
    push_beginning(&mut journal, &recovery, clock.wall()).map_err(|_| OpenError::Encode)?;
    let unavailable = match journal.begin() {
        Ok(()) => None,
        Err(error) if is_full(&error) => Some(Cause::Full),
        Err(_) => Some(Cause::Failed),
    };
    Ok(Begun { journal, recovery, lineage: found.lineage, unavailable })
}

/// A process that died between its first line and its first note left a head that knows nothing of the log.
fn begun_head(found: &Inspection) -> HeadFound {
    match (&found.head, found.segments.first(), found.segments.last(), found.report.head) {
        (HeadFound::At { head: Head { position: None, .. }, count }, Some(first), Some(last), Some(position)) => {
            let head = Head { position: Some(position), first: first.number(), last: last.number() };
            HeadFound::At { head, count: *count }
        }
        (head, ..) => head.clone(),
    }
}

/// Cuts off what was never acknowledged; how many bytes that were.
fn repair(folder: &Path, found: &Inspection) -> Result<u64, OpenError> {
    let mut torn_bytes = 0_u64;
    for torn in &found.report.torn_tails {
        torn_bytes = torn_bytes.saturating_add(cut(&folder.join(&torn.segment), torn.offset_bytes)?);
    }
    if let Some(last) = found.segments.last() {
        make_durable(&folder.join(last.to_string()))?;
    }
    Ok(torn_bytes)
}

/// Cuts off an unfinished last line; how many bytes that were.
fn cut(path: &Path, offset_bytes: u64) -> Result<u64, OpenError> {
    let file = OpenOptions::new().write(true).open(path).map_err(OpenError::io(path))?;
    let len = file.metadata().map_err(OpenError::io(path))?.len();
    file.set_len(offset_bytes).map_err(OpenError::io(path))?;
    file.sync_all().map_err(OpenError::io(path))?;
    Ok(len.saturating_sub(offset_bytes))
}

/// The new log is about to name the last line, which so far may be in memory only.
fn make_durable(path: &Path) -> Result<(), OpenError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(OpenError::io(path))
}

fn random_log_id() -> Result<LogId, OpenError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| OpenError::Random)?;
    Ok(LogId::from_bytes(bytes))
}

fn push_beginning(journal: &mut Journal, recovery: &Recovery, at: WallTime) -> Result<(), PushError> {
    let start = LogStart {
        at,
        previous: recovery.previous,
        torn_bytes: recovery.torn_bytes,
        orphans: u64::try_from(recovery.orphans.len()).unwrap_or(u64::MAX),
        previous_damaged: recovery.damage.is_some(),
    };
    journal.push_beginning(&Event::LogStarted(&start))?;
    for intent in &recovery.orphans {
        journal.push_beginning(&Event::UnknownOutcome { intent, at })?;
    }
    Ok(())
}

fn report(recovery: &Recovery) {
    if recovery.torn_bytes > 0 {
        tracing::warn!(bytes = recovery.torn_bytes, "an unfinished last line was cut off the audit log");
    }
    for orphan in &recovery.orphans {
        tracing::warn!(grant = %orphan.grant, request_id = %orphan.request_id, "an override's outcome is unknown");
    }
    let Some(damage) = &recovery.damage else { return };
    for finding in &damage.findings {
        tracing::error!(%finding, "the audit log is damaged");
    }
    tracing::error!(
        digest = %damage.digest(),
        "overrides are refused until the loss is accepted: breakglass-sidecar audit status, then audit accept-loss"
    );
}
