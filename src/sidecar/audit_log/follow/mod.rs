//! Following the log: whoever hands its lines on (to the control plane, to a sink) reads what is durable from the local
//! segments, in order, at its own pace, and keeps its own place over restarts.
//!
//! A reader never touches a request: it is woken by the log's position and reads files. It hands out lines byte for byte as
//! they stand, each at least once; after a process that died, from the last place that was settled. INVARIANT: a line is
//! handed out only once it is durable, so nobody elsewhere can know a line that a power loss takes away. INVARIANT: a place
//! is settled only by its reader's word that every line up to it was taken.

mod bookmark;
mod place;
mod reader;
mod readers;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

pub use bookmark::Bookmark;
pub(in crate::sidecar) use place::Place as LinePlace;
pub(in crate::sidecar) use reader::Reader;
pub(in crate::sidecar) use readers::earlier_lines;
pub use readers::{Behind, Readers};

use bookmark::BookmarkFile;
use readers::Place;

use crate::audit::Position;
use crate::domain::WallTime;

/// The name of one reader: lower-case letters, digits and hyphens, at most 32.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderName(String);

/// The text is no [`ReaderName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 32 lower-case letters, digits and hyphens, the first a letter")]
pub struct NotAReaderName;

impl ReaderName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReaderName {
    type Err = NotAReaderName;

    fn from_str(text: &str) -> Result<Self, NotAReaderName> {
        let is_sound = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        let fits = begins && text.len() <= 32 && text.bytes().all(is_sound);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAReaderName) }
    }
}

impl fmt::Display for ReaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One durable line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As it stands in the segment, without its newline.
    pub text: Bytes,
    pub position: Position,
    pub at: WallTime,
    /// It names the line that was handed out before it as the one it follows. Else what lay between is lost or altered.
    pub follows: bool,
}

/// Lines in order, and the place after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub lines: Vec<Line>,
    /// What stands between them and is no line of the log: damage. It stays in the folder.
    pub unreadable: u64,
    end: Bookmark,
}

impl Batch {
    /// Where the reader stands once all of it is taken.
    pub const fn end(&self) -> &Bookmark {
        &self.end
    }
}

/// How much is handed out at once; one line always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    pub lines_max: usize,
    pub bytes_max: usize,
    /// A line that does not follow begins a batch of its own.
    pub is_one_run: bool,
}

impl BatchLimits {
    /// Whether the line has no place behind lines of so many bytes.
    const fn end_before(&self, line: &Line, bytes: usize) -> bool {
        bytes.saturating_add(line.text.len()) >= self.bytes_max || (self.is_one_run && !line.follows)
    }
}

/// Why nothing is handed out.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Such as a sidecar that hands over to this one and still tells the same reader.
    #[error("another process is this reader of the audit log")]
    Busy,
    #[error("cannot read {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the audit log has ended, and every line of it was handed out")]
    Ended,
}

impl FollowError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// One reader of the log.
#[derive(Debug)]
pub struct Follower {
    folder: PathBuf,
    durable: watch::Receiver<Position>,
    place: Arc<Place>,
    has_counted: bool,
    /// Both are away while a thread works with them; a reader whose call was given up begins anew where it had settled.
    reader: Option<Reader>,
    file: Option<BookmarkFile>,
    name: ReaderName,
}

impl Follower {
    /// The reader called `name`, from where it had settled; a new one from the log's beginning. `readers` keeps the segments
    /// that it still needs.
    ///
    /// # Errors
    /// [`FollowError::Busy`] while another process is this reader; when the folder can't be used.
    pub async fn open(
        folder: &Path,
        name: ReaderName,
        durable: watch::Receiver<Position>,
        readers: &Readers,
    ) -> Result<Self, FollowError> {
        let file = open_file(folder, &name).await?;
        let place = readers.place(&name);
        place.settle(file.found(), 0);
        let reader = Some(Reader::new(folder.to_owned(), file.found().clone()));
        Ok(Self { folder: folder.to_owned(), durable, place, has_counted: false, reader, file: Some(file), name })
    }

