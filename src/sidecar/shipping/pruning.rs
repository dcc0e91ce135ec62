//! Takes segments away that were shipped and are kept long enough, the oldest first.
//!
//! INVARIANT: what is not shipped stays, whatever the limits say; so does what a start still needs (uses of grants that may
//! live, and a day longer), and everything of a folder with damage on record. `pruned` is durable before a segment goes.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::audit::folder::{FolderError, list_segments, open_segment};
use crate::audit::line::LineBody;
use crate::audit::pruned::{self, Pruned};
use crate::audit::segment::{LineReader, RawLine};
use crate::audit::{LINE_BYTES_MAX, LineHash, ParsedLine, Position, SegmentName, ToldLine};
use crate::domain::WallTime;
use crate::error_chain::error_chain;
use crate::sidecar::audit_log::{HeadFound, SPENT_KEPT_FOR, is_on_record};
use crate::sidecar::shared::Shared;

/// How often it is looked whether segments may go.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep {
    /// Shipped segments that were last written longer ago may go.
    pub(super) shipped_for: Option<Duration>,
    /// Past so many bytes shipped segments go earlier.
    pub(super) bytes_max: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pruner {
    folder: PathBuf,
    keep: Keep,
    /// A segment that was read in vain, and when it is worth reading again.
    not_before: Option<(u64, WallTime)>,
}

/// What a segment is, read from its beginning to its end.
struct Read {
    last: Option<Position>,
    /// When nothing that a start needs is in it any more.
    needed_until: WallTime,
}

impl Pruner {
    pub(super) fn new(folder: &Path, keep: Keep) -> Self {
        Self { folder: folder.to_owned(), keep, not_before: None }
    }

    /// Removes what may go; how many segments that were. Everything before the segment `shipped_before` is shipped.
    pub(super) fn prune(&mut self, shipped_before: u64, now: WallTime) -> Result<usize, FolderError> {
        if (self.keep.shipped_for, self.keep.bytes_max) == (None, None) || is_on_record(&self.folder) {
            return Ok(0);
        }
        let Some(head) = HeadFound::read(&self.folder).head().copied() else { return Ok(0) };
        let folder = self.folder.clone();
        let at = |source| FolderError::Io { path: folder.join(pruned::FILE), source };
        let known = Pruned::read(&self.folder).map_err(at)?;
        // What was left of an earlier time: nothing before it is part of the log.
        let first = known.map_or(head.first, |known| known.first.max(head.first));
        let all = list_segments(&self.folder)?;
        let leftover = all.iter().filter(|name| (head.first..first).contains(&name.number()));
        for name in leftover {
            std::fs::remove_file(self.folder.join(name.to_string())).map_err(at)?;
        }
        let segments: Vec<_> = all.into_iter().filter(|name| name.number() >= first).collect();
        let Some(cut) = self.cut(&segments, shipped_before, now)? else { return Ok(0) };
        let gone: Vec<_> = segments.iter().filter(|name| name.number() < cut.first).collect();
        self.record(cut).map_err(at)?;
        for name in &gone {
            std::fs::remove_file(self.folder.join(name.to_string())).map_err(at)?;
        }
        Ok(gone.len())
    }

    /// Where the log is to begin: after the last of the oldest segments that may go.
    fn cut(
        &mut self,
        segments: &[SegmentName],
        shipped_before: u64,
        now: WallTime,
    ) -> Result<Option<Pruned>, FolderError> {
        let mut total: u64 = segments.iter().map(|name| self.len(name)).sum();
        let mut cut = None;
        for (name, next) in segments.iter().zip(segments.iter().skip(1)) {
            let is_large = self.keep.bytes_max.is_some_and(|most| total > most);
            if name.number() >= shipped_before || !(is_large || self.is_old(name, now)) {
                break;
            }
            if self.not_before.is_some_and(|(number, until)| number == name.number() && now < until) {
                break;
            }
            let read = self.read(name)?;
            if read.needed_until > now {
                self.not_before = Some((name.number(), read.needed_until));
                break;
            }
            total = total.saturating_sub(self.len(name));
            // A resumed segment repeats lines of the one before: they go together.
            if let Some(after) = read.last.filter(|after| !next.is_resumed() && self.follows(next, after)) {
                cut = Some(Pruned { first: next.number(), after });
            }
        }
        Ok(cut)
    }

