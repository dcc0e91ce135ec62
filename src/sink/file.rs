//! Lines in files of a folder of its own: `breakglass-<UTC time it was begun>-<number>.jsonl`, rotated by size and age,
//! the oldest removed.
//!
//! A file is never renamed, so whoever follows the folder by name misses nothing. When records are taken, they are synced.
//! A line that a killed process left unfinished is cut off when the file is opened again: it was not taken, and comes whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Record, SinkError, Taken};
use crate::clock::Clock;
use crate::config::sinks::FileOutlet;
use crate::domain::WallTime;

const PREFIX: &str = "breakglass-";
const SUFFIX: &str = ".jsonl";
/// A line of the longest kind, and more.
const TAIL_BYTES_MAX: u64 = 256 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Files {
    config: FileOutlet,
    clock: Clock,
    open: Option<Open>,
    /// One thread writes: what was given up is waited for first, so that nothing overtakes it.
    writing: Option<tokio::task::JoinHandle<Result<Open, SinkError>>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    len: u64,
    begun: WallTime,
}

impl Files {
    pub(super) const fn new(config: FileOutlet, clock: Clock) -> Self {
        Self { config, clock, open: None, writing: None }
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Result<Taken, SinkError> {
        let _given_again = self.finish().await;
        let (config, now, open) = (self.config.clone(), self.clock.wall(), self.open.take());
        let texts: Vec<_> = records.iter().map(|record| record.text.clone()).collect();
        self.writing = Some(tokio::task::spawn_blocking(move || Folder { config: &config, now }.write(open, &texts)));
        self.finish().await?;
        Ok(Taken::default())
    }

    async fn finish(&mut self) -> Result<(), SinkError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let written = writing.await;
        self.writing = None;
        self.open = Some(written.map_err(|_| SinkError::Thread)??);
        Ok(())
    }
}

/// The folder, at one moment. Everything here blocks on the disk.
struct Folder<'a> {
    config: &'a FileOutlet,
    now: WallTime,
}

impl Folder<'_> {
    fn write(&self, open: Option<Open>, texts: &[bytes::Bytes]) -> Result<Open, SinkError> {
        let mut open = match open {
            Some(open) => open,
            None => self.newest().map_err(self.failed(&self.config.directory))?,
        };
        let mut batch = Vec::new();
        for text in texts {
            let at_hand = open.len.saturating_add(batch.len() as u64);
            if at_hand > 0 && (at_hand >= self.config.rotate_bytes || self.is_old(open.begun)) {
                self.append(&mut open, &mut batch)?;
                open = self.begin().map_err(self.failed(&self.config.directory))?;
                self.remove_old().map_err(self.failed(&self.config.directory))?;
            }
            batch.extend_from_slice(text);
            batch.push(b'\n');
        }
        self.append(&mut open, &mut batch)?;
        Ok(open)
    }

    fn append(&self, open: &mut Open, batch: &mut Vec<u8>) -> Result<(), SinkError> {
        if batch.is_empty() {
            return Ok(());
        }
        // On an error the file is opened again, which cuts off what is unfinished.
        open.file.write_all(batch).and_then(|()| open.file.sync_data()).map_err(self.failed(&open.path))?;
        open.len = open.len.saturating_add(batch.len() as u64);
        batch.clear();
        Ok(())
    }

    fn failed(&self, path: &Path) -> impl FnOnce(io::Error) -> SinkError + use<> {
        let path = path.to_owned();
        move |source| SinkError::File { path, source }
    }

    /// A wall clock that was set back does not make a file old.
    fn is_old(&self, begun: WallTime) -> bool {
        self.now > begun && self.now.since(begun) >= self.config.rotate_after
    }

    /// Goes on with the newest file, or begins the first.
    fn newest(&self) -> io::Result<Open> {
        let mode = if self.config.group_readable { 0o750 } else { 0o700 };
        DirBuilder::new().recursive(true).mode(mode).create(&self.config.directory)?;
        let Some(name) = self.names()?.pop() else { return self.begin() };
        let path = self.config.directory.join(&name.text);
        let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
        let len = whole_lines(&mut file)?;
        file.set_len(len)?;
        Ok(Open { file, path, len, begun: name.begun })
    }

    fn begin(&self) -> io::Result<Open> {
        let number = self.names()?.last().map_or(1, |last| last.number.saturating_add(1));
        let name = Name::new(self.now, number);
        let path = self.config.directory.join(&name.text);
        let mode = if self.config.group_readable { 0o640 } else { 0o600 };
        let file = OpenOptions::new().append(true).create_new(true).mode(mode).open(&path)?;
        File::open(&self.config.directory)?.sync_all()?;
        Ok(Open { file, path, len: 0, begun: name.begun })
    }

    fn remove_old(&self) -> io::Result<()> {
        let names = self.names()?;
        let spare = names.len().saturating_sub(self.config.files_max);
        // The newest is the one that is written.
        for (index, name) in names.iter().take(names.len().saturating_sub(1)).enumerate() {
            if index < spare || self.config.keep.is_some_and(|keep| self.ended_before(&names, index, keep)) {
                std::fs::remove_file(self.config.directory.join(&name.text))?;
            }
        }
        Ok(())
    }

    /// A file ended when the next one was begun.
    fn ended_before(&self, names: &[Name], index: usize, keep: Duration) -> bool {
        names
            .get(index.saturating_add(1))
            .is_some_and(|next| self.now > next.begun && self.now.since(next.begun) > keep)
    }

    /// In the order in which they were begun.
    fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.config.directory)? {
            names.extend(entry?.file_name().to_str().and_then(Name::parse));
        }
        names.sort_by_key(|name| name.number);
        Ok(names)
    }
}

