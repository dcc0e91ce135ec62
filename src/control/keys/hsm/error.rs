//! Why a hardware module did not do what was asked, in words for the operator who runs it.
//!
//! Must never: show a PIN.

use std::fmt;
use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

use super::Token;
use crate::control::keys::folder::FileError;

/// Nothing was signed, made or removed, unless the module did it and could not say so.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    #[error("the PKCS #11 module {} can't be loaded", module.display())]
    Module { module: PathBuf, source: CallError },
    #[error("the PKCS #11 module {} has no token {wanted}; it has {there}", module.display())]
    NoToken { module: PathBuf, wanted: String, there: String },
    #[error("the PKCS #11 module {} has several tokens {wanted}; name one by its serial number", module.display())]
    SeveralTokens { module: PathBuf, wanted: String },
    #[error("the token {token} can't sign with Ed25519 (it lacks the mechanism CKM_EDDSA)")]
    NoMechanism { token: String },
    #[error(transparent)]
    PinFile(#[from] FileError),
    #[error("{} holds no PIN: one line of text is expected", path.display())]
    NoPin { path: PathBuf },
    #[error("the PIN in {} is not that of the token {token}; it is not tried again until the file changes", path.display())]
    WrongPin { token: String, path: PathBuf },
    #[error("the PIN of the token {token} is locked; its security officer must set it anew")]
    PinLocked { token: String },
    #[error(
        "one more wrong PIN would lock the token {token}: it is not tried; log in once by hand with the right one, which \
         sets the count back"
    )]
    LastTry { token: String },
    #[error("the token {token} has no Ed25519 key {wanted}")]
    NoKey { token: String, wanted: String },
    #[error("the token {token} has {count} Ed25519 keys labelled {label}; name one by its id")]
    SeveralKeys { token: String, label: String, count: usize },
    #[error("the token {token} answered something else than {wanted}")]
    Answer { token: String, wanted: &'static str },
    #[error("the token {token} failed")]
    Call { token: String, source: CallError },
    #[error("the token {token} did not answer within {} s", Token::ANSWER_TIME_MAX.as_secs())]
    Late { token: String },
    #[error("more than {} calls wait for the PKCS #11 module already", Token::CALLS_WAITING_MAX)]
    Busy,
    #[error("the thread of the PKCS #11 module can't be started")]
    Thread(#[source] std::io::Error),
}

impl HsmError {
    /// Whether the module may work again once it is begun anew: after a reboot, a broken connection, a stale handle.
    pub(super) fn is_loss(&self) -> bool {
        match self {
            Self::Call { source, .. } => !source.is_about_the_request(),
            // Some modules look for tokens once, when they are begun.
            Self::NoToken { .. } => true,
            _ => false,
        }
    }
}

/// A function of the module that failed. The text names function and return value, not the standard's page about it.
#[derive(Debug)]
pub struct CallError(pub(super) Error);

impl CallError {
    /// Begun anew, the module would say the same.
    fn is_about_the_request(&self) -> bool {
        let Error::Pkcs11(value, _) = &self.0 else { return false };
        matches!(
            value,
            RvError::ActionProhibited
                | RvError::AttributeReadOnly
                | RvError::AttributeSensitive
                | RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::CurveNotSupported
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::FunctionNotSupported
                | RvError::KeyFunctionNotPermitted
                | RvError::KeyTypeInconsistent
                | RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::SessionReadOnly
                | RvError::TemplateIncomplete
                | RvError::TemplateInconsistent
                | RvError::TokenWriteProtected
        )
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Error::Pkcs11(value, function) => write!(f, "C_{function:?} answered {value:?}"),
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}
