//! The sidecar's own file: where it listens, what it stands before, whom it trusts, and every limit it keeps.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::assertion::{UpstreamFacing, read_assertion};
use super::bindings::{BindingsConfig, read_bindings};
use super::capture::{CaptureConfig, read_capture};
pub use super::feed::FeedConfig;
use super::feed::read_feed;
use super::identity::read_issuers;
use super::mistakes::{ConfigError, Mistake};
pub use super::query_digests::QueryDigestConfig;
use super::query_digests::read_query_digests;
use super::reader::{self, Section};
use super::service::ServiceConfig;
use super::shipping::{ShippingConfig, read_shipping};
use super::sinks::{SinkConfig, SinkName, read_sinks};
use super::upstream::{UpstreamAddress, UpstreamConfig, read_upstream};
use crate::domain::{Audience, Binding, InstanceName};
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
    pub bindings: BindingsConfig,
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
    /// Whose client certificates prove the binding `mtls`. Absent: no client is asked for one.
    pub client_ca: Option<PathBuf>,
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
    pub shipping: ShippingConfig,
    /// Which query values a line lets compare.
    pub query_digests: Option<QueryDigestConfig>,
    pub capture: CaptureConfig,
    /// Where lines are handed on to.
    pub sinks: Vec<SinkConfig>,
    /// Those that must have an intent before its override may go, beside the local log, which always must.
    pub required: Vec<SinkName>,
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
            (Ok(without), Some(service)) => match lacking_key(file, &without.audit.capture, &service) {
                Some(mistake) => Err(ConfigError::one(mistake)),
                None => Ok(without.with(service, files)),
            },
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
        warnings.extend(self.unprovable().map(|(binding, what, hint)| {
            warning(
                format!(
                    "{what}: grants bound by \"{binding}\" can't be used here, though the service's ceiling admits them"
                ),
                hint,
            )
        }));
        warnings
    }

    /// Bindings that the ceiling admits and that no request can prove here, with what is missing for them.
    fn unprovable(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let admits = |binding| self.service.ceiling.bindings.contains(&binding);
        let mtls = admits(Binding::Mtls) && self.tls.client_ca.is_none();
        let dpop = admits(Binding::Dpop) && self.bindings.public_origin.is_none();
        let mtls =
            mtls.then_some(("mtls", "tls.client_ca is missing", "name the authority of the clients' certificates"));
        let dpop = dpop.then_some((
            "dpop",
            "bindings.public_origin is missing",
            "say by which scheme, host and port clients reach this service",
        ));
        mtls.into_iter().chain(dpop)
    }
}

/// A route that asks for digests needs a key to make them by.
fn lacking_key(file: &Path, capture: &CaptureConfig, service: &ServiceConfig) -> Option<Mistake> {
    let route = service.captures_digest().filter(|_| capture.key_file.is_none())?;
    let what = format!("audit.capture.key_file: is missing, and {} {} captures a digest", route.method, route.path);
    Some(Mistake::of_file(file, what))
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
    bindings: BindingsConfig,
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
            bindings: self.bindings,
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
    let bindings = read_bindings(root);
    let upstream = root.required_section("upstream").and_then(|section| read_upstream(&section));
    let feed = root.required_section("feed").and_then(|section| read_feed(&section));
    let trust = root.required_section("trust").map(|section| read_trust(&section));
    let stand_in = "unknown".parse().ok();
    let issuers = read_issuers(root, audience.or(stand_in.as_ref()));
    if issuers.iter().any(|issuer| issuer.groups_by_scim) {
        root.mistake(
            "issuer",
            "groups = \"scim\" is for the control plane",
            Some("remove it: a sidecar asks for no groups"),
        );
    }
    for issuer in root.sections("issuer") {
        issuer.ignore_unknown();
        if issuer.has("introspection") {
            issuer.mistake("introspection", "is for the control plane", Some("remove it: a sidecar asks nobody"));
        }
    }
    let issuers = issuers.into_iter().map(IssuerConfig::without_groups).collect();
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
        bindings,
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

fn read_listen(section: &Section<'_>) -> Option<ListenConfig> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let address = section.required("address");
    let listen = ListenConfig {
        address: address.unwrap_or_else(default_admin),
        workers: section.size("workers", 1..=512, u64::try_from(cores).unwrap_or(1)),
        connections_max: section.size("connections_max", 1..=1_000_000, 20_000),
        handshake_timeout: section.millis("handshake_timeout_ms_max", 100..=60_000, 10_000),
        head_timeout: section.millis("head_timeout_ms_max", 100..=600_000, 60_000),
        head_bytes_max: section.size("head_bytes_max", 8_192..=1_048_576, 32_768),
        headers_max: section.size("headers_max", 16..=1_000, 128),
        h2_streams_max: u32::try_from(section.integer("h2_streams_max", 1..=10_000, 256)).unwrap_or(256),
        drain_timeout: section.millis("drain_timeout_ms_max", 100..=3_600_000, 25_000),
    };
    address.map(|_| listen)
}

fn read_tls(section: &Section<'_>) -> Option<TlsFiles> {
    let certificate = section.required_path("certificate");
    let key = section.required_path("key");
    let client_ca = section.path("client_ca");
    Some(TlsFiles { certificate: certificate?, key: key?, client_ca })
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
    let sinks = read_sinks(section, &[LOCAL, LEDGER]);
    let (ledger_required, required) = read_required(section, &sinks);
    let audit = AuditConfig {
        directory: directory.clone().unwrap_or_default(),
        write_deadline: section.millis("write_deadline_ms_max", 10..=60_000, 1_000),
        segment_bytes_max: section.integer("segment_bytes_max", 1_048_576..=(1 << 32), 64 << 20),
        override_reserve_bytes: section.integer("override_reserve_bytes", 65_536..=(1 << 36), 16 << 20),
        stranger_records_per_s_max: u32::try_from(section.integer("stranger_records_per_s_max", 0..=10_000, 20))
            .unwrap_or(20),
        stranger_bytes_per_s_max: u32::try_from(section.integer("stranger_bytes_per_s_max", 0..=10_000_000, 65_536))
            .unwrap_or(65_536),
        shipping: read_shipping(section, ledger_required),
        query_digests: section.section("query_digests").and_then(|section| read_query_digests(&section)),
        capture: read_capture(section),
        sinks,
        required,
    };
    directory.map(|_| audit)
}

/// The local log, in a list of what must have a line.
const LOCAL: &str = "local";
/// The control plane's ledger, which is no sink.
const LEDGER: &str = "ledger";

/// What must have an override's line beside the local log, which always must: whether the ledger, and which sinks.
fn read_required(section: &Section<'_>, sinks: &[SinkConfig]) -> (bool, Vec<SinkName>) {
    if !section.has("required") {
        return (false, Vec::new());
    }
    let names: Vec<SinkName> = section.required_list("required");
    let is_sink = |name: &SinkName| !matches!(name.as_str(), LOCAL | LEDGER);
    for name in names.iter().filter(|name| is_sink(name) && !sinks.iter().any(|sink| sink.name == **name)) {
        let hint = "name \"local\", \"ledger\", or sinks of [[audit.sinks]]";
        section.mistake("required", format_args!("there is no sink \"{name}\""), Some(hint));
    }
    let ledger = names.iter().any(|name| name.as_str() == LEDGER);
    (ledger, names.into_iter().filter(is_sink).collect())
}
