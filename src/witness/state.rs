//! What the witness remembers: its key, and of each log the newest checkpoint that it cosigned, in a file each.
//!
//! INVARIANT: a checkpoint is compared, written durably and answered under one lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use crate::clock::Clock;
use crate::hex::hex;
use crate::ledger::checkpoint::{CheckpointError, SignedCheckpoint, cosignature, cosigned_at, cosigned_message};
use crate::ledger::note::{KeyKind, KeyName, NoteError, VerifierKey};
use crate::ledger::witness::{NotCosigned, Seen, Submission, judge, known};
use crate::token::{KeyError, SigningKey};
use crate::whole_file;

const KEY_FILE: &str = "witness-key.pk8";

/// Why the witness can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{} can't be read or written", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is not a private key of ours", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("{} is gone, and checkpoints were cosigned with it: put it back", path.display())]
    KeyMissing { path: PathBuf },
    #[error("{} is not what was cosigned last: it is not known what may be cosigned", path.display())]
    Checkpoint { path: PathBuf, source: Option<CheckpointError> },
    #[error("the clock is behind the last cosignature, of {last}: it is not cosigned with an earlier time")]
    ClockBack { last: u64 },
    #[error("the cosignature could not be made")]
    Sign(#[from] KeyError),
}

/// What became of a submission.
#[derive(Debug)]
pub(super) enum Answer {
    /// The signature line.
    Cosigned(String),
    Refused(NotCosigned),
}

/// See the module.
#[derive(Debug)]
pub struct Witness {
    folder: PathBuf,
    key: SigningKey,
    verifier: VerifierKey,
    logs: Vec<VerifierKey>,
    clock: Clock,
    /// Held while anything is compared or written.
    turn: Mutex<()>,
}

impl Witness {
    /// Opens the folder, and makes it and the key where nothing was cosigned yet. Every log's memory is read once, so that a
    /// damaged one is found at the start.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(folder: &Path, name: KeyName, logs: Vec<VerifierKey>, clock: Clock) -> Result<Self, StateError> {
        std::fs::create_dir_all(folder).map_err(|source| StateError::File { path: folder.to_owned(), source })?;
        let key = open_key(folder)?;
        let verifier = VerifierKey::new(name, KeyKind::Cosignature, *key.public().as_bytes());
        let witness = Self { folder: folder.to_owned(), key, verifier, logs, clock, turn: Mutex::new(()) };
        for log in &witness.logs {
            witness.remembered(log.name())?;
        }
        Ok(witness)
    }

    /// What verifies its cosignatures.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Blocks on the disk.
    pub(super) fn add(&self, submission: &Submission) -> Result<Answer, StateError> {
        let signed = match known(submission, &self.logs) {
            Ok(signed) => signed,
            Err(refused) => return Ok(Answer::Refused(refused)),
        };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.remembered(&signed.checkpoint.origin)?;
        let seen =
            before.as_ref().map(|(before, _)| Seen { size: before.checkpoint.size, root: before.checkpoint.root });
        if let Err(refused) = judge(submission, &signed, seen) {
            return Ok(Answer::Refused(refused));
        }
        let now = u64::try_from(self.clock.wall().unix_s()).unwrap_or(0);
        if let Some((_, last)) = before.filter(|(_, last)| *last > now) {
            return Err(StateError::ClockBack { last });
        }
        let text = signed.note.text();
        let signature = self.key.sign(&cosigned_message(text, now))?;
        let line = cosignature(&self.verifier, now, &signature);
        self.remember(&signed, &format!("{}{line}\n", only_of_the_log(&signed, &self.logs)))?;
        Ok(Answer::Cosigned(format!("{line}\n")))
    }

    /// The newest checkpoint of the log with this digest of its origin, with our signature under it.
    pub(super) fn newest(&self, origin_digest: &str) -> Result<Option<String>, StateError> {
        let Some(log) = self.logs.iter().find(|log| digest_of(log.name()) == origin_digest) else { return Ok(None) };
        Ok(self.remembered(log.name())?.map(|(signed, _)| signed.note.to_string()))
    }

    /// What was cosigned last, and when.
    fn remembered(&self, origin: &KeyName) -> Result<Option<(SignedCheckpoint, u64)>, StateError> {
        let path = self.path(origin);
        let note = match std::fs::read_to_string(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::File { path, source }),
        };
        let damaged = |source| StateError::Checkpoint { path: path.clone(), source };
        let signed = SignedCheckpoint::read(&note).map_err(|error| damaged(Some(error)))?;
        let text = signed.note.text();
        let at = signed.note.signatures.iter().find_map(|line| cosigned_at(line, &self.verifier, text));
        let is_its = signed.checkpoint.origin == *origin;
        let at = at.filter(|_| is_its).ok_or_else(|| damaged(Some(NoteError::Signature.into())))?;
        Ok(Some((signed, at)))
    }

    fn remember(&self, signed: &SignedCheckpoint, note: &str) -> Result<(), StateError> {
        let path = self.path(&signed.checkpoint.origin);
        whole_file::replace(&path, note.as_bytes(), 0o600).map_err(|source| StateError::File { path, source })
    }

    fn path(&self, origin: &KeyName) -> PathBuf {
        self.folder.join(format!("{}.checkpoint", digest_of(origin)))
    }
}

