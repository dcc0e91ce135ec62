//! The caller's own key, to which grants with the binding `dpop` are bound: one file in the state folder, for its owner
//! alone, made when it is first needed.
//!
//! It must never leave this machine, nor be shown: only proofs made with it do. Whoever removes the file makes the grants
//! bound to it unusable, and no other.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::args::Global;
use super::failure::{Exit, Failure};
use super::private_files;
use super::session::Lookup;
use crate::token::dpop::ProofKey;

const FILE: &str = "dpop.key";
/// Characters of a line of PEM (RFC 7468 §2).
const LINE: usize = 64;

/// Where the key is kept.
#[derive(Debug, Clone)]
pub(super) struct OwnKey {
    /// Absent: there is no folder to keep it in.
    path: Option<PathBuf>,
}

impl OwnKey {
    /// `--dpop-key`, or a file in the state folder.
    pub(super) fn find(global: &Global, env: Lookup<'_>) -> Self {
        Self { path: global.dpop_key.clone().or_else(|| Some(private_files::state_folder(env)?.join(FILE))) }
    }

    /// The key; a new one where there is none.
    ///
    /// # Errors
    /// When it can't be read or made, or others can read it.
    pub(super) fn load_or_make(&self) -> Result<ProofKey, Failure> {
        let path = self.path()?;
        match read(path) {
            Ok(key) => Ok(key),
            Err(Unreadable::Missing) => make(path).map_err(|error| unusable(path, &error.to_string())),
            Err(Unreadable::Unusable(why)) => Err(unusable(path, &why)),
        }
    }

    fn path(&self) -> Result<&Path, Failure> {
        self.path.as_deref().ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "there is no folder to keep a key in",
                "set XDG_STATE_HOME or HOME, or name --dpop-key",
            )
        })
    }
}

enum Unreadable {
    Missing,
    Unusable(String),
}

fn unusable(path: &Path, why: &str) -> Failure {
    let message = format!("the key {} can't be used: {why}", path.display());
    Failure::new(Exit::Failed, message, "name another file with --dpop-key or BREAKGLASS_DPOP_KEY")
}

fn read(path: &Path) -> Result<ProofKey, Unreadable> {
    let other = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        _ => Unreadable::Unusable(error.to_string()),
    };
    let mut file = fs::File::open(path).map_err(other)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(other)?;
    if private_files::mode_open_to_others(&file).map_err(other)?.is_some() {
        return Err(Unreadable::Unusable("others can read it: it takes mode 0600".to_owned()));
    }
    let der = PrivatePkcs8KeyDer::from_pem_slice(&text)
        .map_err(|_| Unreadable::Unusable("it is no private key in PKCS #8 PEM".to_owned()))?;
    ProofKey::from_pkcs8_der(der.secret_pkcs8_der()).map_err(|error| Unreadable::Unusable(error.to_string()))
}

/// Whole or not at all, and never over another: of two commands at once, one makes it and both use it.
fn make(path: &Path) -> Result<ProofKey, Box<dyn std::error::Error>> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    private_files::make_folder(folder)?;
    let key = ProofKey::generate()?;
    // Such a file is its owner's alone from the first moment.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(pem(key.pkcs8_der().expose()).as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => match read(path) {
            Ok(theirs) => Ok(theirs),
            Err(Unreadable::Unusable(why)) => Err(why.into()),
            Err(Unreadable::Missing) => Err(error.error.into()),
        },
        Err(error) => Err(error.error.into()),
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn own_key(folder: &Path) -> OwnKey {
        OwnKey { path: Some(folder.join("breakglass").join(FILE)) }
    }

    #[test]
    fn it_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let own = own_key(folder.path());
        let made = own.load_or_make().unwrap();
        let path = own.path().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(own.load_or_make().unwrap().thumbprint(), made.thumbprint());
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(own.load_or_make().unwrap_err().message.contains("others can read it"));
    }

    #[test]
    fn two_at_once_have_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let thumbprints: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| own_key(folder.path()).load_or_make().unwrap().thumbprint().to_string()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(thumbprints.windows(2).all(|pair| pair[0] == pair[1]), "{thumbprints:?}");
    }

    #[test]
    fn what_is_no_key_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "no key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(OwnKey { path: Some(path.clone()) }.load_or_make().is_err());
        assert_eq!(fs::read(&path).unwrap(), b"no key");
    }
}
