//! Where segments live: two narrow traits with their durability rules, and the folder that keeps them for real.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};

use super::OpenError;
use crate::audit::SegmentName;

/// Makes segments.
pub trait Storage: Debug + Send {
    /// Creates an empty segment that did not exist. When it returns, the name is durable.
    ///
    /// # Errors
    /// Those of the file system; then no such segment may be relied on.
    fn create(&mut self, name: &SegmentName) -> io::Result<Box<dyn SegmentFile>>;

    /// Takes away a segment in which nothing was acknowledged.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&mut self, name: &SegmentName) -> io::Result<()>;

    /// Writes a small file of the folder whole or not at all, in place of the one before. When it returns, it is durable.
    ///
    /// # Errors
    /// Those of the file system; then either file may be there, whole.
    fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Takes such a file away, if it is there. When it returns, that is durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn take_away(&mut self, name: &str) -> io::Result<()>;

    /// Overwrites a part of such a file. It survives this process, and perhaps not the machine.
    ///
    /// # Errors
    /// Those of the file system; then any part of the bytes may be there.
    fn note(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Space that this process may still take, in bytes.
    ///
    /// # Errors
    /// Those of the file system.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One segment, written from its beginning to its end.
pub trait SegmentFile: Debug + Send {
    /// Allocates the space up to `end`, so that appending within it cannot fail for lack of room; up to `from` it is allocated
    /// already, and need not be walked again.
    ///
    /// # Errors
    /// `StorageFull` when there is no room.
    fn reserve(&mut self, from: u64, end: u64) -> io::Result<()>;

    /// Appends all of `bytes`. After an error any part of them may be there.
    ///
    /// # Errors
    /// Those of the file system; then the segment must not be used again.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// When it returns, everything appended is durable.
    ///
    /// # Errors
    /// Those of the file system; then the segment must not be used again.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives back what was reserved beyond `len`.
    fn release_after(&mut self, len: u64);
}

/// A command that looks whether the folder is locked has the lock for a moment itself.
fn lock_soon(lock: &File) -> Result<(), rustix::io::Errno> {
    for _ in 1..LOCK_TRIES {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            locked => return locked,
        }
    }
    rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive)
}

/// Whether a process writes the folder. Takes the lock for a moment to find out.
///
/// # Errors
/// When the lock file is there and can't be opened.
pub fn is_locked(folder: &Path) -> io::Result<bool> {
    let lock = match File::open(folder.join("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Free space that must remain where space cannot be reserved.
const UNRESERVED_MARGIN_BYTES: u64 = 4 * 1024 * 1024;
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A folder (mode 0700) of segments (mode 0600), locked against a second writer for as long as this lives.
#[derive(Debug)]
pub struct FolderStorage {
    path: PathBuf,
    folder: File,
    /// The file that [`Storage::note`] was last called for.
    noted: Option<(String, File)>,
    _lock: File,
}

impl FolderStorage {
    /// Makes the folder if needed and locks it.
    ///
    /// # Errors
    /// When the folder cannot be made or opened, or another process holds the lock.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(OpenError::io(path))?;
        let folder = File::open(path).map_err(OpenError::io(path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(OpenError::io(&lock_path))?;
        match lock_soon(&lock) {
            Ok(()) => Ok(Self { path: path.to_owned(), folder, noted: None, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(path.to_owned())),
            Err(errno) => Err(OpenError::io(&lock_path)(errno.into())),
        }
    }
}

impl Storage for FolderStorage {
    fn create(&mut self, name: &SegmentName) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.path.join(name.to_string());
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        self.folder.sync_all()?;
        let folder = self.folder.try_clone()?;
        Ok(Box::new(FolderSegment { file, folder }))
    }

    fn remove(&mut self, name: &SegmentName) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name.to_string()))?;
        self.folder.sync_all()
    }

    fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.noted = None;
        let temporary = self.path.join(format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(temporary, self.path.join(name))?;
        self.folder.sync_all()
    }

    fn take_away(&mut self, name: &str) -> io::Result<()> {
        self.noted = None;
        match std::fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => self.folder.sync_all(),
        }
    }

    fn note(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match self.noted.take() {
            Some((noted, file)) if noted == name => file,
            Some(_) | None => OpenOptions::new().write(true).open(self.path.join(name))?,
        };
        file.write_all_at(bytes, offset)?;
        self.noted = Some((name.to_owned(), file));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.folder)
    }
}

fn free_bytes(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[derive(Debug)]
struct FolderSegment {
    file: File,
    folder: File,
}

impl SegmentFile for FolderSegment {
    fn reserve(&mut self, from: u64, end: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, end.saturating_sub(from)) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.has_margin(end),
            Err(errno) => Err(errno.into()),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn release_after(&mut self, len: u64) {
        // Only space is at stake: what was written is synced, and the next start does not mind.
        let _released = self.file.set_len(len);
    }
}

impl FolderSegment {
    /// Where the file system cannot allocate ahead: room for what is asked, and a margin for what others take.
    fn has_margin(&self, end: u64) -> io::Result<()> {
        let missing = end.saturating_sub(self.file.metadata()?.len());
        if free_bytes(&self.folder)? >= missing.saturating_add(UNRESERVED_MARGIN_BYTES) {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
}
