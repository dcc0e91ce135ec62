//! The protocols that a connection may be switched to (RFC 9110 §7.8): a positive list.
//!
//! A protocol that carries HTTP requests would carry them past intake and route table: forged headers and sealed paths
//! with them. So none that is known to is ever listed, whatever the operator writes.

/// A protocol's name, without its version, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeProtocol(String);

/// Why a protocol can't be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeProtocolError {
    #[error("must be a protocol's name without a version, such as \"websocket\"")]
    NoName,
    #[error("carries HTTP requests that no one would inspect")]
    CarriesHttp,
}

/// HTTP in another framing, TLS that could hold it, or a tunnel for either.
const CARRY_HTTP: &[&str] =
    &["http", "h2", "h2c", "h3", "spdy", "tls", "ssl", "connect-udp", "connect-ip", "connect-tcp", "connect-ethernet"];

impl UpgradeProtocol {
    /// RFC 6455.
    pub fn websocket() -> Self {
        Self("websocket".to_owned())
    }

    /// True when `token`, as it stands in an Upgrade field (`name` or `name/version`), names this protocol.
    pub fn is_named_by(&self, token: &str) -> bool {
        let name = token.split_once('/').map_or(token, |(name, _)| name);
        name.eq_ignore_ascii_case(&self.0)
    }
}

impl std::str::FromStr for UpgradeProtocol {
    type Err = UpgradeProtocolError;

    fn from_str(text: &str) -> Result<Self, UpgradeProtocolError> {
        let name = text.to_ascii_lowercase();
        let sound = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'+'));
        if name.is_empty() || name.len() > 64 || !sound {
            Err(UpgradeProtocolError::NoName)
        } else if CARRY_HTTP.contains(&name.as_str()) {
            Err(UpgradeProtocolError::CarriesHttp)
        } else {
            Ok(Self(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_http_is_never_listed() {
        for name in CARRY_HTTP {
            assert_eq!(
                name.to_uppercase().parse::<UpgradeProtocol>(),
                Err(UpgradeProtocolError::CarriesHttp),
                "{name}"
            );
        }
        for name in ["", "HTTP/2.0", "web socket", "a,b"] {
            assert_eq!(name.parse::<UpgradeProtocol>(), Err(UpgradeProtocolError::NoName), "{name:?}");
        }
    }

    #[test]
    fn a_token_names_it_with_and_without_a_version() {
        let websocket: UpgradeProtocol = "WebSocket".parse().unwrap();
        assert_eq!(websocket, UpgradeProtocol::websocket());
        assert!(websocket.is_named_by("websocket") && websocket.is_named_by("WEBSOCKET/13"));
        assert!(!websocket.is_named_by("websockets") && !websocket.is_named_by("h2c"));
    }
}
