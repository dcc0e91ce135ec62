//! Reading a folder of segments: the one place of this module with I/O. It opens files for reading only.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::segment::{LineReader, SegmentName};
use super::verify::{Expectation, Following, NoObserver, Observer, Report, Verifier};
use super::{LINE_BYTES_MAX, PastIntent};

/// Greatest number of segments in one folder that is read.
pub const SEGMENTS_MAX: usize = 100_000;
const SEGMENT_BUFFER_BYTES: usize = 256 * 1024;

/// Why a folder could not be read. What is wrong *in* the log is a [`super::Problem`].
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} holds no audit segment (audit-*.jsonl)")]
    Empty(PathBuf),
    #[error("{path} holds more than {SEGMENTS_MAX} segments")]
    TooMany { path: PathBuf },
    #[error("{path} holds two segments with number {number}")]
    SameNumber { path: PathBuf, number: u64 },
}

impl FolderError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Verifies every segment of a folder, in order.
///
/// # Errors
/// When the folder or a segment cannot be read, or there is none.
pub fn verify_folder(folder: &Path, expectation: Expectation) -> Result<Report, FolderError> {
    let segments = list_segments(folder)?;
    if segments.is_empty() {
        return Err(FolderError::Empty(folder.to_owned()));
    }
    let (report, _, _) = read_segments(folder, &segments, expectation, NoObserver)?;
    Ok(report)
}

/// The segments of a folder in the order of the chain; other files are left aside.
///
/// # Errors
/// When the folder cannot be read, or two segments claim one place.
pub fn list_segments(folder: &Path) -> Result<Vec<SegmentName>, FolderError> {
    let names = list_all_segments(folder)?;
    match same_number(&names) {
        Some(number) => Err(FolderError::SameNumber { path: folder.to_owned(), number }),
        None => Ok(names),
    }
}

/// A number that two of the segments claim; they are in order.
pub fn same_number(names: &[SegmentName]) -> Option<u64> {
    let mut pairs = names.iter().zip(names.iter().skip(1));
    pairs.find(|(one, other)| one.number() == other.number()).map(|(one, _)| one.number())
}

/// [`list_segments`], where two may claim one place.
///
/// # Errors
/// When the folder cannot be read, or holds too many.
pub fn list_all_segments(folder: &Path) -> Result<Vec<SegmentName>, FolderError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(FolderError::io(folder))? {
        let name = entry.map_err(FolderError::io(folder))?.file_name();
        if let Some(Ok(name)) = name.to_str().map(str::parse::<SegmentName>) {
            names.push(name);
        }
        if names.len() > SEGMENTS_MAX {
            return Err(FolderError::TooMany { path: folder.to_owned() });
        }
    }
    names.sort();
    Ok(names)
}

/// Feeds segments to a verifier. Returns its report, the intents left open, and the observer.
///
/// # Errors
/// At the first segment that cannot be read.
pub fn read_segments<O: Observer>(
    folder: &Path,
    segments: &[SegmentName],
    expectation: Expectation,
    observer: O,
) -> Result<(Report, Vec<PastIntent>, O), FolderError> {
    let mut failed = None;
    let read = read_what_can_be(folder, segments, expectation, observer, |name, source| {
        failed.get_or_insert(FolderError::Io { path: folder.join(name.to_string()), source });
    });
    failed.map_or(Ok(read), Err)
}

/// [`read_segments`], past those that cannot be read: they are told to `unreadable`.
pub fn read_what_can_be<O: Observer>(
    folder: &Path,
    segments: &[SegmentName],
    expectation: Expectation,
    observer: O,
    mut unreadable: impl FnMut(&SegmentName, io::Error),
) -> (Report, Vec<PastIntent>, O) {
    let mut verifier = Verifier::new(expectation, observer);
    let mut names = segments.iter().peekable();
    while let Some(name) = names.next() {
        let following = match names.peek() {
            None => Following::Nothing,
            Some(next) if next.is_resumed() => Following::Resumed,
            Some(_) => Following::Segment,
        };
        verifier.begin_segment(name, following);
        let path = folder.join(name.to_string());
        if let Err(error) = read_lines(&path, &mut verifier) {
            unreadable(name, error);
        }
    }
    verifier.finish()
}

/// A segment from `offset` on, if it is a plain file: opening a pipe would wait for a writer.
///
/// # Errors
/// When it is none, or can't be read.
pub fn open_segment(path: &Path, offset: u64) -> io::Result<BufReader<File>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is no plain file"));
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(BufReader::with_capacity(SEGMENT_BUFFER_BYTES, file))
}

fn read_lines<O: Observer>(path: &Path, verifier: &mut Verifier<O>) -> io::Result<()> {
    let mut lines = LineReader::new(open_segment(path, 0)?, LINE_BYTES_MAX);
    loop {
        let offset = lines.consumed_bytes();
        match lines.next_line()? {
            Some(line) => verifier.line(line, offset),
            None => return Ok(()),
        }
    }
}
