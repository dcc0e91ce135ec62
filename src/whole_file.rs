//! Small files that are replaced whole or not at all: written beside, made durable, renamed, and the name made durable.
//!
//! INVARIANT: when it returns without an error, a machine that loses its power has the new one. Must never: leave a part
//! of a file under its name, or have others read it whom its mode leaves out, not even for a moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

#[cfg(test)]
use faults::step;

/// Puts `bytes` in the place of the file, with this mode where the system has modes.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = beside(path);
    let mut file = step(path, Step::Create, || {
        let mut options = OpenOptions::new();
        // One that somebody died over is not written on: it may be another's, or have another mode.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        options.open(&beside)
    })?;
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    step(path, Step::WriteHalf, || file.write_all(first))?;
    step(path, Step::Write, || file.write_all(rest))?;
    step(path, Step::Sync, || file.sync_all())?;
    step(path, Step::Rename, || std::fs::rename(&beside, path))?;
    step(path, Step::SyncFolder, || sync_folder(path.parent().unwrap_or(path)))
}

/// Where a folder can't be opened as a file (Windows), renaming is as durable as that system makes it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// What is done, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    WriteHalf,
    Write,
    Sync,
    Rename,
    SyncFolder,
}

/// One step. In tests it can be made to fail.
#[cfg(not(test))]
fn step<T>(_path: &Path, _step: Step, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work()
}

#[cfg(test)]
pub(crate) mod faults {
    //! A file whose replacement fails on command.

    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::{Path, PathBuf, Step, io};

    pub(crate) const STEPS: [Step; 6] =
        [Step::Create, Step::WriteHalf, Step::Write, Step::Sync, Step::Rename, Step::SyncFolder];

    static PLANS: Mutex<BTreeMap<PathBuf, (Step, bool)>> = Mutex::new(BTreeMap::new());

    /// From now on this step fails for this file, once it is done or before.
    pub(crate) fn plan(path: &Path, step: Step, is_done: bool) {
        PLANS.lock().unwrap().insert(path.to_owned(), (step, is_done));
    }

    pub(crate) fn clear(path: &Path) {
        PLANS.lock().unwrap().remove(path);
    }

    pub(super) fn step<T>(path: &Path, step: Step, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let planned = PLANS.lock().unwrap().get(path).copied();
        match planned {
            Some((failing, is_done)) if failing == step => {
                if is_done {
                    work()?;
                }
                Err(io::Error::other("injected"))
            }
            Some(_) | None => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn whatever_fails_one_of_the_two_is_there_and_then_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for step in faults::STEPS {
            for is_done in [false, true] {
                replace(&path, b"the one before", 0o600).unwrap();
                faults::plan(&path, step, is_done);
                replace(&path, b"new", 0o600).unwrap_err();
                let is_renamed = step == Step::SyncFolder || (step == Step::Rename && is_done);
                let expected: &[u8] = if is_renamed { b"new" } else { b"the one before" };
                assert_eq!(std::fs::read(&path).unwrap(), expected, "{step:?}, {is_done}");
                faults::clear(&path);
                replace(&path, b"new", 0o600).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), b"new", "{step:?}, {is_done}");
            }
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
