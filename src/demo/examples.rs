//! The example files of `config/`, as they are shipped, written out for one run. The demonstration lives on them, so that
//! they cannot rot.

use std::io;
use std::path::{Path, PathBuf};

const FILES: &[(&str, &str)] = &[
    ("control.toml", include_str!("../../config/control.toml")),
    ("policy.toml", include_str!("../../config/policy.toml")),
    ("sidecar.toml", include_str!("../../config/sidecar.toml")),
    ("services/payments-demo.toml", include_str!("../../config/services/payments-demo.toml")),
];

/// The service that the examples are about.
pub(super) const SERVICE: &str = "payments-demo";

/// The authority that every part trusts, in the folder of certificates.
pub(super) const AUTHORITY: &str = "ca.pem";

/// Where everything of one run lies, laid out as in a checkout: `config/`, `certs/`, `data/`, `var/`.
#[derive(Debug)]
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    /// A new private folder with the example files in it. It is removed with all that is in it when this is dropped.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub(super) fn make() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("breakglass-demo-").tempdir()?;
        let config = folder.path().join("config");
        std::fs::create_dir_all(config.join("services"))?;
        for (name, text) in FILES {
            std::fs::write(config.join(name), text)?;
        }
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn config(&self, name: &str) -> PathBuf {
        self.path().join("config").join(name)
    }

    /// Where `breakglass certs dev` writes.
    pub(super) fn certs(&self) -> PathBuf {
        self.path().join("certs")
    }

    pub(super) fn cert(&self, name: &str) -> PathBuf {
        self.certs().join(name)
    }

    /// Where the sidecar serves the keys of its assertions.
    pub(super) fn assertion_socket(&self) -> PathBuf {
        self.path().join("assertion-keys.sock")
    }

    pub(super) fn api_socket(&self) -> PathBuf {
        self.path().join("contract-api.sock")
    }
}
