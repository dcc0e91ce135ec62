//! Where a sidecar serves the keys of its assertions to the upstream.

use std::net::SocketAddr;
use std::path::PathBuf;

#[cfg(feature = "sidecar")]
use super::reader::Section;

const PORT: u16 = 9903;

/// An address that the upstream reaches and clients do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamFacing {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl UpstreamFacing {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl Default for UpstreamFacing {
    fn default() -> Self {
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], PORT)))
    }
}

impl std::fmt::Display for UpstreamFacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is neither `address:port` nor `unix:/path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be \"address:port\" or \"unix:/absolute/path\"")]
pub struct UpstreamFacingError;

impl std::str::FromStr for UpstreamFacing {
    type Err = UpstreamFacingError;

    fn from_str(text: &str) -> Result<Self, UpstreamFacingError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(UpstreamFacingError),
            None => text.parse().map(Self::Tcp).map_err(|_| UpstreamFacingError),
        }
    }
}

/// The section `[assertion]`; absent, the keys are served on a loopback port all the same.
#[cfg(feature = "sidecar")]
pub(super) fn read_assertion(root: &Section<'_>) -> UpstreamFacing {
    root.section("assertion").and_then(|section| section.optional("listen")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_socket() {
        for text in ["127.0.0.1:0", "[::1]:9903", "unix:/run/a.sock"] {
            let place: UpstreamFacing = text.parse().unwrap();
            assert!(place.is_local() && place.to_string() == text, "{text}");
        }
        assert!(!"0.0.0.0:9903".parse::<UpstreamFacing>().unwrap().is_local());
        for text in ["", "9903", "localhost:9903", "unix:", "unix:a.sock", "http://127.0.0.1:1"] {
            assert_eq!(text.parse::<UpstreamFacing>(), Err(UpstreamFacingError), "{text}");
        }
    }
}
