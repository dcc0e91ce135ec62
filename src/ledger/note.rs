//! Signed notes and verifier keys (c2sp.org/signed-note): text with Ed25519 signatures under it, each with a key's name.
//!
//! Must never: take the text of a note for true before [`Note::verified_by`] has said so.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Greatest size of a note that is read.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;
/// Most signatures of a note that are read.
pub const SIGNATURES_MAX: usize = 64;
const SIGNATURE_BYTES: usize = 64;
const KEY_BYTES: usize = 32;

/// Why a text is not a note, or a key not a verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the note is larger than {NOTE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the note is not text and signature lines with an empty line between them")]
    Malformed,
    #[error("the note has more than {SIGNATURES_MAX} signatures")]
    TooManySignatures,
    #[error("no key that is trusted has signed the note")]
    Unsigned,
    #[error("a signature of a trusted key does not hold")]
    Signature,
    #[error("a verifier key is NAME+KEYID+KEY: a name without spaces or plus, eight hex digits, base64")]
    Key,
    #[error("the verifier key's id is not that of its name and key")]
    KeyId,
    #[error("the verifier key is of another kind")]
    KeyKind,
    #[error("a key's name is not empty and has neither spaces nor plus signs")]
    Name,
}

/// What a key signs with: the signature type identifier byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// The text of a note.
    Note,
    /// A checkpoint with a time, by a witness (c2sp.org/tlog-cosignature).
    Cosignature,
}

impl KeyKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Note => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Note),
            0x04 => Some(Self::Cosignature),
            _ => None,
        }
    }
}

/// The name of a key: for a log, its origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

impl KeyName {
    /// Greatest length, in bytes.
    pub const BYTES_MAX: usize = 255;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let unfit = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.len() > Self::BYTES_MAX || text.chars().any(unfit) {
            return Err(NoteError::Name);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A public key with its name, as verifiers are given it. Its text is the `vkey` of the specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: KeyName,
    kind: KeyKind,
    public: [u8; KEY_BYTES],
    id: u32,
}

impl VerifierKey {
    pub fn new(name: KeyName, kind: KeyKind, public: [u8; KEY_BYTES]) -> Self {
        let id = key_id(&name, kind, &public);
        Self { name, kind, public, id }
    }

    pub fn name(&self) -> &KeyName {
        &self.name
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn public(&self) -> &[u8; KEY_BYTES] {
        &self.public
    }

    /// Whether `signature` is this key's of `message` (RFC 8032 §5.1.7).
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).is_ok()
    }
}

fn key_id(name: &KeyName, kind: KeyKind, public: &[u8; KEY_BYTES]) -> u32 {
    let input = [name.as_str().as_bytes(), b"\n", &[kind.byte()], public].concat();
    let digest = digest(&SHA256, &input);
    digest.as_ref().iter().take(4).fold(0, |id, byte| id << 8 | u32::from(*byte))
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.byte()], self.public.as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (kind, public) = key.split_first().ok_or(NoteError::Key)?;
        let kind = KeyKind::of(*kind).ok_or(NoteError::KeyKind)?;
        let public = public.try_into().map_err(|_| NoteError::Key)?;
        let found = Self::new(name.parse().map_err(|_| NoteError::Key)?, kind, public);
        if id != format!("{:08x}", found.id) {
            return Err(NoteError::KeyId);
        }
        Ok(found)
    }
}

/// One signature line: who says to have signed, and with which bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    pub name: KeyName,
    pub id: u32,
    pub signature: Vec<u8>,
}

impl SignatureLine {
    pub fn by(key: &VerifierKey, signature: Vec<u8>) -> Self {
        Self { name: key.name.clone(), id: key.id, signature }
    }

    /// Whether the line claims to be of this key; the signature may still be wrong.
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        self.id == key.id && self.name == key.name
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.to_be_bytes(), self.signature.as_slice()].concat();
        write!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for SignatureLine {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        let (name, bytes) =
            line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Malformed)?;
        let bytes = STANDARD.decode(bytes).map_err(|_| NoteError::Malformed)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
        if signature.is_empty() {
            return Err(NoteError::Malformed);
        }
        let name = name.parse().map_err(|_| NoteError::Malformed)?;
        Ok(Self { name, id: u32::from_be_bytes(*id), signature: signature.to_vec() })
    }
}

