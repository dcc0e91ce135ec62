//! The connection's client certificate (RFC 8705): its key was proven by the handshake, once; whether it is of our
//! authority and in its time is asked for each request that carries the header, by the authorities in force then.

use rustls::pki_types::CertificateDer;

use super::setup::Setup;
use crate::decision::Certificate as Fact;
use crate::domain::{CertificateThumbprint, WallTime};

/// What a request's connection shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// None was shown, or none is asked for.
    None,
    Untrusted,
    Proven(CertificateThumbprint),
}

impl Certificate {
    /// Looks at the chain by the setup's authorities.
    pub fn of(setup: &Setup, chain: &[CertificateDer<'_>], now: WallTime) -> Self {
        match &setup.clients {
            Some(clients) if !chain.is_empty() => clients.verify(chain, now).map_or(Self::Untrusted, Self::Proven),
            Some(_) | None => Self::None,
        }
    }

    /// The same as a fact for the decision.
    pub fn fact(&self) -> Fact<'_> {
        match self {
            Self::None => Fact::Absent,
            Self::Untrusted => Fact::Untrusted,
            Self::Proven(thumbprint) => Fact::Proven(thumbprint),
        }
    }
}