    pub const fn name(&self) -> &ReaderName {
        &self.name
    }

    /// What is durable and was not handed out yet; waits for it. A call that is given up loses nothing: the next one begins
    /// again after what was settled.
    ///
    /// # Errors
    /// [`FollowError::Io`]: try again later. [`FollowError::Ended`]: the log is closed, and this was all.
    pub async fn next(&mut self, limits: BatchLimits) -> Result<Batch, FollowError> {
        loop {
            // Looked at before the reading, so that what becomes durable meanwhile is not waited for in vain.
            let has_ended = self.durable.has_changed().is_err();
            if let Some(batch) = self.next_now(limits).await? {
                return Ok(batch);
            }
            if has_ended {
                return Err(FollowError::Ended);
            }
            let _ended = self.durable.changed().await;
        }
    }

    /// [`Follower::next`], without waiting: `None` where nothing is left.
    ///
    /// # Errors
    /// [`FollowError::Io`]: try again later.
    pub async fn next_now(&mut self, limits: BatchLimits) -> Result<Option<Batch>, FollowError> {
        let durable = *self.durable.borrow_and_update();
        self.count_earlier(durable).await;
        let settled = self.place.settled.borrow().clone();
        let mut reader = self.reader.take().unwrap_or_else(|| Reader::new(self.folder.clone(), settled));
        let (reader, read) = on_a_thread(&self.folder, move || {
            let read = reader.read(durable, limits);
            (reader, read)
        })
        .await?;
        self.reader = Some(reader);
        read
    }

    /// What was handed out and not settled is handed out again.
    pub fn go_back(&mut self) {
        self.reader = None;
    }

    /// Once the log is open: only then it is known which segments are of logs before.
    async fn count_earlier(&mut self, durable: Position) {
        if self.has_counted || durable.sequence == 0 {
            return;
        }
        self.has_counted = true;
        let (folder, settled) = (self.folder.clone(), self.place.settled.borrow().clone());
        let counted = on_a_thread(&self.folder, move || earlier_lines(&folder, &settled, durable.log_id)).await;
        // A count that can't be made is no reason to wait: the lines are handed out all the same.
        let lines = counted.ok().and_then(Result::ok).unwrap_or_default();
        self.place.earlier_lines.store(lines, Ordering::Relaxed);
    }

    /// Every line of the batch was taken: the place after it is kept over restarts.
    ///
    /// # Errors
    /// When it can't be written. The reader goes on all the same; after a restart it hands out again what it could not note.
    pub async fn settle(&mut self, batch: &Batch) -> Result<(), FollowError> {
        let current = self.durable.borrow().log_id;
        let earlier = batch.lines.iter().filter(|line| line.position.log_id != current).count();
        self.place.settle(&batch.end, u64::try_from(earlier).unwrap_or(u64::MAX));
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open_file(&self.folder, &self.name).await?,
        };
        let place = batch.end.clone();
        let (file, noted) = on_a_thread(&self.folder, move || {
            let noted = file.note(&place);
            (file, noted)
        })
        .await?;
        self.file = Some(file);
        noted.map_err(FollowError::io(&self.folder))
    }

    /// The last place that was settled, as it changes.
    pub fn settled(&self) -> watch::Receiver<Bookmark> {
        self.place.settled.subscribe()
    }
}

async fn open_file(folder: &Path, name: &ReaderName) -> Result<BookmarkFile, FollowError> {
    let (own, file_name) = (folder.to_owned(), bookmark::file_name(name));
    let opened = on_a_thread(folder, move || BookmarkFile::open(&own.join(file_name))).await?;
    opened.map_err(FollowError::io(folder))?.ok_or(FollowError::Busy)
}

/// The disk may hang, and the runtime must not.
async fn on_a_thread<T: Send + 'static>(
    folder: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FollowError> {
    spawn_blocking(work).await.map_err(|error| FollowError::io(folder)(io::Error::other(error)))
}