/// A note whose signatures have not been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// With its final newline.
    text: String,
    pub signatures: Vec<SignatureLine>,
}

impl Note {
    /// `text` ends with a newline.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn new(text: String, signatures: Vec<SignatureLine>) -> Result<Self, NoteError> {
        if !text.ends_with('\n') || text.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(NoteError::Malformed);
        }
        Ok(Self { text, signatures })
    }

    /// What was signed, if it was.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks that `key` signed the text. Every signature that names the key must hold.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] and [`NoteError::Signature`].
    pub fn verified_by(&self, keys: &[VerifierKey]) -> Result<(), NoteError> {
        let mut verified = false;
        for line in &self.signatures {
            for key in keys.iter().filter(|key| key.kind == KeyKind::Note && line.is_of(key)) {
                if line.signature.len() != SIGNATURE_BYTES || !key.verifies(self.text.as_bytes(), &line.signature) {
                    return Err(NoteError::Signature);
                }
                verified = true;
            }
        }
        if verified { Ok(()) } else { Err(NoteError::Unsigned) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(NoteError::TooLong);
        }
        // The text is parted from the signatures by the last empty line.
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, rest) = note.split_at_checked(split + 1).ok_or(NoteError::Malformed)?;
        let lines = rest.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n')).ok_or(NoteError::Malformed)?;
        let signatures = lines.split('\n').map(str::parse).collect::<Result<Vec<SignatureLine>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(NoteError::TooManySignatures);
        }
        Self::new(text.to_owned(), signatures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n— example.com/foo \
        Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    fn key() -> VerifierKey {
        KEY.parse().unwrap()
    }

    #[test]
    fn the_example_of_the_specification_holds() {
        let note: Note = NOTE.parse().unwrap();
        assert_eq!(note.verified_by(&[key()]), Ok(()));
        assert_eq!((note.to_string(), key().to_string()), (NOTE.to_owned(), KEY.to_owned()));
        assert_eq!(note.text(), "This is an example message.\n");
    }

    #[test]
    fn one_altered_byte_of_the_text_or_of_a_known_keys_signature_is_seen() {
        let altered: Note = NOTE.replace("example message", "example massage").parse().unwrap();
        assert_eq!(altered.verified_by(&[key()]), Err(NoteError::Signature));
        let other: Note = NOTE.replace("Uw2QOkn8", "Uw2QOkn9").parse().unwrap();
        assert_eq!(other.verified_by(&[key()]), Err(NoteError::Signature));
        let unknown: Note = NOTE.replace("Uw2QOkn8", "Vw2QOkn8").parse().unwrap();
        assert_eq!(unknown.verified_by(&[key()]), Err(NoteError::Unsigned), "another key's id");
        let also: Note = format!("{NOTE}{}", NOTE.lines().last().unwrap().to_owned() + "\n").parse().unwrap();
        assert_eq!(also.verified_by(&[key()]), Ok(()));
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for bad in [
            "",
            "\n",
            "text\n",
            "text\n\n",
            "text\n\nno signature\n",
            "text\n\n— name\n",
            "text\n\n— name AAAA\n",
            "text\n\n— na+me AAAAAAAA\n",
            "text\n\n— name AAAAAAAA",
            "te\u{1}xt\n\n— name AAAAAAAA\n",
        ] {
            assert!(bad.parse::<Note>().is_err(), "{bad:?}");
        }
        let many = "— name AAAAAAAA\n".repeat(SIGNATURES_MAX + 1);
        assert_eq!(format!("text\n\n{many}").parse::<Note>(), Err(NoteError::TooManySignatures));
        assert_eq!("x".repeat(NOTE_BYTES_MAX + 1).parse::<Note>(), Err(NoteError::TooLong));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in [
            "",
            "name",
            "name+00000000",
            "name+530d903a+AA==",
            "na me+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
        assert_eq!(KEY.replace("530d903a", "530d903b").parse::<VerifierKey>(), Err(NoteError::KeyId));
        assert_eq!(KEY.replace("eRrm56", "eRrm57").parse::<VerifierKey>(), Err(NoteError::KeyId));
        assert_eq!(KEY.replace("530d903a", "x").parse::<VerifierKey>(), Err(NoteError::KeyId));
        assert_eq!(KEY.replace("+Aeky", "+Iuky").parse::<VerifierKey>(), Err(NoteError::KeyKind));
    }
}
