//! Whom the client trusts and how it proves itself. TLS 1.2 and 1.3 by rustls on aws-lc-rs, named explicitly and never
//! taken from the process: a library must not depend on what another one installed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} cannot be read as PEM: {reason}", .path.display())]
    Pem { path: PathBuf, reason: String },
    #[error("{} has no certificate in it", .path.display())]
    NoCertificate { path: PathBuf },
    #[error("there is no root certificate to trust")]
    NoRoots,
    #[error("a root certificate is not usable: {0}")]
    Root(rustls::Error),
    #[error("the client certificate and its key are not usable: {0}")]
    Identity(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The one crypto provider of the product.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The certificate authorities a client trusts.
#[derive(Debug, Clone)]
pub struct TlsRoots(pub(super) RootCertStore);

impl TlsRoots {
    /// Every certificate in the given PEM files.
    ///
    /// # Errors
    /// When a file cannot be read, holds no certificate or one that is no authority's.
    pub fn from_pem_files<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, TlsError> {
        let mut certificates = Vec::new();
        for path in paths {
            certificates.extend(certificates_in(path.as_ref())?);
        }
        Self::from_certificates(certificates)
    }

    /// # Errors
    /// When there is none, or one is no authority's.
    pub fn from_certificates(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            store.add(certificate).map_err(TlsError::Root)?;
        }
        Self::of(store)
    }

    /// What the operating system trusts; certificates in it that cannot be read are left out.
    ///
    /// # Errors
    /// When it trusts none.
    #[cfg(any(feature = "cli", feature = "control"))]
    pub fn native() -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::of(store)
    }

    /// Those of both.
    #[cfg(feature = "cli")]
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0.roots);
        self
    }

    fn of(store: RootCertStore) -> Result<Self, TlsError> {
        if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(Self(store)) }
    }
}

/// A client certificate and its key, for mutual TLS.
#[derive(Debug)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientIdentity {
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// # Errors
    /// When a file cannot be read or does not hold what it should.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates_in(chain)?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| TlsError::Pem { path: key.to_owned(), reason: error.to_string() })?;
        Ok(Self { chain, key })
    }

    /// The certificate itself, without those of its authorities.
    #[cfg(feature = "cli")]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }
}

/// TLS as a client speaks it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientTls {
    any: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
}

impl ClientTls {
    /// # Errors
    /// When the certificate and key of `identity` do not belong together.
    pub fn new(roots: TlsRoots, identity: Option<ClientIdentity>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(roots.0);
        let config = match identity {
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain, identity.key).map_err(TlsError::Identity)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self { any: with_alpn(&config, &[ALPN_H2, ALPN_HTTP1]), h2: with_alpn(&config, &[ALPN_H2]) })
    }

    /// The same, speaking HTTP/1.1 alone.
    #[must_use]
    pub fn http1_only(&self) -> Self {
        Self { any: with_alpn(&self.any, &[ALPN_HTTP1]), h2: Arc::clone(&self.h2) }
    }

    /// The same, speaking HTTP/2 alone.
    #[must_use]
    pub fn http2_only(&self) -> Self {
        Self { any: Arc::clone(&self.h2), h2: Arc::clone(&self.h2) }
    }

    pub(super) fn any(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.any)
    }

    #[cfg(any(feature = "sidecar", feature = "control"))]
    pub(super) fn without_alpn(&self) -> Arc<ClientConfig> {
        with_alpn(&self.any, &[])
    }

    pub(super) fn h2_only(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.h2)
    }
}

fn with_alpn(config: &ClientConfig, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable =
        |error: rustls::pki_types::pem::Error| TlsError::Pem { path: path.to_owned(), reason: error.to_string() };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// True when the handshake settled on HTTP/2.
pub(super) fn settled_on_h2<T>(stream: &tokio_rustls::client::TlsStream<T>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(ALPN_H2)
}
