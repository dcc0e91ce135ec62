//! A proof that something is in the log, as a file that stands alone (c2sp.org/tlog-proof): an index, hashes, a signed
//! checkpoint. Ours carry the entry itself as their extra data, so that nothing else is needed but the log's key.
//!
//! The extra data is believed only as far as the proof holds for its hash.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{CheckpointError, SignedCheckpoint, decimal};
use super::hash::Hash;
use super::note::{NOTE_BYTES_MAX, VerifierKey};
use super::tile::ENTRY_BYTES_MAX;
use super::tree::{self, PROOF_HASHES_MAX, ProofError};

/// The first line of the file.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Greatest size of a proof that is read.
pub const PROOF_BYTES_MAX: usize = ENTRY_BYTES_MAX * 2 + PROOF_HASHES_MAX * 64 + NOTE_BYTES_MAX;

/// A proof that has not been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    pub extra: Option<Vec<u8>>,
    pub index: u64,
    pub hashes: Vec<Hash>,
    /// The note, word for word.
    pub checkpoint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogProofError {
    #[error("the file is larger than {PROOF_BYTES_MAX} bytes")]
    TooLong,
    #[error("the file is not a tlog-proof: {0}")]
    Malformed(&'static str),
    #[error("its checkpoint can't be believed: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("it does not hold: {0}")]
    Proof(#[from] ProofError),
}

impl LogProof {
    /// Checks that `entry` is in the log, at the index the proof names, by a checkpoint that one of `keys` signed.
    ///
    /// # Errors
    /// [`LogProofError`].
    pub fn verify(&self, entry: &[u8], keys: &[VerifierKey]) -> Result<SignedCheckpoint, LogProofError> {
        let signed = SignedCheckpoint::verify(&self.checkpoint, keys)?;
        let (size, root) = (signed.checkpoint.size, signed.checkpoint.root);
        tree::check_inclusion(&self.hashes, self.index, size, Hash::of_leaf(entry), root)?;
        Ok(signed)
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for LogProof {
    type Err = LogProofError;

    fn from_str(text: &str) -> Result<Self, LogProofError> {
        let malformed = LogProofError::Malformed;
        if text.len() > PROOF_BYTES_MAX {
            return Err(LogProofError::TooLong);
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("there is no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed("it begins with another line"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra ")).map(|line| line.trim_start_matches("extra "));
        let extra = extra.map(|extra| STANDARD.decode(extra)).transpose();
        let extra = extra.map_err(|_| malformed("its extra data is not base64"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(malformed("it has no index"))?;
        let hashes: Result<Vec<Hash>, _> = lines.map(str::parse).collect();
        let hashes = hashes.map_err(|_| malformed("a line is not a hash"))?;
        if hashes.len() > PROOF_HASHES_MAX {
            return Err(malformed("it has too many hashes"));
        }
        Ok(Self { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sample::SampleLog;

    #[test]
    fn a_proof_reads_back_and_holds_for_its_entry_alone() {
        let log = SampleLog::of(300);
        let proof = log.prove(270);
        let text = proof.to_string();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{text}");
        let read: LogProof = text.parse().unwrap();
        assert_eq!(read, proof);
        let entry = read.extra.clone().unwrap();
        let keys = [log.key()];
        assert_eq!(read.verify(&entry, &keys).unwrap().checkpoint.size, 300);
        assert_eq!(read.verify(b"another", &keys), Err(ProofError::OtherRoot.into()));
        let elsewhere = LogProof { index: 271, ..read.clone() };
        assert!(elsewhere.verify(&entry, &keys).is_err());
        let unsigned = LogProof { checkpoint: read.checkpoint.replace("\n300\n", "\n301\n"), ..read };
        assert!(matches!(unsigned.verify(&entry, &keys), Err(LogProofError::Checkpoint(_))));
    }

    #[test]
    fn every_altered_byte_of_a_file_is_seen() {
        let log = SampleLog::of(20);
        let (text, keys) = (log.prove(7).to_string(), [log.key()]);
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] ^= 1;
            let Ok(altered) = String::from_utf8(altered) else { continue };
            let holds = altered.parse::<LogProof>().is_ok_and(|proof| {
                let same = proof.to_string() == text;
                let entry = proof.extra.clone().unwrap_or_default();
                proof.verify(&entry, &keys).is_ok() && !same && proof.index == 7 && entry == log.entries[7].as_bytes()
            });
            // Where it still holds, it says the very same of the very same entry.
            let ignored = holds && altered.contains("— ");
            assert!(!holds || ignored, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_proof_is_refused() {
        for bad in [
            "",
            "c2sp.org/tlog-proof@v1\nindex 1\n",
            "c2sp.org/tlog-proof@v2\nindex 1\n\nx",
            "c2sp.org/tlog-proof@v1\nindex 01\n\nx",
            "c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\nx",
            "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx",
        ] {
            assert!(matches!(bad.parse::<LogProof>(), Err(LogProofError::Malformed(_))), "{bad:?}");
        }
        assert_eq!("x".repeat(PROOF_BYTES_MAX + 1).parse::<LogProof>(), Err(LogProofError::TooLong));
    }
}
