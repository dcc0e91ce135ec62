//! What the sidecar stands before: where its upstream is, and every limit of the way there.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::upgrade_protocol::UpgradeProtocol;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// Plain HTTP/1.1 to `host:port`.
    Tcp { authority: String },
    /// HTTP/1.1 over a Unix socket: cannot be reached around the sidecar by the network.
    Unix(PathBuf),
}

/// What becomes of informational answers (1xx), of which clients of HTTP/1.1 may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Informational {
    Pass,
    Drop,
}

const INFORMATIONAL: &[(&str, Informational)] = &[("pass", Informational::Pass), ("drop", Informational::Drop)];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    pub address: UpstreamAddress,
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the answer.
    pub response_timeout: Duration,
    /// Kept open per worker.
    pub idle_connections_max: usize,
    pub idle_timeout: Duration,
    /// How long an answer is awaited, only to be recorded, after an override was cut.
    pub outcome_wait: Duration,
    /// How long a client that waits to be asked for its body (`Expect: 100-continue`) waits for the upstream's word.
    pub continue_wait: Duration,
    /// What becomes of informational answers other than 100 and 101.
    pub informational: Informational,
    /// The protocols a connection may be switched to (RFC 9110 §7.8), in lower case.
    pub upgrade_protocols: Vec<UpgradeProtocol>,
    /// How long a connection that speaks another protocol may be silent in both directions.
    pub tunnel_idle_timeout: Duration,
}

pub(super) fn read_upstream(section: &Section<'_>) -> Option<UpstreamConfig> {
    let address = section.required::<UpstreamAddress>("url");
    let connect_timeout = section.millis("connect_timeout_ms_max", 10..=60_000, 2_000);
    let response_timeout = section.millis("response_timeout_ms_max", 10..=3_600_000, 60_000);
    let idle_connections_max = section.size("idle_connections_max", 0..=10_000, 256);
    let idle_timeout = section.millis("idle_timeout_ms_max", 100..=600_000, 30_000);
    let outcome_wait = section.millis("outcome_wait_ms_max", 0..=60_000, 5_000);
    let continue_wait = section.millis("continue_wait_ms_max", 10..=60_000, 1_000);
    let informational = section.choice("informational", INFORMATIONAL).unwrap_or(Informational::Pass);
    let upgrade_protocols = read_upgrade_protocols(section);
    let tunnel_idle_timeout = section.millis("tunnel_idle_timeout_ms_max", 100..=86_400_000, 3_600_000);
    let address = match address? {
        UpstreamAddress::Unix(path) if path.is_relative() => {
            section.mistake("url", "a Unix socket is named by an absolute path", None);
            UpstreamAddress::Unix(path)
        }
        address => address,
    };
    Some(UpstreamConfig {
        address,
        connect_timeout,
        response_timeout,
        idle_connections_max,
        idle_timeout,
        outcome_wait,
        continue_wait,
        informational,
        upgrade_protocols,
        tunnel_idle_timeout,
    })
}

/// WebSocket unless told otherwise; an empty list lets none through.
fn read_upgrade_protocols(section: &Section<'_>) -> Vec<UpgradeProtocol> {
    const KEY: &str = "upgrade_protocols";
    if section.has(KEY) { section.list(KEY) } else { vec![UpgradeProtocol::websocket()] }
}

/// What is neither `http://host:port` nor `unix:/path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be \"http://host:port\" or \"unix:/path/to/socket\"")]
pub struct UpstreamAddressError;

impl std::str::FromStr for UpstreamAddress {
    type Err = UpstreamAddressError;

    fn from_str(text: &str) -> Result<Self, UpstreamAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let authority = text.strip_prefix("http://").ok_or(UpstreamAddressError)?.trim_end_matches('/');
        let parsed: http::uri::Authority = authority.parse().map_err(|_| UpstreamAddressError)?;
        if authority.contains('@') || parsed.host().is_empty() {
            return Err(UpstreamAddressError);
        }
        let port = parsed.port_u16().unwrap_or(80);
        Ok(Self::Tcp { authority: format!("{}:{port}", parsed.host()) })
    }
}
