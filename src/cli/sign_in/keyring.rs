//! The keyring of the system, through the credential helpers that Docker's tools use too: a program `docker-credential-NAME`
//! is told what to do by its one argument, reads one document and writes one.
//!
//! `osxkeychain`, `wincred`, `secretservice` and `pass` are names of such programs. The protocol is that of
//! <https://github.com/docker/docker-credential-helpers> ("Development").
//!
//! Must never put a secret into an argument, into the environment, or into what is said.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::cli::session::Lookup;
use crate::secret::Secret;

/// Names the keyring, or `off`. Unset: the one that belongs to the system, where its program is installed.
pub(super) const VARIABLE: &str = "BREAKGLASS_KEYRING";
const OFF: &str = "off";
const PROGRAM: &str = "docker-credential-";
const NAME_BYTES_MAX: usize = 64;
/// A keyring may have to be unlocked by its owner first.
pub(super) const TIME_MAX: Duration = Duration::from_secs(120);
/// What the helpers say, and exit with 1, where there is nothing of that name.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// Whose it is: there is one secret for each place.
const USERNAME: &str = "breakglass";

/// Why a keyring was of no use.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum KeyringError {
    #[error("{VARIABLE} is no keyring's name: {OFF}, or small letters, digits and hyphens")]
    Name,
    #[error("{PROGRAM}{0} is not on the PATH")]
    Missing(String),
    #[error("{PROGRAM}{name} could not be run")]
    Run { name: String, source: std::io::Error },
    #[error("{PROGRAM}{name} did not answer within {} s", TIME_MAX.as_secs())]
    Late { name: String },
    #[error("{PROGRAM}{name} says: {said}")]
    Refused { name: String, said: String },
    #[error("{PROGRAM}{name} answered with something else than a credential")]
    Answer { name: String },
}

/// A keyring by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keyring {
    name: String,
    program: PathBuf,
}

/// Which keyring a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// None: a file.
    Off,
    /// This one and no other.
    Named(Keyring),
    /// The system's own. Where it does not work, as where nobody unlocks it, a file does.
    Found(Keyring),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stored<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'static str,
    secret: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Got {
    secret: String,
}

impl Choice {
    /// # Errors
    /// When a keyring is named that is not there.
    pub(super) fn of(env: Lookup<'_>) -> Result<Self, KeyringError> {
        match env(VARIABLE).as_deref() {
            Some(OFF) => Ok(Self::Off),
            Some(name) => Keyring::named(name, &programs(env)).map(Self::Named),
            None => {
                let own = own_name(env).and_then(|name| Keyring::named(name, &programs(env)).ok());
                Ok(own.map_or(Self::Off, Self::Found))
            }
        }
    }
}

/// The keyring that belongs to the system: the one of the Secret Service only where there is a session to ask.
fn own_name(env: Lookup<'_>) -> Option<&'static str> {
    if cfg!(windows) {
        Some("wincred")
    } else if cfg!(target_os = "macos") {
        Some("osxkeychain")
    } else {
        env("DBUS_SESSION_BUS_ADDRESS").map(|_| "secretservice")
    }
}

/// Where programs are looked for.
pub(super) fn programs(env: Lookup<'_>) -> OsString {
    env("PATH").map(OsString::from).unwrap_or_default()
}

impl Keyring {
    /// # Errors
    /// When there is no such program.
    pub(super) fn named(name: &str, programs: &OsStr) -> Result<Self, KeyringError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(KeyringError::Name);
        }
        let file = format!("{PROGRAM}{name}{}", std::env::consts::EXE_SUFFIX);
        let program = std::env::split_paths(programs)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&file))
            .find(|program| program.is_file())
            .ok_or_else(|| KeyringError::Missing(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), program })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps `secret` for `place`, instead of what is there.
    pub(super) async fn store(&self, place: &str, secret: &Secret<String>) -> Result<(), KeyringError> {
        let stored = Stored { server_url: place, username: USERNAME, secret: secret.expose() };
        let document = serde_json::to_vec(&stored).map_err(|_| KeyringError::Answer { name: self.name.clone() })?;
        self.ask("store", &document).await.map(drop)
    }

    pub(super) async fn get(&self, place: &str) -> Result<Option<Secret<String>>, KeyringError> {
        match self.ask("get", place.as_bytes()).await {
            Ok(answer) => {
                let got: Got =
                    serde_json::from_slice(&answer).map_err(|_| KeyringError::Answer { name: self.name.clone() })?;
                Ok(Some(Secret::new(got.secret)))
            }
            Err(KeyringError::Refused { said, .. }) if said == NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn erase(&self, place: &str) -> Result<(), KeyringError> {
        match self.ask("erase", place.as_bytes()).await {
            Err(KeyringError::Refused { said, .. }) if said == NOT_FOUND => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn ask(&self, what: &'static str, document: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let failed = |source| KeyringError::Run { name: self.name.clone(), source };
        let mut child = Command::new(&self.program)
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut input = child.stdin.take();
        let answered = async {
            if let Some(input) = &mut input {
                // One that ends without reading says why.
                let _unread = input.write_all(document).await;
            }
            drop(input);
            child.wait_with_output().await
        };
        let Ok(answer) = tokio::time::timeout(TIME_MAX, answered).await else {
            return Err(KeyringError::Late { name: self.name.clone() });
        };
        let answer = answer.map_err(failed)?;
        if answer.status.success() {
            return Ok(answer.stdout);
        }
        // Helpers say on their output what went wrong. A secret is there only where they succeed.
        let said =
            String::from_utf8_lossy(&answer.stdout).trim().chars().filter(|c| !c.is_control()).take(200).collect();
        Err(KeyringError::Refused { name: self.name.clone(), said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is chosen with these variables and, in the folder on the PATH, these programs.
    fn chosen(pairs: &[(&str, &str)], programs: &[&str]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            std::fs::write(folder.path().join(format!("{program}{}", std::env::consts::EXE_SUFFIX)), "").unwrap();
        }
        let env = |name: &str| match name {
            "PATH" => folder.path().to_str().map(str::to_owned),
            _ => pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
        };
        match Choice::of(&env).map_err(|error| error.to_string())? {
            Choice::Off => Ok("off".to_owned()),
            Choice::Named(keyring) => Ok(format!("named {}", keyring.name())),
            Choice::Found(keyring) => Ok(format!("found {}", keyring.name())),
        }
    }

    #[test]
    fn a_keyring_is_the_one_that_is_named_or_the_systems_own() {
        let session = ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus");
        let pass = ["docker-credential-pass", "docker-credential-secretservice"];
        assert_eq!(chosen(&[(VARIABLE, "pass"), session], &pass).unwrap(), "named pass");
        assert_eq!(chosen(&[(VARIABLE, "off"), session], &pass).unwrap(), "off");
        assert_eq!(chosen(&[session], &[]).unwrap(), "off");
        if cfg!(all(unix, not(target_os = "macos"))) {
            assert_eq!(chosen(&[session], &pass).unwrap(), "found secretservice");
            assert_eq!(chosen(&[], &pass).unwrap(), "off");
        }
        assert!(chosen(&[(VARIABLE, "pass")], &[]).unwrap_err().contains("docker-credential-pass is not on the PATH"));
        for name in ["../pass", "Pass", "pa ss", &"p".repeat(65)] {
            assert!(chosen(&[(VARIABLE, name)], &pass).unwrap_err().contains("no keyring's name"), "{name}");
        }
    }
}
