//! An operator's word that a damage is accepted, left in the folder for the sidecar that owns it.
//!
//! The command may run beside a sidecar that holds the folder's lock, so it writes nothing but this one file, whole or
//! not at all. It names the damage by its digest: another damage is not covered.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::damage::Damage;
use crate::audit::loss::{BY_BYTES_MAX, REASON_BYTES_MAX};
use crate::audit::{AcceptedLoss, LineHash};
use crate::domain::WallTime;

/// The file's name.
pub(super) const FILE: &str = "accepted-loss";
const FILE_NEW: &str = "accepted-loss.new";

/// Who accepted which damage, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    pub digest: LineHash,
    pub by: String,
    pub reason: String,
    pub at: WallTime,
}

/// Why words of an operator can't stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    #[error("{0} must not be empty")]
    Empty(&'static str),
    #[error("{what} must be at most {bytes_max} bytes long")]
    TooLong { what: &'static str, bytes_max: usize },
    #[error("{0} must not contain control characters")]
    Control(&'static str),
}

impl Acknowledgement {
    /// # Errors
    /// When a text is empty, too long, or holds control characters.
    pub fn new(damage: &Damage, by: &str, reason: &str, at: WallTime) -> Result<Self, WordsError> {
        check("the name", by, BY_BYTES_MAX)?;
        check("the reason", reason, REASON_BYTES_MAX)?;
        Ok(Self { digest: damage.digest(), by: by.trim().to_owned(), reason: reason.trim().to_owned(), at })
    }

    /// Leaves it in the folder, mode 0600, owned by whoever owns the folder.
    ///
    /// # Errors
    /// Those of the file system; then none is there, or the one from before.
    pub fn leave(&self, folder: &Path) -> io::Result<()> {
        let temporary = folder.join(FILE_NEW);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        give_to_owner(folder, &temporary)?;
        file.sync_all()?;
        std::fs::rename(&temporary, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }

    /// The one that was left; `None` where there is none, or none that can be understood.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn covers(&self, damage: &Damage) -> bool {
        self.digest == damage.digest()
    }

    /// What the log is told.
    pub(super) fn record(&self, damage: &Damage) -> AcceptedLoss {
        AcceptedLoss {
            by: self.by.clone(),
            reason: self.reason.clone(),
            accepted_at: self.at,
            digest: self.digest,
            known: damage.known,
            found: damage.found,
            findings: damage.findings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Where the administrator of the machine accepts, the sidecar must be able to read it all the same.
fn give_to_owner(folder: &Path, file: &Path) -> io::Result<()> {
    let (owner, own) = (std::fs::metadata(folder)?, std::fs::metadata(file)?);
    if owner.uid() == own.uid() {
        return Ok(());
    }
    chown(file, Some(owner.uid()), Some(owner.gid()))
}

fn check(what: &'static str, text: &str, bytes_max: usize) -> Result<(), WordsError> {
    if text.trim().is_empty() {
        return Err(WordsError::Empty(what));
    }
    if text.len() > bytes_max {
        return Err(WordsError::TooLong { what, bytes_max });
    }
    if text.chars().any(char::is_control) { Err(WordsError::Control(what)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn damage(from: u64) -> Damage {
        Damage { findings: Vec::new(), known: None, found: None, lineage: Some("l".to_owned()), from }
    }

    #[test]
    fn it_is_left_whole_and_covers_one_damage() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Acknowledgement::read(folder.path()).unwrap(), None);
        let given = Acknowledgement::new(&damage(1), " ada ", "disk replaced", WallTime::EPOCH).unwrap();
        given.leave(folder.path()).unwrap();
        given.leave(folder.path()).unwrap();
        assert_eq!(Acknowledgement::read(folder.path()).unwrap().as_ref(), Some(&given));
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(given.by == "ada" && given.covers(&damage(2)));
        assert!(!given.covers(&Damage { lineage: None, ..damage(1) }));
        std::fs::write(folder.path().join(FILE), b"{").unwrap();
        assert_eq!(Acknowledgement::read(folder.path()).unwrap(), None);
    }

    #[test]
    fn words_that_cannot_stand_in_the_log_are_refused() {
        let new = |by: &str, reason: &str| Acknowledgement::new(&damage(1), by, reason, WallTime::EPOCH).unwrap_err();
        assert_eq!(new(" ", "r"), WordsError::Empty("the name"));
        assert_eq!(new("ada", "a\nb"), WordsError::Control("the reason"));
        assert!(matches!(new("ada", &"r".repeat(1025)), WordsError::TooLong { bytes_max: 1024, .. }));
    }
}
