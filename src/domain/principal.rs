//! Who: principals as issuers know them, and the stable person behind them.

use super::text::{is_visible, text_type};

text_type! {
    /// An OpenID Connect issuer identifier, compared byte for byte (OpenID Connect Core 1.0 §3.1.3.7).
    Issuer, "issuer", max 512, "is a URL in visible ASCII", is_visible,
    pattern "^[!-~]+$", example "https://idp.example.test"
}
text_type! {
    /// The `sub` of a token, unique within its issuer.
    Subject, "subject", max 255, "is visible ASCII without spaces", is_visible
}
text_type! {
    /// The `aud` that names one receiver of a token.
    Audience, "audience", max 255, "is visible ASCII without spaces", is_visible
}
text_type! {
    /// The stable human behind principals, mapped per issuer. Four-eyes rules compare persons.
    Person, "person", max 255, "is visible ASCII without spaces", is_visible,
    pattern "^[!-~]+$", example "alice@example.test"
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    pub issuer: Issuer,
    pub subject: Subject,
}
