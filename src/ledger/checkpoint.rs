//! Checkpoints (c2sp.org/tlog-checkpoint): what a tree was at one size, signed by its log; and cosignatures of witnesses
//! under them (c2sp.org/tlog-cosignature).

use std::fmt;
use std::str::FromStr;

use super::hash::Hash;
use super::note::{KeyKind, KeyName, Note, NoteError, SignatureLine, VerifierKey};

const ED25519_BYTES: usize = 64;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: KeyName,
    pub size: u64,
    pub root: Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("the text is not origin, size and root hash, one a line")]
    Malformed,
    #[error("the checkpoint is of another log")]
    OtherLog,
}

/// A checkpoint as it was read, with the note that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    pub checkpoint: Checkpoint,
    pub note: Note,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// The note, with these signatures.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn signed(&self, signatures: Vec<SignatureLine>) -> Result<Note, NoteError> {
        Note::new(self.text(), signatures)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Extension lines are passed over: nothing of ours rests on them.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Malformed)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Malformed);
        };
        if lines.any(str::is_empty) {
            return Err(CheckpointError::Malformed);
        }
        let origin = origin.parse().map_err(|_| CheckpointError::Malformed)?;
        let root = root.parse().map_err(|_| CheckpointError::Malformed)?;
        Ok(Self { origin, size: decimal(size).ok_or(CheckpointError::Malformed)?, root })
    }
}

/// ASCII decimal without leading zeroes.
pub fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl SignedCheckpoint {
    /// Reads a note and checks that one of `keys`, of the log that they name, signed it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(note: &str, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let found = Self::read(note)?;
        let own: Vec<VerifierKey> = keys.iter().filter(|key| *key.name() == found.checkpoint.origin).cloned().collect();
        if own.is_empty() {
            return Err(CheckpointError::OtherLog);
        }
        found.note.verified_by(&own)?;
        Ok(found)
    }

    /// Reads a note, whoever signed it.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(note: &str) -> Result<Self, CheckpointError> {
        let note: Note = note.parse()?;
        Ok(Self { checkpoint: note.text().parse()?, note })
    }

    /// Which of `witnesses` have cosigned it, and when, in Unix seconds.
    ///
    /// # Errors
    /// [`NoteError::Signature`], when a signature that names one of them does not hold.
    pub fn cosigned_by<'k>(&self, witnesses: &'k [VerifierKey]) -> Result<Vec<(&'k VerifierKey, u64)>, NoteError> {
        let mut found = Vec::new();
        for key in witnesses.iter().filter(|key| key.kind() == KeyKind::Cosignature) {
            for line in self.note.signatures.iter().filter(|line| line.is_of(key)) {
                let at = cosigned_at(line, key, self.note.text()).ok_or(NoteError::Signature)?;
                found.push((key, at));
            }
        }
        Ok(found)
    }
}

/// What a witness signs for a checkpoint's text, at this Unix time in seconds.
pub fn cosigned_message(text: &str, unix_s: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {unix_s}\n{text}").into_bytes()
}

/// The signature line of a witness: the time stands before the signature.
pub fn cosignature(key: &VerifierKey, unix_s: u64, signature: &[u8]) -> SignatureLine {
    SignatureLine::by(key, [&unix_s.to_be_bytes(), signature].concat())
}

