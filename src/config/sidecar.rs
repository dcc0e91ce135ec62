//! The sidecar's own file: where it listens, what it stands before, whom it trusts, and every limit it keeps.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::assertion::{UpstreamFacing, read_assertion};
pub use super::feed::FeedConfig;
use super::feed::read_feed;
use super::identity::read_issuers;
use super::mistakes::{ConfigError, Mistake};
use super::reader::{self, Section};
use super::service::ServiceConfig;
use super::upgrade_protocol::UpgradeProtocol;
use crate::domain::{Audience, InstanceName};
use crate::identity::IssuerConfig;
use crate::token::PublicKey;

/// A sidecar, checked.
#[derive(Debug, Clone)]
pub struct SidecarConfig {
    /// The files of text it was read from: the sidecar's own first.
    pub files: Vec<PathBuf>,
    pub service: ServiceConfig,
    pub instance: InstanceName,
    pub listen: ListenConfig,
    pub tls: TlsFiles,
    pub upstream: UpstreamConfig,
    pub feed: FeedConfig,
    pub grant_roots: Vec<PublicKey>,
    pub issuers: Vec<IssuerConfig>,
    pub audit: AuditConfig,
    pub admin: SocketAddr,
    /// Where the upstream finds the keys of assertions.
    pub assertion: UpstreamFacing,
    /// While this file exists, no override is allowed.
    pub freeze_file: Option<PathBuf>,
    /// Where a person asks for elevation.
    pub request_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenConfig {
    pub address: SocketAddr,
    /// One runtime, listener and upstream pool each.
    pub workers: usize,
    pub connections_max: usize,
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its head; also how long an idle connection is kept.
    pub head_timeout: Duration,
    pub head_bytes_max: usize,
    pub headers_max: usize,
    pub h2_streams_max: u32,
    /// How long requests in flight may take to end once this sidecar was told to.
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// Plain HTTP/1.1 to `host:port`.
    Tcp { authority: String },
    /// HTTP/1.1 over a Unix socket: cannot be reached around the sidecar by the network.
    Unix(PathBuf),
}

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
    /// The protocols a connection may be switched to (RFC 9110 §7.8), in lower case.
    pub upgrade_protocols: Vec<UpgradeProtocol>,
    /// How long a connection that speaks another protocol may be silent in both directions.
    pub tunnel_idle_timeout: Duration,
}

/// The audit log's folder and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    pub directory: PathBuf,
    pub write_deadline: Duration,
    pub segment_bytes_max: u64,
    pub override_reserve_bytes: u64,
    pub stranger_records_per_s_max: u32,
    pub stranger_bytes_per_s_max: u32,
}

impl SidecarConfig {
    /// Reads the sidecar's file and the service file it names.
    ///
    /// # Errors
    /// Every mistake of both files.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = reader::read_file(file)?;
        let mut service = None;
        let mut files = vec![file.to_owned()];
        let mut mistakes = Vec::new();
        let parsed = reader::parse(file, &text, |root| {
            let path = root.required_path("service");
            files.extend(path.clone());
            let loaded = service.insert(path.map(|path| ServiceConfig::load(&path)));
            let audience =
                loaded.as_ref().and_then(|loaded| loaded.as_ref().ok()).map(|service| service.audience.clone());
            let without = read_sidecar(root, audience.as_ref());
            files.extend(without.as_ref().and_then(|without| without.trust.file.clone()));
            without
        });
        let service = match service.flatten() {
            Some(Ok(service)) => Some(service),
            Some(Err(error)) => {
                mistakes.extend(error.mistakes);
                None
            }
            None => None,
        };
        match (parsed, service) {
            (Ok(without), Some(service)) => Ok(without.with(service, files)),
            (Ok(_), None) => Err(ConfigError { mistakes }),
            (Err(error), _) => Err(ConfigError { mistakes: error.mistakes.into_iter().chain(mistakes).collect() }),
        }
    }

    /// What is allowed and yet deserves a second look.
    pub fn warnings(&self, file: &Path) -> Vec<Mistake> {
        let warning =
            |what: String, hint: &str| Mistake { hint: Some(hint.to_owned()), ..Mistake::of_file(file, what) };
        let mut warnings = Vec::new();
        if let UpstreamAddress::Tcp { authority } = &self.upstream.address
            && !is_loopback(authority)
        {
            warnings.push(warning(
                format!(
                    "upstream.url: {authority} may be reached around the sidecar, and then anyone can set its headers"
                ),
                "use a Unix socket, or loopback in the same network namespace, or have the API verify Break-Glass-Assertion",
            ));
        }
        if !self.assertion.is_local() {
            warnings.push(warning(
                format!(
                    "assertion.listen: keys fetched from {} in the clear can be swapped on the way",
                    self.assertion
                ),
                "have the API pin the root key and hold each key to its bg_certificate",
            ));
        }
        warnings
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    matches!(host, "localhost" | "[::1]") || host.starts_with("127.")
}

