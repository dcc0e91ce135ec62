//! A folder that fails on command, and that can lose what was not synced, as a machine does that loses its power.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use super::storage::{FolderStorage, SegmentFile, Storage};
use crate::audit::SegmentName;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sidecar) enum Fault {
    AppendBefore,
    AppendHalf,
    AppendAfter,
    SyncBefore,
    SyncAfter,
    Create,
    ReserveFull,
    /// A file beside the segments, before and after it is there.
    PutBefore,
    PutAfter,
    TakeAwayBefore,
    TakeAwayAfter,
    Note,
}

impl Fault {
    pub(in crate::sidecar) const ALL: [Self; 12] = [
        Self::AppendBefore,
        Self::AppendHalf,
        Self::AppendAfter,
        Self::SyncBefore,
        Self::SyncAfter,
        Self::Create,
        Self::ReserveFull,
        Self::PutBefore,
        Self::PutAfter,
        Self::TakeAwayBefore,
        Self::TakeAwayAfter,
        Self::Note,
    ];
}

/// What a power loss leaves of the bytes that were not synced.
#[derive(Debug, Clone, Copy)]
pub(in crate::sidecar) enum Loss {
    Nothing,
    All,
    Half,
    /// The length is there, the data is not.
    Zeros,
}

#[derive(Debug, Default)]
struct Plan {
    /// Fails from the given operation of that kind on, so many times.
    faults: Vec<(Fault, u32, u32)>,
    dead: bool,
    stuck: bool,
    free_bytes: Option<u64>,
    synced: BTreeMap<PathBuf, u64>,
    /// Files beside the segments, as they were last made durable.
    put: BTreeMap<PathBuf, Vec<u8>>,
}

/// The handle by which a test commands its storage.
#[derive(Debug, Clone, Default)]
pub(in crate::sidecar) struct Faults(Arc<(Mutex<Plan>, Condvar)>);

impl Faults {
    /// After `skip` sound operations, `times` that fail.
    pub(in crate::sidecar) fn plan(&self, fault: Fault, skip: u32, times: u32) {
        self.0.0.lock().unwrap().faults.push((fault, skip, times));
    }

    pub(in crate::sidecar) fn clear(&self) {
        self.0.0.lock().unwrap().faults.clear();
    }

    /// Every sync hangs until it is set free.
    pub(in crate::sidecar) fn set_stuck(&self, stuck: bool) {
        self.0.0.lock().unwrap().stuck = stuck;
        self.0.1.notify_all();
    }

    pub(in crate::sidecar) fn set_free_bytes(&self, bytes: u64) {
        self.0.0.lock().unwrap().free_bytes = Some(bytes);
    }

    /// Nothing reaches the disk any more.
    pub(in crate::sidecar) fn die(&self) {
        self.0.0.lock().unwrap().dead = true;
    }

    pub(in crate::sidecar) fn lose(&self, loss: Loss) {
        for (path, synced) in &self.0.0.lock().unwrap().synced {
            let Ok(len) = std::fs::metadata(path).map(|data| data.len()) else { continue };
            let file = OpenOptions::new().write(true).open(path).unwrap();
            match loss {
                Loss::Nothing => {}
                Loss::All => file.set_len(*synced).unwrap(),
                Loss::Half => file.set_len(synced + (len - synced) / 2).unwrap(),
                Loss::Zeros => {
                    file.set_len(*synced).unwrap();
                    file.set_len(len).unwrap();
                }
            }
        }
    }

    fn set_put(&self, path: &Path, content: &[u8]) {
        self.0.0.lock().unwrap().put.insert(path.to_owned(), content.to_owned());
    }

    /// What was only noted is lost.
    pub(in crate::sidecar) fn lose_notes(&self) {
        for (path, content) in &self.0.0.lock().unwrap().put {
            if path.exists() {
                std::fs::write(path, content).unwrap();
            }
        }
    }

    fn check(&self, fault: Fault) -> io::Result<()> {
        let mut plan = self.0.0.lock().unwrap();
        if plan.dead {
            return Err(io::Error::other("the machine has lost its power"));
        }
        for (kind, skip, times) in &mut plan.faults {
            if *kind == fault && *skip > 0 {
                *skip -= 1;
            } else if *kind == fault && *times > 0 {
                *times -= 1;
                let is_full = matches!(fault, Fault::ReserveFull);
                return Err(if is_full { io::ErrorKind::StorageFull.into() } else { io::Error::other("injected") });
            }
        }
        Ok(())
    }

    fn wait_while_stuck(&self) {
        let plan = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(plan, |plan| plan.stuck).unwrap());
    }

    fn set_synced(&self, path: &Path, len: u64) {
        self.0.0.lock().unwrap().synced.insert(path.to_owned(), len);
    }
}

#[derive(Debug)]
pub(in crate::sidecar) struct FaultyStorage {
    inner: FolderStorage,
    folder: PathBuf,
    faults: Faults,
}

impl FaultyStorage {
    pub(in crate::sidecar) fn open(folder: &Path, faults: Faults) -> Self {
        Self { inner: FolderStorage::open(folder).unwrap(), folder: folder.to_owned(), faults }
    }
}

impl Storage for FaultyStorage {
    fn create(&mut self, name: &SegmentName) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.check(Fault::Create)?;
        let path = self.folder.join(name.to_string());
        let inner = self.inner.create(name)?;
        self.faults.set_synced(&path, 0);
        Ok(Box::new(FaultySegment { inner, path, len: 0, faults: self.faults.clone() }))
    }

    fn remove(&mut self, name: &SegmentName) -> io::Result<()> {
        self.faults.check(Fault::Create)?;
        self.inner.remove(name)
    }

    fn put(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.faults.check(Fault::PutBefore)?;
        self.inner.put(name, content)?;
        self.faults.set_put(&self.folder.join(name), content);
        self.faults.check(Fault::PutAfter)
    }

    fn take_away(&mut self, name: &str) -> io::Result<()> {
        self.faults.check(Fault::TakeAwayBefore)?;
        self.inner.take_away(name)?;
        self.faults.check(Fault::TakeAwayAfter)
    }

    fn note(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.faults.check(Fault::Note)?;
        self.inner.note(name, offset, bytes)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let free = self.faults.0.0.lock().unwrap().free_bytes;
        free.map_or_else(|| self.inner.free_bytes(), Ok)
    }
}

#[derive(Debug)]
struct FaultySegment {
    inner: Box<dyn SegmentFile>,
    path: PathBuf,
    len: u64,
    faults: Faults,
}

impl FaultySegment {
    fn append_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).open(&self.path)?.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl SegmentFile for FaultySegment {
    fn reserve(&mut self, from: u64, end: u64) -> io::Result<()> {
        self.faults.check(Fault::ReserveFull)?;
        self.inner.reserve(from, end)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.faults.check(Fault::AppendBefore)?;
        if let Err(error) = self.faults.check(Fault::AppendHalf) {
            self.append_raw(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.append_raw(bytes)?;
        self.faults.check(Fault::AppendAfter)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.faults.wait_while_stuck();
        self.faults.check(Fault::SyncBefore)?;
        self.inner.sync()?;
        self.faults.set_synced(&self.path, self.len);
        self.faults.check(Fault::SyncAfter)
    }

    fn release_after(&mut self, len: u64) {
        self.inner.release_after(len);
    }
}
