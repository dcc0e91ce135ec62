//! Why nobody was signed in, and what can be done.

use super::endpoint::EndpointError;
use crate::cli::failure::{Exit, Failure};
use crate::error_chain::error_chain;
use crate::identity::{IdTokenError, ProviderError};

/// Why a sign-in came to nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum SignInError {
    #[error("the issuer's metadata cannot be used")]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("what the issuer says of who signed in does not hold")]
    IdToken(#[from] IdTokenError),
    #[error("the issuer gave no ID token, though openid was asked for")]
    NoIdToken,
    #[error("the issuer does not offer the {0}")]
    NoFlow(&'static str),
    #[error("nobody signed in in time")]
    NobodyCame,
    #[error("the sign-in was declined")]
    Declined,
    #[error("the browser cannot come back to this machine")]
    Loopback(#[source] std::io::Error),
    #[error("the browser's answer is not from {0}")]
    MixedUp(String),
    #[error("no randomness can be had")]
    Randomness,
    #[error("somebody else signed in than the one whose request it is")]
    SomebodyElse,
}

impl From<SignInError> for Failure {
    fn from(error: SignInError) -> Self {
        let message = format!("not signed in: {}", error_chain(&error));
        let (exit, hint) = match &error {
            SignInError::Provider(_) | SignInError::Endpoint(EndpointError::Http(_)) => {
                (Exit::Unreachable, "check whether the issuer can be reached from here, and --ca")
            }
            SignInError::Endpoint(_) => {
                (Exit::NotAuthenticated, "the client must be registered there as the control plane's sign_in says")
            }
            SignInError::NoFlow(_) => (Exit::NotAuthenticated, "leave out --device or --browser, or use the other"),
            SignInError::IdToken(IdTokenError::Weak { .. }) => {
                (Exit::NotAuthenticated, "sign in again, and use the stronger way when the issuer asks")
            }
            SignInError::SomebodyElse => {
                (Exit::NotAuthenticated, "sign in as yourself, or run breakglass logout first")
            }
            SignInError::NobodyCame | SignInError::Declined => (Exit::NotAuthenticated, "run breakglass login again"),
            SignInError::IdToken(_)
            | SignInError::NoIdToken
            | SignInError::Loopback(_)
            | SignInError::MixedUp(_)
            | SignInError::Randomness => {
                (Exit::NotAuthenticated, "try again, or another way: breakglass login --device")
            }
        };
        Self::new(exit, message, hint)
    }
}
