//! Keyed digests (HMAC-SHA-256) of what an operator wants to compare and nobody to read.
//!
//! The same text gives the same digest for as long as the key stays; without the key nobody finds out the text by trying.

use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;

use crate::hex::hex;

/// The shortest key that is taken.
const KEY_BYTES_MIN: usize = 32;
const KEY_BYTES_MAX: u64 = 4096;

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot read {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} must hold {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes", .0.display())]
    Length(PathBuf),
}

/// A key, and its name.
#[derive(Debug)]
pub struct DigestKey {
    key: hmac::Key,
    id: String,
}

impl DigestKey {
    /// Reads the key. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load(file: &Path) -> Result<Self, KeyFileError> {
        let path = || file.to_owned();
        let unreadable = |source| KeyFileError::Io { path: path(), source };
        let len = std::fs::metadata(file).map_err(unreadable)?.len();
        if len > KEY_BYTES_MAX {
            return Err(KeyFileError::Length(path()));
        }
        let bytes = std::fs::read(file).map_err(unreadable)?;
        if bytes.len() < KEY_BYTES_MIN {
            return Err(KeyFileError::Length(path()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let id = hex(hmac::sign(&key, b"breakglass query digest key").as_ref()).chars().take(16).collect();
        Ok(Self { key, id })
    }

    /// Which key it is, as 16 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Of the parts with a zero byte between them. Nothing can be moved from one part into the next as long as all but the
    /// last hold no zero byte.
    pub fn digest(&self, parts: &[&str]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                context.update(&[0]);
            }
            context.update(part.as_bytes());
        }
        hex(context.sign().as_ref())
    }
}
