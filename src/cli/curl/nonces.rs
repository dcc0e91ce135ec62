//! The newest nonce that each sidecar has given for proofs, from one call to the next (RFC 9449 §8), so that a call need not be
//! refused first for want of one.
//!
//! One small file an origin in the state folder, replaced whole, so that calls at once read one nonce or the other, and each
//! is as good. A nonce is worth nothing without the key. Nothing here fails a call: what can't be read or kept costs the
//! usual round.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::private_files;
use crate::cli::session::Lookup;
use crate::config::digest_hex;
use crate::domain::WallTime;
use crate::token::dpop::{ID_BYTES_MAX, NONCE_AGE_MAX};

/// An older one is not used: the sidecar would refuse it, and the round is saved by not trying.
const AGE_MAX: Duration = Duration::from_secs(NONCE_AGE_MAX.as_secs() - 10);
/// Files that nobody has written for so long are of origins that are called no more.
const KEPT: Duration = Duration::from_secs(86_400);
const FILE_BYTES_MAX: u64 = 1024;
/// Characters of the origin's digest in a file's name.
const NAME_CHARS: usize = 24;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heard {
    at_ms: i64,
    nonce: String,
}

/// The place of one origin's nonce. Without a state folder there is none.
#[derive(Debug)]
pub(super) struct NoncePlace(Option<PathBuf>);

impl NoncePlace {
    /// `url` as it is called; its path does not count.
    pub(super) fn of(url: &str, env: Lookup<'_>) -> Self {
        let name: String = digest_hex(&origin(url)).chars().take(NAME_CHARS).collect();
        Self(private_files::state_folder(env).map(|folder| folder.join("nonces").join(name)))
    }

    /// The nonce, if it is young enough to be tried.
    pub(super) fn recall(&self, now: WallTime) -> Option<String> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.0.as_ref()?).ok()?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let heard: Heard = serde_json::from_slice(&bytes).ok()?;
        let at = WallTime::from_unix_ms(heard.at_ms);
        // One of the future was kept by a clock that was wrong.
        (at <= now && now.since(at) <= AGE_MAX && is_nonce(&heard.nonce)).then_some(heard.nonce)
    }

    /// Keeps a nonce for the calls to come.
    pub(super) fn keep(&self, nonce: &str, now: WallTime) {
        let Some(path) = self.0.as_ref().filter(|_| is_nonce(nonce)) else { return };
        let Some(folder) = path.parent() else { return };
        let heard = Heard { at_ms: now.unix_ms(), nonce: nonce.to_owned() };
        let Ok(bytes) = serde_json::to_vec(&heard) else { return };
        if private_files::make_folder(folder).and_then(|()| private_files::replace(path, &bytes)).is_ok() {
            forget_old(folder);
        }
    }
}

/// RFC 9449 §8.1, and as long as the sidecar takes.
fn is_nonce(text: &str) -> bool {
    let plain = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(plain)
}

/// Scheme and authority, without who is named in it.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}").to_ascii_lowercase()
}

fn forget_old(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    let is_old = |file: &fs::DirEntry| {
        let changed = file.metadata().and_then(|meta| meta.modified()).ok();
        changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > KEPT)
    };
    for file in files.flatten().filter(is_old) {
        // Another call may have been faster.
        let _ = fs::remove_file(file.path());
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);

    fn place(folder: &Path, url: &str) -> NoncePlace {
        let state = folder.to_str().unwrap().to_owned();
        NoncePlace::of(url, &move |name: &str| (name == "XDG_STATE_HOME").then(|| state.clone()))
    }

    #[test]
    fn a_nonce_is_its_origins_own_and_grows_old() {
        let folder = tempfile::tempdir().unwrap();
        let own = place(folder.path(), "https://API.test:8443/v1/a?b");
        assert_eq!(own.recall(NOW), None);
        own.keep("first", NOW);
        own.keep("second", NOW);
        let same = place(folder.path(), "https://someone@api.test:8443/v2#x");
        assert_eq!(same.recall(NOW).as_deref(), Some("second"));
        for other in ["https://api.test/v1/a", "http://api.test:8443/", "https://api.test:8443.evil.test/"] {
            assert_eq!(place(folder.path(), other).recall(NOW), None, "{other}");
        }
        assert_eq!(own.recall(NOW.plus(AGE_MAX)).as_deref(), Some("second"));
        assert_eq!(own.recall(NOW.plus(AGE_MAX + Duration::from_millis(1))), None);
        assert_eq!(own.recall(NOW.minus(Duration::from_millis(1))), None, "a clock that went back");
    }

    #[test]
    fn the_file_is_private_and_what_is_not_a_nonce_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let own = place(folder.path(), "https://api.test/");
        for bad in ["", "a b", "a\"b", "a\\b", "a\nb", "\u{e9}", &"x".repeat(ID_BYTES_MAX + 1)] {
            own.keep(bad, NOW);
            assert_eq!(own.recall(NOW), None, "{bad:?}");
        }
        own.keep("good", NOW);
        let path = own.0.as_ref().unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let long = format!("{{\"at_ms\":{},\"nonce\":\"{}\"}}", NOW.unix_ms(), "n".repeat(4096));
        for text in ["", "{", "[]", "{\"nonce\":\"a\"}", "{\"at_ms\":1,\"nonce\":\"a\",\"x\":1}", &long] {
            fs::write(path, text).unwrap();
            assert_eq!(own.recall(NOW), None, "{text}");
        }
    }

    #[test]
    fn many_at_once_read_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let own = place(folder.path(), "https://api.test/");
        own.keep("nonce-0", NOW);
        std::thread::scope(|threads| {
            for writer in 0..4 {
                let own = &own;
                threads.spawn(move || (0..50).for_each(|n| own.keep(&format!("nonce-{writer}-{n}"), NOW)));
            }
            for _ in 0..200 {
                assert!(own.recall(NOW).unwrap().starts_with("nonce-"));
            }
        });
        let left = fs::read_dir(own.0.as_ref().unwrap().parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside it");
    }
}
