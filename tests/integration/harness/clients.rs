//! Certificates of clients: alice's own, and those that must not pass for it.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};

/// Which certificate a client shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Of the authority that both planes believe.
    Own,
    /// The same authority, the same name, another key.
    SameName,
    /// The same name, of an authority that calls itself the same.
    OtherAuthority,
    /// It was good until last year.
    Expired,
    /// Of the authority, and for servers.
    ForServers,
}

impl Shows {
    pub(crate) const ALL: [Self; 5] =
        [Self::Own, Self::SameName, Self::OtherAuthority, Self::Expired, Self::ForServers];

    const fn name(self) -> &'static str {
        match self {
            Self::Own => "client-own",
            Self::SameName => "client-same-name",
            Self::OtherAuthority => "client-other-authority",
            Self::Expired => "client-expired",
            Self::ForServers => "client-for-servers",
        }
    }

    pub(crate) fn certificate(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.pem", self.name()))
    }

    pub(crate) fn key(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.key", self.name()))
    }
}

/// Writes all of them, and the authority that is believed as `clients.pem`.
pub(super) fn write(folder: &Path) {
    let (own, own_pem) = authority();
    let (other, _) = authority();
    std::fs::write(folder.join("clients.pem"), own_pem).unwrap();
    for shows in Shows::ALL {
        let issuer = if shows == Shows::OtherAuthority { &other } else { &own };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "alice");
        params.not_after = date_time_ymd(if shows == Shows::Expired { 2025 } else { 2100 }, 1, 1);
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        params.extended_key_usages =
            vec![if shows == Shows::ForServers { ExtendedKeyUsagePurpose::ServerAuth } else { usage }];
        let key = KeyPair::generate().unwrap();
        std::fs::write(shows.certificate(folder), params.signed_by(&key, issuer).unwrap().pem()).unwrap();
        std::fs::write(shows.key(folder), key.serialize_pem()).unwrap();
    }
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "clients of a company");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}