/// Everything but the service.
struct WithoutService {
    instance: InstanceName,
    listen: ListenConfig,
    tls: TlsFiles,
    upstream: UpstreamConfig,
    feed: FeedConfig,
    trust: Trust,
    issuers: Vec<IssuerConfig>,
    audit: AuditConfig,
    admin: SocketAddr,
    assertion: UpstreamFacing,
    freeze_file: Option<PathBuf>,
    request_url: Option<String>,
}

/// The pinned root keys, and the file some of them stand in.
struct Trust {
    roots: Vec<PublicKey>,
    file: Option<PathBuf>,
}

impl WithoutService {
    fn with(self, service: ServiceConfig, files: Vec<PathBuf>) -> SidecarConfig {
        SidecarConfig {
            files,
            service,
            instance: self.instance,
            listen: self.listen,
            tls: self.tls,
            upstream: self.upstream,
            feed: self.feed,
            grant_roots: self.trust.roots,
            issuers: self.issuers,
            audit: self.audit,
            admin: self.admin,
            assertion: self.assertion,
            freeze_file: self.freeze_file,
            request_url: self.request_url,
        }
    }
}

/// `audience` is the service's; absent only where the service file has mistakes of its own.
fn read_sidecar(root: &Section<'_>, audience: Option<&Audience>) -> Option<WithoutService> {
    let instance = root.required("instance");
    let listen = root.required_section("listen").and_then(|section| read_listen(&section));
    let tls = root.required_section("tls").and_then(|section| read_tls(&section));
    let upstream = root.required_section("upstream").and_then(|section| read_upstream(&section));
    let feed = root.required_section("feed").and_then(|section| read_feed(&section));
    let trust = root.required_section("trust").map(|section| read_trust(&section));
    let stand_in = "unknown".parse().ok();
    let issuers = read_issuers(root, audience.or(stand_in.as_ref()));
    let audit = root.required_section("audit").and_then(|section| read_audit(&section));
    let admin = root.section("admin").map_or_else(
        || Some(default_admin()),
        |section| Some(section.optional("address").unwrap_or_else(default_admin)),
    );
    let freeze_file = root.path("freeze_file");
    let request_url = root.optional("request_url");
    Some(WithoutService {
        instance: instance?,
        listen: listen?,
        tls: tls?,
        upstream: upstream?,
        feed: feed?,
        trust: trust?,
        issuers,
        audit: audit?,
        admin: admin?,
        assertion: read_assertion(root),
        freeze_file,
        request_url,
    })
}

fn default_admin() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9901))
}

/// A number of the machine's size, kept within what an index can hold.
fn size(section: &Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>, default: u64) -> usize {
    usize::try_from(section.integer(key, range, default)).unwrap_or(usize::MAX)
}

fn millis(section: &Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>, default: u64) -> Duration {
    Duration::from_millis(section.integer(key, range, default))
}