/// When `key` cosigned `text`, if the line is a cosignature of it that holds.
pub fn cosigned_at(line: &SignatureLine, key: &VerifierKey, text: &str) -> Option<u64> {
    let (at, signature) = line.signature.split_first_chunk::<8>()?;
    let at = u64::from_be_bytes(*at);
    let is_time = at > 0 && i64::try_from(at).is_ok();
    let holds = line.is_of(key)
        && key.kind() == KeyKind::Cosignature
        && signature.len() == ED25519_BYTES
        && key.verifies(&cosigned_message(text, at), signature);
    (is_time && holds).then_some(at)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn pair(kind: KeyKind, name: &str) -> (Ed25519KeyPair, VerifierKey) {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        (pair, VerifierKey::new(name.parse().unwrap(), kind, public))
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "example.com/log".parse().unwrap(), size: 42, root: Hash::of_leaf(b"x") }
    }

    fn signed() -> (String, VerifierKey) {
        let (pair, key) = pair(KeyKind::Note, "example.com/log");
        let signature = pair.sign(checkpoint().text().as_bytes()).as_ref().to_vec();
        (checkpoint().signed(vec![SignatureLine::by(&key, signature)]).unwrap().to_string(), key)
    }

    #[test]
    fn a_checkpoint_is_of_the_log_whose_key_signed_it() {
        let (note, key) = signed();
        assert_eq!(SignedCheckpoint::verify(&note, &[key]).unwrap().checkpoint, checkpoint());
        let (_, stranger) = pair(KeyKind::Note, "example.com/log");
        assert_eq!(SignedCheckpoint::verify(&note, &[stranger]), Err(NoteError::Unsigned.into()));
        let (_, other) = pair(KeyKind::Note, "example.com/other");
        assert_eq!(SignedCheckpoint::verify(&note, &[other]), Err(CheckpointError::OtherLog));
        let witness = pair(KeyKind::Cosignature, "example.com/log").1;
        assert_eq!(SignedCheckpoint::verify(&note, &[witness]), Err(NoteError::Unsigned.into()), "no log's key");
    }

    #[test]
    fn every_single_bit_of_the_text_counts() {
        let (note, key) = signed();
        let text_bytes = checkpoint().text().len();
        for at in 0..text_bytes {
            for bit in 0..8 {
                let mut altered = note.clone().into_bytes();
                altered[at] ^= 1 << bit;
                let Ok(altered) = String::from_utf8(altered) else { continue };
                assert!(SignedCheckpoint::verify(&altered, std::slice::from_ref(&key)).is_err(), "{at}.{bit}");
            }
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let root = Hash::of_nothing();
        for bad in [
            String::new(),
            "o\n1\n".into(),
            format!("o\n01\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("\n1\n{root}\n"),
            format!("o o\n1\n{root}\n"),
            format!("o\n1\n{root}"),
            format!("o\n1\n{root}\n\nx\n"),
            "o\n1\nAAAA\n".into(),
        ] {
            assert_eq!(bad.parse::<Checkpoint>(), Err(CheckpointError::Malformed), "{bad:?}");
        }
        assert_eq!(format!("o\n1\n{root}\nextension\n").parse::<Checkpoint>().unwrap().size, 1);
    }

    #[test]
    fn a_cosignature_holds_for_its_text_and_time() {
        let (pair, key) = pair(KeyKind::Cosignature, "witness.example/w1");
        let text = checkpoint().text();
        let signature = pair.sign(&cosigned_message(&text, 1_679_315_147)).as_ref().to_vec();
        let line = cosignature(&key, 1_679_315_147, &signature);
        let read: SignatureLine = line.to_string().parse().unwrap();
        assert_eq!(cosigned_at(&read, &key, &text), Some(1_679_315_147));
        assert_eq!(cosigned_at(&read, &key, "another\n"), None);
        assert_eq!(cosigned_at(&cosignature(&key, 1_679_315_148, &signature), &key, &text), None);
        assert_eq!(cosigned_at(&cosignature(&key, 0, &signature), &key, &text), None);
        let (note, _) = signed();
        let witnessed = SignedCheckpoint::read(&format!("{note}{line}\n")).unwrap();
        assert_eq!(witnessed.cosigned_by(std::slice::from_ref(&key)), Ok(vec![(&key, 1_679_315_147)]));
        let forged = format!("{note}{}\n", cosignature(&key, 1, &signature));
        assert_eq!(SignedCheckpoint::read(&forged).unwrap().cosigned_by(&[key]), Err(NoteError::Signature));
    }
}
