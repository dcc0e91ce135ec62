//! Opening the folder: what earlier processes left is repaired, read, and accounted for before anything new is written.
//!
//! A durable intent spends a use of its grant, whatever the upstream answered. One whose outcome says `not_forwarded`
//! does not: nothing reached the upstream, and the caller was refused.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::journal::{Journal, PushError, is_full};
use super::storage::Storage;
use super::{AuditLogConfig, Cause};
use crate::audit::folder::{FolderError, list_segments, read_segments};
use crate::audit::verify::{Expectation, Observer, TornTail};
use crate::audit::{Event, LogId, LogIdentity, LogStart, PastIntent, Position, Problem, SegmentName};
use crate::clock::Clock;
use crate::domain::{GrantId, WallTime};

/// Uses of grants that ended longer ago than this are not told: no clock is off by as much.
const SPENT_KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// Uses per grant, from durable intents, less those that were not forwarded.
    pub spent: HashMap<GrantId, u32>,
    /// Bytes of an unfinished last line, cut off.
    pub torn_bytes: u64,
    /// The last line of the log before.
    pub previous: Option<Position>,
    /// Earlier lines that do not verify. They are left as they are.
    pub problem: Option<Problem>,
}

/// Counts uses of grants that may still live.
struct Uses {
    ended_before: WallTime,
    spent: HashMap<GrantId, u32>,
}

impl Observer for Uses {
    fn intent(&mut self, intent: &PastIntent) {
        if intent.expires > self.ended_before {
            let uses = self.spent.entry(intent.grant.clone()).or_insert(0);
            *uses = uses.saturating_add(1);
        }
    }

    fn not_forwarded(&mut self, intent: &PastIntent) {
        if let Some(uses) = self.spent.get_mut(&intent.grant) {
            *uses = uses.saturating_sub(1);
        }
    }
}

/// Reads the folder and begins a new log. Its first lines are durable when this returns, unless it names a cause: a
/// full or failing disk must not keep ordinary traffic from being served (P4), so the writer goes on trying.
pub(super) fn begin(
    config: &AuditLogConfig,
    identity: LogIdentity,
    clock: &Clock,
    storage: Box<dyn Storage>,
) -> Result<(Journal, Recovery, Option<Cause>), OpenError> {
    let segments = list_segments(&config.directory)?;
    let recovery = recover(&config.directory, &segments, clock.wall())?;
    let number = segments.last().map_or(1, |name| name.number().saturating_add(1));
    let log_id = random_log_id()?;
    let mut journal = Journal::new(storage, identity, log_id, recovery.previous.as_ref(), number);
    push_beginning(&mut journal, &recovery, clock.wall()).map_err(|_| OpenError::Encode)?;
    let unavailable = match journal.begin() {
        Ok(()) => None,
        Err(error) if is_full(&error) => Some(Cause::Full),
        Err(_) => Some(Cause::Failed),
    };
    Ok((journal, recovery, unavailable))
}

fn recover(folder: &Path, segments: &[SegmentName], now: WallTime) -> Result<Recovery, OpenError> {
    let uses = Uses { ended_before: now.minus(SPENT_KEPT_FOR), spent: HashMap::new() };
    let expectation = Expectation { position: None, pruned: true };
    let (report, mut orphans, uses) = read_segments(folder, segments, expectation, uses)?;
    orphans.sort_by_key(|intent| (intent.at, intent.log_id, intent.seq));
    let torn_bytes = match (&report.torn_tail, segments.last()) {
        (torn, Some(last)) => settle(&folder.join(last.to_string()), torn.as_ref())?,
        (_, None) => 0,
    };
    let spent = uses.spent.into_iter().filter(|(_, count)| *count > 0).collect();
    Ok(Recovery { orphans, spent, torn_bytes, previous: report.head, problem: report.first_problem })
}

/// Cuts off an unfinished last line, and makes durable what the new log is about to name.
fn settle(path: &Path, torn: Option<&TornTail>) -> Result<u64, OpenError> {
    let file = OpenOptions::new().write(true).open(path).map_err(OpenError::io(path))?;
    let cut = torn.map_or(Ok(0), |torn| cut_at(&file, torn.offset_bytes)).map_err(OpenError::io(path))?;
    file.sync_all().map_err(OpenError::io(path))?;
    Ok(cut)
}

fn cut_at(file: &File, offset_bytes: u64) -> io::Result<u64> {
    let len = file.metadata()?.len();
    file.set_len(offset_bytes)?;
    Ok(len.saturating_sub(offset_bytes))
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
        previous_damaged: recovery.problem.is_some(),
    };
    journal.push_beginning(&Event::LogStarted(&start))?;
    for intent in &recovery.orphans {
        journal.push_beginning(&Event::UnknownOutcome { intent, at })?;
    }
    Ok(())
}
