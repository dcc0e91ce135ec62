//! Whose sidecar is calling: read from the client certificate, never from what the caller says.
//!
//! The certificate carries exactly one URI in its subject alternative names, `spiffe://<trust domain>/sidecar/<service>`
//! (SPIFFE ID §2; RFC 5280 §4.2.1.6). The chain has been verified by TLS before this is asked.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::domain::{ServiceName, TextError};

/// Greatest length of a trust domain (SPIFFE ID §2.1).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Why a verified certificate is no sidecar's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the client certificate cannot be read")]
    Certificate,
    #[error("the client certificate must name exactly one URI, this one names {0}")]
    NotOneUri(usize),
    #[error("the URI of the client certificate must be spiffe://<trust domain>/sidecar/<service>")]
    NotSidecar,
    #[error("the URI of the client certificate ends in no service name: {0}")]
    Service(#[from] TextError),
}

/// The service whose sidecars hold this certificate.
pub fn service_of(certificate: &CertificateDer<'_>) -> Result<ServiceName, PeerError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| PeerError::Certificate)?;
    let uris: Vec<_> = parsed.valid_uri_names().collect();
    match uris.as_slice() {
        [uri] => service_in(uri),
        other => Err(PeerError::NotOneUri(other.len())),
    }
}

fn service_in(uri: &str) -> Result<ServiceName, PeerError> {
    let rest = uri.strip_prefix("spiffe://").ok_or(PeerError::NotSidecar)?;
    let (trust_domain, path) = rest.split_once('/').ok_or(PeerError::NotSidecar)?;
    if !is_trust_domain(trust_domain) {
        return Err(PeerError::NotSidecar);
    }
    let service = path.strip_prefix("sidecar/").ok_or(PeerError::NotSidecar)?;
    Ok(service.parse()?)
}

fn is_trust_domain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= TRUST_DOMAIN_BYTES_MAX && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_name_gives_its_service() {
        assert_eq!(service_in("spiffe://bank.example/sidecar/payments").unwrap().as_str(), "payments");
    }

    #[test]
    fn anything_else_is_no_sidecar() {
        for uri in [
            "https://bank.example/sidecar/payments",
            "spiffe:///sidecar/payments",
            "spiffe://bank.example/control/payments",
            "spiffe://bank.example/sidecar/",
            "spiffe://bank.example/sidecar/payments/x",
            "spiffe://bank.example/sidecar/payments?x=1",
            "spiffe://bank.example/x/sidecar/payments",
            "spiffe://bank:443/sidecar/payments",
            "spiffe://Bank/sidecar/payments",
            "spiffe://bank.example",
        ] {
            assert!(service_in(uri).is_err(), "{uri}");
        }
    }
}
