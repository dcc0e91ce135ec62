//! Where a sign-in is kept between two commands: one file a control plane, in the state folder, for its owner alone.
//!
//! A write replaces the file whole, so that a kill at any moment leaves the old one or the new one. Whoever changes it
//! holds its lock, so that two shells never spend one refresh token twice: an issuer that rotates them would take that
//! for theft and end the sign-in (RFC 9700 §4.14.2).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::kept::Kept;
use crate::cli::failure::{Exit, Failure};
use crate::cli::private_files;
use crate::cli::session::Lookup;
use crate::config::digest_hex;

/// How long another shell may take, which is as long as its call to the issuer may.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(40);
const LOCK_ASKED_EVERY: Duration = Duration::from_millis(50);
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Characters of the control plane's digest in a file's name.
const NAME_CHARS: usize = 24;

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Shelf {
    folder: PathBuf,
    name: String,
}

/// While it lives, nobody else changes the file.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "its end is the end of the lock")] File);

impl Shelf {
    /// The place for the sign-in at `control`. Nothing is made yet.
    ///
    /// # Errors
    /// When there is no home to keep anything in.
    pub(in crate::cli) fn new(control: &str, env: Lookup<'_>) -> Result<Self, Failure> {
        let folder = private_files::state_folder(env).ok_or_else(|| {
            Failure::new(
                Exit::NotAuthenticated,
                "there is no folder to keep a sign-in in",
                "set XDG_STATE_HOME or HOME, or put a token in BREAKGLASS_TOKEN",
            )
        })?;
        let name: String = digest_hex(control).chars().take(NAME_CHARS).collect();
        Ok(Self { folder: folder.join("sign-in"), name })
    }

    pub(in crate::cli) fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// What is kept, if anything is.
    ///
    /// # Errors
    /// When it cannot be read, or others can read it.
    pub(in crate::cli) fn read(&self) -> Result<Option<Kept>, Failure> {
        let path = self.file();
        let failed = |error: &io::Error| unusable(&path, &error.to_string());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        check_private(&file, &path)?;
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX), &mut text).map_err(|e| failed(&e))?;
        Kept::parse(&text).map(Some).ok_or_else(|| unusable(&path, "it is not what this program writes there"))
    }

    /// Replaces what is kept.
    pub(super) fn write(&self, _held: &Held, kept: &Kept) -> Result<(), Failure> {
        let path = self.file();
        self.replace(&path, kept).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the sign-in cannot be kept in {}: {error}", path.display()),
                "make room, or make the folder yours",
            )
        })
    }

    fn replace(&self, path: &Path, kept: &Kept) -> io::Result<()> {
        let text = serde_json::to_string(kept).map_err(io::Error::other)?;
        // Made with mode 0600.
        let mut file = tempfile::Builder::new().prefix(".").tempfile_in(&self.folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    pub(super) fn remove(&self, _held: &Held) -> Result<(), Failure> {
        let path = self.file();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(&path, &error.to_string())),
            _ => Ok(()),
        }
    }

    /// Waits until nobody else changes it.
    pub(super) async fn hold(&self) -> Result<Held, Failure> {
        let path = self.folder.join(format!("{}.lock", self.name));
        let failed = |error: io::Error| unusable(&path, &error.to_string());
        private_files::make_folder(&self.folder).map_err(failed)?;
        let file = private_file(&path).map_err(failed)?;
        let end = Instant::now() + LOCK_WAIT_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Held(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(LOCK_ASKED_EVERY).await,
                Err(TryLockError::WouldBlock) => return Err(unusable(&path, "another breakglass holds it")),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A sign-in that others can read is theirs too.
fn check_private(file: &File, path: &Path) -> Result<(), Failure> {
    let open = private_files::mode_open_to_others(file).map_err(|error| unusable(path, &error.to_string()))?;
    let Some(mode) = open else { return Ok(()) };
    let message = format!("{} can be read by others (mode {mode:03o})", path.display());
    let hint = "who has read it can act as you: run breakglass logout, and sign in again";
    Err(Failure::new(Exit::NotAuthenticated, message, hint))
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new(
        Exit::NotAuthenticated,
        format!("{}: {why}", path.display()),
        "remove the file and run breakglass login, or put a token in BREAKGLASS_TOKEN",
    )
}
