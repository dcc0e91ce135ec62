//! What a grant is bound to: the thumbprint of something only its person holds (RFC 7800 §3).
//!
//! It is a public value: knowing it proves nothing. It is never typed but taken from a proof.

use super::Binding;
use super::text::text_type;

text_type! {
    /// SHA-256 of a certificate in DER, in base64url (`x5t#S256`, RFC 8705 §3.1).
    CertificateThumbprint, "certificate thumbprint", max 43, "is a SHA-256 in base64url without padding", is_sha256,
    pattern "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$", example "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"
}
text_type! {
    /// SHA-256 thumbprint of a public key, in base64url (`jkt`, RFC 7638 and RFC 9449 §6.1).
    KeyThumbprint, "key thumbprint", max 43, "is a SHA-256 in base64url without padding", is_sha256,
    pattern "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$", example "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
}

/// 43 characters, of which the last carries four bits: there is one spelling of each digest.
fn is_sha256(text: &str) -> bool {
    let is_base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.len() == 43
        && text.bytes().all(is_base64url)
        && text.bytes().last().is_some_and(|b| b"AEIMQUYcgkosw048".contains(&b))
}

/// The `cnf` of a grant: exactly one member.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub enum Confirmation {
    #[serde(rename = "x5t#S256")]
    Certificate(CertificateThumbprint),
    #[serde(rename = "jkt")]
    Key(KeyThumbprint),
}

impl Confirmation {
    /// The binding that asks for a proof of this kind.
    pub const fn binding(&self) -> Binding {
        match self {
            Self::Certificate(_) => Binding::Mtls,
            Self::Key(_) => Binding::Dpop,
        }
    }

    /// The thumbprint, whatever it is of.
    pub fn thumbprint(&self) -> &str {
        match self {
            Self::Certificate(thumbprint) => thumbprint.as_str(),
            Self::Key(thumbprint) => thumbprint.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    #[test]
    fn it_is_written_as_rfc_7800_has_it() {
        let key = Confirmation::Key(THUMBPRINT.parse().unwrap());
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("{{\"jkt\":\"{THUMBPRINT}\"}}"));
        assert_eq!(serde_json::from_str::<Confirmation>(&json).unwrap(), key);
        let certificate: Confirmation = serde_json::from_str(&format!("{{\"x5t#S256\":\"{THUMBPRINT}\"}}")).unwrap();
        assert_eq!((certificate.binding(), certificate.thumbprint()), (Binding::Mtls, THUMBPRINT));
    }

    #[test]
    fn anything_else_is_none() {
        let both = format!("{{\"jkt\":\"{THUMBPRINT}\",\"x5t#S256\":\"{THUMBPRINT}\"}}");
        let another_spelling = format!("{{\"jkt\":\"{}J\"}}", &THUMBPRINT[..42]);
        for json in ["{}", "{\"jkt\":\"\"}", "{\"kid\":\"a\"}", "{\"jkt\":null}", &both, &another_spelling] {
            assert!(serde_json::from_str::<Confirmation>(json).is_err(), "{json}");
        }
    }
}