/// Up to the last newline.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    Ok(from.saturating_add(whole as u64))
}

/// The number orders; the time is for people.
#[derive(Debug)]
struct Name {
    text: String,
    begun: WallTime,
    number: u64,
}

impl Name {
    fn new(begun: WallTime, number: u64) -> Self {
        let time: String = begun.rfc3339().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let text = format!("{PREFIX}{number:010}-{}-{time}{SUFFIX}", begun.unix_ms());
        Self { text, begun, number }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.splitn(3, '-');
        let number = parts.next()?.parse().ok()?;
        let begun = WallTime::from_unix_ms(parts.next()?.parse().ok()?);
        parts.next()?;
        Some(Self { text: text.to_owned(), begun, number })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::{BootTime, Moment};
    use crate::sink::Severity;

    fn record(text: &str) -> Record {
        let text = Bytes::copy_from_slice(text.as_bytes());
        let severity = Severity::Informational;
        Record { text, uid: "u".to_owned(), kind: "k".to_owned(), severity, at: WallTime::EPOCH }
    }

    fn config(folder: &Path) -> FileOutlet {
        FileOutlet {
            directory: folder.join("out"),
            rotate_bytes: 10,
            rotate_after: Duration::from_secs(60),
            files_max: 3,
            keep: None,
            group_readable: false,
        }
    }

    fn clock() -> std::sync::Arc<ManualClock> {
        ManualClock::starting_at(Moment { boot: BootTime::ZERO, wall: WallTime::from_unix_s(1_700_000_000) })
    }

    /// What stands in each file, oldest first.
    fn contents(config: &FileOutlet) -> Vec<String> {
        let names = Folder { config, now: WallTime::EPOCH }.names().unwrap();
        names.iter().map(|name| std::fs::read_to_string(config.directory.join(&name.text)).unwrap()).collect()
    }

    #[tokio::test]
    async fn files_are_rotated_by_size_and_age_and_the_oldest_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (config, clock) = (config(folder.path()), clock());
        let mut files = Files::new(config.clone(), Clock::Manual(clock.clone()));
        files.send(&[record("aaaaaaaaaa"), record("b")]).await.unwrap();
        assert_eq!(contents(&config), ["aaaaaaaaaa\n", "b\n"]);
        clock.advance(Duration::from_secs(60));
        files.send(&[record("c")]).await.unwrap();
        assert_eq!(contents(&config), ["aaaaaaaaaa\n", "b\n", "c\n"]);
        clock.advance(Duration::from_secs(60));
        files.send(&[record("d")]).await.unwrap();
        assert_eq!(contents(&config), ["b\n", "c\n", "d\n"], "at most three");
        // A clock that steps back neither rotates nor confuses the order.
        clock.step_wall(-3_600_000);
        files.send(&[record("e")]).await.unwrap();
        assert_eq!(contents(&config), ["b\n", "c\n", "d\ne\n"]);
    }

    #[tokio::test]
    async fn old_files_go_and_strange_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let config = FileOutlet { keep: Some(Duration::from_secs(100)), files_max: 100, ..config(folder.path()) };
        let clock = clock();
        let mut files = Files::new(config.clone(), Clock::Manual(clock.clone()));
        files.send(&[record("a")]).await.unwrap();
        std::fs::write(config.directory.join("notes.txt"), "mine").unwrap();
        for text in ["b", "c"] {
            clock.advance(Duration::from_secs(60));
            files.send(&[record(text)]).await.unwrap();
        }
        assert_eq!(contents(&config), ["a\n", "b\n", "c\n"], "a ended 60 s ago");
        clock.advance(Duration::from_secs(60));
        files.send(&[record("d")]).await.unwrap();
        assert_eq!(contents(&config), ["b\n", "c\n", "d\n"], "a ended 120 s ago");
        assert!(config.directory.join("notes.txt").exists());
    }

    #[tokio::test]
    async fn a_process_that_died_leaves_no_half_line() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let mut files = Files::new(config.clone(), Clock::Manual(clock()));
        files.send(&[record("a")]).await.unwrap();
        let name = Folder { config: &config, now: WallTime::EPOCH }.names().unwrap().pop().unwrap();
        let path = config.directory.join(&name.text);
        std::fs::write(&path, "a\nhalf").unwrap();
        let mut files = Files::new(config.clone(), Clock::Manual(clock()));
        files.send(&[record("b")]).await.unwrap();
        assert_eq!(contents(&config), ["a\nb\n"]);
        // A folder that can't be written is an error, and afterwards nothing is missing.
        std::fs::remove_dir_all(&config.directory).unwrap();
        std::fs::write(&config.directory, "").unwrap();
        let mut files = Files::new(config.clone(), Clock::Manual(clock()));
        assert!(matches!(files.send(&[record("c")]).await, Err(SinkError::File { .. })));
        std::fs::remove_file(&config.directory).unwrap();
        files.send(&[record("c")]).await.unwrap();
        assert_eq!(contents(&config), ["c\n"]);
    }
}
