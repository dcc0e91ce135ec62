//! Client certificates on a listener that serves those without one, too (RFC 8446 §4.3.2, RFC 8705).
//!
//! INVARIANT: a certificate ends no handshake. Clients show the ones they have to whoever asks, and traffic that needs
//! none must not break because an operator began to ask. The handshake proves that the client holds the certificate's
//! key; whether the certificate is one of our authority's, and in its time, is asked where something hangs on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::tls::{TlsError, TlsRoots, crypto_provider};
use crate::domain::{CertificateThumbprint, WallTime};
use crate::token::dpop::certificate_thumbprint;

/// Why a file is no authority of clients.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthorityError {
    #[error("the authorities of clients cannot be used")]
    Roots(#[from] TlsError),
    #[error("{} cannot be used as the authorities of clients", .path.display())]
    Verifier { path: PathBuf, source: rustls::server::VerifierBuilderError },
}

/// Whose client certificates are believed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientAuthority(Arc<dyn ClientCertVerifier>);

impl ClientAuthority {
    /// The authorities in a PEM file.
    ///
    /// # Errors
    /// [`ClientAuthorityError`], which names the file.
    pub fn from_pem_file(path: &Path) -> Result<Self, ClientAuthorityError> {
        let roots = TlsRoots::from_pem_files([path])?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.0), crypto_provider())
            .build()
            .map_err(|source| ClientAuthorityError::Verifier { path: path.to_owned(), source })?;
        Ok(Self(verifier))
    }

    /// For a listener: asks for a certificate, and takes any, and none.
    pub fn asking(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Asking(Arc::clone(&self.0)))
    }

    /// The thumbprint of a chain's first certificate, where it is of our authority, for clients, and in its time.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: WallTime) -> Option<CertificateThumbprint> {
        let (leaf, intermediates) = chain.split_first()?;
        let since_epoch = Duration::from_millis(u64::try_from(now.unix_ms()).ok()?);
        self.0.verify_client_cert(leaf, intermediates, UnixTime::since_unix_epoch(since_epoch)).ok()?;
        certificate_thumbprint(leaf)
    }
}

/// Lets every certificate pass whose key is proven.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
