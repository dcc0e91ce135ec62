//! `[bindings]` of a sidecar: what callers prove themselves by, beyond an access token in `Break-Glass-Identity`.

use super::reader::Section;
use crate::token::dpop::ProofUrl;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindingsConfig {
    /// Scheme, host and port by which clients reach this service: what a DPoP proof is for. Absent: none is taken.
    pub public_origin: Option<ProofUrl>,
    /// An access token in `Authorization` is looked at where there is none in `Break-Glass-Identity`. It goes on to the
    /// API as it came.
    pub identity_from_authorization: bool,
}

pub(super) fn read_bindings(root: &Section<'_>) -> BindingsConfig {
    let Some(section) = root.section("bindings") else { return BindingsConfig::default() };
    let public_origin: Option<ProofUrl> = section.optional("public_origin");
    if let Some(url) = &public_origin
        && url.as_str() != format!("{}/", url.origin())
    {
        section.mistake("public_origin", "must be scheme, host and port alone, such as https://payments.example", None);
    }
    BindingsConfig { public_origin, identity_from_authorization: section.boolean("identity_from_authorization", false) }
}
