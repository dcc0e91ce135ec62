//! A development certificate authority, in memory: for laptops, the demonstration and tests. Keys are ECDSA P-256 made by
//! aws-lc-rs, certificates follow RFC 5280, and a sidecar's client certificate names its service by a SPIFFE ID.
//!
//! It never touches a file and never prints: callers hand the PEM text on. It is no authority for production.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::domain::{ServiceName, WallTime};
use crate::secret::Secret;

/// Before this much of the past, a certificate is not valid: the clocks of a machine's containers may differ a little.
const BACKDATED: Duration = Duration::from_secs(300);

/// The SPIFFE trust domain of development certificates.
const TRUST_DOMAIN: &str = "breakglass.dev";

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("'{0}' is neither a host name nor an IP address")]
    Host(String),
    #[error("a server certificate needs at least one host")]
    NoHost,
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// The SPIFFE ID of a service's sidecars: `spiffe://breakglass.dev/sidecar/<service>`.
pub fn sidecar_id(service: &ServiceName) -> String {
    format!("spiffe://{TRUST_DOMAIN}/sidecar/{service}")
}

/// A certificate and its private key (PKCS #8), as PEM.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub certificate_pem: String,
    pub key_pem: Secret<String>,
}

/// A certificate authority whose certificates all end at one time.
pub struct DevAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    from: WallTime,
    until: WallTime,
}

impl std::fmt::Debug for DevAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevAuthority").field("from", &self.from).field("until", &self.until).finish_non_exhaustive()
    }
}

impl DevAuthority {
    /// A new authority with a key of its own, valid from shortly before `now` for `lifetime`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(now: WallTime, lifetime: Duration) -> Result<Self, MintError> {
        let (from, until) = (now.minus(BACKDATED), now.plus(lifetime));
        let mut params = params("break-glass development authority", from, until);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?, from, until })
    }

    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn key_pem(&self) -> Secret<String> {
        Secret::new(self.issuer.key().serialize_pem())
    }

    /// A server certificate for all of `hosts`, names or IP addresses.
    ///
    /// # Errors
    /// When a host is neither.
    pub fn server(&self, name: &str, hosts: &[impl AsRef<str>]) -> Result<Leaf, MintError> {
        if hosts.is_empty() {
            return Err(MintError::NoHost);
        }
        let names = hosts.iter().map(|host| host_name(host.as_ref())).collect::<Result<_, _>>()?;
        self.leaf(name, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The client certificate with which a service's sidecars call the feed.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn sidecar_client(&self, service: &ServiceName) -> Result<Leaf, MintError> {
        let id = SanType::URI(sidecar_id(service).as_str().try_into()?);
        self.leaf(service.as_str(), vec![id], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn leaf(&self, name: &str, names: Vec<SanType>, purpose: ExtendedKeyUsagePurpose) -> Result<Leaf, MintError> {
        let mut params = params(name, self.from, self.until);
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: Secret::new(key.serialize_pem()) })
    }
}

fn params(name: &str, from: WallTime, until: WallTime) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |time: WallTime| epoch + Duration::from_secs(u64::try_from(time.unix_s()).unwrap_or(0));
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (at(from), at(until));
    params
}

fn host_name(host: &str) -> Result<SanType, MintError> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || MintError::Host(host.to_owned());
    rustls::pki_types::DnsName::try_from(host).map_err(|_| wrong())?;
    host.try_into().map(SanType::DnsName).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

    use super::*;
    use crate::http::crypto_provider;

    const NOW: WallTime = WallTime::from_unix_s(1_795_313_580);

    fn authority() -> DevAuthority {
        DevAuthority::new(NOW, Duration::from_secs(86_400)).unwrap()
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn roots(authority: &DevAuthority) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate_pem())).unwrap();
        Arc::new(roots)
    }

    fn at(time: WallTime) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(time.unix_s().unsigned_abs()))
    }

    #[test]
    fn a_server_certificate_holds_for_its_hosts_and_its_time() {
        let authority = authority();
        let leaf = authority.server("control", &["localhost", "127.0.0.1", "::1"]).unwrap();
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(roots(&authority), crypto_provider())
                .build()
                .unwrap();
        let check = |host: &str, time| {
            use rustls::client::danger::ServerCertVerifier as _;
            let name = ServerName::try_from(host.to_owned()).unwrap();
            verifier.verify_server_cert(&der(&leaf.certificate_pem), &[], &name, &[], at(time)).is_ok()
        };
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(check(host, NOW), "{host}");
        }
        assert!(!check("example.com", NOW));
        assert!(!check("localhost", NOW.plus(Duration::from_secs(86_401))), "it ends");
        assert!(!check("localhost", NOW.minus(Duration::from_secs(301))));
    }

    #[test]
    fn a_sidecars_certificate_is_for_clients_only_and_names_its_service() {
        let authority = authority();
        let leaf = authority.sidecar_client(&"payments".parse().unwrap()).unwrap();
        let certificate = der(&leaf.certificate_pem);
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots(&authority), crypto_provider()).build().unwrap();
        assert!(clients.verify_client_cert(&certificate, &[], at(NOW)).is_ok());
        let server = authority.server("x", &["localhost"]).unwrap();
        assert!(
            clients.verify_client_cert(&der(&server.certificate_pem), &[], at(NOW)).is_err(),
            "no server is a client"
        );
        let end_entity = webpki::EndEntityCert::try_from(&certificate).unwrap();
        assert_eq!(end_entity.valid_uri_names().collect::<Vec<_>>(), ["spiffe://breakglass.dev/sidecar/payments"]);
    }

    #[test]
    fn key_and_certificate_belong_together() {
        let leaf = authority().server("x", &["localhost"]).unwrap();
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.expose().as_bytes()).unwrap();
        let versions: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        let config = ServerConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der(&leaf.certificate_pem)], key);
        assert!(config.is_ok());
        assert!(format!("{leaf:?}").contains("[redacted]"), "a key never shows");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in ["", "two words", "https://x", "a..b"] {
            assert!(matches!(authority().server("x", &[bad]), Err(MintError::Host(_))), "{bad:?}");
        }
        assert!(matches!(authority().server("x", &[] as &[&str]), Err(MintError::NoHost)));
    }
}
