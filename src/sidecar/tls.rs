//! The TLS that clients see: 1.3 and 1.2 by rustls, ALPN h2 and http/1.1.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::sidecar::TlsFiles;
use crate::http::{ClientAuthority, crypto_provider};

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    #[error("{file} can't be read as PEM: {why}")]
    Pem { file: PathBuf, why: rustls::pki_types::pem::Error },
    #[error("{file} holds no certificate")]
    NoCertificate { file: PathBuf },
    #[error("certificate {certificate} and key {key} can't be used: {why}")]
    Unusable { certificate: PathBuf, key: PathBuf, why: rustls::Error },
}

/// Loads the server's certificate and key. With `clients`, a certificate is asked for, and nobody needs one.
///
/// # Errors
/// [`TlsFileError`], which names the file.
pub fn server_config(files: &TlsFiles, clients: Option<&ClientAuthority>) -> Result<Arc<ServerConfig>, TlsFileError> {
    let pem = |file: &PathBuf| {
        let file = file.clone();
        move |why| TlsFileError::Pem { file, why }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&files.certificate))?;
    if chain.is_empty() {
        return Err(TlsFileError::NoCertificate { file: files.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let unusable = |why| TlsFileError::Unusable { certificate: files.certificate.clone(), key: files.key.clone(), why };
    let mut config = ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map(|builder| match clients {
            Some(clients) => builder.with_client_cert_verifier(clients.asking()),
            None => builder.with_no_client_auth(),
        })
        .and_then(|builder| builder.with_single_cert(chain, key))
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