fn read_listen(section: &Section<'_>) -> Option<ListenConfig> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let address = section.required("address");
    let listen = ListenConfig {
        address: address.unwrap_or_else(default_admin),
        workers: size(section, "workers", 1..=512, u64::try_from(cores).unwrap_or(1)),
        connections_max: size(section, "connections_max", 1..=1_000_000, 20_000),
        handshake_timeout: millis(section, "handshake_timeout_ms_max", 100..=60_000, 10_000),
        head_timeout: millis(section, "head_timeout_ms_max", 100..=600_000, 60_000),
        head_bytes_max: size(section, "head_bytes_max", 8_192..=1_048_576, 32_768),
        headers_max: size(section, "headers_max", 16..=1_000, 128),
        h2_streams_max: u32::try_from(section.integer("h2_streams_max", 1..=10_000, 256)).unwrap_or(256),
        drain_timeout: millis(section, "drain_timeout_ms_max", 100..=3_600_000, 25_000),
    };
    address.map(|_| listen)
}

fn read_tls(section: &Section<'_>) -> Option<TlsFiles> {
    let certificate = section.required_path("certificate");
    let key = section.required_path("key");
    Some(TlsFiles { certificate: certificate?, key: key? })
}

fn read_upstream(section: &Section<'_>) -> Option<UpstreamConfig> {
    let address = section.required::<UpstreamAddress>("url");
    let connect_timeout = millis(section, "connect_timeout_ms_max", 10..=60_000, 2_000);
    let response_timeout = millis(section, "response_timeout_ms_max", 10..=3_600_000, 60_000);
    let idle_connections_max = size(section, "idle_connections_max", 0..=10_000, 256);
    let idle_timeout = millis(section, "idle_timeout_ms_max", 100..=600_000, 30_000);
    let outcome_wait = millis(section, "outcome_wait_ms_max", 0..=60_000, 5_000);
    let continue_wait = millis(section, "continue_wait_ms_max", 10..=60_000, 1_000);
    let upgrade_protocols = read_upgrade_protocols(section);
    let tunnel_idle_timeout = millis(section, "tunnel_idle_timeout_ms_max", 100..=86_400_000, 3_600_000);
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

/// Roots stand in the file itself or in a file of one key a line, as the control plane writes it.
fn read_trust(section: &Section<'_>) -> Trust {
    let mut roots: Vec<PublicKey> = section.list("grant_roots");
    let file = section.path("grant_roots_file");
    if let Some(path) = &file {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                    match line.parse() {
                        Ok(root) => roots.push(root),
                        Err(error) => {
                            section.mistake("grant_roots_file", format_args!("{}: {error}", path.display()), None)
                        }
                    }
                }
            }
            Err(error) => section.mistake("grant_roots_file", format_args!("{}: {error}", path.display()), None),
        }
    }
    if roots.is_empty() {
        section.mistake(
            "grant_roots",
            "no root key is pinned, so no grant could be trusted",
            Some("see `GET /v1/keys`"),
        );
    }
    Trust { roots, file }
}

fn read_audit(section: &Section<'_>) -> Option<AuditConfig> {
    let directory = section.required_path("directory");
    let audit = AuditConfig {
        directory: directory.clone().unwrap_or_default(),
        write_deadline: millis(section, "write_deadline_ms_max", 10..=60_000, 1_000),
        segment_bytes_max: section.integer("segment_bytes_max", 1_048_576..=(1 << 32), 64 << 20),
        override_reserve_bytes: section.integer("override_reserve_bytes", 65_536..=(1 << 36), 16 << 20),
        stranger_records_per_s_max: u32::try_from(section.integer("stranger_records_per_s_max", 0..=10_000, 20))
            .unwrap_or(20),
        stranger_bytes_per_s_max: u32::try_from(section.integer("stranger_bytes_per_s_max", 0..=10_000_000, 65_536))
            .unwrap_or(65_536),
    };
    directory.map(|_| audit)
}
