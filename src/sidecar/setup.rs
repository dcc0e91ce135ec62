//! What the files say, ready for use. Read at the start, and replaced whole by a reload: a request sees one reading or
//! the other, never a mixture.
//!
//! INVARIANT: a part whose files did not change is carried over as it is, so that a reload costs no TLS session, no
//! kept connection and no issuer's key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::ServerName;

use super::route::RouteTable;
use super::tls::{self, TlsFileError};
use crate::clock::Clock;
use crate::config::ServiceConfig;
use crate::config::sidecar::{FeedConfig, ListenConfig, SidecarConfig, TlsFiles};
use crate::config::upstream::UpstreamConfig;
use crate::decision::Policy;
use crate::http::{
    Cleartext, Client, ClientAuthority, ClientAuthorityError, ClientIdentity, ClientTls, H2Endpoint, Limits, TlsError,
    TlsRoots,
};
use crate::identity::{self, IssuerConfig, Verifier};
use crate::telemetry::certificate::not_after;
use crate::token::PublicKey;
use crate::token::dpop::ProofUrl;

/// Why the files can't be put to use.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the TLS files can't be used")]
    TlsFiles(#[from] TlsFileError),
    #[error(transparent)]
    ClientAuthority(#[from] ClientAuthorityError),
    #[error("the feed's TLS files can't be used")]
    FeedTls(#[from] TlsError),
    #[error("the feed's address \"{0}\" is not host:port")]
    FeedAddress(String),
    #[error("feed.server_name \"{0}\" is not a name a certificate can carry")]
    FeedServerName(String),
    #[error("the issuers can't be used")]
    Identity(#[from] identity::SetupError),
}

/// See the module.
#[derive(Debug)]
pub struct Setup {
    pub service: ServiceConfig,
    pub policy: Policy,
    pub routes: RouteTable,
    /// Where a person asks for elevation.
    pub request_url: Option<String>,
    pub verifier: Verifier,
    pub tls: Arc<ServerConfig>,
    /// Whose client certificates are believed; absent: none is asked for.
    pub clients: Option<ClientAuthority>,
    /// What a DPoP proof is for; absent: none is taken.
    pub public_origin: Option<ProofUrl>,
    pub identity_from_authorization: bool,
    pub listen: ListenConfig,
    pub upstream: Arc<UpstreamConfig>,
    /// While this file exists, no override is allowed here.
    pub freeze_file: Option<PathBuf>,
    pub feed: Feed,
    /// When the certificates that are served and shown end, as Unix seconds.
    pub expiries: Expiries,
    issuers: Vec<IssuerConfig>,
    tls_files: TlsFiles,
    sources: Sources,
}

/// `None` where a certificate could not be read.
#[derive(Debug, Clone, Copy)]
pub struct Expiries {
    /// Of the certificate that clients are shown.
    pub server: Option<i64>,
    /// Of the certificate that the control plane is shown.
    pub feed: Option<i64>,
}

/// How to reach the control plane, and whose grants to believe.
#[derive(Clone)]
pub struct Feed {
    /// At least one; each serves the same.
    pub endpoints: Vec<H2Endpoint>,
    pub tls: ClientTls,
    pub roots: Vec<PublicKey>,
    config: FeedConfig,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Setup {
    /// Reads what `config` names. Blocks on the disk.
    ///
    /// # Errors
    /// [`SetupError`], which names the file or the key.
    pub fn new(config: &SidecarConfig, clock: &Clock, before: Option<&Self>) -> Result<Self, SetupError> {
        let sources = Sources::of(config);
        let unchanged = |files: &[&Path]| before.filter(|before| before.sources.agree_on(&sources, files));
        let (client_ca, own) = (config.tls.client_ca.as_deref(), [config.tls.certificate.as_path(), &config.tls.key]);
        let tls_files: Vec<&Path> = own.into_iter().chain(client_ca).collect();
        let (tls, clients) = match unchanged(&tls_files).filter(|before| before.tls_files == config.tls) {
            Some(before) => (before.tls.clone(), before.clients.clone()),
            None => {
                let clients = client_ca.map(ClientAuthority::from_pem_file).transpose()?;
                (tls::server_config(&config.tls, clients.as_ref())?, clients)
            }
        };
        let authorities: Vec<&Path> = config.issuers.iter().filter_map(|issuer| issuer.ca.as_deref()).collect();
        let verifier = match unchanged(&authorities).filter(|before| before.issuers == config.issuers) {
            Some(before) => before.verifier.clone(),
            None => verifier(&config.issuers, clock, before)?,
        };
        let upstream = before.map(|before| &before.upstream).filter(|upstream| ***upstream == config.upstream);
        Ok(Self {
            policy: config.service.policy(),
            routes: RouteTable::new(&config.service),
            service: config.service.clone(),
            request_url: config.request_url.clone(),
            verifier,
            tls,
            clients,
            public_origin: config.bindings.public_origin.clone(),
            identity_from_authorization: config.bindings.identity_from_authorization,
            listen: config.listen,
            upstream: upstream.map_or_else(|| Arc::new(config.upstream.clone()), Arc::clone),
            freeze_file: config.freeze_file.clone(),
            feed: feed(config)?,
            expiries: Expiries {
                server: not_after(&config.tls.certificate),
                feed: not_after(&config.feed.certificate),
            },
            issuers: config.issuers.clone(),
            tls_files: config.tls.clone(),
            sources,
        })
    }

    /// The same checks of tokens, with the same keys.
    pub(super) fn shares_verifier_with(&self, other: &Self) -> bool {
        self.verifier.is_same(&other.verifier)
    }

    /// Whether a stream to the control plane that was begun under `before` still says and brings what is wanted.
    pub(super) fn keeps_feed_of(&self, before: &Self) -> bool {
        let files = [self.feed.config.ca.as_path(), &self.feed.config.certificate, &self.feed.config.key];
        self.feed.config == before.feed.config
            && self.feed.roots == before.feed.roots
            && self.service.digest == before.service.digest
            && self.sources.agree_on(&before.sources, &files)
    }

    /// Every file this was read from.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.0.keys().map(PathBuf::as_path)
    }
}

/// What stood in the files: SHA-256 each, `None` where one could not be read.
#[derive(Debug, Default)]
struct Sources(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Sources {
    fn of(config: &SidecarConfig) -> Self {
        let (tls, feed) = (&config.tls, &config.feed);
        let named = [&tls.certificate, &tls.key, &feed.ca, &feed.certificate, &feed.key];
        let authorities = config.issuers.iter().filter_map(|issuer| issuer.ca.as_ref());
        let files = config.files.iter().chain(named).chain(authorities).chain(&tls.client_ca);
        Self(files.map(|file| (file.clone(), digest(file))).collect())
    }

    fn agree_on(&self, other: &Self, files: &[&Path]) -> bool {
        let both = |file: &&Path| Some((self.0.get(*file)?.as_ref()?, other.0.get(*file)?.as_ref()?));
        files.iter().all(|file| both(file).is_some_and(|(own, theirs)| own == theirs))
    }
}

fn digest(file: &Path) -> Option<[u8; 32]> {
    let bytes = std::fs::read(file).ok()?;
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref().try_into().ok()
}

/// Issuers that stay keep the keys they have: an issuer that is down must not end what works.
fn verifier(issuers: &[IssuerConfig], clock: &Clock, before: Option<&Setup>) -> Result<Verifier, SetupError> {
    let client = Client::new(None, Limits::default()).with_cleartext(Cleartext::LoopbackOnly);
    let verifier = Verifier::new(issuers.to_vec(), &client, clock.clone())?;
    if let Some(before) = before {
        verifier.adopt_keys(&before.verifier);
    }
    Ok(verifier)
}

fn feed(config: &SidecarConfig) -> Result<Feed, SetupError> {
    let FeedConfig { addresses, server_name, ca, certificate, key } = &config.feed;
    let roots = TlsRoots::from_pem_files([ca])?;
    let own = ClientIdentity::from_pem_files(certificate, key)?;
    let tls = ClientTls::new(roots, Some(own))?;
    let server_name =
        ServerName::try_from(server_name.clone()).map_err(|_| SetupError::FeedServerName(server_name.clone()))?;
    let endpoints = addresses.iter().map(|address| endpoint(address, &server_name)).collect::<Result<_, _>>()?;
    Ok(Feed { endpoints, tls, roots: config.grant_roots.clone(), config: config.feed.clone() })
}

fn endpoint(address: &str, server_name: &ServerName<'static>) -> Result<H2Endpoint, SetupError> {
    let unusable = || SetupError::FeedAddress(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(unusable)?;
    let port = port.parse().map_err(|_| unusable())?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(H2Endpoint { host, port, server_name: server_name.clone() })
}
