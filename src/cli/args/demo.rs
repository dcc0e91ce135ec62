//! The demonstration's flags: the whole story, or one part alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::assertion::UpstreamFacing;
use crate::domain::{Audience, Issuer, ServiceName};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DemoArgs {
    #[command(subcommand)]
    pub part: Option<DemoPart>,
    /// End after the story: 0 only if every step came out as told
    #[arg(long)]
    pub once: bool,
}

/// One part of the demonstration, run alone.
#[derive(Debug, Clone, Subcommand)]
pub enum DemoPart {
    /// Only the identity issuer, which trusts everybody: for demonstrations
    Issuer(DemoIssuerArgs),
    /// Only the contract API, with its own rules
    Api(DemoApiArgs),
    /// Only the story, against parts that run already
    Story(DemoStoryArgs),
}

#[derive(Debug, Clone, Args)]
pub struct DemoIssuerArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,
    /// Its certificate, PEM; without one it speaks http
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The URL it is reached by, which is its name; default: localhost and the port
    #[arg(long, value_name = "URL")]
    pub url: Option<Issuer>,
    /// Whom its tokens are for; may be repeated
    #[arg(long = "audience", value_name = "NAME", default_values = ["breakglass-control", "payments-demo"])]
    pub audiences: Vec<Audience>,
}

#[derive(Debug, Clone, Args)]
pub struct DemoApiArgs {
    /// Where to listen; a loopback address, since only the sidecar is to reach it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Listen on this Unix socket instead
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,
    /// The service it is, which overrides must be for
    #[arg(long, value_name = "NAME", default_value = "payments-demo")]
    pub service: ServiceName,
    /// Where a sidecar serves the keys of its assertions (ADDRESS:PORT or unix:/PATH); may be repeated
    #[arg(long = "keys", value_name = "PLACE", default_value = "127.0.0.1:9903")]
    pub keys: Vec<UpstreamFacing>,
    /// The control plane's public root keys, one a line; those keys must be certified by one of them
    #[arg(long, value_name = "FILE")]
    pub roots: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct DemoStoryArgs {
    /// Address of the sidecar
    #[arg(long, value_name = "URL", default_value = "https://localhost:8443")]
    pub sidecar: String,
    /// Address of the demo issuer
    #[arg(long, value_name = "URL", default_value = "https://localhost:7443")]
    pub issuer: String,
    /// Folder of the sidecar's audit log, to show and verify it
    #[arg(long, value_name = "DIR")]
    pub audit: Option<PathBuf>,
}