    fn len(&self, name: &SegmentName) -> u64 {
        std::fs::metadata(self.folder.join(name.to_string())).map_or(0, |metadata| metadata.len())
    }

    fn is_old(&self, name: &SegmentName, now: WallTime) -> bool {
        let Some(kept) = self.keep.shipped_for else { return false };
        let modified = std::fs::metadata(self.folder.join(name.to_string())).and_then(|metadata| metadata.modified());
        let since_epoch = modified.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let modified = since_epoch.and_then(|since| i64::try_from(since.as_millis()).ok());
        modified.is_some_and(|ms| WallTime::from_unix_ms(ms).plus(kept) <= now)
    }

    /// Whether the next segment goes on where the last line ends: damage is not cut off.
    fn follows(&self, next: &SegmentName, after: &Position) -> bool {
        let Ok(mut lines) = open(&self.folder.join(next.to_string())) else { return false };
        let Ok(Some(RawLine::Whole(bytes))) = lines.next_line() else { return false };
        ToldLine::parse(bytes).is_ok_and(|told| told.follows(Some(after)))
    }

    fn read(&self, name: &SegmentName) -> Result<Read, FolderError> {
        let path = self.folder.join(name.to_string());
        let io = |source| FolderError::Io { path: path.clone(), source };
        let mut lines = open(&path).map_err(io)?;
        let mut read = Read { last: None, needed_until: WallTime::EPOCH };
        while let Some(raw) = lines.next_line().map_err(io)? {
            let RawLine::Whole(bytes) = raw else { break };
            let Ok(line) = ParsedLine::parse(bytes) else { continue };
            let link = line.link;
            read.last = Some(Position { log_id: link.log_id, sequence: link.seq, head: LineHash::of(bytes) });
            if let LineBody::Intent(intent) = line.body {
                read.needed_until = read.needed_until.max(intent.expires.plus(SPENT_KEPT_FOR));
            }
        }
        Ok(read)
    }

    /// Whole or not at all, and durable when it returns.
    fn record(&self, cut: Pruned) -> io::Result<()> {
        let new = self.folder.join(format!("{}.new", pruned::FILE));
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&cut.file()?)?;
        file.sync_all()?;
        std::fs::rename(new, self.folder.join(pruned::FILE))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// Has segments taken away from time to time, on a thread that may block.
#[derive(Debug)]
pub(super) struct Caretaker {
    folder: PathBuf,
    keep: Keep,
    /// Away while a thread works with it.
    pruner: Option<Pruner>,
    looked: Option<Instant>,
}

impl Caretaker {
    pub(super) fn new(folder: &Path, keep: Keep) -> Self {
        Self { folder: folder.to_owned(), keep, pruner: None, looked: None }
    }

    /// Where it is time: everything before the segment `shipped_before` is shipped.
    pub(super) async fn look(&mut self, shared: &Shared, shipped_before: u64) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let mut pruner = self.pruner.take().unwrap_or_else(|| Pruner::new(&self.folder, self.keep));
        let now = shared.clock.wall();
        let done = tokio::task::spawn_blocking(move || {
            let result = pruner.prune(shipped_before, now);
            (pruner, result)
        });
        let (pruner, result) = match done.await {
            Ok(done) => done,
            // Its thread broke off; the next look begins with another.
            Err(error) => return tracing::warn!(error = %error_chain(&error), "audit segments could not be removed"),
        };
        self.pruner = Some(pruner);
        match result {
            Ok(0) => {}
            Ok(segments) => {
                shared.shipped.count_pruned(segments);
                tracing::info!(segments, "audit segments that were shipped and kept long enough were removed");
            }
            Err(error) => tracing::warn!(error = %error_chain(&error), "audit segments could not be removed"),
        }
    }
}

fn open(path: &Path) -> io::Result<LineReader<BufReader<File>>> {
    Ok(LineReader::new(open_segment(path, 0)?, LINE_BYTES_MAX))
}

#[cfg(test)]
#[path = "pruning_tests.rs"]
mod tests;