/// The note with the signatures of the log's own known keys.
fn only_of_the_log(signed: &SignedCheckpoint, logs: &[VerifierKey]) -> String {
    let mut note = signed.note.clone();
    note.signatures.retain(|line| logs.iter().any(|key| line.is_of(key)));
    note.to_string()
}

/// Hex of SHA-256 of the origin, as the specification names a log's checkpoint.
fn digest_of(origin: &KeyName) -> String {
    hex(digest(&SHA256, origin.as_str().as_bytes()).as_ref())
}

fn open_key(folder: &Path) -> Result<SigningKey, StateError> {
    let path = folder.join(KEY_FILE);
    let file = |source| StateError::File { path: path.clone(), source };
    if path.try_exists().map_err(file)? {
        let der = std::fs::read(&path).map_err(file)?;
        return SigningKey::from_pkcs8_der(&der).map_err(|source| StateError::Key { path, source });
    }
    let mut files = std::fs::read_dir(folder).map_err(file)?.filter_map(Result::ok);
    if files.any(|entry| entry.path().extension().is_some_and(|ending| ending == "checkpoint")) {
        return Err(StateError::KeyMissing { path });
    }
    let key = SigningKey::generate()?;
    whole_file::replace(&path, key.pkcs8_der().expose(), 0o600).map_err(file)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::{BootTime, Moment, WallTime};
    use crate::ledger::sample::SampleLog;
    use crate::small_disk::SmallDisk;
    use crate::whole_file::{Step, faults};
    use std::sync::Arc;

    fn clock() -> Arc<ManualClock> {
        ManualClock::starting_at(Moment { boot: BootTime::ZERO, wall: WallTime::from_unix_s(1_795_313_580) })
    }

    fn submission(log: &SampleLog, old: u64, new: u64) -> Submission {
        Submission { old, proof: log.consistency(old, new), note: log.note_of(new) }
    }

    fn open(folder: &Path, log: &SampleLog, clock: &Arc<ManualClock>) -> Result<Witness, StateError> {
        Witness::open(folder, "witness.test/w1".parse().unwrap(), vec![log.key()], Clock::Manual(Arc::clone(clock)))
    }

    #[test]
    fn what_was_cosigned_outlives_a_restart_and_a_fork_is_refused_after_it() {
        let (log, folder, clock) = (SampleLog::of(40), tempfile::tempdir().unwrap(), clock());
        let witness = open(folder.path(), &log, &clock).unwrap();
        let Answer::Cosigned(line) = witness.add(&submission(&log, 0, 10)).unwrap() else { panic!("not cosigned") };
        let cosigned = SignedCheckpoint::read(&format!("{}{line}", log.note_of(10))).unwrap();
        let keys = [witness.verifier().clone()];
        assert_eq!(cosigned.cosigned_by(&keys).unwrap(), [(&keys[0], 1_795_313_580)]);
        let witness = open(folder.path(), &log, &clock).unwrap();
        assert_eq!(*witness.verifier(), keys[0]);
        assert_eq!(witness.newest(&digest_of(log.key().name())).unwrap(), Some(cosigned.note.to_string()));
        assert_eq!(witness.newest("00").unwrap(), None);
        let mut entries = log.entries.clone();
        entries.swap(3, 4);
        let fork = log.with(entries);
        let refused = witness.add(&submission(&fork, 10, 40)).unwrap();
        assert!(matches!(refused, Answer::Refused(NotCosigned::Inconsistent(_))), "{refused:?}");
        let shorter = witness.add(&submission(&log, 0, 5)).unwrap();
        assert!(matches!(shorter, Answer::Refused(NotCosigned::OtherSize { size: 10 })), "{shorter:?}");
        assert!(matches!(witness.add(&submission(&log, 10, 40)).unwrap(), Answer::Cosigned(_)));
    }

    /// What it cosigned it remembers, whatever fails: nothing is answered that a restart would not know.
    #[test]
    fn whatever_fails_nothing_is_cosigned_that_is_not_remembered() {
        for failing in faults::STEPS {
            for is_done in [false, true] {
                let what = format!("{failing:?}, {is_done}");
                let (log, folder, clock) = (SampleLog::of(40), tempfile::tempdir().unwrap(), clock());
                let witness = open(folder.path(), &log, &clock).unwrap();
                let path = witness.path(log.key().name());
                for (old, new) in [(0, 10), (10, 20)] {
                    faults::plan(&path, failing, is_done);
                    let error = witness.add(&submission(&log, old, new)).unwrap_err();
                    assert!(matches!(error, StateError::File { .. }), "{what}: {error}");
                    faults::clear(&path);
                    // Another process finds the one before or the one that was written; it is never torn.
                    let witness = open(folder.path(), &log, &clock).unwrap_or_else(|error| panic!("{what}: {error}"));
                    let remembered = witness.remembered(log.key().name()).unwrap();
                    let is_renamed = failing == Step::SyncFolder || (failing == Step::Rename && is_done);
                    let size = remembered.map_or(0, |(signed, _)| signed.checkpoint.size);
                    assert_eq!(size, if is_renamed { new } else { old }, "{what}");
                    let again = witness.add(&submission(&log, size, new)).unwrap();
                    assert!(matches!(again, Answer::Cosigned(_)), "{what}: {again:?}");
                }
            }
        }
    }

    #[test]
    fn a_key_that_could_not_be_written_was_never_used() {
        for failing in faults::STEPS {
            for is_done in [false, true] {
                let what = format!("{failing:?}, {is_done}");
                let (log, folder, clock) = (SampleLog::of(4), tempfile::tempdir().unwrap(), clock());
                let path = folder.path().join(KEY_FILE);
                faults::plan(&path, failing, is_done);
                let error = open(folder.path(), &log, &clock).unwrap_err();
                assert!(matches!(error, StateError::File { .. }), "{what}: {error}");
                faults::clear(&path);
                let witness = open(folder.path(), &log, &clock).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(matches!(witness.add(&submission(&log, 0, 4)).unwrap(), Answer::Cosigned(_)), "{what}");
                let key = witness.verifier().clone();
                assert_eq!(*open(folder.path(), &log, &clock).unwrap().verifier(), key, "{what}");
            }
        }
    }

    #[test]
    fn on_a_full_disk_nothing_is_cosigned_and_nothing_forgotten() {
        let Some(disk) = SmallDisk::mount("128k") else { return };
        let (log, clock) = (SampleLog::of(40), clock());
        let folder = disk.path().join("witness");
        let witness = open(&folder, &log, &clock).unwrap();
        assert!(matches!(witness.add(&submission(&log, 0, 10)).unwrap(), Answer::Cosigned(_)));
        disk.fill();
        let error = witness.add(&submission(&log, 10, 20)).unwrap_err();
        assert!(matches!(error, StateError::File { .. }), "{error}");
        let witness = open(&folder, &log, &clock).unwrap();
        assert_eq!(witness.remembered(log.key().name()).unwrap().unwrap().0.checkpoint.size, 10);
        disk.make_room();
        assert!(matches!(witness.add(&submission(&log, 10, 20)).unwrap(), Answer::Cosigned(_)));
    }

    #[test]
    fn a_damaged_memory_a_lost_key_and_a_clock_that_went_back_stop_it() {
        let (log, folder, clock) = (SampleLog::of(40), tempfile::tempdir().unwrap(), clock());
        let witness = open(folder.path(), &log, &clock).unwrap();
        assert!(matches!(witness.add(&submission(&log, 0, 10)).unwrap(), Answer::Cosigned(_)));
        clock.step_wall(-2000);
        let error = witness.add(&submission(&log, 10, 20)).unwrap_err();
        assert!(matches!(error, StateError::ClockBack { .. }), "{error}");
        clock.step_wall(2000);
        let path = witness.path(log.key().name());
        let note = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, note.replace("\n10\n", "\n9\n")).unwrap();
        assert!(matches!(open(folder.path(), &log, &clock), Err(StateError::Checkpoint { .. })));
        assert!(matches!(witness.add(&submission(&log, 10, 20)), Err(StateError::Checkpoint { .. })));
        std::fs::write(&path, &note[..note.len() / 2]).unwrap();
        assert!(matches!(open(folder.path(), &log, &clock), Err(StateError::Checkpoint { .. })));
        std::fs::write(&path, note).unwrap();
        std::fs::remove_file(folder.path().join(KEY_FILE)).unwrap();
        assert!(matches!(open(folder.path(), &log, &clock), Err(StateError::KeyMissing { .. })));
    }
}
