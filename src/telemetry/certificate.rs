//! When a certificate ends (RFC 5280 §4.1.2.5), so that it is renewed before. Nothing is verified here.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// `notAfter` of the first certificate in a PEM file, as Unix seconds; `None` when there is none to be read. Blocks.
pub fn not_after(pem: &Path) -> Option<i64> {
    let certificate = CertificateDer::from_pem_file(pem).ok()?;
    let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_certificate_counts_and_anything_else_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("leaf.pem");
        assert_eq!(not_after(&file), None);
        std::fs::write(&file, "no certificate").unwrap();
        assert_eq!(not_after(&file), None);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let leaf = params.self_signed(&key).unwrap().pem();
        params.not_after = rcgen::date_time_ymd(2041, 2, 3);
        let authority = params.self_signed(&key).unwrap().pem();
        std::fs::write(&file, leaf + &authority).unwrap();
        assert_eq!(not_after(&file), Some(1_927_843_200));
    }
}
