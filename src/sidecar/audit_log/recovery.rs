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
use crate::audit::verify::{Expectation, Observer};
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
    let expectation = Expectation { position: None, beginning: crate::audit::Beginning::Pruned };
    let (report, mut orphans, uses) = read_segments(folder, segments, expectation, uses)?;
    orphans.sort_by_key(|intent| (intent.at, intent.log_id, intent.seq));
    let mut torn_bytes = 0_u64;
    for torn in &report.torn_tails {
        torn_bytes = torn_bytes.saturating_add(cut(&folder.join(&torn.segment), torn.offset_bytes)?);
    }
    if let Some(last) = segments.last() {
        make_durable(&folder.join(last.to_string()))?;
    }
    let spent = uses.spent.into_iter().filter(|(_, count)| *count > 0).collect();
    Ok(Recovery { orphans, spent, torn_bytes, previous: report.head, problem: report.first_problem })
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
        previous_damaged: recovery.problem.is_some(),
    };
    journal.push_beginning(&Event::LogStarted(&start))?;
    for intent in &recovery.orphans {
        journal.push_beginning(&Event::UnknownOutcome { intent, at })?;
    }
    Ok(())
}
