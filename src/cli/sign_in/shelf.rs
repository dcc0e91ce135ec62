//! Where a sign-in is kept between two commands: one file a control plane, in the state folder, for its owner alone. Where
//! there is a keyring the file names it, and the sign-in lies there.
//!
//! A write replaces the file whole, so that a kill at any moment leaves the old one or the new one. Whoever changes it
//! holds its lock, so that two shells never spend one refresh token twice: an issuer that rotates them would take that
//! for theft and end the sign-in (RFC 9700 §4.14.2).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::kept::Kept;
use super::keyring::{self, Choice, Keyring, KeyringError};
use crate::cli::failure::{Exit, Failure};
use crate::cli::private_files;
use crate::cli::session::Lookup;
use crate::config::digest_hex;
use crate::error_chain::error_chain;
use crate::secret::Secret;

/// How long another shell may take: as long as its call to the issuer may, and then its keyring.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(40).saturating_add(keyring::TIME_MAX);
const LOCK_ASKED_EVERY: Duration = Duration::from_millis(50);
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Characters of the control plane's digest in a file's name.
const NAME_CHARS: usize = 24;

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Shelf {
    folder: PathBuf,
    name: String,
    choice: Choice,
    /// Where the programs of keyrings are looked for.
    programs: OsString,
}

/// What stands in the file of a sign-in that lies in a keyring.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    keyring: String,
}

/// What a file holds.
enum Content {
    Kept(Box<Kept>),
    Elsewhere(Pointer),
}

/// While it lives, nobody else changes the file.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "its end is the end of the lock")] File);

impl Shelf {
    /// The place for the sign-in at `control`. Nothing is made yet.
    ///
    /// # Errors
    /// When there is no home to keep anything in, or a keyring is wanted that is not there.
    pub(in crate::cli) fn new(control: &str, env: Lookup<'_>) -> Result<Self, Failure> {
        let folder = private_files::state_folder(env).ok_or_else(|| {
            Failure::new(
                Exit::NotAuthenticated,
                "there is no folder to keep a sign-in in",
                "set XDG_STATE_HOME or HOME, or put a token in BREAKGLASS_TOKEN",
            )
        })?;
        let name: String = digest_hex(control).chars().take(NAME_CHARS).collect();
        let choice = Choice::of(env).map_err(|error| {
            let hint = format!("install it, or set {}=off to keep the sign-in in a file", keyring::VARIABLE);
            Failure::new(Exit::NotAuthenticated, error.to_string(), hint)
        })?;
        Ok(Self { folder: folder.join("sign-in"), name, choice, programs: keyring::programs(env) })
    }

    pub(in crate::cli) fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// In words: the keyring or the file that it is kept in.
    pub(in crate::cli) fn place(&self) -> String {
        match self.content() {
            Ok(Some(Content::Elsewhere(pointer))) => format!("the keyring {}", pointer.keyring),
            _ => self.file().display().to_string(),
        }
    }

    /// What is kept, if anything is.
    ///
    /// # Errors
    /// When it cannot be read, or others can read it.
    pub(in crate::cli) async fn read(&self) -> Result<Option<Kept>, Failure> {
        let pointer = match self.content()? {
            None => return Ok(None),
            Some(Content::Kept(kept)) => return Ok(Some(*kept)),
            Some(Content::Elsewhere(pointer)) => pointer,
        };
        let locked = |error: KeyringError| self.locked(&error);
        let keyring = Keyring::named(&pointer.keyring, &self.programs).map_err(locked)?;
        let Some(text) = keyring.get(&self.url()).await.map_err(locked)? else { return Ok(None) };
        let garbled = || unusable(&self.file(), "what the keyring has is not what this program keeps there");
        Kept::parse(text.expose()).map(Some).ok_or_else(garbled)
    }

    /// What the file says.
    fn content(&self) -> Result<Option<Content>, Failure> {
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
        let elsewhere = || serde_json::from_str(&text).ok().map(Content::Elsewhere);
        let content = Kept::parse(&text).map(|kept| Content::Kept(Box::new(kept))).or_else(elsewhere);
        content.map(Some).ok_or_else(|| unusable(&path, "it is not what this program writes there"))
    }

    /// Replaces what is kept. Answers why it is not in the system's keyring, where that was tried.
    pub(super) async fn write(&self, _held: &Held, kept: &Kept) -> Result<Option<KeyringError>, Failure> {
        let text = serde_json::to_string(kept).map_err(|error| self.not_kept(&error.to_string()))?;
        let (keyring, why_not) = match &self.choice {
            Choice::Off => (None, None),
            Choice::Named(keyring) | Choice::Found(keyring) => {
                match keyring.store(&self.url(), &Secret::new(text.clone())).await {
                    Ok(()) => (Some(keyring), None),
                    Err(error) if matches!(self.choice, Choice::Found(_)) => (None, Some(error)),
                    Err(error) => return Err(self.locked(&error)),
                }
            }
        };
        let content = match keyring {
            Some(keyring) => serde_json::to_string(&Pointer { keyring: keyring.name().to_owned() })
                .map_err(|error| self.not_kept(&error.to_string()))?,
            None => text,
        };
        let before = self.content();
        private_files::replace(&self.file(), content.as_bytes()).map_err(|error| self.not_kept(&error.to_string()))?;
        if let Ok(Some(Content::Elsewhere(before))) = before
            && keyring.is_none_or(|keyring| keyring.name() != before.keyring)
            && let Ok(left) = Keyring::named(&before.keyring, &self.programs)
        {
            // What it has is of no more use: the issuer has given something newer.
            let _forgotten = left.erase(&self.url()).await;
        }
        Ok(why_not)
    }

    pub(super) async fn remove(&self, _held: &Held) -> Result<(), Failure> {
        let path = self.file();
        if let Ok(Some(Content::Elsewhere(pointer))) = self.content() {
            let locked = |error: KeyringError| self.locked(&error);
            let keyring = Keyring::named(&pointer.keyring, &self.programs).map_err(locked)?;
            keyring.erase(&self.url()).await.map_err(locked)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(&path, &error.to_string())),
            _ => Ok(()),
        }
    }

    /// The sign-in's name in a keyring: helpers take addresses.
    fn url(&self) -> String {
        format!("https://breakglass/sign-in/{}", self.name)
    }

    fn locked(&self, error: &KeyringError) -> Failure {
        let message = format!("the sign-in cannot be had from its keyring: {}", error_chain(error));
        let hint = format!(
            "unlock the keyring; or remove {}, set {}=off and run breakglass login",
            self.file().display(),
            keyring::VARIABLE
        );
        Failure::new(Exit::NotAuthenticated, message, hint)
    }

    fn not_kept(&self, why: &str) -> Failure {
        let message = format!("the sign-in cannot be kept in {}: {why}", self.file().display());
        Failure::new(Exit::Failed, message, "make room, or make the folder yours")
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
