//! The chain: which log a line belongs to, its place in it, and the hash of the line before.
//!
//! INVARIANT: within one log id sequences are dense from 1, and `prev` is the SHA-256 of the bytes of the line before
//! (without its newline), whichever segment or log that line is in. The very first line of all names 64 zeros.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::hex::{Hex, parse_hex};

/// Why a piece of text is not a log id or a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hexadecimal digits")]
pub struct HexError {
    digits: usize,
}

macro_rules! hex_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(&self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                parse_hex(text).map(Self).ok_or(HexError { digits: $bytes * 2 })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(HexText(PhantomData))
            }
        }
    };
}

/// Reads a text of digits where it stands.
struct HexText<T>(PhantomData<T>);

impl<T: FromStr<Err = HexError>> Visitor<'_> for HexText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lower-case hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

hex_type! {
    /// One process start: 128 random bits.
    LogId, 16
}
hex_type! {
    /// The SHA-256 of one line, without its newline.
    LineHash, 32
}

impl LineHash {
    /// What the very first line of all names as the line before it.
    pub const NONE: Self = Self([0; 32]);

    pub fn of(line: &[u8]) -> Self {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, line).as_ref()) {
            *to = *from;
        }
        Self(out)
    }
}

/// A place in the chain: the line (log id, sequence) and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    pub log_id: LogId,
    pub sequence: u64,
    pub head: LineHash,
}

/// What a line says of its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub log_id: LogId,
    pub seq: u64,
    pub prev: LineHash,
}

impl Link {
    /// The line's name among all lines of all logs.
    pub const fn uid(&self) -> LineUid {
        LineUid { log_id: self.log_id, seq: self.seq }
    }
}

/// See [`Link::uid`].
#[derive(Debug, Clone, Copy)]
pub struct LineUid {
    log_id: LogId,
    seq: u64,
}

impl fmt::Display for LineUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.log_id, self.seq)
    }
}

impl Serialize for LineUid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The end of a growing chain.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    log_id: LogId,
    last_seq: u64,
    head: LineHash,
}

impl Chain {
    /// A new log whose first line follows the last line of the log before it, if there was one.
    pub fn start(log_id: LogId, previous: Option<&Position>) -> Self {
        Self { log_id, last_seq: 0, head: previous.map_or(LineHash::NONE, |p| p.head) }
    }

    /// The link of the line to come.
    pub fn next(&self) -> Link {
        Link { log_id: self.log_id, seq: self.last_seq.saturating_add(1), prev: self.head }
    }

    /// Takes the line that was made with [`Chain::next`].
    pub fn advance(&mut self, line: &[u8]) {
        self.last_seq = self.last_seq.saturating_add(1);
        self.head = LineHash::of(line);
    }

    pub fn position(&self) -> Position {
        Position { log_id: self.log_id, sequence: self.last_seq, head: self.head }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256_of_the_bytes() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(LineHash::of(b"abc").to_string(), expected);
        assert_eq!(expected.parse::<LineHash>().unwrap(), LineHash::of(b"abc"));
    }

    #[test]
    fn hexadecimal_has_one_spelling() {
        let id = LogId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse::<LogId>().unwrap(), id);
        for bad in ["AB".repeat(16), "ab".repeat(15), "+b".repeat(16), "é".repeat(16)] {
            assert!(bad.parse::<LogId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_log_follows_the_hash_of_the_old() {
        let mut old = Chain::start(LogId::from_bytes([1; 16]), None);
        assert_eq!(old.next().prev, LineHash::NONE);
        old.advance(b"line");
        let new = Chain::start(LogId::from_bytes([2; 16]), Some(&old.position()));
        assert_eq!((new.next().seq, new.next().prev), (1, LineHash::of(b"line")));
    }
}
