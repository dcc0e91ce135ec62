//! Who is calling: access tokens of configured OpenID Connect issuers, turned into a principal, a person and groups.
//!
//! Sources: RFC 7515 and 7519 (JWS, JWT), RFC 8725 (what goes wrong with them), RFC 9068 (access tokens as JWT),
//! RFC 7517 (key sets), OpenID Connect Discovery 1.0.
//!
//! [`Verifier::verify`] makes no remote call and waits for nothing: keys come from a cache that [`Verifier::run`] keeps
//! fresh, and go on serving while an issuer is down. [`signals`] are what issuers say of people between two tokens. Nothing here reads our own tokens (those are `token`'s), accepts
//! an ID token, a machine's or a delegated token, or takes a key or a rule from the token itself.

mod cache;
mod claims;
mod compact;
mod discovery;
mod error;
#[cfg(feature = "cli")]
mod id_token;
#[cfg(feature = "control")]
pub mod introspection;
mod issuer;
mod jwks;
mod people;
#[cfg(feature = "cli")]
mod provider;
mod refresh;
pub mod signals;
mod sought;
mod verifier;

pub use discovery::RefreshError;
#[cfg(any(feature = "cli", feature = "control"))]
pub use discovery::UnusableEndpoint;
pub use error::{IdentityError, IdentityFault, SetupError};
#[cfg(feature = "cli")]
pub use id_token::{IdTokenError, Proven, Wanted};
pub use issuer::{Algorithm, IssuerConfig};
pub use people::Naming;
#[cfg(feature = "cli")]
pub use provider::{Provider, ProviderError};
pub use refresh::{IssuerHealth, RefreshTimes};
pub use verifier::{Verified, Verifier};

#[cfg(test)]
pub(crate) mod test_issuer;
#[cfg(test)]
mod tests;
