//! The hashes of the Merkle tree (RFC 6962 §2.1, SHA-256): of a leaf, of two children, of nothing.
//!
//! INVARIANT: a leaf's hash begins with 0x00 and a node's with 0x01, so that neither can be passed for the other.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub const HASH_BYTES: usize = 32;

/// SHA-256 of a leaf or of a subtree. Shown as base64, as the C2SP formats have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 32 bytes in base64")]
pub struct HashError;

impl Hash {
    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// The root of a tree without leaves.
    pub fn of_nothing() -> Self {
        Self::over(&[])
    }

    /// The hash of a leaf: of an entry's canonical bytes.
    pub fn of_leaf(entry: &[u8]) -> Self {
        Self::over(&[&[0], entry])
    }

    /// The hash of a node with two children.
    pub fn of_node(left: &Self, right: &Self) -> Self {
        Self::over(&[&[1], &left.0, &right.0])
    }

    fn over(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(part);
        }
        let mut bytes = [0; HASH_BYTES];
        // Both are 32 bytes long; a shorter digest could only make a hash that fits nothing.
        for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = STANDARD.decode(text).map_err(|_| HashError)?;
        bytes.try_into().map(Self).map_err(|_| HashError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hashes_are_those_of_rfc_6962() {
        // RFC 6962 §2.1 over the empty input; printf '' | sha256sum, printf '\0' | sha256sum.
        assert_eq!(Hash::of_nothing().to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(Hash::of_leaf(b"").to_string(), "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=");
        let leaf = Hash::of_leaf(b"");
        assert_ne!(Hash::of_node(&leaf, &leaf), Hash::of_leaf(&[*leaf.as_bytes(), *leaf.as_bytes()].concat()));
    }

    #[test]
    fn a_hash_reads_back_and_nothing_else_is_one() {
        let hash = Hash::of_leaf(b"entry");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in
            ["", "AAAA", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="]
        {
            assert_eq!(bad.parse::<Hash>(), Err(HashError), "{bad}");
        }
    }
}
